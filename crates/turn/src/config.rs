//! What a TURN server is made with.

use std::net::SocketAddr;

use schalter_model::{ShardId, WallClock};

use crate::Secret;

/// Bounds of one shard's TURN server. Everything that a stranger can make grow has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnLimits {
    /// Allocations at once; a browser makes one for each of its interfaces, servers and connections.
    pub allocations: usize,
    /// Allocations at once with the same credentials.
    pub allocations_per_user: usize,
    /// Answers per second over UDP to who has not proven to be at its address. They are larger than the requests, which may
    /// come from a forged address.
    pub unproven_answers_per_second: u32,
}

impl Default for TurnLimits {
    fn default() -> Self {
        Self {
            allocations: 8_000,
            // Two connections with three servers on each of eight interfaces.
            allocations_per_user: 48,
            // Some 300 KB/s at most; a thousand joins a second are far more than a shard takes.
            unproven_answers_per_second: 2_000,
        }
    }
}

/// What a TURN server is made with.
#[derive(Clone, Debug)]
pub struct TurnConfig {
    /// The node that credentials must name.
    pub node: u16,
    /// The shard that they must name.
    pub shard: ShardId,
    /// What credentials and nonces are derived from; the same in the whole node.
    pub secret: Secret,
    /// Wall clock, which the lifetime of credentials is measured by.
    pub wall: WallClock,
    /// Seed of the choice of ports.
    pub seed: u64,
    /// The shard's media sockets as clients know them, which relays reach and whose addresses relays appear to have. One
    /// for each address; of several with the same address the first counts.
    pub targets: Vec<SocketAddr>,
    /// Bounds.
    pub limits: TurnLimits,
}
