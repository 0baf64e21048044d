//! All allocations of a shard, found by the client's path or by id; their quotas, ports and deadlines.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

use rustc_hash::FxHashMap;
use schalter_model::{Carrier, Path, RelayId, StreamId, Time, TurnRefusal};

use crate::allocation::{Allocation, Relay};
use crate::ports::Ports;
use crate::request::Family;
use crate::{TurnLimits, UserName};

/// Who an allocation belongs to: a stream is one client, whatever address a proxy says it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    Datagrams(Path),
    Stream(StreamId),
}

impl Client {
    fn of(outer: &Path) -> Self {
        match outer.carrier {
            Carrier::Stream(stream) => Self::Stream(stream),
            Carrier::Udp | Carrier::TurnPort | Carrier::Relay(_) => Self::Datagrams(*outer),
        }
    }
}

/// A place in the table. Its turn makes ids that are never used again.
#[derive(Debug, Default)]
struct Slot {
    turn: u32,
    allocation: Option<Box<Allocation>>,
}

/// The relays that a new allocation is to have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// The family that it can't do without, unless another is named.
    pub(crate) first: Family,
    pub(crate) other: Option<Family>,
    pub(crate) even: bool,
    pub(crate) expires: Time,
}

/// Entries of [`Allocations::deadlines`] beyond two for each allocation before those that no longer count are swept out.
const STALE_DEADLINES: usize = 64;

/// The table.
#[derive(Debug)]
pub(crate) struct Allocations {
    limits: TurnLimits,
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_client: FxHashMap<Client, u32>,
    per_user: FxHashMap<UserName, usize>,
    /// Ports of the first target of each family.
    ports: [Option<Ports>; 2],
    /// An entry counts only if its time is when its allocation is scheduled.
    deadlines: BinaryHeap<Reverse<(Time, RelayId)>>,
    random: u64,
}

