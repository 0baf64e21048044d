//! A real shard and a real TCP connection whose reader is slow: sound stays in time, and nobody else notices.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use schalter_model::{Bitrate, MediaKind, ShardId, SrtpProfile, Time, TransportId, Ufrag};
use schalter_net::{AcceptedStream, Framing, Workers, WorkersConfig};
use schalter_shard::control::Command;
use schalter_shard::{Shard, ShardConfig};
use schalter_testkit::conference::{BOTH, consumer_config, producer_config, source, track};
use schalter_testkit::{Feedback, PeerConfig, Random, SimPeer, SourceConfig, identity};
use schalter_transport::srtp::exporter_len;
use schalter_transport::{LocalIce, RemoteIce};

const SHARD: ShardId = ShardId(0);
const PUBLISHER: usize = 0;
const BY_STREAM: usize = 1;
const BY_UDP: usize = 2;
/// What the slow reader takes, and what is sent.
const SLOW: Bitrate = Bitrate::from_kbps(500);
const PICTURE: Bitrate = Bitrate::from_kbps(1_500);
const PROFILE: SrtpProfile = SrtpProfile::AeadAes128Gcm;
/// What the kernel may hold on either side of the connection, in time at that rate, and some for a busy machine.
const LATE: Duration = Duration::from_millis(700);

fn ice(peer: usize) -> LocalIce {
    LocalIce {
        ufrag: Ufrag::new(0, SHARD, peer as u64),
        password: "a-password-of-two-dozen-chars".into(),
    }
}

fn keys(peer: usize) -> Vec<u8> {
    let mut keys = vec![0; exporter_len(PROFILE)];
    Random::new(peer as u64).fill(&mut keys);
    keys
}

fn transport(peer: usize) -> TransportId {
    TransportId(peer as u64)
}

fn start() -> Workers {
    let config = WorkersConfig {
        bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        pin: false,
        ..WorkersConfig::default()
    };
    let make = |id, epoch, wall| {
        let mut shard = Shard::new(ShardConfig::new(id, epoch, wall, 1, identity()));
        for peer in [PUBLISHER, BY_STREAM, BY_UDP] {
            let now = Time::ZERO;
            shard.open_keyed_transport(now, transport(peer), ice(peer), PROFILE, &keys(peer));
        }
        shard
    };
    Workers::start(&config, make, Box::new(|_, _| {})).unwrap()
}

fn subscribe(workers: &Workers) {
    let send = |command| workers.send(SHARD, command).unwrap();
    for kind in BOTH {
        send(Command::AddProducer {
            transport: transport(PUBLISHER),
            track: track(PUBLISHER, kind),
            config: producer_config(PUBLISHER, kind),
        });
        for subscriber in [BY_STREAM, BY_UDP] {
            send(Command::AddConsumer {
                transport: transport(subscriber),
                track: track(PUBLISHER, kind),
                producer_shard: SHARD,
                config: consumer_config(subscriber, PUBLISHER, kind),
            });
        }
    }
}

/// A peer at a socket.
struct Client {
    peer: SimPeer,
    way: Way,
}

enum Way {
    Udp(UdpSocket),
    /// The connection, what was read of a frame, and since when how many bits were read.
    Slow(TcpStream, Vec<u8>, Option<(Time, u64)>),
}

impl Client {
    fn new(now: Time, index: usize, server: SocketAddr, way: Way) -> Self {
        let address = match &way {
            Way::Udp(socket) => socket.local_addr(),
            Way::Slow(tcp, ..) => tcp.local_addr(),
        };
        let config = PeerConfig {
            transport: transport(index),
            address: address.unwrap(),
            server,
            ice: ice(index),
            own_ice: RemoteIce {
                ufrag: "peer".into(),
                password: "a-password-of-the-peers-own".into(),
            },
            profile: PROFILE,
            keying_material: keys(index),
        };
        let peer = SimPeer::new(now, config, Random::new(100 + index as u64));
        Self { peer, way }
    }

