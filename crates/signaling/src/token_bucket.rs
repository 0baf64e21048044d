//! Rates with bursts, for limits on what one peer may cause.

use schalter_model::Time;

/// A token bucket in exact integer arithmetic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenBucket {
    per_second: u64,
    burst: u64,
    /// In billionths of a token, so that nothing is lost between small steps.
    level: u128,
    at: Time,
}

const SCALE: u128 = 1_000_000_000;

impl TokenBucket {
    /// A full bucket that holds `burst` tokens and gains `per_second`.
    pub(crate) fn new(per_second: u64, burst: u64, now: Time) -> Self {
        Self {
            per_second,
            burst,
            level: u128::from(burst) * SCALE,
            at: now,
        }
    }

    fn refill(&mut self, now: Time) {
        let gained = u128::from(self.per_second) * now.since(self.at).as_nanos();
        self.level = (self.level + gained).min(u128::from(self.burst) * SCALE);
        self.at = self.at.max(now);
    }

    /// Whether `tokens` can be taken now.
    pub(crate) fn holds(&mut self, tokens: u64, now: Time) -> bool {
        self.refill(now);
        self.level >= u128::from(tokens) * SCALE
    }

    /// Takes `tokens` if there are as many.
    pub(crate) fn take(&mut self, tokens: u64, now: Time) -> bool {
        let fits = self.holds(tokens, now);
        if fits {
            self.level -= u128::from(tokens) * SCALE;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let mut bucket = TokenBucket::new(10, 3, Time::ZERO);
        for _ in 0..3 {
            assert!(bucket.take(1, Time::ZERO));
        }
        assert!(!bucket.take(1, Time::from_millis(99)));
        assert!(bucket.take(1, Time::from_millis(100)));
        assert!(!bucket.take(1, Time::from_millis(100)));
        assert!(
            !bucket.holds(4, Time::from_millis(10_000)),
            "beyond the burst"
        );
    }
}
