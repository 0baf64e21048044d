//! Case systems are told what happens in appointments: by the built server, over a kill and a reload.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schalter_desk::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::reload::until_logged;
use crate::server::{PATIENCE, Scratch, Server, write_config};

const OLD: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";
const NEW: &str = "whsec_bmV3LW5ldy1uZXctbmV3LW5ldy1uZXct";
const KEY: &str = "0123456789abcdef0123456789abcdef";
const NEXT_KEY: &str = "next-key-0123456789abcdef0123456789";

/// A request that came: head and body.
pub(crate) struct Got(String, String);

impl Got {
    fn field(&self, name: &str) -> &str {
        let mut lines = self.0.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.unwrap().1.trim()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.1).unwrap()
    }

    /// Which of the secrets signed it.
    fn signers(&self) -> Vec<&'static str> {
        let (id, at) = (self.field("webhook-id"), self.field("webhook-timestamp"));
        let signed = format!("{id}.{at}.{}", self.1);
        let signatures: Vec<_> = self.field("webhook-signature").split(' ').collect();
        let signer = |signature: &&str| {
            let signature = STANDARD
                .decode(signature.strip_prefix("v1,").unwrap())
                .unwrap();
            let good = |secret: &&&str| {
                let bytes = STANDARD
                    .decode(secret.strip_prefix("whsec_").unwrap())
                    .unwrap();
                let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
                hmac::verify(&key, signed.as_bytes(), &signature).is_ok()
            };
            *[OLD, NEW].iter().find(good).unwrap()
        };
        signatures.iter().map(signer).collect()
    }
}

/// Reads one request to its end.
fn read_request(stream: &mut impl Read) -> Got {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "half a request: {text}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let got = Got(head.to_owned(), body.to_owned());
        if body.len() == got.field("content-length").parse::<usize>().unwrap() {
            return got;
        }
    }
}

/// Takes requests one after the other. The first `deaf` of them get no answer.
pub(crate) fn receiver(listener: TcpListener, deaf: usize) -> Receiver<Got> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for (nth, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let got = read_request(&mut stream);
            if nth < deaf {
                kept.push(stream);
            } else {
                let answer = "HTTP/1.1 204 No Content\r\n\r\n";
                stream.write_all(answer.as_bytes()).unwrap();
            }
            if sender.send(got).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Sends a request with a key; answers status and body.
pub(crate) async fn v1(server: &Server, request: &str, key: &str, body: &str) -> (u16, Value) {
    let head = format!(
        "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n\
         If-Match: *\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, body) = server.exchange(&head).await;
    (status, serde_json::from_str(&body).unwrap())
}

pub(crate) async fn create(server: &Server, key: &str) -> Value {
    let starts_at = SystemClock.now().plus_s(3_600);
    let body = json!({
        "subject": "Geheimes Wohngeld", "starts_at": starts_at, "ends_at": starts_at.plus_s(1_800),
        "people": [{"role": "citizen", "name": "Erika Beispiel"}]
    });
    let (status, made) = v1(server, "POST /v1/appointments", key, &body.to_string()).await;
    assert_eq!(status, 201, "{made}");
    made
}

/// A configuration with these secrets of the receiver and this key of the case system.
fn desk(folder: &Path, port: u16, secrets: &[&str], key: &str) -> String {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let secrets: Vec<_> = (0..)
        .zip(secrets)
        .map(|(n, text)| file(&format!("secret{n}"), text))
        .collect();
    let (key, database) = (file("key", key), folder.join("desk.db"));
    format!(
        "desk:\n  database: {}\n  authorities:\n    - {{id: ulm, name: Amt, keys: [{{id: case, secret_file: {key}, \
         scopes: ['appointments:write', 'events:read']}}]}}\n  webhooks:\n    - {{url: 'http://127.0.0.1:{port}/hook?x=secret-path', \
         allow_private: ['127.0.0.1'], secret_files: [{}], authority: ulm}}\n",
        database.display(),
        secrets.join(", ")
    )
}

/// Answers each request with the next of these statuses, and the rest with 204.
fn answering(listener: TcpListener, statuses: &'static [u16]) -> Receiver<Got> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let answers = statuses.iter().chain(std::iter::repeat(&204));
        for (stream, status) in listener.incoming().zip(answers) {
            let mut stream = stream.unwrap();
            let got = read_request(&mut stream);
            let answer = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
            if sender.send(got).is_err() {
                return;
            }
        }
    });
    receiver
}

#[tokio::test]
async fn an_operator_has_a_receiver_pass_over_what_it_will_never_take() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let got = answering(listener, &[422; 8]);
    let files = Scratch::new("skip-files");
    let server = Server::start("skip", &desk(&files, port, &[OLD], KEY));
    create(&server, KEY).await;
    let first = got.recv_timeout(PATIENCE).unwrap();
    let standing = async || {
        let (_, _, body) = server.admin("GET /v1/desk/webhooks").await;
        serde_json::from_str::<Value>(&body).unwrap()["receivers"][0].clone()
    };
    let deadline = std::time::Instant::now() + PATIENCE;
    let held_up = loop {
        let now = standing().await;
        if !now["stuck"].is_null() {
            break now;
        }
        assert!(std::time::Instant::now() < deadline, "{now}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(
        (
            &held_up["taken"],
            &held_up["last"],
            &held_up["stuck"]["event"]
        ),
        (&json!(0), &json!(2), &json!(1))
    );
    // Neither what it took before, nor what has not happened yet.
    for through in [0, 3] {
        let request = format!("POST /v1/desk/webhooks/0/skip?through={through}");
        assert_eq!(server.admin(&request).await.0, 409, "{through}");
    }
    let (status, _, body) = server
        .admin("POST /v1/desk/webhooks/0/skip?through=1")
        .await;
    assert_eq!((status, body.as_str()), (202, ""));
    server
        .until_metric("schalter_desk_webhook_events_skipped_total", 1.0)
        .await;
    // What comes after it is told, and not before.
    let next = std::iter::repeat_with(|| got.recv_timeout(PATIENCE).unwrap())
        .find(|got| got.1 != first.1)
        .unwrap();
    assert_eq!(
        (
            next.json()["seq"].clone(),
            standing().await["taken"].clone()
        ),
        (json!(2), json!(1))
    );
}

