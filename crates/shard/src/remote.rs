//! Tracks that cross shards: one copy to each shard that has subscribers, fanned out there.

use schalter_forward::Owner;
use schalter_model::{DropReason, ShardId, Time, TrackId};

use crate::control::Refusal;
use crate::peer::{Envelope, PeerMessage};
use crate::shard::Shard;
use crate::slots::WaitingConsumer;

/// A track of another shard that transports here subscribe to.
pub(crate) struct RemoteTrack {
    /// Where the publisher is.
    pub(crate) shard: ShardId,
    /// Subscriptions that run, or wait for the producer's description.
    consumers: Vec<Owner>,
    /// Subscriptions that wait for the description.
    waiting: Vec<(Owner, WaitingConsumer)>,
    /// The description has come; the router has the producer.
    known: bool,
}

impl Shard {
    /// Subscribes a transport, at once or as soon as transport and track are ready.
    pub(crate) fn add_consumer(&mut self, now: Time, owner: Owner, consumer: WaitingConsumer) {
        let Some(slot) = self.slots.slot_mut(owner) else {
            return;
        };
        let track = consumer.track;
        if !slot.media {
            slot.waiting_consumers
                .retain(|waiting| waiting.track != track);
            slot.waiting_consumers.push(consumer);
            return;
        }
        if consumer.producer_shard == self.config.id {
            self.attach(now, owner, consumer);
            return;
        }
        let shard = consumer.producer_shard;
        let remote = self.remote.entry(track).or_insert_with(|| {
            self.peer_messages
                .push_back((shard, PeerMessage::Subscribe { track }));
            RemoteTrack {
                shard,
                consumers: Vec::new(),
                waiting: Vec::new(),
                known: false,
            }
        });
        if !remote.consumers.contains(&owner) {
            remote.consumers.push(owner);
        }
        if remote.known {
            self.attach(now, owner, consumer);
        } else {
            remote.waiting.retain(|(waiting, _)| *waiting != owner);
            remote.waiting.push((owner, consumer));
        }
    }

    fn attach(&mut self, now: Time, owner: Owner, consumer: WaitingConsumer) {
        let track = consumer.track;
        let Err(error) = self.router.add_consumer(now, owner, track, consumer.config) else {
            return;
        };
        if let Some(id) = self.slots.slot(owner).map(|slot| slot.id) {
            self.refuse(id, Some(track), Refusal::from(&error));
        }
        // A refused change leaves what was there; a refused beginning must not keep copies coming for nobody.
        if self.router.consumer_stats(owner, track).is_none() {
            self.release_remote(now, owner, track);
        }
    }

    /// Ends a subscription, running or waiting.
    pub(crate) fn remove_consumer(&mut self, now: Time, owner: Owner, track: TrackId) {
        if let Some(slot) = self.slots.slot_mut(owner) {
            slot.waiting_consumers
                .retain(|waiting| waiting.track != track);
        }
        self.router.remove_consumer(now, owner, track);
        self.release_remote(now, owner, track);
    }

    /// Gives up every remote subscription of a transport that ends.
    pub(crate) fn forget_remote_consumers(&mut self, now: Time, owner: Owner) {
        let mut tracks: Vec<TrackId> = self
            .remote
            .iter()
            .filter(|(_, remote)| remote.consumers.contains(&owner))
            .map(|(track, _)| *track)
            .collect();
        // The map's order must not reach the outputs.
        tracks.sort_unstable();
        for track in tracks {
            self.release_remote(now, owner, track);
        }
    }

    fn release_remote(&mut self, now: Time, owner: Owner, track: TrackId) {
        let Some(remote) = self.remote.get_mut(&track) else {
            return;
        };
        remote.consumers.retain(|consumer| *consumer != owner);
        remote.waiting.retain(|(waiting, _)| *waiting != owner);
        if remote.consumers.is_empty() {
            let shard = remote.shard;
            self.remote.remove(&track);
            self.router.remove_producer(now, track);
            self.peer_messages
                .push_back((shard, PeerMessage::Unsubscribe { track }));
        }
    }

    /// Tells shards that wait for a track, or have it, how it is configured now.
    pub(crate) fn announce_producer(&mut self, now: Time, track: TrackId) {
        let mut subscribers = self.taps.get(&track).cloned().unwrap_or_default();
        self.waiting_taps.retain(|(waiting, shard)| {
            let ours = *waiting == track;
            if ours {
                subscribers.push(*shard);
            }
            !ours
        });
        for shard in subscribers {
            self.start_tap(now, track, shard);
        }
    }

