//! Data tracks: publishing, handles, frames.

use std::collections::HashMap;

use livekit_protocol::request_response::Reason;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::update_data_subscription::Update;
use livekit_protocol::{
    LeaveRequest, PublishDataTrackRequest, UnpublishDataTrackRequest, UpdateDataSubscription,
};

use crate::support::{Client, World, refusal};

fn publish(world: &mut World, client: &Client, handle: u32, name: &str) -> Option<String> {
    world.take(client);
    let request = PublishDataTrackRequest {
        pub_handle: handle,
        name: name.into(),
        ..PublishDataTrackRequest::default()
    };
    world.request(client, Request::PublishDataTrackRequest(request));
    world.all(client.connection).iter().find_map(|m| match m {
        Response::PublishDataTrackResponse(r) => Some(r.info.as_ref().unwrap().sid.clone()),
        _ => None,
    })
}

fn subscribe(world: &mut World, client: &Client, sid: &str, subscribe: bool) {
    let request = UpdateDataSubscription {
        updates: vec![Update {
            track_sid: sid.into(),
            subscribe,
            ..Update::default()
        }],
    };
    world.request(client, Request::UpdateDataSubscription(request));
}

fn handles(messages: &[Response]) -> Option<HashMap<u32, String>> {
    messages.iter().rev().find_map(|m| match m {
        Response::DataTrackSubscriberHandles(h) => Some(
            h.sub_handles
                .iter()
                .map(|(handle, track)| (*handle, track.track_sid.clone()))
                .collect(),
        ),
        _ => None,
    })
}

fn frame(handle: u16) -> Vec<u8> {
    let mut frame = vec![0x18, 0];
    frame.extend(handle.to_be_bytes());
    frame.extend([0, 1, 0, 1, 1, 2, 3, 4, 5, 6]);
    frame
}

#[test]
fn frames_reach_subscribers_under_their_own_handle() {
    let mut world = World::new();
    let alice = world.join("alice");
    let bob = world.join("bob");
    let sid = publish(&mut world, &alice, 700, "pos").unwrap();
    assert!(sid.starts_with("DTR_"));
    let (from, to) = (world.transports(0), world.transports(1));
    world.data(from, "_data_track", frame(700));
    assert!(world.sent_data().is_empty(), "nobody subscribed");
    subscribe(&mut world, &bob, &sid, true);
    let map = handles(&world.take(&bob)).unwrap();
    let (handle, _) = map.iter().find(|(_, s)| **s == sid).unwrap();
    world.data(from, "_data_track", frame(700));
    let sent = world.sent_data();
    assert_eq!(sent[0].0, [to]);
    assert_eq!(sent[0].2[..], frame(*handle as u16));
    world.data(from, "_data_track", frame(701));
    world.data(from, "_data_track", vec![0; 11]);
    assert!(world.sent_data().is_empty());
    assert_eq!(world.counters.snapshot().data_refused, 2);

    subscribe(&mut world, &bob, &sid, false);
    assert_eq!(handles(&world.take(&bob)), Some(HashMap::new()));
    world.data(from, "_data_track", frame(700));
    assert!(world.sent_data().is_empty());
}

#[test]
fn unpublishing_and_leaving_take_the_handles_back() {
    let mut world = World::new();
    let alice = world.join("alice");
    let bob = world.join("bob");
    let first = publish(&mut world, &alice, 1, "a").unwrap();
    let second = publish(&mut world, &alice, 2, "b").unwrap();
    subscribe(&mut world, &bob, &first, true);
    subscribe(&mut world, &bob, &second, true);
    world.take(&alice);
    world.request(
        &alice,
        Request::UnpublishDataTrackRequest(UnpublishDataTrackRequest { pub_handle: 1 }),
    );
    assert!(
        world
            .take(&alice)
            .iter()
            .any(|m| matches!(m, Response::UnpublishDataTrackResponse(_)))
    );
    let map = handles(&world.take(&bob)).unwrap();
    assert_eq!(map.values().collect::<Vec<_>>(), [&second]);
    world.request(&alice, Request::Leave(LeaveRequest::default()));
    assert_eq!(handles(&world.take(&bob)), Some(HashMap::new()));
}

#[test]
fn every_wrong_request_is_answered_with_its_reason() {
    let mut world = World::new();
    let alice = world.join("alice");
    publish(&mut world, &alice, 1, "a").unwrap();
    let long = "x".repeat(257);
    for (handle, name, reason) in [
        (0, "b", Reason::InvalidHandle),
        (65_536, "b", Reason::InvalidHandle),
        (1, "b", Reason::DuplicateHandle),
        (2, "a", Reason::DuplicateName),
        (2, "", Reason::InvalidName),
        (2, long.as_str(), Reason::InvalidName),
    ] {
        assert_eq!(publish(&mut world, &alice, handle, name), None);
        let response = refusal(&world.take(&alice)).unwrap();
        assert_eq!(response.reason(), reason, "{handle} {name}");
    }
    for handle in 2..=16 {
        assert!(publish(&mut world, &alice, handle, &format!("t{handle}")).is_some());
    }
    assert_eq!(publish(&mut world, &alice, 17, "one too many"), None);
    let response = refusal(&world.take(&alice)).unwrap();
    assert_eq!(response.reason(), Reason::LimitExceeded);
    subscribe(&mut world, &alice, "DTR_gone", true);
    let response = refusal(&world.take(&alice)).unwrap();
    assert_eq!(response.reason(), Reason::NotFound);
    world.request(
        &alice,
        Request::UnpublishDataTrackRequest(UnpublishDataTrackRequest { pub_handle: 99 }),
    );
    let response = refusal(&world.take(&alice)).unwrap();
    assert_eq!(response.reason(), Reason::NotFound);
}
