//! What viewers see when a network fails for a while, or is bad for good.

use std::time::Duration;

use schalter_model::{Bitrate, MediaKind, Time};
use schalter_testkit::conference::{BOTH, source};
use schalter_testkit::{Bursts, LinkConfig, Sim, SimConfig, for_each_seed};

const MS: Duration = Duration::from_millis(1);
const PUBLISHER: usize = 0;
const SUBSCRIBER: usize = 1;

fn clean() -> LinkConfig {
    LinkConfig::clean(20 * MS)
}

fn call(seed: u64) -> Sim {
    call_with(seed, 2)
}

/// A call with this many packets in a frame of video.
fn call_with(seed: u64, packets_per_frame: u32) -> Sim {
    let mut sim = Sim::new(SimConfig::new(seed));
    sim.add_peer(0, clean(), clean());
    sim.add_peer(0, clean(), clean());
    for kind in BOTH {
        sim.add_producer(PUBLISHER, kind);
        let mut stream = source(PUBLISHER, kind);
        if kind == MediaKind::Video {
            stream.packets_per_frame = packets_per_frame;
        }
        sim.with_peer(PUBLISHER, |now, peer| peer.publish(now, stream));
    }
    sim.subscribe(SUBSCRIBER, PUBLISHER);
    sim.run_until(Time::from_millis(3_000));
    sim
}

/// The viewer's picture runs, and has been running for the last while.
fn assert_runs(sim: &Sim) {
    let video = source(PUBLISHER, MediaKind::Video).ssrc;
    let receiver = sim.peer(SUBSCRIBER).receiver_of(video).expect("subscribed");
    let decoder = receiver.decoder();
    assert!(!decoder.is_stuck(), "{:?}", receiver.stats());
    let since = sim.now() - decoder.progressed().expect("it began");
    assert!(since < 200 * MS, "{since:?}");
    assert_eq!(receiver.stats().displaced, 0);
}

fn longest_freeze(sim: &Sim) -> Duration {
    let video = source(PUBLISHER, MediaKind::Video).ssrc;
    let receiver = sim.peer(SUBSCRIBER).receiver_of(video).expect("subscribed");
    receiver.decoder().longest_freeze()
}

/// The publisher is away for two seconds; answers how often it was asked for a keyframe.
fn publisher_outage(sim: &mut Sim) -> u64 {
    let until = sim.now() + 2_000 * MS;
    let before = sim.peer(PUBLISHER).stats().plis;
    sim.net_mut().outage(Sim::peer_address(PUBLISHER, 0), until);
    sim.run_until(until + 1_500 * MS);
    assert_runs(sim);
    let freeze = longest_freeze(sim);
    assert!(freeze > 1_900 * MS && freeze < 2_700 * MS, "{freeze:?}");
    sim.peer(PUBLISHER).stats().plis - before
}

/// As many packets as are asked for after a silence (`nack.rs`), and some that were repaired before it.
const FEW_REPAIRS: u64 = 20;

#[test]
fn what_a_publisher_missed_to_send_in_two_seconds_is_replaced_by_a_keyframe() {
    for packets_per_frame in [1, 12] {
        for_each_seed(5, |seed| {
            let mut sim = call_with(seed, packets_per_frame);
            assert!(publisher_outage(&mut sim) > 0);
            let repaired = sim.peer(PUBLISHER).sources()[0].retransmitted();
            assert!(repaired <= FEW_REPAIRS, "{repaired}");
        });
    }
}

#[test]
fn what_a_publisher_missed_to_send_in_half_a_second_is_repaired() {
    for_each_seed(5, |seed| {
        let mut sim = call(seed);
        let until = sim.now() + 500 * MS;
        let before = sim.peer(PUBLISHER).stats().plis;
        sim.net_mut().outage(Sim::peer_address(PUBLISHER, 0), until);
        sim.run_until(until + 1_000 * MS);
        assert_runs(&sim);
        assert!(sim.peer(PUBLISHER).sources()[0].retransmitted() >= 10);
        assert_eq!(sim.peer(PUBLISHER).stats().plis, before);
    });
}

#[test]
fn a_subscriber_who_was_away_for_two_seconds_sees_again() {
    for_each_seed(5, |seed| {
        let mut sim = call(seed);
        let until = sim.now() + 2_000 * MS;
        sim.net_mut()
            .outage(Sim::peer_address(SUBSCRIBER, 0), until);
        sim.run_until(until + 2_000 * MS);
        assert_runs(&sim);
        assert!(
            longest_freeze(&sim) < 2_600 * MS,
            "{:?}",
            longest_freeze(&sim)
        );
        // Everybody else's call goes on: the publisher hears of it once a half second at most.
        assert!(sim.peer(PUBLISHER).stats().plis <= 12);
    });
}

#[test]
fn bursts_of_loss_freeze_a_picture_but_not_for_long() {
    for_each_seed(5, |seed| {
        let mut sim = call(seed);
        let bursty = LinkConfig {
            bursts: Some(Bursts {
                begin: 0.005,
                end: 0.1,
                loss: 0.8,
            }),
            jitter: 10 * MS,
            reorder: 0.02,
            reorder_by: 20 * MS,
            ..clean()
        };
        for peer in [PUBLISHER, SUBSCRIBER] {
            sim.net_mut()
                .set_links(Sim::peer_address(peer, 0), bursty, bursty);
        }
        sim.run_for(10_000 * MS);
        assert!(
            longest_freeze(&sim) < 3_000 * MS,
            "{:?}",
            longest_freeze(&sim)
        );
        for peer in [PUBLISHER, SUBSCRIBER] {
            sim.net_mut()
                .set_links(Sim::peer_address(peer, 0), clean(), clean());
        }
        sim.run_for(1_500 * MS);
        assert_runs(&sim);
    });
}

#[test]
fn a_narrow_downlink_keeps_its_sound_and_the_picture_comes_back() {
    let mut sim = call(1);
    // Video and sound take about 150 kbit/s.
    let narrow = LinkConfig {
        rate: Some(Bitrate::from_kbps(100)),
        queue_bytes: 6_000,
        ..clean()
    };
    let address = Sim::peer_address(SUBSCRIBER, 0);
    let sound = source(PUBLISHER, MediaKind::Audio).ssrc;
    let heard = |sim: &Sim| {
        let receiver = sim.peer(SUBSCRIBER).receiver_of(sound);
        receiver.expect("subscribed").stats().packets
    };
    sim.net_mut().set_links(address, clean(), narrow);
    sim.run_for(2_000 * MS);
    let before = (
        heard(&sim),
        sim.net_mut().stats(address).expect("attached").1,
    );
    sim.run_for(5_000 * MS);
    let after = (
        heard(&sim),
        sim.net_mut().stats(address).expect("attached").1,
    );
    assert!(after.0 - before.0 >= 245, "50 packets of sound a second");
    assert_eq!(
        after.1.overflowed, before.1.overflowed,
        "the queue is left alone"
    );
    sim.net_mut().set_links(address, clean(), clean());
    sim.run_for(5_000 * MS);
    let video = source(PUBLISHER, MediaKind::Video).ssrc;
    let receiver = sim.peer(SUBSCRIBER).receiver_of(video).expect("subscribed");
    let since = sim.now() - receiver.decoder().progressed().expect("it began");
    assert!(since < 200 * MS, "{since:?}");
}
