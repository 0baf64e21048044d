//! After warm-up, a packet costs no allocation, however many subscribers it goes to; and datagrams of strangers leave
//! nothing behind.

use std::alloc::System;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use schalter_model::{
    Carrier, MediaKind, Path, ShardId, SrtpProfile, StreamId, Time, TransportId, Ufrag, WallClock,
};
use schalter_shard::control::Command;
use schalter_shard::{Shard, ShardConfig, TurnService};
use schalter_testkit::conference::{consumer_config, producer_config, source, track};
use schalter_testkit::turn_client::{Tunnel, TurnClient};
use schalter_testkit::{PeerConfig, Random, SimPeer, identity};
use schalter_transport::srtp::exporter_len;
use schalter_transport::{LocalIce, RemoteIce};
use schalter_turn::{Secret, TurnLimits, UserName};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The allocator counts all threads together: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

const SUBSCRIBERS: usize = 50;
const STEP: Duration = Duration::from_millis(1);

/// A shard with a publisher (0) and its subscribers, and what the shard's calls allocated.
struct Rig {
    shard: Shard,
    peers: Vec<SimPeer>,
    now: Time,
    out: Vec<u8>,
    incoming: Vec<(usize, Vec<u8>)>,
    /// Connections that take nothing for now.
    waiting: Vec<Path>,
    allocations: usize,
    sent: usize,
    /// How each peer's datagrams come.
    paths: Vec<Path>,
    /// Where the publisher's come from instead, and nobody answers.
    stray: Option<Path>,
    /// Datagrams that went there.
    questions: usize,
    /// The peers' relays, if they have some.
    relays: Vec<Tunnel>,
    _alone: MutexGuard<'static, ()>,
}

fn address(peer: usize) -> SocketAddr {
    ([192, 0, 2, peer as u8], 5_000).into()
}

/// Every second peer is behind a connection.
fn path(remote: SocketAddr) -> Path {
    let udp = Path::udp(remote, None);
    match remote.ip() {
        IpAddr::V4(ip) if ip.octets()[3] % 2 == 1 => Path {
            carrier: Carrier::Stream(StreamId(ip.octets()[3].into())),
            ..udp
        },
        IpAddr::V4(_) | IpAddr::V6(_) => udp,
    }
}

/// A relay for each peer: by a channel, by indications, and both over a connection.
fn relay(shard: &mut Shard, now: Time, index: usize) -> (Path, Tunnel) {
    let mut outer = Tunnel::outer(path(address(index)));
    if index.is_multiple_of(4) {
        outer.carrier = Carrier::Stream(StreamId(index as u64));
    }
    let user = UserName::new(1_000, 1, ShardId(0), index as u64);
    let password = turn_secret().password(&user);
    let client = TurnClient::new(&user.to_string(), password.as_str());
    let channel = (index % 3 != 1).then_some(0x4000);
    let tunnel = Tunnel::open(shard, now, outer, client, address(255), channel);
    (outer, tunnel)
}

fn turn_secret() -> Secret {
    Secret::new([1; Secret::LEN])
}

impl Rig {
    fn relayed() -> Self {
        let mut rig = Self::new();
        let service = TurnService {
            node: 1,
            secret: turn_secret(),
            targets: vec![address(255)],
            limits: TurnLimits::default(),
        };
        let command = Command::ServeTurn(Box::new(service));
        rig.shard.on_command(rig.now, command);
        for index in 0..rig.peers.len() {
            let (outer, tunnel) = relay(&mut rig.shard, rig.now, index);
            rig.paths[index] = outer;
            rig.peers[index].appear_as(tunnel.relayed());
            rig.relays.push(tunnel);
        }
        rig
    }

