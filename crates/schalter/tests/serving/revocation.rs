//! Tokens that an operator or a backend withdraws stay withdrawn, also when the server is restarted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schalter_signaling::authority::{ApiKey, KeyRing, KeyScopes};
use schalter_signaling::token::{Claims, VideoClaims};

use crate::server::{KEY, SECRET, Scratch, Server, folder};

fn token(identity: &str, jti: &str) -> String {
    let key = ApiKey::new(KEY, SECRET, Default::default(), KeyScopes::ALL).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let claims = Claims {
        jti: (!jti.is_empty()).then(|| jti.to_owned()),
        identity: Some(identity.into()),
        video: Some(VideoClaims {
            room: Some("talk".into()),
            room_join: Some(true),
            ..VideoClaims::default()
        }),
        ..Claims::default()
    };
    let ring = KeyRing::new([key]).unwrap();
    ring.mint(KEY, &claims, now.as_secs(), Duration::from_secs(600))
        .unwrap()
}

async fn remove(server: &Server, token: &str, query: &str) -> (u16, String) {
    let (_socket, join) = server.join_with(token).await.unwrap();
    let (room, who) = (join.room.unwrap().sid, join.participant.unwrap().sid);
    let path = format!("DELETE /v1/rooms/{room}/participants/{who}{query}");
    let (status, _, body) = server.admin(&path).await;
    (status, body)
}

#[tokio::test]
async fn a_withdrawn_token_is_refused_by_the_next_process_too() {
    let state = Scratch::new("revoked-state");
    let more = format!("state_dir: {}\n", state.display());
    let mut server = Server::start("revoked-1", &more);
    let (anna, ben) = (token("anna", "t-1"), token("ben", ""));
    assert_eq!(remove(&server, &anna, "?revoke=token").await.0, 204);
    assert_eq!(remove(&server, &ben, "?revoke=identity").await.0, 204);
    assert_eq!(server.metric("schalter_token_revocations").await, 2.0);
    let second = crate::server::command(&folder("revoked-beside"), &[], &more)
        .output()
        .unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(
        second.status.code(),
        Some(2),
        "two would lose each other's: {said}"
    );
    assert!(said.contains("another server uses it"), "{said}");
    server.stop();

    let server = Server::start("revoked-2", &more);
    for token in [&anna, &ben] {
        let (status, text) = server.join_with(token).await.err().unwrap();
        assert_eq!((status, text.as_str()), (401, "token has been revoked"));
    }
    assert_eq!(server.metric("schalter_token_revocations").await, 2.0);
    let refused = server.metric("schalter_tokens_revoked_refused_total").await;
    assert_eq!(refused, 2.0);
    server.join_with(&token("anna", "t-2")).await.unwrap();
    // Nobody's name is logged for it.
    let log = server.log();
    assert!(!log.contains("anna") && !log.contains("t-1"), "{log}");
}

#[tokio::test]
async fn without_being_asked_a_removal_by_an_operator_takes_nothing_back() {
    let server = Server::start("removed-only", "");
    let anna = token("anna", "");
    assert_eq!(remove(&server, &anna, "").await.0, 204);
    let (status, body) = remove(&server, &anna, "?revoke=token").await;
    assert_eq!(status, 409, "{body}");
    assert!(body.contains("no jti"), "{body}");
    for bad in ["?revoke=all", "?revoked=token"] {
        assert_eq!(remove(&server, &anna, bad).await.0, 400, "{bad}");
    }
    server.join_with(&anna).await.unwrap();
}

#[tokio::test]
async fn at_its_limit_the_operator_is_told_that_the_tokens_stay_good() {
    let server = Server::start("revoked-full", "limits: {revocations: 1}\n");
    let (anna, ben) = (token("anna", ""), token("ben", ""));
    assert_eq!(remove(&server, &anna, "?revoke=identity").await.0, 204);
    let (status, body) = remove(&server, &ben, "?revoke=identity").await;
    assert_eq!(status, 507, "{body}");
    assert!(body.contains("limits.revocations"), "{body}");
    server.join_with(&ben).await.unwrap();
    assert_eq!(server.join_with(&anna).await.err().unwrap().0, 401);
}
