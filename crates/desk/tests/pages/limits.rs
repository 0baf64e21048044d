//! What one address or one session may do, at the edge and past it.

use axum::body::Body;
use axum::http::StatusCode;
use schalter_desk::login::limiter::{LINK_GUESSES, LOGIN_FAILURES, LOGIN_STARTS};
use serde_json::json;

use crate::support::{Office, code};

#[tokio::test]
async fn wrong_links_are_limited_by_address_and_right_ones_are_not() {
    let office = Office::open().await;
    let mut browser = office.browser();
    let right = json!({"token": office.link});
    for _ in 0..LINK_GUESSES.burst * 2 {
        assert_eq!(
            browser.post("/links/open", right.clone()).await.0,
            StatusCode::OK
        );
    }
    for index in 0..LINK_GUESSES.burst {
        // One has the form of a link, the other hasn't.
        let token = if index % 2 == 0 {
            "A".repeat(27)
        } else {
            "guess".to_owned()
        };
        let (status, problem) = browser.post("/links/open", json!({"token": token})).await;
        assert_eq!(
            (status, code(&problem)),
            (StatusCode::NOT_FOUND, "link-unknown")
        );
    }
    let wrong = json!({"token": "A".repeat(27)});
    let (status, problem) = browser.post("/links/open", wrong.clone()).await;
    assert_eq!(
        (status, code(&problem)),
        (StatusCode::TOO_MANY_REQUESTS, "too-many-tries")
    );
    assert_eq!(browser.headers["retry-after"], "10");
    // Who has a right one shares the address with whoever guesses, and gets in.
    assert_eq!(browser.post("/links/open", right).await.0, StatusCode::OK);
    let mut other = office.browser();
    other.address = "192.0.2.8:40000".parse().unwrap();
    let elsewhere = other.post("/links/open", wrong.clone()).await;
    assert_eq!(elsewhere.0, StatusCode::NOT_FOUND);
    office.clock.pass(10);
    assert_eq!(
        browser.post("/links/open", wrong).await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn failed_logins_are_limited_by_address_and_good_ones_are_not() {
    let office = Office::open().await;
    let mut browser = office.browser();
    let right = json!({"authority": "ulm", "official": "kim"});
    for _ in 0..LOGIN_FAILURES.burst * 2 {
        assert_eq!(
            browser.post("/login/demo", right.clone()).await.0,
            StatusCode::OK
        );
    }
    for index in 0..LOGIN_FAILURES.burst {
        let (path, body) = if index % 2 == 0 {
            ("/login/demo", json!({"authority": "ulm", "official": "x"}))
        } else {
            ("/login/link", json!({"token": "x"}))
        };
        assert!(browser.post(path, body).await.0.is_client_error());
    }
    let (status, _) = browser.post("/login/demo", right.clone()).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(browser.headers["retry-after"], "30");
    office.clock.pass(30);
    assert_eq!(browser.post("/login/demo", right).await.0, StatusCode::OK);
}

#[tokio::test]
async fn logins_that_one_address_begins_are_limited() {
    let office = Office::open().await;
    let mut browser = office.browser();
    for _ in 0..LOGIN_STARTS.burst {
        assert_eq!(
            browser.get("/login/oidc?authority=ulm").await.0,
            StatusCode::FOUND
        );
        assert_eq!(
            browser.headers["location"],
            "/amt#login-error=login-unknown"
        );
    }
    let (status, _) = browser.get("/login/oidc?authority=ulm").await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_body_has_a_bound() {
    let office = Office::open().await;
    let mut browser = office.browser();
    let body = |len: usize| {
        let frame = r#"{"token": ""}"#.len();
        Body::from(json!({"token": "x".repeat(len - frame + 1)}).to_string())
    };
    let json = Some("application/json");
    let (status, _) = browser
        .send("POST", "/links/open", body(64 * 1024), json)
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, problem) = browser
        .send("POST", "/links/open", body(64 * 1024 + 1), json)
        .await;
    assert_eq!(
        (status, code(&problem)),
        (StatusCode::PAYLOAD_TOO_LARGE, "too-large")
    );
}
