//! Question: what does one forwarded packet cost on the way through the shard, as a multiple of the machine's floor?
//!
//! One publisher, fifty subscribers, real handshakes in memory, video bursts of five. The path is `on_datagram` and
//! `poll_transmit` up to sealed runs, not sent. The floor is what no server can avoid: AES-128-GCM over the same bytes
//! with the bare library, and the GSO call that sends five packets over loopback. All alternate in one process; the
//! medians of CPU time count. Path and send together should stay within twice the floor, without any allocation.
//!
//! Twice, in rooms of their own: subscribers that report nothing, and subscribers that report the arrival of every packet
//! ten times a second as browsers do, with all that follows from it: the estimate, the pacer, the allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use schalter_benches::median;
use schalter_forward::{
    Codec, CodecBinding, ConsumerConfig, ConsumerTarget, EncodingConfig, ExtensionIds,
    ProducerConfig, RouterConfig,
};
use schalter_load::client::{
    Certificate, ClientConfig, ClientEvent, ClientPeer, IceCredentials, IceRole, Incoming,
};
use schalter_load::feed::{FeedConfig, FeedHeader, Publisher, StreamIds, VP8};
use schalter_model::{
    MediaKind, Path, ShardId, SrtpProfile, Time, TrackId, TransportId, Ufrag, WallClock,
};
use schalter_rtp::packet::RtpPacket;
use schalter_rtp::rtcp::{Rtcp, RtcpWriter, compound};
use schalter_shard::control::{Command, Event};
use schalter_shard::{Shard, ShardConfig};
use schalter_transport::{Identity, LocalIce, RemoteIce};

use crate::floor::Floor;

mod floor;

const SUBSCRIBERS: usize = 50;
const BURST: usize = 5;
const PACKETS: usize = SUBSCRIBERS * BURST;
/// Alternations of path and floor.
const ROUNDS: usize = 600;
/// Rounds at the start that only warm caches, pools and windows.
const WARM_UP: usize = 60;
/// Every subscriber reports once in so many frames.
const REPORT_EVERY: usize = 3;
/// Frames until every estimate is far above the feed's rate.
const GROWTH: usize = 450;
/// A paced frame is out after this.
const PACED: Duration = Duration::from_millis(25);
const FRAME: Duration = Duration::from_nanos(33_333_333);
/// How much more than the floor a forwarded packet may cost, sending included.
const BAR: f64 = 2.0;
const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
const PASSWORD: &str = "a-password-of-22-chars";
/// The extension that numbers packets for a transport.
const TRANSPORT_CC: u8 = 3;
/// From a subscriber's sending to its arrival.
const WAY: Duration = Duration::from_millis(20);

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
    Path::udp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), None)
}

/// What a subscriber reports of the packets that came.
struct Arrivals {
    /// Transport-wide number of the next packet.
    next: u16,
    /// Arrivals not yet reported, in 250 µs.
    ticks: Vec<i64>,
    reports: u8,
}

impl Arrivals {
    fn new() -> Self {
        Self {
            next: 0,
            // Filled while the shard is measured.
            ticks: Vec::with_capacity(1_024),
            reports: 0,
        }
    }
}

/// A shard with all its clients, in memory.
struct Room {
    /// Subscribers report arrivals.
    reporting: bool,
    /// After which the shard has sent everything of a burst.
    span: Duration,
    arrivals: Vec<Arrivals>,
    epoch: Instant,
    now: Time,
    shard: Shard,
    clients: Vec<ClientPeer>,
    feed: Option<Publisher>,
    out: Vec<u8>,
}

