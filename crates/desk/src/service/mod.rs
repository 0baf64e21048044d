//! The desk: reads an appointment, lets the domain change it, stores it with its events, then tells the room and whoever
//! looks on.
//!
//! Nothing is told to a room before it is stored: what a crash leaves behind is at worst a seat that a restart has emptied anyway.

mod caller;
mod change;
mod decisions;
mod logging;
mod owed;
mod planning;
mod records;
mod sources;
mod upkeep;
mod visits;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use schalter_model::AuthorityId;
use tokio::sync::broadcast;

pub use caller::{Actor, Caller};
pub use change::{Done, Keep, KeepBytes, Replayed, Terms};
pub use planning::{Partner, PersonInput};
pub use records::Record;
pub use sources::{Clock, Random, SystemClock, SystemRandom};
pub use upkeep::{KEEP_ANSWERS_S, Sweep};
pub use visits::{Opened, Standing, Visitor};

use crate::domain::{AppointmentId, Authority, Refusal, Retention, Timestamp};
use crate::ledger::Ledger;
use crate::seats::{SeatError, Seats};
use crate::store::{Store, StoreError};

/// Changes that a slow listener may be behind; then it reads everything anew.
const CHANGES: usize = 256;

/// Authorities by id.
pub type Authorities = BTreeMap<AuthorityId, Arc<Authority>>;

/// What is configured, and was since the start.
#[derive(Debug, Default)]
struct Configured {
    now: Authorities,
    /// The last retention of each authority, also of those that a reload closed.
    retentions: BTreeMap<AuthorityId, Retention>,
    /// What of it the store has.
    noted: BTreeMap<AuthorityId, Retention>,
}

impl Configured {
    fn replace(&mut self, fresh: Authorities) -> Authorities {
        let retentions = fresh.iter().map(|(id, one)| (id.clone(), one.retention()));
        self.retentions.extend(retentions);
        std::mem::replace(&mut self.now, fresh)
    }
}

/// An appointment is not as it was. Tells nothing else: whoever may see it reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Whose.
    pub authority: AuthorityId,
    /// Which.
    pub appointment: AppointmentId,
}

/// Why the desk did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// The domain says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no such authority.
    #[error("there is no such authority")]
    NoAuthority,
    /// The idempotency key came with another body before.
    #[error("this Idempotency-Key was used for another request")]
    KeyReused,
    /// The answer was given before: not an error, but the way out.
    #[error("answered before")]
    Replay(Box<Replayed>),
    /// Too many changed the same appointment at once.
    #[error("too many changes at once: try again")]
    Busy,
    /// The store.
    #[error(transparent)]
    Store(StoreError),
    /// The room. What was decided is stored all the same, and [`Desk::settle`] tells the room until it knows.
    #[error(transparent)]
    Seats(#[from] SeatError),
}

/// The consultation's service. Cheap to share: give out `Arc`s.
pub struct Desk {
    store: Arc<dyn Store>,
    seats: Arc<dyn Seats>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    // Replaced as a whole by a reload; whoever works with one goes on with it.
    authorities: RwLock<Configured>,
    changes: broadcast::Sender<Changed>,
    owed: owed::Owed,
    /// Where what happened is proven, if it is.
    ledger: Option<Arc<Ledger>>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk")
            .field("authorities", &self.read().now.len())
            .finish_non_exhaustive()
    }
}

impl Desk {
    /// A desk over a store and rooms.
    pub fn new(
        store: Arc<dyn Store>,
        seats: Arc<dyn Seats>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        authorities: Authorities,
    ) -> Self {
        let (changes, _) = broadcast::channel(CHANGES);
        let mut configured = Configured::default();
        configured.replace(authorities);
        Self {
            store,
            seats,
            clock,
            random,
            authorities: RwLock::new(configured),
            changes,
            owed: owed::Owed::default(),
            ledger: None,
        }
    }

    /// A desk that logs what happens so that it can be proven.
    #[must_use]
    pub fn with_ledger(mut self, ledger: Ledger) -> Self {
        self.ledger = Some(Arc::new(ledger));
        self
    }

    /// The moment, by the desk's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// An authority by its id, as it is configured now.
    ///
    /// # Errors
    /// [`DeskError::NoAuthority`].
    pub fn authority(&self, id: &AuthorityId) -> Result<Arc<Authority>, DeskError> {
        self.read()
            .now
            .get(id)
            .cloned()
            .ok_or(DeskError::NoAuthority)
    }

    /// Every authority, by id.
    pub fn authorities(&self) -> Vec<Arc<Authority>> {
        self.read().now.values().cloned().collect()
    }

    /// Takes over which authorities there are from now on, and what is configured of them. Answers which are gone: nobody can do anything there
    /// any more, and [`Self::close_rooms`] ends what goes on. What is stored of them stays as long as it would have, and is there again when they
    /// are. [`Self::note_retentions`] has that outlive a restart.
    #[must_use]
    pub fn replace_authorities(&self, fresh: Authorities) -> Vec<AuthorityId> {
        let mut own = self.write();
        let before = own.replace(fresh);
        let gone = before.into_keys().filter(|id| !own.now.contains_key(id));
        gone.collect()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Configured> {
        self.authorities
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, Configured> {
        self.authorities
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears of every change from now on. Whoever lags reads anew.
    pub fn changes(&self) -> broadcast::Receiver<Changed> {
        self.changes.subscribe()
    }

    /// What the desk keeps its things in.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Random bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes);
        bytes
    }
}
