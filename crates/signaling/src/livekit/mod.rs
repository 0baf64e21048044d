//! LiveKit's protocols: signalling over WebSocket, and the server API over Twirp. Paths, parameters, framing; what
//! messages mean is the room's.

pub mod codec;
mod full_json;
pub(crate) mod http;
pub mod join;
pub mod json;
mod openapi;
mod room_service;
mod twirp;
mod ws;

use std::sync::Arc;

use axum::Router;

use crate::registry::Registry;

pub use openapi::openapi;

/// `/rtc`, `/rtc/v1` and their `validate`, and `/twirp`.
pub(crate) fn router(registry: Arc<Registry>) -> Router {
    http::router(Arc::clone(&registry)).merge(twirp::router(registry))
}
