//! How often one subscriber may have packets sent again, so that a few bytes of NACK are no lever for many bytes of
//! media.

use std::time::Duration;

use schalter_model::Time;

/// Resent packets whose time is remembered.
const REMEMBERED: usize = 256;

#[derive(Clone, Copy, Debug, Default)]
struct Resent {
    output: u64,
    at: Time,
}

/// Token bucket and memory of one consumer.
#[derive(Debug)]
pub(crate) struct ResendLimit {
    resent: Box<[Resent]>,
    /// When the bucket would be empty if it were filled in advance: one cell is `period` long.
    filled_until: Time,
    period: Duration,
    depth: Duration,
    guard: Duration,
}

impl ResendLimit {
    pub(crate) fn new(rate: u32, guard: Duration) -> Self {
        Self {
            resent: vec![Resent::default(); REMEMBERED].into_boxed_slice(),
            filled_until: Time::ZERO,
            period: Duration::from_secs(1) / rate.max(1),
            depth: Duration::from_millis(250),
            guard,
        }
    }

    /// Whether this packet may be sent again now; takes a token if so.
    pub(crate) fn admit(&mut self, now: Time, output: u64) -> bool {
        let slot = &mut self.resent[output as usize % REMEMBERED];
        if slot.output == output && now - slot.at < self.guard {
            return false;
        }
        let from = self.filled_until.max(now);
        if from - now > self.depth {
            return false;
        }
        self.filled_until = from + self.period;
        *slot = Resent { output, at: now };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_loss_is_answered_once_a_round_trip() {
        let mut limit = ResendLimit::new(1_000, Duration::from_millis(20));
        assert!(limit.admit(Time::from_millis(100), 7));
        assert!(!limit.admit(Time::from_millis(119), 7));
        assert!(limit.admit(Time::from_millis(120), 7));
    }

    #[test]
    fn the_rate_is_bounded_with_a_burst() {
        let mut limit = ResendLimit::new(1_000, Duration::from_millis(20));
        let now = Time::from_millis(5);
        let burst = (0..10_000).filter(|n| limit.admit(now, *n)).count();
        assert!((250..=251).contains(&burst), "{burst}");
        let later = Time::from_millis(105);
        let refilled = (0..10_000)
            .filter(|n| limit.admit(later, n + 20_000))
            .count();
        assert!((100..=101).contains(&refilled), "{refilled}");
    }
}
