//! Sequence numbers, timestamps and VP8 counters of one outgoing stream, continuous over whatever is behind it.
//!
//! The stream is a list of [`Segment`]s. Within one, output differs from source by constants, so that late packets
//! and NACKs find their partner. A new segment begins when packets are left out on purpose, at a switch to another
//! encoding, after a pause, and when the source restarts. Losses of the source stay losses: whether what is missing
//! will be left out is known only when it comes, so that it keeps a number.

use std::collections::VecDeque;

use schalter_model::Time;

use crate::cache::Stored;
use crate::settings::MAX_ENCODINGS;

/// Segments remembered: beyond them a late packet is dropped and a NACK is not served. Leaving out a layer of 60
/// pictures a second fills them in more than four seconds, longer than any packet stays in the cache. Streams that
/// nothing is left out of take no room for them.
const MAX_SEGMENTS: usize = 256;

/// A run of source packets whose output differs by constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Slot of the encoding.
    pub(crate) slot: u32,
    /// First source sequence number.
    pub(crate) start: u64,
    /// One past the last one; [`u64::MAX`] while it is open.
    end: u64,
    /// Source sequence number minus output sequence number, wrapping.
    sequence_offset: u64,
    pub(crate) shift: Shift,
}

/// What is added to source values, wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shift {
    pub(crate) timestamp: u32,
    pub(crate) picture_id: u16,
    pub(crate) tl0picidx: u8,
}

impl Segment {
    #[inline]
    fn output(&self, seq: u64) -> u64 {
        seq.wrapping_sub(self.sequence_offset)
    }

    fn holds(&self, slot: u32, seq: u64) -> bool {
        self.slot == slot && (self.start..self.end).contains(&seq)
    }
}

/// The newest packet sent, which the next segment continues.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    pub(crate) slot: u32,
    /// Its source sequence number.
    pub(crate) seq: u64,
    /// Its output timestamp.
    pub(crate) timestamp: u32,
    pub(crate) at: Time,
}

/// Where a stream ended: what the next one under its SSRC goes on from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tail {
    next_output: u64,
    last: Last,
    picture_id: u16,
    tl0picidx: u8,
}

/// State of one outgoing stream.
#[derive(Debug)]
pub(crate) struct Rewriter {
    open: Option<Segment>,
    /// Highest source sequence number of the open segment that was sent or left out.
    highest: u64,
    /// Output sequence number that comes next.
    next_output: u64,
    last: Option<Last>,
    /// Running numbers of the newest packet sent, or of what was left out after it: a packet in between may still come.
    picture_id: u16,
    tl0picidx: u8,
    /// In the order of output numbers.
    closed: VecDeque<Segment>,
    /// One past the highest number of every encoding that ever had a segment, so that the packets of encodings that
    /// are not forwarded need no search.
    ends: [Option<(u32, u64)>; MAX_ENCODINGS],
}

impl Rewriter {
    /// A stream whose first packet has this sequence number.
    pub(crate) fn new(first: u16) -> Self {
        Self {
            open: None,
            highest: 0,
            // One cycle up, so that looking back from it never falls below zero.
            next_output: u64::from(first) + (1 << 16),
            last: None,
            picture_id: 0,
            tl0picidx: 0,
            closed: VecDeque::new(),
            ends: [None; MAX_ENCODINGS],
        }
    }

    /// Where the stream ended; `None` if it never began.
    pub(crate) fn tail(&self) -> Option<Tail> {
        Some(Tail {
            next_output: self.next_output,
            // The encoding may be gone, and its slot another's.
            last: Last {
                slot: u32::MAX,
                ..self.last?
            },
            picture_id: self.picture_id,
            tl0picidx: self.tl0picidx,
        })
    }

    /// A stream that goes on where another ended, and repairs nothing of that.
    pub(crate) fn after(tail: Tail) -> Self {
        Self {
            next_output: tail.next_output,
            last: Some(tail.last),
            picture_id: tail.picture_id,
            tl0picidx: tail.tl0picidx,
            ..Self::new(0)
        }
    }

    #[inline]
    pub(crate) fn open_segment(&self) -> Option<&Segment> {
        self.open.as_ref()
    }

    pub(crate) fn last(&self) -> Option<&Last> {
        self.last.as_ref()
    }

    /// Output number of the newest packet; `None` before the first.
    pub(crate) fn newest(&self) -> Option<u16> {
        self.last.as_ref().map(|_| (self.next_output - 1) as u16)
    }

    /// Highest source sequence number that the open segment dealt with.
    #[inline]
    pub(crate) fn highest(&self) -> u64 {
        self.highest
    }

