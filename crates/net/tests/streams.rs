//! Connections that carry datagrams, on a worker that echoes.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[expect(dead_code, reason = "the other test files use the rest")]
mod probe;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use probe::{Client, PATIENCE, ask, loopback, wait_for_counters};
use schalter_model::{DropReason, ShardId};
use schalter_net::{AcceptedStream, Framing, Workers, WorkersConfig};

const SHARD: ShardId = ShardId(0);

fn workers() -> Workers {
    probe::start_with(&loopback(), Arc::new(Mutex::new(())))
}

/// A connection of a client, and what a listener accepted of it.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    (client, listener.accept().unwrap().0)
}

fn adopt(workers: &Workers, tcp: TcpStream, framing: Framing, early: &[u8]) {
    let accepted = AcceptedStream {
        remote: tcp.peer_addr().unwrap(),
        local: tcp.local_addr().unwrap(),
        tcp,
        tls: None,
        framing,
        early: early.to_vec(),
    };
    workers.commands().adopt(SHARD, accepted).unwrap();
}

/// A client whose connection a worker owns.
fn joined(workers: &Workers) -> TcpStream {
    let (client, accepted) = connection();
    adopt(workers, accepted, Framing::Rfc4571, &[]);
    client
}

fn framed(datagram: &[u8]) -> Vec<u8> {
    let len = u16::try_from(datagram.len()).unwrap();
    [&len.to_be_bytes()[..], datagram].concat()
}

fn receive(client: &mut impl Read) -> Vec<u8> {
    let mut head = [0; 2];
    client.read_exact(&mut head).expect("a frame in time");
    let mut datagram = vec![0; u16::from_be_bytes(head).into()];
    client.read_exact(&mut datagram).expect("the rest of it");
    datagram
}

/// Whether the other side has ended the connection, or does in time.
fn is_ended(client: &mut TcpStream) -> bool {
    matches!(client.read(&mut [0; 1]), Ok(0))
        || client.take_error().is_ok_and(|error| error.is_some())
}

#[test]
fn datagrams_come_and_go_in_frames_however_they_are_cut() {
    let workers = workers();
    let mut client = joined(&workers);
    let datagrams: Vec<Vec<u8>> = (1..=9)
        .map(|n| [&[ask::ECHO][..], &vec![n; usize::from(n) * 150]].concat())
        .collect();
    let wire: Vec<u8> = datagrams.iter().flat_map(|d| framed(d)).collect();
    for cut in [1, 7, 1_000] {
        for part in wire.chunks(cut).take(400) {
            client.write_all(part).unwrap();
        }
        let rest = &wire[(400 * cut).min(wire.len())..];
        client.write_all(rest).unwrap();
        for datagram in &datagrams {
            assert_eq!(&receive(&mut client), datagram);
        }
    }
}

#[test]
fn what_was_read_before_is_not_lost_and_the_path_is_what_the_proxy_told() {
    let workers = workers();
    let (mut client, accepted) = connection();
    let early = framed(&[ask::PATH]);
    workers
        .commands()
        .adopt(
            SHARD,
            AcceptedStream {
                tcp: accepted,
                tls: None,
                framing: Framing::Rfc4571,
                early: early[..2].to_vec(),
                remote: "[::ffff:192.0.2.7]:9".parse().unwrap(),
                local: "198.51.100.1:443".parse().unwrap(),
            },
        )
        .unwrap();
    client.write_all(&early[2..]).unwrap();
    let told = String::from_utf8(receive(&mut client)).unwrap();
    assert_eq!(told, "192.0.2.7:9 Some(198.51.100.1)");
}

#[test]
fn a_run_comes_as_its_datagrams() {
    let workers = workers();
    let mut client = joined(&workers);
    client.write_all(&framed(&[ask::RUN, 60])).unwrap();
    for index in 0..60 {
        let len = if index == 59 { 100 } else { 1_000 };
        assert_eq!(receive(&mut client), vec![index; len]);
    }
}

#[test]
fn turn_messages_keep_their_bounds_without_a_length_before_them() {
    let workers = workers();
    let (mut client, accepted) = connection();
    adopt(&workers, accepted, Framing::Turn, &[]);
    let channel_data = [0x40, 0, 0, 5, b'h', b'e', b'l', b'l', b'o'];
    client.write_all(&channel_data).unwrap();
    client.write_all(&[0; 3]).unwrap();
    client.write_all(&channel_data).unwrap();
    client.write_all(&[0; 3]).unwrap();
    let mut echoed = [0; 24];
    client.read_exact(&mut echoed).unwrap();
    let padded = [&channel_data[..], &[0; 3]].concat();
    assert_eq!(echoed.as_chunks::<12>().0, [&padded[..], &padded[..]]);
}

#[test]
fn garbage_ends_a_connection_and_is_counted_and_so_is_silence_without_use() {
    let workers = workers();
    let mut hostile = joined(&workers);
    hostile.write_all(&[0xFF; 100]).unwrap();
    assert!(is_ended(&mut hostile));
    let mut neighbour = joined(&workers);
    neighbour.write_all(&framed(b"egood")).unwrap();
    assert_eq!(receive(&mut neighbour), b"egood");
    let counted = wait_for_counters(&workers, SHARD, |counters| counters.streams == 1);
    assert_eq!(counted.drops.of(DropReason::StreamMalformed), 1);
    assert_eq!(counted.streams_adopted, 2);
}

