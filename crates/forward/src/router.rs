//! All producers and consumers of one shard: who is there, who wants what.
//!
//! Owns the tables; subscriptions are in [`crate::subscription`], packets in [`crate::ingress`] and [`crate::fanout`],
//! RTCP in [`crate::feedback`] and [`crate::report`]. Refuses clocks and sockets: `now` comes in, packets are drained.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use rustc_hash::FxHashMap;
use schalter_model::{
    Counters, DropCounters, LinkCounters, QualityCounters, RoomId, ShardId, Time, TrackId,
};

use crate::allocate::Demand;
use crate::cache::PassedElements;
use crate::config::{CodecBinding, ProducerConfig};
use crate::consumer::{Consumer, ConsumerStats};
use crate::egress::Egress;
use crate::encoding::Encoding;
use crate::error::RouterError;
use crate::event::ForwardEvent;
use crate::fanout::TapPending;
use crate::ingress::Binding;
use crate::loudest::Stage;
use crate::owner::{Owner, OwnerState};
use crate::producer::{Producer, check};
use crate::random::Random;
use crate::settings::RouterConfig;
use crate::share::Share;
use crate::slab::Slab;

/// What the router counts itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) rtp_in: u64,
    pub(crate) rtp_out: u64,
    pub(crate) nack_sent: u64,
    pub(crate) nack_received: u64,
    pub(crate) rtx_in: u64,
    pub(crate) rtx_out: u64,
    pub(crate) rtx_missed: u64,
    pub(crate) pli_sent: u64,
    pub(crate) pli_received: u64,
    pub(crate) sound_withheld: u64,
    pub(crate) congestion_feedback: u64,
    pub(crate) drops: DropCounters,
    pub(crate) links: LinkCounters,
    pub(crate) quality: QualityCounters,
}

/// Buffers that are used again, so that packets cause no allocation.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) elements: PassedElements,
    pub(crate) starts: Vec<u32>,
    pub(crate) lost: Vec<u16>,
    pub(crate) arrivals: Vec<(u16, Option<i64>)>,
    pub(crate) shares: Vec<Share>,
    pub(crate) demands: Vec<Demand>,
    pub(crate) chosen: Vec<Option<u8>>,
}

/// The forwarding core of one shard.
#[derive(Debug)]
pub struct Router {
    pub(crate) config: RouterConfig,
    pub(crate) random: Random,
    /// Our SSRC as receiver of media.
    pub(crate) local_ssrc: u32,
    /// Our CNAME as receiver of media.
    pub(crate) local_cname: String,
    pub(crate) owners: Vec<Option<OwnerState>>,
    pub(crate) tracks: FxHashMap<TrackId, u32>,
    pub(crate) producers: Slab<Producer>,
    pub(crate) encodings: Slab<Encoding>,
    pub(crate) consumers: Slab<Consumer>,
    /// Who is heard in which room.
    pub(crate) stages: FxHashMap<RoomId, Stage>,
    /// (owner, SSRC) of incoming streams.
    pub(crate) bindings: FxHashMap<(u32, u32), Binding>,
    /// (owner, SSRC) of outgoing streams to consumer.
    pub(crate) outgoing: FxHashMap<(u32, u32), u32>,
    /// (owner, track) to consumer.
    pub(crate) subscriptions: FxHashMap<(u32, TrackId), u32>,
    pub(crate) egress: Egress,
    pub(crate) taps: VecDeque<TapPending>,
    pub(crate) events: VecDeque<ForwardEvent>,
    pub(crate) timers: BinaryHeap<Reverse<(Time, u32)>>,
    pub(crate) rtcp_ready: VecDeque<u32>,
    pub(crate) housekeeping_at: Option<Time>,
    /// Owners whose links are measured.
    pub(crate) measured: Vec<u32>,
    /// When the links are looked at next.
    pub(crate) links_at: Option<Time>,
    /// When it was last counted what they show.
    pub(crate) links_sampled: Time,
    /// When the next transports are told of, and whose turn it was last.
    pub(crate) quality_at: Option<Time>,
    pub(crate) quality_turn: u32,
    pub(crate) tally: Tally,
    pub(crate) scratch: Scratch,
}

