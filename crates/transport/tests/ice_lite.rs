//! What a lite agent answers, which path it selects, and when it gives up.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod ice_peer;

use std::time::Duration;

use ice_peer::{Check, NOMINATION, PLAIN, Pair, REMOTE, answer, at, local, path, secret};
use schalter_model::{DropReason, Time};
use schalter_transport::RemoteIce;
use schalter_transport::ice::{IceEvent, IceFailure, IceLimits, IceLite};
use schalter_transport::stun::{
    BINDING, IntegrityKey, StunClass, StunMessage, StunWriter, TransactionId, attribute,
};

#[test]
fn the_first_valid_path_is_used_until_one_is_nominated() {
    let mut pair = Pair::new();
    assert_eq!(pair.agent.selected(), None);
    pair.check(at(10), path(1), PLAIN);
    assert_eq!(pair.events(), [IceEvent::Connected(path(1))]);
    pair.check(at(20), path(2), PLAIN);
    assert_eq!(pair.agent.selected(), Some(path(1)));
    assert!(pair.agent.is_validated(&path(2)));
    pair.check(at(30), path(2), NOMINATION);
    assert_eq!(pair.events(), [IceEvent::PathChanged(path(2))]);
    assert_eq!(pair.agent.selected(), Some(path(2)));
}

#[test]
fn a_client_that_moves_is_followed_at_once() {
    let mut pair = Pair::new();
    pair.check(
        at(0),
        path(1),
        Check {
            priority: 900,
            ..NOMINATION
        },
    );
    pair.check(
        at(100),
        path(2),
        Check {
            priority: 10,
            ..NOMINATION
        },
    );
    assert_eq!(
        pair.events(),
        [IceEvent::Connected(path(1)), IceEvent::PathChanged(path(2))]
    );
    assert!(
        pair.agent.is_validated(&path(1)),
        "late media may still come"
    );
}

#[test]
fn an_agent_that_nominates_every_pair_ends_up_on_its_best() {
    let mut pair = Pair::new();
    let (high, low) = (
        Check {
            priority: 900,
            ..NOMINATION
        },
        Check {
            priority: 10,
            ..NOMINATION
        },
    );
    for round in 0..5 {
        pair.check(at(round * 100), path(1), high);
        pair.check(at(round * 100 + 50), path(2), low);
    }
    assert_eq!(pair.agent.selected(), Some(path(1)));
    assert!(pair.events().len() <= 3, "no flapping");
    // When it gives up the better pair, the other one is taken.
    pair.check(at(2_000), path(2), low);
    assert_eq!(pair.agent.selected(), Some(path(2)));
}

#[test]
fn a_path_that_is_checked_without_nomination_gives_way_at_once() {
    let mut pair = Pair::new();
    let high = Check {
        priority: 900,
        ..NOMINATION
    };
    pair.check(at(0), path(2), NOMINATION);
    pair.check(at(10), path(1), high);
    pair.check(
        at(20),
        path(1),
        Check {
            priority: 900,
            ..PLAIN
        },
    );
    pair.check(at(30), path(2), NOMINATION);
    assert_eq!(pair.agent.selected(), Some(path(2)));
}

#[test]
fn a_forged_check_gets_no_answer_and_changes_nothing() {
    let mut pair = Pair::new();
    let mut forged = pair.ice.clone();
    forged.password = "guess".into();
    let datagram = pair.request(&forged, NOMINATION);
    assert_eq!(
        pair.deliver(at(1), path(1), &datagram),
        Err(DropReason::StunIntegrity)
    );
    let stranger = pair.request(&local(99), NOMINATION);
    assert_eq!(
        pair.deliver(at(1), path(1), &stranger),
        Err(DropReason::StunUnknownUser)
    );
    assert_eq!(pair.agent.selected(), None);
    assert!(!pair.agent.is_validated(&path(1)));
    assert_eq!(pair.events(), []);
    assert_eq!(pair.agent.next_timeout(), Some(at(30_000)));
}

#[test]
fn a_check_sent_again_from_elsewhere_does_not_move_the_path() {
    let mut pair = Pair::new();
    let ice = pair.ice.clone();
    let datagram = pair.request(&ice, NOMINATION);
    pair.deliver(at(1), path(1), &datagram).unwrap();
    assert!(
        pair.deliver(at(2), path(1), &datagram).is_ok(),
        "a retransmission is answered"
    );
    assert_eq!(
        pair.deliver(at(3), path(66), &datagram),
        Err(DropReason::StunIntegrity)
    );
    assert_eq!(pair.agent.selected(), Some(path(1)));
    assert!(!pair.agent.is_validated(&path(66)));
}

