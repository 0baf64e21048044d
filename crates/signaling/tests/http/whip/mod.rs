//! WHIP and WHEP over HTTP: who may publish and play, what answers look like, and what is refused how.

use std::time::Duration;

use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{TrackSource, TrackType};
use schalter_forward::Codec;
use schalter_model::TrackId;
use schalter_shard::control::{Command, Event, TransportState};
use schalter_signaling::authority::{ApiKey, KeyRing, KeyScopes};
use schalter_signaling::config::{IceServer, Limits};
use schalter_signaling::token::Claims;
use schalter_signaling::{HttpProtocol, JoinStage, SignalingConfig};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{SECRET, Server, claims, edited, eventually};

mod answers;
mod refusals;
mod sessions;

const WHIP_OFFER: &str = include_str!("../../data/chromium-whip.sdp");
const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// An offer to play: Chromium's, without the sections that receive nothing.
fn whep_offer() -> String {
    WHIP_OFFER.replace("a=sendonly", "a=recvonly")
}

/// A fragment with a candidate of the ICE session that `WHIP_OFFER` began.
fn trickle() -> String {
    fragment("vXEY")
}

fn fragment(ufrag: &str) -> String {
    format!(
        "a=ice-ufrag:{ufrag}\r\na=ice-pwd:0123456789abcdefghijklmn\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
         a=candidate:1 1 udp 2130706431 192.0.2.1 40000 typ host\r\na=end-of-candidates\r\n"
    )
}

struct Answer {
    status: u16,
    /// In lower case.
    head: String,
    body: String,
}

impl Answer {
    fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.headers(name).next()
    }

    fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.head.lines().filter_map(move |line| {
            let (key, value) = line.split_once(": ")?;
            (key == name).then_some(value)
        })
    }

    /// The problem document, which every error is.
    fn problem(&self) -> Value {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{}",
            self.body
        );
        assert_eq!(self.header("access-control-allow-origin"), Some("*"));
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["type"], "about:blank");
        assert!(!problem["title"].as_str().unwrap().is_empty());
        problem
    }

    fn detail(&self) -> String {
        self.problem()["detail"].as_str().unwrap().to_owned()
    }
}

impl Server {
    async fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        // A server that refuses early may have stopped reading.
        let _ = stream.write_all(body.as_bytes()).await;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let (first, rest) = head.split_once("\r\n").unwrap();
        let names_lower = rest.lines().map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            format!("{}: {value}\n", name.to_ascii_lowercase())
        });
        Answer {
            status: first.split(' ').nth(1).unwrap().parse().unwrap(),
            head: names_lower.collect(),
            body: body.to_owned(),
        }
    }

    async fn offer(&self, path: &str, claims: &Claims, offer: &str) -> Answer {
        let token = format!("Bearer {}", self.token(claims));
        let headers = [("Authorization", token.as_str()), ("Content-Type", SDP)];
        self.exchange("POST", path, &headers, offer).await
    }
}

/// A publisher's session with its token.
struct Session {
    token: String,
    location: String,
    etag: String,
}

impl Session {
    async fn begin(server: &Server, path: &str, offer: &str) -> Self {
        let token = format!("Bearer {}", server.token(&claims("r", "camera")));
        let headers = [("Authorization", token.as_str()), ("Content-Type", SDP)];
        let answer = server.exchange("POST", path, &headers, offer).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        Self {
            location: answer.header("location").unwrap().to_owned(),
            etag: answer.header("etag").unwrap().to_owned(),
            token,
        }
    }

    async fn patch(&self, server: &Server, if_match: Option<&str>, fragment: &str) -> Answer {
        let mut headers = vec![
            ("Authorization", self.token.as_str()),
            ("Content-Type", FRAGMENT),
        ];
        headers.extend(if_match.map(|tag| ("If-Match", tag)));
        server
            .exchange("PATCH", &self.location, &headers, fragment)
            .await
    }

    async fn ask(&self, server: &Server, method: &str) -> Answer {
        let headers = [("Authorization", self.token.as_str())];
        server.exchange(method, &self.location, &headers, "").await
    }
}

fn tracks(server: &Server) -> Vec<TrackId> {
    let commands = server.media.commands.lock().unwrap();
    let added = commands.iter().filter_map(|(_, command)| match command {
        Command::AddProducer { track, .. } => Some(*track),
        _ => None,
    });
    added.collect()
}

/// Lets media of every published track arrive.
fn media_flows(server: &Server) {
    for (shard, _) in server.media.opened().iter().take(1) {
        for (n, track) in (0..).zip(tracks(server)) {
            let codec = if n == 0 { Codec::Opus } else { Codec::Vp8 };
            server.media.report(
                *shard,
                Event::EncodingStarted {
                    track,
                    encoding: 0,
                    ssrc: 77 + n,
                    codec,
                },
            );
        }
    }
}

fn with(offer: &str, from: &str, to: &str) -> String {
    assert!(offer.contains(from), "{from}");
    offer.replacen(from, to, 1)
}
