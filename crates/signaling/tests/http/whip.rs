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

const WHIP_OFFER: &str = include_str!("../data/chromium-whip.sdp");
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

#[tokio::test]
async fn a_publisher_gets_an_answer_and_is_a_participant_to_others() {
    let server = Server::start(SignalingConfig::default()).await;
    let mut bob = server.join("r", "bob").await;
    let answer = server
        .offer("/whip/v1", &claims("r", "camera"), WHIP_OFFER)
        .await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("content-type"), Some(SDP));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("accept-patch"), Some(FRAGMENT));
    assert!(
        answer
            .header("location")
            .unwrap()
            .starts_with("/whip/v1/RM_")
    );
    let etag = answer.header("etag").unwrap();
    assert!(
        etag.starts_with('"') && etag.ends_with('"') && etag.len() > 6,
        "{etag}"
    );
    assert!(answer.body.contains("a=setup:passive") && answer.body.contains("a=ice-lite"));
    assert_eq!(answer.body.matches("a=fingerprint:").count(), 1);
    assert_eq!(answer.body.matches("a=recvonly").count(), 2);
    assert!(answer.body.contains("a=candidate:") && answer.body.contains("a=end-of-candidates"));

    eventually("the tracks are negotiated", || tracks(&server).len() == 2).await;
    media_flows(&server);
    let update = bob
        .until(|message| match message {
            Response::Update(update) => update
                .participants
                .iter()
                .any(|p| p.identity == "camera" && p.tracks.len() == 2),
            _ => false,
        })
        .await;
    let Response::Update(update) = update else {
        unreachable!("it was an update");
    };
    let camera = update
        .participants
        .into_iter()
        .find(|p| p.identity == "camera")
        .unwrap();
    let kinds: Vec<_> = camera
        .tracks
        .iter()
        .map(|track| {
            (
                track.r#type(),
                track.source(),
                track.name.as_str(),
                track.mid.as_str(),
            )
        })
        .collect();
    assert_eq!(
        kinds,
        [
            (
                TrackType::Audio,
                TrackSource::Microphone,
                "synthesized-microphone",
                "0"
            ),
            (
                TrackType::Video,
                TrackSource::Camera,
                "synthesized-camera",
                "1"
            ),
        ]
    );
    assert!(camera.is_publisher);
    let stats = server.signaling.stats();
    assert_eq!((stats.http_sessions, stats.participants), ([1, 0], 2));
}

#[tokio::test]
async fn delete_ends_a_session_once() {
    let server = Server::start(SignalingConfig::default()).await;
    let mut bob = server.join("r", "bob").await;
    for (path, offer) in [
        ("/whip/v1", WHIP_OFFER.to_owned()),
        ("/whep/v1", whep_offer()),
    ] {
        let session = Session::begin(&server, path, &offer).await;
        assert_eq!(session.ask(&server, "GET").await.status, 204);
        assert_eq!(session.ask(&server, "HEAD").await.status, 204);
        bob.until(|message| matches!(message, Response::Update(_)))
            .await;
        assert_eq!(session.ask(&server, "DELETE").await.status, 200);
        assert_eq!(session.ask(&server, "DELETE").await.status, 404);
        assert_eq!(session.ask(&server, "GET").await.status, 404);
        assert_eq!(
            session.patch(&server, Some("*"), &trickle()).await.status,
            404
        );
        assert_eq!(server.signaling.stats().http_sessions, [0, 0]);
        assert_eq!(server.signaling.stats().participants, 1);
    }
    let closed = server.media.commands.lock().unwrap();
    let closed = closed
        .iter()
        .filter(|(_, c)| matches!(c, Command::CloseTransport { .. }));
    assert_eq!(closed.count(), 2);
}

#[tokio::test]
async fn a_goodbye_after_the_media_closed_is_none_too_late() {
    let server = Server::start(SignalingConfig::default()).await;
    server.join("r", "bob").await;
    let session = Session::begin(&server, "/whip/v1", WHIP_OFFER).await;
    let (shard, transport) = *server.media.opened().last().unwrap();
    let state = TransportState::Closed;
    server
        .media
        .report(shard, Event::TransportState { transport, state });
    eventually("the publisher is gone", || {
        server.signaling.stats().http_sessions == [0, 0]
    })
    .await;
    assert_eq!(session.ask(&server, "GET").await.status, 404);
    assert_eq!(session.ask(&server, "DELETE").await.status, 200);
    assert_eq!(session.ask(&server, "DELETE").await.status, 404);
}

