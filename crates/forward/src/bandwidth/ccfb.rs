//! RFC 8888 feedback in terms of sent packets: which packet a stream's sequence number was, and when a report says that it
//! arrived.
//!
//! Owns an index of the newest [`CAPACITY`] packets by (SSRC, RTP sequence number) and the receiver's clock as report
//! timestamps tell it. Refuses what was never sent: a peer cannot make it grow, for only sending writes to it.

use schalter_rtp::rtcp::{ArrivalOffset, CongestionFeedback};

use super::MOST_STATUSES;
use super::sent::{CAPACITY, SentPackets};

/// Heads of the chains of packets with equal hashes. Streams number their packets one by one, so that few collide.
const HEADS: usize = 4_096;
/// Links of a chain that are followed. A packet that stands deeper counts as forgotten; with ten streams whose numbers
/// overlap the worst chain has ten.
const LONGEST_CHAIN: usize = 32;
/// Microseconds of 1024 units of 1/65536 s, the unit of report timestamps (§3.1).
const MICROS_OF_1024_UNITS: i64 = 15_625;
/// Units of a report timestamp in one of an arrival offset (1/1024 s).
const UNITS_PER_OFFSET: i64 = 64;

/// What feedback says of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has not arrived.
    Missing,
    /// It arrived then, in microseconds of the receiver's clock.
    At(i64),
    /// It arrived, and the receiver does not say when.
    Untimed,
}

/// One packet that was sent on a stream.
#[derive(Clone, Copy, Debug, Default)]
struct Name {
    ssrc: u32,
    sequence: u16,
    /// How many packets before this one the next one of the chain was sent; 0 for none.
    before: u16,
}

/// Translates feedback by stream into fates of packets by their number.
#[derive(Debug)]
pub(super) struct Streams {
    /// The low bits of the number of the newest packet with that hash, plus one; 0 for none.
    heads: Box<[u32]>,
    /// By number.
    names: Box<[Name]>,
    clock: ReportClock,
    /// What the feedback at hand says, at most [`CAPACITY`] packets.
    fates: Vec<(u64, Fate)>,
}

fn hash(ssrc: u32, sequence: u16) -> usize {
    // The multiplication spreads our random SSRCs; consecutive packets of one stream never collide.
    let offset = ssrc.wrapping_mul(0x9E37_79B1) >> 16;
    (offset as u16).wrapping_add(sequence) as usize % HEADS
}

fn index(number: u64) -> usize {
    (number % CAPACITY) as usize
}

impl Streams {
    pub(super) fn new() -> Self {
        Self {
            heads: vec![0; HEADS].into_boxed_slice(),
            names: vec![Name::default(); CAPACITY as usize].into_boxed_slice(),
            clock: ReportClock::default(),
            fates: Vec::with_capacity(CAPACITY as usize),
        }
    }

    /// The newest packet, `number`, left on the stream `ssrc` with this RTP sequence number.
    pub(super) fn on_sent(&mut self, number: u64, ssrc: u32, sequence: u16) {
        let head = &mut self.heads[hash(ssrc, sequence)];
        // Wrapping, in 32 bits: what stands further back than the ring is long is no packet of ours any more.
        let behind = (number as u32).wrapping_add(1).wrapping_sub(*head);
        let is_chained = *head != 0 && (1..CAPACITY as u32).contains(&behind);
        *head = (number as u32).wrapping_add(1);
        self.names[index(number)] = Name {
            ssrc,
            sequence,
            before: if is_chained { behind as u16 } else { 0 },
        };
    }

    /// The number of a packet among the [`CAPACITY`] up to `highest`.
    fn find(&self, highest: u64, ssrc: u32, sequence: u16) -> Option<u64> {
        let head = self.heads[hash(ssrc, sequence)];
        let behind = (highest as u32).wrapping_add(1).wrapping_sub(head);
        if head == 0 || behind >= CAPACITY as u32 {
            return None;
        }
        let mut number = highest.checked_sub(behind.into())?;
        for _ in 0..LONGEST_CHAIN {
            let name = self.names[index(number)];
            if name.ssrc == ssrc && name.sequence == sequence {
                return Some(number);
            }
            if name.before == 0 {
                return None;
            }
            number = number.checked_sub(name.before.into())?;
            if number + CAPACITY <= highest {
                return None;
            }
        }
        None
    }

