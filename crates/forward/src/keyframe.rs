//! Keyframe requests of one encoding, made one: however many subscribers ask, the publisher hears it twice in two
//! intervals at most, and again until a keyframe comes.

use std::time::Duration;

use schalter_model::Time;

/// After so many requests without a keyframe the interval is four times as long: the encoder is off or broken.
const PATIENT_TRIES: u8 = 20;

/// What an encoder may make of two requests so close to each other is one keyframe.
const SHORTEST: Duration = Duration::from_millis(100);

/// Gate of one encoding.
#[derive(Debug)]
pub(crate) struct KeyframeGate {
    wanted: bool,
    last_sent: Option<Time>,
    sent_before: Option<Time>,
    /// A keyframe came since the last request.
    answered: bool,
    tries: u8,
    interval: Duration,
}

impl KeyframeGate {
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            wanted: false,
            last_sent: None,
            sent_before: None,
            answered: false,
            tries: 0,
            interval,
        }
    }

    pub(crate) fn request(&mut self) {
        self.wanted = true;
    }

    pub(crate) fn on_keyframe(&mut self) {
        self.wanted = false;
        self.answered = true;
        self.tries = 0;
    }

    /// Nobody waits any more.
    pub(crate) fn cancel(&mut self) {
        self.wanted = false;
    }

    /// When the next request is to be sent; `None` if none is wanted.
    pub(crate) fn due(&self) -> Option<Time> {
        let distance = if self.answered {
            // Who wants another layer right after somebody else's need not wait for it.
            SHORTEST
        } else if self.tries > PATIENT_TRIES {
            self.interval * 4
        } else {
            // Browsers overhear a request that follows their last keyframe within 300 ms.
            self.interval / 2
        };
        let after_last = self.last_sent.map_or(Time::ZERO, |last| last + distance);
        let after_both = self
            .sent_before
            .map_or(Time::ZERO, |before| before + self.interval * 2);
        self.wanted.then_some(after_last.max(after_both))
    }

    pub(crate) fn on_sent(&mut self, now: Time) {
        self.sent_before = self.last_sent.replace(now);
        self.answered = false;
        self.tries = self.tries.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_keep_their_distance_until_a_keyframe_comes() {
        let mut gate = KeyframeGate::new(Duration::from_millis(500));
        assert_eq!(gate.due(), None);
        gate.request();
        gate.request();
        assert_eq!(gate.due(), Some(Time::ZERO));
        gate.on_sent(Time::from_millis(10));
        assert_eq!(gate.due(), Some(Time::from_millis(260)));
        gate.on_keyframe();
        assert_eq!(gate.due(), None);
        gate.request();
        assert_eq!(gate.due(), Some(Time::from_millis(110)));
        gate.on_sent(Time::from_millis(110));
        assert_eq!(gate.due(), Some(Time::from_millis(1_010)));
        gate.on_sent(Time::from_millis(1_010));
        assert_eq!(gate.due(), Some(Time::from_millis(1_260)));
    }

    #[test]
    fn a_dead_encoder_is_asked_less_often() {
        let mut gate = KeyframeGate::new(Duration::from_millis(500));
        gate.request();
        for _ in 0..=PATIENT_TRIES {
            gate.on_sent(Time::ZERO);
        }
        assert_eq!(gate.due(), Some(Time::from_millis(2_000)));
    }
}
