//! What an authentic check is answered (RFC 8445 §7.3).

use schalter_model::Path;

use crate::stun::{
    BINDING, IntegrityKey, StunClass, StunError, StunMessage, StunWriter, attribute,
};

/// Most types that an answer 420 lists; a peer that sends more learns of the rest next time.
const MAX_UNKNOWN_LISTED: usize = 8;

/// Why an authentic request gets an error for an answer.
pub(super) enum Refusal {
    /// 420, with the types.
    UnknownAttributes {
        types: [u16; MAX_UNKNOWN_LISTED],
        len: usize,
    },
    /// 487: the peer thinks it is controlled, but a lite agent never controls (RFC 8445 §6.1.1).
    RoleConflict,
}

pub(super) fn refusal(message: &StunMessage<'_>) -> Option<Refusal> {
    let mut types = [0; MAX_UNKNOWN_LISTED];
    let mut len = 0;
    let mut is_controlled = false;
    for (kind, _) in message.attributes() {
        match kind {
            attribute::USERNAME | attribute::PRIORITY | attribute::USE_CANDIDATE => {}
            attribute::ICE_CONTROLLED => is_controlled = true,
            0x0000..=0x7FFF if len < MAX_UNKNOWN_LISTED => {
                types[len] = kind;
                len += 1;
            }
            _ => {}
        }
    }
    if len > 0 {
        return Some(Refusal::UnknownAttributes { types, len });
    }
    is_controlled.then_some(Refusal::RoleConflict)
}

pub(super) fn respond(
    key: &IntegrityKey,
    request: &StunMessage<'_>,
    path: &Path,
    refusal: Option<&Refusal>,
    out: &mut [u8],
) -> Result<usize, StunError> {
    let class = match refusal {
        None => StunClass::Success,
        Some(_) => StunClass::Error,
    };
    let mut writer = StunWriter::new(out, class, BINDING, request.transaction_id())?;
    match refusal {
        None => writer.xor_mapped_address(path.remote)?,
        Some(Refusal::RoleConflict) => writer.error_code(487)?,
        Some(Refusal::UnknownAttributes { types, len }) => {
            writer.error_code(420)?;
            let mut value = [0; MAX_UNKNOWN_LISTED * 2];
            for (slot, kind) in value.as_chunks_mut().0.iter_mut().zip(types) {
                *slot = kind.to_be_bytes();
            }
            writer.attribute(attribute::UNKNOWN_ATTRIBUTES, &value[..len * 2])?;
        }
    }
    writer.integrity(key)?;
    writer.fingerprint()
}
