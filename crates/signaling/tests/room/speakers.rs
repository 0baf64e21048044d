//! Who speaks.

use std::time::Duration;

use livekit_protocol::MuteTrackRequest;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use schalter_model::TrackId;
use schalter_shard::control::{Command, Event};
use schalter_signaling::room::Input;

use crate::support::World;

fn told(messages: &[Response]) -> Vec<(String, f32, bool)> {
    messages
        .iter()
        .filter_map(|m| match m {
            Response::SpeakersChanged(s) => {
                let speaker = &s.speakers[0];
                Some((speaker.sid.clone(), speaker.level, speaker.active))
            }
            _ => None,
        })
        .collect()
}

fn track(world: &World) -> TrackId {
    world
        .commands
        .iter()
        .find_map(|(_, c)| match c {
            Command::AddProducer { track, .. } => Some(*track),
            _ => None,
        })
        .unwrap()
}

#[test]
fn changes_are_told_in_steps_to_who_hears_them() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = world.join("bob");
    let mut params = world.params(
        &crate::support::claims("r", "deaf"),
        schalter_signaling::room::ConnectionMode::Single,
    );
    params.auto_subscribe = false;
    let deaf = world.join_with(params);
    let sid = world.publish_microphone(&mut alice);
    world.negotiate(&mut [&mut bob]);
    let id = track(&world);
    let level = |world: &mut World, level: f32, active: bool| {
        world.input(Input::Media(Event::AudioLevel {
            track: id,
            level,
            active,
        }));
    };
    world.take(&bob);
    level(&mut world, 0.2, true);
    assert_eq!(told(&world.take(&bob)), [(alice.sid.clone(), 0.25, true)]);
    level(&mut world, 0.22, true);
    level(&mut world, 0.5, true);
    assert!(told(&world.take(&bob)).is_empty(), "within 400 ms");
    world.pass(Duration::from_millis(400));
    assert_eq!(told(&world.take(&bob)), [(alice.sid.clone(), 0.5, true)]);
    let mute = MuteTrackRequest { sid, muted: true };
    world.request(&alice, Request::Mute(mute));
    world.pass(Duration::from_millis(400));
    assert_eq!(told(&world.take(&bob)), [(alice.sid.clone(), 0.0, false)]);
    assert_eq!(told(&world.take(&alice)).len(), 3);
    assert!(told(&world.take(&deaf)).is_empty());
}

#[test]
fn a_speaker_that_leaves_falls_silent() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = world.join("bob");
    world.publish_microphone(&mut alice);
    world.negotiate(&mut [&mut bob]);
    world.input(Input::Media(Event::AudioLevel {
        track: track(&world),
        level: 1.0,
        active: true,
    }));
    world.take(&bob);
    alice.sections[7] = "aud 7 inactive".into();
    world.offer(&mut alice);
    assert_eq!(told(&world.take(&bob)), [(alice.sid.clone(), 0.0, false)]);
}
