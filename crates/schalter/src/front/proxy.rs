//! The header that a TCP load balancer puts before a connection: PROXY protocol, version 2, as HAProxy's specification
//! (doc/proxy-protocol.txt, §2.2) has it. Version 1, a line of text, is recognised and refused.
//!
//! Nothing here but the parser: it is fuzzed on its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How version 2 begins.
pub(crate) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// How version 1 begins.
pub(crate) const SIGNATURE_V1: &[u8] = b"PROXY ";
/// Signature, version and command, family, length.
pub(crate) const HEAD: usize = 16;
/// Longest header that is taken: the specification wants receivers to take 536 bytes, and TLVs of TLS-ending proxies need a
/// few hundred more.
pub(crate) const MAX_LEN: usize = 2_048;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// The balancer speaks for itself (a health check), or does not know its client: the connection's own addresses hold.
    Local,
    /// The balancer's client, and what it connected to.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// Where it connected.
        destination: SocketAddr,
    },
}

/// Why a header is none that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyError {
    /// Version 1.
    Version1,
    /// No header at all.
    Missing,
    /// Not well-formed, longer than [`MAX_LEN`], or not for TCP.
    Malformed,
}

/// How many bytes a header has, by its beginning; `None` until [`HEAD`] bytes are there.
///
/// # Errors
/// [`ProxyError`].
pub(crate) fn length(bytes: &[u8]) -> Result<Option<usize>, ProxyError> {
    if bytes.starts_with(SIGNATURE_V1) {
        return Err(ProxyError::Version1);
    }
    let compared = bytes.len().min(SIGNATURE.len());
    if bytes[..compared] != SIGNATURE[..compared] {
        return if SIGNATURE_V1.starts_with(bytes) {
            Ok(None)
        } else {
            Err(ProxyError::Missing)
        };
    }
    let Some(head) = bytes.first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let len = HEAD + usize::from(u16::from_be_bytes([head[14], head[15]]));
    if head[12] >> 4 != 2 || len > MAX_LEN {
        return Err(ProxyError::Malformed);
    }
    Ok(Some(len))
}

/// Reads a complete header of [`length`] bytes. What comes after the addresses (TLVs) is passed over.
///
/// # Errors
/// [`ProxyError`].
pub(crate) fn parse(header: &[u8]) -> Result<Header, ProxyError> {
    if length(header)? != Some(header.len()) {
        return Err(ProxyError::Malformed);
    }
    let (command, family, body) = (header[12] & 0x0F, header[13], &header[HEAD..]);
    match (command, family) {
        (0, _) | (1, 0x00) => Ok(Header::Local),
        // TCP over IPv4, and over IPv6.
        (1, 0x11) => addresses::<4>(body, |ip| Ipv4Addr::from(ip).into()),
        (1, 0x21) => addresses::<16>(body, |ip| Ipv6Addr::from(ip).to_canonical()),
        _ => Err(ProxyError::Malformed),
    }
}

/// Two addresses, then their ports.
fn addresses<const LEN: usize>(
    body: &[u8],
    ip: impl Fn([u8; LEN]) -> IpAddr,
) -> Result<Header, ProxyError> {
    let read = |ip_at: usize, port_at: usize| {
        let bytes = body.get(ip_at..)?.first_chunk::<LEN>()?;
        let port = body.get(port_at..)?.first_chunk::<2>()?;
        Some(SocketAddr::new(ip(*bytes), u16::from_be_bytes(*port)))
    };
    let source = read(0, 2 * LEN).ok_or(ProxyError::Malformed)?;
    let destination = read(LEN, 2 * LEN + 2).ok_or(ProxyError::Malformed)?;
    Ok(Header::Proxied {
        source,
        destination,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = (body.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &len, body].concat()
    }

    #[test]
    fn addresses_of_both_families_are_read_and_tlvs_passed_over() {
        let v4 = [192, 0, 2, 7, 203, 0, 113, 9, 0x30, 0x39, 1, 0xBB];
        let tlvs = [&v4[..], &[0x04, 0, 2, 0, 0]].concat();
        let proxied = Header::Proxied {
            source: "192.0.2.7:12345".parse().unwrap(),
            destination: "203.0.113.9:443".parse().unwrap(),
        };
        assert_eq!(parse(&header(0x21, 0x11, &v4)), Ok(proxied));
        assert_eq!(parse(&header(0x21, 0x11, &tlvs)), Ok(proxied));
        let source: Ipv6Addr = "2001:db8::7".parse().unwrap();
        let destination: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let ports = [0, 80, 1, 0xBB];
        let v6 = [&source.octets()[..], &destination.octets(), &ports].concat();
        let proxied = Header::Proxied {
            source: "[2001:db8::7]:80".parse().unwrap(),
            destination: "[2001:db8::1]:443".parse().unwrap(),
        };
        assert_eq!(parse(&header(0x21, 0x21, &v6)), Ok(proxied));
    }

    #[test]
    fn health_checks_and_unknown_clients_keep_the_connections_own_addresses() {
        assert_eq!(parse(&header(0x20, 0x00, &[])), Ok(Header::Local));
        assert_eq!(parse(&header(0x20, 0x11, &[0; 12])), Ok(Header::Local));
        assert_eq!(parse(&header(0x21, 0x00, &[])), Ok(Header::Local));
    }

    #[test]
    fn everything_else_is_refused_with_the_reason() {
        assert_eq!(length(b"PROXY TCP4 1.2.3.4"), Err(ProxyError::Version1));
        assert_eq!(length(b"GET / HTTP/1.1\r\n"), Err(ProxyError::Missing));
        assert_eq!(length(&[0x16, 3, 1]), Err(ProxyError::Missing));
        assert_eq!(length(b"PROX"), Ok(None));
        for bad in [
            header(0x11, 0x11, &[0; 12]),  // a version that is not 2
            header(0x22, 0x11, &[0; 12]),  // a command that is neither
            header(0x21, 0x12, &[0; 12]),  // UDP
            header(0x21, 0x31, &[0; 216]), // a Unix socket
            header(0x21, 0x11, &[0; 11]),  // too short for its addresses
            header(0x21, 0x11, &[0; MAX_LEN - HEAD + 1]),
        ] {
            assert_eq!(parse(&bad), Err(ProxyError::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn the_length_is_known_once_the_head_is_there() {
        let whole = header(0x21, 0x11, &[0; 12]);
        for len in 0..HEAD {
            assert_eq!(length(&whole[..len]), Ok(None));
        }
        assert_eq!(length(&whole), Ok(Some(28)));
    }
}
