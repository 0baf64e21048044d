//! How good connections are, as clients are told.

use std::time::Duration;

use livekit_protocol::ConnectionQuality::{self, Excellent, Lost, Poor};
use livekit_protocol::signal_response::Message as Response;
use schalter_forward::{DownlinkQuality, MediaQuality};
use schalter_model::TransportId;
use schalter_shard::control::{Command, Event, TransportState};
use schalter_signaling::room::{ConnectionMode, Input};

use crate::support::{Client, World, claims};

const INTERVAL: Duration = Duration::from_secs(5);

fn told(world: &mut World, client: &Client) -> Vec<(String, ConnectionQuality, f32)> {
    let messages = world.take(client);
    let updates = messages.into_iter().filter_map(|m| match m {
        Response::ConnectionQuality(update) => Some(update.updates),
        _ => None,
    });
    updates
        .flatten()
        .map(|info| (info.participant_sid.clone(), info.quality(), info.score))
        .collect()
}

/// The transports in the order in which participants joined (single mode: one each).
fn transports(world: &World) -> Vec<TransportId> {
    let opened = world.commands.iter().filter_map(|(_, c)| match c {
        Command::OpenTransport { transport, .. } => Some(*transport),
        _ => None,
    });
    opened.collect()
}

fn fares(world: &mut World, transport: TransportId, loss: f32) {
    let downlink = DownlinkQuality {
        loss,
        queue: Duration::ZERO,
        round_trip: None,
        share: 1.0,
        paused: 0,
    };
    let quality = MediaQuality {
        uplink: None,
        downlink: Some(downlink),
    };
    world.input(Input::Media(Event::Quality { transport, quality }));
}

/// Two who hear the first, one who doesn't.
fn meeting() -> (World, [Client; 3]) {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = world.join("bob");
    let mut params = world.params(&claims("r", "deaf"), ConnectionMode::Single);
    params.auto_subscribe = false;
    let deaf = world.join_with(params);
    world.publish_microphone(&mut alice);
    world.negotiate(&mut [&mut bob]);
    (world, [alice, bob, deaf])
}

#[test]
fn everybody_is_told_of_itself_and_of_who_it_gets_tracks_of_once() {
    let (mut world, [alice, bob, deaf]) = meeting();
    world.pass(INTERVAL);
    let excellent = |client: &Client| (client.sid.clone(), Excellent, 4.5);
    assert_eq!(told(&mut world, &alice), [excellent(&alice)]);
    assert_eq!(told(&mut world, &bob), [excellent(&alice), excellent(&bob)]);
    assert_eq!(told(&mut world, &deaf), [excellent(&deaf)]);
    world.pass(INTERVAL * 4);
    for client in [&alice, &bob, &deaf] {
        assert_eq!(told(&mut world, client), [], "nothing changed");
    }
}

#[test]
fn a_bad_connection_is_told_at_once_and_a_better_one_when_it_lasts() {
    let (mut world, [alice, bob, deaf]) = meeting();
    world.pass(INTERVAL);
    for client in [&alice, &bob, &deaf] {
        told(&mut world, client);
    }
    let transport = transports(&world)[0];
    fares(&mut world, transport, 0.1);
    world.pass(Duration::from_millis(500));
    assert_eq!(told(&mut world, &bob), [(alice.sid.clone(), Poor, 2.0)]);
    assert_eq!(told(&mut world, &alice), [(alice.sid.clone(), Poor, 2.0)]);
    let mut steps = Vec::new();
    for _ in 0..6 {
        fares(&mut world, transport, 0.0);
        world.pass(INTERVAL);
        steps.extend(told(&mut world, &bob).into_iter().map(|told| told.1));
    }
    assert_eq!(steps, [ConnectionQuality::Good, Excellent]);
    assert_eq!(told(&mut world, &deaf), []);
}

#[test]
fn a_silent_transport_is_lost_at_once_and_returns_as_poor() {
    let (mut world, [alice, bob, _]) = meeting();
    world.pass(INTERVAL);
    told(&mut world, &bob);
    world.pass(Duration::from_secs(1));
    let transport = transports(&world)[0];
    fares(&mut world, transport, 0.0);
    let state = |world: &mut World, state: TransportState| {
        world.input(Input::Media(Event::TransportState { transport, state }));
    };
    state(&mut world, TransportState::Disconnected);
    world.pass(Duration::ZERO);
    assert_eq!(told(&mut world, &bob), [(alice.sid.clone(), Lost, 0.0)]);
    world.pass(INTERVAL * 3);
    assert_eq!(told(&mut world, &bob), []);
    state(&mut world, TransportState::Reconnected);
    world.pass(Duration::from_millis(500));
    assert_eq!(told(&mut world, &bob), [(alice.sid.clone(), Poor, 2.0)]);
    // What was good before the silence, and that nothing bad is known yet, is no reason to call it better.
    world.pass(INTERVAL);
    assert_eq!(told(&mut world, &bob), []);
    world.pass(INTERVAL * 6);
    let last = told(&mut world, &bob).pop();
    assert_eq!(last.map(|told| told.1), Some(Excellent));
}

#[test]
fn who_comes_later_is_told_of_those_who_are_there() {
    let (mut world, [alice, ..]) = meeting();
    world.pass(INTERVAL * 3);
    let mut carol = world.join("carol");
    world.negotiate(&mut [&mut carol]);
    world.pass(INTERVAL);
    let sids: Vec<_> = told(&mut world, &carol)
        .into_iter()
        .map(|told| told.0)
        .collect();
    assert_eq!(sids, [alice.sid, carol.sid]);
}
