//! From the link to the end.

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::json;

use crate::support::{Office, code};

#[tokio::test]
async fn a_citizen_comes_in_by_admission_and_goes_out_by_hold_and_end() {
    let office = Office::open().await;
    let mut official = office.official("ulm").await;
    let mut citizen = office.browser();
    let (status, view) = citizen
        .post("/links/open", json!({"token": office.link}))
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(view["me"]["stage"], "opened");
    assert_eq!(view["present"], json!([]));
    let (status, problem) = citizen.post("/me/seat", json!({})).await;
    assert_eq!(
        (status, code(&problem)),
        (StatusCode::CONFLICT, "not-admitted")
    );
    let (status, problem) = citizen.post("/me/wait", json!({})).await;
    assert_eq!(
        (status, code(&problem)),
        (StatusCode::CONFLICT, "notice-first")
    );
    let wrong = json!({"hash": "A".repeat(43), "agreed": true});
    let (status, problem) = citizen.post("/me/notice", wrong).await;
    assert_eq!(
        (status, code(&problem)),
        (StatusCode::CONFLICT, "notice-changed")
    );

    // What is agreed to is the text in one's own language, and its hash is what is noted.
    let english = &view["notices"]["en"];
    assert_eq!(english["text"], "Text in English");
    assert_ne!(english["hash"], view["notice"]["hash"]);
    let right = json!({"hash": english["hash"], "agreed": true});
    let (status, agreed) = citizen.post("/me/notice", right).await;
    assert_eq!(
        (status, &agreed["me"]["notice_agreed"]),
        (StatusCode::OK, &json!(true))
    );
    citizen.post("/me/wait", json!({})).await;
    let (_, day) = official.get("/appointments").await;
    let card = &day["appointments"][0];
    assert_eq!(day["day"], "2026-11-28");
    assert_eq!(card["people"][0]["stage"], "waiting");
    assert!(card["people"][0].get("join_url").is_none());
    official
        .post(
            &office.decide("message"),
            json!({"text": "Gleich <b>dran</b>"}),
        )
        .await;
    let (_, view) = citizen.get("/me").await;
    assert_eq!(view["me"]["message"]["text"], "Gleich <b>dran</b>");
    assert_eq!(view["present"], json!([]), "who waits sees nobody");

    let (status, card) = official.post(&office.decide("admit"), json!({})).await;
    assert_eq!(
        (status, &card["people"][0]["stage"]),
        (StatusCode::OK, &json!("admitted"))
    );
    let (status, seat) = citizen.post("/me/seat", json!({})).await;
    assert_eq!(status, StatusCode::OK);
    let identity = office.citizen.as_str();
    assert!(seat["token"].as_str().unwrap().contains(identity), "{seat}");
    let seat_of_official = format!("/appointments/{}/seat", office.id);
    assert_eq!(
        official.post(&seat_of_official, json!({})).await.0,
        StatusCode::OK
    );
    let (_, view) = citizen.get("/me").await;
    assert_eq!(view["present"].as_array().unwrap().len(), 2);

    official.post(&office.decide("hold"), json!({})).await;
    assert_eq!(
        *office.rooms.0.lock().unwrap(),
        [format!("dismiss {identity}")]
    );
    let (status, problem) = citizen.post("/me/seat", json!({})).await;
    assert_eq!(
        (status, code(&problem)),
        (StatusCode::CONFLICT, "not-admitted")
    );
    let (_, view) = citizen.get("/me").await;
    assert_eq!(
        (&view["me"]["stage"], &view["present"]),
        (&json!("held"), &json!([]))
    );

    let end = format!("/appointments/{}/end", office.id);
    let (status, problem) = official.post(&end, json!({"outcome": "fun"})).await;
    assert_eq!(
        (status, code(&problem)),
        (StatusCode::UNPROCESSABLE_ENTITY, "wrong-outcome")
    );
    assert_eq!(
        official.post(&end, json!({"outcome": "done"})).await.0,
        StatusCode::OK
    );
    assert_eq!(office.rooms.0.lock().unwrap().last().unwrap(), "close");
    let (_, view) = citizen.get("/me").await;
    assert_eq!(
        (&view["me"]["stage"], &view["appointment"]["outcome"]),
        (&json!("ended"), &json!("done"))
    );
}

