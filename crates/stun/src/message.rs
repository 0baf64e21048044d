//! The borrowed view.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aws_lc_rs::constant_time;

use crate::fingerprint::fingerprint;
use crate::{
    ATTRIBUTE_HEAD, HEADER_LEN, Integrity, IntegrityKey, MAGIC_COOKIE, StunClass, StunError,
    TransactionId, address_mask, attribute, masked,
};

/// A well-formed STUN message; borrows the datagram and copies nothing.
#[derive(Clone, Copy, Debug)]
pub struct StunMessage<'a> {
    datagram: &'a [u8],
    /// End of the attributes that count: where MESSAGE-INTEGRITY of either size or FINGERPRINT stands, else the end.
    protected_end: usize,
    integrity_at: Option<usize>,
    integrity_sha256_at: Option<usize>,
    fingerprint_at: Option<usize>,
}

impl<'a> StunMessage<'a> {
    /// Parses a datagram that must be one STUN message and nothing else.
    ///
    /// # Errors
    /// [`StunError::Malformed`].
    pub fn parse(datagram: &'a [u8]) -> Result<Self, StunError> {
        Self::read(datagram).ok_or(StunError::Malformed)
    }

    fn read(datagram: &'a [u8]) -> Option<Self> {
        let attributes = body(datagram)?;
        let mut message = Self {
            datagram,
            protected_end: datagram.len(),
            integrity_at: None,
            integrity_sha256_at: None,
            fingerprint_at: None,
        };
        let mut walk = Attributes(attributes);
        loop {
            let at = datagram.len() - walk.0.len();
            if walk.0.is_empty() {
                return Some(message);
            }
            let (kind, value) = walk.step()?;
            match kind {
                attribute::MESSAGE_INTEGRITY if message.integrity_at.is_none() => {
                    if value.len() != Integrity::Sha1.len() {
                        return None;
                    }
                    message.integrity_at = Some(at);
                    message.protected_end = message.protected_end.min(at);
                }
                // RFC 8489 §14.6 lets usages agree on a shorter one; neither ICE nor TURN does.
                attribute::MESSAGE_INTEGRITY_SHA256 if message.integrity_sha256_at.is_none() => {
                    if value.len() != Integrity::Sha256.len() {
                        return None;
                    }
                    message.integrity_sha256_at = Some(at);
                    message.protected_end = message.protected_end.min(at);
                }
                attribute::FINGERPRINT => {
                    // RFC 8489 §14.7: it must be the last attribute.
                    if value.len() != 4 || !walk.0.is_empty() {
                        return None;
                    }
                    message.fingerprint_at = Some(at);
                    message.protected_end = message.protected_end.min(at);
                }
                _ => {}
            }
        }
    }

    fn kind(&self) -> u16 {
        u16::from_be_bytes([self.datagram[0], self.datagram[1]])
    }

    /// Class of the message.
    pub fn class(&self) -> StunClass {
        match (self.kind() >> 8 & 1, self.kind() >> 4 & 1) {
            (0, 0) => StunClass::Request,
            (0, _) => StunClass::Indication,
            (_, 0) => StunClass::Success,
            (_, _) => StunClass::Error,
        }
    }

    /// Method of the message, 12 bits.
    pub fn method(&self) -> u16 {
        method_in(self.kind())
    }

    /// Transaction id.
    pub fn transaction_id(&self) -> TransactionId {
        let mut id = [0; 12];
        id.copy_from_slice(&self.datagram[8..HEADER_LEN]);
        TransactionId(id)
    }

