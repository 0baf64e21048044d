//! The server under test, whatever protocol it speaks.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use schalter_model::SrtpProfile;

use crate::client::Certificate;
use crate::engine::{Engine, PeerId, ViewConfig};
use crate::error::LoadError;
use crate::feed::FeedConfig;
use crate::janus::{self, Janus};
use crate::livekit::{self, LiveKit};
use crate::receive::Feedback;

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
    /// Numbers of the publishers that it hears.
    pub hears: Vec<u32>,
    /// Watches as a browser would, behind this link.
    pub view: Option<ViewConfig>,
}

/// Where a peer's media goes: what a stranger would have to know to disturb it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaPath {
    /// The server's candidate.
    pub candidate: SocketAddr,
    /// The server's ICE user for this peer.
    pub ufrag: String,
}

/// The server under test.
#[derive(Clone)]
pub enum Target {
    /// One that speaks the LiveKit protocol.
    LiveKit(LiveKit),
    /// Janus with its video room.
    Janus(Janus),
}

enum Session {
    LiveKit(livekit::Handle),
    Janus(janus::Handle),
}

/// A participant in a room.
pub struct Member {
    pub(crate) peer: PeerId,
    pub(crate) path: MediaPath,
    shared: Arc<Shared>,
    session: Session,
}

impl Member {
    /// Its peer in the engine.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Where its media goes.
    pub fn path(&self) -> &MediaPath {
        &self.path
    }

    /// Whether the server has ended the signaling connection.
    pub fn signaling_lost(&self) -> bool {
        match &self.session {
            Session::LiveKit(session) => session.ended(),
            Session::Janus(session) => session.ended(),
        }
    }

    /// Leaves the room in good order.
    pub async fn leave(self) {
        match self.session {
            Session::LiveKit(session) => session.leave().await,
            Session::Janus(session) => session.leave().await,
        }
        self.shared.engine.remove(self.peer);
    }
}

impl Target {
    /// Whether one participant can publish and subscribe over one peer connection. Otherwise publishers come first and
    /// subscribers are participants of their own.
    pub fn publishes_and_hears_at_once(&self) -> bool {
        match self {
            Self::LiveKit(_) => true,
            Self::Janus(_) => false,
        }
    }

    /// Joins and negotiates; media may take a little longer.
    ///
    /// # Errors
    /// [`LoadError`] when the server refuses, or its SDP can't be used.
    pub async fn join(&self, shared: &Arc<Shared>, who: &Participant) -> Result<Member, LoadError> {
        let (peer, path, session) = match self {
            Self::LiveKit(server) => {
                let (peer, path, handle) = server.join(shared, who).await?;
                (peer, path, Session::LiveKit(handle))
            }
            Self::Janus(server) => {
                let (peer, path, handle) = server.join(shared, who).await?;
                (peer, path, Session::Janus(handle))
            }
        };
        Ok(Member {
            peer,
            path,
            shared: Arc::clone(shared),
            session,
        })
    }
}
