//! Limits, at and past their edges.

use std::time::Duration;

use livekit_protocol::request_response::Reason;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{
    DataPacket, DisconnectReason, SubscriptionPermission, TrackPermission,
    UpdateParticipantMetadata, UserPacket, data_packet::Value,
};
use prost::Message as _;
use schalter_shard::control::{Event, Refusal};
use schalter_signaling::SignalingConfig;
use schalter_signaling::room::{ConnectionMode, Input};

use crate::support::{World, claims, leave_reason, microphone, refusal};

fn config(edit: impl FnOnce(&mut SignalingConfig)) -> SignalingConfig {
    let mut config = SignalingConfig::default();
    edit(&mut config);
    config
}

#[test]
fn a_full_room_refuses_all_but_who_is_in_already() {
    let mut world = World::with(config(|c| c.limits.participants_per_room = 2));
    world.join("a");
    world.join("b");
    assert!(!world.room.admits("c") && world.room.admits("b"));
    world.join("c");
    assert_eq!(world.refused.len(), 1);
    assert_eq!(world.refused[0].1.status(), 403);
    world.join("b");
    assert_eq!(world.refused.len(), 1);
    assert_eq!(world.room.participant_infos().len(), 2);
}

#[test]
fn the_configured_maximum_stays_below_the_limit() {
    let mut world = World::with(config(|c| {
        c.room.max_participants = 1;
        c.limits.participants_per_room = 2;
    }));
    world.join("a");
    assert!(!world.room.admits("b"));
}

#[test]
fn whom_the_media_plane_has_no_place_for_is_told_and_forgotten() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    world.publish_microphone(&mut alice);
    world.take(&alice);
    let transport = world.transports(0);
    world.input(Input::Media(Event::Refused {
        transport,
        track: None,
        reason: Refusal::Limit,
    }));
    let (reason, _) = leave_reason(&world.take(&alice)).unwrap();
    assert_eq!(reason, DisconnectReason::JoinFailure);
    assert!(world.room.participant_infos().is_empty());
}

#[test]
fn tracks_of_a_participant_are_limited() {
    let mut world = World::with(config(|c| c.limits.tracks_per_participant = 2));
    let alice = world.join("alice");
    for (n, fits) in [(0, true), (1, true), (2, false)] {
        world.take(&alice);
        world.request(&alice, Request::AddTrack(microphone(&format!("m{n}"))));
        let messages = world.take(&alice);
        assert_eq!(
            matches!(messages[0], Response::TrackPublished(_)),
            fits,
            "{n}"
        );
        if !fits {
            assert_eq!(refusal(&messages).unwrap().reason(), Reason::LimitExceeded);
        }
    }
}

#[test]
fn metadata_and_attributes_are_limited() {
    let mut world = World::with(config(|c| {
        c.limits.metadata_bytes = 10;
        c.limits.attributes_bytes = 10;
        c.limits.name_bytes = 10;
    }));
    let mut token = claims("r", "alice");
    token.video.as_mut().unwrap().can_update_own_metadata = Some(true);
    let alice = world.join_as(&token, ConnectionMode::Single);
    let ten = "x".repeat(10);
    let eleven = "x".repeat(11);
    let cases = [
        (ten.as_str(), "n", "v", true),
        (eleven.as_str(), "n", "v", false),
        ("m", ten.as_str(), "v", true),
        ("m", eleven.as_str(), "v", false),
        ("m", "n", &ten[..9], true),
        ("m", "n", ten.as_str(), false),
    ];
    for (metadata, name, value, fits) in cases {
        world.take(&alice);
        let request = UpdateParticipantMetadata {
            metadata: metadata.into(),
            name: name.into(),
            attributes: [("k".to_owned(), value.to_owned())].into(),
            request_id: 1,
        };
        world.request(&alice, Request::UpdateMetadata(request));
        let reason = refusal(&world.take(&alice)).unwrap().reason();
        let expected = if fits {
            Reason::Ok
        } else {
            Reason::LimitExceeded
        };
        assert_eq!(reason, expected, "{metadata} {name} {value}");
    }
}

