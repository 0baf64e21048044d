//! Ids that may be logged, and secrets of which only the digest is kept.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// Bytes of an id: nobody guesses one, and two never meet.
const ID_BYTES: usize = 16;
/// RFC 4648 §6, lower case, so that an id is a plain word in URLs and file names.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Characters that 16 bytes take in base32.
const ID_LEN: usize = 26;

/// A text is no id of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id of this kind is expected: a prefix and 26 characters of a–z and 2–7")]
pub struct InvalidId;

fn encode(prefix: &str, bytes: [u8; ID_BYTES]) -> String {
    let mut text = String::with_capacity(prefix.len() + ID_LEN);
    text.push_str(prefix);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in bytes {
        bits = (bits << 8) | u32::from(byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            text.push(char::from(ALPHABET[((bits >> held) & 31) as usize]));
        }
        bits &= (1 << held) - 1;
    }
    text.push(char::from(ALPHABET[((bits << (5 - held)) & 31) as usize]));
    text
}

fn is_id(prefix: &str, text: &str) -> bool {
    text.strip_prefix(prefix)
        .is_some_and(|rest| rest.len() == ID_LEN && rest.bytes().all(|b| ALPHABET.contains(&b)))
}

macro_rules! id {
    ($name:ident, $prefix:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Makes one of 128 random bits.
            pub fn from_random(bytes: [u8; 16]) -> Self {
                Self(encode($prefix, bytes))
            }

            /// The text that stands in URLs and JSON.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if is_id($prefix, text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidId)
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

id!(
    AppointmentId,
    "apt_",
    "An appointment: `apt_` and 26 characters. Also the name of its room."
);
id!(
    PersonId,
    "per_",
    "A person in one appointment: `per_` and 26 characters. Also the identity in the room."
);

/// SHA-256 of a secret, which is all that is kept of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut sum = [0; 32];
        sum.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Self(sum)
    }

    /// Takes a digest that was kept.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        URL_SAFE_NO_PAD.encode(digest.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidId)?;
        bytes.try_into().map(Self).map_err(|_| InvalidId)
    }
}

macro_rules! secret {
    ($name:ident, $bytes:literal, $doc:literal) => {
        #[doc = $doc]
        ///
        /// Shown by [`Self::reveal`] only: neither `Debug` nor logs tell it.
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            /// Random bytes that one takes.
            pub const BYTES: usize = $bytes;

            /// Makes one of random bytes.
            pub fn from_random(bytes: [u8; $bytes]) -> Self {
                Self(URL_SAFE_NO_PAD.encode(bytes))
            }

            /// Takes what a client sent.
            ///
            /// # Errors
            /// [`InvalidId`] if it has not the form of one.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidId)?;
                let bytes: [u8; $bytes] = bytes.try_into().map_err(|_| InvalidId)?;
                Ok(Self::from_random(bytes))
            }

            /// What is kept of it.
            pub fn digest(&self) -> Digest {
                Digest::of(self.0.as_bytes())
            }

            /// The text, for the one who may have it.
            pub fn reveal(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}

secret!(
    LinkToken,
    20,
    "What stands in a join link's fragment: 160 random bits in base64url (27 characters)."
);
secret!(
    Secret,
    32,
    "What a browser keeps in its cookie: 256 random bits in base64url (43 characters)."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_words_of_one_length() {
        let id = AppointmentId::from_random([0xff; 16]);
        assert_eq!(id.as_str(), "apt_77777777777777777777777774");
        assert_eq!(id.as_str().parse(), Ok(id));
        assert_eq!(
            PersonId::from_random([0; 16]).as_str(),
            "per_aaaaaaaaaaaaaaaaaaaaaaaaaa"
        );
        for bad in [
            "",
            "apt_",
            "per_aaaaaaaaaaaaaaaaaaaaaaaaaa",
            "apt_AAAAAAAAAAAAAAAAAAAAAAAAAA",
            "apt_aaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert_eq!(bad.parse::<AppointmentId>(), Err(InvalidId), "{bad}");
        }
    }

    #[test]
    fn secrets_tell_nothing_of_themselves() {
        let token = LinkToken::from_random([7; 20]);
        assert_eq!(token.reveal().len(), 27);
        assert_eq!(LinkToken::parse(token.reveal()), Ok(token.clone()));
        assert!(!format!("{token:?} {:?}", token.digest()).contains("Bwc"));
        assert_eq!(LinkToken::parse(""), Err(InvalidId));
        assert_eq!(
            LinkToken::parse(&"A".repeat(28)),
            Err(InvalidId),
            "21 bytes"
        );
    }
}