#[tokio::test]
async fn candidates_are_taken_for_the_ice_session_they_are_of() {
    let server = Server::start(SignalingConfig::default()).await;
    let session = Session::begin(&server, "/whip/v1", WHIP_OFFER).await;
    let answer = session
        .patch(&server, Some(&session.etag), &trickle())
        .await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    assert_eq!(answer.header("etag"), None);
    assert_eq!(
        session.patch(&server, Some("*"), &trickle()).await.status,
        204
    );
    let listed = format!("\"other\", {}", session.etag);
    assert_eq!(
        session
            .patch(&server, Some(&listed), &trickle())
            .await
            .status,
        204
    );
    assert_eq!(session.patch(&server, None, &trickle()).await.status, 428);
    assert_eq!(
        session
            .patch(&server, Some("\"other\""), &trickle())
            .await
            .status,
        412
    );
    // A weak tag never matches (RFC 9110 §13.1.1).
    let weak = format!("W/{}", session.etag);
    assert_eq!(
        session.patch(&server, Some(&weak), &trickle()).await.status,
        412
    );
    for problem in [
        session.patch(&server, None, &trickle()).await,
        session.patch(&server, Some("\"other\""), &trickle()).await,
    ] {
        assert!(problem.detail().contains("ICE session"), "{}", problem.body);
    }
}

#[tokio::test]
async fn new_credentials_restart_ice() {
    let server = Server::start(SignalingConfig::default()).await;
    let session = Session::begin(&server, "/whip/v1", WHIP_OFFER).await;
    let answer = session.patch(&server, Some("*"), &fragment("fresh")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some(FRAGMENT));
    let etag = answer.header("etag").unwrap().to_owned();
    assert_ne!(etag, session.etag);
    for line in [
        "a=ice-lite\r\n",
        "a=ice-pwd:",
        "a=mid:0\r\n",
        "a=candidate:",
        "m=audio 9 ",
    ] {
        assert!(answer.body.contains(line), "{line} in {}", answer.body);
    }
    let told = format!("a=ice-ufrag:{}\r\n", etag.trim_matches('"'));
    assert!(answer.body.contains(&told), "{}", answer.body);
    {
        let commands = server.media.commands.lock().unwrap();
        let restarted = commands.iter().find_map(|(_, command)| match command {
            Command::RestartIce { ice, .. } => Some(ice.ufrag.to_string()),
            _ => None,
        });
        assert_eq!(restarted.as_deref(), Some(etag.trim_matches('"')));
        let remotes: Vec<_> = commands
            .iter()
            .filter_map(|(_, command)| match command {
                Command::SetRemote {
                    ice, fingerprints, ..
                } => Some((ice.ufrag.to_string(), fingerprints.len())),
                _ => None,
            })
            .collect();
        assert_eq!(remotes, [("vXEY".into(), 1), ("fresh".into(), 1)]);
    }
    // What belongs to the ICE session before is late.
    assert_eq!(
        session
            .patch(&server, Some(&session.etag), &trickle())
            .await
            .status,
        412
    );
    assert_eq!(
        session
            .patch(&server, Some(&etag), &fragment("fresh"))
            .await
            .status,
        204
    );
    assert_eq!(server.signaling.stats().http_restarts, [1, 0]);
}

#[tokio::test]
async fn fragments_that_say_nothing_usable_are_refused() {
    let server = Server::start(SignalingConfig::default()).await;
    let session = Session::begin(&server, "/whep/v1", &whep_offer()).await;
    let tag = Some(session.etag.as_str());
    let cases = [
        ("nonsense", 400),
        ("a=ice-ufrag:x\r\n", 400),
        ("a=ice-ufrag:abcd\r\n", 422),
        ("a=candidate:1 1 udp\r\n", 400),
        ("a=candidate:1 1 udp 5 192.0.2.1 99999 typ host\r\n", 400),
        ("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:nine\r\n", 422),
    ];
    for (fragment, status) in cases {
        let answer = session.patch(&server, tag, fragment).await;
        assert_eq!(answer.status, status, "{fragment}: {}", answer.body);
        answer.problem();
    }
    // What we can't use is no mistake of the client's (RFC 9725 §4.3.2).
    for candidate in [
        "a=candidate:1 1 tcp 1518214911 192.0.2.1 9 typ host tcptype active\r\n",
        "a=candidate:1 1 udp 5 somebody.local 9 typ host\r\n",
        "a=candidate:1 1 udp 5 2001:db8::1 9 typ relay raddr :: rport 0\r\n",
    ] {
        assert_eq!(
            session.patch(&server, tag, candidate).await.status,
            204,
            "{candidate}"
        );
    }
    let headers = [
        ("Authorization", session.token.as_str()),
        ("Content-Type", SDP),
        ("If-Match", "*"),
    ];
    let answer = server
        .exchange("PATCH", &session.location, &headers, WHIP_OFFER)
        .await;
    assert_eq!(
        (answer.status, answer.header("accept-patch")),
        (415, Some(FRAGMENT))
    );
}

