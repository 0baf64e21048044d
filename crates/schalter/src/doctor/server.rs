//! From the server's side: what its configuration needs of this machine.

use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::net::sockopt;
use rustix::process::{Resource, getrlimit};
use schalter_net::WorkersConfig;

use super::report::Report;
use crate::Failure;
use crate::addresses::media_addresses;
use crate::config::{AdminListen, Config};
use crate::files::OTHER_FILES;
use crate::state::StateDir;

/// Every check of this side. `path` is the file that `config` is of.
pub(crate) fn examine(path: Option<&Path>, config: &Config, report: &mut Report) {
    keys(path, config, report);
    state(config, report);
    addresses(config, report);
    let running = is_running(&config.admin.listen);
    ports(config, running, report);
    files(config, report);
    buffers(report);
    clock(report);
}

fn keys(path: Option<&Path>, config: &Config, report: &mut Report) {
    if config.keys.is_empty() {
        report.warning(
            "keys",
            "no API keys: a development key is generated",
            "For real use, name keys in the configuration; `openssl rand -base64 36` makes a secret.",
        );
    }
    for (name, key) in &config.keys {
        if key.secret.is_guessable() {
            report.warning(
                "keys",
                format!("the secret of {name} looks like words or repeats itself"),
                "Whoever guesses it makes tokens for every room. Let `openssl rand -base64 36` make one, and rotate (docs/configuration.md).",
            );
        } else {
            report.ok("keys", format!("the secret of {name} looks random"));
        }
    }
    if let Some(path) = path {
        readable(path, report);
    }
}

/// A file that everybody on the machine can read is no place for secrets.
fn readable(path: &Path, report: &mut Report) {
    let mode = std::fs::metadata(path).map_or(0, |found| found.permissions().mode());
    if mode & 0o007 == 0 {
        report.ok(
            "config.mode",
            format!("{} is not for everybody", path.display()),
        );
    } else {
        report.warning(
            "config.mode",
            format!(
                "everybody on this machine can read {} (mode {:o})",
                path.display(),
                mode & 0o777
            ),
            format!(
                "chgrp schalter {0}; chmod 640 {0}. Secrets in it may have been read.",
                path.display()
            ),
        );
    }
}

fn state(config: &Config, report: &mut Report) {
    let opened = StateDir::open(config.state_dir.as_deref());
    let tried = opened.and_then(|state| {
        let path = state.path_of("doctor-probe");
        write_and_remove(&path)
            .map_err(|error| Failure::setup(format!("{}: {error}", path.display())))?;
        Ok(path)
    });
    match tried {
        Ok(path) => {
            let folder = path.parent().unwrap_or(Path::new("")).to_owned();
            let mode = std::fs::metadata(&folder).map_or(0, |found| found.permissions().mode());
            if mode & 0o077 == 0 {
                report.ok("state_dir", format!("{} can be written to", folder.display()));
            } else {
                report.warning(
                    "state_dir",
                    format!("others on this machine get into {} (mode {:o})", folder.display(), mode & 0o777),
                    format!("chmod 700 {}", folder.display()),
                );
            }
        }
        Err(Failure::Setup(what) | Failure::Running(what)) => report.error(
            "state_dir",
            what,
            "Withdrawn tokens, generated keys and waiting webhooks are kept there. Set state_dir to a folder of the user that the server runs as (StateDirectory= in the unit \
             makes one), and run the doctor as that user.",
        ),
    }
}

fn write_and_remove(path: &PathBuf) -> io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    file.write_all(b"probe")?;
    file.sync_all()?;
    std::fs::remove_file(path)
}

fn addresses(config: &Config, report: &mut Report) {
    match media_addresses(&config.rtc) {
        Err(Failure::Setup(what) | Failure::Running(what)) => {
            report.error(
                "addresses",
                what,
                "Set rtc.node_ip or rtc.addresses to addresses that there are.",
            );
        }
        Ok(found) => {
            let list = |ips: &[IpAddr]| {
                let texts: Vec<String> = ips.iter().map(IpAddr::to_string).collect();
                texts.join(", ")
            };
            let told = format!("clients are told {}", list(&found.advertised));
            if found.advertised.iter().all(|ip| !is_public(*ip)) {
                report.warning(
                    "addresses",
                    format!("{told}, which nobody outside this network can reach"),
                    "For clients on the Internet set rtc.node_ip to the public address, or rtc.addresses to `inner: outer` for each. In a closed network this is right.",
                );
            } else {
                report.ok("addresses", told);
            }
        }
    }
}

/// Whether it may be reached from the Internet (RFC 1918, 4193, 6598).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xC0 == 64;
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || shared)
        }
        IpAddr::V6(v6) => !(v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local()),
    }
}

/// Whether a server answers on the admin listener, which then holds the ports.
fn is_running(listen: &AdminListen) -> bool {
    match listen {
        AdminListen::Tcp(address) => {
            TcpStream::connect_timeout(address, Duration::from_secs(1)).is_ok()
        }
        AdminListen::Unix(path) => UnixStream::connect(path).is_ok(),
    }
}

