//! Bodies in, answers out: JSON that says where it is wrong, versions as ETags.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::problem::Problem;

/// An answer in JSON, which may be kept and given again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The version that `ETag` tells.
    pub version: Option<u64>,
    /// Where what was made is.
    pub location: Option<String>,
    /// The body.
    pub body: Value,
}

impl Answer {
    /// 200 with a body.
    pub const fn ok(body: Value) -> Self {
        Self {
            status: 200,
            version: None,
            location: None,
            body,
        }
    }

    /// With a version.
    #[must_use]
    pub const fn versioned(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let mut response = (status, self.body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        // Names are in it: no cache may keep it.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(version) = self.version
            && let Ok(value) = HeaderValue::from_str(&format!("\"{version}\""))
        {
            headers.insert(header::ETAG, value);
        }
        if let Some(location) = self.location
            && let Ok(value) = HeaderValue::from_str(&location)
        {
            headers.insert(header::LOCATION, value);
        }
        response
    }
}

/// Reads a JSON body.
///
/// # Errors
/// 413 for too much, 415 for another type, 400 for what is no JSON, 422 for other JSON than expected; the last says where.
pub fn read<T: DeserializeOwned>(
    parts: &Parts,
    body: Result<Bytes, BytesRejection>,
) -> Result<(T, Bytes), Problem> {
    let body = body.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "the body is too large",
            )
        } else {
            Problem::malformed("the body ended early")
        }
    })?;
    let kind = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(str::trim)
        .unwrap_or_default();
    let takes = ["application/json", "application/merge-patch+json"];
    // A form that a page of another origin sends without asking has another type.
    if !takes.iter().any(|own| kind.eq_ignore_ascii_case(own)) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media-type",
            "application/json is expected",
        ));
    }
    if is_list(&body) {
        return Err(Problem::invalid("an object is expected, not a list"));
    }
    let mut reader = serde_json::Deserializer::from_slice(&body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.inner();
        match inner.classify() {
            serde_json::error::Category::Data => Problem::invalid(format!("{path}: {inner}")),
            serde_json::error::Category::Io
            | serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof => {
                Problem::malformed(format!("the body is no JSON: {inner}"))
            }
        }
    })?;
    reader
        .end()
        .map_err(|error| Problem::malformed(format!("the body is no JSON: {error}")))?;
    Ok((value, body))
}

/// Whether a body is a JSON array. Derived readers would take its values for those of an object's members, by their order.
pub(super) fn is_list(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"[")
}

/// The version in `If-Match`; `None` for `*`.
///
/// # Errors
/// 428 if there is no such header, 412 for what is no version of ours.
pub fn expected_version(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let value = headers.get(header::IF_MATCH).ok_or_else(|| {
        Problem::new(
            StatusCode::PRECONDITION_REQUIRED,
            "if-match-required",
            "If-Match with the ETag that was seen is required",
        )
    })?;
    let value = value.to_str().unwrap_or_default().trim();
    if value == "*" {
        return Ok(None);
    }
    version_of(value)
        .map(Some)
        .ok_or_else(|| crate::domain::Refusal::Stale.into())
}

/// Whether the client has this version already (`If-None-Match`).
pub fn has_version(headers: &HeaderMap, version: u64) -> bool {
    headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| {
            value.split(',').any(|one| {
                let one = one.trim();
                one == "*" || version_of(one.strip_prefix("W/").unwrap_or(one)) == Some(version)
            })
        })
}

fn version_of(tag: &str) -> Option<u64> {
    let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}
