//! Which addresses media is reachable at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Failure;

/// The addresses that clients are told, and those that the sockets are opened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MediaAddresses {
    pub(crate) advertised: Vec<IpAddr>,
    pub(crate) bind: Vec<IpAddr>,
}

/// With `node_ip` that address; else all of this machine, loopback last: stock Firefox refuses loopback candidates, and
/// a machine without a network still has a call with itself.
pub(crate) fn media_addresses(node_ip: Option<IpAddr>) -> Result<MediaAddresses, Failure> {
    if let Some(ip) = node_ip {
        // A loopback address is never reachable from elsewhere, so nothing else need be open. Any other may be that of
        // a NAT in front of us.
        let bind = if ip.is_loopback() {
            ip
        } else {
            unspecified(ip)
        };
        return Ok(MediaAddresses {
            advertised: vec![ip],
            bind: vec![bind],
        });
    }
    let interfaces = if_addrs::get_if_addrs().map_err(|error| {
        Failure::setup(format!(
            "can't list network interfaces: {error}; set rtc.node_ip"
        ))
    })?;
    let found: Vec<IpAddr> = interfaces.iter().map(|interface| interface.ip()).collect();
    Ok(select(&found))
}

fn select(found: &[IpAddr]) -> MediaAddresses {
    let mut advertised: Vec<IpAddr> = found.iter().copied().filter(is_candidate).collect();
    advertised.sort_unstable();
    advertised.dedup();
    // IPv4 first within each kind, loopback after everything else.
    advertised.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
    if advertised.is_empty() {
        advertised.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let mut bind = vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    if advertised.iter().any(IpAddr::is_ipv6) {
        bind.push(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    }
    MediaAddresses { advertised, bind }
}

/// Link-local addresses need a zone that SDP can't carry; IPv6 loopback adds nothing to IPv4's.
fn is_candidate(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unspecified() && !v6.is_unicast_link_local(),
    }
}

fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn loopback_comes_last_and_link_local_never() {
        let found = ips(&[
            "127.0.0.1",
            "::1",
            "fe80::1",
            "2001:db8::2",
            "192.0.2.7",
            "169.254.1.1",
        ]);
        let selected = select(&found);
        assert_eq!(
            selected.advertised,
            ips(&["192.0.2.7", "2001:db8::2", "127.0.0.1"])
        );
        assert_eq!(selected.bind, ips(&["0.0.0.0", "::"]));
    }

    #[test]
    fn a_machine_without_network_still_has_itself() {
        assert_eq!(select(&[]).advertised, ips(&["127.0.0.1"]));
    }

    #[test]
    fn a_configured_loopback_address_is_the_only_one_open() {
        let addresses = media_addresses(Some("127.0.0.1".parse().unwrap())).unwrap();
        assert_eq!(addresses.bind, ips(&["127.0.0.1"]));
        let behind_nat = media_addresses(Some("192.0.2.1".parse().unwrap())).unwrap();
        assert_eq!(behind_nat.bind, ips(&["0.0.0.0"]));
    }
}
