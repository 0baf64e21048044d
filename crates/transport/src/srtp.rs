//! SRTP and SRTCP in place, without allocation per packet (RFC 3711, RFC 7714, RFC 5764).
//!
//! Owns session keys, packet indexes, replay windows and the refusal to use an index twice. Refuses to know what a
//! packet carries. On the way in, nothing changes before a packet is authenticated; on the way out, nothing leaves
//! under an index that other bytes left under before.
//!
//! Not supported because WebRTC never negotiates it: MKI, a key derivation rate, unencrypted SRTP or SRTCP.

mod cipher;
mod inbound;
mod index;
mod keys;
mod outbound;
mod streams;

use schalter_model::SrtpProfile;

pub use inbound::Inbound;
pub use keys::{DtlsRole, SessionKeys};
pub use outbound::Outbound;

/// Length of the SRTCP word that carries the E flag and the index (RFC 3711 §3.4).
const SRTCP_INDEX_LEN: usize = 4;
/// Length of the part of an RTCP compound packet that stays clear: the first header and its sender's SSRC.
const RTCP_CLEAR_LEN: usize = 8;

/// Bytes that sealing appends to an RTP packet.
pub const fn rtp_overhead(profile: SrtpProfile) -> usize {
    match profile {
        SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => 16,
        SrtpProfile::Aes128CmSha1_80 => 10,
    }
}

/// Bytes that sealing appends to an RTCP packet.
pub const fn rtcp_overhead(profile: SrtpProfile) -> usize {
    rtp_overhead(profile) + SRTCP_INDEX_LEN
}

/// Most bytes that sealing appends under any profile.
pub const MAX_SRTP_OVERHEAD: usize = rtcp_overhead(SrtpProfile::AeadAes256Gcm);

/// Bytes of DTLS exporter output that [`SessionKeys::from_exporter`] wants: both keys, both salts (RFC 5764 §4.2).
pub const fn exporter_len(profile: SrtpProfile) -> usize {
    2 * (keys::master_key_len(profile) + keys::master_salt_len(profile))
}

/// Limits of one SRTP session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SrtpLimits {
    /// Streams that the peer may send at a time, RTP and RTCP counted apart.
    pub max_inbound_ssrcs: usize,
    /// Streams that we may send at a time.
    pub max_outbound_ssrcs: usize,
}

impl Default for SrtpLimits {
    fn default() -> Self {
        Self {
            max_inbound_ssrcs: 128,
            // A subscriber in a large room: 500 tracks with a retransmission stream each.
            max_outbound_ssrcs: 1_024,
        }
    }
}

/// Why a packet could not be sealed, or keys not be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SrtpError {
    /// Keying material of another length than the profile needs (caller).
    #[error("keying material has the wrong length for the profile")]
    KeyLength,
    /// Not an RTP or RTCP packet (caller).
    #[error("not a well-formed RTP or RTCP packet")]
    Malformed,
    /// The buffer has no room for tag and index (caller).
    #[error("the buffer is too small for the sealed packet")]
    NoSpace,
    /// Other bytes were sealed under this SSRC and sequence number before (caller).
    #[error("this packet index was used for other bytes")]
    IndexReused,
    /// The sequence number is so old that nobody knows whether it was used, or lies before the stream's start (caller).
    #[error("the packet index lies before the window")]
    IndexTooOld,
    /// More streams than [`SrtpLimits`] allow (limit).
    #[error("too many SSRCs in one SRTP session")]
    TooManySsrcs,
    /// All indexes of this key are used (limit); only a new session helps (RFC 3711 §9.2).
    #[error("the SRTP key has protected as many packets as it may")]
    KeyExhausted,
    /// The cryptographic library refused (its inputs can't cause that).
    #[error("the cryptographic library refused")]
    Crypto,
}
