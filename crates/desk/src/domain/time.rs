//! Moments in milliseconds since 1970, days in an authority's zone. No clock: the moment always comes in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text is no time, day or zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTime {
    /// No RFC 3339 time between the years 1970 and 9999.
    #[error("a time such as 2026-11-28T09:00:00Z is expected, with its offset from UTC")]
    Time,
    /// No day.
    #[error("a day such as 2026-11-28 is expected")]
    Day,
    /// No IANA zone.
    #[error("an IANA time zone such as Europe/Berlin is expected")]
    Zone,
}

/// A moment: milliseconds since 1970-01-01T00:00:00Z. In JSON: RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(i64);

/// 9999-12-30T00:00:00Z: four digits of the year, and the last day that every zone has.
const LAST_MS: i64 = 253_402_128_000_000;

impl Timestamp {
    /// Of milliseconds since 1970, held to the years 1970 to 9999.
    pub const fn from_ms(ms: i64) -> Self {
        if ms < 0 {
            Self(0)
        } else if ms > LAST_MS {
            Self(LAST_MS)
        } else {
            Self(ms)
        }
    }

    /// Milliseconds since 1970.
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// This many seconds later.
    pub const fn plus_s(self, seconds: u64) -> Self {
        Self::from_ms(self.0.saturating_add(ms_of(seconds)))
    }

    /// This many seconds earlier.
    pub const fn minus_s(self, seconds: u64) -> Self {
        Self::from_ms(self.0.saturating_sub(ms_of(seconds)))
    }

    /// Seconds from `earlier` to this, 0 if it is later.
    pub fn since_s(self, earlier: Self) -> u64 {
        (self.0.saturating_sub(earlier.0).max(0) / 1_000).unsigned_abs()
    }
}

const fn ms_of(seconds: u64) -> i64 {
    // Longer than all years that a moment can have.
    const MOST: u64 = 1 << 40;
    let seconds = if seconds > MOST { MOST } else { seconds };
    seconds.cast_signed() * 1_000
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment =
            jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        write!(f, "{moment:.3}")
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        // The library also takes forms that RFC 3339 doesn't have, and zone names in brackets.
        let plain = text.is_ascii() && !text.contains('[') && matches!(text.len(), 20..=35);
        let moment: jiff::Timestamp = plain
            .then(|| text.parse().ok())
            .flatten()
            .ok_or(InvalidTime::Time)?;
        let ms = moment.as_millisecond();
        if (0..=LAST_MS).contains(&ms) {
            Ok(Self(ms))
        } else {
            Err(InvalidTime::Time)
        }
    }
}

impl TryFrom<String> for Timestamp {
    type Error = InvalidTime;

    fn try_from(text: String) -> Result<Self, InvalidTime> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(at: Timestamp) -> Self {
        at.to_string()
    }
}

/// An IANA time zone, from the database in the binary: the system may have none.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeZone(jiff::tz::TimeZone);

impl TimeZone {
    /// Finds a zone by its name.
    ///
    /// # Errors
    /// [`InvalidTime::Zone`].
    pub fn new(name: &str) -> Result<Self, InvalidTime> {
        jiff::tz::TimeZone::get(name)
            .map(Self)
            .map_err(|_| InvalidTime::Zone)
    }

    /// Coordinated universal time.
    pub const fn utc() -> Self {
        Self(jiff::tz::TimeZone::UTC)
    }

    /// Its IANA name.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// A moment as clocks there have it, by `strftime`'s directives; in UTC where the format is none.
    pub fn written(&self, at: Timestamp, format: &str) -> String {
        let moment = jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let zoned = moment.to_zoned(self.0.clone());
        jiff::fmt::strtime::format(format, &zoned).unwrap_or_else(|_| at.to_string())
    }

    /// The day that it is there at `at`.
    pub fn day_of(&self, at: Timestamp) -> Day {
        let moment = jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Day(self.0.to_datetime(moment).date())
    }

    /// When the day begins there, and when the next begins. Not always 24 hours.
    pub fn bounds(&self, day: Day) -> (Timestamp, Timestamp) {
        let start = |date: jiff::civil::Date| {
            let ms = date
                .to_zoned(self.0.clone())
                .and_then(|zoned| zoned.start_of_day())
                .map_or(LAST_MS, |zoned| zoned.timestamp().as_millisecond());
            Timestamp::from_ms(ms)
        };
        (
            start(day.0),
            start(day.0.saturating_add(jiff::Span::new().days(1))),
        )
    }
}

/// A day of the calendar: `2026-11-28`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day(jiff::civil::Date);

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Day {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let bytes = text.as_bytes();
        let plain = bytes.len() == 10 && bytes[4] == b'-' && bytes[7] == b'-';
        plain
            .then(|| text.parse().ok())
            .flatten()
            .map(Self)
            .ok_or(InvalidTime::Day)
    }
}

impl TryFrom<String> for Day {
    type Error = InvalidTime;

    fn try_from(text: String) -> Result<Self, InvalidTime> {
        text.parse()
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_milliseconds() {
        let at: Timestamp = "2026-11-28T10:00:00+01:00".parse().unwrap();
        assert_eq!(at.to_string(), "2026-11-28T09:00:00.000Z");
        assert_eq!(at.to_string().parse(), Ok(at));
        assert_eq!(Timestamp::from_ms(-1).ms(), 0);
        assert_eq!(at.plus_s(u64::MAX), Timestamp::from_ms(i64::MAX));
        for bad in [
            "",
            "2026-11-28",
            "2026-11-28T09:00:00",
            "1969-12-31T23:59:59Z",
            "2026-13-01T00:00:00Z",
            "2026-11-28T09:00:00+01:00[Europe/Berlin]",
            "28.11.2026 09:00 Uhr",
        ] {
            assert_eq!(bad.parse::<Timestamp>(), Err(InvalidTime::Time), "{bad}");
        }
    }

    #[test]
    fn a_day_is_as_long_as_it_is_there() {
        let zone = TimeZone::new("Europe/Berlin").unwrap();
        let hours = |day: &str| {
            let (from, to) = zone.bounds(day.parse().unwrap());
            to.since_s(from) / 3_600
        };
        assert_eq!(
            (
                hours("2026-11-28"),
                hours("2026-03-29"),
                hours("2026-10-25")
            ),
            (24, 23, 25)
        );
        let late: Timestamp = "2026-11-27T23:30:00Z".parse().unwrap();
        assert_eq!(zone.day_of(late).to_string(), "2026-11-28");
        assert_eq!(TimeZone::new("Mars/Base"), Err(InvalidTime::Zone));
        assert_eq!("2026-02-30".parse::<Day>(), Err(InvalidTime::Day));
    }
}
