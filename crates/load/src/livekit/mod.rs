//! The LiveKit protocol as its clients speak it, path `/rtc/v1`: one WebSocket and one peer connection a participant.
//!
//! Owns joining, announcing tracks, offers and what makes new ones necessary. No data channels, no reconnects.

mod session;
mod token;

use std::net::IpAddr;
use std::sync::Arc;

use schalter_model::SrtpProfile;

use crate::client::Certificate;
use crate::engine::{Engine, PeerId};
use crate::error::LoadError;
use crate::feed::FeedConfig;
use crate::receive::Feedback;

pub use token::{Grant, mint};

/// What all peers of one run share.
pub struct Shared {
    /// The thread that carries their media.
    pub engine: Engine,
    /// The certificate that all present.
    pub certificate: Arc<Certificate>,
    /// Address that their sockets are on.
    pub local: IpAddr,
    /// SRTP profile to offer, the only one.
    pub profile: SrtpProfile,
    /// What subscribers tell the server.
    pub feedback: Feedback,
}

/// Who joins what, and why.
#[derive(Clone, Debug)]
pub struct Participant {
    /// The room.
    pub room: String,
    /// Unique in the room.
    pub identity: String,
    /// What it publishes, under which number.
    pub publish: Option<(u32, FeedConfig)>,
    /// Publishers that it hears.
    pub hears: usize,
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

/// A participant in a room.
pub struct Member {
    peer: PeerId,
    shared: Arc<Shared>,
    session: session::Handle,
}

impl Member {
    /// Its peer in the engine.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Whether the server has ended the signaling connection.
    pub fn signaling_lost(&self) -> bool {
        self.session.ended()
    }

    /// Leaves the room in good order.
    pub async fn leave(self) {
        self.session.leave().await;
        self.shared.engine.remove(self.peer);
    }
}

impl LiveKit {
    /// Joins and negotiates; media may take a little longer.
    ///
    /// # Errors
    /// [`LoadError`] when the server refuses, or its SDP can't be used.
    pub async fn join(&self, shared: &Arc<Shared>, who: &Participant) -> Result<Member, LoadError> {
        let grant = Grant { room: &who.room, identity: &who.identity };
        let token = mint(&self.key, &self.secret, &grant)?;
        let (peer, session) = session::join(&self.url, &token, shared, who).await?;
        Ok(Member { peer, shared: Arc::clone(shared), session })
    }

    /// Opens the WebSocket and joins, but sends no offer and no media; ends when dropped.
    ///
    /// # Errors
    /// [`LoadError::Signaling`] when the server refuses.
    pub async fn knock(&self, room: &str, identity: &str) -> Result<session::Knock, LoadError> {
        let token = mint(&self.key, &self.secret, &Grant { room, identity })?;
        session::knock(&self.url, &token).await
    }
}
