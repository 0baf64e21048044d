//! Reliable data under pressure: late, or the end of a session, but never a gap that nobody sees.

use std::time::Duration;

use bytes::Bytes;
use livekit_protocol::request_response::Reason;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::{
    DataChannelReceiveState, DataPacket, DisconnectReason, SyncState, UserPacket,
    data_packet::Value,
};
use prost::Message as _;
use schalter_model::TransportId;
use schalter_shard::control::{Event, Refusal};
use schalter_signaling::SignalingConfig;
use schalter_signaling::config::Limits;
use schalter_signaling::room::{ConnectionMode, Input};

use crate::support::{Client, World, claims, join_sections, leave_reason, refusal};

/// What a session that ends for its data is told.
const ANEW: Option<(DisconnectReason, i32)> = Some((DisconnectReason::StateMismatch, 2));

fn world(edit: impl FnOnce(&mut Limits)) -> World {
    let mut config = SignalingConfig::default();
    edit(&mut config.limits);
    World::with(config)
}

fn packet(sequence: u32, bytes: usize, to: &[&str]) -> Vec<u8> {
    DataPacket {
        sequence,
        destination_identities: to.iter().map(|t| (*t).to_owned()).collect(),
        value: Some(Value::User(UserPacket {
            payload: vec![7; bytes],
            ..UserPacket::default()
        })),
        ..DataPacket::default()
    }
    .encode_to_vec()
}

fn sequences(sent: &[(Vec<TransportId>, String, Bytes)]) -> Vec<u32> {
    sent.iter()
        .map(|(.., data)| DataPacket::decode(&data[..]).unwrap().sequence)
        .collect()
}

#[test]
fn reliable_packets_beyond_the_rate_wait_and_arrive_in_order() {
    let mut world = world(|l| l.data_messages_per_second = 10);
    let alice = world.join("alice");
    world.join("bob");
    let from_alice = world.transports(0);
    world.pass(Duration::from_secs(1)); // everybody was told who is there
    world.take(&alice);
    for sequence in 1..=30 {
        world.data(from_alice, "_reliable", packet(sequence, 1, &[]));
    }
    assert_eq!(
        sequences(&world.sent_data()),
        (1..=10).collect::<Vec<_>>(),
        "the burst"
    );
    let heard = world.take(&alice);
    assert_eq!(refusal(&heard).unwrap().reason(), Reason::LimitExceeded);
    assert_eq!(heard.len(), 1, "told once");
    world.pass(Duration::from_secs(1));
    assert_eq!(sequences(&world.sent_data()), (11..=20).collect::<Vec<_>>());
    world.pass(Duration::from_secs(1));
    assert_eq!(sequences(&world.sent_data()), (21..=30).collect::<Vec<_>>());
    let stats = world.counters.snapshot();
    assert_eq!((stats.data_relayed, stats.data_overload), (30, 0));
    world.pass(Duration::from_secs(1));
    world.data(from_alice, "_reliable", packet(31, 1, &[]));
    assert_eq!(sequences(&world.sent_data()), [31], "nothing waits now");
}

#[test]
fn lossy_packets_do_not_overtake_what_waits() {
    let mut world = world(|l| l.data_messages_per_second = 1);
    world.join("alice");
    world.join("bob");
    let alice = world.transports(0);
    world.data(alice, "_reliable", packet(1, 1, &[]));
    world.data(alice, "_reliable", packet(2, 1, &[]));
    world.data(alice, "_lossy", packet(0, 1, &[]));
    assert_eq!(sequences(&world.sent_data()), [1]);
    assert_eq!(world.counters.snapshot().data_overload, 1);
    world.pass(Duration::from_secs(1));
    assert_eq!(sequences(&world.sent_data()), [2]);
}

