//! Whole conferences in virtual time, by seed. `SCHALTER_SEEDS=n` tries n seeds, `--long` 2,000; any other word on the
//! command line picks the claims whose names have it.

#![expect(
    clippy::print_stdout,
    reason = "a test binary without the standard harness reports by itself"
)]

use std::time::{Duration, Instant};

use schalter_model::{DropReason, SrtpProfile, Time};
use schalter_shard::control::{Event, TransportState};
use schalter_testkit::conference::{BOTH, source};
use schalter_testkit::{LinkConfig, Sim, SimConfig, for_each_seed};

const MS: Duration = Duration::from_millis(1);

fn main() {
    let claims: [(&str, fn()); 2] = [
        (
            "a_hundred_peers_get_what_they_subscribed_to_over_lossy_links",
            a_hundred_peers_get_what_they_subscribed_to_over_lossy_links,
        ),
        (
            "one_seed_replays_every_output_and_another_does_not",
            one_seed_replays_every_output_and_another_does_not,
        ),
    ];
    let mut arguments = std::env::args().skip(1).collect::<Vec<_>>();
    if arguments.iter().any(|argument| argument == "--list") {
        for (name, _) in claims {
            println!("{name}: test");
        }
        return;
    }
    arguments.retain(|argument| !argument.starts_with('-') && argument.parse::<u64>().is_err());
    for (name, claim) in claims {
        if arguments.is_empty() || arguments.iter().any(|word| name.contains(word.as_str())) {
            let begun = Instant::now();
            claim();
            println!("test {name} ... ok ({:.1?})", begun.elapsed());
        }
    }
}

/// 5 % of loss each way, some packets late and some twice.
fn lossy() -> LinkConfig {
    LinkConfig {
        delay: 15 * MS,
        jitter: 5 * MS,
        loss: 0.05,
        reorder: 0.02,
        reorder_by: 15 * MS,
        duplicate: 0.01,
        ..LinkConfig::default()
    }
}

/// Rooms whose members all publish and watch the next two; the shards take turns in getting members.
fn conference(seed: u64, shards: u8, rooms: usize, members: usize) -> Sim {
    let profile = SrtpProfile::ALL[seed as usize % SrtpProfile::ALL.len()];
    let mut sim = Sim::new(SimConfig {
        profile,
        shards,
        ..SimConfig::new(seed)
    });
    for member in 0..rooms * members {
        let peer = sim.add_peer(member % usize::from(shards), lossy(), lossy());
        sim.publish(peer);
    }
    for (subscriber, publisher) in watching(rooms, members) {
        sim.subscribe(subscriber, publisher);
    }
    sim
}

/// Subscriber and publisher.
fn watching(rooms: usize, members: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rooms).flat_map(move |room| {
        (0..members).flat_map(move |member| {
            (1..=2).map(move |next| {
                (
                    room * members + member,
                    room * members + (member + next) % members,
                )
            })
        })
    })
}

fn a_hundred_peers_get_what_they_subscribed_to_over_lossy_links() {
    const ROOMS: usize = 10;
    const MEMBERS: usize = 10;
    let measured_until = Time::from_millis(10_000);
    for_each_seed(3, |seed| {
        let mut sim = conference(seed, 1, ROOMS, MEMBERS);
        // The last losses are seen by what comes after them.
        sim.run_until(measured_until + 1_800 * MS);

        let connected = sim.events().iter().filter(|(_, _, event)| {
            matches!(
                event,
                Event::TransportState {
                    state: TransportState::Connected { .. },
                    ..
                }
            )
        });
        assert_eq!(connected.count(), ROOMS * MEMBERS);
        let mut recovered = 0;
        for (subscriber, sim_peer) in sim.peers().iter().enumerate() {
            let (mut came, mut expected) = (0, 0);
            for (_, publisher) in watching(ROOMS, MEMBERS).filter(|(who, _)| *who == subscriber) {
                for kind in BOTH {
                    let source = source(publisher, kind);
                    let of = |sim_peer: &schalter_testkit::SimPeer| {
                        let all = sim_peer.sources().iter();
                        let one = all.filter(|other| other.config().ssrc == source.ssrc);
                        one.map(|one| one.sent_before(measured_until)).sum::<u64>()
                    };
                    let receiver = sim_peer.receiver_of(source.ssrc).expect("subscribed");
                    let stats = receiver.stats();
                    let (part, whole) = receiver.delivered_before(of(sim.peer(publisher)));
                    assert!(
                        whole > 100,
                        "{kind:?} of {publisher} at {subscriber} began late: {whole}"
                    );
                    assert_eq!(stats.foreign, 0, "{kind:?} of {publisher} at {subscriber}");
                    assert_eq!(
                        stats.displaced, 0,
                        "{kind:?} of {publisher} at {subscriber}"
                    );
                    came += part;
                    expected += whole;
                    recovered += stats.recovered;
                }
            }
            let stats = sim_peer.stats();
            assert_eq!((stats.foreign, stats.broken), (0, 0), "at {subscriber}");
            let share = came as f64 / expected as f64;
            assert!(
                share >= 0.999,
                "subscriber {subscriber} got {came} of {expected}"
            );
        }
        let counters = sim.shard(0).counters();
        assert!(
            recovered > 1_000,
            "retransmissions did their part: {recovered}"
        );
        assert!(counters.rtx_in > 1_000, "{}", counters.rtx_in);
        for reason in [
            DropReason::SrtpAuth,
            DropReason::RtpUnknownSsrc,
            DropReason::RtpMalformed,
            DropReason::RtcpMalformed,
            DropReason::EgressFull,
            DropReason::SendFailed,
        ] {
            assert_eq!(counters.drops.of(reason), 0, "{reason:?}");
        }
    });
}

fn one_seed_replays_every_output_and_another_does_not() {
    for_each_seed(5, |seed| {
        let run = |seed| {
            let mut sim = conference(seed, 2, 2, 4);
            sim.run_until(Time::from_millis(2_000));
            sim.net_mut()
                .outage(Sim::peer_address(1, 0), Time::from_millis(2_400));
            sim.move_peer(2, Sim::peer_address(2, 1), lossy(), lossy());
            sim.run_until(Time::from_millis(3_000));
            sim.unsubscribe(0, 1);
            sim.close(3);
            sim.run_until(Time::from_millis(4_000));
            assert!(sim.shard(1).counters().envelopes_in > 100);
            sim.digest()
        };
        let first = run(seed);
        assert!(first.0 > 2_000, "{first:?}");
        assert_eq!(first, run(seed));
        assert_ne!(first, run(seed + 1_000_003));
    });
}
