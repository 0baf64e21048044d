//! What every backend of [`Store`] must do, as a function over one: a backend's test calls it with an empty store.
//!
//! It panics where a backend does otherwise, so that it can be called from any test harness.

use std::collections::BTreeMap;

use schalter_audit::CommitmentKey;
use schalter_model::AuthorityId;

use super::{Commit, Filter, Kept, Store, StoreError};
use crate::domain::{
    Appointment, AppointmentId, Digest, ExternalRef, LinkToken, Name, Needs, NewAppointment,
    NewPerson, PersonId, Retention, Role, Subject, Timestamp, When,
};

/// 2026-11-28T09:00:00Z.
const NOW: Timestamp = Timestamp::from_ms(1_795_856_400_000);

/// A change that makes an appointment with one citizen, told apart by `n`.
///
/// # Panics
/// Never: the texts in it are valid.
pub fn creation(authority: &AuthorityId, n: u8, starts_at: Timestamp) -> Commit {
    let token = LinkToken::from_random([n; 20]);
    let new = NewAppointment {
        id: AppointmentId::from_random([n; 16]),
        external_ref: ExternalRef::new(&format!("case-{n}")).ok(),
        subject: Subject::new("Wohngeld").expect("a subject"),
        when: When {
            starts_at,
            ends_at: starts_at.plus_s(1_800),
        },
        people: vec![NewPerson {
            id: PersonId::from_random([n; 16]),
            role: Role::Citizen,
            name: Name::new(&format!("Zaphod Musterfrau {n}")).expect("a name"),
            needs: Needs::default(),
            language: None,
            linked_to: None,
            link: token.digest(),
        }],
    };
    let (mut appointment, moved) =
        Appointment::create(authority, new, NOW).expect("it is in the window");
    appointment.version = 1;
    Commit {
        appointment,
        facts: moved.facts,
        at: NOW,
        by: "integrator:test".to_owned(),
        keep: None,
    }
}

/// Holds an empty store against everything that [`Store`] promises.
///
/// # Panics
/// Where it does otherwise.
pub async fn conforms(store: &dyn Store) {
    let own = AuthorityId::new("own").expect("an id");
    let other = AuthorityId::new("other").expect("an id");
    appointments_are_kept_apart(store, &own, &other).await;
    versions_decide(store, &own).await;
    events_are_numbered(store, &own, &other).await;
    answers_are_kept_once(store, &own).await;
    commitment_keys_last_as_long_as_their_appointments(store, &own, &other).await;
    erasure_takes_everything(store, &own).await;
    small_things(store, &own).await;
}

async fn appointments_are_kept_apart(store: &dyn Store, own: &AuthorityId, other: &AuthorityId) {
    for (n, authority, hour) in [(1, own, 2), (2, own, 1), (3, other, 1)] {
        let commit = creation(authority, n, NOW.plus_s(hour * 3_600));
        store.commit(commit).await.expect("it is stored");
    }
    let id = AppointmentId::from_random([1; 16]);
    let found = store.load(own, &id).await.expect("it answers");
    assert_eq!(found.as_ref().map(|one| &one.id), Some(&id));
    assert_eq!(store.load(other, &id).await, Ok(None));
    let digest = LinkToken::from_random([1; 20]).digest();
    assert_eq!(store.find(&digest).await, Ok(found), "by link");
    assert_eq!(store.find(&Digest::of(b"?")).await, Ok(None));

    let ids = |found: Vec<Appointment>| found.into_iter().map(|one| one.id).collect::<Vec<_>>();
    let all = Filter {
        limit: 10,
        ..Filter::default()
    };
    let listed = store.list(own, all.clone()).await.expect("it answers");
    let first = AppointmentId::from_random([2; 16]);
    assert_eq!(ids(listed.clone()), [first.clone(), id.clone()], "by start");
    let after = Filter {
        after: Some((listed[0].when.starts_at, first.clone())),
        ..all.clone()
    };
    assert_eq!(store.list(own, after).await.map(ids), Ok(vec![id.clone()]));
    let until = Filter {
        to: Some(NOW.plus_s(2 * 3_600)),
        ..all.clone()
    };
    assert_eq!(store.list(own, until).await.map(ids), Ok(vec![first]));
    let by_ref = Filter {
        external_ref: ExternalRef::new("case-1").ok(),
        ..all
    };
    assert_eq!(store.list(own, by_ref).await.map(ids), Ok(vec![id.clone()]));
    let overdue = store.overdue(own, NOW.plus_s(3 * 3_600)).await;
    assert_eq!(overdue.map(|found| found.len()), Ok(2));
    let overdue = store.overdue(own, NOW).await;
    assert_eq!(overdue.map(|found| found.len()), Ok(0));
}

