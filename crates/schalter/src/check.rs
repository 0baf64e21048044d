//! `POST /check/session`: a token for somebody who checks the connection without a link.
//!
//! Anybody may ask, so the token opens nothing of anybody: a key of its own, made at the start and kept nowhere, signs it, in an
//! authority of its own that no webhook tells of. It is good for a minute and for one room, which has few seats and where everybody
//! is invisible and may neither publish nor send data. `limits.checks` says how many seats.

use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use schalter_metrics::problem;
use schalter_model::AuthorityId;
use schalter_signaling::authority::{ApiKey, KeyRing, KeyScopes};
use schalter_signaling::token::{Claims, RoomConfiguration, VideoClaims};
use serde_json::json;

use crate::Failure;
use crate::config::Config;
use crate::state::random_secret;
use crate::token::unix_now;

/// Name of key and authority. No key of the configuration may have it.
pub(crate) const NAME: &str = "schalter-check";
/// The one room.
const ROOM: &str = "check";
/// How long a token opens the room: a check takes half of that at most.
const GOOD_FOR: Duration = Duration::from_secs(60);
const SECRET_BYTES: usize = 36;
const IDENTITY_BYTES: usize = 12;

/// What makes such tokens.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    key: ApiKey,
    seats: u32,
}

impl Check {
    /// Nothing if the configuration wants none, or if joins make no rooms.
    pub(crate) fn new(config: &Config) -> Result<Option<Self>, Failure> {
        if config.limits.checks == 0 || !config.room.auto_create {
            return Ok(None);
        }
        let authority = AuthorityId::new(NAME).map_err(Failure::setup)?;
        let scopes = KeyScopes {
            join: true,
            admin: false,
        };
        let key = ApiKey::new(NAME, &random_secret(SECRET_BYTES), authority, scopes);
        Ok(Some(Self {
            key: key.map_err(Failure::setup)?,
            seats: config.limits.checks,
        }))
    }

    /// The key that signs.
    pub(crate) fn key(&self) -> &ApiKey {
        &self.key
    }

    fn token(&self) -> Option<String> {
        let claims = Claims {
            identity: Some(random_secret(IDENTITY_BYTES)),
            video: Some(VideoClaims {
                room: Some(ROOM.to_owned()),
                room_join: Some(true),
                can_publish: Some(false),
                can_publish_data: Some(false),
                hidden: Some(true),
                ..VideoClaims::default()
            }),
            room_config: Some(RoomConfiguration {
                max_participants: self.seats,
                ..RoomConfiguration::default()
            }),
            ..Claims::default()
        };
        let ring = KeyRing::new([self.key.clone()]).ok()?;
        ring.mint(NAME, &claims, unix_now(), GOOD_FOR).ok()
    }
}

/// The endpoint; 404 where there is no check without a link.
pub(crate) fn router(check: Option<Check>) -> Router {
    let answer = async move || -> Response {
        match check.as_ref().and_then(Check::token) {
            Some(token) => (
                [(header::CACHE_CONTROL, "no-store")],
                Json(json!({ "token": token })),
            )
                .into_response(),
            None => problem(
                StatusCode::NOT_FOUND,
                "the connection is checked with a link only",
            )
            .into_response(),
        }
    };
    Router::new().route("/check/session", post(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_the_one_room_for_a_minute_and_nothing_else() {
        let check = Check::new(&Config::default()).unwrap().unwrap();
        let ring = crate::keys::beside(&[check.key().clone()], &KeyRing::default()).unwrap();
        let token = check.token().unwrap();
        let grants = ring.verify(&token, unix_now()).unwrap();
        assert_eq!(grants.authority.as_str(), NAME);
        assert!(ring.verify(&token, unix_now() + 120).is_err());
        assert!(KeyRing::default().verify(&token, unix_now()).is_err());
    }

    #[test]
    fn the_operator_can_do_without() {
        let mut config = Config::default();
        config.limits.checks = 0;
        assert!(Check::new(&config).unwrap().is_none());
        let mut config = Config::default();
        config.room.auto_create = false;
        assert!(Check::new(&config).unwrap().is_none());
    }
}
