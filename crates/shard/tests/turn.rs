//! Calls through relays: they go as those without, over datagrams and over connections, and end as they should.

use std::time::Duration;

use schalter_model::{Bitrate, DropReason, MediaKind, Time, TurnRefusal};
use schalter_shard::control::{Event, TransportFailure, TransportState};
use schalter_testkit::conference::{BOTH, source};
use schalter_testkit::turn_client::channel_data;
use schalter_testkit::{LinkConfig, Sim, SimConfig, for_each_seed};
use schalter_transport::stun::{BINDING, StunClass, StunWriter, TransactionId, attribute};
use schalter_turn::TurnLimits;

const MS: Duration = Duration::from_millis(1);
const WIDE: Bitrate = Bitrate::from_kbps(50_000);

/// How a peer reaches the shard.
#[derive(Clone, Copy, Debug)]
enum Way {
    Direct,
    Indications,
    Channel,
    ChannelOverStream,
    IndicationsOverStream,
}

const RELAYED: [Way; 4] = [
    Way::Indications,
    Way::Channel,
    Way::ChannelOverStream,
    Way::IndicationsOverStream,
];

fn lossy(loss: f64) -> LinkConfig {
    LinkConfig {
        loss,
        ..LinkConfig::clean(20 * MS)
    }
}

fn sim(seed: u64) -> Sim {
    let mut sim = Sim::new(SimConfig::new(seed));
    sim.serve_turn(TurnLimits::default());
    sim
}

fn add_peer(sim: &mut Sim, way: Way, link: LinkConfig) -> usize {
    let peer = sim.add_peer(0, link, link);
    match way {
        Way::Direct => {}
        Way::Indications => drop(sim.relay(peer, None)),
        Way::Channel => drop(sim.relay(peer, Some(0x4000))),
        Way::ChannelOverStream => {
            sim.open_stream(peer, WIDE);
            sim.relay(peer, Some(0x4fff));
        }
        Way::IndicationsOverStream => {
            sim.open_stream(peer, WIDE);
            sim.relay(peer, None);
        }
    }
    peer
}

fn packets(sim: &Sim, subscriber: usize, publisher: usize) -> [u64; 2] {
    BOTH.map(|kind| {
        let receiver = sim
            .peer(subscriber)
            .receiver_of(source(publisher, kind).ssrc);
        receiver.expect("subscribed").stats().packets
    })
}

fn drops(sim: &Sim, reason: DropReason) -> u64 {
    sim.shard(0).counters().drops.of(reason)
}

#[test]
fn a_call_through_relays_is_the_same_call() {
    for publisher_way in RELAYED {
        let mut sim = sim(1);
        let clean = LinkConfig::clean(10 * MS);
        let publisher = add_peer(&mut sim, publisher_way, clean);
        sim.publish(publisher);
        let subscribers = [Way::Direct, Way::Channel, Way::Indications]
            .into_iter()
            .chain(RELAYED)
            .map(|way| {
                let peer = add_peer(&mut sim, way, clean);
                sim.subscribe(peer, publisher);
                peer
            });
        let subscribers: Vec<_> = subscribers.collect();
        sim.run_until(Time::from_millis(3_000));
        let got: Vec<_> = subscribers
            .iter()
            .map(|subscriber| packets(&sim, *subscriber, publisher))
            .collect();
        let counters = sim.shard(0).counters();
        assert!(
            got[0].iter().all(|n| *n > 80),
            "{publisher_way:?} {got:?} {counters:?}"
        );
        for other in &got {
            for (relayed, direct) in other.iter().zip(got[0]) {
                assert!(relayed.abs_diff(direct) <= 10, "{publisher_way:?} {got:?}");
            }
        }
        let counters = sim.shard(0).counters();
        assert_eq!(counters.turn.allocations, 7);
        assert_eq!(counters.transports.connected, 8);
        assert!(counters.turn.relayed_in > 100);
        assert!(counters.turn.relayed_out > 6 * 160);
        assert_eq!(counters.drops.total(), 0);
        assert_eq!(sim.astray(), (0, 0));
    }
}