#[tokio::test]
async fn doors_open_and_close_and_the_page_is_told_when() {
    let office = Office::open().await;
    let mut citizen = office.browser();
    office.clock.pass(-1_801);
    let body = json!({"token": office.link});
    let (status, problem) = citizen.post("/links/open", body.clone()).await;
    assert_eq!(
        (status, code(&problem)),
        (StatusCode::CONFLICT, "too-early")
    );
    assert_eq!(problem["opens_at"], "2026-11-28T08:30:00.000Z");
    assert!(citizen.cookies.is_empty());
    office.clock.pass(1);
    assert_eq!(
        citizen.clone().post("/links/open", body.clone()).await.0,
        StatusCode::OK
    );
    office.clock.pass(1_800 + 1_800 + 3_600);
    let (status, problem) = citizen.post("/links/open", body).await;
    assert_eq!((status, code(&problem)), (StatusCode::GONE, "too-late"));
}

#[tokio::test]
async fn a_scanner_burns_nothing_and_the_same_browser_comes_back() {
    let office = Office::open().await;
    let mut scanner = office.browser();
    for path in ["/links/open", "/me", "/office?authority=ulm"] {
        scanner.get(path).await;
    }
    let mut citizen = office.waiting().await;
    let cookies = citizen.cookies.clone();
    let (status, view) = citizen
        .post("/links/open", json!({"token": office.link}))
        .await;
    assert_eq!(
        (status, &view["me"]["stage"]),
        (StatusCode::OK, &json!("waiting"))
    );
    assert_eq!(citizen.cookies, cookies);

    let mut other = office.browser();
    let (status, view) = other
        .post("/links/open", json!({"token": office.link}))
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(view["me"]["other_device"], true);
    assert_ne!(other.cookies, cookies);
}

