//! LiveKit's signalling protocol over WebSocket: paths, parameters, framing. What messages mean is the room's.

pub mod codec;
mod http;
pub mod join;
pub mod json;
mod ws;

pub(crate) use http::router;