impl Allocations {
    pub(crate) fn new(limits: TurnLimits, targets: &[SocketAddr], seed: u64) -> Self {
        let ports = Family::ALL.map(|family| {
            let first = targets.iter().find(|t| Family::of(t) == family)?;
            Some(Ports::new(first.ip(), targets))
        });
        Self {
            limits,
            slots: Vec::new(),
            free: Vec::new(),
            by_client: FxHashMap::default(),
            per_user: FxHashMap::default(),
            ports,
            deadlines: BinaryHeap::new(),
            random: seed,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_client.len()
    }

    /// Whether relays of a family can be had at all.
    pub(crate) fn has_family(&self, family: Family) -> bool {
        self.ports[family as usize].is_some()
    }

    /// The allocation of who sends on `outer`.
    pub(crate) fn by_path(&mut self, outer: &Path) -> Option<(RelayId, &mut Allocation)> {
        let index = *self.by_client.get(&Client::of(outer))?;
        let slot = self.slots.get_mut(index as usize)?;
        Some((id(index, slot.turn), slot.allocation.as_deref_mut()?))
    }

    /// The same, to look at it.
    pub(crate) fn of(&self, outer: &Path) -> Option<(RelayId, &Allocation)> {
        let index = *self.by_client.get(&Client::of(outer))?;
        let slot = self.slots.get(index as usize)?;
        Some((id(index, slot.turn), slot.allocation.as_deref()?))
    }

    /// The allocation with this id, if it is still there.
    pub(crate) fn by_id(&self, relay: RelayId) -> Option<&Allocation> {
        let slot = self.slots.get(relay.0 as u32 as usize)?;
        (slot.turn == (relay.0 >> 32) as u32)
            .then_some(slot.allocation.as_deref())
            .flatten()
    }

    /// The same, to change it.
    pub(crate) fn by_id_mut(&mut self, relay: RelayId) -> Option<&mut Allocation> {
        let slot = self.slots.get_mut(relay.0 as u32 as usize)?;
        (slot.turn == (relay.0 >> 32) as u32)
            .then_some(slot.allocation.as_deref_mut())
            .flatten()
    }

    /// Whether this user may have another allocation.
    pub(crate) fn has_room(&self, user: &UserName) -> Result<(), TurnRefusal> {
        let has = self.per_user.get(user).copied().unwrap_or(0);
        if has >= self.limits.allocations_per_user {
            Err(TurnRefusal::QuotaReached)
        } else if self.len() >= self.limits.allocations {
            Err(TurnRefusal::NoCapacity)
        } else {
            Ok(())
        }
    }

    /// Takes ports for the relays that are wanted, as many as can be had.
    pub(crate) fn relays(&mut self, wanted: &Wanted) -> Result<[Option<Relay>; 2], TurnRefusal> {
        let mut relays = [None; 2];
        let mut refusal = TurnRefusal::FamilyUnsupported;
        for family in [Some(wanted.first), wanted.other].into_iter().flatten() {
            let random = self.next_random();
            let Some(ports) = &mut self.ports[family as usize] else {
                continue;
            };
            match ports.take(random, wanted.even) {
                Some(address) => {
                    let expires = wanted.expires;
                    relays[family as usize] = Some(Relay { address, expires });
                }
                None => refusal = TurnRefusal::NoCapacity,
            }
        }
        if relays.iter().all(Option::is_none) {
            return Err(refusal);
        }
        Ok(relays)
    }

    pub(crate) fn insert(&mut self, allocation: Allocation) {
        let (client, user) = (Client::of(&allocation.outer), allocation.user);
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            u32::try_from(self.slots.len() - 1).expect("TurnLimits::allocations is far below 2^32")
        });
        let slot = &mut self.slots[index as usize];
        slot.allocation = Some(Box::new(allocation));
        let relay = id(index, slot.turn);
        self.by_client.insert(client, index);
        *self.per_user.entry(user).or_default() += 1;
        self.reschedule(relay);
    }

    /// Looks at an allocation when its first relay runs out, unless it is looked at before anyway.
    pub(crate) fn reschedule(&mut self, relay: RelayId) {
        let Some(allocation) = self.by_id_mut(relay) else {
            return;
        };
        let Some(at) = first_deadline(allocation) else {
            return;
        };
        if allocation.scheduled.is_none_or(|scheduled| at < scheduled) {
            allocation.scheduled = Some(at);
            self.deadlines.push(Reverse((at, relay)));
        }
        // Allocations that ended before their time leave entries behind, and a client can make and end as many as it likes.
        if self.deadlines.len() > 2 * self.len() + STALE_DEADLINES {
            let mut deadlines = std::mem::take(&mut self.deadlines);
            deadlines.retain(|Reverse((at, relay))| {
                self.by_id(*relay)
                    .is_some_and(|allocation| allocation.scheduled == Some(*at))
            });
            self.deadlines = deadlines;
        }
    }

    /// Ends the relay of one family, or of both; with the last the allocation ends.
    pub(crate) fn end(&mut self, relay: RelayId, family: Option<Family>) {
        let index = relay.0 as u32;
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        if slot.turn != (relay.0 >> 32) as u32 {
            return;
        }
        let Some(allocation) = slot.allocation.as_deref_mut() else {
            return;
        };
        for (of, ports) in Family::ALL.into_iter().zip(&mut self.ports) {
            if family.is_none_or(|only| only == of)
                && let Some(gone) = allocation.relays[of as usize].take()
                && let Some(ports) = ports
            {
                ports.give_back(gone.address.port());
            }
        }
        if allocation.relays.iter().any(Option::is_some) {
            return;
        }
        let (client, user) = (Client::of(&allocation.outer), allocation.user);
        slot.allocation = None;
        // A slot whose ids are used up is left alone, so that none is ever given twice.
        if let Some(turn) = slot.turn.checked_add(1) {
            slot.turn = turn;
            self.free.push(index);
        }
        self.by_client.remove(&client);
        if let Some(count) = self.per_user.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                self.per_user.remove(&user);
            }
        }
    }

    /// Ends the allocation of a stream that is gone.
    pub(crate) fn on_stream_closed(&mut self, stream: StreamId) {
        if let Some(index) = self.by_client.get(&Client::Stream(stream)).copied() {
            let relay = id(index, self.slots[index as usize].turn);
            self.end(relay, None);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.peek().map(|Reverse((at, _))| *at)
    }

    /// Ends what has run out.
    pub(crate) fn expire(&mut self, now: Time) {
        while let Some(Reverse((at, relay))) = self.deadlines.peek().copied()
            && at <= now
        {
            self.deadlines.pop();
            let Some(allocation) = self
                .by_id_mut(relay)
                .filter(|allocation| allocation.scheduled == Some(at))
            else {
                continue;
            };
            allocation.scheduled = None;
            let relays = allocation.relays;
            let over = |relay: Relay| relay.expires <= now;
            for family in Family::ALL {
                if relays[family as usize].is_some_and(over) {
                    self.end(relay, Some(family));
                }
            }
            if self.by_id(relay).is_some() {
                self.reschedule(relay);
            }
        }
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014): relays can't be reached from outside, so their ports need not be hard to
    /// guess.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn first_deadline(allocation: &Allocation) -> Option<Time> {
    let relays = allocation.relays.iter().flatten();
    relays.map(|relay| relay.expires).min()
}

fn id(index: u32, turn: u32) -> RelayId {
    RelayId(u64::from(turn) << 32 | u64::from(index))
}
