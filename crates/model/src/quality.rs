//! How media fares, over all transports of a shard.

use std::time::Duration;

use crate::Histogram;

/// Distributions of what participants notice; absolute since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QualityCounters {
    /// Scores of transports, in thousandths.
    pub scores: Histogram<{ QualityCounters::SCORES.len() }>,
    /// Round trips to subscribers, in microseconds.
    pub round_trips: Histogram<{ QualityCounters::ROUND_TRIPS.len() }>,
    /// Frames a second that come from publishers' videos, in thousandths.
    pub frame_rates: Histogram<{ QualityCounters::FRAME_RATES.len() }>,
    /// Times that a publisher's stream stalled.
    pub freezes: u64,
}

impl QualityCounters {
    /// Upper bounds of [`Self::scores`]: below the third it is poor, below the fifth good, above excellent.
    pub const SCORES: [u64; 6] = [2_000, 2_500, 3_000, 3_500, 4_000, 4_500];
    /// Upper bounds of [`Self::round_trips`].
    pub const ROUND_TRIPS: [u64; 8] = [
        10_000, 25_000, 50_000, 100_000, 200_000, 300_000, 500_000, 1_000_000,
    ];
    /// Upper bounds of [`Self::frame_rates`].
    pub const FRAME_RATES: [u64; 8] =
        [1_000, 5_000, 10_000, 15_000, 20_000, 25_000, 30_000, 60_000];

    /// Takes note of a transport's score, 1 to 4.5.
    pub fn observe_score(&mut self, score: f32) {
        self.scores.observe(&Self::SCORES, thousandths(score));
    }

    /// Takes note of a round trip.
    pub fn observe_round_trip(&mut self, round_trip: Duration) {
        let micros = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
        self.round_trips.observe(&Self::ROUND_TRIPS, micros);
    }

    /// Takes note of a video's frame rate, in frames a second.
    pub fn observe_frame_rate(&mut self, frame_rate: f32) {
        // To whole frames: what comes of 30 a second within one differs by one.
        let rate = thousandths(frame_rate.round());
        self.frame_rates.observe(&Self::FRAME_RATES, rate);
    }

    /// Adds what another shard counted.
    pub fn add(&mut self, other: &Self) {
        let Self {
            scores,
            round_trips,
            frame_rates,
            freezes,
        } = self;
        scores.add(&other.scores);
        round_trips.add(&other.round_trips);
        frame_rates.add(&other.frame_rates);
        *freezes += other.freezes;
    }
}

fn thousandths(value: f32) -> u64 {
    (f64::from(value) * 1e3).round() as u64
}
