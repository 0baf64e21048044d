//! Names for what the pages' port counts.

use crate::families::Families;

/// What the pages' port counts; absolute values since start unless a field says "now".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpSnapshot {
    /// Connections, now.
    pub connections: u64,
    /// Connections closed at once because there were too many.
    pub refused: u64,
    /// Connections that ended before a request was complete.
    pub unanswered: u64,
}

/// Adds everything that the pages' port counts.
pub(crate) fn add(families: &mut Families, snapshot: &HttpSnapshot) {
    // Taken apart, so that a new field without a metric does not compile.
    let HttpSnapshot {
        connections,
        refused,
        unanswered,
    } = *snapshot;
    families.gauge(
        "schalter_http_connections",
        "Connections to the pages' port now, WebSockets among them.",
        connections as f64,
    );
    families.counter(
        "schalter_http_connections_refused_total",
        "Connections closed at once because limits.connections was reached.",
        refused,
    );
    families.counter(
        "schalter_http_connections_unanswered_total",
        "Connections that ended without a complete request, among them those that took longer than limits.request_seconds.",
        unanswered,
    );
}
