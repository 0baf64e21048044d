//! A desk with one appointment, a clock of the test, rooms that note what they are told, and browsers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode, header};
use schalter_desk::domain::{
    AppointmentId, Authority, EndToEnd, Help, Links, Name, Needs, Notice, NoticeKind, PersonId,
    Role, Subject, TimeZone, Timestamp, When,
};
use schalter_desk::http::pages::{Logo, OfficePages, Offices, Pages, Site, router};
use schalter_desk::login::https::HttpsClient;
use schalter_desk::login::sessions::SessionTimes;
use schalter_desk::login::signed_link::LinkKey;
use schalter_desk::login::{DemoOfficial, Login, Logins, Official};
use schalter_desk::store::SqliteStore;
use schalter_desk::{
    Clock, Desk, Grants, Partner, PersonInput, SeatAnswer, SeatToken, Seats, SystemRandom,
};
use schalter_model::AuthorityId;
use serde_json::{Value, json};
use tower::ServiceExt;

pub(crate) const URL: &str = "https://video.example.org";
pub(crate) const LINK_SECRET: &str = "a shared secret of 32 characters";
/// 2026-11-28T09:00:00Z.
pub(crate) const START: i64 = 1_795_856_400_000;
/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone)]
pub(crate) struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub(crate) fn pass(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.0.load(Ordering::SeqCst))
    }
}

/// Notes what rooms are told.
#[derive(Default)]
pub(crate) struct Rooms(pub(crate) Mutex<Vec<String>>);

impl Seats for Rooms {
    fn token<'a>(
        &'a self,
        authority: &'a AuthorityId,
        _: &'a AppointmentId,
        identity: &'a str,
        name: &'a str,
        grants: Grants,
    ) -> SeatAnswer<'a, SeatToken> {
        Box::pin(async move {
            Ok(SeatToken {
                url: "wss://video.example.org".to_owned(),
                token: format!("{authority} {identity} {name} {}", grants.publish),
            })
        })
    }

    fn dismiss<'a>(
        &'a self,
        _: &'a AuthorityId,
        _: &'a AppointmentId,
        identity: &'a str,
    ) -> SeatAnswer<'a, ()> {
        self.0.lock().unwrap().push(format!("dismiss {identity}"));
        Box::pin(async { Ok(()) })
    }

    fn close<'a>(&'a self, _: &'a AuthorityId, _: &'a AppointmentId) -> SeatAnswer<'a, ()> {
        self.0.lock().unwrap().push("close".to_owned());
        Box::pin(async { Ok(()) })
    }
}

pub(crate) struct Office {
    pub(crate) app: Router,
    pub(crate) clock: TestClock,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) id: AppointmentId,
    pub(crate) citizen: PersonId,
    pub(crate) link: String,
    folder: PathBuf,
}

impl Drop for Office {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn authority(name: &str) -> Authority {
    Authority {
        id: AuthorityId::new(name).unwrap(),
        name: format!("Stadt <b>{name}</b>"),
        time_zone: TimeZone::new("Europe/Berlin").unwrap(),
        help: Help::default(),
        retention_days: 30,
        opens_before_s: Authority::OPENS_BEFORE_S,
        closes_after_s: Authority::CLOSES_AFTER_S,
        notice: Notice {
            kind: NoticeKind::Consent,
            title: "Titel".to_owned(),
            text: "Text".to_owned(),
            details: String::new(),
        },
        notices: BTreeMap::from([(
            "en".to_owned(),
            Notice {
                kind: NoticeKind::Consent,
                title: "Title".to_owned(),
                text: "Text in English".to_owned(),
                details: String::new(),
            },
        )]),
        outcomes: Authority::default_outcomes(),
        languages: vec!["de".to_owned()],
        links: Links::default(),
        colours: BTreeMap::new(),
        end_to_end: EndToEnd::default(),
    }
}

pub(crate) fn person(role: Role, name: &str) -> PersonInput {
    PersonInput {
        role,
        name: Name::new(name).unwrap(),
        needs: Needs::default(),
        language: None,
        linked_to: Partner::Nobody,
    }
}

static FOLDERS: AtomicU32 = AtomicU32::new(0);

impl Office {
    pub(crate) async fn open() -> Self {
        Self::open_at(URL).await
    }

