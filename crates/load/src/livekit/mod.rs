//! The LiveKit protocol as its clients speak it, path `/rtc/v1`: one WebSocket and one peer connection a participant.
//!
//! Owns joining, announcing tracks, offers and what makes new ones necessary. No data channels, no reconnects.

mod session;
mod token;

use std::sync::Arc;

use schalter_transport::Fingerprint;

use crate::engine::{PeerId, ViewConfig};
use crate::error::LoadError;
use crate::target::{MediaPath, Participant, Shared};

pub use session::Knock;
pub use token::{Grant, mint};

pub(crate) use session::Handle;

/// A receiver that was let in with a token, see [`LiveKit::watch`].
pub struct Watcher {
    peer: PeerId,
    handle: Handle,
}

impl Watcher {
    /// Its peer in the engine.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Whether the server has ended the signaling connection.
    pub fn ended(&self) -> bool {
        self.handle.ended()
    }

    /// Leaves the room in good order.
    pub async fn leave(self, shared: &Shared) {
        self.handle.leave().await;
        shared.engine.remove(self.peer);
    }
}

/// A server that speaks the LiveKit protocol.
#[derive(Clone)]
pub struct LiveKit {
    /// `ws://host:port`.
    pub url: String,
    /// API key.
    pub key: String,
    /// Its secret.
    pub secret: String,
}

impl LiveKit {
    pub(crate) async fn join(
        &self,
        shared: &Arc<Shared>,
        who: &Participant,
    ) -> Result<(PeerId, MediaPath, Handle), LoadError> {
        let grant = Grant {
            room: &who.room,
            identity: &who.identity,
        };
        let token = mint(&self.key, &self.secret, &grant)?;
        session::join(&self.url, &token, shared, who).await
    }

    /// Joins with a token that somebody else made, as a receiver that watches everything in the room.
    ///
    /// # Errors
    /// [`LoadError`] when the server refuses, or its SDP can't be used.
    pub async fn watch(
        url: &str,
        token: &str,
        shared: &Arc<Shared>,
        view: ViewConfig,
    ) -> Result<Watcher, LoadError> {
        let who = Participant {
            room: String::new(),
            identity: "a receiver".to_owned(),
            publish: None,
            // One section of each kind to begin with; the server asks for more.
            hears: vec![0],
            view: Some(view),
        };
        let (peer, _, handle) = session::join(url, token, shared, &who).await?;
        Ok(Watcher { peer, handle })
    }

    /// Joins and offers, so that the server opens a transport, but never sends media; ends when dropped.
    ///
    /// # Errors
    /// [`LoadError::Signaling`] when the server refuses.
    pub async fn knock(
        &self,
        room: &str,
        identity: &str,
        fingerprint: &Fingerprint,
    ) -> Result<Knock, LoadError> {
        let token = mint(&self.key, &self.secret, &Grant { room, identity })?;
        session::knock(&self.url, &token, fingerprint).await
    }
}
