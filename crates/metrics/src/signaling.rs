//! Names for what signaling counts.

use crate::families::Families;

/// What signaling counts; absolute values since start unless a field says "now".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignalingSnapshot {
    /// Rooms, now.
    pub rooms: u64,
    /// Participants, now.
    pub participants: u64,
    /// Open signaling connections, now.
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
    /// Joins that failed, by the stage they failed at. Every stage appears, also with 0, so that rates start at once.
    pub join_failures: Vec<(&'static str, u64)>,
    /// Messages from clients.
    pub messages_in: u64,
    /// Messages to clients.
    pub messages_out: u64,
    /// Messages from clients that could not be read.
    pub messages_malformed: u64,
    /// Connections closed because of a message beyond the size limit.
    pub messages_oversized: u64,
    /// Messages that waited because their client sends faster than it may.
    pub messages_delayed: u64,
    /// Requests of clients that were refused.
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

/// Adds everything that signaling counts.
pub(crate) fn add(families: &mut Families, snapshot: &SignalingSnapshot) {
    // Taken apart, so that a new field without a metric does not compile.
    let SignalingSnapshot {
        rooms,
        participants,
        connections,
        tracks,
        subscriptions,
        joins,
        joins_connected,
        resumes,
        join_failures,
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
    } = snapshot;
    let gauges = [
        ("schalter_rooms", "Rooms now.", rooms),
        ("schalter_participants", "Participants now.", participants),
        (
            "schalter_signaling_connections",
            "Open signaling connections now.",
            connections,
        ),
        ("schalter_tracks", "Announced tracks now.", tracks),
        (
            "schalter_subscriptions",
            "Subscriptions with media now, as signaling counts them.",
            subscriptions,
        ),
    ];
    for (name, help, value) in gauges {
        families.gauge(name, help, *value as f64);
    }
    let counters = [
        ("schalter_joins_total", "Sessions begun.", joins),
        (
            "schalter_joins_connected_total",
            "Sessions whose media connected.",
            joins_connected,
        ),
        ("schalter_resumes_total", "Sessions resumed.", resumes),
        (
            "schalter_signaling_messages_received_total",
            "Signaling messages from clients.",
            messages_in,
        ),
        (
            "schalter_signaling_messages_sent_total",
            "Signaling messages to clients.",
            messages_out,
        ),
        (
            "schalter_signaling_messages_malformed_total",
            "Signaling messages from clients that could not be read.",
            messages_malformed,
        ),
        (
            "schalter_signaling_messages_oversized_total",
            "Signaling connections closed because of a message larger than limits.message_bytes.",
            messages_oversized,
        ),
        (
            "schalter_signaling_messages_delayed_total",
            "Signaling messages that waited because their client sends faster than limits.messages_per_second.",
            messages_delayed,
        ),
        (
            "schalter_signaling_requests_refused_total",
            "Requests of clients that were refused.",
            requests_refused,
        ),
        (
            "schalter_signaling_slow_clients_total",
            "Clients disconnected because they read too slowly.",
            slow_clients,
        ),
        (
            "schalter_data_packets_relayed_total",
            "Data packets relayed to a room, one for each that was sent.",
            data_relayed,
        ),
        (
            "schalter_data_packets_refused_total",
            "Data packets dropped as malformed, forbidden or duplicate.",
            data_refused,
        ),
        (
            "schalter_data_packets_overload_total",
            "Data packets dropped by the sender's rate limit or a full mailbox.",
            data_overload,
        ),
        (
            "schalter_data_overload_leaves_total",
            "Sessions ended because reliable data came faster than it could be relayed, or taken by its receiver.",
            data_leaves,
        ),
        (
            "schalter_media_events_unrouted_total",
            "Media events for rooms or transports that are gone.",
            events_unrouted,
        ),
    ];
    for (name, help, value) in counters {
        families.counter(name, help, *value);
    }
    families.counters(
        "schalter_join_failures_total",
        "Joins that failed, by the stage they failed at.",
        join_failures
            .iter()
            .map(|(stage, count)| ([("stage", *stage)], *count as f64)),
    );
}
