//! Who may talk to a transport, from where, and how many there may be.

use std::time::Duration;

use schalter_model::{DropReason, ShardId, Time, TransportId, Ufrag};
use schalter_shard::ShardLimits;
use schalter_shard::control::{Command, Event, Refusal, TransportState};
use schalter_testkit::conference::{BOTH, source};
use schalter_testkit::{LinkConfig, Sim, SimConfig, binding_request};
use schalter_transport::LocalIce;
use schalter_transport::stun::{
    BINDING, IntegrityKey, StunClass, StunWriter, TransactionId, attribute,
};

const MS: Duration = Duration::from_millis(1);
/// The record of a DTLS handshake, as far as a demultiplexer looks.
const DTLS: [u8; 14] = [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1];

fn clean() -> LinkConfig {
    LinkConfig::clean(10 * MS)
}

fn ice(random: u64) -> LocalIce {
    LocalIce {
        ufrag: Ufrag::new(1, ShardId(0), random),
        password: "a-password-of-two-dozen-chars".into(),
    }
}

fn check(ice: &LocalIce, password: &str, id: u8) -> Vec<u8> {
    let key = IntegrityKey::new(password.as_bytes());
    binding_request(
        &format!("{}:peer", ice.ufrag),
        &key,
        TransactionId([id; 12]),
    )
}

fn open(sim: &mut Sim, id: u64) {
    let command = Command::OpenTransport {
        transport: TransportId(id),
        ice: ice(id),
        channels: Vec::new(),
    };
    sim.command(0, command);
}

fn with_limits(limits: ShardLimits) -> Sim {
    Sim::new(SimConfig {
        limits,
        ..SimConfig::new(1)
    })
}

fn drops(sim: &Sim, reason: DropReason) -> u64 {
    sim.shard(0).counters().drops.of(reason)
}

fn refusals(sim: &Sim) -> Vec<(TransportId, Refusal)> {
    let refusal = |event: &Event| {
        let Event::Refused {
            transport, reason, ..
        } = event
        else {
            return None;
        };
        Some((*transport, *reason))
    };
    sim.events()
        .iter()
        .filter_map(|(_, _, e)| refusal(e))
        .collect()
}

#[test]
fn dtls_is_dropped_unanswered_until_a_check_succeeded_on_its_path() {
    let mut sim = Sim::new(SimConfig::new(1));
    open(&mut sim, 1);
    let (peer, neighbour) = (
        ([192, 0, 2, 1], 5_000).into(),
        ([192, 0, 2, 1], 5_001).into(),
    );
    sim.inject(0, peer, &DTLS);
    assert_eq!(drops(&sim, DropReason::DtlsBeforeIce), 1);

    sim.inject(
        0,
        peer,
        &check(&ice(1), "not-the-password-of-this-agent", 1),
    );
    assert_eq!(drops(&sim, DropReason::StunIntegrity), 1);
    sim.inject(0, peer, &DTLS);
    assert_eq!(drops(&sim, DropReason::DtlsBeforeIce), 2);
    assert_eq!(sim.astray(), (0, 0), "no byte for whoever proved nothing");

    sim.inject(0, peer, &check(&ice(1), &ice(1).password, 2));
    assert_eq!(sim.astray().0, 1, "the check is answered");
    sim.inject(0, neighbour, &DTLS);
    assert_eq!(drops(&sim, DropReason::DtlsBeforeIce), 3);
    sim.inject(0, peer, &DTLS);
    assert_eq!(drops(&sim, DropReason::DtlsBeforeIce), 3);
}

#[test]
fn wrong_integrity_is_counted_and_then_not_even_looked_at() {
    let mut sim = with_limits(ShardLimits {
        failed_checks_per_second: 5,
        ..ShardLimits::default()
    });
    let peer = sim.add_peer(0, clean(), clean());
    sim.run_until(Time::from_millis(1_100));
    assert!(sim.peer(peer).is_connected());
    let local = sim.peer(peer).config().ice.clone();
    let stranger = |n: u8| ([198, 51, 100, n], 4_000).into();
    for n in 0..5 {
        sim.inject(0, stranger(n), &check(&local, "guess", n));
    }
    assert_eq!(drops(&sim, DropReason::StunIntegrity), 5);
    assert_eq!(drops(&sim, DropReason::StunRateLimited), 0);
    for n in 5..50 {
        sim.inject(0, stranger(n), &check(&local, "guess", n));
    }
    assert_eq!(drops(&sim, DropReason::StunIntegrity), 5);
    assert_eq!(drops(&sim, DropReason::StunRateLimited), 45);

    // The peer itself is heard on its own path all the while.
    let answered = sim.peer(peer).stats().checks_answered;
    for second in 2..12 {
        sim.run_until(Time::from_millis(second * 1_000 + 5));
        for n in 0..50 {
            sim.inject(0, stranger(n), &check(&local, "guess", n));
        }
    }
    assert!(sim.peer(peer).stats().checks_answered >= answered + 3);
    assert_eq!(drops(&sim, DropReason::StunIntegrity), 5 + 10 * 5);
    assert_eq!(sim.astray(), (0, 0));
}

