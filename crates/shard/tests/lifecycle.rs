//! From opening to the end of a transport: what waits, what starts, and that nothing is left.

use std::time::{Duration, Instant};

use schalter_model::{
    DropReason, ShardId, SrtpProfile, Time, TransportId, TransportStateGauges, Ufrag, WallClock,
};
use schalter_shard::control::{Command, Event, Refusal, TransportFailure, TransportState};
use schalter_shard::{Shard, ShardConfig, ShardLimits};
use schalter_testkit::conference::{BOTH, source};
use schalter_testkit::{LinkConfig, Sim, SimConfig};
use schalter_transport::LocalIce;
use schalter_transport::srtp::exporter_len;

const MS: Duration = Duration::from_millis(1);

fn clean() -> LinkConfig {
    LinkConfig::clean(10 * MS)
}

fn states(sim: &Sim, peer: usize) -> Vec<(Time, TransportState)> {
    let id = sim.peer(peer).config().transport;
    let state = |at: Time, event: &Event| {
        let Event::TransportState { transport, state } = event else {
            return None;
        };
        (*transport == id).then_some((at, *state))
    };
    sim.events()
        .iter()
        .filter_map(|(at, _, e)| state(*at, e))
        .collect()
}

#[test]
fn subscriptions_of_a_transport_that_is_not_connected_start_when_it_is() {
    let mut sim = Sim::new(SimConfig::new(1));
    let (publisher, subscriber) = (
        sim.add_peer(0, clean(), clean()),
        sim.add_peer(0, clean(), clean()),
    );
    let address = sim.peer(subscriber).config().address;
    sim.net_mut().outage(address, Time::from_millis(1_000));
    sim.publish(publisher);
    sim.subscribe(subscriber, publisher);
    sim.run_until(Time::from_millis(900));
    assert_eq!(sim.shard(0).counters().consumers, 0);
    sim.run_until(Time::from_millis(3_000));
    assert_eq!(sim.shard(0).counters().consumers, 2);
    for kind in BOTH {
        let receiver = sim
            .peer(subscriber)
            .receiver_of(source(publisher, kind).ssrc);
        assert!(receiver.unwrap().stats().packets > 40, "{kind:?}");
    }
}

#[test]
fn a_subscription_taken_back_before_the_transport_connects_never_starts() {
    let mut sim = Sim::new(SimConfig::new(2));
    let (publisher, subscriber) = (
        sim.add_peer(0, clean(), clean()),
        sim.add_peer(0, clean(), clean()),
    );
    sim.publish(publisher);
    sim.subscribe(subscriber, publisher);
    sim.unsubscribe(subscriber, publisher);
    sim.run_until(Time::from_millis(1_000));
    assert!(sim.peer(subscriber).is_connected());
    assert_eq!(sim.shard(0).counters().consumers, 0);
}

#[test]
fn lost_consent_fails_the_transport_and_frees_everything_on_both_shards() {
    let mut sim = Sim::new(SimConfig {
        shards: 2,
        ..SimConfig::new(3)
    });
    let (publisher, subscriber) = (
        sim.add_peer(0, clean(), clean()),
        sim.add_peer(1, clean(), clean()),
    );
    for (one, other) in [(publisher, subscriber), (subscriber, publisher)] {
        sim.publish(one);
        sim.subscribe(one, other);
    }
    sim.run_until(Time::from_millis(2_000));
    assert_eq!(sim.shard(1).counters().consumers, 2);
    // Media goes on: it is no consent (RFC 7675 §5.1).
    sim.with_peer(publisher, |_, peer| peer.stop_checking());
    sim.run_until(Time::from_millis(35_000));

    let failed = TransportState::Failed {
        reason: TransportFailure::ConsentLost,
    };
    let (at, last) = *states(&sim, publisher).last().unwrap();
    assert_eq!(last, failed);
    assert!(
        at > Time::from_millis(30_000) && at < Time::from_millis(33_000),
        "{at}"
    );
    let counters = sim.shard(0).counters();
    assert_eq!(counters.consent_losses, 1);
    assert_eq!(counters.transports, TransportStateGauges::default());
    assert_eq!((counters.producers, counters.consumers), (0, 0));
    assert_eq!(sim.shard(1).counters().consumers, 0);
    // What the peer still sends is a stranger's.
    let before = sim.shard(0).counters();
    let copies = sim.shard(1).counters().envelopes_out;
    sim.run_for(1_000 * MS);
    let after = sim.shard(0).counters();
    assert_eq!(after.rtp_in, before.rtp_in);
    let unknown = |c: schalter_model::Counters| c.drops.of(DropReason::UnknownPeer);
    assert!(unknown(after) > unknown(before) + 50);
    assert_eq!(sim.shard(1).counters().envelopes_out, copies);
}

