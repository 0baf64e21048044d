//! Single mode: a client is asked to offer. Whatever becomes of that, what it subscribes to comes.

use std::time::Duration;

use livekit_protocol::SessionDescription;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;

use crate::support::{Client, World, microphone, refusal};

/// Within this time a client is asked once more, and never sooner than `SOONEST`: it may be slow.
const AGAIN: Duration = Duration::from_secs(5);
const SOONEST: Duration = Duration::from_secs(3);

/// How often a client was asked since this was last looked at.
fn asked(world: &mut World, client: &Client) -> Vec<(u32, u32)> {
    let messages = world.take(client);
    messages
        .iter()
        .filter_map(|m| match m {
            Response::MediaSectionsRequirement(r) => Some((r.num_audios, r.num_videos)),
            _ => None,
        })
        .collect()
}

fn unusable(world: &mut World, client: &Client, id: u32) {
    let offer = SessionDescription {
        r#type: "offer".into(),
        sdp: "v=0\r\n".into(),
        id,
        ..SessionDescription::default()
    };
    world.request(client, Request::Offer(offer));
}

/// Alice, who publishes, and Bob, who was asked to offer and has not.
fn scene() -> (World, Client, Client) {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let bob = world.join("bob");
    world.take(&bob);
    world.publish_microphone(&mut alice);
    assert_eq!(asked(&mut world, &bob), [(0, 0)]);
    (world, alice, bob)
}

#[test]
fn a_client_that_does_not_offer_is_asked_again() {
    let (mut world, _, mut bob) = scene();
    world.pass(SOONEST);
    assert!(asked(&mut world, &bob).is_empty(), "it has time");
    world.pass(AGAIN - SOONEST);
    assert_eq!(asked(&mut world, &bob), [(0, 0)]);
    world.offer(&mut bob);
    assert_eq!(world.last_answer(&bob).unwrap().mid_to_track_id.len(), 1);
    world.take(&bob);
    world.pass(AGAIN * 20);
    assert!(asked(&mut world, &bob).is_empty(), "it has all");
}

#[test]
fn a_client_that_never_offers_is_not_asked_for_ever() {
    let (mut world, mut alice, mut bob) = scene();
    world.pass(AGAIN * 20);
    assert_eq!(asked(&mut world, &bob).len(), 3);
    assert!(
        !world.closed.contains(&bob.connection),
        "what it has goes on"
    );
    // What comes later is another occasion.
    world.publish(&mut alice, microphone("second"));
    world.media_flows();
    assert_eq!(asked(&mut world, &bob), [(0, 0)]);
    world.pass(AGAIN);
    assert_eq!(asked(&mut world, &bob), [(0, 0)]);
    world.offer(&mut bob);
    assert_eq!(world.last_answer(&bob).unwrap().mid_to_track_id.len(), 2);
}

#[test]
fn an_offer_that_crossed_is_taken_for_the_one_asked_for() {
    let (mut world, _, mut bob) = scene();
    // Made before the question arrived; sections enough it has all the same.
    world.offer(&mut bob);
    assert_eq!(world.last_answer(&bob).unwrap().mid_to_track_id.len(), 1);
    assert!(asked(&mut world, &bob).is_empty());
    // And the one that the question brings changes nothing.
    world.offer(&mut bob);
    assert_eq!(world.last_answer(&bob).unwrap().mid_to_track_id.len(), 1);
    world.take(&bob);
    world.pass(AGAIN * 20);
    assert!(asked(&mut world, &bob).is_empty());
}

#[test]
fn an_offer_that_crossed_without_sections_enough_is_followed_by_another_question() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = world.join("bob");
    world.take(&bob);
    for n in 0..4 {
        world.publish(&mut alice, microphone(&format!("m{n}")));
    }
    world.media_flows();
    assert!(!asked(&mut world, &bob).is_empty());
    world.offer(&mut bob);
    assert_eq!(world.last_answer(&bob).unwrap().mid_to_track_id.len(), 3);
    assert_eq!(asked(&mut world, &bob), [(1, 0)]);
    // This question gets lost.
    world.pass(AGAIN);
    assert_eq!(asked(&mut world, &bob), [(1, 0)]);
    let mid = bob.sections.len();
    bob.sections.push(format!("aud {mid} recvonly"));
    world.offer(&mut bob);
    assert_eq!(world.last_answer(&bob).unwrap().mid_to_track_id.len(), 4);
}

#[test]
fn after_an_offer_that_cannot_be_used_a_client_is_asked_again() {
    let (mut world, _, mut bob) = scene();
    unusable(&mut world, &bob, 2);
    assert!(refusal(&world.take(&bob)).is_some());
    world.pass(AGAIN);
    assert_eq!(asked(&mut world, &bob), [(0, 0)]);
    world.offer(&mut bob);
    assert_eq!(world.last_answer(&bob).unwrap().mid_to_track_id.len(), 1);
}

#[test]
fn what_was_unsubscribed_meanwhile_is_not_asked_for() {
    let (mut world, alice, bob) = scene();
    world.close(&alice);
    world.pass(Duration::from_secs(60));
    // Nothing was bound, so nothing has to be unbound.
    assert!(asked(&mut world, &bob).len() <= 3);
    world.pass(Duration::from_secs(60));
    assert!(asked(&mut world, &bob).is_empty());
}

#[test]
fn who_has_no_socket_is_asked_when_it_is_back() {
    let (mut world, _, mut bob) = scene();
    let sid = bob.sid.clone();
    world.close(&bob);
    world.pass(AGAIN * 2);
    world.resume(&mut bob, &sid);
    assert_eq!(asked(&mut world, &bob), [(0, 0)]);
    world.pass(AGAIN);
    assert_eq!(asked(&mut world, &bob), [(0, 0)]);
    world.offer(&mut bob);
    assert_eq!(world.last_answer(&bob).unwrap().mid_to_track_id.len(), 1);
    world.take(&bob);
    world.pass(AGAIN * 20);
    assert!(asked(&mut world, &bob).is_empty());
}
