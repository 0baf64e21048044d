//! The command line.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use schalter_load::call::PeerOptions;
use schalter_load::error::LoadError;
use schalter_load::feed::FeedConfig;
use schalter_load::janus::Janus;
use schalter_load::link::LinkConfig;
use schalter_load::livekit::LiveKit;
use schalter_load::receive::Feedback;
use schalter_load::report::Bounds;
use schalter_load::server::{SchalterOptions, Spawned, spawn_schalter};
use schalter_load::target::Target;
use schalter_model::SrtpProfile;

/// Loads a media server with real ICE, DTLS and SRTP and says what arrived, how late, and what it cost.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Exit codes: 0 as promised, 1 not, 2 wrong usage."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Publishers and subscribers for some seconds
    Run(RunArgs),
    /// One room in which ten people hear and see each other
    TenParty(TenPartyArgs),
    /// A spawned server has to deliver every packet: one to fifty, and two to ten over two workers
    Smoke(SmokeArgs),
    /// Joins and leaves over and over; reports how the server's memory grows
    Churn(ChurnArgs),
    /// Half-open sessions, forged and broken packets, while a call must not notice
    HalfOpen(HalfOpenArgs),
    /// Receivers in a room that is there, each behind a link of its own; says once a second what each sees
    Receive(ReceiveArgs),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Protocol {
    /// LiveKit's protocol, as Schalter speaks it
    Livekit,
    /// Janus's video room over WebSocket
    Janus,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Profile {
    /// AEAD_AES_128_GCM
    Aes128Gcm,
    /// AEAD_AES_256_GCM
    Aes256Gcm,
    /// AES128_CM_HMAC_SHA1_80
    Aes128CmSha1,
}

impl From<Profile> for SrtpProfile {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Aes128Gcm => Self::AeadAes128Gcm,
            Profile::Aes256Gcm => Self::AeadAes256Gcm,
            Profile::Aes128CmSha1 => Self::Aes128CmSha1_80,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// Start a Schalter for the run (SCHALTER_BIN, else the one beside this program)
    #[arg(long)]
    pub(crate) spawn: bool,
    /// Media workers of the spawned server
    #[arg(long, value_name = "N", default_value_t = 1, requires = "spawn")]
    pub(crate) workers: u8,
    /// Core that the spawned server stays on
    #[arg(long, value_name = "CORE", requires = "spawn")]
    pub(crate) server_cpu: Option<usize>,
    /// What the server speaks
    #[arg(long, value_enum, default_value = "livekit", conflicts_with = "spawn")]
    pub(crate) server: Protocol,
    /// Where it listens, e.g. ws://127.0.0.1:7880
    #[arg(long, required_unless_present = "spawn", conflicts_with = "spawn")]
    pub(crate) url: Option<String>,
    /// API key (livekit)
    #[arg(long, value_name = "NAME")]
    pub(crate) key: Option<String>,
    /// File with the key's secret (livekit)
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// The server's process, whose CPU and memory count with all that it started
    #[arg(long, value_name = "PID", conflicts_with = "spawn")]
    pub(crate) server_pid: Option<u32>,
    #[command(flatten)]
    pub(crate) peers: PeerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    /// SRTP profile to offer, the only one
    #[arg(long, value_enum, default_value = "aes128-gcm")]
    pub(crate) profile: Profile,
    /// Core for the generator's media thread
    #[arg(long, value_name = "CORE")]
    pub(crate) cpu: Option<usize>,
    /// Local address of the peers' sockets
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub(crate) local: IpAddr,
    /// Subscribers ask for missing packets again
    #[arg(long)]
    pub(crate) nack: bool,
    /// Subscribers report each packet's arrival, as browsers do (livekit)
    #[arg(long)]
    pub(crate) transport_cc: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FeedArgs {
    /// Video packets per second of each publisher; 0 for none
    #[arg(long, value_name = "N", default_value_t = FeedConfig::default().video_packets)]
    pub(crate) video_packets: u32,
    /// RTP payload of a video packet, bytes
    #[arg(long, value_name = "BYTES", default_value_t = FeedConfig::default().video_bytes)]
    pub(crate) video_bytes: usize,
    /// Frames per second; a frame's packets leave as one burst
    #[arg(long, value_name = "N", default_value_t = FeedConfig::default().video_bursts)]
    pub(crate) frames: u32,
    /// Audio packets per second of each publisher; 0 for none
    #[arg(long, value_name = "N", default_value_t = FeedConfig::default().audio_packets)]
    pub(crate) audio_packets: u32,
    /// RTP payload of an audio packet, bytes
    #[arg(long, value_name = "BYTES", default_value_t = FeedConfig::default().audio_bytes)]
    pub(crate) audio_bytes: usize,
}

impl From<&FeedArgs> for FeedConfig {
    fn from(args: &FeedArgs) -> Self {
        Self {
            video_packets: args.video_packets,
            video_bytes: args.video_bytes,
            video_bursts: args.frames,
            audio_packets: args.audio_packets,
            audio_bytes: args.audio_bytes,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct MeasureArgs {
    /// Seconds before measuring, while the call runs
    #[arg(long, value_name = "S", default_value_t = 2)]
    pub(crate) warm_up: u64,
    /// Seconds to measure
    #[arg(long, value_name = "S", default_value_t = 20)]
    pub(crate) seconds: u64,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Fail unless every packet arrives
    #[arg(long)]
    pub(crate) strict: bool,
    /// Fail if the server's resident memory is above this; needs --spawn or --server-pid
    #[arg(long, value_name = "MIB")]
    pub(crate) max_rss_mib: Option<f64>,
    /// Fail if the 99th percentile of the delay is above this
    #[arg(long, value_name = "MS")]
    pub(crate) max_p99_ms: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) feed: FeedArgs,
    #[command(flatten)]
    pub(crate) measure: MeasureArgs,
    /// Rooms, all alike
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) rooms: u32,
    /// Publishers in each room
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) publishers: u32,
    /// Subscribers in each room
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) subscribers: u32,
}

#[derive(Debug, Args)]
pub(crate) struct TenPartyArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) feed: FeedArgs,
    #[command(flatten)]
    pub(crate) measure: MeasureArgs,
    /// Rooms, all alike
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) rooms: u32,
}

