//! The files of one authority's log.
//!
//! Order of a batch: leaves, then the checkpoint over them, each on the disk before the next; only then does the store's cursor move. A
//! crash in between leaves leaves that nobody signed: they are cut off when the log is opened, and come again from the store.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schalter_audit::note::{SigningKey, VerifyingKey};
use schalter_audit::tree::{Frontier, leaf_hash};
use schalter_audit::{Checkpoint, Epoch, LEAF_BYTES, Leaf, Origin, leaves};
use schalter_durable::{Disk, DiskFile, Open, make_folder};

use super::{LedgerError, Period, end_of, write_whole};
use crate::domain::Timestamp;

pub(super) const LEAVES: &str = "leaves";
pub(super) const CHECKPOINT: &str = "checkpoint";
const VKEY: &str = "vkey";

/// Whose log it is, where, and what it goes by.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    pub(super) authority: String,
    pub(super) key: Arc<SigningKey>,
    pub(super) period: Period,
}

/// A log that is open.
#[derive(Debug)]
pub(crate) struct Log {
    home: Home,
    /// None until there was an event.
    current: Option<Current>,
    /// Whether the newest epoch must not go on: another key signed it, or the log or the store was set back.
    must_begin: bool,
    /// Whether what comes next doesn't follow on what is there.
    set_back: bool,
}

/// The newest epoch.
#[derive(Debug)]
struct Current {
    epoch: Epoch,
    origin: String,
    file: Box<dyn DiskFile>,
    tree: Frontier,
    /// Number of the event that comes next.
    next: u64,
}

/// Something that happened, to be appended.
pub(crate) struct Entry {
    /// When.
    pub(crate) at: Timestamp,
    /// Its number.
    pub(crate) seq: u64,
    /// What stands for it.
    pub(crate) leaf: Leaf,
    /// Whether its key is gone, so that what stands for it is another leaf each time.
    pub(crate) erased: bool,
}

/// The epochs in an authority's folder, from old to new. What else is there is passed over.
pub(super) fn epochs(folder: &Path) -> Result<Vec<Epoch>, LedgerError> {
    let mut epochs = Vec::new();
    let entries = std::fs::read_dir(folder).map_err(|error| LedgerError::disk(folder, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| LedgerError::disk(folder, error))?;
        if let Some(epoch) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        {
            epochs.push(epoch);
        }
    }
    epochs.sort();
    Ok(epochs)
}

