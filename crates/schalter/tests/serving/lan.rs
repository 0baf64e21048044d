//! `--lan`: every address that is printed can be connected to.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::server::{Server, folder};

#[test]
fn every_printed_address_answers() {
    let server = Server::start_in(
        &folder("lan"),
        &["--lan"],
        "rtc:\n  udp_port: 0\n  pin_workers: false\n",
    );
    let addresses: Vec<SocketAddr> = server
        .ready
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("https://")?.parse().ok())
        .collect();
    assert!(!addresses.is_empty(), "{}", server.ready);
    // The machine's own addresses: nothing leaves it.
    for address in addresses {
        TcpStream::connect_timeout(&address, Duration::from_secs(5))
            .unwrap_or_else(|error| panic!("{address}: {error}"));
    }
}