impl Router {
    /// A router without anybody.
    pub fn new(config: RouterConfig) -> Self {
        let mut random = Random::new(config.seed);
        Self {
            local_ssrc: random.next() as u32 | 1,
            local_cname: format!("{:016x}", random.next()),
            random,
            owners: Vec::new(),
            tracks: FxHashMap::default(),
            producers: Slab::new(),
            encodings: Slab::new(),
            consumers: Slab::new(),
            stages: FxHashMap::default(),
            bindings: FxHashMap::default(),
            outgoing: FxHashMap::default(),
            subscriptions: FxHashMap::default(),
            egress: Egress::new(&config),
            taps: VecDeque::new(),
            events: VecDeque::new(),
            timers: BinaryHeap::new(),
            rtcp_ready: VecDeque::new(),
            housekeeping_at: None,
            measured: Vec::new(),
            links_at: None,
            links_sampled: Time::ZERO,
            quality_at: None,
            quality_turn: 0,
            tally: Tally::default(),
            scratch: Scratch {
                elements: PassedElements::new(),
                starts: Vec::new(),
                lost: Vec::new(),
                arrivals: Vec::new(),
                shares: Vec::new(),
                demands: Vec::new(),
                chosen: Vec::new(),
            },
            config,
        }
    }

    /// Makes a transport known. Again: no change.
    ///
    /// # Errors
    /// [`RouterError::Limit`] if its number is not below [`RouterConfig::max_owners`].
    pub fn add_owner(&mut self, owner: Owner) -> Result<(), RouterError> {
        let index = owner.0 as usize;
        if index >= self.config.max_owners {
            return Err(RouterError::Limit);
        }
        if self.owners.len() <= index {
            self.owners.resize_with(index + 1, || None);
        }
        self.owners[index].get_or_insert_with(OwnerState::new);
        self.egress.add(owner.0);
        Ok(())
    }

    /// Forgets a transport with its tracks and subscriptions. It is not told: it is gone.
    pub fn remove_owner(&mut self, now: Time, owner: Owner) {
        let Some(state) = self.owner(owner.0) else {
            return;
        };
        let (producers, consumers) = (state.producers.clone(), state.consumers.clone());
        for consumer in consumers {
            self.drop_consumer(now, consumer);
        }
        for producer in producers {
            self.drop_producer(now, producer);
        }
        if let Some(slot) = self.owners.get_mut(owner.0 as usize) {
            *slot = None;
        }
        self.bindings.retain(|(of, _), _| *of != owner.0);
        self.egress.remove(owner.0);
        self.forget_link(owner.0);
        self.rtcp_ready.retain(|queued| *queued != owner.0);
    }

    /// Accepts a track of a publisher; for a track that is known, replaces its formats, SSRCs and extension ids and
    /// keeps streams and subscriptions.
    ///
    /// # Errors
    /// [`RouterError::UnknownOwner`], [`RouterError::ForeignTrack`], [`RouterError::InvalidConfig`],
    /// [`RouterError::Limit`].
    pub fn add_producer(
        &mut self,
        now: Time,
        owner: Owner,
        track: TrackId,
        config: ProducerConfig,
    ) -> Result<(), RouterError> {
        let interval = self.config.twcc_interval;
        let Some(state) = self.owner_mut(owner.0) else {
            return Err(RouterError::UnknownOwner);
        };
        check(&config)?;
        state.elements.learn(&config.extensions);
        if config.transport_cc && state.twcc.is_none() {
            state.twcc = Some(crate::twcc::TwccRecorder::new(interval));
        }
        self.put_producer(now, Some(owner.0), track, config)
    }

    /// Accepts a track whose publisher is on another shard; its packets come by [`Self::on_envelope`].
    ///
    /// # Errors
    /// [`RouterError::ForeignTrack`], [`RouterError::InvalidConfig`], [`RouterError::Limit`].
    pub fn add_remote_producer(
        &mut self,
        now: Time,
        track: TrackId,
        config: ProducerConfig,
    ) -> Result<(), RouterError> {
        check(&config)?;
        self.put_producer(now, None, track, config)
    }