    /// Does what is to be done now.
    fn act(&mut self, now: Time) {
        let server = self.peer.config().server;
        match &mut self.way {
            Way::Udp(socket) => {
                let mut buffer = [0; 2_048];
                while let Ok(len) = socket.recv(&mut buffer) {
                    self.peer.on_datagram(now, &mut buffer[..len]);
                }
            }
            Way::Slow(tcp, waiting, read) => {
                let (since, bits) = read.get_or_insert((now, 0));
                let earned = (now - *since).as_micros() as u64 * SLOW.as_bps() / 1_000_000;
                let bytes = (earned.saturating_sub(*bits) / 8) as usize;
                let mut buffer = vec![0; bytes];
                match tcp.read(&mut buffer) {
                    Ok(len) => {
                        *bits += len as u64 * 8;
                        waiting.extend_from_slice(&buffer[..len]);
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        // A link that was idle does not make up for it.
                        *read = None;
                    }
                }
                while let Some(frame) = Framing::Rfc4571.next_frame(waiting).unwrap() {
                    self.peer.on_datagram(now, &mut waiting[frame.datagram]);
                    waiting.drain(..frame.end);
                }
            }
        }
        if self.peer.next_timeout().is_some_and(|at| at <= now) {
            self.peer.on_timeout(now);
        }
        while let Some(datagram) = self.peer.poll_transmit() {
            match &mut self.way {
                Way::Udp(socket) => drop(socket.send_to(&datagram, server).unwrap()),
                Way::Slow(tcp, ..) => {
                    let head = (datagram.len() as u16).to_be_bytes();
                    tcp.write_all(&[&head[..], &datagram].concat()).unwrap();
                }
            }
        }
    }

    /// How late sound came that was captured from then on, at most, and how many packets.
    fn sound(&self, from: Time) -> (Duration, usize) {
        let ssrc = source(PUBLISHER, MediaKind::Audio).ssrc;
        let heard = self.peer.receiver_of(ssrc).unwrap().heard().iter();
        let heard = heard.filter(|heard| heard.captured >= from);
        let late = heard.clone().map(|heard| heard.at - heard.captured);
        (late.max().unwrap_or_default(), heard.count())
    }
}

#[test]
fn sound_stays_in_time_for_a_slow_reader_and_nobody_else_notices() {
    let workers = start();
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, workers.local_ports()[0]));
    let udp = || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Way::Udp(socket)
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // What the kernel holds for the reader is not the server's doing: little of it.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket
        .connect(&listener.local_addr().unwrap().into())
        .unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.set_tcp_nodelay(true).unwrap();
    let (accepted, remote) = listener.accept().unwrap();
    let accepted = AcceptedStream {
        local: accepted.local_addr().unwrap(),
        tcp: accepted,
        tls: None,
        framing: Framing::Rfc4571,
        early: Vec::new(),
        remote,
    };
    workers.commands().adopt(SHARD, accepted).unwrap();

    let began = Instant::now();
    let ways = [udp(), Way::Slow(socket.into(), Vec::new(), None), udp()];
    let mut clients: Vec<_> = (0..)
        .zip(ways)
        .map(|(index, way)| Client::new(Time::ZERO, index, server, way))
        .collect();
    // Nobody measures this link: what is known of it is what TCP takes.
    clients[BY_STREAM]
        .peer
        .set_feedback(Time::ZERO, Feedback::Off);
    subscribe(&workers);
    for kind in BOTH {
        let plain = source(PUBLISHER, kind);
        let stream = match kind {
            MediaKind::Video => SourceConfig::video_at(plain.ssrc, PICTURE, 30),
            MediaKind::Audio => plain,
        };
        clients[PUBLISHER].peer.publish(Time::ZERO, stream);
        for subscriber in [BY_STREAM, BY_UDP] {
            let ssrc = consumer_config(subscriber, PUBLISHER, kind).ssrc;
            clients[subscriber]
                .peer
                .subscribe(Time::ZERO, kind, ssrc, plain.ssrc);
        }
    }
    let end = Duration::from_secs(8);
    while began.elapsed() < end {
        for client in &mut clients {
            client.act(Time::ZERO + began.elapsed());
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    // The first seconds are for finding out what the reader takes.
    let from = Time::from_millis(3_000);
    let (late, heard) = clients[BY_STREAM].sound(from);
    let (undisturbed, all) = clients[BY_UDP].sound(from);
    let what = format!("by TCP {late:?} late, {heard} of {all}; by UDP {undisturbed:?} late");
    assert!(all > 200, "{what}");
    assert!(late < LATE, "{what}");
    assert!(heard * 100 >= all * 90, "{what}");
    assert!(undisturbed < LATE / 2, "{what}");
    let counters = workers.counters(SHARD).unwrap();
    assert_eq!(counters.streams, 1);
}
