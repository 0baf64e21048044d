//! The server API's way in: Twirp v7 over HTTP, JSON or protobuf bodies, errors always as JSON.
//!
//! Owns paths, tokens, content types, the size of bodies and what errors look like. The token is looked at before the
//! body: who has none sends nothing that is kept. Errors repeat nothing of a request.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde::de::DeserializeOwned;

use super::full_json::{self, Answer};
use super::http::{ANY_ORIGIN, bearer, origin_allowed};
use super::json;
use super::room_service::{self, RoomService};
use crate::body::{BodyError, content_type_is, read_body};
use crate::error::JoinRefusal;
use crate::registry::Registry;
use crate::revoker::RevokeError;
use crate::room::ServiceRefusal;
use crate::stats::ROOM_SERVICE_OUTCOMES;
use crate::token::TokenError;

/// Everything under `/twirp`.
pub(crate) fn router(registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/twirp/{*path}", any(answer).options(preflight))
        .with_state(registry)
}

async fn preflight() -> Response {
    let headers = [
        ANY_ORIGIN,
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("authorization, content-type"),
        ),
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("POST"),
        ),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

async fn answer(State(registry): State<Arc<Registry>>, request: Request<Body>) -> Response {
    let (outcome, answered) = match respond(&registry, request).await {
        Ok(response) => (0, response),
        Err(error) => (error.code.outcome(), error.into_response()),
    };
    registry.counters.room_service_called(outcome);
    ([ANY_ORIGIN], answered).into_response()
}

async fn respond(registry: &Arc<Registry>, request: Request<Body>) -> Result<Response, TwirpError> {
    let (head, body) = request.into_parts();
    if !origin_allowed(&registry.config.allowed_origins, &head.headers) {
        return Err(JoinRefusal::Origin.into());
    }
    let token = bearer(&head.headers).unwrap_or_default();
    let grants = registry.verify(token)?;
    let service = RoomService::new(registry, &grants)?;
    let Some(method) = head
        .uri
        .path()
        .strip_prefix("/twirp/livekit.RoomService/")
        .and_then(room_service::Method::named)
    else {
        return Err(TwirpError::new(
            Code::BadRoute,
            "there is no such method here",
        ));
    };
    if head.method != Method::POST {
        return Err(TwirpError::new(
            Code::BadRoute,
            "methods are called by POST",
        ));
    }
    let form = Form::of(&head.headers)?;
    let limit = registry.config.limits.message_bytes;
    let body = read_body(&head.headers, body, limit).await?;
    service.serve(method, Exchange { form, body }).await
}

/// How a request and its answer are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Protobuf,
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, TwirpError> {
        if content_type_is(headers, "application/json") {
            Ok(Self::Json)
        } else if content_type_is(headers, "application/protobuf") {
            Ok(Self::Protobuf)
        } else {
            let text = "the content type is application/json or application/protobuf";
            Err(TwirpError::new(Code::BadRoute, text))
        }
    }
}

/// One request's body, and how its answer is to be written.
pub(super) struct Exchange {
    form: Form,
    body: Vec<u8>,
}

impl Exchange {
    /// Reads the request, has it handled and writes the answer.
    pub(super) async fn with<Q, A, F>(
        self,
        handle: impl FnOnce(Q) -> F,
    ) -> Result<Response, TwirpError>
    where
        Q: prost::Message + DeserializeOwned + Default,
        A: Answer,
        F: Future<Output = Result<A, TwirpError>>,
    {
        let request = match self.form {
            Form::Json => json::read(&self.body).ok_or(TwirpError::new(
                Code::Malformed,
                "the body is no JSON of this method",
            ))?,
            Form::Protobuf => Q::decode(&self.body[..]).map_err(|_| {
                TwirpError::new(Code::Malformed, "the body is no message of this method")
            })?,
        };
        let answer = handle(request).await?;
        let (form, bytes) = match self.form {
            Form::Json => ("application/json", full_json::write(answer)),
            Form::Protobuf => ("application/protobuf", Some(answer.encode_to_vec())),
        };
        let bytes = bytes.ok_or_else(|| {
            TwirpError::new(Code::Internal, "the answer can't be written as JSON")
        })?;
        Ok(([(header::CONTENT_TYPE, form)], bytes).into_response())
    }
}

