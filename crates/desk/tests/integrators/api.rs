//! Keys, idempotency, versions, problems, limits, events, records.

use schalter_desk::domain::{MAX_PEOPLE, MAX_SUBJECT, PersonId};
use schalter_desk::http::Scope;
use serde_json::{Value, json};

use crate::life::{person, token};
use crate::office::{EVENTS_KEY, KEY, OTHER_KEY, Office, key};

pub(crate) fn plan() -> Value {
    json!({
        "external_ref": "case-1",
        "subject": "Wohngeld",
        "starts_at": "2026-11-28T10:00:00+01:00",
        "ends_at": "2026-11-28T09:30:00Z",
        "people": [
            { "role": "citizen", "name": "Zaphod Musterfrau", "needs": { "signing": true } },
            { "role": "interpreter", "name": "Trillian Gebärd", "linked_to": 0 },
        ],
    })
}

fn with(field: &str, value: Value) -> Value {
    let mut plan = plan();
    plan[field] = value;
    plan
}

#[tokio::test]
async fn an_appointment_is_made_with_links_that_are_told_once() {
    let office = Office::open();
    let made = office
        .call("POST", "/v1/appointments", &[], Some(plan()))
        .await;
    assert_eq!((made.status, made.header("etag")), (201, "\"1\""));
    let location = made.header("location").to_owned();
    assert_eq!(
        location,
        format!("/v1/appointments/{}", made.json["id"].as_str().unwrap())
    );
    assert_eq!(made.json["starts_at"], "2026-11-28T09:00:00.000Z");
    let people = made.json["people"].as_array().unwrap();
    let url = people[0]["join_url"].as_str().unwrap();
    assert!(
        url.starts_with("https://termin.example.org/termin#"),
        "{url}"
    );
    assert_eq!(people[1]["linked_to"], people[0]["id"]);
    let seen = office.call("GET", &location, &[], None).await;
    assert_eq!(seen.json["people"][0].get("join_url"), None);
    let again = office
        .call("GET", &location, &[("if-none-match", "\"1\"")], None)
        .await;
    assert_eq!(again.status, 304);
    assert!(!office.holds(url.split_once('#').unwrap().1));
}

#[tokio::test]
async fn keys_see_their_own_authority_and_scopes_only() {
    let office = Office::open();
    let made = office
        .call("POST", "/v1/appointments", &[], Some(plan()))
        .await;
    let path = made.header("location").to_owned();
    let bearer = |secret: &str| format!("Bearer {secret}");
    let as_key = async |secret: &str, path: &str| {
        let header = bearer(secret);
        office
            .call("GET", path, &[("authorization", &header)], None)
            .await
    };
    assert_eq!(
        as_key(OTHER_KEY, &path).await.problem(),
        (404, "no-appointment".into())
    );
    assert_eq!(
        as_key(EVENTS_KEY, &path).await.problem(),
        (403, "scope".into())
    );
    assert_eq!(as_key(EVENTS_KEY, "/v1/events").await.status, 200);
    let unknown = as_key("0123456789abcdef0123456789abcdeX", &path).await;
    assert_eq!(unknown.problem(), (401, "no-key".into()));
    assert_eq!(unknown.header("www-authenticate"), "Bearer");
    // Rotation: both are good, then the new one alone.
    let new = "new-0123456789abcdef0123456789abcdef";
    let old_key = || key("case", "own", &Scope::ALL, KEY);
    let new_key = || key("case-2", "own", &Scope::ALL, new);
    office.keys.replace(vec![old_key(), new_key()]);
    assert_eq!(as_key(KEY, &path).await.status, 200);
    assert_eq!(as_key(new, &path).await.status, 200);
    office.keys.replace(vec![new_key()]);
    assert_eq!(as_key(KEY, &path).await.status, 401);
}

