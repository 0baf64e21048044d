//! What strangers and broken clients may send, while a call that runs must not notice.
//!
//! Forged connectivity checks, datagrams of noise, SRTP that is replayed, cut short or tampered with on the call's own
//! sockets, and participants that join and never come.

use std::cell::Cell;
use std::fmt;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use schalter_transport::Fingerprint;
use schalter_transport::stun::{
    BINDING, IntegrityKey, StunClass, StunWriter, TransactionId, attribute,
};
use serde::Serialize;
use tokio::time::Instant;

use crate::call::{Call, CallPlan, Generator};
use crate::engine::{PeerId, bind};
use crate::error::LoadError;
use crate::feed::FeedConfig;
use crate::livekit::{Knock, LiveKit};
use crate::process::resident;
use crate::report::Report;
use crate::server::Spawned;
use crate::target::{MediaPath, Target};

/// Subscribers of the call that must not notice.
const SUBSCRIBERS: u32 = 5;
/// Length of one measurement.
const SLICE: Duration = Duration::from_secs(3);
/// Joins at one time: enough that most half-open transports exist together before the first times out.
const KNOCKING_AT_ONCE: usize = 32;
/// How long a shard's counters may be old.
const PUBLISHED: Duration = Duration::from_millis(1_500);
/// How long newcomers may have to wait: half-open transports end after 30 s without a check.
const PATIENCE: Duration = Duration::from_secs(60);
/// Sockets that strangers send from.
const STRANGERS: usize = 16;
/// Packets between two looks at the clock.
const BURST: u32 = 20;

/// How much hostility.
#[derive(Clone, Copy, Debug)]
pub struct HostileOptions {
    /// Packets of each kind.
    pub count: u32,
    /// Participants that join and never come.
    pub joins: u32,
    /// Packets per second, all kinds together.
    pub rate: u32,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Hostile {
    /// Packets of each kind.
    pub count: u32,
    /// Participants that joined, offered and never came.
    pub joined: u32,
    /// Of those, sessions that the server ended because it had no place for their transport.
    pub turned_away: u32,
    /// Joins that the server refused outright, which it may.
    pub refused: u32,
    /// What the server counted, where it is known.
    pub counted: Option<Counted>,
    /// The call before.
    pub quiet: Report,
    /// The call meanwhile, one report for every few seconds.
    pub attacked: Vec<Report>,
    /// Seconds after the attack until a new call could be made; none if it could not.
    pub open_to_others_after: Option<f64>,
}

/// The server's own view while the attackers are still connected.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Counted {
    /// Half-open transports.
    pub half_open: u64,
    /// Transports refused by a limit.
    pub over_limit: u64,
    /// Resident memory before, MiB.
    pub before_mib: f64,
    /// Resident memory meanwhile, MiB.
    pub meanwhile_mib: f64,
}

impl Hostile {
    /// What is not as promised: every packet of the call arrives, others can come, and whoever the server has no place
    /// for is turned away and counted.
    pub fn complaints(&self, max_rss_mib: Option<f64>) -> Vec<String> {
        let mut complaints = Vec::new();
        let whole = |report: &Report| report.complete() && report.lost_signaling == 0;
        if !whole(&self.quiet) {
            complaints.push("the call was not whole before".to_owned());
        }
        if !self.attacked.iter().all(whole) {
            complaints.push("the call noticed the attack".to_owned());
        }
        if self.open_to_others_after.is_none() {
            complaints.push("newcomers were shut out".to_owned());
        }
        if let Some(counted) = self.counted {
            let served = counted.half_open + counted.over_limit;
            // Sessions that ended by their time limit are in neither number.
            if served == 0 && self.joined > 0 {
                complaints.push("no half-open transport was counted".to_owned());
            }
            if counted.over_limit < u64::from(self.turned_away) {
                complaints.push(format!(
                    "{} sessions were turned away, {} counted",
                    self.turned_away, counted.over_limit
                ));
            }
            if let Some(limit) = max_rss_mib
                && counted.meanwhile_mib > limit
            {
                complaints.push(format!(
                    "{:.1} MiB resident, more than {limit:.1}",
                    counted.meanwhile_mib
                ));
            }
        }
        complaints
    }
}

fn plan(name: &str) -> CallPlan {
    CallPlan {
        rooms: 1,
        publishers: 1,
        subscribers: SUBSCRIBERS,
        mutual: false,
        feed: FeedConfig::default(),
        name: name.to_owned(),
    }
}

