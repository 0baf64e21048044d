//! Media that was seen before, cut, changed or made up.

use std::time::Duration;

use schalter_forward::Rank;
use schalter_model::{DropReason, MediaKind, ShardId, Time};
use schalter_shard::control::Command;
use schalter_testkit::conference::{BOTH, consumer_config, producer_config, source, track};
use schalter_testkit::{LinkConfig, Random, Sim, SimConfig, SourceConfig, for_each_seed};

const MS: Duration = Duration::from_millis(1);

fn clean() -> LinkConfig {
    LinkConfig::clean(10 * MS)
}

/// A publisher (0) and a subscriber (1) who has been watching for two seconds.
fn call(seed: u64) -> Sim {
    call_over(seed, clean())
}

/// The same, the publisher being behind this link.
fn call_over(seed: u64, up: LinkConfig) -> Sim {
    let mut sim = Sim::new(SimConfig::new(seed));
    let (publisher, subscriber) = (
        sim.add_peer(0, up, clean()),
        sim.add_peer(0, clean(), clean()),
    );
    sim.publish(publisher);
    sim.subscribe(subscriber, publisher);
    let address = sim.peer(publisher).config().address;
    sim.net_mut().record(address);
    sim.run_until(Time::from_millis(2_000));
    sim
}

/// Everything that was published came, in order and once.
fn assert_unharmed(sim: &Sim) {
    for kind in BOTH {
        let ssrc = source(0, kind).ssrc;
        let mut sources = sim.peer(0).sources().iter();
        let sent = sources
            .find(|s| s.config().ssrc == ssrc)
            .expect("published");
        let sent = sent.sent_before(Time::from_nanos(sim.now().as_nanos() - 600_000_000));
        let receiver = sim.peer(1).receiver_of(ssrc).expect("subscribed");
        let (came, expected) = receiver.delivered_before(sent);
        assert!(
            expected > 50 && came == expected,
            "{kind:?}: {came} of {expected}"
        );
        let stats = receiver.stats();
        let harm = [
            stats.duplicates,
            stats.foreign,
            stats.displaced,
            stats.reordered,
        ];
        assert_eq!(harm, [0; 4], "{kind:?}");
        assert!(stats.longest_gap < 150 * MS, "{kind:?}: {stats:?}");
    }
}

#[test]
fn replayed_packets_are_counted_and_change_nothing() {
    let mut sim = call(1);
    let address = sim.peer(0).config().address;
    let recorded = sim.net_mut().take_recorded();
    let media: Vec<_> = recorded.iter().filter(|d| d[0] >= 128).collect();
    assert!(media.len() > 100);
    for datagram in &media {
        sim.inject(0, address, datagram);
    }
    let replays = sim.shard(0).counters().drops.of(DropReason::SrtpReplay);
    // The last ones were recorded under way: there the copy came first, and the original was the replay.
    assert!(
        replays + 10 > media.len() as u64,
        "{replays} of {}",
        media.len()
    );
    sim.run_for(2_000 * MS);
    let replays = sim.shard(0).counters().drops.of(DropReason::SrtpReplay);
    assert_eq!(replays, media.len() as u64);
    assert_unharmed(&sim);
}

#[test]
fn changed_and_cut_packets_are_counted_and_change_nothing() {
    for_each_seed(3, |seed| {
        // So far away that the forgeries overtake what they are made from.
        let mut sim = call_over(seed, LinkConfig::clean(400 * MS));
        let mut random = Random::new(seed);
        let address = sim.peer(0).config().address;
        let recorded = sim.net_mut().take_recorded();
        let before = sim.shard(0).counters();
        let mut tried = 0;
        for datagram in recorded.iter().rev().take(20).filter(|d| d[0] >= 128) {
            for _ in 0..20 {
                let mut changed = datagram.clone();
                let at = random.below(changed.len() as u64) as usize;
                changed[at] ^= 1 << random.below(8);
                sim.inject(0, address, &changed);
            }
            for len in 0..datagram.len() {
                sim.inject(0, address, &datagram[..len]);
            }
            tried += 20 + datagram.len() as u64;
        }
        assert!(tried > 1_500, "{tried}");
        let after = sim.shard(0).counters();
        assert_eq!(after.drops.total() - before.drops.total(), tried);
        assert_eq!(after.rtp_in, before.rtp_in);
        let drops: Vec<_> = after.drops.iter().filter(|(_, n)| *n > 0).collect();
        assert!(after.drops.of(DropReason::SrtpAuth) > 1_000, "{drops:?}");
        assert!(after.drops.of(DropReason::SrtpTruncated) > 100);
        sim.run_for(2_000 * MS);
        assert_unharmed(&sim);
    });
}

