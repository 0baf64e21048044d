//! How each receiver of a feed stands, and what is counted: written by its task, read by metrics and by whoever looks after it, who may have it
//! pass over events that hold up the rest.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::stats::{FeedStats, RetryReason};

/// Where one receiver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The number of the last event that it took, or that was passed over.
    pub cursor: u64,
    /// The number of the last event that there is, as far as is known.
    pub last: u64,
    /// The event that it fails to take now, and for how many seconds.
    pub stuck: Option<(u64, u64)>,
    /// It wants nothing any more (410).
    pub gone: bool,
}

/// Why nothing is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SkipError {
    /// There are not so many receivers.
    #[error("there is no such receiver")]
    NoReceiver,
    /// It is told nothing anyway.
    #[error("the receiver wants nothing any more (410): it is told nothing until a restart")]
    Gone,
    /// It is not held up.
    #[error("the receiver is not held up: only what it fails to take can be passed over")]
    NotStuck,
    /// The event that holds it up comes later.
    #[error("it was taken already: the event that holds the receiver up is {0}")]
    Taken(u64),
    /// There is no such event yet.
    #[error("there is no such event yet: the last one is {0}")]
    Ahead(u64),
}

/// One receiver's live numbers.
#[derive(Debug, Default)]
pub(super) struct Place {
    cursor: AtomicU64,
    last: AtomicU64,
    gone: AtomicBool,
    /// The event that fails, and since when.
    stuck: Mutex<Option<(u64, Instant)>>,
    /// Events up to this number are passed over.
    skip: watch::Sender<u64>,
}

impl Place {
    pub(super) fn count(&self, cursor: u64, last: u64) {
        self.cursor.store(cursor, Ordering::Relaxed);
        self.last.store(last, Ordering::Relaxed);
    }

    pub(super) fn is_gone(&self) {
        self.gone.store(true, Ordering::Relaxed);
        self.moved_on();
    }

    /// An event was refused; the first time counts.
    pub(super) fn fails(&self, event: u64) {
        let mut stuck = self.stuck();
        if stuck.is_none_or(|(before, _)| before != event) {
            *stuck = Some((event, Instant::now()));
        }
    }

    pub(super) fn moved_on(&self) {
        *self.stuck() = None;
    }

    pub(super) fn skips(&self) -> watch::Receiver<u64> {
        self.skip.subscribe()
    }

    fn stuck(&self) -> std::sync::MutexGuard<'_, Option<(u64, Instant)>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self) -> Standing {
        let stuck = *self.stuck();
        Standing {
            cursor: self.cursor.load(Ordering::Relaxed),
            last: self.last.load(Ordering::Relaxed),
            stuck: stuck.map(|(event, since)| (event, since.elapsed().as_secs())),
            gone: self.gone.load(Ordering::Relaxed),
        }
    }
}

/// The live numbers behind [`FeedStats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) delivered: AtomicU64,
    pub(super) failures: [AtomicU64; RetryReason::ALL.len()],
    pub(super) lost: AtomicU64,
    pub(super) skipped: AtomicU64,
    pub(super) log_failures: AtomicU64,
    pub(super) receivers: Vec<Place>,
}

impl Counters {
    pub(super) fn of(receivers: usize) -> Self {
        Self {
            receivers: std::iter::repeat_with(Place::default)
                .take(receivers)
                .collect(),
            ..Self::default()
        }
    }

    pub(super) fn standings(&self) -> Vec<Standing> {
        self.receivers.iter().map(Place::standing).collect()
    }

    /// Has a receiver pass over the events from the one that holds it up to `through`.
    pub(super) fn skip(&self, receiver: usize, through: u64) -> Result<(), SkipError> {
        let place = self.receivers.get(receiver).ok_or(SkipError::NoReceiver)?;
        let standing = place.standing();
        if standing.gone {
            return Err(SkipError::Gone);
        }
        let (stuck, _) = standing.stuck.ok_or(SkipError::NotStuck)?;
        if through < stuck {
            return Err(SkipError::Taken(stuck));
        }
        // What has not happened yet is not given up unseen.
        if through > standing.last {
            return Err(SkipError::Ahead(standing.last));
        }
        place.skip.send_replace(through);
        Ok(())
    }

    pub(super) fn snapshot(&self) -> FeedStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let standings = self.standings();
        let each = |number: fn(&Standing) -> u64| standings.iter().map(number).collect();
        FeedStats {
            delivered: read(&self.delivered),
            failures: std::array::from_fn(|i| read(&self.failures[i])),
            lost: read(&self.lost),
            skipped: read(&self.skipped),
            log_failures: read(&self.log_failures),
            gone: standings.iter().filter(|one| one.gone).count() as u64,
            backlogs: each(|one| one.last.saturating_sub(one.cursor)),
            stuck_s: each(|one| one.stuck.map_or(0, |(_, seconds)| seconds)),
        }
    }
}