/// Runs a call, attacks, and compares. `pid` is the server's process, `spawned` the server, if it is ours: then its
/// metrics count, too.
///
/// # Errors
/// [`LoadError`] when the call can't be made in the first place.
pub async fn run(
    server: &LiveKit,
    generator: &mut Generator,
    options: HostileOptions,
    pid: Option<u32>,
    spawned: Option<&Spawned>,
) -> Result<Hostile, LoadError> {
    let target = Target::LiveKit(server.clone());
    let call = Call::start(&target, generator, plan("victim")).await?;
    let publisher = publisher_of(&call)?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let quiet = call.measure(generator, SLICE, pid).await?;
    let before = spawned.map(|spawned| resident(spawned.pid()));
    let attack = Attack::new(generator, publisher).await?;
    let shared = Arc::clone(&generator.shared);
    let over = Cell::new(false);
    let hostilities = async {
        let (knocks, ()) = tokio::join!(
            knock(server, options.joins, shared.certificate.fingerprint()),
            attack.run(&shared.engine, options.count, options.rate.max(1)),
        );
        over.set(true);
        knocks
    };
    let (attacked, (knocks, refused)) =
        tokio::join!(measure_until(&call, generator, pid, &over), hostilities);
    let counted = match spawned.zip(before) {
        Some((spawned, before)) => Some(count(spawned, before).await?),
        None => None,
    };
    let turned_away = knocks.iter().filter(|knock| knock.ended()).count() as u32;
    let joined = knocks.len() as u32;
    // As long as there is place for one more, nobody has to wait for the attackers to go.
    let full = turned_away > 0 || counted.is_some_and(|counted| counted.over_limit > 0);
    let kept = (!full).then_some(knocks);
    let open_to_others_after = newcomers(&target, generator).await;
    drop(kept);
    call.end(generator).await;
    Ok(Hostile {
        count: options.count,
        joined,
        turned_away,
        refused,
        counted,
        quiet,
        attacked: attacked?,
        open_to_others_after,
    })
}

async fn measure_until(
    call: &Call,
    generator: &mut Generator,
    pid: Option<u32>,
    over: &Cell<bool>,
) -> Result<Vec<Report>, LoadError> {
    let mut reports = Vec::new();
    loop {
        reports.push(call.measure(generator, SLICE, pid).await?);
        if over.get() {
            return Ok(reports);
        }
    }
}

/// What the server says of itself, a moment after the last join: shards publish their counters once a second.
async fn count(spawned: &Spawned, before: u64) -> Result<Counted, LoadError> {
    let meanwhile = resident(spawned.pid());
    tokio::time::sleep(PUBLISHED).await;
    let metrics = spawned.metrics().await?;
    let transports = |state| metrics.value(&format!("schalter_transports{{state=\"{state}\"}}"));
    let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
    Ok(Counted {
        half_open: (transports("new") + transports("connecting")) as u64,
        over_limit: metrics.value("schalter_drops_total{reason=\"transport_limit\"}") as u64,
        before_mib: mib(before),
        meanwhile_mib: mib(meanwhile),
    })
}

/// Tries to make a call until it succeeds; answers how many seconds that took.
async fn newcomers(target: &Target, generator: &mut Generator) -> Option<f64> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let before = start.elapsed().as_secs_f64();
        match Call::start(target, generator, plan("newcomers")).await {
            Ok(call) => {
                call.end(generator).await;
                return Some(before);
            }
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
    None
}

fn publisher_of(call: &Call) -> Result<(PeerId, MediaPath), LoadError> {
    call.members()
        .find(|(who, _)| who.publish.is_some())
        .map(|(_, member)| (member.peer(), member.path().clone()))
        .ok_or_else(|| LoadError::Usage("a call without publisher".to_owned()))
}

/// Joins, offers and never comes. Answers the connections, to be kept, and how many were refused.
async fn knock(server: &LiveKit, joins: u32, fingerprint: &Fingerprint) -> (Vec<Knock>, u32) {
    let results: Vec<_> = futures_util::stream::iter(0..joins)
        .map(|index| async move {
            // Fifty to a room, so that rooms count as well.
            let room = format!("knock-{}", index / 50);
            server
                .knock(&room, &format!("knock-{index}"), fingerprint)
                .await
        })
        .buffer_unordered(KNOCKING_AT_ONCE)
        .collect()
        .await;
    let open: Vec<Knock> = results.into_iter().flatten().collect();
    let refused = joins - open.len() as u32;
    (open, refused)
}

struct Attack {
    strangers: Vec<UdpSocket>,
    path: MediaPath,
    insider: PeerId,
    sealed: Vec<Vec<u8>>,
}

impl Attack {
    /// Kinds of packets, see [`Self::packet`].
    const KINDS: u32 = 6;

    async fn new(generator: &Generator, publisher: (PeerId, MediaPath)) -> Result<Self, LoadError> {
        let (insider, path) = publisher;
        let strangers = (0..STRANGERS)
            .map(|_| {
                let socket = bind(generator.shared.local)?;
                socket
                    .connect(path.candidate)
                    .map_err(|error| LoadError::socket(path.candidate, error))?;
                Ok(socket)
            })
            .collect::<Result<Vec<_>, LoadError>>()?;
        let sealed = generator.shared.engine.sealed_packets(insider).await;
        if sealed.is_empty() {
            return Err(LoadError::Usage(
                "the publisher has sent nothing to replay".to_owned(),
            ));
        }
        Ok(Self {
            strangers,
            path,
            insider,
            sealed,
        })
    }

