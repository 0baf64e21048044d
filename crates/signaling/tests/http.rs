//! Real sockets on the loopback: refusals before the upgrade, framing, limits, shutdown.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it doesn't expect may panic, and looks at single variants"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use futures_util::{SinkExt, StreamExt};
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{
    DisconnectReason, JoinRequest, MuteTrackRequest, SignalRequest, SignalResponse,
    WrappedJoinRequest,
};
use prost::Message as _;
use schalter_model::{AuthorityId, ShardId, SrtpProfile, TransportId};
use schalter_shard::control::{Command, Event, TransportState};
use schalter_signaling::authority::{ApiKey, KeyRing, KeyScopes};
use schalter_signaling::token::{Claims, VideoClaims};
use schalter_signaling::{JoinStage, MediaPlane, ShardInfo, Signaling, SignalingConfig};
use schalter_transport::{CertificateKind, Fingerprint, FingerprintHash};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const SECRET: &str = "a secret of at least thirty-two bytes";

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

struct FakeMedia {
    shards: Vec<ShardInfo>,
    fingerprints: Vec<(CertificateKind, Fingerprint)>,
    commands: Mutex<Vec<(ShardId, Command)>>,
    /// Transports connect as soon as they are opened.
    events: mpsc::UnboundedSender<(ShardId, Event)>,
}

impl FakeMedia {
    fn opened(&self) -> Vec<(ShardId, TransportId)> {
        let commands = self.commands.lock().unwrap();
        commands
            .iter()
            .filter_map(|(shard, c)| match c {
                Command::OpenTransport { transport, .. } => Some((*shard, *transport)),
                _ => None,
            })
            .collect()
    }
}

impl MediaPlane for FakeMedia {
    fn shards(&self) -> &[ShardInfo] {
        &self.shards
    }

    fn send(&self, shard: ShardId, command: Command) {
        if let Command::OpenTransport { transport, .. } = &command {
            let event = Event::TransportState {
                transport: *transport,
                state: TransportState::Connected {
                    profile: SrtpProfile::AeadAes128Gcm,
                },
            };
            // The test may be over.
            let _ = self.events.send((shard, event));
        }
        self.commands.lock().unwrap().push((shard, command));
    }

    fn fingerprints(&self) -> &[(CertificateKind, Fingerprint)] {
        &self.fingerprints
    }

    fn node(&self) -> u16 {
        7
    }
}

struct Server {
    address: SocketAddr,
    signaling: Signaling,
    media: Arc<FakeMedia>,
    keys: Arc<ArcSwap<KeyRing>>,
}

impl Server {
    async fn start(config: SignalingConfig) -> Self {
        let (events, receiver) = mpsc::unbounded_channel();
        let shard = |n: u8| ShardInfo {
            id: ShardId(n),
            candidates: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 7000 + u16::from(n)))],
        };
        let media = Arc::new(FakeMedia {
            shards: vec![shard(0), shard(1)],
            fingerprints: vec![(
                CertificateKind::Ecdsa,
                Fingerprint {
                    hash: FingerprintHash::Sha256,
                    digest: vec![1; 32],
                },
            )],
            commands: Mutex::default(),
            events,
        });
        let key = |name| ApiKey::new(name, SECRET, AuthorityId::default(), KeyScopes::ALL).unwrap();
        let keys = Arc::new(ArcSwap::from_pointee(KeyRing::new([key("key")]).unwrap()));
        let signaling = Signaling::new(config, Arc::clone(&keys), media.clone(), receiver);
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let router = signaling.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            signaling,
            media,
            keys,
        }
    }

    fn token(&self, claims: &Claims) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let ring = self.keys.load();
        ring.mint("key", claims, now.as_secs(), Duration::from_secs(60))
            .unwrap()
    }

    /// A plain GET; returns status, headers, body.
    async fn get(&self, path: &str, headers: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    async fn connect(&self, path: &str) -> Result<Socket, (u16, String)> {
        self.connect_from(path, None).await
    }

    async fn connect_from(
        &self,
        path: &str,
        origin: Option<&str>,
    ) -> Result<Socket, (u16, String)> {
        let mut request = format!("ws://{}{path}", self.address)
            .into_client_request()
            .unwrap();
        if let Some(origin) = origin {
            request
                .headers_mut()
                .insert("origin", origin.parse().unwrap());
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((stream, _)) => Ok(Socket { stream }),
            Err(Error::Http(response)) => {
                let body = response.body().clone().unwrap_or_default();
                Err((response.status().as_u16(), String::from_utf8(body).unwrap()))
            }
            Err(error) => panic!("{error}"),
        }
    }

    async fn join(&self, room: &str, identity: &str) -> Socket {
        let token = self.token(&claims(room, identity));
        self.connect(&format!("/rtc?access_token={token}"))
            .await
            .unwrap()
    }
}

struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    async fn frame(&mut self) -> Option<Message> {
        tokio::time::timeout(PATIENCE, self.stream.next())
            .await
            .expect("no frame in time")
            .and_then(Result::ok)
    }

    /// The next message; `None` after close.
    async fn message(&mut self) -> Option<Response> {
        loop {
            match self.frame().await? {
                Message::Binary(bytes) => {
                    return SignalResponse::decode(bytes).unwrap().message;
                }
                Message::Text(text) => {
                    return serde_json::from_str::<SignalResponse>(&text)
                        .unwrap()
                        .message;
                }
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    async fn until(&mut self, wanted: impl Fn(&Response) -> bool) -> Response {
        loop {
            let message = self.message().await.expect("closed before");
            if wanted(&message) {
                return message;
            }
        }
    }

    async fn say(&mut self, request: Request) {
        let request = SignalRequest {
            message: Some(request),
        };
        self.stream
            .send(Message::Binary(request.encode_to_vec().into()))
            .await
            .unwrap();
    }
}

fn claims(room: &str, identity: &str) -> Claims {
    Claims {
        identity: Some(identity.into()),
        video: Some(VideoClaims {
            room: Some(room.into()),
            room_join: Some(true),
            ..VideoClaims::default()
        }),
        ..Claims::default()
    }
}

fn edited(edit: impl FnOnce(&mut Claims)) -> Claims {
    let mut claims = claims("r", "alice");
    edit(&mut claims);
    claims
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("never: {what}"));
}

fn join_request() -> String {
    let wrapped = WrappedJoinRequest {
        join_request: JoinRequest {
            participant_sid: "unused".into(),
            ..JoinRequest::default()
        }
        .encode_to_vec(),
        ..WrappedJoinRequest::default()
    };
    URL_SAFE.encode(wrapped.encode_to_vec())
}

#[tokio::test]
async fn refusals_have_their_status_on_both_paths_and_never_echo_the_token() {
    let server = Server::start(SignalingConfig::default()).await;
    let good = server.token(&claims("r", "alice"));
    let no_video = server.token(&edited(|c| c.video = None));
    let no_join = server.token(&edited(|c| c.video.as_mut().unwrap().room_join = None));
    let no_room = server.token(&edited(|c| c.video.as_mut().unwrap().room = None));
    let no_identity = server.token(&edited(|c| c.identity = None));
    let forged = format!("{}x", good);
    let request = join_request();
    for (token, status) in [
        ("", 401),
        ("garbage", 401),
        ("a.b.c", 401),
        (&forged, 401),
        (&no_video, 401),
        (&no_join, 401),
        (&no_room, 400),
        (&no_identity, 400),
    ] {
        for path in ["/rtc", "/rtc/v1"] {
            let query = format!("?access_token={token}&join_request={request}");
            let (code, text) = match server.connect(&format!("{path}{query}")).await {
                Ok(_) => panic!("let in: {token}"),
                Err(refusal) => refusal,
            };
            assert_eq!(code, status, "{path} {token}");
            let (checked, head, body) = server.get(&format!("{path}/validate{query}"), "").await;
            assert_eq!((checked, body.as_str()), (status, text.as_str()));
            assert!(head.contains("access-control-allow-origin: *"), "{head}");
            assert!(token.is_empty() || !text.contains(token), "{text}");
        }
    }
    let stats = server.signaling.stats();
    assert_eq!(stats.failures_at(JoinStage::Token), 16);
    assert_eq!((stats.rooms, stats.joins), (0, 0));
}

#[tokio::test]
async fn v1_wants_a_join_request_that_can_be_read() {
    let server = Server::start(SignalingConfig::default()).await;
    let token = server.token(&claims("r", "alice"));
    for request in ["", "!!", "AAAA"] {
        let path = format!("/rtc/v1?access_token={token}&join_request={request}");
        assert_eq!(server.connect(&path).await.err().unwrap().0, 400);
    }
    let path = format!(
        "/rtc/v1?access_token={token}&join_request={}",
        join_request()
    );
    let mut socket = server.connect(&path).await.unwrap();
    assert!(matches!(socket.message().await, Some(Response::Join(_))));
}

#[tokio::test]
async fn what_is_no_upgrade_is_not_found() {
    let server = Server::start(SignalingConfig::default()).await;
    let token = server.token(&claims("r", "alice"));
    for path in ["/rtc", "/rtc/v1"] {
        let (status, ..) = server
            .get(&format!("{path}?access_token={token}"), "")
            .await;
        assert_eq!(status, 404, "{path}");
    }
}

#[tokio::test]
async fn the_token_may_come_as_a_header() {
    let server = Server::start(SignalingConfig::default()).await;
    let token = server.token(&claims("r", "alice"));
    let header = format!("Authorization: Bearer {token}\r\n");
    let (status, _, body) = server.get("/rtc/validate", &header).await;
    assert_eq!((status, body.as_str()), (200, "success"));
}

#[tokio::test]
async fn only_listed_origins_may_connect_if_there_is_a_list() {
    let config = SignalingConfig {
        allowed_origins: vec!["https://ulm.example".into()],
        ..SignalingConfig::default()
    };
    let listed = Server::start(config).await;
    let open = Server::start(SignalingConfig::default()).await;
    let cases = [
        (&listed, Some("https://ulm.example"), true),
        (&listed, Some("https://evil.example"), false),
        (&listed, None, true),
        (&open, Some("https://evil.example"), true),
    ];
    for (server, origin, lets_in) in cases {
        let token = server.token(&claims("r", "alice"));
        let path = format!("/rtc?access_token={token}");
        let answer = server.connect_from(&path, origin).await;
        assert_eq!(answer.is_ok(), lets_in, "{origin:?}");
        if let Err((status, _)) = answer {
            assert_eq!(status, 403);
        }
    }
}

#[tokio::test]
async fn a_full_room_and_a_full_server_say_so_before_the_upgrade() {
    let mut config = SignalingConfig::default();
    config.limits.participants_per_room = 1;
    config.limits.rooms_per_authority = 1;
    let server = Server::start(config).await;
    let _alice = server.join("r", "alice").await;
    for (room, text) in [("r", "room is full"), ("other", "too many rooms")] {
        let token = server.token(&claims(room, "bob"));
        let query = format!("?access_token={token}");
        let refusal = server.connect(&format!("/rtc{query}")).await.err();
        assert_eq!(refusal, Some((403, text.to_owned())));
        let (status, _, body) = server.get(&format!("/rtc/validate{query}"), "").await;
        assert_eq!((status, body.as_str()), (403, text));
    }
    assert_eq!(server.signaling.stats().failures_at(JoinStage::Capacity), 2);
}

#[tokio::test]
async fn a_server_that_has_all_its_rooms_may_be_asked_again_later() {
    let mut config = SignalingConfig::default();
    config.limits.rooms = 1;
    let server = Server::start(config).await;
    let _alice = server.join("r", "alice").await;
    let token = server.token(&claims("other", "bob"));
    let refusal = server
        .connect(&format!("/rtc?access_token={token}"))
        .await
        .err();
    assert_eq!(refusal.map(|(status, _)| status), Some(503));
    let _bob = server.join("r", "bob").await;
}

#[tokio::test]
async fn a_session_begins_with_join_and_refresh_token_and_answers_pings() {
    let server = Server::start(SignalingConfig::default()).await;
    let mut alice = server.join("r", "alice").await;
    assert!(matches!(alice.message().await, Some(Response::Join(_))));
    let Response::RefreshToken(token) = alice
        .until(|m| matches!(m, Response::RefreshToken(_)))
        .await
    else {
        panic!()
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let grants = server.keys.load().verify(&token, now.as_secs()).unwrap();
    assert_eq!(grants.identity, "alice");
    alice.say(Request::Ping(1)).await;
    alice.until(|m| matches!(m, Response::Pong(_))).await;
    eventually("alice is active", || {
        server.signaling.stats().joins_connected == 1
    })
    .await;
    let opened = server.media.opened();
    assert_eq!(opened.len(), 1, "the publisher's opens with its offer");
}

#[tokio::test]
async fn participants_are_spread_over_shards() {
    let server = Server::start(SignalingConfig::default()).await;
    let mut sockets = Vec::new();
    for n in 0..4 {
        sockets.push(server.join("r", &format!("p{n}")).await);
    }
    let shards: Vec<_> = server.media.opened().iter().map(|(s, _)| s.0).collect();
    assert_eq!(shards, [0, 1, 0, 1]);
}

#[tokio::test]
async fn text_frames_are_answered_in_json() {
    let server = Server::start(SignalingConfig::default()).await;
    let mut alice = server.join("r", "alice").await;
    let text = r#"{"pingReq":{"timestamp":"5"}}"#;
    alice.stream.send(Message::text(text)).await.unwrap();
    loop {
        if let Some(Message::Text(text)) = alice.frame().await
            && text.contains("pongResp")
        {
            assert!(text.contains(r#""lastPingTimestamp":"5""#), "{text}");
            break;
        }
    }
}

#[tokio::test]
async fn malformed_frames_are_counted_and_survived() {
    let server = Server::start(SignalingConfig::default()).await;
    let mut alice = server.join("r", "alice").await;
    let frames = [Message::binary(vec![0xff; 9]), Message::text("{")];
    for frame in frames {
        alice.stream.send(frame).await.unwrap();
    }
    let mute = MuteTrackRequest {
        sid: "TR_x".into(),
        muted: true,
    };
    alice.say(Request::Mute(mute)).await;
    alice
        .until(|m| matches!(m, Response::RequestResponse(_)))
        .await;
    assert_eq!(server.signaling.stats().messages_malformed, 2);
}

#[tokio::test]
async fn a_message_beyond_the_limit_ends_the_socket_and_one_at_it_does_not() {
    let mut config = SignalingConfig::default();
    config.limits.message_bytes = 10_000;
    let server = Server::start(config).await;
    let mut alice = server.join("r", "alice").await;
    alice
        .stream
        .send(Message::binary(vec![0xff; 10_000]))
        .await
        .unwrap();
    alice.say(Request::Ping(1)).await;
    alice.until(|m| matches!(m, Response::Pong(_))).await;
    // The server may close before all of it is written.
    let _ = alice.stream.send(Message::binary(vec![0xff; 10_001])).await;
    while alice.message().await.is_some() {}
    eventually("the socket is gone", || {
        server.signaling.stats().connections == 0
    })
    .await;
}

#[tokio::test]
async fn who_asks_too_fast_waits_but_loses_nothing() {
    let mut config = SignalingConfig::default();
    config.limits.messages_per_second = 20;
    config.limits.message_burst = 10;
    let server = Server::start(config).await;
    let mut alice = server.join("r", "alice").await;
    let start = std::time::Instant::now();
    for n in 0..20 {
        alice.say(Request::Ping(n)).await;
    }
    for _ in 0..20 {
        alice.until(|m| matches!(m, Response::Pong(_))).await;
    }
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(450), "{took:?}");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    let mut config = SignalingConfig::default();
    config.limits.send_queue = 8;
    config.limits.messages_per_second = 1_000_000;
    config.limits.message_burst = 1_000_000;
    let server = Server::start(config).await;
    let mut alice = server.join("r", "alice").await;
    // Every mute of an unknown track is answered with its own size: the answers fill socket and queue.
    let mute = SignalRequest {
        message: Some(Request::Mute(MuteTrackRequest {
            sid: "x".repeat(100_000),
            muted: true,
        })),
    }
    .encode_to_vec();
    let flood = async {
        for _ in 0..2_000 {
            if alice
                .stream
                .send(Message::Binary(mute.clone().into()))
                .await
                .is_err()
            {
                break;
            }
            if server.signaling.stats().slow_clients > 0 {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, flood).await.unwrap();
    eventually("counted", || server.signaling.stats().slow_clients == 1).await;
    eventually("its session is over", || {
        server.signaling.stats().participants == 0
    })
    .await;
}

#[tokio::test]
async fn resuming_a_session_of_a_room_that_is_gone_makes_no_room() {
    let server = Server::start(SignalingConfig::default()).await;
    let token = server.token(&claims("r", "ghost"));
    let path = format!("/rtc?access_token={token}&reconnect=1&sid=PA_unknown");
    let mut socket = server.connect(&path).await.unwrap();
    let Some(Response::Leave(leave)) = socket.message().await else {
        panic!()
    };
    assert_eq!(leave.reason(), DisconnectReason::StateMismatch);
    assert_eq!(leave.action, 2);
    assert!(socket.message().await.is_none(), "closed after leave");
    let stats = server.signaling.stats();
    assert_eq!((stats.rooms, stats.failures_at(JoinStage::Resume)), (0, 1));
}

#[tokio::test]
async fn a_lost_socket_is_resumed_with_its_session() {
    let server = Server::start(SignalingConfig::default()).await;
    let mut alice = server.join("r", "alice").await;
    let Some(Response::Join(join)) = alice.message().await else {
        panic!()
    };
    let sid = join.participant.unwrap().sid;
    eventually("alice is active", || {
        server.signaling.stats().joins_connected == 1
    })
    .await;
    drop(alice);
    eventually("the socket is gone", || {
        server.signaling.stats().connections == 0
    })
    .await;
    let token = server.token(&claims("r", "alice"));
    let path = format!("/rtc?access_token={token}&reconnect=1&sid={sid}");
    let mut alice = server.connect(&path).await.unwrap();
    assert!(matches!(
        alice.message().await,
        Some(Response::Reconnect(_))
    ));
    assert_eq!(server.signaling.stats().resumes, 1);
    assert_eq!(server.signaling.stats().participants, 1);
}

#[tokio::test]
async fn the_same_identity_ends_the_older_socket() {
    let server = Server::start(SignalingConfig::default()).await;
    let mut old = server.join("r", "alice").await;
    let mut new = server.join("r", "alice").await;
    let leave = old.until(|m| matches!(m, Response::Leave(_))).await;
    let Response::Leave(leave) = leave else {
        panic!()
    };
    assert_eq!(leave.reason(), DisconnectReason::DuplicateIdentity);
    assert!(old.message().await.is_none());
    new.say(Request::Ping(1)).await;
    new.until(|m| matches!(m, Response::Pong(_))).await;
}

#[tokio::test]
async fn shutdown_tells_everybody_and_lets_nobody_in() {
    let server = Server::start(SignalingConfig::default()).await;
    let mut alice = server.join("r", "alice").await;
    let mut bob = server.join("other", "bob").await;
    let down = server.signaling.clone();
    let shutdown = tokio::spawn(async move { down.shutdown(PATIENCE).await });
    for socket in [&mut alice, &mut bob] {
        let leave = socket.until(|m| matches!(m, Response::Leave(_))).await;
        let Response::Leave(leave) = leave else {
            panic!()
        };
        assert_eq!(leave.reason(), DisconnectReason::ServerShutdown);
        assert!(socket.message().await.is_none());
    }
    tokio::time::timeout(PATIENCE, shutdown)
        .await
        .unwrap()
        .unwrap();
    let token = server.token(&claims("r", "carol"));
    let refusal = server
        .connect(&format!("/rtc?access_token={token}"))
        .await
        .err();
    assert_eq!(refusal.map(|(status, _)| status), Some(503));
    assert_eq!(server.signaling.stats().rooms, 0);
}

#[tokio::test]
async fn an_empty_room_is_forgotten() {
    let mut config = SignalingConfig::default();
    config.room.departure_timeout = Duration::ZERO;
    let server = Server::start(config).await;
    let mut alice = server.join("r", "alice").await;
    alice.say(Request::Leave(Default::default())).await;
    eventually("no room is left", || server.signaling.stats().rooms == 0).await;
    let mut again = server.join("r", "alice").await;
    assert!(matches!(again.message().await, Some(Response::Join(_))));
}
