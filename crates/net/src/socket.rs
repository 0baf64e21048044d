//! One shard's UDP sockets: opening them, telling which one serves a path, and normal forms of addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use quinn_udp::UdpSocketState;
use rustix::io::Errno;
use rustix::net::sockopt;
use schalter_model::{Carrier, Path};
use socket2::{Domain, Protocol, Type};

use crate::config::{NetError, SocketBuffers, WorkersConfig};

/// How often ephemeral ports are drawn until one is free on every address.
const EPHEMERAL_ATTEMPTS: usize = 64;

/// A bound, non-blocking UDP socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) udp: UdpSocket,
    pub(crate) state: UdpSocketState,
    /// Most datagrams in one send; 1 if the kernel knows no GSO. Read once: `state` would lower it for good after one
    /// refusal, which may have been about one destination only.
    pub(crate) gso_segments: usize,
    /// What paths on it have.
    pub(crate) carrier: Carrier,
    address: IpAddr,
    /// An IPv6 socket that serves IPv4 too, by mapped addresses (RFC 4291 §2.5.5.2).
    dual_stack: bool,
}

impl Socket {
    fn open(
        address: IpAddr,
        port: u16,
        dual_stack: bool,
        carrier: Carrier,
        config: &WorkersConfig,
    ) -> Result<Self, NetError> {
        let at = SocketAddr::new(address, port);
        let failed = |source: io::Error| match Errno::from_io_error(&source) {
            Some(Errno::ADDRINUSE) => NetError::PortInUse { port },
            Some(Errno::ACCESS | Errno::PERM) => NetError::PortForbidden { port },
            Some(Errno::ADDRNOTAVAIL) => NetError::AddressNotHere { address },
            _ => NetError::Socket {
                address: at,
                source,
            },
        };
        let socket =
            socket2::Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))
                .map_err(failed)?;
        if address.is_ipv6() {
            socket.set_only_v6(!dual_stack).map_err(failed)?;
        }
        socket.bind(&at.into()).map_err(failed)?;
        let udp = UdpSocket::from(socket);
        enlarge_buffers(&udp, config).map_err(failed)?;
        let state = UdpSocketState::new((&udp).into()).map_err(failed)?;
        Ok(Self {
            gso_segments: state.max_gso_segments(),
            udp,
            state,
            carrier,
            address,
            dual_stack,
        })
    }

    fn port(&self) -> Result<u16, NetError> {
        let at = self.udp.local_addr().map_err(|source| NetError::Socket {
            address: SocketAddr::new(self.address, 0),
            source,
        })?;
        Ok(at.port())
    }

    fn buffers(&self) -> io::Result<SocketBuffers> {
        // The kernel doubles what is asked for, to have room for its own bookkeeping (socket(7)), and reports that.
        Ok(SocketBuffers {
            receive: sockopt::socket_recv_buffer_size(&self.udp)? / 2,
            send: sockopt::socket_send_buffer_size(&self.udp)? / 2,
        })
    }

    fn serves(&self, path: &Path) -> bool {
        let family_fits = self.address.is_ipv4() == path.remote.is_ipv4() || self.dual_stack;
        let address_fits =
            self.address.is_unspecified() || path.local.is_none_or(|local| local == self.address);
        self.carrier == path.carrier && family_fits && address_fits
    }

    /// The destination in the family of this socket.
    pub(crate) fn destination(&self, remote: SocketAddr) -> SocketAddr {
        match remote {
            SocketAddr::V4(v4) if self.dual_stack => {
                SocketAddr::V6(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0))
            }
            SocketAddr::V4(_) | SocketAddr::V6(_) => remote,
        }
    }
}

