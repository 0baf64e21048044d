//! Data that the room service sends.

use livekit_protocol::{DataPacket, SendDataRequest, data_packet};
use prost::Message as _;
use schalter_model::TransportId;
use schalter_signaling::SignalingConfig;
use schalter_signaling::room::{ConnectionMode, Input, ServiceRefusal};

use crate::support::{World, claims};

fn data(text: &str) -> SendDataRequest {
    SendDataRequest {
        data: text.as_bytes().to_vec(),
        ..SendDataRequest::default()
    }
}

/// alice (dual: transport 0 for what she gets), bob (single: 2), carol (single: 3)
fn three() -> (World, [TransportId; 3], String) {
    let mut world = World::new();
    world.join_dual("alice");
    let bob = world.join("bob");
    world.join("carol");
    let transports = [0, 2, 3].map(|n| world.transports(n));
    (world, transports, bob.sid)
}

fn send(world: &mut World, request: SendDataRequest) -> Result<(), ServiceRefusal> {
    world.call(|room| room.send_server_data(request))
}

/// Who got something since this was last asked.
fn receivers(world: &mut World) -> Vec<TransportId> {
    let sent = world.sent_data();
    let mut receivers: Vec<_> = sent.into_iter().flat_map(|(to, ..)| to).collect();
    receivers.sort_unstable();
    receivers
}

#[test]
fn data_reaches_everybody_without_a_sender() {
    let (mut world, everybody, _) = three();
    let request = SendDataRequest {
        topic: Some("votes".into()),
        ..data("hello")
    };
    assert_eq!(send(&mut world, request), Ok(()));
    let sent = world.sent_data();
    let mut receivers: Vec<_> = sent.iter().flat_map(|(to, ..)| to.clone()).collect();
    receivers.sort_unstable();
    assert_eq!(receivers, everybody);
    for (_, label, bytes) in &sent {
        assert_eq!(label, "_reliable");
        let packet = DataPacket::decode(&bytes[..]).unwrap();
        assert_eq!((packet.participant_sid.as_str(), packet.sequence), ("", 0));
        assert_eq!(packet.participant_identity, "");
        let Some(data_packet::Value::User(user)) = packet.value else {
            panic!("no user packet")
        };
        assert_eq!(user.payload, b"hello");
        assert_eq!(user.topic.as_deref(), Some("votes"));
    }
    let lossy = SendDataRequest {
        kind: data_packet::Kind::Lossy as i32,
        ..data("quick")
    };
    assert_eq!(send(&mut world, lossy), Ok(()));
    for (_, label, bytes) in world.sent_data() {
        assert_eq!(label, "_lossy");
        #[expect(deprecated, reason = "older clients read this field")]
        let kind = DataPacket::decode(&bytes[..]).unwrap().kind;
        assert_eq!(kind, data_packet::Kind::Lossy as i32);
    }
}

#[test]
fn destinations_are_named_by_identity_or_session() {
    let (mut world, [alice, bob, _], bob_sid) = three();
    #[expect(deprecated, reason = "older SDKs name sessions")]
    let request = SendDataRequest {
        destination_identities: vec!["alice".into(), "nobody".into()],
        destination_sids: vec![bob_sid],
        ..data("psst")
    };
    assert_eq!(send(&mut world, request), Ok(()));
    assert_eq!(receivers(&mut world), [alice, bob]);
    let nobody = SendDataRequest {
        destination_identities: vec!["nobody".into()],
        ..data("psst")
    };
    assert_eq!(send(&mut world, nobody), Ok(()));
    assert!(receivers(&mut world).is_empty());
}

#[test]
fn a_repeated_request_is_carried_out_once() {
    let (mut world, everybody, _) = three();
    let with = |nonce: u8| SendDataRequest {
        nonce: vec![nonce; 16],
        ..data("once")
    };
    for (nonce, count) in [(1, 3), (1, 0), (2, 3), (1, 0)] {
        assert_eq!(send(&mut world, with(nonce)), Ok(()));
        assert_eq!(receivers(&mut world).len(), count, "{nonce}");
    }
    for _ in 0..2 {
        assert_eq!(send(&mut world, data("no nonce, no repetition")), Ok(()));
        assert_eq!(receivers(&mut world), everybody);
    }
}

#[test]
fn what_is_too_long_or_unknown_is_refused() {
    let (mut world, ..) = three();
    let unknown = SendDataRequest {
        kind: 7,
        ..data("x")
    };
    let nonce = SendDataRequest {
        nonce: vec![1; 65],
        ..data("x")
    };
    for request in [unknown, nonce, data(&"x".repeat(65_536))] {
        let answer = send(&mut world, request);
        assert!(matches!(answer, Err(ServiceRefusal::Invalid(_))));
    }
    assert!(receivers(&mut world).is_empty());
    assert_eq!(send(&mut world, data(&"x".repeat(65_000))), Ok(()));
}

#[test]
fn the_room_service_has_the_rate_of_one_sender_and_is_told_beyond_it() {
    let mut config = SignalingConfig::default();
    config.limits.data_messages_per_second = 3;
    let mut world = World::with(config);
    world.join("alice");
    let nonce = |n: u8| SendDataRequest {
        nonce: vec![n],
        ..data("x")
    };
    for n in 1..=3 {
        assert_eq!(send(&mut world, nonce(n)), Ok(()));
    }
    let beyond = send(&mut world, nonce(4));
    assert!(matches!(beyond, Err(ServiceRefusal::Exhausted(_))));
    assert_eq!(receivers(&mut world).len(), 3);
    world.pass(std::time::Duration::from_secs(1));
    assert_eq!(send(&mut world, nonce(4)), Ok(()), "it was not carried out");
    assert_eq!(receivers(&mut world).len(), 1);
}

#[test]
fn who_joined_before_and_connects_later_gets_it() {
    let mut world = World::new();
    let params = world.params(&claims("r", "alice"), ConnectionMode::Single);
    let connection = world.ids.connection();
    world.input(Input::Join {
        connection,
        params: Box::new(params),
    });
    assert_eq!(send(&mut world, data("before")), Ok(()));
    assert!(
        receivers(&mut world).is_empty(),
        "there is no transport yet"
    );
    let mut alice = crate::support::Client {
        connection,
        mode: ConnectionMode::Single,
        sections: crate::support::join_sections(),
        offers: 0,
        ufrag: "u000".into(),
        sid: String::new(),
        grants: crate::support::grants(&claims("r", "alice")),
    };
    world.offer(&mut alice);
    let alice = world.transports(0);
    assert_eq!(receivers(&mut world), [alice]);
    world.join("bob");
    assert!(receivers(&mut world).is_empty(), "bob came later");
}
