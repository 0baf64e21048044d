//! What a link does over time: synthetic and recorded traces, and traffic of others on it.

use std::time::Duration;

use schalter_model::{Bitrate, Time};

use crate::{Bursts, LinkConfig, Random};

/// Bytes of a packet of cross traffic.
const CROSS_PACKET: usize = 1_200;
/// Time between two steps of a ramp or a random walk.
const STEP: Duration = Duration::from_millis(100);
/// Size of a delivery opportunity in recorded traces.
const OPPORTUNITY: u64 = 1_500;

/// Packets of somebody else that come to a link at a constant rate, for some time or in turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrossTraffic {
    from: Time,
    until: Time,
    interval: Duration,
    /// How long it sends and how long it doesn't, over and over.
    turns: Option<(Duration, Duration)>,
    sent: u32,
}

impl CrossTraffic {
    /// This rate between these times.
    pub fn constant(rate: Bitrate, from: Time, until: Time) -> Self {
        let nanos = CROSS_PACKET as u64 * 8 * 1_000_000_000 / rate.as_bps().max(1);
        Self {
            from,
            until,
            interval: Duration::from_nanos(nanos),
            turns: None,
            sent: 0,
        }
    }

    /// Sends for `on`, is silent for `off`, and so on.
    #[must_use]
    pub fn in_turns(mut self, on: Duration, off: Duration) -> Self {
        self.turns = Some((on, off));
        self
    }

    /// When the next packet comes.
    pub(crate) fn next(&self) -> Option<Time> {
        let sending = self.interval * self.sent;
        let passed = match self.turns {
            None => sending,
            Some((on, off)) => {
                let turn = sending.as_nanos() / on.as_nanos().max(1);
                sending + off * turn as u32
            }
        };
        Some(self.from + passed).filter(|at| *at < self.until)
    }

    /// Sends that packet; answers its length.
    pub(crate) fn take(&mut self) -> usize {
        self.sent += 1;
        CROSS_PACKET
    }
}

/// A link's life: how it starts, its changes, and what others send over it.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkTrace {
    name: String,
    start: LinkConfig,
    changes: Vec<(Time, LinkConfig)>,
    cross: Vec<CrossTraffic>,
}

/// A link of home users: 20 ms away, with a queue of 300 ms. Arrivals are never as regular as a calculation.
fn home(rate: Bitrate) -> LinkConfig {
    LinkConfig {
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(1),
        rate: Some(rate),
        queue_bytes: queue_of(rate, Duration::from_millis(300)),
        ..LinkConfig::default()
    }
}

/// The bytes of a queue that takes this long to empty.
pub fn queue_of(rate: Bitrate, span: Duration) -> usize {
    (u128::from(rate.as_bps()) * span.as_millis() / 8_000) as usize
}

impl LinkTrace {
    /// A link that stays as it is.
    pub fn new(name: &str, start: LinkConfig) -> Self {
        Self {
            name: name.to_owned(),
            start,
            changes: Vec::new(),
            cross: Vec::new(),
        }
    }

    /// It becomes this at `at`.
    ///
    /// # Panics
    /// If an earlier change comes later.
    #[must_use]
    pub fn change(mut self, at: Time, config: LinkConfig) -> Self {
        let last = self.changes.last().map_or(Time::ZERO, |(at, _)| *at);
        assert!(last <= at, "changes come in the order of their times");
        self.changes.push((at, config));
        self
    }

    /// Somebody else sends this as well.
    #[must_use]
    pub fn with_cross(mut self, cross: CrossTraffic) -> Self {
        self.cross.push(cross);
        self
    }

    /// A steady link with a queue of 300 ms.
    pub fn steady(rate: Bitrate) -> Self {
        Self::new("steady", home(rate))
    }

    /// From `high` down to `low` and back, at once. The queue keeps its bytes, so that it is longer in time at `low`.
    pub fn step(high: Bitrate, low: Bitrate, down: Time, up: Time) -> Self {
        let start = home(high);
        let narrow = LinkConfig {
            rate: Some(low),
            ..start
        };
        Self::new("step", start)
            .change(down, narrow)
            .change(up, start)
    }

    /// Evenly from `high` down to `low`, and back up, in steps of 100 ms.
    pub fn ramp(high: Bitrate, low: Bitrate, from: Time, turn: Time, end: Time) -> Self {
        let mut trace = Self::new("ramp", home(high));
        let mut leg = |from: Time, to: Time, first: Bitrate, last: Bitrate| {
            let steps = ((to - from).as_nanos() / STEP.as_nanos()).max(1) as u32;
            for step in 1..=steps {
                let share = |rate: Bitrate, part: u32| rate.as_bps() * u64::from(part);
                let bps = (share(first, steps - step) + share(last, step)) / u64::from(steps);
                let config = LinkConfig {
                    rate: Some(Bitrate::from_bps(bps)),
                    ..trace.start
                };
                trace.changes.push((from + STEP * step, config));
            }
        };
        leg(from, turn, high, low);
        leg(turn, end, low, high);
        trace
    }

