//! Headers of the PROXY protocol: read as they come in, byte by byte, and whole.

// The server is a program and no library; its parser stands alone.
#[path = "../../schalter/src/front/proxy.rs"]
mod proxy;

/// Does it with one input.
pub fn run(bytes: &[u8]) {
    let mut known = None;
    for len in 0..=bytes.len().min(proxy::MAX_LEN) {
        match proxy::length(&bytes[..len]) {
            Ok(Some(whole)) => {
                assert!((proxy::HEAD..=proxy::MAX_LEN).contains(&whole));
                // What comes later changes nothing.
                assert_eq!(*known.get_or_insert(whole), whole);
            }
            Ok(None) => assert!(len < proxy::HEAD && known.is_none()),
            // And what was refused stays refused.
            Err(_) => {
                assert!(known.is_none());
                assert!(proxy::length(bytes).is_err());
                return;
            }
        }
    }
    if let Some(whole) = known
        && let Some(header) = bytes.get(..whole)
        && let Ok(proxy::Header::Proxied {
            source,
            destination,
        }) = proxy::parse(header)
    {
        // Addresses are as sockets would tell them: IPv4 never in the clothes of IPv6.
        for address in [source, destination] {
            assert_eq!(address.ip(), address.ip().to_canonical());
        }
        assert_eq!(header[12], 0x21);
    }
}
