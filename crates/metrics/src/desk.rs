//! Names for what the consultation counts.

use crate::families::Families;

/// What the consultation counts; absolute values since start unless a field says "now".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeskSnapshot {
    /// People in waiting rooms, now.
    pub waiting: u64,
    /// Appointments that run, now.
    pub running: u64,
    /// Admissions.
    pub admitted: u64,
    /// People who must leave, and rooms that must end, that signaling could not be told of yet, now.
    pub owed: u64,
    /// What became of events; `None` where nobody is told of them.
    pub webhooks: Option<DeskWebhookSnapshot>,
    /// The audit log; `None` where there is none.
    pub audit: Option<DeskAuditSnapshot>,
}

/// What the audit logs of all authorities count; absolute values since start unless a field says "now".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeskAuditSnapshot {
    /// Leaves in the newest epochs, now.
    pub leaves: u64,
    /// Events that are not in their log yet, now.
    pub behind: u64,
    /// Logs that can't be written, now.
    pub broken: u64,
    /// Times that one couldn't.
    pub failures: u64,
}

/// What the delivery of the consultation's events counts, over all receivers; absolute values since start unless a field says "now".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeskWebhookSnapshot {
    /// Events that a receiver took.
    pub delivered: u64,
    /// Requests that failed, by reason. Every reason appears, also with 0, so that rates start at once.
    pub failures: Vec<(&'static str, u64)>,
    /// Events that were erased before their receiver took them.
    pub lost: u64,
    /// Events that were passed over by order of an operator.
    pub skipped: u64,
    /// Times that the database could not tell or note how far a receiver is.
    pub log_failures: u64,
    /// Receivers that want nothing any more, now.
    pub gone: u64,
    /// Events that each receiver has still to take, now, in the order of the configuration.
    pub backlogs: Vec<u64>,
    /// Seconds for which each receiver has failed to take the same event, now, in the same order.
    pub stuck_s: Vec<u64>,
}

/// Adds everything that the consultation counts.
pub(crate) fn add(families: &mut Families, snapshot: &DeskSnapshot) {
    // Taken apart, so that a new field without a metric does not compile.
    let DeskSnapshot {
        waiting,
        running,
        admitted,
        owed,
        webhooks,
        audit,
    } = snapshot;
    families.gauge(
        "schalter_desk_people_waiting",
        "People in waiting rooms now.",
        *waiting as f64,
    );
    families.gauge(
        "schalter_desk_appointments_running",
        "Appointments now that somebody was admitted to and that have not ended.",
        *running as f64,
    );
    families.counter(
        "schalter_desk_admissions_total",
        "People admitted, officials who took their seat among them.",
        *admitted,
    );
    families.gauge(
        "schalter_desk_dismissals_owed",
        "People now who were sent away, and appointments that are over, whose tokens could not be withdrawn yet.",
        *owed as f64,
    );
    if let Some(webhooks) = webhooks {
        add_webhooks(families, webhooks);
    }
    if let Some(audit) = audit {
        add_audit(families, audit);
    }
}

fn add_audit(families: &mut Families, snapshot: &DeskAuditSnapshot) {
    let DeskAuditSnapshot {
        leaves,
        behind,
        broken,
        failures,
    } = snapshot;
    families.gauge(
        "schalter_desk_audit_leaves",
        "Leaves in the newest epochs of all audit logs now.",
        *leaves as f64,
    );
    families.gauge(
        "schalter_desk_audit_behind_events",
        "Events that are not in their audit log yet, and are not erased before, now.",
        *behind as f64,
    );
    families.gauge(
        "schalter_desk_audit_logs_broken",
        "Audit logs now that can't be written: the disk fails, or a log is not as it was signed.",
        *broken as f64,
    );
    families.counter(
        "schalter_desk_audit_failures_total",
        "Times that an audit log could not be written.",
        *failures,
    );
}

fn add_webhooks(families: &mut Families, snapshot: &DeskWebhookSnapshot) {
    let DeskWebhookSnapshot {
        delivered,
        failures,
        lost,
        skipped,
        log_failures,
        gone,
        backlogs,
        stuck_s,
    } = snapshot;
    families.counter(
        "schalter_desk_webhook_events_delivered_total",
        "Events of appointments that a receiver took, counted once for each receiver.",
        *delivered,
    );
    let by_reason = failures
        .iter()
        .map(|(reason, count)| ([("reason", *reason)], *count as f64));
    families.counters(
        "schalter_desk_webhook_failures_total",
        "Requests with an event of an appointment that failed and are made again, by what failed.",
        by_reason.collect::<Vec<_>>(),
    );
    families.counter(
        "schalter_desk_webhook_events_lost_total",
        "Events of appointments that were erased for their age before their receiver took them.",
        *lost,
    );
    families.counter(
        "schalter_desk_webhook_events_skipped_total",
        "Events of appointments that an operator had a receiver pass over.",
        *skipped,
    );
    families.counter(
        "schalter_desk_webhook_log_failures_total",
        "Times that the desk's database could not tell or note how far a receiver is.",
        *log_failures,
    );
    families.gauge(
        "schalter_desk_webhook_receivers_gone",
        "Receivers now that answered 410 and are told nothing until a restart.",
        *gone as f64,
    );
    let places: Vec<String> = (0..backlogs.len()).map(|place| place.to_string()).collect();
    let by_place = |numbers: &[u64]| {
        let pairs = places.iter().zip(numbers.to_vec());
        pairs
            .map(|(place, number)| ([("receiver", place.as_str())], number as f64))
            .collect::<Vec<_>>()
    };
    families.gauges(
        "schalter_desk_webhook_stuck_seconds",
        "Seconds for which a receiver has failed to take the same event now, by its place in desk.webhooks, from 0.",
        by_place(stuck_s),
    );
    families.gauges(
        "schalter_desk_webhook_backlog_events",
        "Events of appointments that a receiver has still to take now, by its place in desk.webhooks, from 0.",
        by_place(backlogs),
    );
}
