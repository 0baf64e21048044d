//! Question: what does one forwarded packet cost on the way through the shard, as a multiple of the machine's floor?
//!
//! One publisher, fifty subscribers, real handshakes in memory, video bursts of five. The path is `on_datagram` and
//! `poll_transmit` up to sealed runs, not sent. The floor is what no server can avoid: AES-128-GCM over the same bytes
//! with the bare library, and the GSO call that sends five packets over loopback. Both alternate in one process; the
//! medians of CPU time count. Path and send together should stay within twice the floor, without any allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use quinn_udp::{Transmit, UdpSocketState};
use rustix::time::{ClockId, clock_gettime};
use schalter_benches::median;
use schalter_forward::{
    Codec, CodecBinding, ConsumerConfig, ConsumerTarget, EncodingConfig, ExtensionIds,
    ProducerConfig,
};
use schalter_load::client::{
    Certificate, ClientConfig, ClientEvent, ClientPeer, IceCredentials, IceRole, Incoming,
};
use schalter_load::feed::{FeedConfig, FeedHeader, Publisher, StreamIds, VP8};
use schalter_model::{
    MediaKind, Path, ShardId, SrtpProfile, Time, TrackId, TransportId, Ufrag, WallClock,
};
use schalter_shard::control::{Command, Event};
use schalter_shard::{Shard, ShardConfig};
use schalter_transport::{Identity, LocalIce, RemoteIce};

const SUBSCRIBERS: usize = 50;
const BURST: usize = 5;
const PACKETS: usize = SUBSCRIBERS * BURST;
/// Alternations of path and floor.
const ROUNDS: usize = 600;
/// Rounds at the start that only warm caches, pools and windows.
const WARM_UP: usize = 60;
const FRAME: Duration = Duration::from_nanos(33_333_333);
/// How much more than the floor a forwarded packet may cost, sending included.
const BAR: f64 = 2.0;
const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
const PASSWORD: &str = "a-password-of-22-chars";

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[expect(unsafe_code, reason = "the trait that counts allocations is unsafe")]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// CPU time of this thread, ns.
fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// CPU time and allocations of something.
fn measured(what: impl FnOnce()) -> (u64, u64) {
    let (allocations, start) = (ALLOCATIONS.load(Ordering::Relaxed), cpu_nanos());
    what();
    (
        cpu_nanos() - start,
        ALLOCATIONS.load(Ordering::Relaxed) - allocations,
    )
}

fn path_of(peer: usize) -> Path {
    let port = 10_000 + u16::try_from(peer).expect("a bench has few peers");
    Path {
        remote: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        local: None,
    }
}

/// A shard with all its clients, in memory.
struct Room {
    epoch: Instant,
    now: Time,
    shard: Shard,
    clients: Vec<ClientPeer>,
    feed: Option<Publisher>,
    out: Vec<u8>,
}

impl Room {
    fn new() -> Self {
        let epoch = Instant::now();
        let identity = Arc::new(Identity::generate().expect("the crypto library makes keys"));
        let certificate = Certificate::generate().expect("the crypto library makes keys");
        let [fingerprint, _] = identity.fingerprints();
        let mut shard = Shard::new(ShardConfig::new(
            ShardId(0),
            epoch,
            WallClock::new(0),
            1,
            identity,
        ));
        let mut clients = Vec::new();
        for peer in 0..=SUBSCRIBERS {
            let transport = TransportId(peer as u64 + 1);
            let ufrag = Ufrag::new(0, ShardId(0), peer as u64);
            let ice = LocalIce {
                ufrag,
                password: PASSWORD.into(),
            };
            shard.on_command(
                Time::ZERO,
                Command::OpenTransport {
                    transport,
                    ice,
                    channels: Vec::new(),
                },
            );
            shard.on_command(
                Time::ZERO,
                Command::SetRemote {
                    transport,
                    ice: RemoteIce {
                        ufrag: "client".into(),
                    },
                    fingerprints: vec![certificate.fingerprint().clone()],
                },
            );
            let config = ClientConfig {
                role: IceRole::Controlling,
                local: IceCredentials {
                    ufrag: "client".to_owned(),
                    password: PASSWORD.to_owned(),
                },
                remote: IceCredentials {
                    ufrag: ufrag.as_str().to_owned(),
                    password: PASSWORD.to_owned(),
                },
                candidate: SERVER,
                fingerprints: vec![fingerprint.clone()],
                profile: SrtpProfile::AeadAes128Gcm,
            };
            clients.push(
                ClientPeer::new(epoch, config, &certificate).expect("DTLS takes its configuration"),
            );
        }
        Self {
            epoch,
            now: Time::ZERO,
            shard,
            clients,
            feed: None,
            out: vec![0; 65_536],
        }
    }

