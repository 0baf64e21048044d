//! What a viewer sees: frames only go on while nothing is missing, or from a keyframe on.

use std::collections::BTreeMap;
use std::time::Duration;

use schalter_model::Time;

/// Packets that wait for earlier ones; a decoder's buffer holds no more.
const MAX_WAITING: usize = 2_048;

/// Plays one video stream by its sequence numbers.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    /// The packet that is needed next; `None` before the first keyframe.
    next: Option<u64>,
    /// Packets that came early: whether a keyframe starts there.
    waiting: BTreeMap<u64, bool>,
    /// When it last went on.
    progressed: Option<Time>,
    longest_freeze: Duration,
    played: u64,
}

impl Decoder {
    /// Takes a packet; answers whether the picture went on.
    pub fn on_packet(&mut self, now: Time, sequence: u64, starts_keyframe: bool) -> bool {
        if self.next.is_some_and(|next| sequence < next) {
            return false;
        }
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_first();
        }
        self.waiting.insert(sequence, starts_keyframe);
        let before = self.played;
        self.play();
        if self.played == before && starts_keyframe && self.next.is_none_or(|next| sequence > next)
        {
            // What is missing before it is needed no more.
            self.next = Some(sequence);
            self.waiting = self.waiting.split_off(&sequence);
            self.play();
        }
        let went_on = self.played > before;
        if went_on {
            if let Some(at) = self.progressed {
                self.longest_freeze = self.longest_freeze.max(now - at);
            }
            self.progressed = Some(now);
        }
        went_on
    }

    fn play(&mut self) {
        while let Some(next) = self.next
            && self.waiting.remove(&next).is_some()
        {
            self.next = Some(next + 1);
            self.played += 1;
        }
    }

    /// Whether it can't go on although later packets are there, or never began.
    pub fn is_stuck(&self) -> bool {
        self.next.is_none() || !self.waiting.is_empty()
    }

    /// The longest time between two steps forward.
    pub fn longest_freeze(&self) -> Duration {
        self.longest_freeze
    }

    /// When it last went on.
    pub fn progressed(&self) -> Option<Time> {
        self.progressed
    }

    /// Packets played.
    pub fn played(&self) -> u64 {
        self.played
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn pictures_begin_with_a_keyframe_and_wait_for_what_is_missing() {
        let mut decoder = Decoder::default();
        assert!(!decoder.on_packet(ms(0), 5, false));
        assert!(decoder.on_packet(ms(1), 6, true));
        assert!(!decoder.on_packet(ms(2), 8, false));
        assert!(decoder.is_stuck());
        assert!(decoder.on_packet(ms(30), 7, false));
        assert!(!decoder.is_stuck());
        assert_eq!(
            (decoder.played(), decoder.longest_freeze()),
            (3, Duration::from_millis(29))
        );
    }

    #[test]
    fn a_keyframe_ends_a_freeze() {
        let mut decoder = Decoder::default();
        decoder.on_packet(ms(0), 1, true);
        for sequence in 3..9 {
            decoder.on_packet(ms(sequence), sequence, false);
        }
        assert!(decoder.is_stuck());
        assert!(decoder.on_packet(ms(100), 9, true));
        assert!(decoder.on_packet(ms(101), 10, false));
        assert!(!decoder.is_stuck());
    }
}
