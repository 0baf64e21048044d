//! What a subscriber hears: which packets came, how late, and the reports that it owes the server.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use schalter_rtp::packet::RtpPacket;
use schalter_rtp::rtcp::{ReportBlock, RtcpWriter, SenderReport};
use schalter_rtp::seq::SequenceUnwrapper;

use crate::feed::extension;
use crate::probe::{Kind, Probe};

/// How often a subscriber reports on what it hears.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// How often transport-wide feedback is sent, as browsers do at this rate.
const FEEDBACK_EVERY: Duration = Duration::from_millis(100);
/// Report blocks in one report (RFC 3550 §6.4.1).
const BLOCKS_MAX: usize = 31;
/// Packets by which a duplicate may be late and still be recognised.
const WINDOW: u32 = 1_024;
/// Numbers in one transport-wide feedback message; a gap beyond that starts anew.
const FEEDBACK_SPAN: u64 = 1_000;
/// Sequence numbers asked for again at one gap; a wider one is a new start.
const NACK_MAX: u64 = 32;

/// How much a subscriber tells the server about what it hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// Ask for missing packets again.
    pub nack: bool,
    /// Report the arrival of each packet (transport-wide congestion control), as browsers do.
    pub transport_cc: bool,
}

/// Streams heard and packets counted, by publisher and kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Different packets that were sent while the measurement ran.
    pub measured: u64,
    /// Different packets since the start.
    pub packets: u64,
    /// Packets that came more than once.
    pub duplicates: u64,
    highest: u32,
    window: Bits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bits([u64; (WINDOW / 64) as usize]);

impl Default for Bits {
    fn default() -> Self {
        Self([0; (WINDOW / 64) as usize])
    }
}

impl Bits {
    fn at(&mut self, counter: u32) -> (&mut u64, u64) {
        let bit = counter % WINDOW;
        (&mut self.0[(bit / 64) as usize], 1 << (bit % 64))
    }
}

impl Heard {
    /// Counts a packet; `false` if it came before.
    fn on_packet(&mut self, counter: u32, measured: bool) -> bool {
        let first = self.packets == 0;
        if first || counter > self.highest {
            let from = if first { counter } else { self.highest + 1 };
            let from = from.max(counter.saturating_sub(WINDOW - 1));
            for skipped in from..=counter {
                let (word, bit) = self.window.at(skipped);
                *word &= !bit;
            }
            self.highest = counter;
        } else if self.highest - counter >= WINDOW {
            self.duplicates += 1;
            return false;
        }
        let (word, bit) = self.window.at(counter);
        if *word & bit != 0 {
            self.duplicates += 1;
            return false;
        }
        *word |= bit;
        self.packets += 1;
        self.measured += u64::from(measured);
        true
    }
}

/// One RTP stream as reports see it (RFC 3550 §6.4.1).
#[derive(Debug)]
struct Source {
    sequence: SequenceUnwrapper,
    first: u64,
    highest: u64,
    packets: u64,
    reported: (u64, u64),
    last_report: u32,
    last_report_at: Option<Instant>,
}

/// What one subscriber hears.
#[derive(Debug)]
pub struct Receiver {
    feedback: Feedback,
    ssrc: u32,
    heard: FxHashMap<(u32, Kind), Heard>,
    sources: FxHashMap<u32, Source>,
    next_report: Instant,
    next_feedback: Instant,
    arrivals: Vec<(u64, i64)>,
    transport_sequence: SequenceUnwrapper,
    feedback_count: u8,
    missing: Vec<u16>,
    missing_of: u32,
    strangers: u64,
}

/// What an RTP packet was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A packet of a feed, for the first time.
    New(Probe),
    /// A packet of a feed once more.
    Again,
    /// Padding, or something that no feed of ours sent.
    Stranger,
}

impl Receiver {
    /// One that has heard nothing.
    pub fn new(now: Instant, feedback: Feedback) -> Self {
        Self {
            feedback,
            ssrc: rand::random::<u32>() | 1,
            heard: FxHashMap::default(),
            sources: FxHashMap::default(),
            // Spread over a second, so that a thousand subscribers don't report in chorus.
            next_report: now + REPORT_EVERY.mul_f64(rand::random::<f64>()),
            next_feedback: now + FEEDBACK_EVERY.mul_f64(rand::random::<f64>()),
            arrivals: Vec::new(),
            transport_sequence: SequenceUnwrapper::default(),
            feedback_count: 0,
            missing: Vec::new(),
            missing_of: 0,
            strangers: 0,
        }
    }

