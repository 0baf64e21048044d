//! STUN messages as ICE uses them: a borrowed view and a writer (RFC 8489 §5, §14; RFC 8445 §16.1).
//!
//! Owns the wire format, MESSAGE-INTEGRITY with short-term credentials and FINGERPRINT. Refuses long-term credentials,
//! the SHA-256 integrity attribute and the classic format without magic cookie (RFC 3489): ICE uses none of them.
//! What a request means for a path is [`crate::ice::IceLite`]'s.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aws_lc_rs::{constant_time, hmac};

/// Length of the fixed header, in bytes.
pub const HEADER_LEN: usize = 20;
/// The value that tells STUN from what shares its port (RFC 8489 §5).
const MAGIC_COOKIE: u32 = 0x2112_A442;
/// Length of the head of an attribute: type and length.
const ATTRIBUTE_HEAD: usize = 4;
/// Length of the value of MESSAGE-INTEGRITY: an HMAC-SHA1.
const INTEGRITY_LEN: usize = 20;
/// What FINGERPRINT is combined with, so that another CRC-32 in the packet doesn't pass for one (RFC 8489 §14.7).
const FINGERPRINT_XOR: u32 = 0x5354_554E;

/// Method 0x001, the only one that ICE needs.
pub const BINDING: u16 = 0x001;

/// Attribute types (RFC 8489 §18.3, RFC 8445 §16.1). Those below 0x8000 must be understood or refused.
pub mod attribute {
    /// `USERNAME`: `receiver-ufrag:sender-ufrag`.
    pub const USERNAME: u16 = 0x0006;
    /// `MESSAGE-INTEGRITY`: HMAC-SHA1 over all before it.
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    /// `ERROR-CODE`.
    pub const ERROR_CODE: u16 = 0x0009;
    /// `UNKNOWN-ATTRIBUTES`: the types that made us answer 420.
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
    /// `XOR-MAPPED-ADDRESS`: where the request came from.
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    /// `PRIORITY` that the sender's candidate would have as peer-reflexive candidate.
    pub const PRIORITY: u16 = 0x0024;
    /// `USE-CANDIDATE`: the controlling agent nominates this pair.
    pub const USE_CANDIDATE: u16 = 0x0025;
    /// `FINGERPRINT`: CRC-32 over all before it.
    pub const FINGERPRINT: u16 = 0x8028;
    /// `ICE-CONTROLLED` with a tie-breaker.
    pub const ICE_CONTROLLED: u16 = 0x8029;
    /// `ICE-CONTROLLING` with a tie-breaker.
    pub const ICE_CONTROLLING: u16 = 0x802A;
}

/// Class of a message (RFC 8489 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StunClass {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// A request succeeded.
    Success,
    /// A request failed.
    Error,
}

/// 96 bits that tie an answer to its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransactionId(pub [u8; 12]);

/// Why bytes are no STUN message, or a message could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StunError {
    /// Header, length or attributes contradict the datagram (peer).
    #[error("not a well-formed STUN message")]
    Malformed,
    /// The output buffer is too small (caller).
    #[error("the output buffer is too small for the STUN message")]
    NoSpace,
}

