//! One direction of a way through the network: loss, delay, order, copies and rate, also over time.

use std::time::Duration;

use schalter_model::{Bitrate, Time};

use crate::{CrossTraffic, LinkTrace, Random};

/// Loss that comes in bursts: a chain of a good and a bad state (Gilbert–Elliott), stepped by packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// Probability that a burst begins with a packet.
    pub begin: f64,
    /// Probability that it ends with a packet.
    pub end: f64,
    /// Probability of loss while it lasts.
    pub loss: f64,
}

/// What a link does to datagrams. The default does nothing, at once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkConfig {
    /// Time under way, at least.
    pub delay: Duration,
    /// Up to this much more, evenly spread. Alone it keeps the order.
    pub jitter: Duration,
    /// Probability of loss.
    pub loss: f64,
    /// Loss in bursts, beside [`Self::loss`].
    pub bursts: Option<Bursts>,
    /// Probability that a datagram is held up, so that later ones overtake it.
    pub reorder: f64,
    /// How long those are held up, at most.
    pub reorder_by: Duration,
    /// Probability that a datagram comes twice, the copy as if it were reordered.
    pub duplicate: f64,
    /// Bits per second that pass; unlimited without.
    pub rate: Option<Bitrate>,
    /// With a rate: bytes that may wait; what comes beyond is lost.
    pub queue_bytes: usize,
}

impl LinkConfig {
    /// A clean link with this delay.
    pub fn clean(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::default()
        }
    }
}

/// What became of datagrams on a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Came in.
    pub sent: u64,
    /// Lost at random, in a burst or in an outage.
    pub lost: u64,
    /// Lost because the queue was full.
    pub overflowed: u64,
    /// Held up so that others could overtake.
    pub held_up: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Packets of cross traffic that came in; they count nowhere else.
    pub cross: u64,
}

/// What a datagram met at a link's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// When it came.
    pub at: Time,
    /// Its bytes.
    pub len: usize,
    /// How long it waited for others; none if the queue was full.
    pub queued: Option<Duration>,
}

/// A link with its state.
#[derive(Clone, Debug)]
pub struct Link {
    config: LinkConfig,
    /// What the link will do later, from the next change on; earlier ones are in `config`.
    changes: Vec<(Time, LinkConfig)>,
    next_change: usize,
    cross: Vec<CrossTraffic>,
    waits: Option<Vec<Wait>>,
    random: Random,
    in_burst: bool,
    outage_until: Time,
    /// When the last byte that was accepted has left the queue.
    busy_until: Time,
    /// Datagrams that aren't held up arrive in order.
    last_arrival: Time,
    stats: LinkStats,
}

impl Link {
    /// A link with its own randomness.
    pub fn new(config: LinkConfig, random: Random) -> Self {
        Self {
            config,
            changes: Vec::new(),
            next_change: 0,
            cross: Vec::new(),
            waits: None,
            random,
            in_burst: false,
            outage_until: Time::ZERO,
            busy_until: Time::ZERO,
            last_arrival: Time::ZERO,
            stats: LinkStats::default(),
        }
    }

    /// Changes what the link does from now on; ends a trace that it follows.
    pub fn set_config(&mut self, config: LinkConfig) {
        self.config = config;
        self.changes.clear();
        self.next_change = 0;
    }

    /// Follows a trace. What is queued leaves at the rates that are to come, so the trace must be known before its
    /// changes.
    pub fn follow(&mut self, trace: &LinkTrace) {
        self.set_config(trace.start());
        self.changes = trace.changes().to_vec();
        self.cross = trace.cross().to_vec();
    }

    /// Keeps from now on what every datagram met at the queue.
    pub fn watch(&mut self) {
        self.waits.get_or_insert_default();
    }

    /// What datagrams met at the queue since [`Self::watch`], oldest first.
    pub fn waits(&self) -> &[Wait] {
        self.waits.as_deref().unwrap_or_default()
    }

    /// How long a datagram that came now would wait for others.
    pub fn queue(&mut self, now: Time) -> Duration {
        self.catch_up(now);
        self.busy_until - now
    }

    /// Loses everything that is sent before `until`.
    pub fn outage_until(&mut self, until: Time) {
        self.outage_until = until;
    }

