//! A bottleneck in front of a receiver: a rate and a drop-tail queue, computed instead of waited for.

use std::collections::VecDeque;

/// IPv4 and UDP headers, which a real link carries as well.
const OVERHEAD: u64 = 28;
const NANOS: u64 = 1_000_000_000;

/// What a link can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// Bits per second, above 0.
    pub bits_per_second: u64,
    /// Bytes that may wait; what comes on top is dropped.
    pub queue_bytes: u64,
}

/// One way of a link.
#[derive(Debug)]
pub struct Link {
    config: LinkConfig,
    free_at: u64,
    waiting: VecDeque<(u64, Vec<u8>)>,
    dropped: u64,
}

impl Link {
    /// An idle link.
    pub fn new(config: LinkConfig) -> Self {
        Self {
            config,
            free_at: 0,
            waiting: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Takes a datagram that reached the link at `at`, ns; drops it if the queue is full.
    pub fn push(&mut self, at: u64, datagram: &[u8]) {
        let rate = self.config.bits_per_second.max(1);
        let backlog =
            u128::from(self.free_at.saturating_sub(at)) * u128::from(rate) / u128::from(8 * NANOS);
        let len = datagram.len() as u64 + OVERHEAD;
        if backlog + u128::from(len) > u128::from(self.config.queue_bytes) {
            self.dropped += 1;
            return;
        }
        self.free_at = self.free_at.max(at) + len * 8 * NANOS / rate;
        self.waiting.push_back((self.free_at, datagram.to_vec()));
    }

    /// The next datagram that has left the link by `now`, and when it did, ns.
    pub fn pop(&mut self, now: u64) -> Option<(u64, Vec<u8>)> {
        self.waiting.pop_front_if(|(at, _)| *at <= now)
    }

    /// Datagrams that found the queue full.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_leave_at_the_rate_and_in_order() {
        let mut link = Link::new(LinkConfig {
            bits_per_second: 80_000,
            queue_bytes: 10_000,
        });
        for byte in 0..3 {
            link.push(1_000, &[byte; 972]);
        }
        assert_eq!(link.pop(100_000_999), None);
        assert_eq!(link.pop(100_001_000), Some((100_001_000, vec![0; 972])));
        assert_eq!(link.pop(150_000_000), None);
        assert_eq!(link.pop(NANOS), Some((200_001_000, vec![1; 972])));
        assert_eq!(link.pop(NANOS), Some((300_001_000, vec![2; 972])));
        assert_eq!((link.pop(NANOS), link.dropped()), (None, 0));
    }

    #[test]
    fn a_full_queue_drops_what_comes_last_and_drains() {
        let mut link = Link::new(LinkConfig {
            bits_per_second: 80_000,
            queue_bytes: 2_000,
        });
        for byte in 0..3 {
            link.push(0, &[byte; 972]);
        }
        assert_eq!(link.dropped(), 1);
        link.push(100_000_000, &[3; 972]);
        let left: Vec<u8> = std::iter::from_fn(|| link.pop(NANOS))
            .map(|(_, datagram)| datagram[0])
            .collect();
        assert_eq!(left, [0, 1, 3]);
    }
}