#[test]
fn losses_are_repaired_through_relays() {
    for_each_seed(20, |seed| {
        let mut sim = sim(seed);
        let lossy = lossy(0.03);
        let publisher = add_peer(&mut sim, Way::Channel, lossy);
        let subscriber = add_peer(&mut sim, Way::Indications, lossy);
        sim.publish(publisher);
        sim.subscribe(subscriber, publisher);
        sim.run_until(Time::from_millis(5_000));
        let counters = sim.shard(0).counters();
        let repairs = (counters.rtx_out, counters.rtx_in, counters.nack_sent);
        assert!(
            counters.rtx_out > 0 && counters.nack_sent > 0,
            "{repairs:?}"
        );
        let [video, audio] = packets(&sim, subscriber, publisher);
        assert!(video > 100 && audio > 150, "{video} {audio}");
        let turn = [
            DropReason::TurnMalformed,
            DropReason::TurnForeignPeer,
            DropReason::TurnNoPermission,
        ];
        assert!(turn.iter().all(|reason| drops(&sim, *reason) == 0));
    });
}

#[test]
fn one_seed_repeats_a_relayed_call_to_the_byte() {
    let digest = || {
        let mut sim = sim(3);
        let link = lossy(0.02);
        let publisher = add_peer(&mut sim, Way::Channel, link);
        let subscriber = add_peer(&mut sim, Way::Indications, link);
        sim.publish(publisher);
        sim.subscribe(subscriber, publisher);
        sim.run_until(Time::from_millis(2_000));
        sim.digest()
    };
    assert_eq!(digest(), digest());
}

#[test]
fn a_permission_that_nobody_renews_ends_the_call_with_its_consent() {
    let mut sim = sim(4);
    let peer = add_peer(&mut sim, Way::Channel, LinkConfig::clean(10 * MS));
    sim.run_until(Time::from_millis(290_000));
    assert_eq!(sim.shard(0).counters().transports.connected, 1);
    sim.run_until(Time::from_millis(340_000));
    let lost = |event: &Event| {
        matches!(
            event,
            Event::TransportState {
                state: TransportState::Failed {
                    reason: TransportFailure::ConsentLost
                },
                ..
            }
        )
    };
    assert!(sim.events().iter().any(|(_, _, event)| lost(event)));
    assert!(drops(&sim, DropReason::TurnNoPermission) > 0);
    assert_eq!(sim.shard(0).counters().turn.allocations, 1);
    sim.run_until(Time::from_millis(601_000));
    assert_eq!(sim.shard(0).counters().turn.allocations, 0);
    assert!(sim.peer(peer).stats().checks_answered > 50);
}

#[test]
fn a_connection_that_closes_takes_its_relay_along() {
    let mut sim = sim(5);
    let clean = LinkConfig::clean(10 * MS);
    let publisher = add_peer(&mut sim, Way::Direct, clean);
    let subscriber = add_peer(&mut sim, Way::ChannelOverStream, clean);
    sim.publish(publisher);
    sim.subscribe(subscriber, publisher);
    sim.run_until(Time::from_millis(1_000));
    assert_eq!(sim.shard(0).counters().turn.allocations, 1);
    sim.close_stream(subscriber);
    assert_eq!(sim.shard(0).counters().turn.allocations, 0);
    sim.run_until(Time::from_millis(3_000));
    assert_eq!(
        sim.astray(),
        (0, 0),
        "nothing leaves for a client that is gone"
    );
}

#[test]
fn a_slow_connection_with_a_relay_keeps_sound_in_time() {
    let mut sim = sim(6);
    let clean = LinkConfig::clean(10 * MS);
    let publisher = add_peer(&mut sim, Way::Direct, clean);
    let subscriber = add_peer(&mut sim, Way::ChannelOverStream, clean);
    sim.set_stream_rate(subscriber, Bitrate::from_kbps(400));
    let picture = schalter_testkit::Picture::new(&[(1_200, 30)], 1);
    sim.publish_picture(publisher, &picture);
    sim.subscribe(subscriber, publisher);
    sim.run_until(Time::from_millis(10_000));
    let ssrc = source(publisher, MediaKind::Audio).ssrc;
    let receiver = sim.peer(subscriber).receiver_of(ssrc).unwrap();
    let from = Time::from_millis(3_000);
    let heard = receiver.heard().iter().filter(|h| h.captured >= from);
    let late = heard.clone().map(|heard| heard.at - heard.captured).max();
    assert!(heard.count() > 300);
    assert!(late < Some(300 * MS), "{late:?}");
}