#[test]
fn the_number_of_transports_is_limited() {
    let mut sim = with_limits(ShardLimits {
        transports: 2,
        ..ShardLimits::default()
    });
    open(&mut sim, 1);
    open(&mut sim, 2);
    assert_eq!(refusals(&sim), []);
    open(&mut sim, 3);
    assert_eq!(refusals(&sim), [(TransportId(3), Refusal::Limit)]);
    assert_eq!(drops(&sim, DropReason::TransportLimit), 1);
    sim.command(
        0,
        Command::CloseTransport {
            transport: TransportId(1),
        },
    );
    open(&mut sim, 3);
    assert_eq!(refusals(&sim).len(), 1);
    assert_eq!(sim.shard(0).counters().transports.new, 2);
}

#[test]
fn the_number_of_half_open_transports_is_limited_and_connected_ones_do_not_count() {
    let mut sim = with_limits(ShardLimits {
        half_open_transports: 2,
        ..ShardLimits::default()
    });
    sim.add_peer(0, clean(), clean());
    sim.add_peer(0, clean(), clean());
    open(&mut sim, 103);
    assert_eq!(refusals(&sim), [(TransportId(103), Refusal::Limit)]);
    sim.run_until(Time::from_millis(200));
    assert_eq!(sim.shard(0).counters().transports.connected, 2);
    open(&mut sim, 104);
    open(&mut sim, 105);
    assert_eq!(refusals(&sim).len(), 1);
    open(&mut sim, 106);
    assert_eq!(refusals(&sim).len(), 2);
    // Who never comes makes room.
    sim.run_until(Time::from_millis(31_000));
    open(&mut sim, 107);
    open(&mut sim, 108);
    assert_eq!(refusals(&sim).len(), 2);
}

#[test]
fn what_proves_nothing_claims_no_path() {
    let mut sim = Sim::new(SimConfig::new(2));
    let (victim, attacker) = (
        sim.add_peer(0, clean(), clean()),
        sim.add_peer(0, clean(), clean()),
    );
    sim.publish(victim);
    sim.run_until(Time::from_millis(2_600));
    let (from, config) = (
        sim.peer(victim).config().address,
        sim.peer(attacker).config().clone(),
    );
    let mut indication = vec![0; 200];
    let id = TransactionId([9; 12]);
    let mut writer = StunWriter::new(&mut indication, StunClass::Indication, BINDING, id).unwrap();
    let user = format!("{}:peer", config.ice.ufrag);
    writer
        .attribute(attribute::USERNAME, user.as_bytes())
        .unwrap();
    let len = writer.finish();
    sim.inject(0, from, &indication[..len]);

    let before = sim.shard(0).counters().rtp_in;
    sim.run_for(1_000 * MS);
    assert_eq!(drops(&sim, DropReason::UnknownPeer), 0);
    assert!(sim.shard(0).counters().rtp_in > before + 60);
}

#[test]
fn a_peer_that_changes_its_address_keeps_session_and_media() {
    let mut sim = Sim::new(SimConfig::new(3));
    let (publisher, subscriber) = (
        sim.add_peer(0, clean(), clean()),
        sim.add_peer(0, clean(), clean()),
    );
    sim.publish(publisher);
    sim.subscribe(subscriber, publisher);
    sim.run_until(Time::from_millis(2_000));
    sim.move_peer(publisher, Sim::peer_address(publisher, 1), clean(), clean());
    sim.run_for(2_000 * MS);
    sim.move_peer(
        subscriber,
        Sim::peer_address(subscriber, 1),
        clean(),
        clean(),
    );
    sim.run_for(2_000 * MS);

    assert_eq!(sim.shard(0).counters().address_changes, 2);
    let states = sim.events().iter().filter(|(_, _, event)| {
        matches!(
            event,
            Event::TransportState {
                state: TransportState::Connected { .. },
                ..
            }
        )
    });
    assert_eq!(states.count(), 2, "nobody connects anew");
    for kind in BOTH {
        let receiver = sim
            .peer(subscriber)
            .receiver_of(source(publisher, kind).ssrc);
        let stats = receiver.unwrap().stats();
        assert!(stats.longest_gap < 200 * MS, "{kind:?}: {stats:?}");
        assert_eq!((stats.foreign, stats.displaced, stats.given_up), (0, 0, 0));
    }
}

#[test]
fn a_restart_answers_to_new_credentials_and_keeps_the_path() {
    let mut sim = Sim::new(SimConfig::new(4));
    let peer = sim.add_peer(0, clean(), clean());
    sim.run_until(Time::from_millis(500));
    let (transport, address) = {
        let config = sim.peer(peer).config();
        (config.transport, config.address)
    };
    let new = ice(77);
    sim.command(
        0,
        Command::RestartIce {
            transport,
            ice: new.clone(),
        },
    );
    sim.inject(0, address, &check(&new, &new.password, 1));
    assert_eq!(drops(&sim, DropReason::StunUnknownUser), 0);
    assert_eq!(drops(&sim, DropReason::StunIntegrity), 0);
    assert_eq!(sim.shard(0).counters().transports.connected, 1);
}
