//! Appointments over HTTP, for whoever the gate lets in.

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{OriginalUri, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;

use super::access::{Front, Gate, Scope};
use super::answer::{Answer, expected_version, has_version, read};
use super::idempotency::{Once, finish, keep, seal};
use super::location::InPath;
use super::problem::Problem;
use super::{records, wire};
use crate::domain::{Appointment, AppointmentId, ExternalRef, PersonId, Refusal, Timestamp};
use crate::store::Filter;
use crate::{Done, Terms};

/// Appointments that a list has unless it asks for another number.
const LIST: usize = 100;
/// Most appointments that a list may ask for.
pub const MAX_LIST: usize = 500;

type Body = Result<Bytes, BytesRejection>;
type Answered = Result<Response, Problem>;

/// Every route below `/appointments` but the list.
pub fn router<G: Gate>() -> Router<Front<G>> {
    Router::new()
        .route("/appointments", post(create::<G>))
        .route("/appointments/{id}", get(show::<G>).patch(change::<G>))
        .route("/appointments/{id}/cancel", post(cancel::<G>))
        .route("/appointments/{id}/record", get(records::show::<G>))
        .route("/appointments/{id}/people", post(add_person::<G>))
        .route(
            "/appointments/{id}/people/{person}",
            delete(remove_person::<G>).patch(change_person::<G>),
        )
        .route(
            "/appointments/{id}/people/{person}/link",
            post(reissue::<G>).delete(revoke::<G>),
        )
}

pub(super) fn appointment_id(text: &str) -> Result<AppointmentId, Problem> {
    text.parse().map_err(|_| Refusal::NoAppointment.into())
}

fn person_id(text: &str) -> Result<PersonId, Problem> {
    text.parse().map_err(|_| Refusal::NoPerson.into())
}

/// A change of this version; of whichever there is without one (`If-Match: *`).
const fn seen(expected: Option<u64>) -> Terms<'static> {
    Terms {
        expected,
        keep: None,
    }
}

impl<G: Gate> Front<G> {
    fn render(&self, appointment: &Appointment) -> Answer {
        let now = self.desk.now();
        let body = wire::appointment(appointment, &[], &self.public_url, now);
        Answer::ok(body).versioned(appointment.version)
    }

    fn render_done(&self, status: u16, done: &Done) -> Answer {
        let (appointment, now) = (&done.appointment, self.desk.now());
        Answer {
            status,
            body: wire::appointment(appointment, &done.links, &self.public_url, now),
            ..Answer::ok(json!(null)).versioned(appointment.version)
        }
    }
}

async fn create<G: Gate>(State(front): State<Front<G>>, parts: Parts, body: Body) -> Answered {
    let admitted = front.gate.admit(&parts, Scope::AppointmentsWrite).await?;
    let (json, body) = read::<wire::AppointmentJson>(&parts, body)?;
    let once = Once::of(&front.desk, &admitted, &parts, &body)?;
    let (about, people) = json.into_parts();
    let render = |done: &Done| {
        let mut answer = front.render_done(201, done);
        // The router above took the beginning of the path away.
        let original = parts.extensions.get::<OriginalUri>();
        let path = original.map_or(parts.uri.path(), |uri| uri.path());
        answer.location = Some(format!("{path}/{}", done.appointment.id));
        answer
    };
    let sealed = |done: &Done| seal(once.as_ref(), &render(done));
    let kept = keep(once.as_ref(), &sealed);
    let done = front
        .desk
        .create(&admitted.caller, about, people, kept.as_ref())
        .await;
    finish(once.as_ref(), done, render)
}

async fn show<G: Gate>(
    State(front): State<Front<G>>,
    InPath(id): InPath<String>,
    parts: Parts,
) -> Answered {
    let admitted = front.gate.admit(&parts, Scope::AppointmentsRead).await?;
    let id = appointment_id(&id)?;
    let found = front.desk.appointment(&admitted.caller, &id).await?;
    let mut response = front.render(&found).into_response();
    if has_version(&parts.headers, found.version) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = axum::body::Body::empty();
    }
    Ok(response)
}

