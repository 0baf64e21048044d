//! Bounds on connections that have not said yet what they want: TLS, a proxy's header or first bytes are still to come. One is on all
//! of them, the other on those of one address, so that nobody takes all places alone.
//!
//! With one more than a bound, the oldest that it is on is closed. Whoever means well is through within a few round trips, so who has
//! waited longest is the least likely to; refusing the newest would lock everybody out for as long as an attacker's
//! connections may be silent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use schalter_net::Origin;
use tokio::sync::oneshot;

use super::gate::Closed;

/// All half-open connections. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct HalfOpen {
    open: Arc<Mutex<Open>>,
}

#[derive(Debug)]
struct Open {
    limit: usize,
    per_address: usize,
    next: u64,
    /// In the order they came.
    connections: BTreeMap<u64, Waiting>,
    /// Those of which it is known where they come from, in the same order.
    by_origin: HashMap<Origin, BTreeSet<u64>>,
}

#[derive(Debug)]
struct Waiting {
    origin: Option<Origin>,
    evict: oneshot::Sender<Closed>,
}

/// One of them, until dropped.
#[derive(Debug)]
pub(super) struct Knock {
    caller: Caller,
    evicted: oneshot::Receiver<Closed>,
}

/// Tells where one of them comes from.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    number: u64,
    open: Arc<Mutex<Open>>,
}

impl HalfOpen {
    /// At most `limit` of all, and `per_address` of each address (IPv4) or network of 64 bits (IPv6).
    pub(super) fn new(limit: u32, per_address: u32) -> Self {
        let open = Open {
            limit: limit as usize,
            per_address: per_address as usize,
            next: 0,
            connections: BTreeMap::new(),
            by_origin: HashMap::new(),
        };
        Self {
            open: Arc::new(Mutex::new(open)),
        }
    }

    /// Counts a connection in, and the oldest out if they are too many.
    pub(super) fn knock(&self) -> Knock {
        let (evict, evicted) = oneshot::channel();
        let mut open = lock(&self.open);
        while open.connections.len() >= open.limit
            && let Some((oldest, _)) = open.connections.first_key_value()
        {
            let oldest = *oldest;
            open.evict(oldest, Closed::HalfOpenLimit);
        }
        let number = open.next;
        open.next += 1;
        let waiting = Waiting {
            origin: None,
            evict,
        };
        open.connections.insert(number, waiting);
        Knock {
            caller: Caller {
                number,
                open: Arc::clone(&self.open),
            },
            evicted,
        }
    }

    /// How many there are now.
    pub(super) fn count(&self) -> u64 {
        lock(&self.open).connections.len() as u64
    }
}

impl Open {
    fn evict(&mut self, number: u64, why: Closed) {
        if let Some(waiting) = self.remove(number) {
            // It may be through at this very moment, and listens no more.
            let _ = waiting.evict.send(why);
        }
    }

    fn remove(&mut self, number: u64) -> Option<Waiting> {
        let waiting = self.connections.remove(&number)?;
        if let Some(origin) = waiting.origin
            && let Some(numbers) = self.by_origin.get_mut(&origin)
        {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_origin.remove(&origin);
            }
        }
        Some(waiting)
    }
}

impl Caller {
    /// The connection comes from this address: counts it in there, and the oldest of the address out if they are too many. Not for
    /// a balancer, before its header has told whose connection it is.
    pub(super) fn comes_from(&self, address: IpAddr) {
        let origin = Origin::from(address);
        let mut open = lock(&self.open);
        let open = &mut *open;
        // Gone already where there was no room.
        let Some(waiting) = open.connections.get_mut(&self.number) else {
            return;
        };
        waiting.origin = Some(origin);
        let numbers = open.by_origin.entry(origin).or_default();
        numbers.insert(self.number);
        if numbers.len() > open.per_address
            && let Some(oldest) = numbers.first().copied()
        {
            open.evict(oldest, Closed::AddressLimit);
        }
    }
}

impl Knock {
    /// For whoever finds out where it comes from.
    pub(super) fn caller(&self) -> Caller {
        self.caller.clone()
    }

    /// What `work` results in.
    ///
    /// # Errors
    /// The bound for which it has to make room before.
    pub(super) async fn unless_evicted<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Closed> {
        tokio::select! {
            biased;
            result = work => Ok(result),
            why = &mut self.evicted => Err(why.unwrap_or(Closed::HalfOpenLimit)),
        }
    }
}

impl Drop for Knock {
    fn drop(&mut self) {
        lock(&self.caller.open).remove(self.caller.number);
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why it had to make room, if it had to.
    async fn evicted(knock: &mut Knock) -> Option<Closed> {
        tokio::select! {
            biased;
            why = &mut knock.evicted => Some(why.unwrap()),
            () = std::future::ready(()) => None,
        }
    }

    fn from(all: &HalfOpen, address: &str) -> Knock {
        let knock = all.knock();
        knock.caller().comes_from(address.parse().unwrap());
        knock
    }

    #[tokio::test]
    async fn the_oldest_makes_room_and_who_is_through_is_not_counted() {
        let all = HalfOpen::new(2, 2);
        let mut first = all.knock();
        let through = all.knock();
        drop(through);
        let mut second = all.knock();
        let third = all.knock();
        assert_eq!(all.count(), 2);
        let forever = || std::future::pending::<()>();
        let why = first.unless_evicted(forever()).await;
        assert_eq!(why, Err(Closed::HalfOpenLimit));
        assert_eq!(second.unless_evicted(async { 7 }).await, Ok(7));
        drop((first, second, third));
        assert_eq!(all.count(), 0);
    }

    #[tokio::test]
    async fn an_address_has_as_many_as_its_bound_and_with_one_more_its_own_oldest_goes() {
        let all = HalfOpen::new(10, 2);
        let mut other = from(&all, "192.0.2.8");
        let mut own = [from(&all, "192.0.2.7"), from(&all, "192.0.2.7")];
        for knock in &mut own {
            assert_eq!(evicted(knock).await, None, "as many as the bound");
        }
        let mut third = from(&all, "::ffff:192.0.2.7");
        assert_eq!(evicted(&mut own[0]).await, Some(Closed::AddressLimit));
        for knock in [&mut own[1], &mut third, &mut other] {
            assert_eq!(evicted(knock).await, None);
        }
        assert_eq!(all.count(), 3);
        // Who is through makes room.
        let [_, second] = own;
        drop(second);
        let mut fourth = from(&all, "192.0.2.7");
        assert_eq!(evicted(&mut third).await, None);
        // Those of which it is not known yet count for nobody.
        let mut unknown = [all.knock(), all.knock(), all.knock()];
        for knock in unknown.iter_mut().chain([&mut third, &mut fourth]) {
            assert_eq!(evicted(knock).await, None);
        }
        drop((other, third, fourth, unknown));
        assert_eq!(all.count(), 0);
        assert!(lock(&all.open).by_origin.is_empty());
    }

    #[tokio::test]
    async fn who_had_to_make_room_among_all_is_none_of_its_address_any_more() {
        let all = HalfOpen::new(2, 2);
        let mut first = from(&all, "192.0.2.7");
        let gone = first.caller();
        let mut second = from(&all, "192.0.2.7");
        let mut third = from(&all, "192.0.2.7");
        assert_eq!(evicted(&mut first).await, Some(Closed::HalfOpenLimit));
        gone.comes_from("192.0.2.7".parse().unwrap());
        assert_eq!(evicted(&mut second).await, None);
        assert_eq!(evicted(&mut third).await, None);
    }
}
