//! Media from where no check came: who is asked for proof, how often, and what counts as one.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod ice_peer;

use std::time::Duration;

use ice_peer::{
    Check, NOMINATION, PLAIN, Pair, REMOTE, REMOTE_PASSWORD, answer, answer_as, at, local, path,
    secret,
};
use schalter_model::{Carrier, DropReason, Path, RelayId, StreamId, Time};
use schalter_transport::ice::{ChallengeSecret, IceEvent, IceLimits, IceLite};
use schalter_transport::stun::{
    BINDING, IntegrityKey, StunClass, StunMessage, TransactionId, attribute,
};
use schalter_transport::{LocalIce, RemoteIce};

/// Time between two packets of sound.
const PACKET: u64 = 20;

/// A peer on the first path, whose media is about to come from another.
fn connected() -> Pair {
    let mut pair = Pair::new();
    pair.check(at(0), path(1), NOMINATION);
    assert_eq!(pair.events(), [IceEvent::Connected(path(1))]);
    pair
}

fn question(pair: &mut Pair, now: Time) -> Option<(Path, Vec<u8>)> {
    let mut out = [0; 600];
    let (path, len) = pair.agent.write_challenge(now, &mut out)?;
    Some((path, out[..len].to_vec()))
}

/// The question that one packet of media from `path` makes.
fn asked(pair: &mut Pair, now: Time, path: Path) -> Vec<u8> {
    pair.agent.on_media(now, &path);
    let (target, question) = question(pair, now).unwrap();
    assert_eq!(target, path);
    question
}

/// Media from `path` every 20 ms up to `end`; answers when and where questions went.
fn flood(pair: &mut Pair, begin: u64, end: u64, paths: &[Path]) -> Vec<(u64, Path)> {
    let mut sent = Vec::new();
    for now in (begin..end).step_by(PACKET as usize) {
        for path in paths {
            pair.agent.on_media(at(now), path);
        }
        while let Some((path, _)) = question(pair, at(now)) {
            sent.push((now, path));
        }
    }
    sent
}

#[test]
fn a_path_that_answers_is_sent_to_at_once() {
    let mut pair = connected();
    let question = asked(&mut pair, at(1_000), path(2));
    assert_eq!(
        pair.agent.selected(),
        Some(path(1)),
        "nothing goes there yet"
    );
    assert!(!pair.agent.is_validated(&path(2)));
    let answered = pair.deliver(at(1_030), path(2), &answer(&question));
    assert_eq!(answered, Ok(&[][..]), "an answer wants none");
    assert_eq!(pair.agent.selected(), Some(path(2)));
    assert!(pair.agent.is_validated(&path(2)));
    assert!(
        pair.agent.is_validated(&path(1)),
        "late media may still come"
    );
    assert_eq!(pair.events(), [IceEvent::PathChanged(path(2))]);
    // It is consent, too (RFC 7675 §5.1).
    pair.run_until(at(31_020));
    assert_eq!(
        pair.events(),
        [IceEvent::Disconnected],
        "30 s after the only check"
    );
}

#[test]
fn the_question_is_a_binding_request_that_nominates_nothing() {
    let mut pair = connected();
    let question = asked(&mut pair, at(1_000), path(2));
    let message = StunMessage::parse(&question).unwrap();
    assert_eq!(
        (message.class(), message.method()),
        (StunClass::Request, BINDING)
    );
    let ours = pair.ice.ufrag.to_string();
    assert_eq!(
        message.username(),
        Some((REMOTE.as_bytes(), ours.as_bytes()))
    );
    assert!(message.verify_integrity(&IntegrityKey::new(REMOTE_PASSWORD.as_bytes())));
    assert_eq!(message.verify_fingerprint(), Some(true));
    assert!(message.priority().is_some());
    assert_eq!(
        message.attribute(attribute::ICE_CONTROLLED).unwrap().len(),
        8
    );
    assert!(message.attribute(attribute::USE_CANDIDATE).is_none());
    assert!(question.len() <= 128, "{} bytes", question.len());
}

#[test]
fn whoever_others_have_bothered_gets_three_packets_in_ten_seconds() {
    let mut pair = connected();
    let victim = path(66);
    let sent = flood(&mut pair, 1_000, 11_000, &[victim]);
    assert_eq!(sent, [(1_000, victim), (1_500, victim), (2_500, victim)]);
    assert_eq!(pair.agent.selected(), Some(path(1)));
    // And so again, as long as media comes from there.
    assert_eq!(flood(&mut pair, 11_000, 21_000, &[victim]).len(), 3);
}

#[test]
fn only_so_many_paths_are_asked_at_a_time() {
    let mut pair = connected();
    let victims: Vec<Path> = (10..200).map(path).collect();
    let sent = flood(&mut pair, 1_000, 11_000, &victims);
    let most = IceLimits::default().max_challenges;
    assert_eq!(sent.len(), most * 3);
    assert!(sent.iter().all(|(_, to)| victims[..most].contains(to)));
}

