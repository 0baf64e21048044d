//! Names for what the delivery of webhooks counts.

use crate::families::Families;

/// What the delivery of webhooks counts, over all receivers; absolute values since start unless a field says "now".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookSnapshot {
    /// Events that a receiver took.
    pub delivered: u64,
    /// Requests that failed and are made again, by reason. Every reason appears, also with 0, so that rates start at once.
    pub retries: Vec<(&'static str, u64)>,
    /// Events dropped, by reason. Every reason appears.
    pub dropped: Vec<(&'static str, u64)>,
    /// Events that wait, now.
    pub waiting_events: u64,
    /// Their bytes, now.
    pub waiting_bytes: u64,
    /// Times that a spool could not be written.
    pub spool_failures: u64,
}

/// Adds everything that the delivery of webhooks counts.
pub(crate) fn add(families: &mut Families, snapshot: &WebhookSnapshot) {
    // Taken apart, so that a new field without a metric does not compile.
    let WebhookSnapshot {
        delivered,
        retries,
        dropped,
        waiting_events,
        waiting_bytes,
        spool_failures,
    } = snapshot;
    let by_reason = |values: &[(&'static str, u64)]| -> Vec<_> {
        values
            .iter()
            .map(|(reason, count)| ([("reason", *reason)], *count as f64))
            .collect()
    };
    families.counter(
        "schalter_webhook_events_delivered_total",
        "Events that a webhook receiver took, counted once for each receiver.",
        *delivered,
    );
    families.counters(
        "schalter_webhook_retries_total",
        "Requests to webhook receivers that failed and are made again, by what failed.",
        by_reason(retries),
    );
    families.counters(
        "schalter_webhook_events_dropped_total",
        "Events that a webhook receiver never took, by the reason they were given up for.",
        by_reason(dropped),
    );
    families.gauge(
        "schalter_webhook_events_waiting",
        "Events that wait for a webhook receiver now.",
        *waiting_events as f64,
    );
    families.gauge(
        "schalter_webhook_waiting_bytes",
        "Bytes of the events that wait for a webhook receiver now.",
        *waiting_bytes as f64,
    );
    families.counter(
        "schalter_webhook_spool_failures_total",
        "Times that a webhook spool could not be written; meanwhile events wait in memory only.",
        *spool_failures,
    );
}