fn ports(config: &Config, running: bool, report: &mut Report) {
    tcp("port", config.port, &config.bind_addresses, running, report);
    if let Some(tls) = &config.tls {
        let addresses = if tls.bind_addresses.is_empty() {
            &config.bind_addresses
        } else {
            &tls.bind_addresses
        };
        let http = config.acme().and_then(|acme| acme.http_port);
        for (key, number) in [("tls.port", tls.port), ("tls.acme.http_port", http)] {
            if let Some(number) = number {
                tcp(key, number, addresses, running, report);
            }
        }
    }
    let Ok(media) = media_addresses(&config.rtc) else {
        return;
    };
    for (key, number) in [
        ("rtc.tcp_port", config.rtc.tcp_port()),
        (
            "turn.tcp_port",
            config.turn.tcp_port.filter(|_| config.turn.enabled),
        ),
    ] {
        let Some(number) = number else { continue };
        tcp(key, number, &media.bind, running, report);
    }
    for (key, first) in [
        ("rtc.udp_port", Some(config.rtc.udp_port)),
        ("turn.udp_port", config.turn.udp_port()),
    ] {
        let Some(first) = first else { continue };
        if first == 0 {
            report.skipped("port.udp", format!("the system chooses ({key}: 0)"));
            continue;
        }
        for ip in &media.bind {
            for shard in 0..u16::from(config.rtc.workers) {
                let address = SocketAddr::new(*ip, first + shard);
                let tried = UdpSocket::bind(address).map(|_| ());
                port("port.udp", key, address, tried, running, report);
            }
        }
    }
}

/// One port of TCP on several addresses.
fn tcp(key: &str, number: u16, addresses: &[IpAddr], running: bool, report: &mut Report) {
    if number == 0 {
        report.skipped("port.tcp", format!("the system chooses ({key}: 0)"));
        return;
    }
    for ip in addresses {
        let address = SocketAddr::new(*ip, number);
        let tried = TcpListener::bind(address).map(|_| ());
        port("port.tcp", key, address, tried, running, report);
    }
}

