//! Data packets: who may send them, whom they reach, and which of their fields the server writes.
//!
//! A reliable packet is never dropped in silence. Beyond its sender's rate it waits; when too many wait, or one was
//! lost before it came here, or a receiver doesn't take them, a session ends, so that everybody sees the gap.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use livekit_protocol::participant_info::Kind;
use livekit_protocol::request_response::Reason;
use livekit_protocol::{DataChannelReceiveState, DisconnectReason};
use schalter_model::{ShardId, Time, TransportId};
use schalter_shard::control::Command;

use super::participant::{Participant, ParticipantKey};
use super::replay::{Audience, Replay};
use super::request::Refusal;
use super::transport::TransportRole;
use super::{Room, Timer};
use crate::config::Limits;
use crate::splice::{self, Overwrite, PacketView, Payload};
use crate::stats::JoinStage;
use crate::token_bucket::TokenBucket;

/// Label of the channel that delivers everything in order.
pub(super) const RELIABLE: &str = "_reliable";
/// Label of the channel that sends once.
pub(super) const LOSSY: &str = "_lossy";
/// Label of the channel that carries data tracks.
pub(super) const DATA_TRACK: &str = "_data_track";

/// How often packets that wait for their sender's rate are looked at: a hundredth of what passes in a second.
const WAITING_STEP: Duration = Duration::from_millis(10);

/// Shortest distance between two notices that a sender is over its rate, or that what it sends is not taken.
const NOTICE_INTERVAL: Duration = Duration::from_secs(5);

/// Whether what comes on a channel with this label must arrive.
pub(crate) fn is_reliable(label: &str) -> bool {
    label == RELIABLE
}

/// What limits one sender, and what is kept of it.
#[derive(Debug)]
pub(super) struct SenderState {
    /// The highest sequence number among its reliable packets.
    pub(super) last_sequence: u32,
    messages: TokenBucket,
    bytes: TokenBucket,
    most_bytes: u64,
    /// Reliable packets beyond the rate, oldest first.
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    noticed_at: Option<Time>,
    pub(super) replay: Replay,
}

impl SenderState {
    pub(super) fn new(limits: &Limits, now: Time) -> Self {
        let per_second = u64::from(limits.data_messages_per_second);
        let bytes = limits.data_bytes_per_second;
        Self {
            last_sequence: 0,
            messages: TokenBucket::new(per_second, per_second, now),
            bytes: TokenBucket::new(bytes, bytes, now),
            most_bytes: bytes.max(1),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            noticed_at: None,
            replay: Replay::default(),
        }
    }

    /// Whether a message of `bytes` to `receivers` is within the sender's limits; takes it from them if so.
    pub(super) fn admits(&mut self, bytes: usize, receivers: usize, now: Time) -> bool {
        let bytes = (bytes as u64).saturating_mul(receivers as u64);
        // What is more than a second's worth passes once in a second, or it never would.
        let bytes = bytes.min(self.most_bytes);
        self.messages.holds(1, now) && self.bytes.take(bytes, now) && self.messages.take(1, now)
    }

    /// Whether the sender may be told once more what is wrong with its packets; then it is told.
    pub(super) fn notice_due(&mut self, now: Time) -> bool {
        let due = self.noticed_at.is_none_or(|at| now >= at + NOTICE_INTERVAL);
        if due {
            self.noticed_at = Some(now);
        }
        due
    }

    /// The same for what need not arrive: it doesn't overtake what waits.
    pub(super) fn admits_lossy(&mut self, bytes: usize, receivers: usize, now: Time) -> bool {
        self.waiting.is_empty() && self.admits(bytes, receivers, now)
    }
}

impl Room {
    pub(super) fn on_data(&mut self, transport: TransportId, label: &str, data: &Bytes) {
        let Some((key, role)) = self.by_transport.get(&transport).copied() else {
            return;
        };
        let allowed = role == TransportRole::Publisher
            && self
                .participants
                .get(&key)
                .is_some_and(|p| p.video.can_publish_data);
        let relayed = allowed
            && match label {
                RELIABLE => self.relay(key, false, data),
                LOSSY => self.relay(key, true, data),
                DATA_TRACK => self.relay_frame(key, data),
                _ => false,
            };
        if relayed {
            self.counters.data_relayed.add(1);
        } else {
            self.counters.data_refused.add(1);
        }
    }

