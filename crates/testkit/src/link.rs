//! One direction of a way through the network: loss, delay, order, copies and rate.

use std::time::Duration;

use schalter_model::{Bitrate, Time};

use crate::Random;

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
}

/// A link with its state.
#[derive(Clone, Debug)]
pub struct Link {
    config: LinkConfig,
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
            random,
            in_burst: false,
            outage_until: Time::ZERO,
            busy_until: Time::ZERO,
            last_arrival: Time::ZERO,
            stats: LinkStats::default(),
        }
    }

    /// Changes what the link does from now on.
    pub fn set_config(&mut self, config: LinkConfig) {
        self.config = config;
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
        self.stats.sent += 1;
        if self.loses(now) {
            self.stats.lost += 1;
            return [None, None];
        }
        let Some(leaves) = self.leave_queue(now, len) else {
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

    /// When a datagram has left the bounded queue in front of the rate; `None` if it found it full.
    fn leave_queue(&mut self, now: Time, len: usize) -> Option<Time> {
        let Some(rate) = self.config.rate.filter(|rate| *rate > Bitrate::ZERO) else {
            return Some(now);
        };
        let starts = self.busy_until.max(now);
        let waiting = (starts - now).as_nanos() * u128::from(rate.as_bps()) / 8_000_000_000;
        if waiting + len as u128 > self.config.queue_bytes as u128 {
            return None;
        }
        let takes = len as u64 * 8 * 1_000_000_000 / rate.as_bps();
        self.busy_until = starts + Duration::from_nanos(takes);
        Some(self.busy_until)
    }
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
    fn nothing_passes_in_an_outage() {
        let mut link = Link::new(LinkConfig::default(), Random::new(5));
        link.outage_until(Time::from_millis(5));
        let passed = arrivals(&mut link, 10);
        assert_eq!(passed.iter().flatten().count(), 5);
        assert!(passed[..5].iter().all(Option::is_none));
    }
}
