//! Question: what does a forwarded packet cost by ICE-TCP and TURN, plain and over TLS, beside UDP?
//!
//! The whole way: a server of its own for each measurement, one publisher by UDP, subscribers by the carrier in question. What counts
//! is the CPU of the server's process for each packet that arrives. The subscribers are the load generator's, which knows UDP
//! only; a tunnel of it takes each by a socket or connection of its own, so that the server has them by each carrier as it would have
//! browsers. Carriers take turns, and each is compared with UDP of the same round.
//!
//! Server on the first core, generator and tunnel on the last. Needs a built server: see `SchalterOptions::find`.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use schalter_benches::median;
use schalter_load::call::{Call, CallPlan, Generator, PeerOptions};
use schalter_load::error::LoadError;
use schalter_load::feed::FeedConfig;
use schalter_load::livekit::{Grant, LiveKit, mint};
use schalter_load::receive::Feedback;
use schalter_load::report::Report;
use schalter_load::server::{SchalterOptions, Spawned, spawn_schalter};
use schalter_load::target::Target;
use schalter_load::tunnel::{Connect, Tunnel, TurnLogin, Way, Wire};
use schalter_model::SrtpProfile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The server's address.
const ADDRESS: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// The tunnel's, which clients are told.
const TOLD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// The name of the server's certificate.
const NAME: &str = "localhost";
/// After everybody hears everybody, before measuring.
const WARM_UP: Duration = Duration::from_secs(1);

/// Compares carriers.
#[derive(Parser)]
struct Args {
    /// Rounds; in each every carrier has its turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds to measure in each turn
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Subscribers of the one publisher
    #[arg(long, default_value_t = 20)]
    subscribers: u32,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Udp,
    TurnUdp,
    IceTcp,
    IceTls,
    TurnTls,
}

impl Carrier {
    /// In the order of their turns.
    const ALL: [Self; 5] = [
        Self::Udp,
        Self::TurnUdp,
        Self::IceTcp,
        Self::IceTls,
        Self::TurnTls,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::TurnUdp => "TURN over UDP",
            Self::IceTcp => "ICE-TCP",
            Self::IceTls => "ICE-TCP over TLS",
            Self::TurnTls => "TURN over TLS",
        }
    }
}

/// A certificate on the disk, which goes with this.
struct Secured {
    folder: PathBuf,
    root: CertificateDer<'static>,
}

impl Drop for Secured {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Secured {
    fn make() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("schalter-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]);
        let made = made.map_err(io::Error::other)?;
        std::fs::write(folder.join("chain.pem"), made.cert.pem())?;
        std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())?;
        Ok(Self {
            folder,
            root: made.cert.der().clone(),
        })
    }

    fn client(&self) -> io::Result<TlsConnector> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// A server that runs, and where it is.
struct Server {
    process: Spawned,
    livekit: LiveKit,
    media: SocketAddr,
    turn_udp: SocketAddr,
    tls: SocketAddr,
}

impl Server {
    fn start(secured: &Secured, core: usize) -> Result<Self, LoadError> {
        let failed = |error| LoadError::io("looking for free ports", error);
        let at = |address: io::Result<SocketAddr>| address.map_err(failed);
        // Held until both are known.
        let tcp = TcpListener::bind((ADDRESS, 0)).map_err(failed)?;
        let udp = UdpSocket::bind((ADDRESS, 0)).map_err(failed)?;
        let (tls, turn_udp) = (at(tcp.local_addr())?, at(udp.local_addr())?);
        drop((tcp, udp));
        let folder = secured.folder.display();
        let options = SchalterOptions {
            core: Some(core),
            told: Some(IpAddr::V4(TOLD)),
            more: vec![
                format!(
                    "tls: {{cert_file: {folder}/chain.pem, key_file: {folder}/key.pem, port: {}}}",
                    tls.port()
                ),
                format!("turn: {{udp_port: {}}}", turn_udp.port()),
            ],
            ..SchalterOptions::find()?
        };
        let (process, livekit) = spawn_schalter(&options)?;
        let media = process.media_port().unwrap_or_default();
        Ok(Self {
            process,
            livekit,
            media: (ADDRESS, media).into(),
            turn_udp,
            tls,
        })
    }

    /// Where pages and ICE-TCP are, without TLS.
    fn plain(&self) -> Result<SocketAddr, LoadError> {
        let address = self.livekit.url.strip_prefix("ws://");
        let address = address.and_then(|text| text.parse().ok());
        address.ok_or_else(|| LoadError::Server(format!("no address: {}", self.livekit.url)))
    }

