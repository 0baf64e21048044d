//! MESSAGE-INTEGRITY and the keys it is made with (RFC 8489 §9, §14.5, §14.6).

use aws_lc_rs::{digest, hmac};
use md5::{Digest, Md5};

use crate::{ATTRIBUTE_HEAD, HEADER_LEN, attribute};

/// Which of the two attributes proves that a message is authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Integrity {
    /// MESSAGE-INTEGRITY: HMAC-SHA1.
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256: HMAC-SHA256.
    Sha256,
}

impl Integrity {
    /// Length of the attribute's value, in bytes.
    pub(crate) const fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    pub(crate) const fn attribute(self) -> u16 {
        match self {
            Self::Sha1 => attribute::MESSAGE_INTEGRITY,
            Self::Sha256 => attribute::MESSAGE_INTEGRITY_SHA256,
        }
    }

    fn algorithm(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        }
    }
}

/// How the key of long-term credentials is made of user, realm and password (RFC 8489 §18.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PasswordAlgorithm {
    /// 0x0001, the only one that clients before RFC 8489 know.
    Md5,
    /// 0x0002.
    Sha256,
}

impl PasswordAlgorithm {
    /// Both, as a server that prefers the stronger lists them.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Md5];

    /// The registered number.
    pub const fn number(self) -> u16 {
        match self {
            Self::Md5 => 1,
            Self::Sha256 => 2,
        }
    }

    /// Reads the value of PASSWORD-ALGORITHM: number and parameters, of which neither algorithm has any.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let [n0, n1, 0, 0] = *value else {
            return None;
        };
        let number = u16::from_be_bytes([n0, n1]);
        Self::ALL.into_iter().find(|known| known.number() == number)
    }
}

/// A key of MESSAGE-INTEGRITY, expanded once.
#[derive(Clone, Debug)]
pub struct IntegrityKey {
    integrity: Integrity,
    key: hmac::Key,
}

impl IntegrityKey {
    /// The key of short-term credentials: the password itself (RFC 8489 §9.1.1; ICE passwords are ASCII, so OpaqueString
    /// changes nothing). For MESSAGE-INTEGRITY with SHA-1, as ICE uses it.
    pub fn new(password: &[u8]) -> Self {
        Self::expand(Integrity::Sha1, password)
    }

    /// The key of long-term credentials (RFC 8489 §9.2.2): a digest over `user:realm:password`, all three of which must be
    /// ASCII, so that OpaqueString changes nothing.
    pub fn long_term(
        integrity: Integrity,
        algorithm: PasswordAlgorithm,
        user: &[u8],
        realm: &[u8],
        password: &[u8],
    ) -> Self {
        let parts = [user, b":", realm, b":", password];
        match algorithm {
            PasswordAlgorithm::Md5 => {
                let mut md5 = Md5::new();
                parts.iter().for_each(|part| md5.update(part));
                Self::expand(integrity, &md5.finalize())
            }
            PasswordAlgorithm::Sha256 => {
                let mut sha = digest::Context::new(&digest::SHA256);
                parts.iter().for_each(|part| sha.update(part));
                Self::expand(integrity, sha.finish().as_ref())
            }
        }
    }

    fn expand(integrity: Integrity, key: &[u8]) -> Self {
        Self {
            integrity,
            key: hmac::Key::new(integrity.algorithm(), key),
        }
    }

    /// Which attribute it is for.
    pub fn integrity(&self) -> Integrity {
        self.integrity
    }

    /// The HMAC over a message up to its MESSAGE-INTEGRITY attribute, whose end the length field must pretend to be.
    pub(crate) fn sign(&self, before: &[u8]) -> hmac::Tag {
        let len = before.len() - HEADER_LEN + ATTRIBUTE_HEAD + self.integrity.len();
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&before[..2]);
        context.update(&(len as u16).to_be_bytes());
        context.update(&before[4..]);
        context.sign()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StunMessage;

    /// RFC 5769 §2.4: a request with long-term credentials, user "マトリックス" after SASLprep.
    const SAMPLE: &[u8] = &[
        0x00, 0x01, 0x00, 0x60, 0x21, 0x12, 0xa4, 0x42, 0x78, 0xad, 0x34, 0x33, 0xc6, 0xad, 0x72,
        0xc0, 0x29, 0xda, 0x41, 0x2e, 0x00, 0x06, 0x00, 0x12, 0xe3, 0x83, 0x9e, 0xe3, 0x83, 0x88,
        0xe3, 0x83, 0xaa, 0xe3, 0x83, 0x83, 0xe3, 0x82, 0xaf, 0xe3, 0x82, 0xb9, 0x00, 0x00, 0x00,
        0x15, 0x00, 0x1c, 0x66, 0x2f, 0x2f, 0x34, 0x39, 0x39, 0x6b, 0x39, 0x35, 0x34, 0x64, 0x36,
        0x4f, 0x4c, 0x33, 0x34, 0x6f, 0x4c, 0x39, 0x46, 0x53, 0x54, 0x76, 0x79, 0x36, 0x34, 0x73,
        0x41, 0x00, 0x14, 0x00, 0x0b, 0x65, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x2e, 0x6f, 0x72,
        0x67, 0x00, 0x00, 0x08, 0x00, 0x14, 0xf6, 0x70, 0x24, 0x65, 0x6d, 0xd6, 0x4a, 0x3e, 0x02,
        0xb8, 0xe0, 0x71, 0x2e, 0x85, 0xc9, 0xa2, 0x8c, 0xa8, 0x96, 0x66,
    ];

    #[test]
    fn the_long_term_sample_of_rfc_5769_verifies() {
        let message = StunMessage::parse(SAMPLE).unwrap();
        let key = |password: &str| {
            IntegrityKey::long_term(
                Integrity::Sha1,
                PasswordAlgorithm::Md5,
                "マトリックス".as_bytes(),
                b"example.org",
                password.as_bytes(),
            )
        };
        assert!(message.verify_integrity(&key("TheMatrIX")));
        assert!(!message.verify_integrity(&key("TheMatrIx")));
    }
}