    /// Like a phone in a train: the rate wanders between 0.3 and 8 Mbit/s, now and then everything waits for some
    /// 100 ms. Its queue is deep, as base stations' are.
    pub fn lte(seed: u64, length: Duration) -> Self {
        const LEAST: f64 = 300_000.0;
        const MOST: f64 = 8_000_000.0;
        let mut random = Random::new(seed);
        let mut unit = move || random.below(1 << 53) as f64 / (1_u64 << 53) as f64;
        let mut rate = 3_000_000.0;
        let config = |rate: f64, delay: Duration| LinkConfig {
            delay,
            jitter: Duration::from_millis(8),
            rate: Some(Bitrate::from_bps(rate as u64)),
            queue_bytes: 200_000,
            ..LinkConfig::default()
        };
        let usual = Duration::from_millis(35);
        let mut trace = Self::new("lte", config(rate, usual));
        let (mut at, mut spike_left) = (Time::ZERO, 0);
        while at < Time::ZERO + length {
            at += STEP;
            // At most 12 % up or down in a step: a factor of ten takes two seconds.
            rate = (rate * (1.12_f64).powf(unit() * 2.0 - 1.0)).clamp(LEAST, MOST);
            // Seldom a cell ends: the rate is another one.
            if unit() < 0.005 {
                rate = LEAST * (MOST / LEAST).powf(unit());
            }
            spike_left = match spike_left {
                0 if unit() < 0.01 => 1 + (unit() * 3.0) as u32,
                left => left.saturating_sub(1),
            };
            let delay = if spike_left > 0 { usual * 5 } else { usual };
            trace.changes.push((at, config(rate, delay)));
        }
        trace
    }

    /// A steady rate; every few seconds there is half a second in which most packets are lost in bursts.
    pub fn wifi(seed: u64, rate: Bitrate, length: Duration) -> Self {
        let mut random = Random::new(seed);
        let quiet = LinkConfig {
            jitter: Duration::from_millis(3),
            ..home(rate)
        };
        let bursty = LinkConfig {
            bursts: Some(Bursts {
                begin: 0.08,
                end: 0.25,
                loss: 0.9,
            }),
            jitter: Duration::from_millis(15),
            ..quiet
        };
        let mut trace = Self::new("wifi", quiet);
        let mut at = Time::ZERO;
        while at < Time::ZERO + length {
            at += Duration::from_secs(2) + random.span(Duration::from_secs(3));
            trace.changes.push((at, bursty));
            at += Duration::from_millis(300) + random.span(Duration::from_millis(400));
            trace.changes.push((at, quiet));
        }
        trace
    }

    /// A steady rate behind a queue that is far too long.
    pub fn bufferbloat(rate: Bitrate, queue: Duration) -> Self {
        let config = LinkConfig {
            queue_bytes: queue_of(rate, queue),
            ..home(rate)
        };
        Self::new("bufferbloat", config)
    }

    /// Somebody else uses the link at `cross`, for `on`, again and again with breaks of `off`.
    pub fn competing(
        rate: Bitrate,
        cross: Bitrate,
        from: Time,
        on: Duration,
        off: Duration,
    ) -> Self {
        let cross = CrossTraffic::constant(cross, from, Time::MAX).in_turns(on, off);
        let mut trace = Self::steady(rate).with_cross(cross);
        trace.name = "competing".to_owned();
        trace
    }

    /// A recorded trace: one line for each moment at which a packet of 1,500 bytes could pass, in milliseconds
    /// (the format of Mahimahi). Rates are means over 200 ms; nothing passes slower than 10 kbit/s.
    ///
    /// # Panics
    /// If a line is no number.
    pub fn recorded(name: &str, text: &str, base: LinkConfig) -> Self {
        const WINDOW: u64 = 200;
        let mut windows: Vec<u64> = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let at: u64 = line.parse().expect("a line of a trace is a time");
            let window = (at / WINDOW) as usize;
            if windows.len() <= window {
                windows.resize(window + 1, 0);
            }
            windows[window] += OPPORTUNITY;
        }
        let mut trace = Self::new(name, base);
        for (window, bytes) in (0..).zip(windows) {
            let rate = Bitrate::of(bytes, Duration::from_millis(WINDOW));
            let config = LinkConfig {
                rate: Some(rate.max(Bitrate::from_kbps(10))),
                ..base
            };
            let at = Time::from_millis(window * WINDOW);
            trace.changes.push((at, config));
        }
        trace
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it starts.
    pub fn start(&self) -> LinkConfig {
        self.start
    }

