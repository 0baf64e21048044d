//! Tokens: who is let in, and what the refusal says.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use livekit_protocol::TrackSource;
use livekit_protocol::participant_info::Kind;
use proptest::prelude::*;
use schalter_model::AuthorityId;
use schalter_signaling::authority::{ApiKey, KeyError, KeyRing, KeyScopes};
use schalter_signaling::token::{
    CLOCK_LEEWAY_SECS, Claims, MAX_JTI_LEN, MAX_METADATA_LEN, MAX_NAME_LEN, MAX_TOKEN_LEN,
    MAX_TOKEN_LIFETIME_SECS, TokenError, VideoClaims,
};
use serde_json::{Value, json};

const SECRET: &str = "a secret of thirty-two characters";
const NOW: u64 = 1_800_000_000;

fn key(name: &str, scopes: KeyScopes) -> ApiKey {
    ApiKey::new(
        name,
        SECRET,
        AuthorityId::new("ulm").expect("valid test data"),
        scopes,
    )
    .expect("valid test data")
}

fn ring() -> KeyRing {
    let join_only = KeyScopes {
        join: true,
        admin: false,
    };
    let admin_only = KeyScopes {
        join: false,
        admin: true,
    };
    KeyRing::new([
        key("all", KeyScopes::ALL),
        key("join", join_only),
        key("admin", admin_only),
    ])
    .expect("valid test data")
}

fn sign(algorithm: Algorithm, payload: &Value, secret: &str) -> String {
    let secret = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(algorithm), payload, &secret).expect("valid test data")
}

/// A good payload with some claims replaced.
fn payload(change: Value) -> Value {
    let mut payload = json!({
        "iss": "all", "sub": "anna", "nbf": NOW, "exp": NOW + 600,
        "video": {"room": "r", "roomJoin": true},
    });
    for (name, value) in change.as_object().expect("valid test data") {
        payload[name] = value.clone();
    }
    payload
}

fn verify(change: Value) -> Result<schalter_signaling::token::Grants, TokenError> {
    ring().verify(&sign(Algorithm::HS256, &payload(change), SECRET), NOW)
}

#[test]
fn missing_grants_have_livekits_defaults() {
    let grants = verify(json!({})).unwrap();
    assert_eq!(grants.identity, "anna");
    assert_eq!(grants.authority.as_str(), "ulm");
    assert_eq!(&*grants.key, "all");
    assert_eq!(grants.kind, Kind::Standard);
    assert_eq!(grants.expires_at, NOW + 600);
    let video = grants.require_join().unwrap();
    assert!(video.can_publish && video.can_subscribe && video.can_publish_data);
    assert!(!video.can_update_own_metadata && !video.hidden && !video.room_admin);
    assert!(video.may_publish(TrackSource::ScreenShare));
}

#[test]
fn data_follows_publish_unless_said_otherwise() {
    let data = |grants: Value| {
        verify(json!({"video": grants}))
            .unwrap()
            .video
            .unwrap()
            .can_publish_data
    };
    assert!(!data(json!({"canPublish": false})));
    assert!(data(json!({"canPublish": false, "canPublishData": true})));
    assert!(!data(json!({"canPublishData": false})));
}

#[test]
fn sources_restrict_and_unknown_ones_never_widen() {
    let video = |sources: Value| {
        verify(json!({"video": {"canPublishSources": sources}}))
            .unwrap()
            .video
            .unwrap()
    };
    let some = video(json!(["microphone", "screen_share_audio", "hologram"]));
    assert!(some.may_publish(TrackSource::Microphone));
    assert!(some.may_publish(TrackSource::ScreenShareAudio));
    assert!(!some.may_publish(TrackSource::Camera));
    assert!(!some.may_publish(TrackSource::Unknown));
    assert!(!video(json!(["hologram"])).may_publish(TrackSource::Camera));
    assert!(video(json!([])).may_publish(TrackSource::Camera));
}

