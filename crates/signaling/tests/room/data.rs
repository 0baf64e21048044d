//! Data packets: sender, receivers, duplicates.

use std::time::Duration;

use livekit_protocol::participant_info::Kind;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{
    ActiveSpeakerUpdate, ChatMessage, DataPacket, EncryptedPacket, MetricsBatch, RpcAck,
    RpcRequest, RpcResponse, SipDtmf, Transcription, UserPacket, data_packet::Value,
};
use prost::Message as _;
use schalter_model::TransportId;
use schalter_signaling::room::ConnectionMode;

use crate::support::{World, claims};

fn user(text: &str, to: &[&str], sequence: u32) -> Vec<u8> {
    #[expect(deprecated, reason = "clients fill the inner list")]
    let user = UserPacket {
        payload: text.as_bytes().to_vec(),
        destination_identities: to.iter().map(|t| (*t).to_owned()).collect(),
        participant_identity: "forged".into(),
        ..UserPacket::default()
    };
    DataPacket {
        sequence,
        participant_identity: "forged".into(),
        value: Some(Value::User(user)),
        ..DataPacket::default()
    }
    .encode_to_vec()
}

/// alice (dual: transports 0 subscriber, 1 publisher), bob (single: 2), carol (single: 3)
fn three() -> (World, [TransportId; 4], String) {
    let mut world = World::new();
    let alice = world.join_dual("alice");
    world.join("bob");
    world.join("carol");
    let transports = [0, 1, 2, 3].map(|n| world.transports(n));
    (world, transports, alice.sid)
}

#[test]
fn packets_reach_all_others_with_the_senders_own_name() {
    let (mut world, [to_alice, from_alice, bob, carol], sid) = three();
    world.data(from_alice, "_reliable", user("hello", &[], 1));
    let sent = world.sent_data();
    let mut receivers: Vec<_> = sent.iter().flat_map(|(t, ..)| t.clone()).collect();
    receivers.sort_unstable();
    assert_eq!(receivers, [bob, carol]);
    for (_, label, data) in &sent {
        assert_eq!(label, "_reliable");
        let packet = DataPacket::decode(&data[..]).unwrap();
        assert_eq!(packet.participant_identity, "alice");
        assert_eq!((packet.participant_sid, packet.sequence), (sid.clone(), 1));
    }
    world.data(bob, "_lossy", user("hi", &["alice"], 0));
    let sent = world.sent_data();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, [to_alice], "by the subscriber's transport");
}

/// Whether a client was told of `identity`.
fn knows(messages: &[Response], identity: &str) -> bool {
    messages.iter().any(|message| {
        matches!(message, Response::Update(update)
            if update.participants.iter().any(|info| info.identity == identity))
    })
}

#[test]
fn whoever_speaks_up_is_known_before_the_word_arrives() {
    let mut world = World::new();
    let alice = world.join("alice");
    world.take(&alice);
    world.join("bob");
    assert!(
        !knows(&world.take(&alice), "bob"),
        "who sends nothing is told of in batches"
    );
    world.data(world.transports(1), "_reliable", user("hello", &[], 1));
    assert_eq!(world.sent_data().len(), 1);
    assert!(knows(&world.take(&alice), "bob"));
    world.pass(Duration::from_secs(1));
    assert!(!knows(&world.take(&alice), "bob"), "and not twice");
}

#[test]
fn destinations_are_obeyed_and_the_sender_is_none() {
    let (mut world, [_, alice, bob, _], _) = three();
    world.data(
        alice,
        "_reliable",
        user("psst", &["bob", "alice", "nobody"], 1),
    );
    let sent = world.sent_data();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].0, [bob]);
    let packet = DataPacket::decode(&sent[0].2[..]).unwrap();
    assert_eq!(packet.destination_identities, ["bob", "alice", "nobody"]);
    world.data(alice, "_reliable", user("psst", &["nobody"], 2));
    assert!(world.sent_data().is_empty());
    assert_eq!(world.counters.snapshot().data_refused, 0);
}

#[test]
fn reliable_duplicates_are_dropped() {
    let (mut world, [_, alice, ..], _) = three();
    for (sequence, passes) in [(1, true), (1, false), (3, true), (2, false), (4, true)] {
        world.data(alice, "_reliable", user("x", &[], sequence));
        assert_eq!(!world.sent_data().is_empty(), passes, "{sequence}");
    }
    world.data(alice, "_lossy", user("x", &[], 1));
    assert!(
        !world.sent_data().is_empty(),
        "lossy packets are not numbered"
    );
}

