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
    /// Data packets dropped by the sender's rate limit or a full mailbox.
    pub data_overload: u64,
    /// Sessions ended because reliable data came faster than it could be relayed, or taken by its receiver.
    pub data_leaves: u64,
    /// Media events for rooms or transports that are gone.
    pub events_unrouted: u64,
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
        }

        impl Counters {
            /// All values now; rooms are the registry's to count.
            pub fn snapshot(&self) -> SignalingStats {
                SignalingStats {
                    $($name: self.$name.value(),)+
                    join_failures: std::array::from_fn(|i| self.join_failures[i].value()),
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
    data_overload,
    data_leaves,
    events_unrouted,
);

impl Counters {
    /// Counts a failed join.
    pub(crate) fn join_failed(&self, stage: JoinStage) {
        self.join_failures[stage as usize].add(1);
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
