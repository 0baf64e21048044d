//! A server, and clients that speak to it directly.

#![allow(
    clippy::allow_attributes,
    dead_code,
    reason = "one test file uses all of it, the others a part"
)]
#![expect(
    clippy::unwrap_used,
    reason = "part of tests: a panic is a failed test"
)]

use std::net::SocketAddr;
use std::time::Duration;

use schalter_model::{DropReason, Path, ShardId, Time, WallClock};
use schalter_testkit::turn_client::{TurnAnswer, TurnClient};
use schalter_turn::{MAX_ANSWER_LEN, Received, Secret, Turn, TurnConfig, TurnLimits, UserName};

pub(crate) const NODE: u16 = 3;
pub(crate) const SHARD: ShardId = ShardId(2);
/// The wall clock at the start, in seconds since the Unix epoch.
pub(crate) const START: u64 = 1_764_000_000;

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The media socket over IPv4, over IPv6.
pub(crate) fn target() -> SocketAddr {
    address("203.0.113.1:7884")
}

pub(crate) fn target6() -> SocketAddr {
    address("[2001:db8::1]:7884")
}

pub(crate) fn secret() -> Secret {
    Secret::new([7; 32])
}

pub(crate) fn user(random: u64) -> UserName {
    UserName::new(START + 3_600, NODE, SHARD, random)
}

pub(crate) fn client_of(user: UserName) -> TurnClient {
    TurnClient::new(&user.to_string(), secret().password(&user).as_str())
}

pub(crate) fn client() -> TurnClient {
    client_of(user(1))
}

pub(crate) fn from(port: u16) -> Path {
    Path::udp(SocketAddr::from(([192, 0, 2, 7], port)), None)
}

pub(crate) struct Rig {
    pub(crate) turn: Turn,
    pub(crate) now: Time,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(vec![target(), target6()], TurnLimits::default())
    }

    pub(crate) fn with(targets: Vec<SocketAddr>, limits: TurnLimits) -> Self {
        Self {
            turn: Turn::new(TurnConfig {
                node: NODE,
                shard: SHARD,
                secret: secret(),
                wall: WallClock::new(START * 1_000_000_000),
                seed: 11,
                targets,
                limits,
            }),
            now: Time::ZERO,
        }
    }

    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        if self.turn.next_timeout().is_some_and(|at| at <= self.now) {
            self.turn.on_timeout(self.now);
        }
    }

    pub(crate) fn take(&mut self, path: Path, datagram: &[u8]) -> Result<Received, DropReason> {
        self.turn.on_datagram(self.now, path, datagram)
    }

    pub(crate) fn answer(&mut self, path: Path) -> Option<Vec<u8>> {
        let mut out = [0; MAX_ANSWER_LEN];
        let (to, len) = self.turn.poll_transmit(&mut out)?;
        assert_eq!(to, path, "an answer goes where the request came from");
        Some(out[..len].to_vec())
    }

    /// Sends a request and reads the answer.
    pub(crate) fn ask(&mut self, client: &mut TurnClient, path: Path, bytes: &[u8]) -> TurnAnswer {
        assert_eq!(self.take(path, bytes), Ok(Received::Taken));
        let answer = self.answer(path).expect("an answer");
        client.on_answer(&answer)
    }

    /// Learns realm and nonce, then allocates.
    pub(crate) fn allocate(&mut self, client: &mut TurnClient, path: Path) -> TurnAnswer {
        let first = client.allocate();
        assert_eq!(self.ask(client, path, &first).error, Some(401));
        let second = client.allocate();
        let answer = self.ask(client, path, &second);
        assert_eq!(answer.error, None, "{answer:?}");
        assert!(answer.authentic);
        answer
    }
}
