//! The keys of signaling.

use super::document::{Complaint, Place, Value};
use super::livekit;

/// How soon clients notice that they are cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signaling {
    /// Seconds between two pings of a client.
    pub(crate) ping_interval: u32,
    /// Seconds without an answer after which a client connects anew.
    pub(crate) ping_timeout: u32,
}

impl Default for Signaling {
    fn default() -> Self {
        // docs/adr/0011: the least that whole seconds on the wire allow.
        Self {
            ping_interval: 1,
            ping_timeout: 2,
        }
    }
}

impl Signaling {
    pub(super) fn read(value: &Value<'_>) -> Result<Self, Complaint> {
        let mut signaling = Self::default();
        let mut group = value.group()?;
        group.take("ping_interval", &mut signaling.ping_interval, |v| {
            v.number(1..=60)
        })?;
        group.take("ping_timeout", &mut signaling.ping_timeout, |v| {
            v.number(2..=300)
        })?;
        group.finish(livekit::advice)?;
        Ok(signaling)
    }

    /// A client whose timeout is over before its next ping is answered would connect anew for ever.
    pub(super) fn check(self) -> Result<(), Complaint> {
        let Self {
            ping_interval,
            ping_timeout,
        } = self;
        if ping_timeout > ping_interval {
            return Ok(());
        }
        // The defaults fit each other, so one of the two is in the file.
        let at = if ping_timeout == Self::default().ping_timeout {
            "signaling.ping_interval"
        } else {
            "signaling.ping_timeout"
        };
        let what = format!(
            "signaling.ping_timeout, {ping_timeout}, must be more than signaling.ping_interval, {ping_interval}"
        );
        Err(Complaint::new(Place::of(at), what))
    }
}
