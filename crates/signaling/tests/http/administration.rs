//! What an operator sees and does.

use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{DisconnectReason, leave_request::Action};
use schalter_signaling::SignalingConfig;
use schalter_signaling::administration::{NotFound, TokensToWithdraw};

use crate::support::{Server, Socket, claims, eventually};

/// Waits until the server tells a client to leave for good; answers why.
async fn told_to_leave(socket: &mut Socket) -> DisconnectReason {
    let Response::Leave(leave) = socket.until(|m| matches!(m, Response::Leave(_))).await else {
        panic!("until() answers what was waited for")
    };
    assert_eq!(leave.action(), Action::Disconnect);
    leave.reason()
}

#[tokio::test]
async fn rooms_are_listed_with_who_is_in_them() {
    let server = Server::start(SignalingConfig::default()).await;
    assert!(server.signaling.rooms().await.is_empty());
    let _alice = server.join("r", "alice").await;
    let _bob = server.join("r", "bob").await;
    let _carol = server.join("s", "carol").await;
    let mut rooms = server.signaling.rooms().await;
    rooms.sort_by(|a, b| a.name.cmp(&b.name));
    let names: Vec<_> = rooms
        .iter()
        .map(|r| (&*r.name, r.participants.len()))
        .collect();
    assert_eq!(names, [("r", 2), ("s", 1)]);
    assert!(rooms[0].sid.starts_with("RM_") && rooms[0].since_ms > 1_500_000_000_000);
    let identities: Vec<_> = rooms[0].participants.iter().map(|p| &*p.identity).collect();
    assert_eq!(identities, ["alice", "bob"]);
}

#[tokio::test]
async fn a_removed_participant_is_told_and_the_others_stay() {
    let server = Server::start(SignalingConfig::default()).await;
    let mut alice = server.join("r", "alice").await;
    let _bob = server.join("r", "bob").await;
    let room = server.signaling.rooms().await.remove(0);
    let (sid, alice_sid) = (&room.sid, &room.participants[0].sid);
    let remove = |who: &str| {
        let (signaling, sid, who) = (server.signaling.clone(), sid.clone(), who.to_owned());
        async move {
            signaling
                .remove_participant(&sid, &who, TokensToWithdraw::None)
                .await
        }
    };
    assert_eq!(remove("PA_nobody").await, Err(NotFound::Participant.into()));
    assert_eq!(
        server
            .signaling
            .remove_participant("RM_x", alice_sid, TokensToWithdraw::None)
            .await,
        Err(NotFound::Room.into())
    );
    assert_eq!(remove(alice_sid).await, Ok(()));
    assert_eq!(
        told_to_leave(&mut alice).await,
        DisconnectReason::ParticipantRemoved
    );
    assert_eq!(remove(alice_sid).await, Err(NotFound::Participant.into()));
    assert_eq!(server.signaling.stats().participants, 1);
}

#[tokio::test]
async fn an_ended_room_is_gone_and_its_name_is_free() {
    let server = Server::start(SignalingConfig::default()).await;
    let mut alice = server.join("r", "alice").await;
    let room = server.signaling.rooms().await.remove(0);
    assert_eq!(server.signaling.end_room("RM_x").await, Err(NotFound::Room));
    assert_eq!(server.signaling.end_room(&room.sid).await, Ok(()));
    assert_eq!(
        told_to_leave(&mut alice).await,
        DisconnectReason::RoomDeleted
    );
    eventually("the room is gone", || server.signaling.stats().rooms == 0).await;
    let _again = server.join("r", "alice").await;
    assert_ne!(server.signaling.rooms().await[0].sid, room.sid);
}

#[tokio::test]
async fn a_draining_server_goes_on_with_its_rooms_and_makes_no_more() {
    let server = Server::start(SignalingConfig::default()).await;
    let _alice = server.join("r", "alice").await;
    server.signaling.set_draining(true);
    assert!(server.signaling.is_draining());
    let _bob = server.join("r", "bob").await;
    let token = server.token(&claims("new", "carol"));
    for path in ["/rtc", "/rtc/validate"] {
        let path = format!("{path}?access_token={token}");
        let (status, reason) = if path.starts_with("/rtc/validate") {
            let (status, _, body) = server.get(&path, "").await;
            (status, body)
        } else {
            server.connect(&path).await.err().unwrap()
        };
        assert_eq!(status, 503, "{path}");
        assert!(reason.contains("draining"), "{reason}");
    }
    server.signaling.set_draining(false);
    let _carol = server.join("new", "carol").await;
}
