//! Which protocol a connection speaks, by the first bytes that it sends (RFC 7983 §3 is the like for datagrams).

use super::proxy;

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It needs more of them.
    Undecided,
    /// A TLS handshake.
    Tls,
    /// HTTP, or whatever the HTTP library shall refuse.
    Http,
    /// STUN without anything before it: TURN (RFC 8656 §3.1).
    Turn,
    /// A length and then STUN: ICE over TCP (RFC 4571 §2, RFC 6544 §3).
    IceTcp,
    /// A header of the PROXY protocol, of whichever version.
    ProxyHeader,
    /// None of them.
    Unknown,
}

/// Bytes with which every decision is possible.
pub(super) const ENOUGH: usize = proxy::SIGNATURE.len();
/// Content type of a TLS handshake (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// Bytes 4 to 7 of a STUN message (RFC 8489 §5).
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];

/// Tells protocols apart.
pub(super) fn tell(first: &[u8]) -> Told {
    let Some(byte) = first.first() else {
        return Told::Undecided;
    };
    for begin in [&proxy::SIGNATURE[..], proxy::SIGNATURE_V1] {
        if first.starts_with(begin) {
            return Told::ProxyHeader;
        }
        if begin.starts_with(first) {
            return Told::Undecided;
        }
    }
    if *byte == TLS_HANDSHAKE {
        return Told::Tls;
    }
    // Methods are visible characters; RFC 9112 §2.2 lets empty lines stand before a request.
    if byte.is_ascii_graphic() || matches!(byte, b'\r' | b'\n') {
        return Told::Http;
    }
    match (first.get(4..8), first.get(6..10)) {
        (Some(cookie), _) if cookie == MAGIC_COOKIE && *byte < 0x40 => Told::Turn,
        (_, Some(cookie)) if cookie == MAGIC_COOKIE => Told::IceTcp,
        (_, Some(_)) => Told::Unknown,
        (_, None) => Told::Undecided,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUN: [u8; 12] = [0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4];

    #[test]
    fn each_protocol_is_told_from_its_first_bytes_and_never_before() {
        let framed = [&[0, 20][..], &STUN].concat();
        let cases: [(&[u8], Told, usize); 8] = [
            (b"GET / HTTP/1.1", Told::Http, 1),
            (b"POST /twirp", Told::Http, 2),
            (b"PRI * HTTP/2.0", Told::Http, 3),
            (&STUN, Told::Turn, 8),
            (&framed, Told::IceTcp, 10),
            (&[0x16, 3, 1, 0, 5], Told::Tls, 1),
            (b"PROXY TCP4 192.0.2.1", Told::ProxyHeader, 6),
            (b"\r\n\r\n\0\r\nQUIT\n!", Told::ProxyHeader, 12),
        ];
        for (bytes, told, after) in cases {
            for len in 0..=bytes.len() {
                let expected = if len < after { Told::Undecided } else { told };
                assert_eq!(tell(&bytes[..len]), expected, "{len} of {bytes:?}");
            }
            assert!(after <= ENOUGH);
        }
    }

    #[test]
    fn what_is_none_of_them_is_known_as_such() {
        for bytes in [&[0; 12][..], &[0x80; 12], &[3; 10]] {
            assert_eq!(tell(bytes), Told::Unknown, "{bytes:?}");
        }
        // Empty lines before a request.
        assert_eq!(tell(b"\r\nGET /"), Told::Http);
    }
}
