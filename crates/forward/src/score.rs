//! One number for how a connection serves its participant, from what was measured of it.
//!
//! A score is a mean opinion's: 4.5 is as good as it gets, 1 is of no use. What harms is subtracted; the curves hold what
//! participants notice: ITU-T G.114 for delay (150 ms is not noticed, 400 ms is the limit), loss as Opus and repaired video
//! bear it. Refuses to know who is told, and to remember: steadiness is signaling's.

use std::time::Duration;

use crate::quality::{DownlinkQuality, MediaQuality, QUALITY_INTERVAL, UplinkQuality};

/// The best score.
pub const BEST_SCORE: f32 = 4.5;
/// The worst.
pub const WORST_SCORE: f32 = 1.0;

/// What is subtracted, at points of what is measured; straight in between.
type Curve<const N: usize> = [(f32, f32); N];

/// By share of packets lost.
const LOSS: Curve<5> = [
    (0.005, 0.0),
    (0.02, 0.5),
    (0.05, 1.5),
    (0.10, 2.5),
    (0.25, 3.5),
];
/// By share of the time in which what was sent didn't arrive: 300 ms and 1 s of five seconds, half of it.
const STALLED: Curve<4> = [(0.0, 0.0), (0.06, 0.5), (0.2, 1.5), (0.5, 3.0)];
/// By the missing share of the usual frame rate.
const FRAMES: Curve<2> = [(0.3, 0.0), (0.7, 1.0)];
/// By delay of one way in seconds.
const DELAY: Curve<4> = [(0.15, 0.0), (0.25, 0.5), (0.4, 1.5), (1.0, 3.0)];
/// By the share of what is wanted that the link is too thin for.
const THIN: Curve<4> = [(0.2, 0.0), (0.5, 0.8), (0.8, 1.6), (1.0, 2.0)];
/// A picture that stopped for want of bandwidth.
const PAUSED: f32 = 2.0;
/// Fewer frames count only with loss above this or a stall: a dark room and a screen that doesn't change have fewer, too.
const SIGN: f32 = 0.01;

fn at<const N: usize>(curve: &Curve<N>, value: f32) -> f32 {
    let mut before = curve[0];
    for point in curve {
        if value <= point.0 {
            let span = point.0 - before.0;
            if span <= 0.0 {
                return point.1;
            }
            return before.1 + (point.1 - before.1) * (value - before.0) / span;
        }
        before = *point;
    }
    before.1
}

impl MediaQuality {
    /// How it serves, [`WORST_SCORE`] to [`BEST_SCORE`]: as the worse of both directions.
    pub fn score(&self) -> f32 {
        let uplink = self.uplink.as_ref().map_or(0.0, UplinkQuality::harm);
        let downlink = self.downlink.as_ref().map_or(0.0, DownlinkQuality::harm);
        (BEST_SCORE - uplink.max(downlink)).clamp(WORST_SCORE, BEST_SCORE)
    }
}

impl UplinkQuality {
    fn harm(&self) -> f32 {
        let stalled = self.stalled.as_secs_f32() / QUALITY_INTERVAL.as_secs_f32();
        let frames = if self.loss > SIGN || self.stalls > 0 {
            at(&FRAMES, 1.0 - self.frame_share)
        } else {
            0.0
        };
        at(&LOSS, self.loss) + at(&STALLED, stalled) + frames
    }
}

impl DownlinkQuality {
    fn harm(&self) -> f32 {
        let way = self.round_trip.unwrap_or(Duration::ZERO) / 2;
        // A round trip holds the queue already, where it is measured.
        let delay = way.max(self.queue).as_secs_f32();
        let thin = at(&THIN, 1.0 - self.share);
        let thin = if self.paused > 0 {
            thin.max(PAUSED)
        } else {
            thin
        };
        at(&LOSS, self.loss) + at(&DELAY, delay) + thin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: UplinkQuality = UplinkQuality {
        loss: 0.0,
        stalls: 0,
        stalled: Duration::ZERO,
        frame_share: 1.0,
    };
    const DOWN: DownlinkQuality = DownlinkQuality {
        loss: 0.0,
        queue: Duration::ZERO,
        round_trip: None,
        share: 1.0,
        paused: 0,
    };

    fn up(uplink: UplinkQuality) -> f32 {
        let downlink = None;
        let uplink = Some(uplink);
        MediaQuality { uplink, downlink }.score()
    }

    fn down(downlink: DownlinkQuality) -> f32 {
        let uplink = None;
        let downlink = Some(downlink);
        MediaQuality { uplink, downlink }.score()
    }

    #[test]
    fn nothing_measured_and_nothing_wrong_are_the_best() {
        assert_eq!(MediaQuality::default().score(), BEST_SCORE);
        assert_eq!((up(UP), down(DOWN)), (BEST_SCORE, BEST_SCORE));
    }

    #[test]
    fn loss_is_borne_up_to_a_point_and_then_ruins_all() {
        let lossy = |loss| {
            (
                up(UplinkQuality { loss, ..UP }),
                down(DownlinkQuality { loss, ..DOWN }),
            )
        };
        assert_eq!(lossy(0.005), (4.5, 4.5));
        assert_eq!(lossy(0.02), (4.0, 4.0));
        assert_eq!(lossy(0.05), (3.0, 3.0));
        assert_eq!(lossy(1.0), (1.0, 1.0));
    }

    #[test]
    fn delay_counts_from_what_is_noticed() {
        let slow = |millis| {
            let round_trip = Some(Duration::from_millis(millis));
            down(DownlinkQuality { round_trip, ..DOWN })
        };
        assert_eq!((slow(300), slow(500), slow(800)), (4.5, 4.0, 3.0));
        let queue = Duration::from_millis(400);
        assert_eq!(down(DownlinkQuality { queue, ..DOWN }), 3.0);
    }

    #[test]
    fn a_link_that_is_too_thin_or_stops_a_picture_is_felt() {
        let thin = |share| down(DownlinkQuality { share, ..DOWN });
        assert_eq!((thin(0.8), thin(0.5)), (4.5, 3.7));
        assert!(thin(0.1) < 3.0);
        assert_eq!(down(DownlinkQuality { paused: 1, ..DOWN }), 2.5);
    }

    #[test]
    fn stalls_count_by_their_time() {
        let stalled = |millis| {
            let stalled = Duration::from_millis(millis);
            up(UplinkQuality {
                stalls: 1,
                stalled,
                ..UP
            })
        };
        assert_eq!((stalled(300), stalled(1_000)), (4.0, 3.0));
        assert_eq!(stalled(60_000), 1.5);
    }

    #[test]
    fn fewer_frames_count_only_beside_another_sign() {
        let frame_share = 0.3;
        assert_eq!(up(UplinkQuality { frame_share, ..UP }), BEST_SCORE);
        let lossy = UplinkQuality {
            loss: 0.02,
            frame_share,
            ..UP
        };
        assert_eq!(up(lossy), 3.0);
    }

    #[test]
    fn the_worse_direction_is_the_score() {
        let both = MediaQuality {
            uplink: Some(UplinkQuality { loss: 0.05, ..UP }),
            downlink: Some(DownlinkQuality { loss: 0.02, ..DOWN }),
        };
        assert_eq!(both.score(), 3.0);
    }
}
