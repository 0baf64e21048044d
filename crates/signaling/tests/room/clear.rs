//! What is not encrypted between the participants, in rooms of authorities that take it and of those that don't.

use std::collections::BTreeMap;
use std::time::Duration;

use livekit_protocol::encryption::Type as Encryption;
use livekit_protocol::request_response::{Reason, Request as Refused};
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{
    AddTrackRequest, DataPacket, EncryptedPacket, PublishDataTrackRequest, RequestResponse,
    SimulcastCodec, UserPacket, data_packet::Value,
};
use prost::Message as _;
use schalter_model::AuthorityId;
use schalter_signaling::room::HttpRole;
use schalter_signaling::{Clear, Guided, JoinRefusal, SignalingConfig};

use crate::support::{Client, World, camera, claims, microphone, refusal, sections};

/// A room that begins under this rule, and where the rule may be changed.
fn world(clear: Clear) -> (World, Guided) {
    let guided: Guided = [(AuthorityId::default(), clear)].into_iter().collect();
    let world = World::with(SignalingConfig {
        guided: guided.clone(),
        ..SignalingConfig::default()
    });
    (world, guided)
}

fn set(guided: &Guided, clear: Option<Clear>) {
    let rule = clear.map(|clear| (AuthorityId::default(), clear));
    guided.replace(rule.into_iter().collect::<BTreeMap<_, _>>());
}

fn encrypted(request: AddTrackRequest) -> AddTrackRequest {
    AddTrackRequest {
        encryption: Encryption::Gcm as i32,
        ..request
    }
}

/// Asks for a track: its session's id, or why not.
fn ask(
    world: &mut World,
    client: &Client,
    request: AddTrackRequest,
) -> Result<String, Box<RequestResponse>> {
    world.take(client);
    world.request(client, Request::AddTrack(request));
    let told = world.take(client);
    let published = told.iter().find_map(|m| match m {
        Response::TrackPublished(p) => Some(p.track.clone().unwrap().sid),
        _ => None,
    });
    published.ok_or_else(|| Box::new(refusal(&told).unwrap()))
}

fn packet(value: Value) -> Vec<u8> {
    DataPacket {
        value: Some(value),
        ..DataPacket::default()
    }
    .encode_to_vec()
}

fn user(topic: Option<&str>) -> Vec<u8> {
    packet(Value::User(UserPacket {
        payload: b"words".to_vec(),
        topic: topic.map(str::to_owned),
        ..UserPacket::default()
    }))
}

fn sealed(algorithm: Encryption) -> Vec<u8> {
    packet(Value::EncryptedPacket(EncryptedPacket {
        encryption_type: algorithm as i32,
        encrypted_value: vec![1; 64],
        ..EncryptedPacket::default()
    }))
}

#[test]
fn a_track_in_the_clear_is_taken_where_it_may_be_and_refused_where_not() {
    let (mut world, _) = self::world(Clear::Taken);
    let alice = world.join("alice");
    ask(&mut world, &alice, microphone("mic")).unwrap();

    let (mut world, _) = self::world(Clear::Refused);
    let alice = world.join("alice");
    for request in [
        camera("cam"),
        // An algorithm of another time is none that anybody here could mean.
        AddTrackRequest {
            encryption: 77,
            ..camera("cam")
        },
    ] {
        let refused = ask(&mut world, &alice, request.clone()).unwrap_err();
        assert_eq!(refused.reason(), Reason::NotAllowed);
        assert!(refused.message.contains("encrypted"), "{refused:?}");
        assert_eq!(refused.request, Some(Refused::AddTrack(request)));
    }
    assert_eq!(world.room.summary().participants[0].tracks, 0);
    for (cid, algorithm) in [("mic", Encryption::Gcm), ("cam", Encryption::Custom)] {
        let request = AddTrackRequest {
            encryption: algorithm as i32,
            ..camera(cid)
        };
        ask(&mut world, &alice, request).unwrap();
    }
    // What it refuses for another reason is not counted.
    let long = encrypted(microphone(&"x".repeat(300)));
    assert_eq!(
        ask(&mut world, &alice, long).unwrap_err().reason(),
        Reason::LimitExceeded
    );
    assert_eq!(world.counters.snapshot().clear_tracks_refused, 2);
}

#[test]
fn the_second_codec_of_a_track_is_a_track() {
    let (mut world, _) = self::world(Clear::Refused);
    let alice = world.join("alice");
    let codec = |codec: &str, cid: &str| SimulcastCodec {
        codec: codec.into(),
        cid: cid.into(),
        ..SimulcastCodec::default()
    };
    let first = AddTrackRequest {
        simulcast_codecs: vec![codec("vp9", "cam"), codec("vp8", "")],
        ..encrypted(camera("cam"))
    };
    let sid = ask(&mut world, &alice, first).unwrap();
    let second = AddTrackRequest {
        sid: sid.clone(),
        simulcast_codecs: vec![codec("vp8", "cam-2")],
        ..camera("cam-2")
    };
    let refused = ask(&mut world, &alice, second.clone()).unwrap_err();
    assert_eq!(refused.reason(), Reason::NotAllowed);
    assert_eq!(ask(&mut world, &alice, encrypted(second)), Ok(sid));
}