#[test]
fn ten_thousand_random_datagrams_do_no_harm() {
    for_each_seed(2, |seed| {
        let mut sim = call(seed);
        let mut random = Random::new(seed);
        let known = sim.peer(0).config().address;
        let recorded = sim.net_mut().take_recorded();
        for n in 0..10_000_u32 {
            let mut datagram = vec![0; random.below(300) as usize];
            random.fill(&mut datagram);
            // Half of them begin like a protocol, a quarter like a real datagram.
            match (n % 4, datagram.first_mut()) {
                (0, Some(first)) => *first = [0, 1, 22, 23, 128, 144][random.below(6) as usize],
                (1, Some(_)) => {
                    let model = &recorded[random.below(recorded.len() as u64) as usize];
                    let len = random.below(model.len().min(datagram.len()) as u64) as usize;
                    datagram[..len].copy_from_slice(&model[..len]);
                }
                _ => {}
            }
            let stranger = ([198, 51, 100, n as u8], 1_000 + (n >> 8) as u16).into();
            let from = if n % 2 == 0 { known } else { stranger };
            sim.inject(0, from, &datagram);
        }
        let counters = sim.shard(0).counters();
        assert!(counters.drops.total() > 9_000, "{}", counters.drops.total());
        assert_eq!(counters.transports.connected, 2);
        assert_eq!(sim.astray(), (0, 0), "no stranger gets an answer");
        sim.run_for(2_000 * MS);
        assert_unharmed(&sim);
    });
}

#[test]
fn a_packet_that_fits_no_buffer_is_dropped_and_others_go_on() {
    let mut sim = call(4);
    let video = MediaKind::Video;
    let ssrc = source(0, video).ssrc + 8;
    // Fits a datagram on the way in, and with the subscriber's longer mid none on the way out.
    let huge = SourceConfig {
        payload_len: 65_455,
        packets_per_frame: 1,
        ssrc,
        ..source(0, video)
    };
    let mut config = producer_config(0, video);
    config.encodings[0].ssrc = Some(ssrc);
    config.encodings[0].rtx_ssrc = Some(ssrc + 1);
    let command = Command::AddProducer {
        transport: sim.peer(0).config().transport,
        track: track(0, video),
        config,
    };
    sim.command(0, command);
    let mut config = consumer_config(1, 0, video);
    config.mid = Some("a-section-with-a-name".into());
    // More than any link is believed to carry, and all the same not paused.
    config.target.rank = Rank::SIGNING;
    let command = Command::AddConsumer {
        transport: sim.peer(1).config().transport,
        track: track(0, video),
        producer_shard: ShardId(0),
        config,
    };
    sim.command(0, command);
    sim.with_peer(0, |now, peer| {
        peer.sources_mut()[0].stop();
        peer.publish(now, huge);
    });
    sim.run_for(1_000 * MS);
    assert!(sim.shard(0).counters().drops.of(DropReason::Oversize) > 5);
    let sound = sim.peer(1).receiver_of(source(0, MediaKind::Audio).ssrc);
    let stats = sound.unwrap().stats();
    assert!(
        stats.longest_gap < 100 * MS && stats.packets > 130,
        "{stats:?}"
    );
}
