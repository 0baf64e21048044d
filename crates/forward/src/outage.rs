//! A subscriber's link that comes back from an outage: what waited for it, or was lost on it, is the past, and browsers
//! that get it show it late and keep the delay. Pictures begin anew instead.

use schalter_model::{DropReason, MediaKind, Time};

use crate::router::Router;

impl Router {
    /// Takes feedback of a link by `take`; the first after an outage of `nack_max_age` gives up what waits and asks for
    /// keyframes.
    pub(crate) fn hear(&mut self, now: Time, owner: u32, take: impl FnOnce(&mut Self)) {
        let max_age = self.config.nack_max_age;
        let away = |router: &mut Self| {
            let link = router.link_mut(owner)?;
            link.estimator.silent_for(now)
        };
        let was_away = away(self).is_some_and(|span| span >= max_age);
        take(self);
        if was_away && away(self).is_none() {
            self.begin_pictures_anew(now, owner);
        }
    }

    fn begin_pictures_anew(&mut self, now: Time, owner: u32) {
        let count = self.owner(owner).map_or(0, |state| state.consumers.len());
        for position in 0..count {
            let index = self.owner(owner).map(|state| state.consumers[position]);
            let Some(index) = index else {
                return;
            };
            let Some(consumer) = self.consumers.of(index) else {
                continue;
            };
            if consumer.kind() == MediaKind::Audio {
                continue;
            }
            let goal = self.goal_of(index);
            let before = self.egress.backlog(owner);
            self.egress.remove_consumer(owner, index);
            let given_up = before - self.egress.backlog(owner);
            self.tally
                .drops
                .add(DropReason::EgressStale, given_up as u64);
            if let Some(slot) = goal {
                self.want_keyframe(now, slot);
            }
        }
    }
}
