//! Demultiplexing, transports, forwarding and timers of one worker, sans-IO.
//!
//! A [`Shard`] owns everything of the participants that were placed on it: their transports, the
//! [`Router`](schalter_forward::Router) with their producers and consumers, and the queues towards other shards.
//! Datagrams, commands, messages of other shards and time come in as calls; what leaves is drained by the `poll_…`
//! methods until they return `None`. It refuses sockets, clocks, threads and randomness of its own: those are `net`'s.

mod config;
pub mod control;
mod demux;
mod egress;
mod messages;
mod opening;
pub mod peer;
mod remote;
mod router_events;
mod shard;
mod slots;
mod strays;
mod streams;
mod timers;
mod turn;

pub use config::{ShardConfig, ShardLimits};
pub use egress::Transmit;
pub use schalter_forward::LoudestConfig;
pub use shard::Shard;
pub use turn::TurnService;
