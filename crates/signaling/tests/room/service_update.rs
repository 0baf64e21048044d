//! What the room service changes of a participant: name, metadata, attributes, and what it may do from now on.

use std::collections::HashMap;
use std::time::Duration;

use livekit_protocol::participant_info::State;
use livekit_protocol::request_response::Reason;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{
    DataPacket, ParticipantInfo, ParticipantPermission, PublishDataTrackRequest, TrackSource,
    UpdateParticipantRequest, UserPacket, data_packet,
};
use prost::Message as _;
use schalter_shard::control::Command;
use schalter_signaling::room::{ConnectionMode, Input, ServiceRefusal};

use crate::service::updates;
use crate::support::{World, claims, microphone, refusal};

fn update(
    world: &mut World,
    request: &UpdateParticipantRequest,
) -> Result<ParticipantInfo, ServiceRefusal> {
    world.call(|room| room.update_participant(request))
}

fn of(identity: &str) -> UpdateParticipantRequest {
    UpdateParticipantRequest {
        identity: identity.into(),
        ..UpdateParticipantRequest::default()
    }
}

/// Everything that participants may by default.
fn everything() -> ParticipantPermission {
    ParticipantPermission {
        can_publish: true,
        can_subscribe: true,
        can_publish_data: true,
        ..ParticipantPermission::default()
    }
}

fn permitting(identity: &str, permission: ParticipantPermission) -> UpdateParticipantRequest {
    UpdateParticipantRequest {
        permission: Some(permission),
        ..of(identity)
    }
}

fn attributes(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

#[test]
fn what_is_named_changes_for_everybody_and_in_the_token() {
    let mut world = World::new();
    let mut token = claims("r", "alice");
    token.metadata = Some("m0".into());
    token.attributes = Some([("a".into(), "1".into()), ("b".into(), "2".into())].into());
    let alice = world.join_as(&token, ConnectionMode::Single);
    let bob = world.join("bob");
    world.pass(Duration::from_secs(10));
    world.take(&alice);
    world.take(&bob);
    let request = UpdateParticipantRequest {
        name: "Alice A".into(),
        attributes: attributes(&[("a", ""), ("c", "3")]),
        ..of("alice")
    };
    let info = update(&mut world, &request).unwrap();
    assert_eq!(
        (info.name.as_str(), info.metadata.as_str()),
        ("Alice A", "m0")
    );
    assert_eq!(info.attributes, attributes(&[("b", "2"), ("c", "3")]));
    assert!(info.permission.as_ref().unwrap().can_publish, "not named");
    let told = updates(&world.take(&bob));
    assert_eq!((told.len(), &told[0]), (1, &info));
    let own = world.take(&alice);
    let [Response::Update(_), Response::RefreshToken(_)] = &own[..] else {
        panic!("{own:?}")
    };
    let claims = &world.tokens.last().unwrap().1.claims;
    assert_eq!(claims.name.as_deref(), Some("Alice A"));
    assert_eq!(claims.metadata.as_deref(), Some("m0"));
    assert_eq!(claims.attributes.as_ref().unwrap().len(), 2);

    let request = UpdateParticipantRequest {
        metadata: "m1".into(),
        ..of("alice")
    };
    let later = update(&mut world, &request).unwrap();
    assert_eq!(
        (later.name.as_str(), later.metadata.as_str()),
        ("Alice A", "m1")
    );
    assert!(later.version > info.version, "clients ignore older ones");
}

#[test]
fn what_is_too_long_changes_nothing() {
    let mut world = World::new();
    let alice = world.join("alice");
    let before = world.room.participant_info("alice").unwrap();
    world.take(&alice);
    let long = "x".repeat(64_001);
    for request in [
        UpdateParticipantRequest {
            name: "x".repeat(257),
            ..of("alice")
        },
        UpdateParticipantRequest {
            metadata: long.clone(),
            name: "fits".into(),
            ..of("alice")
        },
        UpdateParticipantRequest {
            attributes: attributes(&[("a", &long)]),
            ..permitting("alice", ParticipantPermission::default())
        },
    ] {
        let answer = update(&mut world, &request);
        assert!(matches!(answer, Err(ServiceRefusal::Invalid(_))));
    }
    let nobody = update(&mut world, &of("nobody"));
    assert_eq!(nobody, Err(ServiceRefusal::NoParticipant));
    assert_eq!(world.room.participant_info("alice").unwrap(), before);
    assert!(world.take(&alice).is_empty());
}

#[test]
fn who_may_no_longer_publish_is_unpublished_at_once() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = world.join("bob");
    let sid = world.publish_microphone(&mut alice);
    world.negotiate(&mut [&mut bob]);
    assert_eq!(world.consumers().len(), 1);
    world.take(&alice);
    world.take(&bob);
    let muzzled = ParticipantPermission {
        can_publish: false,
        ..everything()
    };
    let info = update(&mut world, &permitting("alice", muzzled)).unwrap();
    assert!(info.tracks.is_empty() && !info.permission.unwrap().can_publish);
    let removed = |(_, c): &(_, Command)| matches!(c, Command::RemoveProducer { .. });
    assert!(world.commands.iter().any(removed));
    assert!(world.consumers().is_empty());
    let own = world.take(&alice);
    let unpublished =
        |m: &Response| matches!(m, Response::TrackUnpublished(t) if t.track_sid == sid);
    assert!(own.iter().any(unpublished), "{own:?}");
    let seen = updates(&world.take(&bob));
    assert!(seen.last().unwrap().tracks.is_empty());
    let claims = &world.tokens.last().unwrap().1.claims;
    assert_eq!(claims.video.as_ref().unwrap().can_publish, Some(false));

    world.request(&alice, Request::AddTrack(microphone("again")));
    let answer = refusal(&world.take(&alice)).unwrap();
    assert_eq!(answer.reason(), Reason::NotAllowed);
    update(&mut world, &permitting("alice", everything())).unwrap();
    world.take(&alice);
    world.request(&alice, Request::AddTrack(microphone("again")));
    assert!(matches!(world.take(&alice)[0], Response::TrackPublished(_)));
}

