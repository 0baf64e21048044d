//! Time points as plain numbers, so that one seed and one list of inputs replay every decision.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// A point in time: nanoseconds since an epoch that the owner of the clock chose.
///
/// Only differences have a meaning; the epoch of a worker is its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The epoch itself.
    pub const ZERO: Self = Self(0);
    /// A point later than any other.
    pub const MAX: Self = Self(u64::MAX);

    /// A point `nanos` nanoseconds after the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// A point `micros` microseconds after the epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros * 1_000)
    }

    /// A point `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole microseconds since the epoch.
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole milliseconds since the epoch.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The time that passed since `earlier`, zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        let nanos = u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub<Time> for Time {
    type Output = Duration;

    /// Saturates at zero, as [`Time::since`].
    fn sub(self, rhs: Time) -> Duration {
        self.since(rhs)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:06}s",
            self.0 / 1_000_000_000,
            self.0 / 1_000 % 1_000_000
        )
    }
}

/// Wall-clock time in the 32.32 fixed-point format of RTCP sender reports (RFC 3550 §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// The middle 32 bits, as report blocks carry them in `LSR` (RFC 3550 §6.4.1).
    pub const fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// Maps a worker's [`Time`] to wall-clock time, fixed when the worker starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallClock {
    /// Nanoseconds from the Unix epoch to the worker's epoch.
    unix_nanos_at_epoch: u64,
}

/// Seconds from 1900-01-01, where NTP starts to count, to 1970-01-01.
const NTP_UNIX_OFFSET_SECS: u64 = 2_208_988_800;

impl WallClock {
    /// A clock whose [`Time::ZERO`] lies `unix_nanos` nanoseconds after the Unix epoch.
    pub const fn new(unix_nanos: u64) -> Self {
        Self {
            unix_nanos_at_epoch: unix_nanos,
        }
    }

    /// Nanoseconds since the Unix epoch at `now`.
    pub const fn unix_nanos(self, now: Time) -> u64 {
        self.unix_nanos_at_epoch.saturating_add(now.0)
    }

    /// `now` in NTP format.
    pub const fn ntp(self, now: Time) -> NtpTime {
        let nanos = self.unix_nanos(now);
        let secs = (nanos / 1_000_000_000).wrapping_add(NTP_UNIX_OFFSET_SECS);
        let fraction = ((nanos % 1_000_000_000) << 32) / 1_000_000_000;
        NtpTime((secs << 32) | fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_saturate_instead_of_wrapping() {
        let early = Time::from_millis(1);
        let late = Time::from_millis(5);
        assert_eq!(late - early, Duration::from_millis(4));
        assert_eq!(early - late, Duration::ZERO);
        assert_eq!(Time::MAX + Duration::from_secs(1), Time::MAX);
    }

    #[test]
    fn ntp_counts_from_1900_with_a_binary_fraction() {
        let clock = WallClock::new(0);
        assert_eq!(clock.ntp(Time::ZERO).0, NTP_UNIX_OFFSET_SECS << 32);
        let half = clock.ntp(Time::from_millis(500));
        assert_eq!(half.0 & 0xffff_ffff, 1 << 31);
        assert_eq!(
            half.middle(),
            ((NTP_UNIX_OFFSET_SECS as u32) << 16) | 0x8000
        );
    }
}