#[test]
fn a_connection_ends_when_the_client_ends_it() {
    let workers = workers();
    let client = joined(&workers);
    wait_for_counters(&workers, SHARD, |counters| counters.streams == 1);
    client.shutdown(Shutdown::Write).unwrap();
    wait_for_counters(&workers, SHARD, |counters| counters.streams == 0);
    let gone = joined(&workers);
    // Without lingering, closing sends a reset.
    socket2::SockRef::from(&gone)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(gone);
    wait_for_counters(&workers, SHARD, |counters| {
        counters.streams == 0 && counters.streams_adopted == 2
    });
}

#[test]
fn a_client_that_does_not_read_delays_nobody_and_what_waits_for_it_is_bounded() {
    let workers = workers();
    let mut stuck = joined(&workers);
    // Small, so that the kernel's part does not hide ours.
    socket2::SockRef::from(&stuck)
        .set_recv_buffer_size(4_096)
        .unwrap();
    // Each asks for 60 kB; nobody reads any of it.
    for _ in 0..200 {
        stuck.write_all(&framed(&[ask::RUN, 60])).unwrap();
    }
    let udp = Client::new();
    let port = workers.local_ports()[0];
    let mut neighbour = joined(&workers);
    let began = Instant::now();
    for _ in 0..50 {
        udp.send(port, b"eudp");
        assert_eq!(udp.receive().0, b"eudp");
        neighbour.write_all(&framed(b"etcp")).unwrap();
        assert_eq!(receive(&mut neighbour), b"etcp");
    }
    let took = began.elapsed();
    assert!(took < Duration::from_millis(500), "{took:?} for 100 echoes");
    let counted = wait_for_counters(&workers, SHARD, |counters| {
        counters.drops.of(DropReason::EgressFull) > 0
    });
    assert_eq!(counted.drops.of(DropReason::SendFailed), 0);
    // What came through is whole: frames were left out, never cut.
    let mut received = 0;
    while received < 60 {
        let datagram = receive(&mut stuck);
        assert!(matches!(datagram.len(), 1_000 | 100), "{}", datagram.len());
        received += 1;
    }
}

/// A client that is told to come from `remote`, and of which nothing is known.
fn stranger(workers: &Workers, remote: &str) -> TcpStream {
    let (client, accepted) = connection();
    let accepted = AcceptedStream {
        local: accepted.local_addr().unwrap(),
        tcp: accepted,
        tls: None,
        framing: Framing::Rfc4571,
        early: Vec::new(),
        remote: remote.parse().unwrap(),
    };
    workers.commands().adopt(SHARD, accepted).unwrap();
    client
}

/// Whether a connection is served: what it says comes back.
fn is_served(client: &mut TcpStream, datagram: &[u8]) -> bool {
    client.write_all(&framed(datagram)).is_ok() && receive(client) == datagram
}

#[test]
fn an_address_has_so_many_connections_that_proved_nothing_and_with_one_more_the_oldest_ends() {
    let config = WorkersConfig {
        unproven_streams_per_address: 3,
        ..loopback()
    };
    let workers = probe::start_with(&config, Arc::new(Mutex::new(())));
    // As many as the limit: all are read from.
    let mut silent: Vec<_> = (1..=3)
        .map(|port| stranger(&workers, &format!("203.0.113.7:{port}")))
        .collect();
    for client in &mut silent {
        assert!(is_served(client, &[ask::ECHO, 1]));
    }
    // Somebody else, of either kind, is not concerned.
    let mut other = stranger(&workers, "203.0.113.8:1");
    let mut six = stranger(&workers, "[2001:db8::7]:1");
    // One more: the oldest ends, and no other.
    let mut more = stranger(&workers, "203.0.113.7:4");
    assert!(is_ended(&mut silent[0]));
    for client in [&mut other, &mut six, &mut more] {
        assert!(is_served(client, &[ask::ECHO, 2]));
    }
    for client in &mut silent[1..] {
        assert!(is_served(client, &[ask::ECHO, 3]));
    }
    wait_for_counters(&workers, SHARD, |c| {
        c.drops.of(DropReason::StreamUnproven) == 1 && c.streams == 5
    });
    // Who proves itself is not counted any more, and is never the one that ends.
    assert!(is_served(&mut silent[1], &[ask::WANT]));
    let mut room = stranger(&workers, "203.0.113.7:5");
    assert!(is_served(&mut room, &[ask::ECHO, 4]));
    assert!(is_served(&mut silent[2], &[ask::ECHO, 5]), "there was room");
    let _last = stranger(&workers, "203.0.113.7:6");
    assert!(is_ended(&mut silent[2]), "it is the oldest now");
    assert!(is_served(&mut silent[1], &[ask::ECHO, 6]));
    // A network of IPv6 is one, whatever addresses it shows.
    let _others = [2, 3].map(|n| stranger(&workers, &format!("[2001:db8::{n}]:1")));
    let _one_more = stranger(&workers, "[2001:db8::4]:1");
    assert!(is_ended(&mut six));
}
