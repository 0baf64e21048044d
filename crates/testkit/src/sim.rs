//! Shards and peers in one network and one virtual time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use schalter_model::{
    Bitrate, Carrier, Path, ShardId, SrtpProfile, Time, TransportId, Ufrag, WallClock,
};
use schalter_shard::control::{Command, Event};
use schalter_shard::peer::Envelope;
use schalter_shard::{LoudestConfig, Shard, ShardConfig, ShardLimits, TurnService};
use schalter_transport::srtp::exporter_len;
use schalter_transport::{Identity, LocalIce, RemoteIce, TransportLimits};
use schalter_turn::{Secret, TurnLimits, UserName};

use crate::mailbox::Delivery;
use crate::stream::SimStream;
use crate::turn_client::{Tunnel, TurnClient};
use crate::{
    LinkConfig, MailboxConfig, PeerConfig, Random, SimClock, SimMailbox, SimNet, SimPeer, Trace,
};

/// Steps at one instant until the simulation is taken for hung.
const MAX_STEPS_AT_ONCE: u32 = 100_000;
/// First port of the shards.
const BASE_PORT: u16 = 40_000;
/// The node that all shards are of.
const NODE: u16 = 1;
const CONNECTED: &str = "the peer has a connection";

/// The certificates of all simulations of this process: making them takes longer than a simulation.
///
/// # Panics
/// If the crypto library refuses.
pub fn identity() -> Arc<Identity> {
    static IDENTITY: OnceLock<Arc<Identity>> = OnceLock::new();
    let make = || Arc::new(Identity::generate().expect("the crypto library makes certificates"));
    Arc::clone(IDENTITY.get_or_init(make))
}

/// What a simulation is made with.
#[derive(Clone, Copy, Debug)]
pub struct SimConfig {
    /// Repeats everything.
    pub seed: u64,
    /// How many shards.
    pub shards: u8,
    /// Bounds of each shard.
    pub limits: ShardLimits,
    /// Bounds of each transport.
    pub transport_limits: TransportLimits,
    /// Between the shards.
    pub mailbox: MailboxConfig,
    /// What protects the media.
    pub profile: SrtpProfile,
    /// Who is heard in big rooms.
    pub loudest: LoudestConfig,
}

impl SimConfig {
    /// One shard with default bounds.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            shards: 1,
            limits: ShardLimits::default(),
            transport_limits: TransportLimits::default(),
            mailbox: MailboxConfig::default(),
            profile: SrtpProfile::AeadAes128Gcm,
            loudest: LoudestConfig::default(),
        }
    }
}

/// A simulation.
pub struct Sim {
    config: SimConfig,
    random: Random,
    clock: SimClock,
    net: SimNet,
    mailbox: SimMailbox,
    shards: Vec<Shard>,
    peers: Vec<SimPeer>,
    /// Which shard each peer is on.
    homes: Vec<usize>,
    by_address: BTreeMap<SocketAddr, usize>,
    /// Connections in use, by the peer's address.
    streams: BTreeMap<SocketAddr, SimStream>,
    opened_streams: u64,
    /// Relays in use, by the peer's address.
    relays: BTreeMap<SocketAddr, Tunnel>,
    timers: BinaryHeap<Reverse<(Time, usize)>>,
    scheduled: Vec<Option<Time>>,
    events: Vec<(Time, ShardId, Event)>,
    trace: Trace,
    buffer: Vec<u8>,
    envelope: Box<Envelope>,
    /// Datagrams and bytes that the shards sent to addresses that are no peer's.
    astray: (u64, u64),
}

