//! Keys of LiveKit's file that Schalter has not, or not yet, with what to do about each. None is passed over in
//! silence: whoever brings a file along must learn what of it has no effect.

/// Keys and what to do, the more special first. A group's advice is that of everything in it.
const ADVICE: &[(&str, &str)] = &[
    (
        "rtc.allow_tcp_fallback",
        "clients fall back to TCP by themselves where rtc.tcp_port is open; remove the key",
    ),
    (
        "rtc.port_range_start",
        "each worker has one UDP port for all of its media; set rtc.udp_port and rtc.workers",
    ),
    (
        "rtc.port_range_end",
        "each worker has one UDP port for all of its media; set rtc.udp_port and rtc.workers",
    ),
    (
        "rtc.use_external_ip",
        "Schalter asks nobody for its address; set rtc.node_ip, or rtc.addresses for several",
    ),
    (
        "rtc.stun_servers",
        "Schalter needs no STUN server; what clients are told of stands in rtc.ice_servers",
    ),
    (
        "rtc.turn_servers",
        "what clients are told of stands in rtc.ice_servers",
    ),
    (
        "rtc.interfaces",
        "name them in rtc.addresses, each as `interface: name`",
    ),
    ("rtc.ips", "name the addresses in rtc.addresses"),
    (
        "rtc.use_ice_lite",
        "Schalter always is an ICE-lite agent; remove the key",
    ),
    (
        "rtc.enable_loopback_candidate",
        "without rtc.node_ip and rtc.addresses loopback is among the candidates; remove the key",
    ),
    (
        "rtc.congestion_control",
        "congestion control isn't built yet; remove the key",
    ),
    (
        "rtc.packet_buffer_size",
        "Schalter sizes its buffers itself; remove the key",
    ),
    (
        "rtc.packet_buffer_size_video",
        "Schalter sizes its buffers itself; remove the key",
    ),
    (
        "rtc.packet_buffer_size_audio",
        "Schalter sizes its buffers itself; remove the key",
    ),
    (
        "rtc.pli_throttle",
        "keyframe requests are always coalesced; remove the key",
    ),
    (
        "turn.external_tls",
        "TLS is ended here: name the port that clients see in turn.tls_port",
    ),
    (
        "turn.cert_file",
        "one certificate is for everything; set tls.cert_file",
    ),
    (
        "turn.key_file",
        "one certificate is for everything; set tls.key_file",
    ),
    (
        "turn.relay_range_start",
        "relays end inside the server and take no ports; remove the key",
    ),
    (
        "turn.relay_range_end",
        "relays end inside the server and take no ports; remove the key",
    ),
    (
        "webhook.filter_params",
        "every event is told; receivers pass over what they don't want",
    ),
    (
        "webhook.url_notifier",
        "how many events wait, and how long, is set by max_events, max_bytes and max_age_seconds of webhook",
    ),
    (
        "webhook.resource_url_notifier",
        "how many events wait, and how long, is set by max_events, max_bytes and max_age_seconds of webhook",
    ),
    (
        "redis",
        "Schalter needs no Redis, and several nodes aren't built yet; remove the key",
    ),
    ("key_file", "give each of keys a secret_file"),
    (
        "log_level",
        "the environment variable SCHALTER_LOG sets the log level; remove the key",
    ),
    (
        "logging",
        "the environment variable SCHALTER_LOG sets the log level; remove the key",
    ),
    (
        "prometheus_port",
        "metrics are on the admin listener; set admin.listen",
    ),
    (
        "prometheus",
        "metrics are on the admin listener; set admin.listen",
    ),
    (
        "development",
        "without keys a development key is generated; remove the key",
    ),
    (
        "room.enable_remote_unmute",
        "only participants open their microphones and cameras; remove the key",
    ),
    (
        "room.playout_delay",
        "playout delay isn't built yet; remove the key",
    ),
    (
        "room.sync_streams",
        "tracks of one participant are always in sync; remove the key",
    ),
    (
        "room.max_metadata_size",
        "metadata is bounded to 64000 bytes; remove the key",
    ),
    ("limit", "bounds stand in limits"),
    (
        "audio.active_level",
        "speakers are found with fixed settings; remove the key",
    ),
    (
        "audio.min_percentile",
        "speakers are found with fixed settings; remove the key",
    ),
    (
        "audio.update_interval",
        "speakers are found with fixed settings; remove the key",
    ),
    (
        "audio.smooth_intervals",
        "speakers are found with fixed settings; remove the key",
    ),
    ("video", "video needs no settings; remove the key"),
    ("ingress", "ingress is no part of Schalter; remove the key"),
    ("egress", "egress is no part of Schalter; remove the key"),
    ("sip", "SIP is no part of Schalter; remove the key"),
    ("agents", "agents are no part of Schalter; remove the key"),
    ("psrpc", "several nodes aren't built yet; remove the key"),
    (
        "signal_relay",
        "several nodes aren't built yet; remove the key",
    ),
    (
        "node_selector",
        "several nodes aren't built yet; remove the key",
    ),
];

/// What to do about a key that is LiveKit's and not ours.
pub(super) fn advice(path: &str) -> Option<&'static str> {
    let found = ADVICE.iter().find(|(key, _)| *key == path)?;
    Some(found.1)
}

#[cfg(test)]
pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    ADVICE.iter().map(|(path, _)| *path)
}
