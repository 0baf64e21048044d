//! Sockets, pinned workers and mailboxes: what turns the sans-IO shard into a running media plane.
//!
//! One thread per shard owns its sockets and its [`Worker`]; nothing on a packet's way is shared. Commands and the
//! control messages between shards travel on lanes that never drop; connections that carry datagrams are handed over on one, too; media between shards travels in bounded rings that
//! drop and count. Refuses to know what a datagram means: that is the worker's business.
//!
//! Linux only: `recvmmsg`, UDP GRO and GSO, `eventfd`, `ppoll` and thread affinity are taken for granted.

mod affinity;
mod config;
mod egress;
mod event_loop;
mod mailbox;
mod receive;
mod shard_worker;
mod socket;
mod stream;
mod worker;
mod workers;

pub use config::{NetError, SocketBuffers, WorkersConfig};
pub use stream::{
    AcceptedStream, Frame, FrameError, Framing, MAX_EARLY_LEN, MAX_FRAME_LEN, Origin,
};
pub use worker::{EGRESS_LEN, MAX_SEGMENTS, Transmit, Worker};
pub use workers::{Commands, Failure, NotRunning, Workers};
