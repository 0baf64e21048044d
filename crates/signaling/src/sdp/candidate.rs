//! Our own ICE candidates: host candidates by UDP (RFC 8839 §5.1, RFC 8445 §5.1) and by TCP, to which clients connect (RFC
//! 6544 §4).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Recommended type preference of host candidates (RFC 8445 §5.1.2.2).
const HOST_PREFERENCE: u32 = 126;
/// Type preference of host candidates by TCP: below any by UDP, even one that a client finds by a server of its own, for TCP
/// is what is left when UDP doesn't get through (RFC 6544 §4.2).
const TCP_HOST_PREFERENCE: u32 = 90;
/// Direction preference of passive host candidates, and where it stands in the local preference (RFC 6544 §4.2).
const PASSIVE: u32 = 4 << 13;
/// What of the local preference is left beside it.
const OTHER_PREFERENCE: u32 = (1 << 13) - 1;
/// The only component, for RTCP is multiplexed (RFC 5761).
const COMPONENT: u32 = 1;

/// One address of ours that clients may send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    address: SocketAddr,
    local_preference: u16,
    protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Protocol {
    Udp,
    TcpPassive,
}

impl Candidate {
    /// A UDP host candidate. Of several, clients try the one with the highest `local_preference` first.
    pub const fn udp_host(address: SocketAddr, local_preference: u16) -> Self {
        Self {
            address,
            local_preference,
            protocol: Protocol::Udp,
        }
    }

    /// A TCP host candidate that clients connect to (RFC 6544 §4.1, `passive`). They try it after all by UDP.
    pub const fn tcp_passive_host(address: SocketAddr, local_preference: u16) -> Self {
        Self {
            address,
            local_preference,
            protocol: Protocol::TcpPassive,
        }
    }

    /// Where it is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// RFC 8445 §5.1.2.1; by TCP the local preference is that of RFC 6544 §4.2.
    pub const fn priority(&self) -> u32 {
        let own = self.local_preference as u32;
        let (kind, local) = match self.protocol {
            Protocol::Udp => (HOST_PREFERENCE, own),
            Protocol::TcpPassive => {
                // The upper bits tell candidates apart, if there are no thousands.
                let other = own.saturating_sub(u16::MAX as u32 - OTHER_PREFERENCE);
                (TCP_HOST_PREFERENCE, PASSIVE | other)
            }
        };
        (kind << 24) | (local << 8) | (256 - COMPONENT)
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

    /// Equal for candidates with one type, base address and protocol (RFC 8445 §5.1.1.3): FNV-1a over address and protocol.
    fn foundation(&self) -> u32 {
        let hash = |bytes: &[u8]| {
            bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
                (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
            })
        };
        let of_address = match self.address.ip() {
            IpAddr::V4(ip) => hash(&ip.octets()),
            IpAddr::V6(ip) => hash(&ip.octets()),
        };
        match self.protocol {
            Protocol::Udp => of_address,
            Protocol::TcpPassive => !of_address,
        }
    }
}

impl fmt::Display for Candidate {
    /// `candidate:<foundation> 1 udp <priority> <ip> <port> typ host`: the attribute without `a=`. By TCP `tcptype passive`
    /// follows (RFC 6544 §4.5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (protocol, rest) = match self.protocol {
            Protocol::Udp => ("udp", ""),
            Protocol::TcpPassive => ("tcp", " tcptype passive"),
        };
        write!(
            f,
            "candidate:{} {COMPONENT} {protocol} {} {} {} typ host{rest}",
            self.foundation(),
            self.priority(),
            self.address.ip(),
            self.address.port()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tcp_candidate_comes_after_every_udp_candidate_and_keeps_the_order() {
        let address = "192.0.2.1:7881".parse().expect("an address");
        let worst_udp = Candidate::udp_host(address, 0);
        let first = Candidate::tcp_passive_host(address, u16::MAX);
        let second = Candidate::tcp_passive_host(address, u16::MAX - 1);
        assert!(worst_udp.priority() > first.priority());
        assert!(first.priority() > second.priority());
        // RFC 6544 §4.2: 90 · 2^24 + (4 · 2^13 + 8191) · 2^8 + 255.
        assert_eq!(
            first.priority(),
            (90 << 24) + ((4 << 13) + 8_191) * 256 + 255
        );
    }

    #[test]
    fn a_tcp_candidate_says_that_it_waits_to_be_connected_to() {
        let address = "192.0.2.1:7881".parse().expect("an address");
        let (udp, tcp) = (
            Candidate::udp_host(address, 1).to_string(),
            Candidate::tcp_passive_host(address, u16::MAX).to_string(),
        );
        let words: Vec<_> = tcp.split(' ').collect();
        assert_eq!(words[1..3], ["1", "tcp"]);
        assert_eq!(
            words[4..],
            ["192.0.2.1", "7881", "typ", "host", "tcptype", "passive"]
        );
        assert_ne!(
            udp.split(' ').next(),
            Some(words[0]),
            "another protocol is another foundation"
        );
    }
}