fn port(
    check: &'static str,
    key: &str,
    address: SocketAddr,
    tried: io::Result<()>,
    running: bool,
    report: &mut Report,
) {
    match tried {
        Ok(()) if running => report.warning(
            check,
            format!("{address} ({key}) is free though a server runs"),
            "The server that runs has another configuration, or waits for a restart.",
        ),
        Ok(()) => report.ok(check, format!("{address} ({key}) is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse && running => {
            report.ok(check, format!("{address} ({key}) is in use, and a server runs"));
        }
        Err(error) if error.kind() == ErrorKind::AddrInUse => report.error(
            check,
            format!("{address} ({key}) is in use by another program"),
            format!("Find it (ss -tulpn | grep :{}), and stop it or choose another port.", address.port()),
        ),
        Err(error) if error.kind() == ErrorKind::PermissionDenied && running => {
            report.skipped(check, format!("{address} ({key}) is for privileged programs only; ask as the server's user"));
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => report.warning(
            check,
            format!("{address} ({key}) is for privileged programs only"),
            "The unit in deploy/systemd gives the server CAP_NET_BIND_SERVICE; if it has that, nothing is to be done.",
        ),
        Err(error) => report.error(
            check,
            format!("{address} ({key}) can't be opened: {error}"),
            "Compare bind_addresses, rtc.node_ip and rtc.addresses with the addresses of this machine (ip address).",
        ),
    }
}

fn files(config: &Config, report: &mut Report) {
    let needed = u64::from(config.limits.connections) + OTHER_FILES;
    match getrlimit(Resource::Nofile).maximum {
        Some(allowed) if allowed < needed => report.warning(
            "files",
            format!("{allowed} open files are allowed here; limits.connections needs {needed}"),
            "Set LimitNOFILE= in the unit (the one in deploy/systemd does), or ulimit -n. This is about who runs the doctor; the server may have another limit.",
        ),
        Some(allowed) => report.ok("files", format!("{allowed} open files are allowed")),
        None => report.ok("files", "any number of open files is allowed"),
    }
}

fn buffers(report: &mut Report) {
    let wanted = WorkersConfig::default();
    let given = UdpSocket::bind("127.0.0.1:0").and_then(|socket| {
        // Without privilege, as the server: with it the system's bound does not count.
        sockopt::set_socket_recv_buffer_size(&socket, wanted.receive_buffer)?;
        sockopt::set_socket_send_buffer_size(&socket, wanted.send_buffer)?;
        // The kernel doubles what it gives, for its own bookkeeping (socket(7)).
        Ok((
            sockopt::socket_recv_buffer_size(&socket)? / 2,
            sockopt::socket_send_buffer_size(&socket)? / 2,
        ))
    });
    match given {
        Err(error) => report.skipped("buffers", format!("no socket to look at: {error}")),
        Ok((receive, send)) if receive < wanted.receive_buffer || send < wanted.send_buffer => report.warning(
            "buffers",
            format!(
                "sockets get {} KiB to receive and {} KiB to send, of {} KiB",
                receive >> 10,
                send >> 10,
                wanted.receive_buffer >> 10
            ),
            "Bursts would be lost. Put deploy/systemd/60-schalter.conf into /etc/sysctl.d and run sysctl --system.",
        ),
        Ok(_) => report.ok("buffers", format!("sockets get {} KiB", wanted.receive_buffer >> 10)),
    }
}

/// Asks systemd, which knows of chrony and ntpd, too.
fn clock(report: &mut Report) {
    let asked = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .output();
    let said = asked.ok().filter(|output| output.status.success());
    match said.as_ref().map(|output| output.stdout.trim_ascii()) {
        Some(b"yes") => report.ok("clock", "set by NTP"),
        Some(b"no") => report.warning(
            "clock",
            "not set by NTP",
            "Install systemd-timesyncd or chrony: tokens and certificates are good for their time only.",
        ),
        Some(_) | None => report.skipped("clock", "nobody here knows whether NTP sets the clock (timedatectl)"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Severity;
    use super::*;

    fn worst(report: &Report, check: &str) -> Option<Severity> {
        let of = report.findings().iter().filter(|f| f.check == check);
        of.map(|f| f.severity).max()
    }

    #[test]
    fn a_port_in_use_is_an_error_unless_a_server_runs() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = Config {
            port: taken.local_addr().unwrap().port(),
            ..Config::default()
        };
        config.rtc.tcp_port = Some(0);
        let looked = |running| {
            let mut report = Report::default();
            ports(&config, running, &mut report);
            worst(&report, "port.tcp")
        };
        assert_eq!(looked(false), Some(Severity::Error));
        assert_eq!(looked(true), Some(Severity::Ok));
    }

    #[test]
    fn every_port_of_the_configuration_is_looked_at_under_its_key() {
        let mut config = Config::default();
        config.rtc.node_ip = Some("127.0.0.1".parse().unwrap());
        config.rtc.workers = 2;
        // Whether they are free here doesn't matter.
        let first = 20_443;
        config.turn.udp_port = Some(first);
        config.turn.tcp_port = Some(20_478);
        config.rtc.tcp_port = Some(20_481);
        let mut report = Report::default();
        ports(&config, false, &mut report);
        let said: Vec<_> = report
            .findings()
            .iter()
            .map(|f| (f.check, &f.measured))
            .collect();
        let named = |check: &str, what: &str| {
            said.iter()
                .filter(|(of, measured)| *of == check && measured.contains(what))
                .count()
        };
        for (check, what, count) in [
            ("port.tcp", "(port)", 1),
            ("port.tcp", "(rtc.tcp_port)", 1),
            ("port.tcp", "(turn.tcp_port)", 1),
            ("port.udp", "(rtc.udp_port)", 2),
            ("port.udp", "(turn.udp_port)", 2),
        ] {
            assert_eq!(named(check, what), count, "{what}: {said:?}");
        }
        let of = |port: u16| format!(":{port} ");
        assert_eq!(named("port.udp", &of(first)), 1, "{said:?}");
        assert_eq!(named("port.udp", &of(first + 1)), 1, "{said:?}");
        // TURN that is off opens nothing.
        config.turn.enabled = false;
        let mut report = Report::default();
        ports(&config, false, &mut report);
        assert!(
            report
                .findings()
                .iter()
                .all(|f| !f.measured.contains("turn."))
        );
    }

    #[test]
    fn a_port_for_turn_that_another_program_has_is_an_error() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut config = Config::default();
        config.rtc.node_ip = Some("127.0.0.1".parse().unwrap());
        config.rtc.udp_port = 0;
        config.turn.udp_port = Some(taken.local_addr().unwrap().port());
        let mut report = Report::default();
        ports(&config, false, &mut report);
        let found = report
            .findings()
            .iter()
            .find(|f| f.measured.contains("(turn.udp_port)"));
        let found = found.unwrap();
        assert_eq!(found.severity, Severity::Error);
        assert!(
            found
                .remedy
                .as_ref()
                .unwrap()
                .contains("choose another port")
        );
    }

    #[test]
    fn addresses_that_only_this_network_reaches_are_a_warning() {
        for (ip, severity) in [
            ("192.168.1.1", Severity::Warning),
            ("100.64.0.1", Severity::Warning),
            ("fd00::1", Severity::Warning),
            ("2001:db8::1", Severity::Ok),
            ("198.51.100.1", Severity::Ok),
        ] {
            let mut config = Config::default();
            config.rtc.node_ip = Some(ip.parse().unwrap());
            let mut report = Report::default();
            addresses(&config, &mut report);
            assert_eq!(worst(&report, "addresses"), Some(severity), "{ip}");
        }
    }
}
