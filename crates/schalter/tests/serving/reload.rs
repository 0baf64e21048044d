//! Keys change while calls go on: by SIGHUP and by the admin listener.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use schalter_signaling::authority::{ApiKey, KeyRing, KeyScopes};
use schalter_signaling::token::{Claims, VideoClaims};

use crate::server::{KEY, PATIENCE, SECRET, Server, Socket, write_config};

const OTHER: &str = "another-secret-that-is-long-enough-for-hs256";

/// A token for anna, signed by a key with `roomAdmin` and everything else that a join-only key can't grant.
fn token(key: &str, secret: &str) -> String {
    let key = ApiKey::new(key, secret, Default::default(), KeyScopes::ALL).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let claims = Claims {
        identity: Some("anna".into()),
        video: Some(VideoClaims {
            room: Some("talk".into()),
            room_join: Some(true),
            room_admin: Some(true),
            room_list: Some(true),
            ..VideoClaims::default()
        }),
        ..Claims::default()
    };
    let (name, ring) = (key.name.clone(), KeyRing::new([key]).unwrap());
    ring.mint(&name, &claims, now.as_secs(), Duration::from_secs(600))
        .unwrap()
}

fn payload(token: &str) -> serde_json::Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

async fn refreshed(socket: &mut Socket) -> String {
    let wanted = |message| match message {
        Response::RefreshToken(token) => Some(token),
        _ => None,
    };
    socket.until(wanted).await
}

