//! What viewers see when a network fails for a while, or is bad for good.

use std::time::Duration;

use schalter_model::{Bitrate, MediaKind, Time};
use schalter_testkit::conference::source;
use schalter_testkit::{Bursts, LinkConfig, Sim, SimConfig, for_each_seed};

const MS: Duration = Duration::from_millis(1);
const PUBLISHER: usize = 0;
const SUBSCRIBER: usize = 1;

fn clean() -> LinkConfig {
    LinkConfig::clean(20 * MS)
}

fn call(seed: u64) -> Sim {
    let mut sim = Sim::new(SimConfig::new(seed));
    sim.add_peer(0, clean(), clean());
    sim.add_peer(0, clean(), clean());
    sim.publish(PUBLISHER);
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

#[test]
fn a_publisher_who_was_away_for_two_seconds_is_seen_again() {
    for_each_seed(5, |seed| {
        let mut sim = call(seed);
        let until = sim.now() + 2_000 * MS;
        let before = sim.peer(PUBLISHER).stats().plis;
        sim.net_mut().outage(Sim::peer_address(PUBLISHER, 0), until);
        sim.run_until(until + 1_500 * MS);
        assert_runs(&sim);
        assert!(
            longest_freeze(&sim) < 3_000 * MS,
            "{:?}",
            longest_freeze(&sim)
        );
        assert!(
            sim.peer(PUBLISHER).stats().plis > before,
            "a keyframe was asked for"
        );
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
            longest_freeze(&sim) < 3_500 * MS,
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
            longest_freeze(&sim) < 1_500 * MS,
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
fn a_narrow_downlink_loses_packets_and_never_the_stream() {
    let mut sim = call(1);
    // Video and sound take about 150 kbit/s.
    let narrow = LinkConfig {
        rate: Some(Bitrate::from_kbps(100)),
        queue_bytes: 6_000,
        ..clean()
    };
    let address = Sim::peer_address(SUBSCRIBER, 0);
    sim.net_mut().set_links(address, clean(), narrow);
    sim.run_for(5_000 * MS);
    let (_, down) = sim.net_mut().stats(address).expect("attached");
    assert!(down.overflowed > 20, "{down:?}");
    sim.net_mut().set_links(address, clean(), clean());
    sim.run_for(2_500 * MS);
    assert_runs(&sim);
}