#[test]
fn all_claims_arrive_and_unknown_ones_are_let_pass() {
    let grants = verify(json!({
        "name": "Anna", "metadata": "{}", "attributes": {"a": "b"}, "kind": "agent",
        "sha256": "x", "roomPreset": "small", "aud": "someone", "sip": {"admin": true},
        "roomConfig": {"maxParticipants": 2, "emptyTimeout": 5, "future": [1]},
        "exp": (NOW as f64) + 60.5,
    }))
    .unwrap();
    assert_eq!((&*grants.name, &*grants.metadata), ("Anna", "{}"));
    assert_eq!(grants.attributes["a"], "b");
    assert_eq!(grants.kind, Kind::Agent);
    assert_eq!(grants.expires_at, NOW + 60);
    let config = grants.room_config.unwrap();
    assert_eq!((config.max_participants, config.empty_timeout), (2, 5));
    assert_eq!(grants.claims.room_preset.as_deref(), Some("small"));
}

#[test]
fn times_are_checked_with_a_little_leeway() {
    let at = |change: Value| verify(change).map(|_| ());
    assert_eq!(at(json!({"exp": NOW - CLOCK_LEEWAY_SECS})), Ok(()));
    assert_eq!(
        at(json!({"exp": NOW - CLOCK_LEEWAY_SECS - 1})),
        Err(TokenError::Expired)
    );
    assert_eq!(at(json!({"nbf": NOW + CLOCK_LEEWAY_SECS})), Ok(()));
    assert_eq!(
        at(json!({"nbf": NOW + CLOCK_LEEWAY_SECS + 1})),
        Err(TokenError::NotYetValid)
    );
    assert_eq!(at(json!({"nbf": null})), Ok(()));
    assert_eq!(at(json!({"exp": null})), Err(TokenError::NoExpiry));
    assert_eq!(at(json!({"exp": -1})), Err(TokenError::Expired));
    assert_eq!(at(json!({"exp": u64::MAX})), Err(TokenError::LivesTooLong));
}

#[test]
fn forgeries_are_told_apart() {
    let ring = ring();
    let good = sign(Algorithm::HS256, &payload(json!({})), SECRET);
    let error = |token: &str| ring.verify(token, NOW).map(|_| ()).unwrap_err();
    assert_eq!(error(""), TokenError::Missing);
    for junk in ["x", "a.b", "a.b.c", "....", "ü.ü.ü", &good[..40]] {
        assert_eq!(error(junk), TokenError::NotAToken, "{junk}");
    }
    let other = "another secret of thirty-two chars";
    assert_eq!(
        error(&sign(Algorithm::HS256, &payload(json!({})), other)),
        TokenError::Signature
    );
    assert_eq!(
        error(&sign(Algorithm::HS512, &payload(json!({})), SECRET)),
        TokenError::Algorithm
    );
    for unknown in [json!({"iss": "nobody"}), json!({"iss": null})] {
        let token = sign(Algorithm::HS256, &payload(unknown), SECRET);
        assert_eq!(error(&token), TokenError::UnknownKey);
    }
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let (_, rest) = good.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    assert_eq!(error(&format!("{none}.{claims}.")), TokenError::NotAToken);
    let changed = URL_SAFE_NO_PAD.encode(payload(json!({"sub": "eve"})).to_string());
    let head = good.split('.').next().unwrap();
    assert_eq!(
        error(&format!("{head}.{changed}.{signature}")),
        TokenError::Signature
    );
    assert_eq!(error(&format!("{head}.{claims}.")), TokenError::Signature);
    assert_eq!(error(&"x".repeat(MAX_TOKEN_LEN + 1)), TokenError::TooLong);
}

#[test]
fn claims_of_a_wrong_type_are_refused() {
    for wrong in [
        json!({"sub": 5}),
        json!({"video": "all"}),
        json!({"video": {"roomJoin": "yes"}}),
        json!({"attributes": {"a": 1}}),
    ] {
        assert_eq!(
            verify(wrong.clone()).unwrap_err(),
            TokenError::Claims,
            "{wrong}"
        );
    }
}

