//! Why a run could not be made.

use std::io;
use std::net::SocketAddr;

/// Why a run could not be made, or did not show what it should.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A socket, file or process of this machine.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server's signaling.
    #[error("signaling: {0}")]
    Signaling(String),
    /// The server's SDP lacks something or asks for what this generator can't do.
    #[error("SDP: {0}")]
    Sdp(String),
    /// DTLS or SRTP could not be set up.
    #[error("handshake: {0}")]
    Handshake(String),
    /// Something did not happen in time.
    #[error("timed out: {0}")]
    Timeout(String),
    /// Wrong usage.
    #[error("{0}")]
    Usage(String),
    /// The server under test did not start.
    #[error("server: {0}")]
    Server(String),
    /// What was measured is not what was promised.
    #[error("{0}")]
    Unfulfilled(String),
}

impl LoadError {
    /// Says what was tried when the system refused.
    pub fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            what: what.into(),
            source,
        }
    }

    pub(crate) fn socket(address: SocketAddr, source: io::Error) -> Self {
        Self::io(format!("socket towards {address}"), source)
    }
}
