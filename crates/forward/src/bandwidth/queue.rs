//! How long packets stand in a queue on the way: one-way delay over its lowest value.
//!
//! The receiver's clock has another epoch than ours, so only differences mean anything. The lowest delay of the last
//! seconds is taken for the empty path; the lowest of the last moments is what stands in the queue however much
//! single packets jitter.

use std::time::Duration;

use schalter_model::Time;

/// Samples of recent packets, one a burst.
const RECENT: usize = 64;
/// Packets sent within this time share a sample.
const BURST: Duration = Duration::from_millis(5);
/// Span whose lowest delay counts as standing: longer than jitter and than the gap between two frames.
const STANDING: Duration = Duration::from_millis(100);
/// The same in the receiver's time, in microseconds: behind a link that has become slow, 100 ms of sending take a
/// second to arrive.
const STANDING_ARRIVALS: i64 = 70_000;
/// Span that forecasts start from; shorter, because the queue may have been empty in between.
const FRESH: Duration = Duration::from_millis(50);
/// At least so many samples are looked at, for slow links.
const FEWEST: usize = 3;
/// So many packets, each later than the one before, are no jitter.
const CLIMB: u32 = 3;
/// The lowest delay is forgotten in steps of this span ...
const BASE_STEP: Duration = Duration::from_millis(2_500);
/// ... after so many of them: long enough to meet an empty queue in a loaded path, short enough that 100 ppm of
/// clock drift make a millisecond.
const BASE_STEPS: usize = 4;

/// Weight of a step in the jitter (RFC 3550 §6.4.1 uses as much), and the most that one step counts, in microseconds.
const JITTER_WEIGHT: f64 = 1.0 / 32.0;
const JITTER_MOST: i64 = 30_000;

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    sent: Time,
    delay: i64,
    total: u32,
}

impl Sample {
    /// On the receiver's clock, in microseconds.
    fn arrival(self) -> i64 {
        self.delay
            .saturating_add(self.sent.as_micros().cast_signed())
    }
}

/// Follows the one-way delay of one path.
#[derive(Debug)]
pub(super) struct QueueDelay {
    recent: [Sample; RECENT],
    count: usize,
    bases: [i64; BASE_STEPS],
    step: Time,
    /// Smoothed difference of delay from burst to burst, in microseconds.
    jitter: f64,
    /// Packets of which each was later than the one before, and the delay of the one before the first.
    climb: (u32, i64),
    last: i64,
}

impl QueueDelay {
    pub(super) fn new() -> Self {
        Self {
            recent: [Sample::default(); RECENT],
            count: 0,
            bases: [i64::MAX; BASE_STEPS],
            step: Time::ZERO,
            jitter: 0.0,
            climb: (0, 0),
            last: 0,
        }
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }

    /// Takes what now stands for the empty path: somebody else's queue, or a longer way.
    pub(super) fn rebase(&mut self) {
        let Some(lowest) = self.lowest(STANDING) else {
            return;
        };
        self.bases = [i64::MAX; BASE_STEPS];
        self.bases[0] = lowest;
    }

    /// The delay last noted, in microseconds between two clocks.
    pub(super) fn newest(&self) -> Option<i64> {
        let newest = self.count.checked_sub(1)?;
        Some(self.recent[newest % RECENT].delay)
    }

    /// Takes a packet: `delay` in microseconds between two clocks, `total` the bytes sent up to it.
    pub(super) fn on_packet(&mut self, sent: Time, delay: i64, total: u32) {
        if self.count == 0 {
            self.step = sent;
        }
        // Bounded: a jump empties all steps at most once.
        for _ in 0..BASE_STEPS {
            if sent - self.step < BASE_STEP {
                break;
            }
            self.bases.rotate_right(1);
            self.bases[0] = i64::MAX;
            self.step += BASE_STEP;
        }
        if sent - self.step >= BASE_STEP {
            self.step = sent;
        }
        self.bases[0] = self.bases[0].min(delay);
        self.climb = match self.climb {
            (packets, from) if self.count > 0 && delay > self.last => (packets + 1, from),
            (..) => (0, delay),
        };
        self.last = delay;
        let sample = Sample { sent, delay, total };
        if let Some(newest) = self.count.checked_sub(1) {
            let step = delay.saturating_sub(self.recent[newest % RECENT].delay);
            let step = step.saturating_abs().min(JITTER_MOST) as f64;
            self.jitter += (step - self.jitter) * JITTER_WEIGHT;
            let newest = &mut self.recent[newest % RECENT];
            if sent < newest.sent {
                return;
            }
            if sent - newest.sent < BURST {
                newest.delay = delay;
                newest.total = total;
                return;
            }
        }
        self.recent[self.count % RECENT] = sample;
        self.count += 1;
    }

    fn base(&self) -> i64 {
        self.bases.iter().copied().min().unwrap_or(i64::MAX)
    }

