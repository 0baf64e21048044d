//! Connections that have proven nothing yet, by where they come from: nobody holds more places than a few with them.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};

use rustc_hash::FxHashMap;
use schalter_model::StreamId;

/// Whom an address stands for: an IPv4 address for itself, an IPv6 address for its network of 64 bits, of which whoever has
/// one address has all (RFC 6177 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin(IpAddr);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            v4 @ IpAddr::V4(_) => v4,
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        })
    }
}

/// The connections of one worker that have proven nothing, each origin's in the order they came.
#[derive(Debug)]
pub(super) struct Unproven {
    limit: usize,
    waiting: FxHashMap<Origin, VecDeque<StreamId>>,
}

impl Unproven {
    /// At most `limit` of each origin, one at least.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            waiting: FxHashMap::default(),
        }
    }

    /// One more. Answers the oldest of its origin if it has to make room.
    pub(super) fn add(&mut self, origin: Origin, id: StreamId) -> Option<StreamId> {
        let waiting = self.waiting.entry(origin).or_default();
        let oldest = (waiting.len() >= self.limit).then(|| waiting.pop_front());
        waiting.push_back(id);
        oldest.flatten()
    }

    /// It has proven something, or is gone.
    pub(super) fn remove(&mut self, origin: Origin, id: StreamId) {
        let Some(waiting) = self.waiting.get_mut(&origin) else {
            return;
        };
        waiting.retain(|other| *other != id);
        if waiting.is_empty() {
            self.waiting.remove(&origin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(address: &str) -> Origin {
        address.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn an_ipv6_network_is_one_and_a_mapped_address_is_ipv4() {
        assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:1"));
        assert_ne!(origin("2001:db8::1"), origin("2001:db8:0:1::1"));
        assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
        assert_ne!(origin("192.0.2.1"), origin("192.0.2.2"));
    }

    #[test]
    fn the_oldest_of_the_same_origin_makes_room_and_nothing_is_kept_of_who_left() {
        let (a, b) = (origin("192.0.2.1"), origin("192.0.2.2"));
        let mut unproven = Unproven::new(2);
        assert_eq!(unproven.add(a, StreamId(1)), None);
        assert_eq!(unproven.add(a, StreamId(2)), None);
        assert_eq!(unproven.add(b, StreamId(3)), None, "another's");
        assert_eq!(unproven.add(a, StreamId(4)), Some(StreamId(1)));
        unproven.remove(a, StreamId(2));
        assert_eq!(unproven.add(a, StreamId(5)), None, "there is room again");
        for (origin, id) in [(a, 4), (a, 5), (b, 3), (b, 9)] {
            unproven.remove(origin, StreamId(id));
        }
        assert!(unproven.waiting.is_empty());
        // None at all would let nobody in.
        let mut unproven = Unproven::new(0);
        assert_eq!(unproven.add(a, StreamId(1)), None);
        assert_eq!(unproven.add(a, StreamId(2)), Some(StreamId(1)));
    }
}
