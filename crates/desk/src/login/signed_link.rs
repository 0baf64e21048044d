//! Logins by signed links: the case system knows who its user is and says so in a JSON Web Token (RFC 7519), HS256 or EdDSA by key.
//!
//! Owns that each link logs in once, within minutes, an official of the authority whose key signed. Refuses every other algorithm, tokens
//! without a key's name, and links issued before this process started: which of those were used it cannot know.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use schalter_model::AuthorityId;
use serde::Deserialize;

use super::{Arrival, LoginError, Official, Way};
use crate::domain::Digest;

/// Longest time from a link's issue to its expiry, in seconds.
pub const MAX_LINK_SECS: u64 = 300;
/// How far clocks may differ, in seconds.
pub const CLOCK_SKEW_SECS: u64 = 30;
/// Longest link that is looked at, in bytes.
pub const MAX_LINK_LEN: usize = 4_096;
/// Fewest characters of `jti`.
pub const MIN_JTI_LEN: usize = 16;
/// Most characters of `jti`.
pub const MAX_JTI_LEN: usize = 128;
/// Links that are remembered as used; each for a few minutes. With one more, logins by link are refused until some are over.
pub const MOST_REMEMBERED: usize = 100_000;
/// Shortest shared secret, in bytes (RFC 7518 §3.2).
pub const MIN_LINK_SECRET_LEN: usize = 32;
/// Longest name of a key, in bytes.
pub const MAX_LINK_KEY_NAME_LEN: usize = 64;

/// DER of an Ed25519 public key up to its 32 bytes (RFC 8410 §4).
const ED25519_SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// A key of an authority's case system. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct LinkKey {
    /// Its name, `kid` in the header of links, unique on this server.
    pub id: String,
    verifier: Verifier,
}

#[derive(Clone, PartialEq, Eq)]
enum Verifier {
    Hs256(Vec<u8>),
    EdDsa([u8; 32]),
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Why a key can't be used. The texts repeat nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkKeyError {
    /// Its name is empty, too long or has other characters.
    #[error(
        "a key's id has 1 to {MAX_LINK_KEY_NAME_LEN} characters of a–z, A–Z, 0–9, '-', '_' and '.'"
    )]
    Id,
    /// The secret is too short.
    #[error(
        "a secret has at least {MIN_LINK_SECRET_LEN} characters; `openssl rand -base64 36` makes one"
    )]
    Secret,
    /// The text is no public key.
    #[error("an Ed25519 public key in PEM is expected (`openssl pkey -in key.pem -pubout`)")]
    PublicKey,
}

impl LinkKey {
    /// A key that case system and server share.
    ///
    /// # Errors
    /// [`LinkKeyError`].
    pub fn shared(id: &str, secret: &str) -> Result<Self, LinkKeyError> {
        if secret.len() < MIN_LINK_SECRET_LEN {
            return Err(LinkKeyError::Secret);
        }
        Self::new(id, Verifier::Hs256(secret.as_bytes().to_vec()))
    }

    /// The public half of the case system's key: PEM of an Ed25519 `SubjectPublicKeyInfo` (RFC 8410).
    ///
    /// # Errors
    /// [`LinkKeyError`].
    pub fn public(id: &str, pem: &str) -> Result<Self, LinkKeyError> {
        let body: String = pem
            .trim()
            .strip_prefix("-----BEGIN PUBLIC KEY-----")
            .and_then(|rest| rest.strip_suffix("-----END PUBLIC KEY-----"))
            .ok_or(LinkKeyError::PublicKey)?
            .split_whitespace()
            .collect();
        let der = STANDARD.decode(body).map_err(|_| LinkKeyError::PublicKey)?;
        let key = der
            .strip_prefix(&ED25519_SPKI)
            .and_then(|key| key.try_into().ok())
            .ok_or(LinkKeyError::PublicKey)?;
        Self::new(id, Verifier::EdDsa(key))
    }