#[test]
fn overlong_claims_are_named() {
    let long = |n: usize| "x".repeat(n);
    for (change, error) in [
        (
            json!({"sub": long(MAX_NAME_LEN + 1)}),
            TokenError::IdentityTooLong,
        ),
        (
            json!({"name": long(MAX_NAME_LEN + 1)}),
            TokenError::NameTooLong,
        ),
        (
            json!({"video": {"room": long(MAX_NAME_LEN + 1)}}),
            TokenError::RoomTooLong,
        ),
        (
            json!({"metadata": long(MAX_METADATA_LEN + 1)}),
            TokenError::MetadataTooLong,
        ),
        (
            json!({"attributes": {"k": long(MAX_METADATA_LEN)}}),
            TokenError::AttributesTooLong,
        ),
    ] {
        assert_eq!(verify(change).unwrap_err(), error);
        assert_eq!(error.status(), 400);
    }
    assert!(verify(json!({"sub": long(MAX_NAME_LEN), "metadata": long(MAX_METADATA_LEN)})).is_ok());
}

#[test]
fn joining_needs_room_identity_and_grant() {
    let join = |change: Value| {
        let grants = verify(change).unwrap();
        grants
            .require_join()
            .map(|_| ())
            .map_err(|e| (e, e.status()))
    };
    assert_eq!(join(json!({})), Ok(()));
    assert_eq!(
        join(json!({"video": null})),
        Err((TokenError::NoVideoGrant, 401))
    );
    assert_eq!(
        join(json!({"video": {"room": "r"}})),
        Err((TokenError::NoRoomJoin, 401))
    );
    assert_eq!(
        join(json!({"video": {"roomJoin": true}})),
        Err((TokenError::NoRoom, 400))
    );
    assert_eq!(join(json!({"sub": ""})), Err((TokenError::NoIdentity, 400)));
    assert_eq!(
        join(json!({"sub": null})),
        Err((TokenError::NoIdentity, 400))
    );
    assert_eq!(
        join(json!({"iss": "admin"})),
        Err((TokenError::KeyMayNotJoin, 403))
    );
}

#[test]
fn scopes_of_the_key_bound_its_tokens() {
    let admin = |key: &str| {
        let change = json!({"iss": key, "sub": null, "video": {"roomCreate": true}});
        verify(change)
            .unwrap()
            .require_admin()
            .map(|v| v.room_create)
    };
    assert_eq!(admin("all"), Ok(true));
    assert_eq!(admin("admin"), Ok(true));
    assert_eq!(admin("join"), Err(TokenError::KeyMayNotAdmin));
}

#[test]
fn minted_tokens_verify_and_say_the_same() {
    let ring = ring();
    let claims = Claims {
        identity: Some("anna".into()),
        name: Some("Änna \"quoted\"".into()),
        metadata: Some("m".into()),
        attributes: Some(BTreeMap::from([("k".into(), "v".into())])),
        kind: Some("standard".into()),
        room_config: Some(livekit_protocol::RoomConfiguration {
            max_participants: 3,
            ..Default::default()
        }),
        video: Some(VideoClaims {
            room: Some("r".into()),
            room_join: Some(true),
            can_publish: Some(false),
            can_publish_sources: Some(vec!["camera".into()]),
            ..VideoClaims::default()
        }),
        ..Claims::default()
    };
    let token = ring
        .mint("all", &claims, NOW, Duration::from_secs(600))
        .unwrap();
    let grants = ring.verify(&token, NOW).unwrap();
    let claims = Claims {
        iat: Some(NOW),
        ..claims
    };
    assert_eq!(grants.claims, claims);
    assert_eq!(grants.expires_at, NOW + 600);
    // A refresh token is minted from the grants' own claims.
    let refreshed = ring.mint(
        &grants.key,
        &grants.claims,
        NOW + 300,
        Duration::from_secs(600),
    );
    assert_eq!(
        ring.verify(&refreshed.unwrap(), NOW + 850).unwrap().claims,
        claims
    );
    assert_eq!(
        ring.verify(&token, NOW + 611).unwrap_err(),
        TokenError::Expired
    );
    let unknown = ring.mint("nobody", &claims, NOW, Duration::from_secs(1));
    assert_eq!(unknown, Err(TokenError::UnknownKey));
}

