//! Backends in Rust: the crate `livekit-api` 0.10.0, unmodified, calls the room service, mints tokens and takes webhooks.

use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

use livekit_api::access_token::{AccessToken, TokenVerifier, VideoGrants};
use livekit_api::services::room::{
    CreateRoomOptions, RemoveParticipantOptions, RoomClient, SendDataOptions,
    UpdateParticipantOptions,
};
use livekit_api::services::{ServerError, ServiceError};
use livekit_api::webhooks::{WebhookError, WebhookReceiver};
use livekit_protocol::DisconnectReason;
use livekit_protocol::signal_response::Message as Response;

use crate::server::{KEY, PATIENCE, SECRET, Server, Socket};
use crate::webhooks::receiver;

fn client(server: &Server) -> RoomClient {
    RoomClient::with_api_key(&format!("http://127.0.0.1:{}", server.port), KEY, SECRET)
}

fn token(room: &str, identity: &str) -> String {
    let grants = VideoGrants {
        room_join: true,
        room: room.to_owned(),
        can_update_own_metadata: Some(true),
        ..VideoGrants::default()
    };
    AccessToken::with_api_key(KEY, SECRET)
        .with_identity(identity)
        .with_name("Anna A")
        .with_attributes([("hand", "down")])
        .with_grants(grants)
        .to_jwt()
        .unwrap()
}

fn code<T: std::fmt::Debug>(result: Result<T, ServiceError>) -> String {
    match result {
        Err(ServiceError::Twirp(ServerError::Twirp(error))) => error.code,
        other => panic!("a refusal expected: {other:?}"),
    }
}

async fn leaves(socket: &mut Socket) -> DisconnectReason {
    let wanted = |message| match message {
        Response::Leave(leave) => Some(leave.reason()),
        _ => None,
    };
    socket.until(wanted).await
}

#[tokio::test]
async fn rooms_and_people_are_managed() {
    let server = Server::start("rust-backend", "");
    let api = client(&server);
    let options = CreateRoomOptions {
        empty_timeout: 77,
        metadata: "agenda".into(),
        ..CreateRoomOptions::default()
    };
    let room = api.create_room("talk", options).await.unwrap();
    assert_eq!((room.empty_timeout, room.metadata.as_str()), (77, "agenda"));
    let rooms = api.list_rooms(vec!["talk".into(), "none".into()]).await;
    assert_eq!(rooms.unwrap()[0].sid, room.sid);
    let changed = api.update_room_metadata("talk", "minutes").await.unwrap();
    assert_eq!(changed.metadata, "minutes");

    let (mut anna, join) = server.join_with(&token("talk", "anna")).await.unwrap();
    let own = join.participant.unwrap();
    assert_eq!(
        (own.name.as_str(), own.attributes["hand"].as_str()),
        ("Anna A", "down")
    );
    let people = api.list_participants("talk").await.unwrap();
    assert_eq!(people[0].sid, own.sid);
    let update = UpdateParticipantOptions {
        name: "Anna B".into(),
        attributes: [("hand".to_owned(), "up".to_owned())].into(),
        ..UpdateParticipantOptions::default()
    };
    let changed = api
        .update_participant("talk", "anna", update)
        .await
        .unwrap();
    assert_eq!(
        (changed.name.as_str(), changed.attributes["hand"].as_str()),
        ("Anna B", "up")
    );
    let one = api.get_participant("talk", "anna").await.unwrap();
    assert_eq!(one.name, "Anna B");
    api.send_data("talk", b"to all".to_vec(), SendDataOptions::default())
        .await
        .unwrap();
    api.update_subscriptions("talk", "anna", vec![], true)
        .await
        .unwrap();
    assert_eq!(
        code(api.mute_published_track("talk", "anna", "TR_x", true).await),
        "not_found"
    );
    assert_eq!(
        code(api.get_participant("talk", "nobody").await),
        "not_found"
    );
    assert_eq!(code(api.list_participants("none").await), "not_found");

    api.move_participant("talk", "anna", "hall").await.unwrap();
    assert_eq!(leaves(&mut anna).await, DisconnectReason::Migration);
    let (mut anna, _) = server.join_with(&token("hall", "anna")).await.unwrap();
    // In milliseconds, as this crate describes it.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let options = RemoveParticipantOptions {
        revoke_token_ts: now.as_millis() as i64 + 1_000,
    };
    let old = token("hall", "anna");
    api.remove_participant_with_options("hall", "anna", options)
        .await
        .unwrap();
    assert_eq!(
        leaves(&mut anna).await,
        DisconnectReason::ParticipantRemoved
    );
    let refused = server.join_with(&old).await.err().unwrap();
    assert_eq!(refused, (401, "token has been revoked".to_owned()));
    api.delete_room("talk").await.unwrap();
    assert_eq!(code(api.delete_room("talk").await), "not_found");

    let url = format!("http://127.0.0.1:{}", server.port);
    let stranger =
        RoomClient::with_api_key(&url, KEY, "another-secret-that-is-long-enough-for-hs256");
    assert_eq!(code(stranger.list_rooms(vec![]).await), "unauthenticated");
    let participant = RoomClient::with_token(&url, &token("hall", "anna"));
    assert_eq!(
        code(participant.list_rooms(vec![]).await),
        "unauthenticated"
    );
}

#[tokio::test]
async fn tokens_for_reconnecting_and_webhooks_are_verified() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let received = receiver(listener);
    let more = format!(
        "webhook: {{urls: [\"http://127.0.0.1:{port}/hook\"], api_key: {KEY}, allow_private: [\"127.0.0.1\"]}}\n"
    );
    let server = Server::start("rust-hooks", &more);
    let (mut anna, _) = server.join_with(&token("talk", "anna")).await.unwrap();
    let wanted = |message| match message {
        Response::RefreshToken(token) => Some(token),
        _ => None,
    };
    let fresh = anna.until(wanted).await;
    let claims = TokenVerifier::with_api_key(KEY, SECRET)
        .verify(&fresh)
        .unwrap();
    assert_eq!(
        (claims.sub.as_str(), claims.video.room.as_str()),
        ("anna", "talk")
    );
    assert!(claims.video.room_join && claims.video.can_publish());

    let (authorization, body) = received.recv_timeout(PATIENCE).unwrap();
    let take = |secret: &str, body: &str| {
        let receiver = WebhookReceiver::new(TokenVerifier::with_api_key(KEY, secret));
        receiver.receive(body, &authorization)
    };
    let event = take(SECRET, &body).unwrap();
    assert_eq!(event.event, "room_started");
    assert_eq!(event.room.unwrap().name, "talk");
    let forged = take(SECRET, &body.replace("talk", "walk"));
    assert!(
        matches!(forged, Err(WebhookError::InvalidSignature)),
        "{forged:?}"
    );
    let stranger = take("another-secret-that-is-long-enough-for-hs256", &body);
    assert!(
        matches!(stranger, Err(WebhookError::InvalidAuth(_))),
        "{stranger:?}"
    );
}
