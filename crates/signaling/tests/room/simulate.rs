//! Faults that a client asks for, each with the effect that it names.

use std::time::Duration;

use livekit_protocol::request_response::Reason;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::simulate_scenario::Scenario;
use livekit_protocol::{CandidateProtocol, DisconnectReason, SimulateScenario};
use schalter_model::{Bitrate, TransportId};
use schalter_shard::control::{Command, Event};
use schalter_signaling::SignalingConfig;
use schalter_signaling::room::{ConnectionMode, Input};

use crate::support::{Client, World, claims, leave_reason, refusal};

fn world() -> World {
    let mut config = SignalingConfig::default();
    config.room.simulate = true;
    World::with(config)
}

fn simulate(world: &mut World, client: &Client, scenario: Scenario) -> Vec<Response> {
    world.take(client);
    let scenario = Some(scenario);
    world.request(client, Request::Simulate(SimulateScenario { scenario }));
    world.take(client)
}

fn levels(messages: &[Response]) -> Vec<(String, f32)> {
    let speakers = messages.iter().filter_map(|m| match m {
        Response::SpeakersChanged(changed) => Some(&changed.speakers),
        _ => None,
    });
    speakers
        .flatten()
        .map(|speaker| (speaker.sid.clone(), speaker.level))
        .collect()
}

fn limits(world: &World) -> Vec<(TransportId, Option<Bitrate>)> {
    let commands = world.commands.iter().filter_map(|(_, c)| match c {
        Command::LimitDownlink { transport, limit } => Some((*transport, *limit)),
        _ => None,
    });
    commands.collect()
}

/// Every scenario that there is.
fn scenarios() -> [Scenario; 9] {
    [
        Scenario::SpeakerUpdate(3),
        Scenario::NodeFailure(true),
        Scenario::Migration(true),
        Scenario::ServerLeave(true),
        Scenario::SwitchCandidateProtocol(0),
        Scenario::SubscriberBandwidth(100_000),
        Scenario::DisconnectSignalOnResume(true),
        Scenario::DisconnectSignalOnResumeNoMessages(true),
        Scenario::LeaveRequestFullReconnect(true),
    ]
}

/// One of them, right or wrong, by numbers.
pub(crate) fn any(which: usize, n: i32, flag: bool) -> SimulateScenario {
    let scenario = match which {
        0 => Scenario::SpeakerUpdate(n),
        1 => Scenario::NodeFailure(flag),
        2 => Scenario::Migration(flag),
        3 => Scenario::ServerLeave(flag),
        4 => Scenario::SwitchCandidateProtocol(n),
        5 => Scenario::SubscriberBandwidth(i64::from(n)),
        6 if flag => Scenario::DisconnectSignalOnResume(n > 0),
        6 => Scenario::DisconnectSignalOnResumeNoMessages(n > 0),
        _ => Scenario::LeaveRequestFullReconnect(flag),
    };
    SimulateScenario {
        scenario: (n < 5).then_some(scenario),
    }
}

#[test]
fn nothing_is_simulated_unless_the_operator_allows_it() {
    let mut world = World::new();
    let alice = world.join("alice");
    for scenario in scenarios() {
        let heard = simulate(&mut world, &alice, scenario);
        assert_eq!(heard.len(), 1, "{scenario:?}: {heard:?}");
        assert_eq!(refusal(&heard).unwrap().reason(), Reason::NotAllowed);
    }
    assert!(limits(&world).is_empty() && world.closed.is_empty());
    let own = alice.sid.clone();
    let mut alice = alice;
    world.close(&alice);
    world.resume(&mut alice, &own);
    assert!(matches!(world.take(&alice)[0], Response::Reconnect(_)));
    assert!(world.closed.is_empty(), "no resume fails");
}