    fn new() -> Self {
        let alone = ALONE
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let (id, wall) = (ShardId(0), WallClock::new(0));
        let config = ShardConfig::new(id, Instant::now(), wall, 7, identity());
        let mut rig = Self {
            shard: Shard::new(config),
            peers: Vec::new(),
            now: Time::from_millis(1),
            out: vec![0; 65_536],
            incoming: Vec::new(),
            waiting: Vec::new(),
            allocations: 0,
            sent: 0,
            paths: (0..=SUBSCRIBERS)
                .map(|index| path(address(index)))
                .collect(),
            stray: None,
            questions: 0,
            relays: Vec::new(),
            _alone: alone,
        };
        let profile = SrtpProfile::AeadAes128Gcm;
        let mut random = Random::new(7);
        for index in 0..=SUBSCRIBERS {
            let mut keying_material = vec![0; exporter_len(profile)];
            random.fill(&mut keying_material);
            let ice = LocalIce {
                ufrag: Ufrag::new(1, id, index as u64),
                password: "a-password-of-two-dozen-chars".into(),
            };
            let transport = TransportId(index as u64);
            rig.shard.open_keyed_transport(
                rig.now,
                transport,
                ice.clone(),
                profile,
                &keying_material,
            );
            let config = PeerConfig {
                transport,
                address: address(index),
                server: address(255),
                ice,
                own_ice: RemoteIce {
                    ufrag: "peer".into(),
                    password: "a-password-of-the-peers-own".into(),
                },
                profile,
                keying_material,
            };
            let command = Command::SetRemote {
                transport,
                ice: config.own_ice.clone(),
                fingerprints: Vec::new(),
            };
            rig.shard.on_command(rig.now, command);
            rig.peers
                .push(SimPeer::new(rig.now, config, random.fork(index as u64)));
        }
        for kind in [MediaKind::Video, MediaKind::Audio] {
            let command = Command::AddProducer {
                transport: TransportId(0),
                track: track(0, kind),
                config: producer_config(0, kind),
            };
            rig.shard.on_command(rig.now, command);
            rig.peers[0].publish(rig.now, source(0, kind));
            for subscriber in 1..=SUBSCRIBERS {
                let config = consumer_config(subscriber, 0, kind);
                let (ssrc, of) = (config.ssrc, source(0, kind).ssrc);
                let command = Command::AddConsumer {
                    transport: TransportId(subscriber as u64),
                    track: track(0, kind),
                    producer_shard: id,
                    config,
                };
                rig.shard.on_command(rig.now, command);
                rig.peers[subscriber].subscribe(rig.now, kind, ssrc, of);
            }
        }
        rig
    }

    /// Lets time pass in small steps; only what the shard does is measured. One packet in 40 to a subscriber is lost.
    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now += STEP;
            for (index, peer) in self.peers.iter_mut().enumerate() {
                if peer.next_timeout().is_some_and(|at| at <= self.now) {
                    peer.on_timeout(self.now);
                }
                while let Some(datagram) = peer.poll_transmit() {
                    self.incoming.push((index, datagram));
                }
            }
            for (index, mut datagram) in std::mem::take(&mut self.incoming) {
                if let Some(relay) = self.relays.get_mut(index) {
                    datagram = relay.wrap(&datagram);
                }
                let stray = self.stray.filter(|_| index == 0);
                let from = stray.unwrap_or(self.paths[index]);
                let (now, shard) = (self.now, &mut self.shard);
                self.allocations += allocations(|| shard.on_datagram(now, from, &mut datagram));
            }
            let (now, shard) = (self.now, &mut self.shard);
            self.allocations += allocations(|| {
                if shard.next_timeout().is_some_and(|at| at <= now) {
                    shard.on_timeout(now);
                }
            });
            self.drain();
            for at in std::mem::take(&mut self.waiting) {
                let (now, shard) = (self.now, &mut self.shard);
                self.allocations += allocations(|| shard.on_stream_backlog(now, at, 0));
            }
            self.drain();
            while self.shard.poll_event().is_some() {}
        }
    }

    fn drain(&mut self) {
        loop {
            let mut transmit = None;
            let (now, shard, out) = (self.now, &mut self.shard, &mut self.out);
            self.allocations += allocations(|| transmit = shard.poll_transmit(now, out));
            let Some(transmit) = transmit else {
                return;
            };
            if Some(transmit.path) == self.stray {
                self.questions += 1;
                continue;
            }
            let to = transmit.path.remote;
            // What is sent in one go waits for a moment, and the next is sent when it left.
            if transmit.path.carrier != Carrier::Udp {
                let (shard, at) = (&mut self.shard, transmit.path);
                self.allocations += allocations(|| shard.on_stream_backlog(now, at, 5_000));
                self.waiting.push(at);
            }
            let peer = (0..self.peers.len())
                .find(|peer| address(*peer) == to)
                .expect("a path that a peer checked");
            let size = transmit.segment_size.unwrap_or(transmit.len);
            assert_eq!(transmit.path, self.paths[peer]);
            for datagram in self.out[..transmit.len].chunks_mut(size) {
                self.sent += 1;
                if self.sent.is_multiple_of(40) {
                    continue;
                }
                match self.relays.get(peer) {
                    Some(relay) => {
                        let mut inner = relay.unwrap(datagram).to_vec();
                        self.peers[peer].on_datagram(self.now, &mut inner);
                    }
                    None => self.peers[peer].on_datagram(self.now, datagram),
                }
            }
        }
    }
}

