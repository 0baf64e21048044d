//! Where appointments are kept: one trait, SQLite behind it.
//!
//! An appointment is read and written as a whole, with the version that it had when it was read: whoever comes second with the
//! same version is told so and reads again. What a change tells integrators is numbered and kept in the same transaction.
//! [`conformance`] says what every backend must do.

pub mod conformance;
mod migrations;
mod sqlite;
mod statements;
mod threads;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use schalter_audit::CommitmentKey;
use schalter_model::AuthorityId;

use crate::domain::{
    Appointment, AppointmentId, Digest, Event, ExternalRef, Fact, Retention, Timestamp,
};

pub use sqlite::SqliteStore;

/// Most events that one call answers with.
pub const MAX_EVENTS: usize = 1_000;
/// Most appointments that one call answers with: a large office has a few hundred a day.
pub const MAX_APPOINTMENTS: usize = 2_000;

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It has another version by now, or is gone.
    #[error("the appointment changed meanwhile")]
    Conflict,
    /// An answer is kept under the same idempotency key by now.
    #[error("an answer is kept under this key already")]
    Repeated,
    /// The file, the disk, or what is in it.
    #[error("the desk's database: {0}")]
    Failed(String),
}

/// Answers later.
pub type StoreAnswer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The answer to a request with an idempotency key, sealed so that the file alone tells nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Digest of authority, key of the caller, path and idempotency key.
    pub slot: Digest,
    /// Digest of the body that was sent.
    pub request: Digest,
    /// The appointment it tells of, with which it is erased.
    pub appointment: AppointmentId,
    /// HTTP status.
    pub status: u16,
    /// Sealed.
    pub body: Vec<u8>,
    /// When it was given.
    pub at: Timestamp,
}

/// A change, to be made as a whole or not at all.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The appointment as it is to be. Its `version` is one more than the one that was read: 1 if it is new.
    pub appointment: Appointment,
    /// What happened, in this order.
    pub facts: Vec<Fact>,
    /// When.
    pub at: Timestamp,
    /// By whom; see [`Event::by`].
    pub by: String,
    /// The answer to be kept with it.
    pub keep: Option<Kept>,
}

/// Which appointments a list has: those that match everything that is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Starting at or after.
    pub from: Option<Timestamp>,
    /// Starting before.
    pub to: Option<Timestamp>,
    /// With this reference.
    pub external_ref: Option<ExternalRef>,
    /// After this one in the order of start and id.
    pub after: Option<(Timestamp, AppointmentId)>,
    /// Most of them; [`MAX_APPOINTMENTS`] at most.
    pub limit: usize,
}

/// Keeps appointments, events, kept answers, the cursors of webhooks and how long all of it is kept. When a call has answered, a crash takes nothing
/// of it back.
pub trait Store: Send + Sync + 'static {
    /// An appointment by id.
    fn load<'a>(
        &'a self,
        authority: &'a AuthorityId,
        id: &'a AppointmentId,
    ) -> StoreAnswer<'a, Option<Appointment>>;

    /// The appointment that has a link or a session with this digest.
    fn find<'a>(&'a self, digest: &'a Digest) -> StoreAnswer<'a, Option<Appointment>>;

    /// Appointments in the order of start and id.
    fn list<'a>(
        &'a self,
        authority: &'a AuthorityId,
        filter: Filter,
    ) -> StoreAnswer<'a, Vec<Appointment>>;

    /// Appointments that are not over, and whose planned end is before `ends_before`.
    fn overdue<'a>(
        &'a self,
        authority: &'a AuthorityId,
        ends_before: Timestamp,
    ) -> StoreAnswer<'a, Vec<Appointment>>;

    /// Makes a change. Fails with [`StoreError::Conflict`] unless the stored version is one less than the new one, and with
    /// [`StoreError::Repeated`] if an answer is kept under the same slot. Answers with the number of the last event.
    fn commit(&self, commit: Commit) -> StoreAnswer<'_, u64>;

    /// Erases appointments, the answers kept for them and what leads to them, and their commitment keys, so that the file holds nothing of their people.
    /// Answers with how many there were.
    fn erase<'a>(
        &'a self,
        authority: &'a AuthorityId,
        ids: Vec<AppointmentId>,
    ) -> StoreAnswer<'a, usize>;

    /// Erases, as [`Self::erase`] does, appointments that were over before `before`, and events from before then with numbers up to
    /// `through`. Answers with the ids of the appointments, at most [`MAX_APPOINTMENTS`].
    fn purge<'a>(
        &'a self,
        authority: &'a AuthorityId,
        before: Timestamp,
        through: u64,
    ) -> StoreAnswer<'a, Vec<AppointmentId>>;

    /// The keys under which appointments' events are committed to in the audit log. Of those that have none, what comes with the id becomes
    /// it. One that is not there, or another authority's, has none: it was erased, and its key with it.
    fn commitment_keys<'a>(
        &'a self,
        authority: &'a AuthorityId,
        fresh: BTreeMap<AppointmentId, CommitmentKey>,
    ) -> StoreAnswer<'a, BTreeMap<AppointmentId, CommitmentKey>>;

    /// Events with numbers greater than `after`, in order, at most `limit` and [`MAX_EVENTS`].
    fn events<'a>(
        &'a self,
        authority: &'a AuthorityId,
        after: u64,
        limit: usize,
    ) -> StoreAnswer<'a, Vec<Event>>;

    /// Every event of some appointments, in order.
    fn history<'a>(
        &'a self,
        authority: &'a AuthorityId,
        appointment: &'a AppointmentId,
    ) -> StoreAnswer<'a, Vec<Event>>;

    /// The number of the last event, 0 if there was none.
    fn last_event<'a>(&'a self, authority: &'a AuthorityId) -> StoreAnswer<'a, u64>;

    /// The answer kept under a slot.
    fn kept<'a>(&'a self, slot: &'a Digest) -> StoreAnswer<'a, Option<Kept>>;

    /// Forgets answers from before then, and digests of tokens that were good until then.
    fn forget(&self, answers_before: Timestamp, now: Timestamp) -> StoreAnswer<'_, ()>;

    /// Notes a token that is good once. Answers with whether it is the first time.
    fn use_once<'a>(&'a self, token: &'a Digest, until: Timestamp) -> StoreAnswer<'a, bool>;

    /// Notes how long what an authority has is kept, in place of what was noted before.
    fn set_retention<'a>(
        &'a self,
        authority: &'a AuthorityId,
        retention: Retention,
    ) -> StoreAnswer<'a, ()>;

    /// What was noted of every authority.
    fn retentions(&self) -> StoreAnswer<'_, BTreeMap<AuthorityId, Retention>>;

    /// How far a receiver of webhooks is: the number of the last event that it took.
    fn cursor<'a>(
        &'a self,
        authority: &'a AuthorityId,
        receiver: &'a str,
    ) -> StoreAnswer<'a, Option<u64>>;

    /// Has what was written where a copy of the store finds it. The last that is asked of a store.
    fn finish(&self) -> StoreAnswer<'_, ()>;

    /// Notes how far a receiver of webhooks is.
    fn set_cursor<'a>(
        &'a self,
        authority: &'a AuthorityId,
        receiver: &'a str,
        seq: u64,
    ) -> StoreAnswer<'a, ()>;
}
