//! Is the queue in front of the receiver growing? (draft-ietf-rmcat-gcc-02 §5.1–5.4)
//!
//! Packets that left within one burst form a group (§5.2); the variation of delay between groups is accumulated,
//! smoothed, and a line is fitted to it. Its slope is compared with a threshold that adapts to the path's own
//! variation (§5.4). Uses a least-squares line instead of the draft's Kalman filter: it reacts as fast and has no
//! state that noise could lead astray for long.

use schalter_model::Time;

/// Packets sent within this time are one group (§5.2).
const BURST_MICROS: i64 = 5_000;
/// Groups that the line is fitted to: 100 ms of a fast link, two thirds of a second at 300 kbit/s.
const WINDOW: usize = 20;
/// Weight of the past in the smoothed delay.
const SMOOTHING: f64 = 0.9;
/// Makes the slope comparable with the threshold, which is in milliseconds.
const GAIN: f64 = 4.0;
/// The slope counts fully after so many groups; before it is little more than noise.
const FULL_WEIGHT: u32 = 60;
/// Threshold at the start and its bounds, in milliseconds (§5.4).
const THRESHOLD: f64 = 12.5;
const THRESHOLD_MIN: f64 = 6.0;
const THRESHOLD_MAX: f64 = 200.0;
/// Speeds of adaptation per millisecond (§5.4): up slowly, so that a growing queue does not raise its own bar.
const THRESHOLD_UP: f64 = 0.0087;
const THRESHOLD_DOWN: f64 = 0.039;
/// Values that exceed the threshold by more are spikes and do not teach it anything.
const SPIKE: f64 = 15.0;
/// The slope has to be steep for so long before it counts, in milliseconds (§5.4).
const STEEP_FOR: f64 = 10.0;
/// Arrivals further apart than this make no pair.
const GAP_MICROS: i64 = 2_000_000;

/// What the line says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Usage {
    #[default]
    Normal,
    /// The queue grows.
    Over,
    /// The queue shrinks.
    Under,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent: i64,
    last_sent: i64,
    first_arrival: i64,
    last_arrival: i64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Point {
    at: f64,
    delay: f64,
}

/// Fits the line and judges its slope.
#[derive(Debug)]
pub(super) struct Trend {
    open: Option<Group>,
    closed: Option<Group>,
    points: [Point; WINDOW],
    count: u32,
    origin: i64,
    delay: f64,
    smoothed: f64,
    previous: f64,
    threshold: f64,
    adapted: f64,
    steep: f64,
    steep_groups: u32,
    usage: Usage,
}

impl Trend {
    pub(super) fn new() -> Self {
        Self {
            open: None,
            closed: None,
            points: [Point::default(); WINDOW],
            count: 0,
            origin: 0,
            delay: 0.0,
            smoothed: 0.0,
            previous: 0.0,
            threshold: THRESHOLD,
            adapted: 0.0,
            steep: 0.0,
            steep_groups: 0,
            usage: Usage::Normal,
        }
    }

