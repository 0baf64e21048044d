//! Answers to requests, as bytes.

use std::net::SocketAddr;

use schalter_model::TurnRefusal;
use schalter_stun::{
    IntegrityKey, PasswordAlgorithm, StunClass, StunError, StunMessage, StunWriter, attribute,
};

use crate::credentials::REALM;
use crate::nonce;
use crate::request::{Family, Unknown};
use crate::{Secret, UserName};

/// Largest answer, in bytes: two relayed addresses, of IPv4 and IPv6, one mapped one, lifetime and integrity, or an error
/// with realm and nonce.
pub const MAX_ANSWER_LEN: usize = 256;

/// What ends an answer.
pub(crate) struct Seal<'a> {
    /// Authenticates it, if the request was.
    pub(crate) key: Option<&'a IntegrityKey>,
    /// The request had a FINGERPRINT: whoever sent it tells protocols apart by it.
    pub(crate) fingerprint: bool,
}

fn finish(mut writer: StunWriter<'_>, seal: &Seal<'_>) -> Result<usize, StunError> {
    if let Some(key) = seal.key {
        writer.integrity(key)?;
    }
    if seal.fingerprint {
        writer.fingerprint()
    } else {
        Ok(writer.finish())
    }
}

/// What a request brought.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Success {
    pub(crate) relayed: [Option<SocketAddr>; 2],
    pub(crate) mapped: Option<SocketAddr>,
    pub(crate) lifetime: Option<u32>,
    /// The family that could not be had beside the other.
    pub(crate) without: Option<Family>,
}

pub(crate) fn success(
    request: &StunMessage<'_>,
    success: &Success,
    seal: &Seal<'_>,
    out: &mut [u8],
) -> Result<usize, StunError> {
    let id = request.transaction_id();
    let mut writer = StunWriter::new(out, StunClass::Success, request.method(), id)?;
    for relayed in success.relayed.into_iter().flatten() {
        writer.xor_address(attribute::XOR_RELAYED_ADDRESS, relayed)?;
    }
    if let Some(mapped) = success.mapped {
        writer.xor_mapped_address(mapped)?;
    }
    if let Some(lifetime) = success.lifetime {
        writer.attribute(attribute::LIFETIME, &lifetime.to_be_bytes())?;
    }
    if let Some(family) = success.without {
        let code = TurnRefusal::FamilyUnsupported.code();
        let value = [family.number(), 0, (code / 100) as u8, (code % 100) as u8];
        writer.attribute(attribute::ADDRESS_ERROR_CODE, &value)?;
    }
    finish(writer, seal)
}

pub(crate) fn error(
    request: &StunMessage<'_>,
    refusal: TurnRefusal,
    unknown: &Unknown,
    seal: &Seal<'_>,
    out: &mut [u8],
) -> Result<usize, StunError> {
    let id = request.transaction_id();
    let mut writer = StunWriter::new(out, StunClass::Error, request.method(), id)?;
    writer.error_code(refusal.code())?;
    if refusal == TurnRefusal::UnknownAttribute {
        let mut value = [0; 2 * crate::request::MAX_UNKNOWN];
        for (bytes, kind) in value.chunks_exact_mut(2).zip(unknown.types()) {
            bytes.copy_from_slice(&kind.to_be_bytes());
        }
        let len = 2 * unknown.types().len();
        writer.attribute(attribute::UNKNOWN_ATTRIBUTES, &value[..len])?;
    }
    finish(writer, seal)
}

/// The value of PASSWORD-ALGORITHMS: both, without parameters.
pub(crate) const ALGORITHMS: [u8; 8] = {
    let [first, second] = PasswordAlgorithm::ALL;
    let (f, s) = (first.number().to_be_bytes(), second.number().to_be_bytes());
    [f[0], f[1], 0, 0, s[0], s[1], 0, 0]
};

/// Tells a client to come back with credentials (401), or with this nonce (438).
pub(crate) fn retry(
    request: &StunMessage<'_>,
    refusal: TurnRefusal,
    nonce: &[u8],
    out: &mut [u8],
) -> Result<usize, StunError> {
    let id = request.transaction_id();
    let mut writer = StunWriter::new(out, StunClass::Error, request.method(), id)?;
    writer.error_code(refusal.code())?;
    writer.attribute(attribute::REALM, REALM.as_bytes())?;
    writer.attribute(attribute::NONCE, nonce)?;
    writer.attribute(attribute::PASSWORD_ALGORITHMS, &ALGORITHMS)?;
    let seal = Seal {
        key: None,
        fingerprint: request.verify_fingerprint().is_some(),
    };
    finish(writer, &seal)
}

/// Writes the answer to a client's first request, which has no credentials: 401 with a nonce. Needs no state, so that
/// whoever accepted a stream can give it before it is known which shard the stream is for; every shard of the node takes the
/// nonce. `None` if the datagram is no such request: then hand it to the shard that [`crate::user_of`] names, or to any.
///
/// `unix_seconds` is the time since the Unix epoch, `out` has [`MAX_ANSWER_LEN`] bytes.
pub fn challenge(
    secret: &Secret,
    unix_seconds: u64,
    remote: SocketAddr,
    datagram: &[u8],
    out: &mut [u8],
) -> Option<usize> {
    let request = StunMessage::parse(datagram).ok()?;
    let is_first = request.class() == StunClass::Request
        && crate::server::is_turn_method(request.method())
        && request.integrity().is_none();
    if !is_first {
        return None;
    }
    let nonce = nonce::issue(secret, unix_seconds, remote);
    retry(&request, TurnRefusal::Unauthorized, &nonce, out).ok()
}

/// The key that a request must be authenticated with, or why it is none of ours.
pub(crate) fn key_of(
    secret: &Secret,
    request: &StunMessage<'_>,
    user: &UserName,
    realm: &[u8],
) -> Result<IntegrityKey, TurnRefusal> {
    // RFC 8489 §9.2.4: a client that knows of algorithms repeats our list, so that nobody on the way can shorten it.
    let algorithm = match (
        request.attribute(attribute::PASSWORD_ALGORITHM),
        request.attribute(attribute::PASSWORD_ALGORITHMS),
    ) {
        (None, None) => PasswordAlgorithm::Md5,
        (Some(chosen), Some(list)) if list == ALGORITHMS => {
            PasswordAlgorithm::parse(chosen).ok_or(TurnRefusal::BadRequest)?
        }
        (_, _) => return Err(TurnRefusal::BadRequest),
    };
    let integrity = request.integrity().ok_or(TurnRefusal::Unauthorized)?;
    let name = request
        .attribute(attribute::USERNAME)
        .ok_or(TurnRefusal::BadRequest)?;
    Ok(IntegrityKey::long_term(
        integrity,
        algorithm,
        name,
        realm,
        secret.password(user).as_str().as_bytes(),
    ))
}