    fn instant(&self) -> Instant {
        self.epoch + Duration::from_nanos(self.now.as_nanos())
    }

    /// Lets clients and shard talk about everything but media of the feed. Answers the media packets that arrived.
    fn settle(&mut self) -> usize {
        let instant = self.instant();
        let mut media = 0;
        for client in &mut self.clients {
            if client.next_timeout().is_some_and(|at| at <= instant) {
                client.on_timeout(instant);
            }
        }
        loop {
            let mut quiet = true;
            for (peer, client) in self.clients.iter_mut().enumerate() {
                while let Some(datagram) = client.poll_transmit() {
                    quiet = false;
                    self.shard
                        .on_datagram(self.now, path_of(peer), &mut datagram.to_vec());
                }
            }
            while let Some(transmit) = self.shard.poll_transmit(self.now, &mut self.out) {
                quiet = false;
                let peer = usize::from(transmit.path.remote.port()) - 10_000;
                let segment = transmit.segment_size.unwrap_or(transmit.len);
                for datagram in self.out[..transmit.len].chunks_mut(segment) {
                    let incoming = self.clients[peer].on_datagram(instant, SERVER, datagram);
                    media += usize::from(matches!(incoming, Incoming::Rtp(_)));
                }
            }
            while self.shard.poll_event().is_some() {}
            if quiet {
                return media;
            }
        }
    }

    /// Time passes without media; timers run.
    fn pass(&mut self, span: Duration) -> usize {
        self.now += span;
        if self.shard.next_timeout().is_some_and(|at| at <= self.now) {
            self.shard.on_timeout(self.now);
        }
        self.settle()
    }

    fn connect(&mut self) {
        for _ in 0..50 {
            self.settle();
            self.pass(Duration::from_millis(20));
        }
        let connected = self.clients.iter_mut().filter_map(ClientPeer::poll_event);
        assert_eq!(
            connected.filter(|e| *e == ClientEvent::Connected).count(),
            SUBSCRIBERS + 1
        );
    }

    /// Publishes one video track to everybody.
    fn publish(&mut self) {
        let ids = StreamIds::generate();
        let (track, extensions) = (TrackId(1), ExtensionIds::default());
        let codecs = vec![CodecBinding {
            payload_type: VP8,
            codec: Codec::Vp8,
            rtx_payload_type: None,
        }];
        let producer = ProducerConfig {
            kind: MediaKind::Video,
            mid: None,
            codecs: codecs.clone(),
            encodings: vec![EncodingConfig {
                rid: None,
                ssrc: Some(ids.video),
                rtx_ssrc: None,
            }],
            extensions,
            transport_cc: false,
            room: None,
        };
        self.shard.on_command(
            self.now,
            Command::AddProducer {
                transport: TransportId(1),
                track,
                config: producer,
            },
        );
        for peer in 1..=SUBSCRIBERS {
            let config = ConsumerConfig {
                ssrc: 1_000 + peer as u32,
                rtx_ssrc: None,
                congestion_feedback: false,
                cname: "bench".into(),
                mid: None,
                codecs: codecs.clone(),
                extensions,
                target: ConsumerTarget {
                    paused: false,
                    max_encoding: 0,
                    ..ConsumerTarget::default()
                },
            };
            self.shard.on_command(
                self.now,
                Command::AddConsumer {
                    transport: TransportId(peer as u64 + 1),
                    track,
                    producer_shard: ShardId(0),
                    config,
                },
            );
        }
        while let Some(event) = self.shard.poll_event() {
            assert!(!matches!(event, Event::Refused { .. }), "{event:?}");
        }
        let config = FeedConfig {
            audio_packets: 0,
            video_packets: 150,
            ..FeedConfig::default()
        };
        self.feed = Some(Publisher::new(
            0,
            config,
            ids,
            FeedHeader::default(),
            self.instant(),
        ));
    }

