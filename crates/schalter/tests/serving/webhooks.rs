//! Webhooks of the real binary: signed by the configured key, kept for a receiver that is away.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{SystemTime, UNIX_EPOCH};

use schalter_model::AuthorityId;
use schalter_signaling::authority::{ApiKey, KeyRing, KeyScopes};

use crate::server::{KEY, PATIENCE, SECRET, Scratch, Server, write_config};

/// Takes requests one after the other; answers what came: `Authorization` and body.
pub(crate) fn receiver(listener: TcpListener) -> Receiver<(String, String)> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut text = String::new();
            let mut buffer = [0; 4096];
            let (head, body) = loop {
                let read = stream.read(&mut buffer).unwrap();
                assert!(read > 0, "half a request: {text}");
                text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    continue;
                };
                let length: usize = field(head, "content-length").unwrap().parse().unwrap();
                if body.len() == length {
                    break (head, body);
                }
            };
            let authorization = field(head, "authorization").unwrap().to_owned();
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
            if sender.send((authorization, body.to_owned())).is_err() {
                return;
            }
        }
    });
    receiver
}

fn field<'t>(head: &'t str, name: &str) -> Option<&'t str> {
    head.lines().skip(1).find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// A server's folder goes with it; what must outlive it has one of its own.
fn configuration(port: u16, state: &Path) -> String {
    let state = state.display();
    format!(
        "state_dir: {state}\nwebhook:\n  urls: [\"http://127.0.0.1:{port}/hook\"]\n  api_key: {KEY}\n  allow_private: [\"127.0.0.1\"]\n"
    )
}

#[tokio::test]
async fn events_are_signed_and_outlive_a_receiver_that_is_away_and_a_restart() {
    let state = Scratch::new("hooks-state");
    // A port that nobody listens on, until the server was started anew.
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let mut server = Server::start("hooks", &configuration(port, &state));
    let (socket, _) = server.join("secret-room", "anna").await.unwrap();
    server
        .until_metric("schalter_webhook_events_waiting", 1.0)
        .await;
    drop(socket);
    assert_eq!(server.stop(), Some(0));
    let log = server.log();
    for secret in ["secret-room", "anna", &port.to_string()] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    drop(server);

    let received = receiver(TcpListener::bind(("127.0.0.1", port)).unwrap());
    let server = Server::start("hooks", &configuration(port, &state));
    let key = ApiKey::new(KEY, SECRET, AuthorityId::default(), KeyScopes::ALL).unwrap();
    let ring = KeyRing::new([key]).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for name in [
        "room_started",
        "participant_connection_aborted",
        "room_finished",
    ] {
        let (authorization, body) = received.recv_timeout(PATIENCE).unwrap();
        let event: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(event["event"], name);
        assert_eq!(event["room"]["name"], "secret-room");
        let grants = ring.verify(&authorization, now.as_secs()).unwrap();
        assert!(grants.claims.sha256.is_some());
        assert!(grants.expires_at <= now.as_secs() + 300 + 60);
        assert!(grants.video.is_none(), "it opens no room");
    }
    server
        .until_metric("schalter_webhook_events_waiting", 0.0)
        .await;
    server
        .until_metric("schalter_webhook_events_delivered_total", 3.0)
        .await;
}

#[tokio::test]
async fn after_a_reload_the_new_key_signs_what_waited_and_what_comes() {
    const OTHER: &str = "another-secret-that-is-long-enough-for-hs256";
    // Nobody listens until the keys are rotated: what waits is signed when it is sent.
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let hook = |key: &str| {
        format!(
            "webhook:\n  urls: [\"http://127.0.0.1:{port}/hook\"]\n  api_key: {key}\n  allow_private: [\"127.0.0.1\"]\n"
        )
    };
    let server = Server::start("hooks-rotate", &hook(KEY));
    let (_anna, _) = server.join("before", "anna").await.unwrap();
    let until = "schalter_webhook_events_waiting";
    server.until_metric(until, 1.0).await;
    let keys = |signer: &str| format!("keys:\n  next: {OTHER}\n{}", hook(signer));
    // Taking the key away and leaving its name there would end all webhooks.
    for (more, reason) in [
        (keys(KEY), "webhook.api_key: there is no such key"),
        (
            format!(
                "keys:\n  next: {{secret: {OTHER}, authority: bonn}}\n{}",
                hook("next")
            ),
            "another authority",
        ),
    ] {
        write_config(&server.folder, &more);
        let (status, _, body) = server.admin("POST /v1/reload").await;
        assert_eq!(status, 422, "{body}");
        assert!(body.contains(reason), "{body}");
    }
    write_config(&server.folder, &keys("next"));
    let (status, _, body) = server.admin("POST /v1/reload").await;
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("\"needs_restart\":[]"), "{body}");

    let received = receiver(TcpListener::bind(("127.0.0.1", port)).unwrap());
    let key = ApiKey::new("next", OTHER, AuthorityId::default(), KeyScopes::ALL).unwrap();
    let ring = KeyRing::new([key]).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let (authorization, body) = received.recv_timeout(PATIENCE).unwrap();
    assert!(body.contains("room_started"), "{body}");
    ring.verify(&authorization, now.as_secs()).unwrap();
}
