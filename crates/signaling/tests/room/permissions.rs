//! Grants and what they forbid; every refused request is answered.

use std::collections::HashMap;
use std::time::Duration;

use livekit_protocol::request_response::{Reason, Request as Echo};
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{
    SimulateScenario, StoreDataBlobRequest, UpdateLocalVideoTrack, UpdateParticipantMetadata,
};
use schalter_signaling::room::ConnectionMode;
use schalter_signaling::token::{Claims, VideoClaims};

use crate::support::{World, camera, claims, microphone, refusal};

fn with(identity: &str, edit: impl FnOnce(&mut VideoClaims)) -> Claims {
    let mut claims = claims("r", identity);
    edit(claims.video.as_mut().unwrap());
    claims
}

#[test]
fn publishing_without_the_grant_is_refused_with_the_request() {
    let mut world = World::new();
    let alice = world.join_as(
        &with("alice", |v| v.can_publish = Some(false)),
        ConnectionMode::Single,
    );
    world.take(&alice);
    world.request(&alice, Request::AddTrack(microphone("mic")));
    let response = refusal(&world.take(&alice)).unwrap();
    assert_eq!(response.reason(), Reason::NotAllowed);
    assert_eq!(response.request, Some(Echo::AddTrack(microphone("mic"))));
}

#[test]
fn only_granted_sources_may_be_published() {
    let mut world = World::new();
    let only_microphone = with("alice", |v| {
        v.can_publish_sources = Some(vec!["microphone".into()]);
    });
    let alice = world.join_as(&only_microphone, ConnectionMode::Single);
    world.take(&alice);
    world.request(&alice, Request::AddTrack(camera("cam")));
    assert_eq!(
        refusal(&world.take(&alice)).unwrap().reason(),
        Reason::NotAllowed
    );
    world.request(&alice, Request::AddTrack(microphone("mic")));
    assert!(matches!(world.take(&alice)[0], Response::TrackPublished(_)));
}

#[test]
fn without_the_grant_nothing_is_subscribed() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = world.join_as(
        &with("bob", |v| v.can_subscribe = Some(false)),
        ConnectionMode::Single,
    );
    world.publish_camera(&mut alice);
    world.negotiate(&mut [&mut bob]);
    assert!(world.consumers().is_empty());
}

#[test]
fn hidden_participants_see_and_are_not_seen() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut hidden = world.join_as(
        &with("hidden", |v| v.hidden = Some(true)),
        ConnectionMode::Single,
    );
    let carol = world.join("carol");
    world.publish_camera(&mut alice);
    world.negotiate(&mut [&mut hidden]);
    assert_eq!(world.consumers().len(), 1);
    world.pass(Duration::from_secs(30));
    let mut messages = world.take(&alice);
    messages.extend(world.take(&carol));
    for message in &messages {
        let infos = match message {
            Response::Join(join) => join.other_participants.clone(),
            Response::Update(update) => update.participants.clone(),
            Response::RoomUpdate(update) => {
                assert!(update.room.as_ref().unwrap().num_participants <= 2);
                continue;
            }
            _ => continue,
        };
        assert!(infos.iter().all(|p| p.identity != "hidden"));
    }
}

#[test]
fn own_metadata_needs_the_grant_and_is_told_before_the_answer() {
    let request = UpdateParticipantMetadata {
        metadata: "m1".into(),
        name: "Alice A".into(),
        attributes: HashMap::from([("a".into(), "9".into()), ("b".into(), String::new())]),
        request_id: 7,
    };
    let mut world = World::new();
    let bob = world.join("bob");
    world.take(&bob);
    world.request(&bob, Request::UpdateMetadata(request.clone()));
    let response = refusal(&world.take(&bob)).unwrap();
    assert_eq!(
        (response.reason(), response.request_id),
        (Reason::NotAllowed, 7)
    );

    let mut allowed = with("alice", |v| v.can_update_own_metadata = Some(true));
    allowed.attributes = Some([("b".to_owned(), "2".to_owned())].into());
    let alice = world.join_as(&allowed, ConnectionMode::Single);
    world.take(&alice);
    world.request(&alice, Request::UpdateMetadata(request));
    let messages = world.take(&alice);
    let [
        Response::Update(update),
        Response::RequestResponse(response),
        Response::RefreshToken(_),
    ] = &messages[..]
    else {
        panic!("{messages:?}")
    };
    let info = &update.participants[0];
    assert_eq!(
        (info.metadata.as_str(), info.name.as_str()),
        ("m1", "Alice A")
    );
    assert_eq!(info.attributes, HashMap::from([("a".into(), "9".into())]));
    assert_eq!((response.reason(), response.request_id), (Reason::Ok, 7));
    let claims = &world.tokens.last().unwrap().1.claims;
    assert_eq!(
        claims.metadata.as_deref(),
        Some("m1"),
        "a reconnect keeps it"
    );
}

#[test]
fn what_a_client_says_of_itself_on_joining_needs_the_grant_too() {
    for allowed in [false, true] {
        let mut world = World::new();
        let token = with("alice", |v| v.can_update_own_metadata = Some(allowed));
        let mut params = world.params(&token, ConnectionMode::Single);
        params.metadata = "own".into();
        let alice = world.join_with(params);
        let Response::Join(join) = &world.take(&alice)[0] else {
            panic!()
        };
        let metadata = join.participant.as_ref().unwrap().metadata.as_str();
        assert_eq!(metadata, if allowed { "own" } else { "" });
    }
}

#[test]
fn what_is_not_supported_is_answered() {
    let mut world = World::new();
    let alice = world.join("alice");
    let requests = [
        (
            Request::Simulate(SimulateScenario::default()),
            Reason::NotAllowed,
        ),
        (
            Request::StoreDataBlobRequest(StoreDataBlobRequest::default()),
            Reason::UnsupportedType,
        ),
        (
            Request::UpdateVideoTrack(UpdateLocalVideoTrack::default()),
            Reason::NotFound,
        ),
        (
            Request::AddTrack(livekit_protocol::AddTrackRequest {
                sid: "TR_x".into(),
                ..camera("c")
            }),
            Reason::NotFound,
        ),
        (Request::Offer(Default::default()), Reason::InvalidRequest),
    ];
    for (request, reason) in requests {
        world.take(&alice);
        let name = format!("{request:?}");
        world.request(&alice, request);
        let response = refusal(&world.take(&alice)).expect(&name);
        assert_eq!(response.reason(), reason, "{name}");
    }
}
