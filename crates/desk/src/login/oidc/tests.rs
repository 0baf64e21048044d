//! The flow against a provider of the test: it misbehaves as a real one does not.

use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::extract::{Form, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::RootCertStore;
use serde_json::json;

use super::*;

const NOW: u64 = 1_700_000_000_000;
const CLIENT: &str = "schalter";

/// How the provider behaves from the next request on.
struct Behaviour {
    key: Ed25519KeyPair,
    kid: &'static str,
    /// Changes the claims of the next token.
    change: fn(&mut Value),
    user_info: Value,
    /// What was sent for a code.
    redeemed: Vec<HashMap<String, String>>,
    discoveries: usize,
}

#[derive(Clone)]
struct Fake {
    issuer: String,
    behaviour: Arc<Mutex<Behaviour>>,
}

impl Fake {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            issuer: format!("http://{}", listener.local_addr().unwrap()),
            behaviour: Arc::new(Mutex::new(Behaviour {
                key: Ed25519KeyPair::generate().unwrap(),
                kid: "one",
                change: |_| {},
                user_info: json!({"sub": "u1", "name": "Kim Beispiel"}),
                redeemed: Vec::new(),
                discoveries: 0,
            })),
        };
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .route(
                "/me",
                get(async |State(fake): State<Fake>| {
                    Json(fake.behaviour.lock().unwrap().user_info.clone())
                }),
            )
            .with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        fake
    }

    fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }
}

async fn discovery(State(fake): State<Fake>) -> Json<Value> {
    fake.behave(|behaviour| behaviour.discoveries += 1);
    let issuer = &fake.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/auth"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/me"),
        "jwks_uri": format!("{issuer}/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA", "HS256", "none"],
    }))
}

async fn keys(State(fake): State<Fake>) -> Json<Value> {
    let behaviour = fake.behaviour.lock().unwrap();
    let x = URL_SAFE_NO_PAD.encode(behaviour.key.public_key().as_ref());
    Json(json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": behaviour.kid, "x": x}
    ]}))
}

async fn token(
    State(fake): State<Fake>,
    Form(form): Form<HashMap<String, String>>,
) -> Result<Json<Value>, StatusCode> {
    let mut behaviour = fake.behaviour.lock().unwrap();
    // The code carries the nonce: this provider remembers nothing.
    let nonce = form.get("code").cloned().ok_or(StatusCode::BAD_REQUEST)?;
    behaviour.redeemed.push(form);
    let mut claims = json!({
        "iss": fake.issuer, "aud": CLIENT, "sub": "u1", "nonce": nonce, "acr": "substantial",
        "iat": NOW / 1_000, "exp": NOW / 1_000 + 60, "groups": ["video"],
    });
    (behaviour.change)(&mut claims);
    let token = if claims["alg"] == "none" {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.", part(&json!({"alg": "none"})), part(&claims))
    } else if claims["alg"] == "HS256" {
        let key = EncodingKey::from_secret(b"the client's secret");
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
    } else {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(behaviour.kid.to_owned());
        let key = behaviour.key.to_pkcs8().unwrap();
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(key.as_ref())).unwrap()
    };
    Ok(Json(json!({
        "access_token": "access", "token_type": "Bearer", "id_token": token, "expires_in": 60,
    })))
}

fn provider(fake: &Fake) -> OidcProvider {
    OidcProvider {
        issuer: fake.issuer.clone(),
        client_id: CLIENT.to_owned(),
        client_secret: Some("the client's secret".to_owned()),
        scopes: vec!["profile".to_owned()],
        acr_values: vec!["substantial".to_owned(), "high".to_owned()],
        rule: ClaimRule {
            admitted: Admitted::Having {
                claim: "groups".to_owned(),
                values: vec!["video".to_owned()],
            },
            id: "sub".to_owned(),
            name: "name".to_owned(),
        },
    }
}

fn oidc(fake: &Fake) -> Oidc {
    let http = HttpsClient::new(RootCertStore::empty());
    let providers = [(AuthorityId::default(), provider(fake))];
    Oidc::new(
        providers,
        "https://video.example.org/callback".to_owned(),
        http,
    )
}

/// The parameters of the provider's page.
fn asked(departure: &Departure) -> HashMap<String, String> {
    let (_, query) = departure.url.split_once('?').unwrap();
    let uri = format!("http://x/?{query}").parse().unwrap();
    axum::extract::Query::<HashMap<String, String>>::try_from_uri(&uri)
        .unwrap()
        .0
}

fn back(departure: &Departure) -> Return {
    let asked = asked(departure);
    Return {
        code: Some(asked["nonce"].clone()),
        state: Some(asked["state"].clone()),
        ..Return::default()
    }
}

