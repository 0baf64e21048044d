//! Which log a checkpoint is of: `<name>/<authority>/<epoch>`. Each epoch is a tree of its own and so has an origin of its own.

use std::fmt;
use std::str::FromStr;

/// A text is no origin or no epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected <name>/<authority>/<epoch>, with an epoch such as 2026-11 or 2026-11.2")]
pub struct OriginError;

/// A stretch of time, and which log of it: the second begins where the first could not go on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    period: String,
    /// From 1.
    nth: u32,
}

impl Epoch {
    /// The first of a stretch: a year `2026`, a month `2026-11` or a day `2026-11-29`.
    ///
    /// # Errors
    /// [`OriginError`] if it is none of them.
    pub fn first(period: &str) -> Result<Self, OriginError> {
        let shape: String = period
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        if !["0000", "0000-00", "0000-00-00"].contains(&shape.as_str()) {
            return Err(OriginError);
        }
        Ok(Self {
            period: period.to_owned(),
            nth: 1,
        })
    }

    /// The next of the same stretch.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            period: self.period.clone(),
            nth: self.nth.saturating_add(1),
        }
    }

    /// The stretch of time (UTC).
    pub fn period(&self) -> &str {
        &self.period
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nth {
            1 => f.write_str(&self.period),
            nth => write!(f, "{}.{nth}", self.period),
        }
    }
}

impl FromStr for Epoch {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let epoch = match text.split_once('.') {
            None => Self::first(text)?,
            Some((period, nth)) => Self {
                nth: nth.parse().map_err(|_| OriginError)?,
                ..Self::first(period)?
            },
        };
        if epoch.to_string() == text && epoch.nth > 0 {
            Ok(epoch)
        } else {
            Err(OriginError)
        }
    }
}

/// An origin, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Of the server.
    pub name: String,
    /// Whose events.
    pub authority: String,
    /// Of when.
    pub epoch: Epoch,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.name, self.authority, self.epoch)
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let (rest, epoch) = text.rsplit_once('/').ok_or(OriginError)?;
        let (name, authority) = rest.rsplit_once('/').ok_or(OriginError)?;
        if name.is_empty() || authority.is_empty() {
            return Err(OriginError);
        }
        Ok(Self {
            name: name.to_owned(),
            authority: authority.to_owned(),
            epoch: epoch.parse()?,
        })
    }
}