    /// The next burst, sealed by the publisher.
    fn burst(&mut self) -> Vec<Vec<u8>> {
        let instant = self.instant();
        let feed = self.feed.as_mut().expect("the feed runs");
        let mut packets = Vec::new();
        let mut buffer = [0; 1_500];
        while packets.len() < BURST
            && let Some(len) = feed.produce(instant, 0, false, &mut buffer)
        {
            let sealed = self.clients[0]
                .seal_rtp(&mut buffer, len)
                .expect("the publisher is connected");
            packets.push(buffer[..sealed].to_vec());
        }
        packets
    }

    /// The measured part: everything that the shard does for one burst. Answers datagrams and their bytes.
    fn forward(&mut self, packets: &mut [Vec<u8>], burst: Duration) -> (usize, usize) {
        for packet in packets {
            self.shard.on_datagram(self.now, path_of(0), packet);
        }
        let mut sent = (0, 0);
        // Now, and once more after the time that packets may wait for company.
        for wait in [Duration::ZERO, burst] {
            self.now += wait;
            if self.shard.next_timeout().is_some_and(|at| at <= self.now) {
                self.shard.on_timeout(self.now);
            }
            while let Some(transmit) = self.shard.poll_transmit(self.now, &mut self.out) {
                sent.0 += transmit
                    .segment_size
                    .map_or(1, |size| transmit.len.div_ceil(size));
                sent.1 += transmit.len;
            }
        }
        sent
    }
}

/// What no server can avoid.
struct Floor {
    keys: Vec<LessSafeKey>,
    sink: Vec<(UdpSocket, SocketAddr)>,
    socket: UdpSocket,
    state: UdpSocketState,
    source: Vec<u8>,
    run: Vec<u8>,
    sealed_len: usize,
    nonce: u64,
}

impl Floor {
    fn new(sealed_len: usize) -> io::Result<Self> {
        let key = |index: usize| {
            let key =
                UnboundKey::new(&AES_128_GCM, &[index as u8; 16]).expect("16 bytes are a key");
            LessSafeKey::new(key)
        };
        let sink = (0..SUBSCRIBERS)
            .map(|_| {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
                socket.set_nonblocking(true)?;
                // As the generator's sockets and as a network card would have it: a run is taken in one piece.
                UdpSocketState::new((&socket).into())?;
                let address = socket.local_addr()?;
                Ok((socket, address))
            })
            .collect::<io::Result<Vec<_>>>()?;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self {
            keys: (0..SUBSCRIBERS).map(key).collect(),
            sink,
            socket,
            state,
            source: vec![7; sealed_len],
            run: vec![0; sealed_len * BURST],
            sealed_len,
            nonce: 0,
        })
    }

    fn seal(&mut self, peer: usize) {
        for packet in self.run.chunks_mut(self.sealed_len) {
            let (body, tag) = packet.split_at_mut(self.sealed_len - 16);
            body.copy_from_slice(&self.source[..self.sealed_len - 16]);
            let (header, payload) = body.split_at_mut(12);
            self.nonce += 1;
            let mut nonce = [0; 12];
            nonce[..8].copy_from_slice(&self.nonce.to_be_bytes());
            let sealed = self.keys[peer]
                .seal_in_place_separate_tag(
                    Nonce::assume_unique_for_key(nonce),
                    Aad::from(&*header),
                    payload,
                )
                .expect("the library seals short packets");
            tag.copy_from_slice(sealed.as_ref());
        }
    }

    fn send(&self, peer: usize) -> io::Result<()> {
        let transmit = Transmit {
            destination: self.sink[peer].1,
            ecn: None,
            contents: &self.run,
            segment_size: Some(self.sealed_len),
            src_ip: None,
        };
        self.state.try_send((&self.socket).into(), &transmit)
    }

    fn drain(&self) -> usize {
        let mut buffer = vec![0; 65_536];
        let mut received = 0;
        for (socket, _) in &self.sink {
            while let Ok(len) = socket.recv(&mut buffer) {
                received += len / self.sealed_len;
            }
        }
        received
    }
}

