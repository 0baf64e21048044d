//! Values of the configuration take effect in the running server, at and past their edges.

use std::time::{Duration, Instant};

use futures_util::SinkExt;
use livekit_protocol::request_response::Reason;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{AddTrackRequest, PublishDataTrackRequest, TrackSource, TrackType};
use schalter_load::call::{Call, CallPlan, Generator, PeerOptions};
use schalter_load::client::Certificate;
use schalter_load::feed::FeedConfig;
use schalter_load::receive::Feedback;
use schalter_load::target::Target;
use schalter_model::SrtpProfile;
use tokio_tungstenite::tungstenite::Message;

use crate::server::{PATIENCE, Server, Socket};

fn microphone(cid: &str) -> Request {
    Request::AddTrack(AddTrackRequest {
        cid: cid.to_owned(),
        r#type: TrackType::Audio as i32,
        source: TrackSource::Microphone as i32,
        ..AddTrackRequest::default()
    })
}

/// Waits for the answer to a request: whether it was taken, or why not.
async fn taken(socket: &mut Socket) -> Result<(), Reason> {
    socket
        .until(|message| match message {
            Response::TrackPublished(_) | Response::PublishDataTrackResponse(_) => Some(Ok(())),
            Response::RequestResponse(answer) => Some(Err(answer.reason())),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn rooms_and_participants_are_bounded() {
    let server = Server::start(
        "bounds",
        "limits:\n  rooms: 1\n  participants_per_room: 2\nroom:\n  max_participants: 0\n",
    );
    let (_a, _) = server.join("r", "a").await.unwrap();
    let (_b, _) = server.join("r", "b").await.unwrap();
    let (status, reason) = server.join("r", "c").await.err().unwrap();
    assert_eq!(status, 403, "{reason}");
    let (status, reason) = server.join("s", "a").await.err().unwrap();
    assert_eq!(status, 503, "{reason}");
}

#[tokio::test]
async fn a_rooms_maximum_timeouts_codecs_servers_pings_and_region_are_those_of_the_file() {
    let server = Server::start(
        "room",
        "region: ulm\nsignaling:\n  ping_interval: 7\n  ping_timeout: 21\nice_servers:\n  - urls: stun:stun.example\nroom:\n  max_participants: 1\n  \
         departure_timeout: 0\n  enabled_codecs:\n    - mime: video/vp9\n    - mime: audio/opus\n",
    );
    let (a, join) = server.join("r", "a").await.unwrap();
    assert_eq!(server.join("r", "b").await.err().unwrap().0, 403);
    let codecs: Vec<_> = join
        .enabled_publish_codecs
        .iter()
        .map(|c| c.mime.as_str())
        .collect();
    assert_eq!(codecs, ["video/VP9", "audio/opus"]);
    assert_eq!(join.ice_servers[0].urls, ["stun:stun.example"]);
    assert_eq!(join.server_region, "ulm");
    assert_eq!((join.ping_interval, join.ping_timeout), (7, 21));
    drop(a);
    server.until_metric("schalter_rooms", 0.0).await;
}

#[tokio::test]
async fn tracks_and_data_tracks_of_a_participant_are_bounded() {
    let server = Server::start(
        "tracks",
        "limits:\n  tracks_per_participant: 2\n  data_tracks_per_participant: 1\n",
    );
    let (mut a, _) = server.join("r", "a").await.unwrap();
    for (cid, answer) in [
        ("1", Ok(())),
        ("2", Ok(())),
        ("3", Err(Reason::LimitExceeded)),
    ] {
        a.say(microphone(cid)).await;
        assert_eq!(taken(&mut a).await, answer, "{cid}");
    }
    for (handle, answer) in [(1, Ok(())), (2, Err(Reason::LimitExceeded))] {
        let request = PublishDataTrackRequest {
            pub_handle: handle,
            name: format!("data-{handle}"),
            ..PublishDataTrackRequest::default()
        };
        a.say(Request::PublishDataTrackRequest(request)).await;
        assert_eq!(taken(&mut a).await, answer, "{handle}");
    }
}

#[tokio::test]
async fn a_message_beyond_the_limit_closes_the_connection_and_is_counted() {
    let server = Server::start("size", "limits:\n  message_bytes: 20000\n");
    let (mut a, _) = server.join("r", "a").await.unwrap();
    a.stream
        .send(Message::binary(vec![0xff; 20_000]))
        .await
        .unwrap();
    a.say(Request::Ping(1)).await;
    a.until(|m| matches!(m, Response::Pong(_)).then_some(()))
        .await;
    assert_eq!(
        server
            .metric("schalter_signaling_messages_oversized_total")
            .await,
        0.0
    );
    // The server may close before all of it is written.
    let _ = a.stream.send(Message::binary(vec![0xff; 20_001])).await;
    while a.message().await.is_some() {}
    server
        .until_metric("schalter_signaling_messages_oversized_total", 1.0)
        .await;
}

#[tokio::test]
async fn messages_beyond_the_rate_wait_and_are_counted() {
    let server = Server::start(
        "rate",
        "limits:\n  messages_per_second: 10\n  message_burst: 5\n",
    );
    let (mut a, _) = server.join("r", "a").await.unwrap();
    let start = Instant::now();
    for n in 0..10 {
        a.say(Request::Ping(n)).await;
    }
    for _ in 0..10 {
        a.until(|m| matches!(m, Response::Pong(_)).then_some(()))
            .await;
    }
    // Five at once, five more at ten a second.
    assert!(
        start.elapsed() >= Duration::from_millis(450),
        "{:?}",
        start.elapsed()
    );
    assert!(
        server
            .metric("schalter_signaling_messages_delayed_total")
            .await
            >= 1.0
    );
}

#[tokio::test]
async fn connections_are_bounded_and_slow_ones_end() {
    let server = Server::start("conns", "limits:\n  connections: 2\n  request_seconds: 1\n");
    // That one which looked whether the port answers, and asked nothing.
    let unanswered = "schalter_http_connections_unanswered_total";
    server.until_metric(unanswered, 1.0).await;
    server.until_metric("schalter_http_connections", 0.0).await;
    let (_a, _) = server.join("r", "a").await.unwrap();
    // Two more than there is place for one: it is open which of them is let in.
    let address = ("127.0.0.1", server.port);
    let silent = [
        tokio::net::TcpStream::connect(address).await.unwrap(),
        tokio::net::TcpStream::connect(address).await.unwrap(),
    ];
    server
        .until_metric("schalter_http_connections_refused_total", 1.0)
        .await;
    // The WebSocket stays, the silent one gives its place back.
    server.until_metric("schalter_http_connections", 1.0).await;
    server.until_metric(unanswered, 2.0).await;
    let (_b, _) = server.join("r", "b").await.unwrap();
    drop(silent);
}

#[tokio::test]
async fn only_allowed_origins_open_a_websocket() {
    let server = Server::start("origins", "allowed_origins: [\"https://good.example\"]\n");
    let status = |result: Result<_, (u16, String)>| result.err().map(|(status, _)| status);
    assert_eq!(
        status(
            server
                .join_from("r", "a", Some("https://evil.example"))
                .await
        ),
        Some(403)
    );
    assert_eq!(
        status(
            server
                .join_from("r", "a", Some("https://good.example"))
                .await
        ),
        None
    );
    assert_eq!(status(server.join_from("r", "a", None).await), None);
}

/// Tries a call with a publisher and a subscriber that offer this profile only.
async fn call_with(server: &Server, profile: SrtpProfile) -> bool {
    let mut generator = Generator::start(PeerOptions {
        local: std::net::Ipv4Addr::LOCALHOST.into(),
        profile,
        feedback: Feedback::default(),
        core: None,
    })
    .unwrap();
    let plan = CallPlan {
        rooms: 1,
        publishers: 1,
        subscribers: 1,
        mutual: false,
        feed: FeedConfig::default(),
        name: format!("{profile:?}"),
    };
    let target = Target::LiveKit(server.livekit());
    match Call::start(&target, &mut generator, plan).await {
        Ok(call) => {
            call.end(&mut generator).await;
            true
        }
        Err(_) => false,
    }
}

#[tokio::test]
async fn the_strict_crypto_profile_takes_aead_only() {
    let standard = Server::start("standard", "");
    assert!(call_with(&standard, SrtpProfile::Aes128CmSha1_80).await);
    let strict = Server::start("bsi", "crypto_profile: bsi\n");
    assert!(call_with(&strict, SrtpProfile::AeadAes128Gcm).await);
    assert!(!call_with(&strict, SrtpProfile::Aes128CmSha1_80).await);
}

#[tokio::test]
async fn half_open_transports_are_bounded() {
    let server = Server::start(
        "halfopen",
        "limits:\n  half_open_transports_per_worker: 2\n",
    );
    let certificate = Certificate::generate().unwrap();
    let livekit = server.livekit();
    let mut knocks = Vec::new();
    for n in 0..3 {
        let identity = format!("p{n}");
        let knock = livekit.knock("r", &identity, certificate.fingerprint());
        knocks.push(knock.await.unwrap());
    }
    let deadline = Instant::now() + PATIENCE;
    while !knocks[2].ended() {
        assert!(Instant::now() < deadline, "the third one is turned away");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!knocks[0].ended() && !knocks[1].ended());
    server
        .until_metric("schalter_drops_total{reason=\"transport_limit\"}", 1.0)
        .await;
}
