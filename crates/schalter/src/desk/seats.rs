//! Seats in the desk's rooms, over signaling.
//!
//! Owns the keys that open those rooms: one for each authority, made at the start and kept nowhere, so that nothing but the desk lets
//! anybody in. A token is good for one admission: who is dismissed can't come back with any that was given out before, and can with one
//! that is given out after. A restart makes all of them worthless; pages ask for another.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use schalter_desk::domain::AppointmentId;
use schalter_desk::{Grants, SeatAnswer, SeatError, SeatToken, Seats};
use schalter_model::AuthorityId;
use schalter_signaling::authority::{ApiKey, KeyError, KeyRing, KeyScopes};
use schalter_signaling::token::{Claims, VideoClaims};
use schalter_signaling::{RevokeError, Signaling};

use super::KEY;
use crate::Failure;
use crate::state::random_secret;
use crate::token::unix_now;

/// How long a token opens the room. A page asks for another whenever it needs one; sessions outlast it.
const GOOD_FOR: Duration = Duration::from_secs(10 * 60);
const SECRET_BYTES: usize = 36;
/// Bytes that tell the tokens of this process from those of another.
const BOOT_BYTES: usize = 12;

/// A key for each authority, which opens its rooms. Clones are the same keys.
#[derive(Clone, Default)]
pub(crate) struct RoomKeys(Arc<ArcSwap<KeyRing>>);

impl RoomKeys {
    /// Those that there are now.
    pub(crate) fn all(&self) -> Vec<ApiKey> {
        self.0.load().iter().cloned().collect()
    }

    /// A key for each of these authorities: the one that there is, or one that is new.
    pub(crate) fn of<'a>(
        &self,
        authorities: impl IntoIterator<Item = &'a AuthorityId>,
    ) -> Result<Vec<ApiKey>, KeyError> {
        let scopes = KeyScopes {
            join: true,
            admin: false,
        };
        let own = self.0.load();
        let key = |authority: &AuthorityId| match own.key(&name_of(authority)) {
            Some(key) => Ok(key.clone()),
            None => {
                let secret = random_secret(SECRET_BYTES);
                ApiKey::new(&name_of(authority), &secret, authority.clone(), scopes)
            }
        };
        authorities.into_iter().map(key).collect()
    }

    /// These from now on.
    pub(crate) fn replace(&self, keys: KeyRing) {
        self.0.store(Arc::new(keys));
    }
}

fn name_of(authority: &AuthorityId) -> String {
    format!("{KEY}.{authority}")
}

/// The tokens that somebody was given, numbered by admission.
#[derive(Clone, Copy, Debug, Default)]
struct Admissions {
    /// The number that tokens get now.
    now: u64,
    /// Whether one was given with that number.
    given: bool,
    /// Those with a smaller number are worthless.
    withdrawn: u64,
}

impl Admissions {
    /// What is to be withdrawn, all of it; tokens that are asked for meanwhile are of the next admission. After a failure it is the same once
    /// more.
    fn withdraw(&mut self) -> Range<u64> {
        if self.given || self.withdrawn == self.now {
            self.now += 1;
            self.given = false;
        }
        self.withdrawn..self.now
    }
}

/// Those who were given tokens for a room, by identity.
#[derive(Default)]
struct People {
    /// Which time it is that the room is open: when its office was gone and is back its tokens are others.
    opened: u64,
    admissions: HashMap<String, Admissions>,
}

#[derive(Default)]
struct Given {
    // Bounded by the appointments that run: each takes its own away when it closes.
    rooms: HashMap<AppointmentId, People>,
    /// Rooms that were opened until now.
    opened: u64,
}

impl Given {
    fn room(&mut self, appointment: &AppointmentId) -> &mut People {
        let opened = &mut self.opened;
        self.rooms.entry(appointment.clone()).or_insert_with(|| {
            *opened += 1;
            People {
                opened: *opened,
                ..People::default()
            }
        })
    }
}

/// The desk's way into signaling.
pub(crate) struct RoomSeats {
    signaling: Signaling,
    keys: RoomKeys,
    /// `ws://` or `wss://`, as pages reach it.
    url: String,
    boot: String,
    given: Mutex<Given>,
}

