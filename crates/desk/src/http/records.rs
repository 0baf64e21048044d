//! Events, and everything that is kept under a reference: export and erasure.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::{Front, Gate, Scope};
use super::answer::Answer;
use super::location::InPath;
use super::problem::Problem;
use super::wire;
use crate::domain::ExternalRef;
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
    let shown: Vec<Value> = records
        .iter()
        .map(|record| {
            let events: Vec<Value> = record.events.iter().map(wire::event).collect();
            let agreed: Vec<Value> = record
                .appointment
                .people
                .iter()
                .filter_map(|person| {
                    let agreed = person.agreed?;
                    Some(json!({ "person": person.id, "notice": agreed.notice, "at": agreed.at }))
                })
                .collect();
            json!({
                "appointment": wire::appointment(&record.appointment, &[], &front.public_url, now),
                "created_at": record.appointment.created_at,
                "over_at": record.appointment.over_at,
                "call": record.call().map(|call| json!({
                    "began_at": call.began_at,
                    "ended_at": call.ended_at,
                    "seconds": call.seconds(),
                })),
                "agreed": agreed,
                "events": events,
            })
        })
        .collect();
    Ok(Answer::ok(json!({ "records": shown })).into_response())
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
