//! Which layer a subscriber should have, and asking for the keyframe that it takes to get there.

use schalter_model::Time;

use crate::consumer::Grant;
use crate::event::ForwardEvent;
#[cfg(test)]
use crate::layer::Layer;
use crate::layer::Reach;
use crate::router::Router;

/// The highest active encoding up to `max`; else the lowest active one above; else what it was.
fn select(active: impl Iterator<Item = (u8, bool)>, max: u8, before: Option<u8>) -> Option<u8> {
    let (mut below, mut above, mut count) = (None, None, 0);
    for (index, is_active) in active {
        count += 1;
        if is_active && index <= max {
            below = Some(index);
        } else if is_active && above.is_none() {
            above = Some(index);
        }
    }
    let last = u8::checked_sub(count, 1)?;
    below
        .or(above)
        .or(before.filter(|before| *before <= last))
        .or(Some(max.min(last)))
}

impl Router {
    /// Chooses for every consumer of a producer.
    pub(crate) fn choose_encodings(&mut self, now: Time, producer: u32) {
        let count = self.producers.of(producer).map_or(0, |p| p.consumers.len());
        for position in 0..count {
            let consumer = self
                .producers
                .of(producer)
                .and_then(|p| p.consumers.get(position));
            if let Some(consumer) = consumer.copied() {
                self.choose_encoding(now, consumer);
            }
        }
    }

    /// Chooses for one consumer, and asks for a keyframe if it can't go on without.
    pub(crate) fn choose_encoding(&mut self, now: Time, consumer: u32) {
        let Some(state) = self.consumers.of_mut(consumer) else {
            return;
        };
        let Some(producer) = self.producers.of(state.producer) else {
            return;
        };
        let encodings = &self.encodings;
        let activity = (0_u8..)
            .zip(&producer.slots)
            .take(producer.encoding_count());
        let activity =
            activity.map(|(index, slot)| (index, encodings.of(*slot).is_some_and(|e| e.active)));
        let target = &state.target;
        let (max_encoding, reach) = match state.grant {
            Grant::UpTo(layer) => (
                layer.encoding.min(target.max_encoding),
                Reach {
                    spatial: layer.spatial.min(target.max_spatial),
                    temporal: layer.temporal.min(target.max_temporal),
                },
            ),
            Grant::Everything | Grant::Nothing => (
                target.max_encoding,
                Reach {
                    spatial: target.max_spatial,
                    temporal: target.max_temporal,
                },
            ),
        };
        state.desired = select(activity, max_encoding, state.desired);
        state.reach = reach;
        if state.is_stopped() || state.held {
            return;
        }
        let Some(slot) = state
            .desired
            .and_then(|index| producer.slots.get(usize::from(index)).copied())
        else {
            return;
        };
        let Some(encoding) = encodings.of(slot) else {
            return;
        };
        let flows = state
            .rewriter
            .open_segment()
            .is_some_and(|open| open.slot == slot && open.start >= encoding.epoch_start);
        if !flows || state.lacks_layers(encoding) {
            self.want_keyframe(now, slot);
        }
    }

    /// Sets what a consumer's link leaves of its subscription. With `hold` a lower encoding is not begun before
    /// [`Self::release`]; answers whether it is so.
    pub(crate) fn set_grant(&mut self, now: Time, consumer: u32, grant: Grant, hold: bool) -> bool {
        let Some(state) = self.consumers.of_mut(consumer) else {
            return false;
        };
        if std::mem::replace(&mut state.grant, grant) == grant {
            return false;
        }
        let flowing = state
            .rewriter
            .open_segment()
            .and_then(|open| self.encodings.of(open.slot))
            .map(|encoding| encoding.index);
        let too_much = match grant {
            Grant::Everything => false,
            Grant::UpTo(layer) => flowing.is_some_and(|flowing| flowing > layer.encoding),
            Grant::Nothing => true,
        };
        if too_much {
            // The link is full: what the old encoding would add until the new one starts only makes that later.
            state.rewriter.abandon();
            state.held = hold && grant != Grant::Nothing;
            let owner = state.owner;
            self.egress.remove_consumer(owner, consumer);
        }
        self.choose_encoding(now, consumer);
        self.consumers.of(consumer).is_some_and(|state| state.held)
    }

    /// Lets a consumer begin what it was held back from.
    pub(crate) fn release(&mut self, now: Time, consumer: u32) {
        if let Some(state) = self.consumers.of_mut(consumer)
            && std::mem::take(&mut state.held)
        {
            self.choose_encoding(now, consumer);
        }
    }