    fn start_tap(&mut self, now: Time, track: TrackId, shard: ShardId) {
        let Some(config) = self.router.producer_config(track).cloned() else {
            return;
        };
        let taps = self.taps.entry(track).or_default();
        if !taps.contains(&shard) {
            if self.router.add_tap(now, track, shard).is_err() {
                self.peer_messages
                    .push_back((shard, PeerMessage::ProducerGone { track }));
                return;
            }
            taps.push(shard);
        }
        self.peer_messages.push_back((
            shard,
            PeerMessage::Producer {
                track,
                config: Box::new(config),
            },
        ));
    }

    /// A track of ours is over: tells the shards that have copies.
    pub(crate) fn producer_gone(&mut self, track: TrackId) {
        for shard in self.taps.remove(&track).unwrap_or_default() {
            self.peer_messages
                .push_back((shard, PeerMessage::ProducerGone { track }));
        }
    }

    /// Takes a message of another shard.
    pub fn on_peer(&mut self, now: Time, from: ShardId, message: PeerMessage) {
        match message {
            PeerMessage::Subscribe { track } => {
                if self.router.producer_config(track).is_some() {
                    self.start_tap(now, track, from);
                } else if self.waiting_taps.len() < self.config.limits.waiting_taps {
                    self.waiting_taps.push((track, from));
                } else {
                    self.peer_messages
                        .push_back((from, PeerMessage::ProducerGone { track }));
                }
            }
            PeerMessage::Unsubscribe { track } => {
                self.waiting_taps
                    .retain(|waiting| *waiting != (track, from));
                if let Some(taps) = self.taps.get_mut(&track) {
                    taps.retain(|shard| *shard != from);
                    if taps.is_empty() {
                        self.taps.remove(&track);
                    }
                    self.router.remove_tap(track, from);
                }
            }
            PeerMessage::Producer { track, config } => {
                let Some(remote) = self.remote.get_mut(&track) else {
                    // Nobody here wants it any more: whatever crossed this message, no copies must follow it.
                    self.peer_messages
                        .push_back((from, PeerMessage::Unsubscribe { track }));
                    return;
                };
                if self
                    .router
                    .add_remote_producer(now, track, *config)
                    .is_err()
                {
                    self.peer_messages
                        .push_back((from, PeerMessage::Unsubscribe { track }));
                    self.remote_gone(now, track, Refusal::Limit);
                    return;
                }
                remote.known = true;
                for (owner, consumer) in std::mem::take(&mut remote.waiting) {
                    self.attach(now, owner, consumer);
                }
            }
            PeerMessage::ProducerGone { track } => {
                self.remote_gone(now, track, Refusal::UnknownTrack);
            }
            PeerMessage::KeyframeRequest { track, encoding } => {
                self.router.request_keyframe(now, track, encoding);
            }
            PeerMessage::SenderReport {
                track,
                encoding,
                ntp,
                rtp_timestamp,
            } => {
                self.router
                    .on_remote_sender_report(now, track, encoding, ntp, rtp_timestamp);
            }
        }
        self.drain_router_events();
    }

    /// A track of another shard is over; subscriptions that never started are refused.
    fn remote_gone(&mut self, now: Time, track: TrackId, reason: Refusal) {
        let Some(remote) = self.remote.remove(&track) else {
            return;
        };
        self.router.remove_producer(now, track);
        for (owner, _) in remote.waiting {
            if let Some(id) = self.slots.slot(owner).map(|slot| slot.id) {
                self.refuse(id, Some(track), reason);
            }
        }
    }

    /// Takes a packet of another shard.
    pub fn on_envelope(&mut self, now: Time, _from: ShardId, envelope: &Envelope) {
        self.counters.envelopes_in += 1;
        let result = if self.remote.contains_key(&envelope.track) {
            self.router
                .on_envelope(now, envelope.track, envelope.meta, envelope.packet())
        } else {
            // The last subscriber left while the packet was under way.
            Err(DropReason::RtpUnknownSsrc)
        };
        if let Err(reason) = result {
            self.counters.drops.count(reason);
        }
    }

    /// The next message for another shard.
    pub fn poll_peer(&mut self) -> Option<(ShardId, PeerMessage)> {
        self.drain_router_events();
        self.peer_messages.pop_front()
    }

    /// Fills `out` with the next packet for another shard.
    pub fn poll_envelope(&mut self, now: Time, out: &mut Envelope) -> Option<ShardId> {
        let (shard, track, meta, len) = self.router.next_tap(now, out.buffer())?;
        out.track = track;
        out.meta = meta;
        out.set_len(len);
        self.counters.envelopes_out += 1;
        Some(shard)
    }
}
