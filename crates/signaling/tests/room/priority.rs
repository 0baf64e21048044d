//! Whose picture comes first on a thin link, and being told of one that had to stop.

use std::collections::HashMap;

use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{StreamState, UpdateParticipantMetadata, UpdateTrackSettings};
use schalter_forward::Rank;
use schalter_model::{TrackId, TransportId};
use schalter_shard::control::Event;
use schalter_signaling::room::{ConnectionMode, Input};

use crate::support::{Client, World, claims};

/// Somebody who may call itself signing, and who watches its camera.
fn watched() -> (World, Client, Client, String) {
    let mut world = World::new();
    let mut claims = claims("r", "alice");
    claims.video.as_mut().unwrap().can_update_own_metadata = Some(true);
    let mut alice = world.join_as(&claims, ConnectionMode::Single);
    let mut bob = world.join("bob");
    let camera = world.publish_camera(&mut alice);
    world.negotiate(&mut [&mut bob]);
    (world, alice, bob, camera)
}

/// The only picture that is forwarded: where to, which, and its rank.
fn forwarded(world: &World) -> (TransportId, TrackId, Rank) {
    let consumers = world.consumers();
    let ((transport, track), target) = consumers.first_key_value().unwrap();
    (*transport, *track, target.rank)
}

fn attributes(world: &mut World, who: &Client, signing: &str) {
    let update = UpdateParticipantMetadata {
        attributes: HashMap::from([("schalter.signing".to_owned(), signing.to_owned())]),
        ..UpdateParticipantMetadata::default()
    };
    world.request(who, Request::UpdateMetadata(update));
}

#[test]
fn who_says_that_it_signs_comes_first_and_may_stop_to() {
    let (mut world, alice, _, _) = watched();
    assert_eq!(forwarded(&world).2, Rank::DEFAULT);
    attributes(&mut world, &alice, "true");
    assert_eq!(forwarded(&world).2, Rank::SIGNING);
    attributes(&mut world, &alice, "");
    assert_eq!(forwarded(&world).2, Rank::DEFAULT);
}

#[test]
fn what_the_subscriber_ranks_higher_comes_earlier_and_never_before_who_signs() {
    let (mut world, alice, bob, camera) = watched();
    let ranked = |world: &mut World, priority| {
        let settings = UpdateTrackSettings {
            track_sids: vec![camera.clone()],
            quality: 2,
            priority,
            ..UpdateTrackSettings::default()
        };
        world.request(&bob, Request::TrackSetting(settings));
        forwarded(world).2
    };
    let (first, second, last) = (
        ranked(&mut world, 1),
        ranked(&mut world, 2),
        ranked(&mut world, u32::MAX),
    );
    assert!(Rank::SIGNING < first && first < second && second < last && last < Rank::DEFAULT);
    assert_eq!(ranked(&mut world, 0), Rank::DEFAULT);
    attributes(&mut world, &alice, "true");
    assert_eq!(ranked(&mut world, 1), Rank::SIGNING);
}

#[test]
fn a_picture_that_stops_for_want_of_bandwidth_is_told_to_its_subscriber_only() {
    let (mut world, alice, bob, camera) = watched();
    let (transport, track, _) = forwarded(&world);
    for (paused, state) in [(true, StreamState::Paused), (false, StreamState::Active)] {
        world.take(&alice);
        world.take(&bob);
        world.input(Input::Media(Event::StreamState {
            transport,
            track,
            paused,
        }));
        let told: Vec<_> = world.take(&bob).into_iter().collect();
        let [Response::StreamStateUpdate(update)] = &told[..] else {
            panic!("{told:?}");
        };
        let info = &update.stream_states[0];
        assert_eq!((&info.track_sid, info.state()), (&camera, state));
        assert_eq!(info.participant_sid, alice.sid);
        assert!(world.take(&alice).is_empty());
    }
}
