//! Bodies of requests over HTTP: read within a limit, and within a time.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;

/// How long a body may take: they are small.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// Longer than so many bytes, announced or found.
    #[error("the body is longer than {0} bytes")]
    TooLong(usize),
    /// The connection ended before it.
    #[error("the body ends too early")]
    Truncated,
    /// It takes longer than [`BODY_TIMEOUT`].
    #[error("the body took too long")]
    TooSlow,
}

/// Reads a body of at most `limit` bytes; nothing is kept of a longer one.
pub(crate) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Vec<u8>, BodyError> {
    let read = tokio::time::timeout(BODY_TIMEOUT, read(headers, body, limit));
    read.await.map_err(|_| BodyError::TooSlow)?
}

async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Vec<u8>, BodyError> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(BodyError::TooLong(limit));
    }
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| BodyError::Truncated)?;
        if bytes.len() + chunk.len() > limit {
            return Err(BodyError::TooLong(limit));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Whether the body is of this type; parameters, e.g. a charset, change nothing (RFC 9110 §8.3.1).
pub(crate) fn content_type_is(headers: &HeaderMap, expected: &str) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = text.split(';').next().unwrap_or("").trim();
    essence.eq_ignore_ascii_case(expected)
}
