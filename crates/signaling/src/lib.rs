//! The session model — rooms, participants, tracks — and the protocols that clients speak to it.
//!
//! Owns who is in which room, who publishes what and who gets it, SDP, tokens, and LiveKit's signalling protocol on
//! WebSocket. Drives the media plane through [`MediaPlane`] and never sees a media socket. A [`room::Room`] is
//! sans-IO: inputs and time go in, messages and media commands are drained; [`Signaling`] runs one task for each.

pub mod administration;
pub mod authority;
pub mod config;
mod error;
mod ids;
pub mod livekit;
mod media;
mod registry;
pub mod room;
mod room_task;
pub mod sdp;
mod signaling;
pub mod splice;
mod stats;
pub mod token;
mod token_bucket;

pub use config::SignalingConfig;
pub use error::JoinRefusal;
pub use ids::{ConnectionId, IdSource};
pub use media::{MediaPlane, ShardInfo};
pub use signaling::{MediaEvents, Signaling};
pub use stats::{Counters, JoinStage, SignalingStats};
