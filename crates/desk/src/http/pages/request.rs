//! What a request brings: a bounded JSON body, an address, a session.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::body::to_bytes;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;

use super::Pages;
use super::problem;
use super::site::Jar;
use crate::Caller;
use crate::domain::Secret;
use crate::http::answer::is_list;
use crate::http::{MAX_BODY, Problem};
use crate::login::sessions::Session;

/// A JSON body. An empty one is `{}`.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Pages> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Pages) -> Result<Self, Problem> {
        let json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.split(';').next())
            .is_some_and(|text| text.trim().eq_ignore_ascii_case("application/json"));
        let bytes = to_bytes(request.into_body(), MAX_BODY).await.map_err(|_| {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                format!("a body has at most {MAX_BODY} bytes"),
            )
        })?;
        if !json && !bytes.is_empty() {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "no-json",
                "a JSON body is expected",
            ));
        }
        if is_list(&bytes) {
            return Err(Problem::invalid("an object is expected, not a list"));
        }
        let bytes = if bytes.is_empty() { &b"{}"[..] } else { &bytes };
        // The library's words name keys and kinds of values, never what stands there.
        serde_json::from_slice(bytes).map(Self).map_err(|error| {
            Problem::invalid(match error.classify() {
                serde_json::error::Category::Data => {
                    "the body has other keys or values than expected"
                }
                serde_json::error::Category::Io
                | serde_json::error::Category::Syntax
                | serde_json::error::Category::Eof => "the body is no JSON",
            })
        })
    }
}

/// Who is at the other end, as far as balancers tell. For limits only.
pub(super) struct Address(pub(super) IpAddr);

impl FromRequestParts<Pages> for Address {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Pages) -> Result<Self, Problem> {
        let info = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Ok(Self(info.map_or(unknown, |info| info.0.ip())))
    }
}

/// The cookie of whoever opened a link.
pub(super) struct Visit(pub(super) Secret);

impl FromRequestParts<Pages> for Visit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, Problem> {
        let cookie = pages.site.find_cookie(Jar::Citizen, &parts.headers);
        cookie.map(Self).ok_or_else(problem::no_session)
    }
}

/// An official who is logged in.
pub(super) struct LoggedIn(pub(super) Session);

impl LoggedIn {
    pub(super) fn caller(&self) -> Caller {
        self.0.official.caller(&self.0.authority)
    }
}

impl FromRequestParts<Pages> for LoggedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, Problem> {
        let cookie = pages.site.find_cookie(Jar::Official, &parts.headers);
        let session = cookie.and_then(|cookie| pages.login.sessions.find(&cookie, pages.now_ms()));
        session.map(Self).ok_or_else(problem::no_session)
    }
}