#[test]
fn lossy_packets_skip_who_is_not_connected_and_reliable_ones_wait_there() {
    let (mut world, [_, alice, ..], _) = three();
    world.connect = false;
    world.join("dave");
    let dave = world.transports(4);
    for (label, waits) in [("_lossy", false), ("_reliable", true)] {
        world.data(alice, label, user("x", &[], 9));
        let reached = world.sent_data().iter().any(|(t, ..)| t.contains(&dave));
        assert_eq!(reached, waits, "{label}");
    }
}

#[test]
fn packets_that_only_servers_or_agents_may_send_go_no_further() {
    let (mut world, [_, alice, ..], _) = three();
    #[expect(deprecated, reason = "what a forger would send")]
    let speakers = Value::Speaker(ActiveSpeakerUpdate::default());
    let forbidden = [
        speakers,
        Value::Transcription(Transcription::default()),
        Value::Metrics(MetricsBatch::default()),
    ];
    for value in forbidden {
        let packet = DataPacket {
            value: Some(value),
            ..DataPacket::default()
        };
        world.data(alice, "_reliable", packet.encode_to_vec());
    }
    world.data(alice, "_reliable", vec![0xff; 20]);
    world.data(alice, "chat", user("x", &[], 0));
    assert!(world.sent_data().is_empty());
    assert_eq!(world.counters.snapshot().data_refused, 5);

    let mut agent = claims("r", "agent");
    agent.kind = Some("agent".into());
    world.join_as(&agent, ConnectionMode::Single);
    let transport = world.transports(4);
    let packet = DataPacket {
        participant_identity: "alice".into(),
        value: Some(Value::Transcription(Transcription::default())),
        ..DataPacket::default()
    };
    world.data(transport, "_reliable", packet.encode_to_vec());
    let sent = world.sent_data();
    let packet = DataPacket::decode(&sent[0].2[..]).unwrap();
    assert_eq!(
        packet.participant_identity, "alice",
        "agents speak for others"
    );
    assert_eq!(Kind::Agent as i32, 4);
}

#[test]
fn encrypted_packets_pass_untouched() {
    let (mut world, [_, alice, ..], _) = three();
    let encrypted = EncryptedPacket {
        iv: vec![1; 12],
        encrypted_value: vec![2; 100],
        key_index: 3,
        ..EncryptedPacket::default()
    };
    let packet = DataPacket {
        value: Some(Value::EncryptedPacket(encrypted.clone())),
        ..DataPacket::default()
    };
    world.data(alice, "_lossy", packet.encode_to_vec());
    let sent = world.sent_data();
    let read = DataPacket::decode(&sent[0].2[..]).unwrap();
    assert_eq!(read.value, Some(Value::EncryptedPacket(encrypted)));
}

#[test]
fn packets_of_other_kinds_pass_as_they_are() {
    let (mut world, [_, alice, ..], _) = three();
    let kinds = [
        Value::ChatMessage(ChatMessage {
            id: "1".into(),
            message: "hello".into(),
            ..ChatMessage::default()
        }),
        Value::SipDtmf(SipDtmf {
            digit: "5".into(),
            ..SipDtmf::default()
        }),
        Value::RpcRequest(RpcRequest {
            id: "2".into(),
            method: "open".into(),
            ..RpcRequest::default()
        }),
        Value::RpcAck(RpcAck {
            request_id: "2".into(),
        }),
        Value::RpcResponse(RpcResponse {
            request_id: "2".into(),
            ..RpcResponse::default()
        }),
    ];
    for value in kinds {
        let packet = DataPacket {
            value: Some(value.clone()),
            ..DataPacket::default()
        };
        world.data(alice, "_reliable", packet.encode_to_vec());
        let sent = world.sent_data();
        let read = DataPacket::decode(&sent[0].2[..]).unwrap();
        assert_eq!(read.participant_identity, "alice");
        assert_eq!(read.value, Some(value));
    }
}

#[test]
fn hidden_senders_have_no_name_and_the_mute_none_at_all() {
    let (mut world, ..) = three();
    let mut hidden = claims("r", "hidden");
    hidden.video.as_mut().unwrap().hidden = Some(true);
    world.join_as(&hidden, ConnectionMode::Single);
    let transport = world.transports(4);
    world.data(transport, "_reliable", user("boo", &[], 1));
    let sent = world.sent_data();
    let packet = DataPacket::decode(&sent[0].2[..]).unwrap();
    assert_eq!(packet.participant_identity, "");
    assert_eq!(packet.participant_sid, "");

    let mut silent = claims("r", "silent");
    silent.video.as_mut().unwrap().can_publish_data = Some(false);
    world.join_as(&silent, ConnectionMode::Single);
    let transport = world.transports(5);
    world.data(transport, "_reliable", user("no", &[], 1));
    assert!(world.sent_data().is_empty());
}
