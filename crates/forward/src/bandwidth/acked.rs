//! The rate at which packets arrive, and the receiver's clock as feedback tells it
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1; draft-ietf-rmcat-gcc-02 §5.5, "measured throughput").

/// Microseconds of one unit of reference time.
const REFERENCE_MICROS: i64 = 64_000;
/// Arrivals closer than this share an entry, which bounds the ring without losing more than this of a window.
const BIN_MICROS: i64 = 5_000;
/// Entries: more than the longest window, however dense the arrivals.
const BINS: usize = 256;
/// A rate is measured over at least this time: several frames of video, ...
const SHORTEST_MICROS: i64 = 200_000;
/// ... and at least so many entries, because one packet more or less must not be a tenth of the rate, ...
const FEWEST_BINS: usize = 10;
/// The same for a link that is full and whose edges are exact, when it has to be quick.
const HASTY_MICROS: i64 = 80_000;
const HASTY_BINS: usize = 4;
/// No rate is measured over more than this.
const LONGEST_MICROS: i64 = 1_000_000;
/// Without two arrivals in this time there is no rate.
const STALE_MICROS: i64 = 2_000_000;

/// Turns the wrapping reference time of feedback into microseconds of the receiver's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReceiverClock {
    last: Option<(u32, i64)>,
}

impl ReceiverClock {
    /// Microseconds of a reference time: 24 bits, placed nearest to the one before.
    pub(super) fn reference(&mut self, reference: u32) -> i64 {
        let micros = match self.last {
            None => i64::from(reference) * REFERENCE_MICROS,
            Some((before, micros)) => {
                let step = (reference.wrapping_sub(before) << 8).cast_signed() >> 8;
                micros.saturating_add(i64::from(step) * REFERENCE_MICROS)
            }
        };
        self.last = Some((reference, micros));
        micros
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    first: i64,
    last: i64,
    bytes: u64,
}

/// Measures the arrival rate in the receiver's time.
#[derive(Debug)]
pub(super) struct AckedRate {
    bins: Box<[Bin]>,
    /// Entries ever opened; the newest has the number before.
    count: usize,
}

impl AckedRate {
    pub(super) fn new() -> Self {
        Self {
            bins: vec![Bin::default(); BINS].into_boxed_slice(),
            count: 0,
        }
    }

    pub(super) fn reset(&mut self) {
        self.count = 0;
    }

    /// Notes `bytes` that arrived at `arrival` of the receiver's clock, in microseconds.
    pub(super) fn on_arrival(&mut self, arrival: i64, bytes: u64) {
        if let Some(newest) = self.count.checked_sub(1) {
            let bin = &mut self.bins[newest % BINS];
            // Reordered packets count with those that they came among, roughly.
            if arrival - bin.first < BIN_MICROS {
                bin.last = bin.last.max(arrival);
                bin.bytes += bytes;
                return;
            }
        }
        self.bins[self.count % BINS] = Bin {
            first: arrival,
            last: arrival,
            bytes,
        };
        self.count += 1;
    }

    /// Bits per second over the newest arrivals; `None` before there are enough.
    ///
    /// Counts from the end of one entry to the end of the newest, so that a link that is busy throughout shows exactly
    /// what it carries.
    pub(super) fn bits_per_second(&self) -> Option<f64> {
        self.over(SHORTEST_MICROS, FEWEST_BINS)
    }

    /// The same over a moment: noisy, unless the link is full.
    pub(super) fn hasty(&self) -> Option<f64> {
        self.over(HASTY_MICROS, HASTY_BINS)
    }

    fn over(&self, shortest: i64, fewest: usize) -> Option<f64> {
        let newest = self.count.checked_sub(1)?;
        let end = self.bins[newest % BINS].last;
        let mut bytes = 0;
        let mut rate = None;
        let oldest = self.count.saturating_sub(BINS);
        for number in (oldest..newest).rev() {
            bytes += self.bins[(number + 1) % BINS].bytes;
            let span = end - self.bins[number % BINS].last;
            if span > STALE_MICROS {
                break;
            }
            if span >= shortest / 2 {
                rate = Some(bytes as f64 * 8e6 / span as f64);
            }
            let enough = span >= shortest && newest - number >= fewest;
            if enough || span >= LONGEST_MICROS {
                break;
            }
        }
        rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_time_wraps_both_ways() {
        let mut clock = ReceiverClock::default();
        let start = clock.reference(0xff_ffff);
        assert_eq!(clock.reference(1) - start, 2 * REFERENCE_MICROS);
        assert_eq!(clock.reference(0xff_ffff), start);
    }

    #[test]
    fn a_busy_link_shows_exactly_its_rate() {
        let mut acked = AckedRate::new();
        assert!(acked.bits_per_second().is_none());
        for n in 0..100 {
            acked.on_arrival(n * 32_000, 1_200);
        }
        assert_eq!(acked.bits_per_second(), Some(300_000.0));
    }
}