impl RoomSeats {
    /// `public_url` is where the pages are.
    pub(crate) fn new(
        signaling: Signaling,
        keys: RoomKeys,
        public_url: &str,
    ) -> Result<Self, Failure> {
        Ok(Self {
            signaling,
            keys,
            url: public_url.replacen("http", "ws", 1),
            boot: random_secret(BOOT_BYTES),
            given: Mutex::default(),
        })
    }

    /// The `jti` of an identity's tokens from now on.
    fn admission(&self, appointment: &AppointmentId, identity: &str) -> String {
        let mut given = self.lock();
        let people = given.room(appointment);
        let admissions = people.admissions.entry(identity.to_owned()).or_default();
        admissions.given = true;
        self.jti(people.opened, admissions.now)
    }

    fn jti(&self, opened: u64, times: u64) -> String {
        format!("{}.{opened}.{times}", self.boot)
    }

    /// Ends a session, and makes the tokens of these admissions worthless.
    async fn withdraw(
        &self,
        authority: &AuthorityId,
        appointment: &AppointmentId,
        identity: &str,
        (opened, admissions): (u64, Range<u64>),
    ) -> Result<(), SeatError> {
        for number in admissions {
            let jti = self.jti(opened, number);
            let told = self
                .signaling
                .dismiss(authority, appointment.as_str(), identity, (&jti, GOOD_FOR))
                .await;
            match told {
                // Until a restart is as long as these tokens are good for anything: their key ends with the process.
                Ok(()) | Err(RevokeError::NotKept) => {}
                Err(error @ RevokeError::Full) => return Err(SeatError(error.to_string())),
            }
        }
        Ok(())
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
                // Whoever is there agrees with the others on keys, which goes by data. Text of who only watches is shown by no page.
                can_publish_data: Some(true),
                can_update_own_metadata: Some(false),
                ..VideoClaims::default()
            }),
            ..Claims::default()
        };
        let token = self
            .keys
            .0
            .load()
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
            let due = {
                let mut given = self.lock();
                let people = given.room(appointment);
                let admissions = people.admissions.entry(identity.to_owned()).or_default();
                (people.opened, admissions.withdraw())
            };
            let end = due.1.end;
            self.withdraw(authority, appointment, identity, due).await?;
            let mut given = self.lock();
            let people = given.rooms.get_mut(appointment);
            if let Some(admissions) = people.and_then(|people| people.admissions.get_mut(identity))
            {
                admissions.withdrawn = admissions.withdrawn.max(end);
            }
            Ok(())
        })
    }

    fn close<'a>(
        &'a self,
        authority: &'a AuthorityId,
        appointment: &'a AppointmentId,
    ) -> SeatAnswer<'a, ()> {
        Box::pin(async move {
            // A join makes the room anew: what was given out must be worthless before the room ends.
            let people = self.lock().rooms.remove(appointment).unwrap_or_default();
            let mut result = Ok(());
            let People { opened, admissions } = people;
            for (identity, mut admissions) in admissions {
                let due = (opened, admissions.withdraw());
                let withdrawn = self.withdraw(authority, appointment, &identity, due).await;
                if withdrawn.is_err() {
                    // For the next time.
                    let mut given = self.lock();
                    let people = given.rooms.entry(appointment.clone()).or_default();
                    people.opened = opened;
                    people.admissions.insert(identity, admissions);
                }
                result = result.and(withdrawn);
            }
            self.signaling
                .close_room(authority, appointment.as_str())
                .await;
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_withdrawn_is_due_again_and_nothing_newer_with_it() {
        let mut admissions = Admissions {
            given: true,
            ..Admissions::default()
        };
        assert_eq!(admissions.withdraw(), 0..1);
        assert_eq!(admissions.withdraw(), 0..1, "it failed");
        admissions.withdrawn = 1;
        assert_eq!(
            admissions.withdraw(),
            1..2,
            "who was given none may be there all the same"
        );
        admissions.given = true;
        assert_eq!(admissions.withdraw(), 1..3, "two admissions, both due");
    }
}
