//! Short bursts above the estimate that show what else the link would carry.
//!
//! Without them an estimate could only follow what is sent, and a source that sends in steps would never learn that
//! the next step fits. Owns when to probe, how fast and how long, and what came of it; refuses to send anything.
//! A burst is long enough to be measured through a receiver's 250 µs ticks and short enough not to be felt in
//! a queue.

use std::time::Duration;

use schalter_model::{Bitrate, Time};

/// First probes, as multiples of the start rate (draft-ietf-rmcat-gcc-02 has none; three and six find any common link
/// within a second without flooding a slow one).
const INITIAL: [f64; 2] = [3.0, 6.0];
/// Later probes, as a multiple of the estimate.
const STEP: f64 = 2.0;
/// A burst's wanted size: five full packets.
const WANTED_BYTES: f64 = 6_000.0;
/// A burst's length, in seconds.
const SHORTEST: f64 = 0.015;
const LONGEST: f64 = 0.040;
/// What a burst may add to the queue of a link that carries no more than the estimate, in seconds.
const MOST_QUEUE: f64 = 0.030;
/// With more jitter than this a burst is as long as it may be, in seconds, and may add that to the queue.
const JITTERY: f64 = 0.002;
const MOST_QUEUE_JITTERY: f64 = 0.045;
/// Jitter delays the last packet of a burst more than the first, because packets do not overtake: by so much of it ...
const JITTER_SPREAD: f64 = 1.5;
/// ... and by no more than this, in seconds, or a slow link would pass for jitter.
const JITTER_SPREAD_MOST: f64 = 0.010;
/// Packets of a burst that must arrive for it to be measured.
const FEWEST_PACKETS: u32 = 4;
/// Share of a burst that must arrive.
const ENOUGH: f64 = 0.7;
/// A burst that arrives at less than this share of its rate filled the link.
const FILLED: f64 = 0.9;
/// Share of what arrived from a full link that is worth using.
const USE: f64 = 0.95;
/// A gap of this length that is most of a burst is a stall, not a rate, in microseconds.
const STALL_MICROS: i64 = 30_000;
/// Until the result is in, or given up.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Between a success and the next burst: one response time, for a jump to show.
const AFTER_SUCCESS: Duration = Duration::from_millis(150);
/// Between a result that is doubted and the next burst.
const AFTER_DOUBT: Duration = Duration::from_millis(500);
/// After a cut the link is left alone for this time.
const AFTER_CUT: Duration = Duration::from_millis(2_500);
/// Wait after failures in a row: the first, and the most.
const WAIT: Duration = Duration::from_millis(3_000);
const WAIT_STEP: Duration = Duration::from_millis(1_000);
const WAIT_MOST: Duration = Duration::from_millis(4_000);
/// There is reason to probe while the wanted rate, times this, exceeds the estimate: allocators need room above it.
const ROOM: f64 = 1.5;
/// Highest probe in terms of the wanted rate.
const REACH: f64 = 2.0;

/// Names one burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProbeId(u32);

#[cfg(test)]
impl ProbeId {
    pub(crate) const fn new(number: u32) -> Self {
        Self(number)
    }
}

/// A burst to be sent now: `bytes` on the wire at `rate`, in at least five packets that carry `id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) id: ProbeId,
    pub(crate) rate: Bitrate,
    pub(crate) bytes: usize,
}

/// What a burst showed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    /// The link took the burst's rate.
    Carried(f64),
    /// The link was full; this much of what arrived is worth using.
    Full(f64),
    /// Something held packets back, whatever the link carries.
    Disturbed,
    /// Too little arrived to tell.
    Unknown,
}

/// A burst on its way.
#[derive(Clone, Copy, Debug)]
struct Burst {
    id: ProbeId,
    rate: f64,
    bytes: f64,
    asked: Time,
    sent: Option<Sent>,
    arrived: Option<Arrived>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    first: u64,
    last: u64,
    first_at: Time,
    last_at: Time,
    bytes: f64,
    last_bytes: f64,
}

#[derive(Clone, Copy, Debug)]
struct Arrived {
    first_at: i64,
    last_at: i64,
    bytes: f64,
    first_bytes: f64,
    packets: u32,
    longest_gap: i64,
}

/// What the prober must know about the rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions {
    pub(super) estimate: f64,
    pub(super) start: f64,
    pub(super) max: f64,
    /// What the subscriber would take; `None` before anybody said.
    pub(super) wanted: Option<f64>,
    /// By how much delay varies, in seconds.
    pub(super) jitter: f64,
    /// Nothing stands in the way of a burst: no queue, no heavy loss, feedback is coming.
    pub(super) calm: bool,
}

/// Decides about bursts.
#[derive(Debug)]
pub(super) struct Prober {
    burst: Option<Burst>,
    ids: u32,
    /// Initial probes sent.
    initial: usize,
    next: Time,
    wait: Duration,
}