#[test]
fn who_publishes_again_before_its_client_stopped_what_was_ended_is_heard() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = world.join("bob");
    world.publish_microphone(&mut alice);
    world.negotiate(&mut [&mut bob]);
    let old = alice.sections.len() - 1;
    let muzzled = ParticipantPermission {
        can_publish: false,
        ..everything()
    };
    update(&mut world, &permitting("alice", muzzled)).unwrap();
    update(&mut world, &permitting("alice", everything())).unwrap();
    // The request is quicker than the offers: one about something else, one that stops the old section, one with a new one.
    world.request(&alice, Request::AddTrack(microphone("again")));
    world.offer(&mut alice);
    alice.sections[old] = alice.sections[old].replace("sendonly", "inactive");
    world.offer(&mut alice);
    let mid = alice.sections.len();
    alice.sections.push(format!("aud {mid} sendonly again"));
    world.offer(&mut alice);
    world.media_flows();
    world.negotiate(&mut [&mut bob]);
    assert_eq!(world.consumers().len(), 1);
}

#[test]
fn only_tracks_of_sources_that_are_forbidden_now_end() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let sound = world.publish_microphone(&mut alice);
    let picture = world.publish_camera(&mut alice);
    let only_sound = ParticipantPermission {
        can_publish_sources: vec![TrackSource::Microphone as i32],
        ..everything()
    };
    let info = update(&mut world, &permitting("alice", only_sound)).unwrap();
    let left: Vec<_> = info.tracks.iter().map(|t| &t.sid).collect();
    assert_eq!(left, [&sound]);
    let own = world.take(&alice);
    let ended: Vec<_> = own
        .iter()
        .filter_map(|m| match m {
            Response::TrackUnpublished(t) => Some(&t.track_sid),
            _ => None,
        })
        .collect();
    assert_eq!(ended, [&picture]);
    let claims = &world.tokens.last().unwrap().1.claims;
    let sources = &claims.video.as_ref().unwrap().can_publish_sources;
    assert_eq!(sources.as_deref(), Some(&["microphone".to_owned()][..]));
    // A list of nothing that is known is no list of everything.
    let unknown = ParticipantPermission {
        can_publish_sources: vec![77],
        ..everything()
    };
    let info = update(&mut world, &permitting("alice", unknown)).unwrap();
    assert!(info.tracks.is_empty() && !info.permission.unwrap().can_publish);
}

#[test]
fn who_may_no_longer_subscribe_gets_nothing_until_it_may_again() {
    for mode in [ConnectionMode::Single, ConnectionMode::Dual] {
        let mut world = World::new();
        let mut alice = world.join("alice");
        let mut bob = world.join_as(&claims("r", "bob"), mode);
        world.publish_microphone(&mut alice);
        world.negotiate(&mut [&mut bob]);
        assert_eq!(world.consumers().len(), 1);
        let deaf = ParticipantPermission {
            can_subscribe: false,
            ..everything()
        };
        update(&mut world, &permitting("bob", deaf)).unwrap();
        assert!(world.consumers().is_empty(), "{mode:?}");
        update(&mut world, &permitting("bob", everything())).unwrap();
        world.negotiate(&mut [&mut bob]);
        assert_eq!(world.consumers().len(), 1, "{mode:?}");
    }
}

#[test]
fn a_session_that_is_not_connected_yet_becomes_active_all_the_same() {
    let mut world = World::new();
    world.connect = false;
    let alice = world.join_dual("alice");
    let bob = world.join("bob");
    world.take(&bob);
    let deaf = ParticipantPermission {
        can_subscribe: false,
        ..everything()
    };
    update(&mut world, &permitting("alice", deaf)).unwrap();
    assert!(
        updates(&world.take(&bob)).is_empty(),
        "nobody knows her yet"
    );
    assert_eq!(updates(&world.take(&alice)).len(), 1);
    // The connection that her client was told to wait for.
    let subscriber = world.transports(0);
    world.connected(subscriber);
    let info = world.room.participant_info("alice").unwrap();
    assert_eq!(info.state(), State::Active);
}