fn measured(act: impl FnOnce()) -> Stats {
    let region = Region::new(ALLOCATOR);
    act();
    region.change()
}

fn allocations(act: impl FnOnce()) -> usize {
    let stats = measured(act);
    stats.allocations + stats.reallocations
}

#[test]
fn a_packet_to_fifty_subscribers_costs_no_allocation() {
    costs_no_allocation(Rig::new());
}

#[test]
fn a_packet_through_fifty_relays_costs_no_allocation() {
    costs_no_allocation(Rig::relayed());
}

fn costs_no_allocation(mut rig: Rig) {
    // Long enough for every queue to have had its longest probe.
    rig.run(Duration::from_secs(12));
    assert_eq!(rig.shard.counters().transports.connected, 51);
    let before = rig.shard.counters();
    (rig.allocations, rig.sent) = (0, 0);
    rig.run(Duration::from_secs(2));
    let after = rig.shard.counters();
    assert!(after.rtp_in - before.rtp_in > 150);
    assert!(after.rtp_out - before.rtp_out > 50 * 150);
    assert!(
        after.rtx_out - before.rtx_out > 50,
        "losses are repaired meanwhile"
    );
    assert_eq!(rig.allocations, 0, "in {} datagrams sent", rig.sent);
}

#[test]
fn a_packet_from_where_nobody_answers_costs_no_allocation() {
    let mut rig = Rig::new();
    rig.run(Duration::from_secs(12));
    rig.peers[0].stop_checking();
    rig.stray = Some(Path::udp(([198, 51, 100, 7], 9).into(), None));
    // The first one is asked for; that is not for each.
    rig.run(Duration::from_secs(3));
    assert_eq!(rig.questions, 3);
    let before = rig.shard.counters();
    rig.allocations = 0;
    rig.run(Duration::from_secs(2));
    assert!(rig.shard.counters().rtp_in - before.rtp_in > 150);
    assert_eq!((rig.questions, rig.allocations), (3, 0));
}

#[test]
fn datagrams_of_strangers_leave_nothing_behind() {
    let mut rig = Rig::new();
    rig.run(Duration::from_secs(2));
    let mut random = Random::new(9);
    let flood = |rig: &mut Rig, random: &mut Random| {
        for n in 0..10_000_u32 {
            let mut datagram = vec![0; 1 + random.below(200) as usize];
            random.fill(&mut datagram);
            datagram[0] = [0, 1, 22, 23, 63, 128, 144, 255][random.below(8) as usize];
            let stranger = ([198, 51, 100, n as u8], 1_000 + (n >> 8) as u16).into();
            let from = if n % 3 == 0 { address(0) } else { stranger };
            rig.shard.on_datagram(rig.now, path(from), &mut datagram);
        }
        rig.drain();
    };
    flood(&mut rig, &mut random);
    let stats = measured(|| flood(&mut rig, &mut random));
    let grown = stats.bytes_allocated as i64 - stats.bytes_deallocated as i64;
    assert!(grown <= 0, "{grown} bytes: {stats:?}");
}
