//! When the next packet of one owner may leave, so that a big frame is no flood for a home router.
//!
//! A line that is free again after what was sent has passed at the pace. It opens when it is free, and stays open for a
//! short burst beyond, because packets that leave together leave in one system call. While a probe lasts the pace is the
//! probe's, and what leaves is the probe's.

use std::time::Duration;

use schalter_model::{Bitrate, Time};

use crate::bandwidth::{Probe, ProbeId};

/// Sent in one go before the line counts as busy, where the link is short of bandwidth. Longer bursts cost fewer system
/// calls and more of a router's queue.
pub(crate) const SHORT_BURST: Duration = Duration::from_millis(5);
/// The same where there is room to spare: a picture of 1.5 Mbit/s leaves in one call, a keyframe in several.
pub(crate) const LONG_BURST: Duration = Duration::from_millis(10);
/// A probe takes at least so many packets, or the gaps between them are too few to be measured.
pub(crate) const PROBE_PACKETS: usize = 5;
/// Slower than this nothing is paced: one packet of 1,200 bytes would wait a second.
const SLOWEST: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Probing {
    id: ProbeId,
    rate: Bitrate,
    /// Bytes and packets that are left of it.
    left: usize,
    packets: usize,
}

/// Pace of one owner.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    rate: Bitrate,
    burst: Duration,
    free_at: Time,
    probing: Option<Probing>,
}

impl Pace {
    pub(crate) fn new(rate: Bitrate, burst: Duration) -> Self {
        Self {
            rate,
            burst,
            free_at: Time::ZERO,
            probing: None,
        }
    }

    /// `burst` is what may leave in one go, as time at `rate`.
    pub(crate) fn set(&mut self, rate: Bitrate, burst: Duration) {
        (self.rate, self.burst) = (rate, burst);
    }

    pub(crate) fn start_probe(&mut self, now: Time, probe: Probe) {
        // What was sent before must not thin out the probe.
        self.free_at = self.free_at.min(now);
        self.probing = Some(Probing {
            id: probe.id,
            rate: probe.rate,
            left: probe.bytes,
            packets: PROBE_PACKETS,
        });
    }

    pub(crate) fn is_probing(&self) -> bool {
        self.probing.is_some()
    }

    /// Whether something may leave.
    #[inline]
    pub(crate) fn is_open(&self, now: Time) -> bool {
        // A probe is measured by the gaps in it.
        let burst = self.probing.map_or(self.burst, |_| SHORT_BURST);
        self.free_at <= now + burst
    }

    /// When it opens for a whole burst again.
    pub(crate) fn opens_at(&self) -> Time {
        self.free_at
    }

    /// Notes what left; answers the probe that it was part of.
    #[inline]
    pub(crate) fn on_sent(&mut self, now: Time, bytes: usize) -> Option<ProbeId> {
        let rate = self.probing.map_or(self.rate, |probing| probing.rate);
        let bits = bytes as u64 * 8;
        let takes = Duration::from_nanos(bits * 1_000_000_000 / rate.as_bps().max(SLOWEST));
        self.free_at = self.free_at.max(now) + takes;
        let probing = self.probing.as_mut()?;
        let id = probing.id;
        probing.left = probing.left.saturating_sub(bytes);
        probing.packets = probing.packets.saturating_sub(1);
        if probing.left == 0 && probing.packets == 0 {
            self.probing = None;
        }
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_leaves_at_once_and_the_rest_at_the_pace() {
        let mut pace = Pace::new(Bitrate::from_kbps(8_000), SHORT_BURST);
        let mut sent = 0;
        for micros in (0..20_000).step_by(100) {
            let now = Time::from_micros(micros);
            while pace.is_open(now) && sent < 100 {
                assert_eq!(pace.on_sent(now, 1_000), None);
                sent += 1;
            }
        }
        // 5 ms at once and 20 ms of one packet a millisecond.
        assert!((25..=27).contains(&sent), "{sent}");
    }

    #[test]
    fn a_long_burst_is_longer_and_a_probe_keeps_the_short_one() {
        let now = Time::from_millis(1);
        let at_once = |pace: &mut Pace| {
            let mut sent = 0;
            while pace.is_open(now) && sent < 100 {
                pace.on_sent(now, 1_000);
                sent += 1;
            }
            sent
        };
        // A packet takes 1 ms, and one more leaves while the line is open.
        let rate = Bitrate::from_kbps(8_000);
        let mut pace = Pace::new(rate, LONG_BURST);
        assert_eq!(at_once(&mut pace), 11);
        let probe = Probe {
            id: ProbeId::new(1),
            rate,
            bytes: 50_000,
        };
        let mut pace = Pace::new(rate, LONG_BURST);
        pace.start_probe(now, probe);
        assert_eq!(at_once(&mut pace), 6);
        assert!(pace.is_probing());
    }

    #[test]
    fn a_probe_has_its_own_pace_until_its_bytes_are_sent() {
        let mut pace = Pace::new(Bitrate::from_kbps(100), SHORT_BURST);
        let now = Time::from_millis(1);
        pace.on_sent(now, 1_000);
        assert!(!pace.is_open(now));
        let id = ProbeId::new(3);
        pace.start_probe(
            now,
            Probe {
                id,
                rate: Bitrate::from_kbps(8_000),
                bytes: 5_500,
            },
        );
        assert!(pace.is_open(now));
        for _ in 0..6 {
            assert_eq!(pace.on_sent(now, 1_000), Some(id));
        }
        assert_eq!(pace.on_sent(now, 1_000), None);
        assert!(!pace.is_probing());
    }
}
