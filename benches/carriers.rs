//! What does a packet cost by ICE-TCP, plain and over TLS, beside UDP?
//!
//! A worker of `net` sends runs of five packets of 1,170 bytes to loopback, by each carrier in turn, and counts the CPU of its
//! own thread: framing, encryption by TLS, system calls. What comes before (SRTP, rewriting) is the same for all and
//! `packet_path` measures it. Somebody on another core reads everything and looks at nothing.

#![expect(clippy::print_stdout, reason = "a benchmark's report is its output")]

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, mpsc};

use quinn_udp::UdpSocketState;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use schalter_model::{Carrier, Counters, Path, ShardId, Time};
use schalter_net::{AcceptedStream, Framing, Transmit, Worker, Workers, WorkersConfig};
use schalter_shard::control::{Command, Event};
use schalter_shard::peer::{Envelope, PeerMessage};

const PACKET: usize = 1_170;
const RUN: usize = 5;
/// Packets of one turn, by one carrier.
const PACKETS: usize = 20_000;
const ROUNDS: usize = 15;
/// The carriers, in the order of their turns.
const CARRIERS: [&str; 3] = ["UDP", "ICE-TCP", "ICE-TCP over TLS"];

fn cpu_nanos() -> u64 {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    spent.tv_sec as u64 * 1_000_000_000 + spent.tv_nsec as u64
}

/// Sends by each carrier in turn once all connections said a word, and reports what each turn cost.
struct Sender {
    paths: Vec<Path>,
    turn: usize,
    left: usize,
    began: u64,
    waiting: bool,
    results: mpsc::Sender<(usize, u64)>,
}

impl Worker for Sender {
    fn on_command(&mut self, _: Time, _: Command) {}

    fn on_datagram(&mut self, _: Time, path: Path, datagram: &mut [u8]) {
        // Its first byte says which connection it is.
        let index = usize::from(datagram[0]);
        if self.paths.len() == index {
            self.paths.push(path);
        }
    }

    fn on_peer(&mut self, _: Time, _: ShardId, _: PeerMessage) {}
    fn on_envelope(&mut self, _: Time, _: ShardId, _: &Envelope) {}

    fn poll_transmit(&mut self, _: Time, _: &mut [u8]) -> Option<Transmit> {
        if self.paths.len() < CARRIERS.len() || self.waiting {
            return None;
        }
        if self.left == 0 {
            if self.began > 0 {
                let spent = cpu_nanos() - self.began;
                // Fails when the measurement is over and nobody listens.
                let _ = self.results.send((self.turn % CARRIERS.len(), spent));
                self.turn += 1;
            }
            if self.turn == CARRIERS.len() * ROUNDS {
                self.began = 0;
                return None;
            }
            self.left = PACKETS;
            self.began = cpu_nanos();
        }
        self.left -= RUN;
        Some(Transmit {
            path: self.paths[self.turn % CARRIERS.len()],
            len: RUN * PACKET,
            segment_size: Some(PACKET),
        })
    }

    fn poll_event(&mut self) -> Option<Event> {
        None
    }

    fn poll_peer(&mut self) -> Option<(ShardId, PeerMessage)> {
        None
    }

    fn poll_envelope(&mut self, _: Time, _: &mut Envelope) -> Option<ShardId> {
        None
    }

    fn on_stream_backlog(&mut self, _: Time, path: Path, waiting: usize) {
        if matches!(path.carrier, Carrier::Stream(_)) {
            self.waiting = waiting > 0;
        }
    }

    fn on_stream_closed(&mut self, _: Time, _: Path) {}

    fn wants_stream(&self, _: &Path) -> bool {
        true
    }

    fn next_timeout(&self) -> Option<Time> {
        None
    }

    fn on_timeout(&mut self, _: Time) {}

    fn counters(&self) -> Counters {
        Counters::default()
    }
}

fn pin(core: usize) -> io::Result<()> {
    let mut only = CpuSet::new();
    only.set(core);
    Ok(sched_setaffinity(None, &only)?)
}

