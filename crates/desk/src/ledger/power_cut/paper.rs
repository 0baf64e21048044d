//! A store that has what it answered, and of which each state can be had again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use schalter_audit::CommitmentKey;
use schalter_model::AuthorityId;
use schalter_testkit::SimDisk;

use crate::domain::{
    Appointment, AppointmentId, Digest, Event, EventKind, Fact, Retention, Timestamp,
};
use crate::store::{Commit, Filter, Kept, Store, StoreAnswer, StoreError};

/// What the store has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Stored {
    pub(super) events: Vec<Event>,
    pub(super) cursor: Option<u64>,
    pub(super) keys: BTreeMap<AppointmentId, CommitmentKey>,
    /// Appointments that were erased before their events were logged: each time that these are, it is under another key, which nobody has.
    pub(super) erased: Vec<AppointmentId>,
}

/// A store that has what it answered, and remembers what it had when the disk had had so many calls.
#[derive(Clone)]
pub(super) struct Paper {
    stored: Arc<Mutex<Vec<(usize, Stored)>>>,
    disk: SimDisk,
}

impl Paper {
    pub(super) fn new(stored: Stored, disk: &SimDisk) -> Self {
        Self {
            stored: Arc::new(Mutex::new(vec![(0, stored)])),
            disk: disk.clone(),
        }
    }

    pub(super) fn now(&self) -> Stored {
        self.all().last().unwrap().1.clone()
    }

    fn all(&self) -> MutexGuard<'_, Vec<(usize, Stored)>> {
        self.stored.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut Stored)) {
        let mut stored = self.now();
        change(&mut stored);
        self.all().push((self.disk.calls(), stored));
    }

    /// What it may have had when the disk had had so many calls.
    pub(super) fn after(&self, calls: usize) -> Vec<Stored> {
        let all = self.all();
        let first = all.iter().rposition(|(at, _)| *at < calls).unwrap_or(0);
        let until = all.iter().filter(|(at, _)| *at <= calls).count();
        all[first..until].iter().map(|(_, it)| it.clone()).collect()
    }

    pub(super) fn happens(&self, at: Timestamp) {
        self.change(|stored| {
            let seq = stored.events.len() as u64 + 1;
            stored.events.push(Event {
                authority: super::OFFICE.to_owned(),
                seq,
                at,
                appointment: AppointmentId::from_random([(seq % 3) as u8; 16]),
                by: "system".to_owned(),
                fact: Fact::plain(EventKind::Changed),
            });
        });
    }
}

fn answer<'a, T: Send + 'a>(value: T) -> StoreAnswer<'a, T> {
    Box::pin(async move { Ok(value) })
}

/// What no log asks for.
fn never<'a, T: Send + 'a>() -> StoreAnswer<'a, T> {
    Box::pin(async { Err(StoreError::Failed("not in this test".to_owned())) })
}

impl Store for Paper {
    fn load<'a>(
        &'a self,
        _: &'a AuthorityId,
        _: &'a AppointmentId,
    ) -> StoreAnswer<'a, Option<Appointment>> {
        never()
    }
    fn find<'a>(&'a self, _: &'a Digest) -> StoreAnswer<'a, Option<Appointment>> {
        never()
    }
    fn list<'a>(&'a self, _: &'a AuthorityId, _: Filter) -> StoreAnswer<'a, Vec<Appointment>> {
        never()
    }
    fn overdue<'a>(
        &'a self,
        _: &'a AuthorityId,
        _: Timestamp,
    ) -> StoreAnswer<'a, Vec<Appointment>> {
        answer(Vec::new())
    }
    fn commit(&self, _: Commit) -> StoreAnswer<'_, u64> {
        never()
    }
    fn erase<'a>(&'a self, _: &'a AuthorityId, _: Vec<AppointmentId>) -> StoreAnswer<'a, usize> {
        never()
    }
    fn purge<'a>(
        &'a self,
        _: &'a AuthorityId,
        _: Timestamp,
        _: u64,
    ) -> StoreAnswer<'a, Vec<AppointmentId>> {
        answer(Vec::new())
    }
    fn commitment_keys<'a>(
        &'a self,
        _: &'a AuthorityId,
        fresh: BTreeMap<AppointmentId, CommitmentKey>,
    ) -> StoreAnswer<'a, BTreeMap<AppointmentId, CommitmentKey>> {
        let asked: Vec<_> = fresh.keys().cloned().collect();
        self.change(|stored| {
            for (id, key) in fresh {
                if !stored.erased.contains(&id) {
                    stored.keys.entry(id).or_insert(key);
                }
            }
        });
        let keys = self.now().keys;
        let found = asked.into_iter().filter_map(|id| {
            let key = keys.get(&id)?.clone();
            Some((id, key))
        });
        answer(found.collect())
    }
    fn events<'a>(
        &'a self,
        _: &'a AuthorityId,
        after: u64,
        _: usize,
    ) -> StoreAnswer<'a, Vec<Event>> {
        answer(
            self.now()
                .events
                .into_iter()
                .filter(|event| event.seq > after)
                .collect(),
        )
    }
    fn history<'a>(
        &'a self,
        _: &'a AuthorityId,
        _: &'a AppointmentId,
    ) -> StoreAnswer<'a, Vec<Event>> {
        never()
    }
    fn last_event<'a>(&'a self, _: &'a AuthorityId) -> StoreAnswer<'a, u64> {
        answer(self.now().events.len() as u64)
    }
    fn kept<'a>(&'a self, _: &'a Digest) -> StoreAnswer<'a, Option<Kept>> {
        never()
    }
    fn forget(&self, _: Timestamp, _: Timestamp) -> StoreAnswer<'_, ()> {
        answer(())
    }
    fn use_once<'a>(&'a self, _: &'a Digest, _: Timestamp) -> StoreAnswer<'a, bool> {
        never()
    }
    fn set_retention<'a>(&'a self, _: &'a AuthorityId, _: Retention) -> StoreAnswer<'a, ()> {
        answer(())
    }
    fn retentions(&self) -> StoreAnswer<'_, BTreeMap<AuthorityId, Retention>> {
        answer(BTreeMap::new())
    }
    fn cursor<'a>(&'a self, _: &'a AuthorityId, _: &'a str) -> StoreAnswer<'a, Option<u64>> {
        answer(self.now().cursor)
    }
    fn set_cursor<'a>(&'a self, _: &'a AuthorityId, _: &'a str, seq: u64) -> StoreAnswer<'a, ()> {
        self.change(|stored| stored.cursor = Some(seq));
        answer(())
    }
    fn finish(&self) -> StoreAnswer<'_, ()> {
        answer(())
    }
}