/// A well-formed STUN message; borrows the datagram and copies nothing.
#[derive(Clone, Copy, Debug)]
pub struct StunMessage<'a> {
    datagram: &'a [u8],
    /// End of the attributes that count: where MESSAGE-INTEGRITY or FINGERPRINT stands, else the end.
    protected_end: usize,
    integrity_at: Option<usize>,
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
                    if value.len() != INTEGRITY_LEN {
                        return None;
                    }
                    message.integrity_at = Some(at);
                    message.protected_end = at;
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
        let kind = self.kind();
        (kind & 0x000F) | (kind >> 1 & 0x0070) | (kind >> 2 & 0x0F80)
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
        let value = self.attribute(attribute::XOR_MAPPED_ADDRESS)?;
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

    /// Whether MESSAGE-INTEGRITY is there and right for `key`.
    pub fn verify_integrity(&self, key: &IntegrityKey) -> bool {
        let Some(at) = self.integrity_at else {
            return false;
        };
        let value = at + ATTRIBUTE_HEAD;
        let tag = key.sign(&self.datagram[..at]);
        constant_time::verify_slices_are_equal(
            tag.as_ref(),
            &self.datagram[value..value + INTEGRITY_LEN],
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

/// Peeks at `USERNAME` of a binding request: the receiver's and the sender's fragment.
///
/// Checks no more than it must, so that a shard can find the transport whose key verifies the message.
pub fn username_of(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    Attributes(body(datagram)?)
        .find_map(|(kind, value)| (kind == attribute::USERNAME).then_some(value))
        .and_then(split_username)
}

/// A password as key of MESSAGE-INTEGRITY, expanded once.
///
/// Short-term credentials: the key is the password itself (RFC 8489 §9.1.1; ICE passwords are ASCII, so OpaqueString
/// changes nothing).
#[derive(Clone, Debug)]
pub struct IntegrityKey(hmac::Key);

impl IntegrityKey {
    /// Expands `password`.
    pub fn new(password: &[u8]) -> Self {
        Self(hmac::Key::new(
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            password,
        ))
    }

    /// The HMAC over a message up to its MESSAGE-INTEGRITY attribute, whose end the length field must pretend to be.
    fn sign(&self, before: &[u8]) -> hmac::Tag {
        let len = before.len() - HEADER_LEN + ATTRIBUTE_HEAD + INTEGRITY_LEN;
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&before[..2]);
        context.update(&(len as u16).to_be_bytes());
        context.update(&before[4..]);
        context.sign()
    }
}

/// Writes one message into a caller's buffer.
#[derive(Debug)]
pub struct StunWriter<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> StunWriter<'a> {
    /// Starts a message.
    ///
    /// # Errors
    /// [`StunError::NoSpace`].
    pub fn new(
        out: &'a mut [u8],
        class: StunClass,
        method: u16,
        id: TransactionId,
    ) -> Result<Self, StunError> {
        let class_bits = match class {
            StunClass::Request => 0x0000,
            StunClass::Indication => 0x0010,
            StunClass::Success => 0x0100,
            StunClass::Error => 0x0110,
        };
        let method_bits = (method & 0x000F) | (method & 0x0070) << 1 | (method & 0x0F80) << 2;
        let header = out.get_mut(..HEADER_LEN).ok_or(StunError::NoSpace)?;
        header[..2].copy_from_slice(&(class_bits | method_bits).to_be_bytes());
        header[2..4].copy_from_slice(&[0, 0]);
        header[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
        header[8..].copy_from_slice(&id.0);
        Ok(Self {
            out,
            len: HEADER_LEN,
        })
    }

    /// Appends an attribute with zero padding.
    ///
    /// # Errors
    /// [`StunError::NoSpace`], also for what 16 bits of length can't say.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) -> Result<(), StunError> {
        let padded = value.len().next_multiple_of(4);
        let end = self.len + ATTRIBUTE_HEAD + padded;
        let body_len = u16::try_from(end - HEADER_LEN).map_err(|_| StunError::NoSpace)?;
        let slot = self.out.get_mut(self.len..end).ok_or(StunError::NoSpace)?;
        slot[..2].copy_from_slice(&kind.to_be_bytes());
        slot[2..4].copy_from_slice(&(value.len() as u16).to_be_bytes());
        slot[4..4 + value.len()].copy_from_slice(value);
        slot[4 + value.len()..].fill(0);
        self.out[2..4].copy_from_slice(&body_len.to_be_bytes());
        self.len = end;
        Ok(())
    }

    /// Appends `XOR-MAPPED-ADDRESS`; an IPv4 address in IPv6 clothes (dual-stack sockets) is written as IPv4.
    ///
    /// # Errors
    /// [`StunError::NoSpace`].
    pub fn xor_mapped_address(&mut self, address: SocketAddr) -> Result<(), StunError> {
        let mut id = [0; 12];
        id.copy_from_slice(&self.out[8..HEADER_LEN]);
        let mask = address_mask(TransactionId(id));
        let mut value = [0; 20];
        let ip_len = match address.ip().to_canonical() {
            IpAddr::V4(ip) => {
                value[1] = 1;
                value[4..8].copy_from_slice(&ip.octets());
                4
            }
            IpAddr::V6(ip) => {
                value[1] = 2;
                value[4..].copy_from_slice(&ip.octets());
                16
            }
        };
        value[2..4].copy_from_slice(&address.port().to_be_bytes());
        for (byte, mask) in value[2..4].iter_mut().zip(mask) {
            *byte ^= mask;
        }
        for (byte, mask) in value[4..].iter_mut().zip(mask) {
            *byte ^= mask;
        }
        self.attribute(attribute::XOR_MAPPED_ADDRESS, &value[..4 + ip_len])
    }

    /// Appends `ERROR-CODE` without a reason phrase, which only people read.
    ///
    /// # Errors
    /// [`StunError::NoSpace`].
    pub fn error_code(&mut self, code: u16) -> Result<(), StunError> {
        let value = [0, 0, (code / 100) as u8 & 7, (code % 100) as u8];
        self.attribute(attribute::ERROR_CODE, &value)
    }

    /// Appends MESSAGE-INTEGRITY over all so far.
    ///
    /// # Errors
    /// [`StunError::NoSpace`].
    pub fn integrity(&mut self, key: &IntegrityKey) -> Result<(), StunError> {
        let tag = key.sign(&self.out[..self.len]);
        self.attribute(attribute::MESSAGE_INTEGRITY, tag.as_ref())
    }

    /// Appends FINGERPRINT over all so far, which ends the message.
    ///
    /// # Errors
    /// [`StunError::NoSpace`].
    pub fn fingerprint(mut self) -> Result<usize, StunError> {
        let value = fingerprint(&self.out[..self.len]);
        self.attribute(attribute::FINGERPRINT, &value)?;
        Ok(self.len)
    }

    /// Ends the message without FINGERPRINT and answers its length.
    pub fn finish(self) -> usize {
        self.len
    }
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

/// What XOR-MAPPED-ADDRESS is combined with: cookie and transaction id.
fn address_mask(id: TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    mask[4..].copy_from_slice(&id.0);
    mask
}

fn masked<const N: usize>(address: &[u8], mask: &[u8; 16]) -> Option<[u8; N]> {
    let mut octets: [u8; N] = address.try_into().ok()?;
    for (byte, mask) in octets.iter_mut().zip(mask) {
        *byte ^= mask;
    }
    Some(octets)
}

/// The value of FINGERPRINT over a message up to it, whose end the length field must pretend to be.
fn fingerprint(before: &[u8]) -> [u8; 4] {
    let len = (before.len() - HEADER_LEN + ATTRIBUTE_HEAD + 4) as u16;
    let mut crc = !0;
    crc = crc32_update(crc, &before[..2]);
    crc = crc32_update(crc, &len.to_be_bytes());
    crc = crc32_update(crc, &before[4..]);
    (!crc ^ FINGERPRINT_XOR).to_be_bytes()
}

/// CRC-32 of ITU-T V.42, one table step a byte: checks are a hundred bytes and rare, so no faster one is worth its code.
fn crc32_update(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        (crc >> 8) ^ CRC32[usize::from(crc as u8 ^ byte)]
    })
}

const CRC32: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};
