//! Arrival times of one publisher's packets, for transport-wide feedback
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use std::time::Duration;

use schalter_model::Time;
use schalter_rtp::RtcpWriter;
use schalter_rtp::seq::SequenceUnwrapper;

/// Packets whose arrival is remembered: more than 10,000 a second at the default interval.
const WINDOW: u64 = 1_024;
/// With this many unreported packets a report is due at once.
const DUE_PACKETS: u64 = 256;
/// Microseconds of one tick (§3.1.5).
const TICK_MICROS: u64 = 250;

#[derive(Clone, Copy, Debug, Default)]
struct Arrival {
    seq: u64,
    ticks: i64,
}

/// Gathers arrivals of one transport.
#[derive(Debug)]
pub(crate) struct TwccRecorder {
    arrivals: Box<[Arrival]>,
    unwrapper: SequenceUnwrapper,
    /// First packet of the next report.
    next: u64,
    due: Option<Time>,
    fb_count: u8,
    media_ssrc: u32,
    interval: Duration,
}

impl TwccRecorder {
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            arrivals: vec![Arrival::default(); WINDOW as usize].into_boxed_slice(),
            unwrapper: SequenceUnwrapper::new(),
            next: 0,
            due: None,
            fb_count: 0,
            media_ssrc: 0,
            interval,
        }
    }

    /// Notes an arrival; answers a deadline if there is a new one.
    pub(crate) fn on_packet(&mut self, now: Time, sequence: u16, ssrc: u32) -> Option<Time> {
        let before = self.unwrapper.highest();
        let seq = self.unwrapper.unwrap(sequence);
        let highest = self.unwrapper.highest().unwrap_or(seq);
        if seq + WINDOW <= highest {
            return None;
        }
        if before.is_none_or(|before| seq > before + WINDOW) {
            self.next = seq;
        }
        self.media_ssrc = ssrc;
        let arrival = &mut self.arrivals[(seq % WINDOW) as usize];
        if arrival.seq == seq {
            return None;
        }
        *arrival = Arrival {
            seq,
            ticks: (now.as_micros() / TICK_MICROS).cast_signed(),
        };
        // A late packet was reported missing: report again from there.
        self.next = self.next.min(seq).max((highest + 1).saturating_sub(WINDOW));
        let due = if highest + 1 - self.next >= DUE_PACKETS {
            now
        } else {
            now + self.interval
        };
        if self.due.is_some_and(|earlier| earlier <= due) {
            return None;
        }
        self.due = Some(due);
        self.due
    }

    /// When the next report is to be sent.
    pub(crate) fn due(&self) -> Option<Time> {
        self.due
    }

    /// Writes a report of what is due; a rest that did not fit stays due. `false` if there was no room.
    pub(crate) fn write(
        &mut self,
        sender_ssrc: u32,
        writer: &mut RtcpWriter<'_>,
        scratch: &mut Vec<(u16, Option<i64>)>,
    ) -> bool {
        let Some(highest) = self.unwrapper.highest() else {
            self.due = None;
            return true;
        };
        scratch.clear();
        scratch.extend((self.next..=highest).map(|seq| {
            let arrival = self.arrivals[(seq % WINDOW) as usize];
            (seq as u16, (arrival.seq == seq).then_some(arrival.ticks))
        }));
        // A report begins with a packet that came.
        let lost = scratch.iter().take_while(|(_, at)| at.is_none()).count();
        let reported = writer.transport_cc(
            sender_ssrc,
            self.media_ssrc,
            self.fb_count,
            scratch.get(lost..).unwrap_or_default(),
        );
        let Ok(covered) = reported else {
            return false;
        };
        self.fb_count = self.fb_count.wrapping_add(1);
        self.next += (lost + covered) as u64;
        if self.next > highest {
            self.due = None;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schalter_rtp::rtcp::{Rtcp, compound};

    fn written(recorder: &mut TwccRecorder, room: usize) -> Vec<(u16, bool)> {
        let mut out = vec![0; room];
        let mut writer = RtcpWriter::new(&mut out);
        assert!(recorder.write(1, &mut writer, &mut Vec::new()));
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
    fn gaps_are_reported_lost_and_late_packets_again() {
        let mut recorder = TwccRecorder::new(Duration::from_millis(50));
        let due = recorder.on_packet(Time::from_millis(1), 65_534, 9);
        assert_eq!(due, Some(Time::from_millis(51)));
        for sequence in [65_535, 1] {
            assert_eq!(recorder.on_packet(Time::from_millis(2), sequence, 9), None);
        }
        let first = written(&mut recorder, 1_200);
        assert_eq!(
            first,
            [(65_534, true), (65_535, true), (0, false), (1, true)]
        );
        assert_eq!(recorder.due(), None);
        assert!(recorder.on_packet(Time::from_millis(60), 0, 9).is_some());
        assert_eq!(written(&mut recorder, 1_200), [(0, true), (1, true)]);
    }

    #[test]
    fn a_rest_that_does_not_fit_stays_due() {
        let mut recorder = TwccRecorder::new(Duration::from_millis(50));
        for sequence in 0..200 {
            recorder.on_packet(Time::from_millis(u64::from(sequence)), sequence, 9);
        }
        let first = written(&mut recorder, 100).len();
        assert!(first < 200 && recorder.due().is_some());
        let mut reported = first;
        while recorder.due().is_some() {
            reported += written(&mut recorder, 100).len();
        }
        assert_eq!(reported, 200);
    }
}
