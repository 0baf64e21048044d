//! A stream that a simulated peer subscribes to: what came, what is missing, and what is asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use schalter_model::{MediaKind, Time};
use schalter_rtp::codec::vp8::Vp8Descriptor;
use schalter_rtp::rtcp::ReportBlock;
use schalter_rtp::seq::SequenceUnwrapper;
use schalter_rtp::{RtcpWriter, RtpPacket};

use crate::decoder::VideoPacket;
use crate::media::{FrameMark, Mark, OPUS, VP8};
use crate::{Decoder, Timeline};

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
/// Where nothing came for so long, nobody sends: the track is paused, and no keyframe is wanted.
const SILENT: Duration = Duration::from_secs(5);
/// Sequence numbers in one NACK.
const NACK_ROOM: usize = 200;
/// Packets whose order is compared with the publisher's.
const MAX_ORDERED: usize = 2_048;

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
    /// Copies, under the stream's own SSRC, of packets that were there.
    pub duplicates: u64,
    /// Retransmissions of packets that were there: asked for too often, or probes.
    pub repeated: u64,
    /// Packets without media: probes, and places of packets that were left out too late.
    pub padding: u64,
    /// Packets later than one with a higher number.
    pub reordered: u64,
    /// Packets that carry another publisher's stream, or none.
    pub foreign: u64,
    /// Packets whose sequence number is not as far from the publisher's as that of the ones before; of a stream that
    /// adapts: whose place among their neighbours isn't the publisher's.
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

/// Which of a publisher's packets came.
#[derive(Debug, Default)]
struct Arrivals {
    first: Option<u64>,
    /// From the first on.
    came: Vec<bool>,
}

impl Arrivals {
    /// Notes a packet; answers whether it is new.
    fn insert(&mut self, number: u64) -> bool {
        let first = *self.first.get_or_insert(number);
        if number < first {
            let before = std::iter::repeat_n(false, (first - number) as usize);
            self.came.splice(..0, before);
            self.first = Some(number);
        }
        let index = (number - self.first.unwrap_or(number)) as usize;
        if self.came.len() <= index {
            self.came.resize(index + 1, false);
        }
        !std::mem::replace(&mut self.came[index], true)
    }
}

/// How a stream's sequence numbers must be related to the publisher's.
#[derive(Debug)]
enum Order {
    /// At this distance, once it is known: every packet is forwarded.
    Fixed(Option<i128>),
    /// In the same order: layers are left out and switched. Encoding and number by sequence number.
    Same(BTreeMap<u64, (usize, u64)>),
}

impl Order {
    /// Whether a packet is in its place.
    fn admits(&mut self, sequence: u64, stream: usize, number: u64) -> bool {
        match self {
            Self::Fixed(offset) => {
                let own = i128::from(sequence) - i128::from(number);
                *offset.get_or_insert(own) == own
            }
            Self::Same(known) => {
                let before = known.range(..sequence).next_back();
                let after = known.range(sequence + 1..).next();
                let follows = before
                    .is_none_or(|(_, (other, earlier))| *other != stream || *earlier < number);
                let leads =
                    after.is_none_or(|(_, (other, later))| *other != stream || *later > number);
                let place = *known.entry(sequence).or_insert((stream, number));
                if known.len() > MAX_ORDERED {
                    known.pop_first();
                }
                follows && leads && place == (stream, number)
            }
        }
    }
}

/// A packet of sound that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When.
    pub at: Time,
    /// When it was captured.
    pub captured: Time,
    /// The publisher's number of it.
    pub number: u64,
}

/// One subscribed stream.
pub struct Receiver {
    kind: MediaKind,
    ssrc: u32,
    rtx_ssrc: u32,
    /// The publisher's SSRCs, one an encoding.
    sources: Vec<u32>,
    unwrapper: SequenceUnwrapper,
    /// By encoding; numbers are the publisher's, from [`Mark`].
    arrivals: Vec<Arrivals>,
    order: Order,
    highest: Option<u64>,
    missing: BTreeMap<u64, Missing>,
    last_new: Option<Time>,
    media: Timeline,
    decoder: Decoder,
    heard: Vec<Heard>,
    next_pli: Time,
    base: Option<u64>,
    /// Sequence numbers that came, padding among them.
    received: u64,
    reported: (u64, u64),
    last_sr: Option<(u32, Time)>,
    stats: ReceiverStats,
}

