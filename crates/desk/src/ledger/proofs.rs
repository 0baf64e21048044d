//! What proves a record: where each of its events is in the log, and the checkpoint that says so.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use schalter_audit::tree::{Tree, leaf_hash};
use schalter_audit::verify::EpochFiles;
use schalter_audit::{Checkpoint, CommitmentKey, Epoch, Hash, LEAF_BYTES, Leaf, growth, leaves};
use schalter_durable::{Disk, System};
use schalter_model::AuthorityId;

use super::log::{CHECKPOINT, LEAVES, epochs};
use super::{Ledger, LedgerError};

/// Where an event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// In which epoch.
    pub epoch: Epoch,
    /// Its leaf's place there, from 0.
    pub index: u64,
    /// Hashes from its sibling up to the root's child (RFC 9162 §2.1.3).
    pub proof: Vec<Hash>,
}

/// What proves that a record's events are in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordProof {
    /// Opens the leaves of this appointment and of no other.
    pub key: CommitmentKey,
    /// A checkpoint of each epoch that an event is in, as signed notes, from old to new.
    pub notes: Vec<String>,
    /// What the last of them says.
    pub newest: Option<Checkpoint>,
    /// Events by number. One whose epoch was deleted is not among them.
    pub places: BTreeMap<u64, Place>,
}

/// Leaves of events, by their numbers.
pub(crate) type Numbered = Vec<(u64, Leaf)>;

/// Which checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of which epoch; the newest without.
    pub epoch: Option<Epoch>,
    /// With a proof that the log has grown since it had so many leaves.
    pub old: Option<u64>,
}

/// An epoch as it was at a moment: its checkpoint, and the leaves that this signs.
pub(super) struct Snapshot {
    epoch: Epoch,
    folder: PathBuf,
    /// The checkpoint, signed.
    pub(super) note: String,
    checkpoint: Checkpoint,
    /// Number of its first event.
    first: u64,
}

impl Ledger {
    /// A checkpoint of an authority's log; `None` where there is none. Reads files.
    ///
    /// # Errors
    /// [`LedgerError::Disk`].
    pub fn checkpoint(
        &self,
        authority: &AuthorityId,
        wanted: &Wanted,
    ) -> Result<Option<String>, LedgerError> {
        let mut snapshots = snapshots(&*self.disk, &self.folder_of(authority))?;
        let Some(epoch) = &wanted.epoch else {
            let newest = snapshots.pop();
            return newest.map_or(Ok(None), |one| one.since(wanted.old));
        };
        let found = snapshots.into_iter().find(|one| one.epoch == *epoch);
        found.map_or(Ok(None), |one| one.since(wanted.old))
    }

    /// What proves records, each given as the key that opens it and its events' leaves by their numbers. Reads the epochs that they are in, each
    /// once.
    ///
    /// # Errors
    /// [`LedgerError::Disk`].
    pub(crate) fn prove(
        &self,
        authority: &AuthorityId,
        records: Vec<(CommitmentKey, Numbered)>,
    ) -> Result<Vec<RecordProof>, LedgerError> {
        let (mut proofs, mut left) = (Vec::new(), Vec::new());
        for (key, events) in records {
            proofs.push(RecordProof {
                key,
                notes: Vec::new(),
                newest: None,
                places: BTreeMap::new(),
            });
            left.push(events);
        }
        // From new to old: where the database was set back, a number is that of the newer event.
        for snapshot in snapshots(&*self.disk, &self.folder_of(authority))?
            .into_iter()
            .rev()
        {
            let is_here = |(seq, _): &(u64, Leaf)| *seq >= snapshot.first;
            if !left.iter().flatten().any(is_here) {
                continue;
            }
            let bytes = read(&snapshot.folder.join(LEAVES))?.unwrap_or_default();
            let size = usize::try_from(snapshot.checkpoint.size).unwrap_or(usize::MAX);
            let own: Vec<_> = leaves(&bytes).take(size).collect();
            let tree = Tree::of(own.iter().map(|leaf| leaf_hash(*leaf)));
            for (proof, left) in proofs.iter_mut().zip(&mut left) {
                let (here, before) = std::mem::take(left).into_iter().partition(is_here);
                *left = before;
                let before = proof.places.len();
                snapshot.place(&own, &tree, here, &mut proof.places);
                if proof.places.len() > before {
                    let newest = || snapshot.checkpoint.clone();
                    proof.newest.get_or_insert_with(newest);
                    proof.notes.insert(0, snapshot.note.clone());
                }
            }
        }
        Ok(proofs)
    }
}