    fn new(id: &str, verifier: Verifier) -> Result<Self, LinkKeyError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        let fits = (1..=MAX_LINK_KEY_NAME_LEN).contains(&id.len()) && id.bytes().all(plain);
        if !fits {
            return Err(LinkKeyError::Id);
        }
        Ok(Self {
            id: id.to_owned(),
            verifier,
        })
    }

    fn algorithm(&self) -> Algorithm {
        match self.verifier {
            Verifier::Hs256(_) => Algorithm::HS256,
            Verifier::EdDsa(_) => Algorithm::EdDSA,
        }
    }

    fn decoding(&self) -> DecodingKey {
        match &self.verifier {
            Verifier::Hs256(secret) => DecodingKey::from_secret(secret),
            Verifier::EdDsa(key) => DecodingKey::from_ed_der(key),
        }
    }
}

/// What a link says. Others' claims are not looked at.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    name: String,
    aud: String,
    jti: String,
    iat: u64,
    exp: u64,
    acr: Option<String>,
}

/// Whose key each is, by its name.
type Keys = HashMap<String, (AuthorityId, LinkKey)>;

/// Every key, and which links were used.
pub struct SignedLinks {
    keys: RwLock<Keys>,
    /// Seconds since 1970.
    started: u64,
    most: usize,
    /// By hash of key and `jti`, with the second from which the link is over anyway.
    used: Mutex<HashMap<Digest, u64>>,
}

impl SignedLinks {
    /// With these keys; `started` is when the process did, in seconds since 1970. Of keys with one id the first counts; the configuration
    /// refuses them.
    pub fn new(keys: impl IntoIterator<Item = (AuthorityId, LinkKey)>, started: u64) -> Self {
        Self {
            keys: RwLock::new(by_id(keys)),
            started,
            most: MOST_REMEMBERED,
            used: Mutex::new(HashMap::new()),
        }
    }

    /// Takes links by these keys from now on; which were used stays known.
    pub(super) fn replace(&self, keys: impl IntoIterator<Item = (AuthorityId, LinkKey)>) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = by_id(keys);
    }

    /// Whether the authority has this very key.
    pub(super) fn has(&self, authority: &AuthorityId, key: &LinkKey) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(&key.id)
            .is_some_and(|(whose, own)| whose == authority && own == key)
    }

    fn key(&self, name: &str) -> Option<(AuthorityId, LinkKey)> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(name).cloned()
    }

    /// Takes a link, once. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// [`LoginError::Link`] for what is no good, [`LoginError::LinkUsed`], [`LoginError::LinkExpired`], or [`LoginError::Busy`] while too
    /// many are remembered.
    pub fn log_in(&self, link: &str, now: u64) -> Result<Arrival, LoginError> {
        if link.len() > MAX_LINK_LEN {
            return Err(LoginError::Link);
        }
        let header = jsonwebtoken::decode_header(link).map_err(|_| LoginError::Link)?;
        let (authority, key) = header
            .kid
            .and_then(|kid| self.key(&kid))
            .ok_or(LoginError::Link)?;
        if header.alg != key.algorithm() {
            return Err(LoginError::Link);
        }
        // Times and audience are checked below, against the caller's clock and the key's authority.
        let mut validation = Validation::new(key.algorithm());
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let claims = jsonwebtoken::decode::<Claims>(link, &key.decoding(), &validation)
            .map_err(|_| LoginError::Link)?
            .claims;
        if claims.aud != authority.as_str()
            || !(MIN_JTI_LEN..=MAX_JTI_LEN).contains(&claims.jti.len())
        {
            return Err(LoginError::Link);
        }
        let lives = claims.exp.checked_sub(claims.iat).ok_or(LoginError::Link)?;
        if lives > MAX_LINK_SECS || claims.iat > now.saturating_add(CLOCK_SKEW_SECS) {
            return Err(LoginError::Link);
        }
        let over = claims.exp.saturating_add(CLOCK_SKEW_SECS);
        if now >= over || claims.iat < self.started {
            return Err(LoginError::LinkExpired);
        }
        let official =
            Official::new(&claims.sub, &claims.name, claims.acr).ok_or(LoginError::Link)?;
        self.use_up(
            Digest::of(format!("{}\n{}", key.id, claims.jti).as_bytes()),
            over,
            now,
        )?;
        Ok(Arrival {
            authority,
            official,
            way: Way::Link(key),
        })
    }

    fn use_up(&self, link: Digest, over: u64, now: u64) -> Result<(), LoginError> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.contains_key(&link) {
            return Err(LoginError::LinkUsed);
        }
        if used.len() >= self.most {
            used.retain(|_, over| *over > now);
        }
        if used.len() >= self.most {
            return Err(LoginError::Busy);
        }
        used.insert(link, over);
        Ok(())
    }

    /// Forgets links that are over anyway.
    pub fn sweep(&self, now: u64) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, over| *over > now);
    }
}

