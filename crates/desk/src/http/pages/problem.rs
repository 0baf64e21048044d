//! What went wrong, for pages (RFC 9457): the type ends in a code that pages know texts for.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use crate::DeskError;
use crate::domain::Refusal;
use crate::login::LoginError;
use crate::login::limiter::Pause;

/// An answer that says what went wrong.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    more: Map<String, Value>,
    pause: Option<Duration>,
}

/// What every problem's type begins with.
const TYPE: &str = "urn:schalter:problem:";

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            more: Map::new(),
            pause: None,
        }
    }

    /// A request that another site made a browser send, or that no page sent.
    pub(super) fn cross_site() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "cross-site",
            "only the pages of this server may do this",
        )
    }

    pub(super) fn no_session() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "no-session",
            "there is no session",
        )
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed", detail)
    }
}

impl From<Pause> for Problem {
    fn from(Pause(pause): Pause) -> Self {
        Self {
            pause: Some(pause),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-tries",
                "too many tries from this address: wait a moment",
            )
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status =
            StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut problem = Self::new(status, refusal.code(), refusal.to_string());
        if let Refusal::TooEarly { opens_at } = refusal {
            let at = Value::from(opens_at.to_string());
            problem.more.insert("opens_at".to_owned(), at);
        }
        problem
    }
}

impl From<DeskError> for Problem {
    fn from(error: DeskError) -> Self {
        match error {
            DeskError::Refused(refusal) => refusal.into(),
            DeskError::NoAuthority => Self::new(
                StatusCode::NOT_FOUND,
                "no-authority",
                "there is no such office",
            ),
            DeskError::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "too many changes at once: try again",
            ),
            DeskError::Seats(error) => {
                tracing::warn!(%error, "a room could not be told");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "room-unreachable",
                    "the room can't be reached: try again",
                )
            }
            error @ (DeskError::Store(_) | DeskError::KeyReused | DeskError::Replay(_)) => {
                tracing::error!(%error, "the desk failed");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "failed",
                    "something went wrong on this server",
                )
            }
        }
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

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = self.more;
        body.insert("type".to_owned(), format!("{TYPE}{}", self.code).into());
        let title = self.status.canonical_reason().unwrap_or_default();
        body.insert("title".to_owned(), title.into());
        body.insert("status".to_owned(), self.status.as_u16().into());
        body.insert("detail".to_owned(), self.detail.into());
        let mut response = (self.status, Value::Object(body).to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(pause) = self.pause {
            let seconds = pause.as_millis().div_ceil(1_000).max(1);
            if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                headers.insert(header::RETRY_AFTER, value);
            }
        }
        response
    }
}
