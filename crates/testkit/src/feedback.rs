//! What a subscriber tells about arrivals: transport-wide feedback
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01) or a maximum bitrate (draft-alvestrand-rmcat-remb-03).

use std::collections::BTreeMap;
use std::time::Duration;

use schalter_model::{Bitrate, Time};
use schalter_rtp::RtcpWriter;
use schalter_rtp::seq::SequenceUnwrapper;

/// Microseconds of one arrival tick (§3.1.5).
const TICK_MICROS: u64 = 250;
/// Arrivals that are remembered, so that a report can go back to a packet that came late.
const REMEMBERED: u64 = 4_096;
/// Packets that a report goes back at most.
const MAX_BACK: u64 = 256;
/// Time between two REMBs.
const REMB_INTERVAL: Duration = Duration::from_secs(1);

/// How a peer feeds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// Not at all, beside receiver reports.
    Off,
    /// Arrival times of every packet that has a transport-wide number, so often.
    TransportCc {
        /// Time between two reports.
        interval: Duration,
    },
    /// This maximum bitrate, once a second. Nothing is estimated: the test says what the peer believes.
    Remb {
        /// The maximum.
        rate: Bitrate,
    },
}

impl Default for Feedback {
    /// What browsers settle at above some 200 kbit/s.
    fn default() -> Self {
        Self::TransportCc {
            interval: Duration::from_millis(50),
        }
    }
}

/// Arrivals of one peer and when to tell them.
#[derive(Debug)]
pub(crate) struct Reporter {
    feedback: Feedback,
    unwrapper: SequenceUnwrapper,
    /// When each packet came, in ticks.
    arrivals: BTreeMap<u64, i64>,
    /// First packet of the next report.
    next: u64,
    due: Option<Time>,
    count: u8,
    media_ssrc: u32,
}

impl Reporter {
    pub(crate) fn new(feedback: Feedback) -> Self {
        Self {
            feedback,
            unwrapper: SequenceUnwrapper::new(),
            arrivals: BTreeMap::new(),
            next: 0,
            due: None,
            count: 0,
            media_ssrc: 0,
        }
    }

    /// Feeds back so from now on.
    pub(crate) fn set_feedback(&mut self, now: Time, feedback: Feedback) {
        self.feedback = feedback;
        self.due = match feedback {
            Feedback::Off | Feedback::TransportCc { .. } => None,
            Feedback::Remb { .. } => Some(now),
        };
    }

    /// Notes the arrival of any packet that has a number, padding and repetitions too.
    pub(crate) fn on_packet(&mut self, now: Time, sequence: u16, ssrc: u32) {
        let Feedback::TransportCc { interval } = self.feedback else {
            return;
        };
        let sequence = self.unwrapper.unwrap(sequence);
        if self.arrivals.is_empty() {
            self.next = sequence;
        }
        let ticks = (now.as_micros() / TICK_MICROS).cast_signed();
        self.arrivals.entry(sequence).or_insert(ticks);
        if self.arrivals.len() as u64 > REMEMBERED {
            self.arrivals.pop_first();
        }
        let highest = self.unwrapper.highest().unwrap_or(sequence);
        // One that was reported missing is reported again, with all that followed it.
        let back = highest.saturating_sub(MAX_BACK);
        self.next = self.next.min(sequence.max(back));
        self.media_ssrc = ssrc;
        self.due.get_or_insert(now + interval);
    }

    /// When to write something.
    pub(crate) fn due(&self) -> Option<Time> {
        self.due
    }

    /// Writes what is due; call again as long as it stays due.
    pub(crate) fn write(
        &mut self,
        now: Time,
        from: u32,
        streams: &[u32],
        writer: &mut RtcpWriter<'_>,
    ) {
        match self.feedback {
            Feedback::Off => self.due = None,
            Feedback::Remb { rate } => {
                self.due = Some(now + REMB_INTERVAL);
                writer
                    .remb(from, rate.as_bps(), streams)
                    .expect("a peer has few streams");
            }
            Feedback::TransportCc { .. } => self.write_arrivals(from, writer),
        }
    }

    fn write_arrivals(&mut self, from: u32, writer: &mut RtcpWriter<'_>) {
        self.due = None;
        let Some(highest) = self.unwrapper.highest() else {
            return;
        };
        // A report begins with a packet that came.
        let Some((&first, _)) = self.arrivals.range(self.next..).next() else {
            return;
        };
        let packets: Vec<_> = (first..=highest)
            .map(|sequence| (sequence as u16, self.arrivals.get(&sequence).copied()))
            .collect();
        let covered = writer
            .transport_cc(from, self.media_ssrc, self.count, &packets)
            .expect("an empty datagram has room for some packets");
        self.count = self.count.wrapping_add(1);
        self.next = first + covered as u64;
        if self.next <= highest {
            self.due = Some(Time::ZERO);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schalter_rtp::rtcp::{Rtcp, compound};

    fn reported(reporter: &mut Reporter) -> Vec<(u16, bool)> {
        let mut out = [0; 1_200];
        let mut writer = RtcpWriter::new(&mut out);
        reporter.write(Time::ZERO, 1, &[], &mut writer);
        let len = writer.finish();
        let Some(Ok(Rtcp::TransportCc(feedback))) = compound(&out[..len]).next() else {
            panic!("no feedback");
        };
        (0..feedback.status_count)
            .map(|n| feedback.base_sequence.wrapping_add(n))
            .zip(feedback.deltas().map(|delta| delta.is_some()))
            .collect()
    }

    #[test]
    fn every_number_is_told_once_and_late_ones_again() {
        let mut reporter = Reporter::new(Feedback::default());
        for (at, sequence) in [(1, 65_534), (2, 65_535), (3, 1)] {
            reporter.on_packet(Time::from_millis(at), sequence, 9);
        }
        assert_eq!(reporter.due(), Some(Time::from_millis(51)));
        let first = [(65_534, true), (65_535, true), (0, false), (1, true)];
        assert_eq!(reported(&mut reporter), first);
        assert_eq!(reporter.due(), None);
        reporter.on_packet(Time::from_millis(60), 0, 9);
        reporter.on_packet(Time::from_millis(61), 2, 9);
        assert_eq!(reported(&mut reporter), [(0, true), (1, true), (2, true)]);
    }
}