impl Room {
    fn new(reporting: bool) -> Self {
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
                        password: PASSWORD.into(),
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
            reporting,
            span: if reporting {
                PACED
            } else {
                RouterConfig::default().burst
            },
            arrivals: (0..=SUBSCRIBERS).map(|_| Arrivals::new()).collect(),
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
                    match self.clients[peer].on_datagram(instant, SERVER, datagram) {
                        Incoming::Rtp(len) => {
                            media += 1;
                            let number = number_of(&datagram[..len]);
                            self.arrivals[peer].next = number.wrapping_add(1);
                            self.arrivals[peer].ticks.push(ticks(self.now + WAY));
                        }
                        Incoming::Rtcp(len) => {
                            if let Some(feed) = &mut self.feed
                                && compound(&datagram[..len])
                                    .any(|message| matches!(message, Ok(Rtcp::Pli { .. })))
                            {
                                feed.request_key_frame();
                            }
                        }
                        Incoming::Handled | Incoming::Dropped => {}
                    }
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
        let end = self.now + span;
        let mut media = 0;
        while let Some(due) = self.shard.next_timeout().filter(|due| *due < end) {
            self.now = self.now.max(due);
            self.shard.on_timeout(self.now);
            media += self.settle();
        }
        self.now = end;
        self.shard.on_timeout(self.now);
        media + self.settle()
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
        let track = TrackId(1);
        let extensions = ExtensionIds {
            transport_cc: self.reporting.then_some(TRANSPORT_CC),
            ..ExtensionIds::default()
        };
        let codecs = vec![CodecBinding {
            payload_type: VP8,
            codec: Codec::Vp8,
            rtx_payload_type: self.reporting.then_some(VP8 + 1),
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
            extensions: ExtensionIds::default(),
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
                rtx_ssrc: self.reporting.then_some(10_000 + peer as u32),
                congestion_feedback: false,
                continues: false,
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

    /// The reports that are due in a round, sealed by their subscribers.
    fn reports(&mut self, round: usize) -> Vec<(Path, Vec<u8>)> {
        let mut reports = Vec::new();
        for peer in (1..=SUBSCRIBERS).filter(|peer| peer % REPORT_EVERY == round % REPORT_EVERY) {
            let arrivals = &mut self.arrivals[peer];
            if !self.reporting || arrivals.ticks.is_empty() {
                arrivals.ticks.clear();
                continue;
            }
            let first = arrivals.next.wrapping_sub(arrivals.ticks.len() as u16);
            let packets: Vec<_> = (0..)
                .zip(arrivals.ticks.drain(..))
                .map(|(offset, ticks)| (first.wrapping_add(offset), Some(ticks)))
                .collect();
            let mut buffer = [0; 1_500];
            let mut writer = RtcpWriter::new(&mut buffer);
            writer
                .transport_cc(1, 1_000 + peer as u32, arrivals.reports, &packets)
                .expect("a tenth of a second fits");
            arrivals.reports = arrivals.reports.wrapping_add(1);
            let len = writer.finish();
            let sealed = self.clients[peer]
                .seal_rtcp(&mut buffer, len)
                .expect("the subscriber is connected");
            reports.push((path_of(peer), buffer[..sealed].to_vec()));
        }
        reports
    }

    /// The measured part: everything that the shard does for one burst.
    fn forward(&mut self, packets: &mut [Vec<u8>], reports: &mut [(Path, Vec<u8>)]) -> Sent {
        for (path, report) in reports {
            self.shard.on_datagram(self.now, *path, report);
        }
        for packet in packets {
            self.shard.on_datagram(self.now, path_of(0), packet);
        }
        let end = self.now + self.span;
        let mut sent = Sent::default();
        loop {
            while let Some(transmit) = self.shard.poll_transmit(self.now, &mut self.out) {
                sent.runs += 1;
                let peer = usize::from(transmit.path.remote.port()) - 10_000;
                let segment = transmit.segment_size.unwrap_or(transmit.len);
                for datagram in self.out[..transmit.len].chunks(segment) {
                    // RFC 5761 §4: reports have these packet types.
                    let media = !(192..=223).contains(&datagram[1]);
                    sent.packets += usize::from(media);
                    if media {
                        let arrivals = &mut self.arrivals[peer];
                        arrivals.next = arrivals.next.wrapping_add(1);
                        arrivals.ticks.push(ticks(self.now + WAY));
                    }
                }
            }
            // What waits for company or for the pacer comes by its timer.
            let Some(due) = self.shard.next_timeout().filter(|due| *due <= end) else {
                break;
            };
            self.now = self.now.max(due);
            self.shard.on_timeout(self.now);
        }
        self.now = end;
        sent
    }
}

/// What a measured part sent.
#[derive(Clone, Copy, Default)]
struct Sent {
    packets: usize,
    /// Calls that send, of one or several packets.
    runs: usize,
}

fn ticks(at: Time) -> i64 {
    (at.as_nanos() / 250_000) as i64
}

/// The transport-wide number of an RTP packet, 0 without one.
fn number_of(packet: &[u8]) -> u16 {
    let packet = RtpPacket::parse(packet).expect("the server sends RTP");
    let number = packet.extension(TRANSPORT_CC);
    number.map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// What the rounds of one room took.
#[derive(Default)]
struct Rounds {
    path_ns: Vec<f64>,
    run_packets: Vec<f64>,
    allocations: Vec<f64>,
}

impl Rounds {
    fn forward(&mut self, room: &mut Room, round: usize) {
        room.pass(FRAME - room.span);
        let mut reports = room.reports(round);
        let mut packets = room.burst();
        let mut sent = Sent::default();
        let (nanos, allocated) = measured(|| sent = room.forward(&mut packets, &mut reports));
        // A probe may add some; fewer would be a loss.
        assert!(
            sent.packets >= PACKETS,
            "{} of {PACKETS} packets in round {round}",
            sent.packets
        );
        if round >= WARM_UP {
            self.path_ns.push(nanos as f64 / sent.packets as f64);
            self.run_packets
                .push(sent.packets as f64 / sent.runs as f64);
            self.allocations.push(allocated as f64);
        }
    }

    /// Prints what was measured beside the floor; answers whether it keeps the bars.
    fn report(&self, name: &str, seal: f64, send: f64) -> io::Result<bool> {
        let path = median(&self.path_ns);
        let ratio = (path + send) / (seal + send);
        // Timers of transports (SCTP, DTLS) fall into a round now and then; they are not the packets'.
        let per_round = median(&self.allocations);
        let with_any = self.allocations.iter().filter(|n| **n > 0.0).count();
        writeln!(
            io::stdout(),
            "{name:<9} {path:7.0} ns per packet, sealed, not sent = {:.2} × the floor; with sending {:.0} ns = {ratio:.2} × (bar {BAR:.1}); \
             {:.1} packets a run; {per_round:.0} allocations in the median round (bar 0), {with_any} of {ROUNDS} rounds had any",
            path / (seal + send),
            path + send,
            median(&self.run_packets),
        )?;
        Ok(ratio <= BAR && per_round == 0.0)
    }
}

/// A room in which every subscriber decrypts every packet, once the estimates have grown past the feed's rate.
fn connected(reporting: bool) -> (Room, usize) {
    let mut room = Room::new(reporting);
    room.connect();
    room.publish();
    let (mut sealed_len, mut arrived) = (0, 0);
    for round in 0..GROWTH {
        for (path, mut report) in room.reports(round) {
            room.shard.on_datagram(room.now, path, &mut report);
        }
        let mut packets = room.burst();
        sealed_len = packets[1].len();
        for packet in &mut packets {
            room.shard.on_datagram(room.now, path_of(0), packet);
        }
        arrived = room.settle() + room.pass(FRAME);
    }
    assert!(arrived >= PACKETS, "{arrived} of {PACKETS} packets arrive");
    (room, sealed_len)
}

fn main() -> io::Result<ExitCode> {
    let (mut silent, sealed_len) = connected(false);
    let (mut reporting, _) = connected(true);
    let mut floor = Floor::new(sealed_len)?;
    let (mut seal_ns, mut send_ns) = (Vec::new(), Vec::new());
    let (mut plain, mut adaptive) = (Rounds::default(), Rounds::default());
    for round in 0..WARM_UP + ROUNDS {
        plain.forward(&mut silent, round);
        adaptive.forward(&mut reporting, round);
        // One look at the clock for all fifty: it is a system call itself.
        let (seal, _) = measured(|| (0..SUBSCRIBERS).for_each(|peer| floor.seal(peer)));
        let mut result = Ok(());
        let (send, _) =
            measured(|| result = (0..SUBSCRIBERS).try_for_each(|peer| floor.send(peer)));
        result?;
        assert_eq!(floor.drain(), PACKETS, "the floor has to deliver too");
        if round >= WARM_UP {
            seal_ns.push(seal as f64 / PACKETS as f64);
            send_ns.push(send as f64 / PACKETS as f64);
        }
    }
    let (seal, send) = (median(&seal_ns), median(&send_ns));
    writeln!(
        io::stdout(),
        "packet_path: 1 publisher, {SUBSCRIBERS} subscribers, bursts of {BURST} × {sealed_len} bytes sealed, {ROUNDS} rounds, medians\n\
         floor     {:7.0} ns per packet: seal {seal:.0}, send in runs of {BURST} {send:.0}",
        seal + send,
    )?;
    let good = plain.report("path", seal, send)? & adaptive.report("reporting", seal, send)?;
    writeln!(
        io::stdout(),
        "{}",
        if good { "ok" } else { "ABOVE THE BAR" }
    )?;
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