    /// Returns whether the packet was acceptable, even if nobody was there to get it.
    fn relay(&mut self, key: ParticipantKey, lossy: bool, data: &Bytes) -> bool {
        let Ok(packet) = splice::view(data) else {
            return false;
        };
        self.introduce(key);
        let Some(sender) = self.participants.get(&key) else {
            return false;
        };
        match packet.payload {
            Payload::Speakers | Payload::Metrics => return false,
            Payload::Transcription if !is_agent(sender) => return false,
            Payload::Transcription | Payload::Other => {}
        }
        if !self.takes_packet(key, &packet) {
            return false;
        }
        if lossy {
            if !self.deliver(key, true, data, &packet) {
                self.counters.data_overload.add(1);
            }
            return true;
        }
        let Some(sender) = self.participants.get_mut(&key) else {
            return false;
        };
        if packet.sequence != 0 {
            if packet.sequence <= sender.data.last_sequence {
                return false;
            }
            sender.data.last_sequence = packet.sequence;
        }
        let in_order = sender.data.waiting.is_empty();
        if !(in_order && self.deliver(key, false, data, &packet)) {
            self.hold(key, data.clone());
        }
        true
    }

    /// Sends a packet to whom it is for. Returns whether the sender's limits let it pass.
    fn deliver(
        &mut self,
        key: ParticipantKey,
        lossy: bool,
        data: &[u8],
        packet: &PacketView<'_>,
    ) -> bool {
        let Some(sender) = self.participants.get(&key) else {
            return true;
        };
        let spoken_for = self
            .by_identity
            .get(packet.claimed_identity)
            .filter(|_| is_agent(sender))
            .map_or(sender, |other| &self.participants[other]);
        let (sid, identity) = if spoken_for.video.hidden {
            ("", "")
        } else {
            (&*spoken_for.sid, &*spoken_for.identity)
        };
        let fields = Overwrite {
            lossy,
            sid,
            identity,
        };
        let out = splice::overwrite(data, fields, &packet.destinations)
            .expect("what was viewed is well-formed");
        let out = Bytes::from(out);
        let audience = self.audience(packet);
        let receivers = self.receivers(Some(key), lossy, &audience);
        let count = receivers.values().map(Vec::len).sum();
        let (now, config) = (self.now, Arc::clone(&self.config));
        let Some(sender) = self.participants.get_mut(&key) else {
            return true;
        };
        let passes = if lossy {
            sender.data.admits_lossy(out.len(), count, now)
        } else {
            sender.data.admits(out.len(), count, now)
        };
        if !passes {
            return false;
        }
        if !lossy {
            sender
                .data
                .replay
                .keep(&config.limits, packet.sequence, audience, out.clone());
        }
        let label: Arc<str> = if lossy { LOSSY } else { RELIABLE }.into();
        for (shard, transports) in receivers {
            self.send_data(shard, transports, Arc::clone(&label), out.clone());
        }
        true
    }

    pub(super) fn send_data(
        &mut self,
        shard: ShardId,
        transports: Vec<TransportId>,
        label: Arc<str>,
        data: Bytes,
    ) {
        let must_arrive = &*label == RELIABLE;
        let command = Command::SendData {
            transports,
            label,
            binary: true,
            must_arrive,
            data,
        };
        self.media(shard, command);
    }

    pub(super) fn audience(&self, packet: &PacketView<'_>) -> Audience {
        if packet.destinations.is_empty() && packet.destination_sids.is_empty() {
            let before = ParticipantKey(self.next_key);
            return Audience::All { before };
        }
        let by_identity = packet
            .destinations
            .iter()
            .filter_map(|identity| self.by_identity.get(*identity));
        let by_sid = packet
            .destination_sids
            .iter()
            .filter_map(|sid| self.by_sid.get(*sid));
        let mut keys: Vec<_> = by_identity.chain(by_sid).copied().collect();
        keys.sort_unstable();
        keys.dedup();
        Audience::Named(keys)
    }

    /// Transports by shard; a participant doesn't get what it sent itself, the server has no self.
    pub(super) fn receivers(
        &self,
        sender: Option<ParticipantKey>,
        lossy: bool,
        audience: &Audience,
    ) -> BTreeMap<ShardId, Vec<TransportId>> {
        let mut receivers: BTreeMap<ShardId, Vec<TransportId>> = BTreeMap::new();
        let mut add = |participant: &Participant| {
            // A reliable channel keeps messages until it opens; a lossy one has no use for them.
            if (lossy && !participant.is_active()) || !participant.takes_data() {
                return;
            }
            if let Some(transport) = participant.transports.get(participant.downlink_role()) {
                receivers
                    .entry(participant.shard)
                    .or_default()
                    .push(transport.id);
            }
        };
        match audience {
            Audience::All { .. } => self
                .participants
                .iter()
                .filter(|(key, _)| Some(**key) != sender)
                .for_each(|(_, participant)| add(participant)),
            Audience::Named(keys) => keys
                .iter()
                .filter(|key| Some(**key) != sender)
                .for_each(|key| add(&self.participants[key])),
        }
        receivers
    }

