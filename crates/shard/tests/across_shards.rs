//! Tracks that cross shards: what a subscriber on another shard gets, and that nothing is copied for nobody.

use std::time::{Duration, Instant};

use schalter_model::{DropReason, MediaKind, ShardId, Time, TrackId, WallClock};
use schalter_shard::control::{Command, Event, Refusal};
use schalter_shard::peer::PeerMessage;
use schalter_shard::{Shard, ShardConfig, ShardLimits};
use schalter_testkit::conference::{BOTH, consumer_config, producer_config, source, track};
use schalter_testkit::{LinkConfig, MailboxConfig, PEER_CLOCK, Sim, SimConfig, for_each_seed};

const MS: Duration = Duration::from_millis(1);
const PUBLISHER: usize = 0;
const SUBSCRIBER: usize = 1;
const SECOND: usize = 2;

fn clean() -> LinkConfig {
    LinkConfig::clean(10 * MS)
}

/// A publisher on shard 0 and two peers on shard 1.
fn two_shards(config: SimConfig) -> Sim {
    let mut sim = Sim::new(SimConfig {
        shards: 2,
        ..config
    });
    assert_eq!(sim.add_peer(0, clean(), clean()), PUBLISHER);
    assert_eq!(sim.add_peer(1, clean(), clean()), SUBSCRIBER);
    assert_eq!(sim.add_peer(1, clean(), clean()), SECOND);
    sim
}

/// What the publisher's stream of this kind is at a subscriber: came, expected.
fn delivered(sim: &Sim, subscriber: usize, kind: MediaKind, until: Time) -> (u64, u64) {
    let ssrc = source(PUBLISHER, kind).ssrc;
    let sources = sim.peer(PUBLISHER).sources();
    let sent = sources
        .iter()
        .find(|source| source.config().ssrc == ssrc)
        .map_or(0, |source| source.sent_before(until));
    let receiver = sim.peer(subscriber).receiver_of(ssrc).expect("subscribed");
    assert_eq!(receiver.stats().foreign, 0);
    assert_eq!(receiver.stats().displaced, 0);
    receiver.delivered_before(sent)
}

fn copies(sim: &Sim) -> u64 {
    sim.shard(0).counters().envelopes_out
}

#[test]
fn a_subscriber_on_another_shard_gets_every_packet_and_the_publishers_clock() {
    let mut sim = two_shards(SimConfig::new(1));
    sim.publish(PUBLISHER);
    sim.subscribe(SUBSCRIBER, PUBLISHER);
    sim.subscribe(SECOND, PUBLISHER);
    sim.run_until(Time::from_millis(4_000));

    for subscriber in [SUBSCRIBER, SECOND] {
        for kind in BOTH {
            let (came, expected) = delivered(&sim, subscriber, kind, Time::from_millis(3_900));
            assert!(expected > 100, "{kind:?}: {expected}");
            assert_eq!(came, expected, "{kind:?}");
            let receiver = sim
                .peer(subscriber)
                .receiver_of(source(PUBLISHER, kind).ssrc);
            let report = receiver.unwrap().last_sender_report().unwrap();
            let clock = PEER_CLOCK.ntp(sim.now());
            let behind = clock.middle().wrapping_sub(report);
            assert!(
                behind < 2 << 16,
                "{kind:?}: the publisher's clock, not ours"
            );
        }
    }
    // One copy of each packet crosses, however many subscribers there are.
    let sent: u64 = sim.peer(PUBLISHER).sources().iter().map(|s| s.sent()).sum();
    assert!(copies(&sim) <= sent, "{} copies of {sent}", copies(&sim));
    assert_eq!(sim.shard(1).counters().producers, 0);
}

#[test]
fn a_subscription_that_comes_before_its_track_starts_with_it() {
    let mut sim = two_shards(SimConfig::new(2));
    sim.subscribe(SUBSCRIBER, PUBLISHER);
    sim.run_until(Time::from_millis(700));
    assert_eq!(sim.shard(1).counters().consumers, 0);
    sim.publish(PUBLISHER);
    sim.run_until(Time::from_millis(3_000));
    assert!(
        !sim.events()
            .iter()
            .any(|(_, _, e)| matches!(e, Event::Refused { .. }))
    );
    for kind in BOTH {
        let (came, expected) = delivered(&sim, SUBSCRIBER, kind, Time::from_millis(2_900));
        assert!(expected > 60 && came == expected, "{came} of {expected}");
    }
}

