//! A client that somebody else wrote: `turn-client-proto`, over datagrams and over a stream.

#![expect(
    clippy::unwrap_used,
    reason = "part of tests: a panic is a failed test"
)]

mod rig;

use std::net::SocketAddr;
use std::time::Duration;

use rig::{Rig, address, from, secret, target, target6, user};
use schalter_model::{Carrier, DropReason, Path, StreamId, Time};
use schalter_turn::{MAX_ANSWER_LEN, Received};
use turn_client_proto::api::{TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet};
use turn_client_proto::client::TurnClient;
use turn_client_proto::prelude::*;
use turn_client_proto::stun::Instant;
use turn_client_proto::stun::agent::Transmit;
use turn_client_proto::tcp::TurnClientTcp;
use turn_client_proto::types::stun::TransportType;
use turn_client_proto::types::stun::message::IntegrityAlgorithm;
use turn_client_proto::types::{AddressFamily, TurnCredentials};
use turn_client_proto::udp::TurnClientUdp;

struct Call {
    rig: Rig,
    client: TurnClient,
    path: Path,
    server: SocketAddr,
    /// What came to the media socket: over which relay, and what.
    arrived: Vec<(Path, Vec<u8>)>,
    drops: Vec<DropReason>,
    events: Vec<TurnEvent>,
}

impl Call {
    fn new(transport: TransportType, configure: impl FnOnce(&mut TurnConfig)) -> Self {
        let (rig, user) = (Rig::new(), user(1));
        let password = secret().password(&user);
        let mut config =
            TurnConfig::new(TurnCredentials::new(&user.to_string(), password.as_str()));
        configure(&mut config);
        let (server, mut path) = (address("203.0.113.1:443"), from(5000));
        let client = match transport {
            TransportType::Udp => TurnClientUdp::allocate(path.remote, server, config).into(),
            TransportType::Tcp => {
                path.carrier = Carrier::Stream(StreamId(1));
                TurnClientTcp::allocate(path.remote, server, config).into()
            }
        };
        let mut call = Self {
            rig,
            client,
            path,
            server,
            arrived: Vec::new(),
            drops: Vec::new(),
            events: Vec::new(),
        };
        call.run();
        call
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.rig.now.as_nanos() as i64)
    }

    fn serve(&mut self, bytes: &[u8]) {
        match self.rig.take(self.path, bytes) {
            Ok(Received::Taken) => {}
            Ok(Received::Relayed { path, payload }) => {
                self.arrived.push((path, bytes[payload].to_vec()));
            }
            Err(reason) => self.drops.push(reason),
        }
    }

    /// Gives a message of the server to the client; answers what it takes for data of a peer.
    fn hand_back(&mut self, bytes: &[u8]) -> Option<(SocketAddr, Vec<u8>)> {
        let transmit = Transmit::new(
            bytes,
            self.client.transport(),
            self.server,
            self.path.remote,
        );
        match self.client.recv(transmit, self.now()) {
            TurnRecvRet::PeerData(data) => Some((data.peer, data.data().to_vec())),
            TurnRecvRet::Handled => self
                .client
                .poll_recv(self.now())
                .map(|data| (data.peer, data.data().to_vec())),
            TurnRecvRet::Ignored(_) | TurnRecvRet::PeerIcmp { .. } => panic!("not for us?"),
        }
    }

    /// Lets both speak until the client has nothing more to say for a while.
    fn run(&mut self) {
        for _ in 0..100 {
            let mut quiet = true;
            self.events
                .extend(std::iter::from_fn(|| self.client.poll_event()));
            let wait = self.client.poll(self.now());
            while let Some(transmit) = self.client.poll_transmit(self.now()) {
                quiet = false;
                self.serve(&transmit.data);
            }
            let mut out = [0; MAX_ANSWER_LEN];
            while let Some((to, len)) = self.rig.turn.poll_transmit(&mut out) {
                quiet = false;
                assert_eq!(to, self.path);
                assert_eq!(self.hand_back(&out[..len]), None);
            }
            if !quiet {
                continue;
            }
            // It keeps a distance between its requests.
            let next = match wait {
                TurnPollRet::WaitUntil(at) => Time::from_nanos(at.as_nanos() as u64),
                TurnPollRet::Closed => return,
                TurnPollRet::AllocateTcpSocket { .. } | TurnPollRet::TcpClose { .. } => {
                    panic!("relays carry UDP only")
                }
            };
            if next > self.rig.now + Duration::from_millis(200) {
                return;
            }
            self.rig.now = next.max(self.rig.now + Duration::from_millis(1));
        }
        panic!("they never come to an end");
    }

    fn send(&mut self, peer: SocketAddr, data: &[u8]) {
        let now = self.now();
        let transmit = self
            .client
            .send_to(TransportType::Udp, peer, data, now)
            .unwrap();
        if let Some(transmit) = transmit {
            let bytes = transmit.data.build();
            self.serve(&bytes);
        }
        self.run();
    }

    /// Sends from the media socket over the relay that something came over.
    fn send_back(&mut self, relay: &Path, data: &[u8]) -> Option<(SocketAddr, Vec<u8>)> {
        let mut wrap = self.rig.turn.wrap(self.rig.now, relay).unwrap();
        assert_eq!(wrap.outer, self.path);
        let mut buffer = vec![0; 2_000];
        let at = wrap.headroom();
        buffer[at..at + data.len()].copy_from_slice(data);
        let len = wrap.finish(&mut buffer, data.len()).unwrap();
        self.hand_back(&buffer[..len])
    }
}

