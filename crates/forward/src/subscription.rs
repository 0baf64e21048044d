//! Who gets which track: subscriptions begun, changed and ended.

use schalter_model::{Time, TrackId};

use crate::config::{ConsumerConfig, ConsumerTarget};
use crate::consumer::Consumer;
use crate::error::RouterError;
use crate::owner::Owner;
use crate::report::REPORTERS_PER_GOODBYE;
use crate::router::Router;
use crate::settings::MAX_FORMATS;

impl Router {
    /// Subscribes a transport to a track; again: replaces the configuration and goes on without a gap.
    ///
    /// # Errors
    /// [`RouterError::UnknownOwner`], [`RouterError::UnknownTrack`], [`RouterError::NoCommonCodec`],
    /// [`RouterError::SsrcInUse`], [`RouterError::InvalidConfig`], [`RouterError::Limit`].
    pub fn add_consumer(
        &mut self,
        now: Time,
        owner: Owner,
        track: TrackId,
        config: ConsumerConfig,
    ) -> Result<(), RouterError> {
        if self.owner(owner.0).is_none() {
            return Err(RouterError::UnknownOwner);
        }
        let Some(&producer_index) = self.tracks.get(&track) else {
            return Err(RouterError::UnknownTrack);
        };
        if config.codecs.len() > MAX_FORMATS
            || config.codecs.iter().any(|binding| {
                binding.payload_type > 127 || binding.rtx_payload_type.is_some_and(|rtx| rtx > 127)
            })
        {
            return Err(RouterError::InvalidConfig);
        }
        let known = self.subscriptions.get(&(owner.0, track)).copied();
        for ssrc in std::iter::once(config.ssrc).chain(config.rtx_ssrc) {
            let user = self.outgoing.get(&(owner.0, ssrc));
            if user.is_some_and(|user| Some(*user) != known) || config.rtx_ssrc == Some(config.ssrc)
            {
                return Err(RouterError::SsrcInUse);
            }
        }
        let Some(producer) = self.producers.of_mut(producer_index) else {
            return Err(RouterError::UnknownTrack);
        };
        let codecs = &producer.config.codecs;
        let index = match known {
            Some(index) => {
                let Some(consumer) = self.consumers.of_mut(index) else {
                    return Err(RouterError::UnknownTrack);
                };
                let before = (consumer.ssrc, consumer.rtx_ssrc);
                if !consumer.replace(&config, codecs) {
                    return Err(RouterError::NoCommonCodec);
                }
                self.outgoing.remove(&(owner.0, before.0));
                if let Some(rtx) = before.1 {
                    self.outgoing.remove(&(owner.0, rtx));
                }
                // Lengths of waiting packets were counted with the old extensions.
                self.egress.remove_consumer(owner.0, index);
                index
            }
            None => {
                if producer.consumers.len() >= self.config.max_consumers_per_producer {
                    return Err(RouterError::Limit);
                }
                let random = &mut self.random;
                let mut consumer =
                    Consumer::new(owner.0, producer_index, track, &config, codecs, random)
                        .ok_or(RouterError::NoCommonCodec)?;
                let state = self.owners.get_mut(owner.0 as usize);
                let state = state.and_then(Option::as_mut);
                if let Some(ended) = state.and_then(|state| state.take_ended(config.ssrc)) {
                    consumer.go_on(ended);
                }
                let index = self.consumers.insert(consumer);
                producer.consumers.push(index);
                self.subscriptions.insert((owner.0, track), index);
                if let Some(state) = self.owner_mut(owner.0) {
                    state.consumers.push(index);
                }
                index
            }
        };
        self.outgoing.insert((owner.0, config.ssrc), index);
        if let Some(rtx) = config.rtx_ssrc {
            self.outgoing.insert((owner.0, rtx), index);
        }
        self.start_sender_reports(now, owner.0);
        self.start_quality(now);
        if config.extensions.transport_cc.is_some() || config.congestion_feedback {
            self.measure_link(now, owner.0);
        }
        if config.congestion_feedback {
            self.expect_congestion_feedback(owner.0);
        }
        self.apply_target(now, index, config.target);
        Ok(())
    }

    /// Changes what a subscriber wants; unknown subscriptions are ignored.
    pub fn set_target(&mut self, now: Time, owner: Owner, track: TrackId, target: ConsumerTarget) {
        if let Some(&index) = self.subscriptions.get(&(owner.0, track)) {
            self.apply_target(now, index, target);
        }
    }

    fn apply_target(&mut self, now: Time, index: u32, target: ConsumerTarget) {
        let Some(consumer) = self.consumers.of_mut(index) else {
            return;
        };
        consumer.target = target;
        if consumer.is_stopped() {
            consumer.rewriter.close();
        }
        let owner = consumer.owner;
        self.choose_encoding(now, index);
        self.divide_soon(now, owner);
    }

    /// Ends a subscription; the subscriber gets a BYE, unless its stream stays ([`ConsumerConfig::continues`]).
    pub fn remove_consumer(&mut self, now: Time, owner: Owner, track: TrackId) {
        if let Some(&index) = self.subscriptions.get(&(owner.0, track)) {
            self.drop_consumer(now, index);
        }
    }

    pub(crate) fn drop_consumer(&mut self, now: Time, index: u32) {
        let Some(consumer) = self.consumers.remove(index) else {
            return;
        };
        let owner = consumer.owner;
        self.egress.remove_consumer(owner, index);
        self.subscriptions.remove(&(owner, consumer.track));
        self.outgoing.remove(&(owner, consumer.ssrc));
        if let Some(rtx) = consumer.rtx_ssrc {
            self.outgoing.remove(&(owner, rtx));
        }
        if let Some(producer) = self.producers.of_mut(consumer.producer) {
            producer.consumers.retain(|other| *other != index);
        }
        if let Some(state) = self.owner_mut(owner) {
            state.consumers.retain(|other| *other != index);
            if consumer.continues {
                if let Some(ended) = consumer.ended() {
                    state.remember(ended);
                }
            } else if consumer.stats.packets > 0 && state.goodbyes.len() < REPORTERS_PER_GOODBYE {
                state.goodbyes.push(consumer.ssrc);
            }
            self.arm(now, owner, now);
        }
    }
}