fn packet() -> Vec<u8> {
    let user = UserPacket {
        payload: b"hello".to_vec(),
        ..UserPacket::default()
    };
    DataPacket {
        value: Some(data_packet::Value::User(user)),
        ..DataPacket::default()
    }
    .encode_to_vec()
}

#[test]
fn who_may_no_longer_send_data_is_not_relayed_and_loses_its_data_tracks() {
    let mut world = World::new();
    let alice = world.join("alice");
    let mut params = world.params(&claims("r", "bob"), ConnectionMode::Single);
    params.auto_subscribe_data_tracks = true;
    let bob = world.join_with(params);
    let request = PublishDataTrackRequest {
        pub_handle: 1,
        name: "place".into(),
        ..PublishDataTrackRequest::default()
    };
    world.request(&alice, Request::PublishDataTrackRequest(request));
    let from_alice = world.transports(0);
    world.data(from_alice, "_reliable", packet());
    assert_eq!(world.sent_data().len(), 1);
    world.take(&alice);
    world.take(&bob);
    let silent = ParticipantPermission {
        can_publish_data: false,
        ..everything()
    };
    let info = update(&mut world, &permitting("alice", silent)).unwrap();
    assert!(info.data_tracks.is_empty());
    let own = world.take(&alice);
    let ended = |m: &Response| matches!(m, Response::UnpublishDataTrackResponse(_));
    assert!(own.iter().any(ended), "{own:?}");
    let others = world.take(&bob);
    let handles = |m: &Response| matches!(m, Response::DataTrackSubscriberHandles(h) if h.sub_handles.is_empty());
    assert!(others.iter().any(handles), "{others:?}");
    world.data(from_alice, "_reliable", packet());
    assert!(world.sent_data().is_empty());
}

#[test]
fn who_may_no_longer_subscribe_loses_data_tracks_until_it_may_again() {
    let mut world = World::new();
    let alice = world.join("alice");
    let mut params = world.params(&claims("r", "bob"), ConnectionMode::Single);
    params.auto_subscribe_data_tracks = true;
    let bob = world.join_with(params);
    let request = PublishDataTrackRequest {
        pub_handle: 1,
        name: "place".into(),
        ..PublishDataTrackRequest::default()
    };
    world.request(&alice, Request::PublishDataTrackRequest(request));
    let from_alice = world.transports(0);
    let deaf = ParticipantPermission {
        can_subscribe: false,
        ..everything()
    };
    let mut frame = vec![0; 16];
    frame[3] = 1;
    let steps = [
        (everything(), 1, None),
        (deaf, 0, Some(0)),
        (everything(), 1, Some(1)),
    ];
    for (permission, subscribed, told) in steps {
        world.take(&bob);
        update(&mut world, &permitting("bob", permission)).unwrap();
        let handles = world.take(&bob).into_iter().find_map(|m| match m {
            Response::DataTrackSubscriberHandles(h) => Some(h.sub_handles.len()),
            _ => None,
        });
        assert_eq!(handles, told, "what changed, and only that");
        world.data(from_alice, "_data_track", frame.clone());
        assert_eq!(world.sent_data().len(), subscribed);
    }
}

#[test]
fn who_becomes_hidden_is_gone_for_others_and_may_come_back() {
    let mut world = World::new();
    let alice = world.join("alice");
    let bob = world.join("bob");
    world.pass(Duration::from_secs(10));
    world.take(&alice);
    world.take(&bob);
    let hidden = ParticipantPermission {
        hidden: true,
        ..everything()
    };
    update(&mut world, &permitting("alice", hidden)).unwrap();
    let seen = updates(&world.take(&bob));
    assert_eq!((seen.len(), seen[0].state()), (1, State::Disconnected));
    let own = updates(&world.take(&alice));
    assert_eq!((own.len(), own[0].state()), (1, State::Active));
    assert_eq!(world.room.room_info().num_participants, 1);
    update(&mut world, &permitting("alice", everything())).unwrap();
    let seen = updates(&world.take(&bob));
    assert_eq!((seen.len(), seen[0].state()), (1, State::Active));
    assert_eq!(world.room.room_info().num_participants, 2);
}

#[test]
fn a_change_outlives_a_resume() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let muzzled = ParticipantPermission {
        can_publish: false,
        ..everything()
    };
    update(&mut world, &permitting("alice", muzzled)).unwrap();
    let sid = alice.sid.clone();
    world.input(Input::Closed {
        connection: alice.connection,
    });
    world.resume(&mut alice, &sid);
    world.take(&alice);
    world.request(&alice, Request::AddTrack(microphone("mic")));
    let answer = refusal(&world.take(&alice)).unwrap();
    assert_eq!(answer.reason(), Reason::NotAllowed);
}