/// A whole login.
async fn log_in(oidc: &Oidc, now: u64) -> Result<Official, LoginError> {
    let departure = oidc.depart(&AuthorityId::default(), now).await?;
    let Arrival {
        authority,
        official,
        ..
    } = oidc
        .arrive(&departure.cookie, back(&departure), now)
        .await?;
    assert_eq!(authority, AuthorityId::default());
    Ok(official)
}

#[tokio::test]
async fn an_official_logs_in_with_pkce_and_a_name_from_the_user_info() {
    let fake = Fake::start().await;
    let oidc = oidc(&fake);
    let departure = oidc.depart(&AuthorityId::default(), NOW).await.unwrap();
    let asked = asked(&departure);
    assert_eq!(asked["response_type"], "code");
    assert_eq!(asked["code_challenge_method"], "S256");
    assert_eq!(asked["scope"], "openid profile");
    assert_eq!(asked["acr_values"], "substantial high");
    assert_eq!(asked["redirect_uri"], "https://video.example.org/callback");
    let cookie = &departure.cookie;
    let Arrival { official, .. } = oidc.arrive(cookie, back(&departure), NOW).await.unwrap();
    assert_eq!(
        (official.id.as_str(), official.name.as_str()),
        ("u1", "Kim Beispiel")
    );
    assert_eq!(official.acr.as_deref(), Some("substantial"));
    let redeemed = fake.behaviour.lock().unwrap().redeemed[0].clone();
    let hash = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        redeemed["code_verifier"].as_bytes(),
    );
    assert_eq!(URL_SAFE_NO_PAD.encode(hash), asked["code_challenge"]);
    // Once.
    let again = oidc.arrive(cookie, back(&departure), NOW).await;
    assert_eq!(again.err(), Some(LoginError::FlowExpired));
}

#[tokio::test]
async fn only_the_browser_that_began_ends_a_login_and_only_in_time() {
    let fake = Fake::start().await;
    let oidc = oidc(&fake);
    let authority = AuthorityId::default();
    let (one, other) = (
        oidc.depart(&authority, NOW).await.unwrap(),
        oidc.depart(&authority, NOW).await.unwrap(),
    );
    let expired = Some(LoginError::FlowExpired);
    // A stranger's callback address in my browser.
    let crossed = oidc.arrive(&one.cookie, back(&other), NOW).await;
    assert_eq!(crossed.err(), expired);
    assert_eq!(
        oidc.arrive(&secret::fresh(), back(&other), NOW).await.err(),
        expired
    );
    let late = oidc
        .arrive(&other.cookie, back(&other), NOW + FLOW_TIME)
        .await;
    assert_eq!(late.err(), expired);
    let stateless = oidc.depart(&authority, NOW).await.unwrap();
    let without = Return {
        state: None,
        ..back(&stateless)
    };
    assert_eq!(
        oidc.arrive(&stateless.cookie, without, NOW).await.err(),
        expired
    );
    assert!(fake.behaviour.lock().unwrap().redeemed.is_empty());
}

#[tokio::test]
async fn a_provider_that_declines_or_is_another_one_logs_nobody_in() {
    let fake = Fake::start().await;
    let oidc = oidc(&fake);
    for (change, error) in [
        (
            Return {
                error: Some("access_denied".to_owned()),
                ..Return::default()
            },
            LoginError::Declined,
        ),
        (Return::default(), LoginError::Declined),
        (
            Return {
                iss: Some("https://evil.example".to_owned()),
                ..Return::default()
            },
            LoginError::Claims,
        ),
    ] {
        let departure = oidc.depart(&AuthorityId::default(), NOW).await.unwrap();
        let back = Return {
            state: back(&departure).state,
            ..change
        };
        let result = oidc.arrive(&departure.cookie, back, NOW).await;
        assert_eq!(result.err(), Some(error));
    }
    let unknown = AuthorityId::new("unknown").unwrap();
    assert_eq!(
        oidc.depart(&unknown, NOW).await.err(),
        Some(LoginError::Unknown)
    );
}