#[tokio::test]
async fn one_idempotency_key_is_one_appointment() {
    let office = Office::open();
    let once = [("idempotency-key", "k-1")];
    let first = office
        .call("POST", "/v1/appointments", &once, Some(plan()))
        .await;
    let second = office
        .call("POST", "/v1/appointments", &once, Some(plan()))
        .await;
    assert_eq!(
        (second.status, second.header("idempotency-replayed")),
        (201, "true")
    );
    assert_eq!(first.json, second.json);
    assert_eq!(first.header("location"), second.header("location"));
    assert_eq!(first.header("idempotency-replayed"), "");
    let other = with("subject", json!("Bafög"));
    let reused = office
        .call("POST", "/v1/appointments", &once, Some(other))
        .await;
    assert_eq!(reused.problem(), (422, "idempotency-key-reused".into()));
    let all = office.call("GET", "/v1/appointments", &[], None).await;
    assert_eq!(all.json["appointments"].as_array().unwrap().len(), 1);
    // What is kept tells the file's reader neither link nor name: that stands in the appointment alone.
    let token = first.json["people"][0]["join_url"].as_str().unwrap();
    assert!(!office.holds(token.split_once('#').unwrap().1));
    for bad in ["", "a b", &"k".repeat(256)] {
        let headers = [("idempotency-key", bad)];
        let refused = office
            .call("POST", "/v1/appointments", &headers, Some(plan()))
            .await;
        assert_eq!(refused.problem(), (400, "malformed".into()), "{bad}");
    }
    let longest = "k".repeat(255);
    let headers = [("idempotency-key", longest.as_str())];
    let taken = office
        .call("POST", "/v1/appointments", &headers, Some(plan()))
        .await;
    assert_eq!(taken.status, 201);
    // After a day it is forgotten.
    office.pass(24 * 3_600 + 1);
    office.desk.sweep().await.unwrap();
    let late = office
        .call("POST", "/v1/appointments", &once, Some(plan()))
        .await;
    assert_eq!(late.problem(), (422, "wrong-window".into()));
}

#[tokio::test]
async fn twins_with_one_idempotency_key_get_one_answer() {
    let office = Office::open();
    let once = [("idempotency-key", "twin")];
    let post = || office.call("POST", "/v1/appointments", &once, Some(plan()));
    let (a, b, c) = tokio::join!(post(), post(), post());
    assert_eq!((a.status, b.status, c.status), (201, 201, 201));
    assert_eq!((&a.json, &a.json), (&b.json, &c.json));
}

#[tokio::test]
async fn a_change_names_the_version_it_saw() {
    let office = Office::open();
    let made = office
        .call("POST", "/v1/appointments", &[], Some(plan()))
        .await;
    let path = made.header("location").to_owned();
    let patch = async |headers: &[(&str, &str)], body: Value| {
        office.call("PATCH", &path, headers, Some(body)).await
    };
    let blind = patch(&[], json!({ "subject": "Neu" })).await;
    assert_eq!(blind.problem(), (428, "if-match-required".into()));
    let moved = json!({ "starts_at": "2026-11-28T12:00:00Z", "ends_at": "2026-11-28T12:30:00Z", "external_ref": null });
    let done = patch(&[("if-match", "\"1\"")], moved.clone()).await;
    assert_eq!((done.status, done.header("etag")), (200, "\"2\""));
    assert_eq!(done.json["external_ref"], Value::Null);
    let stale = patch(&[("if-match", "\"1\"")], moved).await;
    assert_eq!(stale.problem(), (412, "stale".into()));
    let any = patch(&[("if-match", "*")], json!({ "subject": "Neu" })).await;
    assert_eq!(any.status, 200);
    let unknown = patch(&[("if-match", "*")], json!({ "colour": 1 })).await;
    assert_eq!(unknown.problem(), (422, "invalid".into()));
}

#[tokio::test]
async fn every_change_of_people_links_and_state_names_the_version_it_saw() {
    let office = Office::open();
    let made = office
        .call("POST", "/v1/appointments", &[], Some(plan()))
        .await;
    let at = made.header("location").to_owned();
    let person = made.json["people"][1]["id"].as_str().unwrap();
    let people = format!("{at}/people");
    let one = format!("{people}/{person}");
    let link = format!("{one}/link");
    let cancel = format!("{at}/cancel");
    let newcomer = json!({ "role": "observer", "name": "Ford" });
    let mut version = 1;
    for (method, path, body, status) in [
        ("POST", &people, Some(newcomer), 201),
        ("POST", &link, None, 200),
        ("DELETE", &link, None, 200),
        ("DELETE", &one, None, 200),
        ("POST", &cancel, None, 200),
    ] {
        let blind = office.call(method, path, &[], body.clone()).await;
        assert_eq!(blind.problem(), (428, "if-match-required".into()), "{path}");
        for wrong in [format!("\"{}\"", version - 1), "\"x\"".to_owned()] {
            let headers = [("if-match", wrong.as_str())];
            let stale = office.call(method, path, &headers, body.clone()).await;
            assert_eq!(stale.problem(), (412, "stale".into()), "{path}");
        }
        let tag = format!("\"{version}\"");
        let once = [("if-match", tag.as_str()), ("idempotency-key", path)];
        let done = office.call(method, path, &once, body.clone()).await;
        version += 1;
        let expected = format!("\"{version}\"");
        assert_eq!(
            (done.status, done.header("etag")),
            (status, &*expected),
            "{path}"
        );
        // What was carried out is answered again, though the version is another one by now.
        if method == "POST" {
            let again = office.call(method, path, &once, body).await;
            assert_eq!((again.status, &again.json), (status, &done.json), "{path}");
        }
    }
}