    /// Keeps a reliable packet until its sender's rate has room for it.
    fn hold(&mut self, key: ParticipantKey, data: Bytes) {
        let limits = &self.config.limits;
        let Some(sender) = self.participants.get_mut(&key) else {
            return;
        };
        let state = &mut sender.data;
        let bytes = state.waiting_bytes + data.len();
        if state.waiting.len() >= limits.data_waiting_messages || bytes > limits.data_waiting_bytes
        {
            self.end_overloaded(key);
            return;
        }
        let first = state.waiting.is_empty();
        state.waiting_bytes = bytes;
        state.waiting.push_back(data);
        if !first {
            return;
        }
        let due = state.notice_due(self.now);
        self.arm(self.now + WAITING_STEP, Timer::Data(key));
        if due {
            let text = "data is sent faster than the limit and delayed";
            let refusal = Refusal::new(Reason::LimitExceeded, text);
            self.refuse_request(key, 0, refusal, None);
        }
    }

    pub(super) fn on_data_timer(&mut self, key: ParticipantKey) {
        while let Some(data) = self
            .participants
            .get(&key)
            .and_then(|sender| sender.data.waiting.front().cloned())
        {
            let packet = splice::view(&data).expect("it was viewed before it had to wait");
            if !self.deliver(key, false, &data, &packet) {
                self.arm(self.now + WAITING_STEP, Timer::Data(key));
                return;
            }
            if let Some(sender) = self.participants.get_mut(&key) {
                sender.data.waiting.pop_front();
                sender.data.waiting_bytes -= data.len();
            }
        }
    }

    /// A reliable packet of this sender was lost before it came here.
    pub(super) fn on_data_lost(&mut self, transport: TransportId) {
        if let Some((key, _)) = self.by_transport.get(&transport).copied() {
            self.end_overloaded(key);
        }
    }

    /// A sender whose reliable packets can't all be relayed begins anew: others see its session end, and with it
    /// whatever it was sending.
    fn end_overloaded(&mut self, key: ParticipantKey) {
        self.counters.data_overload.add(1);
        let text = "data was sent faster than it can be relayed";
        self.refuse_request(key, 0, Refusal::new(Reason::LimitExceeded, text), None);
        self.end_for_data(key);
    }

    /// A receiver that can't take its reliable packets begins anew rather than miss some.
    pub(super) fn on_receiver_behind(&mut self, key: ParticipantKey) {
        self.end_for_data(key);
    }

    fn end_for_data(&mut self, key: ParticipantKey) {
        self.counters.data_leaves.add(1);
        if self.participants.get(&key).is_some_and(|p| !p.is_active()) {
            self.counters.join_failed(JoinStage::Media);
        }
        self.lose_media(key, DisconnectReason::StateMismatch);
    }

    /// Sends a resumed client what it doesn't have yet of the senders it names, as far as it is kept. Its transport
    /// has lived on, so most is on its way already; clients drop what they get twice.
    pub(super) fn replay_after(&mut self, key: ParticipantKey, states: &[DataChannelReceiveState]) {
        for state in states.iter().take(self.participants.len()) {
            if let Some(sender) = self.by_sid.get(state.publisher_sid.as_str()).copied() {
                self.replay(sender, key, Some(state.last_seq));
            }
        }
    }

    /// Sends a client whose transport is new what came for it since it joined.
    pub(super) fn replay_missed(&mut self, key: ParticipantKey) {
        let senders: Vec<_> = self.participants.keys().copied().collect();
        for sender in senders {
            self.replay(sender, key, None);
        }
        let packets = self.server_data.sender.replay.packets(key, None);
        let packets: Vec<_> = packets.cloned().collect();
        self.send_kept(key, packets);
    }

    fn replay(&mut self, sender: ParticipantKey, receiver: ParticipantKey, after: Option<u32>) {
        let Some(from) = self.participants.get(&sender) else {
            return;
        };
        if sender == receiver {
            return;
        }
        let packets: Vec<_> = from.data.replay.packets(receiver, after).cloned().collect();
        self.send_kept(receiver, packets);
    }

    fn send_kept(&mut self, receiver: ParticipantKey, packets: Vec<Bytes>) {
        let Some(to) = self.participants.get(&receiver) else {
            return;
        };
        let Some(transport) = to.transports.get(to.downlink_role()).map(|t| t.id) else {
            return;
        };
        let shard = to.shard;
        for packet in packets {
            self.send_data(shard, vec![transport], RELIABLE.into(), packet);
        }
    }
}

/// Whether a participant may speak for others.
fn is_agent(participant: &Participant) -> bool {
    participant.grants.kind == Kind::Agent || participant.video.agent
}
