//! In steady state the loop moves packets without a single allocation.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[expect(dead_code, reason = "the other test file uses the rest")]
mod probe;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};

use probe::{Client, PATIENCE, Probe, ask, loopback};
use schalter_model::ShardId;
use schalter_net::{AcceptedStream, Framing, Workers, WorkersConfig};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

/// Counts on threads that asked to be watched.
struct Counting;

fn note() {
    if WATCHED.try_with(Cell::get).unwrap_or(false) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

#[expect(unsafe_code, reason = "an allocator can't be written without")]
// SAFETY: every call goes to the system's allocator with the arguments that came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as our caller guarantees.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as our caller guarantees, and `pointer` came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: as our caller guarantees, and `pointer` came from the system's allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Byte 1 of an echo says whether the worker's thread is watched from now on.
fn watch(datagram: &[u8]) {
    if let [ask::ECHO, watched, ..] = datagram {
        WATCHED.set(*watched == 1);
    }
}

fn exchange(client: &Client, ports: &[u16], watched: u8) {
    let datagram = [&[ask::ECHO, watched][..], &[0; 1_100]].concat();
    for port in ports {
        for _ in 0..16 {
            client.send(*port, &datagram);
        }
        for _ in 0..16 {
            assert_eq!(client.receive().0.len(), datagram.len());
        }
    }
    for (from, to) in [(0, 1), (1, 0)] {
        client.send(ports[from], &[ask::ENVELOPES, to, 8]);
        for number in 0..8 {
            assert_eq!(client.receive().0, [number]);
        }
        client.send(ports[from], &[ask::RUN, 6]);
        for _ in 0..6 {
            client.receive();
        }
    }
}

/// A connection that shard 0 owns.
fn connect(workers: &Workers) -> TcpStream {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let (tcp, remote) = listener.accept().unwrap();
    let accepted = AcceptedStream {
        local: tcp.local_addr().unwrap(),
        tcp,
        tls: None,
        framing: Framing::Rfc4571,
        early: Vec::new(),
        remote,
    };
    workers.commands().adopt(ShardId(0), accepted).unwrap();
    client
}

fn exchange_by_tcp(client: &mut TcpStream, watched: u8) {
    let datagram = [&[ask::ECHO, watched][..], &[0; 1_100]].concat();
    let frame = [&(datagram.len() as u16).to_be_bytes()[..], &datagram].concat();
    for _ in 0..16 {
        // In two pieces, so that one has to be kept.
        client.write_all(&frame[..700]).unwrap();
        client.write_all(&frame[700..]).unwrap();
    }
    client.read_exact(&mut vec![0; 16 * frame.len()]).unwrap();
}

#[test]
fn packets_and_envelopes_move_without_allocations() {
    let config = WorkersConfig {
        shards: 2,
        ..loopback()
    };
    let workers = Workers::start(
        &config,
        |shard, _, _| Probe::new(shard, Default::default(), watch),
        Box::new(|_, _| {}),
    )
    .unwrap();
    let client = Client::new();
    let mut tcp = connect(&workers);
    exchange_by_tcp(&mut tcp, 0);
    exchange(&client, workers.local_ports(), 0);
    exchange(&client, workers.local_ports(), 1);
    // Longer than a second, so that counters are published, too.
    let end = std::time::Instant::now() + std::time::Duration::from_millis(1_500);
    let mut rounds = 0;
    while std::time::Instant::now() < end {
        exchange(&client, workers.local_ports(), 1);
        exchange_by_tcp(&mut tcp, 1);
        rounds += 1;
    }
    let counted = ALLOCATIONS.load(Ordering::Relaxed);
    assert_eq!(
        counted, 0,
        "in {rounds} rounds of 76 packets by UDP and 32 by TCP"
    );

    // The counter counts: a path's text is an allocation.
    client.send(workers.local_ports()[0], &[ask::PATH]);
    client.receive();
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > 0);
}
