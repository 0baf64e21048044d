//! `schalter doctor` against real servers: what it says, and how it ends.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::server::{Server, folder, free_ports};

/// Runs the doctor; answers its exit code and its JSON.
fn doctor(arguments: &[&str]) -> (i32, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_schalter"))
        .arg("doctor")
        .arg("--json")
        .args(arguments)
        .env_remove("SCHALTER_CONFIG")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let json = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), json)
}

/// The severities of a check, each once.
fn severities<'j>(json: &'j Value, check: &str) -> Vec<&'j str> {
    let findings = json["findings"].as_array().unwrap();
    let of = findings.iter().filter(|finding| finding["check"] == check);
    let mut found: Vec<&str> = of
        .map(|finding| finding["severity"].as_str().unwrap())
        .collect();
    found.dedup();
    found
}

fn config_of(server: &Server) -> String {
    let path: &Path = &server.folder;
    path.join("schalter.yaml").display().to_string()
}

#[tokio::test]
async fn a_server_that_works_is_found_to_work_and_is_left_as_it_was() {
    let mut server = Server::start("doctor-ok", "");
    let config = config_of(&server);
    let url = format!("http://127.0.0.1:{}", server.port);
    let (code, json) = doctor(&["--config", &config, "--url", &url]);
    for check in [
        "config",
        "state_dir",
        "tcp",
        "http",
        "websocket",
        "media.udp",
        "media",
    ] {
        assert_eq!(severities(&json, check), ["ok"], "{check}: {json:#}");
    }
    // No TLS, no TURN that clients are told of, an address of this machine alone: worth saying, and no error.
    assert_eq!(severities(&json, "tls"), ["warning"]);
    assert_eq!(severities(&json, "turn"), ["warning"]);
    assert_eq!(
        (code, json["result"].as_str()),
        (3, Some("warning")),
        "{json:#}"
    );
    server.until_metric("schalter_participants", 0.0).await;
    let log = server.log();
    assert!(
        !log.contains("ERROR") && !log.contains("127.0.0.1"),
        "{log}"
    );
    let said = json.to_string();
    assert!(
        !said.contains(crate::server::SECRET) && !said.contains("eyJ"),
        "{said}"
    );
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test]
async fn addresses_that_nobody_reaches_are_an_error_that_names_the_keys() {
    let server = Server::start(
        "doctor-nat",
        "rtc:\n  udp_port: 0\n  pin_workers: false\n  addresses:\n    - 127.0.0.1: 192.0.2.7\n",
    );
    let config = config_of(&server);
    let url = format!("http://127.0.0.1:{}", server.port);
    let (code, json) = doctor(&["--config", &config, "--url", &url, "--timeout", "1s"]);
    assert_eq!(severities(&json, "media.udp"), ["error"], "{json:#}");
    assert_eq!(severities(&json, "media"), ["error"]);
    assert!(json.to_string().contains("192.0.2.7") && json.to_string().contains("rtc.addresses"));
    assert_eq!(code, 1);
}

#[tokio::test]
async fn every_port_for_turn_is_looked_at_from_both_sides() {
    let folder = folder("doctor-turn");
    let [media, turn_udp] = free_ports();
    let config = format!(
        "rtc: {{udp_port: {media}, tcp_port: 0, node_ip: 127.0.0.1, pin_workers: false}}\n\
         turn: {{udp_port: {turn_udp}, tcp_port: 0}}\n"
    );
    let server = Server::start_in(&folder, &[], &config);
    let file = config_of(&server);
    let url = format!("http://127.0.0.1:{}", server.port);
    let (_, json) = doctor(&["--config", &file, "--url", &url]);
    for check in ["media.udp", "turn.udp", "turn.tcp"] {
        assert_eq!(severities(&json, check), ["ok"], "{check}: {json:#}");
    }
    let said = json.to_string();
    for (port, key) in [(media, "rtc.udp_port"), (turn_udp, "turn.udp_port")] {
        let found = format!("127.0.0.1:{port} ({key}) is in use, and a server runs");
        assert!(said.contains(&found), "{found}: {json:#}");
    }
    assert!(said.contains("turn.tcp_port: 0"), "{json:#}");
    drop(server);
    // The port is somebody else's: the server does not start, and the doctor says whose key it is.
    let _taken = std::net::UdpSocket::bind(("127.0.0.1", turn_udp)).unwrap();
    let output = crate::server::command(&crate::server::folder("doctor-turn-taken"), &[], &config)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains(&format!("port {turn_udp} (turn.udp_port) is in use")),
        "{text}"
    );
}