    /// Reads feedback: answers bytes that are assumed to have arrived, because the feedback that would have said so was
    /// lost, and how many fates [`Self::fate`] has, in the order of sending.
    pub(super) fn read(
        &mut self,
        sent: &mut SentPackets,
        feedback: &CongestionFeedback<'_>,
    ) -> (u64, usize) {
        self.fates.clear();
        let Some(highest) = sent.highest() else {
            return (0, 0);
        };
        let report = self.clock.place(feedback.report_timestamp);
        let mut assumed = 0;
        let mut left = MOST_STATUSES;
        for stream in feedback.streams() {
            assumed += self.assume(sent, highest, stream.ssrc, stream.begin_sequence);
            let mut sequence = stream.begin_sequence;
            for packet in stream.packets().take(left) {
                left -= 1;
                let found = self.find(highest, stream.ssrc, sequence);
                sequence = sequence.wrapping_add(1);
                let Some(number) = found else {
                    continue;
                };
                let fate = match packet.map(|packet| packet.offset) {
                    None => Fate::Missing,
                    Some(ArrivalOffset::Before(offset)) => {
                        Fate::At(micros(report - i64::from(offset) * UNITS_PER_OFFSET))
                    }
                    Some(ArrivalOffset::OverRange | ArrivalOffset::Unavailable) => Fate::Untimed,
                };
                if self.fates.len() < CAPACITY as usize {
                    self.fates.push((number, fate));
                }
            }
        }
        // Streams are reported one after another, and the estimator follows the packets as they were sent.
        self.fates.sort_unstable_by_key(|(number, _)| *number);
        (assumed, self.fates.len())
    }

    /// What the feedback said of its packet number `position`.
    pub(super) fn fate(&self, position: usize) -> Option<(u64, Fate)> {
        self.fates.get(position).copied()
    }

    /// Packets of one stream right before `begin` that wait for their fate. Another stream's packets between say nothing:
    /// a loss at the end of a burst is reported with the next packet of its stream.
    fn assume(&self, sent: &mut SentPackets, highest: u64, ssrc: u32, begin: u16) -> u64 {
        let mut bytes = 0;
        let mut sequence = begin;
        for _ in 0..CAPACITY {
            sequence = sequence.wrapping_sub(1);
            let found = self.find(highest, ssrc, sequence);
            let Some(more) = found.and_then(|number| sent.assume_arrived(number)) else {
                break;
            };
            bytes += u64::from(more);
        }
        bytes
    }
}

fn micros(units: i64) -> i64 {
    units * MICROS_OF_1024_UNITS / 1_024
}

/// Places wrapping report timestamps (32 bits of 1/65536 s: 18 hours) on one line.
#[derive(Clone, Copy, Debug, Default)]
struct ReportClock {
    last: Option<i64>,
}

impl ReportClock {
    /// The timestamp in 1/65536 s, placed nearest to the one before.
    fn place(&mut self, timestamp: u32) -> i64 {
        let placed = match self.last {
            None => i64::from(timestamp),
            Some(before) => {
                let step = timestamp.wrapping_sub(before as u32).cast_signed();
                before.saturating_add(i64::from(step))
            }
        };
        // Half a turn a message is the most that a peer can do: 2^40 messages are the bound.
        self.last = Some(placed.clamp(-MOST_UNITS, MOST_UNITS));
        placed
    }
}

/// Far from where microseconds overflow.
const MOST_UNITS: i64 = i64::MAX / MICROS_OF_1024_UNITS / 4;

#[cfg(test)]
mod tests {
    use schalter_model::Time;
    use schalter_rtp::RtcpWriter;
    use schalter_rtp::rtcp::{Ecn, PacketArrival, Rtcp, StreamArrivals, compound};

    use super::*;
    use crate::bandwidth::sent::Acknowledged;

    struct Rig {
        sent: SentPackets,
        streams: Streams,
        next: u16,
    }

    impl Rig {
        fn new() -> Self {
            Self {
                sent: SentPackets::new(),
                streams: Streams::new(),
                next: 65_530,
            }
        }

        fn send(&mut self, ssrc: u32, sequence: u16) -> u64 {
            let number = self.sent.on_sent(Time::ZERO, self.next, 100);
            self.next = self.next.wrapping_add(1);
            self.streams.on_sent(number, ssrc, sequence);
            number
        }