async fn versions_decide(store: &dyn Store, own: &AuthorityId) {
    let again = creation(own, 1, NOW);
    assert_eq!(store.commit(again).await, Err(StoreError::Conflict));
    let mut change = creation(own, 1, NOW.plus_s(7_200));
    change.appointment.version = 2;
    let token = LinkToken::from_random([99; 20]);
    let id = PersonId::from_random([1; 16]);
    change
        .appointment
        .reissue_link(&id, token.digest())
        .expect("it is not over");
    let stored = store.commit(change.clone()).await;
    assert!(stored.is_ok(), "{stored:?}");
    assert_eq!(
        store.commit(change).await,
        Err(StoreError::Conflict),
        "twice"
    );
    let old = LinkToken::from_random([1; 20]).digest();
    assert_eq!(store.find(&old).await, Ok(None), "the old way is gone");
    let found = store.find(&token.digest()).await.expect("it answers");
    assert_eq!(found.map(|one| one.version), Some(2));
}

async fn events_are_numbered(store: &dyn Store, own: &AuthorityId, other: &AuthorityId) {
    let all = store.events(own, 0, 100).await.expect("it answers");
    let numbers: Vec<u64> = all.iter().map(|event| event.seq).collect();
    let last = store.last_event(own).await.expect("it answers");
    assert_eq!(numbers, (1..=last).collect::<Vec<_>>(), "without gaps");
    assert!(all.iter().all(|event| event.is_of(own)));
    let others = store.events(other, 0, 100).await.expect("it answers");
    assert_eq!(
        others.first().map(|event| event.seq),
        Some(1),
        "each its own"
    );
    let page = store.events(own, 1, 2).await.expect("it answers");
    assert_eq!(page, all[1..3]);
    let id = AppointmentId::from_random([2; 16]);
    let history = store.history(own, &id).await.expect("it answers");
    assert_eq!(history.len(), 2);
    assert_eq!(store.history(other, &id).await, Ok(Vec::new()));
}

async fn answers_are_kept_once(store: &dyn Store, own: &AuthorityId) {
    let mut commit = creation(own, 10, NOW.plus_s(60));
    let kept = Kept {
        slot: Digest::of(b"slot"),
        request: Digest::of(b"request"),
        appointment: commit.appointment.id.clone(),
        status: 201,
        body: vec![0, 255, 7],
        at: NOW,
    };
    commit.keep = Some(kept.clone());
    assert!(store.commit(commit).await.is_ok());
    assert_eq!(store.kept(&kept.slot).await, Ok(Some(kept.clone())));
    let mut twin = creation(own, 11, NOW.plus_s(60));
    twin.keep = Some(kept.clone());
    let id = twin.appointment.id.clone();
    let before = store.last_event(own).await;
    assert_eq!(store.commit(twin).await, Err(StoreError::Repeated));
    assert_eq!(store.load(own, &id).await, Ok(None), "nothing of it");
    assert_eq!(store.last_event(own).await, before);
    store.forget(NOW, NOW).await.expect("it forgets");
    assert!(
        store
            .kept(&kept.slot)
            .await
            .is_ok_and(|kept| kept.is_some())
    );
}

