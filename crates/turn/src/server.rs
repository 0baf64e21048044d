//! The server: tells messages apart, lets through what may pass, and wraps what goes back. Requests are for [`crate::grant`].

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use schalter_model::{Carrier, DropReason, Path, RelayId, StreamId, Time, TurnCounters};
use schalter_stun::{BINDING, StunClass, StunMessage, attribute, method, method_of};

use crate::TurnConfig;
use crate::allocations::Allocations;
use crate::answer::MAX_ANSWER_LEN;
use crate::channel_data::{self, is_channel_data};
use crate::request::Family;
use crate::wrap::{Head, Wrap};

/// Answers that wait for [`Turn::poll_transmit`]; with one more the oldest gives way, and its client asks again. A worker
/// sends after every few datagrams.
const MAX_ANSWERS: usize = 64;

/// What became of a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// It was for the server itself; an answer may wait for [`Turn::poll_transmit`].
    Taken,
    /// It came through a relay and is for the media socket on `path`.
    Relayed {
        /// As if it had come over a network: from the relayed address, to the address of the target.
        path: Path,
        /// Where in the datagram the payload stands.
        payload: Range<usize>,
    },
}

struct Answer {
    path: Path,
    len: usize,
    bytes: [u8; MAX_ANSWER_LEN],
}

/// The TURN server of one shard.
pub struct Turn {
    pub(crate) config: TurnConfig,
    pub(crate) allocations: Allocations,
    answers: VecDeque<Answer>,
    unproven: Budget,
    /// Numbers the indications that we send.
    indications: u64,
    pub(crate) counters: TurnCounters,
}

/// Whether a datagram on a port that several protocols share is for a TURN server: ChannelData, a message of TURN, or a
/// Binding request without user, which asks for nothing but its own address (RFC 8489 §12).
pub fn is_turn(datagram: &[u8]) -> bool {
    if is_channel_data(datagram) {
        return true;
    }
    match method_of(datagram) {
        Some(BINDING) => StunMessage::parse(datagram).is_ok_and(|m| is_plain_binding(&m)),
        Some(number) => is_turn_method(number),
        None => false,
    }
}

pub(crate) fn is_turn_method(number: u16) -> bool {
    matches!(
        number,
        method::ALLOCATE
            | method::REFRESH
            | method::SEND
            | method::DATA
            | method::CREATE_PERMISSION
            | method::CHANNEL_BIND
    )
}

fn is_plain_binding(message: &StunMessage<'_>) -> bool {
    message.method() == BINDING
        && message.class() == StunClass::Request
        && message.attribute(attribute::USERNAME).is_none()
}

impl Turn {
    /// A server without allocations.
    pub fn new(config: TurnConfig) -> Self {
        let allocations = Allocations::new(config.limits, &config.targets, config.seed);
        Self {
            allocations,
            answers: VecDeque::with_capacity(MAX_ANSWERS),
            unproven: Budget::default(),
            indications: config.seed,
            counters: TurnCounters::default(),
            config,
        }
    }

    /// Takes a datagram for which [`is_turn`] holds.
    ///
    /// # Errors
    /// Why it was dropped. A refused request is not dropped but answered.
    pub fn on_datagram(
        &mut self,
        now: Time,
        outer: Path,
        datagram: &[u8],
    ) -> Result<Received, DropReason> {
        // A relay within a relay would let one datagram be wrapped again and again.
        if matches!(outer.carrier, Carrier::Relay(_)) {
            return Err(DropReason::TurnForeignPeer);
        }
        if is_channel_data(datagram) {
            return self.on_channel_data(now, &outer, datagram);
        }
        let message = StunMessage::parse(datagram).map_err(|_| DropReason::TurnMalformed)?;
        match (message.class(), message.method()) {
            (StunClass::Indication, method::SEND) => self.on_send(now, &outer, &message, datagram),
            (StunClass::Request, BINDING) => self.on_binding(now, &outer, &message),
            (StunClass::Request, number) if is_turn_method(number) => {
                self.on_request(now, &outer, &message)
            }
            (
                StunClass::Request | StunClass::Indication | StunClass::Success | StunClass::Error,
                _,
            ) => Err(DropReason::TurnMalformed),
        }
    }

