//! Which addresses media is reachable at: those that clients are told, and those that sockets are opened on.
//!
//! The configuration names addresses, interfaces, or addresses behind a NAT that translates one to one; what of it is there is
//! asked once, at the start.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Failure;
use crate::config::Rtc;

/// The addresses that clients are told, and those that the sockets are opened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MediaAddresses {
    pub(crate) advertised: Vec<IpAddr>,
    pub(crate) bind: Vec<IpAddr>,
}

/// One entry of `rtc.addresses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AddressRule {
    /// An address of this machine, opened and told.
    Here(IpAddr),
    /// Opened on `here`, which may be all zeros for every address of its kind; clients are told `told`, which a NAT translates.
    Behind { here: IpAddr, told: IpAddr },
    /// Every address of a network interface; where a NAT is in front, clients are told `told` in place of those of its kind,
    /// and the others of the interface are not opened.
    Interface { name: String, told: Option<IpAddr> },
}

impl fmt::Display for AddressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(ip) => write!(f, "{ip}"),
            Self::Behind { here, told } => write!(f, "{told} (here: {here})"),
            Self::Interface { name, told: None } => f.write_str(name),
            Self::Interface {
                name,
                told: Some(told),
            } => write!(f, "{told} (here: {name})"),
        }
    }
}

/// Works out the addresses of `rtc`. Without any in the configuration, all of this machine, loopback last: stock Firefox
/// refuses loopback candidates, and a machine without a network still has a call with itself.
pub(crate) fn media_addresses(rtc: &Rtc) -> Result<MediaAddresses, Failure> {
    if let Some(ip) = rtc.node_ip {
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
    let asks = |rule: &AddressRule| matches!(rule, AddressRule::Interface { .. });
    if !rtc.addresses.is_empty() && !rtc.addresses.iter().any(asks) {
        return resolve(&rtc.addresses, &[]);
    }
    let interfaces = if_addrs::get_if_addrs().map_err(|error| {
        Failure::setup(format!(
            "can't list network interfaces: {error}; name addresses in rtc.addresses"
        ))
    })?;
    if rtc.addresses.is_empty() {
        let found: Vec<IpAddr> = interfaces.iter().map(|interface| interface.ip()).collect();
        return Ok(select(&found));
    }
    let found: Vec<(String, IpAddr)> = interfaces
        .into_iter()
        .map(|interface| (interface.name.clone(), interface.ip()))
        .collect();
    resolve(&rtc.addresses, &found)
}

/// The addresses of `rules`, in their order, on a machine with `interfaces`.
fn resolve(
    rules: &[AddressRule],
    interfaces: &[(String, IpAddr)],
) -> Result<MediaAddresses, Failure> {
    let (mut advertised, mut bind) = (Vec::new(), Vec::new());
    for rule in rules {
        match rule {
            AddressRule::Here(ip) => {
                advertised.push(*ip);
                bind.push(*ip);
            }
            AddressRule::Behind { here, told } => {
                advertised.push(*told);
                bind.push(*here);
            }
            AddressRule::Interface { name, told } => {
                let here: Vec<IpAddr> = interfaces
                    .iter()
                    .filter(|(interface, ip)| interface == name && is_candidate(ip))
                    .map(|(_, ip)| *ip)
                    .filter(|ip| told.is_none_or(|told| told.is_ipv4() == ip.is_ipv4()))
                    .collect();
                if here.is_empty() {
                    return Err(Failure::setup(no_address(name, *told, interfaces)));
                }
                match told {
                    Some(told) => advertised.push(*told),
                    None => advertised.extend(&here),
                }
                bind.extend(here);
            }
        }
    }
    keep_first(&mut advertised);
    keep_first(&mut bind);
    // All zeros stands for the others of its kind, which could not be opened beside it.
    let all: Vec<IpAddr> = bind
        .iter()
        .copied()
        .filter(IpAddr::is_unspecified)
        .collect();
    bind.retain(|ip| ip.is_unspecified() || all.iter().all(|any| any.is_ipv4() != ip.is_ipv4()));
    Ok(MediaAddresses { advertised, bind })
}

/// Says why an interface has nothing to offer, and which ones have.
fn no_address(name: &str, told: Option<IpAddr>, interfaces: &[(String, IpAddr)]) -> String {
    let mut names: Vec<&str> = interfaces
        .iter()
        .filter(|(_, ip)| is_candidate(ip))
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let kind = match told {
        Some(told) if told.is_ipv4() => "IPv4 address",
        Some(_) => "IPv6 address",
        None => "address",
    };
    format!(
        "the interface {name} (rtc.addresses) has no {kind} that clients could reach; interfaces with addresses: {}",
        names.join(", ")
    )
}

fn keep_first(ips: &mut Vec<IpAddr>) {
    let mut seen = Vec::new();
    ips.retain(|ip| {
        let fresh = !seen.contains(ip);
        seen.push(*ip);
        fresh
    });
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

    fn rtc(node_ip: Option<&str>, addresses: Vec<AddressRule>) -> Rtc {
        Rtc {
            node_ip: node_ip.map(|ip| ip.parse().unwrap()),
            addresses,
            ..Rtc::default()
        }
    }

    fn interface(name: &str, told: Option<&str>) -> AddressRule {
        AddressRule::Interface {
            name: name.to_owned(),
            told: told.map(|ip| ip.parse().unwrap()),
        }
    }

    fn behind(here: &str, told: &str) -> AddressRule {
        AddressRule::Behind {
            here: here.parse().unwrap(),
            told: told.parse().unwrap(),
        }
    }

    fn here(ip: &str) -> AddressRule {
        AddressRule::Here(ip.parse().unwrap())
    }

    fn machine() -> Vec<(String, IpAddr)> {
        [
            ("lo", "127.0.0.1"),
            ("lo", "::1"),
            ("office", "10.1.0.5"),
            ("office", "fe80::5"),
            ("office", "2001:db8::5"),
            ("public", "192.0.2.7"),
        ]
        .map(|(name, ip)| (name.to_owned(), ip.parse().unwrap()))
        .to_vec()
    }

    #[test]
    fn a_configured_loopback_address_is_the_only_one_open() {
        let addresses = media_addresses(&rtc(Some("127.0.0.1"), Vec::new())).unwrap();
        assert_eq!(addresses.bind, ips(&["127.0.0.1"]));
        let behind_nat = media_addresses(&rtc(Some("192.0.2.1"), Vec::new())).unwrap();
        assert_eq!(behind_nat.bind, ips(&["0.0.0.0"]));
    }

    #[test]
    fn several_networks_are_told_in_the_files_order_and_only_they_are_open() {
        let rules = vec![here("2001:db8::5"), here("192.0.2.7"), here("192.0.2.7")];
        let addresses = media_addresses(&rtc(None, rules)).unwrap();
        assert_eq!(addresses.advertised, ips(&["2001:db8::5", "192.0.2.7"]));
        assert_eq!(addresses.bind, addresses.advertised);
        let ipv6 = media_addresses(&rtc(None, vec![here("2001:db8::5")])).unwrap();
        assert_eq!(ipv6.bind, ips(&["2001:db8::5"]));
    }

    #[test]
    fn behind_a_nat_the_outer_address_is_told_and_the_inner_one_open() {
        let rules = [here("10.1.0.5"), behind("10.1.0.5", "203.0.113.9")];
        let addresses = resolve(&rules, &[]).unwrap();
        assert_eq!(addresses.advertised, ips(&["10.1.0.5", "203.0.113.9"]));
        assert_eq!(addresses.bind, ips(&["10.1.0.5"]));
        let rules = [
            here("10.1.0.5"),
            behind("0.0.0.0", "203.0.113.9"),
            here("2001:db8::5"),
        ];
        let addresses = resolve(&rules, &[]).unwrap();
        assert_eq!(addresses.bind, ips(&["0.0.0.0", "2001:db8::5"]));
    }

    #[test]
    fn an_interface_stands_for_its_addresses_without_link_local_ones() {
        let addresses = resolve(&[interface("office", None)], &machine()).unwrap();
        assert_eq!(addresses.advertised, ips(&["10.1.0.5", "2001:db8::5"]));
        assert_eq!(addresses.bind, addresses.advertised);
        let rules = [
            interface("office", Some("203.0.113.9")),
            interface("public", None),
        ];
        let addresses = resolve(&rules, &machine()).unwrap();
        assert_eq!(addresses.advertised, ips(&["203.0.113.9", "192.0.2.7"]));
        assert_eq!(addresses.bind, ips(&["10.1.0.5", "192.0.2.7"]));
    }

    #[test]
    fn an_interface_that_is_not_there_is_named_with_those_that_are() {
        let said = |rule| match resolve(&[rule], &machine()) {
            Err(Failure::Setup(text)) => text,
            other => panic!("{other:?}"),
        };
        let text = said(interface("eth7", None));
        assert!(
            text.contains("eth7") && text.contains("lo, office, public"),
            "{text}"
        );
        let text = said(interface("public", Some("2001:db8::9")));
        assert!(text.contains("no IPv6 address"), "{text}");
    }
}