async fn change<G: Gate>(
    State(front): State<Front<G>>,
    InPath(id): InPath<String>,
    parts: Parts,
    body: Body,
) -> Answered {
    let admitted = front.gate.admit(&parts, Scope::AppointmentsWrite).await?;
    let id = appointment_id(&id)?;
    let expected = expected_version(&parts.headers)?;
    let (json, _) = read::<wire::PatchJson>(&parts, body)?;
    let caller = &admitted.caller;
    let done = front
        .desk
        .patch(caller, &id, seen(expected), json.into())
        .await?;
    Ok(front.render(&done.appointment).into_response())
}

async fn cancel<G: Gate>(
    State(front): State<Front<G>>,
    InPath(id): InPath<String>,
    parts: Parts,
    body: Body,
) -> Answered {
    let admitted = front.gate.admit(&parts, Scope::AppointmentsWrite).await?;
    let id = appointment_id(&id)?;
    let expected = expected_version(&parts.headers)?;
    let body = body.unwrap_or_default();
    let once = Once::of(&front.desk, &admitted, &parts, &body)?;
    let render = |done: &Done| front.render_done(200, done);
    let sealed = |done: &Done| seal(once.as_ref(), &render(done));
    let kept = keep(once.as_ref(), &sealed);
    let terms = Terms {
        expected,
        keep: kept.as_ref(),
    };
    let done = front.desk.cancel(&admitted.caller, &id, terms);
    finish(once.as_ref(), done.await, render)
}

async fn add_person<G: Gate>(
    State(front): State<Front<G>>,
    InPath(id): InPath<String>,
    parts: Parts,
    body: Body,
) -> Answered {
    let admitted = front.gate.admit(&parts, Scope::AppointmentsWrite).await?;
    let id = appointment_id(&id)?;
    let expected = expected_version(&parts.headers)?;
    let (json, body) = read::<wire::PersonJson>(&parts, body)?;
    let once = Once::of(&front.desk, &admitted, &parts, &body)?;
    let render = |done: &Done| front.render_done(201, done);
    let sealed = |done: &Done| seal(once.as_ref(), &render(done));
    let kept = keep(once.as_ref(), &sealed);
    let terms = Terms {
        expected,
        keep: kept.as_ref(),
    };
    let added = front
        .desk
        .add_person(&admitted.caller, &id, json.into(), terms);
    finish(once.as_ref(), added.await, render)
}

async fn change_person<G: Gate>(
    State(front): State<Front<G>>,
    InPath((id, person)): InPath<(String, String)>,
    parts: Parts,
    body: Body,
) -> Answered {
    let admitted = front.gate.admit(&parts, Scope::AppointmentsWrite).await?;
    let (id, person) = (appointment_id(&id)?, person_id(&person)?);
    let terms = seen(expected_version(&parts.headers)?);
    let (json, _) = read::<wire::PersonPatchJson>(&parts, body)?;
    let caller = &admitted.caller;
    let changed = front
        .desk
        .change_person(caller, &id, &person, json.into(), terms);
    Ok(front.render(&changed.await?.appointment).into_response())
}

async fn remove_person<G: Gate>(
    State(front): State<Front<G>>,
    InPath((id, person)): InPath<(String, String)>,
    parts: Parts,
) -> Answered {
    let admitted = front.gate.admit(&parts, Scope::AppointmentsWrite).await?;
    let (id, person) = (appointment_id(&id)?, person_id(&person)?);
    let terms = seen(expected_version(&parts.headers)?);
    let caller = &admitted.caller;
    let done = front
        .desk
        .remove_person(caller, &id, &person, terms)
        .await?;
    Ok(front.render(&done.appointment).into_response())
}

