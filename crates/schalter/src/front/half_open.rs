//! A bound on connections that have not said yet what they want: TLS, a proxy's header or first bytes are still to come.
//!
//! With one more than the bound, the oldest is closed. Whoever means well is through within a few round trips, so who has
//! waited longest is the least likely to; refusing the newest would lock everybody out for as long as an attacker's
//! connections may be silent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// All half-open connections. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct HalfOpen {
    limit: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// In the order they came.
    connections: BTreeMap<u64, oneshot::Sender<()>>,
    evicted: u64,
}

/// One of them, until dropped.
#[derive(Debug)]
pub(super) struct Knock {
    number: u64,
    open: Arc<Mutex<Open>>,
    evicted: oneshot::Receiver<()>,
}

impl HalfOpen {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit: limit as usize,
            open: Arc::default(),
        }
    }

    /// Counts a connection in, and the oldest out if they are too many.
    pub(super) fn knock(&self) -> Knock {
        let (sender, evicted) = oneshot::channel();
        let mut open = lock(&self.open);
        while open.connections.len() >= self.limit {
            // Dropping the sender tells its connection.
            open.connections.pop_first();
            open.evicted += 1;
        }
        let number = open.next;
        open.next += 1;
        open.connections.insert(number, sender);
        Knock {
            number,
            open: Arc::clone(&self.open),
            evicted,
        }
    }

    /// How many there are now, and how many were closed for being too many.
    pub(super) fn count(&self) -> (u64, u64) {
        let open = lock(&self.open);
        (open.connections.len() as u64, open.evicted)
    }
}

impl Knock {
    /// What `work` results in; `None` if it has to make room before.
    pub(super) async fn unless_evicted<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            result = work => Some(result),
            _ = &mut self.evicted => None,
        }
    }
}

impl Drop for Knock {
    fn drop(&mut self) {
        lock(&self.open).connections.remove(&self.number);
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_makes_room_and_who_is_through_is_not_counted() {
        let all = HalfOpen::new(2);
        let mut first = all.knock();
        let through = all.knock();
        drop(through);
        let mut second = all.knock();
        let third = all.knock();
        assert_eq!(all.count(), (2, 1));
        let forever = || std::future::pending::<()>();
        assert_eq!(first.unless_evicted(forever()).await, None);
        assert_eq!(second.unless_evicted(async { 7 }).await, Some(7));
        drop((first, second, third));
        assert_eq!(all.count(), (0, 1));
    }
}
