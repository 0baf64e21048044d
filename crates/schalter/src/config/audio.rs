//! The keys of sound.

use schalter_shard::LoudestConfig;

use super::document::{Complaint, Value};
use super::livekit;
use super::read::MOST;

/// Most speakers that may be heard at once: each is a list to be looked through for every packet of the others.
const MOST_HEARD: i64 = 50;

/// Sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Audio {
    /// Speakers heard at once in a big room, 0 for all.
    pub(crate) loudest: u32,
    /// Audio tracks from which a room is big.
    pub(crate) loudest_from: u32,
}

impl Default for Audio {
    fn default() -> Self {
        let LoudestConfig { most, from } = LoudestConfig::default();
        Self {
            loudest: most as u32,
            loudest_from: from as u32,
        }
    }
}

impl Audio {
    pub(super) fn read(value: &Value<'_>) -> Result<Self, Complaint> {
        let mut audio = Self::default();
        let mut group = value.group()?;
        group.take("loudest", &mut audio.loudest, |v| v.number(0..=MOST_HEARD))?;
        group.take("loudest_from", &mut audio.loudest_from, |v| {
            v.number(2..=MOST)
        })?;
        group.finish(livekit::advice)?;
        Ok(audio)
    }
}
