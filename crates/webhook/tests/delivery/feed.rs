//! A feed over real connections: what a request says, who may be told, and that one receiver waits for no other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use schalter_webhook::{
    AddressPolicy, Entry, EventLog, Feed, FeedReceiver, LogAnswer, RetryReason, Secret, Secrets,
    StartError, Target,
};
use tokio::sync::watch;

use crate::loopback;
use crate::receiver::{Answer, Hook, until};

const OLD: [u8; 24] = [1; 24];
const NEW: [u8; 24] = [2; 24];

/// Numbers from 1 on, and one cursor for each receiver.
struct Counting {
    last: AtomicU64,
    cursors: Mutex<std::collections::HashMap<String, u64>>,
    news: watch::Sender<()>,
}

impl Counting {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            last: AtomicU64::new(0),
            cursors: Mutex::default(),
            news: watch::Sender::new(()),
        })
    }

    fn add(&self, count: u64) {
        self.last.fetch_add(count, Ordering::SeqCst);
        self.news.send_replace(());
    }
}

impl EventLog for Counting {
    fn last(&self) -> LogAnswer<'_, u64> {
        Box::pin(async { Ok(self.last.load(Ordering::SeqCst)) })
    }

    fn after(&self, seq: u64, limit: usize) -> LogAnswer<'_, Vec<Entry>> {
        let entries = seq + 1..=self.last.load(Ordering::SeqCst);
        let entries = entries.take(limit).map(|seq| Entry {
            seq,
            id: format!("evt_{seq}"),
            body: format!("{{\"seq\":{seq},\"ä\":1}}"),
        });
        let entries = entries.collect();
        Box::pin(async { Ok(entries) })
    }

    fn cursor<'a>(&'a self, receiver: &'a str) -> LogAnswer<'a, Option<u64>> {
        let cursor = self.cursors.lock().unwrap().get(receiver).copied();
        // New ones begin at the first, so that tests need not wait for their begin.
        Box::pin(async move { Ok(Some(cursor.unwrap_or(0))) })
    }

    fn set_cursor<'a>(&'a self, receiver: &'a str, seq: u64) -> LogAnswer<'a, ()> {
        let name = receiver.to_owned();
        self.cursors.lock().unwrap().insert(name, seq);
        Box::pin(async { Ok(()) })
    }

    fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }
}

fn secrets(of: &[[u8; 24]]) -> Secrets {
    let secret = |bytes| Secret::parse(&format!("whsec_{}", STANDARD.encode(bytes))).unwrap();
    let parsed: Vec<_> = of.iter().map(secret).collect();
    Secrets::new(&parsed)
}

fn start(log: &Arc<Counting>, receivers: &[(String, AddressPolicy, Secrets)]) -> Feed {
    let receivers = receivers
        .iter()
        .map(|(url, addresses, secrets)| FeedReceiver {
            target: Target::parse(url).unwrap(),
            addresses: addresses.clone(),
            secrets: secrets.clone(),
            log: Arc::clone(log) as Arc<dyn EventLog>,
        });
    Feed::start(receivers.collect(), &Arc::new(RootCertStore::empty())).unwrap()
}

fn signature(secret: [u8; 24], signed: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    let tag = hmac::sign(&key, signed.as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

#[tokio::test]
async fn each_request_is_signed_by_each_secret_and_says_which_event_it_is() {
    let hook = Hook::new(|_| Answer::status("204 No Content")).await;
    let log = Counting::new();
    let url = format!("http://{}/hook?x=1", hook.address);
    let secrets = secrets(&[OLD, NEW]);
    let feed = start(&log, &[(url, loopback(), secrets.clone())]);
    log.add(2);
    until("delivered", || feed.stats().delivered == 2).await;
    for (got, seq) in hook.got().into_iter().zip(1..) {
        assert!(
            got.head.starts_with("POST /hook?x=1 HTTP/1.1"),
            "{}",
            got.head
        );
        let (id, at) = (
            got.field("webhook-id").unwrap(),
            got.field("webhook-timestamp").unwrap(),
        );
        assert_eq!(id, format!("evt_{seq}"));
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap()
            .as_secs();
        assert!(now.abs_diff(at.parse().unwrap()) < 60, "{at}");
        let signed = format!("{id}.{at}.{}", got.body);
        let both = format!("{} {}", signature(OLD, &signed), signature(NEW, &signed));
        assert_eq!(got.field("webhook-signature"), Some(&*both));
        assert_eq!(got.field("content-type"), Some("application/json"));
        assert_eq!(got.field("host"), Some(&*hook.address.to_string()));
        assert_eq!(got.field("authorization"), None);
    }
    // Taken away while it runs: the next request has the new one's only.
    let new = Secret::parse(&format!("whsec_{}", STANDARD.encode(NEW))).unwrap();
    secrets.replace(&[new]);
    log.add(1);
    hook.until(3).await;
    let got = hook.got().remove(2);
    let at = got.field("webhook-timestamp").unwrap();
    let signed = signature(NEW, &format!("evt_3.{at}.{}", got.body));
    assert_eq!(got.field("webhook-signature"), Some(&*signed));
}

#[tokio::test]
async fn no_address_is_connected_to_that_is_not_allowed_and_no_redirect_followed() {
    let inner = Hook::new(|_| Answer::ok()).await;
    let location = format!(
        "307 Temporary Redirect\r\nLocation: http://{}/",
        inner.address
    );
    let redirecting = Hook::new(move |_| Answer::status(&location)).await;
    let log = Counting::new();
    let feed = start(
        &log,
        &[
            (
                format!("http://{}/", inner.address),
                AddressPolicy::default(),
                secrets(&[OLD]),
            ),
            (
                format!("http://{}/", redirecting.address),
                loopback(),
                secrets(&[OLD]),
            ),
        ],
    );
    log.add(1);
    let failures = |reason: RetryReason| feed.stats().failures[reason as usize];
    until("both", || {
        failures(RetryReason::Denied) > 0 && failures(RetryReason::Redirect) > 0
    })
    .await;
    assert!(inner.got().is_empty());
    assert_eq!(
        (feed.stats().delivered, feed.stats().backlogs),
        (0, vec![1, 1])
    );
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_up_no_other() {
    let silent = Hook::new(|_| Answer::Silence).await;
    let quick = Hook::new(|_| Answer::ok()).await;
    let log = Counting::new();
    let of = |hook: &Hook| {
        (
            format!("http://{}/", hook.address),
            loopback(),
            secrets(&[OLD]),
        )
    };
    let feed = start(&log, &[of(&silent), of(&quick)]);
    log.add(20);
    quick.until(20).await;
    until("counted", || feed.stats().backlogs == [20, 0]).await;
    assert!(silent.got().len() <= 1);
}

#[tokio::test]
async fn without_anybody_who_could_vouch_for_a_receiver_nothing_starts() {
    let receiver = FeedReceiver {
        target: Target::parse("https://example.org/").unwrap(),
        addresses: AddressPolicy::default(),
        secrets: secrets(&[OLD]),
        log: Counting::new(),
    };
    let started = Feed::start(vec![receiver], &Arc::new(RootCertStore::empty()));
    assert!(matches!(started, Err(StartError::NoRoots)), "{started:?}");
}
