//! What went wrong, as `application/problem+json` (RFC 9457). Repeats nothing that names a person.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use crate::DeskError;
use crate::domain::Refusal;

/// What stands before a problem's code in `type`.
pub const TYPE: &str = "urn:schalter:problem:";
/// Seconds after which a client may try again what failed for want of something.
const RETRY_S: u64 = 2;

/// An answer that says why not.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// HTTP status, 400 to 599.
    pub status: StatusCode,
    /// Stable; the end of `type`.
    pub code: &'static str,
    /// One sentence for whoever reads it.
    pub detail: String,
    /// Further members.
    pub more: Map<String, Value>,
    /// Seconds after which to try again.
    pub retry_after_s: Option<u64>,
}

impl Problem {
    /// One without further members.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            more: Map::new(),
            retry_after_s: None,
        }
    }

    /// With a member more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// With the time after which to try again.
    #[must_use]
    pub const fn after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Something in the request can't be read: 400.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// Something in the request has a wrong value: 422.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::CONFLICT);
        let problem = Self::new(status, refusal.code(), refusal.to_string());
        if let Refusal::TooEarly { opens_at } = refusal {
            return problem.with("opens_at", opens_at.to_string());
        }
        problem
    }
}

impl From<DeskError> for Problem {
    fn from(error: DeskError) -> Self {
        let unavailable = |code| {
            Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                code,
                "this can't be done at the moment",
            )
            .after(RETRY_S)
        };
        match error {
            DeskError::Refused(refusal) => refusal.into(),
            DeskError::NoAuthority => Self::new(
                StatusCode::NOT_FOUND,
                "no-authority",
                "there is no such authority",
            ),
            // A replay that reaches this place could not be unsealed: the key that sealed it was replaced.
            DeskError::KeyReused | DeskError::Replay(_) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "this Idempotency-Key was used for another request, or under another key",
            ),
            DeskError::Busy => unavailable("busy"),
            DeskError::Store(error) => {
                tracing::warn!(%error, "the desk's store did not do what was asked");
                unavailable("store")
            }
            DeskError::Seats(error) => {
                tracing::warn!(%error, "a room could not be told what was decided");
                unavailable("room")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut members = self.more;
        members.insert("type".to_owned(), format!("{TYPE}{}", self.code).into());
        let title = self.status.canonical_reason().unwrap_or("Error");
        members.insert("title".to_owned(), title.into());
        members.insert("status".to_owned(), self.status.as_u16().into());
        members.insert("detail".to_owned(), self.detail.into());
        let body = Value::Object(members).to_string();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED && self.code == "no-key" {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
