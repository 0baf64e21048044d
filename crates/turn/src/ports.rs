//! Which ports of an address relays have. Nobody listens on them: they only tell relays apart.

use std::net::{IpAddr, SocketAddr};

/// The dynamic ports, which RFC 8656 §7.2 wants relays to have.
const FIRST: u16 = 49_152;
const COUNT: u32 = 65_536 - FIRST as u32;
const WORDS: usize = COUNT as usize / 64;

/// The ports of one advertised address.
#[derive(Debug)]
pub(crate) struct Ports {
    ip: IpAddr,
    taken: Box<[u64; WORDS]>,
}

impl Ports {
    /// All free but `reserved`: a relay must not look like a real socket.
    pub(crate) fn new(ip: IpAddr, reserved: &[SocketAddr]) -> Self {
        let mut ports = Self {
            ip,
            taken: Box::new([0; WORDS]),
        };
        for socket in reserved {
            ports.mark(socket.port(), true);
        }
        ports
    }

    /// Takes the first free port from where `random` points; only even ones if `even`.
    pub(crate) fn take(&mut self, random: u64, even: bool) -> Option<SocketAddr> {
        let start = (random % u64::from(COUNT)) as u32;
        let port = (0..COUNT)
            .map(|step| (start + step) % COUNT)
            .filter(|index| !even || index.is_multiple_of(2))
            .find(|index| self.taken[*index as usize / 64] >> (index % 64) & 1 == 0)
            .map(|index| FIRST + index as u16)?;
        self.mark(port, true);
        Some(SocketAddr::new(self.ip, port))
    }

    pub(crate) fn give_back(&mut self, port: u16) {
        self.mark(port, false);
    }

    fn mark(&mut self, port: u16, taken: bool) {
        if let Some(index) = port.checked_sub(FIRST).map(usize::from) {
            let bit = 1 << (index % 64);
            let word = &mut self.taken[index / 64];
            *word = if taken { *word | bit } else { *word & !bit };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_is_given_once_and_again_only_after_it_came_back() {
        let ip = "192.0.2.1".parse().unwrap();
        let real = SocketAddr::new(ip, 50_000);
        let mut ports = Ports::new(ip, &[real]);
        let mut seen = std::collections::BTreeSet::new();
        while let Some(address) = ports.take(seen.len() as u64 * 7_919, false) {
            assert!(seen.insert(address.port()), "{address} twice");
            assert!(address.port() >= 49_152 && address != real);
        }
        assert_eq!(seen.len(), 16_383);
        ports.give_back(60_000);
        assert_eq!(ports.take(0, true).map(|a| a.port()), Some(60_000));
        ports.give_back(60_001);
        assert_eq!(ports.take(0, true), None, "an odd port is not even");
        assert_eq!(ports.take(0, false).map(|a| a.port()), Some(60_001));
    }
}
