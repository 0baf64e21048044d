//! Feedback that stays away while packets are sent: the link is down, or the way back is.
//!
//! Owns a factor on the send rate, which shrinks during silence and grows back quickly, because a link that returns is
//! usually the one that went. Refuses to judge receivers that never sent feedback.

use std::time::Duration;

use schalter_model::Time;

/// Silence that is worth acting on (several feedback intervals and a long round trip), and between two reductions.
const PATIENCE: Duration = Duration::from_millis(500);
/// The send rate's factor at each reduction, and its lowest value.
const REDUCTION: f64 = 0.5;
const LOWEST: f64 = 1.0 / 32.0;
/// The least factor once feedback is back: a keyframe should not take a second.
const RETURN: f64 = 0.25;
/// Growth of the factor then: to one in less than half a second.
const RECOVERY: f64 = 2.0;
const RECOVERY_STEP: Duration = Duration::from_millis(180);

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Fine,
    Silent { factor: f64, until: Time },
    Recovering { factor: f64, since: Time },
}

/// Watches for silence.
#[derive(Debug)]
pub(super) struct Silence {
    heard: Option<Time>,
    /// The first packet sent after the last feedback.
    asked: Option<Time>,
    state: State,
}

impl Silence {
    pub(super) fn new() -> Self {
        Self {
            heard: None,
            asked: None,
            state: State::Fine,
        }
    }

    pub(super) fn on_sent(&mut self, now: Time) {
        self.asked.get_or_insert(now);
    }

    /// Feedback came; `true` if it ends a silence. `room` says that nothing stands in the queue.
    pub(super) fn on_feedback(
        &mut self,
        now: Time,
        newest_waiting: Option<Time>,
        room: bool,
    ) -> bool {
        self.heard = Some(now);
        self.asked = newest_waiting.map(|_| now);
        match self.state {
            State::Fine => false,
            State::Silent { factor, .. } => {
                self.state = State::Recovering {
                    factor: factor.max(RETURN),
                    since: now,
                };
                true
            }
            State::Recovering { factor, since } => {
                if room && now - since >= RECOVERY_STEP {
                    let factor = factor * RECOVERY;
                    self.state = if factor >= 1.0 {
                        State::Fine
                    } else {
                        State::Recovering { factor, since: now }
                    };
                }
                false
            }
        }
    }

    /// When feedback was last heard.
    pub(super) fn heard(&self) -> Option<Time> {
        self.heard
    }

    pub(super) fn is_silent(&self) -> bool {
        matches!(self.state, State::Silent { .. })
    }

    pub(super) fn factor(&self) -> f64 {
        match self.state {
            State::Fine => 1.0,
            State::Silent { factor, .. } | State::Recovering { factor, .. } => factor,
        }
    }

    pub(super) fn due(&self) -> Option<Time> {
        self.heard?;
        match self.state {
            State::Silent { until, .. } => Some(until),
            State::Fine | State::Recovering { .. } => Some(self.asked? + PATIENCE),
        }
    }

    pub(super) fn on_timeout(&mut self, now: Time) {
        if self.due().is_none_or(|due| now < due) {
            return;
        }
        self.state = State::Silent {
            factor: (self.factor() * REDUCTION).max(LOWEST),
            until: now + PATIENCE,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_reduces_and_feedback_restores() {
        let mut silence = Silence::new();
        silence.on_sent(Time::ZERO);
        assert_eq!(silence.due(), None);
        silence.on_feedback(Time::from_millis(100), None, true);
        silence.on_sent(Time::from_millis(110));
        for _ in 0..3 {
            let due = silence.due().expect("silence is watched");
            silence.on_timeout(due);
        }
        assert_eq!(silence.factor(), 0.125);
        assert!(silence.on_feedback(Time::from_millis(2_000), None, true));
        for n in 1..=3 {
            silence.on_feedback(Time::from_millis(2_000 + 200 * n), None, true);
        }
        assert_eq!(silence.factor(), 1.0);
    }
}