    /// What it becomes, and when.
    pub fn changes(&self) -> &[(Time, LinkConfig)] {
        &self.changes
    }

    /// What others send over it.
    pub fn cross(&self) -> &[CrossTraffic] {
        &self.cross
    }

    /// The link at a time.
    pub fn at(&self, at: Time) -> LinkConfig {
        let passed = self.changes.partition_point(|(change, _)| *change <= at);
        let last = passed.checked_sub(1).map(|index| self.changes[index].1);
        last.unwrap_or(self.start)
    }

    /// The mean rate from `from` to `to`, cross traffic not subtracted; `None` if it is unlimited somewhere.
    pub fn rate(&self, from: Time, to: Time) -> Option<Bitrate> {
        let (mut at, mut bits) = (from, 0_u128);
        while at < to {
            let next = self.changes.iter().map(|(change, _)| *change);
            let end = next.filter(|change| *change > at).min();
            let end = end.unwrap_or(to).min(to);
            bits += u128::from(self.at(at).rate?.as_bps()) * (end - at).as_nanos();
            at = end;
        }
        let mean = bits / (to - from).as_nanos().max(1);
        Some(Bitrate::from_bps(mean as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MBIT: Bitrate = Bitrate::from_kbps(1_000);

    fn rates(trace: &LinkTrace) -> Vec<u64> {
        let all = trace.changes().iter();
        all.filter_map(|(_, config)| Some(config.rate?.as_bps()))
            .collect()
    }

    #[test]
    fn a_step_goes_down_and_comes_back() {
        let seconds = |n: u64| Time::from_millis(n * 1_000);
        let trace = LinkTrace::step(MBIT, Bitrate::from_kbps(200), seconds(1), seconds(3));
        assert_eq!(trace.at(Time::ZERO).rate, Some(MBIT));
        assert_eq!(trace.at(seconds(2)).rate, Some(Bitrate::from_kbps(200)));
        assert_eq!(trace.at(seconds(3)).rate, Some(MBIT));
        assert_eq!(
            trace.rate(Time::ZERO, seconds(4)),
            Some(Bitrate::from_kbps(600))
        );
    }

    #[test]
    fn a_ramp_is_even() {
        let seconds = |n: u64| Time::from_millis(n * 1_000);
        let low = Bitrate::from_kbps(100);
        let trace = LinkTrace::ramp(MBIT, low, seconds(1), seconds(2), seconds(3));
        let rates = rates(&trace);
        assert_eq!(rates.len(), 20);
        assert_eq!((rates[4], rates[9], rates[14]), (550_000, 100_000, 550_000));
        assert_eq!(trace.at(seconds(9)).rate, Some(MBIT));
    }

    #[test]
    fn a_wandering_rate_stays_in_its_bounds_and_is_the_same_for_a_seed() {
        let length = Duration::from_secs(60);
        let trace = LinkTrace::lte(3, length);
        let rates = rates(&trace);
        assert!(
            rates
                .iter()
                .all(|rate| (300_000..=8_000_000).contains(rate))
        );
        let (least, most) = (rates.iter().min().unwrap(), rates.iter().max().unwrap());
        assert!(*most > 3 * least, "{least} to {most}");
        assert_eq!(trace, LinkTrace::lte(3, length));
        assert_ne!(trace, LinkTrace::lte(4, length));
        let spikes = trace.changes().iter();
        assert!(
            spikes
                .filter(|(_, c)| c.delay > Duration::from_millis(100))
                .count()
                > 2
        );
    }

    #[test]
    fn cross_traffic_takes_turns() {
        let on = Duration::from_millis(100);
        let mut cross = CrossTraffic::constant(Bitrate::from_kbps(960), Time::ZERO, Time::MAX)
            .in_turns(on, 9 * on);
        let mut times = Vec::new();
        while let Some(at) = cross.next().filter(|at| *at < Time::from_millis(2_000)) {
            times.push(at.as_millis());
            cross.take();
        }
        assert_eq!(times.len(), 20);
        assert_eq!((times[9], times[10], times[19]), (90, 1_000, 1_090));
    }

    #[test]
    fn recorded_opportunities_become_rates() {
        let text = "0\n50\n100\n150\n\n450\n";
        let trace = LinkTrace::recorded("train", text, home(MBIT));
        assert_eq!(rates(&trace), [240_000, 10_000, 60_000]);
    }
}
