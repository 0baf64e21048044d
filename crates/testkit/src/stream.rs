//! A connection between a shard and a peer: what the kernel takes of it, what waits in front of it, and in which order it
//! arrives.

use std::collections::VecDeque;
use std::time::Duration;

use schalter_model::{Bitrate, Carrier, Path, StreamId, Time};

/// Bytes that the kernel takes before the network does (`TCP_NOTSENT_LOWAT`).
const NOT_SENT: usize = 4_096;
/// What framing adds to a datagram.
const FRAMING: usize = 2;

/// One connection, towards the peer. What the peer sends is not slowed down.
#[derive(Debug)]
pub(crate) struct SimStream {
    pub(crate) path: Path,
    rate: Bitrate,
    /// When the network takes the next datagram.
    free_at: Time,
    kernel: VecDeque<Vec<u8>>,
    kernel_bytes: usize,
    backlog: VecDeque<Vec<u8>>,
    backlog_bytes: usize,
    told: usize,
}

impl SimStream {
    pub(crate) fn new(id: u64, remote: std::net::SocketAddr, rate: Bitrate) -> Self {
        Self {
            path: Path {
                remote,
                local: None,
                carrier: Carrier::Stream(StreamId(id)),
            },
            rate,
            free_at: Time::ZERO,
            kernel: VecDeque::new(),
            kernel_bytes: 0,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            told: 0,
        }
    }

    pub(crate) fn set_rate(&mut self, rate: Bitrate) {
        self.rate = rate;
    }

    /// Nothing passes until then, and nothing is lost.
    pub(crate) fn stall_until(&mut self, until: Time) {
        self.free_at = self.free_at.max(until);
    }

    pub(crate) fn send(&mut self, datagram: &[u8]) {
        self.backlog_bytes += datagram.len() + FRAMING;
        self.backlog.push_back(datagram.to_vec());
        self.fill_kernel();
    }

    /// When [`Self::depart`] has something.
    pub(crate) fn next_departure(&self) -> Option<Time> {
        (!self.kernel.is_empty()).then_some(self.free_at)
    }

    /// A datagram that the network takes now.
    pub(crate) fn depart(&mut self, now: Time) -> Option<Vec<u8>> {
        if self.free_at > now {
            return None;
        }
        let datagram = self.kernel.pop_front()?;
        let len = datagram.len() + FRAMING;
        self.kernel_bytes -= len;
        let nanos = len as u64 * 8 * 1_000_000_000 / self.rate.as_bps().max(1);
        self.free_at = now + Duration::from_nanos(nanos);
        self.fill_kernel();
        Some(datagram)
    }

    /// Bytes that wait in front of it, if that is news.
    pub(crate) fn news(&mut self) -> Option<usize> {
        let told = std::mem::replace(&mut self.told, self.backlog_bytes);
        (told != self.backlog_bytes).then_some(self.backlog_bytes)
    }

    fn fill_kernel(&mut self) {
        while self.kernel_bytes < NOT_SENT
            && let Some(datagram) = self.backlog.pop_front()
        {
            self.backlog_bytes -= datagram.len() + FRAMING;
            self.kernel_bytes += datagram.len() + FRAMING;
            self.kernel.push_back(datagram);
        }
    }
}
