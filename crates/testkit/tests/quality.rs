//! What is told of connections while networks are good and bad, and who is heard in a room of many.
//!
//! `SCHALTER_SEEDS=n` tries n seeds.

use std::time::Duration;

use schalter_model::{Bitrate, MediaKind, RoomId, ShardId, Time};
use schalter_shard::LoudestConfig;
use schalter_shard::control::{Command, Event};
use schalter_testkit::conference::{producer_config, source, track};
use schalter_testkit::{LinkConfig, Picture, Sim, SimConfig, SourceConfig, for_each_seed};

const MS: Duration = Duration::from_millis(1);

fn clean() -> LinkConfig {
    LinkConfig::clean(20 * MS)
}

/// Scores of a peer's connection, with their times.
fn scores(sim: &Sim, peer: usize) -> Vec<(Time, f32)> {
    let own = sim.peer(peer).config().transport;
    let events = sim.events().iter();
    let scores = events.filter_map(|(at, _, event)| match event {
        Event::Quality { transport, quality } if *transport == own => Some((*at, quality.score())),
        Event::TransportState { .. }
        | Event::ChannelOpened { .. }
        | Event::ChannelClosed { .. }
        | Event::Data { .. }
        | Event::EncodingStarted { .. }
        | Event::AudioLevel { .. }
        | Event::StreamState { .. }
        | Event::Quality { .. }
        | Event::Refused { .. } => None,
    });
    scores.collect()
}

fn between(scores: &[(Time, f32)], from: u64, to: u64) -> Vec<f32> {
    let (from, to) = (Time::from_millis(from), Time::from_millis(to));
    let within = scores.iter().filter(|(at, _)| (from..to).contains(at));
    within.map(|(_, score)| *score).collect()
}

#[test]
fn who_loses_on_the_way_up_is_told_apart_from_who_doesnt() {
    for_each_seed(3, |seed| {
        let mut sim = Sim::new(SimConfig::new(seed));
        let lossy = LinkConfig {
            loss: 0.1,
            ..clean()
        };
        sim.add_peer(0, clean(), clean());
        sim.add_peer(0, lossy, clean());
        for peer in 0..2 {
            sim.publish(peer);
            sim.subscribe(1 - peer, peer);
        }
        sim.run_until(Time::from_millis(30_000));
        let good = between(&scores(&sim, 0), 6_000, 30_000);
        assert!(good.len() >= 4, "{good:?}");
        assert!(good.iter().all(|score| *score >= 4.0), "{good:?}");
        let bad = between(&scores(&sim, 1), 6_000, 30_000);
        assert!(bad.len() >= 4, "{bad:?}");
        assert!(bad.iter().all(|score| *score < 3.0), "{bad:?}");
    });
}

#[test]
fn a_link_that_is_too_thin_is_felt_and_forgotten_when_it_is_wide_again() {
    for_each_seed(3, |seed| {
        let mut sim = Sim::new(SimConfig::new(seed));
        let rated = |kbps| LinkConfig {
            rate: Some(Bitrate::from_kbps(kbps)),
            queue_bytes: 25_000,
            ..clean()
        };
        sim.add_peer(0, clean(), clean());
        sim.add_peer(0, clean(), rated(5_000));
        let picture = Picture::simulcast();
        sim.publish_picture(0, &picture);
        sim.subscribe_picture(1, 0, &picture);
        sim.run_until(Time::from_millis(20_000));
        let address = Sim::peer_address(1, 0);
        sim.net_mut().set_links(address, clean(), rated(300));
        sim.run_until(Time::from_millis(40_000));
        sim.net_mut().set_links(address, clean(), rated(5_000));
        sim.run_until(Time::from_millis(70_000));
        let all = scores(&sim, 1);
        let wide = between(&all, 12_000, 20_000);
        assert!(!wide.is_empty());
        assert!(wide.iter().all(|score| *score >= 4.0), "{all:?}");
        let thin = between(&all, 27_000, 40_000);
        assert!(thin.iter().all(|score| *score < 4.0), "{all:?}");
        let again = between(&all, 58_000, 70_000);
        assert!(again.iter().all(|score| *score >= 4.0), "{all:?}");
        // The publisher's connection is as good as ever.
        let publisher = between(&scores(&sim, 0), 6_000, 70_000);
        assert!(publisher.iter().all(|score| *score >= 4.0), "{publisher:?}");
    });
}

#[test]
fn in_a_room_of_many_over_two_shards_the_loudest_are_heard_without_a_gap() {
    for_each_seed(3, |seed| {
        let speakers = 8;
        let mut sim = Sim::new(SimConfig {
            shards: 2,
            loudest: LoudestConfig { most: 3, from: 5 },
            ..SimConfig::new(seed)
        });
        for peer in 0..speakers {
            sim.add_peer(peer % 2, clean(), clean());
            let mut config = producer_config(peer, MediaKind::Audio);
            config.room = Some(RoomId(1));
            let command = Command::AddProducer {
                transport: sim.peer(peer).config().transport,
                track: track(peer, MediaKind::Audio),
                config,
            };
            sim.command(sim.home(peer), command);
            // Peers 2, 5 and 6 speak.
            let level = if [2, 5, 6].contains(&peer) { 30 } else { 90 };
            let stream = SourceConfig {
                level,
                ..source(peer, MediaKind::Audio)
            };
            sim.with_peer(peer, |now, peer| peer.publish(now, stream));
        }
        for subscriber in 0..speakers {
            for publisher in (0..speakers).filter(|publisher| *publisher != subscriber) {
                sim.subscribe_to(subscriber, publisher, MediaKind::Audio);
            }
        }
        sim.run_until(Time::from_millis(10_000));
        for subscriber in 0..speakers {
            for publisher in (0..speakers).filter(|publisher| *publisher != subscriber) {
                let ssrc = source(publisher, MediaKind::Audio).ssrc;
                let receiver = sim.peer(subscriber).receiver_of(ssrc).expect("subscribed");
                let stats = receiver.stats();
                assert_eq!((stats.given_up, stats.foreign, stats.displaced), (0, 0, 0));
                if [2, 5, 6].contains(&publisher) {
                    // But for the beginning, all of ten seconds.
                    assert!(stats.packets > 440, "{publisher}: {stats:?}");
                } else {
                    assert!(stats.packets < 30, "{publisher}: {stats:?}");
                }
            }
        }
        for shard in 0..2 {
            let counters = sim.shard(shard).counters();
            assert!(counters.sound_withheld > 1_500, "{counters:?}");
            // Every copy travels: the other shard chooses for itself.
            assert!(counters.envelopes_in > 4 * 450, "{counters:?}");
            assert_eq!(sim.shard(shard).id(), ShardId(shard as u8));
        }
    });
}
