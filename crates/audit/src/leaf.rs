//! What a log consists of: leaves of one size, so that the place of each follows from its number.

use crate::Hash;

/// Bytes of a leaf: a kind, a number (64 bits, big-endian), a hash.
pub const LEAF_BYTES: usize = 1 + 8 + 32;

const EVENT: u8 = 0;
const BEGINS: u8 = 1;
const BEGINS_ANEW: u8 = 2;

/// One of them.
///
/// There is no time in it: with times, whoever sees the log could tell who came when from what they know otherwise. The opening has it to
/// the millisecond, the epoch's name to the month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// Something happened.
    Event {
        /// Its number among the authority's events.
        seq: u64,
        /// HMAC-SHA-256 over it; see [`crate::Opening::commitment`].
        commitment: Hash,
    },
    /// The first leaf of each epoch.
    Begins {
        /// The number of the event that comes next.
        next: u64,
        /// Hash of the former epoch's last checkpoint ([`crate::Checkpoint::hash`]); zeros where there was none.
        former: Hash,
        /// Whether `next` is what comes after the former epoch's last event. It isn't where the database was set back, or the log was begun anew.
        goes_on: bool,
    },
}

/// Bytes are no leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a leaf of kind {0} is unknown")]
pub struct LeafError(pub u8);

impl Leaf {
    /// As the log holds it.
    pub fn to_bytes(&self) -> [u8; LEAF_BYTES] {
        let (kind, number, hash) = match self {
            Self::Event { seq, commitment } => (EVENT, seq, commitment),
            Self::Begins {
                next,
                former,
                goes_on,
            } => (if *goes_on { BEGINS } else { BEGINS_ANEW }, next, former),
        };
        let mut bytes = [0; LEAF_BYTES];
        bytes[0] = kind;
        bytes[1..9].copy_from_slice(&number.to_be_bytes());
        bytes[9..].copy_from_slice(hash);
        bytes
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`LeafError`] with the kind that is unknown.
    pub fn from_bytes(bytes: &[u8; LEAF_BYTES]) -> Result<Self, LeafError> {
        let (mut number, mut hash) = ([0; 8], [0; 32]);
        number.copy_from_slice(&bytes[1..9]);
        hash.copy_from_slice(&bytes[9..]);
        let number = u64::from_be_bytes(number);
        match bytes[0] {
            EVENT => Ok(Self::Event {
                seq: number,
                commitment: hash,
            }),
            kind @ (BEGINS | BEGINS_ANEW) => Ok(Self::Begins {
                next: number,
                former: hash,
                goes_on: kind == BEGINS,
            }),
            kind => Err(LeafError(kind)),
        }
    }
}

/// The leaves in a file's bytes, one after the other; what is left at its end, shorter than a leaf, is not among them.
pub fn leaves(bytes: &[u8]) -> impl ExactSizeIterator<Item = &[u8; LEAF_BYTES]> {
    let (whole, _) = bytes.as_chunks::<LEAF_BYTES>();
    whole.iter()
}
