//! What the congestion control believes of subscribers' links and does about it, over all links of a shard.

use crate::Histogram;

/// What a probe showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// The link took the probe's rate.
    Carried,
    /// The link was full.
    Full,
    /// Something held packets back, whatever the link carries.
    Disturbed,
    /// Too little arrived to tell.
    Unknown,
}

impl ProbeResult {
    /// Every result.
    pub const ALL: [Self; 4] = [Self::Carried, Self::Full, Self::Disturbed, Self::Unknown];

    /// The label value in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Carried => "carried",
            Self::Full => "full",
            Self::Disturbed => "disturbed",
            Self::Unknown => "unknown",
        }
    }
}

/// Probes by what they showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeCounters([u64; ProbeResult::ALL.len()]);

impl ProbeCounters {
    /// Counts one probe.
    pub fn count(&mut self, result: ProbeResult) {
        self.0[result as usize] += 1;
    }

    /// How many probes showed `result`.
    pub fn of(&self, result: ProbeResult) -> u64 {
        self.0[result as usize]
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }
}

/// Everything that is counted of subscribers' links; absolute since start unless a field says "now".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Links with a measurement, now.
    pub measured: u64,
    /// Measured links that lately showed a queue, loss or missing feedback, now.
    pub distressed: u64,
    /// What measured links are believed to carry, in bit/s, once a second each.
    pub estimates: Histogram<{ LinkCounters::ESTIMATES.len() }>,
    /// What stands in the queue on the way, in microseconds, once a second for each measured link.
    pub queues: Histogram<{ LinkCounters::QUEUES.len() }>,
    /// Smoothed share of packets lost, in millionths, once a second for each measured link.
    pub losses: Histogram<{ LinkCounters::LOSSES.len() }>,
    /// Probes sent.
    pub probes_sent: u64,
    /// Probes judged, by what they showed.
    pub probes: ProbeCounters,
    /// Times that a track's pictures stopped for want of bandwidth.
    pub pauses: u64,
    /// Times that they went on.
    pub resumes: u64,
    /// Times that a subscriber was given a higher layer of a track.
    pub switches_up: u64,
    /// Times that it was given a lower one.
    pub switches_down: u64,
}

impl LinkCounters {
    /// Upper bounds of [`Self::estimates`] in bit/s: from the least that sound takes to more than any call.
    pub const ESTIMATES: [u64; 10] = [
        100_000, 200_000, 400_000, 700_000, 1_000_000, 2_000_000, 4_000_000, 8_000_000, 16_000_000,
        32_000_000,
    ];
    /// Upper bounds of [`Self::queues`] in microseconds.
    pub const QUEUES: [u64; 8] = [
        5_000, 10_000, 25_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
    ];
    /// Upper bounds of [`Self::losses`] in millionths.
    pub const LOSSES: [u64; 8] = [0, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 300_000];

    /// Takes note of what is believed of one link: an estimate in bit/s, a queue in microseconds, a loss in millionths.
    pub fn observe(&mut self, estimate: u64, queue: u64, loss: u64) {
        self.estimates.observe(&Self::ESTIMATES, estimate);
        self.queues.observe(&Self::QUEUES, queue);
        self.losses.observe(&Self::LOSSES, loss);
    }

    /// Adds what another shard counted.
    pub fn add(&mut self, other: &Self) {
        let Self {
            measured,
            distressed,
            estimates,
            queues,
            losses,
            probes_sent,
            probes,
            pauses,
            resumes,
            switches_up,
            switches_down,
        } = self;
        *measured += other.measured;
        *distressed += other.distressed;
        estimates.add(&other.estimates);
        queues.add(&other.queues);
        losses.add(&other.losses);
        *probes_sent += other.probes_sent;
        probes.add(&other.probes);
        *pauses += other.pauses;
        *resumes += other.resumes;
        *switches_up += other.switches_up;
        *switches_down += other.switches_down;
    }
}