impl Log {
    /// Opens it: holds the newest epoch against its checkpoint, and cuts off what that doesn't sign.
    pub(super) fn open(home: Home) -> Result<Self, LedgerError> {
        make_folder(&*home.disk, &home.folder)
            .map_err(|error| LedgerError::disk(&home.folder, error))?;
        let mut log = Self {
            home,
            current: None,
            must_begin: false,
            set_back: false,
        };
        for epoch in epochs(&log.home.folder)?.into_iter().rev() {
            let own = log.home.folder.join(epoch.to_string());
            let note = match std::fs::read_to_string(own.join(CHECKPOINT)) {
                Ok(note) => note,
                // A crash while it was begun: nobody ever saw anything of it.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    log.remove(&own)?;
                    continue;
                }
                Err(error) => return Err(LedgerError::disk(&own, error)),
            };
            log.go_on(epoch, &own, &note)?;
            break;
        }
        Ok(log)
    }

    fn go_on(&mut self, epoch: Epoch, own: &Path, note: &str) -> Result<(), LedgerError> {
        let mismatch =
            |what: String| LedgerError::Mismatch(format!("{}/{epoch}", self.home.authority), what);
        let path = own.join(VKEY);
        let signer: VerifyingKey = std::fs::read_to_string(&path)
            .map_err(|error| LedgerError::disk(&path, error))?
            .trim()
            .parse()
            .map_err(|error| mismatch(format!("vkey: {error}")))?;
        let (checkpoint, _) = Checkpoint::open(note, std::slice::from_ref(&signer))
            .map_err(|error| mismatch(error.to_string()))?;
        let origin: Option<Origin> = checkpoint.origin.parse().ok();
        if origin.is_none_or(|o| o.epoch != epoch || o.authority != self.home.authority) {
            return Err(mismatch("its checkpoint is of another log".to_owned()));
        }
        let path = own.join(LEAVES);
        let disk = |error| LedgerError::disk(&path, error);
        let bytes = std::fs::read(&path).map_err(disk)?;
        let size = usize::try_from(checkpoint.size).unwrap_or(usize::MAX);
        let mut tree = Frontier::default();
        leaves(&bytes)
            .take(size)
            .for_each(|leaf| tree.push(leaf_hash(leaf)));
        if tree.size() < checkpoint.size {
            return Err(mismatch("leaves are missing".to_owned()));
        }
        if tree.root() != checkpoint.root {
            return Err(mismatch("leaves are not those that were signed".to_owned()));
        }
        let Some(Ok(Leaf::Begins { next, .. })) = leaves(&bytes).next().map(Leaf::from_bytes)
        else {
            return Err(mismatch("its first leaf doesn't begin an epoch".to_owned()));
        };
        let mut file = self.home.disk.open(&path, Open::AsItIs).map_err(disk)?;
        let signed = size * LEAF_BYTES;
        if bytes.len() > signed {
            tracing::info!(
                bytes = bytes.len() - signed,
                "the end of an audit log was not signed before the server ended; it is written anew"
            );
            file.cut(signed as u64).map_err(disk)?;
            file.sync().map_err(disk)?;
        }
        if signer != *self.home.key.public() {
            tracing::warn!("the audit log is signed by another key from now on, in a new epoch");
            self.must_begin = true;
        }
        self.current = Some(Current {
            epoch,
            origin: checkpoint.origin,
            file,
            next: next + checkpoint.size - 1,
            tree,
        });
        Ok(())
    }

    /// Leaves of the newest epoch.
    pub(crate) fn size(&self) -> u64 {
        self.current.as_ref().map_or(0, |own| own.tree.size())
    }

    /// The last event in it, 0 if there is none.
    pub(crate) fn through(&self) -> u64 {
        self.current
            .as_ref()
            .map_or(0, |own| own.next.saturating_sub(1))
    }

    /// Whether the newest epoch has these leaves where their numbers say. Numbers before it are not looked at; of what was erased nobody can
    /// tell more than that its number is there.
    pub(crate) fn has(&self, entries: &[Entry]) -> Result<bool, LedgerError> {
        let Some(own) = &self.current else {
            return Ok(entries.is_empty());
        };
        let path = self.home.folder.join(own.epoch.to_string()).join(LEAVES);
        let bytes = std::fs::read(&path).map_err(|error| LedgerError::disk(&path, error))?;
        let there: Vec<_> = leaves(&bytes).collect();
        let first = own.next + 1 - own.tree.size();
        Ok(entries
            .iter()
            .filter(|entry| entry.seq >= first)
            .all(|entry| {
                let place = usize::try_from(entry.seq - first + 1).unwrap_or(usize::MAX);
                there.get(place).is_some_and(|leaf| {
                    let numbered = matches!(Leaf::from_bytes(leaf), Ok(Leaf::Event { seq, .. }) if seq == entry.seq);
                    **leaf == entry.leaf.to_bytes() || (entry.erased && numbered)
                })
            }))
    }

    /// Has the log go on in an epoch that says that it doesn't follow on the one before.
    pub(crate) fn was_set_back(&mut self) {
        self.must_begin = true;
        self.set_back = true;
    }

    /// Appends what happened, in the order of the numbers, and signs.
    pub(crate) fn append(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        let mut pending: Vec<u8> = Vec::new();
        for entry in entries {
            let period = self.home.period.of(entry.at);
            if self.begins_before(&period, entry.seq) {
                self.write(&mut pending)?;
                self.begin(&period, entry.seq)?;
            }
            let Some(own) = &mut self.current else {
                continue;
            };
            let bytes = entry.leaf.to_bytes();
            own.tree.push(leaf_hash(&bytes));
            own.next = entry.seq + 1;
            pending.extend_from_slice(&bytes);
        }
        self.write(&mut pending)
    }

    /// Ends the newest epoch if its time is over, also where nothing happens.
    pub(crate) fn turn(&mut self, now: Timestamp) -> Result<(), LedgerError> {
        let Some(own) = &self.current else {
            return Ok(());
        };
        let (period, next) = (self.home.period.of(now), own.next);
        if self.begins_before(&period, next) {
            self.begin(&period, next)?;
        }
        Ok(())
    }

    /// Deletes epochs that ended before `before`, except for the newest. Answers how many.
    pub(crate) fn forget(&self, before: Timestamp) -> Result<usize, LedgerError> {
        let mut gone = 0;
        let newest = self.current.as_ref().map(|own| &own.epoch);
        for epoch in epochs(&self.home.folder)? {
            let ended = end_of(epoch.period()).is_some_and(|end| end < before);
            if ended && newest.is_some_and(|newest| epoch < *newest) {
                let path = self.home.folder.join(epoch.to_string());
                self.remove(&path)?;
                gone += 1;
            }
        }
        Ok(gone)
    }

    /// Whether an event with this number in this stretch of time begins an epoch. Time that runs back begins none.
    fn begins_before(&self, period: &str, seq: u64) -> bool {
        self.must_begin
            || self
                .current
                .as_ref()
                .is_none_or(|own| own.epoch.period() < period || own.next != seq)
    }

    fn begin(&mut self, period: &str, next: u64) -> Result<(), LedgerError> {
        let broken = |error: &dyn std::fmt::Display| LedgerError::Disk(error.to_string());
        let (epoch, former, goes_on) = match &self.current {
            None => (
                Epoch::first(period).map_err(|error| broken(&error))?,
                [0; 32],
                !self.set_back,
            ),
            Some(own) => {
                let epoch = if own.epoch.period() < period {
                    Epoch::first(period).map_err(|error| broken(&error))?
                } else {
                    own.epoch.again()
                };
                let goes_on = own.next == next && !self.set_back;
                (epoch, own.checkpoint().hash(), goes_on)
            }
        };
        let own = self.home.folder.join(epoch.to_string());
        let disk = &*self.home.disk;
        make_folder(disk, &own).map_err(|error| LedgerError::disk(&own, error))?;
        let vkey = format!("{}\n", self.home.key.public());
        write_whole(disk, &own.join(VKEY), &vkey)?;
        let path = own.join(LEAVES);
        let file = disk
            .open(&path, Open::New)
            .map_err(|error| LedgerError::disk(&path, error))?;
        // Before there is a checkpoint: one without its leaves is a log that somebody must look at.
        disk.sync_folder(&own)
            .map_err(|error| LedgerError::disk(&own, error))?;
        let leaf = Leaf::Begins {
            next,
            former,
            goes_on,
        };
        let mut pending = leaf.to_bytes().to_vec();
        let mut tree = Frontier::default();
        tree.push(leaf_hash(&pending));
        let origin = Origin {
            name: self.home.key.public().name().to_owned(),
            authority: self.home.authority.clone(),
            epoch: epoch.clone(),
        };
        self.current = Some(Current {
            epoch,
            origin: origin.to_string(),
            file,
            tree,
            next,
        });
        (self.must_begin, self.set_back) = (false, false);
        self.write(&mut pending)
    }

    /// Writes leaves that are in the tree already, and signs it.
    fn write(&mut self, pending: &mut Vec<u8>) -> Result<(), LedgerError> {
        let Some(own) = self.current.as_mut().filter(|_| !pending.is_empty()) else {
            return Ok(());
        };
        let folder = self.home.folder.join(own.epoch.to_string());
        own.file
            .append(pending)
            .and_then(|()| own.file.sync())
            .map_err(|error| LedgerError::disk(&folder.join(LEAVES), error))?;
        pending.clear();
        let note = own
            .checkpoint()
            .sign(&self.home.key)
            .map_err(|error| LedgerError::Disk(error.to_string()))?;
        write_whole(&*self.home.disk, &folder.join(CHECKPOINT), &note)
    }

    fn remove(&self, epoch: &Path) -> Result<(), LedgerError> {
        let removed = self.home.disk.remove_folder(epoch);
        removed.map_err(|error| LedgerError::disk(epoch, error))
    }
}

impl Current {
    fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            origin: self.origin.clone(),
            size: self.tree.size(),
            root: self.tree.root(),
        }
    }
}