#[tokio::test]
async fn a_session_is_its_tokens_alone() {
    let server = Server::start(SignalingConfig::default()).await;
    let session = Session::begin(&server, "/whip/v1", WHIP_OFFER).await;
    let ask = |token: String| {
        let (server, location) = (&server, &session.location);
        async move {
            let headers = [("Authorization", token.as_str())];
            let headers = if token.is_empty() {
                &headers[1..]
            } else {
                &headers[..]
            };
            server.exchange("DELETE", location, headers, "").await
        }
    };
    let bearer = |key: &str, claims: &Claims| format!("Bearer {}", server.token_by(key, claims));
    let none = ask(String::new()).await;
    assert_eq!(
        (none.status, none.header("www-authenticate")),
        (401, Some("Bearer"))
    );
    assert_eq!(ask("Bearer x.y.z".into()).await.status, 401);
    assert_eq!(ask(bearer("key", &claims("r", "alice"))).await.status, 403);
    assert_eq!(
        ask(bearer("key", &claims("other", "camera"))).await.status,
        403
    );
    assert_eq!(
        ask(bearer("other-key", &claims("r", "camera")))
            .await
            .status,
        403
    );
    let may_not_join = edited(|c| {
        c.identity = Some("camera".into());
        c.video.as_mut().unwrap().room_join = Some(false);
    });
    assert_eq!(ask(bearer("key", &may_not_join)).await.status, 401);
    let by_the_other_path = session.location.replace("/whip/", "/whep/");
    let headers = [("Authorization", session.token.as_str())];
    let answer = server
        .exchange("DELETE", &by_the_other_path, &headers, "")
        .await;
    assert_eq!(answer.status, 404);

    // The key is gone, and with it the token's worth for anything else: its own session it may still end.
    let other = ApiKey::new(
        "rotated",
        SECRET,
        schalter_model::AuthorityId::new("ulm").unwrap(),
        KeyScopes::ALL,
    );
    server
        .keys
        .store(KeyRing::new([other.unwrap()]).unwrap().into());
    assert_eq!(session.ask(&server, "GET").await.status, 204);
    // Another token for the same room and identity does as well.
    assert_eq!(
        ask(bearer("rotated", &claims("r", "camera"))).await.status,
        200
    );
}

#[tokio::test]
async fn tokens_that_may_not_are_refused() {
    let server = Server::start(SignalingConfig::default()).await;
    let may_not = |edit: fn(&mut schalter_signaling::token::VideoClaims)| {
        edited(|claims| edit(claims.video.as_mut().unwrap()))
    };
    let cases = [
        ("/whip/v1", may_not(|v| v.can_publish = Some(false)), 403),
        ("/whep/v1", may_not(|v| v.can_subscribe = Some(false)), 403),
        (
            "/whip/v1",
            may_not(|v| v.can_publish_sources = Some(vec!["microphone".into()])),
            403,
        ),
        ("/whip/v1", may_not(|v| v.room_join = None), 401),
        ("/whep/v1", may_not(|v| v.room_join = None), 401),
        ("/whip/v1", may_not(|v| v.room = None), 400),
        ("/whip/v1", edited(|c| c.identity = None), 400),
        ("/whep/v1", edited(|c| c.video = None), 401),
    ];
    for (path, claims, status) in cases {
        let offer = if path == "/whip/v1" {
            WHIP_OFFER.to_owned()
        } else {
            whep_offer()
        };
        let answer = server.offer(path, &claims, &offer).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        answer.problem();
    }
    let key = ApiKey::new(
        "admin",
        SECRET,
        schalter_model::AuthorityId::new("ulm").unwrap(),
        KeyScopes {
            join: false,
            admin: true,
        },
    );
    server
        .keys
        .store(KeyRing::new([key.unwrap()]).unwrap().into());
    let token = format!(
        "Bearer {}",
        server.token_by("admin", &claims("r", "camera"))
    );
    let headers = [("Authorization", token.as_str()), ("Content-Type", SDP)];
    let answer = server
        .exchange("POST", "/whip/v1", &headers, WHIP_OFFER)
        .await;
    assert_eq!(answer.status, 403);
    let headers = [("Content-Type", SDP)];
    let answer = server
        .exchange("POST", "/whip/v1", &headers, WHIP_OFFER)
        .await;
    assert_eq!(answer.status, 401);
    // A token in the URL would stand in every proxy's log.
    let path = format!("/whip/v1?access_token={}", &token["Bearer ".len()..]);
    assert_eq!(
        server
            .exchange("POST", &path, &headers, WHIP_OFFER)
            .await
            .status,
        401
    );
    let stats = server.signaling.stats();
    assert_eq!((stats.rooms, stats.participants), (0, 0));
    assert_eq!(stats.http_refused, [8, 3]);
    assert!(stats.failures_at(JoinStage::Token) >= 8, "{stats:?}");
}