    /// Picture id (or frame number) and base layer index that continue from the last packet, as shifts of a packet's
    /// own.
    pub(crate) fn continue_numbers(&self, stored: &Stored) -> (u16, u8) {
        if self.last.is_none() {
            return (0, 0);
        }
        let picture_id = stored
            .picture_id
            .map_or(0, |own| self.picture_id.wrapping_add(1).wrapping_sub(own));
        let tl0picidx = stored
            .tl0picidx
            .map_or(0, |own| self.tl0picidx.wrapping_add(1).wrapping_sub(own));
        (picture_id, tl0picidx)
    }

    fn note_numbers(&mut self, stored: &Stored, shift: Shift) {
        if let Some(id) = stored.picture_id {
            self.picture_id = id.wrapping_add(shift.picture_id);
        }
        if let Some(index) = stored.tl0picidx {
            self.tl0picidx = index.wrapping_add(shift.tl0picidx);
        }
    }

    /// Begins a segment at source number `seq`; the next output number goes to it.
    pub(crate) fn begin(&mut self, slot: u32, seq: u64, shift: Shift) {
        self.close();
        self.highest = seq.wrapping_sub(1);
        self.open = Some(Segment {
            slot,
            start: seq,
            end: u64::MAX,
            sequence_offset: seq.wrapping_sub(self.next_output),
            shift,
        });
    }

    /// Ends the open segment: later source packets need another.
    pub(crate) fn close(&mut self) {
        if let Some(mut segment) = self.open.take() {
            segment.end = self.highest.wrapping_add(1);
            let known = |entry: &&mut Option<(u32, u64)>| {
                entry.is_none_or(|(slot, _)| slot == segment.slot)
            };
            if let Some(entry) = self.ends.iter_mut().find(known) {
                *entry = Some((segment.slot, segment.end));
            }
            self.remember(segment);
        }
    }

    /// Ends the open segment, and repairs nothing of it or of those before.
    pub(crate) fn abandon(&mut self) {
        self.close();
        self.closed.clear();
    }

    fn remember(&mut self, segment: Segment) {
        if segment.start >= segment.end {
            return;
        }
        if self.closed.len() == MAX_SEGMENTS {
            self.closed.pop_front();
        }
        self.closed.push_back(segment);
    }

    /// Sends the newest packet of the open segment; answers its output number and shifts.
    #[inline]
    pub(crate) fn send(&mut self, now: Time, stored: &Stored) -> Option<(u16, Shift)> {
        let segment = self.open.as_ref()?;
        let output = segment.output(stored.seq);
        let shift = segment.shift;
        self.last = Some(Last {
            slot: segment.slot,
            seq: stored.seq,
            timestamp: stored.timestamp.wrapping_add(shift.timestamp),
            at: now,
        });
        self.note_numbers(stored, shift);
        self.highest = stored.seq;
        self.next_output = output + 1;
        Some((output as u16, shift))
    }

    /// Leaves out the newest packet of the open segment, and with it so many picture ids; what follows moves up.
    pub(crate) fn leave_out(&mut self, stored: &Stored, pictures: u16) {
        let seq = stored.seq;
        let Some(segment) = self.open.as_mut() else {
            return;
        };
        self.next_output = segment.output(seq);
        self.highest = seq;
        let finished = Segment {
            end: seq,
            ..*segment
        };
        segment.start = seq + 1;
        segment.sequence_offset = segment.sequence_offset.wrapping_add(1);
        segment.shift.picture_id = segment.shift.picture_id.wrapping_sub(pictures);
        let shift = segment.shift;
        self.remember(finished);
        self.note_numbers(stored, shift);
    }

    /// The place of a packet that was overtaken, if one was kept for it.
    #[inline]
    pub(crate) fn late(&self, slot: u32, seq: u64) -> Option<(u16, Shift)> {
        if let Some(open) = &self.open
            && open.slot == slot
        {
            if seq > self.highest {
                return None;
            }
            if seq >= open.start {
                return Some((open.output(seq) as u16, open.shift));
            }
        } else if seq >= self.end_of(slot) {
            return None;
        }
        let segment = self.closed.iter().rev().find(|s| s.holds(slot, seq))?;
        Some((segment.output(seq) as u16, segment.shift))
    }

    /// One past the highest number of an encoding's closed segments; 0 if it had none.
    fn end_of(&self, slot: u32) -> u64 {
        let mut known = self.ends.iter().flatten();
        known.find(|(of, _)| *of == slot).map_or(0, |(_, end)| *end)
    }

    /// Whether a segment at `seq` would lie behind everything sent of this encoding.
    pub(crate) fn may_begin(&self, slot: u32, seq: u64) -> bool {
        let behind_open = self
            .open
            .as_ref()
            .is_none_or(|open| open.slot != slot || seq > self.highest);
        behind_open && seq >= self.end_of(slot)
    }