    fn samples(&self, span: Duration) -> impl Iterator<Item = Sample> + '_ {
        let newest = self.count.saturating_sub(1);
        let end = self.recent[newest % RECENT];
        (self.count.saturating_sub(RECENT)..self.count)
            .rev()
            .map(|number| self.recent[number % RECENT])
            .enumerate()
            .take_while(move |(n, sample)| {
                *n < FEWEST
                    || end.sent - sample.sent <= span
                        && end.arrival().saturating_sub(sample.arrival()) <= STANDING_ARRIVALS
            })
            .map(|(_, sample)| sample)
    }

    fn lowest(&self, span: Duration) -> Option<i64> {
        self.samples(span).map(|sample| sample.delay).min()
    }

    /// What a packet waited whose delay was `delay`, in microseconds between two clocks.
    pub(super) fn waited(&self, delay: i64) -> Duration {
        Duration::from_micros(delay.saturating_sub(self.base()).max(0).unsigned_abs())
    }

    /// What even the luckiest of the recent packets waited.
    pub(super) fn standing(&self) -> Duration {
        let Some(lowest) = self.lowest(STANDING) else {
            return Duration::ZERO;
        };
        Duration::from_micros(lowest.saturating_sub(self.base()).max(0).unsigned_abs())
    }

    /// What the luckier of the newest two waited.
    pub(super) fn lately(&self) -> Duration {
        let newest = (self.count.saturating_sub(2)..self.count)
            .map(|number| self.recent[number % RECENT].delay);
        let lowest = newest.min().unwrap_or(0).saturating_sub(self.base());
        Duration::from_micros(lowest.max(0).unsigned_abs())
    }

    /// By how much the newest packet waited longer than the first of those of which each was later than the one before;
    /// nothing while they are few. What a stalled radio link lets go of is ever less late.
    pub(super) fn climb(&self) -> Duration {
        let (packets, from) = self.climb;
        if packets < CLIMB {
            return Duration::ZERO;
        }
        Duration::from_micros(self.last.saturating_sub(from).max(0).unsigned_abs())
    }

    /// How much slower the packets that [`Self::standing`] looks at arrived than they were sent.
    pub(super) fn stretch(&self) -> f64 {
        let mut samples = self.samples(STANDING);
        let Some(newest) = samples.next() else {
            return 1.0;
        };
        let oldest = samples.last().unwrap_or(newest);
        let sent = (newest.sent - oldest.sent).as_micros() as f64;
        let arrived = newest.arrival().saturating_sub(oldest.arrival()) as f64;
        if sent > 0.0 { arrived / sent } else { 1.0 }
    }

    /// By how much delay varies from packet to packet, in seconds.
    pub(super) fn jitter(&self) -> f64 {
        self.jitter / 1e6
    }

    /// When the newest packet was sent whose arrival is known.
    pub(super) fn newest_sent(&self) -> Option<Time> {
        let newest = self.count.checked_sub(1)?;
        Some(self.recent[newest % RECENT].sent)
    }

    /// What a packet sent now would wait: the newest measurements, and what was sent after them, on a link that
    /// carries `bits_per_second`. `total` is the number of bytes sent so far.
    pub(super) fn forecast(&self, now: Time, total: u32, bits_per_second: f64) -> Duration {
        let base = self.base();
        let waits = self.samples(FRESH).map(|sample| {
            let behind = f64::from(total.wrapping_sub(sample.total)) * 8e6 / bits_per_second;
            let passed = (now - sample.sent).as_micros() as f64;
            sample.delay.saturating_sub(base) as f64 + behind - passed
        });
        let wait = waits.fold(f64::MAX, f64::min);
        if self.count == 0 || wait.is_nan() {
            return Duration::ZERO;
        }
        Duration::from_micros(wait.clamp(0.0, 60e6) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_does_not_stand_but_a_queue_does() {
        let mut queue = QueueDelay::new();
        for n in 0..40 {
            let jitter = (n * 7 % 5) as i64 * 5_000;
            queue.on_packet(Time::from_millis(10 * n), 1_000_000 + jitter, 0);
        }
        assert_eq!(queue.standing(), Duration::ZERO);
        for n in 40..60 {
            queue.on_packet(Time::from_millis(10 * n), 1_050_000, 0);
        }
        assert_eq!(queue.standing(), Duration::from_millis(50));
        queue.rebase();
        assert_eq!(queue.standing(), Duration::ZERO);
    }

    #[test]
    fn a_forecast_counts_what_is_still_on_the_way() {
        let mut queue = QueueDelay::new();
        for n in 0..10 {
            queue.on_packet(Time::from_millis(10 * n), -500, 500 * n as u32);
        }
        // 5000 bytes at 400 kbit/s take 100 ms, of which 40 have passed.
        let wait = queue.forecast(Time::from_millis(130), 9_500, 400e3);
        assert_eq!(wait, Duration::from_millis(60));
    }
}