#[test]
fn a_subscription_beyond_the_waiting_ones_is_refused() {
    let limits = ShardLimits {
        waiting_taps: 1,
        ..ShardLimits::default()
    };
    let mut sim = two_shards(SimConfig {
        limits,
        ..SimConfig::new(3)
    });
    sim.subscribe_to(SUBSCRIBER, PUBLISHER, MediaKind::Video);
    sim.subscribe_to(SUBSCRIBER, PUBLISHER, MediaKind::Audio);
    sim.run_until(Time::from_millis(300));
    let refusal = |event: &Event| {
        let Event::Refused { track, reason, .. } = event else {
            return None;
        };
        Some((*track, *reason))
    };
    let refused: Vec<_> = sim
        .events()
        .iter()
        .filter_map(|(_, _, e)| refusal(e))
        .collect();
    let audio = Some(track(PUBLISHER, MediaKind::Audio));
    assert_eq!(refused, [(audio, Refusal::UnknownTrack)]);
}

#[test]
fn a_late_subscriber_gets_a_keyframe_from_the_other_shard_at_once() {
    let mut sim = two_shards(SimConfig::new(4));
    sim.publish(PUBLISHER);
    sim.subscribe(SUBSCRIBER, PUBLISHER);
    sim.run_until(Time::from_millis(3_000));
    let before = sim.peer(PUBLISHER).sources()[0].keyframes();
    sim.subscribe(SECOND, PUBLISHER);
    sim.run_for(700 * MS);
    assert_eq!(sim.peer(PUBLISHER).sources()[0].keyframes(), before + 1);
    let ssrc = source(PUBLISHER, MediaKind::Video).ssrc;
    let late = sim.peer(SECOND).receiver_of(ssrc).unwrap();
    assert!(late.decoder().played() > 0);
    // Those who were there see no interruption.
    let first = sim.peer(SUBSCRIBER).receiver_of(ssrc).unwrap();
    assert!(first.decoder().longest_freeze() < 150 * MS);
}

#[test]
fn the_end_of_a_track_ends_its_subscriptions_on_every_shard() {
    let mut sim = two_shards(SimConfig::new(5));
    sim.publish(PUBLISHER);
    sim.subscribe(SUBSCRIBER, PUBLISHER);
    sim.run_until(Time::from_millis(2_000));
    assert_eq!(sim.shard(1).counters().consumers, 2);

    let video = track(PUBLISHER, MediaKind::Video);
    sim.command(0, Command::RemoveProducer { track: video });
    sim.run_for(200 * MS);
    assert_eq!(sim.shard(1).counters().consumers, 1);
    assert_eq!(sim.peer(SUBSCRIBER).stats().byes, 1);

    sim.close(PUBLISHER);
    sim.run_for(200 * MS);
    assert_eq!(sim.shard(1).counters().consumers, 0);
    let stopped = copies(&sim);
    sim.run_for(1_000 * MS);
    assert_eq!(copies(&sim), stopped);
}

#[test]
fn copies_end_with_the_last_subscriber() {
    let mut sim = two_shards(SimConfig::new(6));
    sim.publish(PUBLISHER);
    sim.subscribe(SUBSCRIBER, PUBLISHER);
    sim.subscribe(SECOND, PUBLISHER);
    sim.run_until(Time::from_millis(2_000));
    sim.unsubscribe(SUBSCRIBER, PUBLISHER);
    sim.run_for(100 * MS);
    let with_one = copies(&sim);
    sim.run_for(500 * MS);
    assert!(copies(&sim) > with_one);

    // A transport that ends gives up its subscriptions.
    sim.close(SECOND);
    sim.run_for(100 * MS);
    let with_none = copies(&sim);
    sim.run_for(500 * MS);
    assert_eq!(copies(&sim), with_none);

    sim.subscribe(SUBSCRIBER, PUBLISHER);
    sim.run_for(500 * MS);
    assert!(copies(&sim) > with_none, "and begin again");
}

#[test]
fn a_refused_subscription_keeps_no_copies_coming() {
    let mut sim = two_shards(SimConfig::new(7));
    sim.publish(PUBLISHER);
    let transport = sim.peer(SUBSCRIBER).config().transport;
    let kind = MediaKind::Video;
    let mut config = consumer_config(SUBSCRIBER, PUBLISHER, kind);
    config.codecs = vec![schalter_testkit::OPUS];
    let command = Command::AddConsumer {
        transport,
        track: track(PUBLISHER, kind),
        producer_shard: ShardId(0),
        config,
    };
    sim.run_until(Time::from_millis(500));
    sim.command(1, command);
    sim.run_for(100 * MS);
    let refused = sim.events().iter().any(|(_, _, event)| {
        matches!(
            event,
            Event::Refused {
                reason: Refusal::NoCommonCodec,
                ..
            }
        )
    });
    assert!(refused);
    let stopped = copies(&sim);
    sim.run_for(500 * MS);
    assert_eq!(copies(&sim), stopped);
}