#[test]
fn a_sender_over_its_rate_for_too_long_begins_anew() {
    let size = packet(1, 100, &[]).len();
    let cases: [fn(&mut Limits, usize); 2] = [
        |limits, _| limits.data_waiting_messages = 5,
        |limits, size| limits.data_waiting_bytes = 5 * size,
    ];
    for edit in cases {
        let mut world = world(|limits| {
            limits.data_messages_per_second = 1;
            edit(limits, size);
        });
        let alice = world.join("alice");
        let bob = world.join("bob");
        let from_alice = world.transports(0);
        for sequence in 1..=6 {
            world.data(from_alice, "_reliable", packet(sequence, 100, &[]));
        }
        assert_eq!(leave_reason(world.all(alice.connection)), None, "at it");
        world.take(&alice);
        world.data(from_alice, "_reliable", packet(7, 100, &[]));
        let heard = world.take(&alice);
        assert_eq!(refusal(&heard).unwrap().reason(), Reason::LimitExceeded);
        assert_eq!(leave_reason(&heard), ANEW);
        assert_eq!(leave_reason(world.all(bob.connection)), None);
        let stats = world.counters.snapshot();
        assert_eq!((stats.data_leaves, stats.participants), (1, 1));
        world.sent_data();
        world.pass(Duration::from_secs(60));
        assert!(world.sent_data().is_empty(), "nothing of it is left");
    }
}

#[test]
fn a_message_that_is_more_than_a_seconds_worth_passes_all_the_same() {
    let mut world = world(|l| l.data_bytes_per_second = 1_000);
    world.join("alice");
    world.join("bob");
    let alice = world.transports(0);
    world.data(alice, "_reliable", packet(1, 5_000, &[]));
    world.data(alice, "_reliable", packet(2, 5_000, &[]));
    assert_eq!(sequences(&world.sent_data()), [1]);
    world.pass(Duration::from_secs(1));
    assert_eq!(sequences(&world.sent_data()), [2]);
}

#[test]
fn a_packet_that_was_lost_before_the_room_ends_its_senders_session() {
    let mut world = World::new();
    let alice = world.join("alice");
    let bob = world.join("bob");
    let transport = world.transports(0);
    world.input(Input::DataLost { transport });
    assert_eq!(leave_reason(world.all(alice.connection)), ANEW);
    assert_eq!(leave_reason(world.all(bob.connection)), None);
    assert_eq!(world.counters.snapshot().data_leaves, 1);
}

#[test]
fn a_receiver_that_can_not_keep_up_begins_anew() {
    let mut world = World::new();
    let alice = world.join("alice");
    let bob = world.join("bob");
    let transport = world.transports(1);
    world.input(Input::Media(Event::Refused {
        transport,
        track: None,
        reason: Refusal::DataOverload,
    }));
    assert_eq!(leave_reason(world.all(bob.connection)), ANEW);
    assert_eq!(leave_reason(world.all(alice.connection)), None);
    assert_eq!(world.counters.snapshot().data_leaves, 1);
}

fn sync(world: &mut World, client: &Client, has: &[(&str, u32)]) {
    let state = SyncState {
        datachannel_receive_states: has
            .iter()
            .map(|(sid, last)| DataChannelReceiveState {
                publisher_sid: (*sid).to_owned(),
                last_seq: *last,
            })
            .collect(),
        ..SyncState::default()
    };
    world.request(client, Request::SyncState(state));
}

fn resumed(world: &mut World, client: &mut Client) {
    world.close(client);
    let own = client.sid.clone();
    world.resume(client, &own);
    world.sent_data();
}

