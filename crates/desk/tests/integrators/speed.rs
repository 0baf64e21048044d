//! Question: with 10,000 appointments in the store, do a day's list and an admission stay below 50 ms in 95 of 100 cases? Run with
//! `cargo test -p schalter-desk --test integrators -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use schalter_desk::domain::{LinkToken, PersonId};
use serde_json::json;

use crate::office::Office;

/// Of those, on the day that is listed: a large office.
const TODAY: usize = 200;
const ALL: usize = 10_000;
const GOAL: Duration = Duration::from_millis(50);

fn p95(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() * 95 / 100]
}

#[tokio::test]
#[ignore = "takes a minute, and says something on an idle machine only"]
async fn ten_thousand_appointments_are_listed_and_admitted_quickly() {
    let office = Office::open();
    let mut waiting = Vec::new();
    for n in 0..ALL {
        let day = if n < TODAY { 0 } else { 1 + n % 700 };
        let starts = 1_795_856_400_000 + i64::try_from(day).unwrap() * 86_400_000;
        let text = |ms| schalter_desk::domain::Timestamp::from_ms(ms).to_string();
        let plan = json!({
            "external_ref": format!("case-{n}"), "subject": "Wohngeld",
            "starts_at": text(starts), "ends_at": text(starts + 1_800_000),
            "people": [
                { "role": "citizen", "name": "Zaphod Musterfrau" },
                { "role": "interpreter", "name": "Trillian Gebärd", "linked_to": 0 },
            ],
        });
        let made = office
            .call("POST", "/v1/appointments", &[], Some(plan))
            .await;
        assert_eq!(made.status, 201);
        if n < TODAY {
            let person = &made.json["people"][0];
            let url = person["join_url"].as_str().unwrap();
            let token = LinkToken::parse(url.split_once('#').unwrap().1).unwrap();
            let id: PersonId = person["id"].as_str().unwrap().parse().unwrap();
            waiting.push((
                made.json["id"].as_str().unwrap().parse().unwrap(),
                id,
                token,
            ));
        }
    }
    let hash = office.desk.authorities()[0].notice.hash();
    let official = office.official();
    let (mut lists, mut admissions) = (Vec::new(), Vec::new());
    for (appointment, person, token) in waiting {
        let secret = office
            .desk
            .open(&token, None)
            .await
            .unwrap()
            .secret
            .unwrap();
        office.desk.agree(&secret, hash).await.unwrap();
        office.desk.wait(&secret).await.unwrap();
        let start = Instant::now();
        let admitted = office.desk.admit(&official, &appointment, &person).await;
        admissions.push(start.elapsed());
        assert!(admitted.is_ok());
        let start = Instant::now();
        let day = office
            .desk
            .day(&official, "2026-11-28".parse().unwrap())
            .await
            .unwrap();
        lists.push(start.elapsed());
        assert_eq!(day.len(), TODAY);
    }
    let (list, admission) = (p95(lists), p95(admissions));
    eprintln!("{ALL} appointments: day list of {TODAY} p95 {list:?}, admit p95 {admission:?}");
    assert!(list < GOAL && admission < GOAL);
}
