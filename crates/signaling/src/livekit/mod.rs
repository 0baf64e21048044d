//! LiveKit's signalling protocol over WebSocket: paths, parameters, framing. What messages mean is the room's.

pub(crate) mod codec;
mod http;
pub mod join;
mod ws;

pub(crate) use http::router;
