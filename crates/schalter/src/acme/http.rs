//! Port 80: answers HTTP-01 (RFC 8555 §8.3), and sends everybody else to HTTPS.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

/// What is answered to validations, by token.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens(Arc<Mutex<BTreeMap<String, String>>>);

impl Tokens {
    pub(super) fn put(&self, token: &str, proof: &str) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(token.to_owned(), proof.to_owned());
    }

    pub(super) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn of(&self, token: &str) -> Option<String> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(token).cloned()
    }
}

#[derive(Clone)]
struct Site {
    tokens: Tokens,
    domains: Arc<[String]>,
    /// Empty for 443.
    port: Arc<str>,
}

/// What port 80 serves. Redirects go to the configured names only, whatever a request says.
pub(crate) fn router(tokens: Tokens, domains: &[String], tls_port: u16) -> Router {
    let port = if tls_port == 443 {
        String::new()
    } else {
        format!(":{tls_port}")
    };
    let site = Site {
        tokens,
        domains: domains.into(),
        port: port.into(),
    };
    Router::new()
        .route("/.well-known/acme-challenge/{token}", get(proof))
        .fallback(to_https)
        .with_state(site)
}

async fn proof(State(site): State<Site>, Path(token): Path<String>) -> Response {
    match site.tokens.of(&token) {
        Some(proof) => proof.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn to_https(State(site): State<Site>, headers: HeaderMap, uri: Uri) -> Response {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = host.map(|host| host.split(':').next().unwrap_or(host));
    let known = |host: &&str| {
        site.domains
            .iter()
            .any(|name| name.eq_ignore_ascii_case(host))
    };
    let host = host.filter(known);
    let Some(host) = host.or_else(|| site.domains.first().map(String::as_str)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Redirect::permanent(&format!("https://{host}{}{path}", site.port)).into_response()
}
