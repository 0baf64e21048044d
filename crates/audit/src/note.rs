//! Signed notes with Ed25519 (C2SP signed-note v1.0.0), and their keys as text (`vkey`).
//!
//! A note is read only with the keys that are trusted: signatures by others are passed over, as witnesses may add theirs.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::sha256;

/// Most bytes of a note that are looked at: sixteen post-quantum signatures of 5 kB fit.
pub const MAX_NOTE: usize = 128 * 1024;
/// Most signatures of a note that are looked at.
pub const MAX_SIGNATURES: usize = 64;
/// The signature type of Ed25519.
const TYPE: u8 = 1;
/// What a line with a signature begins with.
const DASH: &str = "\u{2014} ";

/// A text is no key, or no note by the keys that are trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// See the specification: not empty, no spaces, no plus; control characters would break lines.
    #[error(
        "a key's name has at least one character and neither spaces nor + nor control characters"
    )]
    Name,
    /// `<name>+<hash>+<base64>` with a hash that fits and a key of Ed25519.
    #[error("not a key of the form <name>+<8 hex digits>+<base64> for Ed25519 (signed-note)")]
    VerifyingKey,
    /// No PKCS #8 of Ed25519.
    #[error("not a private key for Ed25519 in PKCS #8")]
    SigningKey,
    /// Not a text, an empty line, and lines of signatures.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// Nobody who is trusted signed it.
    #[error("not signed by {0}")]
    Unsigned(String),
    /// Signed by that name and hash, and the signature is wrong.
    #[error("the signature of {0} is wrong: the text was changed, or another key signed it")]
    Forged(String),
}

fn is_name(name: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    !name.is_empty() && !name.contains(odd)
}

fn key_id(name: &str, key: &[u8]) -> [u8; 4] {
    let sum = sha256(&[name.as_bytes(), b"\n", &[TYPE], key]);
    [sum[0], sum[1], sum[2], sum[3]]
}

/// What a note is held against: a name, and a public key of Ed25519. As text it is a `vkey`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey {
    name: String,
    key: [u8; 32],
}

impl VerifyingKey {
    /// The name in its signatures' lines.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> [u8; 4] {
        key_id(&self.name, &self.key)
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u32::from_be_bytes(self.id());
        let mut key = vec![TYPE];
        key.extend_from_slice(&self.key);
        write!(f, "{}+{id:08x}+{}", self.name, STANDARD.encode(key))
    }
}

impl FromStr for VerifyingKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let wrong = || NoteError::VerifyingKey;
        // The key in base64 may have a + of its own: the first two are the separators.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong());
        };
        let key = STANDARD.decode(key).map_err(|_| wrong())?;
        let Some((&TYPE, key)) = key.split_first() else {
            return Err(wrong());
        };
        let key: [u8; 32] = key.try_into().map_err(|_| wrong())?;
        let fits = format!("{:08x}", u32::from_be_bytes(key_id(name, &key))) == id;
        if !fits || !is_name(name) {
            return Err(wrong());
        }
        Ok(Self {
            name: name.to_owned(),
            key,
        })
    }
}

/// What signs notes.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: VerifyingKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public).finish()
    }
}

impl SigningKey {
    /// Takes a private key in PKCS #8 (DER), version 1 or 2, under a name.
    ///
    /// # Errors
    /// [`NoteError::Name`], [`NoteError::SigningKey`].
    pub fn from_pkcs8(name: &str, der: &[u8]) -> Result<Self, NoteError> {
        let pair =
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| NoteError::SigningKey)?;
        Self::of(name, pair)
    }

    /// Takes the 32 bytes that RFC 8032 calls the private key, under a name.
    ///
    /// # Errors
    /// [`NoteError::Name`], [`NoteError::SigningKey`].
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoteError::SigningKey)?;
        Self::of(name, pair)
    }

    fn of(name: &str, pair: Ed25519KeyPair) -> Result<Self, NoteError> {
        if !is_name(name) {
            return Err(NoteError::Name);
        }
        let key = pair.public_key().as_ref();
        let public = VerifyingKey {
            name: name.to_owned(),
            key: key.try_into().map_err(|_| NoteError::SigningKey)?,
        };
        Ok(Self { pair, public })
    }

    /// What its notes are held against.
    pub const fn public(&self) -> &VerifyingKey {
        &self.public
    }

    /// Signs a text, which ends with a newline and has no control characters but newlines.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] if it hasn't, or has.
    pub fn sign(&self, text: &str) -> Result<String, NoteError> {
        check_text(text)?;
        let mut signature = self.public.id().to_vec();
        signature.extend_from_slice(self.pair.sign(text.as_bytes()).as_ref());
        let name = &self.public.name;
        Ok(format!(
            "{text}\n{DASH}{name} {}\n",
            STANDARD.encode(signature)
        ))
    }
}

fn check_text(text: &str) -> Result<(), NoteError> {
    if text.len() > MAX_NOTE {
        return Err(NoteError::Malformed("it is too long"));
    }
    if text.bytes().any(|byte| byte < b' ' && byte != b'\n') {
        return Err(NoteError::Malformed("it has control characters"));
    }
    if !text.ends_with('\n') {
        return Err(NoteError::Malformed("it doesn't end with a newline"));
    }
    Ok(())
}

/// The text of a note that one of `trusted` signed, and which of them.
///
/// # Errors
/// [`NoteError::Malformed`]; [`NoteError::Unsigned`] with the names of those who might have; [`NoteError::Forged`] as soon as the signature of
/// one who is trusted is wrong.
pub fn open<'n, 'k>(
    note: &'n str,
    trusted: &'k [VerifyingKey],
) -> Result<(&'n str, &'k VerifyingKey), NoteError> {
    check_text(note)?;
    let end = note
        .rfind("\n\n")
        .ok_or(NoteError::Malformed("no empty line is before signatures"))?;
    let (text, lines) = (&note[..=end], &note[end + 2..]);
    let mut signer = None;
    for (number, line) in lines.lines().enumerate() {
        if number >= MAX_SIGNATURES {
            return Err(NoteError::Malformed("it has too many signatures"));
        }
        let wrong = NoteError::Malformed("a line of a signature can't be read");
        let rest = line.strip_prefix(DASH).ok_or(wrong.clone())?;
        let (name, signature) = rest.split_once(' ').ok_or(wrong.clone())?;
        let signature = STANDARD.decode(signature).map_err(|_| wrong.clone())?;
        let Some((id, signature)) = signature.split_first_chunk::<4>() else {
            return Err(wrong);
        };
        if !is_name(name) {
            return Err(wrong);
        }
        let Some(known) = trusted
            .iter()
            .find(|key| key.name == name && key.id() == *id)
        else {
            continue;
        };
        UnparsedPublicKey::new(&ED25519, known.key)
            .verify(text.as_bytes(), signature)
            .map_err(|_| NoteError::Forged(name.to_owned()))?;
        signer.get_or_insert(known);
    }
    match signer {
        Some(signer) => Ok((text, signer)),
        None => {
            let names: Vec<_> = trusted.iter().map(ToString::to_string).collect();
            Err(NoteError::Unsigned(names.join(" or ")))
        }
    }
}
