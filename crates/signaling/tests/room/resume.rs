//! Sessions without a WebSocket: kept, continued, given up.

use std::time::Duration;

use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{DataPacket, DisconnectReason, SyncState, UpdateSubscription};
use prost::Message as _;
use schalter_shard::control::{Command, Event, TransportState};
use schalter_signaling::room::Input;

use crate::support::{World, leave_reason, shape};

fn restarts(world: &World) -> usize {
    world
        .commands
        .iter()
        .filter(|(_, c)| matches!(c, Command::RestartIce { .. }))
        .count()
}

#[test]
fn a_resumed_session_keeps_its_media_and_nobody_notices() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = world.join("bob");
    let sid = world.publish_camera(&mut alice);
    world.negotiate(&mut [&mut bob]);
    let transport = world.transports(0);
    for sequence in [1, 2, 5] {
        let packet = DataPacket {
            sequence,
            ..DataPacket::default()
        };
        world.data(transport, "_reliable", packet.encode_to_vec());
    }
    world.pass(Duration::from_secs(6));
    world.take(&bob);
    let consumers = world.consumers();

    world.close(&alice);
    world.pass(Duration::from_secs(19));
    let own = alice.sid.clone();
    world.resume(&mut alice, &own);
    let messages = world.take(&alice);
    let Response::Reconnect(reconnect) = &messages[0] else {
        panic!("reconnect must be first: {messages:?}")
    };
    assert_eq!(reconnect.last_message_seq, 5);
    assert_eq!(reconnect.ice_servers.len(), 1, "fresh TURN credentials");
    assert_eq!(reconnect.server_info.as_ref().unwrap().protocol, 17);
    let [
        Response::Update(update),
        Response::RoomUpdate(_),
        Response::RefreshToken(_),
    ] = &messages[1..4]
    else {
        panic!("{messages:?}")
    };
    let sids: Vec<_> = update.participants.iter().map(|p| p.sid.as_str()).collect();
    assert_eq!(sids, [bob.sid.as_str(), alice.sid.as_str()]);
    assert_eq!(update.participants[1].tracks[0].sid, sid);
    assert_eq!(world.consumers(), consumers);
    world.pass(Duration::from_secs(60));
    assert!(
        world.take(&bob).is_empty(),
        "others must not hear of a resume"
    );
}

#[test]
fn a_new_offer_with_a_new_user_restarts_ice() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let before = world.last_answer(&alice).unwrap().sdp;
    world.offer(&mut alice);
    assert_eq!(restarts(&world), 0, "the same user is no restart");
    world.close(&alice);
    let own = alice.sid.clone();
    world.resume(&mut alice, &own);
    alice.ufrag = "new0".into();
    world.offer(&mut alice);
    assert_eq!(restarts(&world), 1);
    let ufrag = |sdp: &str| {
        sdp.lines()
            .find(|l| l.starts_with("a=ice-ufrag:"))
            .unwrap()
            .to_owned()
    };
    let after = world.last_answer(&alice).unwrap().sdp;
    assert_ne!(ufrag(&before), ufrag(&after));
    assert!(
        matches!(world.commands.last(), Some((_, Command::SetRemote { ice, .. })) if &*ice.ufrag == "new0")
    );
}

#[test]
fn a_dual_client_is_offered_a_restart_after_reconnect() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = world.join_dual("bob");
    world.publish_camera(&mut alice);
    // The offer for the camera is lost with the socket.
    world.close(&bob);
    let own = bob.sid.clone();
    world.resume(&mut bob, &own);
    let messages = world.take(&bob);
    assert!(matches!(messages[0], Response::Reconnect(_)));
    assert_eq!(restarts(&world), 1);
    let offer = messages
        .iter()
        .find_map(|m| match m {
            Response::Offer(o) => Some(o.clone()),
            _ => None,
        })
        .unwrap();
    assert_eq!(shape(&offer.sdp), ["app 0", "vid 1 sendonly track"]);
    world.messages.insert(bob.connection, messages);
    world.answer(&bob);
    assert_eq!(world.consumers().len(), 1);
}

#[test]
fn a_session_is_given_up_after_the_window() {
    let mut world = World::new();
    let alice = world.join("alice");
    let bob = world.join("bob");
    world.pass(Duration::from_secs(1));
    world.take(&bob);
    world.close(&alice);
    world.pass(Duration::from_millis(19_999));
    assert_eq!(world.room.participant_infos().len(), 2);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.room.participant_infos().len(), 1);
    world.pass(Duration::from_secs(1));
    let reasons: Vec<_> = world
        .take(&bob)
        .iter()
        .filter_map(|m| match m {
            Response::Update(u) => Some(u.participants[0].disconnect_reason()),
            _ => None,
        })
        .collect();
    assert_eq!(reasons, [DisconnectReason::SignalClose]);
}

