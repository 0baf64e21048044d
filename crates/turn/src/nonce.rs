//! Nonces that need no memory: the time they were made, and a proof that we made them for this address (RFC 8489 §9.2).

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::constant_time;

use crate::Secret;
use crate::credentials::write_hex;

/// How long a nonce is good, in seconds; RFC 8656 §5 wants a new one at least every hour.
const LIFETIME: u64 = 3_600;
/// The nonce cookie (RFC 8489 §9.2.1) and the security features 24 bits in base64: the first bit says that we list
/// PASSWORD-ALGORITHMS, which nobody on the way may take out unnoticed.
const COOKIE: &[u8; 13] = b"obMatJos2gAAA";
/// Hexadecimal digits of the time it was made, and of the proof, which is 64 bits.
const TIME_LEN: usize = 8;
const PROOF_LEN: usize = 16;
/// Length of a nonce.
pub(crate) const NONCE_LEN: usize = COOKIE.len() + TIME_LEN + PROOF_LEN;

/// A nonce made `unix_seconds` after the Unix epoch for a client at `remote`.
pub(crate) fn issue(secret: &Secret, unix_seconds: u64, remote: SocketAddr) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    let made = (unix_seconds as u32).to_be_bytes();
    let (head, proof) = nonce.split_at_mut(COOKIE.len() + TIME_LEN);
    head[..COOKIE.len()].copy_from_slice(COOKIE);
    write_hex(&mut head[COOKIE.len()..], &made);
    let ip = match remote.ip().to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let tag = secret.nonce_tag(&[head, &ip.octets(), &remote.port().to_be_bytes()]);
    write_hex(proof, tag.as_ref());
    nonce
}

/// Whether `nonce` was made by us for `remote` within the last hour.
pub(crate) fn is_fresh(
    secret: &Secret,
    unix_seconds: u64,
    remote: SocketAddr,
    nonce: &[u8],
) -> bool {
    let Some(digits) = nonce.get(COOKIE.len()..COOKIE.len() + TIME_LEN) else {
        return false;
    };
    let Some(made) = std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
    else {
        return false;
    };
    let age = unix_seconds.checked_sub(u64::from(made));
    age.is_some_and(|age| age <= LIFETIME)
        && constant_time::verify_slices_are_equal(&issue(secret, u64::from(made), remote), nonce)
            .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_for_an_hour_at_one_address() {
        let secret = Secret::new([3; 32]);
        let remote: SocketAddr = "192.0.2.1:5000".parse().unwrap();
        let nonce = issue(&secret, 1_000_000, remote);
        assert!(nonce.is_ascii());
        assert!(is_fresh(&secret, 1_000_000, remote, &nonce));
        assert!(is_fresh(&secret, 1_003_600, remote, &nonce));
        assert!(!is_fresh(&secret, 1_003_601, remote, &nonce), "too old");
        assert!(
            !is_fresh(&secret, 999_999, remote, &nonce),
            "from the future"
        );
        let elsewhere = "192.0.2.1:5001".parse().unwrap();
        assert!(!is_fresh(&secret, 1_000_000, elsewhere, &nonce));
        assert!(!is_fresh(&Secret::new([4; 32]), 1_000_000, remote, &nonce));
        for wrong in [&nonce[..NONCE_LEN - 1], b"", b"obMatJos2gAAA0000000x"] {
            assert!(!is_fresh(&secret, 1_000_000, remote, wrong));
        }
    }
}