/// An offer with one line exchanged.
fn with(offer: &str, from: &str, to: &str) -> String {
    assert!(offer.contains(from), "{from}");
    offer.replacen(from, to, 1)
}

#[tokio::test]
async fn offers_that_could_be_served_in_part_are_refused_as_a_whole() {
    let server = Server::start(SignalingConfig::default()).await;
    let video = WHIP_OFFER.find("m=video").unwrap();
    let second = WHIP_OFFER[video..].replace("a=mid:1", "a=mid:2");
    let twice = with(
        &format!("{WHIP_OFFER}{second}"),
        "BUNDLE 0 1",
        "BUNDLE 0 1 2",
    );
    let no_codec = with(
        &WHIP_OFFER.replace("opus/48000/2", "L16/48000/2"),
        "red/48000/2",
        "G729/8000",
    );
    let whip = [
        (String::new(), 400, "missing"),
        ("hello".into(), 400, "v=0"),
        (
            with(WHIP_OFFER, "a=mid:1", "a=mid:0"),
            400,
            "mid used twice",
        ),
        (with(WHIP_OFFER, "a=mid:1\r\n", ""), 400, "without mid"),
        (
            with(WHIP_OFFER, "m=video 55722", "m=video x"),
            400,
            "media line",
        ),
        (
            with(WHIP_OFFER, "a=setup:actpass", "a=setup:passive"),
            422,
            "DTLS client",
        ),
        (
            WHIP_OFFER.replace("a=fingerprint", "a=x"),
            422,
            "fingerprint",
        ),
        (
            WHIP_OFFER.replace("a=ice-ufrag", "a=x"),
            422,
            "ICE credentials",
        ),
        (
            WHIP_OFFER.replace("a=sendonly", "a=recvonly"),
            422,
            "sendonly",
        ),
        (with(WHIP_OFFER, "a=sendonly", "a=inactive"), 422, "mid 0"),
        (with(WHIP_OFFER, "BUNDLE 0 1", "BUNDLE 0"), 422, "BUNDLE"),
        (with(WHIP_OFFER, "m=video 55722", "m=video 0"), 422, "mid 1"),
        (
            with(WHIP_OFFER, "m=audio ", "m=text "),
            422,
            "neither sound",
        ),
        (no_codec, 422, "no codec"),
        (twice, 422, "one section"),
    ];
    for (offer, status, text) in whip {
        let answer = server
            .offer("/whip/v1", &claims("r", "camera"), &offer)
            .await;
        assert_eq!(answer.status, status, "{text}: {}", answer.body);
        assert!(answer.detail().contains(text), "{text}: {}", answer.body);
    }
    let whep = [
        (String::new(), 400, "the client offers"),
        (WHIP_OFFER.to_owned(), 422, "recvonly"),
        (
            whep_offer()
                .replace("VP", "XX")
                .replace("H26", "Z")
                .replace("AV1", "Y"),
            422,
            "no codec",
        ),
    ];
    for (offer, status, text) in whep {
        let answer = server
            .offer("/whep/v1", &claims("r", "player"), &offer)
            .await;
        assert_eq!(answer.status, status, "{text}: {}", answer.body);
        assert!(answer.detail().contains(text), "{text}: {}", answer.body);
    }
    let answer = server
        .offer(
            "/whip/v1",
            &claims("r", "c"),
            &with(WHIP_OFFER, "a=mid:1", "a=mid:0"),
        )
        .await;
    assert!(answer.problem()["line"].as_u64().unwrap() > 1);
    assert_eq!(server.signaling.stats().rooms, 0);
    assert!(server.media.opened().is_empty());
}

