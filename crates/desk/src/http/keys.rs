//! Integrators' keys: bearer secrets with scopes, each of one authority. Several of one authority are good at once, so that they can be
//! replaced without a gap.

use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use schalter_model::AuthorityId;

use super::access::{Admitted, Gate, Scope};
use super::problem::Problem;
use crate::domain::Digest;
use crate::{Actor, Caller};

/// Fewest characters of a secret: 32 random characters can't be guessed.
pub const MIN_SECRET: usize = 32;
/// Most characters of a secret, so that nobody has the server hash long headers.
pub const MAX_SECRET: usize = 512;

/// A text can't be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a key's secret has {MIN_SECRET} to {MAX_SECRET} printable ASCII characters without spaces"
)]
pub struct KeyError;

/// One key. Of the secret it keeps digests only.
#[derive(Clone)]
pub struct DeskKey {
    id: String,
    authority: AuthorityId,
    scopes: Vec<Scope>,
    digest: Digest,
    seal_key: [u8; 32],
}

impl std::fmt::Debug for DeskKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeskKey")
            .field("id", &self.id)
            .field("authority", &self.authority)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

impl DeskKey {
    /// A key of an authority.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn new(
        id: &str,
        authority: AuthorityId,
        scopes: Vec<Scope>,
        secret: &str,
    ) -> Result<Self, KeyError> {
        let fits = (MIN_SECRET..=MAX_SECRET).contains(&secret.len());
        if !fits || !secret.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(KeyError);
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, b"schalter desk: kept answers");
        let mut seal_key = [0; 32];
        seal_key.copy_from_slice(tag.as_ref());
        Ok(Self {
            id: id.to_owned(),
            authority,
            scopes,
            digest: Digest::of(secret.as_bytes()),
            seal_key,
        })
    }

    /// Whose it is.
    pub fn authority(&self) -> &AuthorityId {
        &self.authority
    }
}

/// The keys that are good now. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct DeskKeys(Arc<RwLock<Vec<DeskKey>>>);

impl DeskKeys {
    /// Some keys.
    pub fn new(keys: Vec<DeskKey>) -> Self {
        Self(Arc::new(RwLock::new(keys)))
    }

    /// Puts others in their place, from the next request on.
    pub fn replace(&self, keys: Vec<DeskKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Finds the key with a secret. Takes as long whichever it is, and whether or not there is one.
    fn find(&self, secret: &str) -> Option<DeskKey> {
        let digest = Digest::of(secret.as_bytes());
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for key in keys.iter() {
            if verify_slices_are_equal(key.digest.as_bytes(), digest.as_bytes()).is_ok() {
                found = Some(key);
            }
        }
        found.cloned()
    }
}

impl Gate for DeskKeys {
    async fn admit(&self, parts: &Parts, scope: Scope) -> Result<Admitted, Problem> {
        let unknown = || {
            Problem::new(
                StatusCode::UNAUTHORIZED,
                "no-key",
                "a valid key is expected: Authorization: Bearer <key>",
            )
        };
        let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(unknown());
        };
        let value = value.to_str().map_err(|_| unknown())?;
        let (scheme, secret) = value.split_once(' ').ok_or_else(unknown)?;
        let secret = secret.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || secret.len() > MAX_SECRET {
            return Err(unknown());
        }
        let key = self.find(secret).ok_or_else(unknown)?;
        if !key.scopes.contains(&scope) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "scope",
                format!("this key lacks the scope {}", scope.label()),
            ));
        }
        Ok(Admitted {
            caller: Caller {
                authority: key.authority,
                actor: Actor::Integrator { key: key.id },
            },
            seal_key: key.seal_key,
        })
    }
}
