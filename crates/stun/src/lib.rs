//! STUN messages: a borrowed view and a writer (RFC 8489 §5, §14).
//!
//! Owns the wire format, MESSAGE-INTEGRITY in both sizes with the keys of short-term and long-term credentials, and
//! FINGERPRINT. Refuses the classic format without magic cookie (RFC 3489). What a request means is its user's: ICE
//! (RFC 8445) and TURN (RFC 8656) share this crate, so it knows both's names of methods and attributes.

mod fingerprint;
mod integrity;
mod message;
mod writer;

pub use integrity::{Integrity, IntegrityKey, PasswordAlgorithm};
pub use message::{Attributes, StunMessage, is_response, method_of, username_of};
pub use writer::StunWriter;

/// Length of the fixed header, in bytes.
pub const HEADER_LEN: usize = 20;
/// The value that tells STUN from what shares its port (RFC 8489 §5).
const MAGIC_COOKIE: u32 = 0x2112_A442;
/// Length of the head of an attribute: type and length.
const ATTRIBUTE_HEAD: usize = 4;

/// Method 0x001, the only one that ICE needs.
pub const BINDING: u16 = 0x001;

/// Methods of TURN (RFC 8656 §17).
pub mod method {
    /// `Allocate`.
    pub const ALLOCATE: u16 = 0x003;
    /// `Refresh`.
    pub const REFRESH: u16 = 0x004;
    /// `Send`, an indication.
    pub const SEND: u16 = 0x006;
    /// `Data`, an indication.
    pub const DATA: u16 = 0x007;
    /// `CreatePermission`.
    pub const CREATE_PERMISSION: u16 = 0x008;
    /// `ChannelBind`.
    pub const CHANNEL_BIND: u16 = 0x009;
}

/// Attribute types (RFC 8489 §18.3, RFC 8445 §16.1, RFC 8656 §18). Those below 0x8000 must be understood or refused.
pub mod attribute {
    /// `USERNAME`: `receiver-ufrag:sender-ufrag`.
    pub const USERNAME: u16 = 0x0006;
    /// `MESSAGE-INTEGRITY`: HMAC-SHA1 over all before it.
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    /// `ERROR-CODE`.
    pub const ERROR_CODE: u16 = 0x0009;
    /// `UNKNOWN-ATTRIBUTES`: the types that made us answer 420.
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
    /// `CHANNEL-NUMBER`: 16 bits and as many reserved.
    pub const CHANNEL_NUMBER: u16 = 0x000C;
    /// `LIFETIME`: seconds, 32 bits.
    pub const LIFETIME: u16 = 0x000D;
    /// `XOR-PEER-ADDRESS`: the far end of a relay.
    pub const XOR_PEER_ADDRESS: u16 = 0x0012;
    /// `DATA`: what is relayed.
    pub const DATA: u16 = 0x0013;
    /// `REALM` of long-term credentials.
    pub const REALM: u16 = 0x0014;
    /// `NONCE` of long-term credentials.
    pub const NONCE: u16 = 0x0015;
    /// `XOR-RELAYED-ADDRESS`: our end of a relay.
    pub const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    /// `REQUESTED-ADDRESS-FAMILY`: 1 for IPv4, 2 for IPv6, in the first byte.
    pub const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    /// `EVEN-PORT`: the port should be even; the first bit asks to keep the next one, too.
    pub const EVEN_PORT: u16 = 0x0018;
    /// `REQUESTED-TRANSPORT`: the protocol's number in the first byte.
    pub const REQUESTED_TRANSPORT: u16 = 0x0019;
    /// `DONT-FRAGMENT`.
    pub const DONT_FRAGMENT: u16 = 0x001A;
    /// `MESSAGE-INTEGRITY-SHA256`: HMAC-SHA256 over all before it.
    pub const MESSAGE_INTEGRITY_SHA256: u16 = 0x001C;
    /// `PASSWORD-ALGORITHM`: which of the offered ones a request uses.
    pub const PASSWORD_ALGORITHM: u16 = 0x001D;
    /// `XOR-MAPPED-ADDRESS`: where the request came from.
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    /// `PRIORITY` that the sender's candidate would have as peer-reflexive candidate.
    pub const PRIORITY: u16 = 0x0024;
    /// `RESERVATION-TOKEN`: eight bytes that name a port kept by `EVEN-PORT`.
    pub const RESERVATION_TOKEN: u16 = 0x0022;
    /// `USE-CANDIDATE`: the controlling agent nominates this pair.
    pub const USE_CANDIDATE: u16 = 0x0025;
    /// `ADDITIONAL-ADDRESS-FAMILY`: 2 in the first byte, for an IPv6 relay beside the IPv4 one.
    pub const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
    /// `ADDRESS-ERROR-CODE`: why one of two families was not to be had.
    pub const ADDRESS_ERROR_CODE: u16 = 0x8001;
    /// `PASSWORD-ALGORITHMS`: those that a server offers.
    pub const PASSWORD_ALGORITHMS: u16 = 0x8002;
    /// `SOFTWARE`.
    pub const SOFTWARE: u16 = 0x8022;
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

/// What XOR-MAPPED-ADDRESS is combined with: cookie and transaction id.
pub(crate) fn address_mask(id: TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    mask[4..].copy_from_slice(&id.0);
    mask
}

pub(crate) fn masked<const N: usize>(address: &[u8], mask: &[u8; 16]) -> Option<[u8; N]> {
    let mut octets: [u8; N] = address.try_into().ok()?;
    for (byte, mask) in octets.iter_mut().zip(mask) {
        *byte ^= mask;
    }
    Some(octets)
}
