//! What a viewer sees: a frame is shown once all of it and the frame that it was predicted from are there.
//!
//! A model of a browser's jitter buffer and decoder without their clocks: frames are shown as soon as they can be, never
//! back in time, and a keyframe makes everything before it needless. It knows the references from the marks
//! ([`FrameMark`]), and checks beside them that the numbers of the payload descriptor, which a browser goes by, tell the
//! same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schalter_model::Time;
use schalter_rtp::codec::vp8::Vp8Descriptor;

use crate::media::{FrameMark, Layer};

/// Frames that wait for packets or references; a browser's buffer holds no more than some seconds either.
const MAX_WAITING: usize = 256;
/// Decoded frames that others may refer to.
const MAX_DECODED: usize = 64;

/// A packet of a frame as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VideoPacket {
    /// Unwrapped sequence number.
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    pub(crate) mark: FrameMark,
    pub(crate) vp8: Vp8Descriptor,
}

/// A frame that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// When.
    pub at: Time,
    /// When it was captured.
    pub captured: Time,
    /// In which quality.
    pub layer: Layer,
    /// Whether it is a keyframe.
    pub keyframe: bool,
    /// Its number among those of the encoding.
    pub number: u32,
}

/// A frame whose packets come in.
#[derive(Clone, Debug)]
struct Waiting {
    mark: FrameMark,
    first: u64,
    last: u64,
    timestamp: u32,
    picture_id: Option<u16>,
    tl0picidx: Option<u8>,
    parts: BTreeSet<u16>,
}

impl Waiting {
    fn is_complete(&self) -> bool {
        self.parts.len() == usize::from(self.mark.parts)
    }
}

/// Plays one video stream.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    /// By encoding and number.
    waiting: BTreeMap<(u8, u32), Waiting>,
    /// The encoding that the decoder is in, and its frames that can be referred to.
    encoding: Option<u8>,
    decoded: BTreeSet<u32>,
    newest: Option<Waiting>,
    shown: Vec<Shown>,
    misnumbered: u64,
    clock_error: Duration,
}

impl Decoder {
    /// Takes a packet; answers whether the picture went on.
    pub(crate) fn on_packet(&mut self, now: Time, packet: &VideoPacket) -> bool {
        let is_late = |newest: &Waiting| packet.sequence <= newest.last;
        if self.newest.as_ref().is_some_and(is_late) {
            return false;
        }
        let mark = packet.mark;
        let frame = self
            .waiting
            .entry((mark.layer.encoding, mark.number))
            .or_insert_with(|| Waiting {
                mark,
                first: packet.sequence,
                last: packet.sequence,
                timestamp: packet.timestamp,
                picture_id: packet.vp8.picture_id.map(|id| id.value()),
                tl0picidx: packet.vp8.tl0picidx,
                parts: BTreeSet::new(),
            });
        frame.first = frame.first.min(packet.sequence);
        frame.last = frame.last.max(packet.sequence);
        frame.parts.insert(mark.part);
        let before = self.shown.len();
        while let Some(next) = self.next_decodable() {
            self.show(now, next);
        }
        if self.waiting.len() > MAX_WAITING {
            let oldest = self.waiting.iter().min_by_key(|(_, frame)| frame.first);
            let oldest = oldest.map(|(key, _)| *key);
            oldest.and_then(|key| self.waiting.remove(&key));
        }
        self.shown.len() > before
    }

    /// The first frame in the stream's order that can be decoded.
    fn next_decodable(&mut self) -> Option<Waiting> {
        let key = self
            .waiting
            .iter()
            .filter(|(_, frame)| frame.is_complete() && self.can_decode(&frame.mark))
            .min_by_key(|(_, frame)| frame.first)
            .map(|(key, _)| *key)?;
        self.waiting.remove(&key)
    }

    fn can_decode(&self, mark: &FrameMark) -> bool {
        let continues = self.encoding == Some(mark.layer.encoding)
            && mark
                .reference
                .is_some_and(|reference| self.decoded.contains(&reference));
        mark.keyframe || continues
    }

    fn show(&mut self, now: Time, frame: Waiting) {
        let mark = frame.mark;
        if mark.keyframe {
            self.encoding = Some(mark.layer.encoding);
            self.decoded.clear();
        }
        self.decoded.insert(mark.number);
        if self.decoded.len() > MAX_DECODED {
            self.decoded.pop_first();
        }
        if let Some(previous) = &self.newest {
            self.compare(&previous.clone(), &frame);
        }
        // No way back.
        self.waiting.retain(|_, other| other.first > frame.last);
        self.shown.push(Shown {
            at: now,
            captured: mark.captured,
            layer: mark.layer,
            keyframe: mark.keyframe,
            number: mark.number,
        });
        self.newest = Some(frame);
    }

