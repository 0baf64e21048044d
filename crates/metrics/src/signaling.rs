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
    /// Sessions of participants without a WebSocket, now, by protocol. Both protocols appear, also with 0.
    pub whip_sessions: Vec<(&'static str, u64)>,
    /// Requests by those protocols that were answered with an error, likewise.
    pub whip_refused: Vec<(&'static str, u64)>,
    /// ICE restarts by those protocols, likewise.
    pub whip_restarts: Vec<(&'static str, u64)>,
    /// Calls of the room service by how they ended, likewise.
    pub room_service_calls: Vec<(&'static str, u64)>,
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
    /// Tracks refused because their publisher says that they are not encrypted.
    pub clear_tracks_refused: u64,
    /// Data packets dropped because they are in the clear.
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
        whip_sessions,
        whip_refused,
        whip_restarts,
        room_service_calls,
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
        revocations,
        revocations_unkept,
        revoked_refused,
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
        (
            "schalter_forwarded_participants",
            "Participants shown in a room that they are forwarded to now.",
            forwards,
        ),
        (
            "schalter_token_revocations",
            "Revocations of tokens that are remembered now; limits.revocations is the most.",
            revocations,
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
            "schalter_unencrypted_tracks_refused_total",
            "Tracks refused because their publisher says that they are not encrypted, in rooms of offices that require it.",
            clear_tracks_refused,
        ),
        (
            "schalter_unencrypted_data_packets_refused_total",
            "Data packets dropped because they are in the clear, in rooms of offices that require encryption.",
            clear_data_refused,
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
        (
            "schalter_token_revocations_unkept_total",
            "Revocations of tokens that could not be written to the disk and end with the process.",
            revocations_unkept,
        ),
        (
            "schalter_tokens_revoked_refused_total",
            "Times that a token was refused because it had been revoked.",
            revoked_refused,
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
    let by_protocol = |values: &[(&'static str, u64)]| -> Vec<_> {
        let labelled = values.iter();
        labelled
            .map(|(protocol, count)| ([("protocol", *protocol)], *count as f64))
            .collect()
    };
    families.gauges(
        "schalter_whip_whep_sessions",
        "Sessions by WHIP and WHEP now; they count as participants, too.",
        by_protocol(whip_sessions),
    );
    families.counters(
        "schalter_whip_whep_requests_refused_total",
        "Requests by WHIP and WHEP that were answered with an error.",
        by_protocol(whip_refused),
    );
    families.counters(
        "schalter_whip_whep_ice_restarts_total",
        "ICE restarts that clients of WHIP and WHEP asked for.",
        by_protocol(whip_restarts),
    );
    families.counters(
        "schalter_room_service_calls_total",
        "Calls of the room service by how they ended.",
        room_service_calls
            .iter()
            .map(|(outcome, count)| ([("result", *outcome)], *count as f64)),
    );
}
