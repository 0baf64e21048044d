//! Connections that carry datagrams: ICE-TCP and TURN over TCP or TLS, on the worker that owns what they carry.
//!
//! Accepting, TLS handshakes and telling protocols apart happen elsewhere; a connection comes here when it is clear that
//! datagrams come on it, and stays until either side ends it. A connection that is slow, stuck or hostile costs the others
//! nothing: it is read in bounded portions, and what it does not take waits in a bounded buffer of its own.

mod backlog;
mod connection;
mod frame;
mod serve;
mod set;
mod unproven;

use std::net::{SocketAddr, TcpStream};

pub use frame::{Frame, FrameError, Framing, MAX_FRAME_LEN};
pub(crate) use set::Streams;
pub use unproven::Origin;

/// A connection that was accepted, and of which it is known what it carries.
#[derive(Debug)]
pub struct AcceptedStream {
    /// The connection itself; it is made non-blocking if it is not.
    pub tcp: TcpStream,
    /// TLS on it, usually after its handshake.
    pub tls: Option<Box<rustls::ServerConnection>>,
    /// How datagrams are framed on it.
    pub framing: Framing,
    /// What was read of it already, decrypted; at most [`MAX_EARLY_LEN`] bytes.
    pub early: Vec<u8>,
    /// Where the peer is, as the kernel or a trusted proxy told.
    pub remote: SocketAddr,
    /// The address and port that the peer connected to.
    pub local: SocketAddr,
}

/// Most bytes that may have been read before a connection is handed over.
pub const MAX_EARLY_LEN: usize = 16_384;
/// Connections of one worker; more are closed at once and counted. With [`backlog::MAX_BACKLOG`] it bounds the memory.
pub(crate) const MAX_STREAMS: usize = 4_096;