#[derive(Debug, Args)]
pub(crate) struct SmokeArgs {
    #[command(flatten)]
    pub(crate) peers: PeerArgs,
    /// Seconds to measure each call
    #[arg(long, value_name = "S", default_value_t = 5)]
    pub(crate) seconds: u64,
    /// Fail if the server's resident memory is above this with one publisher and fifty subscribers
    #[arg(long, value_name = "MIB", default_value_t = 40.0)]
    pub(crate) max_rss_mib: f64,
    /// Fail if the 99th percentile of the delay is above this; without it the delay is only printed, since on a busy
    /// machine it says more about the neighbours
    #[arg(long, value_name = "MS")]
    pub(crate) max_p99_ms: Option<f64>,
    /// Start the server (what happens anyway; said so that nobody expects a running one to be used)
    #[arg(long, required = true)]
    pub(crate) spawn: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ChurnArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Rounds: a room is made, filled and left
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) rounds: u32,
    /// Rounds at the start that don't count, while pools fill
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) warm_up: u32,
    /// Subscribers in each round, beside one publisher
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) subscribers: u32,
    /// Fail if resident memory grows by more than this a round
    #[arg(long, value_name = "KIB")]
    pub(crate) max_growth_kib: Option<f64>,
    /// Print JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct HalfOpenArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Hostile packets of each kind
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) count: u32,
    /// Participants that join and offer, so that a transport opens, and never send media
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(crate) joins: u32,
    /// Fail if the server's resident memory is above this while they are all there
    #[arg(long, value_name = "MIB", requires = "spawn")]
    pub(crate) max_rss_mib: Option<f64>,
    /// Hostile packets per second, all kinds together
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    pub(crate) rate: u32,
    /// Print JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// Prints one JSON object per receiver and second: `receiver` (from 0), `seconds` since the start, `link_dropped`
/// (datagrams, since the start) and `span` (since the last line) with `bytes`, `codec`, `size` (of the last picture that
/// said it), `sizes`, `frames_complete`, `frames_incomplete`, `longest_video_gap_ms`, `audio_packets`, `audio_lost`,
/// `longest_audio_gap_ms`, `nacked` and `key_frame_requests`; at the end one with `whole` instead of `span`. Answers with
/// transport-wide feedback, NACK and PLI as browsers do. Receives Opus, VP8, VP9 and AV1. Of layers a picture is complete
/// if each that came can be decoded with what came before, by the dependency descriptor for AV1 and the payload
/// descriptor for VP9, and has the size of the highest.
#[derive(Debug, Args)]
pub(crate) struct ReceiveArgs {
    /// Where the server listens, e.g. ws://127.0.0.1:7880
    #[arg(long)]
    pub(crate) url: String,
    /// File with the receivers' tokens, one a line; each makes one receiver
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: PathBuf,
    /// Limits of the receivers' links in the order of their tokens, e.g. none,300kbps,1.5mbps; those left out have none
    #[arg(long, value_name = "RATE", value_delimiter = ',')]
    pub(crate) limit: Vec<Rate>,
    /// Bytes that may wait in front of a limited link
    #[arg(long, value_name = "BYTES", default_value_t = 25_000)]
    pub(crate) queue: u64,
    /// Seconds to receive; without it, until SIGTERM, or until standard input closes
    #[arg(long, value_name = "S")]
    pub(crate) seconds: Option<u64>,
    /// SRTP profile to offer, the only one
    #[arg(long, value_enum, default_value = "aes128-gcm")]
    pub(crate) profile: Profile,
    /// Local address of the receivers' sockets
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub(crate) local: IpAddr,
}