fn main() -> io::Result<ExitCode> {
    let mut room = Room::new();
    room.connect();
    room.publish();
    let burst = ShardConfig::new(
        ShardId(0),
        room.epoch,
        WallClock::new(0),
        1,
        Arc::new(Identity::generate().map_err(io::Error::other)?),
    )
    .burst;

    // Once with all subscribers listening: what is measured below is what arrives.
    let mut packets = room.burst();
    for packet in &mut packets {
        room.shard.on_datagram(room.now, path_of(0), packet);
    }
    let arrived = room.settle() + room.pass(burst);
    assert_eq!(arrived, PACKETS, "every subscriber decrypts every packet");

    let mut floor = Floor::new(packets[1].len())?;
    let (mut path_ns, mut seal_ns, mut send_ns) = (Vec::new(), Vec::new(), Vec::new());
    let mut allocations = Vec::new();
    for round in 0..WARM_UP + ROUNDS {
        room.pass(FRAME - burst);
        let mut packets = room.burst();
        let mut sent = (0, 0);
        let (nanos, allocated) = measured(|| sent = room.forward(&mut packets, burst));
        // Reports of the shard are a few more now and then; fewer would be a loss.
        assert!(
            sent.0 >= PACKETS,
            "{} of {PACKETS} packets in round {round}",
            sent.0
        );
        // One look at the clock for all fifty: it is a system call itself.
        let (seal, _) = measured(|| (0..SUBSCRIBERS).for_each(|peer| floor.seal(peer)));
        let mut result = Ok(());
        let (send, _) =
            measured(|| result = (0..SUBSCRIBERS).try_for_each(|peer| floor.send(peer)));
        result?;
        assert_eq!(floor.drain(), PACKETS, "the floor has to deliver too");
        if round >= WARM_UP {
            let per_packet = |nanos: u64| nanos as f64 / PACKETS as f64;
            path_ns.push(per_packet(nanos));
            seal_ns.push(per_packet(seal));
            send_ns.push(per_packet(send));
            allocations.push(allocated as f64);
        }
    }
    let (path, seal, send) = (median(&path_ns), median(&seal_ns), median(&send_ns));
    let ratio = (path + send) / (seal + send);
    // Timers of transports (SCTP, DTLS) fall into a round now and then; they are not the packets'.
    let per_round = median(&allocations);
    let with_any = allocations.iter().filter(|count| **count > 0.0).count();
    let good = ratio <= BAR && per_round == 0.0;
    writeln!(
        io::stdout(),
        "packet_path: 1 publisher, {SUBSCRIBERS} subscribers, bursts of {BURST} × {} bytes sealed, {ROUNDS} rounds, medians\n\
         floor   {:7.0} ns per packet: seal {seal:.0}, send in runs of {BURST} {send:.0}\n\
         path    {path:7.0} ns per packet: on_datagram and poll_transmit, sealed, not sent = {:.2} × the floor\n\
         all     {:7.0} ns per packet with sending = {ratio:.2} × the floor (bar {BAR:.1})\n\
         heap    {per_round:.0} allocations in the median round (bar 0); {with_any} of {ROUNDS} rounds had any\n\
         {}",
        floor.sealed_len,
        seal + send,
        path / (seal + send),
        path + send,
        if good { "ok" } else { "ABOVE THE BAR" },
    )?;
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
