//! A worker that does what a datagram's first byte says, and a client to ask it. No packet makes it allocate.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use schalter_model::{Counters, Path, ShardId, Time, TrackId};
use schalter_net::{Transmit, Worker, Workers, WorkersConfig};
use schalter_shard::control::{Command, Event};
use schalter_shard::peer::{Envelope, PeerMessage};

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Answers that wait to be sent, at most.
const ANSWERS: usize = 4_096;
const ANSWER_LEN: usize = 1_500;

/// `Ask::…` is the first byte of a request.
pub(crate) mod ask {
    /// Send the datagram back.
    pub(crate) const ECHO: u8 = b'e';
    /// Send back how the path looks, as text.
    pub(crate) const PATH: u8 = b'a';
    /// Byte 1: this many datagrams of 1,000 bytes in one run, the last of 100 bytes.
    pub(crate) const RUN: u8 = b'g';
    /// Bytes 1, 2: put this many (byte 2) envelopes for shard (byte 1), numbered, to be sent on to the asker.
    pub(crate) const ENVELOPES: u8 = b'x';
    /// Byte 1: tell that shard to write to the asker.
    pub(crate) const TELL: u8 = b'm';
    /// Byte 1: send the datagram back so many milliseconds later.
    pub(crate) const LATER: u8 = b't';
    /// Panic.
    pub(crate) const PANIC: u8 = b'p';
    /// Hold the worker's thread until the test lets go of [`super::Probe::gate`].
    pub(crate) const HOLD: u8 = b'h';
    /// Report an event.
    pub(crate) const EVENT: u8 = b'v';
    /// Want the connection that this came on from now on, and send the datagram back.
    pub(crate) const WANT: u8 = b'w';
}

struct Answer {
    transmit: Transmit,
    bytes: [u8; ANSWER_LEN],
}

/// The worker.
pub(crate) struct Probe {
    own: ShardId,
    gate: Arc<Mutex<()>>,
    answers: VecDeque<Answer>,
    run: Option<(Path, u8)>,
    envelopes: Option<(ShardId, u8, u8, u16)>,
    tell: Option<(ShardId, u16)>,
    later: Option<(Time, Path)>,
    proven: Vec<Path>,
    events: VecDeque<Event>,
    on_thread: fn(&[u8]),
}

impl Probe {
    pub(crate) fn new(own: ShardId, gate: Arc<Mutex<()>>, on_thread: fn(&[u8])) -> Self {
        Self {
            own,
            gate,
            answers: VecDeque::with_capacity(ANSWERS),
            run: None,
            envelopes: None,
            tell: None,
            later: None,
            proven: Vec::new(),
            events: VecDeque::with_capacity(16),
            on_thread,
        }
    }

    fn answer(&mut self, path: Path, content: &[u8]) {
        assert!(self.answers.len() < ANSWERS, "tests ask for less than this");
        let mut bytes = [0; ANSWER_LEN];
        bytes[..content.len()].copy_from_slice(content);
        self.answers.push_back(Answer {
            transmit: Transmit {
                path,
                len: content.len(),
                segment_size: None,
            },
            bytes,
        });
    }
}

/// Whether a connection is of no use to the probe until it says [`ask::WANT`]: it comes from 203.0.113.0/24 (RFC 5737) or from
/// 2001:db8::/32 (RFC 3849).
fn is_stranger(path: &Path) -> bool {
    match path.remote.ip() {
        IpAddr::V4(v4) => v4.octets()[..3] == [203, 0, 113],
        IpAddr::V6(v6) => v6.segments()[..2] == [0x2001, 0xdb8],
    }
}

/// Ports stand in for peers in what travels between shards.
fn peer(port: u64) -> Path {
    let port = u16::try_from(port).expect("a track id that stands for a port");
    Path::udp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), None)
}

impl Worker for Probe {
    fn on_command(&mut self, _now: Time, command: Command) {
        let Command::RemoveProducer { track } = command else {
            panic!("tests send only this");
        };
        self.answer(peer(track.0), b"command");
    }

    fn on_datagram(&mut self, now: Time, path: Path, datagram: &mut [u8]) {
        (self.on_thread)(datagram);
        let port = path.remote.port();
        match *datagram {
            [ask::PATH, ..] => {
                let text = format!("{} {:?}", path.remote, path.local);
                self.answer(path, text.as_bytes());
            }
            [ask::RUN, count, ..] => self.run = Some((path, count)),
            [ask::ENVELOPES, to, count, ..] => {
                self.envelopes = Some((ShardId(to), 0, count, port));
            }
            [ask::TELL, to, ..] => self.tell = Some((ShardId(to), port)),
            [ask::LATER, millis, ..] => {
                self.later = Some((now + Duration::from_millis(millis.into()), path));
            }
            [ask::WANT, ..] => {
                self.proven.push(path);
                self.answer(path, datagram);
            }
            [ask::PANIC, ..] => panic!("asked to"),
            [ask::HOLD, ..] => drop(self.gate.lock().unwrap()),
            [ask::EVENT, ..] => self.events.push_back(Event::AudioLevel {
                track: TrackId(port.into()),
                level: 0.5,
                active: true,
            }),
            _ => self.answer(path, datagram),
        }
    }

