//! Verifiable logs of what happened in consultations, sans-IO: bytes in, bytes out.
//!
//! Owns the format of a leaf ([`Leaf`]), the tree over leaves ([`tree`], RFC 9162 §2.1), what is signed of it ([`Checkpoint`], [`note`]; C2SP
//! tlog-checkpoint and signed-note), what a leaf is a commitment to ([`Opening`]), and how a log ([`verify`]), a record ([`record`]) and a log's growth ([`growth`]) are held
//! against a checkpoint that somebody kept elsewhere. Refuses to know where files are, what time it is, and who anybody is: the log holds
//! numbers and commitments, nothing else.

mod checkpoint;
pub mod growth;
mod leaf;
pub mod note;
mod opening;
mod origin;
pub mod record;
pub mod tree;
pub mod verify;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use leaf::{LEAF_BYTES, Leaf, LeafError, leaves};
pub use opening::{CommitmentKey, KEY_BYTES, Opening};
pub use origin::{Epoch, Origin, OriginError};

/// SHA-256.
pub type Hash = [u8; 32];

/// SHA-256 of some bytes.
pub(crate) fn sha256(parts: &[&[u8]]) -> Hash {
    use aws_lc_rs::digest::{Context, SHA256};
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut sum = [0; 32];
    sum.copy_from_slice(context.finish().as_ref());
    sum
}