fn plain(_: &mut TurnConfig) {}

fn a_whole_life(mut call: Call) {
    let relayed: Vec<_> = call.client.relayed_addresses().map(|(_, a)| a).collect();
    assert_eq!(relayed.len(), 1, "{:?}", call.drops);
    let now = call.now();
    let permission = call
        .client
        .create_permission(TransportType::Udp, target().ip(), now);
    permission.unwrap();
    call.run();
    call.send(target(), b"by indication");
    let (relay, data) = call.arrived.pop().unwrap();
    assert_eq!(
        (relay.remote, &data[..]),
        (relayed[0], &b"by indication"[..])
    );
    assert_eq!(
        call.send_back(&relay, b"an answer of odd length"),
        Some((target(), b"an answer of odd length".to_vec()))
    );
    let now = call.now();
    call.client
        .bind_channel(TransportType::Udp, target(), now)
        .unwrap();
    call.run();
    call.send(target(), b"by channel");
    let (relay, data) = call.arrived.pop().unwrap();
    assert_eq!((relay.remote, &data[..]), (relayed[0], &b"by channel"[..]));
    assert_eq!(
        call.send_back(&relay, b"over the channel"),
        Some((target(), b"over the channel".to_vec()))
    );
    // The client keeps allocation, permission and channel alive for two hours.
    for _ in 0..7_200 / 30 {
        call.rig.pass(30);
        call.run();
    }
    call.send(target(), b"still here");
    assert_eq!(call.arrived.pop().unwrap().1, b"still here");
    let now = call.now();
    call.client.delete(now).unwrap();
    call.run();
    assert_eq!(call.rig.turn.counters().allocations, 0);
    assert_eq!(call.drops, []);
}

#[test]
fn it_lives_over_datagrams() {
    a_whole_life(Call::new(TransportType::Udp, plain));
}

#[test]
fn it_lives_over_a_stream() {
    a_whole_life(Call::new(TransportType::Tcp, plain));
}

#[test]
fn it_lives_with_the_newer_integrity() {
    a_whole_life(Call::new(TransportType::Udp, |config| {
        config.set_supported_integrity(IntegrityAlgorithm::Sha256);
    }));
}

#[test]
fn it_gets_both_families() {
    let mut call = Call::new(TransportType::Udp, |config| {
        config.set_address_family(AddressFamily::IPV4);
        config.add_address_family(AddressFamily::IPV6);
    });
    let ips: Vec<_> = call
        .client
        .relayed_addresses()
        .map(|(_, a)| a.ip())
        .collect();
    assert_eq!(ips, [target().ip(), target6().ip()]);
    let now = call.now();
    let permission = call
        .client
        .create_permission(TransportType::Udp, target6().ip(), now);
    permission.unwrap();
    call.run();
    call.send(target6(), b"six");
    let (relay, data) = call.arrived.pop().unwrap();
    assert_eq!(data, b"six");
    assert_eq!(
        call.send_back(&relay, b"back"),
        Some((target6(), b"back".to_vec()))
    );
}

#[test]
fn it_is_told_that_a_foreign_peer_is_refused() {
    let mut call = Call::new(TransportType::Udp, plain);
    call.events.clear();
    let foreign = address("198.51.100.1:9");
    let now = call.now();
    let permission = call
        .client
        .create_permission(TransportType::Udp, foreign.ip(), now);
    permission.unwrap();
    call.run();
    assert!(
        matches!(call.events[..], [TurnEvent::PermissionCreateFailed(_, ip)] if ip == foreign.ip()),
        "{:?}",
        call.events
    );
    assert_eq!(call.arrived, []);
}
