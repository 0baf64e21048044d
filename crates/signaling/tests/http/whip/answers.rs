//! What stands in answers beside the description: who may read them, ICE servers, a room that is full.

use super::*;

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