    /// Whether a browser would take `frame` for the successor of `previous`, if nothing is between them.
    fn compare(&mut self, previous: &Waiting, frame: &Waiting) {
        let ticks = frame
            .timestamp
            .wrapping_sub(previous.timestamp)
            .cast_signed();
        let passed = frame.mark.captured.as_micros().cast_signed()
            - previous.mark.captured.as_micros().cast_signed();
        let off = i64::from(ticks) * 100 / 9 - passed;
        self.clock_error = self
            .clock_error
            .max(Duration::from_micros(off.unsigned_abs()));
        if previous.last + 1 != frame.first {
            return;
        }
        let base = frame.mark.layer.temporal == 0;
        let picture = previous.picture_id.map(|id| (id + 1) & 0x7fff);
        let index = previous
            .tl0picidx
            .map(|index| index.wrapping_add(u8::from(base)));
        let wrong = picture != frame.picture_id || index != frame.tl0picidx || ticks <= 0;
        self.misnumbered += u64::from(wrong);
    }

    /// Packets with lower numbers than this can't be of use any more.
    pub(crate) fn passed(&self) -> u64 {
        self.newest.as_ref().map_or(0, |newest| newest.first)
    }

    /// Whether it can't go on although later packets are there, or never began.
    pub fn is_stuck(&self) -> bool {
        self.shown.is_empty() || !self.waiting.is_empty()
    }

    /// The longest time between two steps forward.
    pub fn longest_freeze(&self) -> Duration {
        let pairs = self.shown.windows(2);
        pairs
            .map(|pair| pair[1].at - pair[0].at)
            .max()
            .unwrap_or_default()
    }

    /// When it last went on.
    pub fn progressed(&self) -> Option<Time> {
        self.shown.last().map(|frame| frame.at)
    }

    /// Frames played.
    pub fn played(&self) -> u64 {
        self.shown.len() as u64
    }

    /// The frames that were shown, oldest first.
    pub fn shown(&self) -> &[Shown] {
        &self.shown
    }

    /// Neighbouring frames whose picture ids, base layer indices or timestamps don't follow each other.
    pub fn misnumbered(&self) -> u64 {
        self.misnumbered
    }

    /// How far the time between two frames shown by their timestamps was from the time between their captures, at most.
    pub fn clock_error(&self) -> Duration {
        self.clock_error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    /// Frames of two packets from sequence number `number * 2` on; each is predicted from the one before.
    fn packet(number: u32, part: u16, keyframe: bool) -> VideoPacket {
        let payload = [0x80, 0xC0, 0x80, number as u8, number as u8];
        let mark = FrameMark {
            layer: Layer::default(),
            keyframe,
            number,
            reference: (!keyframe).then(|| number - 1),
            part,
            parts: 2,
            captured: ms(u64::from(number) * 10),
        };
        VideoPacket {
            sequence: u64::from(number) * 2 + u64::from(part),
            timestamp: number * 900,
            mark,
            vp8: Vp8Descriptor::parse(&payload).unwrap(),
        }
    }

    fn frame(decoder: &mut Decoder, at: u64, number: u32, keyframe: bool) -> bool {
        decoder.on_packet(ms(at), &packet(number, 0, keyframe));
        decoder.on_packet(ms(at), &packet(number, 1, keyframe))
    }

    #[test]
    fn pictures_begin_with_a_keyframe_and_wait_for_what_is_missing() {
        let mut decoder = Decoder::default();
        assert!(!frame(&mut decoder, 0, 5, false));
        assert!(frame(&mut decoder, 1, 6, true));
        assert!(!decoder.on_packet(ms(2), &packet(7, 1, false)));
        assert!(!frame(&mut decoder, 3, 8, false));
        assert!(decoder.is_stuck());
        assert!(decoder.on_packet(ms(30), &packet(7, 0, false)));
        assert!(!decoder.is_stuck());
        assert_eq!(
            (decoder.played(), decoder.longest_freeze()),
            (3, Duration::from_millis(29))
        );
        assert_eq!(decoder.misnumbered(), 0);
    }

    #[test]
    fn a_keyframe_ends_a_freeze() {
        let mut decoder = Decoder::default();
        frame(&mut decoder, 0, 1, true);
        for number in 3..9 {
            assert!(!frame(&mut decoder, u64::from(number), number, false));
        }
        assert!(decoder.is_stuck());
        assert!(frame(&mut decoder, 100, 9, true));
        assert!(frame(&mut decoder, 101, 10, false));
        assert!(!decoder.is_stuck());
        assert!(!frame(&mut decoder, 102, 2, false));
    }

    #[test]
    fn frames_that_others_need_not_may_be_missing() {
        let mut decoder = Decoder::default();
        frame(&mut decoder, 0, 1, true);
        let mut skipping = [packet(3, 0, false), packet(3, 1, false)];
        for packet in &mut skipping {
            packet.mark.reference = Some(1);
        }
        decoder.on_packet(ms(20), &packet(2, 0, false));
        assert!(!decoder.on_packet(ms(20), &skipping[0]));
        assert!(decoder.on_packet(ms(20), &skipping[1]));
        assert!(!decoder.is_stuck());
    }

    #[test]
    fn numbers_that_do_not_follow_each_other_are_noticed() {
        let mut decoder = Decoder::default();
        frame(&mut decoder, 0, 1, true);
        for part in 0..2 {
            let mut wrong = packet(2, part, false);
            wrong.timestamp += 450;
            wrong.vp8.tl0picidx = Some(9);
            decoder.on_packet(ms(1), &wrong);
        }
        assert_eq!(decoder.misnumbered(), 1);
        assert_eq!(decoder.clock_error(), Duration::from_millis(5));
    }
}