/// Asks for large buffers with the privilege to exceed the system's limit, and without it else.
fn enlarge_buffers(udp: &UdpSocket, config: &WorkersConfig) -> io::Result<()> {
    if sockopt::set_socket_recv_buffer_size_force(udp, config.receive_buffer).is_err() {
        sockopt::set_socket_recv_buffer_size(udp, config.receive_buffer)?;
    }
    if sockopt::set_socket_send_buffer_size_force(udp, config.send_buffer).is_err() {
        sockopt::set_socket_send_buffer_size(udp, config.send_buffer)?;
    }
    Ok(())
}

/// All sockets of one shard: the same port on every address for media, and another one for TURN, if there is one.
#[derive(Debug)]
pub(crate) struct Sockets {
    all: Vec<Socket>,
    port: u16,
    turn_port: Option<u16>,
}

impl Sockets {
    /// Opens one socket per configured address on each of the ports; 0 draws a port that is free on all of them.
    pub(crate) fn open(
        config: &WorkersConfig,
        port: u16,
        turn_port: Option<u16>,
    ) -> Result<Self, NetError> {
        let (mut all, port) = Self::open_port(config, port, Carrier::Udp)?;
        let mut turn = None;
        if let Some(wanted) = turn_port {
            let (more, port) = Self::open_port(config, wanted, Carrier::TurnPort)?;
            all.extend(more);
            turn = Some(port);
        }
        Ok(Self {
            all,
            port,
            turn_port: turn,
        })
    }

    fn open_port(
        config: &WorkersConfig,
        port: u16,
        carrier: Carrier,
    ) -> Result<(Vec<Socket>, u16), NetError> {
        if port != 0 {
            return Self::open_all(config, port, carrier);
        }
        let mut last = NetError::NoAddress;
        for _ in 0..EPHEMERAL_ATTEMPTS {
            match Self::open_all(config, 0, carrier) {
                Ok(sockets) => return Ok(sockets),
                Err(error @ NetError::PortInUse { .. }) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    fn open_all(
        config: &WorkersConfig,
        port: u16,
        carrier: Carrier,
    ) -> Result<(Vec<Socket>, u16), NetError> {
        let any_v4 = config.bind.iter().any(IpAddr::is_ipv4);
        let mut port = port;
        let mut all = Vec::with_capacity(config.bind.len());
        for address in &config.bind {
            let dual_stack = *address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !any_v4;
            let socket = Socket::open(*address, port, dual_stack, carrier, config)?;
            port = socket.port()?;
            all.push(socket);
        }
        if all.is_empty() {
            return Err(NetError::NoAddress);
        }
        Ok((all, port))
    }

    /// The port for TURN, if there is one.
    pub(crate) fn turn_port(&self) -> Option<u16> {
        self.turn_port
    }

    /// The port for media.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn all(&self) -> &[Socket] {
        &self.all
    }

    /// The smallest buffers among the sockets.
    pub(crate) fn buffers(&self) -> io::Result<SocketBuffers> {
        let mut least = SocketBuffers {
            receive: usize::MAX,
            send: usize::MAX,
        };
        for socket in &self.all {
            let given = socket.buffers()?;
            least.receive = least.receive.min(given.receive);
            least.send = least.send.min(given.send);
        }
        Ok(least)
    }

    /// Index of the socket that reaches `path`.
    pub(crate) fn index_for(&self, path: &Path) -> Option<usize> {
        self.all.iter().position(|socket| socket.serves(path))
    }
}

/// `address` with IPv4 in its own form even if it came mapped into IPv6.
pub(crate) fn normal_ip(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// `address` in a form that is equal for equal peers: IPv4 unmapped, no flow label.
pub(crate) fn normal_addr(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(IpAddr::V4(v4), v6.port()),
            // The scope stays: link-local addresses mean nothing without it.
            None => SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id())),
        },
    }
}

