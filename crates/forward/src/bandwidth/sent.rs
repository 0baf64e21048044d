//! What was sent under a transport-wide sequence number, on the wire or of our own, and has not been forgotten
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 §2).
//!
//! Owns the fate of each packet: waiting, acknowledged, lost, or assumed to have arrived because the feedback that
//! would have said so was lost. Refuses packets that were never sent and fates that were told before.

use schalter_model::Time;
use schalter_rtp::seq::SequenceUnwrapper;

/// Packets remembered: two seconds of 10 Mbit/s in full packets. More would only serve longer outages, after which
/// the old packets say nothing about the link; each costs 16 bytes a subscriber.
pub(super) const CAPACITY: u64 = 2_048;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fate {
    #[default]
    Unknown,
    Waiting,
    Arrived,
    /// No feedback spoke of it, although later ones came.
    Assumed,
    Lost,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    sent: Time,
    /// Bytes sent so far, this packet included, wrapping.
    total: u32,
    bytes: u16,
    /// Which turn of the ring wrote the slot. Eight bits do: a peer can name packets of 32 turns at most.
    turn: u8,
    fate: Fate,
}

/// A packet whose fate was just told.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentPacket {
    pub(super) number: u64,
    pub(super) sent: Time,
    pub(super) bytes: u16,
    /// Bytes sent up to and with this packet, wrapping.
    pub(super) total: u32,
}

/// What a report that a packet arrived means.
#[derive(Clone, Copy, Debug)]
pub(super) enum Acknowledged {
    /// Heard of for the first time.
    First(SentPacket),
    /// It had been reported lost, and was only late.
    Late(SentPacket),
    /// Known already, never sent, or forgotten.
    Nothing,
}

/// The ring of sent packets.
#[derive(Debug)]
pub(super) struct SentPackets {
    slots: Box<[Slot]>,
    unwrapper: SequenceUnwrapper,
    total: u32,
    /// First packet that no feedback has covered yet.
    uncovered: u64,
}

fn index(number: u64) -> usize {
    (number % CAPACITY) as usize
}

fn turn(number: u64) -> u8 {
    (number / CAPACITY) as u8
}

impl SentPackets {
    pub(super) fn new() -> Self {
        Self {
            slots: vec![Slot::default(); CAPACITY as usize].into_boxed_slice(),
            unwrapper: SequenceUnwrapper::new(),
            total: 0,
            uncovered: 0,
        }
    }

    /// Remembers a packet and answers its unwrapped number.
    pub(super) fn on_sent(&mut self, now: Time, sequence: u16, bytes: u16) -> u64 {
        let number = self.unwrapper.unwrap(sequence);
        if self.uncovered == 0 {
            self.uncovered = number;
        }
        self.total = self.total.wrapping_add(u32::from(bytes));
        self.slots[index(number)] = Slot {
            sent: now,
            total: self.total,
            bytes,
            turn: turn(number),
            fate: Fate::Waiting,
        };
        number
    }

    /// Bytes sent so far, wrapping.
    pub(super) fn total(&self) -> u32 {
        self.total
    }

    /// When the newest packet was sent, if feedback has yet to speak of it.
    pub(super) fn newest_waiting(&self) -> Option<Time> {
        let slot = self.slots[index(self.unwrapper.highest()?)];
        (slot.fate == Fate::Waiting).then_some(slot.sent)
    }

    /// The unwrapped number that `sequence` has in a feedback packet; `None` before anything was sent.
    pub(super) fn place(&self, sequence: u16) -> Option<u64> {
        let highest = self.unwrapper.highest()?;
        let behind = (highest as u16).wrapping_sub(sequence);
        highest.checked_sub(u64::from(behind))
    }

    /// The highest number sent.
    pub(super) fn highest(&self) -> Option<u64> {
        self.unwrapper.highest()
    }

    /// First packet that no feedback has covered yet.
    pub(super) fn uncovered(&self) -> u64 {
        self.uncovered
    }

    fn slot(&mut self, number: u64) -> Option<&mut Slot> {
        let slot = &mut self.slots[index(number)];
        (slot.turn == turn(number) && slot.fate != Fate::Unknown).then_some(slot)
    }

    /// Answers bytes that are assumed to have arrived, because feedback jumped over them to `first`.
    pub(super) fn on_feedback_begin(&mut self, first: u64) -> u64 {
        let highest = self.unwrapper.highest().unwrap_or(0);
        let from = self.uncovered.max((highest + 1).saturating_sub(CAPACITY));
        let mut assumed = 0;
        for number in from..first.min(highest + 1) {
            if let Some(slot) = self.slot(number)
                && slot.fate == Fate::Waiting
            {
                slot.fate = Fate::Assumed;
                assumed += u64::from(slot.bytes);
            }
        }
        assumed
    }

    /// Takes one packet for arrived that feedback jumped over; answers its bytes, or `None` if its fate is known.
    pub(super) fn assume_arrived(&mut self, number: u64) -> Option<u16> {
        let slot = self.slot(number)?;
        if slot.fate != Fate::Waiting {
            return None;
        }
        slot.fate = Fate::Assumed;
        Some(slot.bytes)
    }

    /// Notes that a packet arrived.
    pub(super) fn on_arrived(&mut self, number: u64) -> Acknowledged {
        let Some(slot) = self.slot(number) else {
            return Acknowledged::Nothing;
        };
        let before = slot.fate;
        slot.fate = Fate::Arrived;
        let packet = SentPacket {
            number,
            sent: slot.sent,
            bytes: slot.bytes,
            total: slot.total,
        };
        self.uncovered = self.uncovered.max(number + 1);
        match before {
            Fate::Waiting => Acknowledged::First(packet),
            Fate::Lost => Acknowledged::Late(packet),
            Fate::Unknown | Fate::Arrived | Fate::Assumed => Acknowledged::Nothing,
        }
    }

    /// Notes that a packet did not arrive so far; `true` if that is news.
    pub(super) fn on_missing(&mut self, number: u64) -> bool {
        let Some(slot) = self.slot(number) else {
            return false;
        };
        let news = slot.fate == Fate::Waiting;
        if news {
            slot.fate = Fate::Lost;
        }
        self.uncovered = self.uncovered.max(number + 1);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fate_is_told_once_and_strangers_have_none() {
        let mut sent = SentPackets::new();
        assert!(sent.place(3).is_none());
        let number = sent.on_sent(Time::from_millis(1), 65_535, 100);
        sent.on_sent(Time::from_millis(2), 0, 100);
        assert!(matches!(
            sent.on_arrived(number),
            Acknowledged::First(packet) if packet.bytes == 100
        ));
        assert!(matches!(sent.on_arrived(number), Acknowledged::Nothing));
        assert!(sent.on_missing(number + 1));
        assert!(!sent.on_missing(number + 1));
        assert!(matches!(sent.on_arrived(number + 1), Acknowledged::Late(_)));
        assert!(matches!(sent.on_arrived(number + 2), Acknowledged::Nothing));
        assert_eq!(sent.place(65_535), Some(number));
    }

    #[test]
    fn packets_between_two_feedbacks_are_assumed_to_have_arrived() {
        let mut sent = SentPackets::new();
        let first = sent.on_sent(Time::ZERO, 0, 10);
        for sequence in 1..10 {
            sent.on_sent(Time::ZERO, sequence, 10);
        }
        sent.on_arrived(first);
        assert_eq!(sent.on_feedback_begin(first + 5), 40);
        assert_eq!(sent.on_feedback_begin(first + 5), 0);
        assert!(matches!(sent.on_arrived(first + 2), Acknowledged::Nothing));
    }
}