#[test]
fn without_turn_nothing_of_it_is_answered() {
    let mut sim = Sim::new(SimConfig::new(7));
    let peer = sim.add_peer(0, LinkConfig::clean(10 * MS), LinkConfig::clean(10 * MS));
    sim.run_until(Time::from_millis(500));
    let from = sim.peer(peer).config().address;
    let allocate = schalter_testkit::turn_client::TurnClient::new("a", "b").allocate();
    let before = sim.shard(0).counters();
    sim.inject(0, from, &allocate);
    let channel = schalter_testkit::turn_client::channel_data(0x4000, b"hello");
    sim.inject(0, from, &channel);
    let after = sim.shard(0).counters();
    assert_eq!(after.drops.total() - before.drops.total(), 2);
    assert_eq!(after.turn.refusals.of(TurnRefusal::Unauthorized), 0);
}

#[test]
fn a_media_port_relays_for_nobody_and_answers_nothing_of_turn() {
    let mut sim = sim(8);
    let clean = LinkConfig::clean(10 * MS);
    let peer = add_peer(&mut sim, Way::Direct, clean);
    sim.run_until(Time::from_millis(500));
    let from = sim.peer(peer).config().address;
    let before = sim.shard(0).counters();
    let mut client = schalter_testkit::turn_client::TurnClient::new("a", "b");
    let media = from;
    for datagram in [
        client.allocate(),
        client.refresh(600),
        client.permit(media),
        client.bind(0x4000, media),
        client.send(media, b"hello"),
        channel_data(0x4000, b"hello"),
        binding(None),
    ] {
        sim.inject(0, from, &datagram);
    }
    let after = sim.shard(0).counters();
    let of = |reason| after.drops.of(reason) - before.drops.of(reason);
    assert_eq!(of(DropReason::TurnOnMediaPort), 7);
    assert_eq!(after.drops.total() - before.drops.total(), 7);
    assert_eq!(after.turn, before.turn);
    assert_eq!(sim.shard(0).counters().transports.connected, 1);
}

#[test]
fn the_port_for_turn_takes_nothing_but_turn() {
    let mut sim = sim(9);
    let clean = LinkConfig::clean(10 * MS);
    let peer = add_peer(&mut sim, Way::Channel, clean);
    sim.run_until(Time::from_millis(500));
    let from = sim.peer(peer).config().address;
    let before = sim.shard(0).counters();
    // As a media port would take them: media, reports, handshakes, connectivity checks, answers to questions.
    let mut answer = binding(None);
    answer[0] = 1;
    for datagram in [
        vec![0x80; 40],
        [&[0x80, 200][..], &[0; 30]].concat(),
        vec![22; 40],
        binding(Some("1000000AAAAAAAAA:peer")),
        answer,
        vec![0xFF; 20],
        Vec::new(),
    ] {
        sim.inject(0, from, &datagram);
    }
    let after = sim.shard(0).counters();
    let refused = |reason| after.drops.of(reason) - before.drops.of(reason);
    assert_eq!(refused(DropReason::TurnMalformed), 7);
    assert_eq!(after.drops.total() - before.drops.total(), 7);
    // Without a user nobody is meant but TURN: it tells a client its address.
    sim.inject(0, from, &binding(None));
    assert_eq!(sim.shard(0).counters().drops.total(), after.drops.total());
    assert_eq!(sim.shard(0).counters().turn.allocations, 1);
}

/// A Binding request for somebody, or for nobody.
fn binding(user: Option<&str>) -> Vec<u8> {
    let mut out = vec![0; 128];
    let id = TransactionId([7; 12]);
    let mut writer = StunWriter::new(&mut out, StunClass::Request, BINDING, id).expect("room");
    if let Some(user) = user {
        writer
            .attribute(attribute::USERNAME, user.as_bytes())
            .expect("room");
    }
    let len = writer.finish();
    out.truncate(len);
    out
}
