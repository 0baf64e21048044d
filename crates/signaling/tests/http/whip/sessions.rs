//! What a session does: it publishes, takes candidates, restarts ICE, ends.

use super::*;

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
