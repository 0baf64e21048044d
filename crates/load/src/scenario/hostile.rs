//! What strangers and broken clients may send, while a call that runs must not notice.
//!
//! Forged connectivity checks, datagrams of noise, SRTP that is replayed, cut short or tampered with on the call's own
//! sockets, and participants that join and never come.

use std::fmt;
use std::net::UdpSocket;
use std::time::Duration;

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
use crate::report::Report;
use crate::target::{MediaPath, Target};

/// Subscribers of the call that must not notice.
const SUBSCRIBERS: u32 = 5;
/// Length of the quiet measurement before, and the least length of the one during the attack.
const QUIET: Duration = Duration::from_secs(3);
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
    /// Participants that joined and never came.
    pub joined: u32,
    /// Joins that the server refused, which it may.
    pub refused: u32,
    /// The call before.
    pub quiet: Report,
    /// The call meanwhile.
    pub attacked: Report,
    /// A new call could be made while the half-open sessions were still there.
    pub open_to_others: bool,
}

impl Hostile {
    /// Whether every packet of the call arrived, before and meanwhile, and others could still come.
    pub fn undisturbed(&self) -> bool {
        self.quiet.complete() && self.attacked.complete() && self.open_to_others
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

/// Runs a call, attacks, and compares.
///
/// # Errors
/// [`LoadError`] when the call can't be made in the first place.
pub async fn run(
    server: &LiveKit,
    generator: &mut Generator,
    options: HostileOptions,
    pid: Option<u32>,
) -> Result<Hostile, LoadError> {
    let target = Target::LiveKit(server.clone());
    let call = Call::start(&target, generator, plan("victim")).await?;
    let publisher = publisher_of(&call)?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let quiet = call.measure(generator, QUIET, pid).await?;
    let attack = Attack::new(generator, publisher).await?;
    let shared = std::sync::Arc::clone(&generator.shared);
    let rate = options.rate.max(1);
    let span =
        Duration::from_secs_f64(f64::from(options.count) * Attack::KINDS as f64 / f64::from(rate));
    let (attacked, knocks, ()) = tokio::join!(
        call.measure(generator, span.max(QUIET), pid),
        knock(server, options.joins),
        attack.run(&shared.engine, options.count, rate),
    );
    let (knocks, refused) = knocks;
    let open_to_others = match Call::start(&target, generator, plan("newcomers")).await {
        Ok(call) => {
            call.end(generator).await;
            true
        }
        Err(_) => false,
    };
    call.end(generator).await;
    Ok(Hostile {
        count: options.count,
        joined: knocks.len() as u32,
        refused,
        quiet,
        attacked: attacked?,
        open_to_others,
    })
}

fn publisher_of(call: &Call) -> Result<(PeerId, MediaPath), LoadError> {
    call.members()
        .find(|(who, _)| who.publish.is_some())
        .map(|(_, member)| (member.peer(), member.path().clone()))
        .ok_or_else(|| LoadError::Usage("a call without publisher".to_owned()))
}

/// Joins and never comes. Answers the connections, to be kept, and how many were refused.
async fn knock(server: &LiveKit, joins: u32) -> (Vec<Knock>, u32) {
    let (mut open, mut refused) = (Vec::new(), 0);
    for index in 0..joins {
        // Fifty to a room, so that rooms count as well.
        let room = format!("knock-{}", index / 50);
        match server.knock(&room, &format!("knock-{index}")).await {
            Ok(knock) => open.push(knock),
            Err(_) => refused += 1,
        }
    }
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
             {} joined without coming ({} refused)",
            self.count, self.joined, self.refused
        )?;
        writeln!(f, "  before     {}", self.quiet.summary())?;
        writeln!(f, "  meanwhile  {}", self.attacked.summary())?;
        write!(
            f,
            "  newcomers  {}",
            if self.open_to_others {
                "welcome"
            } else {
                "SHUT OUT"
            }
        )
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