#[test]
fn a_path_from_which_nothing_comes_is_asked_no_more() {
    let mut pair = connected();
    asked(&mut pair, at(1_000), path(2));
    assert_eq!(question(&mut pair, at(5_000)), None);
    assert_eq!(
        pair.agent.next_timeout(),
        Some(at(8_000)),
        "no timer of its own"
    );
}

#[test]
fn a_repeated_question_is_the_same_one_and_any_answer_to_it_counts() {
    let mut pair = connected();
    let first = asked(&mut pair, at(1_000), path(2));
    let second = asked(&mut pair, at(1_500), path(2));
    assert_eq!(first, second);
    pair.deliver(at(1_510), path(2), &answer(&first)).unwrap();
    assert_eq!(pair.agent.selected(), Some(path(2)));
}

#[test]
fn what_is_no_proof_changes_nothing() {
    let mut pair = connected();
    let question = asked(&mut pair, at(1_000), path(2));
    let right = answer(&question);
    let id = StunMessage::parse(&question).unwrap().transaction_id();
    let (wrong_key, unknown) = (
        Err(DropReason::StunIntegrity),
        Err(DropReason::StunUnknownTransaction),
    );

    let forged = answer_as(id, "a-guess-at-the-password");
    assert_eq!(pair.deliver(at(1_010), path(2), &forged), wrong_key);
    let own = pair.ice.password.to_string();
    assert_eq!(
        pair.deliver(at(1_010), path(2), &answer_as(id, &own)),
        wrong_key
    );
    assert_eq!(
        pair.deliver(at(1_010), path(3), &right),
        unknown,
        "from elsewhere"
    );
    assert_eq!(
        pair.deliver(at(1_010), path(1), &right),
        unknown,
        "from the old path"
    );
    let other = answer_as(TransactionId([7; 12]), REMOTE_PASSWORD);
    assert_eq!(pair.deliver(at(1_010), path(2), &other), unknown);
    let mut truncated = right.clone();
    truncated.truncate(right.len() - 4);
    assert_eq!(
        pair.deliver(at(1_010), path(2), &truncated),
        Err(DropReason::StunMalformed)
    );
    assert_eq!(pair.deliver(at(4_000), path(2), &right), unknown, "late");

    assert_eq!(pair.agent.selected(), Some(path(1)));
    assert!(!pair.agent.is_validated(&path(2)));
    assert_eq!(pair.events(), []);
}

#[test]
fn an_answer_counts_once() {
    let mut pair = connected();
    let question = asked(&mut pair, at(1_000), path(2));
    pair.deliver(at(1_010), path(2), &answer(&question))
        .unwrap();
    pair.check(at(1_100), path(1), NOMINATION);
    assert_eq!(pair.agent.selected(), Some(path(1)), "the peer decides");
    assert_eq!(
        pair.deliver(at(1_200), path(2), &answer(&question)),
        Err(DropReason::StunUnknownTransaction)
    );
    assert_eq!(pair.agent.selected(), Some(path(1)));
}

#[test]
fn the_peers_own_check_is_as_good_as_an_answer() {
    let mut pair = connected();
    let question = asked(&mut pair, at(1_000), path(2));
    pair.check(at(1_010), path(2), NOMINATION);
    assert_eq!(pair.events(), [IceEvent::PathChanged(path(2))]);
    // Both come, and one of them moves the path.
    pair.deliver(at(1_015), path(2), &answer(&question))
        .unwrap();
    assert_eq!(pair.events(), []);
    assert_eq!(pair.agent.selected(), Some(path(2)));
}

#[test]
fn a_nomination_since_the_question_outweighs_the_answer() {
    let mut pair = connected();
    let question = asked(&mut pair, at(1_000), path(2));
    pair.check(at(1_005), path(3), NOMINATION);
    pair.deliver(at(1_010), path(2), &answer(&question))
        .unwrap();
    assert_eq!(pair.agent.selected(), Some(path(3)));
    assert!(pair.agent.is_validated(&path(2)));
}

#[test]
fn a_path_that_the_peer_checked_lately_is_not_asked() {
    let mut pair = connected();
    pair.check(at(500), path(2), PLAIN);
    assert_eq!(flood(&mut pair, 1_000, 7_000, &[path(1), path(2)]), []);
    // Nor is the one in use, however long ago its last check was.
    assert_eq!(flood(&mut pair, 7_000, 20_000, &[path(1)]), []);
}

#[test]
fn a_nat_that_goes_back_to_an_old_mapping_is_followed() {
    let mut pair = connected();
    pair.check(at(1_000), path(2), NOMINATION);
    pair.check(at(6_000), path(2), NOMINATION);
    pair.events();
    let question = asked(&mut pair, at(8_000), path(1));
    assert_eq!(pair.agent.selected(), Some(path(2)));
    pair.deliver(at(8_010), path(1), &answer(&question))
        .unwrap();
    assert_eq!(pair.events(), [IceEvent::PathChanged(path(1))]);
}

