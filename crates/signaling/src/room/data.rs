//! Data packets: who may send them, whom they reach, and which of their fields the server writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use livekit_protocol::participant_info::Kind;
use schalter_model::{ShardId, Time, TransportId};
use schalter_shard::control::Command;

use super::Room;
use super::participant::{Participant, ParticipantKey};
use super::transport::TransportRole;
use crate::config::Limits;
use crate::splice::{self, Overwrite, Payload};
use crate::token_bucket::TokenBucket;

/// Label of the channel that delivers everything in order.
pub(super) const RELIABLE: &str = "_reliable";
/// Label of the channel that sends once.
pub(super) const LOSSY: &str = "_lossy";
/// Label of the channel that carries data tracks.
pub(super) const DATA_TRACK: &str = "_data_track";

/// What limits one sender.
#[derive(Debug)]
pub(super) struct SenderState {
    /// The highest sequence number among its reliable packets.
    pub(super) last_sequence: u32,
    messages: TokenBucket,
    bytes: TokenBucket,
}

impl SenderState {
    pub(super) fn new(limits: &Limits, now: Time) -> Self {
        let per_second = u64::from(limits.data_messages_per_second);
        Self {
            last_sequence: 0,
            messages: TokenBucket::new(per_second, per_second, now),
            bytes: TokenBucket::new(
                limits.data_bytes_per_second,
                limits.data_bytes_per_second,
                now,
            ),
        }
    }

    /// Whether a message of `bytes` to `receivers` is within the sender's limits; takes it from them if so.
    pub(super) fn admits(&mut self, bytes: usize, receivers: usize, now: Time) -> bool {
        let bytes = (bytes as u64).saturating_mul(receivers as u64);
        self.messages.holds(1, now) && self.bytes.take(bytes, now) && self.messages.take(1, now)
    }
}

impl Room {
    pub(super) fn on_data(&mut self, transport: TransportId, label: &str, data: Bytes) {
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
                RELIABLE => self.relay(key, false, &data),
                LOSSY => self.relay(key, true, &data),
                DATA_TRACK => self.relay_frame(key, &data),
                _ => false,
            };
        if relayed {
            self.counters.data_relayed.add(1);
        } else {
            self.counters.data_refused.add(1);
        }
    }

    /// Returns whether the packet was acceptable, even if nobody was there to get it.
    fn relay(&mut self, key: ParticipantKey, lossy: bool, data: &[u8]) -> bool {
        let Ok(packet) = splice::view(data) else {
            return false;
        };
        let Some(sender) = self.participants.get(&key) else {
            return false;
        };
        let is_agent = sender.grants.kind == Kind::Agent || sender.video.agent;
        match packet.payload {
            Payload::Speakers | Payload::Metrics => return false,
            Payload::Transcription if !is_agent => return false,
            Payload::Transcription | Payload::Other => {}
        }
        let numbered = !lossy && packet.sequence != 0;
        if numbered && packet.sequence <= sender.data.last_sequence {
            return false;
        }

        let spoken_for = self
            .by_identity
            .get(packet.claimed_identity)
            .filter(|_| is_agent)
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
        let Ok(out) = splice::overwrite(data, fields, &packet.destinations) else {
            return false;
        };
        let receivers = self.receivers(key, lossy, &packet);
        let count = receivers.values().map(Vec::len).sum();
        let sequence = packet.sequence;
        let now = self.now;
        let Some(sender) = self.participants.get_mut(&key) else {
            return false;
        };
        if !sender.data.admits(out.len(), count, now) {
            self.counters.data_overload.add(1);
            return true;
        }
        if numbered {
            sender.data.last_sequence = sequence;
        }
        let label: Arc<str> = if lossy { LOSSY } else { RELIABLE }.into();
        let out = Bytes::from(out);
        for (shard, transports) in receivers {
            let command = Command::SendData {
                transports,
                label: Arc::clone(&label),
                binary: true,
                data: out.clone(),
            };
            self.media(shard, command);
        }
        true
    }

    fn receivers(
        &self,
        sender: ParticipantKey,
        lossy: bool,
        packet: &splice::PacketView<'_>,
    ) -> BTreeMap<ShardId, Vec<TransportId>> {
        let mut receivers: BTreeMap<ShardId, Vec<TransportId>> = BTreeMap::new();
        let mut add = |participant: &Participant| {
            // A reliable channel keeps messages until it opens; a lossy one has no use for them.
            if lossy && !participant.is_active() {
                return;
            }
            if let Some(transport) = participant.transports.get(participant.downlink_role()) {
                receivers
                    .entry(participant.shard)
                    .or_default()
                    .push(transport.id);
            }
        };
        if packet.destinations.is_empty() && packet.destination_sids.is_empty() {
            for (key, participant) in &self.participants {
                if *key != sender {
                    add(participant);
                }
            }
            return receivers;
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
        for key in keys {
            if key != sender {
                add(&self.participants[&key]);
            }
        }
        receivers
    }
}
