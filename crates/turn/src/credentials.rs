//! Time-limited credentials: a user name that says for which shard and until when, and a password derived from it.
//!
//! Nothing is stored: whoever has the node's secret can check them. They are no key to a room; all that they open is a way to
//! the media sockets that is open to everybody by UDP.

use std::fmt;

use aws_lc_rs::hmac;
use schalter_model::ShardId;
use schalter_stun::{StunMessage, attribute};
use zeroize::Zeroize;

/// The realm of all credentials. Whatever the site is called: clients only hand it back.
pub const REALM: &str = "schalter";

/// A user name: `expiry:node-and-shard:random`, ten decimal, six and sixteen hexadecimal digits.
///
/// The part in the middle tells a multiplexer which shard a stream is for, as an ICE user fragment does.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct UserName {
    expires: u64,
    node: u16,
    shard: ShardId,
    random: u64,
}

/// Bytes that are no user name of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a TURN user name of this server")]
pub struct InvalidUserName;

/// Seconds since the Unix epoch that ten digits can say.
const LAST_SECOND: u64 = 9_999_999_999;
/// Length of a user name.
const LEN: usize = 10 + 1 + 6 + 1 + 16;

impl UserName {
    /// A name that is good until `expires`, in seconds since the Unix epoch, on `shard` of `node`. `random` tells two
    /// participants apart.
    pub fn new(expires: u64, node: u16, shard: ShardId, random: u64) -> Self {
        Self {
            expires: expires.min(LAST_SECOND),
            node,
            shard,
            random,
        }
    }

    /// Reads a name as a client sent it.
    ///
    /// # Errors
    /// [`InvalidUserName`] for any other form.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidUserName> {
        Self::read(bytes).ok_or(InvalidUserName)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LEN] = bytes.try_into().ok()?;
        if bytes[10] != b':' || bytes[17] != b':' {
            return None;
        }
        let place = number(&bytes[11..17], 16)?;
        Some(Self {
            expires: number(&bytes[..10], 10)?,
            node: (place >> 8) as u16,
            shard: ShardId(place as u8),
            random: number(&bytes[18..], 16)?,
        })
    }

    /// When it ends, in seconds since the Unix epoch.
    pub fn expires(&self) -> u64 {
        self.expires
    }

    /// The node that it is for.
    pub fn node(&self) -> u16 {
        self.node
    }

    /// The shard that it is for.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    fn bytes(&self) -> [u8; LEN] {
        let mut bytes = [b':'; LEN];
        let place = u64::from(self.node) << 8 | u64::from(self.shard.0);
        write_number(&mut bytes[..10], self.expires, 10);
        write_number(&mut bytes[11..17], place, 16);
        write_number(&mut bytes[18..], self.random, 16);
        bytes
    }
}

/// Digits of exactly the given length; lower case only, so that one name has one spelling.
fn number(digits: &[u8], radix: u32) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, digit| {
        if digit.is_ascii_uppercase() {
            return None;
        }
        let digit = char::from(*digit).to_digit(radix)?;
        value
            .checked_mul(u64::from(radix))?
            .checked_add(u64::from(digit))
    })
}

fn write_number(out: &mut [u8], value: u64, radix: u64) {
    let mut rest = value;
    for byte in out.iter_mut().rev() {
        *byte = b"0123456789abcdef"[(rest % radix) as usize];
        rest /= radix;
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.bytes()).expect("only ASCII is written"))
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserName(…)")
    }
}

/// The user that a STUN message names, if it is one of ours. Proves nothing: it is for finding the shard that checks.
pub fn user_of(datagram: &[u8]) -> Option<UserName> {
    let message = StunMessage::parse(datagram).ok()?;
    UserName::parse(message.attribute(attribute::USERNAME)?).ok()
}

/// What all credentials and nonces of a node are derived from. Never shown.
#[derive(Clone)]
pub struct Secret(hmac::Key);

/// Tells what a derived value is for, so that none passes for another.
const FOR_PASSWORD: &[u8] = b"turn password\0";
const FOR_NONCE: &[u8] = b"turn nonce\0";

impl Secret {
    /// Length of a secret, in bytes.
    pub const LEN: usize = 32;

    /// Takes over the node's secret.
    pub fn new(mut bytes: [u8; Self::LEN]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        bytes.zeroize();
        Self(key)
    }

    /// The password of a user.
    pub fn password(&self, user: &UserName) -> Password {
        let tag = self.derive(FOR_PASSWORD, &[&user.bytes()]);
        let mut text = [0; Password::LEN];
        write_hex(&mut text, tag.as_ref());
        Password(text)
    }

    pub(crate) fn nonce_tag(&self, parts: &[&[u8]]) -> hmac::Tag {
        self.derive(FOR_NONCE, parts)
    }

    fn derive(&self, label: &[u8], parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(label);
        parts.iter().for_each(|part| context.update(part));
        context.sign()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Fills `out` with the first digits of `bytes`.
pub(crate) fn write_hex(out: &mut [u8], bytes: &[u8]) {
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        write_number(pair, u64::from(*byte), 16);
    }
}

/// A password: 32 hexadecimal digits, which are 128 bits.
#[derive(Clone, PartialEq, Eq)]
pub struct Password([u8; Self::LEN]);

impl Password {
    const LEN: usize = 32;

    /// The text that a client is handed.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only ASCII is written")
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl Drop for Password {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_until_when_and_for_which_shard() {
        let user = UserName::new(1_764_345_600, 0xbeef, ShardId(7), u64::MAX);
        let text = user.to_string();
        assert_eq!(text, "1764345600:beef07:ffffffffffffffff");
        let read = UserName::parse(text.as_bytes()).unwrap();
        assert_eq!(read, user);
        assert_eq!(
            (read.expires(), read.node(), read.shard()),
            (1_764_345_600, 0xbeef, ShardId(7))
        );
    }

    #[test]
    fn other_names_are_not_ours() {
        for bad in [
            "",
            "1764345600",
            "1764345600:beef07:fffffffffffffffg",
            "1764345600:BEEF07:ffffffffffffffff",
            "1764345600-beef07:ffffffffffffffff",
            "17643456000:beef07:ffffffffffffffff",
            "+764345600:beef07:ffffffffffffffff",
        ] {
            assert_eq!(
                UserName::parse(bad.as_bytes()),
                Err(InvalidUserName),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_password_belongs_to_one_name_and_one_secret() {
        let (ours, other) = (Secret::new([1; 32]), Secret::new([2; 32]));
        let user = UserName::new(1, 0, ShardId(0), 1);
        let later = UserName::new(2, 0, ShardId(0), 1);
        assert_eq!(ours.password(&user), ours.password(&user));
        assert_ne!(ours.password(&user), ours.password(&later));
        assert_ne!(ours.password(&user), other.password(&user));
        assert_eq!(ours.password(&user).as_str().len(), 32);
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = Secret::new([0xab; 32]);
        let user = UserName::new(1, 0, ShardId(0), 1);
        let shown = format!("{secret:?} {:?} {user:?}", secret.password(&user));
        assert_eq!(shown, "Secret(…) Password(…) UserName(…)");
    }
}