impl Snapshot {
    /// The checkpoint, with what proves that it goes on from one of `old` leaves; `None` if it has fewer.
    fn since(self, old: Option<u64>) -> Result<Option<String>, LedgerError> {
        let Some(old) = old else {
            return Ok(Some(self.note));
        };
        let Some(bytes) = read(&self.folder.join(LEAVES))? else {
            return Ok(None);
        };
        let whole = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        let (from, to) = (whole(old), whole(self.checkpoint.size));
        let tree = Tree::of(leaves(&bytes).take(to).map(|leaf| leaf_hash(leaf)));
        // Nothing goes before the empty tree; that any other begins with it needs no proof.
        let proof = if from == 0 {
            Some(Vec::new())
        } else {
            tree.consistency(from, to)
        };
        Ok(proof.map(|proof| growth::write(old, &proof, &self.note)))
    }

    fn place(
        &self,
        own: &[&[u8; LEAF_BYTES]],
        tree: &Tree,
        events: Numbered,
        places: &mut BTreeMap<u64, Place>,
    ) {
        for (seq, leaf) in events {
            // The first leaf begins the epoch.
            let index = seq - self.first + 1;
            let place = usize::try_from(index).unwrap_or(usize::MAX);
            // It is another where the appointment had no key any more when the leaf was written.
            let there = own
                .get(place)
                .is_some_and(|there| **there == leaf.to_bytes());
            if let Some(proof) = tree.inclusion(place, own.len()).filter(|_| there) {
                let epoch = self.epoch.clone();
                let place = Place {
                    epoch,
                    index,
                    proof,
                };
                places.insert(seq, place);
            }
        }
    }
}

/// Every epoch, from old to new. One that is deleted meanwhile, or was never signed, is not among them.
///
/// What they say is about to be told, and then no power cut may take it back: the newest checkpoint may have its name since just now.
pub(super) fn snapshots(disk: &dyn Disk, folder: &Path) -> Result<Vec<Snapshot>, LedgerError> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut snapshots = Vec::new();
    for epoch in epochs(folder)? {
        let own = folder.join(epoch.to_string());
        // The checkpoint first: leaves only come after those that it signs.
        let Some(note) = read(&own.join(CHECKPOINT))? else {
            continue;
        };
        let note = String::from_utf8_lossy(&note).into_owned();
        let text = note.rfind("\n\n").map(|end| &note[..=end]);
        let checkpoint = text.and_then(|text| Checkpoint::parse(text).ok());
        if let (Some(checkpoint), Some(first)) = (checkpoint, first(&own.join(LEAVES))) {
            snapshots.push(Snapshot {
                epoch,
                folder: own,
                checkpoint,
                first,
                note,
            });
        }
    }
    if let Some(newest) = snapshots.last() {
        let synced = disk.sync_folder(&newest.folder);
        synced.map_err(|error| LedgerError::disk(&newest.folder, error))?;
    }
    Ok(snapshots)
}

/// The newest checkpoint of a log, as a signed note, also while a server writes it; `None` if nothing was signed.
///
/// # Errors
/// [`LedgerError::Disk`].
pub fn newest_checkpoint(folder: &Path) -> Result<Option<String>, LedgerError> {
    let newest = snapshots(&System, folder)?.pop();
    Ok(newest.map(|one| one.note))
}

/// All of a log, for who verifies it; from old to new. An epoch that was never signed is not among it.
///
/// # Errors
/// [`LedgerError::Disk`].
pub fn read_log(folder: &Path) -> Result<Vec<EpochFiles>, LedgerError> {
    let mut files = Vec::new();
    for epoch in epochs(folder)? {
        let own = folder.join(epoch.to_string());
        // The checkpoint first: a server that runs may be appending.
        let Some(note) = read(&own.join(CHECKPOINT))? else {
            continue;
        };
        files.push(EpochFiles {
            epoch,
            checkpoint: String::from_utf8_lossy(&note).into_owned(),
            leaves: read(&own.join(LEAVES))?.unwrap_or_default(),
        });
    }
    Ok(files)
}

/// Number of an epoch's first event.
fn first(path: &Path) -> Option<u64> {
    let mut bytes = [0; LEAF_BYTES];
    File::open(path).ok()?.read_exact(&mut bytes).ok()?;
    match Leaf::from_bytes(&bytes) {
        Ok(Leaf::Begins { next, .. }) => Some(next),
        Ok(Leaf::Event { .. }) | Err(_) => None,
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, LedgerError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LedgerError::disk(path, error)),
    }
}
