//! Which addresses a webhook may be sent to. A URL names a host, and whoever answers for its name chooses the address:
//! without a check, an entry in somebody's DNS would reach services that only this machine or its network can see.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses in CIDR notation, e.g. `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text is no range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a range of addresses such as 10.0.0.0/8, without bits set after the prefix")]
pub struct NetworkError;

impl Network {
    /// Whether the address lies in it. IPv4 addresses in IPv6 form (RFC 4291 §2.5.5.2) count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => masked_v4(other, self.prefix) == u32::from(own),
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                masked_v6(other, self.prefix) == u128::from(own)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// Bits before the IPv4 address in an IPv6 address that stands for one (RFC 4291 §2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

fn masked_v4(address: Ipv4Addr, prefix: u8) -> u32 {
    u32::from(address) & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn masked_v6(address: Ipv6Addr, prefix: u8) -> u128 {
    u128::from(address) & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

impl FromStr for Network {
    type Err = NetworkError;

    /// Reads `address/prefix`, or an address alone.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => {
                let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
                let prefix: u8 = prefix.parse().map_err(|_| NetworkError)?;
                (address, digits.then_some(prefix).ok_or(NetworkError)?)
            }
            None => (text, u8::MAX),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = if text.contains('/') { prefix } else { longest };
        let exact = prefix <= longest
            && match address {
                IpAddr::V4(v4) => masked_v4(v4, prefix) == u32::from(v4),
                IpAddr::V6(v6) => masked_v6(v6, prefix) == u128::from(v6),
            };
        // Somebody who writes 10.1.2.3/8 means either more or less than that says.
        if !exact {
            return Err(NetworkError);
        }
        Ok(match address {
            IpAddr::V6(v6) if prefix >= MAPPED_PREFIX => match v6.to_ipv4_mapped() {
                Some(v4) => Self {
                    address: v4.into(),
                    prefix: prefix - MAPPED_PREFIX,
                },
                None => Self { address, prefix },
            },
            IpAddr::V4(_) | IpAddr::V6(_) => Self { address, prefix },
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Decides about addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    listed: Vec<Network>,
}

impl AddressPolicy {
    /// Public addresses, and those of the given ranges.
    pub fn new(listed: Vec<Network>) -> Self {
        Self { listed }
    }

    /// Whether a request with TLS (`https`) or without may be sent to `address`.
    ///
    /// Bodies name people: without TLS they go only where the operator listed the address, e.g. to a process on the same
    /// machine.
    pub fn allows(&self, address: IpAddr, tls: bool) -> bool {
        self.listed.iter().any(|network| network.contains(address)) || (tls && is_public(address))
    }
}

/// Whether packets to it leave for the internet, by the IANA registries of special-purpose addresses (RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// IPv4 ranges that are no part of the internet, or none to send a request to.
const SPECIAL_V4: &[(Ipv4Addr, u8)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    // Shared with a carrier's customers (RFC 6598).
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    // Anycast relays of 6to4 (RFC 7526).
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast, reserved, broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    SPECIAL_V4
        .iter()
        .all(|(network, prefix)| masked_v4(address, *prefix) != u32::from(*network))
}

/// Ranges of the global unicast space (2000::/3) that are not.
const SPECIAL_V6: &[(Ipv6Addr, u8)] = &[
    // Protocol assignments, Teredo and benchmarking among them (RFC 2928).
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    // 6to4 carries an IPv4 address that may be any (RFC 3056).
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Addresses whose last 32 bits a translator takes for IPv4 (RFC 6052 §2.1).
const TRANSLATED: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

fn is_public_v6(address: Ipv6Addr) -> bool {
    let within =
        |(network, prefix): &(Ipv6Addr, u8)| masked_v6(address, *prefix) == u128::from(*network);
    if within(&TRANSLATED) {
        return is_public_v4(Ipv4Addr::from(u128::from(address) as u32));
    }
    let global = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
    within(&global) && !SPECIAL_V6.iter().any(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_not_public_is_refused_unless_listed() {
        let closed = AddressPolicy::default();
        for special in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.178.1",
            "198.19.0.1",
            "203.0.113.5",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:192.168.1.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::10.0.0.1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!closed.allows(ip(special), true), "{special}");
            let listed = AddressPolicy::new(vec![special.parse().unwrap_or_else(|_| {
                panic!("{special} can be listed");
            })]);
            assert!(listed.allows(ip(special), true), "{special} listed");
        }
        for public in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2a01:4f8::1",
            "64:ff9b::1.1.1.1",
            "::ffff:1.1.1.1",
        ] {
            assert!(closed.allows(ip(public), true), "{public}");
            assert!(
                !closed.allows(ip(public), false),
                "{public}: not without TLS"
            );
        }
    }

    #[test]
    fn a_range_holds_its_addresses_and_no_others() {
        let network: Network = "10.0.0.0/8".parse().unwrap();
        assert!(network.contains(ip("10.255.255.255")));
        assert!(network.contains(ip("::ffff:10.1.2.3")));
        assert!(!network.contains(ip("11.0.0.0")));
        assert!(!network.contains(ip("fd00::1")));
        let all: Network = "::/0".parse().unwrap();
        assert!(all.contains(ip("fe80::1")) && !all.contains(ip("10.0.0.1")));
        let one: Network = "192.0.2.7".parse().unwrap();
        assert!(one.contains(ip("192.0.2.7")) && !one.contains(ip("192.0.2.6")));
        assert_eq!(one.to_string(), "192.0.2.7/32");
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for bad in [
            "",
            "10",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "::/129",
            "::1/64",
            "a/8",
            "10.0.0.0/8/8",
            "localhost",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad:?}");
        }
    }
}