#[test]
fn what_is_no_scenario_is_refused() {
    let mut world = world();
    let alice = world.join("alice");
    for scenario in [
        None,
        Some(Scenario::SpeakerUpdate(0)),
        Some(Scenario::SpeakerUpdate(-1)),
        Some(Scenario::SpeakerUpdate(61)),
        Some(Scenario::SpeakerUpdate(i32::MAX)),
        Some(Scenario::NodeFailure(false)),
        Some(Scenario::Migration(false)),
        Some(Scenario::ServerLeave(false)),
        Some(Scenario::SubscriberBandwidth(-1)),
        Some(Scenario::DisconnectSignalOnResume(false)),
        Some(Scenario::DisconnectSignalOnResumeNoMessages(false)),
        Some(Scenario::LeaveRequestFullReconnect(false)),
    ] {
        world.take(&alice);
        world.request(&alice, Request::Simulate(SimulateScenario { scenario }));
        let heard = world.take(&alice);
        assert_eq!(
            refusal(&heard).unwrap().reason(),
            Reason::InvalidRequest,
            "{scenario:?}"
        );
    }
    assert!(world.closed.is_empty());
}

#[test]
fn a_simulated_speaker_is_told_so_alone_and_for_as_long_as_it_asked() {
    let mut world = world();
    let mut alice = world.join("alice");
    let mut bob = world.join("bob");
    world.publish_microphone(&mut alice);
    world.negotiate(&mut [&mut bob]);
    world.take(&bob);
    let heard = simulate(&mut world, &alice, Scenario::SpeakerUpdate(3));
    assert_eq!(levels(&heard), [(alice.sid.clone(), 1.0)]);
    // What it really says is told to the others.
    let track = world
        .commands
        .iter()
        .find_map(|(_, c)| match c {
            Command::AddProducer { track, .. } => Some(*track),
            _ => None,
        })
        .unwrap();
    world.pass(Duration::from_secs(1));
    world.input(Input::Media(Event::AudioLevel {
        track,
        level: 0.5,
        active: true,
    }));
    world.pass(Duration::from_millis(1_999));
    assert_eq!(levels(&world.take(&alice)), []);
    assert_eq!(levels(&world.take(&bob)), [(alice.sid.clone(), 0.5)]);
    world.pass(Duration::from_millis(1));
    assert_eq!(levels(&world.take(&alice)), [(alice.sid.clone(), 0.5)]);
    assert_eq!(levels(&world.take(&bob)), []);
}

#[test]
fn a_failed_node_says_nothing_and_knows_nobody() {
    let mut world = world();
    let mut alice = world.join("alice");
    let mut bob = world.join("bob");
    world.publish_camera(&mut alice);
    world.negotiate(&mut [&mut bob]);
    let heard = simulate(&mut world, &alice, Scenario::NodeFailure(true));
    assert!(heard.is_empty(), "{heard:?}");
    assert_eq!(world.closed, [alice.connection]);
    assert_eq!(world.room.participant_infos().len(), 1);
    let own = alice.sid.clone();
    world.resume(&mut alice, &own);
    let expected = Some((DisconnectReason::StateMismatch, 2));
    assert_eq!(leave_reason(&world.take(&alice)), expected);
}

#[test]
fn whoever_is_sent_away_resumes_and_nobody_notices() {
    for mode in [ConnectionMode::Single, ConnectionMode::Dual] {
        let mut world = world();
        let mut alice = world.join_as(&claims("r", "alice"), mode);
        let mut bob = world.join("bob");
        world.publish_camera(&mut alice);
        world.negotiate(&mut [&mut bob]);
        world.pass(Duration::from_secs(6));
        world.take(&bob);
        let consumers = world.consumers();
        let heard = simulate(&mut world, &alice, Scenario::Migration(true));
        assert_eq!(
            leave_reason(&heard),
            Some((DisconnectReason::Migration, 1)),
            "{heard:?}"
        );
        assert_eq!(world.closed, [alice.connection]);
        let own = alice.sid.clone();
        world.resume(&mut alice, &own);
        let heard = world.take(&alice);
        assert!(matches!(heard[0], Response::Reconnect(_)));
        world.messages.insert(alice.connection, heard);
        world.negotiate(&mut [&mut alice]);
        world.pass(Duration::from_secs(60));
        assert_eq!(world.consumers(), consumers);
        assert!(world.take(&bob).is_empty(), "{mode:?}");
    }
}

