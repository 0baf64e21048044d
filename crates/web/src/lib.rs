//! The pages: the built bundle in `dist/`, embedded, and how it is served.
//!
//! Owns content types, caching (RFC 9110 §8.8.3, RFC 9111) and the security headers of the page (CSP Level 3).
//! Refuses everything that is not in the bundle: nothing is read from a file system at run time. The sources are in
//! `page/`; `npm ci && npm run build` rebuilds `dist/` byte by byte.

mod bundle;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use bundle::{Asset, amt_page, assets, check_page, page, termin_page};

/// What a page may load and do. Everything comes from this server; `'self'` in `connect-src` covers its WebSocket.
/// `data:` is for the symbols inside the KERN stylesheet.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
     connect-src 'self'; media-src 'self' blob:; worker-src 'self'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'",
);
const PERMISSIONS_POLICY: HeaderValue =
    HeaderValue::from_static("camera=(self), microphone=(self), display-capture=(self)");

/// The pages' words in German: a JSON object of texts by name. The other languages have the same names.
pub const WORDS: &[u8] = include_bytes!("../dist/assets/texts/de.json");

/// Serves `GET /`, `GET /check`, `GET /termin`, `GET /amt` and the files the page loads. Needs no state and can be mounted as a fallback.
pub fn router() -> Router {
    assets().iter().fold(pages(), |router, asset| {
        router.route(
            asset.path,
            get(async |request: HeaderMap| asset.respond(&request)),
        )
    })
}

fn pages() -> Router {
    Router::new()
        .route("/", get(index))
        .route(
            "/check",
            get(async |request: HeaderMap| check_page().respond(&request)),
        )
        .route(
            "/termin",
            get(async |request: HeaderMap| termin_page().respond(&request)),
        )
        .route(
            "/amt",
            get(async |request: HeaderMap| amt_page().respond(&request)),
        )
}

/// Answers `GET /`: the page for browsers, `OK` for health checks, which do not ask for HTML.
pub async fn index(request: HeaderMap) -> Response<Body> {
    let mut response = if wants(&request, header::ACCEPT, "text/html") {
        page().respond(&request)
    } else {
        "OK".into_response()
    };
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept"));
    response
}

impl Asset {
    fn respond(&'static self, request: &HeaderMap) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.etag.clone());
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static(self.cache_control),
        );
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(self.content_type),
        );
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        headers.insert(
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        );
        headers.insert(
            "cross-origin-resource-policy",
            HeaderValue::from_static("same-origin"),
        );
        if self.is_page() {
            headers.insert(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
            headers.insert("permissions-policy", PERMISSIONS_POLICY);
        }
        if self.compressed.is_some() {
            headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        if self.is_known_to(request) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        let body = match &self.compressed {
            Some(gzip) if wants(request, header::ACCEPT_ENCODING, "gzip") => {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                gzip.clone()
            }
            Some(_) | None => Bytes::from_static(self.content),
        };
        *response.body_mut() = Body::from(body);
        response
    }

    /// Whether the client holds this very content: `If-None-Match`, compared weakly (RFC 9110 §13.1.2).
    fn is_known_to(&self, request: &HeaderMap) -> bool {
        let Ok(etag) = self.etag.to_str() else {
            return false;
        };
        request
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|candidate| matches!(candidate.trim(), "*") || candidate.trim() == etag)
    }
}

/// Whether a list header names `item` and does not refuse it by `q=0`.
fn wants(request: &HeaderMap, name: header::HeaderName, item: &str) -> bool {
    request
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|entry| {
            let mut parts = entry.split(';').map(str::trim);
            let named = parts
                .next()
                .is_some_and(|first| first.eq_ignore_ascii_case(item));
            let refused = parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
            named && !refused
        })
}
