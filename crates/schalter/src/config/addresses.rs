//! `rtc.addresses`: where media is reachable, by address, by interface, or behind a NAT.

use std::net::IpAddr;

use super::document::{Complaint, Value};
use crate::addresses::AddressRule;

/// Longest name of an interface: `IFNAMSIZ` of Linux, less its end.
const INTERFACE_NAME_LEN: usize = 15;
/// More candidates than this only slow clients down, which try every pair.
const MOST_RULES: usize = 16;

/// What an entry may be.
const EXPECTED: &str = "an IP address of this machine, `inner: outer` behind a NAT, or `interface: name` is expected here";

/// An address that clients can send to.
pub(super) fn told(value: &Value<'_>) -> Result<IpAddr, Complaint> {
    let ip = value.ip()?;
    usable(value, ip)?;
    Ok(ip)
}

fn usable(value: &Value<'_>, ip: IpAddr) -> Result<(), Complaint> {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if ip.is_unspecified() || ip.is_multicast() || link_local || ip == IpAddr::from([255; 4]) {
        return value.complain(format!("{ip} is no address that clients could send to"));
    }
    Ok(())
}

/// The list, without entries that say the same twice.
pub(super) fn rules(value: &Value<'_>) -> Result<Vec<AddressRule>, Complaint> {
    let list = value.list()?;
    if list.is_empty() {
        return value.complain(
            "without an address no media could flow; leave the key out to have all of this machine",
        );
    }
    if list.len() > MOST_RULES {
        return value.complain(format!(
            "more than {MOST_RULES} addresses would only slow clients down"
        ));
    }
    let mut rules = Vec::new();
    for value in list {
        let rule = rule(&value)?;
        if rules.contains(&rule) {
            return value.complain(format!("{rule} stands here twice"));
        }
        rules.push(rule);
    }
    Ok(rules)
}

fn rule(value: &Value<'_>) -> Result<AddressRule, Complaint> {
    if value.is_text() {
        return told(value).map(AddressRule::Here);
    }
    let Ok(mut group) = value.group() else {
        return value.complain(EXPECTED);
    };
    if let Some(name) = group.value("interface") {
        let name = interface(&name)?;
        let mut outer = None;
        group.take("external", &mut outer, |v| told(v).map(Some))?;
        group.finish(|_| None)?;
        return Ok(AddressRule::Interface { name, told: outer });
    }
    let mut entries = group.entries();
    let (Some((inner, outer)), None) = (entries.next(), entries.next()) else {
        return value.complain(EXPECTED);
    };
    let Ok(here) = inner.parse::<IpAddr>() else {
        return value.complain(EXPECTED);
    };
    if !here.is_unspecified() {
        usable(value, here)?;
    }
    let told = told(&outer)?;
    if here.is_ipv4() != told.is_ipv4() {
        return outer.complain(format!(
            "{here} and {told} are of two kinds, which no NAT translates one to one"
        ));
    }
    Ok(AddressRule::Behind { here, told })
}

fn interface(value: &Value<'_>) -> Result<String, Complaint> {
    value.read("the name of a network interface", |name| {
        let fits = !name.is_empty()
            && name.len() <= INTERFACE_NAME_LEN
            && !name.contains(|c: char| c == '/' || c.is_whitespace());
        fits.then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::tests::complains;

    #[test]
    fn media_addresses_are_given_by_address_by_interface_or_behind_a_nat() {
        let rules = |yaml: &str| Config::parse("x", yaml).unwrap().rtc.addresses;
        let yaml = "rtc:\n  addresses:\n    - 192.0.2.7\n    - 2001:db8::7\n    - 10.0.0.5: 203.0.113.9\n    \
                    - 0.0.0.0: 203.0.113.8\n    - interface: eth0\n    - {interface: eth1, external: 203.0.113.7}\n";
        let texts: Vec<String> = rules(yaml).iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "192.0.2.7",
                "2001:db8::7",
                "203.0.113.9 (here: 10.0.0.5)",
                "203.0.113.8 (here: 0.0.0.0)",
                "eth0",
                "203.0.113.7 (here: eth1)",
            ]
        );
        let summary = Config::parse("x", yaml).unwrap().summary();
        assert!(
            summary.contains("203.0.113.9 (here: 10.0.0.5)"),
            "{summary}"
        );
        for (entry, parts) in [
            ("[]", ["rtc.addresses", "without an address", "line 3"]),
            (
                "\n  - 0.0.0.0",
                ["rtc.addresses[0]", "no address", "line 4"],
            ),
            (
                "\n  - fe80::1",
                ["rtc.addresses[0]", "no address", "line 4"],
            ),
            (
                "\n  - eth0",
                ["rtc.addresses[0]", "an IP address", "line 4"],
            ),
            (
                "\n  - 192.0.2.7\n  - 192.0.2.7",
                ["rtc.addresses[1]", "twice", "line 5"],
            ),
            (
                "\n  - 10.0.0.5: 2001:db8::7",
                ["rtc.addresses[0].10.0.0.5", "two kinds", "line 4"],
            ),
            (
                "\n  - 10.0.0.5: here",
                ["rtc.addresses[0].10.0.0.5", "an IP address", "line 4"],
            ),
            (
                "\n  - eth0: 192.0.2.7",
                ["rtc.addresses[0]", "interface: name", "line 4"],
            ),
            (
                "\n  - interface: a/b",
                ["rtc.addresses[0].interface", "name of a network", "line 4"],
            ),
            (
                "\n  - {interface: a, x: 1}",
                ["rtc.addresses[0].x", "no such key", "line 4"],
            ),
            (
                "[192.0.2.7]\n  node_ip: 192.0.2.7",
                ["rtc.addresses", "one of the two", "line 3"],
            ),
        ] {
            complains(
                &format!(
                    "rtc:\n\n  addresses: {}\n",
                    entry.replace("\n  - ", "\n    - ")
                ),
                &parts,
            );
        }
    }
}
