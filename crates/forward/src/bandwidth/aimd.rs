//! The estimate itself: grows while the link takes it, is cut when it does not (draft-ietf-rmcat-gcc-02 §5.5).
//!
//! Owns what the link was seen to carry when it was full. Far below that the estimate grows by a share of itself, near
//! it in small steps; a cut goes below what arrived, so that the queue of the moment drains.

use std::time::Duration;

use schalter_model::Time;

/// A cut leaves this much of what arrived (§5.5 says 0.85): what drains the queue is the send rate's business, so
/// this only has to make room for others.
const CUT: f64 = 0.87;
/// Growth a second while the link's capacity is unknown (§5.5).
const GROWTH: f64 = 0.08;
/// Growth near the capacity: this many bits per second a second at 1 Mbit/s, with the root of the rate
/// above and in proportion below, where single packets are much of the queue.
/// One packet a response time (§5.5) is far too much at 300 kbit/s and too little at 10 Mbit/s.
const STEP: f64 = 100e3;
const SLOW_STEP: f64 = 0.75;
/// The estimate does not grow above this multiple of what arrives (§5.5) ...
const AHEAD: f64 = 1.15;
/// ... and a bit, for very slow links.
const AHEAD_MORE: f64 = 10e3;
/// Weight of a new sample of the capacity (§5.5).
const CAPACITY_WEIGHT: f64 = 0.1;
/// Least time between two cuts, for the first one to show in the feedback.
const BETWEEN_CUTS: Duration = Duration::from_millis(150);

/// A second cut to less than this share is not held up: the first was measured before the link was really full.
const UNEXPECTED: f64 = 0.8;

/// What the link carried when it was full: mean and variance, the latter in units of the mean.
#[derive(Clone, Copy, Debug)]
struct Capacity {
    mean: f64,
    variance: f64,
}

impl Capacity {
    fn deviation(self) -> f64 {
        (self.variance * self.mean).sqrt()
    }
}

/// Estimate and growth.
#[derive(Debug)]
pub(super) struct RateControl {
    estimate: f64,
    min: f64,
    max: f64,
    capacity: Option<Capacity>,
    grown: Option<Time>,
    cut: Option<Time>,
}

impl RateControl {
    pub(super) fn new(min: f64, start: f64, max: f64) -> Self {
        Self {
            estimate: start.clamp(min, max),
            min,
            max,
            capacity: None,
            grown: None,
            cut: None,
        }
    }

    pub(super) fn estimate(&self) -> f64 {
        self.estimate
    }

    pub(super) fn set(&mut self, rate: f64) {
        self.estimate = if rate.is_nan() { self.min } else { rate }.clamp(self.min, self.max);
    }

    /// When the estimate was last cut.
    pub(super) fn last_cut(&self) -> Option<Time> {
        self.cut
    }

    /// The link took more than was believed, or was seen to be full at `rate`: what was known of it is void.
    pub(super) fn on_probed(&mut self, now: Time, rate: f64) {
        self.set(rate);
        self.capacity = None;
        self.grown = Some(now);
    }

    /// The queue grows while `acked` arrives. `true` if that cut the estimate.
    pub(super) fn on_overuse(&mut self, now: Time, acked: f64) -> bool {
        let recent = self.cut.is_some_and(|cut| now - cut < BETWEEN_CUTS);
        if recent && acked * CUT > self.estimate * UNEXPECTED {
            return false;
        }
        self.cut_to(now, acked, CUT)
    }

    /// The link is full at `acked`, and `share` of that is to be used.
    pub(super) fn cut_to(&mut self, now: Time, acked: f64, share: f64) -> bool {
        self.learn(acked);
        self.grown = Some(now);
        self.cut = Some(now);
        let target = acked * share;
        if target >= self.estimate {
            return false;
        }
        self.set(target);
        true
    }

    /// Lowers the estimate for a loss without a queue; says nothing of the capacity.
    pub(super) fn on_loss(&mut self, now: Time, rate: f64) {
        self.set(rate.min(self.estimate));
        self.grown = Some(now);
        self.cut = Some(now);
    }

    /// Time passes in which the estimate is kept.
    pub(super) fn hold(&mut self, now: Time) {
        self.grown = Some(now);
    }

    /// Time passed in which the link took all that was sent, `acked` of it arriving now.
    pub(super) fn grow(&mut self, now: Time, acked: f64) {
        let elapsed = self.grown.map_or(0.0, |grown| (now - grown).as_secs_f64());
        self.grown = Some(now);
        let elapsed = elapsed.min(0.5);
        if let Some(capacity) = self.capacity
            && acked > capacity.mean + 3.0 * capacity.deviation()
        {
            self.capacity = None;
        }
        let megabits = self.estimate / 1e6;
        let step = if self.capacity.is_some() {
            STEP * megabits.sqrt().min(megabits * SLOW_STEP)
        } else {
            self.estimate * GROWTH
        };
        let bound = (acked * AHEAD + AHEAD_MORE).max(self.estimate);
        self.set((self.estimate + step * elapsed).min(bound));
    }

    fn learn(&mut self, acked: f64) {
        self.capacity = Some(match self.capacity {
            // A link that changed by much is another link.
            Some(old) if (acked - old.mean).abs() < 3.0 * old.deviation() => {
                let mean = old.mean + CAPACITY_WEIGHT * (acked - old.mean);
                let error = (acked - mean) * (acked - mean) / mean.max(1.0);
                let variance = old.variance + CAPACITY_WEIGHT * (error - old.variance);
                Capacity {
                    mean,
                    // A deviation of 2 to 5 %.
                    variance: variance.clamp(0.0004 * mean, 0.0025 * mean),
                }
            }
            _ => Capacity {
                mean: acked,
                variance: 0.0025 * acked,
            },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_small_near_the_capacity_and_stops_without_traffic() {
        let mut control = RateControl::new(30e3, 1e6, 20e6);
        control.on_overuse(Time::from_millis(1), 1e6);
        let before = control.estimate();
        for n in 1..=10 {
            control.grow(Time::from_millis(1 + 100 * n), before);
        }
        let grown = control.estimate() - before;
        assert!((50e3..80e3).contains(&grown), "{grown}");
        for n in 0..1000 {
            control.grow(Time::from_millis(2_000 + 100 * n), 300e3);
        }
        assert!(control.estimate() <= before + grown + 1.0);
    }
}