    /// How what is sent on a path with [`Carrier::Relay`] must be wrapped.
    ///
    /// # Errors
    /// Why it can't be sent: the allocation is gone, or its client's permission has run out.
    pub fn wrap(&mut self, now: Time, path: &Path) -> Result<Wrap, DropReason> {
        let Carrier::Relay(relay) = path.carrier else {
            return Err(DropReason::TurnNoAllocation);
        };
        let allocation = self
            .allocations
            .by_id(relay)
            .ok_or(DropReason::TurnNoAllocation)?;
        let own = allocation.relay(Family::of(&path.remote));
        if own.is_none_or(|own| own.address != path.remote || own.expires <= now) {
            return Err(DropReason::TurnNoAllocation);
        }
        let peer = path
            .local
            .and_then(|ip| self.target_at(ip))
            .ok_or(DropReason::TurnForeignPeer)?;
        if !allocation.permits(now, peer.ip()) {
            return Err(DropReason::TurnNoPermission);
        }
        let head = match allocation.channel_to(now, &peer) {
            Some(number) => Head::Channel {
                number,
                padded: matches!(allocation.outer.carrier, Carrier::Stream(_)),
            },
            None => {
                let number = self.indications;
                // More than a run has datagrams, each of which takes a number.
                self.indications = number.wrapping_add(1 << 16);
                Head::Indication {
                    peer,
                    number: number & !0xFFFF,
                }
            }
        };
        Ok(Wrap {
            outer: allocation.outer,
            head,
        })
    }

    /// The paths by which the client on `outer` reaches media sockets.
    pub fn inner_paths(&self, outer: &Path) -> impl Iterator<Item = Path> {
        let found = self.allocations.of(outer);
        let pairs = found.into_iter().flat_map(|(relay, allocation)| {
            let relays = allocation.relays.iter().flatten();
            relays.map(move |own| (relay, own.address))
        });
        pairs.flat_map(|(relay, remote)| {
            self.config.targets.iter().map(move |target| Path {
                remote,
                local: Some(target.ip()),
                carrier: Carrier::Relay(relay),
            })
        })
    }

    /// Whether the client on `outer` has an allocation.
    pub fn serves(&self, outer: &Path) -> bool {
        self.allocations.of(outer).is_some()
    }

    /// Counts what was sent through relays.
    pub fn count_sent(&mut self, datagrams: u64, bytes: u64) {
        self.counters.relayed_out += datagrams;
        self.counters.relayed_bytes_out += bytes;
    }

    /// Writes the next answer into `out`, which has [`MAX_ANSWER_LEN`] bytes; answers where to and its length.
    pub fn poll_transmit(&mut self, out: &mut [u8]) -> Option<(Path, usize)> {
        let answer = self.answers.pop_front()?;
        let target = out.get_mut(..answer.len)?;
        target.copy_from_slice(&answer.bytes[..answer.len]);
        Some((answer.path, answer.len))
    }

    /// A stream has ended, and with it its allocation.
    pub fn on_stream_closed(&mut self, stream: StreamId) {
        self.allocations.on_stream_closed(stream);
        self.answers
            .retain(|answer| answer.path.carrier != Carrier::Stream(stream));
    }

