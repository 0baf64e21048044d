//! An appointment's whole life by the service, with a clock that is set.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use schalter_desk::domain::{Bye, LinkToken, OutcomeCode, PersonId, Refusal, Secret, State};
use schalter_desk::{DeskError, Standing, Terms, Visitor};
use serde_json::{Value, json};

use crate::api::plan;
use crate::office::{Answer, Office};

pub(crate) fn token(made: &Answer, place: usize) -> LinkToken {
    let url = made.json["people"][place]["join_url"].as_str().unwrap();
    LinkToken::parse(url.split_once('#').unwrap().1).unwrap()
}

pub(crate) fn person(made: &Answer, place: usize) -> PersonId {
    made.json["people"][place]["id"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

fn stage(visitor: &Visitor) -> &'static str {
    visitor.own().unwrap().stage.label()
}

fn refused<T: std::fmt::Debug>(result: Result<T, DeskError>) -> Refusal {
    let error = result.unwrap_err();
    let DeskError::Refused(refusal) = error else {
        panic!("{error:?}")
    };
    refusal
}

/// Opens the link, agrees, and waits.
pub(crate) async fn arrive(office: &Office, link: &LinkToken) -> Secret {
    let opened = office.desk.open(link, None).await.unwrap();
    let secret = opened.secret.unwrap();
    let authority = office.desk.authorities()[0].clone();
    assert_eq!(
        refused(office.desk.wait(&secret).await),
        Refusal::NoticeFirst
    );
    office
        .desk
        .agree(&secret, authority.notice.hash())
        .await
        .unwrap();
    assert_eq!(stage(&office.desk.wait(&secret).await.unwrap()), "waiting");
    secret
}

async fn made(office: &Office) -> Answer {
    office
        .call("POST", "/v1/appointments", &[], Some(plan()))
        .await
}

async fn kinds(office: &Office) -> Vec<String> {
    let all = office.call("GET", "/v1/events", &[], None).await;
    let kind = |event: &Value| event["type"].as_str().unwrap().to_owned();
    all.json["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(kind)
        .collect()
}

#[tokio::test]
async fn a_pair_is_admitted_and_held_together_and_returns_under_another_identity() {
    let office = Office::open();
    let made = made(&office).await;
    let id = made.json["id"].as_str().unwrap().parse().unwrap();
    let (citizen, interpreter) = (person(&made, 0), person(&made, 1));
    let first = arrive(&office, &token(&made, 0)).await;
    let second = arrive(&office, &token(&made, 1)).await;
    let official = office.official();
    assert_eq!(refused(office.desk.sit(&first).await), Refusal::NotAdmitted);
    office.desk.admit(&official, &id, &citizen).await.unwrap();
    assert_eq!(
        office.desk.sit(&first).await.unwrap().token,
        citizen.as_str()
    );
    assert_eq!(
        office.desk.sit(&second).await.unwrap().token,
        interpreter.as_str()
    );
    let authority = official.authority.clone();
    office
        .desk
        .on_presence(&authority, id.as_str(), citizen.as_str(), true)
        .await
        .unwrap();
    assert_eq!(
        stage(&office.desk.visitor(&first).await.unwrap()),
        "in_call"
    );

    office
        .desk
        .hold(&official, &id, &interpreter)
        .await
        .unwrap();
    let told = office.told.0.lock().unwrap().clone();
    assert_eq!(
        told,
        [
            format!("dismiss {citizen}"),
            format!("dismiss {interpreter}")
        ]
    );
    for secret in [&first, &second] {
        assert_eq!(stage(&office.desk.visitor(secret).await.unwrap()), "held");
        assert_eq!(refused(office.desk.sit(secret).await), Refusal::NotAdmitted);
    }
    // The room says so afterwards; it changes nothing.
    office
        .desk
        .on_presence(&authority, id.as_str(), citizen.as_str(), false)
        .await
        .unwrap();
    assert_eq!(stage(&office.desk.visitor(&first).await.unwrap()), "held");
    office.desk.admit(&official, &id, &citizen).await.unwrap();
    let seat = office.desk.sit(&first).await.unwrap();
    assert_eq!(
        seat.token,
        format!("{citizen}.2"),
        "the old identity was dismissed"
    );
    let bad = OutcomeCode::new("what").unwrap();
    assert_eq!(
        refused(office.desk.end(&official, &id, bad).await),
        Refusal::WrongOutcome
    );
    let done = office
        .desk
        .end(&official, &id, OutcomeCode::new("done").unwrap())
        .await
        .unwrap();
    assert_eq!(done.appointment.state, State::Ended);
    assert_eq!(kinds(&office).await.last().unwrap(), "appointment.ended");
}

#[tokio::test]
async fn another_browser_waits_and_takes_the_seat_when_it_is_admitted() {
    let office = Office::open();
    let made = made(&office).await;
    let id = made.json["id"].as_str().unwrap().parse().unwrap();
    let citizen = person(&made, 0);
    let link = token(&made, 0);
    let phone = arrive(&office, &link).await;
    let official = office.official();
    office.desk.admit(&official, &id, &citizen).await.unwrap();
    // The same browser comes back: no fresh admission, no fresh cookie.
    let again = office.desk.open(&link, Some(&phone)).await.unwrap();
    assert!(again.secret.is_none());
    assert_eq!(stage(&again.visitor), "admitted");
    let opened = office.desk.open(&link, None).await.unwrap();
    assert!(opened.visitor.is_other_device());
    assert_eq!(stage(&opened.visitor), "waiting");
    let laptop = opened.secret.unwrap();
    assert_eq!(
        refused(office.desk.sit(&laptop).await),
        Refusal::NotAdmitted
    );
    office.desk.admit(&official, &id, &citizen).await.unwrap();
    assert_eq!(
        office.desk.sit(&laptop).await.unwrap().token,
        format!("{citizen}.2")
    );
    let gone = office.desk.standing(&phone).await.unwrap();
    assert!(matches!(gone, Standing::Gone(Bye::Moved)), "{gone:?}");
    assert_eq!(
        *office.told.0.lock().unwrap(),
        [format!("dismiss {citizen}")]
    );
}

#[tokio::test]
async fn links_follow_the_window_and_can_be_withdrawn() {
    let office = Office::open();
    office.pass(-1_801);
    let made = made(&office).await;
    let id = made.json["id"].as_str().unwrap().parse().unwrap();
    let link = token(&made, 0);
    let early = refused(office.desk.open(&link, None).await);
    assert!(matches!(early, Refusal::TooEarly { .. }), "{early:?}");
    office.pass(1);
    let official = office.official();
    office.desk.open(&link, None).await.unwrap();
    let done = office
        .desk
        .reissue_link(&official, &id, &person(&made, 0), Terms::default())
        .await
        .unwrap();
    assert_eq!(
        refused(office.desk.open(&link, None).await),
        Refusal::LinkUnknown
    );
    let fresh = done.links[0].1.clone();
    office.desk.open(&fresh, None).await.unwrap();
    office
        .desk
        .revoke_link(&official, &id, &person(&made, 0), Terms::default())
        .await
        .unwrap();
    assert_eq!(
        refused(office.desk.open(&fresh, None).await),
        Refusal::LinkRevoked
    );
    let other = token(&made, 1);
    office.pass(1_800 + 1_800 + 3_600 - 1);
    office.desk.open(&other, None).await.unwrap();
    office.pass(1);
    assert_eq!(
        refused(office.desk.open(&other, None).await),
        Refusal::TooLate
    );
}

#[tokio::test]
async fn a_colleagues_link_opens_one_browser_within_a_quarter_of_an_hour() {
    let office = Office::open();
    let made = made(&office).await;
    let id = made.json["id"].as_str().unwrap().parse().unwrap();
    let official = office.official();
    let done = office
        .desk
        .add_colleague(&official, &id, None)
        .await
        .unwrap();
    let link = done.links[0].1.clone();
    let opened = office.desk.open(&link, None).await.unwrap();
    assert_eq!(stage(&opened.visitor), "admitted");
    assert_eq!(
        refused(office.desk.open(&link, None).await),
        Refusal::LinkRevoked
    );
    let done = office
        .desk
        .add_colleague(&official, &id, None)
        .await
        .unwrap();
    office.pass(15 * 60);
    assert_eq!(
        refused(office.desk.open(&done.links[0].1, None).await),
        Refusal::LinkRevoked
    );
}

#[tokio::test]
async fn doors_close_by_themselves_and_retention_erases() {
    let office = Office::open();
    made(&office).await;
    office.pass(1_800 + 3_600);
    assert_eq!(office.desk.sweep().await.unwrap().closed, 0);
    office.pass(1);
    assert_eq!(office.desk.sweep().await.unwrap().closed, 1);
    let events = kinds(&office).await;
    assert_eq!(events[3..], ["person.no_show", "appointment.ended"]);
    let list = office.call("GET", "/v1/appointments", &[], None).await;
    assert_eq!(list.json["appointments"][0]["outcome"], "no_show");
    office.pass(30 * 86_400 - 1);
    assert_eq!(office.desk.sweep().await.unwrap().erased, 0);
    assert!(office.holds("Zaphod"));
    office.pass(1);
    assert_eq!(office.desk.sweep().await.unwrap().erased, 1);
    assert!(!office.holds("Zaphod") && !office.holds("Wohngeld"));
}

#[tokio::test]
async fn a_shorter_retention_of_an_office_holds_from_the_next_sweep() {
    let office = Office::open();
    made(&office).await;
    // Over since the doors closed, at 10:30.
    office.pass(10 * 86_400);
    office.desk.sweep().await.unwrap();
    let kept = async || office.call("GET", "/v1/records/case-1", &[], None).await;
    assert_eq!(kept().await.status, 200);
    let mut shorter = (*office.desk.authorities()[1]).clone();
    assert_eq!(shorter.id.as_str(), "own");
    shorter.retention_days = 9;
    let (id, other) = (shorter.id.clone(), office.desk.authorities()[0].id.clone());
    let gone = office
        .desk
        .replace_authorities([(id.clone(), Arc::new(shorter))].into());
    assert_eq!(gone, std::slice::from_ref(&other));
    assert!(office.desk.authority(&other).is_err());
    // Gone as well: what it has is kept no longer than it would have been.
    let gone = office.desk.replace_authorities(BTreeMap::new());
    assert_eq!(gone, [id]);
    assert_eq!(office.desk.sweep().await.unwrap().erased, 1);
    assert_eq!(kept().await.status, 404);
}

#[tokio::test]
async fn what_an_office_had_that_is_gone_from_the_file_is_erased_when_it_was_due() {
    let office = Office::open();
    made(&office).await;
    // Never over by itself: the office is gone before it was to be.
    let mut later = plan();
    later["external_ref"] = json!("case-2");
    later["subject"] = json!("Reisepass");
    later["starts_at"] = json!("2026-11-30T09:00:00Z");
    later["ends_at"] = json!("2026-11-30T09:30:00Z");
    let later = office.call("POST", "/v1/appointments", &[], Some(later));
    assert_eq!(later.await.status, 201);
    office.pass(90 * 60 + 1);
    assert_eq!(office.desk.sweep().await.unwrap().closed, 1);
    // The last that was configured counts, also if no sweep came by since.
    let mut shorter = (*office.desk.authorities()[1]).clone();
    (shorter.retention_days, shorter.closes_after_s) = (9, 7_200);
    let shorter = [(shorter.id.clone(), Arc::new(shorter))];
    let _ = office.desk.replace_authorities(shorter.into());
    office.desk.note_retentions().await.unwrap();

    let office = office.restart_without_offices();
    assert_eq!(office.desk.authorities().len(), 0);
    // Over since the doors closed, at 10:30.
    office.pass(9 * 86_400 - 1);
    assert_eq!(office.desk.sweep().await.unwrap().erased, 0);
    assert!(office.holds("Wohngeld"));
    office.pass(1);
    assert_eq!(office.desk.sweep().await.unwrap().erased, 1);
    assert!(!office.holds("Wohngeld") && office.holds("Reisepass"));
    // Its doors would have closed on 30 November at 11:30.
    let office = office.restart_without_offices();
    office.pass(2 * 86_400 + 3_600 - 1);
    assert_eq!(office.desk.sweep().await.unwrap().erased, 0);
    assert!(office.holds("Zaphod"));
    office.pass(1);
    assert_eq!(office.desk.sweep().await.unwrap().erased, 1);
    assert!(!office.holds("Zaphod") && !office.holds("Reisepass"));
}

#[tokio::test]
async fn who_could_not_be_sent_away_is_sent_away_later() {
    let office = Office::open();
    let made = made(&office).await;
    let id = made.json["id"].as_str().unwrap().parse().unwrap();
    let citizen = person(&made, 0);
    let secret = arrive(&office, &token(&made, 0)).await;
    let official = office.official();
    office.desk.admit(&official, &id, &citizen).await.unwrap();
    office.told.1.store(3, Ordering::SeqCst);
    let held = office.desk.hold(&official, &id, &citizen).await;
    assert!(matches!(held, Err(DeskError::Seats(_))), "{held:?}");
    assert_eq!(stage(&office.desk.visitor(&secret).await.unwrap()), "held");
    assert_eq!(office.desk.owed(), 1);
    let desk = Arc::clone(&office.desk);
    let settling = tokio::spawn(async move { desk.settle().await });
    // Admitted since: another identity, which the room is never told to send away.
    office.desk.admit(&official, &id, &citizen).await.unwrap();
    until("told", || office.desk.owed() == 0).await;
    let told = office.told.0.lock().unwrap().clone();
    assert_eq!(told, vec![format!("dismiss {citizen}"); 4]);
    // One that comes while nothing is owed is noticed as well.
    office.told.1.store(1, Ordering::SeqCst);
    let end = OutcomeCode::new("done").unwrap();
    let ended = office.desk.end(&official, &id, end).await;
    assert!(matches!(ended, Err(DeskError::Seats(_))), "{ended:?}");
    until("ended", || office.desk.owed() == 0).await;
    let told = office.told.0.lock().unwrap().clone();
    assert_eq!(told[4..], vec![format!("close {id}"); 2]);
    settling.abort();
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

#[tokio::test]
async fn a_record_says_how_long_people_talked() {
    let office = Office::open();
    let made = made(&office).await;
    let id = made.json["id"].as_str().unwrap().parse().unwrap();
    let citizen = person(&made, 0);
    arrive(&office, &token(&made, 0)).await;
    let official = office.official();
    office.desk.admit(&official, &id, &citizen).await.unwrap();
    let call = async || {
        let record = office.call("GET", "/v1/records/case-1", &[], None).await;
        record.json["records"][0]["call"].clone()
    };
    assert_eq!(call().await, Value::Null);
    let presence = async |came| {
        let noted =
            office
                .desk
                .on_presence(&official.authority, id.as_str(), citizen.as_str(), came);
        noted.await.unwrap();
    };
    office.pass(60);
    presence(true).await;
    let open = json!({"began_at": "2026-11-28T09:01:00.000Z", "ended_at": null, "seconds": null});
    assert_eq!(call().await, open);
    office.pass(754);
    presence(false).await;
    office.pass(100);
    let end = OutcomeCode::new("done").unwrap();
    office.desk.end(&official, &id, end).await.unwrap();
    let over = json!({"began_at": "2026-11-28T09:01:00.000Z", "ended_at": "2026-11-28T09:13:34.000Z", "seconds": 754});
    assert_eq!(call().await, over);
}