    /// What a consumer is being forwarded now; `None` if nothing.
    #[cfg(test)]
    pub(crate) fn current_layer(&self, consumer: u32) -> Option<Layer> {
        let state = self.consumers.of(consumer)?;
        let open = state.rewriter.open_segment()?;
        state.current(self.encodings.of(open.slot)?)
    }

    /// Asks again for the keyframes of those whose goal was not reached with the last one.
    pub(crate) fn pursue_layers(&mut self, now: Time, producer: u32) {
        let count = self.producers.of(producer).map_or(0, |p| p.consumers.len());
        for position in 0..count {
            let consumer = self
                .producers
                .of(producer)
                .and_then(|p| p.consumers.get(position))
                .and_then(|index| self.consumers.of(*index))
                .filter(|consumer| !consumer.is_stopped());
            let Some(open) = consumer.and_then(|c| c.rewriter.open_segment()) else {
                continue;
            };
            let slot = open.slot;
            let lacks = consumer
                .zip(self.encodings.of(slot))
                .is_some_and(|(c, e)| c.desired == Some(e.index) && e.active && c.lacks_layers(e));
            if lacks {
                self.want_keyframe(now, slot);
            }
        }
    }

    /// Notes that somebody waits for a keyframe of a video encoding.
    pub(crate) fn want_keyframe(&mut self, now: Time, slot: u32) {
        let Some(encoding) = self.encodings.of_mut(slot) else {
            return;
        };
        let Some(producer) = self.producers.of(encoding.producer) else {
            return;
        };
        if !producer.is_video() || producer.muted || !producer.is_wanted() {
            return;
        }
        encoding.keyframe.request();
        let due = encoding.keyframe.due();
        match (producer.owner, due) {
            (Some(owner), Some(due)) if encoding.ssrc.is_some() => self.arm(now, owner, due),
            (Some(_), _) => {}
            (None, _) => self.relay_keyframe(now, slot),
        }
    }

