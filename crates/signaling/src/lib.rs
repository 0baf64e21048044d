//! The session model — rooms, participants, tracks — and the protocols that clients speak to it.
//!
//! Owns who is in which room, who publishes what and who gets it, SDP, tokens, and LiveKit's signalling protocol on
//! WebSocket. Drives the media plane through [`MediaPlane`] and never sees a media socket. A [`room::Room`] is
//! sans-IO: inputs and time go in, messages and media commands are drained; [`Signaling`] runs one task for each.

pub mod administration;
pub mod authority;
mod body;
pub mod config;
mod error;
mod events;
mod forwarding;
mod guided;
mod ids;
pub mod livekit;
mod media;
mod registry;
mod removal;
pub mod revocation;
mod revoker;
pub mod room;
mod room_task;
pub mod sdp;
mod signaling;
pub mod splice;
mod stats;
pub mod token;
mod token_bucket;
mod turn;
mod whip;

pub use config::SignalingConfig;
pub use error::JoinRefusal;
pub use events::{EventSink, RoomEvent};
pub use guided::{Clear, Guided, Presence, RoomObserver};
pub use ids::{ConnectionId, IdSource};
pub use media::{MediaPlane, ShardInfo};
pub use registry::Outside;
pub use revoker::{KeptRevocations, RevokeError};
pub use signaling::{MediaEvents, Signaling};
pub use stats::{Counters, HttpProtocol, JoinStage, ROOM_SERVICE_OUTCOMES, SignalingStats};
pub use turn::{TurnServers, TurnUrls};
