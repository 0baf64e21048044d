//! Names that signaling gives: session ids as clients see them, and numbers that are unique in the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use livekit_protocol::{TrackSource, TrackType};
use rand::RngExt;
use rand::distr::Alphanumeric;
use schalter_model::{RoomId, TrackId, TransportId};

/// Random characters after a prefix. Clients test prefixes and compare the rest.
const RANDOM_LEN: usize = 12;

/// One WebSocket. Unique in the process; a resumed session has a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Gives numbers that no other caller in the process gets.
#[derive(Debug, Default)]
pub struct IdSource(AtomicU64);

impl IdSource {
    fn next(&self) -> u64 {
        // Only uniqueness matters, not order between threads.
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A transport's id.
    pub fn transport(&self) -> TransportId {
        TransportId(self.next())
    }

    /// A track's id.
    pub fn track(&self) -> TrackId {
        TrackId(self.next())
    }

    /// A room's id in the media plane.
    pub fn room(&self) -> RoomId {
        RoomId(self.next())
    }

    /// A number for a link between two rooms.
    pub fn link(&self) -> u64 {
        self.next()
    }

    /// A connection's id.
    pub fn connection(&self) -> ConnectionId {
        ConnectionId(self.next())
    }
}

/// A session id: `prefix` and twelve random letters and digits.
pub(crate) fn sid(prefix: &str, rng: &mut impl rand::Rng) -> Arc<str> {
    let random = rng.sample_iter(Alphanumeric).take(RANDOM_LEN);
    prefix
        .chars()
        .chain(random.map(char::from))
        .collect::<String>()
        .into()
}

/// The prefix of a track's id: `TR_`, a letter for its kind and, where known, one for its source.
pub(crate) const fn track_prefix(kind: TrackType, source: TrackSource) -> &'static str {
    match (kind, source) {
        (_, TrackSource::Microphone) => "TR_AM",
        (_, TrackSource::Camera) => "TR_VC",
        (_, TrackSource::ScreenShare) => "TR_VS",
        (_, TrackSource::ScreenShareAudio) => "TR_AS",
        (TrackType::Audio, TrackSource::Unknown) => "TR_A",
        (TrackType::Video | TrackType::Data, TrackSource::Unknown) => "TR_V",
    }
}
