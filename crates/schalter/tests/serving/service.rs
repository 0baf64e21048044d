//! What a service manager hears on its socket, from a real server.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::server::{PATIENCE, Server, command, folder};

/// Reads messages until one has `line`; answers all lines on the way.
fn until(manager: &UnixDatagram, line: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "no {line} in {lines:?}");
        let mut buffer = [0; 1024];
        let Ok(len) = manager.recv(&mut buffer) else {
            continue;
        };
        let text = String::from_utf8(buffer[..len].to_vec()).unwrap();
        lines.extend(text.lines().map(str::to_owned));
        if lines.iter().any(|told| told == line) {
            return lines;
        }
    }
}

#[test]
fn the_service_manager_hears_of_start_life_reload_and_end() {
    let folder = folder("notify");
    let path = folder.join("notify.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let mut command = command(&folder, &[], "");
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "200000");
    let mut server = Server::start_as(&folder, command);
    let started = until(&manager, "READY=1");
    assert!(
        !started.iter().any(|line| line == "STOPPING=1"),
        "{started:?}"
    );
    // Twice in its time, again and again.
    for _ in 0..3 {
        until(&manager, "WATCHDOG=1");
    }
    server.signal(Signal::HUP);
    let reloaded = until(&manager, "READY=1");
    let at = |begin: &str| reloaded.iter().position(|line| line.starts_with(begin));
    assert!(
        at("RELOADING=1") < at("READY=1") && at("RELOADING=1").is_some(),
        "{reloaded:?}"
    );
    assert!(at("MONOTONIC_USEC=").is_some(), "{reloaded:?}");
    assert_eq!(server.stop(), Some(0));
    until(&manager, "STOPPING=1");
}
