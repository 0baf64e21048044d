//! The audit log of each authority: what happened, as commitments in a tree whose checkpoints are signed (`docs/audit.md`).
//!
//! Owns files: a folder for each authority, in it one for each epoch, in it `leaves`, the newest `checkpoint` and the `vkey` that it is
//! verified with. What was signed is on the disk before it is told to anybody; what was not is written anew from the store's events after a
//! crash. Refuses to go on in a log that is not as its own checkpoint says: then events wait in the store, and somebody must look.

mod log;
#[cfg(test)]
mod power_cut;
mod proofs;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use schalter_audit::note::{SigningKey, VerifyingKey};
use schalter_durable::{Disk, FILE_MODE, System, make_folder, replace};
use schalter_model::AuthorityId;
use tokio::sync::OwnedMutexGuard;

use crate::domain::Timestamp;
use log::Home;
pub(crate) use log::{Entry, Log};
pub use proofs::{Place, RecordProof, Wanted, newest_checkpoint, read_log};

/// File beside the logs with what the newest checkpoints are verified with. Its name, like the other, can't be an authority's.
pub const VKEY_FILE: &str = "log.vkey";
const LOCK_FILE: &str = "server.lock";

/// How long an epoch lasts, by the calendar in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Period {
    /// A day.
    Day,
    /// A month.
    #[default]
    Month,
    /// A year.
    Year,
}

impl Period {
    /// The stretch that a moment is in: `2026-11-29`, `2026-11` or `2026`.
    pub fn of(self, at: Timestamp) -> String {
        let mut text = at.to_string();
        text.truncate(match self {
            Self::Day => 10,
            Self::Month => 7,
            Self::Year => 4,
        });
        text
    }
}

/// The first moment after a stretch; `None` if it is none.
fn end_of(period: &str) -> Option<Timestamp> {
    const DAY_S: u64 = 86_400;
    let number = |range: std::ops::Range<usize>| period.get(range)?.parse::<u32>().ok();
    let (year, month) = (number(0..4)?, number(5..7));
    let text = match (period.len(), month) {
        (10, _) => {
            let day: Timestamp = format!("{period}T00:00:00Z").parse().ok()?;
            return Some(day.plus_s(DAY_S));
        }
        (7, Some(month @ 1..=11)) => format!("{year:04}-{:02}-01T00:00:00Z", month + 1),
        _ => format!("{:04}-01-01T00:00:00Z", year + 1),
    };
    text.parse().ok()
}

/// What a log goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerRules {
    /// How long an epoch lasts.
    pub period: Period,
    /// Days that an epoch is kept after its end, unless the authority keeps records longer.
    pub keep_days: u32,
}

/// The log can't be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The disk.
    #[error("{0}")]
    Disk(String),
    /// What is there is not what was signed.
    #[error("log mismatch in {0}: {1}; see docs/audit.md")]
    Mismatch(String, String),
    /// Another process has it.
    #[error("{0}: another server writes the logs in this folder")]
    Locked(String),
}

impl LedgerError {
    fn disk(path: &Path, error: impl std::fmt::Display) -> Self {
        Self::Disk(format!("{}: {error}", path.display()))
    }
}

/// What the logs count; absolute values since start unless a field says "now".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerStats {
    /// Leaves in the newest epochs, now.
    pub leaves: u64,
    /// Events that are not in their log yet, now.
    pub behind: u64,
    /// Logs that can't be written, now.
    pub broken: u64,
    /// Times that one couldn't.
    pub failures: u64,
}

/// The log of one authority.
#[derive(Debug, Default)]
struct Slot {
    log: Arc<tokio::sync::Mutex<Option<Log>>>,
    leaves: AtomicU64,
    behind: AtomicU64,
    /// The last event that is in the log for good.
    through: AtomicU64,
    broken: AtomicBool,
}

/// Every authority's log. Only one process at a time has a folder.
#[derive(Debug)]
pub struct Ledger {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    key: Arc<SigningKey>,
    rules: LedgerRules,
    slots: Mutex<BTreeMap<AuthorityId, Arc<Slot>>>,
    failures: AtomicU64,
    /// Locked. The system unlocks it however the process ends.
    _lock: File,
}

/// A log that is written by nobody else meanwhile; `None` until it was opened.
pub(crate) type Held = OwnedMutexGuard<Option<Log>>;

impl Ledger {
    /// Takes a folder, which is made if it is not there. Its logs are opened when they are first written.
    ///
    /// # Errors
    /// [`LedgerError::Disk`], [`LedgerError::Locked`].
    pub fn open(folder: &Path, key: SigningKey, rules: LedgerRules) -> Result<Self, LedgerError> {
        Self::open_on(Arc::new(System), folder, key, rules)
    }