#[test]
fn a_resumed_client_gets_what_it_misses_of_each_sender() {
    let mut world = World::new();
    let alice = world.join("alice");
    let mut bob = world.join("bob");
    let carol = world.join("carol");
    let [from_alice, to_bob, from_carol] = [0, 1, 2].map(|n| world.transports(n));
    for (sequence, to) in [(1, &[][..]), (2, &["bob"]), (3, &["carol"]), (4, &[])] {
        world.data(from_alice, "_reliable", packet(sequence, 1, to));
    }
    world.data(from_carol, "_reliable", packet(1, 1, &[]));
    world.data(from_carol, "_lossy", packet(0, 1, &[]));
    resumed(&mut world, &mut bob);
    let states = [
        (alice.sid.as_str(), 1),
        (carol.sid.as_str(), 1),
        ("PA_x", 0),
    ];
    sync(&mut world, &bob, &states);
    let sent = world.sent_data();
    assert_eq!(sequences(&sent), [2, 4], "not what was for carol");
    for (transports, label, data) in &sent {
        assert_eq!(
            (transports.as_slice(), label.as_str()),
            (&[to_bob][..], "_reliable")
        );
        let packet = DataPacket::decode(&data[..]).unwrap();
        assert_eq!(packet.participant_sid, alice.sid, "as it was relayed");
    }
    sync(&mut world, &bob, &states);
    assert!(world.sent_data().is_empty(), "once for each resume");
    resumed(&mut world, &mut bob);
    sync(&mut world, &bob, &[(&alice.sid, 3), (&bob.sid.clone(), 0)]);
    assert_eq!(sequences(&world.sent_data()), [4]);
}

#[test]
fn who_came_later_is_not_told_what_was_said_before() {
    let mut world = World::new();
    let alice = world.join("alice");
    let from_alice = world.transports(0);
    world.data(from_alice, "_reliable", packet(1, 1, &[]));
    let mut bob = world.join("bob");
    assert!(world.sent_data().is_empty());
    world.data(from_alice, "_reliable", packet(2, 1, &[]));
    resumed(&mut world, &mut bob);
    sync(&mut world, &bob, &[(&alice.sid, 0)]);
    assert_eq!(sequences(&world.sent_data()), [2]);
}

#[test]
fn what_is_kept_of_a_sender_is_bounded() {
    let mut measured = World::new();
    measured.join("alice");
    measured.join("bob");
    let alice = measured.transports(0);
    measured.data(alice, "_reliable", packet(1, 100, &[]));
    let size = measured.sent_data()[0].2.len();
    let cases: [fn(&mut Limits, usize); 2] = [
        |limits, _| limits.replay_messages = 3,
        |limits, size| limits.replay_bytes = 3 * size,
    ];
    for edit in cases {
        let mut world = world(|limits| edit(limits, size));
        let alice = world.join("alice");
        let mut bob = world.join("bob");
        let from_alice = world.transports(0);
        for sequence in 1..=9 {
            world.data(from_alice, "_reliable", packet(sequence, 100, &[]));
        }
        resumed(&mut world, &mut bob);
        sync(&mut world, &bob, &[(&alice.sid, 0)]);
        assert_eq!(sequences(&world.sent_data()), [7, 8, 9]);
    }
}

#[test]
fn reliable_packets_wait_for_a_transport_that_is_not_open_yet() {
    let mut world = World::new();
    world.join("alice");
    let from_alice = world.transports(0);
    world.data(from_alice, "_reliable", packet(1, 1, &[]));
    let params = world.params(&claims("r", "bob"), ConnectionMode::Single);
    let mut bob = Client {
        connection: world.ids.connection(),
        mode: ConnectionMode::Single,
        sections: join_sections(),
        offers: 0,
        ufrag: "u000".into(),
        sid: String::new(),
        grants: params.grants.clone(),
    };
    world.input(Input::Join {
        connection: bob.connection,
        params: Box::new(params),
    });
    for sequence in [2, 0, 3] {
        world.data(from_alice, "_reliable", packet(sequence, 1, &[]));
    }
    world.data(from_alice, "_lossy", packet(0, 1, &[]));
    assert!(world.sent_data().is_empty());
    world.offer(&mut bob);
    let sent = world.sent_data();
    assert_eq!(sequences(&sent), [2, 0, 3]);
    assert_eq!(sent[0].0, [world.transports(1)]);
}
