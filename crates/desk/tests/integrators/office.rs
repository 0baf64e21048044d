//! An office to test with: a store in a folder of its own, a clock that is set, rooms that note what they were told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use schalter_audit::note::SigningKey;
use schalter_desk::domain::{
    AppointmentId, Authority, EndToEnd, Help, Links, Name, Notice, NoticeKind, TimeZone, Timestamp,
};
use schalter_desk::http::{DeskKey, DeskKeys, Scope, integrators};
use schalter_desk::ledger::{Ledger, LedgerRules, Period};
use schalter_desk::store::SqliteStore;
use schalter_desk::{
    Actor, Caller, Clock, Desk, Grants, SeatAnswer, SeatError, SeatToken, Seats, SystemRandom,
};
use schalter_model::AuthorityId;
use serde_json::Value;
use tower::ServiceExt;

/// Every office there is.
const OFFICES: [&str; 2] = ["own", "other"];
/// Of the key that may do everything.
pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef";
/// Of a key of the other authority.
pub(crate) const OTHER_KEY: &str = "other-0123456789abcdef0123456789ab";
/// Of a key that may hear events only.
pub(crate) const EVENTS_KEY: &str = "events-0123456789abcdef0123456789a";
/// Of a key that may see checkpoints only.
pub(crate) const ARCHIVE_KEY: &str = "archive-0123456789abcdef0123456789";
/// Days that epochs of the log are kept.
pub(crate) const KEEP_DAYS: u32 = 100;
/// Where the logs are.
pub(crate) const LOGS: &str = "desk.audit";
/// Of the key that signs them.
pub(crate) const SEED: u8 = 5;

pub(crate) fn signer(seed: u8) -> SigningKey {
    SigningKey::from_seed("termin.example.org", &[seed; 32]).unwrap()
}

#[derive(Clone)]
pub(crate) struct SetClock(Arc<AtomicI64>);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.0.load(Ordering::SeqCst))
    }
}

/// What rooms were told; and how often they are not to be reached before they are again.
#[derive(Clone, Default)]
pub(crate) struct Told(
    pub(crate) Arc<Mutex<Vec<String>>>,
    pub(crate) Arc<AtomicI64>,
);

impl Told {
    fn tell(&self, words: String) -> SeatAnswer<'_, ()> {
        self.0.lock().unwrap().push(words);
        let fails = self.1.fetch_sub(1, Ordering::SeqCst) > 0;
        let answer = if fails {
            Err(SeatError("full".to_owned()))
        } else {
            Ok(())
        };
        Box::pin(async move { answer })
    }
}

impl Seats for Told {
    fn token<'a>(
        &'a self,
        _: &'a AuthorityId,
        _: &'a AppointmentId,
        identity: &'a str,
        _: &'a str,
        _: Grants,
    ) -> SeatAnswer<'a, SeatToken> {
        Box::pin(async move {
            Ok(SeatToken {
                url: "wss://test".to_owned(),
                token: identity.to_owned(),
            })
        })
    }

    fn dismiss<'a>(
        &'a self,
        _: &'a AuthorityId,
        _: &'a AppointmentId,
        identity: &'a str,
    ) -> SeatAnswer<'a, ()> {
        self.tell(format!("dismiss {identity}"))
    }

    fn close<'a>(&'a self, _: &'a AuthorityId, id: &'a AppointmentId) -> SeatAnswer<'a, ()> {
        self.tell(format!("close {id}"))
    }
}

pub(crate) struct Office {
    pub(crate) desk: Arc<Desk>,
    pub(crate) keys: DeskKeys,
    pub(crate) told: Told,
    clock: SetClock,
    router: Router,
    pub(crate) folder: PathBuf,
}

impl Drop for Office {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn authority(id: &str) -> Authority {
    Authority {
        id: AuthorityId::new(id).unwrap(),
        name: "Bürgeramt".to_owned(),
        time_zone: TimeZone::new("Europe/Berlin").unwrap(),
        help: Help::default(),
        retention_days: 30,
        opens_before_s: Authority::OPENS_BEFORE_S,
        closes_after_s: Authority::CLOSES_AFTER_S,
        notice: Notice {
            kind: NoticeKind::Notice,
            title: "Hinweis".to_owned(),
            text: "Niemand zeichnet auf.".to_owned(),
            details: String::new(),
        },
        notices: BTreeMap::new(),
        outcomes: Authority::default_outcomes(),
        languages: vec!["de".to_owned()],
        links: Links::default(),
        colours: BTreeMap::new(),
        end_to_end: EndToEnd::default(),
    }
}

pub(crate) fn key(id: &str, authority: &str, scopes: &[Scope], secret: &str) -> DeskKey {
    let authority = AuthorityId::new(authority).unwrap();
    DeskKey::new(id, authority, scopes.to_vec(), secret).unwrap()
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Value,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let kind = self.json["type"].as_str().unwrap();
        let code = kind.strip_prefix("urn:schalter:problem:").unwrap();
        (self.status, code.to_owned())
    }
}

