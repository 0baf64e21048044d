//! The ICE username fragment (RFC 8839 §5.4): 16 characters that carry version, node and shard.
//!
//! A hint for demultiplexing, never a credential: the password and the DTLS fingerprint are those.
//! Layout: `1`, two hex digits shard, four hex digits node, nine characters of randomness.

use std::fmt;

use crate::ShardId;

/// Characters of randomness: 9 of 62 symbols are more than 53 bits.
const RANDOM_LEN: usize = 9;
const LEN: usize = 1 + 2 + 4 + RANDOM_LEN;
const VERSION: u8 = b'1';
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A server-side ICE username fragment.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ufrag([u8; LEN]);

/// Bytes that are no username fragment of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a username fragment of this server")]
pub struct InvalidUfrag;

impl Ufrag {
    /// Makes the fragment for a transport on `shard` of `node` from 64 bits of the caller's randomness.
    pub fn new(node: u16, shard: ShardId, random: u64) -> Self {
        let mut bytes = [VERSION; LEN];
        let mut digits = *b"000000";
        let value = (u32::from(shard.0) << 16) | u32::from(node);
        for (i, digit) in digits.iter_mut().enumerate() {
            let nibble = (value >> (20 - 4 * i)) & 0xf;
            *digit = char::from_digit(nibble, 16).map_or(b'0', |c| c as u8);
        }
        bytes[1..7].copy_from_slice(&digits);
        let mut rest = random;
        for byte in &mut bytes[7..] {
            *byte = ALPHABET[(rest % 62) as usize];
            rest /= 62;
        }
        Self(bytes)
    }

    /// Reads a fragment as a peer sent it.
    ///
    /// # Errors
    /// [`InvalidUfrag`] for another length, version or alphabet.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidUfrag> {
        let fixed: [u8; LEN] = bytes.try_into().map_err(|_| InvalidUfrag)?;
        let hex = fixed[1..7]
            .iter()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b));
        let tail = fixed[7..].iter().all(u8::is_ascii_alphanumeric);
        if fixed[0] == VERSION && hex && tail {
            Ok(Self(fixed))
        } else {
            Err(InvalidUfrag)
        }
    }

    /// The text that goes into SDP.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("both constructors admit ASCII only")
    }

    /// The shard that the fragment names.
    pub fn shard(&self) -> ShardId {
        ShardId(self.hex(1, 2) as u8)
    }

    /// The node that the fragment names.
    pub fn node(&self) -> u16 {
        self.hex(3, 4)
    }

    fn hex(&self, start: usize, len: usize) -> u16 {
        self.0[start..start + len].iter().fold(0, |value, byte| {
            (value << 4) | (*byte as char).to_digit(16).unwrap_or(0) as u16
        })
    }
}

impl fmt::Debug for Ufrag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ufrag({})", self.as_str())
    }
}

impl fmt::Display for Ufrag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_and_shard_survive_the_round_trip() {
        for (node, shard, random) in [(0, 0, 0), (0xbeef, 0xa7, u64::MAX), (1, 255, 42)] {
            let ufrag = Ufrag::new(node, ShardId(shard), random);
            assert_eq!(ufrag.as_str().len(), 16);
            let read = Ufrag::parse(ufrag.as_str().as_bytes()).unwrap();
            assert_eq!((read.node(), read.shard()), (node, ShardId(shard)));
        }
    }

    #[test]
    fn foreign_fragments_are_refused() {
        for bad in [
            "",
            "abcd",
            "2000000AAAAAAAAA",
            "1zz0000AAAAAAAAA",
            "1000000AAAAAAAA+",
        ] {
            assert_eq!(Ufrag::parse(bad.as_bytes()), Err(InvalidUfrag), "{bad}");
        }
    }
}
