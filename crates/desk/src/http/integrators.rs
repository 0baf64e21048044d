//! `/v1`: what case systems call, with a key.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::get;

use super::access::{Front, Gate};
use super::problem::Problem;
use super::{MAX_BODY, appointments, records};
use crate::Desk;

/// The routes below `/v1`. `public_url` is where the pages are, for join links.
pub fn router<G: Gate>(desk: Arc<Desk>, gate: G, public_url: &str) -> Router {
    let front = Front {
        desk,
        gate,
        public_url: public_url.trim_end_matches('/').into(),
    };
    let routes = appointments::router::<G>()
        .route("/appointments", get(appointments::list::<G>))
        .route("/events", get(records::events::<G>))
        .route("/audit/checkpoint", get(records::checkpoint::<G>))
        .route(
            "/records/{external_ref}",
            get(records::export::<G>).delete(records::erase::<G>),
        )
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method",
                "this path does not take that method",
            )
        })
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "no-path", "there is no such path"))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(front);
    Router::new().nest("/v1", routes)
}
