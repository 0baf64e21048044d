//! What a connection takes that keeps the order of its bytes: head-of-line blocking, and how to keep it short.
//!
//! On TCP everything waits for what was sent before it. What the network does not take yet is therefore not handed to the
//! connection but kept here, where sound can overtake pictures and where what has become too late can be dropped: sound
//! packet by packet, pictures up to the next keyframe, because what refers to a dropped picture can't be decoded.

use std::time::Duration;

use schalter_model::{DropReason, Time};

use crate::owner::Owner;
use crate::router::Router;

/// Sound that waited longer is dropped: a receiver would have to stretch what it plays by as much, and stay late for seconds.
const LATE_SOUND: Duration = Duration::from_millis(200);
/// Pictures that waited longer are dropped. That costs a keyframe, so that a short stall is better sat out.
const LATE_PICTURE: Duration = Duration::from_millis(250);

/// What an owner's connection takes now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Intake {
    /// Everything: nothing waits in front of it. So it is for datagrams, always.
    #[default]
    Everything,
    /// A little waits in front of it: only sound is added.
    Sound,
    /// Much waits in front of it.
    Nothing,
}

impl Router {
    /// Says what an owner's connection takes from now on. What waited for it and is too late now is dropped and counted.
    pub fn set_intake(&mut self, now: Time, owner: Owner, intake: Intake) {
        let before = self.egress.set_intake(owner.0, intake);
        if intake == Intake::Nothing {
            return;
        }
        let late = self
            .egress
            .drop_sound_before(owner.0, before_now(now, LATE_SOUND));
        self.tally.drops.add(DropReason::StreamLate, late);
        if intake == Intake::Everything && before != intake {
            let waits_since = self.egress.pictures_wait_since(owner.0);
            if waits_since.is_some_and(|since| now - since > LATE_PICTURE) {
                self.drop_late_pictures(now, owner);
            }
        }
    }

    /// Drops what waits of an owner's pictures, and has each go on with a keyframe.
    fn drop_late_pictures(&mut self, now: Time, owner: Owner) {
        let late = self.egress.backlog(owner.0) as u64;
        self.tally.drops.add(DropReason::StreamLate, late);
        let count = self.owner(owner.0).map_or(0, |state| state.consumers.len());
        for position in 0..count {
            let state = self.owner(owner.0);
            let Some(index) = state.and_then(|state| state.consumers.get(position).copied()) else {
                continue;
            };
            let Some(consumer) = self.consumers.of_mut(index) else {
                continue;
            };
            if consumer.kind() == schalter_model::MediaKind::Video {
                consumer.rewriter.abandon();
                self.egress.remove_consumer(owner.0, index);
                self.choose_encoding(now, index);
            }
        }
        if let Some(link) = self.link_mut(owner.0) {
            link.distress_at = Some(now);
        }
    }
}

/// `span` before `now`, or the beginning of time.
fn before_now(now: Time, span: Duration) -> Time {
    Time::ZERO + (now - Time::ZERO).saturating_sub(span)
}