/// A link's bits per second; `None` for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) Option<u64>);

impl std::str::FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self(None));
        }
        let (number, unit) = match (text.strip_suffix("kbps"), text.strip_suffix("mbps")) {
            (Some(number), _) => (number, 1e3),
            (None, Some(number)) => (number, 1e6),
            (None, None) => return Err("needs kbps or mbps, or is none".to_owned()),
        };
        let number: f64 = number.parse().map_err(|_| "not a number".to_owned())?;
        let rate = (number * unit) as u64;
        if rate < 1_000 {
            return Err("less than 1kbps".to_owned());
        }
        Ok(Self(Some(rate)))
    }
}

impl ReceiveArgs {
    pub(crate) fn options(&self) -> PeerOptions {
        PeerOptions {
            local: self.local,
            profile: self.profile.into(),
            feedback: Feedback {
                // The viewer asks, and asks again.
                nack: false,
                transport_cc: true,
            },
            core: None,
        }
    }

    /// The link of receiver `index`.
    pub(crate) fn link(&self, index: usize) -> Option<LinkConfig> {
        let bits_per_second = self.limit.get(index)?.0?;
        Some(LinkConfig {
            bits_per_second,
            queue_bytes: self.queue,
        })
    }
}

impl PeerArgs {
    pub(crate) fn options(&self) -> PeerOptions {
        PeerOptions {
            local: self.local,
            profile: self.profile.into(),
            feedback: Feedback {
                nack: self.nack,
                transport_cc: self.transport_cc,
            },
            core: self.cpu,
        }
    }
}

/// A server that is ready, and its process if it is known.
pub(crate) struct Ready {
    pub(crate) target: Target,
    pub(crate) pid: Option<u32>,
    /// Ours, if we started it.
    pub(crate) spawned: Option<Spawned>,
}

impl TargetArgs {
    pub(crate) fn ready(&self) -> Result<Ready, LoadError> {
        if self.spawn {
            let options = SchalterOptions {
                address: self.peers.local,
                workers: self.workers,
                core: self.server_cpu,
                ..SchalterOptions::find()?
            };
            let (spawned, server) = spawn_schalter(&options)?;
            let pid = Some(spawned.pid());
            return Ok(Ready {
                target: Target::LiveKit(server),
                pid,
                spawned: Some(spawned),
            });
        }
        let url = self.url.clone().ok_or_else(|| usage("--url is missing"))?;
        let target = match self.server {
            Protocol::Janus => Target::Janus(Janus { url }),
            Protocol::Livekit => {
                let key = self.key.clone().ok_or_else(|| usage("--key is missing"))?;
                let file = self
                    .secret_file
                    .as_ref()
                    .ok_or_else(|| usage("--secret-file is missing"))?;
                let secret = std::fs::read_to_string(file)
                    .map_err(|error| LoadError::io(file.display().to_string(), error))?
                    .trim()
                    .to_owned();
                Target::LiveKit(LiveKit { url, key, secret })
            }
        };
        Ok(Ready {
            target,
            pid: self.server_pid,
            spawned: None,
        })
    }
}

fn usage(what: &str) -> LoadError {
    LoadError::Usage(what.to_owned())
}

impl MeasureArgs {
    /// What the report has to keep to.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            complete: self.strict,
            max_rss_mib: self.max_rss_mib,
            max_p99_ms: self.max_p99_ms,
        }
    }

    pub(crate) fn warm_up(&self) -> Duration {
        Duration::from_secs(self.warm_up)
    }

    pub(crate) fn span(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn links_have_rates_with_units() {
        assert_eq!("none".parse(), Ok(Rate(None)));
        assert_eq!("300kbps".parse(), Ok(Rate(Some(300_000))));
        assert_eq!("1.5mbps".parse(), Ok(Rate(Some(1_500_000))));
        for wrong in ["300", "xkbps", "0kbps", "-1mbps", "NaNmbps"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_run_needs_a_server() {
        assert!(Cli::try_parse_from(["x", "run"]).is_err());
        assert!(Cli::try_parse_from(["x", "run", "--spawn"]).is_ok());
        assert!(Cli::try_parse_from(["x", "run", "--url", "ws://a", "--spawn"]).is_err());
        assert!(Cli::try_parse_from(["x", "smoke"]).is_err());
    }
}
