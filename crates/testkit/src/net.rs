//! A network of links: who is reached over which, and what is under way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;

use schalter_model::Time;

use crate::{Link, LinkConfig, LinkStats, LinkTrace, Random};

/// A datagram that arrives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Datagram {
    /// Who sent it.
    pub from: SocketAddr,
    /// Whom it is for.
    pub to: SocketAddr,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

struct Access {
    up: Link,
    down: Link,
}

/// Addresses with access links, and the datagrams between them. Addresses without one are reached at once.
pub struct SimNet {
    random: Random,
    links: Vec<Access>,
    /// Which links an address is behind.
    access: BTreeMap<SocketAddr, usize>,
    /// By time and then in the order of sending, so that equal times have one order.
    under_way: BinaryHeap<Reverse<(Time, u64, Datagram)>>,
    sequence: u64,
    /// Whose datagrams are kept, and they.
    recording: Option<SocketAddr>,
    recorded: Vec<Vec<u8>>,
}

impl SimNet {
    /// An empty network.
    pub fn new(random: Random) -> Self {
        Self {
            random,
            links: Vec::new(),
            access: BTreeMap::new(),
            under_way: BinaryHeap::new(),
            sequence: 0,
            recording: None,
            recorded: Vec::new(),
        }
    }

    /// Keeps a copy of what this address sends from now on, as somebody on the path could.
    pub fn record(&mut self, from: SocketAddr) {
        self.recording = Some(from);
    }

    /// What was recorded since the last call.
    pub fn take_recorded(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.recorded)
    }

    /// Puts access links before an address: `up` for what it sends, `down` for what it gets.
    pub fn attach(&mut self, address: SocketAddr, up: LinkConfig, down: LinkConfig) {
        let access = Access {
            up: Link::new(up, Random::new(self.random.next())),
            down: Link::new(down, Random::new(self.random.next())),
        };
        self.access.insert(address, self.links.len());
        self.links.push(access);
    }

    /// Puts an address behind the links of another: they share rate and queues from now on.
    ///
    /// # Panics
    /// If the other has none.
    pub fn share(&mut self, address: SocketAddr, with: SocketAddr) {
        let links = *self.access.get(&with).expect(ATTACHED);
        self.access.insert(address, links);
    }

    /// Lets the link to an address follow a trace, and remember what datagrams met at its queue.
    ///
    /// # Panics
    /// If the address has no links.
    pub fn follow(&mut self, address: SocketAddr, trace: &LinkTrace) {
        let down = self.down_mut(address);
        down.follow(trace);
        down.watch();
    }

    /// The link to an address.
    ///
    /// # Panics
    /// If the address has no links.
    pub fn down_mut(&mut self, address: SocketAddr) -> &mut Link {
        &mut self.access_mut(address).down
    }

    /// Changes an address's links from now on; what is under way is not touched.
    ///
    /// # Panics
    /// If the address has none.
    pub fn set_links(&mut self, address: SocketAddr, up: LinkConfig, down: LinkConfig) {
        let access = self.access_mut(address);
        access.up.set_config(up);
        access.down.set_config(down);
    }

    /// Loses everything from and to an address until then.
    ///
    /// # Panics
    /// If the address has no links.
    pub fn outage(&mut self, address: SocketAddr, until: Time) {
        let access = self.access_mut(address);
        access.up.outage_until(until);
        access.down.outage_until(until);
    }

    /// What the links of an address did: up, down.
    pub fn stats(&self, address: SocketAddr) -> Option<(LinkStats, LinkStats)> {
        let access = &self.links[*self.access.get(&address)?];
        Some((access.up.stats(), access.down.stats()))
    }

    /// Sends a datagram over its sender's and its receiver's link.
    pub fn send(&mut self, now: Time, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        if self.recording == Some(from) {
            self.recorded.push(bytes.to_vec());
        }
        let first = match self.access.get(&from) {
            Some(links) => self.links[*links].up.send(now, bytes.len()),
            None => [Some(now), None],
        };
        for at in first.into_iter().flatten() {
            let second = match self.access.get(&to) {
                Some(links) => self.links[*links].down.send(at, bytes.len()),
                None => [Some(at), None],
            };
            for at in second.into_iter().flatten() {
                let datagram = Datagram {
                    from,
                    to,
                    bytes: bytes.to_vec(),
                };
                self.under_way.push(Reverse((at, self.sequence, datagram)));
                self.sequence += 1;
            }
        }
    }

    /// When the next datagram arrives.
    pub fn next_arrival(&self) -> Option<Time> {
        self.under_way.peek().map(|Reverse((at, _, _))| *at)
    }

    /// The next datagram that has arrived by `now`.
    pub fn receive(&mut self, now: Time) -> Option<Datagram> {
        self.next_arrival().filter(|at| *at <= now)?;
        self.under_way
            .pop()
            .map(|Reverse((_, _, datagram))| datagram)
    }

    fn access_mut(&mut self, address: SocketAddr) -> &mut Access {
        let links = *self.access.get(&address).expect(ATTACHED);
        &mut self.links[links]
    }
}

const ATTACHED: &str = "an address with links, see SimNet::attach";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    #[test]
    fn equal_seeds_deliver_equally_and_others_do_not() {
        let run = |seed| {
            let mut net = SimNet::new(Random::new(seed));
            let link = LinkConfig {
                delay: Duration::from_millis(20),
                jitter: Duration::from_millis(10),
                loss: 0.1,
                reorder: 0.1,
                reorder_by: Duration::from_millis(10),
                duplicate: 0.1,
                ..LinkConfig::default()
            };
            net.attach(address(1), link, link);
            for n in 0..200_u8 {
                net.send(Time::from_millis(n.into()), address(1), address(2), &[n]);
                net.send(Time::from_millis(n.into()), address(2), address(1), &[n]);
            }
            let mut all = Vec::new();
            while let Some(at) = net.next_arrival() {
                all.push((at, net.receive(at)));
            }
            all
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert!(run(1).is_sorted_by_key(|(at, _)| *at));
    }
}