#[test]
fn another_users_check_is_refused_once_the_peer_is_known() {
    let mut pair = Pair::new();
    let ice = pair.ice.clone();
    let datagram = pair.request(
        &ice,
        Check {
            remote: "other",
            ..NOMINATION
        },
    );
    assert_eq!(
        pair.deliver(at(1), path(1), &datagram),
        Err(DropReason::StunUnknownUser)
    );
}

#[test]
fn checks_that_overtake_the_description_are_answered() {
    let ice = local(1);
    let mut pair = Pair::new();
    pair.agent = IceLite::new(Time::ZERO, &ice, secret(), IceLimits::default());
    pair.check(at(1), path(1), NOMINATION);
    assert_eq!(pair.agent.selected(), Some(path(1)));
}

#[test]
fn a_peer_that_claims_the_controlled_role_is_told_to_switch() {
    let mut pair = Pair::new();
    let ice = pair.ice.clone();
    let datagram = pair.request(
        &ice,
        Check {
            extra: &[attribute::ICE_CONTROLLED],
            ..NOMINATION
        },
    );
    let response = pair.deliver(at(1), path(1), &datagram).unwrap();
    let message = StunMessage::parse(response).unwrap();
    assert_eq!(
        (message.class(), message.error_code()),
        (StunClass::Error, Some(487))
    );
    assert!(message.verify_integrity(&IntegrityKey::new(ice.password.as_bytes())));
    assert_eq!(pair.agent.selected(), None);
    assert!(!pair.agent.is_validated(&path(1)));
}

#[test]
fn attributes_that_must_be_understood_are_listed_in_a_420() {
    let mut pair = Pair::new();
    let ice = pair.ice.clone();
    let extra: Vec<u16> = (0x7000..0x7010)
        .chain([0xC057, attribute::ICE_CONTROLLING])
        .collect();
    let datagram = pair.request(
        &ice,
        Check {
            extra: &extra,
            ..NOMINATION
        },
    );
    let response = pair.deliver(at(1), path(1), &datagram).unwrap();
    let message = StunMessage::parse(response).unwrap();
    assert_eq!(message.error_code(), Some(420));
    let listed = message.attribute(attribute::UNKNOWN_ATTRIBUTES).unwrap();
    assert_eq!(listed[..4], [0x70, 0x00, 0x70, 0x01]);
    assert_eq!(listed.len(), 16);
    assert_eq!(pair.agent.selected(), None);
    // Optional ones alone do no harm.
    pair.check(
        at(2),
        path(1),
        Check {
            extra: &[0xC057, 0x802A],
            ..NOMINATION
        },
    );
}

#[test]
fn a_restart_keeps_the_path_until_the_new_generation_nominates() {
    let mut pair = Pair::new();
    let old = pair.ice.clone();
    let new = local(2);
    pair.check(at(0), path(1), NOMINATION);
    pair.agent.restart(&new);
    assert_eq!(pair.agent.selected(), Some(path(1)));
    pair.check_as(at(10), path(1), &old, NOMINATION);
    pair.agent.set_remote(RemoteIce {
        ufrag: "again".into(),
        password: "the-password-after-the-restart".into(),
    });
    let again = Check {
        remote: "again",
        ..PLAIN
    };
    pair.check_as(at(20), path(2), &new, again);
    assert_eq!(pair.agent.selected(), Some(path(1)));
    assert!(pair.agent.serves(&old.ufrag));
    pair.check_as(at(25), path(1), &old, NOMINATION);
    pair.check_as(
        at(30),
        path(2),
        &new,
        Check {
            nominates: true,
            ..again
        },
    );
    assert_eq!(pair.agent.selected(), Some(path(2)));
    assert!(!pair.agent.serves(&old.ufrag));
    let late = pair.request(&old, NOMINATION);
    assert_eq!(
        pair.deliver(at(40), path(1), &late),
        Err(DropReason::StunUnknownUser)
    );
}

#[test]
fn a_restart_after_silence_follows_the_first_check() {
    for (silent_ms, followed) in [(999, false), (1_000, true)] {
        let mut pair = Pair::new();
        let old = pair.ice.clone();
        let new = local(2);
        pair.check(at(0), path(1), NOMINATION);
        pair.agent.on_traffic(at(40));
        pair.agent.restart(&new);
        pair.check_as(at(40 + silent_ms), path(2), &new, PLAIN);
        let expected = if followed { path(2) } else { path(1) };
        assert_eq!(pair.agent.selected(), Some(expected), "{silent_ms} ms");
        // Not nominated: the old credentials still work, and the peer's own choice comes at once.
        assert!(pair.agent.serves(&old.ufrag));
        pair.check_as(at(1_100), path(3), &new, NOMINATION);
        assert_eq!(pair.agent.selected(), Some(path(3)));
    }
}

