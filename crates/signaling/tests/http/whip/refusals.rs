//! What is refused, and how that is said.

use super::*;

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