    /// As [`Self::open`], on another disk than the machine's.
    ///
    /// # Errors
    /// [`LedgerError::Disk`], [`LedgerError::Locked`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        folder: &Path,
        key: SigningKey,
        rules: LedgerRules,
    ) -> Result<Self, LedgerError> {
        make_folder(&*disk, folder).map_err(|error| LedgerError::disk(folder, error))?;
        let path = folder.join(LOCK_FILE);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(|error| LedgerError::disk(&path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(LedgerError::Locked(folder.display().to_string()));
            }
            Err(std::fs::TryLockError::Error(error)) => {
                return Err(LedgerError::disk(&path, error));
            }
        }
        let vkey = format!("{}\n", key.public());
        write_whole(&*disk, &folder.join(VKEY_FILE), &vkey)?;
        Ok(Self {
            disk,
            folder: folder.to_owned(),
            key: Arc::new(key),
            rules,
            slots: Mutex::default(),
            failures: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// What its checkpoints are verified with.
    pub fn public_key(&self) -> &VerifyingKey {
        self.key.public()
    }

    /// How long epochs last and are kept.
    pub const fn rules(&self) -> LedgerRules {
        self.rules
    }

    /// What was counted until now.
    pub fn stats(&self) -> LedgerStats {
        let mut stats = LedgerStats {
            failures: self.failures.load(Ordering::Relaxed),
            ..LedgerStats::default()
        };
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in slots.values() {
            stats.leaves += slot.leaves.load(Ordering::Relaxed);
            stats.behind += slot.behind.load(Ordering::Relaxed);
            stats.broken += u64::from(slot.broken.load(Ordering::Relaxed));
        }
        stats
    }

    fn slot(&self, authority: &AuthorityId) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(authority.clone()).or_default())
    }

    /// Waits until nobody writes an authority's log.
    pub(crate) async fn hold(&self, authority: &AuthorityId) -> Held {
        let log = Arc::clone(&self.slot(authority).log);
        log.lock_owned().await
    }

    /// Opens a log unless it is.
    pub(crate) fn opener(
        &self,
        authority: &AuthorityId,
    ) -> impl FnOnce(&mut Option<Log>) -> Result<&mut Log, LedgerError> + Send + use<> {
        let home = Home {
            disk: Arc::clone(&self.disk),
            folder: self.folder_of(authority),
            authority: authority.to_string(),
            key: Arc::clone(&self.key),
            period: self.rules.period,
        };
        move |log| match log {
            Some(log) => Ok(log),
            None => Ok(log.insert(Log::open(home)?)),
        }
    }

    fn folder_of(&self, authority: &AuthorityId) -> PathBuf {
        self.folder.join(authority.as_str())
    }

    /// The last event that is in an authority's log for good; what comes after it must not be purged.
    pub(crate) fn through(&self, authority: &AuthorityId) -> u64 {
        self.slot(authority).through.load(Ordering::Relaxed)
    }

    /// Notes how far a log is.
    pub(crate) fn note(&self, authority: &AuthorityId, log: &Log, last: u64) {
        let slot = self.slot(authority);
        slot.leaves.store(log.size(), Ordering::Relaxed);
        slot.through.store(log.through(), Ordering::Relaxed);
        let behind = last.saturating_sub(log.through());
        slot.behind.store(behind, Ordering::Relaxed);
        if slot.broken.swap(false, Ordering::Relaxed) {
            tracing::info!(%authority, "the audit log is written again");
        }
    }

    /// Notes that a log can't be written, and says so once.
    pub(crate) fn note_failure(&self, authority: &AuthorityId, last: u64, error: &LedgerError) {
        let slot = self.slot(authority);
        self.failures.fetch_add(1, Ordering::Relaxed);
        let through = slot.through.load(Ordering::Relaxed);
        slot.behind
            .store(last.saturating_sub(through), Ordering::Relaxed);
        if !slot.broken.swap(true, Ordering::Relaxed) {
            tracing::error!(%authority, %error, "the audit log can't be written; events wait, and are not erased");
        }
    }
}

/// Writes a file whole: a crash leaves the old one or the new one.
fn write_whole(disk: &dyn Disk, path: &Path, text: &str) -> Result<(), LedgerError> {
    let written = replace(disk, path, text.as_bytes());
    written
        .map(drop)
        .map_err(|error| LedgerError::disk(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_end_where_the_next_begins() {
        let at: Timestamp = "2026-12-31T23:59:59.999Z".parse().unwrap();
        for (period, name) in [
            (Period::Day, "2026-12-31"),
            (Period::Month, "2026-12"),
            (Period::Year, "2026"),
        ] {
            assert_eq!(period.of(at), name);
            let end = end_of(name).unwrap();
            assert_eq!(end.to_string(), "2027-01-01T00:00:00.000Z", "{name}");
            assert!(period.of(end).as_str() > name);
        }
        let end = end_of("2028-02").unwrap();
        assert_eq!(end.to_string(), "2028-03-01T00:00:00.000Z");
        assert_eq!(end_of("x"), None);
        assert_eq!(end_of("2026-02-31"), None);
    }
}
