//! API keys: who may sign tokens, for which authority, and what such tokens may do at most.
//!
//! Owns the secrets and refuses weak or ambiguous ones. What a token says is `token`'s.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use schalter_model::AuthorityId;

/// Shortest secret of an API key, in bytes: HS256 wants a key of at least its hash's size (RFC 7518 §3.2).
pub const MIN_SECRET_LEN: usize = 32;

/// Longest name of an API key, in bytes. It stands in every token as `iss`.
pub const MAX_KEY_NAME_LEN: usize = 128;

/// Shannon entropy of a text, in bits, below which its characters repeat too much. 32 random hexadecimal digits have more than
/// 95, whatever the draw; a date eight times over has less.
const GUESSABLE_BITS: f64 = 90.0;

/// The shared secret of an API key. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes a text as secret.
    ///
    /// # Errors
    /// [`KeyError::SecretTooShort`] below [`MIN_SECRET_LEN`] bytes.
    pub fn new(secret: &str) -> Result<Self, KeyError> {
        if secret.len() < MIN_SECRET_LEN {
            return Err(KeyError::SecretTooShort);
        }
        Ok(Self(secret.into()))
    }

    /// Whether it looks like words or a pattern rather than like randomness: no mixture of letters and digits, or few different
    /// characters for its length. A judgement for warnings, not a measure.
    pub fn is_guessable(&self) -> bool {
        let text = &*self.0;
        let mut counts = [0_u32; 256];
        text.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
        let len = text.len() as f64;
        let bits: f64 = counts
            .iter()
            .filter(|count| **count > 0)
            .map(|count| -f64::from(*count) * (f64::from(*count) / len).log2())
            .sum();
        let digits = text.bytes().any(|byte| byte.is_ascii_digit());
        let upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
        bits < GUESSABLE_BITS || !(digits || upper)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What tokens of a key may be used for at most, whatever they grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyScopes {
    /// Joining rooms, publishing by WHIP.
    pub join: bool,
    /// The server API.
    pub admin: bool,
}

impl KeyScopes {
    /// Everything: what a key of an integrator has.
    pub const ALL: Self = Self {
        join: true,
        admin: true,
    };
}

/// One key pair that signs tokens (HS256).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The key's public name, `iss` of its tokens.
    pub name: Arc<str>,
    /// The shared secret.
    pub secret: Secret,
    /// The tenant whose rooms its tokens reach.
    pub authority: AuthorityId,
    /// The upper limit of what its tokens grant.
    pub scopes: KeyScopes,
}

impl ApiKey {
    /// Takes a key as configured.
    ///
    /// # Errors
    /// [`KeyError`] for an empty or overlong name and a short secret.
    pub fn new(
        name: &str,
        secret: &str,
        authority: AuthorityId,
        scopes: KeyScopes,
    ) -> Result<Self, KeyError> {
        if name.is_empty() || name.len() > MAX_KEY_NAME_LEN {
            return Err(KeyError::InvalidName);
        }
        Ok(Self {
            name: name.into(),
            secret: Secret::new(secret)?,
            authority,
            scopes,
        })
    }
}

/// Every API key of this server.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: HashMap<Arc<str>, ApiKey>,
}

impl KeyRing {
    /// Collects keys.
    ///
    /// # Errors
    /// [`KeyError::Duplicate`] if two have one name: a token's issuer must be unambiguous.
    pub fn new(keys: impl IntoIterator<Item = ApiKey>) -> Result<Self, KeyError> {
        let mut ring = Self::default();
        for key in keys {
            if ring.keys.insert(Arc::clone(&key.name), key).is_some() {
                return Err(KeyError::Duplicate);
            }
        }
        Ok(ring)
    }

    /// The key with this name.
    pub fn key(&self, name: &str) -> Option<&ApiKey> {
        self.keys.get(name)
    }

    /// The key that signs for an authority's participants: the one called `name` if it is still theirs, else the first by
    /// name that may be used to join.
    pub fn joining(&self, authority: &AuthorityId, name: &str) -> Option<&ApiKey> {
        let fits = |key: &&ApiKey| key.authority == *authority && key.scopes.join;
        let first = || self.iter().filter(fits).min_by_key(|key| &key.name);
        self.key(name).filter(fits).or_else(first)
    }

    /// All keys, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &ApiKey> {
        self.keys.values()
    }
}

/// Why a key can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The secret has fewer than [`MIN_SECRET_LEN`] bytes.
    #[error("an API secret needs at least {MIN_SECRET_LEN} characters")]
    SecretTooShort,
    /// The name is empty or longer than [`MAX_KEY_NAME_LEN`] bytes.
    #[error("an API key's name has 1 to {MAX_KEY_NAME_LEN} characters")]
    InvalidName,
    /// Two keys have the same name.
    #[error("two API keys have the same name")]
    Duplicate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_patterns_are_guessable_and_what_openssl_makes_is_not() {
        for (secret, guessable) in [
            ("a secret of at least 32 characters", false),
            ("a-secret-that-is-long-enough-for-it", true),
            ("0123456789012345678901234567890123456789", false),
            ("2026112820261128202611282026112820261128", true),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1", true),
            ("4f9c1d02ab77e3586c0e9b1f4d2a8835", false),
            ("Vb2o0Nd3lq8m2k+Xy7rTtPzKfJ0sQe1uWcAhGiLn", false),
        ] {
            let secret_is = Secret::new(secret).unwrap().is_guessable();
            assert_eq!(secret_is, guessable, "{secret}");
        }
    }
}