impl Prober {
    pub(super) fn new() -> Self {
        Self {
            burst: None,
            ids: 0,
            initial: 0,
            next: Time::ZERO,
            wait: WAIT,
        }
    }

    /// The rate was cut: leave the link alone, then look whether that was only a moment.
    pub(super) fn on_cut(&mut self, now: Time) {
        self.initial = INITIAL.len();
        self.next = self.next.max(now + AFTER_CUT);
    }

    /// Probes once more, to be sure.
    pub(super) fn again(&mut self, now: Time) {
        self.next = now + AFTER_DOUBT;
    }

    /// Probes as soon as conditions allow.
    pub(super) fn soon(&mut self, now: Time) {
        self.next = now;
        self.wait = WAIT;
    }

    /// When a burst on its way is given up.
    pub(super) fn expiry(&self) -> Option<Time> {
        self.burst.map(|burst| burst.asked + PATIENCE)
    }

    /// The burst to send now, if any.
    pub(super) fn next(&mut self, now: Time, conditions: &Conditions) -> Option<Probe> {
        if self.burst.is_some() || now < self.next || !conditions.calm {
            return None;
        }
        let reach = conditions.wanted.map_or(f64::MAX, |wanted| wanted * REACH);
        let needed = conditions.wanted.map_or(f64::MAX, |wanted| wanted * ROOM);
        if conditions.estimate >= needed || conditions.estimate >= conditions.max {
            return None;
        }
        let rate = match INITIAL.get(self.initial) {
            Some(multiple) => {
                self.initial += 1;
                conditions.start * multiple
            }
            None => conditions.estimate * STEP,
        };
        let rate = rate.min(reach).min(conditions.max);
        if rate < conditions.estimate * 1.05 {
            return None;
        }
        let excess = rate / conditions.estimate - 1.0;
        let (wanted, queue) = if conditions.jitter > JITTERY {
            (LONGEST, MOST_QUEUE_JITTERY)
        } else {
            (WANTED_BYTES * 8.0 / rate, MOST_QUEUE)
        };
        let longest = (queue / excess).clamp(SHORTEST, LONGEST);
        let length = wanted.clamp(SHORTEST, longest);
        let bytes = rate * length / 8.0;
        self.ids = self.ids.wrapping_add(1);
        let id = ProbeId(self.ids);
        self.burst = Some(Burst {
            id,
            rate,
            bytes,
            asked: now,
            sent: None,
            arrived: None,
        });
        Some(Probe {
            id,
            rate: Bitrate::from_bps(rate as u64),
            bytes: bytes as usize,
        })
    }

    /// A packet of a burst left.
    pub(super) fn on_sent(&mut self, now: Time, number: u64, bytes: u16, id: ProbeId) {
        let Some(burst) = self.burst.as_mut().filter(|burst| burst.id == id) else {
            return;
        };
        let bytes = f64::from(bytes);
        match &mut burst.sent {
            None => {
                burst.sent = Some(Sent {
                    first: number,
                    last: number,
                    first_at: now,
                    last_at: now,
                    bytes,
                    last_bytes: bytes,
                });
            }
            Some(sent) if number > sent.last => {
                sent.last = number;
                sent.last_at = now;
                sent.bytes += bytes;
                sent.last_bytes = bytes;
            }
            Some(_) => {}
        }
    }

    /// Tells whether a packet left between the first and the last of a burst, whose delay is no trend.
    pub(super) fn covers(&self, number: u64) -> bool {
        self.burst
            .and_then(|burst| burst.sent)
            .is_some_and(|sent| (sent.first..=sent.last).contains(&number))
    }

    /// A packet arrived; those sent between a burst's own are part of its load.
    pub(super) fn on_arrival(&mut self, number: u64, arrival: i64, bytes: u16) {
        if !self.covers(number) {
            return;
        }
        let Some(burst) = &mut self.burst else {
            return;
        };
        let bytes = f64::from(bytes);
        match &mut burst.arrived {
            None => {
                burst.arrived = Some(Arrived {
                    first_at: arrival,
                    last_at: arrival,
                    bytes,
                    first_bytes: bytes,
                    packets: 1,
                    longest_gap: 0,
                });
            }
            Some(arrived) => {
                if arrival < arrived.first_at {
                    arrived.first_at = arrival;
                    arrived.first_bytes = bytes;
                }
                arrived.longest_gap = arrived.longest_gap.max(arrival - arrived.last_at);
                arrived.last_at = arrived.last_at.max(arrival);
                arrived.bytes += bytes;
                arrived.packets += 1;
            }
        }
    }

