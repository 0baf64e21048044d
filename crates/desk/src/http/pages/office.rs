//! What everybody may know of an office: its name and theme, its texts, its logo.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use schalter_model::AuthorityId;
use serde::Deserialize;
use serde_json::json;

use super::Pages;
use super::view::OfficeView;
use crate::domain::Authority;
use crate::http::Problem;
use crate::http::location::{InPath, InQuery};

/// What an SVG may do when somebody opens it by itself: nothing.
const PICTURE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox",
);
/// How long browsers keep a logo, in seconds.
const PICTURE_AGE: HeaderValue = HeaderValue::from_static("public, max-age=3600");

pub(super) fn routes() -> Router<Pages> {
    Router::new()
        .route("/office", get(office))
        .route("/texts/{lang}", get(texts))
        .route("/logo/{authority}", get(logo))
}

#[derive(Deserialize)]
struct Which {
    authority: Option<String>,
}

impl Pages {
    /// The office that a request names; where there is only one, that one.
    pub(super) fn named(&self, name: Option<&str>) -> Result<Arc<Authority>, Problem> {
        let unknown = || {
            Problem::new(
                StatusCode::NOT_FOUND,
                "no-authority",
                "there is no such office",
            )
        };
        match name {
            Some(name) => {
                let id = AuthorityId::new(name).map_err(|_| unknown())?;
                Ok(self.desk.authority(&id)?)
            }
            None => {
                let mut all = self.desk.authorities();
                match (all.pop(), all.is_empty()) {
                    (Some(only), true) => Ok(only),
                    (_, _) => Err(unknown()),
                }
            }
        }
    }
}

/// The office that is named, or the only one. Where there are several and none is named, the problem has the help line of each
/// (`offices`: `[{ "id", "name", "phone", "text" }]`): whoever can't open a link must find somebody to ask, and an official the office to log in to.
async fn office(
    State(pages): State<Pages>,
    InQuery(which): InQuery<Which>,
) -> Result<Json<OfficeView>, Problem> {
    let named = pages.named(which.authority.as_deref());
    let authority = named.map_err(|problem| {
        if which.authority.is_some() {
            return problem;
        }
        let lines: Vec<_> = pages
            .desk
            .authorities()
            .iter()
            .map(|one| json!({ "id": one.id.as_str(), "name": one.name, "phone": one.help.phone, "text": one.help.text }))
            .collect();
        problem.with("offices", lines)
    })?;
    Ok(Json(pages.office(&authority)))
}

/// Texts in place of the pages' own; none for a language that the office has none in.
async fn texts(
    State(pages): State<Pages>,
    InPath(lang): InPath<String>,
    InQuery(which): InQuery<Which>,
) -> Result<Json<BTreeMap<String, String>>, Problem> {
    let authority = pages.named(which.authority.as_deref())?;
    let own = pages.offices.of(&authority.id);
    let texts = own.and_then(|own| own.texts.get(&lang).cloned());
    Ok(Json(texts.unwrap_or_default()))
}

async fn logo(
    State(pages): State<Pages>,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    let authority = pages.named(Some(&name))?;
    let Some(logo) = pages
        .offices
        .of(&authority.id)
        .and_then(|own| own.logo.clone())
    else {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "no-logo",
            "this office has no logo",
        ));
    };
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static(logo.content_type),
        ),
        (header::CONTENT_SECURITY_POLICY, PICTURE_POLICY),
        (header::CACHE_CONTROL, PICTURE_AGE),
    ];
    Ok((headers, logo.bytes).into_response())
}
