//! That a log only grew since a checkpoint: the later checkpoint with a consistency proof, in the form in which witnesses take it (C2SP
//! tlog-witness, the body of `add-checkpoint`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::note::VerifyingKey;
use crate::tree::{MAX_PROOF, is_consistent};
use crate::{Checkpoint, CheckpointError, Hash};

/// A log at two moments is not shown to be one that grew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrowthError {
    /// The text.
    #[error("not a proof of growth: {0}")]
    Malformed(&'static str),
    /// The later checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// No checkpoint that was kept is of this log and has the size that the proof begins with.
    #[error("no checkpoint of {0} with {1} leaves is at hand")]
    Unknown(String, u64),
    /// The proof is wrong.
    #[error(
        "{origin}: the log with {new} leaves does not begin with the {old} that were signed before: it was edited"
    )]
    Inconsistent {
        /// Which log.
        origin: String,
        /// Leaves before.
        old: u64,
        /// Leaves after.
        new: u64,
    },
}

/// Writes that a log grew from `old` leaves to what `note` signs.
pub fn write(old: u64, proof: &[Hash], note: &str) -> String {
    let mut text = format!("old {old}\n");
    for hash in proof {
        text.push_str(&STANDARD.encode(hash));
        text.push('\n');
    }
    text.push('\n');
    text.push_str(note);
    text
}

/// Holds such a text against checkpoints that were kept. Answers the one it begins with, and the later one.
///
/// # Errors
/// [`GrowthError`].
pub fn verify<'k>(
    text: &str,
    trusted: &[VerifyingKey],
    kept: &'k [Checkpoint],
) -> Result<(&'k Checkpoint, Checkpoint), GrowthError> {
    let malformed = GrowthError::Malformed;
    let (head, note) = text
        .split_once("\n\n")
        .ok_or(malformed("no empty line is before the checkpoint"))?;
    let mut lines = head.split('\n');
    let old = lines.next().and_then(|line| line.strip_prefix("old "));
    let old = old
        .and_then(|text| {
            let number: u64 = text.parse().ok()?;
            (number.to_string() == text).then_some(number)
        })
        .ok_or(malformed("the first line is not `old` and a number"))?;
    let proof = lines.take(MAX_PROOF + 1).map(|line| {
        let bytes = STANDARD.decode(line).ok();
        bytes.and_then(|bytes| Hash::try_from(bytes).ok())
    });
    let proof: Vec<Hash> = proof
        .collect::<Option<_>>()
        .ok_or(malformed("a line of the proof is no hash in base64"))?;
    let (new, _) = Checkpoint::open(note, trusted)?;
    let Some(known) = kept
        .iter()
        .find(|one| one.size == old && one.origin == new.origin)
    else {
        return Err(GrowthError::Unknown(new.origin, old));
    };
    if !is_consistent((old, &known.root), (new.size, &new.root), &proof) {
        return Err(GrowthError::Inconsistent {
            origin: new.origin,
            old,
            new: new.size,
        });
    }
    Ok((known, new))
}
