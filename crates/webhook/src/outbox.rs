//! What waits for one receiver, and what is due: order, backoff and bounds. Sans-IO: time goes in, deliveries are
//! polled, and what the spool must note is drained.
//!
//! Of each room only the oldest event is ever under way; its next follows when that one was taken or given up.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use schalter_model::Time;

use crate::backoff;
use crate::config::Limits;
use crate::stats::DropReason;

/// Requests to one receiver at once: rooms don't wait for each other's answers, and a receiver is not flooded.
const AT_ONCE: usize = 8;
/// Failures in a row after which a receiver counts as down, and one request at a time looks whether it still is.
const DOWN_AFTER: u32 = 8;
/// What an event takes beside its body and its room's name, in memory and in the spool.
const OVERHEAD: u64 = 64;

/// An event's place in the order of all.
pub(crate) type Sequence = u64;

/// An event that waits.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// What it is ordered by.
    pub(crate) room: Arc<str>,
    /// The request's body.
    pub(crate) body: Arc<str>,
    /// When it happened, in milliseconds since 1970.
    pub(crate) unix_ms: u64,
}

impl Waiting {
    fn bytes(&self) -> u64 {
        (self.room.len() + self.body.len()) as u64 + OVERHEAD
    }
}

/// A request to make now.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) sequence: Sequence,
    pub(crate) body: Arc<str>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The receiver has it.
    Taken,
    /// The receiver will never take it.
    Refused,
    /// To be made again, at the earliest after what the receiver asked for.
    Again(Option<Duration>),
}

/// What the spool must note, in order.
#[derive(Clone, Debug)]
pub(crate) enum Note {
    /// An event waits from now on.
    Put(Sequence, Waiting),
    /// An event waits no more.
    Done(Sequence),
}

#[derive(Debug)]
struct Entry {
    event: Waiting,
    expires: Time,
    under_way: bool,
}

/// A room that has something waiting.
#[derive(Debug, Default)]
struct Room {
    queue: VecDeque<Sequence>,
    /// Failures of its oldest event.
    failures: u32,
    /// When that may be sent; `None` while it is under way.
    due: Option<Time>,
}

/// Everything that waits for one receiver.
#[derive(Debug)]
pub(crate) struct Outbox {
    limits: Limits,
    entries: BTreeMap<Sequence, Entry>,
    rooms: HashMap<Arc<str>, Room>,
    /// The oldest events of rooms, by when they are due.
    due: BTreeSet<(Time, Sequence)>,
    under_way: usize,
    /// Failures since the receiver last took something.
    failures: u32,
    bytes: u64,
    next: Sequence,
    notes: Vec<Note>,
    dropped: [u64; DropReason::ALL.len()],
    rng: StdRng,
}

impl Outbox {
    pub(crate) fn new(limits: Limits, seed: [u8; 32]) -> Self {
        Self {
            limits,
            entries: BTreeMap::new(),
            rooms: HashMap::new(),
            due: BTreeSet::new(),
            under_way: 0,
            failures: 0,
            bytes: 0,
            next: 0,
            notes: Vec::new(),
            dropped: [0; DropReason::ALL.len()],
            rng: StdRng::from_seed(seed),
        }
    }

    /// Takes an event that is to be delivered. `unix_ms` is the time now, by which its age counts.
    pub(crate) fn push(&mut self, now: Time, unix_ms: u64, event: Waiting) {
        let sequence = self.next;
        self.next += 1;
        let bytes = event.bytes();
        if bytes > self.limits.bytes {
            self.count(DropReason::Bytes);
            return;
        }
        // A clock that was set back makes nothing older than new.
        let age = Duration::from_millis(unix_ms.saturating_sub(event.unix_ms));
        let entry = Entry {
            event: event.clone(),
            expires: now + self.limits.age.saturating_sub(age),
            under_way: false,
        };
        let room = self.rooms.entry(Arc::clone(&event.room)).or_default();
        room.queue.push_back(sequence);
        if room.queue.len() == 1 {
            room.due = Some(now);
            self.due.insert((now, sequence));
        }
        self.notes.push(Note::Put(sequence, event));
        self.entries.insert(sequence, entry);
        self.bytes += bytes;
        self.make_room(now);
    }

    fn make_room(&mut self, now: Time) {
        loop {
            let reason = if self.entries.len() > self.limits.events {
                DropReason::Events
            } else if self.bytes > self.limits.bytes {
                DropReason::Bytes
            } else {
                return;
            };
            // What is under way can't be called back, and is bounded by itself.
            let Some(sequence) = self.oldest().map(|(sequence, _)| sequence) else {
                return;
            };
            self.count(reason);
            self.forget(now, sequence);
        }
    }

    /// The oldest event that is not under way.
    fn oldest(&self) -> Option<(Sequence, Time)> {
        self.entries
            .iter()
            .find(|(_, entry)| !entry.under_way)
            .map(|(sequence, entry)| (*sequence, entry.expires))
    }

