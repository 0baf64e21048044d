//! The LiveKit protocol as its clients speak it, path `/rtc/v1`: one WebSocket and one peer connection a participant.
//!
//! Owns joining, announcing tracks, offers and what makes new ones necessary. No data channels, no reconnects.

mod session;
mod token;

use std::sync::Arc;

use schalter_transport::Fingerprint;

use crate::engine::PeerId;
use crate::error::LoadError;
use crate::target::{MediaPath, Participant, Shared};

pub use session::Knock;
pub use token::{Grant, mint};

pub(crate) use session::Handle;

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