#[test]
fn whoever_is_sent_away_and_stays_away_is_given_up() {
    let mut world = world();
    let alice = world.join("alice");
    simulate(&mut world, &alice, Scenario::Migration(true));
    world.pass(Duration::from_secs(20));
    assert!(world.room.participant_infos().is_empty());
}

#[test]
fn leaves_say_what_the_client_is_to_do() {
    for (scenario, expected) in [
        (
            Scenario::ServerLeave(true),
            (DisconnectReason::ServerShutdown, 0),
        ),
        (
            Scenario::LeaveRequestFullReconnect(true),
            (DisconnectReason::StateMismatch, 2),
        ),
    ] {
        let mut world = world();
        let alice = world.join("alice");
        let bob = world.join("bob");
        let heard = simulate(&mut world, &alice, scenario);
        assert_eq!(leave_reason(&heard), Some(expected));
        assert_eq!(world.closed, [alice.connection]);
        let left: Vec<_> = world.room.participant_infos();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].sid, bob.sid);
    }
}

#[test]
fn a_link_is_limited_where_tracks_come_down() {
    for (mode, nth) in [(ConnectionMode::Single, 0), (ConnectionMode::Dual, 0)] {
        let mut world = world();
        let alice = world.join_as(&claims("r", "alice"), mode);
        let downlink = world.transports(nth);
        for (bps, limit) in [(150_000, Some(Bitrate::from_bps(150_000))), (0, None)] {
            let heard = simulate(&mut world, &alice, Scenario::SubscriberBandwidth(bps));
            assert_eq!(refusal(&heard).unwrap().reason(), Reason::Ok);
            assert_eq!(limits(&world).last(), Some(&(downlink, limit)), "{mode:?}");
        }
    }
}

#[test]
fn another_way_for_media_than_udp_is_refused() {
    let mut world = world();
    let alice = world.join("alice");
    for (protocol, reason) in [
        (CandidateProtocol::Udp, Reason::Ok),
        (CandidateProtocol::Tcp, Reason::UnsupportedType),
        (CandidateProtocol::Tls, Reason::UnsupportedType),
    ] {
        let scenario = Scenario::SwitchCandidateProtocol(protocol as i32);
        let heard = simulate(&mut world, &alice, scenario);
        assert_eq!(refusal(&heard).unwrap().reason(), reason);
    }
}

#[test]
fn a_resume_fails_once_before_or_after_its_messages() {
    for (scenario, messages) in [
        (Scenario::DisconnectSignalOnResume(true), true),
        (Scenario::DisconnectSignalOnResumeNoMessages(true), false),
    ] {
        let mut world = world();
        let mut alice = world.join("alice");
        let heard = simulate(&mut world, &alice, scenario);
        assert_eq!(refusal(&heard).unwrap().reason(), Reason::Ok);
        assert!(world.closed.is_empty());
        world.close(&alice);
        let own = alice.sid.clone();
        world.resume(&mut alice, &own);
        assert!(world.accepted.contains(&alice.connection));
        let heard = world.take(&alice);
        assert_eq!(!heard.is_empty(), messages, "{heard:?}");
        assert_eq!(world.closed, [alice.connection]);
        world.pass(Duration::from_secs(19));
        world.resume(&mut alice, &own);
        assert!(matches!(world.take(&alice)[0], Response::Reconnect(_)));
        assert_eq!(world.closed.len(), 1, "the second resume holds");
        world.pass(Duration::from_secs(60));
        assert_eq!(world.room.participant_infos().len(), 1);
    }
}

#[test]
fn a_session_is_given_up_whose_only_resume_failed() {
    for scenario in [
        Scenario::DisconnectSignalOnResume(true),
        Scenario::DisconnectSignalOnResumeNoMessages(true),
    ] {
        let mut world = world();
        let mut alice = world.join("alice");
        simulate(&mut world, &alice, scenario);
        world.close(&alice);
        let own = alice.sid.clone();
        world.resume(&mut alice, &own);
        world.pass(Duration::from_secs(20));
        assert!(world.room.participant_infos().is_empty(), "{scenario:?}");
    }
}
