//! Connections with TLS on them: the worker decrypts and encrypts, whatever comes in one record or in several.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[expect(dead_code, reason = "the other test files use the rest")]
mod probe;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use probe::{PATIENCE, ask, loopback, wait_for_counters};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use schalter_model::{DropReason, ShardId};
use schalter_net::{AcceptedStream, Framing, Workers};

const SHARD: ShardId = ShardId(0);

fn workers() -> Workers {
    probe::start_with(&loopback(), Arc::new(Mutex::new(())))
}

/// Both ends of TLS, before the handshake.
fn ends() -> (ClientConnection, ServerConnection) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    (
        ClientConnection::new(Arc::new(client), name).unwrap(),
        ServerConnection::new(Arc::new(server)).unwrap(),
    )
}

/// A client of a worker, whose handshake `ahead` bytes of a frame follow at once.
fn joined(workers: &Workers, ahead: &[u8]) -> rustls::StreamOwned<ClientConnection, TcpStream> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut accepted, remote) = listener.accept().unwrap();
    let (client, mut server) = ends();
    let ahead = ahead.to_vec();
    let connecting = std::thread::spawn(move || {
        let mut client = rustls::StreamOwned::new(client, tcp);
        client.write_all(&ahead).unwrap();
        client.flush().unwrap();
        client
    });
    while server.is_handshaking() {
        server.complete_io(&mut accepted).unwrap();
    }
    let stream = AcceptedStream {
        local: accepted.local_addr().unwrap(),
        tcp: accepted,
        tls: Some(Box::new(server)),
        framing: Framing::Rfc4571,
        early: Vec::new(),
        remote,
    };
    workers.commands().adopt(SHARD, stream).unwrap();
    connecting.join().unwrap()
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

#[test]
fn datagrams_come_and_go_in_records_whatever_one_record_holds() {
    let workers = workers();
    let datagrams: Vec<Vec<u8>> = (1..=9)
        .map(|n| [&[ask::ECHO][..], &vec![n; usize::from(n) * 150]].concat())
        .collect();
    let wire: Vec<u8> = datagrams.iter().flat_map(|d| framed(d)).collect();
    // Some of it comes with the handshake: TLS may hold it decrypted when the worker takes over.
    let mut client = joined(&workers, &wire[..1_000]);
    client.write_all(&wire[1_000..]).unwrap();
    for datagram in &datagrams {
        assert_eq!(&receive(&mut client), datagram);
    }
    for part in wire.chunks(97) {
        client.write_all(part).unwrap();
        client.flush().unwrap();
    }
    for datagram in &datagrams {
        assert_eq!(&receive(&mut client), datagram);
    }
}

#[test]
fn a_run_comes_as_its_datagrams_and_a_slow_reader_gets_whole_ones() {
    let workers = workers();
    let mut client = joined(&workers, &framed(&[ask::RUN, 60]));
    for index in 0..60 {
        let len = if index == 59 { 100 } else { 1_000 };
        assert_eq!(receive(&mut client), vec![index; len]);
    }
    // 60 kB each, and nobody reads until all were asked for.
    for _ in 0..200 {
        client.write_all(&framed(&[ask::RUN, 60])).unwrap();
    }
    wait_for_counters(&workers, SHARD, |counters| {
        counters.drops.of(DropReason::EgressFull) > 0
    });
    for _ in 0..100 {
        let datagram = receive(&mut client);
        assert!(matches!(datagram.len(), 1_000 | 100), "{}", datagram.len());
    }
}

#[test]
fn a_good_bye_ends_a_connection_and_so_does_what_is_no_tls() {
    let workers = workers();
    let mut polite = joined(&workers, &framed(b"ehello"));
    assert_eq!(receive(&mut polite), b"ehello");
    polite.conn.send_close_notify();
    polite.flush().unwrap();
    wait_for_counters(&workers, SHARD, |counters| counters.streams == 0);
    // Ours comes, too, and then the end.
    assert_eq!(polite.read(&mut [0; 1]).unwrap(), 0);
    let mut hostile = joined(&workers, &framed(b"ehello"));
    assert_eq!(receive(&mut hostile), b"ehello");
    hostile.sock.write_all(&[23, 3, 3, 0, 32]).unwrap();
    hostile.sock.write_all(&[0; 32]).unwrap();
    let counted = wait_for_counters(&workers, SHARD, |counters| {
        counters.streams_adopted == 2 && counters.streams == 0
    });
    assert_eq!(counted.drops.of(DropReason::StreamMalformed), 1);
}