    /// What became of datagrams so far.
    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    /// Takes a datagram of `len` bytes; answers when it arrives, and when a copy of it does.
    pub fn send(&mut self, now: Time, len: usize) -> [Option<Time>; 2] {
        self.catch_up(now);
        self.stats.sent += 1;
        if self.loses(now) {
            self.stats.lost += 1;
            return [None, None];
        }
        let queued = self.busy_until - now;
        let leaves = self.leave_queue(now, len);
        if let Some(waits) = &mut self.waits {
            waits.push(Wait {
                at: now,
                len,
                queued: leaves.map(|_| queued),
            });
        }
        let Some(leaves) = leaves else {
            self.stats.overflowed += 1;
            return [None, None];
        };
        let config = self.config;
        let arrives = leaves + config.delay + self.random.span(config.jitter);
        let first = if self.random.chance(config.reorder) {
            self.stats.held_up += 1;
            arrives + self.random.span(config.reorder_by)
        } else {
            self.last_arrival = self.last_arrival.max(arrives);
            self.last_arrival
        };
        let copy = self.random.chance(config.duplicate).then(|| {
            self.stats.duplicated += 1;
            first + self.random.span(config.reorder_by)
        });
        [Some(first), copy]
    }

    fn loses(&mut self, now: Time) -> bool {
        if let Some(bursts) = self.config.bursts {
            let turn = if self.in_burst {
                bursts.end
            } else {
                bursts.begin
            };
            self.in_burst ^= self.random.chance(turn);
            if self.in_burst && self.random.chance(bursts.loss) {
                return true;
            }
        }
        self.random.chance(self.config.loss) || now < self.outage_until
    }

    /// Makes the changes and sends the cross traffic that were due by `now`.
    fn catch_up(&mut self, now: Time) {
        loop {
            let change = self.changes.get(self.next_change).map(|(at, _)| *at);
            let cross = (0..self.cross.len())
                .filter_map(|index| Some((self.cross[index].next()?, index)))
                .min();
            match (change, cross) {
                (Some(at), _) if at <= now && cross.is_none_or(|(due, _)| at <= due) => {
                    self.config = self.changes[self.next_change].1;
                    self.next_change += 1;
                }
                (_, Some((due, index))) if due <= now => {
                    let len = self.cross[index].take();
                    self.stats.cross += 1;
                    self.leave_queue(due, len);
                }
                _ => return,
            }
        }
    }

    /// When a datagram has left the bounded queue in front of the rate; `None` if it found it full.
    fn leave_queue(&mut self, now: Time, len: usize) -> Option<Time> {
        if !is_limited(&self.config) {
            return Some(now);
        }
        let starts = self.busy_until.max(now);
        if self.bits_between(now, starts) / 8 + len as u128 > self.config.queue_bytes as u128 {
            return None;
        }
        self.busy_until = self.sent_by(starts, len as u128 * 8)?;
        Some(self.busy_until)
    }

    /// Rates from `from` on: until when each lasts. Unlimited stretches are none.
    fn rates(&self, from: Time) -> impl Iterator<Item = (Time, Option<Bitrate>)> {
        let upcoming = self.changes.get(self.next_change..).unwrap_or_default();
        let ends = upcoming.iter().map(|(at, _)| *at).chain([Time::MAX]);
        let configs = std::iter::once(&self.config).chain(upcoming.iter().map(|(_, c)| c));
        ends.zip(configs)
            .skip_while(move |(end, _)| *end <= from)
            .map(|(end, config)| (end, config.rate.filter(|_| is_limited(config))))
    }

    /// Bits that pass from `from` until `to`, no end of the limit between them.
    fn bits_between(&self, from: Time, to: Time) -> u128 {
        let (mut at, mut bits) = (from, 0);
        for (end, rate) in self.rates(from) {
            if at >= to {
                break;
            }
            let until = end.min(to);
            let rate = rate.map_or(0, Bitrate::as_bps);
            bits += (until - at).as_nanos() * u128::from(rate) / 1_000_000_000;
            at = until;
        }
        bits
    }

    /// When `bits` that begin to leave at `from` have left.
    fn sent_by(&self, from: Time, mut bits: u128) -> Option<Time> {
        let mut at = from;
        for (end, rate) in self.rates(from) {
            let Some(rate) = rate.map(|rate| u128::from(rate.as_bps())) else {
                return Some(at);
            };
            let takes = bits * 1_000_000_000 / rate;
            let lasts = (end - at).as_nanos();
            if takes <= lasts {
                return Some(at + Duration::from_nanos(takes as u64));
            }
            bits -= (lasts * rate / 1_000_000_000).min(bits);
            at = end;
        }
        None
    }
}

