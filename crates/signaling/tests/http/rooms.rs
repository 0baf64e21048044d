//! What the room service does with rooms over HTTP: making, listing, deleting, and moving people between them.

use std::time::Duration;

use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{DisconnectReason, leave_request::Action};
use schalter_signaling::token::VideoClaims;
use schalter_signaling::{ROOM_SERVICE_OUTCOMES, SignalingConfig};
use serde_json::{Value, json};

use crate::room_service::everything;
use crate::support::{Server, claims, eventually};

#[tokio::test]
async fn a_room_is_made_with_its_options_and_made_once() {
    let server = Server::start(SignalingConfig::default()).await;
    let options = json!({"name": "r", "empty_timeout": 60, "departureTimeout": 7,
        "max_participants": 5, "metadata": "mm", "sync_streams": true, "bogus": 1});
    let (status, room) = server.ask("CreateRoom", &everything(), &options).await;
    assert_eq!(status, 200, "{room}");
    let expected = json!({"sid": room["sid"], "name": "r", "empty_timeout": 60, "departure_timeout": 7,
        "max_participants": 5, "creation_time": room["creation_time"],
        "creation_time_ms": room["creation_time_ms"], "turn_password": "",
        "enabled_codecs": room["enabled_codecs"], "metadata": "mm", "num_participants": 0,
        "num_publishers": 0, "active_recording": false, "version": null});
    assert_eq!(room, expected);
    assert!(room["sid"].as_str().unwrap().starts_with("RM_"));
    assert!(room["creation_time_ms"].as_str().unwrap().len() > 12);
    // It is there already, and stays what it is.
    let again = json!({"name": "r", "metadata": "other"});
    let (status, again) = server.ask("CreateRoom", &everything(), &again).await;
    assert_eq!((status, again), (200, room));
    assert_eq!(server.signaling.stats().rooms, 1);
}

#[tokio::test]
async fn a_made_room_is_full_at_its_own_maximum() {
    let server = Server::start(SignalingConfig::default()).await;
    let options = json!({"name": "r", "max_participants": 1});
    server.ask("CreateRoom", &everything(), &options).await;
    let _alice = server.join("r", "alice").await;
    let token = server.token(&claims("r", "bob"));
    let refusal = server.connect(&format!("/rtc?access_token={token}")).await;
    assert_eq!(refusal.err(), Some((403, "room is full".to_owned())));
}

#[tokio::test]
async fn a_made_room_ends_after_its_empty_timeout() {
    let server = Server::start(SignalingConfig::default()).await;
    for (name, secs) in [("short", 1), ("long", 100)] {
        let options = json!({"name": name, "empty_timeout": secs});
        server.ask("CreateRoom", &everything(), &options).await;
    }
    assert_eq!(server.signaling.stats().rooms, 2);
    eventually("the short one ends", || server.signaling.stats().rooms == 1).await;
    let (_, list) = server.ask("ListRooms", &everything(), &json!({})).await;
    assert_eq!(list["rooms"][0]["name"], "long");
}

#[tokio::test]
async fn options_without_effect_are_refused_by_name() {
    let server = Server::start(SignalingConfig::default()).await;
    for (option, text) in [
        (json!({"room_preset": "big"}), "preset"),
        (json!({"node_id": "ND_x"}), "node_id"),
        (json!({"tags": {"a": "b"}}), "tags"),
        (json!({"egress": {}}), "egress"),
        (json!({"min_playout_delay": 1}), "playout"),
        (json!({"max_playout_delay": 1}), "playout"),
        (json!({"replay_enabled": true}), "replay"),
        (json!({"agents": [{"agent_name": "a"}]}), "agents"),
    ] {
        let mut body = json!({"name": "r"});
        body.as_object_mut()
            .unwrap()
            .extend(option.as_object().unwrap().clone());
        let (status, answer) = server.ask("CreateRoom", &everything(), &body).await;
        assert_eq!((status, &answer["code"]), (501, &json!("unimplemented")));
        assert!(answer["msg"].as_str().unwrap().contains(text), "{answer}");
    }
    assert_eq!(server.signaling.stats().rooms, 0);
    for body in [
        json!({}),
        json!({"name": "x".repeat(257)}),
        json!({"name": "r", "metadata": "x".repeat(64_001)}),
    ] {
        let refused = server.refused("CreateRoom", &everything(), &body).await;
        assert_eq!(refused, (400, "invalid_argument".to_owned()));
    }
}