impl Receiver {
    /// Expects the stream of `source` as `ssrc`, with retransmissions as the number after it.
    pub fn new(now: Time, kind: MediaKind, ssrc: u32, source: u32) -> Self {
        Self::expecting(now, kind, ssrc, vec![source], Order::Fixed(None))
    }

    /// Expects a picture that adapts: any encoding of these, lowest first, with or without its upper temporal layers.
    pub fn adaptive(now: Time, ssrc: u32, sources: Vec<u32>) -> Self {
        let order = Order::Same(BTreeMap::new());
        Self::expecting(now, MediaKind::Video, ssrc, sources, order)
    }

    fn expecting(now: Time, kind: MediaKind, ssrc: u32, sources: Vec<u32>, order: Order) -> Self {
        Self {
            kind,
            ssrc,
            rtx_ssrc: ssrc + 1,
            unwrapper: SequenceUnwrapper::new(),
            arrivals: sources.iter().map(|_| Arrivals::default()).collect(),
            sources,
            order,
            highest: None,
            missing: BTreeMap::new(),
            last_new: None,
            media: Timeline::default(),
            decoder: Decoder::default(),
            heard: Vec::new(),
            next_pli: now + PLI_INTERVAL,
            base: None,
            received: 0,
            reported: (0, 0),
            last_sr: None,
            stats: ReceiverStats::default(),
        }
    }

    /// Sound or pictures.
    pub fn kind(&self) -> MediaKind {
        self.kind
    }

    /// The SSRC that media comes with.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The publisher's SSRC; of the lowest encoding if there are several.
    pub fn source(&self) -> u32 {
        self.sources.first().copied().unwrap_or(0)
    }

    /// What was measured.
    pub fn stats(&self) -> ReceiverStats {
        self.stats
    }

    /// What a viewer sees of it.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The packets of sound that came, in their order of arrival.
    pub fn heard(&self) -> &[Heard] {
        &self.heard
    }

    /// Bytes of packets that brought something new.
    pub fn media(&self) -> &Timeline {
        &self.media
    }

    /// The publisher's first packet that came; of the lowest encoding if there are several.
    pub fn first_number(&self) -> Option<u64> {
        self.arrivals.first()?.first
    }

