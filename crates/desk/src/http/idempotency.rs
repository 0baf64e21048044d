//! `Idempotency-Key`: the same request gets the same answer and is carried out once.
//!
//! The answer may hold join links and names. It is kept for a day, sealed with AES-256-GCM under a key that comes from the caller's
//! own secret: whoever has the database has nothing.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use axum::body::Bytes;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};

use super::access::Admitted;
use super::answer::Answer;
use super::problem::Problem;
use crate::domain::Digest;
use crate::{Desk, DeskError, Done, Keep, KeepBytes};

/// Most characters of a key.
const MAX_KEY: usize = 255;
/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A request that is to be carried out once.
pub(super) struct Once {
    slot: Digest,
    request: Digest,
    cipher: LessSafeKey,
    nonce: [u8; NONCE_LEN],
}

impl Once {
    /// Reads the header, if there is one.
    pub(super) fn of(
        desk: &Desk,
        admitted: &Admitted,
        parts: &Parts,
        body: &Bytes,
    ) -> Result<Option<Self>, Problem> {
        let mut values = parts.headers.get_all("idempotency-key").iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let key = value.to_str().unwrap_or_default();
        let fits = (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
        if !fits || values.next().is_some() {
            return Err(Problem::malformed(format!(
                "one Idempotency-Key of 1 to {MAX_KEY} printable characters is expected"
            )));
        }
        let caller = &admitted.caller;
        let path = parts.uri.path();
        let by = caller.by();
        let mut named = Vec::new();
        for part in [
            caller.authority.as_str(),
            &by,
            parts.method.as_str(),
            path,
            key,
        ] {
            named.extend((part.len() as u64).to_be_bytes());
            named.extend(part.as_bytes());
        }
        let slot = Digest::of(&named);
        let own = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, &admitted.seal_key),
            slot.as_bytes(),
        );
        // A keyed digest: bodies hold names that could be guessed from a plain one.
        let request = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, own.as_ref()), body);
        let cipher = UnboundKey::new(&AES_256_GCM, own.as_ref())
            .map(LessSafeKey::new)
            .map_err(|_| DeskError::Busy)?;
        Ok(Some(Self {
            slot,
            request: Digest::of(request.as_ref()),
            cipher,
            nonce: desk.random(),
        }))
    }

    fn seal(&self, answer: &Answer) -> KeepBytes {
        let mut bytes = serde_json::to_vec(answer).unwrap_or_default();
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        let sealed = self.cipher.seal_in_place_append_tag(
            nonce,
            Aad::from(self.slot.as_bytes()),
            &mut bytes,
        );
        if sealed.is_err() {
            bytes.clear();
        }
        bytes.splice(0..0, self.nonce);
        (answer.status, bytes)
    }

    fn open(&self, body: &[u8]) -> Option<Answer> {
        let (nonce, sealed) = body.split_first_chunk::<NONCE_LEN>()?;
        let mut bytes = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let open = self
            .cipher
            .open_in_place(nonce, Aad::from(self.slot.as_bytes()), &mut bytes)
            .ok()?;
        serde_json::from_slice(open).ok()
    }
}

/// The slot of a request that is to be carried out once.
pub(super) fn keep<'a>(
    once: Option<&Once>,
    answer: &'a (dyn Fn(&Done) -> KeepBytes + Send + Sync),
) -> Option<Keep<'a>> {
    once.map(|once| Keep {
        slot: once.slot,
        request: once.request,
        answer,
    })
}

/// Seals an answer; nothing is kept where nothing was asked for.
pub(super) fn seal(once: Option<&Once>, answer: &Answer) -> KeepBytes {
    once.map_or((answer.status, Vec::new()), |once| once.seal(answer))
}

/// The answer to what was done, or the one that was given before.
pub(super) fn finish(
    once: Option<&Once>,
    done: Result<Done, DeskError>,
    render: impl Fn(&Done) -> Answer,
) -> Result<Response, Problem> {
    match (done, once) {
        (Ok(done), _) => Ok(render(&done).into_response()),
        (Err(DeskError::Replay(replayed)), Some(once)) => {
            let Some(answer) = once.open(&replayed.body) else {
                return Err(DeskError::Replay(replayed).into());
            };
            let mut response = answer.into_response();
            let yes = HeaderValue::from_static("true");
            response.headers_mut().insert(REPLAYED, yes);
            Ok(response)
        }
        (Err(error), _) => Err(error.into()),
    }
}
