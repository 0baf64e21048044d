//! The port through which signaling drives the media plane. It never sees a media socket.

use std::net::SocketAddr;

use schalter_model::ShardId;
use schalter_shard::control::Command;
use schalter_transport::Fingerprint;

use crate::turn::TurnServers;

/// What SDP must say about one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardInfo {
    /// Its id.
    pub id: ShardId,
    /// Its UDP host candidates as advertised to clients.
    pub candidates: Vec<SocketAddr>,
    /// Its TCP host candidates (RFC 6544, passive) as advertised to clients; may be those of other shards, too.
    pub tcp_candidates: Vec<SocketAddr>,
}

/// The media plane as signaling sees it.
pub trait MediaPlane: Send + Sync + 'static {
    /// All shards of this node, at least one, the same for the process's life.
    fn shards(&self) -> &[ShardInfo];
    /// Hands a command to a shard. Commands of one caller arrive in order; none is dropped.
    fn send(&self, shard: ShardId, command: Command);
    /// The fingerprints of all certificates that a transport may present, the likeliest first. At least one.
    fn fingerprints(&self) -> &[Fingerprint];
    /// This node's number, as user name fragments carry it.
    fn node(&self) -> u16;
    /// The TURN servers that the shards are, the same for the process's life but for their URLs; none by default.
    fn turn(&self) -> Option<TurnServers> {
        None
    }
}