    /// Credentials for TURN, as WHIP hands them out (RFC 9725 §4.6).
    async fn login(&self) -> Result<TurnLogin, LoadError> {
        let (room, identity) = ("bench", "bench");
        let grant = Grant { room, identity };
        let token = mint(&self.livekit.key, &self.livekit.secret, &grant)?;
        let plain = self.plain()?;
        let request = format!(
            "OPTIONS /whip/v1 HTTP/1.1\r\nHost: {plain}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        let exchange = async {
            let mut stream = TcpStream::connect(plain).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            io::Result::Ok(answer)
        };
        let answer = exchange.await;
        let answer = answer.map_err(|error| LoadError::io("asking for TURN", error))?;
        let value = |name: &str| {
            let (_, rest) = answer.split_once(&format!("{name}=\""))?;
            Some(rest.split_once('"')?.0.to_owned())
        };
        match (value("username"), value("credential")) {
            (Some(user), Some(password)) => Ok(TurnLogin { user, password }),
            _ => Err(LoadError::Server(format!("no TURN: {answer}"))),
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}

fn say(line: &str) -> Result<(), LoadError> {
    writeln!(io::stdout(), "{line}").map_err(|error| LoadError::io("standard output", error))
}

fn run(args: &Args) -> Result<(), LoadError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (server_core, own_core) = (0, cores - 1);
    schalter_load::process::pin_to(own_core)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| LoadError::io("runtime", error))?;
    let secured = Secured::make().map_err(|error| LoadError::io("certificate", error))?;
    let mut reports: Vec<Vec<Report>> = vec![Vec::new(); Carrier::ALL.len()];
    for round in 1..=args.rounds {
        for (carrier, reports) in Carrier::ALL.into_iter().zip(&mut reports) {
            let turn = turn(carrier, args, &secured, server_core, own_core);
            let report = runtime.block_on(turn)?;
            say(&format!(
                "round {round}  {:<17} {}",
                carrier.name(),
                report.summary()
            ))?;
            reports.push(report);
        }
    }
    summarise(args, &reports)
}

/// One measurement.
async fn turn(
    carrier: Carrier,
    args: &Args,
    secured: &Secured,
    server_core: usize,
    own_core: usize,
) -> Result<Report, LoadError> {
    let mut server = Server::start(secured, server_core)?;
    let way = match carrier {
        Carrier::Udp => Way::Udp(server.media),
        Carrier::TurnUdp => Way::TurnUdp(server.turn_udp, server.login().await?),
        Carrier::IceTcp | Carrier::IceTls => Way::IceTcp,
        Carrier::TurnTls => Way::Turn(server.login().await?),
    };
    let failed = |error| LoadError::io("tunnel", error);
    let udp = UdpSocket::bind((TOLD, server.media.port())).map_err(failed)?;
    // The publisher comes first.
    let mut ways = vec![Way::Udp(server.media)];
    ways.resize(1 + args.subscribers as usize, way);
    let tls = match carrier {
        Carrier::IceTls | Carrier::TurnTls => Some(secured.client().map_err(failed)?),
        Carrier::Udp | Carrier::TurnUdp | Carrier::IceTcp => None,
    };
    let address = if tls.is_some() {
        server.tls
    } else {
        server.plain()?
    };
    let connect: Arc<Connect> = Arc::new(move || {
        let tls = tls.clone();
        Box::pin(async move {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            let Some(tls) = tls else {
                return Ok(Box::new(tcp) as Box<dyn Wire>);
            };
            let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
            Ok(Box::new(tls.connect(name, tcp).await?) as Box<dyn Wire>)
        })
    });
    let tunnel = Tunnel::start(udp, ways, connect).map_err(failed)?;
    let mut generator = Generator::start(PeerOptions {
        local: IpAddr::V4(ADDRESS),
        profile: SrtpProfile::AeadAes128Gcm,
        feedback: Feedback::default(),
        core: Some(own_core),
    })?;
    let plan = CallPlan {
        rooms: 1,
        publishers: 1,
        subscribers: args.subscribers,
        mutual: false,
        feed: FeedConfig::default(),
        name: "carriers".to_owned(),
    };
    let target = Target::LiveKit(server.livekit.clone());
    let call = Call::start(&target, &mut generator, plan).await?;
    tokio::time::sleep(WARM_UP).await;
    let span = Duration::from_secs(args.seconds);
    let pid = Some(server.process.pid());
    let report = call.measure(&mut generator, span, pid).await?;
    let passed = tunnel.passed();
    if (passed.opened, passed.ended) != (1 + u64::from(args.subscribers), 0) {
        return Err(LoadError::Server(format!(
            "connections were lost: {passed:?}"
        )));
    }
    call.end(&mut generator).await;
    server.process.stop();
    Ok(report)
}

fn summarise(args: &Args, reports: &[Vec<Report>]) -> Result<(), LoadError> {
    let cpu = |report: &Report| {
        report
            .server
            .map_or(f64::NAN, |server| server.cpu_us_per_packet)
    };
    say(&format!(
        "\n1 publisher by UDP, {} subscribers; µs of the server's CPU a packet that arrived, medians of {} rounds of {} s (least to most):",
        args.subscribers, args.rounds, args.seconds
    ))?;
    let udp = &reports[0];
    let mut clean = true;
    for (carrier, own) in Carrier::ALL.into_iter().zip(reports) {
        let cost: Vec<f64> = own.iter().map(cpu).collect();
        // Round by round, so that what the machine did to one it did to both.
        let ratios: Vec<f64> = own.iter().zip(udp).map(|(a, b)| cpu(a) / cpu(b)).collect();
        let (least, most) = cost.iter().fold((f64::MAX, 0.0_f64), |(least, most), us| {
            (least.min(*us), most.max(*us))
        });
        let lost: u64 = own
            .iter()
            .map(|r| r.audio.expected + r.video.expected - r.audio.delivered - r.video.delivered)
            .sum();
        clean &= own.iter().all(|report| report.clean);
        say(&format!(
            "  {:<17} {:>6.2} ({least:.2} to {most:.2}), {:.2} × UDP, {lost} lost",
            carrier.name(),
            median(&cost),
            median(&ratios),
        ))?;
    }
    if !clean {
        say(
            "Foreign load above 10 % in at least one round: only the ratios may be quoted, with care.",
        )?;
    }
    Ok(())
}
