//! What integrators are told of a room: which events, in which order, with what in them.

use std::collections::HashSet;
use std::time::Duration;

use livekit_protocol::participant_info::State;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::{DisconnectReason, LeaveRequest, RoomEndReason, WebhookEvent};
use schalter_model::AuthorityId;
use schalter_signaling::livekit::json;
use schalter_signaling::room::{ConnectionMode, Input};
use schalter_signaling::{Clear, SignalingConfig};

use crate::support::{World, claims, microphone};

fn world() -> World {
    World::with(SignalingConfig {
        webhook_authority: Some(AuthorityId::default()),
        ..SignalingConfig::default()
    })
}

impl World {
    /// Names of the events since the last call.
    fn told(&mut self) -> Vec<String> {
        self.tell().into_iter().map(|event| event.event).collect()
    }

    fn tell(&mut self) -> Vec<WebhookEvent> {
        self.input(Input::Timeout);
        std::mem::take(&mut self.reports)
    }
}

fn bye() -> Request {
    Request::Leave(LeaveRequest {
        reason: DisconnectReason::ClientInitiated as i32,
        ..LeaveRequest::default()
    })
}

#[test]
fn a_call_is_told_from_the_rooms_begin_to_its_end() {
    let mut world = world();
    let mut alice = world.join("alice");
    world.publish(&mut alice, microphone("mic"));
    world.media_flows();
    world.request(&alice, bye());
    world.pass(Duration::from_secs(60));
    let events = world.tell();
    let names: Vec<_> = events.iter().map(|event| event.event.as_str()).collect();
    assert_eq!(
        names,
        [
            "room_started",
            "participant_joined",
            "track_published",
            "track_unpublished",
            "participant_left",
            "room_finished"
        ]
    );
    assert!(world.ended);
    let [started, joined, published, _, left, finished] = &events[..] else {
        unreachable!("six names")
    };
    let sid = world.room.sid().to_string();
    for event in &events {
        let room = event.room.as_ref().unwrap();
        assert_eq!((room.sid.as_str(), room.name.as_str()), (sid.as_str(), "r"));
        assert!(event.id.starts_with("EV_") && event.created_at >= 1_800_000_000);
    }
    let ids: HashSet<_> = events.iter().map(|event| &event.id).collect();
    assert_eq!(ids.len(), events.len());
    assert!(
        started.participant.is_none() && !started.room.as_ref().unwrap().enabled_codecs.is_empty()
    );
    let person = joined.participant.as_ref().unwrap();
    assert_eq!(
        (
            person.identity.as_str(),
            person.state(),
            person.sid.as_str()
        ),
        ("alice", State::Active, alice.sid.as_str())
    );
    // Events of tracks only name room and participant.
    let (room, person) = (
        published.room.as_ref().unwrap(),
        published.participant.as_ref().unwrap(),
    );
    assert_eq!((room.creation_time, person.joined_at), (0, 0));
    assert_eq!(published.track.as_ref().unwrap().mime_type, "audio/red");
    let person = left.participant.as_ref().unwrap();
    assert_eq!(person.state(), State::Disconnected);
    assert_eq!(
        person.disconnect_reason(),
        DisconnectReason::ClientInitiated
    );
    assert!(person.version > joined.participant.as_ref().unwrap().version);
    assert_eq!(
        finished.room_end_reason(),
        RoomEndReason::RoomEndIdleTimeout
    );
}

#[test]
fn a_session_without_media_is_told_as_aborted() {
    let mut world = world();
    world.connect = false;
    world.join("alice");
    world.pass(Duration::from_secs(25));
    assert_eq!(
        world.told(),
        ["room_started", "participant_connection_aborted"]
    );
}

#[test]
fn a_second_session_of_one_identity_follows_the_end_of_the_first() {
    let mut world = world();
    world.join("alice");
    world.join("alice");
    let events = world.tell();
    let names: Vec<_> = events.iter().map(|event| event.event.as_str()).collect();
    assert_eq!(
        names,
        [
            "room_started",
            "participant_joined",
            "participant_left",
            "participant_joined"
        ]
    );
    let left = events[2].participant.as_ref().unwrap();
    assert_eq!(
        left.disconnect_reason(),
        DisconnectReason::DuplicateIdentity
    );
}

#[test]
fn a_resumed_session_is_no_news() {
    let mut world = world();
    let mut alice = world.join("alice");
    world.told();
    let sid = alice.sid.clone();
    world.close(&alice);
    world.resume(&mut alice, &sid);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.told(), [""; 0]);
}

#[test]
fn integrators_hear_of_hidden_participants_too() {
    let mut world = world();
    let mut hidden = claims("r", "ghost");
    hidden.video.as_mut().unwrap().hidden = Some(true);
    world.join_as(&hidden, ConnectionMode::Single);
    let events = world.tell();
    let person = events[1].participant.as_ref().unwrap();
    assert!(person.permission.as_ref().unwrap().hidden, "and that it is");
}

#[test]
fn an_end_by_the_operator_or_the_server_is_told_with_its_reason() {
    for (input, person, room) in [
        (
            Input::End,
            DisconnectReason::RoomDeleted,
            RoomEndReason::RoomEndApiDelete,
        ),
        (
            Input::Shutdown,
            DisconnectReason::ServerShutdown,
            RoomEndReason::RoomEndServerShutdown,
        ),
    ] {
        let mut world = world();
        world.join("alice");
        world.reports.clear();
        world.input(input);
        let events = world.tell();
        assert_eq!(events.len(), 2);
        let left = events[0].participant.as_ref().unwrap();
        assert_eq!(left.disconnect_reason(), person);
        assert_eq!(events[1].room_end_reason(), room);
    }
}

#[test]
fn nobody_is_told_of_another_tenants_rooms() {
    for webhook_authority in [None, Some(AuthorityId::new("other").unwrap())] {
        let mut world = World::with(SignalingConfig {
            webhook_authority,
            ..SignalingConfig::default()
        });
        let mut alice = world.join("alice");
        world.publish(&mut alice, microphone("mic"));
        world.media_flows();
        world.input(Input::End);
        assert_eq!(world.told(), [""; 0]);
    }
}

#[test]
fn bodies_are_proto_json_without_defaults() {
    let mut world = world();
    world.join("alice");
    let events = world.tell();
    let body = json::write_event(&events[1]).unwrap();
    let value: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(value["event"], "participant_joined");
    assert_eq!(value["createdAt"], "1800000000", "64 bits are text");
    assert_eq!(value["participant"]["state"], "ACTIVE");
    assert_eq!(value["room"]["emptyTimeout"], 300);
    for absent in ["track", "egressInfo", "roomEndReason"] {
        assert!(value.get(absent).is_none(), "{absent}");
    }
    assert!(!body.contains(['\n', '\t']));
}

#[test]
fn who_comes_and_goes_is_told_of_guided_rooms_only() {
    for (guided, expected) in [(true, vec![true, false]), (false, vec![])] {
        let authority = AuthorityId::default();
        let mut world = World::with(SignalingConfig {
            guided: guided
                .then_some((authority, Clear::Taken))
                .into_iter()
                .collect(),
            ..SignalingConfig::default()
        });
        let alice = world.join("alice");
        world.request(&alice, bye());
        let came: Vec<_> = world.presences.iter().map(|p| p.came).collect();
        assert_eq!(came, expected);
        assert!(world.presences.iter().all(|p| &*p.identity == "alice"));
    }
}
