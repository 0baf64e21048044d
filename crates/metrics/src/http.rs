//! Names for what the pages' port counts, and its like.

use crate::families::Families;

/// What the ports count where connections are told apart; absolute values since start unless a field says "now".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpSnapshot {
    /// Connections, now.
    pub connections: u64,
    /// Connections closed at once because there were too many.
    pub refused: u64,
    /// Connections that ended before a request was complete.
    pub unanswered: u64,
    /// Connections that have not said yet what they want, now.
    pub half_open: u64,
    /// Connections that we closed before anything was served on them, by reason.
    pub closed: Vec<(&'static str, u64)>,
    /// Connections handed to media workers, by protocol.
    pub streams: Vec<(&'static str, u64)>,
    /// Seconds until the certificate ends, now, below zero if it has; `None` without one.
    pub certificate_seconds: Option<i64>,
    /// Tries to get a certificate that failed; `None` without a certificate authority.
    pub acme_failures: Option<u64>,
}

/// Adds everything that the ports count.
pub(crate) fn add(families: &mut Families, snapshot: &HttpSnapshot) {
    // Taken apart, so that a new field without a metric does not compile.
    let HttpSnapshot {
        connections,
        refused,
        unanswered,
        half_open,
        closed,
        streams,
        certificate_seconds,
        acme_failures,
    } = snapshot;
    families.gauge(
        "schalter_http_connections",
        "Connections to the pages' port now, WebSockets among them.",
        *connections as f64,
    );
    families.counter(
        "schalter_http_connections_refused_total",
        "Connections closed at once because limits.connections was reached.",
        *refused,
    );
    families.counter(
        "schalter_http_connections_unanswered_total",
        "Connections that ended without a complete request, among them those that took longer than limits.request_seconds.",
        *unanswered,
    );
    families.gauge(
        "schalter_half_open_connections",
        "Connections now that have not finished TLS or sent their first bytes yet.",
        *half_open as f64,
    );
    let closed = closed
        .iter()
        .map(|(reason, count)| ([("reason", *reason)], *count as f64));
    families.counters(
        "schalter_connections_closed_total",
        "Connections closed before anything was served on them, by reason.",
        closed,
    );
    let streams = streams
        .iter()
        .map(|(protocol, count)| ([("protocol", *protocol)], *count as f64));
    families.counters(
        "schalter_streams_accepted_total",
        "Connections that carry datagrams and were handed to a media worker, by protocol.",
        streams,
    );
    if let Some(seconds) = certificate_seconds {
        families.gauge(
            "schalter_tls_certificate_expires_seconds",
            "Seconds until the certificate expires; below zero if it has.",
            *seconds as f64,
        );
    }
    if let Some(failures) = acme_failures {
        families.counter(
            "schalter_acme_failures_total",
            "Tries to get a certificate by ACME that failed.",
            *failures,
        );
    }
}