fn packet(bytes: usize) -> Vec<u8> {
    DataPacket {
        value: Some(Value::User(UserPacket {
            payload: vec![0; bytes],
            ..UserPacket::default()
        })),
        ..DataPacket::default()
    }
    .encode_to_vec()
}

#[test]
fn a_senders_messages_per_second_are_limited() {
    let mut world = World::with(config(|c| c.limits.data_messages_per_second = 3));
    world.join("alice");
    world.join("bob");
    let alice = world.transports(0);
    for _ in 0..5 {
        world.data(alice, "_lossy", packet(1));
    }
    assert_eq!(world.sent_data().len(), 3);
    assert_eq!(world.counters.snapshot().data_overload, 2);
    world.pass(Duration::from_secs(1));
    world.data(alice, "_lossy", packet(1));
    assert_eq!(world.sent_data().len(), 1);
}

#[test]
fn a_senders_bytes_count_for_each_receiver() {
    let mut world = World::with(config(|c| c.limits.data_bytes_per_second = 2_500));
    world.join("alice");
    world.join("bob");
    world.join("carol");
    let alice = world.transports(0);
    world.data(alice, "_lossy", packet(1_000));
    assert!(!world.sent_data().is_empty());
    world.data(alice, "_lossy", packet(1_000));
    assert!(world.sent_data().is_empty());
}

#[test]
fn an_oversized_description_is_refused() {
    let mut world = World::with(config(|c| c.limits.sdp_bytes = 6_000));
    let mut alice = world.join_dual("alice");
    world.take(&alice);
    world.offer(&mut alice);
    assert!(refusal(&world.take(&alice)).is_none());
    for n in 1..20 {
        alice.sections.push(format!("aud {n} recvonly"));
    }
    world.offer(&mut alice);
    assert_eq!(
        refusal(&world.take(&alice)).unwrap().reason(),
        Reason::InvalidRequest
    );
}

#[test]
fn a_client_that_reads_too_slowly_must_begin_anew() {
    let mut world = World::new();
    let alice = world.join("alice");
    world.input(Input::Overflowed {
        connection: alice.connection,
    });
    assert_eq!(
        leave_reason(&world.take(&alice)),
        Some((DisconnectReason::StateMismatch, 2))
    );
    assert_eq!(world.closed, [alice.connection]);
}

#[test]
fn what_a_client_says_of_itself_is_passed_on_within_bounds() {
    let mut world = World::new();
    let bob = world.join("bob");
    let mut params = world.params(&claims("r", "alice"), ConnectionMode::Single);
    params.client.capabilities = (0..100_000).map(|n| n % 50_000).collect();
    let mut request = microphone("m");
    request.audio_features = vec![1; 100_000];
    params.add_tracks = vec![request];
    let alice = world.join_with(params);
    let track = world
        .take(&alice)
        .into_iter()
        .find_map(|m| match m {
            Response::TrackPublished(p) => p.track,
            _ => None,
        })
        .unwrap();
    assert_eq!(track.audio_features, [1]);
    world.pass(Duration::from_secs(1));
    let longest = world
        .take(&bob)
        .iter()
        .filter_map(|m| match m {
            Response::Update(u) => u.participants.iter().map(|p| p.capabilities.len()).max(),
            _ => None,
        })
        .max();
    assert_eq!(longest, Some(32));
}

#[test]
fn lists_of_who_may_subscribe_are_limited() {
    let mut world = World::with(config(|c| c.limits.participants_per_room = 2));
    let alice = world.join("alice");
    for (entries, fits) in [(2, true), (3, false)] {
        world.take(&alice);
        let permission = SubscriptionPermission {
            all_participants: false,
            track_permissions: vec![TrackPermission::default(); entries],
        };
        world.request(&alice, Request::SubscriptionPermission(permission));
        assert_eq!(refusal(&world.take(&alice)).is_none(), fits, "{entries}");
    }
}
