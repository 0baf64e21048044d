//! Receiving in batches: pooled buffers for `recvmmsg` with GRO, split into datagrams.

use std::array;
use std::io::{self, IoSliceMut};

use quinn_udp::RecvMeta;
use rustix::io::Errno;
use schalter_model::{Carrier, Counters, DropReason, Path};

use crate::socket::{Socket, is_source, normal_addr, normal_ip};

/// Messages that one system call returns at most.
pub(crate) const BATCH: usize = quinn_udp::BATCH_SIZE;
/// Bytes of one message: GRO joins datagrams of one flow up to the largest IP packet.
const MESSAGE_LEN: usize = 1 << 16;
/// Distance between slots. With a power of two, the first lines of all slots would share few sets of the cache.
const SLOT_LEN: usize = MESSAGE_LEN + 21 * 64;

/// The buffers of one worker. Pages that no datagram ever reached cost no memory.
#[derive(Debug)]
pub(crate) struct ReceivePool {
    memory: Box<[u8]>,
    meta: [RecvMeta; BATCH],
}

/// One message of a batch: one or more datagrams from one peer.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    path: Path,
    bytes: &'a mut [u8],
    stride: usize,
}

impl<'a> Message<'a> {
    /// The way all its datagrams came.
    pub(crate) fn path(&self) -> Path {
        self.path
    }

    /// Its datagrams, of which one may be empty.
    pub(crate) fn datagrams(self) -> impl Iterator<Item = &'a mut [u8]> {
        // An empty datagram is one, too, but an empty slice has no chunks.
        let (empty, bytes) = match self.bytes {
            [] => (Some(self.bytes), Default::default()),
            bytes => (None, bytes),
        };
        empty
            .into_iter()
            .chain(bytes.chunks_mut(self.stride.max(1)))
    }
}

impl ReceivePool {
    pub(crate) fn new() -> Self {
        Self {
            memory: vec![0; SLOT_LEN * BATCH].into_boxed_slice(),
            meta: [RecvMeta::default(); BATCH],
        }
    }

    /// Receives what is there, up to [`BATCH`] messages, and counts it. Returns how many; 0 if nothing is there.
    ///
    /// # Errors
    /// Only if the socket itself is unusable.
    pub(crate) fn receive(
        &mut self,
        socket: &Socket,
        counters: &mut Counters,
    ) -> io::Result<usize> {
        let mut slots = self.memory.chunks_exact_mut(SLOT_LEN);
        let mut buffers: [IoSliceMut<'_>; BATCH] = array::from_fn(|_| {
            let slot = slots.next().expect("the pool has a slot for each message");
            IoSliceMut::new(&mut slot[..MESSAGE_LEN])
        });
        let received = socket
            .state
            .recv((&socket.udp).into(), &mut buffers, &mut self.meta);
        let count = match received {
            Ok(count) => count,
            Err(error) if means_broken_socket(&error) => return Err(error),
            // Nothing is there; or the kernel reported, and thereby cleared, what happened to the network meanwhile.
            Err(_) => return Ok(0),
        };
        if count > 0 {
            counters.receive_batches += 1;
        }
        for meta in &self.meta[..count] {
            counters.datagrams_in += datagrams(meta);
            counters.bytes_in += meta.len as u64;
        }
        Ok(count)
    }

    /// The `index`th message of the last batch, which came by `carrier`; `None` (counted) for one that nobody could answer.
    pub(crate) fn message(
        &mut self,
        index: usize,
        carrier: Carrier,
        counters: &mut Counters,
    ) -> Option<Message<'_>> {
        let meta = self.meta[index];
        if meta.addr.port() == 0 {
            // The kernel refuses to send to port 0, and with the same error by which it refuses GSO.
            counters
                .drops
                .add(DropReason::UnknownPeer, datagrams(&meta));
            return None;
        }
        let start = index * SLOT_LEN;
        Some(Message {
            path: Path {
                remote: normal_addr(meta.addr),
                local: meta.dst_ip.map(normal_ip).filter(|ip| is_source(*ip)),
                carrier,
            },
            bytes: &mut self.memory[start..start + meta.len],
            stride: meta.stride,
        })
    }
}

/// Whether asking again can only give the same answer.
fn means_broken_socket(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    [Errno::BADF, Errno::NOTSOCK, Errno::FAULT, Errno::INVAL]
        .iter()
        .any(|broken| errno == Some(broken.raw_os_error()))
}

/// How many datagrams the kernel joined into one message.
fn datagrams(meta: &RecvMeta) -> u64 {
    meta.len.div_ceil(meta.stride.max(1)).max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(bytes: &mut [u8], stride: usize) -> Vec<usize> {
        let path = Path::udp("192.0.2.1:9".parse().unwrap(), None);
        let message = Message {
            path,
            bytes,
            stride,
        };
        message.datagrams().map(|d| d.len()).collect()
    }

    #[test]
    fn joined_datagrams_are_split_and_the_last_may_be_shorter() {
        assert_eq!(lengths(&mut [0; 10], 4), [4, 4, 2]);
        assert_eq!(lengths(&mut [0; 4], 4), [4]);
        assert_eq!(lengths(&mut [], 0), [0], "an empty datagram is one");
    }
}
