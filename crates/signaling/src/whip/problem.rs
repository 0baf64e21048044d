//! What went wrong, as `application/problem+json` (RFC 9457). Nothing of a token, a name or an address is repeated.

use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::RETRY_AFTER;
use crate::error::JoinRefusal;
use crate::room::SessionRefusal;
use crate::sdp::{SdpError, SdpProblem};
use crate::stats::JoinStage;
use crate::token::TokenError;

/// An error of a request.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    /// The line of the body that is to blame, counted from 1.
    line: Option<usize>,
    headers: Vec<(HeaderName, &'static str)>,
    /// Where on the way to a session it happened.
    pub(super) stage: Option<JoinStage>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            line: None,
            headers: Vec::new(),
            stage: Some(JoinStage::Request),
        }
    }

    pub(super) fn method(allow: &'static str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "there is no such method here",
        )
        .with(header::ALLOW, allow)
    }

    pub(super) fn forbidden(detail: &'static str) -> Self {
        Self {
            stage: Some(JoinStage::Token),
            ..Self::new(StatusCode::FORBIDDEN, detail)
        }
    }

    pub(super) fn media_type(expected: &str) -> Self {
        let detail = format!("the body must be {expected}");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    /// An offer that is understood, but can't be served as a whole (RFC 9725 §4.4.2).
    pub(super) fn offer(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    pub(super) fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = serde_json::json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(line) = self.line {
            body["line"] = line.into();
        }
        let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status, content_type, body.to_string()).into_response();
        for (name, value) in self.headers {
            response
                .headers_mut()
                .insert(name, axum::http::HeaderValue::from_static(value));
        }
        response
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        JoinRefusal::Token(error).into()
    }
}

impl From<JoinRefusal> for Problem {
    fn from(refusal: JoinRefusal) -> Self {
        let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
        let mut problem = Self::new(status, refusal.to_string());
        problem.stage = Some(refusal.stage());
        if status == StatusCode::UNAUTHORIZED {
            problem = problem.with(header::WWW_AUTHENTICATE, "Bearer");
        } else if status == StatusCode::SERVICE_UNAVAILABLE {
            problem = problem.with(header::RETRY_AFTER, RETRY_AFTER);
        }
        problem
    }
}

impl From<SdpError> for Problem {
    fn from(error: SdpError) -> Self {
        let status = match error.problem {
            SdpProblem::TooLong | SdpProblem::TooManyLines => StatusCode::PAYLOAD_TOO_LARGE,
            SdpProblem::NotSdp
            | SdpProblem::BadLine
            | SdpProblem::BadMediaLine
            | SdpProblem::BadAttribute
            | SdpProblem::NoMid
            | SdpProblem::DuplicateMid => StatusCode::BAD_REQUEST,
            SdpProblem::TooManySections
            | SdpProblem::NoIceCredentials
            | SdpProblem::NoFingerprint
            | SdpProblem::DtlsRole
            | SdpProblem::NothingUsable => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let mut problem = Self::new(status, format!("session description: {}", error.problem));
        problem.line = Some(error.line).filter(|line| *line > 0);
        problem
    }
}

impl From<SessionRefusal> for Problem {
    fn from(refusal: SessionRefusal) -> Self {
        let status = match refusal {
            SessionRefusal::NoSession => StatusCode::NOT_FOUND,
            SessionRefusal::BadToken => StatusCode::UNAUTHORIZED,
            SessionRefusal::ForeignToken => StatusCode::FORBIDDEN,
            SessionRefusal::NoPrecondition => StatusCode::PRECONDITION_REQUIRED,
            SessionRefusal::StaleIce => StatusCode::PRECONDITION_FAILED,
            SessionRefusal::UnknownSection => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let problem = Self::new(status, refusal.to_string());
        if status == StatusCode::UNAUTHORIZED {
            return problem.with(header::WWW_AUTHENTICATE, "Bearer");
        }
        problem
    }
}
