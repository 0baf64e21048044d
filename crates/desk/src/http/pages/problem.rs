//! What goes wrong with pages only; the rest is [`crate::http::Problem`]'s.

use axum::http::StatusCode;

use crate::http::Problem;
use crate::login::LoginError;
use crate::login::limiter::Pause;

/// A request that another site made a browser send, or that no page sent.
pub(super) fn cross_site() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "cross-site",
        "only the pages of this server may do this",
    )
}

/// Nobody is logged in, or has opened a link.
pub(super) fn no_session() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "no-session",
        "there is no session",
    )
}

impl From<Pause> for Problem {
    fn from(Pause(pause): Pause) -> Self {
        let seconds = pause.as_millis().div_ceil(1_000).max(1);
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-tries",
            "too many tries from this address: wait a moment",
        )
        .after(u64::try_from(seconds).unwrap_or(u64::MAX))
    }
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        let status = match error {
            LoginError::Unknown => StatusCode::NOT_FOUND,
            LoginError::Busy => StatusCode::SERVICE_UNAVAILABLE,
            LoginError::Provider => StatusCode::BAD_GATEWAY,
            LoginError::NotAdmitted | LoginError::Assurance => StatusCode::FORBIDDEN,
            LoginError::Link
            | LoginError::LinkExpired
            | LoginError::LinkUsed
            | LoginError::FlowExpired
            | LoginError::Declined
            | LoginError::Claims => StatusCode::UNAUTHORIZED,
        };
        Self::new(status, error.code(), error.to_string())
    }
}