#[test]
fn silence_alone_moves_nothing_without_a_restart() {
    let mut pair = Pair::new();
    pair.check(at(0), path(1), NOMINATION);
    pair.check(at(2_000), path(2), PLAIN);
    assert_eq!(pair.agent.selected(), Some(path(1)));
}

#[test]
fn two_restarts_in_a_row_keep_the_generation_that_works() {
    let mut pair = Pair::new();
    let old = pair.ice.clone();
    pair.check(at(0), path(1), NOMINATION);
    pair.agent.restart(&local(2));
    pair.agent.restart(&local(3));
    pair.check_as(at(10), path(1), &old, PLAIN);
    assert!(!pair.agent.serves(&local(2).ufrag));
    pair.check_as(at(20), path(1), &local(3), NOMINATION);
    assert!(!pair.agent.serves(&old.ufrag));
}

#[test]
fn silence_disconnects_then_fails_and_a_check_in_between_reconnects() {
    let mut pair = Pair::new();
    pair.check(at(0), path(1), NOMINATION);
    pair.run_until(at(10_000));
    pair.check(at(10_000), path(1), NOMINATION);
    pair.run_until(at(39_999));
    assert_eq!(
        pair.events(),
        [
            IceEvent::Connected(path(1)),
            IceEvent::Disconnected,
            IceEvent::Reconnected,
            IceEvent::Disconnected,
        ]
    );
    pair.run_until(at(40_000));
    assert_eq!(pair.events(), [IceEvent::Failed(IceFailure::ConsentLost)]);
    assert_eq!(pair.agent.next_timeout(), None);
    let ice = pair.ice.clone();
    let datagram = pair.request(&ice, NOMINATION);
    assert_eq!(
        pair.deliver(at(41_000), path(1), &datagram),
        Err(DropReason::StunUnknownUser)
    );
}

#[test]
fn a_transport_that_nobody_checks_fails() {
    let mut pair = Pair::new();
    pair.run_until(at(29_999));
    assert_eq!(pair.events(), []);
    pair.run_until(at(30_000));
    assert_eq!(
        pair.events(),
        [IceEvent::Failed(IceFailure::NeverConnected)]
    );
}

#[test]
fn media_shows_that_the_peer_is_there_but_renews_no_consent() {
    let mut pair = Pair::new();
    pair.check(at(0), path(1), NOMINATION);
    for second in 1..30 {
        pair.run_until(at(second * 1_000));
        pair.agent.on_traffic(at(second * 1_000));
    }
    assert_eq!(pair.events(), [IceEvent::Connected(path(1))]);
    pair.run_until(at(30_000));
    assert_eq!(pair.events(), [IceEvent::Failed(IceFailure::ConsentLost)]);
}

#[test]
fn a_silent_path_is_left_for_one_that_is_checked() {
    let mut pair = Pair::new();
    pair.check(at(0), path(1), NOMINATION);
    for second in 1..=7 {
        pair.check(at(second * 1_000), path(2), PLAIN);
    }
    assert_eq!(pair.agent.selected(), Some(path(2)));
}

#[test]
fn answers_are_limited_per_second() {
    let mut pair = Pair::with_limits(IceLimits {
        max_responses_per_second: 3,
        ..IceLimits::default()
    });
    let ice = pair.ice.clone();
    for second in 0..3 {
        let mut answered = 0;
        for _ in 0..10 {
            let datagram = pair.request(&ice, PLAIN);
            match pair.deliver(at(second * 1_000), path(1), &datagram) {
                Ok(_) => answered += 1,
                Err(reason) => assert_eq!(reason, DropReason::StunRateLimited),
            }
        }
        assert_eq!(answered, 3);
    }
}

#[test]
fn the_list_of_paths_is_bounded_and_keeps_the_selected_one() {
    let mut pair = Pair::with_limits(IceLimits {
        max_responses_per_second: 1_000,
        ..IceLimits::default()
    });
    pair.check(at(0), path(1), NOMINATION);
    for last in 2..=100 {
        pair.check(at(last.into()), path(last), PLAIN);
    }
    assert_eq!(pair.agent.selected(), Some(path(1)));
    assert!(pair.agent.is_validated(&path(1)));
    let validated = (0..=255).filter(|last| pair.agent.is_validated(&path(*last)));
    assert_eq!(validated.count(), 8);
    assert!(pair.agent.is_validated(&path(100)), "the newest stays");
}

