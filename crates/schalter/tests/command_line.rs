//! The command line as an operator meets it: what it prints, and with which code it ends.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should stop there"
)]

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SECRET: &str = "a-secret-that-is-long-enough-for-hs256";

/// A folder of its own for each test, under Cargo's.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn config(name: &str, text: &str) -> PathBuf {
    let path = folder(name).join("schalter.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

fn schalter(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_schalter"))
        .args(arguments)
        .env_remove("SCHALTER_CONFIG")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn version_and_help_succeed() {
    let version = schalter(&["--version"]);
    assert!(version.status.success());
    assert_eq!(
        text(&version.stdout).trim(),
        format!("schalter {}", env!("CARGO_PKG_VERSION"))
    );
    let help = text(&schalter(&["--help"]).stdout);
    assert_eq!(
        help.lines().next(),
        Some(
            "Server for video consultations in the browser: pages, signaling and media in one program"
        )
    );
    for word in [
        "serve",
        "token",
        "check-config",
        "--lan",
        "--config",
        "Exit codes",
    ] {
        assert!(help.contains(word), "{word} is missing in:\n{help}");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    assert_eq!(schalter(&["--no-such-option"]).status.code(), Some(2));
    assert_eq!(schalter(&["token"]).status.code(), Some(2));
}

#[test]
fn a_bad_configuration_names_key_and_line_and_ends_with_2() {
    let path = config("bad-config", "port: 7880\nrtc:\n  udp_prot: 1\n");
    for arguments in [
        vec!["check-config", path.to_str().unwrap()],
        vec!["serve", "--config", path.to_str().unwrap()],
        vec!["--config", path.to_str().unwrap()],
    ] {
        let output = schalter(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(
            said.contains("udp_prot") && said.contains("line 3"),
            "{said}"
        );
        assert_eq!(said.trim().lines().count(), 1, "{said}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let output = schalter(&["check-config", "/nonexistent/schalter.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("/nonexistent/schalter.yaml"));
}

#[test]
fn a_right_configuration_is_summarised_without_secrets() {
    let path = config(
        "good-config",
        &format!("keys:\n  office: {SECRET}\nrtc:\n  workers: 2\n"),
    );
    let output = schalter(&["check-config", path.to_str().unwrap()]);
    assert!(output.status.success());
    let said = text(&output.stdout);
    assert!(
        said.contains("ok") && said.contains("office") && said.contains("7882–7883"),
        "{said}"
    );
    assert!(!said.contains(SECRET), "{said}");
}

#[test]
fn a_token_is_three_parts_and_a_link_keeps_it_in_the_fragment() {
    let path = config("token", &format!("keys:\n  office: {SECRET}\n"));
    let path = path.to_str().unwrap();
    let common = ["token", "--config", path, "--room", "r", "--identity", "i"];
    let token = text(&schalter(&common).stdout);
    assert_eq!(token.trim().split('.').count(), 3, "{token}");
    let mut with_link = common.to_vec();
    with_link.extend(["--link", "https://video.example.org/"]);
    let link = text(&schalter(&with_link).stdout);
    assert!(link.starts_with("https://video.example.org/#"), "{link}");
}

#[test]
fn a_token_that_would_be_refused_is_not_printed() {
    let path = config(
        "token-refused",
        &format!("keys:\n  a: {SECRET}\n  b: {SECRET}x\n"),
    );
    let path = path.to_str().unwrap();
    let ambiguous = schalter(&["token", "--config", path, "--room", "r", "--identity", "i"]);
    assert_eq!(ambiguous.status.code(), Some(2));
    assert!(text(&ambiguous.stderr).contains("--key"));
    let long = "x".repeat(300);
    let output = schalter(&[
        "token",
        "--config",
        path,
        "--key",
        "a",
        "--room",
        "r",
        "--identity",
        &long,
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
}

#[test]
fn a_port_in_use_is_one_line_with_port_and_key_and_ends_with_2() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (tcp_port, udp_port) = (
        tcp.local_addr().unwrap().port(),
        udp.local_addr().unwrap().port(),
    );
    for (name, http, media, key) in [
        ("http-in-use", tcp_port, 0, "(port)"),
        ("media-in-use", 0, udp_port, "rtc.udp_port"),
    ] {
        let path = config(
            name,
            &format!(
                "port: {http}\nstate_dir: {}\nkeys:\n  a: {SECRET}\nrtc:\n  udp_port: {media}\n  node_ip: 127.0.0.1\nadmin:\n  listen: 127.0.0.1:0\n",
                folder(&format!("{name}-state")).display(),
            ),
        );
        let output = schalter(&["--config", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        let said = text(&output.stderr);
        let port = if http == 0 { media } else { http };
        let line = said
            .lines()
            .find(|line| line.contains("in use"))
            .unwrap_or_default();
        assert!(
            line.contains(&port.to_string()) && line.contains(key),
            "{said}"
        );
    }
}