    /// Tells the publisher's shard, if it is time.
    pub(crate) fn relay_keyframe(&mut self, now: Time, slot: u32) {
        let Some(encoding) = self.encodings.of_mut(slot) else {
            return;
        };
        let Some(producer) = self.producers.of(encoding.producer) else {
            return;
        };
        if !producer.is_wanted() {
            encoding.keyframe.cancel();
        }
        if encoding.keyframe.due().is_some_and(|due| due <= now) {
            encoding.keyframe.on_sent(now);
            let event = ForwardEvent::KeyframeNeeded {
                track: producer.track,
                encoding: encoding.index,
            };
            self.tell(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use schalter_model::{MediaKind, TrackId};
    use schalter_rtp::RtpHeader;

    use super::*;
    use crate::config::{
        Codec, CodecBinding, ConsumerConfig, ConsumerTarget, EncodingConfig, ExtensionIds,
        ProducerConfig,
    };
    use crate::consumer::Consumer;
    use crate::owner::Owner;
    use crate::settings::RouterConfig;

    fn choice(active: &[bool], max: u8, before: Option<u8>) -> Option<u8> {
        select((0..).zip(active.iter().copied()), max, before)
    }

    #[test]
    fn the_highest_active_one_within_the_target_wins() {
        assert_eq!(choice(&[true, true, true], 1, None), Some(1));
        assert_eq!(choice(&[true, false, true], 1, Some(1)), Some(0));
        assert_eq!(choice(&[false, false, true], 1, Some(0)), Some(2));
        assert_eq!(choice(&[false, false, false], 9, Some(1)), Some(1));
        assert_eq!(choice(&[false, false, false], 9, None), Some(2));
        assert_eq!(choice(&[], 0, None), None);
    }

    const TRACK: TrackId = TrackId(1);
    const VP8: CodecBinding = CodecBinding {
        payload_type: 96,
        codec: Codec::Vp8,
        rtx_payload_type: None,
    };

    /// Two encodings with VP8's temporal layers, and one subscriber.
    struct Rig {
        router: Router,
        now: Time,
        picture: u32,
        sent: usize,
    }

    impl Rig {
        fn new() -> Self {
            let mut router = Router::new(RouterConfig::default());
            for owner in [Owner(0), Owner(1)] {
                router.add_owner(owner).unwrap();
            }
            let encoding = |ssrc| EncodingConfig {
                rid: None,
                ssrc: Some(ssrc),
                rtx_ssrc: None,
            };
            let producer = ProducerConfig {
                kind: MediaKind::Video,
                mid: None,
                codecs: vec![VP8],
                encodings: vec![encoding(1), encoding(2)],
                extensions: ExtensionIds::default(),
                transport_cc: false,
                room: None,
            };
            let consumer = ConsumerConfig {
                ssrc: 9,
                rtx_ssrc: None,
                cname: "c".into(),
                mid: None,
                codecs: vec![VP8],
                extensions: ExtensionIds::default(),
                congestion_feedback: false,
                continues: false,
                target: ConsumerTarget::default(),
            };
            let now = Time::from_millis(1);
            router.add_producer(now, Owner(0), TRACK, producer).unwrap();
            router.add_consumer(now, Owner(1), TRACK, consumer).unwrap();
            Self {
                router,
                now,
                picture: 0,
                sent: 0,
            }
        }

        /// The next picture of both encodings, 1,000 and 3,000 bytes.
        fn picture(&mut self, key: bool) {
            let temporal = [0, 2, 1, 2][self.picture as usize % 4];
            for (ssrc, len) in [(1, 1_000), (2, 3_000)] {
                let mut packet = vec![0; 4_000];
                let header = RtpHeader {
                    marker: true,
                    payload_type: 96,
                    sequence: self.picture as u16,
                    timestamp: self.picture * 3_000,
                    ssrc,
                };
                let at = header.write(&[], &mut packet).unwrap();
                let sync = u8::from(temporal > 0) << 5;
                let head = [
                    0x90,
                    0xe0,
                    0x80,
                    self.picture as u8,
                    0,
                    temporal << 6 | sync,
                ];
                packet[at..at + 6].copy_from_slice(&head);
                packet[at + 6] = u8::from(!key);
                self.router
                    .on_rtp(self.now, Owner(0), &packet[..at + len])
                    .unwrap();
            }
            self.picture += 1;
            for _ in 0..33 {
                self.now += Duration::from_millis(1);
                self.router.on_timeout(self.now);
                let mut out = [0; 4_000];
                while let Some(owner) = self.router.next_ready(self.now) {
                    while self.router.pop(self.now, owner, &mut out).is_some() {
                        self.sent += 1;
                    }
                }
            }
        }

        fn goal(&mut self, goal: Option<(u8, u8)>) {
            let goal = goal.map(|(encoding, temporal)| Layer {
                encoding,
                spatial: 0,
                temporal,
            });
            let grant = goal.map_or(Grant::Nothing, Grant::UpTo);
            self.router.set_grant(self.now, 0, grant, false);
        }

        fn current(&self) -> Option<(u8, u8)> {
            self.router
                .current_layer(0)
                .map(|layer| (layer.encoding, layer.temporal))
        }
    }

    #[test]
    fn a_goal_is_followed_and_told() {
        let mut rig = Rig::new();
        for n in 0..4 {
            rig.picture(n == 0);
        }
        assert_eq!(rig.current(), Some((1, 2)));
        rig.goal(Some((1, 0)));
        rig.picture(false);
        assert_eq!(rig.current(), Some((1, 0)));
        rig.goal(Some((0, 1)));
        let wanted = rig.router.consumers.of(0).and_then(Consumer::goal);
        assert_eq!(
            wanted.map(|goal| (goal.encoding, goal.temporal)),
            Some((0, 1))
        );
        rig.picture(false);
        assert_eq!(
            rig.current(),
            None,
            "a link that is too thin for the old encoding gets none of it"
        );
        for _ in 0..4 {
            rig.picture(true);
        }
        assert_eq!(rig.current(), Some((0, 1)));
        rig.goal(None);
        let before = rig.sent;
        rig.picture(true);
        assert_eq!((rig.current(), rig.sent), (None, before));
        rig.goal(Some((9, 9)));
        rig.picture(true);
        assert_eq!(rig.current(), Some((1, 2)));
    }

    #[test]
    fn layers_are_measured() {
        let mut rig = Rig::new();
        for n in 0..60 {
            rig.picture(n == 0);
        }
        let layers = &rig.router.encodings.of(1).unwrap().layers;
        assert_eq!((layers.spatial_count(), layers.temporal_count()), (1, 3));
        assert_eq!(layers.resolution(0), None);
        for (temporal, share) in [(0, 4.0), (1, 2.0), (2, 1.0)] {
            let rate = layers.rate(0, temporal).as_bps() as f64;
            let expected = 3_000.0 * 8.0 * (1_000.0 / 33.0) / share;
            assert!((rate / expected - 1.0).abs() < 0.15, "{rate} {expected}");
            let frames = f64::from(layers.frame_rate(0, temporal)) * share / (1_000.0 / 33.0);
            assert!((frames - 1.0).abs() < 0.15, "{frames}");
        }
        rig.now += Duration::from_secs(1);
        for _ in 0..12 {
            rig.now += Duration::from_millis(100);
            rig.router.on_timeout(rig.now);
        }
        let layers = &rig.router.encodings.of(1).unwrap().layers;
        assert_eq!(layers.rate(0, 2).as_bps(), 0);
    }
}
