//! HTTP routes for operators: metrics behind a token, liveness and readiness in the open.
//!
//! `/livez` and `/readyz` need no token because orchestrators and load balancers ask them, and they tell nothing but
//! whether to keep or to choose this process.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::exporter::Exporter;

/// Content type of Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Shortest accepted token, in bytes: 128 bits, if it is random hex digits or better.
const MIN_TOKEN_LEN: usize = 32;

/// Who may see metrics and administer: bearers of one token.
#[derive(Clone)]
pub struct AdminAuth {
    /// Comparing digests takes the same time for tokens of every length.
    digest: Digest,
}

impl fmt::Debug for AdminAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminAuth").finish_non_exhaustive()
    }
}

/// The token could be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an administration token has at least {MIN_TOKEN_LEN} characters")]
pub struct TokenTooShort;

impl AdminAuth {
    /// Accepts bearers of `token` only.
    ///
    /// # Errors
    /// [`TokenTooShort`] below 32 bytes.
    pub fn new(token: &str) -> Result<Self, TokenTooShort> {
        if token.len() < MIN_TOKEN_LEN {
            return Err(TokenTooShort);
        }
        Ok(Self {
            digest: digest(&SHA256, token.as_bytes()),
        })
    }

    /// Whether a request's headers carry the token (RFC 6750 §2.1).
    pub fn accepts(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return false;
        };
        let Some((scheme, token)) = value.to_str().ok().and_then(|v| v.split_once(' ')) else {
            return false;
        };
        let given = digest(&SHA256, token.trim_start().as_bytes());
        scheme.eq_ignore_ascii_case("bearer")
            && verify_slices_are_equal(given.as_ref(), self.digest.as_ref()).is_ok()
    }
}

/// Whether new sessions should come here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// No, for a reason to show, e.g. `draining`.
    NotReady(&'static str),
}

/// Lets only bearers of the token reach `router`; others get 401.
pub fn require_token(router: Router, auth: AdminAuth) -> Router {
    router.layer(middleware::from_fn_with_state(auth, check_token))
}

async fn check_token(State(auth): State<AdminAuth>, request: Request, next: Next) -> Response {
    if auth.accepts(request.headers()) {
        return next.run(request).await;
    }
    let mut answer = problem(
        StatusCode::UNAUTHORIZED,
        "the bearer token of the admin listener is needed",
    );
    let scheme = header::HeaderValue::from_static("Bearer");
    answer
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, scheme);
    answer
}

/// An answer that says what went wrong (RFC 9457). The status is the whole type, so there is no other. `detail` is for
/// people.
pub fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or_default();
    let detail = serde_json::Value::from(detail);
    let body = format!(
        "{{\"title\":\"{title}\",\"status\":{},\"detail\":{detail}}}\n",
        status.as_u16()
    );
    (
        status,
        [(header::CONTENT_TYPE, "application/problem+json")],
        body,
    )
        .into_response()
}

/// The routes `/metrics` (with the token), `/livez` and `/readyz` (without).
pub fn admin_router(
    exporter: Exporter,
    auth: AdminAuth,
    readiness: impl Fn() -> Readiness + Send + Sync + 'static,
) -> Router {
    let metrics = Router::new()
        .route("/metrics", get(metrics))
        .with_state(exporter);
    let readiness = Arc::new(readiness);
    require_token(metrics, auth)
        .route("/livez", get(async || "live\n"))
        .route(
            "/readyz",
            get(move || {
                let readiness = readiness();
                async move { answer(readiness) }
            }),
        )
}

async fn metrics(State(exporter): State<Exporter>) -> Response {
    match exporter.render() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn answer(readiness: Readiness) -> Response {
    match readiness {
        Readiness::Ready => "ready\n".into_response(),
        Readiness::NotReady(reason) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
        }
    }
}