fn by_id(keys: impl IntoIterator<Item = (AuthorityId, LinkKey)>) -> Keys {
    let mut by_id = HashMap::new();
    for (authority, key) in keys {
        by_id.entry(key.id.clone()).or_insert((authority, key));
    }
    by_id
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_700_000_000;
    const SECRET: &str = "a shared secret of 32 characters";

    fn ulm() -> AuthorityId {
        AuthorityId::new("ulm").unwrap()
    }

    fn links() -> SignedLinks {
        let key = LinkKey::shared("case", SECRET).unwrap();
        SignedLinks::new([(ulm(), key)], NOW - 1_000)
    }

    fn claims() -> Value {
        json!({"sub": "u17", "name": "Kim Beispiel", "aud": "ulm", "jti": "0123456789abcdef",
               "iat": NOW, "exp": NOW + 300, "acr": "substantial"})
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[name] = value;
        claims
    }

    fn sign(claims: &Value, secret: &str) -> String {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("case".to_owned());
        jsonwebtoken::encode(
            &header,
            claims,
            &EncodingKey::from_secret(secret.as_bytes()),
        )
        .unwrap()
    }

    #[test]
    fn a_link_logs_in_once() {
        let links = links();
        let link = sign(&claims(), SECRET);
        let Arrival {
            authority,
            official,
            ..
        } = links.log_in(&link, NOW).unwrap();
        assert_eq!(authority, ulm());
        assert_eq!(
            (official.id.as_str(), official.name.as_str()),
            ("u17", "Kim Beispiel")
        );
        assert_eq!(official.acr.as_deref(), Some("substantial"));
        assert_eq!(links.log_in(&link, NOW), Err(LoginError::LinkUsed));
        // Not even after it was forgotten.
        links.sweep(NOW + 330);
        assert_eq!(links.log_in(&link, NOW + 330), Err(LoginError::LinkExpired));
        links.sweep(NOW + 329);
    }

    #[test]
    fn a_link_lives_five_minutes_at_most_give_or_take_the_clocks() {
        let at = |claims: &Value, now| links().log_in(&sign(claims, SECRET), now).map(|_| ());
        assert_eq!(at(&claims(), NOW - 30), Ok(()));
        assert_eq!(at(&claims(), NOW - 31), Err(LoginError::Link));
        assert_eq!(at(&claims(), NOW + 329), Ok(()));
        assert_eq!(at(&claims(), NOW + 330), Err(LoginError::LinkExpired));
        assert_eq!(
            at(&with("exp", json!(NOW + 301)), NOW),
            Err(LoginError::Link)
        );
        assert_eq!(at(&with("exp", json!(NOW - 1)), NOW), Err(LoginError::Link));
        // Whether it was used before the start is not known.
        let old = SignedLinks::new([(ulm(), LinkKey::shared("case", SECRET).unwrap())], NOW + 1);
        assert_eq!(
            old.log_in(&sign(&claims(), SECRET), NOW + 1),
            Err(LoginError::LinkExpired)
        );
    }

    #[test]
    fn what_another_signed_or_was_meant_for_another_is_refused() {
        let links = links();
        let refused =
            |link: &str| assert_eq!(links.log_in(link, NOW), Err(LoginError::Link), "{link}");
        refused(&sign(&claims(), "another secret with 32 characters"));
        refused(&sign(&with("aud", json!("neu-ulm")), SECRET));
        refused(&sign(&with("jti", json!("0123456789abcde")), SECRET));
        refused(&sign(&with("jti", json!("x".repeat(129))), SECRET));
        refused(&sign(&with("sub", json!("")), SECRET));
        refused(&sign(&with("name", json!("x".repeat(101))), SECRET));
        refused(&sign(&with("name", json!("a\u{202e}b")), SECRET));
        refused(&sign(&with("iat", json!("now")), SECRET));
        refused(&sign(&with("jti", Value::Null), SECRET));
        refused("");
        refused("a.b.c");
        refused(&"x".repeat(5_000));
        let link = sign(&claims(), SECRET);
        let (head, _) = link.rsplit_once('.').unwrap();
        refused(&format!("{head}."));
        // "alg": "none"
        let body = head.split_once('.').unwrap().1;
        refused(&format!("eyJhbGciOiJub25lIiwia2lkIjoiY2FzZSJ9.{body}."));
        let mut header = Header::new(Algorithm::HS384);
        header.kid = Some("case".to_owned());
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        refused(&jsonwebtoken::encode(&header, &claims(), &key).unwrap());
        let nameless = Header::new(Algorithm::HS256);
        refused(&jsonwebtoken::encode(&nameless, &claims(), &key).unwrap());
        assert!(links.log_in(&link, NOW).is_ok());
    }

    #[test]
    fn a_public_key_verifies_and_is_no_shared_secret() {
        use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
        let pair = Ed25519KeyPair::generate().unwrap();
        let public = pair.public_key().as_ref().to_vec();
        let der = [&ED25519_SPKI[..], &public].concat();
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(&der)
        );
        let key = LinkKey::public("case", &pem).unwrap();
        let links = SignedLinks::new([(ulm(), key)], 0);
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some("case".to_owned());
        let private = pair.to_pkcs8().unwrap();
        let signed = jsonwebtoken::encode(
            &header,
            &claims(),
            &EncodingKey::from_ed_der(private.as_ref()),
        )
        .unwrap();
        // The classic confusion: the public key, which anybody may know, as a shared secret.
        let mut confused = Header::new(Algorithm::HS256);
        confused.kid = Some("case".to_owned());
        for secret in [&public[..], &der[..], pem.as_bytes()] {
            let forged =
                jsonwebtoken::encode(&confused, &claims(), &EncodingKey::from_secret(secret))
                    .unwrap();
            assert_eq!(links.log_in(&forged, NOW), Err(LoginError::Link));
        }
        assert!(links.log_in(&signed, NOW).is_ok());
    }

    #[test]
    fn keys_that_make_no_sense_are_refused() {
        assert_eq!(
            LinkKey::shared("case", &"x".repeat(31)),
            Err(LinkKeyError::Secret)
        );
        assert!(LinkKey::shared("case", &"x".repeat(32)).is_ok());
        for id in ["", "a b", &"x".repeat(65)] {
            assert_eq!(LinkKey::shared(id, SECRET), Err(LinkKeyError::Id));
        }
        for pem in [
            "",
            "x",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        ] {
            assert_eq!(LinkKey::public("case", pem), Err(LinkKeyError::PublicKey));
        }
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut links = links();
        links.most = 2;
        let log_in = |jti: &str, now| {
            let mut claims = with("jti", json!(jti));
            claims["iat"] = json!(now);
            claims["exp"] = json!(now + 60);
            links.log_in(&sign(&claims, SECRET), now).map(|_| ())
        };
        assert_eq!(log_in("0123456789abcde1", NOW), Ok(()));
        assert_eq!(log_in("0123456789abcde2", NOW), Ok(()));
        assert_eq!(log_in("0123456789abcde3", NOW), Err(LoginError::Busy));
        assert_eq!(log_in("0123456789abcde3", NOW + 90), Ok(()));
    }
}
