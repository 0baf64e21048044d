//! A receiver that feeds back by stream (RFC 8888), for the simulation: each stream's report begins after the one before.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use schalter_model::Time;
use schalter_rtp::RtcpWriter;
use schalter_rtp::rtcp::{ArrivalOffset, Ecn, MAX_ARRIVAL_OFFSET, PacketArrival, StreamArrivals};

/// What a packet belongs to; each kind is a stream of its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Video,
    Sound,
    Repair,
}

#[derive(Debug, Default)]
struct Stream {
    sent: u64,
    /// First packet of the next report.
    next: u64,
    /// When packets arrived, in microseconds.
    arrivals: BTreeMap<u64, u64>,
}

/// Streams of one flow, at their sender and at their receiver.
#[derive(Debug)]
pub(super) struct ByStream {
    interval: Duration,
    streams: [Stream; 3],
    /// By transport-wide number, which nothing on the way carries.
    names: HashMap<u16, (usize, u64)>,
    due: Option<Time>,
}

fn ssrc(stream: usize) -> u32 {
    0x5EED_0001 + stream as u32 * 0x0101_0101
}

impl ByStream {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            streams: Default::default(),
            names: HashMap::new(),
            due: None,
        }
    }

    /// Numbers a packet on its stream; numbers wrap soon.
    pub(super) fn name(&mut self, number: u16, kind: Kind) -> (u32, u16) {
        let stream = kind as usize;
        let sequence = 65_400 + self.streams[stream].sent;
        self.streams[stream].sent += 1;
        self.names.insert(number, (stream, sequence));
        (ssrc(stream), sequence as u16)
    }

    pub(super) fn on_packet(&mut self, at: Time, number: u16) {
        let (stream, sequence) = self.names[&number];
        let stream = &mut self.streams[stream];
        stream.arrivals.insert(sequence, at.as_micros());
        stream.next = if stream.next == 0 {
            sequence
        } else {
            stream.next.min(sequence)
        };
        self.due.get_or_insert(at + self.interval);
    }

    pub(super) fn due(&self) -> Option<Time> {
        self.due
    }

    pub(super) fn write(&mut self, now: Time, writer: &mut RtcpWriter<'_>) {
        self.due = None;
        let micros = now.as_micros();
        let timestamp = micros * 1_024 / 15_625;
        // Offsets count from the timestamp as it is written, rounded.
        let stated = timestamp * 15_625 / 1_024;
        let mut reports = Vec::new();
        for (index, stream) in self.streams.iter_mut().enumerate() {
            let Some((&highest, _)) = stream.arrivals.last_key_value() else {
                continue;
            };
            let packets: Vec<_> = (stream.next..=highest)
                .map(|sequence| {
                    let at = stream.arrivals.get(&sequence)?;
                    let offset = (stated.saturating_sub(*at) * 1_024 + 500_000) / 1_000_000;
                    let offset = u16::try_from(offset).unwrap_or(u16::MAX);
                    let offset = if offset > MAX_ARRIVAL_OFFSET {
                        ArrivalOffset::OverRange
                    } else {
                        ArrivalOffset::Before(offset)
                    };
                    let ecn = Ecn::NotCapable;
                    Some(PacketArrival { ecn, offset })
                })
                .collect();
            if !packets.is_empty() {
                reports.push((ssrc(index), stream.next as u16, packets));
            }
            stream.next = highest + 1;
            stream.arrivals = stream.arrivals.split_off(&highest.saturating_sub(100));
        }
        let parts: Vec<_> = reports
            .iter()
            .map(|(ssrc, begin_sequence, packets)| StreamArrivals {
                ssrc: *ssrc,
                begin_sequence: *begin_sequence,
                packets,
            })
            .collect();
        writer
            .congestion_control(1, timestamp as u32, &parts)
            .expect("a report of one interval fits");
    }
}