#[tokio::test]
async fn requests_of_another_kind_are_refused() {
    let config = SignalingConfig {
        limits: Limits {
            sdp_bytes: 20_000,
            ..Limits::default()
        },
        ..SignalingConfig::default()
    };
    let server = Server::start(config).await;
    let token = format!("Bearer {}", server.token(&claims("r", "camera")));
    for path in ["/whip/v1", "/whep/v1"] {
        let headers = [
            ("Authorization", token.as_str()),
            ("Content-Type", "application/json"),
        ];
        let answer = server.exchange("POST", path, &headers, "{}").await;
        assert_eq!(
            (answer.status, answer.header("accept-post")),
            (415, Some(SDP))
        );
        answer.problem();
        let answer = server
            .exchange("POST", path, &headers[..1], WHIP_OFFER)
            .await;
        assert_eq!(answer.status, 415);
        let headers = [
            ("Authorization", token.as_str()),
            ("Content-Type", "Application/SDP; charset=utf-8"),
        ];
        let long = format!("{WHIP_OFFER}{}", "a=x\r\n".repeat(5_000));
        let answer = server.exchange("POST", path, &headers, &long).await;
        assert_eq!(answer.status, 413);
        answer.problem();
        for method in ["PUT", "DELETE", "PATCH", "TRACE"] {
            let answer = server.exchange(method, path, &headers, "").await;
            assert_eq!(
                (answer.status, answer.header("allow")),
                (405, Some("GET, HEAD, OPTIONS, POST"))
            );
        }
        let answer = server
            .exchange("POST", &format!("{path}/RM_x.y"), &headers, WHIP_OFFER)
            .await;
        assert_eq!(answer.status, 405);
        // There is nothing to be had, and that is no error (RFC 9725 §4.1); players look for the type.
        for method in ["GET", "HEAD"] {
            let answer = server.exchange(method, path, &[], "").await;
            assert_eq!((answer.status, answer.body.as_str()), (200, ""));
            assert_eq!(answer.header("content-type"), Some(SDP));
        }
        for id in ["x", "RM_aaaaaaaaaaaa", "RM_aaaaaaaaaaaa.bbbb", ".", "%00"] {
            let answer = server
                .exchange("DELETE", &format!("{path}/{id}"), &headers, "")
                .await;
            assert_eq!(answer.status, 404, "{id}");
        }
    }
    for query in [
        "participant=",
        &format!("participant={}", "x".repeat(300)),
        "participant=a&participant=b",
    ] {
        let answer = server
            .offer(
                &format!("/whep/v1?{query}"),
                &claims("r", "p"),
                &whep_offer(),
            )
            .await;
        assert_eq!(answer.status, 400, "{query}");
    }
}

