//! A log held against its own checkpoints, and against those that somebody kept elsewhere.
//!
//! What only the log itself says is believed by nobody: whoever can write its files and has the key can write another one. A checkpoint from
//! elsewhere is what edits, deletions, another order and a shorter log are found by.

use std::collections::BTreeMap;

use crate::note::VerifyingKey;
use crate::tree::{Frontier, leaf_hash};
use crate::{
    Checkpoint, CheckpointError, Epoch, Hash, LEAF_BYTES, Leaf, LeafError, Origin, leaves,
};

/// One epoch, as it is on the disk.
#[derive(Clone, Debug)]
pub struct EpochFiles {
    /// By the name of its folder.
    pub epoch: Epoch,
    /// All leaves.
    pub leaves: Vec<u8>,
    /// Its last checkpoint.
    pub checkpoint: String,
}

/// One epoch that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its last checkpoint.
    pub checkpoint: Checkpoint,
    /// Numbers of its first and its last event; `None` where it has none.
    pub events: Option<(u64, u64)>,
    /// Number of the event that comes next.
    pub next: u64,
    /// Leaves behind those that the checkpoint signs: a server that runs is about to sign them.
    pub unsigned: u64,
    /// Whether it goes on where the former one ended.
    pub goes_on: bool,
}

/// What a log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Epochs in which nothing is wrong, from old to new.
    pub epochs: Vec<Seen>,
    /// Everything that is wrong. The log is good if it is empty.
    pub mismatches: Vec<Mismatch>,
}

/// Something is not as it was signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The checkpoint of an epoch.
    #[error("{0}: its own checkpoint: {1}")]
    Checkpoint(Epoch, CheckpointError),
    /// It is of another log.
    #[error("{0}: its checkpoint is of another log: {1}")]
    Strange(Epoch, String),
    /// Leaves are missing.
    #[error(
        "{epoch}: {there} leaves are there, and {signed} were signed: the log was truncated, or leaves were deleted"
    )]
    Short {
        /// Where.
        epoch: Epoch,
        /// Leaves there are.
        there: u64,
        /// Leaves that a checkpoint has.
        signed: u64,
    },
    /// An epoch that ended goes on.
    #[error("{0}: leaves were added to an epoch that had ended")]
    Long(Epoch),
    /// No leaf.
    #[error("{0}: leaf {1}: {2}")]
    Leaf(Epoch, u64, LeafError),
    /// Another kind of leaf is due there.
    #[error("{0}: leaf {1} is of a kind that doesn't stand there")]
    Kind(Epoch, u64),
    /// Numbers don't go on.
    #[error(
        "{epoch}: leaf {index} is of event {found} where {due} is due: leaves were deleted, inserted or put into another order"
    )]
    Order {
        /// Where.
        epoch: Epoch,
        /// Place, from 0.
        index: u64,
        /// Number that is there.
        found: u64,
        /// Number that comes next.
        due: u64,
    },
    /// Another tree.
    #[error("{0}: the first {1} leaves are not those that {2} signs: at least one was edited")]
    Root(Epoch, u64, Source),
    /// The epoch before is another one than the one that it goes on from.
    #[error(
        "{0}: the epoch before it is not the one that it goes on from: that one was edited, truncated or deleted"
    )]
    Chain(Epoch),
    /// Numbers don't go on from the epoch before.
    #[error(
        "{epoch}: it begins with event {found} where {due} is due, and doesn't say that it begins anew"
    )]
    Gap {
        /// Where.
        epoch: Epoch,
        /// Number that it begins with.
        found: u64,
        /// Number that comes next.
        due: u64,
    },
    /// The checkpoint from elsewhere is of an epoch that is not there.
    #[error("{0}: the log has no such epoch: it was deleted, or the checkpoint is of another log")]
    Gone(String),
    /// There is nothing.
    #[error("the log is empty")]
    Empty,
}

/// Who signs that the leaves were others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The log's own checkpoint.
    Own,
    /// The one from elsewhere.
    Elsewhere,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Own => "its own checkpoint",
            Self::Elsewhere => "the checkpoint from elsewhere",
        })
    }
}

/// The tree over the first `size` leaves; `None` if there are fewer.
pub fn root_of(bytes: &[u8], size: u64) -> Option<Hash> {
    let all = leaves(bytes);
    let size = usize::try_from(size)
        .ok()
        .filter(|size| *size <= all.len())?;
    let mut tree = Frontier::default();
    all.take(size).for_each(|leaf| tree.push(leaf_hash(leaf)));
    Some(tree.root())
}