#[tokio::test]
async fn several_networks_are_told_and_answer() {
    let server = Server::start(
        "doctor-networks",
        "rtc:\n  udp_port: 0\n  pin_workers: false\n  addresses: [127.0.0.2, 127.0.0.3, \"::1\"]\n",
    );
    let config = config_of(&server);
    let url = format!("http://127.0.0.1:{}", server.port);
    let (_, json) = doctor(&["--config", &config, "--url", &url]);
    assert_eq!(severities(&json, "media.udp"), ["ok"], "{json:#}");
    let said = json.to_string();
    for address in ["127.0.0.2:", "127.0.0.3:", "[::1]:"] {
        assert!(said.contains(address), "{address}: {json:#}");
    }
}

#[tokio::test]
async fn from_afar_it_needs_no_configuration_and_says_what_it_left_out() {
    let server = Server::start("doctor-afar", "");
    let (code, json) = doctor(&["--url", &format!("http://127.0.0.1:{}", server.port)]);
    assert_eq!(severities(&json, "websocket"), ["ok"], "{json:#}");
    assert_eq!(severities(&json, "media"), ["skipped"]);
    assert_eq!(severities(&json, "keys"), Vec::<&str>::new());
    assert_eq!(code, 3);
    // A token of somebody else is refused, with what to do.
    let token = folder("doctor-token").join("token");
    std::fs::write(&token, "x.y.z").unwrap();
    let (code, json) = doctor(&[
        "--url",
        &format!("http://127.0.0.1:{}", server.port),
        "--token-file",
        token.to_str().unwrap(),
    ]);
    assert_eq!(
        (severities(&json, "websocket"), code),
        (vec!["error"], 1),
        "{json:#}"
    );
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_told_apart_from_a_server_that_is_not_there() {
    let server = Server::start_in(&folder("doctor-lan"), &["--lan"], "");
    let (code, json) = doctor(&["--url", &format!("https://localhost:{}", server.port)]);
    assert_eq!(severities(&json, "tls"), ["ok"], "{json:#}");
    assert_eq!(severities(&json, "certificate.chain"), ["error"]);
    assert_eq!(severities(&json, "certificate.name"), ["ok"]);
    assert_eq!(severities(&json, "certificate.expiry"), ["ok"]);
    // It goes on to what works nevertheless.
    assert_eq!(severities(&json, "websocket"), ["ok"]);
    assert_eq!(code, 1);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (code, json) = doctor(&["--url", &format!("https://{nobody}")]);
    assert_eq!(
        (severities(&json, "tcp"), code),
        (vec!["error"], 1),
        "{json:#}"
    );
    // Plain HTTP where TLS is expected.
    let plain = Server::start("doctor-plain", "");
    let url = format!("https://127.0.0.1:{}", plain.port);
    let (code, json) = doctor(&["--url", &url, "--timeout", "2s"]);
    assert_eq!(
        (severities(&json, "tls"), code),
        (vec!["error"], 1),
        "{json:#}"
    );
}

#[tokio::test]
async fn wrong_usage_ends_with_2() {
    for arguments in [
        vec!["--url", "video.example.org"],
        vec!["--config", "/nonexistent/schalter.yaml"],
        vec![
            "--url",
            "https://127.0.0.1:1",
            "--ca",
            "/nonexistent/ca.pem",
        ],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_schalter"))
            .arg("doctor")
            .args(&arguments)
            .env_remove("SCHALTER_CONFIG")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(
            String::from_utf8(output.stderr)
                .unwrap()
                .trim()
                .lines()
                .count(),
            1
        );
    }
}