#[test]
fn weak_and_ambiguous_keys_are_refused() {
    let make = |name: &str, secret: &str| {
        ApiKey::new(name, secret, AuthorityId::default(), KeyScopes::ALL).map(|_| ())
    };
    assert_eq!(make("k", &"x".repeat(31)), Err(KeyError::SecretTooShort));
    assert_eq!(make("k", &"x".repeat(32)), Ok(()));
    assert_eq!(make("", SECRET), Err(KeyError::InvalidName));
    let twice = KeyRing::new([key("k", KeyScopes::ALL), key("k", KeyScopes::ALL)]);
    assert_eq!(twice.map(|_| ()), Err(KeyError::Duplicate));
}

#[test]
fn secrets_never_show() {
    let text = format!("{:?} {:#?}", ring(), ring());
    assert!(text.contains("join"));
    assert!(!text.contains(SECRET));
}

proptest! {
    #[test]
    fn arbitrary_text_is_never_a_token(text in any::<String>()) {
        prop_assert!(ring().verify(&text, NOW).is_err());
    }

    #[test]
    fn one_changed_character_breaks_a_token(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_-]") {
        let token = sign(Algorithm::HS256, &payload(json!({})), SECRET);
        let at = at.index(token.len());
        prop_assume!(token.as_bytes()[at] != b'.' && token.as_bytes()[at] != to.as_bytes()[0]);
        let mut changed = token.clone();
        changed.replace_range(at..=at, &to);
        let result = ring().verify(&changed, NOW);
        // The last character's low bits are padding: what decodes to the same bytes is the same token.
        let same = |text: &str| URL_SAFE_NO_PAD.decode(text.rsplit('.').next().unwrap());
        prop_assert!(result.is_err() || same(&changed) == same(&token));
    }
}

#[test]
fn a_token_is_as_old_as_it_says_and_lives_a_year_at_most() {
    let issued = |change: Value| verify(change).map(|grants| grants.issued_at);
    assert_eq!(issued(json!({"iat": NOW - 7})), Ok(NOW - 7));
    assert_eq!(issued(json!({})), Ok(NOW), "the start of validity");
    assert_eq!(issued(json!({"nbf": null})), Ok(0), "as old as can be");
    let year = MAX_TOKEN_LIFETIME_SECS;
    let long = json!({"exp": NOW + year, "iat": NOW});
    assert_eq!(issued(long), Ok(NOW));
    for longer in [
        json!({"exp": NOW + year + 11}),
        json!({"exp": NOW + year, "iat": NOW - 11}),
        json!({"exp": NOW + year + 11, "nbf": null}),
    ] {
        assert_eq!(
            issued(longer.clone()),
            Err(TokenError::LivesTooLong),
            "{longer}"
        );
    }
}

#[test]
fn a_refreshed_token_keeps_name_and_age() {
    for (change, age) in [
        (json!({"jti": "t", "iat": NOW - 7}), NOW - 7),
        (json!({"jti": "t", "nbf": NOW - 9}), NOW - 9),
        (json!({"jti": "t", "nbf": null}), 0),
    ] {
        let grants = verify(change).unwrap();
        let later = NOW + 500;
        let fresh = ring().mint("all", &grants.claims, later, Duration::from_secs(600));
        let fresh = ring().verify(&fresh.unwrap(), later).unwrap();
        assert_eq!((fresh.issued_at, fresh.expires_at), (age, later + 600));
        assert_eq!(fresh.claims.jti.as_deref(), Some("t"));
    }
    let long = "x".repeat(MAX_JTI_LEN + 1);
    assert_eq!(verify(json!({"jti": long})), Err(TokenError::JtiTooLong));
}