        fn read(
            &mut self,
            timestamp: u32,
            streams: &[(u32, u16, &[Option<ArrivalOffset>])],
        ) -> (u64, Vec<(u64, Fate)>) {
            let arrivals: Vec<Vec<_>> = streams
                .iter()
                .map(|(_, _, offsets)| {
                    let arrival = |offset: &Option<ArrivalOffset>| {
                        offset.map(|offset| PacketArrival {
                            ecn: Ecn::default(),
                            offset,
                        })
                    };
                    offsets.iter().map(arrival).collect()
                })
                .collect();
            let parts: Vec<_> = streams
                .iter()
                .zip(&arrivals)
                .map(|((ssrc, begin_sequence, _), packets)| StreamArrivals {
                    ssrc: *ssrc,
                    begin_sequence: *begin_sequence,
                    packets,
                })
                .collect();
            let mut bytes = vec![0; 100_000];
            let mut writer = RtcpWriter::new(&mut bytes);
            writer.congestion_control(1, timestamp, &parts).unwrap();
            let len = writer.finish();
            let Some(Ok(Rtcp::CongestionControl(feedback))) = compound(&bytes[..len]).next() else {
                panic!("not feedback");
            };
            let (assumed, count) = self.streams.read(&mut self.sent, &feedback);
            let fates = (0..count).map(|n| self.streams.fate(n).unwrap()).collect();
            (assumed, fates)
        }
    }

    const fn before(offset: u16) -> Option<ArrivalOffset> {
        Some(ArrivalOffset::Before(offset))
    }

    #[test]
    fn streams_are_merged_in_the_order_of_sending() {
        let mut rig = Rig::new();
        let sound = rig.send(7, 100);
        let first = rig.send(9, 65_535);
        let second = rig.send(9, 0);
        let more = rig.send(7, 101);
        let (assumed, fates) = rig.read(
            10 * 65_536,
            &[
                (9, 65_535, &[before(1_024), None]),
                (7, 100, &[before(2_048), Some(ArrivalOffset::Unavailable)]),
            ],
        );
        assert_eq!(assumed, 0);
        assert_eq!(
            fates,
            [
                (sound, Fate::At(8_000_000)),
                (first, Fate::At(9_000_000)),
                (second, Fate::Missing),
                (more, Fate::Untimed)
            ]
        );
    }

    #[test]
    fn strangers_and_forgotten_packets_have_no_fate() {
        let mut rig = Rig::new();
        assert!(rig.read(1, &[(1, 1, &[before(0)])]).1.is_empty());
        rig.send(1, 1);
        assert!(rig.read(1, &[(1, 2, &[before(0)])]).1.is_empty());
        assert!(rig.read(1, &[(2, 1, &[before(0)])]).1.is_empty());
        for sequence in 0..CAPACITY as u16 {
            rig.send(5, sequence);
        }
        assert!(rig.read(1, &[(1, 1, &[before(0)])]).1.is_empty());
        assert_eq!(rig.read(1, &[(5, 0, &[before(0); 3_000])]).1.len(), 2_048);
    }

    #[test]
    fn every_remembered_packet_of_many_streams_is_found() {
        let mut rig = Rig::new();
        let mut sent = Vec::new();
        for round in 0..500_u16 {
            for stream in 0..20_u32 {
                let ssrc = stream.wrapping_mul(0x1234_5671);
                let sequence = round.wrapping_add(65_300);
                sent.push((rig.send(ssrc, sequence), ssrc, sequence));
            }
        }
        for (number, ssrc, sequence) in sent.split_off(sent.len() - CAPACITY as usize) {
            let (_, fates) = rig.read(1, &[(ssrc, sequence, &[before(0)])]);
            assert_eq!(fates.len(), 1, "{ssrc} {sequence}");
            assert_eq!(fates[0].0, number);
        }
        for (_, ssrc, sequence) in sent {
            assert!(rig.read(1, &[(ssrc, sequence, &[before(0)])]).1.is_empty());
        }
    }

    #[test]
    fn lost_feedback_is_assumed_stream_by_stream() {
        let mut rig = Rig::new();
        for sequence in 0..6 {
            rig.send(1, sequence);
        }
        let last_of_burst = rig.send(2, 40);
        rig.send(1, 6);
        let (_, fates) = rig.read(1, &[(1, 0, &[before(0)])]);
        assert!(matches!(
            rig.sent.on_arrived(fates[0].0),
            Acknowledged::First(_)
        ));
        // 1 to 5 are jumped over; the other stream's packet still waits.
        assert_eq!(rig.read(1, &[(1, 6, &[before(0)])]).0, 500);
        assert_eq!(rig.read(1, &[(1, 6, &[before(0)])]).0, 0);
        assert!(rig.sent.on_missing(last_of_burst));
    }

    #[test]
    fn report_timestamps_wrap_both_ways() {
        let mut clock = ReportClock::default();
        let start = clock.place(u32::MAX);
        assert_eq!(clock.place(1) - start, 2);
        assert_eq!(clock.place(u32::MAX), start);
    }
}
