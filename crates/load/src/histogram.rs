//! Durations in buckets of at most 3 % width, so that millions of samples cost 16 KiB and no allocation.

use std::time::Duration;

/// Buckets per power of two.
const SUB_BUCKETS: u64 = 32;
const SUB_BITS: u32 = SUB_BUCKETS.trailing_zeros();
/// Enough for every `u64`.
const BUCKETS: usize = ((64 - SUB_BITS as usize) + 1) * SUB_BUCKETS as usize;

/// A histogram of durations in nanoseconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
            max: 0,
        }
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < SUB_BUCKETS {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - SUB_BITS;
    let sub = (nanos >> shift) - SUB_BUCKETS;
    (u64::from(shift + 1) * SUB_BUCKETS + sub) as usize
}

/// The largest value that falls into a bucket.
fn upper(bucket: usize) -> u64 {
    let (row, sub) = (bucket as u64 / SUB_BUCKETS, bucket as u64 % SUB_BUCKETS);
    match row {
        0 => sub,
        _ => ((SUB_BUCKETS + sub + 1) << (row - 1)).wrapping_sub(1),
    }
}

impl Histogram {
    /// Adds one sample.
    pub fn record(&mut self, nanos: u64) {
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    /// Adds all samples of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// How many samples there are.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The largest sample.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// The smallest duration that `share` (0 to 1) of the samples don't exceed, up to 3 % too long; zero without samples.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && *count > 0 {
                return Duration::from_nanos(upper(bucket).min(self.max));
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_ordered_and_at_most_3_percent_wide() {
        let mut last = 0;
        for nanos in (0..64).flat_map(|bit| [1u64 << bit, (1u64 << bit) + (1u64 << bit) / 3]) {
            let at = bucket(nanos);
            assert!(at >= last, "{nanos}");
            assert!(upper(at) >= nanos, "{nanos}");
            assert!(
                (upper(at) - nanos) as f64 <= nanos as f64 * 0.032,
                "{nanos}"
            );
            last = at;
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_of_a_known_series_are_right() {
        let mut histogram = Histogram::default();
        for micros in 1..=1_000u64 {
            histogram.record(micros * 1_000);
        }
        for (share, micros) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let got = histogram.quantile(share).as_nanos() as f64 / 1_000.0;
            assert!((got - micros).abs() <= micros * 0.032, "{share}: {got}");
        }
        assert_eq!(histogram.max(), Duration::from_micros(1_000));
    }

    #[test]
    fn merging_is_the_same_as_recording_together() {
        let (mut a, mut b, mut both) = (
            Histogram::default(),
            Histogram::default(),
            Histogram::default(),
        );
        for nanos in 0..500u64 {
            let half = if nanos % 2 == 0 { &mut a } else { &mut b };
            half.record(nanos * nanos);
            both.record(nanos * nanos);
        }
        a.merge(&b);
        assert_eq!((a.len(), a.max()), (both.len(), both.max()));
        assert_eq!(a.quantile(0.9), both.quantile(0.9));
    }

    #[test]
    fn no_samples_have_no_delay() {
        assert_eq!(Histogram::default().quantile(0.5), Duration::ZERO);
        assert!(Histogram::default().is_empty());
    }
}
