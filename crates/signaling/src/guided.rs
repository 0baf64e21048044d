//! Rooms that another part of the server guides: it closes them, dismisses people, and hears who is there.
//!
//! It gives out tokens itself, with a key of its own in the [`KeyRing`](crate::authority::KeyRing); a join with one makes the room, whatever
//! [`RoomDefaults::auto_create`](crate::config::RoomDefaults::auto_create) says. The authorities of such rooms
//! ([`SignalingConfig::guided`](crate::config::SignalingConfig::guided)) must not be those of anybody else's key.

use std::sync::Arc;

use schalter_model::AuthorityId;

use crate::removal::Removed;
use crate::revoker::RevokeError;
use crate::room::RoomKey;
use crate::signaling::Signaling;

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

    /// Ends the session of an identity in a room, for good: no token that was given out for it until now, or within the next minute, is
    /// accepted any more. When this returns, nothing of or for it is forwarded.
    ///
    /// # Errors
    /// [`RevokeError`]; the session ended all the same.
    pub async fn dismiss(
        &self,
        authority: &AuthorityId,
        name: &str,
        identity: &str,
    ) -> Result<(), RevokeError> {
        let key = key_of(authority, name);
        let removed = Removed {
            room: key.clone(),
            identity: identity.into(),
        };
        let revoked = self.registry.revoke_issued_until_now(&removed).await;
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
