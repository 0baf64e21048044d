//! Zero-copy views and writers for everything Schalter reads from, or writes into, a media datagram.
//!
//! Owns the byte layouts: RTP (RFC 3550), header extensions (RFC 8285), RTCP and its feedback messages
//! (RFC 4585, RFC 5104), counter unwrapping, and the codec payload descriptors that an SFU needs to
//! forward without decoding. Refuses policy: no I/O, no clock, no allocation on the per-packet path,
//! no decision about which packet goes where. Bytes from a peer may be anything; a parser answers with
//! a `Copy` error and never panics.

#![forbid(unsafe_code)]

pub mod codec;
pub mod extension;
pub mod packet;
pub mod rtcp;
pub mod seq;

mod error;
mod wire;

pub use error::{CodecError, RtcpError, RtpError};
pub use packet::{RtpHeader, RtpPacket};
pub use rtcp::{Rtcp, RtcpWriter};

/// Tells whether a datagram that is known to be RTP or RTCP (first byte 128–191) is RTCP.
///
/// RFC 5761 §4: with both on one port, a second byte of 192–223 is an RTCP packet type and cannot be a
/// marker bit with a payload type that the session may use.
#[must_use]
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [first, 192..=223, ..] if first >> 6 == 2)
}
