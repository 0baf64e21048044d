//! Question: what does a 1,200-byte packet cost at least on this machine, sealed and sent over loopback?
//!
//! Measures sending one datagram a call (`sendto`, and 32 a call by `sendmmsg`), the worker's own way out with runs of
//! 1, 5, 16 and 32 datagrams, and AES-128-GCM, all in turns in one process, in CPU time of the sending thread. The
//! floor that the media plane is compared with is "seal + run of 5". Run it with `--release`.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use quinn_udp::{RecvMeta, UdpSocketState};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::addr::SocketAddrArg;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, Timespec, clock_gettime};
use schalter_model::{Counters, Path, ShardId, Time};
use schalter_net::{Transmit, Worker, Workers, WorkersConfig};
use schalter_shard::control::{Command, Event};
use schalter_shard::peer::{Envelope, PeerMessage};

const PACKET: usize = 1_200;
/// Packets of one measurement; divisible by every run length.
const PACKETS: usize = 32_000;
/// Measurements of each kind; the median counts.
const ROUNDS: usize = 9;
const RUNS: [usize; 4] = [1, 5, 16, 32];
const BATCH: usize = 32;

/// CPU time of the calling thread in nanoseconds.
fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64
}

/// Sends [`PACKETS`] packets in runs of each length in turn, over and over, and reports what each turn cost.
struct Sender {
    path: Path,
    turn: usize,
    left: usize,
    began: u64,
    results: mpsc::Sender<(usize, u64)>,
}

impl Worker for Sender {
    fn on_command(&mut self, _: Time, _: Command) {}
    fn on_datagram(&mut self, _: Time, _: Path, _: &mut [u8]) {}
    fn on_peer(&mut self, _: Time, _: ShardId, _: PeerMessage) {}
    fn on_envelope(&mut self, _: Time, _: ShardId, _: &Envelope) {}

    fn poll_transmit(&mut self, _: Time, _: &mut [u8]) -> Option<Transmit> {
        if self.left == 0 {
            if self.began > 0 {
                let spent = cpu_nanos() - self.began;
                // Fails when the measurement is over and nobody listens.
                let _ = self.results.send((self.turn % RUNS.len(), spent));
                self.turn += 1;
            }
            if self.turn == RUNS.len() * ROUNDS {
                self.began = 0;
                return None;
            }
            self.left = PACKETS;
            self.began = cpu_nanos();
        }
        let run = RUNS[self.turn % RUNS.len()];
        self.left -= run;
        Some(Transmit {
            path: self.path,
            len: run * PACKET,
            segment_size: (run > 1).then_some(PACKET),
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
    fn on_stream_backlog(&mut self, _: Time, _: Path, _: usize) {}
    fn on_stream_closed(&mut self, _: Time, _: Path) {}
    fn wants_stream(&self, _: &Path) -> bool {
        false
    }
    fn next_timeout(&self) -> Option<Time> {
        None
    }
    fn on_timeout(&mut self, _: Time) {}
    fn counters(&self) -> Counters {
        Counters::default()
    }
}

/// Takes everything off a socket, on another core where there is one.
struct Sink {
    address: SocketAddr,
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<()>>,
}

impl Sink {
    fn start(core: usize) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        // As much as the system grants; what arrives beyond it is lost and shown.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 32 << 20);
        let address = socket.local_addr()?;
        let received = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (count, stopped) = (Arc::clone(&received), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            pin(core)?;
            let state = UdpSocketState::new((&socket).into())?;
            let mut memory = vec![0; BATCH << 16];
            let mut meta = [RecvMeta::default(); BATCH];
            let pause = Timespec {
                tv_sec: 0,
                tv_nsec: 10_000_000,
            };
            while !stopped.load(Ordering::Relaxed) {
                let mut fds = [PollFd::new(&socket, PollFlags::IN)];
                if poll(&mut fds, Some(&pause))? == 0 {
                    continue;
                }
                let mut buffers: Vec<_> = memory.chunks_mut(1 << 16).map(IoSliceMut::new).collect();
                if let Ok(n) = state.recv((&socket).into(), &mut buffers, &mut meta) {
                    let bytes: usize = meta[..n].iter().map(|m| m.len).sum();
                    count.fetch_add((bytes / PACKET) as u64, Ordering::Relaxed);
                }
            }
            Ok(())
        });
        Ok(Self {
            address,
            received,
            stop,
            thread,
        })
    }

    fn finish(self) -> io::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the sink does not panic")?;
        Ok(self.received.load(Ordering::Relaxed))
    }
}

fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

fn per_packet(mut spent: Vec<u64>) -> u64 {
    spent.sort_unstable();
    spent[spent.len() / 2] / PACKETS as u64
}

fn measured(mut work: impl FnMut() -> io::Result<()>) -> io::Result<u64> {
    let mut spent = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let began = cpu_nanos();
        work()?;
        spent.push(cpu_nanos() - began);
    }
    Ok(per_packet(spent))
}

fn send_one_by_one(to: SocketAddr) -> io::Result<u64> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let packet = [0; PACKET];
    measured(|| (0..PACKETS).try_for_each(|_| socket.send_to(&packet, to).map(drop)))
}

fn send_many(to: SocketAddr) -> io::Result<u64> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let packet = [0; PACKET];
    let slices = [IoSlice::new(&packet)];
    let to = to.as_any();
    measured(|| {
        for _ in 0..PACKETS / BATCH {
            let mut controls: [SendAncillaryBuffer<'_, '_, '_>; BATCH] =
                std::array::from_fn(|_| SendAncillaryBuffer::default());
            let mut controls = controls.iter_mut();
            let mut messages: [MMsgHdr<'_>; BATCH] = std::array::from_fn(|_| {
                let control = controls.next().expect("one for each message");
                MMsgHdr::new_with_addr(&to, &slices, control)
            });
            sendmmsg(&socket, &mut messages, SendFlags::empty())?;
        }
        Ok(())
    })
}

fn seal() -> io::Result<u64> {
    let failed = |_| io::Error::other("AES-128-GCM failed");
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).map_err(failed)?);
    let mut packet = [0; PACKET - 12 - 16];
    let mut number = 0u64;
    measured(|| {
        for _ in 0..PACKETS {
            let mut nonce = [0; 12];
            nonce[..8].copy_from_slice(&number.to_be_bytes());
            number += 1;
            let nonce = Nonce::assume_unique_for_key(nonce);
            let header = Aad::from([0; 12]);
            let tag = key
                .seal_in_place_separate_tag(nonce, header, &mut packet)
                .map_err(failed)?;
            let _ = std::hint::black_box(tag);
        }
        Ok(())
    })
}

fn main() -> io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let cores: Vec<_> = (0..CpuSet::MAX_CPU)
        .filter(|c| allowed.is_set(*c))
        .collect();
    let sink = Sink::start(cores[cores.len() - 1])?;
    // The worker inherits this.
    pin(cores[0])?;

    let load = || std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load_before = load();
    let (results, turns) = mpsc::channel();
    let path = Path::udp(sink.address, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let config = WorkersConfig {
        bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        pin: false,
        ..WorkersConfig::default()
    };
    let make = |_, _, _| Sender {
        path,
        turn: 0,
        left: 0,
        began: 0,
        results: results.clone(),
    };
    let workers = Workers::start(&config, make, Box::new(|_, _| {})).map_err(io::Error::other)?;
    let mut spent: [Vec<u64>; RUNS.len()] = Default::default();
    for (turn, nanos) in turns.iter().take(RUNS.len() * ROUNDS) {
        spent[turn].push(nanos);
    }
    workers.shutdown().map_err(io::Error::other)?;
    let runs = spent.map(per_packet);
    let (single, many) = (send_one_by_one(sink.address)?, send_many(sink.address)?);
    let seal = seal()?;
    let sent = (PACKETS * ROUNDS * (RUNS.len() + 2)) as u64;
    let arrived = sink.finish()?;

    let mut out = io::stdout().lock();
    writeln!(
        out,
        "ns of CPU per {PACKET}-byte packet, median of {ROUNDS}:"
    )?;
    writeln!(out, "  AES-128-GCM seal        {seal:>6}")?;
    writeln!(out, "  sendto                  {single:>6}")?;
    writeln!(out, "  sendmmsg, 32 a call     {many:>6}")?;
    for (run, nanos) in RUNS.iter().zip(runs) {
        writeln!(out, "  worker, runs of {run:<2}      {nanos:>6}")?;
    }
    writeln!(out, "  floor: seal + run of 5  {:>6}", seal + runs[1])?;
    writeln!(out, "arrived {arrived} of {sent}")?;
    writeln!(out, "load before: {}", load_before.trim())?;
    writeln!(out, "load after:  {}", load().trim())
}