/// Whether a link has a rate; one of zero is taken for none.
fn is_limited(config: &LinkConfig) -> bool {
    config.rate.is_some_and(|rate| rate > Bitrate::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn arrivals(link: &mut Link, count: u64) -> Vec<Option<Time>> {
        (0..count)
            .map(|n| link.send(Time::from_millis(n), 1_000)[0])
            .collect()
    }

    #[test]
    fn loss_is_as_often_as_it_says_and_bursts_come_in_runs() {
        let config = LinkConfig {
            loss: 0.05,
            ..LinkConfig::default()
        };
        let mut link = Link::new(config, Random::new(1));
        arrivals(&mut link, 20_000);
        assert!((900..1_100).contains(&link.stats().lost));

        let config = LinkConfig {
            bursts: Some(Bursts {
                begin: 0.01,
                end: 0.1,
                loss: 1.0,
            }),
            ..LinkConfig::default()
        };
        let mut link = Link::new(config, Random::new(2));
        let arrived = arrivals(&mut link, 20_000);
        let lost = arrived.iter().filter(|at| at.is_none()).count();
        let runs = arrived
            .windows(2)
            .filter(|pair| pair[0].is_some() && pair[1].is_none())
            .count();
        assert!(lost > 5 * runs, "{lost} lost in {runs} runs");
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_does_not() {
        let config = LinkConfig {
            delay: 10 * MS,
            jitter: 20 * MS,
            ..LinkConfig::default()
        };
        let mut link = Link::new(config, Random::new(3));
        assert!(arrivals(&mut link, 1_000).is_sorted());
        link.set_config(LinkConfig {
            reorder: 0.1,
            reorder_by: 30 * MS,
            duplicate: 0.1,
            ..config
        });
        assert!(!arrivals(&mut link, 1_000).is_sorted());
        assert!(link.stats().duplicated > 50);
    }

    #[test]
    fn a_rate_spreads_packets_and_its_queue_overflows() {
        let config = LinkConfig {
            rate: Some(Bitrate::from_kbps(800)),
            queue_bytes: 2_000,
            ..LinkConfig::default()
        };
        let mut link = Link::new(config, Random::new(4));
        let at: Vec<_> = (0..4).map(|_| link.send(Time::ZERO, 1_000)[0]).collect();
        let ms = |n| Some(Time::from_millis(n));
        assert_eq!(at, [ms(10), ms(20), None, None]);
        assert_eq!(link.stats().overflowed, 2);
        assert_eq!(link.send(Time::from_millis(10), 1_000)[0], ms(30));
    }

    #[test]
    fn what_is_queued_leaves_at_the_rates_to_come() {
        let at = |rate| LinkConfig {
            rate: Some(Bitrate::from_kbps(rate)),
            queue_bytes: 10_000,
            ..LinkConfig::default()
        };
        let trace = LinkTrace::new("drop", at(800)).change(Time::from_millis(15), at(80));
        let mut link = Link::new(LinkConfig::default(), Random::new(6));
        link.follow(&trace);
        link.watch();
        let ms = |n| Some(Time::from_millis(n));
        // The second packet has half of its way behind it when the rate drops.
        let arrived: Vec<_> = (0..3).map(|_| link.send(Time::ZERO, 1_000)[0]).collect();
        assert_eq!(arrived, [ms(10), ms(65), ms(165)]);
        assert_eq!(link.queue(Time::from_millis(65)), 100 * MS);
        assert_eq!(link.send(Time::from_millis(165), 1_000)[0], ms(265));
        let queued: Vec<_> = link.waits().iter().map(|wait| wait.queued).collect();
        assert_eq!(
            queued,
            [0, 10, 65, 0].map(|wait| Some(Duration::from_millis(wait)))
        );
    }

    #[test]
    fn cross_traffic_takes_its_share_of_the_queue() {
        let config = LinkConfig {
            rate: Some(Bitrate::from_kbps(1_200)),
            queue_bytes: 100_000,
            ..LinkConfig::default()
        };
        let cross =
            CrossTraffic::constant(Bitrate::from_kbps(600), Time::ZERO, Time::from_millis(500));
        let trace = LinkTrace::new("shared", config).with_cross(cross);
        let mut link = Link::new(config, Random::new(7));
        link.follow(&trace);
        // 900 kbit/s of ours are 300 too many; when the others have gone, the queue empties.
        let mut waited = Duration::ZERO;
        for n in 0..120 {
            let now = Time::from_millis(n * 10);
            waited = waited.max(link.queue(now));
            link.send(now, 1_125);
        }
        assert!((120 * MS..140 * MS).contains(&waited), "{waited:?}");
        assert!(
            (31..=33).contains(&link.stats().cross),
            "{:?}",
            link.stats()
        );
        assert!(link.queue(Time::from_millis(1_190)) < 10 * MS);
    }

    #[test]
    fn nothing_passes_in_an_outage() {
        let mut link = Link::new(LinkConfig::default(), Random::new(5));
        link.outage_until(Time::from_millis(5));
        let passed = arrivals(&mut link, 10);
        assert_eq!(passed.iter().flatten().count(), 5);
        assert!(passed[..5].iter().all(Option::is_none));
    }
}
