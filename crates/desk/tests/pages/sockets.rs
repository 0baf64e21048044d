//! What open pages are told.

use axum::http::StatusCode;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::support::{Browser, Office, PATIENCE, URL, code};

struct Page(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// Serves the office on a port.
pub(crate) async fn serve(office: &Office) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let app = office.app.clone();
    tokio::spawn(async move { axum::serve(listener, app).await });
    port
}

async fn open(port: u16, path: &str, browser: &Browser, origin: Option<&str>) -> Result<Page, u16> {
    let url = format!("ws://127.0.0.1:{port}/desk/v1{path}");
    let mut request = url.into_client_request().unwrap();
    let headers = request.headers_mut();
    if let Some(origin) = origin {
        headers.insert("origin", origin.parse().unwrap());
    }
    headers.insert("cookie", browser.cookie().parse().unwrap());
    match tokio_tungstenite::connect_async(request).await {
        Ok((socket, _)) => Ok(Page(socket)),
        Err(Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

impl Page {
    /// The next message; `None` once it is closed.
    async fn next(&mut self) -> Option<Value> {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.0.next())
                .await
                .expect("in time");
            match frame?.ok()? {
                Message::Text(text) => return Some(serde_json::from_str(&text).unwrap()),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// Reads until one fits.
    async fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let news = self.next().await.expect("not closed before");
            if fits(&news) {
                return news;
            }
        }
    }
}

fn stage(news: &Value) -> &str {
    news["view"]["me"]["stage"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn both_sides_are_told_what_the_other_does() {
    let office = Office::open().await;
    let port = serve(&office).await;
    let citizen = office.waiting().await;
    let mut official = office.official("ulm").await;
    let mut page = open(port, "/me/socket", &citizen, Some(URL)).await.unwrap();
    let mut day = open(port, "/day/socket", &official, Some(URL))
        .await
        .unwrap();
    assert_eq!(stage(&page.next().await.unwrap()), "waiting");
    let first = day.next().await.unwrap();
    assert_eq!(
        first["day"]["appointments"][0]["people"][0]["stage"],
        "waiting"
    );
    official.post(&office.decide("admit"), json!({})).await;
    page.until(|news| stage(news) == "admitted").await;
    day.until(|news| news["day"]["appointments"][0]["people"][0]["stage"] == "admitted")
        .await;
    let end = format!("/appointments/{}/end", office.id);
    official.post(&end, json!({"outcome": "done"})).await;
    page.until(|news| stage(news) == "ended").await;
    assert_eq!(
        page.next().await,
        Some(json!({"type": "bye", "reason": "ended"}))
    );
    assert_eq!(page.next().await, None);
    official.post("/logout", json!({})).await;
    let bye = day.until(|news| news["type"] == "bye").await;
    assert_eq!(bye["reason"], "session_over");
    assert_eq!(day.next().await, None);
}

#[tokio::test]
async fn a_browser_that_was_replaced_or_removed_is_told_why() {
    let office = Office::open().await;
    let port = serve(&office).await;
    let first = office.waiting().await;
    let mut official = office.official("ulm").await;
    official.post(&office.decide("admit"), json!({})).await;
    let mut page = open(port, "/me/socket", &first, Some(URL)).await.unwrap();
    assert_eq!(stage(&page.next().await.unwrap()), "admitted");
    let second = office.waiting().await;
    let mut other = open(port, "/me/socket", &second, Some(URL)).await.unwrap();
    official.post(&office.decide("admit"), json!({})).await;
    let bye = page.until(|news| news["type"] == "bye").await;
    assert_eq!(bye["reason"], "moved");
    other.until(|news| stage(news) == "admitted").await;
    official.post(&office.decide("remove"), json!({})).await;
    let bye = other.until(|news| news["type"] == "bye").await;
    assert_eq!(bye["reason"], "revoked");
    // Whoever asks with the cookie of a browser that is gone is told the same, at once.
    let mut late = open(port, "/me/socket", &second, Some(URL)).await.unwrap();
    assert_eq!(
        late.next().await,
        Some(json!({"type": "bye", "reason": "revoked"}))
    );
}

#[tokio::test]
async fn sockets_are_for_our_own_pages_with_a_session() {
    let office = Office::open().await;
    let port = serve(&office).await;
    let citizen = office.waiting().await;
    let official = office.official("ulm").await;
    for (path, browser) in [("/me/socket", &citizen), ("/day/socket", &official)] {
        for origin in [None, Some("null"), Some("https://evil.example")] {
            let refused = open(port, path, browser, origin).await.err();
            assert_eq!(refused, Some(403), "{path} {origin:?}");
        }
        let nobody = open(port, path, &office.browser(), Some(URL)).await.err();
        assert_eq!(nobody, Some(401), "{path}");
    }
    let mut open_ones = Vec::new();
    for _ in 0..8 {
        open_ones.push(open(port, "/me/socket", &citizen, Some(URL)).await.unwrap());
    }
    assert_eq!(
        open(port, "/me/socket", &citizen, Some(URL)).await.err(),
        Some(429)
    );
    assert!(
        open(port, "/day/socket", &official, Some(URL))
            .await
            .is_ok()
    );
    let mut plain = citizen.clone();
    let (status, problem) = plain.get("/day/socket").await;
    assert_eq!(
        (status, code(&problem)),
        (StatusCode::UNAUTHORIZED, "no-session")
    );
}
