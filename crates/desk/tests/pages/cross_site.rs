//! Requests that other sites make a browser send.

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::json;

use crate::support::{Office, code};

#[tokio::test]
async fn what_no_page_of_ours_sent_changes_nothing() {
    let office = Office::open().await;
    let mut citizen = office.waiting().await;
    let mut official = office.official("ulm").await;
    let end = format!("/appointments/{}/end", office.id);
    for origin in [
        None,
        Some("null"),
        Some("https://evil.example"),
        Some("http://video.example.org"),
        Some("https://video.example.org.evil.example"),
    ] {
        for browser in [&mut citizen, &mut official] {
            browser.origin = origin.map(str::to_owned);
        }
        for path in [
            "/me/leave",
            "/me/notice",
            "/me/devices",
            "/me/needs",
            "/me/wait",
            "/me/seat",
        ] {
            let (status, problem) = citizen.post(path, json!({})).await;
            assert_eq!(
                (status, code(&problem)),
                (StatusCode::FORBIDDEN, "cross-site"),
                "{path}"
            );
        }
        let decisions =
            ["admit", "deny", "hold", "remove", "message"].map(|what| office.decide(what));
        let others = [
            "/login/demo",
            "/login/link",
            "/logout",
            "/links/open",
            "/nothing",
            &end,
        ];
        for path in decisions.iter().map(String::as_str).chain(others) {
            let (status, problem) = official.post(path, json!({})).await;
            assert_eq!(
                (status, code(&problem)),
                (StatusCode::FORBIDDEN, "cross-site"),
                "{path}"
            );
            assert!(!official.headers.contains_key("set-cookie"));
        }
        for method in ["PATCH", "DELETE", "PUT"] {
            let path = format!("/appointments/{}", office.id);
            let json = Some("application/json");
            let (status, _) = official.send(method, &path, Body::from("{}"), json).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{method}");
        }
    }
    let own = crate::support::URL.to_owned();
    citizen.origin = Some(own.clone());
    official.origin = Some(own);
    let (_, view) = citizen.get("/me").await;
    assert_eq!(view["me"]["stage"], "waiting");
    assert_eq!(official.get("/official").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_form_is_no_json_even_from_our_own_page() {
    let office = Office::open().await;
    let mut official = office.official("ulm").await;
    for kind in [
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        None,
    ] {
        let path = office.decide("admit");
        let (status, _) = official.send("POST", &path, Body::from("{}"), kind).await;
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{kind:?}");
    }
}

#[tokio::test]
async fn no_answer_lets_another_site_read_it() {
    let office = Office::open().await;
    let mut official = office.official("ulm").await;
    for path in ["/official", "/appointments", "/office?authority=ulm", "/me"] {
        official.get(path).await;
        let headers = &official.headers;
        assert!(
            !headers.contains_key("access-control-allow-origin"),
            "{path}"
        );
        assert_eq!(
            headers["cross-origin-resource-policy"], "same-origin",
            "{path}"
        );
        assert_eq!(headers["cache-control"], "no-store", "{path}");
    }
}
