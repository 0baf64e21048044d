//! Events, checkpoints of the log that proves them, and everything that is kept under a reference: export and erasure.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schalter_audit::Epoch;
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::{Front, Gate, Scope};
use super::answer::Answer;
use super::appointments::appointment_id;
use super::document;
use super::location::InPath;
use super::problem::Problem;
use super::wire;
use crate::domain::ExternalRef;
use crate::ledger::Wanted;
use crate::store::MAX_EVENTS;

/// Events that an answer has unless another number is asked for.
const EVENTS: usize = 100;

/// What events may be asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventsQuery {
    after: Option<String>,
    limit: Option<String>,
}

/// `GET /events?after=&limit=`.
pub(super) async fn events<G: Gate>(
    State(front): State<Front<G>>,
    query: Result<Query<EventsQuery>, QueryRejection>,
    parts: Parts,
) -> Result<Response, Problem> {
    let admitted = front.gate.admit(&parts, Scope::EventsRead).await?;
    let Query(query) = query.map_err(|error| Problem::malformed(error.body_text()))?;
    let after: u64 = wire::parameter("after", query.after.as_deref())?.unwrap_or(0);
    let limit: usize = wire::parameter("limit", query.limit.as_deref())?.unwrap_or(EVENTS);
    if !(1..=MAX_EVENTS).contains(&limit) {
        return Err(Problem::malformed(format!("limit: 1 to {MAX_EVENTS}")));
    }
    let found = front.desk.events(&admitted.caller, after, limit).await?;
    let last = found.last().map_or(after, |event| event.seq);
    let events: Vec<Value> = found.iter().map(wire::event).collect();
    Ok(Answer::ok(json!({ "events": events, "last": last })).into_response())
}

/// Which checkpoint may be asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointQuery {
    epoch: Option<String>,
    old: Option<String>,
}

/// `GET /audit/checkpoint?epoch=&old=`: the newest, or an epoch's last, as a signed note; since `old` leaves with a proof of growth.
pub(super) async fn checkpoint<G: Gate>(
    State(front): State<Front<G>>,
    query: Result<Query<CheckpointQuery>, QueryRejection>,
    parts: Parts,
) -> Result<Response, Problem> {
    let admitted = front.gate.admit(&parts, Scope::AuditRead).await?;
    let Query(query) = query.map_err(|error| Problem::malformed(error.body_text()))?;
    let epoch = query.epoch.as_deref().map(str::parse::<Epoch>).transpose();
    let wanted = Wanted {
        epoch: epoch.map_err(|_| Problem::malformed("epoch: such as 2026-11 or 2026-11.2"))?,
        old: wire::parameter("old", query.old.as_deref())?,
    };
    let note = front.desk.checkpoint(&admitted.caller, wanted).await?;
    let note = note.ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "no-checkpoint",
            "there is no audit log, nothing is in it yet, it has no such epoch, or not so many leaves",
        )
    })?;
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, note).into_response())
}

fn reference(text: &str) -> Result<ExternalRef, Problem> {
    ExternalRef::new(text).map_err(|error| Problem::malformed(format!("external_ref: {error}")))
}

/// `GET /records/{external_ref}`.
pub(super) async fn export<G: Gate>(
    State(front): State<Front<G>>,
    InPath(external_ref): InPath<String>,
    parts: Parts,
) -> Result<Response, Problem> {
    let admitted = front.gate.admit(&parts, Scope::AppointmentsRead).await?;
    let external_ref = reference(&external_ref)?;
    let records = front.desk.export(&admitted.caller, &external_ref).await?;
    if records.is_empty() {
        return Err(no_record());
    }
    let now = front.desk.now();
    if document::is_wanted(&parts.headers) {
        let authority = front.desk.authority(&admitted.caller.authority)?;
        return Ok(document::answer(&records, &authority, now));
    }
    let one = |record| wire::record(record, &front.public_url, now);
    let shown: Vec<Value> = records.iter().map(one).collect();
    Ok(vary(
        Answer::ok(json!({ "records": shown })).into_response(),
    ))
}

/// `GET /appointments/{id}/record`: of one that is over.
pub(super) async fn show<G: Gate>(
    State(front): State<Front<G>>,
    InPath(id): InPath<String>,
    parts: Parts,
) -> Result<Response, Problem> {
    let admitted = front.gate.admit(&parts, Scope::AppointmentsRead).await?;
    let id = appointment_id(&id)?;
    let record = front.desk.record(&admitted.caller, &id).await?;
    let now = front.desk.now();
    if document::is_wanted(&parts.headers) {
        let authority = front.desk.authority(&admitted.caller.authority)?;
        return Ok(document::answer(&[record], &authority, now));
    }
    let body = wire::record(&record, &front.public_url, now);
    Ok(vary(Answer::ok(body).into_response()))
}

/// Says that the answer would be another one for another `Accept`.
fn vary(mut response: Response) -> Response {
    let accept = HeaderValue::from_static("accept");
    response.headers_mut().insert(header::VARY, accept);
    response
}

/// `DELETE /records/{external_ref}`.
pub(super) async fn erase<G: Gate>(
    State(front): State<Front<G>>,
    InPath(external_ref): InPath<String>,
    parts: Parts,
) -> Result<Response, Problem> {
    let admitted = front.gate.admit(&parts, Scope::AppointmentsWrite).await?;
    let external_ref = reference(&external_ref)?;
    let erased = front.desk.erase(&admitted.caller, &external_ref).await?;
    if erased == 0 {
        return Err(no_record());
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn no_record() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no-record",
        "nothing is kept under this reference",
    )
}
