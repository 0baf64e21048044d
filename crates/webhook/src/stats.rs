//! What delivery counts. Plain numbers, published by value; never a label that says who or where.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why an event was dropped before its receiver took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Older than [`crate::Limits::age`].
    Age,
    /// Pushed out by newer ones: [`crate::Limits::events`].
    Events,
    /// Pushed out by newer ones: [`crate::Limits::bytes`].
    Bytes,
    /// The receiver said that it will never take this body.
    Refused,
    /// Events came faster than they could be noted.
    Overload,
    /// Its lines in the spool can't be read.
    Unreadable,
    /// Its receiver is no longer configured.
    Orphaned,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Age,
        Self::Events,
        Self::Bytes,
        Self::Refused,
        Self::Overload,
        Self::Unreadable,
        Self::Orphaned,
    ];

    /// The label value in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Events => "events",
            Self::Bytes => "bytes",
            Self::Refused => "refused",
            Self::Overload => "overload",
            Self::Unreadable => "unreadable",
            Self::Orphaned => "orphaned",
        }
    }
}

/// Why a request has to be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryReason {
    /// The host's name could not be resolved.
    Resolve,
    /// Every address of the host is forbidden.
    Denied,
    /// No TCP connection.
    Connect,
    /// No TLS session, a certificate that nobody vouches for among the causes.
    Tls,
    /// No answer in time.
    Timeout,
    /// The connection ended, or what came was no HTTP.
    Protocol,
    /// A redirect, which is never followed.
    Redirect,
    /// Another status than 2xx.
    Status,
    /// The key that signs is gone.
    Unsigned,
}

impl RetryReason {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Resolve,
        Self::Denied,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Protocol,
        Self::Redirect,
        Self::Status,
        Self::Unsigned,
    ];

    /// The label value in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Denied => "denied",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Redirect => "redirect",
            Self::Status => "status",
            Self::Unsigned => "unsigned",
        }
    }
}

/// Everything that is counted, over all receivers; absolute since start unless a field says "now".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebhookStats {
    /// Events that a receiver took.
    pub delivered: u64,
    /// Requests that failed and are made again, in the order of [`RetryReason::ALL`].
    pub retries: [u64; RetryReason::ALL.len()],
    /// Events dropped, in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Events that wait, now.
    pub waiting_events: u64,
    /// Their bytes, now.
    pub waiting_bytes: u64,
    /// Times that the spool could not be written; meanwhile events wait in memory only.
    pub spool_failures: u64,
}

/// What one [`crate::Feed`] counts, over its receivers; absolute since start unless a field says "now".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedStats {
    /// Events that a receiver took.
    pub delivered: u64,
    /// Requests that failed, in the order of [`RetryReason::ALL`].
    pub failures: [u64; RetryReason::ALL.len()],
    /// Events that the log had forgotten before their receiver took them.
    pub lost: u64,
    /// Events that were passed over by order.
    pub skipped: u64,
    /// Times that the log could not be read, or a cursor not be noted.
    pub log_failures: u64,
    /// Receivers that said that they want nothing any more, now.
    pub gone: u64,
    /// Events that each receiver has still to take, now, in the order of the receivers.
    pub backlogs: Vec<u64>,
    /// Seconds for which each receiver has failed to take the same event, now; 0 where it has not.
    pub stuck_s: Vec<u64>,
}

/// The live numbers behind [`WebhookStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    delivered: AtomicU64,
    retries: [AtomicU64; RetryReason::ALL.len()],
    dropped: [AtomicU64; DropReason::ALL.len()],
    waiting_events: AtomicU64,
    waiting_bytes: AtomicU64,
    spool_failures: AtomicU64,
}

impl Counters {
    pub(crate) fn delivered(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn retry(&self, reason: RetryReason) {
        self.retries[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self, reason: DropReason, count: u64) {
        self.dropped[reason as usize].fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn spool_failure(&self) {
        self.spool_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// One receiver's share of what waits changed from `before` to `after`, events and bytes each.
    pub(crate) fn waiting(&self, before: (u64, u64), after: (u64, u64)) {
        // Wraps in between where a share shrinks; sums of shares never do.
        self.waiting_events
            .fetch_add(after.0.wrapping_sub(before.0), Ordering::Relaxed);
        self.waiting_bytes
            .fetch_add(after.1.wrapping_sub(before.1), Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> WebhookStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WebhookStats {
            delivered: read(&self.delivered),
            retries: std::array::from_fn(|i| read(&self.retries[i])),
            dropped: std::array::from_fn(|i| read(&self.dropped[i])),
            waiting_events: read(&self.waiting_events),
            waiting_bytes: read(&self.waiting_bytes),
            spool_failures: read(&self.spool_failures),
        }
    }
}