    /// When [`Self::on_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Time> {
        self.allocations.next_deadline()
    }

    /// Ends what has run out.
    pub fn on_timeout(&mut self, now: Time) {
        self.allocations.expire(now);
    }

    /// Everything counted so far; gauges as of now.
    pub fn counters(&self) -> TurnCounters {
        TurnCounters {
            allocations: self.allocations.len() as u64,
            ..self.counters
        }
    }

    fn on_channel_data(
        &mut self,
        now: Time,
        outer: &Path,
        datagram: &[u8],
    ) -> Result<Received, DropReason> {
        let (number, payload) = channel_data::parse(datagram).ok_or(DropReason::TurnMalformed)?;
        let (relay, allocation) = self
            .allocations
            .by_path(outer)
            .ok_or(DropReason::TurnNoAllocation)?;
        let peer = allocation
            .peer_of(now, number)
            .ok_or(DropReason::TurnNoPermission)?;
        self.let_through(now, outer, relay, peer, payload)
    }

    fn on_send(
        &mut self,
        now: Time,
        outer: &Path,
        message: &StunMessage<'_>,
        datagram: &[u8],
    ) -> Result<Received, DropReason> {
        let mut peer = None;
        let mut payload = None;
        for (kind, value) in message.attributes() {
            match kind {
                attribute::XOR_PEER_ADDRESS if peer.is_none() => {
                    peer = Some(
                        message
                            .xor_address(value)
                            .ok_or(DropReason::TurnMalformed)?,
                    );
                }
                attribute::DATA if payload.is_none() => payload = Some(value),
                // RFC 8656 §11.2; see `Request` on the first. Of a second one only the first counts.
                attribute::DONT_FRAGMENT | attribute::XOR_PEER_ADDRESS | attribute::DATA => {}
                0x8000.. => {}
                _ => return Err(DropReason::TurnMalformed),
            }
        }
        let (Some(peer), Some(payload)) = (peer, payload) else {
            return Err(DropReason::TurnMalformed);
        };
        let (relay, _) = self
            .allocations
            .by_path(outer)
            .ok_or(DropReason::TurnNoAllocation)?;
        let start = payload.as_ptr() as usize - datagram.as_ptr() as usize;
        self.let_through(now, outer, relay, peer, start..start + payload.len())
    }

    fn let_through(
        &mut self,
        now: Time,
        outer: &Path,
        relay: RelayId,
        peer: SocketAddr,
        payload: Range<usize>,
    ) -> Result<Received, DropReason> {
        if !self.is_target(&peer) {
            return Err(DropReason::TurnForeignPeer);
        }
        let Some((_, allocation)) = self.allocations.by_path(outer) else {
            return Err(DropReason::TurnNoAllocation);
        };
        let own = allocation
            .relay(Family::of(&peer))
            .filter(|own| own.expires > now)
            .ok_or(DropReason::TurnNoAllocation)?;
        if !allocation.permits(now, peer.ip()) {
            return Err(DropReason::TurnNoPermission);
        }
        self.counters.relayed_in += 1;
        self.counters.relayed_bytes_in += payload.len() as u64;
        Ok(Received::Relayed {
            path: Path {
                remote: own.address,
                local: Some(peer.ip()),
                carrier: Carrier::Relay(relay),
            },
            payload,
        })
    }

    /// The media socket on an address.
    fn target_at(&self, ip: IpAddr) -> Option<SocketAddr> {
        self.config.targets.iter().find(|t| t.ip() == ip).copied()
    }

    fn is_target(&self, peer: &SocketAddr) -> bool {
        self.target_at(peer.ip()) == Some(*peer)
    }

    pub(crate) fn unix_seconds(&self, now: Time) -> u64 {
        self.config.wall.unix_nanos(now) / 1_000_000_000
    }

    /// Whether who sends on a path may have an answer before it has proven anything. Who has a stream has proven to be at its
    /// address.
    pub(crate) fn may_answer(&mut self, now: Time, outer: &Path) -> Result<(), DropReason> {
        let limit = self.config.limits.unproven_answers_per_second;
        match outer.carrier {
            Carrier::Stream(_) => Ok(()),
            Carrier::Udp | Carrier::TurnPort | Carrier::Relay(_)
                if self.unproven.spend(now, limit) =>
            {
                Ok(())
            }
            Carrier::Udp | Carrier::TurnPort | Carrier::Relay(_) => {
                Err(DropReason::TurnRateLimited)
            }
        }
    }

    pub(crate) fn answer(
        &mut self,
        path: &Path,
        write: impl FnOnce(&mut [u8]) -> Result<usize, schalter_stun::StunError>,
    ) {
        let mut bytes = [0; MAX_ANSWER_LEN];
        let len = write(&mut bytes).expect("MAX_ANSWER_LEN holds the largest answer");
        if self.answers.len() == MAX_ANSWERS {
            self.answers.pop_front();
        }
        self.answers.push_back(Answer {
            path: *path,
            len,
            bytes,
        });
    }
}

/// A number of things within the running second.
#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    second: u64,
    spent: u32,
}

impl Budget {
    fn spend(&mut self, now: Time, limit: u32) -> bool {
        let second = now.as_millis() / 1_000;
        if self.second != second {
            *self = Self { second, spent: 0 };
        }
        self.spent = self.spent.saturating_add(1);
        self.spent <= limit
    }
}
