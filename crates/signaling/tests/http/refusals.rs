//! Who is not let in, and how it is told.

use livekit_protocol::signal_response::Message as Response;
use schalter_signaling::{JoinStage, SignalingConfig};

use crate::support::{Server, claims, edited, join_request};

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
