//! Virtual time.

use schalter_model::Time;

/// A clock that stands still until it is moved, and never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimClock {
    now: Time,
}

impl SimClock {
    /// What time it is.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Moves on to `at`; to a time that has passed: no change.
    pub fn advance_to(&mut self, at: Time) {
        self.now = self.now.max(at);
    }
}