#[tokio::test]
async fn pages_of_any_origin_may_ask() {
    let server = Server::start(SignalingConfig::default()).await;
    let preflight = [
        ("Origin", "https://elsewhere.example"),
        ("Access-Control-Request-Method", "PATCH"),
        (
            "Access-Control-Request-Headers",
            "authorization,content-type,if-match",
        ),
    ];
    for (path, accept, method) in [
        ("/whip/v1", "accept-post", "POST"),
        ("/whep/v1", "accept-post", "POST"),
        ("/whip/v1/RM_x.y", "accept-patch", "PATCH"),
        ("/whep/v1/RM_x.y", "accept-patch", "DELETE"),
    ] {
        let answer = server.exchange("OPTIONS", path, &preflight, "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        let allowed = answer.header("allow").unwrap();
        assert_eq!(allowed.contains("POST"), accept == "accept-post");
        assert_eq!(allowed.contains("PATCH"), accept == "accept-patch");
        assert!(
            answer
                .header("access-control-allow-methods")
                .unwrap()
                .contains(method)
        );
        for name in ["authorization", "content-type", "if-match"] {
            assert!(
                answer
                    .header("access-control-allow-headers")
                    .unwrap()
                    .contains(name)
            );
        }
        assert!(answer.header(accept).is_some());
    }
    let answer = server
        .offer("/whip/v1", &claims("r", "camera"), WHIP_OFFER)
        .await;
    for name in ["ETag", "Link", "Location"] {
        assert!(
            answer
                .header("access-control-expose-headers")
                .unwrap()
                .contains(name)
        );
    }
    let listed = SignalingConfig {
        allowed_origins: vec!["https://ours.example".into()],
        ..SignalingConfig::default()
    };
    let server = Server::start(listed).await;
    let token = format!("Bearer {}", server.token(&claims("r", "camera")));
    for (origin, status) in [
        ("https://ours.example", 201),
        ("https://elsewhere.example", 403),
    ] {
        let headers = [
            ("Authorization", token.as_str()),
            ("Content-Type", SDP),
            ("Origin", origin),
        ];
        assert_eq!(
            server
                .exchange("POST", "/whip/v1", &headers, WHIP_OFFER)
                .await
                .status,
            status
        );
    }
}

#[tokio::test]
async fn ice_servers_are_linked_for_those_who_may_join() {
    let turn = IceServer {
        urls: vec!["turn:turn.example?transport=udp".into()],
        username: "u\"1".into(),
        credential: "secret".into(),
    };
    let stun = IceServer {
        urls: vec!["stun:stun.example".into()],
        username: String::new(),
        credential: String::new(),
    };
    let config = SignalingConfig {
        ice_servers: vec![stun, turn],
        ..SignalingConfig::default()
    };
    let server = Server::start(config).await;
    let expected = [
        "<stun:stun.example>; rel=\"ice-server\"",
        "<turn:turn.example?transport=udp>; rel=\"ice-server\"; username=\"u\\\"1\"; credential=\"secret\"; credential-type=\"password\"",
    ];
    let begun = server
        .offer("/whip/v1", &claims("r", "camera"), WHIP_OFFER)
        .await;
    assert_eq!(begun.headers("link").collect::<Vec<_>>(), expected);
    let token = format!("Bearer {}", server.token(&claims("r", "camera")));
    let authorization = ("Authorization", token.as_str());
    let options = server
        .exchange("OPTIONS", "/whep/v1", &[authorization], "")
        .await;
    assert_eq!(options.headers("link").collect::<Vec<_>>(), expected);
    let preflight = ("Access-Control-Request-Method", "POST");
    for headers in [
        &[][..],
        &[authorization, preflight],
        &[("Authorization", "Bearer x.y.z")],
    ] {
        let options = server.exchange("OPTIONS", "/whep/v1", headers, "").await;
        assert_eq!((options.status, options.header("link")), (200, None));
    }
}

#[tokio::test]
async fn a_room_takes_no_more_than_it_may() {
    let mut config = SignalingConfig::default();
    config.room.max_participants = 1;
    let server = Server::start(config).await;
    let first = Session::begin(&server, "/whip/v1", WHIP_OFFER).await;
    let full = server
        .offer("/whep/v1", &claims("r", "player"), &whep_offer())
        .await;
    assert_eq!(full.status, 403);
    assert!(full.detail().contains("full"));
    // An encoder that starts over takes its own place.
    let again = Session::begin(&server, "/whip/v1", WHIP_OFFER).await;
    assert_eq!(first.ask(&server, "GET").await.status, 404);
    assert_eq!(again.ask(&server, "GET").await.status, 204);
    assert_eq!(server.signaling.stats().http_sessions, [1, 0]);

    server.signaling.set_draining(true);
    let answer = server
        .offer("/whip/v1", &claims("another", "camera"), WHIP_OFFER)
        .await;
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("5"))
    );
    server.signaling.set_draining(false);

    server.signaling.shutdown(Duration::from_secs(5)).await;
    assert_eq!(again.ask(&server, "GET").await.status, 404);
    assert_eq!(server.signaling.stats().http_sessions, [0, 0]);
    assert_eq!(HttpProtocol::ALL.map(HttpProtocol::label), ["whip", "whep"]);

    let mut config = SignalingConfig::default();
    config.room.auto_create = false;
    let server = Server::start(config).await;
    let answer = server
        .offer("/whip/v1", &claims("r", "camera"), WHIP_OFFER)
        .await;
    assert_eq!(answer.status, 404);
}
