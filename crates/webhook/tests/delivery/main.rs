//! Delivery to receivers that fail, hang, redirect, restart, and to addresses that are none of our business.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod feed;
mod receiver;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::RootCertStore;
use schalter_webhook::{
    AddressPolicy, DropReason, Event, Limits, RetryReason, Signer, StartError, Target,
    WebhookConfig, Webhooks,
};
use tokio_rustls::TlsAcceptor;

use receiver::{Answer, Hook, until};

/// Signs by repeating the hash.
struct Echo;

impl Signer for Echo {
    fn sign(&self, sha256: &str) -> Option<String> {
        Some(format!("signed-{sha256}"))
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("schalter-hook-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn loopback() -> AddressPolicy {
    AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()])
}

fn config(folder: &Folder, urls: &[String]) -> WebhookConfig {
    WebhookConfig {
        targets: urls.iter().map(|url| Target::parse(url).unwrap()).collect(),
        addresses: loopback(),
        roots: Arc::new(RootCertStore::empty()),
        folder: folder.0.clone(),
        limits: Limits {
            request: Duration::from_secs(1),
            ..Limits::default()
        },
    }
}

fn start(folder: &Folder, hook: &Hook) -> Webhooks {
    let url = format!("http://{}/hook?x=1", hook.address);
    Webhooks::start(config(folder, &[url]), Arc::new(Echo)).unwrap()
}

fn tell(webhooks: &Webhooks, room: &str, body: &str) {
    webhooks.tell(&Event {
        room: room.into(),
        body: body.into(),
    });
}

fn retries(webhooks: &Webhooks, reason: RetryReason) -> u64 {
    webhooks.stats().retries[reason as usize]
}

fn dropped(webhooks: &Webhooks, reason: DropReason) -> u64 {
    webhooks.stats().dropped[reason as usize]
}