impl Sim {
    /// Shards without anybody, at time zero.
    pub fn new(config: SimConfig) -> Self {
        let random = Random::new(config.seed);
        let shards = (0..config.shards)
            .map(|id| {
                let mut shard = ShardConfig::new(
                    ShardId(id),
                    Instant::now(),
                    WallClock::new(0),
                    random.fork(100 + u64::from(id)).next(),
                    identity(),
                );
                shard.limits = config.limits;
                shard.transport_limits = config.transport_limits;
                shard.loudest = config.loudest;
                Shard::new(shard)
            })
            .collect();
        Self {
            net: SimNet::new(random.fork(1)),
            mailbox: SimMailbox::new(config.mailbox, random.fork(2)),
            random: random.fork(3),
            clock: SimClock::default(),
            shards,
            peers: Vec::new(),
            homes: Vec::new(),
            by_address: BTreeMap::new(),
            streams: BTreeMap::new(),
            opened_streams: 0,
            relays: BTreeMap::new(),
            timers: BinaryHeap::new(),
            scheduled: Vec::new(),
            events: Vec::new(),
            trace: Trace::default(),
            buffer: vec![0; 65_536],
            envelope: Box::default(),
            astray: (0, 0),
            config,
        }
    }

    /// What time it is.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// Where a shard is reached.
    pub fn shard_address(&self, shard: usize) -> SocketAddr {
        ([10, 0, 0, 1], BASE_PORT + shard as u16).into()
    }

    /// An address for a peer; `place` counts where it has been.
    pub fn peer_address(peer: usize, place: u8) -> SocketAddr {
        let [.., high, low] = (peer as u32).to_be_bytes();
        ([10, 1 + place, high, low], 5_000).into()
    }

    /// A peer with links, which has a transport on a shard and begins to check; answers its number.
    pub fn add_peer(&mut self, shard: usize, up: LinkConfig, down: LinkConfig) -> usize {
        let (now, index) = (self.now(), self.peers.len());
        let config = self.peer_config(shard, index);
        let address = config.address;
        self.net.attach(address, up, down);
        self.shards[shard].open_keyed_transport(
            now,
            config.transport,
            config.ice.clone(),
            config.profile,
            &config.keying_material,
        );
        self.shards[shard].on_command(
            now,
            Command::SetRemote {
                transport: config.transport,
                ice: config.own_ice.clone(),
                fingerprints: Vec::new(),
            },
        );
        let random = self.random.fork(index as u64);
        self.peers.push(SimPeer::new(now, config, random));
        self.homes.push(shard);
        self.by_address.insert(address, index);
        self.scheduled.push(None);
        self.schedule(index);
        self.drain();
        index
    }

    fn peer_config(&mut self, shard: usize, index: usize) -> PeerConfig {
        let mut keying_material = vec![0; exporter_len(self.config.profile)];
        self.random.fill(&mut keying_material);
        let ufrag = Ufrag::new(1, ShardId(shard as u8), self.random.next());
        let password = format!("{:016x}{:016x}", self.random.next(), self.random.next());
        PeerConfig {
            transport: TransportId(index as u64 + 1),
            address: Self::peer_address(index, 0),
            server: self.shard_address(shard),
            ice: LocalIce {
                ufrag,
                password: password.into(),
            },
            own_ice: RemoteIce {
                ufrag: "peer".into(),
                password: format!("the-own-password-of-peer-{index}").into(),
            },
            profile: self.config.profile,
            keying_material,
        }
    }

    /// Gives a peer another address with links like these; what is under way to the old one is lost.
    pub fn move_peer(
        &mut self,
        peer: usize,
        address: SocketAddr,
        up: LinkConfig,
        down: LinkConfig,
    ) {
        let now = self.now();
        self.rebind_peer(peer, address, up, down);
        self.peers[peer].move_to(now, address);
        self.schedule(peer);
    }

    /// Gives a peer another address as a NAT does: it goes on as before and knows nothing of it.
    pub fn rebind_peer(
        &mut self,
        peer: usize,
        address: SocketAddr,
        up: LinkConfig,
        down: LinkConfig,
    ) {
        self.by_address.remove(&self.peers[peer].config().address);
        self.net.attach(address, up, down);
        self.by_address.insert(address, peer);
        self.peers[peer].rebind(address);
    }

