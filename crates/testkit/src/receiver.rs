//! A stream that a simulated peer subscribes to: what came, what is missing, and what is asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use schalter_model::{MediaKind, Time};
use schalter_rtp::codec::vp8::Vp8Descriptor;
use schalter_rtp::rtcp::ReportBlock;
use schalter_rtp::seq::SequenceUnwrapper;
use schalter_rtp::{RtcpWriter, RtpPacket};

use crate::Decoder;
use crate::media::{Mark, OPUS, VP8};

/// A gap may be reordering for so long, as in browsers.
const REORDER_WAIT: Duration = Duration::from_millis(20);
/// Time between two requests for one packet.
const RETRY: Duration = Duration::from_millis(100);
/// Requests for one packet; with [`RETRY`] about one and a half seconds.
const MAX_TRIES: u8 = 15;
/// More missing than this is not asked for packet by packet.
const MAX_MISSING: u64 = 500;
/// A picture that stands still for so long wants a keyframe.
const FREEZE: Duration = Duration::from_millis(300);
/// Time between two keyframe requests.
const PLI_INTERVAL: Duration = Duration::from_millis(500);
/// Sequence numbers in one NACK.
const NACK_ROOM: usize = 200;

#[derive(Clone, Copy, Debug)]
struct Missing {
    due: Time,
    tries: u8,
}

/// What a subscriber measured of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverStats {
    /// Media packets, first copies.
    pub packets: u64,
    /// Of those, by retransmission.
    pub recovered: u64,
    /// Copies of packets that were there.
    pub duplicates: u64,
    /// Packets later than one with a higher number.
    pub reordered: u64,
    /// Packets that carry another publisher's stream, or none.
    pub foreign: u64,
    /// Packets whose sequence number is not as far from the publisher's as that of the ones before.
    pub displaced: u64,
    /// Packets given up.
    pub given_up: u64,
    /// Longest time without a new packet.
    pub longest_gap: Duration,
    /// Sequence numbers asked for.
    pub nacked: u64,
    /// Keyframes asked for.
    pub plis: u64,
}

/// One subscribed stream.
pub struct Receiver {
    kind: MediaKind,
    ssrc: u32,
    rtx_ssrc: u32,
    /// The publisher's SSRC.
    source: u32,
    unwrapper: SequenceUnwrapper,
    /// First number seen; numbers are the publisher's, from [`Mark`].
    first_number: Option<u64>,
    /// Which of them came, from `first_number` on.
    numbers: Vec<bool>,
    /// Output sequence number minus the publisher's number.
    offset: Option<i128>,
    highest: Option<u64>,
    missing: BTreeMap<u64, Missing>,
    last_new: Option<Time>,
    decoder: Decoder,
    next_pli: Time,
    base: Option<u64>,
    reported: (u64, u64),
    last_sr: Option<(u32, Time)>,
    stats: ReceiverStats,
}

impl Receiver {
    /// Expects the stream of `source` as `ssrc`, with retransmissions as the number after it.
    pub fn new(now: Time, kind: MediaKind, ssrc: u32, source: u32) -> Self {
        Self {
            kind,
            ssrc,
            rtx_ssrc: ssrc + 1,
            source,
            unwrapper: SequenceUnwrapper::new(),
            first_number: None,
            numbers: Vec::new(),
            offset: None,
            highest: None,
            missing: BTreeMap::new(),
            last_new: None,
            decoder: Decoder::default(),
            next_pli: now + PLI_INTERVAL,
            base: None,
            reported: (0, 0),
            last_sr: None,
            stats: ReceiverStats::default(),
        }
    }

    /// The SSRC that media comes with.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The publisher's SSRC.
    pub fn source(&self) -> u32 {
        self.source
    }

    /// What was measured.
    pub fn stats(&self) -> ReceiverStats {
        self.stats
    }

    /// What a viewer sees of it.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The publisher's first packet that came.
    pub fn first_number(&self) -> Option<u64> {
        self.first_number
    }

    /// How many of the publisher's packets from the first one that came up to number `end` came, and how many there were.
    pub fn delivered_before(&self, end: u64) -> (u64, u64) {
        let Some(first) = self.first_number else {
            return (0, end);
        };
        let expected = end.saturating_sub(first);
        let came = self.numbers.iter().take(expected as usize);
        (came.filter(|came| **came).count() as u64, expected)
    }

    /// When the last sender report came, by its NTP time's middle.
    pub fn last_sender_report(&self) -> Option<u32> {
        self.last_sr.map(|(middle, _)| middle)
    }

    pub(crate) fn takes(&self, ssrc: u32) -> bool {
        ssrc == self.ssrc || ssrc == self.rtx_ssrc
    }

    pub(crate) fn on_sender_report(&mut self, now: Time, middle: u32) {
        self.last_sr = Some((middle, now));
    }

