//! What is remembered of the checks that came: how many, and which, so that neither a flood nor an echo is answered.

use std::time::Duration;

use schalter_model::{Path, Time};

use crate::stun::TransactionId;

/// How many transactions are remembered to recognise a check that a third party sends again from elsewhere.
const REMEMBERED_TRANSACTIONS: usize = 32;

/// Answers left in the running second.
#[derive(Debug, Default)]
pub(super) struct ResponseBudget {
    since: Time,
    used: u32,
}

impl ResponseBudget {
    pub(super) fn take(&mut self, now: Time, per_second: u32) -> bool {
        if now - self.since >= Duration::from_secs(1) {
            self.since = now;
            self.used = 0;
        }
        self.used += u32::from(self.used < per_second + 1);
        self.used <= per_second
    }
}

/// A ring of the last transactions and the paths they came on.
#[derive(Debug)]
pub(super) struct RecentTransactions {
    ring: [Option<(TransactionId, Path)>; REMEMBERED_TRANSACTIONS],
    next: usize,
}

impl Default for RecentTransactions {
    fn default() -> Self {
        Self {
            ring: [None; REMEMBERED_TRANSACTIONS],
            next: 0,
        }
    }
}

impl RecentTransactions {
    pub(super) fn seen_elsewhere(&self, id: TransactionId, path: &Path) -> bool {
        self.ring
            .iter()
            .flatten()
            .any(|(known, at)| *known == id && at != path)
    }

    pub(super) fn remember(&mut self, id: TransactionId, path: Path) {
        let is_known = self.ring.iter().flatten().any(|(known, _)| *known == id);
        if !is_known {
            self.ring[self.next] = Some((id, path));
            self.next = (self.next + 1) % REMEMBERED_TRANSACTIONS;
        }
    }
}
