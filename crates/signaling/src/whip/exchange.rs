//! Reading requests: bodies within limits, and the headers and parameters that count.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use serde::Deserialize;

use super::problem::Problem;
use crate::body::{BodyError, read_body};
use crate::room::Precondition;

/// Entity-tags that `If-Match` may name; a client has one.
const MAX_TAGS: usize = 16;

/// Reads a body of at most `limit` bytes.
pub(super) async fn read_text(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<String, Problem> {
    let bytes = read_body(headers, body, limit).await?;
    String::from_utf8(bytes)
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body is not UTF-8"))
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::Truncated => StatusCode::BAD_REQUEST,
            BodyError::TooSlow => StatusCode::REQUEST_TIMEOUT,
        };
        Self::new(status, error.to_string())
    }
}

#[derive(Deserialize)]
struct PlayerQuery {
    participant: Option<String>,
}

/// Whose tracks a player wants: the identity in `?participant=`.
pub(super) fn player_of(uri: &Uri, name_bytes: usize) -> Result<Option<Arc<str>>, Problem> {
    let bad = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, detail);
    let Ok(Query(query)) = Query::<PlayerQuery>::try_from_uri(uri) else {
        return Err(bad("the query can't be read"));
    };
    match query.participant {
        Some(identity) if identity.is_empty() => Err(bad("participant is empty")),
        Some(identity) if identity.len() > name_bytes => Err(bad("participant is too long")),
        identity => Ok(identity.map(Arc::from)),
    }
}

/// Reads `If-Match` (RFC 9110 §13.1.1). Weak tags stay as they are: they match nothing here.
pub(super) fn precondition(headers: &HeaderMap) -> Result<Option<Precondition>, Problem> {
    let bad = || Problem::new(StatusCode::BAD_REQUEST, "If-Match can't be read");
    let mut tags = Vec::new();
    for value in headers.get_all(header::IF_MATCH) {
        let text = value.to_str().map_err(|_| bad())?;
        for tag in text.split(',').map(str::trim) {
            if tag == "*" {
                return Ok(Some(Precondition::Any));
            }
            if tags.len() == MAX_TAGS {
                return Err(bad());
            }
            tags.push(tag.to_owned());
        }
    }
    Ok((!tags.is_empty()).then_some(Precondition::Tags(tags)))
}