    /// Forgets the line, but not what it learned about the path's variation.
    pub(super) fn reset(&mut self) {
        *self = Self {
            threshold: self.threshold,
            ..Self::new()
        };
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// Takes a packet's sending time and its arrival on the receiver's clock, in microseconds.
    pub(super) fn on_packet(&mut self, sent: Time, arrival: i64) {
        let sent = sent.as_micros().cast_signed();
        let Some(mut group) = self.open else {
            self.open = Some(Group {
                first_sent: sent,
                last_sent: sent,
                first_arrival: arrival,
                last_arrival: arrival,
            });
            return;
        };
        if sent < group.first_sent {
            // Reordered into a group that is closed already.
            return;
        }
        let since = arrival - group.last_arrival;
        let together = sent - group.first_sent <= BURST_MICROS;
        // Packets that some hop held back and let go at once are one group as well (§5.2), up to a bound.
        let released = since < sent - group.last_sent
            && since <= BURST_MICROS
            && arrival - group.first_arrival < 100_000;
        if together || released {
            group.last_sent = group.last_sent.max(sent);
            group.last_arrival = group.last_arrival.max(arrival);
            self.open = Some(group);
            return;
        }
        if let Some(before) = self.closed.replace(group) {
            self.on_group(before, group);
        }
        self.open = Some(Group {
            first_sent: sent,
            last_sent: sent,
            first_arrival: arrival,
            last_arrival: arrival,
        });
    }

    fn on_group(&mut self, before: Group, group: Group) {
        let sent = group.last_sent - before.last_sent;
        let arrived = group.last_arrival - before.last_arrival;
        if !(0..=GAP_MICROS).contains(&arrived) || sent > GAP_MICROS {
            self.reset();
            return;
        }
        if self.count == 0 {
            self.origin = group.last_arrival;
        }
        let variation = (arrived - sent) as f64 / 1e3;
        self.delay += variation;
        self.smoothed = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * self.delay;
        let at = (group.last_arrival - self.origin) as f64 / 1e3;
        self.points[self.count as usize % WINDOW] = Point {
            at,
            delay: self.smoothed,
        };
        // Stays a multiple of the window below the bound, so that the ring goes on where it was.
        self.count = if self.count >= u32::MAX / 2 {
            (WINDOW as u32) * 4
        } else {
            self.count + 1
        };
        if self.count as usize >= WINDOW {
            let slope = self.slope();
            self.judge(slope, at, sent as f64 / 1e3);
        }
    }

    fn slope(&self) -> f64 {
        let n = WINDOW as f64;
        let at = self.points.iter().map(|point| point.at).sum::<f64>() / n;
        let delay = self.points.iter().map(|point| point.delay).sum::<f64>() / n;
        let (mut covariance, mut variance) = (0.0, 0.0);
        for point in &self.points {
            covariance += (point.at - at) * (point.delay - delay);
            variance += (point.at - at) * (point.at - at);
        }
        if variance > 0.0 {
            covariance / variance
        } else {
            0.0
        }
    }

    fn judge(&mut self, slope: f64, at: f64, sent: f64) {
        let weighted = slope * f64::from(self.count.min(FULL_WEIGHT)) * GAIN;
        if weighted > self.threshold {
            self.steep += sent;
            self.steep_groups += 1;
            let lasting = self.steep > STEEP_FOR && self.steep_groups > 1;
            if lasting && slope >= self.previous {
                self.usage = Usage::Over;
            }
        } else {
            self.steep = 0.0;
            self.steep_groups = 0;
            self.usage = if weighted < -self.threshold {
                Usage::Under
            } else {
                Usage::Normal
            };
        }
        self.previous = slope;
        let distance = weighted.abs();
        if distance <= self.threshold + SPIKE {
            let speed = if distance < self.threshold {
                THRESHOLD_DOWN
            } else {
                THRESHOLD_UP
            };
            let elapsed = (at - self.adapted).clamp(0.0, 100.0);
            self.threshold += speed * (distance - self.threshold) * elapsed;
            self.threshold = self.threshold.clamp(THRESHOLD_MIN, THRESHOLD_MAX);
        }
        self.adapted = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage_at(spacing: i64) -> Usage {
        let mut trend = Trend::new();
        for n in 0..100 {
            trend.on_packet(Time::from_millis(10 * n), n.cast_signed() * spacing);
        }
        trend.usage()
    }

    #[test]
    fn a_growing_queue_is_over_and_a_shrinking_one_under() {
        assert_eq!(usage_at(10_000), Usage::Normal);
        assert_eq!(usage_at(11_500), Usage::Over);
        assert_eq!(usage_at(8_500), Usage::Under);
    }

    #[test]
    fn a_drifting_clock_is_no_queue() {
        assert_eq!(usage_at(10_001), Usage::Normal);
        assert_eq!(usage_at(9_999), Usage::Normal);
    }
}