    fn expire(&mut self, now: Time) {
        while let Some((sequence, expires)) = self.oldest()
            && expires <= now
        {
            self.count(DropReason::Age);
            self.forget(now, sequence);
        }
    }

    /// The next request to make, if one is due.
    pub(crate) fn poll_delivery(&mut self, now: Time) -> Option<Delivery> {
        self.expire(now);
        if self.under_way >= self.at_once() {
            return None;
        }
        let (at, sequence) = self.due.first().copied()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        let entry = self
            .entries
            .get_mut(&sequence)
            .expect("what is due is waiting");
        entry.under_way = true;
        self.under_way += 1;
        let room = self
            .rooms
            .get_mut(&entry.event.room)
            .expect("an event's room has a queue");
        room.due = None;
        Some(Delivery {
            sequence,
            body: Arc::clone(&entry.event.body),
        })
    }

    /// When to poll again, if nothing else happens.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        let free = self.under_way < self.at_once();
        let due = self.due.first().filter(|_| free).map(|(at, _)| *at);
        let expiry = self.oldest().map(|(_, expires)| expires);
        due.into_iter().chain(expiry).min()
    }

    /// Whether a request is under way, or due now.
    pub(crate) fn is_busy(&self, now: Time) -> bool {
        self.under_way > 0 || self.due.first().is_some_and(|(at, _)| *at <= now)
    }

    fn at_once(&self) -> usize {
        if self.failures >= DOWN_AFTER {
            1
        } else {
            AT_ONCE
        }
    }

    /// A request that [`Self::poll_delivery`] gave has ended.
    pub(crate) fn on_outcome(&mut self, now: Time, sequence: Sequence, outcome: Outcome) {
        let Some(entry) = self.entries.get_mut(&sequence) else {
            return;
        };
        entry.under_way = false;
        self.under_way -= 1;
        match outcome {
            Outcome::Taken | Outcome::Refused => {
                if outcome == Outcome::Refused {
                    self.count(DropReason::Refused);
                }
                self.forget(now, sequence);
                let was_down = self.failures >= DOWN_AFTER;
                self.failures = 0;
                if was_down {
                    self.wake(now);
                }
            }
            Outcome::Again(asked) => {
                self.failures = self.failures.saturating_add(1);
                self.put_off(now, sequence, asked);
                // It may have become too old, or too much, under way.
                self.expire(now);
                self.make_room(now);
            }
        }
    }

    fn put_off(&mut self, now: Time, sequence: Sequence, asked: Option<Duration>) {
        let Some(room) = self
            .entries
            .get(&sequence)
            .and_then(|entry| self.rooms.get_mut(&entry.event.room))
        else {
            return;
        };
        let wait = backoff::wait(room.failures, asked, &mut self.rng);
        room.failures = room.failures.saturating_add(1);
        room.due = Some(now + wait);
        self.due.insert((now + wait, sequence));
    }

    /// The receiver is back: no room waits any longer. How many requests are made at once spreads them.
    fn wake(&mut self, now: Time) {
        let waiting = std::mem::take(&mut self.due);
        for (at, sequence) in waiting {
            let at = at.min(now);
            self.due.insert((at, sequence));
            if let Some(entry) = self.entries.get(&sequence)
                && let Some(room) = self.rooms.get_mut(&entry.event.room)
            {
                room.due = Some(at);
            }
        }
    }

    /// An event leaves, for whatever reason; its room's next one follows.
    fn forget(&mut self, now: Time, sequence: Sequence) {
        let Some(entry) = self.entries.remove(&sequence) else {
            return;
        };
        self.bytes -= entry.event.bytes();
        self.notes.push(Note::Done(sequence));
        let name = &entry.event.room;
        let Some(room) = self.rooms.get_mut(name) else {
            return;
        };
        if room.queue.front() != Some(&sequence) {
            room.queue.retain(|other| *other != sequence);
            return;
        }
        room.queue.pop_front();
        if let Some(at) = room.due.take() {
            self.due.remove(&(at, sequence));
        }
        room.failures = 0;
        match room.queue.front() {
            Some(next) => {
                room.due = Some(now);
                self.due.insert((now, *next));
            }
            None => {
                self.rooms.remove(name);
            }
        }
    }

    fn count(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }

    /// What was dropped since the last call, in the order of [`DropReason::ALL`].
    pub(crate) fn take_dropped(&mut self) -> [u64; DropReason::ALL.len()] {
        std::mem::take(&mut self.dropped)
    }

    /// What the spool must note since the last call.
    pub(crate) fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Everything that waits, in order, as a spool that is written anew has it.
    pub(crate) fn all(&self) -> impl Iterator<Item = Note> {
        self.entries
            .iter()
            .map(|(sequence, entry)| Note::Put(*sequence, entry.event.clone()))
    }

    /// How many events wait, and their bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        (self.entries.len() as u64, self.bytes)
    }
}

#[cfg(test)]
mod tests;