async fn commitment_keys_last_as_long_as_their_appointments(
    store: &dyn Store,
    own: &AuthorityId,
    other: &AuthorityId,
) {
    let id = AppointmentId::from_random([20; 16]);
    let ask = async |authority, byte| {
        let fresh = [(id.clone(), CommitmentKey::new([byte; 32]))].into();
        let keys = store.commitment_keys(authority, fresh).await;
        keys.expect("it answers").remove(&id)
    };
    assert_eq!(ask(own, 1).await, None, "there is no such appointment");
    let made = creation(own, 20, NOW.plus_s(60));
    store.commit(made.clone()).await.expect("it is stored");
    let first = Some(CommitmentKey::new([2; 32]));
    assert_eq!(ask(own, 2).await, first);
    assert_eq!(ask(own, 3).await, first, "it stays");
    assert_eq!(ask(other, 4).await, None, "not theirs");
    assert_eq!(store.erase(own, vec![id.clone()]).await, Ok(1));
    assert_eq!(ask(own, 5).await, None);
    store.commit(made).await.expect("it is stored");
    assert_eq!(ask(own, 6).await, Some(CommitmentKey::new([6; 32])));
    assert_eq!(store.erase(own, vec![id.clone()]).await, Ok(1));
}

async fn erasure_takes_everything(store: &dyn Store, own: &AuthorityId) {
    let id = AppointmentId::from_random([10; 16]);
    let other = AuthorityId::new("other").expect("an id");
    assert_eq!(
        store.erase(&other, vec![id.clone()]).await,
        Ok(0),
        "not theirs"
    );
    assert_eq!(store.erase(own, vec![id.clone()]).await, Ok(1));
    assert_eq!(store.load(own, &id).await, Ok(None));
    assert_eq!(store.kept(&Digest::of(b"slot")).await, Ok(None));
    let digest = LinkToken::from_random([10; 20]).digest();
    assert_eq!(store.find(&digest).await, Ok(None));

    let mut over = creation(own, 12, NOW.plus_s(60));
    over.appointment.cancel(NOW).expect("it is scheduled");
    store.commit(over).await.expect("it is stored");
    let id = AppointmentId::from_random([12; 16]);
    let all = u64::MAX;
    assert_eq!(
        store.purge(own, NOW, all).await,
        Ok(vec![]),
        "not before then"
    );
    let last = store.last_event(own).await;
    let later = NOW.plus_s(1);
    assert_eq!(store.purge(own, later, 2).await, Ok(vec![id.clone()]));
    assert_eq!(store.load(own, &id).await, Ok(None));
    let held = store.events(own, 0, 1).await.expect("it answers");
    assert_eq!(held[0].seq, 3, "what is not in the log yet");
    assert_eq!(store.purge(own, later, all).await, Ok(vec![]));
    assert_eq!(store.events(own, 0, 100).await, Ok(vec![]));
    assert_eq!(store.last_event(own).await, last, "numbers go on");
}

async fn small_things(store: &dyn Store, own: &AuthorityId) {
    let token = Digest::of(b"once");
    assert_eq!(store.use_once(&token, NOW).await, Ok(true));
    assert_eq!(store.use_once(&token, NOW).await, Ok(false));
    store.forget(NOW, NOW.plus_s(1)).await.expect("it forgets");
    assert_eq!(store.use_once(&token, NOW).await, Ok(true), "over");
    assert_eq!(store.cursor(own, "a").await, Ok(None));
    for seq in [3, 7] {
        store.set_cursor(own, "a", seq).await.expect("it is noted");
        assert_eq!(store.cursor(own, "a").await, Ok(Some(seq)));
    }
    assert_eq!(store.cursor(own, "b").await, Ok(None));
    assert_eq!(store.retentions().await, Ok(BTreeMap::new()));
    for (days, closes_after_s) in [(0, 0), (3_660, 86_400)] {
        let retention = Retention {
            days,
            closes_after_s,
        };
        let noted = store.set_retention(own, retention).await;
        noted.expect("it is noted");
        let all = BTreeMap::from([(own.clone(), retention)]);
        assert_eq!(store.retentions().await, Ok(all));
    }
}
