//! HTTP of the pages, `/desk/v1`: what citizens' and officials' browsers ask for.
//!
//! Owns cookies, the check for requests of other sites, and what each page may see. Decides nothing about appointments: that is the
//! [`Desk`]'s. Every answer is for one browser and never cached, and nothing of it is a page: what a browser is made to open from here
//! runs nothing (CSP).

mod citizen;
mod embedding;
mod gate;
mod logins;
mod office;
mod official;
mod problem;
mod request;
mod site;
mod sockets;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};

use crate::Desk;
use crate::domain::Authority;
use crate::http::{Front, MAX_BODY, Problem, appointments};
use crate::login::Login;

pub use embedding::{Embedding, Embeddings, Feature, Logo, OfficePages, Offices, embed};
pub use site::{Jar, Site, SiteError};

use sockets::Sockets;
use view::{LoginWays, OfficeView};

/// Everything that the pages' requests need. Cheap to clone.
#[derive(Clone)]
pub struct Pages {
    desk: Arc<Desk>,
    login: Arc<Login>,
    site: Arc<Site>,
    offices: Offices,
    sockets: Arc<Sockets>,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}

impl Pages {
    /// The pages of a desk.
    pub fn new(desk: Arc<Desk>, login: Arc<Login>, site: Site, offices: Offices) -> Self {
        Self {
            desk,
            login,
            site: Arc::new(site),
            offices,
            sockets: Arc::default(),
        }
    }

    /// Milliseconds since 1970, by the desk's clock.
    fn now_ms(&self) -> u64 {
        self.desk.now().ms().unsigned_abs()
    }

    fn office(&self, authority: &Authority) -> OfficeView {
        let demo = self.login.demo(&authority.id);
        let ways = LoginWays {
            oidc: self.login.oidc.has(&authority.id),
            demo: &demo,
        };
        let own = self.offices.of(&authority.id);
        OfficeView::new(authority, own.as_deref(), &ways)
    }
}

/// The routes below `/desk/v1`.
pub fn router(pages: Pages) -> Router {
    let planning = appointments::router::<Pages>()
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Front {
            desk: Arc::clone(&pages.desk),
            gate: pages.clone(),
            public_url: pages.site.public_url().into(),
        });
    let routes = office::routes()
        .merge(citizen::routes())
        .merge(logins::routes())
        .merge(official::routes())
        .with_state(pages.clone())
        .merge(planning)
        .fallback(nothing)
        .method_not_allowed_fallback(no_such_method);
    Router::new()
        .nest("/desk/v1", routes)
        .layer(from_fn_with_state(pages, guard))
}

async fn nothing() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "nothing-here",
        "there is nothing at this path",
    )
}

async fn no_such_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method",
        "this path takes other methods",
    )
}

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Refuses what other sites make a browser send, and says of every answer what may be done with it.
async fn guard(State(pages): State<Pages>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let upgrades = request.headers().contains_key(header::UPGRADE);
    let own = (reads && !upgrades) || pages.site.is_own(request.headers());
    let mut response = if own {
        next.run(request).await
    } else {
        problem::cross_site().into_response()
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (RESOURCE_POLICY, "same-origin"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'; sandbox",
        ),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}
