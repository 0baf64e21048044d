//! Officials come and go: demo, signed link, OpenID Connect, logout.

use axum::extract::State;
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use schalter_model::AuthorityId;
use serde::Deserialize;

use super::Pages;
use super::request::{Address, Body};
use super::site::Jar;
use crate::http::Problem;
use crate::http::location::InQuery;
use crate::login::oidc::Return;
use crate::login::{Arrival, LoginError};

pub(super) fn routes() -> Router<Pages> {
    Router::new()
        .route("/login/demo", post(demo))
        .route("/login/link", post(link))
        .route("/login/oidc", get(depart))
        .route("/login/oidc/callback", get(arrive))
        .route("/logout", post(logout))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Demo {
    authority: String,
    official: String,
}

async fn demo(
    State(pages): State<Pages>,
    Address(address): Address,
    headers: HeaderMap,
    Body(body): Body<Demo>,
) -> Result<Response, Problem> {
    pages.login.failures.check(address, pages.now_ms())?;
    let found = AuthorityId::new(&body.authority)
        .map_err(|_| LoginError::Unknown)
        .and_then(|id| pages.login.as_demo(&id, &body.official));
    pages.let_in(address, &headers, found)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    token: String,
}

async fn link(
    State(pages): State<Pages>,
    Address(address): Address,
    headers: HeaderMap,
    Body(body): Body<Link>,
) -> Result<Response, Problem> {
    pages.login.failures.check(address, pages.now_ms())?;
    let found = pages
        .login
        .links
        .log_in(&body.token, pages.now_ms() / 1_000);
    pages.let_in(address, &headers, found)
}

impl Pages {
    /// Begins a session for whom a login found, and answers as `GET /official`.
    fn let_in(
        &self,
        address: std::net::IpAddr,
        headers: &HeaderMap,
        found: Result<Arrival, LoginError>,
    ) -> Result<Response, Problem> {
        let arrival = match found {
            Ok(found) => found,
            Err(error) => {
                self.login.failures.take(address, self.now_ms())?;
                return Err(error.into());
            }
        };
        let cookie = self.begin(headers, arrival.clone())?;
        let body = Json(self.official_view(&arrival.authority, &arrival.official)?);
        Ok(([(SET_COOKIE, cookie)], body).into_response())
    }

    /// A session, and the cookie for it. The one that the browser had before ends: no session outlives a login (fixation).
    fn begin(&self, headers: &HeaderMap, arrival: Arrival) -> Result<HeaderValue, LoginError> {
        if let Some(old) = self.site.find_cookie(Jar::Official, headers) {
            self.login.sessions.end(&old);
        }
        let secret = self.login.begin(arrival, self.now_ms())?;
        Ok(self.site.set_cookie(Jar::Official, &secret))
    }
}

#[derive(Deserialize)]
struct Which {
    authority: Option<String>,
}

/// Where a browser goes next. Nobody keeps it: what is asked for is asked for once.
fn to(location: &str, cookies: Vec<HeaderValue>) -> Response {
    let mut response = StatusCode::FOUND.into_response();
    let headers = response.headers_mut();
    let location = HeaderValue::from_str(location).unwrap_or(HeaderValue::from_static("/amt"));
    headers.insert(LOCATION, location);
    for cookie in cookies {
        headers.append(SET_COOKIE, cookie);
    }
    response
}

fn failed(error: LoginError) -> String {
    format!("/amt#login-error={}", error.code())
}

/// Sends a browser to the provider.
async fn depart(
    State(pages): State<Pages>,
    Address(address): Address,
    InQuery(which): InQuery<Which>,
) -> Result<Response, Problem> {
    pages.login.starts.take(address, pages.now_ms())?;
    let authority = pages.named(which.authority.as_deref())?.id.clone();
    match pages.login.oidc.depart(&authority, pages.now_ms()).await {
        Ok(departure) => {
            let cookie = pages.site.set_cookie(Jar::Login, &departure.cookie);
            Ok(to(&departure.url, vec![cookie]))
        }
        Err(error) => Ok(to(&failed(error), Vec::new())),
    }
}

/// Takes a browser that comes back from the provider.
async fn arrive(
    State(pages): State<Pages>,
    Address(address): Address,
    headers: HeaderMap,
    InQuery(back): InQuery<Return>,
) -> Result<Response, Problem> {
    let clear = pages.site.clear_cookie(Jar::Login);
    pages.login.failures.check(address, pages.now_ms())?;
    let found = match pages.site.find_cookie(Jar::Login, &headers) {
        Some(cookie) => pages.login.oidc.arrive(&cookie, back, pages.now_ms()).await,
        None => Err(LoginError::FlowExpired),
    };
    let begun = match found {
        Ok(arrival) => pages.begin(&headers, arrival),
        Err(error) => {
            pages.login.failures.take(address, pages.now_ms())?;
            Err(error)
        }
    };
    Ok(match begun {
        Ok(cookie) => to("/amt", vec![clear, cookie]),
        Err(error) => to(&failed(error), vec![clear]),
    })
}

async fn logout(State(pages): State<Pages>, headers: HeaderMap) -> Response {
    if let Some(cookie) = pages.site.find_cookie(Jar::Official, &headers) {
        pages.login.sessions.end(&cookie);
    }
    let clear = pages.site.clear_cookie(Jar::Official);
    (StatusCode::NO_CONTENT, [(SET_COOKIE, clear)]).into_response()
}
