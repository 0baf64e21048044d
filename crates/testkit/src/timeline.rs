//! Bytes over time, in bins of [`BIN`].

use std::time::Duration;

use schalter_model::{Bitrate, Time};

/// Length of a bin: short enough to see a stall, long enough to hold some packets of a slow stream.
pub const BIN: Duration = Duration::from_millis(100);

/// Counts bytes by the bin of time they came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    bins: Vec<u64>,
}

impl Timeline {
    pub(crate) fn add(&mut self, now: Time, bytes: usize) {
        let bin = bin_of(now);
        if self.bins.len() <= bin {
            self.bins.resize(bin + 1, 0);
        }
        self.bins[bin] += bytes as u64;
    }

    /// Bytes in the bin that begins at or before `at`.
    pub fn bytes_at(&self, at: Time) -> u64 {
        self.bins.get(bin_of(at)).copied().unwrap_or(0)
    }

    /// Mean rate over the bins from `from` to before `to`.
    pub fn rate(&self, from: Time, to: Time) -> Bitrate {
        let (first, end) = (bin_of(from), bin_of(to));
        let bins = self.bins.iter().take(end).skip(first);
        Bitrate::of(bins.sum(), BIN * end.saturating_sub(first) as u32)
    }
}

fn bin_of(at: Time) -> usize {
    (at.as_nanos() / BIN.as_nanos() as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_means_over_bins_with_and_without_bytes() {
        let mut timeline = Timeline::default();
        for at in [0, 99, 100, 350] {
            timeline.add(Time::from_millis(at), 1_250);
        }
        assert_eq!(timeline.bytes_at(Time::from_millis(50)), 2_500);
        let rate = |from, to| timeline.rate(Time::from_millis(from), Time::from_millis(to));
        assert_eq!(rate(0, 400), Bitrate::from_kbps(100));
        assert_eq!(rate(200, 300), Bitrate::ZERO);
        assert_eq!(rate(400, 1_400), Bitrate::ZERO);
        assert_eq!(rate(300, 300), Bitrate::ZERO);
    }
}
