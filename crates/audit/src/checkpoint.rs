//! What is signed of a log: its origin, how many leaves it has and the root of the tree over them (C2SP tlog-checkpoint).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::note::{self, NoteError, SigningKey, VerifyingKey};
use crate::{Hash, sha256};

/// What a log was at a moment. It says nothing of when: a stamp or a mailbox of somebody else does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log; see [`crate::Origin`].
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// Root.
    pub root: Hash,
}

/// A text is no checkpoint by the keys that are trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The text in it.
    #[error("not a checkpoint: {0}")]
    Malformed(&'static str),
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        let root = STANDARD.encode(self.root);
        format!("{}\n{}\n{root}\n", self.origin, self.size)
    }

    /// Hash of that text, by which the first leaf of the next epoch names it.
    pub fn hash(&self) -> Hash {
        sha256(&[self.text().as_bytes()])
    }

    /// As a note.
    ///
    /// # Errors
    /// [`NoteError`] if the origin has control characters.
    pub fn sign(&self, key: &SigningKey) -> Result<String, NoteError> {
        key.sign(&self.text())
    }

    /// Reads a note that one of `trusted` signed. Answers also which.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open<'k>(
        note: &str,
        trusted: &'k [VerifyingKey],
    ) -> Result<(Self, &'k VerifyingKey), CheckpointError> {
        let (text, signer) = note::open(note, trusted)?;
        Ok((Self::parse(text)?, signer))
    }

    /// Reads the text. Lines after the third are passed over, as the specification wants it.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let malformed = CheckpointError::Malformed;
        let text = text
            .strip_suffix('\n')
            .ok_or(malformed("it doesn't end with a newline"))?;
        let lines: Vec<&str> = text.split('\n').collect();
        let [origin, size, root, ..] = lines[..] else {
            return Err(malformed("it has fewer than three lines"));
        };
        if lines.iter().any(|line| line.is_empty()) {
            return Err(malformed("a line is empty"));
        }
        let number = size.parse::<u64>().ok();
        let size = number
            .filter(|number| number.to_string() == size)
            .ok_or(malformed("the second line is no number of leaves"))?;
        let root = STANDARD.decode(root).ok();
        let root = root
            .and_then(|bytes| Hash::try_from(bytes).ok())
            .ok_or(malformed("the third line is no hash in base64"))?;
        Ok(Self {
            origin: origin.to_owned(),
            size,
            root,
        })
    }
}