impl Office {
    pub(crate) fn open() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let n = COUNT.fetch_add(1, Ordering::SeqCst);
        let folder = std::env::temp_dir().join(format!("desk-v1-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self::open_at(folder)
    }

    /// Over what is in a folder.
    pub(crate) fn open_at(folder: PathBuf) -> Self {
        // 2026-11-28T09:00:00Z.
        Self::open_with(folder, 1_795_856_400_000, SEED, &OFFICES)
    }

    /// The same office after its server ended and another, with this key, took its place.
    pub(crate) fn restart(mut self, seed: u8) -> Self {
        let (folder, now) = (std::mem::take(&mut self.folder), self.clock.now());
        drop(self);
        Self::open_with(folder, now.ms(), seed, &OFFICES)
    }

    /// The same office after somebody did something with its files while the server was down.
    pub(crate) fn replaced(mut self, change: impl FnOnce(&Path)) -> Self {
        let (folder, now) = (std::mem::take(&mut self.folder), self.clock.now());
        drop(self);
        change(&folder);
        Self::open_with(folder, now.ms(), SEED, &OFFICES)
    }

    /// The same server after a restart with a configuration that has no office any more.
    pub(crate) fn restart_without_offices(mut self) -> Self {
        let (folder, now) = (std::mem::take(&mut self.folder), self.clock.now());
        drop(self);
        Self::open_with(folder, now.ms(), SEED, &[])
    }

    /// Ends the server, and leaves the folder to whoever has it next.
    pub(crate) fn close(mut self) {
        self.folder = PathBuf::new();
    }

    fn open_with(folder: PathBuf, now: i64, seed: u8, offices: &[&str]) -> Self {
        let store = SqliteStore::open(&folder.join("desk.sqlite")).unwrap();
        let clock = SetClock(Arc::new(AtomicI64::new(now)));
        let told = Told::default();
        let authorities = offices.iter().map(|id| {
            let authority = authority(id);
            (authority.id.clone(), Arc::new(authority))
        });
        let desk = Desk::new(
            Arc::new(store),
            Arc::new(told.clone()),
            Arc::new(clock.clone()),
            Arc::new(SystemRandom::default()),
            authorities.collect(),
        );
        let rules = LedgerRules {
            period: Period::Month,
            keep_days: KEEP_DAYS,
        };
        let ledger = Ledger::open(&folder.join(LOGS), signer(seed), rules).unwrap();
        let desk = Arc::new(desk.with_ledger(ledger));
        let keys = DeskKeys::new(vec![
            key("case", "own", &Scope::ALL, KEY),
            key("case", "other", &Scope::ALL, OTHER_KEY),
            key("ear", "own", &[Scope::EventsRead], EVENTS_KEY),
            key("archive", "own", &[Scope::AuditRead], ARCHIVE_KEY),
        ]);
        let public_url = "https://termin.example.org/";
        let router = integrators::router(Arc::clone(&desk), keys.clone(), public_url);
        Self {
            desk,
            keys,
            told,
            clock,
            router,
            folder,
        }
    }

    pub(crate) fn pass(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }

    pub(crate) fn official(&self) -> Caller {
        Caller {
            authority: AuthorityId::new("own").unwrap(),
            actor: Actor::Official {
                id: "o1".to_owned(),
                name: Name::new("Frau Amt").unwrap(),
            },
        }
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.header("authorization", format!("Bearer {KEY}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(json) => {
                request = request.header("content-type", "application/json");
                Body::from(json.to_string())
            }
            None => Body::empty(),
        };
        let request = request.body(body).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = to_bytes(body, 1 << 22).await.unwrap();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            json: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    pub(crate) fn holds(&self, text: &str) -> bool {
        self.holds_bytes(text.as_bytes())
    }

    pub(crate) fn holds_bytes(&self, part: &[u8]) -> bool {
        any_file_holds(&self.folder, part)
    }
}

/// Whether a file in a folder, at any depth, has these bytes.
pub(crate) fn any_file_holds(folder: &Path, part: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return any_file_holds(&path, part);
        }
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(part.len()).any(|window| window == part)
    })
}