/// Reads everything of a connection until it ends.
fn drain_tcp(mut tcp: TcpStream, core: usize) {
    std::thread::spawn(move || {
        // Unpinned it works as well, only less evenly.
        let _ = pin(core);
        let mut buffer = vec![0; 1 << 18];
        while tcp.read(&mut buffer).is_ok_and(|len| len > 0) {}
    });
}

fn drain_udp(core: usize) -> io::Result<SocketAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    // As a network card would have it: a run is taken in one piece.
    UdpSocketState::new((&socket).into())?;
    let address = socket.local_addr()?;
    std::thread::spawn(move || {
        let _ = pin(core);
        let mut buffer = vec![0; 1 << 16];
        while socket.recv(&mut buffer).is_ok() {}
    });
    Ok(address)
}

fn tls() -> io::Result<(ClientConnection, ServerConnection)> {
    let failed = |error: rustls::Error| io::Error::other(error);
    let made =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(io::Error::other)?;
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(vec![certificate.clone()], key)
        })
        .map_err(failed)?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).map_err(failed)?;
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    Ok((
        ClientConnection::new(Arc::new(client), name).map_err(failed)?,
        ServerConnection::new(Arc::new(server)).map_err(failed)?,
    ))
}

/// A connection whose peer reads on `core`, for the worker, as its `index`th.
fn connection(index: u8, with_tls: bool, core: usize) -> io::Result<AcceptedStream> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut tcp, remote) = listener.accept()?;
    let mut server = None;
    if with_tls {
        let (mut ours, mut theirs) = tls().map(|(client, server)| (server, client))?;
        let connecting = std::thread::spawn(move || {
            while theirs.is_handshaking() {
                theirs.complete_io(&mut client)?;
            }
            io::Result::Ok(client)
        });
        while ours.is_handshaking() {
            ours.complete_io(&mut tcp)?;
        }
        client = connecting
            .join()
            .map_err(|_| io::Error::other("the client panicked"))??;
        server = Some(Box::new(ours));
    }
    drain_tcp(client, core);
    Ok(AcceptedStream {
        local: tcp.local_addr()?,
        tcp,
        tls: server,
        framing: Framing::Rfc4571,
        early: vec![0, 1, index],
        remote,
    })
}

fn main() -> io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let cores: Vec<_> = (0..CpuSet::MAX_CPU)
        .filter(|core| allowed.is_set(*core))
        .collect();
    let (first, last) = (cores[0], cores[cores.len() - 1]);
    let udp = Path::udp(drain_udp(last)?, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let connections = [connection(1, false, last)?, connection(2, true, last)?];
    // The worker inherits this.
    pin(first)?;
    let (results, turns) = mpsc::channel();
    let config = WorkersConfig {
        bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        pin: false,
        ..WorkersConfig::default()
    };
    let make = |_, _, _| Sender {
        paths: vec![udp],
        turn: 0,
        left: 0,
        began: 0,
        waiting: false,
        results: results.clone(),
    };
    let workers = Workers::start(&config, make, Box::new(|_, _| {})).map_err(io::Error::other)?;
    for stream in connections {
        workers
            .commands()
            .adopt(ShardId(0), stream)
            .map_err(io::Error::other)?;
    }
    let mut spent: [Vec<u64>; CARRIERS.len()] = Default::default();
    for (turn, nanos) in turns.iter().take(CARRIERS.len() * ROUNDS) {
        spent[turn].push(nanos / PACKETS as u64);
    }
    workers.shutdown().map_err(io::Error::other)?;
    println!(
        "{PACKET} bytes in runs of {RUN}; ns of the worker's CPU a packet, median of {ROUNDS} (least to most)"
    );
    let mut udp = 0;
    for (name, mut nanos) in CARRIERS.into_iter().zip(spent) {
        nanos.sort_unstable();
        let median = nanos[nanos.len() / 2];
        if udp == 0 {
            udp = median.max(1);
        }
        let ratio = median as f64 / udp as f64;
        let (least, most) = (nanos[0], nanos[nanos.len() - 1]);
        println!("  {name:<18} {median:>6} ({least} to {most}), {ratio:.2} × UDP");
    }
    Ok(())
}