pub(crate) async fn until_logged(server: &Server, words: &str) -> String {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let log = server.log();
        if log.contains(words) {
            return log;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{words} is not in {log}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn hang_up(server: &Server) {
    server.signal(rustix::process::Signal::HUP);
}

fn keys(folder: &Path, keys: &str) {
    write_config(folder, &format!("keys: {{{keys}}}\n"));
}

#[tokio::test]
async fn a_rotated_key_ends_with_the_next_join_and_calls_go_on() {
    let server = Server::start("rotate", "");
    let old = token(KEY, SECRET);
    let (mut anna, join) = server.join_with(&old).await.unwrap();
    let first = refreshed(&mut anna).await;
    assert_eq!(payload(&first)["iss"], KEY);

    // Both for a while, so that backends can change.
    keys(&server.folder, &format!("{KEY}: {SECRET}, next: {OTHER}"));
    hang_up(&server);
    until_logged(&server, "keys reloaded added=1 changed=0 removed=0").await;
    let (status, text) = join_elsewhere(&server, &token("next", OTHER)).await;
    assert_eq!((status, text.as_str()), (200, "success"));
    assert_eq!(join_elsewhere(&server, &old).await.0, 200);

    keys(&server.folder, &format!("next: {OTHER}"));
    hang_up(&server);
    until_logged(&server, "keys reloaded added=0 changed=0 removed=1").await;
    for token in [&old, &first] {
        assert_eq!(
            join_elsewhere(&server, token).await,
            (401, "token's key is not known".to_owned())
        );
    }
    // The call goes on, and its client is given at once what it can come back with.
    let second = refreshed(&mut anna).await;
    assert_eq!(payload(&second)["iss"], "next");
    assert_eq!(payload(&second)["iat"], payload(&first)["iat"]);
    anna.say(Request::Ping(1)).await;
    anna.until(|m| matches!(m, Response::Pong(_)).then_some(()))
        .await;
    // Her first socket is half-open: a session whose media never connected ends with it.
    let sid = join.participant.unwrap().sid;
    let (_resumed, first) = server.resume_with(&second, &sid).await;
    assert!(matches!(first, Some(Response::Reconnect(_))), "{first:?}");
    assert_eq!(server.metric("schalter_resumes_total").await, 1.0);
    assert_eq!(server.metric("schalter_participants").await, 1.0);
}

/// What `validate` says of a token.
async fn join_elsewhere(server: &Server, token: &str) -> (u16, String) {
    server
        .get(&format!("/rtc/validate?access_token={token}"))
        .await
}

#[tokio::test]
async fn a_key_with_a_new_secret_signs_at_once_and_lends_nothing_that_it_may_not() {
    let join_only = |secret: &str| format!("{KEY}: {{secret: {secret}, scopes: [join]}}");
    let server = Server::start("resecret", &format!("keys: {{{}}}\n", join_only(SECRET)));
    let (mut anna, _) = server.join_with(&token(KEY, SECRET)).await.unwrap();
    refreshed(&mut anna).await;
    keys(&server.folder, &join_only(OTHER));
    hang_up(&server);
    let fresh = refreshed(&mut anna).await;
    assert_eq!(join_elsewhere(&server, &fresh).await.0, 200);
    assert_eq!(join_elsewhere(&server, &token(KEY, SECRET)).await.0, 401);
    // What is signed by a key for everything grants no more than the key that it began with could.
    keys(&server.folder, &format!("all: {OTHER}"));
    hang_up(&server);
    let fresh = refreshed(&mut anna).await;
    let claims = payload(&fresh);
    assert_eq!(claims["iss"], "all");
    assert_eq!(claims["video"]["roomJoin"], true);
    assert_eq!(claims["video"].get("roomAdmin"), None);
    assert_eq!(claims["video"].get("roomList"), None);
    assert_eq!(join_elsewhere(&server, &fresh).await.0, 200);
    // Nobody of its authority is left to sign: no fresh token, and the call goes on.
    keys(
        &server.folder,
        &format!("all: {{secret: {OTHER}, authority: bonn}}"),
    );
    hang_up(&server);
    until_logged(&server, "changed=1").await;
    anna.say(Request::Ping(1)).await;
    let next = anna.message().await;
    assert!(matches!(next, Some(Response::Pong(_))), "{next:?}");
}

#[tokio::test]
async fn a_file_that_is_no_good_leaves_the_keys_in_force_and_says_why() {
    let server = Server::start("bad-reload", "");
    for (file, reason) in [
        (
            format!("keys: {{{KEY}: short}}\n"),
            "at least 32 characters",
        ),
        (format!("kesy: {{{KEY}: {OTHER}}}\n"), "kesy"),
        (": :\n".to_owned(), "schalter.yaml"),
        ("keys: {}\n".to_owned(), "doesn't take away all keys"),
    ] {
        write_config(&server.folder, &file);
        let (status, head, body) = server.admin("POST /v1/reload").await;
        assert_eq!(status, 422, "{body}");
        assert!(head.contains("application/problem+json"), "{head}");
        assert!(body.contains(reason), "{body}");
        let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["status"], 422);
        assert!(!body.contains(OTHER), "{body}");
    }
    hang_up(&server);
    let log = until_logged(
        &server,
        "nothing reloaded: keys and certificate stay as they were",
    )
    .await;
    assert!(log.contains("doesn't take away all keys"), "{log}");
    server.join_with(&token(KEY, SECRET)).await.unwrap();
}

#[tokio::test]
async fn what_takes_a_restart_is_told_and_changes_nothing() {
    let server = Server::start("restart-only", "");
    let more = format!(
        "room: {{max_participants: 1}}\nlimits: {{rooms: 7}}\nkeys: {{{KEY}: {SECRET}, next: {OTHER}}}\n"
    );
    write_config(&server.folder, &more);
    let (status, _, body) = server.admin("POST /v1/reload").await;
    assert_eq!(status, 200, "{body}");
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    let expected = serde_json::json!({
        "added": ["next"], "changed": [], "removed": [], "certificate": false, "desk": false,
        "needs_restart": ["room", "limits"],
    });
    assert_eq!(told, expected);
    hang_up(&server);
    until_logged(&server, "need a restart parts=[\"room\", \"limits\"]").await;
    server.join("talk", "a").await.unwrap();
    server.join("talk", "b").await.unwrap();
    assert_eq!(server.admin("GET /v1/reload").await.0, 405);
    assert_eq!(server.admin_as("POST /v1/reload", None).await.0, 401);
}