    /// Counts one decrypted RTP packet that arrived at `arrived` (ns of any clock).
    pub fn on_rtp(&mut self, arrived: u64, datagram: &[u8]) -> Arrival {
        let Ok(packet) = RtpPacket::parse(datagram) else {
            self.strangers += 1;
            return Arrival::Stranger;
        };
        self.on_source(&packet);
        if self.feedback.transport_cc
            && let Some(&[high, low]) = packet.extension(extension::TRANSPORT_CC)
        {
            let number = self
                .transport_sequence
                .unwrap(u16::from_be_bytes([high, low]));
            self.arrivals.push((number, (arrived / 250_000) as i64));
        }
        let Some(probe) = Probe::read(packet.payload()) else {
            self.strangers += 1;
            return Arrival::Stranger;
        };
        let heard = self.heard.entry((probe.publisher, probe.kind)).or_default();
        if heard.on_packet(probe.counter, probe.measured) {
            Arrival::New(probe)
        } else {
            Arrival::Again
        }
    }

    fn on_source(&mut self, packet: &RtpPacket<'_>) {
        let source = self.sources.entry(packet.ssrc()).or_insert_with(|| Source {
            sequence: SequenceUnwrapper::default(),
            first: u64::MAX,
            highest: 0,
            packets: 0,
            reported: (0, 0),
            last_report: 0,
            last_report_at: None,
        });
        let number = source.sequence.unwrap(packet.sequence());
        if source.first == u64::MAX {
            source.first = number;
            source.highest = number;
        }
        if self.feedback.nack && number > source.highest + 1 && number - source.highest <= NACK_MAX
        {
            if self.missing_of != packet.ssrc() {
                self.missing.clear();
                self.missing_of = packet.ssrc();
            }
            self.missing
                .extend((source.highest + 1..number).map(|missing| missing as u16));
        }
        source.highest = source.highest.max(number);
        source.packets += 1;
    }

    /// Remembers a sender report, for the delay in the next receiver report.
    pub fn on_sender_report(&mut self, now: Instant, report: &SenderReport<'_>) {
        if let Some(source) = self.sources.get_mut(&report.ssrc) {
            source.last_report = report.compact_ntp();
            source.last_report_at = Some(now);
        }
    }

    /// When [`Self::report`] has something to say at the latest.
    pub fn next_due(&self) -> Instant {
        if self.feedback.transport_cc && !self.arrivals.is_empty() {
            self.next_report.min(self.next_feedback)
        } else {
            self.next_report
        }
    }

    /// Writes what is due as one compound; answers its length. Call until `None`.
    pub fn report(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        let mut writer = RtcpWriter::new(out);
        if !self.missing.is_empty() {
            // What doesn't fit is lost like the packet it asks for.
            let _ = writer.nack(self.ssrc, self.missing_of, &self.missing);
            self.missing.clear();
        } else if self.next_report <= now {
            self.next_report = now + REPORT_EVERY;
            self.write_reports(now, &mut writer);
        } else if self.feedback.transport_cc && self.next_feedback <= now {
            self.next_feedback = now + FEEDBACK_EVERY;
            self.write_feedback(&mut writer);
        }
        (!writer.is_empty()).then(|| writer.finish())
    }

    fn write_reports(&mut self, now: Instant, writer: &mut RtcpWriter<'_>) {
        let mut blocks = Vec::with_capacity(BLOCKS_MAX);
        for (ssrc, source) in self.sources.iter_mut().take(BLOCKS_MAX) {
            let expected = source.highest - source.first + 1;
            let lost = expected.saturating_sub(source.packets);
            let (expected_before, packets_before) = source.reported;
            let interval = expected - expected_before;
            let lost_now = interval.saturating_sub(source.packets - packets_before);
            source.reported = (expected, source.packets);
            blocks.push(ReportBlock {
                ssrc: *ssrc,
                fraction_lost: (lost_now * 256).checked_div(interval).unwrap_or(0).min(255) as u8,
                cumulative_lost: lost.min(0x7F_FFFF) as i32,
                // The unwrapper starts one cycle up, to have room for late packets.
                highest_sequence: source.highest.wrapping_sub(1 << 16) as u32,
                jitter: 0,
                last_sr: source.last_report,
                delay_since_last_sr: source.last_report_at.map_or(0, |at| {
                    (now.saturating_duration_since(at).as_nanos() * 65_536 / 1_000_000_000) as u32
                }),
            });
        }
        if !blocks.is_empty() {
            // 31 blocks fit in any buffer that holds a datagram.
            let _ = writer.receiver_report(self.ssrc, &blocks);
        }
    }

    fn write_feedback(&mut self, writer: &mut RtcpWriter<'_>) {
        self.arrivals.sort_unstable();
        self.arrivals.dedup_by_key(|(number, _)| *number);
        let (Some(&(first, _)), Some(&(last, _))) = (self.arrivals.first(), self.arrivals.last())
        else {
            return;
        };
        let span = (last - first).min(FEEDBACK_SPAN);
        let mut packets: Vec<(u16, Option<i64>)> = (0..=span)
            .map(|offset| ((first + offset) as u16, None))
            .collect();
        for (number, ticks) in self.arrivals.drain(..) {
            if let Some(slot) = packets.get_mut((number - first) as usize) {
                slot.1 = Some(ticks);
            }
        }
        let media = self.sources.keys().next().copied().unwrap_or(0);
        if writer
            .transport_cc(self.ssrc, media, self.feedback_count, &packets)
            .is_ok()
        {
            self.feedback_count = self.feedback_count.wrapping_add(1);
        }
    }