#[test]
fn a_session_that_never_connected_is_given_up_at_once() {
    let mut world = World::new();
    world.connect = false;
    let alice = world.join("alice");
    world.close(&alice);
    assert!(world.room.participant_infos().is_empty());
}

#[test]
fn unknown_and_foreign_sessions_must_begin_anew() {
    let mut world = World::new();
    let alice = world.join("alice");
    let mut mallory = world.join("mallory");
    for sid in ["PA_unknown", alice.sid.as_str()] {
        world.resume(&mut mallory, sid);
        assert_eq!(
            leave_reason(&world.take(&mallory)),
            Some((DisconnectReason::StateMismatch, 2))
        );
        assert!(world.closed.contains(&mallory.connection));
    }
    world.take(&alice);
    world.request(&alice, Request::Ping(1));
    assert_eq!(world.take(&alice).len(), 1, "alice's session is untouched");
}

#[test]
fn a_resume_replaces_a_half_open_socket() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let old = alice.clone();
    let own = alice.sid.clone();
    world.resume(&mut alice, &own);
    assert_eq!(world.closed, [old.connection]);
    world.close(&old);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.room.participant_infos().len(), 1);
    world.take(&alice);
    world.request(&old, Request::Ping(1));
    assert!(
        world
            .all(old.connection)
            .last()
            .is_some_and(|m| !matches!(m, Response::Pong(_)))
    );
}

#[test]
fn sync_state_brings_choices_back() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = world.join("bob");
    let camera = world.publish_camera(&mut alice);
    let microphone = world.publish_microphone(&mut alice);
    world.negotiate(&mut [&mut bob]);
    assert_eq!(world.consumers().len(), 2);
    world.close(&bob);
    let own = bob.sid.clone();
    world.resume(&mut bob, &own);
    let state = SyncState {
        subscription: Some(UpdateSubscription {
            track_sids: vec![microphone],
            subscribe: false,
            ..UpdateSubscription::default()
        }),
        track_sids_disabled: vec![camera],
        ..SyncState::default()
    };
    world.request(&bob, Request::SyncState(state));
    let left: Vec<_> = world.consumers().into_values().collect();
    assert_eq!(left.len(), 1);
    assert!(left[0].paused);
}

#[test]
fn a_requirement_lost_with_the_socket_is_repeated() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = world.join("bob");
    world.publish_camera(&mut alice);
    world.close(&bob);
    let own = bob.sid.clone();
    world.resume(&mut bob, &own);
    world.negotiate(&mut [&mut bob]);
    assert_eq!(world.consumers().len(), 1);
}

#[test]
fn a_session_whose_media_the_client_closed_is_not_resumed() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let transport = world.transports(0);
    world.input(Input::Media(Event::TransportState {
        transport,
        state: TransportState::Closed,
    }));
    let own = alice.sid.clone();
    world.resume(&mut alice, &own);
    assert_eq!(
        leave_reason(&world.take(&alice)),
        Some((DisconnectReason::StateMismatch, 2))
    );
}

/// An offer to `bob`, who has two connections, that is not answered.
fn unanswered() -> (World, crate::support::Client) {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let bob = world.join_dual("bob");
    world.publish_camera(&mut alice);
    world.pass(Duration::from_millis(14_999));
    (world, bob)
}

#[test]
fn whoever_never_answers_an_offer_is_told_to_begin_anew() {
    let (mut world, bob) = unanswered();
    assert_eq!(leave_reason(&world.take(&bob)), None);
    world.pass(Duration::from_millis(1));
    assert_eq!(
        leave_reason(&world.take(&bob)),
        Some((DisconnectReason::MediaFailure, 2))
    );
    assert!(world.closed.contains(&bob.connection));
}

#[test]
fn an_answer_in_time_is_one() {
    let (mut world, mut bob) = unanswered();
    world.negotiate(&mut [&mut bob]);
    world.pass(Duration::from_secs(60));
    assert_eq!(leave_reason(&world.take(&bob)), None);
    assert_eq!(world.consumers().len(), 1);
}

#[test]
fn a_resumed_client_has_as_long_for_its_new_offer() {
    let (mut world, mut bob) = unanswered();
    world.close(&bob);
    world.pass(Duration::from_secs(5));
    let own = bob.sid.clone();
    world.resume(&mut bob, &own);
    world.pass(Duration::from_millis(14_999));
    world.negotiate(&mut [&mut bob]);
    world.pass(Duration::from_secs(60));
    assert_eq!(leave_reason(&world.take(&bob)), None);
}
