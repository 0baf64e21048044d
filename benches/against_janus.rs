//! Question: what does a forwarded packet cost in Schalter, compared with Debian's Janus, from the same generator?
//!
//! Both servers run in turn, several rounds, pinned to one core, the generator to the other, in a network namespace of
//! their own: Janus takes no loopback address for a candidate, so both get the same address on a virtual pair, whose
//! traffic the kernel carries over loopback all the same. Needs root (for the namespace), Debian's `janus` and a release
//! build of `schalter`; installs none of them, but says what is missing. Prints each round and the medians, and writes
//! nothing else.
//!
//! Exit codes: 0 above the bars, 1 below one, 2 something is missing or wrong.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Parser;
use schalter_benches::median;
use schalter_load::call::{Call, CallPlan, Generator, PeerOptions};
use schalter_load::error::LoadError;
use schalter_load::feed::FeedConfig;
use schalter_load::receive::Feedback;
use schalter_load::report::Report;
use schalter_load::server::{SchalterOptions, Spawned, spawn_janus, spawn_schalter};
use schalter_load::target::Target;
use schalter_model::SrtpProfile;

/// Set in the process that runs inside the namespace.
const INSIDE: &str = "SCHALTER_BENCH_NAMESPACE";
/// From the range for benchmarks of network devices (RFC 2544, RFC 6890), so nobody's address.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));
const SERVER_CORE: usize = 0;
const GENERATOR_CORE: usize = 1;
const WARM_UP: Duration = Duration::from_secs(2);

/// Compares Schalter with Debian's Janus.
#[derive(Parser)]
struct Args {
    /// Rounds of each server
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds to measure in each round
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Subscribers of the one publisher
    #[arg(long, default_value_t = 50)]
    subscribers: u32,
    /// Ten people who all hear each other instead
    #[arg(long)]
    ten_party: bool,
    /// Least ratio of Janus's default CPU per packet to Schalter's, median of the rounds
    #[arg(long, value_name = "RATIO", default_value_t = 6.0)]
    min_ratio: f64,
    /// Highest 99th percentile of Schalter's delay, median of the rounds
    #[arg(long, value_name = "MS", default_value_t = 5.0)]
    max_p99_ms: f64,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Contender {
    Schalter,
    Janus,
    JanusOneLoop,
}

impl Contender {
    const ALL: [Self; 3] = [Self::Schalter, Self::Janus, Self::JanusOneLoop];

    fn name(self) -> &'static str {
        match self {
            Self::Schalter => "Schalter",
            Self::Janus => "Janus, default",
            Self::JanusOneLoop => "Janus, event_loops=1",
        }
    }

    fn start(self) -> Result<(Spawned, Target), LoadError> {
        let janus = |event_loops| {
            let (spawned, server) = spawn_janus(ADDRESS, event_loops, Some(SERVER_CORE))?;
            Ok((spawned, Target::Janus(server)))
        };
        match self {
            Self::Schalter => {
                let options = SchalterOptions {
                    address: ADDRESS,
                    core: Some(SERVER_CORE),
                    ..SchalterOptions::find()?
                };
                let (spawned, server) = spawn_schalter(&options)?;
                Ok((spawned, Target::LiveKit(server)))
            }
            Self::Janus => janus(None),
            Self::JanusOneLoop => janus(Some(1)),
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = if std::env::var_os(INSIDE).is_some() {
        inside(&args)
    } else {
        let missing = missing();
        if missing.is_empty() {
            enter()
        } else {
            Err(LoadError::Usage(format!("missing: {}", missing.join("; "))))
        }
    };
    result.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "error: {error}");
        ExitCode::from(SETUP)
    })
}

/// Exit code when nothing could be measured.
const SETUP: u8 = 2;
/// Exit code below a bar.
const BELOW: u8 = 1;

/// What has to be there and is not, each with the way to get it.
fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("root, for a network namespace (sudo -E)".to_owned());
    }
    for (program, package) in [
        ("janus", "janus"),
        ("ip", "iproute2"),
        ("unshare", "util-linux"),
    ] {
        let found = std::env::var_os("PATH").is_some_and(|path| {
            // A user's PATH often lacks what only root needs.
            let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
            folders
                .into_iter()
                .any(|folder| folder.join(program).is_file())
        });
        if !found {
            missing.push(format!("{program} (apt-get install {package})"));
        }
    }
    if let Err(error) = SchalterOptions::find() {
        missing.push(error.to_string());
    }
    missing
}

/// Runs this program again in a network namespace of its own.
fn enter() -> Result<ExitCode, LoadError> {
    let own = std::env::current_exe().map_err(|error| LoadError::io("own path", error))?;
    let status = Command::new("unshare")
        .args(["--net", "--"])
        .arg(own)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .status()
        .map_err(|error| LoadError::io("unshare (needs root and util-linux)", error))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(SETUP)))
}

fn set_up_network() -> Result<(), LoadError> {
    let address = format!("{ADDRESS}/32");
    for arguments in [
        &["link", "set", "lo", "up"][..],
        &[
            "link", "add", "bench0", "type", "veth", "peer", "name", "bench1",
        ],
        &["addr", "add", &address, "dev", "bench0"],
        &["link", "set", "bench0", "up"],
        &["link", "set", "bench1", "up"],
    ] {
        let status = Command::new("ip")
            .args(arguments)
            .status()
            .map_err(|error| LoadError::io("ip (iproute2)", error))?;
        if !status.success() {
            return Err(LoadError::Usage(format!(
                "ip {} failed",
                arguments.join(" ")
            )));
        }
    }
    Ok(())
}

