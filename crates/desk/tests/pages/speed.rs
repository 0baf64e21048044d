//! Question: with 10,000 appointments in the store, does an official's page get its day's list and an admission over HTTP below 50 ms in 95 of 100
//! cases, each by a connection of its own? Run with `cargo test -p schalter-desk --test pages -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::sockets::serve;
use crate::support::{Office, START, URL};

/// Of those, on the day that is listed: a large office.
const TODAY: usize = 200;
const ALL: usize = 10_000;
const GOAL: Duration = Duration::from_millis(50);

fn p95(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() * 95 / 100]
}

/// A request by a connection of its own: how long its answer took to the last byte, and the answer.
async fn request(port: u16, line: &str, cookie: &str) -> (Duration, String) {
    let head = format!(
        "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: {URL}\r\nCookie: {cookie}\r\n\
         Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    let start = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let took = start.elapsed();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    (took, answer)
}

#[tokio::test]
#[ignore = "takes a minute, and says something on an idle machine only"]
async fn ten_thousand_appointments_are_listed_and_admitted_quickly_over_http() {
    let office = Office::open().await;
    let port = serve(&office).await;
    let mut official = office.official("ulm").await;
    let mut waiting = Vec::new();
    for n in 0..ALL {
        // One is there already.
        let day = if n + 1 < TODAY { 0 } else { 1 + n % 700 };
        let starts = START + i64::try_from(day).unwrap() * 86_400_000;
        let text = |ms| schalter_desk::domain::Timestamp::from_ms(ms).to_string();
        let people = json!([
            { "role": "citizen", "name": "Zaphod Musterfrau" },
            { "role": "interpreter", "name": "Trillian Gebärd", "linked_to": 0 },
        ]);
        let plan = json!({
            "external_ref": format!("case-{n}"), "subject": "Wohngeld",
            "starts_at": text(starts), "ends_at": text(starts + 1_800_000), "people": people,
        });
        let (status, card) = official.post("/appointments", plan).await;
        assert_eq!(status, 201);
        if day == 0 {
            waiting.push(card);
        }
    }
    let cookie = official.cookie();
    let (mut lists, mut admissions) = (Vec::new(), Vec::new());
    for card in waiting {
        let url = card["people"][0]["join_url"].as_str().unwrap();
        let token = url.split_once('#').unwrap().1;
        let mut citizen = office.browser();
        let (_, view) = citizen.post("/links/open", json!({ "token": token })).await;
        let hash = &view["notice"]["hash"];
        let agreed = json!({ "hash": hash, "agreed": true });
        citizen.post("/me/notice", agreed).await;
        citizen.post("/me/wait", json!({})).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (id, person) = (text(&card["id"]), text(&card["people"][0]["id"]));
        let admit = format!("POST /desk/v1/appointments/{id}/people/{person}/admit");
        admissions.push(request(port, &admit, &cookie).await.0);
        let (took, answer) = request(port, "GET /desk/v1/appointments", &cookie).await;
        lists.push(took);
        assert_eq!(answer.matches("\"external_ref\"").count(), TODAY);
    }
    let (list, admission) = (p95(lists), p95(admissions));
    eprintln!(
        "{ALL} appointments, over HTTP: day list of {TODAY} p95 {list:?}, admit p95 {admission:?}"
    );
    assert!(list < GOAL && admission < GOAL);
}
