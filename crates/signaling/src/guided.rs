//! Rooms that another part of the server guides: it closes them, dismisses people, and hears who is there.
//!
//! It gives out tokens itself, with a key of its own in the [`KeyRing`](crate::authority::KeyRing); a join with one makes the room, whatever
//! [`RoomDefaults::auto_create`](crate::config::RoomDefaults::auto_create) says. The authorities of such rooms
//! ([`SignalingConfig::guided`](crate::config::SignalingConfig::guided)) must not be those of anybody else's key.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use schalter_model::AuthorityId;

use crate::removal::Removed;
use crate::revoker::RevokeError;
use crate::room::RoomKey;
use crate::signaling::Signaling;
use crate::token::CLOCK_LEEWAY_SECS;

/// Whether rooms take what its sender says is not encrypted between the people in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clear {
    /// Like anything else.
    #[default]
    Taken,
    /// Nothing of it but messages of the agreement on keys (`room/clear.rs`).
    Refused,
}

/// The authorities whose rooms are guided, and what those take; both may change while the server runs. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Guided(Arc<ArcSwap<BTreeMap<AuthorityId, Clear>>>);

impl Guided {
    /// Whether rooms of an authority are guided now.
    pub fn contains(&self, authority: &AuthorityId) -> bool {
        self.0.load().contains_key(authority)
    }

    /// What rooms of an authority that begin now take; `None` if they are not guided.
    pub fn clear(&self, authority: &AuthorityId) -> Option<Clear> {
        self.0.load().get(authority).copied()
    }

    /// These from now on, and no others.
    pub fn replace(&self, authorities: BTreeMap<AuthorityId, Clear>) {
        self.0.store(Arc::new(authorities));
    }
}

impl FromIterator<(AuthorityId, Clear)> for Guided {
    fn from_iter<I: IntoIterator<Item = (AuthorityId, Clear)>>(authorities: I) -> Self {
        let map: BTreeMap<_, _> = authorities.into_iter().collect();
        Self(Arc::new(ArcSwap::from_pointee(map)))
    }
}

/// Somebody's media connected for the first time, or a session whose media had connected ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Whose room it is.
    pub authority: AuthorityId,
    /// The room's name.
    pub room: Arc<str>,
    /// The identity in the token.
    pub identity: Arc<str>,
    /// Whether it came; else it left.
    pub came: bool,
}

/// Hears who is in guided rooms. Called from the rooms' tasks: it must not wait.
pub trait RoomObserver: Send + Sync + 'static {
    /// Hears of one, in the order in which it happened in the room.
    fn on_presence(&self, presence: Presence);
}

impl Signaling {
    /// Ends a room by its name: everybody in it must leave. Nothing happens if there is none.
    pub async fn close_room(&self, authority: &AuthorityId, name: &str) {
        if let Some(room) = self.registry.room(&key_of(authority, name)) {
            // It may have ended meanwhile, which is what was asked for.
            let sid = Arc::clone(&room.sid);
            let _ = self.registry.end_room(&sid).await;
        }
    }

    /// Ends the session of an identity in a room, for good: no token with this `jti`, and none that was refreshed from one, is accepted any
    /// more. When this returns, nothing of or for it is forwarded. Tokens with another `jti` are, so that who was sent away can be admitted
    /// again at once; the caller gives each admission one of its own. `longest` is how long a token with it may live from now on, as it was
    /// given out.
    ///
    /// # Errors
    /// [`RevokeError`]; the session ended all the same.
    pub async fn dismiss(
        &self,
        authority: &AuthorityId,
        name: &str,
        identity: &str,
        (jti, longest): (&str, Duration),
    ) -> Result<(), RevokeError> {
        let key = key_of(authority, name);
        let removed = Removed {
            room: key.clone(),
            identity: identity.into(),
        };
        let refreshed = self.registry.config.token_refresh_interval * 2;
        let lives = longest.max(refreshed).as_secs() + 2 * CLOCK_LEEWAY_SECS;
        let until = self.registry.clock.unix_secs().saturating_add(lives);
        let revoked = self
            .registry
            .revoke_token_until(&removed, jti.into(), until);
        let revoked = revoked.await;
        if let Some(room) = self.registry.room(&key) {
            let identity = Arc::clone(&removed.identity);
            // Who is not there need not be removed.
            let _ = room
                .ask(move |room| room.remove_participant(&identity))
                .await;
        }
        revoked
    }
}

fn key_of(authority: &AuthorityId, name: &str) -> RoomKey {
    RoomKey {
        authority: authority.clone(),
        name: name.into(),
    }
}