fn inside(args: &Args) -> Result<ExitCode, LoadError> {
    set_up_network()?;
    // Signaling of the generator stays beside its media.
    schalter_load::process::pin_to(GENERATOR_CORE)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| LoadError::io("runtime", error))?;
    let mut reports: Vec<(Contender, Report)> = Vec::new();
    for round in 1..=args.rounds {
        for contender in Contender::ALL {
            let report = runtime.block_on(one_run(contender, args))?;
            say(&format!(
                "round {round}  {:<21} {}",
                contender.name(),
                report.summary()
            ))?;
            reports.push((contender, report));
        }
    }
    summarise(args, &reports)
}

async fn one_run(contender: Contender, args: &Args) -> Result<Report, LoadError> {
    let (mut spawned, target) = contender.start()?;
    let mut generator = Generator::start(PeerOptions {
        local: ADDRESS,
        profile: SrtpProfile::AeadAes128Gcm,
        feedback: Feedback::default(),
        core: Some(GENERATOR_CORE),
    })?;
    let plan = CallPlan {
        rooms: 1,
        publishers: if args.ten_party { 10 } else { 1 },
        subscribers: if args.ten_party { 0 } else { args.subscribers },
        mutual: args.ten_party,
        feed: FeedConfig::default(),
        name: "bench".to_owned(),
    };
    let call = Call::start(&target, &mut generator, plan).await?;
    tokio::time::sleep(WARM_UP).await;
    let span = Duration::from_secs(args.seconds);
    let report = call
        .measure(&mut generator, span, Some(spawned.pid()))
        .await?;
    call.end(&mut generator).await;
    spawned.stop();
    Ok(report)
}

fn say(line: &str) -> Result<(), LoadError> {
    writeln!(io::stdout(), "{line}").map_err(|error| LoadError::io("standard output", error))
}

fn summarise(args: &Args, reports: &[(Contender, Report)]) -> Result<ExitCode, LoadError> {
    let of = |contender: Contender, value: &dyn Fn(&Report) -> f64| {
        let values: Vec<f64> = reports
            .iter()
            .filter(|(c, _)| *c == contender)
            .map(|(_, report)| value(report))
            .collect();
        median(&values)
    };
    let cpu = |report: &Report| report.server.map_or(0.0, |server| server.cpu_us_per_packet);
    say(&format!(
        "\nmedians of {} rounds of {} s:",
        args.rounds, args.seconds
    ))?;
    say(
        "                       µs CPU/packet   delay p50/p99 ms   RSS MiB   lost packets   foreign load",
    )?;
    for contender in Contender::ALL {
        let lost = |r: &Report| {
            (r.audio.expected + r.video.expected - r.audio.delivered - r.video.delivered) as f64
        };
        say(&format!(
            "{:<21} {:>15.2} {:>10.2} / {:<5.2} {:>10.1} {:>14.0} {:>12.0} %",
            contender.name(),
            of(contender, &cpu),
            of(contender, &|r| r.delay.p50_ms),
            of(contender, &|r| r.delay.p99_ms),
            of(contender, &|r| r
                .server
                .map_or(0.0, |server| server.rss_mib)),
            of(contender, &lost),
            of(contender, &|r| r.foreign_load * 100.0),
        ))?;
    }
    let mut complaints = Vec::new();
    let lost =
        |r: &Report| r.audio.expected + r.video.expected - r.audio.delivered - r.video.delivered;
    let ours = || reports.iter().filter(|(c, _)| *c == Contender::Schalter);
    let all_lost: u64 = ours().map(|(_, report)| lost(report)).sum();
    if all_lost > 0 {
        complaints.push(format!("{all_lost} packets lost by Schalter, 0 allowed"));
    }
    let p99 = of(Contender::Schalter, &|r| r.delay.p99_ms);
    if p99 > args.max_p99_ms {
        complaints.push(format!(
            "delay p99 {p99:.2} ms, {} allowed",
            args.max_p99_ms
        ));
    }
    for peer in [Contender::Janus, Contender::JanusOneLoop] {
        // Round by round, so that what the machine did to one round it did to both.
        let ratios: Vec<f64> = reports
            .chunks(Contender::ALL.len())
            .map(|round| {
                let of = |contender| {
                    round
                        .iter()
                        .find(|(c, _)| *c == contender)
                        .map_or(f64::NAN, |(_, report)| cpu(report))
                };
                of(peer) / of(Contender::Schalter)
            })
            .collect();
        say(&format!(
            "{} costs {:.1} × as much as Schalter (median ratio)",
            peer.name(),
            median(&ratios)
        ))?;
        let ratio = median(&ratios);
        // A ratio that is no number is below every bar.
        if peer == Contender::Janus && (ratio.is_nan() || ratio < args.min_ratio) {
            complaints.push(format!(
                "ratio {ratio:.1}, at least {} asked",
                args.min_ratio
            ));
        }
    }
    if reports.iter().any(|(_, report)| !report.clean) {
        say(
            "Foreign load above 10 % in at least one round: no number above may be quoted, ratios with care.",
        )?;
    }
    if complaints.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("BELOW THE BAR: {}", complaints.join("; ")))?;
    Ok(ExitCode::from(BELOW))
}
