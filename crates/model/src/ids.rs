//! Ids: stable names that may be logged. Keys (slots with a generation) belong to their owners.

use std::fmt;
use std::sync::Arc;

/// One worker of this node and the UDP port it owns; counts from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u8);

/// One peer connection's server side: ICE, DTLS, SRTP and SCTP with one client.
///
/// Unique in the process; a participant that joins with two connections has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransportId(pub u64);

/// One published track in the media plane. Unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackId(pub u64);

/// One room's media. Unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId(pub u64);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "room-{}", self.0)
    }
}

impl fmt::Display for TransportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transport-{}", self.0)
    }
}

impl fmt::Display for TrackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "track-{}", self.0)
    }
}

/// The tenant that a key, a room, an official or a record belongs to.
///
/// 1 to 64 characters of `a–z`, `0–9`, `-` and `_`, so that it can stand in file names and labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorityId(Arc<str>);

/// Longest name of an authority, in bytes.
const MAX_AUTHORITY_LEN: usize = 64;

impl AuthorityId {
    /// The authority of keys that name none.
    pub const DEFAULT_NAME: &'static str = "default";

    /// Takes a name as an authority's id.
    ///
    /// # Errors
    /// [`InvalidAuthority`] if it is empty, longer than 64 bytes or has other characters.
    pub fn new(name: &str) -> Result<Self, InvalidAuthority> {
        let fits = (1..=MAX_AUTHORITY_LEN).contains(&name.len());
        let plain = name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if fits && plain {
            Ok(Self(name.into()))
        } else {
            Err(InvalidAuthority)
        }
    }

    /// The name as configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for AuthorityId {
    fn default() -> Self {
        Self(Self::DEFAULT_NAME.into())
    }
}

impl fmt::Display for AuthorityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name that can't be an authority's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an authority's name has 1 to 64 characters of a–z, 0–9, '-' and '_'")]
pub struct InvalidAuthority;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authority_names_are_bounded_and_plain() {
        assert!(AuthorityId::new("stadt-ulm_2").is_ok());
        assert!(AuthorityId::new(&"a".repeat(64)).is_ok());
        for bad in ["", "Ulm", "a b", "../x", "ü", &"a".repeat(65)] {
            assert_eq!(AuthorityId::new(bad), Err(InvalidAuthority), "{bad}");
        }
    }
}
