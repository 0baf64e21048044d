//! Operators' routes over real HTTP: who gets in, and what probes see.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use schalter_metrics::{
    AdminAuth, BuildInfo, DeskSnapshot, Exporter, HttpSnapshot, Readiness, SignalingSnapshot,
    Source, TokenTooShort, WebhookSnapshot, admin_router,
};
use schalter_model::{Counters, ShardId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

struct Empty;

impl Source for Empty {
    fn shards(&self) -> Vec<(ShardId, Counters)> {
        vec![(ShardId(0), Counters::default())]
    }

    fn http(&self) -> HttpSnapshot {
        HttpSnapshot {
            connections: 3_001,
            refused: 3_002,
            unanswered: 3_003,
            ..HttpSnapshot::default()
        }
    }

    fn signaling(&self) -> SignalingSnapshot {
        SignalingSnapshot::default()
    }

    fn webhooks(&self) -> Option<WebhookSnapshot> {
        None
    }

    fn desk(&self) -> Option<DeskSnapshot> {
        None
    }
}

struct Server {
    address: std::net::SocketAddr,
    draining: Arc<AtomicBool>,
}

impl Server {
    async fn start() -> Self {
        let build = BuildInfo {
            version: "1".into(),
            revision: String::new(),
        };
        let draining = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&draining);
        let router = admin_router(
            Exporter::new(Empty, build).unwrap(),
            AdminAuth::new(TOKEN).unwrap(),
            move || match seen.load(Ordering::Relaxed) {
                false => Readiness::Ready,
                true => Readiness::NotReady("draining"),
            },
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, draining }
    }

    async fn request(&self, path: &str, headers: &str) -> String {
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut response = String::new();
            stream.read_to_string(&mut response).await.unwrap();
            response
        };
        tokio::time::timeout(Duration::from_secs(10), exchange)
            .await
            .expect("an answer within ten seconds")
    }
}

#[tokio::test]
async fn metrics_are_for_bearers_of_the_token_only() {
    let server = Server::start().await;
    let good = format!("Authorization: Bearer {TOKEN}\r\n");
    let response = server.request("/metrics", &good).await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    assert!(response.contains("content-type: text/plain; version=0.0.4"));
    assert!(response.contains("\nschalter_rooms 0\n"));
    let lower_case_scheme = format!("Authorization: bearer {TOKEN}\r\n");
    let response = server.request("/metrics", &lower_case_scheme).await;
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");

    for bad in [
        String::new(),
        format!("Authorization: Bearer {TOKEN}x\r\n"),
        format!("Authorization: Bearer {}\r\n", &TOKEN[1..]),
        format!("Authorization: Basic {TOKEN}\r\n"),
        format!("Authorization: {TOKEN}\r\n"),
        "Authorization: Bearer \r\n".into(),
    ] {
        let response = server.request("/metrics", &bad).await;
        assert!(response.starts_with("HTTP/1.1 401 "), "{bad}: {response}");
        assert!(response.contains("www-authenticate: Bearer"));
        assert!(response.contains("content-type: application/problem+json"));
        assert!(!response.contains("schalter_"));
    }
}

#[tokio::test]
async fn probes_need_no_token_and_show_a_drain() {
    let server = Server::start().await;
    assert!(
        server
            .request("/livez", "")
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    assert!(
        server
            .request("/readyz", "")
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    server.draining.store(true, Ordering::Relaxed);
    let response = server.request("/readyz", "").await;
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    assert!(response.ends_with("draining\n"));
    assert!(
        server
            .request("/livez", "")
            .await
            .starts_with("HTTP/1.1 200 ")
    );
}

#[test]
fn a_token_that_could_be_guessed_is_refused() {
    assert_eq!(AdminAuth::new("").unwrap_err(), TokenTooShort);
    assert_eq!(AdminAuth::new(&TOKEN[1..]).unwrap_err(), TokenTooShort);
    let shown = format!("{:?}", AdminAuth::new(TOKEN).unwrap());
    assert!(!shown.contains(TOKEN) && !shown.contains("digest"));
}
