//! Officials come and go.

use axum::http::StatusCode;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::support::{LINK_SECRET, Office, START, code};

fn link(authority: &str, change: impl FnOnce(&mut Value)) -> String {
    let now = START / 1_000;
    let mut claims = json!({"sub": "u1", "name": "Kim <b>", "aud": authority, "jti": "0123456789abcdef",
                            "iat": now, "exp": now + 300, "acr": "high"});
    change(&mut claims);
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(authority.to_owned());
    encode(
        &header,
        &claims,
        &EncodingKey::from_secret(LINK_SECRET.as_bytes()),
    )
    .unwrap()
}

#[tokio::test]
async fn a_signed_link_logs_in_once_and_tells_how_sure_it_is() {
    let office = Office::open().await;
    let mut official = office.browser();
    let token = link("bonn", |_| {});
    let (status, who) = official.post("/login/link", json!({"token": token})).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        who["official"],
        json!({"id": "u1", "name": "Kim <b>", "acr": "high"})
    );
    assert_eq!(who["office"]["id"], "bonn");
    let set = official.headers["set-cookie"].to_str().unwrap();
    assert!(set.starts_with("__Host-schalter-desk-official="), "{set}");
    assert!(set.contains("; HttpOnly; SameSite=Strict; Secure"), "{set}");
    assert_eq!(official.get("/official").await.1["official"]["acr"], "high");
    let (status, problem) = office
        .browser()
        .post("/login/link", json!({"token": token}))
        .await;
    assert_eq!(
        (status, code(&problem)),
        (StatusCode::UNAUTHORIZED, "login-link-used")
    );
    let late = link("bonn", |claims| claims["jti"] = json!("another-0123456789"));
    office.clock.pass(330);
    let (status, problem) = office
        .browser()
        .post("/login/link", json!({"token": late}))
        .await;
    assert_eq!(
        (status, code(&problem)),
        (StatusCode::UNAUTHORIZED, "login-link-expired")
    );
}

#[tokio::test]
async fn a_login_ends_the_session_before_it_and_a_logout_the_last() {
    let office = Office::open().await;
    let mut official = office.official("ulm").await;
    let old = official.clone();
    official
        .post(
            "/login/demo",
            json!({"authority": "bonn", "official": "kim"}),
        )
        .await;
    assert_ne!(old.cookies, official.cookies);
    assert_eq!(
        old.clone().get("/official").await.0,
        StatusCode::UNAUTHORIZED
    );
    let before = official.clone();
    assert_eq!(
        official.post("/logout", json!({})).await.0,
        StatusCode::NO_CONTENT
    );
    assert!(official.cookies.is_empty());
    assert_eq!(
        before.clone().get("/official").await.0,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        official.post("/logout", json!({})).await.0,
        StatusCode::NO_CONTENT
    );
}

#[tokio::test]
async fn a_session_ends_without_use() {
    let office = Office::open().await;
    let mut official = office.official("ulm").await;
    office.clock.pass(3_599);
    assert_eq!(official.get("/official").await.0, StatusCode::OK);
    office.clock.pass(3_600);
    let (status, problem) = official.get("/official").await;
    assert_eq!(
        (status, code(&problem)),
        (StatusCode::UNAUTHORIZED, "no-session")
    );
}

#[tokio::test]
async fn a_callback_that_nobody_waits_for_logs_nobody_in() {
    let office = Office::open().await;
    let mut browser = office.browser();
    for query in ["", "?code=x&state=y", "?error=access_denied&state=y"] {
        let (status, _) = browser.get(&format!("/login/oidc/callback{query}")).await;
        assert_eq!(status, StatusCode::FOUND);
        assert_eq!(
            browser.headers["location"],
            "/amt#login-error=login-expired"
        );
        assert!(browser.cookies.is_empty());
    }
}

#[tokio::test]
async fn without_tls_on_this_machine_cookies_have_another_name() {
    let office = Office::open_at("http://localhost:7880").await;
    let mut citizen = office.browser();
    citizen.origin = Some("http://127.0.0.1:7880".to_owned());
    citizen
        .post("/links/open", json!({"token": office.link}))
        .await;
    let set = citizen.headers["set-cookie"].to_str().unwrap();
    assert!(
        set.starts_with("schalter-desk=") && !set.contains("Secure"),
        "{set}"
    );
    // A foreign name that was made to point here.
    citizen.origin = Some("http://evil.example:7880".to_owned());
    let (status, _) = citizen.post("/me/leave", json!({})).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}