    pub(crate) fn on_rtp(&mut self, now: Time, packet: &RtpPacket<'_>) {
        let binding = match self.kind {
            MediaKind::Audio => OPUS,
            MediaKind::Video => VP8,
        };
        let retransmitted = packet.ssrc() == self.rtx_ssrc;
        let expected = if retransmitted {
            binding.rtx_payload_type
        } else {
            Some(binding.payload_type)
        };
        let (sequence, payload) = match packet.payload().split_first_chunk() {
            Some((original, payload)) if retransmitted => (u16::from_be_bytes(*original), payload),
            _ => (packet.sequence(), packet.payload()),
        };
        let mark = Mark::read(payload).filter(|mark| mark.stream == self.source);
        let (Some(mark), true) = (mark, expected == Some(packet.payload_type())) else {
            self.stats.foreign += 1;
            return;
        };
        let sequence = self.unwrapper.unwrap(sequence);
        let offset = i128::from(sequence) - i128::from(mark.number);
        if *self.offset.get_or_insert(offset) != offset {
            self.stats.displaced += 1;
        }
        if !self.is_new(mark.number) {
            self.stats.duplicates += 1;
            return;
        }
        self.stats.packets += 1;
        self.stats.recovered += u64::from(retransmitted);
        if let Some(at) = self.last_new {
            self.stats.longest_gap = self.stats.longest_gap.max(now - at);
        }
        self.last_new = Some(now);
        self.note_sequence(now, sequence);
        if self.kind == MediaKind::Video {
            let starts = Vp8Descriptor::parse(payload).is_ok_and(|vp8| vp8.is_keyframe);
            self.decoder.on_packet(now, sequence, starts);
        }
    }

    fn is_new(&mut self, number: u64) -> bool {
        let first = *self.first_number.get_or_insert(number);
        if number < first {
            let before = std::iter::repeat_n(false, (first - number) as usize);
            self.numbers.splice(..0, before);
            self.first_number = Some(number);
        }
        let index = (number - self.first_number.unwrap_or(number)) as usize;
        if self.numbers.len() <= index {
            self.numbers.resize(index + 1, false);
        }
        !std::mem::replace(&mut self.numbers[index], true)
    }

    fn note_sequence(&mut self, now: Time, sequence: u64) {
        self.base.get_or_insert(sequence);
        let Some(highest) = self.highest else {
            self.highest = Some(sequence);
            return;
        };
        if sequence < highest {
            self.stats.reordered += 1;
            self.missing.remove(&sequence);
            return;
        }
        self.highest = Some(sequence);
        if sequence - highest > MAX_MISSING {
            self.stats.given_up += sequence - highest - 1;
            self.missing.clear();
            return;
        }
        let due = now + REORDER_WAIT;
        self.missing
            .extend((highest + 1..sequence).map(|lost| (lost, Missing { due, tries: 0 })));
    }

    pub(crate) fn next_timeout(&self) -> Time {
        let nack = self.missing.values().map(|missing| missing.due).min();
        let pli = (self.kind == MediaKind::Video).then_some(self.next_pli);
        nack.into_iter().chain(pli).min().unwrap_or(Time::MAX)
    }

    /// Writes what is due to be asked for.
    pub(crate) fn write_requests(&mut self, now: Time, from: u32, writer: &mut RtcpWriter<'_>) {
        let mut lost = Vec::new();
        let before = self.missing.len();
        self.missing.retain(|sequence, missing| {
            if missing.due > now {
                return true;
            }
            if missing.tries >= MAX_TRIES {
                return false;
            }
            if lost.len() < NACK_ROOM {
                lost.push(*sequence as u16);
                missing.tries += 1;
                missing.due = now + RETRY;
            }
            true
        });
        self.stats.given_up += (before - self.missing.len()) as u64;
        if writer.nack(from, self.ssrc, &lost).is_ok() {
            self.stats.nacked += lost.len() as u64;
        }
        if self.kind == MediaKind::Video && self.next_pli <= now {
            self.next_pli = now + PLI_INTERVAL;
            let stands = self.decoder.progressed().is_none_or(|at| now - at > FREEZE);
            if stands && self.decoder.is_stuck() && writer.pli(from, self.ssrc).is_ok() {
                self.stats.plis += 1;
            }
        }
    }

    /// What a receiver report says about it; `None` before the first packet.
    pub(crate) fn report(&mut self, now: Time) -> Option<ReportBlock> {
        let (base, highest) = (self.base?, self.highest?);
        let expected = highest - base + 1;
        let received = self.stats.packets;
        let (expected_before, received_before) = self.reported;
        self.reported = (expected, received);
        let interval = expected - expected_before;
        let lost = interval.saturating_sub(received - received_before);
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: (lost * 255).checked_div(interval).unwrap_or(0) as u8,
            cumulative_lost: expected.saturating_sub(received) as i32,
            highest_sequence: highest as u32,
            jitter: 0,
            last_sr: self.last_sr.map_or(0, |(middle, _)| middle),
            delay_since_last_sr: self.last_sr.map_or(0, |(_, at)| {
                ((now - at).as_nanos() * 65_536 / 1_000_000_000) as u32
            }),
        })
    }
}