    /// Has a peer and its shard send everything on a new connection from now on, towards the peer at this rate. What
    /// was on the one before comes no more, and nobody tells the shard: see [`Self::close_stream`].
    pub fn open_stream(&mut self, peer: usize, rate: Bitrate) {
        self.opened_streams += 1;
        let address = self.peers[peer].config().address;
        let stream = SimStream::new(self.opened_streams, address, rate);
        self.streams.insert(address, stream);
    }

    /// Has every shard serve TURN.
    pub fn serve_turn(&mut self, limits: TurnLimits) {
        for shard in 0..self.shards.len() {
            let service = TurnService {
                node: NODE,
                secret: Self::turn_secret(),
                targets: vec![self.shard_address(shard)],
                limits,
            };
            self.command(shard, Command::ServeTurn(Box::new(service)));
        }
    }

    fn turn_secret() -> Secret {
        Secret::new([42; Secret::LEN])
    }

    /// Has a peer send and receive everything through a relay of its shard, by a channel or by indications, over datagrams or
    /// over the connection that it has. Answers the relayed address.
    ///
    /// # Panics
    /// If the shard refuses.
    pub fn relay(&mut self, peer: usize, channel: Option<u16>) -> SocketAddr {
        let address = self.peers[peer].config().address;
        let (now, home) = (self.now(), self.homes[peer]);
        let outer = Tunnel::outer(self.path_of(address));
        let expires = now.as_millis() / 1_000 + 86_400;
        let user = UserName::new(expires, NODE, ShardId(home as u8), peer as u64);
        let password = Self::turn_secret().password(&user);
        let client = TurnClient::new(&user.to_string(), password.as_str());
        let target = self.shard_address(home);
        let shard = &mut self.shards[home];
        let tunnel = Tunnel::open(shard, now, outer, client, target, channel);
        let relayed = tunnel.relayed();
        self.relays.insert(address, tunnel);
        self.peers[peer].appear_as(relayed);
        relayed
    }

    /// Ends a peer's connection; both talk over datagrams again, if they do.
    ///
    /// # Panics
    /// If it has none.
    pub fn close_stream(&mut self, peer: usize) {
        let address = self.peers[peer].config().address;
        let stream = self.streams.remove(&address).expect(CONNECTED);
        let now = self.now();
        self.shards[self.homes[peer]].on_stream_closed(now, stream.path);
        self.drain();
    }

    /// Changes how fast a peer's connection is.
    ///
    /// # Panics
    /// If it has none.
    pub fn set_stream_rate(&mut self, peer: usize, rate: Bitrate) {
        self.stream_mut(peer).set_rate(rate);
    }

    /// Lets nothing pass to a peer until then, as TCP does while it repairs a loss.
    ///
    /// # Panics
    /// If it has no connection.
    pub fn stall_stream(&mut self, peer: usize, until: Time) {
        self.stream_mut(peer).stall_until(until);
    }

    fn stream_mut(&mut self, peer: usize) -> &mut SimStream {
        let address = self.peers[peer].config().address;
        self.streams.get_mut(&address).expect(CONNECTED)
    }

    /// The way datagrams of an address come.
    fn path_of(&self, from: SocketAddr) -> Path {
        let stream = self.streams.get(&from);
        let path = stream.map_or(Path::udp(from, None), |stream| stream.path);
        match self.relays.get(&from) {
            Some(_) => Tunnel::outer(path),
            None => path,
        }
    }

    /// A peer.
    pub fn peer(&self, peer: usize) -> &SimPeer {
        &self.peers[peer]
    }

    /// All peers.
    pub fn peers(&self) -> &[SimPeer] {
        &self.peers
    }

    /// Does something with a peer and lets it act on it.
    pub fn with_peer<R>(&mut self, peer: usize, act: impl FnOnce(Time, &mut SimPeer) -> R) -> R {
        let answer = act(self.clock.now(), &mut self.peers[peer]);
        self.schedule(peer);
        answer
    }

    /// Which shard a peer is on.
    pub fn home(&self, peer: usize) -> usize {
        self.homes[peer]
    }

    /// A shard.
    pub fn shard(&self, shard: usize) -> &Shard {
        &self.shards[shard]
    }