    async fn run(&self, engine: &crate::engine::Engine, count: u32, rate: u32) {
        let start = Instant::now();
        for number in 0..count * Self::KINDS {
            if number % BURST == 0 {
                let due = start + Duration::from_secs_f64(f64::from(number) / f64::from(rate));
                tokio::time::sleep_until(due).await;
            }
            let (from_insider, packet) = self.packet(number);
            if from_insider {
                engine.inject(self.insider, packet);
            } else {
                // A stranger does not care whether it arrives.
                let _ = self.strangers[number as usize % STRANGERS].send(&packet);
            }
        }
    }

    /// A hostile packet, and whether it comes from the publisher's own socket.
    fn packet(&self, number: u32) -> (bool, Vec<u8>) {
        let sealed = &self.sealed[(number / Self::KINDS) as usize % self.sealed.len()];
        match number % Self::KINDS {
            0 => (false, self.forged_check()),
            1 => (false, noise(number)),
            // A packet of the session from an address that it never had.
            2 => (false, sealed.clone()),
            // Replayed bit by bit.
            3 => (true, sealed.clone()),
            4 => {
                let keep = number as usize % sealed.len();
                (true, sealed[..keep].to_vec())
            }
            _ => {
                let mut tampered = sealed.clone();
                let at = number as usize % tampered.len();
                tampered[at] ^= 1 << (number % 8);
                (true, tampered)
            }
        }
    }

    /// A connectivity check for the publisher, signed with a guessed password.
    fn forged_check(&self) -> Vec<u8> {
        let mut out = vec![0; 512];
        let write = |out: &mut [u8]| {
            let id = TransactionId(rand::random());
            let mut writer = StunWriter::new(out, StunClass::Request, BINDING, id)?;
            let user = format!("{}:evil", self.path.ufrag);
            writer.attribute(attribute::USERNAME, user.as_bytes())?;
            writer.attribute(attribute::ICE_CONTROLLING, &[1; 8])?;
            writer.attribute(attribute::USE_CANDIDATE, &[])?;
            writer.integrity(&IntegrityKey::new(b"guessedguessedguessedguess"))?;
            writer.fingerprint()
        };
        let len = write(&mut out).expect("512 bytes hold a binding request");
        out.truncate(len);
        out
    }
}

/// Random bytes of random length; each first byte, so each protocol, has its turn.
fn noise(number: u32) -> Vec<u8> {
    let len = 1 + usize::from(rand::random::<u16>()) % 1_200;
    let mut out: Vec<u8> = (0..len).map(|_| rand::random()).collect();
    out[0] = (number / Attack::KINDS) as u8;
    out
}

impl fmt::Display for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} packets each of: forged checks, noise, stolen SRTP, replayed SRTP, cut SRTP, tampered SRTP; \
             {} joined without coming ({} of them turned away, {} refused beside)",
            self.count, self.joined, self.turned_away, self.refused
        )?;
        writeln!(f, "  before     {}", self.quiet.summary())?;
        for report in &self.attacked {
            writeln!(f, "  meanwhile  {}", report.summary())?;
        }
        if let Some(counted) = self.counted {
            writeln!(
                f,
                "  server     {} half-open transports, {} refused by the limit; resident {:.1} → {:.1} MiB",
                counted.half_open, counted.over_limit, counted.before_mib, counted.meanwhile_mib
            )?;
        }
        match self.open_to_others_after {
            Some(seconds) => write!(f, "  newcomers  welcome after {seconds:.0} s"),
            None => write!(f, "  newcomers  SHUT OUT"),
        }
    }
}

#[cfg(test)]
mod tests {
    use schalter_transport::stun::StunMessage;

    use super::*;

    fn attack() -> Attack {
        Attack {
            strangers: Vec::new(),
            path: MediaPath {
                candidate: "127.0.0.1:9".parse().unwrap(),
                ufrag: "victim".to_owned(),
            },
            insider: PeerId(0),
            sealed: vec![vec![0x80; 100]],
        }
    }

    #[test]
    fn forged_checks_are_well_formed_and_name_the_victim() {
        let packet = attack().forged_check();
        let message = StunMessage::parse(&packet).unwrap();
        assert_eq!(message.username(), Some((&b"victim"[..], &b"evil"[..])));
        assert_eq!(message.verify_fingerprint(), Some(true));
    }

    #[test]
    fn every_kind_differs_from_what_the_session_sent_or_where_it_came_from() {
        let attack = attack();
        for round in 0..200 {
            for kind in 0..Attack::KINDS {
                let (insider, packet) = attack.packet(round * Attack::KINDS + kind);
                let same = packet == attack.sealed[0];
                assert_eq!(same, kind == 2 || kind == 3, "{kind}");
                assert_eq!(insider, kind >= 3, "{kind}");
            }
        }
    }
}
