//! Seats in the desk's rooms, over signaling.
//!
//! Owns the keys that open those rooms: one for each authority, made at the start and kept nowhere, so that nothing but the desk lets
//! anybody in. A token is good for one admission: who is dismissed can't come back with any that was given out before, and can with one
//! that is given out after. A restart makes all of them worthless; pages ask for another.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use schalter_desk::domain::AppointmentId;
use schalter_desk::{Grants, SeatAnswer, SeatError, SeatToken, Seats};
use schalter_model::AuthorityId;
use schalter_signaling::Signaling;
use schalter_signaling::authority::{ApiKey, KeyRing, KeyScopes};
use schalter_signaling::token::{Claims, VideoClaims};

use super::KEY;
use crate::Failure;
use crate::state::random_secret;
use crate::token::unix_now;

/// How long a token opens the room. A page asks for another whenever it needs one; sessions outlast it.
const GOOD_FOR: Duration = Duration::from_secs(10 * 60);
const SECRET_BYTES: usize = 36;
/// Bytes that tell the tokens of this process from those of another.
const BOOT_BYTES: usize = 12;

/// A key for each authority.
pub(crate) fn keys<'a>(
    authorities: impl IntoIterator<Item = &'a AuthorityId>,
) -> Result<Vec<ApiKey>, Failure> {
    let scopes = KeyScopes {
        join: true,
        admin: false,
    };
    authorities
        .into_iter()
        .map(|authority| {
            let secret = random_secret(SECRET_BYTES);
            ApiKey::new(&name_of(authority), &secret, authority.clone(), scopes)
                .map_err(Failure::setup)
        })
        .collect()
}

fn name_of(authority: &AuthorityId) -> String {
    format!("{KEY}.{authority}")
}

/// Who was given tokens, and how often they were sent away since: by appointment, by identity.
type Given = HashMap<AppointmentId, HashMap<String, u64>>;

/// The desk's way into signaling.
pub(crate) struct RoomSeats {
    signaling: Signaling,
    keys: KeyRing,
    /// `ws://` or `wss://`, as pages reach it.
    url: String,
    boot: String,
    // Bounded by the appointments that run: each takes its own away when it closes.
    given: Mutex<Given>,
}

impl RoomSeats {
    /// `public_url` is where the pages are.
    pub(crate) fn new(
        signaling: Signaling,
        keys: &[ApiKey],
        public_url: &str,
    ) -> Result<Self, Failure> {
        Ok(Self {
            signaling,
            keys: KeyRing::new(keys.iter().cloned()).map_err(Failure::setup)?,
            url: public_url.replacen("http", "ws", 1),
            boot: random_secret(BOOT_BYTES),
            given: Mutex::default(),
        })
    }

    /// The `jti` of an identity's tokens from now on.
    fn admission(&self, appointment: &AppointmentId, identity: &str) -> String {
        let mut given = self.lock();
        let people = given.entry(appointment.clone()).or_default();
        let times = people.entry(identity.to_owned()).or_default();
        self.jti(*times)
    }

    fn jti(&self, times: u64) -> String {
        format!("{}.{times}", self.boot)
    }

    async fn withdraw(
        &self,
        authority: &AuthorityId,
        appointment: &AppointmentId,
        identity: &str,
        times: u64,
    ) -> Result<(), SeatError> {
        let jti = self.jti(times);
        self.signaling
            .dismiss(authority, appointment.as_str(), identity, (&jti, GOOD_FOR))
            .await
            .map_err(|error| SeatError(error.to_string()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Given> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mint(
        &self,
        authority: &AuthorityId,
        appointment: &AppointmentId,
        (identity, name): (&str, &str),
        grants: Grants,
    ) -> Result<SeatToken, SeatError> {
        let claims = Claims {
            jti: Some(self.admission(appointment, identity)),
            identity: Some(identity.to_owned()),
            name: Some(name.to_owned()),
            video: Some(VideoClaims {
                room: Some(appointment.to_string()),
                room_join: Some(true),
                can_publish: Some(grants.publish),
                can_subscribe: Some(true),
                // Text beside the voice is for whoever speaks, signs or writes; who only watches says nothing.
                can_publish_data: Some(grants.publish || grants.captions),
                can_update_own_metadata: Some(false),
                ..VideoClaims::default()
            }),
            ..Claims::default()
        };
        let token = self
            .keys
            .mint(&name_of(authority), &claims, unix_now(), GOOD_FOR)
            .map_err(|error| SeatError(error.to_string()))?;
        Ok(SeatToken {
            url: self.url.clone(),
            token,
        })
    }
}

impl Seats for RoomSeats {
    fn token<'a>(
        &'a self,
        authority: &'a AuthorityId,
        appointment: &'a AppointmentId,
        identity: &'a str,
        name: &'a str,
        grants: Grants,
    ) -> SeatAnswer<'a, SeatToken> {
        Box::pin(async move { self.mint(authority, appointment, (identity, name), grants) })
    }

    fn dismiss<'a>(
        &'a self,
        authority: &'a AuthorityId,
        appointment: &'a AppointmentId,
        identity: &'a str,
    ) -> SeatAnswer<'a, ()> {
        Box::pin(async move {
            // From here on tokens are of the next admission: one that is asked for meanwhile must not be withdrawn with the last ones.
            let times = {
                let mut given = self.lock();
                let people = given.entry(appointment.clone()).or_default();
                let times = people.entry(identity.to_owned()).or_default();
                std::mem::replace(times, *times + 1)
            };
            self.withdraw(authority, appointment, identity, times).await
        })
    }

    fn close<'a>(
        &'a self,
        authority: &'a AuthorityId,
        appointment: &'a AppointmentId,
    ) -> SeatAnswer<'a, ()> {
        Box::pin(async move {
            // A join makes the room anew: what was given out must be worthless before the room ends.
            let people = self.lock().remove(appointment).unwrap_or_default();
            let mut result = Ok(());
            for (identity, times) in people {
                let withdrawn = self.withdraw(authority, appointment, &identity, times);
                result = result.and(withdrawn.await);
            }
            self.signaling
                .close_room(authority, appointment.as_str())
                .await;
            result
        })
    }
}