/// Twirp's error codes that are in use here, with the HTTP status that each has in its specification, in the order of
/// [`ROOM_SERVICE_OUTCOMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    InvalidArgument,
    Malformed,
    DeadlineExceeded,
    NotFound,
    BadRoute,
    AlreadyExists,
    PermissionDenied,
    Unauthenticated,
    ResourceExhausted,
    FailedPrecondition,
    Unimplemented,
    Internal,
    Unavailable,
}

impl Code {
    const fn name(self) -> &'static str {
        ROOM_SERVICE_OUTCOMES[self.outcome()]
    }

    /// Its place among [`ROOM_SERVICE_OUTCOMES`].
    const fn outcome(self) -> usize {
        self as usize + 1
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::InvalidArgument | Self::Malformed => StatusCode::BAD_REQUEST,
            Self::DeadlineExceeded => StatusCode::REQUEST_TIMEOUT,
            Self::NotFound | Self::BadRoute => StatusCode::NOT_FOUND,
            Self::AlreadyExists => StatusCode::CONFLICT,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::FailedPrecondition => StatusCode::PRECONDITION_FAILED,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TwirpError {
    code: Code,
    text: Cow<'static, str>,
}

impl TwirpError {
    pub(super) fn new(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    pub(super) fn is_not_found(&self) -> bool {
        self.code == Code::NotFound
    }

    pub(super) fn no_room() -> Self {
        // Clients look for these words.
        Self::new(Code::NotFound, "requested room does not exist")
    }
}

impl IntoResponse for TwirpError {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "code": self.code.name(), "msg": self.text });
        let form = [(header::CONTENT_TYPE, "application/json")];
        (self.code.status(), form, body.to_string()).into_response()
    }
}

impl From<BodyError> for TwirpError {
    fn from(error: BodyError) -> Self {
        let code = match error {
            BodyError::TooLong(_) => Code::InvalidArgument,
            BodyError::Truncated => Code::Malformed,
            BodyError::TooSlow => Code::DeadlineExceeded,
        };
        Self::new(code, error.to_string())
    }
}

impl From<TokenError> for TwirpError {
    fn from(error: TokenError) -> Self {
        let code = match error.status() {
            403 => Code::PermissionDenied,
            400 => Code::InvalidArgument,
            _ => Code::Unauthenticated,
        };
        Self::new(code, error.to_string())
    }
}

impl From<RevokeError> for TwirpError {
    fn from(error: RevokeError) -> Self {
        let code = match error {
            RevokeError::Full => Code::ResourceExhausted,
            RevokeError::NotKept => Code::Internal,
        };
        Self::new(code, format!("the participant is removed, but {error}"))
    }
}

impl From<JoinRefusal> for TwirpError {
    fn from(refusal: JoinRefusal) -> Self {
        let code = match &refusal {
            JoinRefusal::Token(error) => return (*error).into(),
            JoinRefusal::Origin | JoinRefusal::InClear => Code::PermissionDenied,
            JoinRefusal::JoinRequestMissing
            | JoinRefusal::JoinRequest(_)
            | JoinRefusal::Attributes
            | JoinRefusal::Offer => Code::InvalidArgument,
            JoinRefusal::NoSuchRoom => Code::NotFound,
            JoinRefusal::RoomFull | JoinRefusal::AuthorityRooms | JoinRefusal::ServerFull => {
                Code::ResourceExhausted
            }
            JoinRefusal::Draining | JoinRefusal::Unavailable => Code::Unavailable,
        };
        Self::new(code, refusal.to_string())
    }
}

impl From<ServiceRefusal> for TwirpError {
    fn from(refusal: ServiceRefusal) -> Self {
        let code = match refusal {
            ServiceRefusal::NoParticipant | ServiceRefusal::NoTrack => Code::NotFound,
            ServiceRefusal::Invalid(_) => Code::InvalidArgument,
            ServiceRefusal::NotAsThingsAre(_) => Code::FailedPrecondition,
            ServiceRefusal::Exhausted(_) => Code::ResourceExhausted,
        };
        Self::new(code, refusal.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_of_their_outcomes() {
        assert_eq!(ROOM_SERVICE_OUTCOMES[0], "ok");
        assert_eq!(Code::InvalidArgument.name(), "invalid_argument");
        assert_eq!(Code::NotFound.name(), "not_found");
        assert_eq!(Code::Unauthenticated.name(), "unauthenticated");
        assert_eq!(Code::Unavailable.name(), "unavailable");
        assert_eq!(Code::Unavailable.outcome() + 1, ROOM_SERVICE_OUTCOMES.len());
    }
}
