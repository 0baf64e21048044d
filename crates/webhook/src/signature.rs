//! What a request says beside its body: LiveKit's token with the body's hash, or the three fields of Standard Webhooks.

use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use crate::webhooks::Signer;

/// What LiveKit's receivers look for.
const LIVEKIT_TYPE: HeaderValue = HeaderValue::from_static("application/webhook+json");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Bytes of a secret, as the specification has them.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The fields with which LiveKit's receivers take a body; `None` if the key that signs is gone.
pub(crate) fn livekit(signer: &dyn Signer, body: &str) -> Option<HeaderMap> {
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, body.as_bytes()));
    let token = HeaderValue::try_from(signer.sign(&hash)?).ok()?;
    let mut fields = HeaderMap::new();
    fields.insert(CONTENT_TYPE, LIVEKIT_TYPE);
    // Without "Bearer", as LiveKit's receivers expect it.
    fields.insert(AUTHORIZATION, token);
    Some(fields)
}

/// A text is no secret of Standard Webhooks. Never repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no secret of Standard Webhooks: whsec_ and base64 of 24 to 64 bytes")]
pub struct SecretError;

/// What a receiver knows us by. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Reads `whsec_` and base64 of 24 to 64 bytes.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        text.strip_prefix(PREFIX)
            .and_then(|rest| STANDARD.decode(rest).ok())
            .filter(|bytes| SECRET_BYTES.contains(&bytes.len()))
            .map(Self)
            .ok_or(SecretError)
    }
}

/// The secrets of one receiver, each of which signs, so that they can be replaced without a gap. Clones share them.
#[derive(Clone, Debug)]
pub struct Secrets(Arc<RwLock<Vec<hmac::Key>>>);

impl Secrets {
    /// Some secrets.
    pub fn new(secrets: &[Secret]) -> Self {
        Self(Arc::new(RwLock::new(keys(secrets))))
    }

    /// Signs with others from the next request on.
    pub fn replace(&self, secrets: &[Secret]) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys(secrets);
    }

    /// The fields with which receivers of Standard Webhooks take a body; `at` is the moment of the request, in seconds since 1970: repetitions have
    /// one of their own, as receivers take none that is old. `None` if the id can't stand in a field.
    pub(crate) fn fields(&self, id: &str, at: u64, body: &str) -> Option<HeaderMap> {
        let signed = format!("{id}.{at}.{body}");
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let signatures: Vec<String> = keys
            .iter()
            .map(|key| format!("v1,{}", STANDARD.encode(hmac::sign(key, signed.as_bytes()))))
            .collect();
        let mut fields = HeaderMap::new();
        fields.insert(CONTENT_TYPE, JSON);
        fields.insert(ID, HeaderValue::try_from(id).ok()?);
        fields.insert(TIMESTAMP, HeaderValue::from(at));
        fields.insert(SIGNATURE, HeaderValue::try_from(signatures.join(" ")).ok()?);
        Some(fields)
    }
}

fn keys(secrets: &[Secret]) -> Vec<hmac::Key> {
    secrets
        .iter()
        .map(|secret| hmac::Key::new(hmac::HMAC_SHA256, &secret.0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the reference implementations' own tests: secret, id, time, body and what they make of it.
    #[test]
    fn the_specifications_example_is_signed_as_it_says() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let secrets = Secrets::new(&[secret]);
        let fields = secrets
            .fields(
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                r#"{"test": 2432232314}"#,
            )
            .unwrap();
        assert_eq!(fields["webhook-id"], "msg_p5jXN8AQM9LWM0D4loKWxJek");
        assert_eq!(fields["webhook-timestamp"], "1614265330");
        assert_eq!(
            fields["webhook-signature"],
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        assert_eq!(fields["content-type"], "application/json");
    }

    #[test]
    fn each_secret_has_a_signature_of_its_own_until_it_is_replaced() {
        let secret =
            |byte: u8| Secret::parse(&format!("whsec_{}", STANDARD.encode([byte; 24]))).unwrap();
        let alone = |byte| {
            let fields = Secrets::new(&[secret(byte)]).fields("a", 1, "{}").unwrap();
            fields["webhook-signature"].to_str().unwrap().to_owned()
        };
        let both = Secrets::new(&[secret(1), secret(2)]);
        let signature = || {
            let fields = both.fields("a", 1, "{}").unwrap();
            fields["webhook-signature"].to_str().unwrap().to_owned()
        };
        assert_eq!(signature(), format!("{} {}", alone(1), alone(2)));
        both.clone().replace(&[secret(2)]);
        assert_eq!(signature(), alone(2));
    }

    #[test]
    fn what_is_no_secret_is_refused_and_none_is_shown() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        for bytes in [24, 64] {
            assert!(Secret::parse(&of(bytes)).is_ok(), "{bytes}");
        }
        for bad in [
            of(23),
            of(65),
            String::new(),
            of(24).replace("whsec_", "whpk_"),
            "whsec_?".to_owned(),
        ] {
            assert_eq!(Secret::parse(&bad), Err(SecretError), "{bad}");
        }
        let shown = format!("{:?}", Secret::parse(&of(24)));
        assert_eq!(shown, "Ok(Secret(…))");
        assert_eq!(Secrets::new(&[]).fields("a\nb", 1, "{}"), None);
    }
}
