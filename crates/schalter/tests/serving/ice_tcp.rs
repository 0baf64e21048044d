//! The port of ICE-TCP: whom it lets in, and that nobody else holds a place for long.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use crate::server::{PATIENCE, Server, folder};

/// A server with that port.
fn server(name: &str) -> (Server, u16) {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port();
    let rtc =
        format!("rtc: {{udp_port: 0, tcp_port: {port}, node_ip: 127.0.0.1, pin_workers: false}}\n");
    (Server::start_in(&folder(name), &[], &rtc), port)
}

fn connect(port: u16) -> TcpStream {
    let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp
}

/// Whether the server ended the connection.
fn is_ended(mut tcp: &TcpStream) -> bool {
    match tcp.read(&mut [0; 64]) {
        Ok(len) => len == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// A connectivity check for `user`, framed. Its integrity is nobody's.
fn check(user: &str) -> Vec<u8> {
    let padded = user.len().next_multiple_of(4);
    let mut message = vec![0, 1];
    message.extend((4 + padded as u16).to_be_bytes());
    message.extend([0x21, 0x12, 0xA4, 0x42]);
    message.extend([7; 12]);
    message.extend([0, 6]);
    message.extend((user.len() as u16).to_be_bytes());
    message.extend(user.as_bytes());
    message.resize(20 + 4 + padded, 0);
    [&(message.len() as u16).to_be_bytes()[..], &message].concat()
}

#[tokio::test]
async fn only_a_check_for_a_transport_of_this_server_is_handed_on() {
    let (server, port) = server("ice-tcp-strangers");
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0xFF; 64],
        // A shard that does not exist, another node, and nobody's user name.
        check("17f0000AAAAAAAAA:peer"),
        check("1000001AAAAAAAAA:peer"),
        check("somebody:peer"),
    ] {
        let mut tcp = connect(port);
        tcp.write_all(&bytes).unwrap();
        assert!(is_ended(&tcp), "{bytes:?}");
    }
    let closed = |reason| format!("schalter_connections_closed_total{{reason=\"{reason}\"}}");
    assert_eq!(server.metric(&closed("unknown_protocol")).await, 2.0);
    assert_eq!(server.metric(&closed("ice_unknown")).await, 2.0);
    assert_eq!(server.metric("schalter_half_open_connections").await, 0.0);
}

#[tokio::test]
async fn a_connection_that_proves_nothing_is_ended_by_the_worker_too() {
    let (_server, port) = server("ice-tcp-unproven");
    let mut tcp = connect(port);
    tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    tcp.write_all(&check("1000000AAAAAAAAA:peer")).unwrap();
    assert!(is_ended(&tcp), "nothing authentic ever came");
}
