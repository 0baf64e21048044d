//! Forwarding between rooms that run: what the service answers, and how both ends go.

use livekit_protocol::DisconnectReason;
use livekit_protocol::participant_info::State;
use livekit_protocol::signal_response::Message as Response;
use schalter_signaling::SignalingConfig;
use serde_json::{Value, json};

use crate::room_service::everything;
use crate::support::{Server, Socket, eventually};

async fn forward(server: &Server) -> (u16, Value) {
    let body = json!({"room": "r", "identity": "alice", "destination_room": "s"});
    server.ask("ForwardParticipant", &everything(), &body).await
}

/// Alice in `r` with her media connected, and Bob in `s`.
async fn people(server: &Server) -> (Socket, Socket) {
    let alice = server.join("r", "alice").await;
    let bob = server.join("s", "bob").await;
    eventually("both are connected", || {
        server.signaling.stats().joins_connected == 2
    })
    .await;
    (alice, bob)
}

async fn alice_is(bob: &mut Socket, state: State) {
    let wanted = |m: &Response| match m {
        Response::Update(update) => update
            .participants
            .iter()
            .any(|p| p.identity == "alice" && p.state() == state),
        _ => false,
    };
    bob.until(wanted).await;
}

async fn ends(server: &Server) {
    eventually("nobody is forwarded", || {
        server.signaling.stats().forwards == 0
    })
    .await;
}

#[tokio::test]
async fn who_is_forwarded_is_in_both_rooms_until_it_leaves_its_own() {
    let server = Server::start(SignalingConfig::default()).await;
    let (alice, mut bob) = people(&server).await;
    assert_eq!(forward(&server).await, (200, json!({})));
    alice_is(&mut bob, State::Active).await;
    assert_eq!(server.signaling.stats().participants, 3);
    let (status, answer) = forward(&server).await;
    assert_eq!((status, &answer["code"]), (409, &json!("already_exists")));
    let change = json!({"room": "r", "identity": "alice", "metadata": "chair"});
    server
        .ask("UpdateParticipant", &everything(), &change)
        .await;
    let wanted = |m: &Response| match m {
        Response::Update(update) => update.participants.iter().any(|p| p.metadata == "chair"),
        _ => false,
    };
    bob.until(wanted).await;
    let remove = json!({"room": "r", "identity": "alice"});
    server
        .ask("RemoveParticipant", &everything(), &remove)
        .await;
    alice_is(&mut bob, State::Disconnected).await;
    ends(&server).await;
    drop(alice);
}

#[tokio::test]
async fn either_room_may_end_it() {
    let server = Server::start(SignalingConfig::default()).await;
    let (mut alice, mut bob) = people(&server).await;
    assert_eq!(forward(&server).await.0, 200);
    alice_is(&mut bob, State::Active).await;
    // Removed from where it is forwarded to; it can be forwarded again.
    let mut moderator = everything();
    moderator.video.as_mut().unwrap().room = Some("s".into());
    let remove = json!({"room": "s", "identity": "alice"});
    let (status, _) = server.ask("RemoveParticipant", &moderator, &remove).await;
    assert_eq!(status, 200);
    ends(&server).await;
    assert_eq!(forward(&server).await.0, 200);
    // The other room ends.
    let end = json!({"room": "s"});
    server.ask("DeleteRoom", &everything(), &end).await;
    ends(&server).await;
    assert_eq!(server.signaling.stats().participants, 1);
    // It is made anew for the next, and goes when its source does.
    assert_eq!(forward(&server).await.0, 200);
    eventually("in both", || server.signaling.stats().participants == 2).await;
    let end = json!({"room": "r"});
    server.ask("DeleteRoom", &everything(), &end).await;
    let last = alice.until(|m| matches!(m, Response::Leave(_))).await;
    let Response::Leave(leave) = last else {
        unreachable!("asked for")
    };
    assert_eq!(leave.reason(), DisconnectReason::RoomDeleted);
    ends(&server).await;
    assert_eq!(server.signaling.stats().participants, 0);
}

#[tokio::test]
async fn two_rooms_that_forward_to_each_other_don_t_wait_for_each_other() {
    // With one place in each mailbox, a room that waited for the other would wait for ever.
    let mut config = SignalingConfig::default();
    config.limits.room_mailbox = 1;
    let server = Server::start(config).await;
    let (_alice, mut bob) = people(&server).await;
    assert_eq!(forward(&server).await.0, 200);
    let mut moderator = everything();
    let video = moderator.video.as_mut().unwrap();
    video.room = Some("s".into());
    video.destination_room = Some("r".into());
    let back = json!({"room": "s", "identity": "bob", "destination_room": "r"});
    let (status, answer) = server.ask("ForwardParticipant", &moderator, &back).await;
    assert_eq!(status, 200, "{answer}");
    let admin = everything();
    for n in 0..200 {
        let value = n.to_string();
        let there = json!({"room": "r", "identity": "alice", "metadata": value});
        let here = json!({"room": "s", "identity": "bob", "metadata": value});
        let (one, other) = tokio::join!(
            server.ask("UpdateParticipant", &admin, &there),
            server.ask("UpdateParticipant", &moderator, &here)
        );
        assert_eq!((one.0, other.0), (200, 200));
    }
    // Of many states the last is the one that counts.
    let wanted = |m: &Response| match m {
        Response::Update(update) => update
            .participants
            .iter()
            .any(|p| p.identity == "alice" && p.metadata == "199"),
        _ => false,
    };
    bob.until(wanted).await;
    assert_eq!(server.signaling.stats().participants, 4);
}
