//! Those who are told of appointments, for whoever looks after the server: where each is, and the way out where one will never take an event.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use schalter_metrics::problem;
use schalter_webhook::SkipError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::telling::Telling;

/// The receivers of a server; none where nobody is told.
#[derive(Clone, Default)]
pub(crate) struct Receivers {
    pub(super) telling: Option<Arc<Telling>>,
}

/// The routes below `/v1`; the caller asks for the token.
pub(crate) fn router(receivers: Receivers) -> Router {
    Router::new()
        .route("/v1/desk/webhooks", get(list))
        .route("/v1/desk/webhooks/{receiver}/skip", post(skip))
        .with_state(receivers)
}

/// Their places, never their addresses: a path may be a secret.
async fn list(State(receivers): State<Receivers>) -> Response {
    let standings = receivers
        .telling
        .map(|telling| telling.standings())
        .unwrap_or_default();
    let each = standings.iter().enumerate();
    let each = each.map(|(place, (authority, one))| {
        json!({
            "receiver": place,
            "authority": authority.as_str(),
            "taken": one.cursor,
            "last": one.last,
            "stuck": one.stuck.map(|(event, seconds)| json!({ "event": event, "seconds": seconds })),
            "gone": one.gone,
        })
    });
    let body = json!({ "receivers": each.collect::<Vec<Value>>() });
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, format!("{body}\n")).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Through {
    through: u64,
}

async fn skip(
    State(receivers): State<Receivers>,
    receiver: Result<Path<usize>, PathRejection>,
    query: Result<Query<Through>, QueryRejection>,
) -> Response {
    let Ok(Path(receiver)) = receiver else {
        return problem(
            StatusCode::BAD_REQUEST,
            "a receiver's place is a number from 0",
        );
    };
    let Ok(Query(Through { through })) = query else {
        return problem(
            StatusCode::BAD_REQUEST,
            "the query has through=<number of the last event to pass over>",
        );
    };
    let done = match &receivers.telling {
        Some(telling) => telling.skip(receiver, through),
        None => Err(SkipError::NoReceiver),
    };
    match done {
        Ok(()) => {
            tracing::warn!(
                receiver,
                through,
                "an operator has a receiver pass over events"
            );
            StatusCode::ACCEPTED.into_response()
        }
        Err(error @ SkipError::NoReceiver) => problem(StatusCode::NOT_FOUND, &error.to_string()),
        Err(
            error @ (SkipError::Gone
            | SkipError::NotStuck
            | SkipError::Taken(_)
            | SkipError::Ahead(_)),
        ) => problem(StatusCode::CONFLICT, &error.to_string()),
    }
}
