//! What loss says about the link (draft-ietf-rmcat-gcc-02 §6).
//!
//! Below 2 % loss is free, from 10 % on it costs rate, in between nothing grows but by probes. A decision needs enough
//! packets: at 5 % random loss, one window of 30 packets in seven would show 10 %.

use std::time::Duration;

use schalter_model::Time;

/// Below this share the estimate may grow.
const FREE: f64 = 0.02;
/// From this share on the estimate is cut.
const HEAVY: f64 = 0.10;
/// So heavy that few packets prove it.
const EVIDENT: f64 = 0.25;
const EVIDENT_PACKETS: u32 = 20;
/// Packets that prove moderate loss.
const ENOUGH_PACKETS: u32 = 100;
/// A window is judged after this time even if it is small, but not with fewer packets than are evident.
const LONGEST: Duration = Duration::from_millis(1_500);
/// And not before this one, so that a cut shows before the next.
const SHORTEST: Duration = Duration::from_millis(200);
/// Weight of a packet in the smoothed loss.
const WEIGHT: f64 = 0.005;

/// What the last packets' loss allows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Verdict {
    #[default]
    Free,
    Hold,
    /// This share of the packets was lost.
    Heavy(f64),
}

/// Counts fates.
#[derive(Debug, Default)]
pub(super) struct LossWindow {
    since: Option<Time>,
    packets: u32,
    lost: u32,
    smoothed: f64,
}

impl LossWindow {
    /// Forgets the window, whose losses have an explanation.
    pub(super) fn restart(&mut self, now: Time) {
        self.since = Some(now);
        self.packets = 0;
        self.lost = 0;
    }

    pub(super) fn on_fate(&mut self, lost: bool) {
        self.packets = self.packets.saturating_add(1);
        self.lost = self.lost.saturating_add(u32::from(lost));
        self.smooth(f64::from(u8::from(lost)), WEIGHT);
    }

    /// A packet counted as lost came late.
    pub(super) fn on_late(&mut self) {
        self.lost = self.lost.saturating_sub(1);
        self.smooth(0.0, WEIGHT);
    }

    /// Takes the share of a receiver report.
    pub(super) fn smooth(&mut self, share: f64, weight: f64) {
        self.smoothed += weight * (share - self.smoothed);
    }

    pub(super) fn smoothed(&self) -> f64 {
        self.smoothed
    }

    /// Whether anything may grow now.
    pub(super) fn is_free(&self) -> bool {
        self.smoothed < FREE
    }

    /// Judges the window, if it is complete.
    pub(super) fn judge(&mut self, now: Time) -> Option<Verdict> {
        let since = *self.since.get_or_insert(now);
        let elapsed = now - since;
        if elapsed < SHORTEST || self.packets < EVIDENT_PACKETS {
            return None;
        }
        let share = f64::from(self.lost) / f64::from(self.packets);
        if share < EVIDENT && self.packets < ENOUGH_PACKETS && elapsed < LONGEST {
            return None;
        }
        self.restart(now);
        Some(if share >= HEAVY {
            Verdict::Heavy(share)
        } else if share >= FREE {
            Verdict::Hold
        } else {
            Verdict::Free
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(lost_of_hundred: u32) -> Option<Verdict> {
        let mut window = LossWindow::default();
        window.restart(Time::ZERO);
        for n in 0..100 {
            window.on_fate(n < lost_of_hundred);
        }
        window.judge(Time::from_millis(500))
    }

    #[test]
    fn loss_is_free_then_holds_then_cuts() {
        assert_eq!(verdict(1), Some(Verdict::Free));
        assert_eq!(verdict(5), Some(Verdict::Hold));
        assert_eq!(verdict(12), Some(Verdict::Heavy(0.12)));
    }
}