#[tokio::test]
async fn somebody_is_changed_and_roles_stay_once_a_link_was_opened() {
    let office = Office::open();
    let made = office
        .call("POST", "/v1/appointments", &[], Some(plan()))
        .await;
    let at = made.header("location").to_owned();
    let (citizen, interpreter) = (person(&made, 0), person(&made, 1));
    let patch = async |who: &PersonId, body: Value| {
        let path = format!("{at}/people/{who}");
        office
            .call("PATCH", &path, &[("if-match", "*")], Some(body))
            .await
    };
    let path = format!("{at}/people/{citizen}");
    let name = json!({ "name": "Zaphod Neu" });
    let blind = office.call("PATCH", &path, &[], Some(name.clone())).await;
    assert_eq!(blind.problem(), (428, "if-match-required".into()));
    let stale = [("if-match", "\"0\"")];
    let stale = office.call("PATCH", &path, &stale, Some(name)).await;
    assert_eq!(stale.problem(), (412, "stale".into()));

    let both = json!({ "name": "Zaphod Neu", "language": "de" });
    let changed = patch(&citizen, both).await;
    assert_eq!((changed.status, changed.header("etag")), (200, "\"2\""));
    let one = &changed.json["people"][0];
    assert_eq!(
        (&one["name"], &one["language"]),
        (&json!("Zaphod Neu"), &json!("de"))
    );
    assert_eq!(one["needs"]["signing"], true, "what is not named stays");
    let changed = patch(&citizen, json!({ "language": null })).await;
    assert_eq!(changed.json["people"][0]["language"], Value::Null);

    // Nobody belongs to somebody who is no partner, and there is always a citizen.
    for (who, body, problem) in [
        (
            &interpreter,
            json!({ "role": "observer" }),
            (422, "wrong-partner"),
        ),
        (&citizen, json!({ "role": "observer" }), (422, "no-citizen")),
        (&citizen, json!({ "role": "official" }), (409, "role-fixed")),
        (
            &interpreter,
            json!({ "language": "fr" }),
            (422, "wrong-language"),
        ),
        (&interpreter, json!({ "name": "" }), (422, "invalid")),
        (&interpreter, json!({ "needs": {} }), (422, "invalid")),
    ] {
        let answer = patch(who, body.clone()).await;
        assert_eq!(
            answer.problem(),
            (problem.0, problem.1.to_owned()),
            "{body}"
        );
    }
    let freed = json!({ "role": "observer", "linked_to": null });
    let freed = patch(&interpreter, freed).await;
    assert_eq!(freed.json["people"][1]["role"], "observer");
    let back = json!({ "role": "companion", "linked_to": citizen });
    let back = patch(&interpreter, back).await;
    assert_eq!(back.json["people"][1]["linked_to"], json!(citizen));

    // The link was opened: role and partner stay, also by a new one; the name does not.
    office.desk.open(&token(&made, 1), None).await.unwrap();
    let later = json!({ "role": "interpreter" });
    let fixed = (409, "role-fixed".to_owned());
    assert_eq!(patch(&interpreter, later.clone()).await.problem(), fixed);
    let alone = json!({ "linked_to": null });
    assert_eq!(patch(&interpreter, alone).await.problem(), fixed);
    let same = json!({ "role": "companion", "name": "Trillian Neu" });
    assert_eq!(patch(&interpreter, same).await.status, 200);
    let link = format!("{at}/people/{interpreter}/link");
    office.call("POST", &link, &[("if-match", "*")], None).await;
    assert_eq!(patch(&interpreter, later).await.problem(), fixed);

    let told = office.call("GET", "/v1/events", &[], None).await;
    let changes: Vec<_> = told.json["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["type"] == "appointment.changed")
        .collect();
    assert_eq!(changes.len(), 5);
    assert_eq!(changes[0]["data"]["person"], json!(citizen));
    for name in ["Zaphod", "Trillian", "\"de\""] {
        assert!(!told.text.contains(name), "{name}");
    }
    let cancel = format!("{at}/cancel");
    office
        .call("POST", &cancel, &[("if-match", "*")], None)
        .await;
    let over = patch(&citizen, json!({ "name": "Z" })).await;
    assert_eq!(over.problem(), (410, "cancelled".into()));
}

#[tokio::test]
async fn limits_hold_at_their_edges() {
    let office = Office::open();
    let post = async |body: Value| {
        let answer = office
            .call("POST", "/v1/appointments", &[], Some(body))
            .await;
        if answer.status == 201 {
            (201, String::new())
        } else {
            answer.problem()
        }
    };
    let people = |n: usize| json!(vec![json!({ "role": "citizen", "name": "A" }); n]);
    let fine = (201, String::new());
    let invalid = |code: &str| (422, code.to_owned());
    assert_eq!(post(with("people", people(MAX_PEOPLE))).await, fine);
    assert_eq!(
        post(with("people", people(MAX_PEOPLE + 1))).await,
        invalid("too-many-people")
    );
    assert_eq!(post(with("people", people(0))).await, invalid("no-citizen"));
    assert_eq!(
        post(with("subject", json!("s".repeat(MAX_SUBJECT)))).await,
        fine
    );
    assert_eq!(
        post(with("subject", json!("s".repeat(MAX_SUBJECT + 1)))).await,
        invalid("invalid")
    );
    for (ends_at, expected) in [
        ("2026-11-28T09:01:00Z", fine.clone()),
        ("2026-11-28T09:00:59Z", invalid("wrong-window")),
        ("2026-11-28T21:00:00Z", fine.clone()),
        ("2026-11-28T21:00:01Z", invalid("wrong-window")),
    ] {
        assert_eq!(
            post(with("ends_at", json!(ends_at))).await,
            expected,
            "{ends_at}"
        );
    }
    let two_years = |seconds: i64| {
        let mut plan = plan();
        let starts = 1_795_856_400 + 2 * 366 * 86_400 + seconds;
        let text = |s: i64| schalter_desk::domain::Timestamp::from_ms(s * 1_000).to_string();
        plan["starts_at"] = json!(text(starts));
        plan["ends_at"] = json!(text(starts + 600));
        plan
    };
    assert_eq!(post(two_years(0)).await, fine);
    assert_eq!(post(two_years(1)).await, invalid("wrong-window"));
    let own = json!([{ "role": "citizen", "name": "A", "linked_to": 0 }]);
    assert_eq!(post(with("people", own)).await, invalid("wrong-partner"));
    let far = json!([{ "role": "citizen", "name": "A" }, { "role": "companion", "name": "B", "linked_to": 7 }]);
    assert_eq!(post(with("people", far)).await, invalid("wrong-partner"));
    for (query, status) in [
        ("limit=500", 200),
        ("limit=501", 400),
        ("limit=0", 400),
        ("cursor=x", 400),
        ("what=1", 400),
    ] {
        let path = format!("/v1/appointments?{query}");
        assert_eq!(
            office.call("GET", &path, &[], None).await.status,
            status,
            "{query}"
        );
    }
    let big = with("subject", json!("x".repeat(70_000)));
    assert_eq!(post(big).await, (413, "too-large".into()));
    assert_eq!(
        office
            .call("PUT", "/v1/events", &[], None)
            .await
            .problem()
            .0,
        405
    );
    assert_eq!(
        office.call("GET", "/v1/what", &[], None).await.problem().0,
        404
    );
}

#[tokio::test]
async fn a_list_has_pages() {
    let office = Office::open();
    for _ in 0..5 {
        office
            .call("POST", "/v1/appointments", &[], Some(plan()))
            .await;
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut path = "/v1/appointments?limit=2".to_owned();
    for pages in 1.. {
        let page = office.call("GET", &path, &[], None).await;
        for one in page.json["appointments"].as_array().unwrap() {
            assert!(seen.insert(one["id"].as_str().unwrap().to_owned()));
        }
        let Some(next) = page.json["next"].as_str() else {
            assert_eq!(pages, 3);
            break;
        };
        path = format!("/v1/appointments?limit=2&cursor={next}");
    }
    assert_eq!(seen.len(), 5);
}

#[tokio::test]
async fn events_are_replayed_from_any_number_and_name_nobody() {
    let office = Office::open();
    let made = office
        .call("POST", "/v1/appointments", &[], Some(plan()))
        .await;
    let path = format!("{}/cancel", made.header("location"));
    let cancelled = office.call("POST", &path, &[("if-match", "*")], None);
    assert_eq!(cancelled.await.status, 200);
    let all = office.call("GET", "/v1/events", &[], None).await;
    let kinds: Vec<_> = all.json["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["type"].clone())
        .collect();
    assert_eq!(
        kinds,
        [
            "appointment.created",
            "link.issued",
            "link.issued",
            "appointment.cancelled"
        ]
    );
    let text = all.json.to_string();
    assert!(!text.contains("Zaphod") && !text.contains("Wohngeld"));
    let rest = office.call("GET", "/v1/events?after=3", &[], None).await;
    assert_eq!(
        (&rest.json["events"][0]["seq"], &rest.json["last"]),
        (&json!(4), &json!(4))
    );
    let none = office.call("GET", "/v1/events?after=4", &[], None).await;
    assert_eq!(
        (
            none.json["events"].as_array().unwrap().len(),
            &none.json["last"]
        ),
        (0, &json!(4))
    );
    assert_eq!(
        office
            .call("GET", "/v1/events?after=-1", &[], None)
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn a_record_is_exported_and_then_erased() {
    let office = Office::open();
    office
        .call(
            "POST",
            "/v1/appointments",
            &[("idempotency-key", "k")],
            Some(plan()),
        )
        .await;
    let record = office.call("GET", "/v1/records/case-1", &[], None).await;
    assert_eq!(
        record.json["records"][0]["appointment"]["people"][0]["name"],
        "Zaphod Musterfrau"
    );
    assert_eq!(
        record.json["records"][0]["events"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    assert!(office.holds("Zaphod"));
    let other = format!("Bearer {OTHER_KEY}");
    let theirs = [("authorization", other.as_str())];
    assert_eq!(
        office
            .call("DELETE", "/v1/records/case-1", &theirs, None)
            .await
            .status,
        404
    );
    assert_eq!(
        office
            .call("DELETE", "/v1/records/case-1", &[], None)
            .await
            .status,
        204
    );
    assert!(!office.holds("Zaphod") && !office.holds("Trillian") && !office.holds("Wohngeld"));
    assert_eq!(
        office
            .call("GET", "/v1/records/case-1", &[], None)
            .await
            .problem(),
        (404, "no-record".into())
    );
}

#[tokio::test]
async fn a_path_that_is_no_text_is_told_as_a_problem() {
    let office = Office::open();
    for path in ["/v1/records/%FF", "/v1/appointments/%FF"] {
        let answer = office.call("GET", path, &[], None).await;
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.problem().0, 400, "{path}");
    }
}

#[tokio::test]
async fn a_list_is_no_object_though_its_values_would_fit() {
    let office = Office::open();
    let made = office
        .call("POST", "/v1/appointments", &[], Some(plan()))
        .await;
    let path = made.header("location").to_owned();
    for body in [json!([]), json!(["Other subject"])] {
        let answer = office
            .call("PATCH", &path, &[("if-match", "*")], Some(body))
            .await;
        assert_eq!(answer.problem().0, 422);
    }
    let seen = office.call("GET", &path, &[], None).await;
    assert_eq!(seen.json["subject"], "Wohngeld");

    // Nor inside of an object.
    for (place, list) in [
        ("/people/0", json!(["citizen", "Toni Muster"])),
        ("/people/0/needs", json!([true, true, true, true])),
        ("/people/0/needs", json!([])),
    ] {
        let mut plan = plan();
        plan["people"][0]["needs"] = json!({});
        *plan.pointer_mut(place).unwrap() = list;
        let answer = office
            .call("POST", "/v1/appointments", &[], Some(plan))
            .await;
        assert_eq!(answer.problem().0, 422, "{place}");
    }
}
