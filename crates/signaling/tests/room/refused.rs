//! What the media plane refuses is told to who waits for it.

use livekit_protocol::request_response::{Reason, Request as Echo};
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{DisconnectReason, TrackInfo};
use schalter_model::{TrackId, TransportId};
use schalter_shard::control::{Command, Event, Refusal};
use schalter_signaling::JoinStage;
use schalter_signaling::SignalingConfig;
use schalter_signaling::room::{ConnectionMode, Input};

use crate::support::{World, claims, leave_reason, microphone, refusal};

fn refuse(world: &mut World, transport: TransportId, track: Option<TrackId>, reason: Refusal) {
    world.input(Input::Media(Event::Refused {
        transport,
        track,
        reason,
    }));
}

#[test]
fn a_client_whose_transport_is_refused_is_told_at_once_and_frees_its_seat() {
    for mode in [ConnectionMode::Single, ConnectionMode::Dual] {
        let mut config = SignalingConfig::default();
        config.limits.participants_per_room = 1;
        let mut world = World::with(config);
        world.connect = false;
        let alice = world.join_as(&claims("r", "alice"), mode);
        let transport = world.transports(0);
        refuse(&mut world, transport, None, Refusal::Limit);
        // What was on its way to a transport that never was.
        refuse(&mut world, transport, None, Refusal::UnknownTransport);
        assert_eq!(
            leave_reason(&world.take(&alice)),
            Some((DisconnectReason::JoinFailure, 0)),
            "{mode:?}"
        );
        assert_eq!(world.closed, [alice.connection]);
        let stats = world.counters.snapshot();
        assert_eq!(stats.failures_at(JoinStage::Capacity), 1);
        assert_eq!(stats.failures_at(JoinStage::Media), 0);
        assert_eq!(stats.participants, 0);
        assert!(world.room.admits("bob"));
    }
}

#[test]
fn a_transport_that_is_gone_before_it_connected_makes_the_client_begin_anew() {
    let mut world = World::new();
    world.connect = false;
    let alice = world.join("alice");
    let transport = world.transports(0);
    refuse(&mut world, transport, None, Refusal::UnknownTransport);
    assert_eq!(
        leave_reason(&world.take(&alice)),
        Some((DisconnectReason::JoinFailure, 2))
    );
    let stats = world.counters.snapshot();
    assert_eq!(stats.failures_at(JoinStage::Media), 1);
}

#[test]
fn an_active_client_whose_second_transport_is_refused_begins_anew() {
    let mut world = World::new();
    let alice = world.join_dual("alice");
    world.take(&alice);
    let publisher = world.transports(1);
    refuse(&mut world, publisher, None, Refusal::Limit);
    assert_eq!(
        leave_reason(&world.take(&alice)),
        Some((DisconnectReason::MediaFailure, 2))
    );
    let failures = world.counters.snapshot().join_failures;
    assert_eq!(failures.iter().sum::<u64>(), 0, "it had joined");
}

#[test]
fn a_refused_track_is_unpublished_with_a_reason() {
    for (reason, told) in [
        (Refusal::Limit, Reason::LimitExceeded),
        (Refusal::InvalidConfig, Reason::InvalidRequest),
    ] {
        let mut world = World::new();
        let mut alice = world.join("alice");
        let sid = world.publish(&mut alice, microphone("mic"));
        world.take(&alice);
        let (transport, track) = world
            .commands
            .iter()
            .find_map(|(_, c)| match c {
                Command::AddProducer {
                    transport, track, ..
                } => Some((*transport, *track)),
                _ => None,
            })
            .unwrap();
        refuse(&mut world, transport, Some(track), reason);
        let messages = world.take(&alice);
        let response = refusal(&messages).unwrap();
        assert_eq!(response.reason(), told);
        let Some(Echo::AddTrack(request)) = response.request else {
            panic!("{:?}", response.request)
        };
        assert_eq!((request.cid.as_str(), &request.sid), ("mic", &sid));
        let unpublished = messages.iter().find_map(|m| match m {
            Response::TrackUnpublished(u) => Some(u.track_sid.as_str()),
            _ => None,
        });
        assert_eq!(unpublished, Some(sid.as_str()));
        assert!(world.room.participant_infos()[0].tracks.is_empty());
    }
}

#[test]
fn others_no_longer_see_a_track_that_a_renegotiation_lost() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = world.join("bob");
    world.publish_camera(&mut alice);
    world.negotiate(&mut [&mut bob]);
    world.take(&bob);
    let (transport, track) = (world.transports(0), {
        let consumers = world.consumers();
        consumers.keys().next().unwrap().1
    });
    refuse(&mut world, transport, Some(track), Refusal::InvalidConfig);
    let messages = world.take(&bob);
    let tracks: Vec<TrackInfo> = messages
        .iter()
        .find_map(|m| match m {
            Response::Update(u) => Some(u.participants[0].tracks.clone()),
            _ => None,
        })
        .unwrap();
    assert!(tracks.is_empty());
    assert!(world.consumers().is_empty());
    assert_eq!(world.counters.snapshot().subscriptions, 0);
}

#[test]
fn refusals_that_cross_the_clients_close_say_nothing() {
    let mut world = World::new();
    let alice = world.join("alice");
    world.take(&alice);
    let transport = world.transports(0);
    world.input(Input::Media(Event::TransportState {
        transport,
        state: schalter_shard::control::TransportState::Closed,
    }));
    refuse(&mut world, transport, None, Refusal::UnknownTransport);
    assert!(world.take(&alice).is_empty());
}