    fn put_producer(
        &mut self,
        now: Time,
        owner: Option<u32>,
        track: TrackId,
        config: ProducerConfig,
    ) -> Result<(), RouterError> {
        let index = match self.tracks.get(&track) {
            Some(&index) => self.replace_producer(index, owner, config)?,
            None => {
                if self.producers.len() >= self.config.max_producers {
                    return Err(RouterError::Limit);
                }
                let index = self.producers.insert(Producer::new(track, owner, config));
                self.tracks.insert(track, index);
                if let Some(owner) = owner
                    && let Some(state) = self.owner_mut(owner)
                {
                    state.producers.push(index);
                }
                index
            }
        };
        self.make_encodings(index);
        self.enter_room(now, index);
        self.bind_named(index);
        self.choose_encodings(now, index);
        self.start_housekeeping(now);
        self.start_quality(now);
        Ok(())
    }

    fn replace_producer(
        &mut self,
        index: u32,
        owner: Option<u32>,
        config: ProducerConfig,
    ) -> Result<u32, RouterError> {
        let Some(producer) = self.producers.of_mut(index) else {
            return Err(RouterError::UnknownTrack);
        };
        if producer.owner != owner || producer.config.kind != config.kind {
            return Err(RouterError::ForeignTrack);
        }
        let old = std::mem::replace(&mut producer.config, config);
        producer.payload_types.rebuild(&producer.config);
        if old.codecs != producer.config.codecs {
            for index in &producer.consumers {
                if let Some(consumer) = self.consumers.of_mut(*index) {
                    consumer.on_formats(&old.codecs, &producer.config.codecs);
                    // Waiting packets name formats by their old place; subscribers can ask for them again.
                    self.egress.remove_consumer(consumer.owner, *index);
                }
            }
        }
        Ok(index)
    }

    fn make_encodings(&mut self, index: u32) {
        let Some(producer) = self.producers.of_mut(index) else {
            return;
        };
        while producer.slots.len() < producer.config.encodings.len() {
            let number = producer.slots.len() as u8;
            let encoding = Encoding::new(index, number, producer.config.kind, &self.config);
            producer.slots.push(self.encodings.insert(encoding));
        }
        let has_rtx = |binding: &CodecBinding| binding.rtx_payload_type.is_some();
        let repairs = producer.is_video() || producer.config.codecs.iter().any(has_rtx);
        for slot in &producer.slots {
            if let Some(encoding) = self.encodings.of_mut(*slot) {
                encoding.repairs = repairs;
            }
        }
    }

    /// Ends a track and every subscription to it.
    pub fn remove_producer(&mut self, now: Time, track: TrackId) {
        if let Some(&index) = self.tracks.get(&track) {
            self.drop_producer(now, index);
        }
    }

    fn drop_producer(&mut self, now: Time, index: u32) {
        let Some(producer) = self.producers.of(index) else {
            return;
        };
        for consumer in producer.consumers.clone() {
            self.drop_consumer(now, consumer);
        }
        self.leave_room(index);
        let Some(producer) = self.producers.remove(index) else {
            return;
        };
        self.tracks.remove(&producer.track);
        self.taps.retain(|tap| !producer.slots.contains(&tap.slot));
        for slot in &producer.slots {
            self.encodings.remove(*slot);
        }
        if let Some(owner) = producer.owner {
            let bindings = self.bindings.len();
            self.bindings
                .retain(|(of, _), binding| *of != owner || !producer.slots.contains(&binding.slot));
            let unbound = bindings - self.bindings.len();
            if let Some(state) = self.owner_mut(owner) {
                state.producers.retain(|other| *other != index);
                state.ssrcs = state.ssrcs.saturating_sub(unbound);
            }
        }
    }

    /// Stops forwarding a track at its source, or lets it go on with a keyframe and without a gap.
    pub fn mute_producer(&mut self, now: Time, track: TrackId, muted: bool) {
        let Some(index) = self.tracks.get(&track).copied() else {
            return;
        };
        let Some(producer) = self.producers.of_mut(index) else {
            return;
        };
        if std::mem::replace(&mut producer.muted, muted) == muted {
            return;
        }
        let slots = producer.slots.clone();
        if muted {
            self.yield_place(index);
        }
        for slot in slots {
            let Some(encoding) = self.encodings.of_mut(slot) else {
                continue;
            };
            encoding.begin_epoch();
            encoding.nack.clear();
            if !muted {
                self.want_keyframe(now, slot);
            }
        }
    }

