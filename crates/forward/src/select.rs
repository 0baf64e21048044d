//! Which encoding a subscriber should have, and asking for the keyframe that it takes to get there.

use schalter_model::Time;

use crate::event::ForwardEvent;
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
        state.desired = select(activity, state.target.max_encoding, state.desired);
        let Some(slot) = state
            .desired
            .and_then(|index| producer.slots.get(usize::from(index)).copied())
        else {
            return;
        };
        let epoch_start = encodings.of(slot).map_or(0, |e| e.epoch_start);
        let flows = state
            .rewriter
            .open_segment()
            .is_some_and(|open| open.slot == slot && open.start >= epoch_start);
        if !flows && !state.target.paused {
            self.want_keyframe(now, slot);
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
    use super::*;

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
}