    /// Looks whether the burst can be judged, now that feedback reached `covered`.
    pub(super) fn judge(&mut self, now: Time, covered: u64, jitter: f64) -> Option<Outcome> {
        let burst = self.burst?;
        let over = now - burst.asked >= PATIENCE;
        let complete = burst.sent.is_some_and(|sent| {
            covered > sent.last || (covered == sent.last && sent.bytes >= burst.bytes)
        });
        if !over && !complete {
            return None;
        }
        self.burst = None;
        let outcome = burst.outcome(jitter);
        match outcome {
            Outcome::Carried(_) => {
                self.next = now + AFTER_SUCCESS;
                self.wait = WAIT;
            }
            Outcome::Disturbed => self.next = self.next.max(now + WAIT_STEP),
            Outcome::Full(_) | Outcome::Unknown => {
                self.initial = INITIAL.len();
                self.next = self.next.max(now + self.wait);
                self.wait = (self.wait + WAIT_STEP).min(WAIT_MOST);
            }
        }
        Some(outcome)
    }
}

impl Burst {
    fn outcome(&self, jitter: f64) -> Outcome {
        let (Some(sent), Some(arrived)) = (self.sent, self.arrived) else {
            return Outcome::Unknown;
        };
        let took = (sent.last_at - sent.first_at).as_secs_f64();
        let came = (arrived.last_at - arrived.first_at) as f64 / 1e6;
        let enough = arrived.packets >= FEWEST_PACKETS && arrived.bytes >= self.bytes * ENOUGH;
        if !enough || took <= 0.0 {
            return Outcome::Unknown;
        }
        // Intervals, not packets, carry the bytes: the last one sent and the first that came are at their edge.
        let offered = ((sent.bytes - sent.last_bytes) * 8.0 / took).min(self.rate);
        // Packets that came at once, or all but one, were held back somewhere and show no rate.
        let stalled =
            arrived.longest_gap > STALL_MICROS && arrived.longest_gap as f64 / 1e6 > came * 0.5;
        if came < took * 0.5 || stalled {
            return Outcome::Disturbed;
        }
        let bits = (arrived.bytes - arrived.first_bytes) * 8.0;
        let passed = bits / came;
        let spread = if jitter > JITTERY {
            (jitter * JITTER_SPREAD).min(JITTER_SPREAD_MOST)
        } else {
            0.0
        };
        // The benefit of the doubt is for the question, not for the figure: too high a rate makes a queue.
        if bits < offered * FILLED * (came - spread).max(took * 0.5) {
            Outcome::Full(passed * USE)
        } else {
            Outcome::Carried(offered)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONDITIONS: Conditions = Conditions {
        estimate: 600e3,
        start: 600e3,
        max: 20e6,
        wanted: None,
        jitter: 0.0,
        calm: true,
    };

    /// Sends the burst as asked over a link that carries `link`, and judges it.
    fn probed(link: f64) -> (Probe, Option<Outcome>) {
        let mut prober = Prober::new();
        let probe = prober
            .next(Time::ZERO, &CONDITIONS)
            .expect("an initial probe");
        let packets = 6_u32;
        let bytes = probe.bytes as f64 / f64::from(packets);
        let spacing = bytes * 8e6 / probe.rate.as_bps() as f64;
        let arrival = (bytes * 8e6 / link).max(spacing);
        for n in 0..=packets {
            let at = Time::from_micros((f64::from(n) * spacing) as u64);
            prober.on_sent(at, u64::from(n), bytes as u16, probe.id);
        }
        for n in 0..=packets {
            let at = (f64::from(n) * arrival) as i64;
            prober.on_arrival(u64::from(n), at, bytes as u16);
        }
        (
            probe,
            prober.judge(Time::from_millis(100), u64::from(packets), 0.0),
        )
    }

    #[test]
    fn a_burst_shows_its_rate_or_the_links() {
        let (probe, outcome) = probed(10e6);
        assert_eq!(probe.rate, Bitrate::from_kbps(1_800));
        assert!(
            matches!(outcome, Some(Outcome::Carried(rate)) if (1.75e6..=1.8e6).contains(&rate))
        );
        let (_, outcome) = probed(1e6);
        assert!(matches!(outcome, Some(Outcome::Full(rate)) if (0.93e6..0.97e6).contains(&rate)));
    }

    #[test]
    fn a_burst_never_fills_the_queue() {
        for estimate in [30e3, 300e3, 600e3, 3e6, 10e6] {
            let mut prober = Prober::new();
            prober.initial = INITIAL.len();
            let conditions = Conditions {
                estimate,
                ..CONDITIONS
            };
            let probe = prober.next(Time::ZERO, &conditions).expect("a probe");
            let length = probe.bytes as f64 * 8.0 / probe.rate.as_bps() as f64;
            let queue = probe.bytes as f64 * 8.0 / estimate - length;
            assert!(queue < 0.06, "{queue} s at {estimate}");
        }
    }

    #[test]
    fn nobody_who_wants_nothing_is_probed() {
        let mut prober = Prober::new();
        let satisfied = Conditions {
            wanted: Some(300e3),
            ..CONDITIONS
        };
        assert!(prober.next(Time::ZERO, &satisfied).is_none());
        let queued = Conditions {
            calm: false,
            ..CONDITIONS
        };
        assert!(prober.next(Time::ZERO, &queued).is_none());
    }
}
