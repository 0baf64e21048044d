//! What browsers and health checks get.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderName, Request, Response, StatusCode, header};
use std::io::Read;
use tower::ServiceExt;

const BROWSER: (HeaderName, &str) = (header::ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8");

async fn get(path: &str, headers: &[(HeaderName, &str)]) -> Response<Body> {
    let request = headers
        .iter()
        .fold(Request::get(path), |request, (name, value)| {
            request.header(name, *value)
        })
        .body(Body::empty())
        .expect("a valid request");
    schalter_web::router()
        .oneshot(request)
        .await
        .expect("the router does not fail")
}

async fn body(response: Response<Body>) -> Vec<u8> {
    to_bytes(response.into_body(), usize::MAX)
        .await
        .expect("the body is in memory")
        .to_vec()
}

fn field<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().expect("text"))
}

#[tokio::test]
async fn health_checks_get_ok_and_browsers_get_the_page() {
    for accept in [
        None,
        Some((header::ACCEPT, "*/*")),
        Some((header::ACCEPT, "text/html;q=0, */*")),
    ] {
        let response = get("/", accept.as_slice()).await;
        assert!(field(&response, "content-type").starts_with("text/plain"));
        assert_eq!(body(response).await, b"OK");
    }
    let response = get("/", &[BROWSER]).await;
    assert_eq!(field(&response, "content-type"), "text/html; charset=utf-8");
    assert!(
        response
            .headers()
            .get_all(header::VARY)
            .iter()
            .any(|value| value == "accept")
    );
    assert!(body(response).await.starts_with(b"<!doctype html>"));
}

#[tokio::test]
async fn page_carries_strict_headers() {
    let response = get("/", &[BROWSER]).await;
    let policy = field(&response, "content-security-policy");
    assert!(policy.starts_with("default-src 'none';"));
    assert!(policy.contains("frame-ancestors 'none'"));
    assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"));
    assert_eq!(field(&response, "referrer-policy"), "no-referrer");
    assert_eq!(field(&response, "x-content-type-options"), "nosniff");
    assert_eq!(
        field(&response, "permissions-policy"),
        "camera=(self), microphone=(self), display-capture=(self)"
    );
}

#[tokio::test]
async fn known_content_is_not_sent_again() {
    for (path, accept) in [("/", BROWSER), ("/assets/app.js", (header::ACCEPT, "*/*"))] {
        let first = get(path, std::slice::from_ref(&accept)).await;
        let etag = field(&first, "etag").to_owned();
        let second = get(
            path,
            &[
                accept,
                (header::IF_NONE_MATCH, &format!("\"other\", {etag}")),
            ],
        )
        .await;
        assert_eq!(second.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(field(&second, "etag"), etag);
        assert!(body(second).await.is_empty());
    }
}

#[tokio::test]
async fn compressed_form_holds_the_same_bytes() {
    let plain = body(get("/assets/app.js", &[]).await).await;
    let response = get("/assets/app.js", &[(header::ACCEPT_ENCODING, "br, gzip")]).await;
    assert_eq!(field(&response, "content-encoding"), "gzip");
    let gzip = body(response).await;
    let mut inflated = Vec::new();
    flate2::read::GzDecoder::new(&gzip[..])
        .read_to_end(&mut inflated)
        .expect("valid gzip");
    assert!(gzip.len() * 2 < plain.len());
    assert_eq!(inflated, plain);
}

#[tokio::test]
async fn other_paths_are_not_found() {
    for path in [
        "/assets/",
        "/assets/app.ts",
        "/assets/../Cargo.toml",
        "/index.html",
    ] {
        assert_eq!(
            get(path, &[BROWSER]).await.status(),
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_check_is_a_page_of_its_own_with_the_same_headers() {
    let response = get("/check", &[BROWSER]).await;
    let policy = field(&response, "content-security-policy").to_owned();
    assert_eq!(
        policy,
        field(&get("/", &[BROWSER]).await, "content-security-policy")
    );
    assert_eq!(field(&response, "content-type"), "text/html; charset=utf-8");
    let html = String::from_utf8(body(response).await).expect("the page is UTF-8");
    assert!(html.contains("assets/check.js"), "{html}");
}