    /// The attributes before MESSAGE-INTEGRITY and FINGERPRINT, as type and value.
    ///
    /// What follows MESSAGE-INTEGRITY is not authenticated and must be ignored (RFC 8489 §14.5).
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes(&self.datagram[HEADER_LEN..self.protected_end])
    }

    /// The value of the first attribute of `kind` (see [`Self::attributes`]).
    pub fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes()
            .find_map(|(k, value)| (k == kind).then_some(value))
    }

    /// `USERNAME`, split at its colon into the receiver's and the sender's fragment.
    pub fn username(&self) -> Option<(&'a [u8], &'a [u8])> {
        self.attribute(attribute::USERNAME).and_then(split_username)
    }

    /// `PRIORITY`.
    pub fn priority(&self) -> Option<u32> {
        let value = self.attribute(attribute::PRIORITY)?;
        Some(u32::from_be_bytes(value.try_into().ok()?))
    }

    /// Code of `ERROR-CODE`, 300 to 699.
    pub fn error_code(&self) -> Option<u16> {
        let [_, _, class, number, ..] = self.attribute(attribute::ERROR_CODE)? else {
            return None;
        };
        Some(u16::from(class & 7) * 100 + u16::from(*number))
    }

    /// `XOR-MAPPED-ADDRESS`.
    pub fn xor_mapped_address(&self) -> Option<SocketAddr> {
        self.xor_address(self.attribute(attribute::XOR_MAPPED_ADDRESS)?)
    }

    /// The address in the value of an attribute whose name begins with XOR.
    pub fn xor_address(&self, value: &[u8]) -> Option<SocketAddr> {
        let (&[_, family, p0, p1], address) = value.split_first_chunk::<4>()?;
        let mask = address_mask(self.transaction_id());
        let port = u16::from_be_bytes([p0 ^ mask[0], p1 ^ mask[1]]);
        let ip = match family {
            1 => IpAddr::V4(Ipv4Addr::from(masked::<4>(address, &mask)?)),
            2 => IpAddr::V6(Ipv6Addr::from(masked::<16>(address, &mask)?)),
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }

    /// Which integrity the message has: the stronger one, if both.
    pub fn integrity(&self) -> Option<Integrity> {
        match (self.integrity_at, self.integrity_sha256_at) {
            (_, Some(_)) => Some(Integrity::Sha256),
            (Some(_), None) => Some(Integrity::Sha1),
            (None, None) => None,
        }
    }

    /// Whether the MESSAGE-INTEGRITY that `key` is for is there and right.
    pub fn verify_integrity(&self, key: &IntegrityKey) -> bool {
        let at = match key.integrity() {
            Integrity::Sha1 => self.integrity_at,
            Integrity::Sha256 => self.integrity_sha256_at,
        };
        let Some(at) = at else {
            return false;
        };
        let value = at + ATTRIBUTE_HEAD;
        let tag = key.sign(&self.datagram[..at]);
        constant_time::verify_slices_are_equal(
            tag.as_ref(),
            &self.datagram[value..value + key.integrity().len()],
        )
        .is_ok()
    }

    /// Whether FINGERPRINT is right; `None` without one.
    pub fn verify_fingerprint(&self) -> Option<bool> {
        let at = self.fingerprint_at?;
        let value = &self.datagram[at + ATTRIBUTE_HEAD..];
        Some(value == fingerprint(&self.datagram[..at]))
    }
}

/// Iterates over attributes as type and value.
#[derive(Clone, Debug)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    fn step(&mut self) -> Option<(u16, &'a [u8])> {
        let (&[k0, k1, l0, l1], rest) = self.0.split_first_chunk::<ATTRIBUTE_HEAD>()?;
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        let value = rest.get(..len)?;
        self.0 = rest.get(len.next_multiple_of(4)..)?;
        Some((u16::from_be_bytes([k0, k1]), value))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.step()
    }
}

/// The method in the first two bytes.
fn method_in(kind: u16) -> u16 {
    (kind & 0x000F) | (kind >> 1 & 0x0070) | (kind >> 2 & 0x0F80)
}

/// Peeks at the method of what has the header of a STUN message; the attributes may be anything.
pub fn method_of(datagram: &[u8]) -> Option<u16> {
    body(datagram).map(|_| method_in(u16::from_be_bytes([datagram[0], datagram[1]])))
}

/// Peeks at the class of what has the header of a STUN message: whether it answers a request.
pub fn is_response(datagram: &[u8]) -> bool {
    body(datagram).is_some() && datagram[0] & 1 == 1
}

/// Peeks at `USERNAME` of a binding request: the receiver's and the sender's fragment.
///
/// Checks no more than it must, so that a shard can find the transport whose key verifies the message.
pub fn username_of(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    Attributes(body(datagram)?)
        .find_map(|(kind, value)| (kind == attribute::USERNAME).then_some(value))
        .and_then(split_username)
}

/// The attributes of a datagram whose header is that of STUN and whose length field is right.
fn body(datagram: &[u8]) -> Option<&[u8]> {
    let (header, body) = datagram.split_first_chunk::<HEADER_LEN>()?;
    let [k0, _, l0, l1, c0, c1, c2, c3, ..] = *header;
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    let fits = len == body.len() && len.is_multiple_of(4);
    let is_stun = k0 & 0xC0 == 0 && u32::from_be_bytes([c0, c1, c2, c3]) == MAGIC_COOKIE;
    (fits && is_stun).then_some(body)
}

fn split_username(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = value.iter().position(|byte| *byte == b':')?;
    Some((&value[..colon], &value[colon + 1..]))
}