#[test]
fn a_track_that_nobody_wants_any_more_is_sent_back() {
    let config = ShardConfig::new(
        ShardId(1),
        Instant::now(),
        WallClock::new(0),
        1,
        schalter_testkit::identity(),
    );
    let mut shard = Shard::new(config);
    let announced = |track| PeerMessage::Producer {
        track,
        config: Box::new(producer_config(PUBLISHER, MediaKind::Video)),
    };
    shard.on_peer(Time::ZERO, ShardId(0), announced(TrackId(7)));
    let unsubscribe = PeerMessage::Unsubscribe { track: TrackId(7) };
    assert_eq!(shard.poll_peer(), Some((ShardId(0), unsubscribe)));
    assert_eq!(shard.poll_peer(), None);
    assert!(shard.poll_event().is_none());
}

#[test]
fn subscribing_and_leaving_in_any_haste_leaves_no_copies_behind() {
    for_each_seed(5, |seed| {
        let mut sim = two_shards(SimConfig {
            mailbox: MailboxConfig {
                delay: 20 * MS,
                ..MailboxConfig::default()
            },
            ..SimConfig::new(seed)
        });
        sim.publish(PUBLISHER);
        sim.run_until(Time::from_millis(500));
        let mut random = schalter_testkit::Random::new(seed);
        for _ in 0..40 {
            match random.below(4) {
                0 | 1 => sim.subscribe(SUBSCRIBER, PUBLISHER),
                2 => sim.unsubscribe(SUBSCRIBER, PUBLISHER),
                _ => {
                    let video = track(PUBLISHER, MediaKind::Video);
                    sim.command(0, Command::RemoveProducer { track: video });
                    sim.run_for(random.span(15 * MS));
                    sim.add_producer(PUBLISHER, MediaKind::Video);
                }
            }
            sim.run_for(random.span(30 * MS));
        }
        sim.unsubscribe(SUBSCRIBER, PUBLISHER);
        sim.run_for(200 * MS);
        let stopped = copies(&sim);
        sim.run_for(300 * MS);
        assert_eq!(copies(&sim), stopped);
        assert_eq!(sim.shard(1).counters().consumers, 0);
        sim.subscribe(SUBSCRIBER, PUBLISHER);
        sim.run_for(1_000 * MS);
        assert_eq!(sim.shard(1).counters().consumers, 2);
        assert!(copies(&sim) > stopped);
    });
}

#[test]
fn lost_copies_cost_pictures_but_never_the_stream() {
    for_each_seed(3, |seed| {
        let mut sim = two_shards(SimConfig {
            mailbox: MailboxConfig {
                loss: 0.02,
                ..MailboxConfig::default()
            },
            ..SimConfig::new(seed)
        });
        sim.publish(PUBLISHER);
        sim.subscribe(SUBSCRIBER, PUBLISHER);
        sim.run_until(Time::from_millis(10_000));
        assert!(sim.mailbox_mut().lost() > 0);
        for kind in BOTH {
            let (came, expected) = delivered(&sim, SUBSCRIBER, kind, Time::from_millis(9_900));
            assert!(came * 100 >= expected * 93, "{came} of {expected}");
        }
        let ssrc = source(PUBLISHER, MediaKind::Video).ssrc;
        let receiver = sim.peer(SUBSCRIBER).receiver_of(ssrc).unwrap();
        let freeze = receiver.decoder().longest_freeze();
        assert!(freeze < 4_000 * MS, "{freeze:?}");
        assert!(sim.now() - receiver.decoder().progressed().unwrap() < 4_000 * MS);
        // Without a way to ask the other shard again, a keyframe is the repair.
        let video = delivered(&sim, SUBSCRIBER, MediaKind::Video, Time::from_millis(9_000));
        assert!(video.0 == video.1 || receiver.stats().plis > 0);
    });
}

#[test]
fn a_full_mailbox_loses_packets_and_recovers() {
    let mailbox = MailboxConfig {
        delay: 5 * MS,
        capacity: 1_024,
        ..MailboxConfig::default()
    };
    let mut sim = two_shards(SimConfig {
        mailbox,
        ..SimConfig::new(8)
    });
    sim.publish(PUBLISHER);
    sim.subscribe(SUBSCRIBER, PUBLISHER);
    sim.run_until(Time::from_millis(1_000));
    sim.mailbox_mut().set_config(MailboxConfig {
        capacity: 0,
        ..mailbox
    });
    sim.run_for(1_000 * MS);
    assert!(sim.mailbox_mut().lost() > 50);
    sim.mailbox_mut().set_config(mailbox);
    sim.run_for(2_000 * MS);
    let ssrc = source(PUBLISHER, MediaKind::Video).ssrc;
    let receiver = sim.peer(SUBSCRIBER).receiver_of(ssrc).unwrap();
    assert!(sim.now() - receiver.decoder().progressed().unwrap() < 200 * MS);
    assert!(!receiver.decoder().is_stuck());
    assert_eq!(sim.shard(1).counters().drops.of(DropReason::SendFailed), 0);
}