    /// What was heard so far, by publisher and kind.
    pub fn heard(&self) -> impl Iterator<Item = ((u32, Kind), Heard)> + '_ {
        self.heard.iter().map(|(key, heard)| (*key, *heard))
    }

    /// Forgets what was counted for a measurement, for the next one.
    pub fn reset_measured(&mut self) {
        for heard in self.heard.values_mut() {
            heard.measured = 0;
        }
    }

    /// The SSRC under which it reports.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Packets that no feed of ours sent: padding, silence.
    pub fn strangers(&self) -> u64 {
        self.strangers
    }
}

#[cfg(test)]
mod tests {
    use schalter_rtp::packet::RtpHeader;
    use schalter_rtp::rtcp::{Rtcp, compound};

    use super::*;

    fn packet(sequence: u16, counter: u32, transport: u16) -> Vec<u8> {
        let mut out = vec![0; 200];
        let header = RtpHeader {
            sequence,
            ssrc: 5,
            ..RtpHeader::default()
        };
        let extension = (extension::TRANSPORT_CC, &transport.to_be_bytes()[..]);
        let head = header.write(&[extension], &mut out).unwrap();
        out.truncate(head + 60);
        let probe = Probe {
            publisher: 1,
            kind: Kind::Video,
            measured: true,
            counter,
            sent_at: 0,
        };
        probe.write(&mut out[head..]);
        out
    }

    #[test]
    fn each_packet_counts_once_whatever_the_order() {
        let mut heard = Heard::default();
        let order = [10, 11, 14, 12, 14, 13, 12, 2_000, 1_500, 1_500, 14];
        let new: Vec<bool> = order
            .iter()
            .map(|counter| heard.on_packet(*counter, true))
            .collect();
        assert_eq!(
            new,
            [
                true, true, true, true, false, true, false, true, true, false, false
            ]
        );
        assert_eq!((heard.packets, heard.duplicates), (7, 4));
    }

    #[test]
    fn what_came_before_the_first_packet_is_not_taken_for_a_duplicate() {
        let mut heard = Heard::default();
        assert!(heard.on_packet(10, false) && heard.on_packet(8, false));
        assert!(!heard.on_packet(8, false));
    }

    #[test]
    fn losses_are_reported_and_asked_for_once() {
        let start = Instant::now();
        let mut receiver = Receiver::new(
            start,
            Feedback {
                nack: true,
                transport_cc: false,
            },
        );
        for (sequence, counter) in [(65_534, 0), (65_535, 1), (2, 4)] {
            receiver.on_rtp(0, &packet(sequence, counter, 0));
        }
        let mut out = [0; 1_500];
        let len = receiver.report(start, &mut out).unwrap();
        let Some(Ok(Rtcp::Nack(nack))) = compound(&out[..len]).next() else {
            panic!("no NACK")
        };
        assert_eq!(nack.lost().collect::<Vec<_>>(), [0, 1]);
        let len = receiver.report(start + REPORT_EVERY, &mut out).unwrap();
        let Some(Ok(Rtcp::ReceiverReport(report))) = compound(&out[..len]).next() else {
            panic!("no report")
        };
        let block = report.reports.clone().next().unwrap();
        assert_eq!((block.cumulative_lost, block.fraction_lost), (2, 102));
        assert_eq!(receiver.report(start + REPORT_EVERY, &mut out), None);
    }

    #[test]
    fn feedback_names_arrivals_and_gaps() {
        let start = Instant::now();
        let mut receiver = Receiver::new(
            start,
            Feedback {
                nack: false,
                transport_cc: true,
            },
        );
        receiver.next_report = start + REPORT_EVERY * 10;
        for (sequence, transport) in [(1, 7), (2, 8), (4, 10)] {
            receiver.on_rtp(
                u64::from(sequence) * 1_000_000,
                &packet(sequence, transport.into(), transport),
            );
        }
        assert!(receiver.next_due() <= start + FEEDBACK_EVERY);
        let mut out = [0; 1_500];
        let len = receiver.report(start + FEEDBACK_EVERY, &mut out).unwrap();
        let Some(Ok(Rtcp::TransportCc(feedback))) = compound(&out[..len]).next() else {
            panic!("no feedback")
        };
        assert_eq!((feedback.base_sequence, feedback.status_count), (7, 4));
        let got: Vec<bool> = feedback.deltas().map(|delta| delta.is_some()).collect();
        assert_eq!(got, [true, true, false, true]);
    }
}
