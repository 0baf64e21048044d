//! When to look at which transport again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use schalter_forward::Owner;
use schalter_model::Time;

/// Deadlines of transports. An entry whose time no longer is the transport's own is stale and skipped.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Time, u32)>>,
}

impl Timers {
    pub(crate) fn schedule(&mut self, at: Time, owner: Owner) {
        self.heap.push(Reverse((at, owner.0)));
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The next entry that is due at `now`.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<(Time, Owner)> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap
            .pop()
            .map(|Reverse((at, index))| (at, Owner(index)))
    }
}