#[test]
fn a_closed_transport_is_gone_with_its_tracks_and_subscriptions() {
    let mut sim = Sim::new(SimConfig {
        shards: 2,
        ..SimConfig::new(4)
    });
    let peers: Vec<_> = [0, 0, 1]
        .iter()
        .map(|shard| sim.add_peer(*shard, clean(), clean()))
        .collect();
    for one in &peers {
        sim.publish(*one);
    }
    for (one, other) in [(0, 1), (1, 0), (2, 0), (0, 2)] {
        sim.subscribe(peers[one], peers[other]);
    }
    sim.run_until(Time::from_millis(1_000));
    let count = |sim: &Sim, shard: usize| {
        let counters = sim.shard(shard).counters();
        (counters.producers, counters.consumers)
    };
    assert_eq!((count(&sim, 0), count(&sim, 1)), ((4, 6), (2, 2)));
    sim.close(peers[0]);
    sim.run_for(200 * MS);
    assert_eq!((count(&sim, 0), count(&sim, 1)), ((2, 0), (2, 0)));
    assert_eq!(sim.shard(0).counters().transports.connected, 1);
    let copies = [0, 1].map(|shard| sim.shard(shard).counters().envelopes_out);
    sim.run_for(500 * MS);
    let later = [0, 1].map(|shard| sim.shard(shard).counters().envelopes_out);
    assert_eq!(later, copies);
}

#[test]
fn media_alone_tells_that_a_quiet_peer_is_back() {
    let mut sim = Sim::new(SimConfig::new(5));
    let peer = sim.add_peer(0, clean(), clean());
    sim.publish(peer);
    sim.run_until(Time::from_millis(1_000));
    sim.with_peer(peer, |_, peer| peer.stop_checking());
    let address = sim.peer(peer).config().address;
    sim.net_mut().outage(address, Time::from_millis(10_000));
    sim.run_until(Time::from_millis(9_900));
    assert_eq!(
        states(&sim, peer).last().unwrap().1,
        TransportState::Disconnected
    );
    assert_eq!(sim.shard(0).counters().transports.disconnected, 1);
    sim.run_until(Time::from_millis(10_200));
    let (at, state) = *states(&sim, peer).last().unwrap();
    assert_eq!(state, TransportState::Reconnected);
    assert!(at < Time::from_millis(10_050), "{at}");
    assert_eq!(sim.shard(0).counters().transports.connected, 1);
}

#[test]
fn messages_that_wait_for_a_channel_are_bounded_by_number_and_by_bytes() {
    let limits = ShardLimits {
        waiting_messages: 4,
        waiting_bytes: 1_000,
        ..ShardLimits::default()
    };
    let mut sim = Sim::new(SimConfig {
        limits,
        ..SimConfig::new(6)
    });
    for id in [1, 2] {
        let command = Command::OpenTransport {
            transport: TransportId(id),
            ice: LocalIce {
                ufrag: Ufrag::new(1, ShardId(0), id),
                password: "a-password-of-two-dozen-chars".into(),
            },
            channels: Vec::new(),
        };
        sim.command(0, command);
    }
    let mut send = |transport, len: usize, must_arrive: bool| {
        let command = Command::SendData {
            transports: vec![TransportId(transport)],
            label: "_reliable".into(),
            binary: true,
            must_arrive,
            data: vec![0; len].into(),
        };
        sim.command(0, command);
        sim.shard(0).counters().drops.of(DropReason::DataOverload)
    };
    assert_eq!((0..4).map(|_| send(1, 10, true)).max(), Some(0));
    assert_eq!(send(1, 10, false), 1);
    assert_eq!([send(2, 600, true), send(2, 400, true)], [1; 2]);
    assert_eq!(send(2, 1, true), 2);
    let told = sim.events().iter().filter_map(|(_, _, event)| {
        if let Event::Refused {
            transport,
            track: None,
            reason: Refusal::DataOverload,
        } = event
        {
            Some(*transport)
        } else {
            None
        }
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [TransportId(2)],
        "what may be lost is not told"
    );
}

#[test]
fn keys_of_the_wrong_length_are_refused_and_leave_nothing() {
    let config = ShardConfig::new(
        ShardId(0),
        Instant::now(),
        WallClock::new(0),
        1,
        schalter_testkit::identity(),
    );
    let mut shard = Shard::new(config);
    let profile = SrtpProfile::AeadAes128Gcm;
    for (id, len) in [
        (1, exporter_len(profile) - 1),
        (2, 0),
        (3, exporter_len(profile)),
    ] {
        let ice = LocalIce {
            ufrag: Ufrag::new(1, ShardId(0), id),
            password: "a-password-of-two-dozen-chars".into(),
        };
        let keys = vec![7; len];
        shard.open_keyed_transport(Time::ZERO, TransportId(id), ice, profile, &keys);
    }
    let refused: Vec<_> = std::iter::from_fn(|| shard.poll_event())
        .map(|event| {
            matches!(
                event,
                Event::Refused {
                    reason: Refusal::InvalidConfig,
                    ..
                }
            )
        })
        .collect();
    assert_eq!(refused, [true, true]);
    assert_eq!(shard.counters().transports.new, 1);
}
