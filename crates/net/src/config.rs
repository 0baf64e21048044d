//! What the operator decides about sockets and threads, and what can go wrong when they start.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use schalter_model::ShardId;

/// How the media plane listens and runs.
#[derive(Clone, Debug)]
pub struct WorkersConfig {
    /// Local addresses; every shard opens one socket on each. `::` alone serves IPv4 too; beside an IPv4 address it
    /// serves IPv6 only.
    pub bind: Vec<IpAddr>,
    /// UDP port of shard 0; shard *n* has the *n*th port after it. 0 lets the kernel choose (tests).
    pub base_port: u16,
    /// UDP port of shard 0 that takes TURN and nothing else, the others again after it, on the same addresses; `None` for no
    /// such ports.
    pub turn_port: Option<u16>,
    /// How many shards, at least 1.
    pub shards: u8,
    /// Whether each worker stays on one core.
    pub pin: bool,
    /// Where pinning starts: shard *n* gets core `first_core + n` of those this process may use, wrapping around.
    pub first_core: usize,
    /// Slots of each media ring between two shards (about 1.6 KiB a slot, one ring per ordered pair of shards). When
    /// a ring is full, packets drop and are counted as `MailboxFull`.
    pub mailbox_slots: usize,
    /// Connections of one address (IPv4) or network of 64 bits (IPv6), at each worker, on which nothing authentic came yet; with
    /// one more the oldest ends and is counted as `StreamUnproven`.
    pub unproven_streams_per_address: usize,
    /// Bytes of receive buffer to ask of the kernel for each socket.
    pub receive_buffer: usize,
    /// Bytes of send buffer to ask of the kernel for each socket.
    pub send_buffer: usize,
}

impl Default for WorkersConfig {
    /// One shard on every IPv4 address; 4 MiB of buffers; 512 slots, which is 100 ms of a busy pair at 5,000 packets/s; 250
    /// unproven connections, an office behind one address that joins at once.
    fn default() -> Self {
        Self {
            bind: vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
            base_port: 0,
            turn_port: None,
            shards: 1,
            pin: true,
            first_core: 0,
            mailbox_slots: 512,
            unproven_streams_per_address: 250,
            receive_buffer: 4 << 20,
            send_buffer: 4 << 20,
        }
    }
}

/// The smallest buffers that the kernel gave to any socket, in bytes. Less than asked for means that
/// `net.core.rmem_max` or `net.core.wmem_max` is lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketBuffers {
    /// Receive buffer.
    pub receive: usize,
    /// Send buffer.
    pub send: usize,
}

/// Why the media plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Another socket has this UDP port.
    #[error("port {port} is in use")]
    PortInUse {
        /// The UDP port.
        port: u16,
    },
    /// The process may not open this UDP port.
    #[error("no permission to open port {port}")]
    PortForbidden {
        /// The UDP port.
        port: u16,
    },
    /// This host does not have the address.
    #[error("{address} is not an address of this host")]
    AddressNotHere {
        /// The address from the configuration.
        address: IpAddr,
    },
    /// The configuration has no address to listen on.
    #[error("no address to listen on")]
    NoAddress,
    /// The configuration asks for no shard at all.
    #[error("at least one shard is needed")]
    NoShard,
    /// The last shard's port would lie beyond 65535.
    #[error("{shards} ports from {base_port} on go beyond 65535")]
    PortRange {
        /// Port of shard 0, for media or for TURN.
        base_port: u16,
        /// How many shards.
        shards: u8,
    },
    /// A socket could not be opened or set up.
    #[error("can't open a socket on {address}")]
    Socket {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// A worker's thread or its wake-up could not be made.
    #[error("can't start the worker of shard {shard}")]
    Worker {
        /// Which shard.
        shard: ShardId,
        /// What the kernel said.
        source: io::Error,
    },
}
