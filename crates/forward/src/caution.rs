//! How boldly one subscriber's layers climb: at once on a link that has carried everything so far, step by step on one
//! that was too narrow lately, and not again at once to what was too much.
//!
//! An estimate tells what a link carries at this moment. What is sent changes in steps, each with a keyframe, and
//! others adapt to it: two subscribers behind one link both see it idle while both wait, and would fill it twice over.
//! Knows totals and times; refuses to know tracks, which are [`crate::allocate`]'s.

use std::time::Duration;

use schalter_model::Time;

/// After a fall nothing climbs for so long: the queue that caused it has to go first.
const REST: Duration = Duration::from_millis(500);
/// A link that made something fall within this time is climbed step by step ...
const WARY: Duration = Duration::from_secs(15);
/// ... of which one is taken in this time: a keyframe, a round trip, and the time a queue takes to show.
const STEP: Duration = Duration::from_millis(400);
/// A fall within this time after a climb says that the climb was wrong.
const REGRET: Duration = Duration::from_secs(4);
/// What was wrong is not tried again for so long: the first time, and the most after more of them.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));
/// Percent of what was too much that may be tried meanwhile ...
const LESS: u64 = 90;
/// ... and percent of it that the link must seem to carry for it to be another link.
const OTHER: u64 = 150;

/// What may climb in one division.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Climbs {
    /// Steps, all tracks together.
    pub(crate) most: usize,
    /// What all tracks together may take then, in bits per second.
    pub(crate) ceiling: u64,
}

impl Climbs {
    pub(crate) const ALL: Self = Self {
        most: usize::MAX,
        ceiling: u64::MAX,
    };
    pub(crate) const NONE: Self = Self {
        most: 0,
        ceiling: 0,
    };
}

/// What a link's layers did lately.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caution {
    climbed_at: Option<Time>,
    fell_at: Option<Time>,
    /// What was too much, and until when that counts.
    regretted: Option<(u64, Time)>,
    patience: Duration,
}

impl Default for Caution {
    fn default() -> Self {
        Self {
            climbed_at: None,
            fell_at: None,
            regretted: None,
            patience: PATIENCE.0,
        }
    }
}

impl Caution {
    /// What may climb now, on a link that seems to leave `budget` to the tracks.
    pub(crate) fn climbs(&self, now: Time, budget: u64) -> Climbs {
        let within = |at: Option<Time>, span| at.is_some_and(|at| now - at < span);
        let is_wary = within(self.fell_at, WARY);
        if within(self.fell_at, REST) || is_wary && within(self.climbed_at, STEP) {
            return Climbs::NONE;
        }
        let ceiling = match self.regretted {
            Some((rate, until)) if now < until && budget < rate * OTHER / 100 => rate * LESS / 100,
            Some(_) | None => u64::MAX,
        };
        Climbs {
            most: if is_wary { 1 } else { usize::MAX },
            ceiling,
        }
    }

    /// Some track climbed.
    pub(crate) fn on_climb(&mut self, now: Time) {
        if self.fell_at.is_none_or(|fell| now - fell > WARY) {
            self.patience = PATIENCE.0;
        }
        self.climbed_at = Some(now);
    }

    /// Some track fell, from a division that took `before` in all. `is_drain` says that a queue has to go, whatever the
    /// link carries afterwards.
    pub(crate) fn on_fall(&mut self, now: Time, before: u64, is_drain: bool) {
        self.fell_at = Some(now);
        let hasty = self.climbed_at.is_some_and(|at| now - at < REGRET);
        if hasty && !is_drain {
            self.regretted = Some((before, now + self.patience));
            self.patience = (self.patience * 2).min(PATIENCE.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MBIT: u64 = 1_000_000;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn a_link_without_falls_is_climbed_at_once() {
        let mut caution = Caution::default();
        assert_eq!(caution.climbs(at(0), MBIT), Climbs::ALL);
        caution.on_climb(at(0));
        assert_eq!(caution.climbs(at(100), MBIT), Climbs::ALL);
    }

    #[test]
    fn a_fall_makes_wary_and_a_regret_keeps_from_the_same() {
        let mut caution = Caution::default();
        caution.on_climb(at(1_000));
        caution.on_fall(at(2_000), MBIT, false);
        assert_eq!(caution.climbs(at(2_400), MBIT), Climbs::NONE);
        let one = |ceiling| Climbs { most: 1, ceiling };
        assert_eq!(caution.climbs(at(2_600), MBIT), one(900_000));
        assert_eq!(caution.climbs(at(2_600), 2 * MBIT), one(u64::MAX));
        caution.on_climb(at(2_600));
        assert_eq!(caution.climbs(at(2_900), MBIT), Climbs::NONE);
        assert_eq!(caution.climbs(at(3_100), MBIT), one(u64::MAX));
        assert_eq!(caution.climbs(at(18_000), MBIT), Climbs::ALL);
    }

    #[test]
    fn a_drain_is_no_regret() {
        let mut caution = Caution::default();
        caution.on_climb(at(1_000));
        caution.on_fall(at(2_000), MBIT, true);
        assert_eq!(caution.climbs(at(2_600), MBIT).ceiling, u64::MAX);
    }
}