/// Whether replies can leave from `address`: not from those that name nobody or a group.
pub(crate) fn is_source(address: IpAddr) -> bool {
    !address.is_unspecified()
        && !address.is_multicast()
        && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

#[cfg(test)]
mod tests {
    use schalter_model::RelayId;

    use super::*;

    fn config(bind: &[&str]) -> WorkersConfig {
        WorkersConfig {
            bind: bind.iter().map(|a| a.parse().unwrap()).collect(),
            ..WorkersConfig::default()
        }
    }

    fn path(remote: &str, local: Option<&str>) -> Path {
        Path::udp(remote.parse().unwrap(), local.map(|a| a.parse().unwrap()))
    }

    #[test]
    fn mapped_addresses_become_ipv4_and_flow_labels_vanish() {
        let mapped: SocketAddr = "[::ffff:192.0.2.7]:5000".parse().unwrap();
        assert_eq!(
            normal_addr(mapped),
            "192.0.2.7:5000".parse::<SocketAddr>().unwrap()
        );
        let labelled = SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().unwrap(), 9, 77, 3));
        let SocketAddr::V6(plain) = normal_addr(labelled) else {
            panic!("stays IPv6");
        };
        assert_eq!((plain.flowinfo(), plain.scope_id()), (0, 3));
    }

    #[test]
    fn each_path_goes_through_the_socket_that_has_its_local_address() {
        let sockets = Sockets::open(&config(&["127.0.0.1", "127.0.0.2"]), 0, None).unwrap();
        let index = |local| sockets.index_for(&path("127.0.0.9:1", local));
        assert_eq!(index(Some("127.0.0.1")), Some(0));
        assert_eq!(index(Some("127.0.0.2")), Some(1));
        assert_eq!(index(Some("127.0.0.3")), None);
        assert_eq!(index(None), Some(0));
        assert_eq!(sockets.index_for(&path("[::1]:1", None)), None);
    }

    #[test]
    fn unspecified_ipv6_serves_ipv4_only_when_it_is_alone() {
        let alone = Sockets::open(&config(&["::"]), 0, None).unwrap();
        let v4 = path("127.0.0.9:1", Some("127.0.0.1"));
        assert_eq!(alone.index_for(&v4), Some(0));
        assert_eq!(
            alone.all()[0].destination(v4.remote),
            "[::ffff:127.0.0.9]:1".parse::<SocketAddr>().unwrap()
        );
        let both = Sockets::open(&config(&["::", "0.0.0.0"]), 0, None).unwrap();
        assert_eq!(both.index_for(&v4), Some(1));
        assert_eq!(both.all()[1].destination(v4.remote), v4.remote);
    }

    #[test]
    fn what_goes_to_a_client_of_turn_leaves_by_the_port_for_it_and_a_bare_relay_by_none() {
        let sockets = Sockets::open(&config(&["127.0.0.1", "127.0.0.2"]), 0, Some(0)).unwrap();
        assert_ne!(Some(sockets.port()), sockets.turn_port());
        let by = |carrier, local| {
            let path = Path {
                carrier,
                ..path("127.0.0.9:1", local)
            };
            let index = sockets.index_for(&path)?;
            let address = sockets.all()[index].udp.local_addr().unwrap();
            Some((address.ip().to_string(), address.port()))
        };
        let at = |ip: &str, port| Some((ip.to_owned(), port));
        let turn = sockets.turn_port().unwrap();
        assert_eq!(
            by(Carrier::TurnPort, Some("127.0.0.2")),
            at("127.0.0.2", turn)
        );
        assert_eq!(by(Carrier::TurnPort, None), at("127.0.0.1", turn));
        assert_eq!(
            by(Carrier::Udp, Some("127.0.0.2")),
            at("127.0.0.2", sockets.port())
        );
        assert_eq!(by(Carrier::Relay(RelayId(1)), Some("127.0.0.2")), None);
        let none = Sockets::open(&config(&["127.0.0.1"]), 0, None).unwrap();
        assert_eq!(none.turn_port(), None);
        let to_turn = Path {
            carrier: Carrier::TurnPort,
            ..path("127.0.0.9:1", None)
        };
        assert_eq!(none.index_for(&to_turn), None);
    }
}
