//! Limits on what one address may try.
//!
//! Owns counting without remembering anybody: an address becomes a slot of a fixed table by a hash with a key of this process, and the slot
//! holds a time. Two addresses that share a slot share its limit. Refuses nothing itself; callers answer with the pause.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Slots of one table: 128 KiB, and few enough collisions that an office behind one address rarely meets another.
const SLOTS: usize = 16_384;

/// How many tries an address has at once, and how soon it gets one back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tries at once.
    pub burst: u32,
    /// Time until one more is allowed.
    pub every: Duration,
}

/// Wrong links from one address: many people may stand behind it, and each mistypes now and then. A link has 160 random bits: guessing needs
/// no limit, but whoever tries is told to stop.
pub const LINK_GUESSES: Rate = Rate {
    burst: 20,
    every: Duration::from_secs(10),
};

/// Logins from one address that failed.
pub const LOGIN_FAILURES: Rate = Rate {
    burst: 10,
    every: Duration::from_secs(30),
};

/// Logins that one address begins: each is remembered until it ends.
pub const LOGIN_STARTS: Rate = Rate {
    burst: 60,
    every: Duration::from_secs(5),
};

/// One table of tries (GCRA: each slot holds when its tries will all be back).
#[derive(Debug)]
pub struct Limiter {
    rate: Rate,
    hasher: RandomState,
    slots: Vec<AtomicU64>,
}

/// How long to wait for the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause(pub Duration);

impl Limiter {
    /// An empty table.
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            hasher: RandomState::new(),
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Whether the address has a try left at `now` (milliseconds since 1970). Takes none.
    ///
    /// # Errors
    /// [`Pause`] if it has none.
    pub fn check(&self, address: IpAddr, now: u64) -> Result<(), Pause> {
        let full = self.slot(address).load(Ordering::Relaxed);
        self.judge(full, now)
    }

    /// Takes a try.
    ///
    /// # Errors
    /// [`Pause`] if there is none left; then nothing is taken.
    pub fn take(&self, address: IpAddr, now: u64) -> Result<(), Pause> {
        let slot = self.slot(address);
        let mut full = slot.load(Ordering::Relaxed);
        loop {
            self.judge(full, now)?;
            let next = full.max(now).saturating_add(self.every());
            match slot.compare_exchange_weak(full, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(changed) => full = changed,
            }
        }
    }

    fn every(&self) -> u64 {
        u64::try_from(self.rate.every.as_millis()).unwrap_or(u64::MAX)
    }

    fn judge(&self, full: u64, now: u64) -> Result<(), Pause> {
        let allowed = self
            .every()
            .saturating_mul(u64::from(self.rate.burst.saturating_sub(1)));
        let owed = full.saturating_sub(now);
        match owed.checked_sub(allowed) {
            None | Some(0) => Ok(()),
            Some(over) => Err(Pause(Duration::from_millis(over))),
        }
    }

    fn slot(&self, address: IpAddr) -> &AtomicU64 {
        let hash = self.hasher.hash_one(network_of(address));
        let index = usize::try_from(hash % SLOTS as u64).unwrap_or(0);
        &self.slots[index]
    }
}

/// What counts as one address: IPv6 is given out by the /64.
fn network_of(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6) & !u128::from(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        burst: 3,
        every: Duration::from_secs(10),
    };
    const NOW: u64 = 1_700_000_000_000;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_burst_and_then_one_try_each_interval() {
        let limiter = Limiter::new(RATE);
        let one = address("192.0.2.1");
        for _ in 0..3 {
            assert_eq!(limiter.take(one, NOW), Ok(()));
        }
        let pause = Err(Pause(Duration::from_secs(10)));
        assert_eq!(limiter.take(one, NOW), pause);
        assert_eq!(limiter.check(one, NOW), pause);
        assert!(limiter.take(one, NOW + 9_999).is_err());
        assert_eq!(limiter.take(one, NOW + 10_000), Ok(()));
        assert!(limiter.take(one, NOW + 10_000).is_err());
        for _ in 0..3 {
            assert_eq!(limiter.take(one, NOW + 100_000), Ok(()));
        }
        assert!(limiter.take(one, NOW + 100_000).is_err());
    }

    #[test]
    fn looking_takes_nothing() {
        let limiter = Limiter::new(RATE);
        for _ in 0..10 {
            assert_eq!(limiter.check(address("192.0.2.1"), NOW), Ok(()));
        }
        assert_eq!(limiter.take(address("192.0.2.1"), NOW), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_mapped_ipv4_is_ipv4() {
        let same = |a, b| network_of(address(a)) == network_of(address(b));
        assert!(same("2001:db8::1", "2001:db8::ffff:1"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("192.0.2.2", "192.0.2.1"));
    }
}