#[test]
fn tracks_of_data_are_held_to_it_as_well() {
    let publish = |world: &mut World, client: &Client, handle, encryption: Encryption| {
        world.take(client);
        let request = PublishDataTrackRequest {
            pub_handle: handle,
            name: format!("track-{handle}"),
            encryption: encryption as i32,
            ..PublishDataTrackRequest::default()
        };
        world.request(client, Request::PublishDataTrackRequest(request));
        refusal(&world.take(client)).map(|refused| refused.reason())
    };
    for (clear, told, counted) in [
        (Clear::Taken, None, 0),
        (Clear::Refused, Some(Reason::NotAllowed), 1),
    ] {
        let (mut world, _) = self::world(clear);
        let alice = world.join("alice");
        assert_eq!(publish(&mut world, &alice, 1, Encryption::None), told);
        assert_eq!(publish(&mut world, &alice, 2, Encryption::Gcm), None);
        assert_eq!(world.counters.snapshot().clear_tracks_refused, counted);
    }
}

#[test]
fn of_packets_in_the_clear_only_the_agreements_pass() {
    let passes = |clear, packet: Vec<u8>| {
        let (mut world, _) = self::world(clear);
        world.join("alice");
        world.join("bob");
        let from = world.transports(0);
        let mut passed = Vec::new();
        for label in ["_reliable", "_lossy"] {
            world.data(from, label, packet.clone());
            passed.push(world.sent_data().len() == 1);
        }
        assert_eq!(passed[0], passed[1]);
        let stats = world.counters.snapshot();
        let refused = if passed[0] { 0 } else { 2 };
        assert_eq!(stats.clear_data_refused, refused);
        assert_eq!(stats.data_refused, refused);
        passed[0]
    };
    // Several payloads: which of them counts is the decoder's to say.
    let two = [user(Some("e2ee")), user(Some("chat"))].concat();
    let hidden = [user(Some("e2ee")), sealed(Encryption::None)].concat();
    let unknown = [sealed(Encryption::Gcm), vec![0x9a, 0x06, 0]].concat();
    for (name, packet, expected) in [
        ("the agreement", user(Some("e2ee-agree")), true),
        ("sealed by the page", user(Some("e2ee")), true),
        ("sealed by an SDK", sealed(Encryption::Gcm), true),
        ("sealed in its own way", sealed(Encryption::Custom), true),
        ("sealed by nothing", sealed(Encryption::None), false),
        ("chat", user(Some("chat")), false),
        ("nearly its topic", user(Some("e2ee-")), false),
        ("no topic", user(None), false),
        ("two topics", two, false),
        ("a second payload", hidden, false),
        ("an unknown field", unknown, false),
        ("nothing", Vec::new(), false),
    ] {
        assert_eq!(passes(Clear::Refused, packet.clone()), expected, "{name}");
        assert!(passes(Clear::Taken, packet), "{name} where anything goes");
    }
}

#[test]
fn who_sends_packets_in_the_clear_is_told_now_and_then() {
    let (mut world, _) = self::world(Clear::Refused);
    let alice = world.join("alice");
    let from = world.transports(0);
    let notices = |world: &mut World| {
        world.take(&alice);
        world.data(from, "_reliable", user(Some("chat")));
        world.data(from, "_reliable", user(Some("chat")));
        let told = world.take(&alice);
        let told = told.iter().filter_map(|m| match m {
            Response::RequestResponse(refused) => Some(refused.reason()),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    assert_eq!(notices(&mut world), [Reason::NotAllowed]);
    world.pass(Duration::from_millis(4_900));
    assert_eq!(notices(&mut world), []);
    world.pass(Duration::from_millis(100));
    assert_eq!(notices(&mut world), [Reason::NotAllowed]);
    assert_eq!(world.counters.snapshot().clear_data_refused, 6);
}

#[test]
fn a_publisher_without_a_websocket_has_no_way_to_say_it_and_a_player_sends_nothing() {
    let list = sections(&["aud 0 sendonly mic"]);
    let watch = sections(&["aud 0 recvonly"]);
    let player = HttpRole::Player { participant: None };
    for clear in [Clear::Taken, Clear::Refused] {
        let (mut world, _) = self::world(clear);
        let alice = world.join("alice");
        let begun = world.try_begin(&claims("room", "alice"), HttpRole::Publisher, &list);
        match clear {
            Clear::Taken => assert!(begun.unwrap().is_ok()),
            Clear::Refused => {
                assert_eq!(begun.unwrap(), Err(JoinRefusal::InClear));
                assert!(world.room.holds(&alice.sid), "and nobody was replaced");
            }
        }
        let watching = world.try_begin(&claims("room", "bob"), player.clone(), &watch);
        assert!(watching.unwrap().is_ok());
    }
}

#[test]
fn a_room_that_runs_is_never_made_stricter_and_made_laxer_at_once() {
    // Who is in it need not be able to encrypt: from the next room on.
    let (mut running, guided) = world(Clear::Taken);
    let alice = running.join("alice");
    set(&guided, Some(Clear::Refused));
    ask(&mut running, &alice, microphone("mic")).unwrap();
    let mut next = World::with(SignalingConfig {
        guided: guided.clone(),
        ..SignalingConfig::default()
    });
    let bob = next.join("bob");
    let refused = ask(&mut next, &bob, microphone("mic")).unwrap_err();
    assert_eq!(refused.reason(), Reason::NotAllowed);

    // An office that is gone asks for nothing, and its rooms end as they were.
    set(&guided, None);
    assert!(ask(&mut next, &bob, microphone("mic")).is_err());
    set(&guided, Some(Clear::Taken));
    ask(&mut next, &bob, microphone("mic")).unwrap();
}