async fn reissue<G: Gate>(
    State(front): State<Front<G>>,
    InPath((id, person)): InPath<(String, String)>,
    parts: Parts,
    body: Body,
) -> Answered {
    let admitted = front.gate.admit(&parts, Scope::AppointmentsWrite).await?;
    let (id, person) = (appointment_id(&id)?, person_id(&person)?);
    let expected = expected_version(&parts.headers)?;
    let body = body.unwrap_or_default();
    let once = Once::of(&front.desk, &admitted, &parts, &body)?;
    let render = |done: &Done| {
        let url = done.link_of(&person).and_then(|token| {
            let role = done.appointment.person(&person).ok()?.role;
            Some(wire::join_url(&front.public_url, role, token))
        });
        Answer::ok(json!({ "join_url": url })).versioned(done.appointment.version)
    };
    let sealed = |done: &Done| seal(once.as_ref(), &render(done));
    let kept = keep(once.as_ref(), &sealed);
    let terms = Terms {
        expected,
        keep: kept.as_ref(),
    };
    let reissued = front
        .desk
        .reissue_link(&admitted.caller, &id, &person, terms);
    finish(once.as_ref(), reissued.await, render)
}

async fn revoke<G: Gate>(
    State(front): State<Front<G>>,
    InPath((id, person)): InPath<(String, String)>,
    parts: Parts,
) -> Answered {
    let admitted = front.gate.admit(&parts, Scope::AppointmentsWrite).await?;
    let (id, person) = (appointment_id(&id)?, person_id(&person)?);
    let terms = seen(expected_version(&parts.headers)?);
    let caller = &admitted.caller;
    let done = front.desk.revoke_link(caller, &id, &person, terms).await?;
    Ok(front.render(&done.appointment).into_response())
}

/// What a list may be asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListQuery {
    from: Option<String>,
    to: Option<String>,
    external_ref: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
}

/// `GET /appointments`: by start, page by page.
pub(super) async fn list<G: Gate>(
    State(front): State<Front<G>>,
    query: Result<Query<ListQuery>, QueryRejection>,
    parts: Parts,
) -> Answered {
    let admitted = front.gate.admit(&parts, Scope::AppointmentsRead).await?;
    let Query(query) = query.map_err(|error| Problem::malformed(error.body_text()))?;
    let limit: usize = wire::parameter("limit", query.limit.as_deref())?.unwrap_or(LIST);
    if !(1..=MAX_LIST).contains(&limit) {
        return Err(Problem::malformed(format!("limit: 1 to {MAX_LIST}")));
    }
    let external_ref = query
        .external_ref
        .map(|text| ExternalRef::new(&text))
        .transpose()
        .map_err(|error| Problem::malformed(format!("external_ref: {error}")))?;
    let after = match query.cursor.as_deref() {
        None => None,
        Some(text) => Some(
            read_cursor(text).ok_or_else(|| Problem::malformed("cursor: none of this list's"))?,
        ),
    };
    let filter = Filter {
        from: wire::parameter("from", query.from.as_deref())?,
        to: wire::parameter("to", query.to.as_deref())?,
        external_ref,
        after,
        // One more than is shown tells whether there is a next page.
        limit: limit + 1,
    };
    let mut found = front.desk.appointments(&admitted.caller, filter).await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found
        .last()
        .filter(|_| more)
        .map(|last| URL_SAFE_NO_PAD.encode(format!("{},{}", last.when.starts_at.ms(), last.id)));
    let now = front.desk.now();
    let shown: Vec<_> = found
        .iter()
        .map(|one| wire::appointment(one, &[], &front.public_url, now))
        .collect();
    Ok(Answer::ok(json!({ "appointments": shown, "next": next })).into_response())
}

fn read_cursor(text: &str) -> Option<(Timestamp, AppointmentId)> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (ms, id) = text.split_once(',')?;
    Some((Timestamp::from_ms(ms.parse().ok()?), id.parse().ok()?))
}