    /// With its pages at `url`.
    pub(crate) async fn open_at(url: &str) -> Self {
        let folder = std::env::temp_dir().join(format!(
            "schalter-pages-{}-{}",
            std::process::id(),
            FOLDERS.fetch_add(1, Ordering::Relaxed)
        ));
        std::fs::create_dir_all(&folder).unwrap();
        let store = SqliteStore::open(&folder.join("desk.db")).unwrap();
        let clock = TestClock(Arc::new(AtomicI64::new(START)));
        let rooms = Arc::new(Rooms::default());
        let offices = ["ulm", "bonn"].map(authority);
        let authorities = offices
            .iter()
            .map(|office| (office.id.clone(), Arc::new(office.clone())));
        let desk = Arc::new(Desk::new(
            Arc::new(store),
            rooms.clone(),
            Arc::new(clock.clone()),
            Arc::new(SystemRandom::default()),
            authorities.collect(),
        ));
        let logins = offices.iter().map(|office| {
            let logins = Logins {
                demo: vec![DemoOfficial {
                    id: "kim".to_owned(),
                    name: "Kim <i>Amt</i>".to_owned(),
                }],
                oidc: None,
                link_keys: vec![LinkKey::shared(office.id.as_str(), LINK_SECRET).unwrap()],
            };
            (office.id.clone(), logins)
        });
        let now = START.unsigned_abs() - 1_000_000;
        let http = HttpsClient::new(rustls::RootCertStore::empty());
        let login = Login::new(
            logins,
            SessionTimes::default(),
            format!("{url}/x"),
            http,
            now,
        );
        let own = OfficePages {
            texts: BTreeMap::from([(
                "de".to_owned(),
                BTreeMap::from([("title".to_owned(), "<script>alert(1)</script>".to_owned())]),
            )]),
            logo: Some(Logo {
                content_type: "image/svg+xml",
                bytes: "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
                    .into(),
            }),
            ..OfficePages::default()
        };
        let pages = Pages::new(
            Arc::clone(&desk),
            Arc::new(login),
            Site::new(url, []).unwrap(),
            Offices::new([(offices[0].id.clone(), own)]),
        );
        let caller = Official::new("kim", "Kim Amt", None)
            .unwrap()
            .caller(&offices[0].id);
        let starts_at = Timestamp::from_ms(START);
        let when = When {
            starts_at,
            ends_at: starts_at.plus_s(1_800),
        };
        let subject = Subject::new("<img src=x onerror=alert(1)>").unwrap();
        let people = vec![person(Role::Citizen, "<b>Erika</b> & \"Söhne\"")];
        let done = desk
            .create(&caller, (None, subject, when), people, None)
            .await
            .unwrap();
        let (citizen, token) = done.links[0].clone();
        Self {
            app: router(pages),
            clock,
            rooms,
            id: done.appointment.id,
            citizen,
            link: token.reveal().to_owned(),
            folder,
        }
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser {
            app: self.app.clone(),
            origin: Some(URL.to_owned()),
            address: "192.0.2.7:40000".parse().unwrap(),
            cookies: BTreeMap::new(),
            if_match: None,
            headers: HeaderMap::new(),
        }
    }

    /// A browser that waits.
    pub(crate) async fn waiting(&self) -> Browser {
        let mut citizen = self.browser();
        let (_, view) = citizen
            .post("/links/open", json!({"token": self.link}))
            .await;
        let hash = &view["notice"]["hash"];
        citizen
            .post("/me/notice", json!({"hash": hash, "agreed": true}))
            .await;
        let (status, view) = citizen.post("/me/wait", json!({})).await;
        assert_eq!(
            (status, &view["me"]["stage"]),
            (StatusCode::OK, &json!("waiting"))
        );
        citizen
    }

    /// A browser in which an official is logged in.
    pub(crate) async fn official(&self, authority: &str) -> Browser {
        let mut official = self.browser();
        let body = json!({"authority": authority, "official": "kim"});
        let (status, _) = official.post("/login/demo", body).await;
        assert_eq!(status, StatusCode::OK);
        official
    }

    /// Where an official decides about the citizen.
    pub(crate) fn decide(&self, what: &str) -> String {
        format!("/appointments/{}/people/{}/{what}", self.id, self.citizen)
    }
}

/// A browser: keeps cookies and says where its page is from.
#[derive(Clone)]
pub(crate) struct Browser {
    app: Router,
    pub(crate) origin: Option<String>,
    pub(crate) address: SocketAddr,
    pub(crate) cookies: BTreeMap<String, String>,
    /// `If-Match` of the requests from now on.
    pub(crate) if_match: Option<String>,
    /// Of the last answer.
    pub(crate) headers: HeaderMap,
}

impl Browser {
    pub(crate) async fn post(&mut self, path: &str, body: Value) -> (StatusCode, Value) {
        let body = Body::from(body.to_string());
        self.send("POST", path, body, Some("application/json"))
            .await
    }

    pub(crate) async fn get(&mut self, path: &str) -> (StatusCode, Value) {
        self.send("GET", path, Body::empty(), None).await
    }

    pub(crate) fn cookie(&self) -> String {
        let pairs = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("; ")
    }

    pub(crate) async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: Body,
        content_type: Option<&str>,
    ) -> (StatusCode, Value) {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/desk/v1{path}"))
            .extension(ConnectInfo(self.address));
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(origin) = self.origin.as_ref().filter(|_| method != "GET") {
            request = request.header(header::ORIGIN, origin);
        }
        if let Some(tag) = &self.if_match {
            request = request.header(header::IF_MATCH, tag);
        }
        if !self.cookies.is_empty() {
            request = request.header(header::COOKIE, self.cookie());
        }
        let request = request.body(body).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let status = response.status();
        self.headers = response.headers().clone();
        for cookie in self.headers.get_all(header::SET_COOKIE) {
            let text = cookie.to_str().unwrap();
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            if text.ends_with("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (status, value)
    }
}

/// The code of a problem.
pub(crate) fn code(problem: &Value) -> &str {
    problem["type"]
        .as_str()
        .and_then(|text| text.rsplit(':').next())
        .unwrap_or_default()
}