#[tokio::test]
async fn case_systems_are_told_in_order_over_a_kill_and_a_reload() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let got = receiver(listener, 1);
    // Outlives the first server's own folder.
    let files = Scratch::new("told-files");
    let config = desk(&files, port, &[OLD], KEY);
    let mut server = Server::start("told", &config);
    let made = create(&server, KEY).await;
    let first = got.recv_timeout(PATIENCE).unwrap();
    let backlog = r#"schalter_desk_webhook_backlog_events{receiver="0"}"#;
    server.until_metric(backlog, 2.0).await;
    // Taken, for all it knows; never noted.
    server.kill();
    drop(server);

    let server = Server::start("told", &config);
    let all: Vec<Got> = (0..2)
        .map(|_| got.recv_timeout(PATIENCE).unwrap())
        .collect();
    let again = &all[0];
    assert_eq!(
        (again.field("webhook-id"), &again.1),
        (first.field("webhook-id"), &first.1)
    );
    server.until_metric(backlog, 0.0).await;
    let (status, told) = v1(&server, "GET /v1/events", KEY, "").await;
    assert_eq!(status, 200);
    for (got, (event, seq)) in all
        .iter()
        .zip(told["events"].as_array().unwrap().iter().zip(1..))
    {
        assert_eq!(&got.json(), event, "told as the replay tells it");
        assert_eq!(
            (&event["seq"], event["id"].as_str().unwrap()),
            (&json!(seq), got.field("webhook-id"))
        );
        assert_eq!(event["data"]["appointment"], made["id"]);
        assert_eq!(got.signers(), [OLD]);
        for name in ["Erika", "Wohngeld", "join_url"] {
            assert!(!got.1.contains(name), "{name} in {}", got.1);
        }
    }

    // Both secrets for a while, and another key of the case system, without a restart.
    let rotated = desk(&files, port, &[OLD, NEW], NEXT_KEY);
    write_config(&server.folder, &rotated);
    let (status, _, body) = server.admin("POST /v1/reload").await;
    assert_eq!(status, 200, "{body}");
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&told["desk"], &told["needs_restart"]),
        (&json!(true), &json!([])),
        "{body}"
    );
    assert_eq!(v1(&server, "GET /v1/events", KEY, "").await.0, 401);
    let path = format!(
        "POST /v1/appointments/{}/cancel",
        made["id"].as_str().unwrap()
    );
    let (status, answer) = v1(&server, &path, NEXT_KEY, "").await;
    assert_eq!(status, 200, "{answer}");
    let cancelled = got.recv_timeout(PATIENCE).unwrap();
    assert_eq!(cancelled.json()["type"], "appointment.cancelled");
    assert_eq!(cancelled.signers(), [OLD, NEW]);
    server
        .until_metric("schalter_desk_webhook_events_delivered_total", 3.0)
        .await;
    // Delivered is counted before it is noted how far the receiver is.
    server.until_metric(backlog, 0.0).await;
    // Nothing is held up, so that there is nothing to pass over.
    let (status, _, body) = server.admin("GET /v1/desk/webhooks").await;
    let standing: Value = serde_json::from_str(&body).unwrap();
    let expected = json!({"receiver": 0, "authority": "ulm", "taken": 3, "last": 3, "stuck": null, "gone": false});
    assert_eq!(
        (status, &standing["receivers"][0]),
        (200, &expected),
        "{body}"
    );
    for (request, status) in [
        ("POST /v1/desk/webhooks/0/skip?through=4", 409),
        ("POST /v1/desk/webhooks/1/skip?through=4", 404),
        ("POST /v1/desk/webhooks/0/skip", 400),
        ("POST /v1/desk/webhooks/x/skip?through=4", 400),
    ] {
        assert_eq!(server.admin(request).await.0, status, "{request}");
    }
    let request = "POST /v1/desk/webhooks/0/skip?through=4";
    assert_eq!(server.admin_as(request, None).await.0, 401);
    // Another receiver hears of what happens from then on.
    write_config(&server.folder, &rotated.replace("secret-path", "other"));
    let (_, _, body) = server.admin("POST /v1/reload").await;
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&told["desk"], &told["needs_restart"]),
        (&json!(true), &json!([]))
    );
    until_logged(&server, "go to other receivers").await;
    create(&server, NEXT_KEY).await;
    let created = got.recv_timeout(PATIENCE).unwrap();
    assert!(
        created.0.starts_with("POST /hook?x=other "),
        "{}",
        created.0
    );
    assert_eq!(created.json()["seq"], 4);
    let log = server.log();
    for secret in ["secret-path", &port.to_string(), OLD, NEXT_KEY, "Erika"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}