    /// How many of the publisher's packets from the first one that came up to number `end` came, and how many there were;
    /// of the lowest encoding if there are several.
    pub fn delivered_before(&self, end: u64) -> (u64, u64) {
        let arrivals = self.arrivals.first();
        let Some((first, came)) = arrivals.and_then(|a| Some((a.first?, &a.came))) else {
            return (0, end);
        };
        let expected = end.saturating_sub(first);
        let came = came.iter().take(expected as usize);
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
            None if retransmitted => {
                // A probe: nothing but padding.
                self.stats.padding += 1;
                return;
            }
            Some(_) | None => (packet.sequence(), packet.payload()),
        };
        if expected != Some(packet.payload_type()) {
            self.stats.foreign += 1;
            return;
        }
        if payload.is_empty() {
            self.stats.padding += 1;
            let sequence = self.unwrapper.unwrap(sequence);
            self.note_sequence(now, sequence);
            return;
        }
        let stream = Mark::read(payload).and_then(|mark| {
            let index = self
                .sources
                .iter()
                .position(|source| *source == mark.stream)?;
            Some((index, mark.number))
        });
        let (Some((stream, number)), Some(mark)) = (stream, FrameMark::read(payload)) else {
            self.stats.foreign += 1;
            return;
        };
        let sequence = self.unwrapper.unwrap(sequence);
        if !self.order.admits(sequence, stream, number) {
            self.stats.displaced += 1;
        }
        if !self.arrivals[stream].insert(number) {
            if retransmitted {
                self.stats.repeated += 1;
            } else {
                self.stats.duplicates += 1;
            }
            return;
        }
        self.stats.packets += 1;
        self.stats.recovered += u64::from(retransmitted);
        self.media.add(now, packet.datagram().len());
        if let Some(at) = self.last_new {
            self.stats.longest_gap = self.stats.longest_gap.max(now - at);
        }
        self.last_new = Some(now);
        self.note_sequence(now, sequence);
        match self.kind {
            MediaKind::Audio => self.heard.push(Heard {
                at: now,
                captured: mark.captured,
                number,
            }),
            MediaKind::Video => {
                let Ok(vp8) = Vp8Descriptor::parse(payload) else {
                    self.stats.foreign += 1;
                    return;
                };
                let packet = VideoPacket {
                    sequence,
                    timestamp: packet.timestamp(),
                    mark,
                    vp8,
                };
                let went_on = self.decoder.on_packet(now, &packet);
                if went_on && matches!(self.order, Order::Same(_)) {
                    // Nothing before a frame that was shown is of use any more, and browsers don't ask for it. Of a
                    // stream that is forwarded whole, delivery is measured: there everything is asked for.
                    let needless = self.decoder.passed();
                    self.missing = self.missing.split_off(&needless);
                }
            }
        }
    }

    fn note_sequence(&mut self, now: Time, sequence: u64) {
        self.received += 1;
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
            let receives = self.last_new.is_some_and(|at| now - at < SILENT);
            if receives && stands && self.decoder.is_stuck() && writer.pli(from, self.ssrc).is_ok()
            {
                self.stats.plis += 1;
            }
        }
    }

    /// What a receiver report says about it; `None` before the first packet.
    pub(crate) fn report(&mut self, now: Time) -> Option<ReportBlock> {
        let (base, highest) = (self.base?, self.highest?);
        let expected = highest - base + 1;
        let received = self.received;
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

#[cfg(test)]
mod tests {
    use schalter_rtp::RtpHeader;

    use super::*;
    use crate::media::packet;
    use crate::{Source, SourceConfig};

    const SSRC: u32 = 50;

    /// A receiver, and a stream that it gets as it was sent.
    fn subscribed() -> (Receiver, Source) {
        let mut config = SourceConfig::video(SSRC);
        config.temporal_layers = 3;
        let receiver = Receiver::adaptive(Time::ZERO, SSRC, vec![SSRC]);
        (receiver, Source::new(Time::ZERO, config, 7))
    }

    fn frame(source: &mut Source, at: Time) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        source.produce(at, &mut 0, |packet| packets.push(packet));
        packets
    }

    fn take(receiver: &mut Receiver, now: Time, bytes: &[u8]) {
        receiver.on_rtp(now, &RtpPacket::parse(bytes).expect("written well"));
    }

    #[test]
    fn probes_are_counted_and_fill_their_places() {
        let (mut receiver, mut source) = subscribed();
        let now = Time::from_millis(1);
        let packets = frame(&mut source, now);
        for bytes in &packets {
            take(&mut receiver, now, bytes);
        }
        let last = RtpPacket::parse(&packets[3]).unwrap().header();
        // A packet that is there, again; padding in its own place; padding under the retransmissions' SSRC.
        let again = source.resend(now, last.sequence, &mut 0).unwrap();
        take(&mut receiver, now, &again);
        let mut padding = RtpHeader {
            sequence: last.sequence.wrapping_add(2),
            ..last
        };
        for ssrc in [SSRC, SSRC + 1] {
            if ssrc != SSRC {
                padding.payload_type = VP8.rtx_payload_type.unwrap();
            }
            padding.ssrc = ssrc;
            let mut bytes = packet(padding, &[], &[0; 200]);
            bytes[0] |= 0x20;
            *bytes.last_mut().unwrap() = 200;
            take(&mut receiver, now, &bytes);
        }
        let stats = receiver.stats();
        assert_eq!((stats.packets, stats.repeated, stats.padding), (4, 1, 2));
        let harm = [stats.foreign, stats.duplicates, stats.displaced];
        assert_eq!(harm, [0; 3]);
        // The number before the padding is missing.
        let missing: Vec<_> = receiver.missing.keys().map(|lost| *lost as u16).collect();
        assert_eq!(missing, [last.sequence.wrapping_add(1)]);
        assert_eq!(receiver.decoder().played(), 1);
    }

    #[test]
    fn a_packet_out_of_its_order_is_displaced() {
        let (mut receiver, mut source) = subscribed();
        let now = Time::from_millis(1);
        let packets = frame(&mut source, now);
        for (place, from) in [(10, 0), (12, 2), (11, 3)] {
            let parsed = RtpPacket::parse(&packets[from]).unwrap();
            let header = RtpHeader {
                sequence: place,
                ..parsed.header()
            };
            let moved = packet(header, &[], parsed.payload());
            take(&mut receiver, now, &moved);
        }
        assert_eq!(receiver.stats().displaced, 1);
    }
}