#[test]
fn indications_and_other_methods_are_no_checks() {
    let mut pair = Pair::new();
    let mut out = [0; 100];
    for (class, method, expected) in [
        (StunClass::Indication, BINDING, Ok(0)),
        (StunClass::Request, 0x003, Err(DropReason::StunUnsupported)),
        (
            StunClass::Success,
            BINDING,
            Err(DropReason::StunUnknownTransaction),
        ),
    ] {
        let id = TransactionId([9; 12]);
        let writer = StunWriter::new(&mut out, class, method, id).unwrap();
        let len = writer.fingerprint().unwrap();
        let result = pair.deliver(at(1), path(1), &out[..len]).map(<[u8]>::len);
        assert_eq!(result, expected);
    }
    let ice = pair.ice.clone();
    let mut broken = pair.request(&ice, PLAIN);
    *broken.last_mut().unwrap() ^= 1;
    assert_eq!(
        pair.deliver(at(1), path(1), &broken),
        Err(DropReason::StunMalformed)
    );
    assert!(!pair.agent.is_validated(&path(1)));
}

#[test]
fn passwords_do_not_show_in_debug_output() {
    let pair = Pair::new();
    let shown = format!("{:?}", pair.agent);
    assert!(!shown.contains("password-of"), "{shown}");
    assert!(shown.contains(&pair.ice.ufrag.to_string()) && shown.contains(REMOTE));
}

#[derive(Clone, Debug)]
enum Op {
    Check {
        path: u8,
        nominates: bool,
        generation: u8,
        priority: u32,
    },
    Restart,
    Traffic,
    /// Media from a path, and whether what is asked then is answered.
    Media {
        path: u8,
        answers: bool,
    },
    Wait(u64),
}

fn ops() -> impl proptest::strategy::Strategy<Value = Vec<Op>> {
    use proptest::prelude::*;
    let check = (0..12_u8, any::<bool>(), 0..4_u8, 0..4_u32).prop_map(
        |(path, nominates, generation, priority)| Op::Check {
            path,
            nominates,
            generation,
            priority,
        },
    );
    let op = prop_oneof![
        8 => check,
        1 => Just(Op::Restart),
        1 => Just(Op::Traffic),
        4 => (0..12_u8, any::<bool>()).prop_map(|(path, answers)| Op::Media { path, answers }),
        3 => (0..9_000_u64).prop_map(Op::Wait),
    ];
    proptest::collection::vec(op, 1..80)
}

proptest::proptest! {
    /// Whatever the peer does: the events tell the selected path, it is validated, and the last word is `Failed`.
    #[test]
    fn events_always_agree_with_the_state(ops in ops()) {
        let mut pair = Pair::new();
        let mut generations = vec![pair.ice.clone()];
        let mut now = at(0);
        let mut told = None;
        let mut failed = false;
        let mut disconnected = false;
        let mut questions: Vec<(Time, schalter_model::Path)> = Vec::new();
        for op in ops {
            match op {
                Op::Check { path: last, nominates, generation, priority } => {
                    let ice = generations[usize::from(generation) % generations.len()].clone();
                    let datagram = pair.request(&ice, Check { nominates, priority, ..PLAIN });
                    let _ = pair.deliver(now, path(last), &datagram);
                }
                Op::Restart => {
                    let ice = local(generations.len() as u64 + 1);
                    pair.agent.restart(&ice);
                    generations.push(ice);
                }
                Op::Traffic => pair.agent.on_traffic(now),
                Op::Media { path: last, answers } => {
                    pair.agent.on_media(now, &path(last));
                    let mut out = [0; 200];
                    while let Some((target, len)) = pair.agent.write_challenge(now, &mut out) {
                        assert!(!failed && told.is_some());
                        assert_ne!(Some(target), told, "the path in use is not asked");
                        let asked = questions.iter().filter(|(at, to)| *to == target && now < *at + Duration::from_secs(10));
                        assert!(asked.count() < 3, "{target:?} is bothered");
                        questions.push((now, target));
                        if answers {
                            pair.deliver(now, target, &answer(&out[..len])).unwrap();
                            assert!(pair.agent.is_validated(&target));
                        }
                    }
                }
                Op::Wait(millis) => {
                    now += Duration::from_millis(millis);
                    pair.run_until(now);
                }
            }
            for event in pair.events() {
                assert!(!failed, "{event:?} after the end");
                match event {
                    IceEvent::Connected(path) => {
                        assert!(told.replace(path).is_none());
                    }
                    IceEvent::PathChanged(path) => {
                        assert_ne!(told.replace(path), None);
                    }
                    IceEvent::Disconnected => assert!(!std::mem::replace(&mut disconnected, true)),
                    IceEvent::Reconnected => assert!(std::mem::replace(&mut disconnected, false)),
                    IceEvent::Failed(_) => failed = true,
                }
            }
            assert_eq!(pair.agent.selected(), told);
            assert!(told.is_none_or(|path| pair.agent.is_validated(&path)));
            assert_eq!(pair.agent.next_timeout().is_none(), failed);
        }
    }
}