    /// The network.
    pub fn net_mut(&mut self) -> &mut SimNet {
        &mut self.net
    }

    /// What is between the shards.
    pub fn mailbox_mut(&mut self) -> &mut SimMailbox {
        &mut self.mailbox
    }

    /// Asks something of a shard.
    pub fn command(&mut self, shard: usize, command: Command) {
        let now = self.now();
        self.shards[shard].on_command(now, command);
        self.drain();
    }

    /// Hands a shard a datagram past the network.
    pub fn inject(&mut self, shard: usize, from: SocketAddr, datagram: &[u8]) {
        let (now, path) = (self.now(), self.path_of(from));
        self.shards[shard].on_datagram(now, path, &mut datagram.to_vec());
        self.drain();
    }

    /// What the shards reported so far, oldest first.
    pub fn events(&self) -> &[(Time, ShardId, Event)] {
        &self.events
    }

    /// Takes what the shards reported.
    pub fn take_events(&mut self) -> Vec<(Time, ShardId, Event)> {
        std::mem::take(&mut self.events)
    }

    /// Datagrams and bytes that shards sent to addresses that no peer has.
    pub fn astray(&self) -> (u64, u64) {
        self.astray
    }

    /// Number and digest of everything the shards put out: datagrams with their ciphertext, events, and what they tell
    /// each other, with times.
    pub fn digest(&self) -> (u64, u64) {
        self.trace.digest()
    }

    /// Lets this much time pass.
    pub fn run_for(&mut self, span: Duration) {
        self.run_until(self.now() + span);
    }

    /// Lets time pass until `end`.
    ///
    /// # Panics
    /// If somebody wants to be called at the same instant for ever.
    pub fn run_until(&mut self, end: Time) {
        let mut at_once = 0;
        while let Some(next) = self.next().filter(|next| *next <= end) {
            at_once = if next <= self.now() { at_once + 1 } else { 0 };
            assert!(
                at_once < MAX_STEPS_AT_ONCE,
                "a timer that doesn't move at {next}: shards {:?}",
                self.shards
                    .iter()
                    .map(Shard::next_timeout)
                    .collect::<Vec<_>>()
            );
            self.clock.advance_to(next);
            self.step();
        }
        self.clock.advance_to(end);
    }

    fn next(&self) -> Option<Time> {
        let shards = self.shards.iter().filter_map(Shard::next_timeout);
        let peers = self.timers.peek().map(|Reverse((at, _))| *at);
        shards
            .chain(peers)
            .chain(self.net.next_arrival())
            .chain(self.mailbox.next_arrival())
            .chain(self.streams.values().filter_map(SimStream::next_departure))
            .min()
    }

    fn step(&mut self) {
        let now = self.now();
        while let Some(mut datagram) = self.net.receive(now) {
            if let Some(peer) = self.by_address.get(&datagram.to).copied() {
                let mut bytes = datagram.bytes;
                if let Some(relay) = self.relays.get(&datagram.to) {
                    bytes = relay.unwrap(&bytes).to_vec();
                }
                self.peers[peer].on_datagram(now, &mut bytes);
                self.flush(peer);
            } else if let Some(shard) = self.shard_at(datagram.to) {
                let path = self.path_of(datagram.from);
                self.shards[shard].on_datagram(now, path, &mut datagram.bytes);
            }
        }
        self.move_streams();
        while let Some((from, to, delivery)) = self.mailbox.receive(now) {
            let Some(shard) = self.shards.get_mut(usize::from(to.0)) else {
                continue;
            };
            match delivery {
                Delivery::Media(envelope) => shard.on_envelope(now, from, &envelope),
                Delivery::Control(message) => shard.on_peer(now, from, message),
            }
        }
        for shard in &mut self.shards {
            if shard.next_timeout().is_some_and(|at| at <= now) {
                shard.on_timeout(now);
            }
        }
        while let Some(Reverse((at, peer))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            if self.scheduled[peer] == Some(at) {
                self.scheduled[peer] = None;
                self.peers[peer].on_timeout(now);
                self.flush(peer);
            }
        }
        self.drain();
    }

