//! Keyframe requests of one encoding, made one: however many subscribers ask, the publisher hears it once per
//! interval, and again until a keyframe comes.

use std::time::Duration;

use schalter_model::Time;

/// After so many requests without a keyframe the interval is four times as long: the encoder is off or broken.
const PATIENT_TRIES: u8 = 20;

/// Gate of one encoding.
#[derive(Debug)]
pub(crate) struct KeyframeGate {
    wanted: bool,
    last_sent: Option<Time>,
    tries: u8,
    interval: Duration,
}

impl KeyframeGate {
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            wanted: false,
            last_sent: None,
            tries: 0,
            interval,
        }
    }

    pub(crate) fn request(&mut self) {
        self.wanted = true;
    }

    pub(crate) fn on_keyframe(&mut self) {
        self.wanted = false;
        self.tries = 0;
    }

    /// Nobody waits any more.
    pub(crate) fn cancel(&mut self) {
        self.wanted = false;
    }

    /// When the next request is to be sent; `None` if none is wanted.
    pub(crate) fn due(&self) -> Option<Time> {
        let interval = if self.tries > PATIENT_TRIES {
            self.interval * 4
        } else {
            self.interval
        };
        self.wanted
            .then(|| self.last_sent.map_or(Time::ZERO, |sent| sent + interval))
    }

    pub(crate) fn on_sent(&mut self, now: Time) {
        self.last_sent = Some(now);
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
        assert_eq!(gate.due(), Some(Time::from_millis(510)));
        gate.on_keyframe();
        assert_eq!(gate.due(), None);
        gate.request();
        assert_eq!(gate.due(), Some(Time::from_millis(510)));
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
