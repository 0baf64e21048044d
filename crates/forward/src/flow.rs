//! Whether a publisher's stream keeps its own time: what was late or missing, told from what was never made.
//!
//! A stream that sends nothing for a while may be a screen that doesn't change, a camera in a dark room, or Opus that
//! sends silence by sending nothing (DTX, RFC 7587 §3.1.3): the timestamps after the gap say that nothing was captured
//! in it. Packets that come later than their timestamps let expect, or a run that never comes, are a stall.

use std::time::Duration;

use schalter_model::Time;

/// Packets that are so much later than their timestamps say are seen as a picture that stands, or heard as a gap:
/// more than a jitter buffer hides.
const STALL: Duration = Duration::from_millis(300);
/// So many packets missing in a row over [`STALL`] are an outage; fewer are the few packets of a quiet stream, lost.
const RUN: u64 = 5;
/// A step of timestamps beyond this is another clock.
const OTHER_CLOCK: Duration = Duration::from_secs(600);
/// What is left each time of the highest frame rate seen: halved in half a minute of one look in five seconds.
const USUAL_DECAY: f32 = 0.9;

#[derive(Clone, Copy, Debug)]
struct Latest {
    seq: u64,
    timestamp: u32,
    at: Time,
}

/// What came of a stream since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stalls {
    /// How often it stalled.
    pub(crate) count: u32,
    /// For how long together.
    pub(crate) time: Duration,
}

/// The course of one stream.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    latest: Option<Latest>,
    stalls: Stalls,
    usual_frame_rate: f32,
}

impl Flow {
    /// The stream begins anew.
    pub(crate) fn restart(&mut self) {
        self.latest = None;
    }

    /// Takes note of a packet, as its publisher first sent it.
    #[inline]
    pub(crate) fn on_packet(&mut self, now: Time, seq: u64, timestamp: u32, clock_rate: u32) {
        let Some(latest) = self.latest else {
            self.latest = Some(Latest {
                seq,
                timestamp,
                at: now,
            });
            return;
        };
        if seq <= latest.seq {
            return;
        }
        self.latest = Some(Latest {
            seq,
            timestamp,
            at: now,
        });
        let waited = now - latest.at;
        if waited >= STALL {
            self.on_gap(waited, seq - latest.seq - 1, timestamp, &latest, clock_rate);
        }
    }

    fn on_gap(
        &mut self,
        waited: Duration,
        missing: u64,
        timestamp: u32,
        latest: &Latest,
        clock_rate: u32,
    ) {
        let ticks = timestamp.wrapping_sub(latest.timestamp);
        let made = Duration::from_secs_f64(f64::from(ticks) / f64::from(clock_rate.max(1)));
        // Also what a frame's own time going back looks like.
        if made > OTHER_CLOCK {
            return;
        }
        let late = waited.saturating_sub(made);
        let time = if late >= STALL {
            late
        } else if missing >= RUN {
            waited
        } else {
            return;
        };
        self.stalls.count += 1;
        self.stalls.time += time;
    }

    /// What happened since the last call.
    pub(crate) fn take(&mut self) -> Stalls {
        std::mem::take(&mut self.stalls)
    }

    /// The share of the usual frame rate that a rate is, 0 to 1; remembers it as usual if it is higher.
    pub(crate) fn share_of_usual(&mut self, frame_rate: f32) -> f32 {
        self.usual_frame_rate = frame_rate.max(self.usual_frame_rate * USUAL_DECAY);
        if self.usual_frame_rate > 0.0 {
            frame_rate / self.usual_frame_rate
        } else {
            1.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets as (arrival and capture in milliseconds, sequence number).
    fn stalls(clock_rate: u32, packets: &[(u64, u64, u64)]) -> Stalls {
        let mut flow = Flow::default();
        for (arrival, capture, seq) in packets {
            let timestamp = (capture * u64::from(clock_rate) / 1_000) as u32;
            flow.on_packet(Time::from_millis(*arrival), *seq, timestamp, clock_rate);
        }
        flow.take()
    }

    #[test]
    fn silence_that_sends_nothing_is_no_stall() {
        // Opus with DTX: a packet every 400 ms, and nothing at all for twenty seconds.
        let quiet = [(0, 0, 1), (400, 400, 2), (800, 800, 3), (20_800, 20_800, 4)];
        assert_eq!(stalls(48_000, &quiet), Stalls::default());
        // Nor is one of them lost.
        let lossy = [(0, 0, 1), (400, 400, 2), (1_200, 1_200, 4)];
        assert_eq!(stalls(48_000, &lossy), Stalls::default());
    }

    #[test]
    fn an_idle_screen_is_no_stall() {
        assert_eq!(
            stalls(90_000, &[(0, 0, 1), (5_000, 5_010, 2)]),
            Stalls::default()
        );
    }

    #[test]
    fn packets_that_come_late_are_a_stall_for_as_long_as_they_are_late() {
        let late = [(0, 0, 1), (33, 33, 2), (1_066, 66, 3), (1_067, 100, 4)];
        let stalled = stalls(90_000, &late);
        assert_eq!((stalled.count, stalled.time.as_millis()), (1, 1_000));
    }

    #[test]
    fn a_run_that_never_comes_is_a_stall() {
        let outage = [(0, 0, 1), (33, 33, 2), (533, 533, 18)];
        let stalled = stalls(90_000, &outage);
        assert_eq!((stalled.count, stalled.time.as_millis()), (1, 500));
    }

    #[test]
    fn another_clock_and_packets_out_of_order_say_nothing() {
        let wild = [(0, 700_000, 1), (1_000, 0, 2)];
        assert_eq!(stalls(90_000, &wild), Stalls::default());
        let swapped = [(0, 0, 2), (900, 0, 1), (950, 950, 3)];
        assert_eq!(stalls(90_000, &swapped), Stalls::default());
    }

    #[test]
    fn the_usual_frame_rate_fades() {
        let mut flow = Flow::default();
        assert_eq!(flow.share_of_usual(0.0), 1.0);
        assert_eq!(flow.share_of_usual(30.0), 1.0);
        assert!(flow.share_of_usual(10.0) < 0.4);
        for _ in 0..12 {
            flow.share_of_usual(10.0);
        }
        assert_eq!(flow.share_of_usual(10.0), 1.0);
    }
}