#[tokio::test]
async fn calls_are_counted_by_how_they_end() {
    let server = Server::start(SignalingConfig::default()).await;
    let made = json!({"name": "a"});
    server.ask("CreateRoom", &everything(), &made).await;
    server.ask("ListRooms", &everything(), &json!({})).await;
    server
        .ask("DeleteRoom", &everything(), &json!({"room": "b"}))
        .await;
    server.ask("NoMethod", &everything(), &json!({})).await;
    let counts = server.signaling.stats().room_service_calls;
    let named = ROOM_SERVICE_OUTCOMES.into_iter().zip(counts);
    let named: Vec<_> = named.filter(|(_, count)| *count > 0).collect();
    assert_eq!(named, [("ok", 2), ("not_found", 1), ("bad_route", 1)]);
}

#[tokio::test]
async fn rooms_are_listed_the_oldest_first_or_by_name() {
    let server = Server::start(SignalingConfig::default()).await;
    for name in ["b", "a", "c"] {
        server
            .ask("CreateRoom", &everything(), &json!({"name": name}))
            .await;
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let _alice = server.join("a", "alice").await;
    eventually("she is active", || {
        server.signaling.stats().joins_connected == 1
    })
    .await;
    let listed = async |body: Value| {
        let (status, list) = server.ask("ListRooms", &everything(), &body).await;
        assert_eq!(status, 200);
        let rooms = list["rooms"].as_array().unwrap().clone();
        rooms
            .iter()
            .map(|r| {
                (
                    r["name"].as_str().unwrap().to_owned(),
                    r["num_participants"].as_u64().unwrap(),
                )
            })
            .collect::<Vec<_>>()
    };
    let all = [
        ("b".to_owned(), 0),
        ("a".to_owned(), 1),
        ("c".to_owned(), 0),
    ];
    assert_eq!(listed(json!({})).await, all);
    let some = json!({"names": ["c", "b", "none", "c"]});
    assert_eq!(listed(some).await, [all[0].clone(), all[2].clone()]);
    assert!(listed(json!({"names": ["none"]})).await.is_empty());
}

#[tokio::test]
async fn a_deleted_room_is_gone_when_the_answer_comes() {
    let server = Server::start(SignalingConfig::default()).await;
    let mut alice = server.join("r", "alice").await;
    let (status, answer) = server
        .ask("DeleteRoom", &everything(), &json!({"room": "r"}))
        .await;
    assert_eq!((status, answer), (200, json!({})));
    assert_eq!(server.signaling.stats().rooms, 0);
    let Response::Leave(leave) = alice.until(|m| matches!(m, Response::Leave(_))).await else {
        panic!("until() answers what was waited for")
    };
    assert_eq!(leave.reason(), DisconnectReason::RoomDeleted);
    assert_eq!(leave.action(), Action::Disconnect);
    let again = server
        .refused("DeleteRoom", &everything(), &json!({"room": "r"}))
        .await;
    assert_eq!(again, (404, "not_found".to_owned()));
}

#[tokio::test]
async fn limits_of_rooms_are_told() {
    let mut config = SignalingConfig::default();
    config.limits.rooms_per_authority = 1;
    let server = Server::start(config).await;
    let _alice = server.join("r", "alice").await;
    let create = json!({"name": "s"});
    let refused = server.refused("CreateRoom", &everything(), &create).await;
    assert_eq!(refused, (429, "resource_exhausted".to_owned()));
    server.signaling.set_draining(true);
    let refused = server.refused("CreateRoom", &everything(), &create).await;
    assert_eq!(refused, (503, "unavailable".to_owned()));
}

#[tokio::test]
async fn a_participant_moves_with_the_token_that_it_is_given() {
    let server = Server::start(SignalingConfig::default()).await;
    let mut alice = server.join("r", "alice").await;
    eventually("she is active", || {
        server.signaling.stats().joins_connected == 1
    })
    .await;
    let body = json!({"room": "r", "identity": "alice", "destination_room": "s"});
    let (status, _) = server.ask("MoveParticipant", &everything(), &body).await;
    assert_eq!(status, 200);
    let mut token = None;
    let leave = loop {
        match alice.message().await.expect("closed before") {
            Response::RefreshToken(refreshed) => token = Some(refreshed),
            Response::Leave(leave) => break leave,
            _ => {}
        }
    };
    assert_eq!(leave.action(), Action::Reconnect);
    // What clients do on that: a new session with the latest token.
    let path = format!("/rtc?access_token={}", token.unwrap());
    let mut alice = server.connect(&path).await.unwrap();
    let Some(Response::Join(join)) = alice.message().await else {
        panic!("no join")
    };
    assert_eq!(join.room.unwrap().name, "s");
    assert_eq!(join.participant.unwrap().identity, "alice");
}

#[tokio::test]
async fn a_move_that_can_t_be_leaves_the_participant_where_it_is() {
    let server = Server::start(SignalingConfig::default()).await;
    let _alice = server.join("r", "alice").await;
    let to = |room: &str| json!({"room": "r", "identity": "alice", "destination_room": room});
    let refused = async |edit: fn(&mut VideoClaims), body: Value| {
        let mut claims = everything();
        edit(claims.video.as_mut().unwrap());
        server.refused("MoveParticipant", &claims, &body).await
    };
    let same = refused(|v| v.destination_room = Some("r".into()), to("r")).await;
    assert_eq!(same, (400, "invalid_argument".to_owned()));
    let nowhere = refused(|_| {}, to("")).await;
    assert_eq!(nowhere, (400, "invalid_argument".to_owned()));
    let nobody = json!({"room": "r", "identity": "nobody", "destination_room": "s"});
    assert_eq!(refused(|_| {}, nobody).await, (404, "not_found".to_owned()));
    assert_eq!(
        server.signaling.stats().rooms,
        1,
        "and no room was made for it"
    );
    let _namesake = server.join("s", "alice").await;
    let taken = refused(|_| {}, to("s")).await;
    assert_eq!(taken, (409, "already_exists".to_owned()));
    let full = json!({"name": "full", "max_participants": 1});
    server.ask("CreateRoom", &everything(), &full).await;
    let _bob = server.join("full", "bob").await;
    let full = refused(|v| v.destination_room = Some("full".into()), to("full")).await;
    assert_eq!(full, (429, "resource_exhausted".to_owned()));
    assert_eq!(server.signaling.stats().participants, 3);
}

#[tokio::test]
async fn without_auto_create_only_the_room_service_makes_rooms() {
    let mut config = SignalingConfig::default();
    config.room.auto_create = false;
    let server = Server::start(config).await;
    let token = server.token(&claims("r", "alice"));
    let path = format!("/rtc?access_token={token}");
    let missing = (404, "requested room does not exist".to_owned());
    assert_eq!(server.connect(&path).await.err(), Some(missing.clone()));
    let (status, _, body) = server
        .get(&format!("/rtc/validate?access_token={token}"), "")
        .await;
    assert_eq!((status, body), missing);
    assert_eq!(server.signaling.stats().rooms, 0);
    server
        .ask("CreateRoom", &everything(), &json!({"name": "r"}))
        .await;
    let _alice = server.join("r", "alice").await;
    let body = json!({"room": "r", "identity": "alice", "destination_room": "s"});
    let refused = server
        .refused("MoveParticipant", &everything(), &body)
        .await;
    assert_eq!(refused, (404, "not_found".to_owned()));
}