/// Looks at all epochs of one authority's log, from old to new, and holds them against checkpoints from elsewhere.
pub fn log(files: &[EpochFiles], trusted: &[VerifyingKey], elsewhere: &[Checkpoint]) -> Report {
    let mut report = Report::default();
    let mut origins = BTreeMap::new();
    let mut former: Option<End> = None;
    for (nth, file) in (1..).zip(files) {
        let last = nth == files.len();
        let seen = Checkpoint::open(&file.checkpoint, trusted)
            .map_err(|error| Mismatch::Checkpoint(file.epoch.clone(), error))
            .and_then(|(checkpoint, _)| epoch(file, checkpoint, last, former.as_ref()));
        match seen {
            Ok(seen) => {
                former = Some(End::of(&seen));
                origins.insert(seen.checkpoint.origin.clone(), file);
                report.epochs.push(seen);
            }
            Err(mismatch) => {
                report.mismatches.push(mismatch);
                // The next is told from the one before by what its checkpoint says, signed or not: it names that.
                former = claimed(&file.checkpoint).map(|checkpoint| End {
                    hash: checkpoint.hash(),
                    next: None,
                });
                if let Some(claimed) = claimed(&file.checkpoint) {
                    origins.insert(claimed.origin, file);
                }
            }
        }
    }
    if files.is_empty() {
        report.mismatches.push(Mismatch::Empty);
    }
    for outside in elsewhere {
        report.mismatches.extend(hold(outside, &origins));
    }
    report
}

/// What a note that could not be opened says of itself.
fn claimed(note: &str) -> Option<Checkpoint> {
    let end = note.rfind("\n\n")?;
    Checkpoint::parse(&note[..=end]).ok()
}

/// Where an epoch ended.
struct End {
    hash: Hash,
    /// The number of the event that comes next, if that is known.
    next: Option<u64>,
}

impl End {
    fn of(seen: &Seen) -> Self {
        Self {
            hash: seen.checkpoint.hash(),
            next: Some(seen.next),
        }
    }
}

fn epoch(
    file: &EpochFiles,
    checkpoint: Checkpoint,
    last: bool,
    former: Option<&End>,
) -> Result<Seen, Mismatch> {
    let name = || file.epoch.clone();
    let origin: Option<Origin> = checkpoint.origin.parse().ok();
    if origin.is_none_or(|origin| origin.epoch != file.epoch) {
        return Err(Mismatch::Strange(name(), checkpoint.origin));
    }
    let there = (file.leaves.len() / LEAF_BYTES) as u64;
    if there < checkpoint.size {
        return Err(Mismatch::Short {
            epoch: name(),
            there,
            signed: checkpoint.size,
        });
    }
    if !last && file.leaves.len() as u64 != checkpoint.size * LEAF_BYTES as u64 {
        return Err(Mismatch::Long(name()));
    }
    let mut begin = None;
    let mut due = 0;
    for (index, bytes) in (0..checkpoint.size).zip(leaves(&file.leaves)) {
        let leaf = Leaf::from_bytes(bytes).map_err(|error| Mismatch::Leaf(name(), index, error))?;
        match (index, leaf) {
            (
                0,
                Leaf::Begins {
                    next,
                    former,
                    goes_on,
                },
            ) => {
                begin = Some((next, former, goes_on));
                due = next;
            }
            (1.., Leaf::Event { seq, .. }) if seq == due => due = due.saturating_add(1),
            (1.., Leaf::Event { seq, .. }) => {
                return Err(Mismatch::Order {
                    epoch: name(),
                    index,
                    found: seq,
                    due,
                });
            }
            (0, Leaf::Event { .. }) | (1.., Leaf::Begins { .. }) => {
                return Err(Mismatch::Kind(name(), index));
            }
        }
    }
    let Some((next, hash, goes_on)) = begin else {
        return Err(Mismatch::Kind(name(), 0));
    };
    if root_of(&file.leaves, checkpoint.size) != Some(checkpoint.root) {
        return Err(Mismatch::Root(name(), checkpoint.size, Source::Own));
    }
    if let Some(former) = former {
        if former.hash != hash {
            return Err(Mismatch::Chain(name()));
        }
        if let Some(due) = former.next.filter(|due| goes_on && *due != next) {
            return Err(Mismatch::Gap {
                epoch: name(),
                found: next,
                due,
            });
        }
    }
    Ok(Seen {
        unsigned: there - checkpoint.size,
        events: (due > next).then(|| (next, due - 1)),
        next: due,
        checkpoint,
        goes_on,
    })
}

/// Holds the log against a checkpoint from elsewhere.
fn hold(outside: &Checkpoint, origins: &BTreeMap<String, &EpochFiles>) -> Option<Mismatch> {
    let Some(file) = origins.get(&outside.origin) else {
        return Some(Mismatch::Gone(outside.origin.clone()));
    };
    let epoch = file.epoch.clone();
    match root_of(&file.leaves, outside.size) {
        None => Some(Mismatch::Short {
            epoch,
            there: (file.leaves.len() / LEAF_BYTES) as u64,
            signed: outside.size,
        }),
        Some(root) if root != outside.root => {
            Some(Mismatch::Root(epoch, outside.size, Source::Elsewhere))
        }
        Some(_) => None,
    }
}