    /// Lets another shard have every packet of a track once; again: no change.
    ///
    /// # Errors
    /// [`RouterError::UnknownTrack`], [`RouterError::ForeignTrack`] if the track isn't published here.
    pub fn add_tap(
        &mut self,
        now: Time,
        track: TrackId,
        shard: ShardId,
    ) -> Result<(), RouterError> {
        let Some(producer) = self.producer_mut(track) else {
            return Err(RouterError::UnknownTrack);
        };
        if producer.owner.is_none() {
            return Err(RouterError::ForeignTrack);
        }
        if !producer.taps.contains(&shard) {
            producer.taps.push(shard);
        }
        // The other shard's timestamps continue by this clock: tell it without waiting for the next report.
        for slot in producer.slots.clone() {
            self.tell_clock(slot);
            self.want_keyframe(now, slot);
        }
        Ok(())
    }

    /// Ends what [`Self::add_tap`] began.
    pub fn remove_tap(&mut self, track: TrackId, shard: ShardId) {
        if let Some(producer) = self.producer_mut(track) {
            producer.taps.retain(|other| *other != shard);
        }
        self.taps
            .retain(|tap| tap.track != track || tap.shard != shard);
    }

    /// How a track was negotiated with its publisher.
    pub fn producer_config(&self, track: TrackId) -> Option<&ProducerConfig> {
        let index = self.tracks.get(&track)?;
        Some(&self.producers.of(*index)?.config)
    }

    /// How a subscription fares.
    pub fn consumer_stats(&self, owner: Owner, track: TrackId) -> Option<ConsumerStats> {
        let index = self.subscriptions.get(&(owner.0, track))?;
        Some(self.consumers.of(*index)?.stats)
    }

    /// Bound incoming streams, retransmission streams included.
    pub fn stream_count(&self) -> usize {
        self.bindings.len()
    }

    /// Subscriptions of one transport.
    pub fn consumer_count(&self, owner: Owner) -> usize {
        self.owner(owner.0).map_or(0, |state| state.consumers.len())
    }

    /// Tracks that one transport publishes.
    pub fn producer_count(&self, owner: Owner) -> usize {
        self.owner(owner.0).map_or(0, |state| state.producers.len())
    }

    /// Something to tell, oldest first.
    pub fn poll_event(&mut self) -> Option<ForwardEvent> {
        self.events.pop_front()
    }

    /// Adds what this router counted. Drops that a call answered with, and envelopes, are the caller's to count.
    pub fn counters(&self, counters: &mut Counters) {
        let tally = &self.tally;
        counters.rtp_in += tally.rtp_in;
        counters.rtp_out += tally.rtp_out;
        counters.sound_withheld += tally.sound_withheld;
        counters.nack_sent += tally.nack_sent;
        counters.nack_received += tally.nack_received;
        counters.rtx_in += tally.rtx_in;
        counters.rtx_out += tally.rtx_out;
        counters.rtx_missed += tally.rtx_missed;
        counters.pli_sent += tally.pli_sent;
        counters.pli_received += tally.pli_received;
        counters.congestion_feedback_in += tally.congestion_feedback;
        for (reason, count) in tally.drops.iter() {
            counters.drops.add(reason, count);
        }
        counters.links.add(&tally.links);
        counters.quality.add(&tally.quality);
        // As of the last look: this call has no clock.
        let (measured, distressed) = self.link_gauges(self.links_sampled);
        counters.links.measured += measured;
        counters.links.distressed += distressed;
        let local = self.producers.iter().filter(|(_, p)| p.owner.is_some());
        counters.producers += local.count() as u64;
        counters.consumers += self.consumers.len() as u64;
    }

    pub(crate) fn owner(&self, owner: u32) -> Option<&OwnerState> {
        self.owners.get(owner as usize)?.as_ref()
    }

    pub(crate) fn owner_mut(&mut self, owner: u32) -> Option<&mut OwnerState> {
        self.owners.get_mut(owner as usize)?.as_mut()
    }

    pub(crate) fn producer_mut(&mut self, track: TrackId) -> Option<&mut Producer> {
        let index = *self.tracks.get(&track)?;
        self.producers.of_mut(index)
    }

    pub(crate) fn tell(&mut self, event: ForwardEvent) {
        if self.events.len() >= self.config.max_events {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}