#[test]
fn connections_and_relays_are_not_asked() {
    let mut pair = connected();
    for carrier in [Carrier::Stream(StreamId(1)), Carrier::Relay(RelayId(1))] {
        let path = Path { carrier, ..path(2) };
        assert_eq!(flood(&mut pair, 1_000, 2_000, &[path]), []);
    }
}

#[test]
fn nobody_is_asked_before_the_peer_checked_or_after_the_end() {
    let mut pair = Pair::new();
    assert_eq!(flood(&mut pair, 0, 1_000, &[path(2)]), []);

    let mut pair = connected();
    pair.agent.on_media(at(1_000), &path(2));
    pair.agent.stop_challenges();
    assert_eq!(question(&mut pair, at(1_000)), None);

    let mut pair = connected();
    let question_before = asked(&mut pair, at(29_000), path(2));
    pair.run_until(at(30_000));
    assert!(
        pair.events()
            .iter()
            .any(|event| matches!(event, IceEvent::Failed(_)))
    );
    assert_eq!(flood(&mut pair, 30_000, 31_000, &[path(2), path(3)]), []);
    let late = pair.deliver(at(30_010), path(2), &answer(&question_before));
    assert_eq!(late, Err(DropReason::StunUnknownTransaction));
    assert_eq!(pair.events(), []);
}

#[test]
fn a_peer_that_was_given_up_for_quiet_is_back_with_its_media() {
    let mut pair = connected();
    pair.run_until(at(8_000));
    assert_eq!(pair.events(), [IceEvent::Disconnected]);
    let question = asked(&mut pair, at(9_000), path(2));
    pair.deliver(at(9_010), path(2), &answer(&question))
        .unwrap();
    assert_eq!(
        pair.events(),
        [IceEvent::Reconnected, IceEvent::PathChanged(path(2))]
    );
}

/// A question is asked as the peer was seen last: with its old credentials until it checks with new ones.
#[test]
fn a_restart_under_way_changes_no_question() {
    let mut pair = connected();
    let (old, new) = (pair.ice.clone(), local(2));
    pair.agent.restart(&new);
    pair.agent.set_remote(RemoteIce {
        ufrag: "again".into(),
        password: "the-password-after-the-restart".into(),
    });
    let names = |question: &[u8], password: &str| {
        let message = StunMessage::parse(question).unwrap();
        assert!(message.verify_integrity(&IntegrityKey::new(password.as_bytes())));
        let (theirs, ours) = message.username().unwrap();
        (
            String::from_utf8(theirs.to_vec()).unwrap(),
            String::from_utf8(ours.to_vec()).unwrap(),
        )
    };
    let before = asked(&mut pair, at(1_000), path(2));
    assert_eq!(
        names(&before, REMOTE_PASSWORD),
        (REMOTE.to_owned(), old.ufrag.to_string())
    );
    let again = Check {
        remote: "again",
        ..NOMINATION
    };
    pair.check_as(at(1_100), path(3), &new, again);
    let after = asked(&mut pair, at(1_200), path(4));
    assert_eq!(
        names(&after, "the-password-after-the-restart"),
        ("again".to_owned(), new.ufrag.to_string())
    );
}

/// The peer knows every other secret; the transaction must not follow from them.
#[test]
fn transactions_follow_from_a_secret_that_the_peer_has_not() {
    let question_of = |secret: ChallengeSecret, ice: &LocalIce, path: Path| {
        let mut pair = Pair::new();
        pair.agent = IceLite::new(Time::ZERO, ice, secret, IceLimits::default());
        pair.ice = ice.clone();
        pair.agent.set_remote(RemoteIce {
            ufrag: REMOTE.into(),
            password: REMOTE_PASSWORD.into(),
        });
        pair.check(at(0), ice_peer::path(1), NOMINATION);
        let first = asked(&mut pair, at(1_000), path);
        let second = asked(&mut pair, at(1_000), ice_peer::path(99));
        [first, second].map(|q| StunMessage::parse(&q).unwrap().transaction_id())
    };
    let other = ChallengeSecret::new([2; ChallengeSecret::LEN]);
    let mut all = Vec::new();
    for (secret, ice) in [
        (secret(), local(1)),
        (secret(), local(2)),
        (other, local(1)),
    ] {
        all.extend(question_of(secret, &ice, path(2)));
    }
    for (index, id) in all.iter().enumerate() {
        assert!(!all[..index].contains(id), "each is another");
    }
    assert_eq!(format!("{:?}", secret()), "ChallengeSecret(…)");
}

#[test]
fn limits_may_forbid_questions() {
    let mut pair = Pair::with_limits(IceLimits {
        max_challenges: 0,
        ..IceLimits::default()
    });
    pair.check(at(0), path(1), NOMINATION);
    assert_eq!(flood(&mut pair, 1_000, 3_000, &[path(2)]), []);
    assert_eq!(
        pair.agent.next_timeout(),
        Some(at(2_980) + Duration::from_secs(7))
    );
}