#[tokio::test]
async fn a_request_is_signed_and_says_what_it_is() {
    let folder = Folder::new("signed");
    let hook = Hook::new(|_| Answer::ok()).await;
    let webhooks = start(&folder, &hook);
    tell(&webhooks, "r", r#"{"event":"room_started"}"#);
    until("delivered", || webhooks.stats().delivered == 1).await;
    let got = hook.got().remove(0);
    assert!(
        got.head.starts_with("POST /hook?x=1 HTTP/1.1"),
        "{}",
        got.head
    );
    assert_eq!(got.body, r#"{"event":"room_started"}"#);
    assert_eq!(got.field("content-type"), Some("application/webhook+json"));
    // echo -n '{"event":"room_started"}' | openssl dgst -sha256 -binary | base64
    let hash = "w9NV0uLHjSON8P7eonnkKXDHY4ICORefbHDCviKIgX8=";
    assert_eq!(got.field("authorization"), Some(&*format!("signed-{hash}")));
    let host = hook.address.to_string();
    assert_eq!(got.field("host"), Some(&*host));
    let stats = webhooks.stats();
    assert_eq!((stats.waiting_events, stats.waiting_bytes), (0, 0));
}

#[tokio::test]
async fn what_fails_is_repeated_and_the_rooms_next_event_waits_for_it() {
    let folder = Folder::new("fails");
    let mut failures = 0;
    let hook = Hook::new(move |got| {
        if got.body == "\"a1\"" && failures < 2 {
            failures += 1;
            return Answer::status("503 Service Unavailable");
        }
        Answer::ok()
    })
    .await;
    let webhooks = start(&folder, &hook);
    tell(&webhooks, "a", "\"a1\"");
    tell(&webhooks, "a", "\"a2\"");
    tell(&webhooks, "b", "\"b1\"");
    until("delivered", || webhooks.stats().delivered == 3).await;
    let of_a: Vec<_> = hook
        .bodies()
        .into_iter()
        .filter(|b| b.contains('a'))
        .collect();
    assert_eq!(of_a, ["\"a1\"", "\"a1\"", "\"a1\"", "\"a2\""]);
    assert_eq!(
        hook.bodies()
            .iter()
            .position(|b| b == "\"b1\"")
            .map(|at| at < 2),
        Some(true)
    );
    assert_eq!(retries(&webhooks, RetryReason::Status), 2);
}

#[tokio::test]
async fn a_receiver_that_hangs_ends_or_speaks_no_http_holds_up_no_other_room() {
    let folder = Folder::new("hangs");
    let hook = Hook::new(|got| match got.body.as_str() {
        "\"hang\"" => Answer::Silence,
        "\"close\"" => Answer::Close,
        "\"garbage\"" => Answer::Raw(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
        "\"endless\"" => Answer::Raw(
            format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(64 << 10)).into_bytes(),
        ),
        _ => Answer::ok(),
    })
    .await;
    let webhooks = start(&folder, &hook);
    for body in [
        "\"hang\"",
        "\"close\"",
        "\"garbage\"",
        "\"endless\"",
        "\"good\"",
    ] {
        tell(&webhooks, body, body);
    }
    until("delivered", || webhooks.stats().delivered == 1).await;
    until("a time out", || {
        retries(&webhooks, RetryReason::Timeout) >= 1
    })
    .await;
    until("three broken", || {
        retries(&webhooks, RetryReason::Protocol) >= 3
    })
    .await;
    assert_eq!(webhooks.stats().waiting_events, 4);
}

#[tokio::test]
async fn the_body_of_an_answer_is_not_waited_for() {
    let folder = Folder::new("body");
    let hook = Hook::new(|_| {
        let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n".to_vec();
        answer.resize(1 << 20, b'x');
        Answer::Raw(answer)
    })
    .await;
    let webhooks = start(&folder, &hook);
    tell(&webhooks, "r", "{}");
    until("delivered", || webhooks.stats().delivered == 1).await;
    assert_eq!(webhooks.stats().retries, [0; RetryReason::ALL.len()]);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let folder = Folder::new("redirect");
    let elsewhere = Hook::new(|_| Answer::ok()).await;
    let location = elsewhere.address;
    let hook = Hook::new(move |_| {
        Answer::Head(format!(
            "307 Temporary Redirect\r\nLocation: http://{location}/\r\n"
        ))
    })
    .await;
    let webhooks = start(&folder, &hook);
    tell(&webhooks, "r", "{}");
    hook.until(2).await;
    assert!(retries(&webhooks, RetryReason::Redirect) >= 1);
    assert_eq!(elsewhere.got().len(), 0);
    assert_eq!(webhooks.stats().delivered, 0);
}

#[tokio::test]
async fn a_body_that_is_refused_is_given_up() {
    let folder = Folder::new("refused");
    let hook = Hook::new(|got| match got.body.as_str() {
        "1" => Answer::status("422 Unprocessable Content"),
        _ => Answer::ok(),
    })
    .await;
    let webhooks = start(&folder, &hook);
    tell(&webhooks, "r", "1");
    tell(&webhooks, "r", "2");
    until("delivered", || webhooks.stats().delivered == 1).await;
    assert_eq!(hook.bodies(), ["1", "2"]);
    assert_eq!(dropped(&webhooks, DropReason::Refused), 1);
}

#[tokio::test]
async fn what_a_receiver_missed_while_it_was_away_comes_in_order_when_it_is_back() {
    let folder = Folder::new("restart");
    let hook = Hook::new(|_| Answer::ok()).await;
    let address = hook.address;
    let webhooks = start(&folder, &hook);
    drop(hook);
    // Its task ends when it is polled next.
    tokio::time::sleep(Duration::from_millis(50)).await;
    for number in 0..20 {
        tell(&webhooks, "r", &number.to_string());
        tell(&webhooks, &format!("r{number}"), "\"other\"");
    }
    until("no connection", || {
        retries(&webhooks, RetryReason::Connect) > 8
    })
    .await;
    let hook = Hook::at(&address.to_string(), None, |_| Answer::ok()).await;
    until("delivered", || webhooks.stats().delivered == 40).await;
    let numbers: Vec<_> = hook
        .bodies()
        .into_iter()
        .filter_map(|body| body.parse::<u32>().ok())
        .collect();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_undelivered_survives_a_restart_of_ours() {
    let folder = Folder::new("spool");
    let hook = Hook::new(|_| Answer::Silence).await;
    let address = hook.address;
    let webhooks = start(&folder, &hook);
    for number in 0..5 {
        tell(&webhooks, "r", &number.to_string());
    }
    hook.until(1).await;
    webhooks.shutdown().await;
    tell(&webhooks, "r", "99");
    drop((webhooks, hook));
    let hook = Hook::at(&address.to_string(), None, |_| Answer::ok()).await;
    let webhooks = start(&folder, &hook);
    until("delivered", || webhooks.stats().delivered == 5).await;
    assert_eq!(
        hook.bodies(),
        ["0", "1", "2", "3", "4"],
        "and nothing after the end"
    );
    webhooks.shutdown().await;
    drop(webhooks);
    let webhooks = start(&folder, &hook);
    tell(&webhooks, "r", "5");
    hook.until(6).await;
    assert_eq!(
        hook.bodies().last().map(String::as_str),
        Some("5"),
        "nothing came twice"
    );
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_was_noted() {
    let folder = Folder::new("killed");
    let hook = Hook::new(|_| Answer::Silence).await;
    let address = hook.address;
    let webhooks = start(&folder, &hook);
    tell(&webhooks, "r", "1");
    hook.until(1).await;
    // No shutdown: the tasks are aborted where they stand.
    drop((webhooks, hook));
    let hook = Hook::at(&address.to_string(), None, |_| Answer::ok()).await;
    let webhooks = start(&folder, &hook);
    until("delivered", || webhooks.stats().delivered == 1).await;
    assert_eq!(hook.bodies(), ["1"]);
}

#[tokio::test]
async fn shutdown_delivers_what_can_be_delivered() {
    let folder = Folder::new("last");
    let hook = Hook::new(|_| Answer::ok()).await;
    let webhooks = start(&folder, &hook);
    for number in 0..50 {
        tell(&webhooks, "r", &number.to_string());
    }
    webhooks.shutdown().await;
    assert_eq!(webhooks.stats().delivered, 50);
    assert_eq!(hook.got().len(), 50);
}

#[tokio::test]
async fn each_receiver_gets_every_event_whatever_the_other_does() {
    let folder = Folder::new("two");
    let good = Hook::new(|_| Answer::ok()).await;
    let bad = Hook::new(|_| Answer::status("500 Oh")).await;
    let urls = [&bad, &good].map(|hook| format!("http://{}/", hook.address));
    let webhooks = Webhooks::start(config(&folder, &urls), Arc::new(Echo)).unwrap();
    for number in 0..10 {
        tell(&webhooks, "r", &number.to_string());
    }
    until("delivered", || webhooks.stats().delivered == 10).await;
    assert_eq!(good.got().len(), 10);
    // What waits is counted after what was delivered, a moment later.
    until("counted", || webhooks.stats().waiting_events == 10).await;
    webhooks.shutdown().await;
    drop(webhooks);
    // The failing one is configured no more.
    let webhooks = Webhooks::start(config(&folder, &urls[1..]), Arc::new(Echo)).unwrap();
    assert_eq!(dropped(&webhooks, DropReason::Orphaned), 10);
    assert_eq!(webhooks.stats().waiting_events, 0);
}

#[tokio::test]
async fn an_address_that_is_not_listed_is_never_connected_to_whatever_its_name() {
    let folder = Folder::new("denied");
    let hook = Hook::new(|_| Answer::ok()).await;
    let port = hook.address.port();
    // Names and old notations that only the resolver turns into the address.
    let urls: Vec<_> = ["localhost", "127.1", "2130706433", "0x7f.1", "localhost."]
        .iter()
        .map(|host| format!("https://{host}:{port}/"))
        .collect();
    let mut roots = RootCertStore::empty();
    roots.add(certificate().cert.der().clone()).unwrap();
    let config = WebhookConfig {
        addresses: AddressPolicy::default(),
        roots: Arc::new(roots),
        ..config(&folder, &urls)
    };
    let webhooks = Webhooks::start(config, Arc::new(Echo)).unwrap();
    tell(&webhooks, "r", "{}");
    until("denied", || {
        retries(&webhooks, RetryReason::Denied) + retries(&webhooks, RetryReason::Resolve) >= 5
    })
    .await;
    assert!(retries(&webhooks, RetryReason::Denied) >= 1);
    assert_eq!(hook.got().len(), 0);
    assert_eq!(
        retries(&webhooks, RetryReason::Tls),
        0,
        "nothing was connected"
    );
}

fn certificate() -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

fn acceptor(certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(certificate.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key.unwrap())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn https_is_for_receivers_that_somebody_vouches_for() {
    let folder = Folder::new("tls");
    let certificate = certificate();
    let hook = Hook::at("127.0.0.1:0", Some(acceptor(&certificate)), |_| {
        Answer::ok()
    })
    .await;
    let urls = [format!("https://localhost:{}/", hook.address.port())];
    let with_root = |root: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        let mut roots = RootCertStore::empty();
        roots.add(root.cert.der().clone()).unwrap();
        WebhookConfig {
            roots: Arc::new(roots),
            ..config(&folder, &urls)
        }
    };
    let stranger = Webhooks::start(with_root(&self::certificate()), Arc::new(Echo)).unwrap();
    tell(&stranger, "r", "{}");
    until("refused", || retries(&stranger, RetryReason::Tls) >= 1).await;
    assert_eq!(hook.got().len(), 0, "a stranger learns nothing");
    stranger.shutdown().await;
    drop(stranger);
    let friend = Webhooks::start(with_root(&certificate), Arc::new(Echo)).unwrap();
    until("delivered", || friend.stats().delivered == 1).await;
    assert_eq!(hook.bodies(), ["{}"]);
}

/// Has no key until it is given one.
#[derive(Default)]
struct Late(AtomicBool);

impl Signer for Late {
    fn sign(&self, _: &str) -> Option<String> {
        self.0.load(Ordering::Relaxed).then(|| "signed".to_owned())
    }
}

#[tokio::test]
async fn nothing_is_sent_unsigned() {
    let folder = Folder::new("unsigned");
    let hook = Hook::new(|_| Answer::ok()).await;
    let urls = [format!("http://{}/", hook.address)];
    let signer = Arc::new(Late::default());
    let late: Arc<dyn Signer> = signer.clone();
    let webhooks = Webhooks::start(config(&folder, &urls), late).unwrap();
    tell(&webhooks, "r", "{}");
    until("unsigned", || {
        retries(&webhooks, RetryReason::Unsigned) >= 1
    })
    .await;
    assert_eq!(hook.got().len(), 0);
    signer.0.store(true, Ordering::Relaxed);
    until("delivered", || webhooks.stats().delivered == 1).await;
    assert_eq!(hook.got()[0].field("authorization"), Some("signed"));
}

#[tokio::test]
async fn without_anybody_who_vouches_https_does_not_start() {
    let folder = Folder::new("roots");
    let config = config(&folder, &["https://example.org/".to_owned()]);
    let error = Webhooks::start(config, Arc::new(Echo)).err();
    assert!(matches!(error, Some(StartError::NoRoots)), "{error:?}");
}

#[tokio::test]
async fn two_servers_don_t_share_spools() {
    let folder = Folder::new("lock");
    let hook = Hook::new(|_| Answer::ok()).await;
    let first = start(&folder, &hook);
    let urls = [format!("http://{}/", hook.address)];
    let second = Webhooks::start(config(&folder, &urls), Arc::new(Echo)).err();
    assert!(
        matches!(second, Some(StartError::InUse { .. })),
        "{second:?}"
    );
    drop(first);
    Webhooks::start(config(&folder, &urls), Arc::new(Echo)).unwrap();
}

#[tokio::test]
async fn a_spool_that_can_t_be_written_delays_nothing() {
    let folder = Folder::new("broken");
    let hook = Hook::new(|_| Answer::ok()).await;
    let webhooks = start(&folder, &hook);
    tell(&webhooks, "r", "1");
    hook.until(1).await;
    // The open file has no name any more, and a new one can't be made beside it. What was delivered may be noted meanwhile.
    until("no folder", || {
        let _ = std::fs::remove_dir_all(&folder.0);
        !folder.0.exists()
    })
    .await;
    let large = format!("\"{}\"", "x".repeat(200_000));
    for _ in 0..5 {
        tell(&webhooks, "r", &large);
    }
    hook.until(6).await;
    until("a failure", || webhooks.stats().spool_failures >= 1).await;
    tell(&webhooks, "r", "2");
    hook.until(7).await;
}
