//! Our own ICE candidates: UDP host candidates (RFC 8839 §5.1, RFC 8445 §5.1).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Recommended type preference of host candidates (RFC 8445 §5.1.2.2).
const HOST_PREFERENCE: u32 = 126;
/// The only component, for RTCP is multiplexed (RFC 5761).
const COMPONENT: u32 = 1;

/// One address of ours that clients may send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    address: SocketAddr,
    local_preference: u16,
}

impl Candidate {
    /// A UDP host candidate. Of several, clients try the one with the highest `local_preference` first.
    pub const fn udp_host(address: SocketAddr, local_preference: u16) -> Self {
        Self {
            address,
            local_preference,
        }
    }

    /// Where it is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// RFC 8445 §5.1.2.1.
    pub const fn priority(&self) -> u32 {
        (HOST_PREFERENCE << 24) | ((self.local_preference as u32) << 8) | (256 - COMPONENT)
    }

    /// The JSON text of `candidateInit` in LiveKit's `trickle`.
    pub fn init_json(&self) -> String {
        serde_json::json!({
            "candidate": self.to_string(),
            "sdpMid": "0",
            "sdpMLineIndex": 0,
            "usernameFragment": null,
        })
        .to_string()
    }

    /// Equal for candidates with one type, base address and protocol (RFC 8445 §5.1.1.3): FNV-1a over the address.
    fn foundation(&self) -> u32 {
        let hash = |bytes: &[u8]| {
            bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
                (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
            })
        };
        match self.address.ip() {
            IpAddr::V4(ip) => hash(&ip.octets()),
            IpAddr::V6(ip) => hash(&ip.octets()),
        }
    }
}

impl fmt::Display for Candidate {
    /// `candidate:<foundation> 1 udp <priority> <ip> <port> typ host`: the attribute without `a=`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "candidate:{} {COMPONENT} udp {} {} {} typ host",
            self.foundation(),
            self.priority(),
            self.address.ip(),
            self.address.port()
        )
    }
}