#[tokio::test]
async fn tokens_that_are_not_for_this_login_are_refused() {
    let fake = Fake::start().await;
    let oidc = oidc(&fake);
    type Change = fn(&mut Value);
    let changes: [(Change, LoginError); 11] = [
        (|c| c["nonce"] = "another".into(), LoginError::Claims),
        (|c| c["aud"] = "another".into(), LoginError::Claims),
        (
            |c| c["aud"] = json!([CLIENT, "another"]),
            LoginError::Claims,
        ),
        (
            |c| c["iss"] = "https://evil.example".into(),
            LoginError::Claims,
        ),
        (|c| c["exp"] = (NOW / 1_000 - 31).into(), LoginError::Claims),
        (|c| c["iat"] = (NOW / 1_000 + 31).into(), LoginError::Claims),
        (|c| c["alg"] = "none".into(), LoginError::Claims),
        (|c| c["alg"] = "HS256".into(), LoginError::Claims),
        (|c| c["acr"] = "low".into(), LoginError::Assurance),
        (|c| c["acr"] = Value::Null, LoginError::Assurance),
        (|c| c["groups"] = json!(["staff"]), LoginError::NotAdmitted),
    ];
    for (index, (change, error)) in changes.into_iter().enumerate() {
        fake.behave(|behaviour| behaviour.change = change);
        assert_eq!(log_in(&oidc, NOW).await.err(), Some(error), "{index}");
    }
    fake.behave(|behaviour| behaviour.change = |c| c["exp"] = (NOW / 1_000 - 29).into());
    assert!(log_in(&oidc, NOW).await.is_ok());
    fake.behave(|behaviour| behaviour.change = |c| c["iat"] = (NOW / 1_000 + 30).into());
    assert!(log_in(&oidc, NOW).await.is_ok());
}

#[tokio::test]
async fn what_the_user_info_says_of_somebody_else_is_refused() {
    let fake = Fake::start().await;
    let oidc = oidc(&fake);
    fake.behave(|behaviour| behaviour.user_info = json!({"sub": "u2", "name": "Other"}));
    assert_eq!(log_in(&oidc, NOW).await.err(), Some(LoginError::Provider));
    fake.behave(|behaviour| behaviour.user_info = json!({"sub": "u1"}));
    assert_eq!(log_in(&oidc, NOW).await.err(), Some(LoginError::Claims));
    // The signed token counts for more.
    fake.behave(|behaviour| {
        behaviour.user_info = json!({"sub": "u1", "name": "Kim", "groups": ["video"]});
        behaviour.change = |c| c["groups"] = json!([]);
    });
    assert_eq!(
        log_in(&oidc, NOW).await.err(),
        Some(LoginError::NotAdmitted)
    );
}

#[tokio::test]
async fn a_new_key_of_the_provider_is_asked_for_but_not_by_every_stranger() {
    let fake = Fake::start().await;
    let oidc = oidc(&fake);
    assert!(log_in(&oidc, NOW).await.is_ok());
    let change = |kid| {
        fake.behave(|behaviour| {
            behaviour.key = Ed25519KeyPair::generate().unwrap();
            behaviour.kid = kid;
        });
    };
    let discoveries = || fake.behaviour.lock().unwrap().discoveries;
    change("two");
    assert_eq!(
        log_in(&oidc, NOW + 29_999).await.err(),
        Some(LoginError::Claims)
    );
    assert_eq!(discoveries(), 1);
    assert!(log_in(&oidc, NOW + 30_000).await.is_ok());
    assert_eq!(discoveries(), 2);
}

#[tokio::test]
async fn a_provider_that_is_away_is_told_apart() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let fake = Fake {
        issuer,
        ..Fake::start().await
    };
    let oidc = oidc(&fake);
    assert_eq!(log_in(&oidc, NOW).await.err(), Some(LoginError::Provider));
}

#[tokio::test]
async fn logins_under_way_have_a_bound_and_are_forgotten() {
    let fake = Fake::start().await;
    let oidc = oidc(&fake);
    let authority = AuthorityId::default();
    let first = oidc.depart(&authority, NOW).await.unwrap();
    let flow = |index: usize| Flow {
        authority: authority.clone(),
        state: Digest::of(b"x"),
        nonce: Nonce::new("x".to_owned()),
        verifier: PkceCodeVerifier::new("x".to_owned()),
        began: NOW + index as u64,
    };
    for index in 1..=MOST_FLOWS {
        oidc.remember(Digest::of(index.to_string().as_bytes()), flow(index), NOW);
    }
    assert_eq!(oidc.flows.lock().unwrap().len(), MOST_FLOWS);
    let gone = oidc.arrive(&first.cookie, back(&first), NOW).await;
    assert_eq!(gone.err(), Some(LoginError::FlowExpired));
    oidc.sweep(NOW + FLOW_TIME + MOST_FLOWS as u64);
    assert!(oidc.flows.lock().unwrap().is_empty());
}

#[test]
fn issuers_are_https_or_on_this_machine() {
    for good in [
        "https://login.example.org",
        "https://login.example.org/realms/ulm",
        "http://127.0.0.1:4000",
        "http://localhost:1/x",
    ] {
        assert!(is_issuer(good), "{good}");
    }
    for bad in [
        "",
        "login.example.org",
        "http://login.example.org",
        "https://login.example.org/?x",
        "https://login.example.org/#x",
        "https://user@login.example.org",
        "ftp://localhost",
    ] {
        assert!(!is_issuer(bad), "{bad}");
    }
}