    fn on_peer(&mut self, _now: Time, from: ShardId, message: PeerMessage) {
        let PeerMessage::Subscribe { track } = message else {
            panic!("probes send only this");
        };
        self.answer(peer(track.0), &[b'm', from.0, self.own.0]);
    }

    fn on_envelope(&mut self, _now: Time, from: ShardId, envelope: &Envelope) {
        assert_ne!(from, self.own);
        self.answer(peer(envelope.track.0), envelope.packet());
    }

    fn poll_transmit(&mut self, _now: Time, out: &mut [u8]) -> Option<Transmit> {
        if let Some((path, count)) = self.run.take() {
            let len = (usize::from(count) - 1) * 1_000 + 100;
            for (index, segment) in out[..len].chunks_mut(1_000).enumerate() {
                segment.fill(index as u8);
            }
            return Some(Transmit {
                path,
                len,
                segment_size: Some(1_000),
            });
        }
        let answer = self.answers.pop_front()?;
        let len = answer.transmit.len;
        out[..len].copy_from_slice(&answer.bytes[..len]);
        Some(answer.transmit)
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_peer(&mut self) -> Option<(ShardId, PeerMessage)> {
        let (to, port) = self.tell.take()?;
        let track = TrackId(port.into());
        Some((to, PeerMessage::Subscribe { track }))
    }

    fn poll_envelope(&mut self, _: Time, out: &mut Envelope) -> Option<ShardId> {
        let (to, next, count, port) = self.envelopes.as_mut()?;
        if next == count {
            self.envelopes = None;
            return None;
        }
        out.track = TrackId((*port).into());
        out.buffer()[0] = *next;
        out.set_len(1);
        *next += 1;
        Some(*to)
    }

    fn on_stream_backlog(&mut self, _: Time, _: Path, _: usize) {}

    fn on_stream_closed(&mut self, _: Time, _: Path) {}

    fn wants_stream(&self, path: &Path) -> bool {
        !is_stranger(path) || self.proven.contains(path)
    }

    fn next_timeout(&self) -> Option<Time> {
        self.later.map(|(at, _)| at)
    }

    fn on_timeout(&mut self, now: Time) {
        let (at, path) = self.later.take().expect("a timer was set");
        assert!(at <= now, "too early");
        self.answer(path, b"later");
    }

    fn counters(&self) -> Counters {
        Counters {
            producers: 7,
            ..Counters::default()
        }
    }
}

/// Starts probes on loopback ports of the kernel's choice.
pub(crate) fn start(shards: u8, gate: Arc<Mutex<()>>) -> Workers {
    let config = WorkersConfig {
        shards,
        ..loopback()
    };
    start_with(&config, gate)
}

/// Starts probes as configured.
pub(crate) fn start_with(config: &WorkersConfig, gate: Arc<Mutex<()>>) -> Workers {
    Workers::start(
        config,
        |shard, _, _| Probe::new(shard, Arc::clone(&gate), |_| {}),
        Box::new(|_, _| {}),
    )
    .expect("loopback ports are free")
}

/// One unpinned shard on 127.0.0.1, with rings of 8 slots.
pub(crate) fn loopback() -> WorkersConfig {
    WorkersConfig {
        bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        pin: false,
        mailbox_slots: 8,
        ..WorkersConfig::default()
    }
}

/// A peer.
pub(crate) struct Client {
    pub(crate) socket: UdpSocket,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self::at("127.0.0.1:0")
    }

    pub(crate) fn at(address: &str) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket }
    }

    pub(crate) fn port(&self) -> u16 {
        self.socket.local_addr().unwrap().port()
    }

    pub(crate) fn send(&self, port: u16, datagram: &[u8]) {
        let to = (Ipv4Addr::LOCALHOST, port);
        self.socket.send_to(datagram, to).unwrap();
    }

    /// The next datagram and who sent it.
    pub(crate) fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 65_536];
        let (len, from) = self
            .socket
            .recv_from(&mut buffer)
            .expect("a datagram in time");
        (buffer[..len].to_vec(), from)
    }

    /// Whether nothing has arrived by now.
    pub(crate) fn is_idle(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let nothing = self.socket.recv_from(&mut [0; 16]);
        self.socket.set_nonblocking(false).unwrap();
        nothing.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Waits until `holds` of what the shard published.
pub(crate) fn wait_for_counters(
    workers: &Workers,
    shard: ShardId,
    holds: impl Fn(&Counters) -> bool,
) -> Counters {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let counters = workers.counters(shard).expect("the shard exists");
        if holds(&counters) {
            return counters;
        }
        assert!(Instant::now() < deadline, "{counters:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