#[tokio::test]
async fn what_people_wrote_stays_text() {
    let office = Office::open().await;
    let mut citizen = office.browser();
    let (_, view) = citizen
        .post("/links/open", json!({"token": office.link}))
        .await;
    assert_eq!(citizen.headers["content-type"], "application/json");
    assert_eq!(view["me"]["name"], "<b>Erika</b> & \"Söhne\"");
    assert_eq!(
        view["appointment"]["subject"],
        "<img src=x onerror=alert(1)>"
    );
    let (_, texts) = citizen.get("/texts/de?authority=ulm").await;
    assert_eq!(texts, json!({"title": "<script>alert(1)</script>"}));
    assert_eq!(citizen.get("/texts/xx?authority=ulm").await.1, json!({}));
    assert_eq!(citizen.headers["content-type"], "application/json");
    assert_eq!(citizen.headers["x-content-type-options"], "nosniff");
    assert_eq!(citizen.headers["cache-control"], "no-store");
    let policy = citizen.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("sandbox"));

    citizen.get("/logo/ulm").await;
    assert_eq!(citizen.headers["content-type"], "image/svg+xml");
    let policy = citizen.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("default-src 'none'") && policy.contains("sandbox"),
        "{policy}"
    );
    assert!(!policy.contains("script-src"), "{policy}");
    assert_eq!(citizen.get("/logo/bonn").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn another_office_sees_and_decides_nothing() {
    let office = Office::open().await;
    let mut citizen = office.waiting().await;
    let mut stranger = office.official("bonn").await;
    let (_, day) = stranger.get("/appointments").await;
    assert_eq!(day["appointments"], json!([]));
    let at = format!("/appointments/{}", office.id);
    assert_eq!(stranger.get(&at).await.0, StatusCode::NOT_FOUND);
    for what in ["admit", "deny", "hold", "remove"] {
        let (status, problem) = stranger.post(&office.decide(what), json!({})).await;
        assert_eq!(
            (status, code(&problem)),
            (StatusCode::NOT_FOUND, "no-appointment"),
            "{what}"
        );
    }
    let seat = format!("{at}/seat");
    assert_eq!(
        stranger.post(&seat, json!({})).await.0,
        StatusCode::NOT_FOUND
    );
    // A citizen's cookie is none of an official's.
    citizen.cookies = citizen
        .cookies
        .iter()
        .map(|(name, value)| (format!("{name}-official"), value.clone()))
        .collect();
    assert_eq!(
        citizen.post(&office.decide("admit"), json!({})).await.0,
        StatusCode::UNAUTHORIZED
    );
    let (_, card) = office.official("ulm").await.get(&at).await;
    assert_eq!(card["people"][0]["stage"], "waiting");
}

#[tokio::test]
async fn a_colleague_comes_by_a_link_that_opens_once_and_not_for_long() {
    let office = Office::open().await;
    let mut official = office.official("ulm").await;
    let path = format!("/appointments/{}/colleague", office.id);
    let link = async |official: &mut crate::support::Browser| {
        let (status, made) = official.post(&path, json!({})).await;
        assert_eq!(status, StatusCode::OK);
        let url = made["join_url"].as_str().unwrap().to_owned();
        let token = url.strip_prefix("https://video.example.org/amt#einladung=");
        token.unwrap().to_owned()
    };
    let token = link(&mut official).await;
    let mut colleague = office.browser();
    let (_, view) = colleague.post("/links/open", json!({"token": token})).await;
    assert_eq!(
        (&view["me"]["role"], &view["me"]["stage"]),
        (&json!("official"), &json!("admitted"))
    );
    let (status, problem) = office
        .browser()
        .post("/links/open", json!({"token": token}))
        .await;
    assert_eq!((status, code(&problem)), (StatusCode::GONE, "link-revoked"));
    let late = link(&mut official).await;
    office.clock.pass(15 * 60);
    let (status, _) = office
        .browser()
        .post("/links/open", json!({"token": late}))
        .await;
    assert_eq!(status, StatusCode::GONE);
}

#[tokio::test]
async fn bodies_and_addresses_that_make_no_sense_are_problems() {
    let office = Office::open().await;
    let mut official = office.official("ulm").await;
    for (path, body, status) in [
        ("/links/open", "{", 422),
        ("/links/open", "[]", 422),
        ("/links/open", r#"{"token": 1}"#, 422),
        ("/links/open", r#"{"token": "x", "more": 1}"#, 422),
        ("/links/open", r#"{"token": "x"}"#, 404),
        ("/login/demo", r#"{"authority": "ulm"}"#, 422),
        ("/nothing", "{}", 404),
        ("/me", "{}", 405),
        ("/appointments/apt_x/seat", "{}", 404),
        ("/appointments/apt_x/people/per_x/admit", "{}", 404),
    ] {
        let json = Some("application/json");
        let (got, problem) = official.send("POST", path, Body::from(body), json).await;
        assert_eq!(got.as_u16(), status, "{path} {body} {problem}");
        assert_eq!(
            official.headers["content-type"], "application/problem+json",
            "{path}"
        );
        assert!(!code(&problem).is_empty());
    }
    assert_eq!(
        official
            .get("/appointments?day=2026-02-30")
            .await
            .0
            .as_u16(),
        422
    );
    let (status, several) = official.get("/office").await;
    assert_eq!(status.as_u16(), 404, "there are two");
    let lines = several["offices"].as_array().expect("whom to call");
    assert_eq!(lines.len(), 2);
    assert!(
        lines
            .iter()
            .all(|one| one["name"].is_string() && one["phone"].is_string())
    );
    let ids: Vec<_> = lines.iter().map(|one| one["id"].as_str()).collect();
    assert_eq!(ids, [Some("bonn"), Some("ulm")], "to log in to");
    let (status, unknown) = official.get("/office?authority=nowhere").await;
    assert_eq!(status.as_u16(), 404);
    assert!(
        unknown["offices"].is_null(),
        "whoever names one asks for that one"
    );
    let long = json!({"text": "x".repeat(501)});
    assert_eq!(
        official
            .post(&office.decide("message"), long)
            .await
            .0
            .as_u16(),
        422
    );
    let (_, day) = official.get("/appointments?day=2026-11-27").await;
    assert_eq!(day["appointments"], json!([]));
}

#[tokio::test]
async fn an_official_plans_and_links_are_told_once() {
    let office = Office::open().await;
    let mut official = office.official("ulm").await;
    let new = json!({
        "subject": "Wohngeld", "starts_at": "2026-11-28T10:00:00+01:00", "ends_at": "2026-11-28T10:30:00+01:00",
        "people": [{"role": "citizen", "name": "Ada", "needs": {"signing": true}},
                   {"role": "interpreter", "name": "Bo", "linked_to": 0}, {"role": "official", "name": "Cem"}]
    });
    let (status, card) = official.post("/appointments", new.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{card}");
    assert_eq!(card["starts_at"], "2026-11-28T09:00:00.000Z");
    let people = card["people"].as_array().unwrap();
    assert_eq!(people[1]["linked_to"], people[0]["id"]);
    let url = |index: usize| people[index]["join_url"].as_str().unwrap();
    assert!(url(0).starts_with("https://video.example.org/termin#"));
    assert!(url(2).starts_with("https://video.example.org/amt#einladung="));
    let id = card["id"].as_str().unwrap();
    let at = format!("/appointments/{id}");
    let (_, again) = official.get(&at).await;
    assert!(!again.to_string().contains("join_url"));

    let person = people[0]["id"].as_str().unwrap();
    official.if_match = Some("\"1\"".to_owned());
    let (status, made) = official
        .post(&format!("{at}/people/{person}/link"), json!({}))
        .await;
    assert_eq!(status, StatusCode::OK);
    let token = |url: &str| url.split('#').nth(1).unwrap().to_owned();
    let (status, problem) = office
        .browser()
        .post("/links/open", json!({"token": token(url(0))}))
        .await;
    assert_eq!(code(&problem), "link-unknown", "{status}");
    let fresh = token(made["join_url"].as_str().unwrap());
    let open = json!({"token": fresh});
    assert_eq!(
        office.browser().post("/links/open", open.clone()).await.0,
        StatusCode::OK
    );
    let json = Some("application/json");
    let link = format!("{at}/people/{person}/link");
    // Somebody opened it meanwhile.
    let (status, _) = official.send("DELETE", &link, Body::empty(), None).await;
    assert_eq!(status, StatusCode::PRECONDITION_FAILED);
    official.if_match = Some("*".to_owned());
    let (status, _) = official.send("DELETE", &link, Body::empty(), None).await;
    assert_eq!(status, StatusCode::OK);
    official.if_match = None;
    assert_eq!(
        office.browser().post("/links/open", open).await.0,
        StatusCode::GONE
    );

    let (status, _) = official.send("PATCH", &at, Body::from("{}"), json).await;
    assert_eq!(status.as_u16(), 428);
    let (_, card) = official.get(&at).await;
    let version = card["version"].as_u64().unwrap();
    let patch = |version: u64| {
        (
            format!("\"{version}\""),
            json!({"subject": "Elterngeld"}).to_string(),
        )
    };
    for (version, expected) in [(version - 1, 412), (version, 200), (version, 412)] {
        let (tag, body) = patch(version);
        official.if_match = Some(tag);
        let (status, card) = official.send("PATCH", &at, Body::from(body), json).await;
        assert_eq!(status.as_u16(), expected, "{card}");
    }
    official.if_match = Some("*".to_owned());
    let (status, card) = official
        .post(
            &format!("{at}/people"),
            json!({"role": "companion", "name": "Di", "linked_to": person}),
        )
        .await;
    assert_eq!(
        (status, card["people"].as_array().unwrap().len()),
        (StatusCode::CREATED, 4)
    );
    let added = card["people"][3]["id"].as_str().unwrap();
    let gone = format!("{at}/people/{added}");
    assert_eq!(
        official.send("DELETE", &gone, Body::empty(), None).await.0,
        StatusCode::OK
    );
    let (_, card) = official.post(&format!("{at}/cancel"), json!({})).await;
    assert_eq!(card["state"], "cancelled");

    for (key, value) in [
        ("subject", json!("")),
        ("subject", json!("x".repeat(201))),
        ("starts_at", json!("tomorrow")),
        ("ends_at", json!("2026-11-28T09:00:30Z")),
        ("people", json!([])),
        ("people", json!([{"role": "king", "name": "x"}])),
        ("people", json!([{"role": "citizen", "name": "a\u{202e}b"}])),
        (
            "people",
            json!([{"role": "interpreter", "name": "x", "linked_to": 7}]),
        ),
        ("secret", json!(1)),
    ] {
        let mut wrong = new.clone();
        wrong[key] = value.clone();
        let (status, problem) = official.post("/appointments", wrong).await;
        assert_eq!(
            status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{key} {value} {problem}"
        );
    }
}

#[tokio::test]
async fn addresses_that_cannot_be_read_are_told_as_problems() {
    let office = Office::open().await;
    let mut browser = office.browser();
    for path in [
        "/texts/%FF",
        "/logo/%FF",
        "/office?authority=ulm&authority=ulm",
        "/login/oidc?authority=ulm&authority=ulm",
        "/login/oidc/callback?state=1&state=2",
    ] {
        let (status, problem) = browser.get(path).await;
        assert_eq!(
            (status, code(&problem)),
            (StatusCode::BAD_REQUEST, "malformed"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_list_is_no_object() {
    let office = Office::open().await;
    let mut browser = office.browser();
    let (status, problem) = browser.post("/links/open", json!([office.link])).await;
    assert_eq!(
        (status, code(&problem)),
        (StatusCode::UNPROCESSABLE_ENTITY, "invalid")
    );
}

#[tokio::test]
async fn whoever_is_denied_may_be_told_why() {
    let office = Office::open().await;
    let mut citizen = office.waiting().await;
    let mut official = office.official("ulm").await;
    let deny = office.decide("deny");
    for bad in ["  ".to_owned(), "m".repeat(501)] {
        let (status, _) = official.post(&deny, json!({ "text": bad })).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let (_, view) = citizen.get("/me").await;
    assert_eq!(view["me"]["stage"], "waiting", "nothing is decided by half");
    let why = json!({"text": "Bitte kommen Sie mit Ausweis wieder."});
    assert_eq!(official.post(&deny, why).await.0, StatusCode::OK);
    let (_, view) = citizen.get("/me").await;
    assert_eq!(view["me"]["stage"], "denied");
    assert_eq!(
        view["me"]["message"]["text"],
        "Bitte kommen Sie mit Ausweis wieder."
    );
}

#[tokio::test]
async fn a_colleague_is_seen_under_a_name_or_as_the_office() {
    let office = Office::open().await;
    let mut official = office.official("ulm").await;
    let ask = format!("/appointments/{}/colleague", office.id);
    let long = json!({"name": "n".repeat(101)});
    let (status, _) = official.post(&ask, long).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    official.post(&ask, json!({})).await;
    official.post(&ask, json!({"name": "Herr Öz"})).await;
    let (_, day) = official.get("/appointments").await;
    let people = day["appointments"][0]["people"].as_array().unwrap();
    let names: Vec<_> = people.iter().map(|one| one["name"].as_str()).collect();
    assert_eq!(names[1..], [Some("Stadt <b>ulm</b>"), Some("Herr Öz")]);
}

#[tokio::test]
async fn somebody_is_spoken_to_in_a_language_of_the_office_only() {
    let office = Office::open().await;
    let mut official = office.official("ulm").await;
    official.if_match = Some("*".to_owned());
    let people = format!("/appointments/{}/people", office.id);
    let ask = |language| json!({"role": "citizen", "name": "Kim", "language": language});
    let (status, problem) = official.post(&people, ask("fr")).await;
    assert_eq!(
        (status, code(&problem)),
        (StatusCode::UNPROCESSABLE_ENTITY, "wrong-language")
    );
    let (status, card) = official.post(&people, ask("de")).await;
    assert_eq!(status, StatusCode::CREATED);
    let last = card["people"].as_array().unwrap().last().unwrap();
    assert_eq!(last["language"], "de");
    let link = last["join_url"].as_str().unwrap().rsplit_once('#').unwrap();
    let mut citizen = office.browser();
    let (_, view) = citizen.post("/links/open", json!({"token": link.1})).await;
    assert_eq!(view["me"]["language"], "de");
}
