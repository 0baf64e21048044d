//! What signaling counts. Plain numbers, published by value.

use std::sync::atomic::{AtomicU64, Ordering};

/// Where on the way to a session a join failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoinStage {
    /// Token missing, wrong, expired or without the grant.
    Token,
    /// Parameters, origin or offer.
    Request,
    /// A limit of the room, the authority or the server.
    Capacity,
    /// A resume of a session that is gone.
    Resume,
    /// The session began, but media never connected.
    Media,
}

impl JoinStage {
    /// Every stage.
    pub const ALL: [Self; 5] = [
        Self::Token,
        Self::Request,
        Self::Capacity,
        Self::Resume,
        Self::Media,
    ];

    /// The label value in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Request => "request",
            Self::Capacity => "capacity",
            Self::Resume => "resume",
            Self::Media => "media",
        }
    }
}

/// How calls of the room service end: well, or with one of Twirp's errors.
pub const ROOM_SERVICE_OUTCOMES: [&str; 14] = [
    "ok",
    "invalid_argument",
    "malformed",
    "deadline_exceeded",
    "not_found",
    "bad_route",
    "already_exists",
    "permission_denied",
    "unauthenticated",
    "resource_exhausted",
    "failed_precondition",
    "unimplemented",
    "internal",
    "unavailable",
];

/// A protocol whose participants have no WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpProtocol {
    /// Publishing: RFC 9725.
    Whip,
    /// Playing: draft-ietf-wish-whep.
    Whep,
}

impl HttpProtocol {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Whip, Self::Whep];

    /// The label value in metrics, and the first part of its paths.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Whip => "whip",
            Self::Whep => "whep",
        }
    }
}

/// Everything signaling counts; absolute since start unless a field says "now".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalingStats {
    /// Rooms, now.
    pub rooms: u64,
    /// Participants, now.
    pub participants: u64,
    /// Open WebSockets, now.
    pub connections: u64,
    /// Announced tracks, now.
    pub tracks: u64,
    /// Subscriptions with media, now.
    pub subscriptions: u64,
    /// Sessions begun.
    pub joins: u64,
    /// Sessions whose media connected.
    pub joins_connected: u64,
    /// Sessions resumed.
    pub resumes: u64,
    /// Joins that failed, in the order of [`JoinStage::ALL`].
    pub join_failures: [u64; JoinStage::ALL.len()],
    /// Sessions by WHIP and WHEP, now, in the order of [`HttpProtocol::ALL`]; they count as participants, too.
    pub http_sessions: [u64; HttpProtocol::ALL.len()],
    /// Requests by WHIP and WHEP answered with an error, likewise.
    pub http_refused: [u64; HttpProtocol::ALL.len()],
    /// ICE restarts by WHIP and WHEP, likewise.
    pub http_restarts: [u64; HttpProtocol::ALL.len()],
    /// Calls of the room service by their end, in the order of [`ROOM_SERVICE_OUTCOMES`].
    pub room_service_calls: [u64; ROOM_SERVICE_OUTCOMES.len()],
    /// Messages from clients.
    pub messages_in: u64,
    /// Messages to clients.
    pub messages_out: u64,
    /// Messages from clients that could not be read.
    pub messages_malformed: u64,
    /// Connections closed because a message was larger than [`crate::config::Limits::message_bytes`].
    pub messages_oversized: u64,
    /// Messages that had to wait because their client sends faster than it may.
    pub messages_delayed: u64,
    /// Requests refused with `request_response`.
    pub requests_refused: u64,
    /// Clients disconnected because they read too slowly.
    pub slow_clients: u64,
    /// Data packets relayed, one for each sender's packet.
    pub data_relayed: u64,
    /// Data packets dropped: malformed, forbidden or duplicate.
    pub data_refused: u64,
    /// Tracks refused because their publisher says that they are not encrypted; those of data count, too.
    pub clear_tracks_refused: u64,
    /// Data packets dropped for the like reason; they count as refused, too.
    pub clear_data_refused: u64,
    /// Data packets dropped by the sender's rate limit or a full mailbox.
    pub data_overload: u64,
    /// Sessions ended because reliable data came faster than it could be relayed, or taken by its receiver.
    pub data_leaves: u64,
    /// Media events for rooms or transports that are gone.
    pub events_unrouted: u64,
    /// Participants forwarded from another room, one for each room they are shown in, now.
    pub forwards: u64,
    /// Revocations of tokens that are remembered, now.
    pub revocations: u64,
    /// Revocations that could not be kept for the next start.
    pub revocations_unkept: u64,
    /// Times that a withdrawn token was refused.
    pub revoked_refused: u64,
}

impl SignalingStats {
    /// How many joins failed at `stage`.
    pub fn failures_at(&self, stage: JoinStage) -> u64 {
        self.join_failures[stage as usize]
    }
}

macro_rules! counters {
    ($($name:ident),+ $(,)?) => {
        /// The live counters behind [`SignalingStats`].
        #[derive(Debug, Default)]
        pub struct Counters {
            $(pub(crate) $name: Counter,)+
            join_failures: [Counter; JoinStage::ALL.len()],
            http_sessions: [Counter; HttpProtocol::ALL.len()],
            http_refused: [Counter; HttpProtocol::ALL.len()],
            http_restarts: [Counter; HttpProtocol::ALL.len()],
            room_service_calls: [Counter; ROOM_SERVICE_OUTCOMES.len()],
        }

        impl Counters {
            /// All values now; rooms and revocations are the registry's to count.
            pub fn snapshot(&self) -> SignalingStats {
                SignalingStats {
                    $($name: self.$name.value(),)+
                    join_failures: std::array::from_fn(|i| self.join_failures[i].value()),
                    http_sessions: std::array::from_fn(|i| self.http_sessions[i].value()),
                    http_refused: std::array::from_fn(|i| self.http_refused[i].value()),
                    http_restarts: std::array::from_fn(|i| self.http_restarts[i].value()),
                    room_service_calls: std::array::from_fn(|i| self.room_service_calls[i].value()),
                    ..SignalingStats::default()
                }
            }
        }
    };
}

counters!(
    connections,
    tracks,
    subscriptions,
    participants,
    joins,
    joins_connected,
    resumes,
    messages_in,
    messages_out,
    messages_malformed,
    messages_oversized,
    messages_delayed,
    requests_refused,
    slow_clients,
    data_relayed,
    data_refused,
    clear_tracks_refused,
    clear_data_refused,
    data_overload,
    data_leaves,
    events_unrouted,
    forwards,
    revocations_unkept,
    revoked_refused,
);

impl Counters {
    /// Counts a failed join.
    pub(crate) fn join_failed(&self, stage: JoinStage) {
        self.join_failures[stage as usize].add(1);
    }

    /// Sessions of a protocol, now.
    pub(crate) fn http_sessions(&self, protocol: HttpProtocol) -> &Counter {
        &self.http_sessions[protocol as usize]
    }

    /// Counts a request that was answered with an error.
    pub(crate) fn http_refused(&self, protocol: HttpProtocol) {
        self.http_refused[protocol as usize].add(1);
    }

    /// Counts a call of the room service that ended in one of [`ROOM_SERVICE_OUTCOMES`].
    pub(crate) fn room_service_called(&self, outcome: usize) {
        self.room_service_calls[outcome].add(1);
    }

    /// Counts an ICE restart.
    pub(crate) fn http_restarted(&self, protocol: HttpProtocol) {
        self.http_restarts[protocol as usize].add(1);
    }
}

/// One number that several tasks count in.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes `n` away, for gauges.
    pub(crate) fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