    /// The source of an output sequence number: slot, source number, shifts, and the number extended.
    pub(crate) fn source_of(&self, sequence: u16) -> Option<Source> {
        let newest = self.next_output - 1;
        let output = newest - u64::from((newest as u16).wrapping_sub(sequence));
        let is_behind = |segment: &Segment| segment.output(segment.start) <= output;
        // Output numbers ascend from segment to segment: the last that begins at or before it.
        self.open
            .as_ref()
            .filter(|open| is_behind(open))
            .or_else(|| {
                let after = self.closed.partition_point(is_behind);
                self.closed.get(after.checked_sub(1)?)
            })
            .map(|segment| Source {
                slot: segment.slot,
                seq: output.wrapping_add(segment.sequence_offset),
                end: segment.end,
                output,
                shift: segment.shift,
            })
            .filter(|source| source.seq < source.end)
    }
}

/// Where an output packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) slot: u32,
    pub(crate) seq: u64,
    end: u64,
    /// Extended output sequence number.
    pub(crate) output: u64,
    pub(crate) shift: Shift,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(seq: u64) -> Stored {
        Stored {
            seq,
            picture_id: Some(seq as u16),
            ..Stored::EMPTY
        }
    }

    fn send(rewriter: &mut Rewriter, seq: u64) -> u16 {
        rewriter.send(Time::ZERO, &packet(seq)).unwrap().0
    }

    #[test]
    fn leaving_out_closes_the_gap_and_late_packets_keep_their_place() {
        let mut rewriter = Rewriter::new(7);
        rewriter.begin(0, 100, Shift::default());
        assert_eq!(send(&mut rewriter, 100), 7);
        rewriter.leave_out(&packet(102), 0);
        rewriter.leave_out(&packet(103), 0);
        assert_eq!(send(&mut rewriter, 104), 9);
        assert_eq!(rewriter.late(0, 101).map(|place| place.0), Some(8));
        assert_eq!(rewriter.late(0, 102), None);
        assert_eq!(rewriter.late(1, 101), None);
        let source = |sequence| rewriter.source_of(sequence).map(|source| source.seq);
        assert_eq!(
            [source(7), source(8), source(9)],
            [Some(100), Some(101), Some(104)]
        );
        assert_eq!((source(6), source(10)), (None, None));
    }

    #[test]
    fn another_encoding_continues_numbers_and_pictures() {
        let mut rewriter = Rewriter::new(0xfffe);
        rewriter.begin(0, 100, Shift::default());
        send(&mut rewriter, 100);
        send(&mut rewriter, 101);
        let (picture_id, _) = rewriter.continue_numbers(&packet(5_000));
        let shift = Shift {
            picture_id,
            ..Shift::default()
        };
        assert!(rewriter.may_begin(1, 5_000));
        rewriter.begin(1, 5_000, shift);
        assert_eq!(send(&mut rewriter, 5_000), 0);
        assert_eq!(5_000_u16.wrapping_add(shift.picture_id), 102);
        assert!(!rewriter.may_begin(0, 101) && rewriter.may_begin(0, 102));
        assert_eq!(
            rewriter.source_of(0xffff).map(|s| (s.slot, s.seq)),
            Some((0, 101))
        );
    }

    #[test]
    fn a_stream_goes_on_after_another_under_its_ssrc() {
        let mut before = Rewriter::new(0xfffe);
        assert!(before.tail().is_none());
        before.begin(3, 100, Shift::default());
        for seq in 100..103 {
            send(&mut before, seq);
        }
        let mut after = Rewriter::after(before.tail().unwrap());
        let (picture_id, _) = after.continue_numbers(&packet(7_000));
        assert_eq!(7_000_u16.wrapping_add(picture_id), 103);
        // The same slot may be another encoding's now: nothing of the old one is late here.
        assert!(after.may_begin(3, 7));
        assert_eq!(after.late(3, 101), None);
        after.begin(3, 7_000, Shift::default());
        assert_eq!(send(&mut after, 7_000), 1);
        assert_eq!(after.source_of(0), None);
    }

    #[test]
    fn remembered_segments_are_bounded() {
        let mut rewriter = Rewriter::new(0);
        rewriter.begin(0, 1, Shift::default());
        for seq in (1..2_000).step_by(2) {
            send(&mut rewriter, seq);
            rewriter.leave_out(&packet(seq + 1), 1);
        }
        assert_eq!(rewriter.closed.len(), MAX_SEGMENTS);
        assert_eq!(rewriter.source_of(5), None);
        // The packet sent last but 99 is still found, and its picture id has no gap to the next one's.
        let source = rewriter.source_of(900).unwrap();
        assert_eq!(
            (source.seq, source.shift.picture_id),
            (1_801, 0_u16.wrapping_sub(900))
        );
    }
}
