//! What a leaf is a commitment to, and under which key.

use std::fmt;

use aws_lc_rs::hmac;

use crate::{Hash, Leaf};

/// Bytes of a key: as many as the hash has.
pub const KEY_BYTES: usize = 32;
/// What the bytes that are committed to begin with. Another format has another number.
const FORMAT: &[u8] = b"schalter event 1\0";

/// The key of one appointment. Random, and nowhere but in the database and in exported records: once it is gone, nobody can tell what the
/// appointment's leaves say, nor try names or times.
#[derive(Clone, PartialEq, Eq)]
pub struct CommitmentKey([u8; KEY_BYTES]);

impl fmt::Debug for CommitmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommitmentKey(…)")
    }
}

impl CommitmentKey {
    /// Takes random bytes.
    pub const fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes, for who may have them.
    pub const fn reveal(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

/// An event, as JSON has it: that is what people and systems see, and so what is proven. Texts are taken byte by byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening<'a> {
    /// Its number.
    pub seq: u64,
    /// When, in RFC 3339.
    pub at: &'a str,
    /// What.
    pub kind: &'a str,
    /// Where.
    pub appointment: &'a str,
    /// By whom.
    pub by: &'a str,
    /// To whom.
    pub person: Option<&'a str>,
    /// Their role.
    pub role: Option<&'a str>,
    /// Hash of the notice that was shown.
    pub notice: Option<&'a str>,
    /// How it ended.
    pub outcome: Option<&'a str>,
}

impl Opening<'_> {
    /// What is committed to: each member with a tag and its length, so that no two events have the same bytes.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = FORMAT.to_vec();
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        let members = [
            (1, Some(self.at)),
            (2, Some(self.kind)),
            (3, Some(self.appointment)),
            (4, Some(self.by)),
            (5, self.person),
            (6, self.role),
            (7, self.notice),
            (8, self.outcome),
        ];
        for (tag, text) in members {
            let Some(text) = text else { continue };
            bytes.push(tag);
            bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }

    /// HMAC-SHA-256 of it. Keys have one length, so that it binds as the hash does: no other event and key lead to the same.
    pub fn commitment(&self, key: &CommitmentKey) -> Hash {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key.0);
        let mut commitment = [0; 32];
        commitment.copy_from_slice(hmac::sign(&key, &self.bytes()).as_ref());
        commitment
    }

    /// The leaf that stands for it.
    pub fn leaf(&self, key: &CommitmentKey) -> Leaf {
        Leaf::Event {
            seq: self.seq,
            commitment: self.commitment(key),
        }
    }
}