    /// Hands on what connections let pass, and tells the shards what waits.
    fn move_streams(&mut self) {
        let now = self.clock.now();
        for (address, stream) in &mut self.streams {
            let Some(peer) = self.by_address.get(address).copied() else {
                continue;
            };
            let shard = self.homes[peer];
            while let Some(datagram) = stream.depart(now) {
                let from = SocketAddr::from(([10, 0, 0, 1], BASE_PORT + shard as u16));
                self.net.send(now, from, *address, &datagram);
            }
            if let Some(waiting) = stream.news() {
                self.shards[shard].on_stream_backlog(now, stream.path, waiting);
            }
        }
    }

    fn shard_at(&self, address: SocketAddr) -> Option<usize> {
        let shard = usize::from(address.port().checked_sub(BASE_PORT)?);
        (shard < self.shards.len()).then_some(shard)
    }

    /// Sends what a peer has to send and notes when it wants to be called.
    fn flush(&mut self, peer: usize) {
        let now = self.clock.now();
        let sim_peer = &mut self.peers[peer];
        while let Some(datagram) = sim_peer.poll_transmit() {
            let (from, to) = (sim_peer.config().address, sim_peer.config().server);
            let datagram = match self.relays.get_mut(&from) {
                Some(relay) => relay.wrap(&datagram),
                None => datagram,
            };
            self.net.send(now, from, to, &datagram);
        }
        self.schedule(peer);
    }

    fn schedule(&mut self, peer: usize) {
        if let Some(at) = self.peers[peer].next_timeout()
            && self.scheduled[peer].is_none_or(|scheduled| at < scheduled)
        {
            self.scheduled[peer] = Some(at);
            self.timers.push(Reverse((at, peer)));
        }
    }

    /// Takes everything that the shards have to say.
    fn drain(&mut self) {
        let now = self.clock.now();
        for index in 0..self.shards.len() {
            let (id, address) = (ShardId(index as u8), self.shard_address(index));
            while let Some(transmit) = self.shards[index].poll_transmit(now, &mut self.buffer) {
                let bytes = &self.buffer[..transmit.len];
                let size = transmit.segment_size.unwrap_or(transmit.len).max(1);
                let to = transmit.path.remote;
                if matches!(transmit.path.carrier, Carrier::Stream(_)) {
                    // One that was closed takes nothing.
                    let stream = self.streams.get_mut(&to);
                    let Some(stream) = stream.filter(|s| s.path == transmit.path) else {
                        continue;
                    };
                    for datagram in bytes.chunks(size) {
                        stream.send(datagram);
                    }
                    if let Some(waiting) = stream.news() {
                        self.shards[index].on_stream_backlog(now, transmit.path, waiting);
                    }
                    continue;
                }
                for datagram in bytes.chunks(size) {
                    self.trace.record(now, "datagram", number_of(to), datagram);
                    match self.by_address.get(&to) {
                        Some(_) => self.net.send(now, address, to, datagram),
                        None => {
                            self.astray.0 += 1;
                            self.astray.1 += datagram.len() as u64;
                        }
                    }
                }
            }
            while let Some(event) = self.shards[index].poll_event() {
                self.trace
                    .record(now, "event", index as u64, format!("{event:?}").as_bytes());
                self.events.push((now, id, event));
            }
            while let Some((to, message)) = self.shards[index].poll_peer() {
                let text = format!("{message:?}");
                self.trace
                    .record(now, "message", u64::from(to.0), text.as_bytes());
                self.mailbox.send_control(now, id, to, message);
            }
            while let Some(to) = self.shards[index].poll_envelope(now, &mut self.envelope) {
                let packet = self.envelope.packet();
                self.trace.record(now, "envelope", u64::from(to.0), packet);
                self.mailbox.send_media(now, id, to, &self.envelope);
            }
        }
    }
}

/// An address as a number, for the trace.
fn number_of(address: SocketAddr) -> u64 {
    let ip = match address.ip() {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip) as u64,
    };
    ip << 16 ^ u64::from(address.port())
}
