//! What a link carries, read off a queue that drains: what was sent before a cut arrives back to back.

use std::time::Duration;

/// A packet that waited less may not have had another one in front of it all the time.
const WAITED: Duration = Duration::from_millis(30);
/// Arrivals over a shorter time show no rate, in microseconds.
const SHORTEST_MICROS: i64 = 150_000;

/// Arrivals of what was sent before the last cut.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Drain {
    first: Option<i64>,
    last: i64,
    bytes: u64,
}

impl Drain {
    /// A packet from before the cut arrived, at `arrival` of the receiver's clock in microseconds, after it `waited` on the way.
    pub(super) fn on_arrival(&mut self, arrival: i64, waited: Duration, bytes: u16) {
        if waited < WAITED {
            *self = Self::default();
        } else if self.first.is_some() {
            // What the first one took passed before it arrived.
            self.bytes += u64::from(bytes);
            self.last = self.last.max(arrival);
        } else {
            (self.first, self.last) = (Some(arrival), arrival);
        }
    }

    /// What arrived in bits per second; `None` if it was too short to tell.
    pub(super) fn rate(&self) -> Option<f64> {
        let span = self.last.saturating_sub(self.first?);
        (span >= SHORTEST_MICROS).then(|| self.bytes as f64 * 8e6 / span as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_millis(100);

    #[test]
    fn a_busy_link_shows_its_rate_and_an_idle_one_nothing() {
        let mut drain = Drain::default();
        for n in 0..6 {
            assert_eq!(drain.rate(), None);
            drain.on_arrival(n * 30_000, LONG, 1_125);
        }
        assert_eq!(drain.rate(), Some(300_000.0));
        drain.on_arrival(200_000, Duration::from_millis(5), 1_125);
        assert_eq!(drain.rate(), None);
    }
}
