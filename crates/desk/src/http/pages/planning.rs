//! What officials plan: make, change and cancel appointments, people in them, links for people.
//!
//! Links are told once, to whoever made them, and kept nowhere.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;

use super::Pages;
use super::official::{JoinUrl, appointment, appointment_id, day, person_id};
use super::problem::Problem;
use super::request::{Body, LoggedIn};
use super::view::Card;
use crate::domain::{
    ExternalRef, Name, Needs, Patch, PersonId, Refusal, Role, Subject, Timestamp, When,
};
use crate::{Caller, Done, Partner, PersonInput};

pub(super) fn routes() -> Router<Pages> {
    Router::new()
        .route("/appointments", get(day).post(create))
        .route("/appointments/{id}", get(appointment).patch(change))
        .route("/appointments/{id}/cancel", post(cancel))
        .route("/appointments/{id}/people", post(add))
        .route("/appointments/{id}/people/{person}", delete(take_out))
        .route(
            "/appointments/{id}/people/{person}/link",
            post(reissue).delete(revoke),
        )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAppointment {
    #[serde(default)]
    external_ref: Option<ExternalRef>,
    subject: Subject,
    starts_at: Timestamp,
    ends_at: Timestamp,
    people: Vec<NewPerson>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPerson {
    role: Role,
    name: Name,
    #[serde(default)]
    needs: Needs,
    #[serde(default)]
    linked_to: Option<LinkedTo>,
}

/// Somebody who is in the appointment, or who stands in the same list, counted from 0.
#[derive(Deserialize)]
#[serde(untagged)]
enum LinkedTo {
    Place(usize),
    Person(PersonId),
}

impl From<NewPerson> for PersonInput {
    fn from(new: NewPerson) -> Self {
        Self {
            role: new.role,
            name: new.name,
            needs: new.needs,
            linked_to: match new.linked_to {
                None => Partner::Nobody,
                Some(LinkedTo::Place(place)) => Partner::Place(place),
                Some(LinkedTo::Person(id)) => Partner::Person(id),
            },
        }
    }
}

impl Pages {
    /// An appointment with the links that were just made.
    fn card_of(&self, caller: &Caller, done: &Done) -> Result<Card, Problem> {
        let authority = self.desk.authority(&caller.authority)?;
        let now = self.desk.now();
        Ok(Card::new(&done.appointment, authority, now, |person| {
            let token = done.link_of(&person.id)?;
            Some(self.join_url(person.role == Role::Official, token))
        }))
    }
}

async fn create(
    State(pages): State<Pages>,
    session: LoggedIn,
    Body(new): Body<NewAppointment>,
) -> Result<(StatusCode, Json<Card>), Problem> {
    let caller = session.caller();
    let when = When {
        starts_at: new.starts_at,
        ends_at: new.ends_at,
    };
    let people = new.people.into_iter().map(PersonInput::from).collect();
    let about = (new.external_ref, new.subject, when);
    let done = pages.desk.create(&caller, about, people, None).await?;
    Ok((StatusCode::CREATED, Json(pages.card_of(&caller, &done)?)))
}

/// What is left out stays; `external_ref: null` takes it away.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    #[serde(default)]
    subject: Option<Subject>,
    #[serde(default)]
    starts_at: Option<Timestamp>,
    #[serde(default)]
    ends_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "named")]
    external_ref: Option<Option<ExternalRef>>,
}

/// Tells a key that is null from one that is not there.
fn named<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<ExternalRef>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The version in `If-Match`, which a change needs: two officials may look at the same card.
fn expected(headers: &HeaderMap) -> Result<u64, Problem> {
    let Some(tag) = headers.get(header::IF_MATCH) else {
        return Err(Problem::new(
            StatusCode::PRECONDITION_REQUIRED,
            "if-match-required",
            "If-Match with the version that was seen is required",
        ));
    };
    let digits = tag
        .to_str()
        .ok()
        .and_then(|text| text.trim().strip_prefix('"')?.strip_suffix('"'));
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| Refusal::Stale.into())
}

async fn change(
    State(pages): State<Pages>,
    session: LoggedIn,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(change): Body<Change>,
) -> Result<Json<Card>, Problem> {
    let caller = session.caller();
    let patch = Patch {
        subject: change.subject,
        starts_at: change.starts_at,
        ends_at: change.ends_at,
        external_ref: change.external_ref,
    };
    let seen = Some(expected(&headers)?);
    let id = appointment_id(&id)?;
    let done = pages.desk.patch(&caller, &id, seen, patch).await?;
    Ok(Json(pages.card_of(&caller, &done)?))
}

async fn cancel(
    State(pages): State<Pages>,
    session: LoggedIn,
    Path(id): Path<String>,
) -> Result<Json<Card>, Problem> {
    let caller = session.caller();
    let id = appointment_id(&id)?;
    let done = pages.desk.cancel(&caller, &id, None).await?;
    Ok(Json(pages.card_of(&caller, &done)?))
}

async fn add(
    State(pages): State<Pages>,
    session: LoggedIn,
    Path(id): Path<String>,
    Body(new): Body<NewPerson>,
) -> Result<(StatusCode, Json<Card>), Problem> {
    let caller = session.caller();
    let id = appointment_id(&id)?;
    let done = pages
        .desk
        .add_person(&caller, &id, new.into(), None)
        .await?;
    Ok((StatusCode::CREATED, Json(pages.card_of(&caller, &done)?)))
}

async fn take_out(
    State(pages): State<Pages>,
    session: LoggedIn,
    Path((id, person)): Path<(String, String)>,
) -> Result<Json<Card>, Problem> {
    let caller = session.caller();
    let (id, person) = (appointment_id(&id)?, person_id(&person)?);
    let done = pages.desk.remove_person(&caller, &id, &person).await?;
    Ok(Json(pages.card_of(&caller, &done)?))
}

async fn reissue(
    State(pages): State<Pages>,
    session: LoggedIn,
    Path((id, person)): Path<(String, String)>,
) -> Result<(StatusCode, Json<JoinUrl>), Problem> {
    let caller = session.caller();
    let (id, person) = (appointment_id(&id)?, person_id(&person)?);
    let done = pages.desk.reissue_link(&caller, &id, &person, None).await?;
    let made = pages.made(&done).ok_or(Refusal::NoPerson)?;
    Ok((StatusCode::CREATED, Json(made)))
}

async fn revoke(
    State(pages): State<Pages>,
    session: LoggedIn,
    Path((id, person)): Path<(String, String)>,
) -> Result<Json<Card>, Problem> {
    let caller = session.caller();
    let (id, person) = (appointment_id(&id)?, person_id(&person)?);
    let done = pages.desk.revoke_link(&caller, &id, &person).await?;
    Ok(Json(pages.card_of(&caller, &done)?))
}
