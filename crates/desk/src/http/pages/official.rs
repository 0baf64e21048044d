//! What officials do: their day, their decisions, their seat.

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use schalter_model::AuthorityId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Pages;
use super::request::{Body, LoggedIn};
use super::view::{DayView, OfficeView};
use crate::domain::{
    Appointment, AppointmentId, Day, MessageText, Name, OutcomeCode, PersonId, Role, Timestamp,
};
use crate::http::location::{InPath, InQuery};
use crate::http::{Problem, wire};
use crate::login::Official;
use crate::{Caller, SeatToken};

pub(super) fn routes() -> Router<Pages> {
    Router::new()
        .route("/official", get(official))
        .route("/appointments", get(day))
        .route("/appointments/{id}/people/{person}/admit", post(admit))
        .route("/appointments/{id}/people/{person}/deny", post(deny))
        .route("/appointments/{id}/people/{person}/hold", post(hold))
        .route("/appointments/{id}/people/{person}/remove", post(remove))
        .route("/appointments/{id}/people/{person}/message", post(message))
        .route("/appointments/{id}/colleague", post(colleague))
        .route("/appointments/{id}/seat", post(seat))
        .route("/appointments/{id}/end", post(end))
        .route("/day/socket", get(socket))
}

/// Who is logged in, and where.
#[derive(Serialize)]
pub(super) struct WhoIsIn {
    official: OfficialView,
    office: OfficeView,
    outcomes: Vec<String>,
    server_time: Timestamp,
}

#[derive(Serialize)]
struct OfficialView {
    id: String,
    name: String,
    acr: Option<String>,
}

impl Pages {
    pub(super) fn official_view(
        &self,
        authority: &AuthorityId,
        official: &Official,
    ) -> Result<WhoIsIn, Problem> {
        let authority = self.desk.authority(authority)?;
        let outcomes = authority.outcomes.iter();
        Ok(WhoIsIn {
            official: OfficialView {
                id: official.id.clone(),
                name: official.name.as_str().to_owned(),
                acr: official.acr.clone(),
            },
            office: self.office(&authority),
            outcomes: outcomes.map(|code| code.as_str().to_owned()).collect(),
            server_time: self.desk.now(),
        })
    }

    /// An appointment as officials see it, without links.
    fn card(&self, appointment: &Appointment) -> Value {
        let now = self.desk.now();
        wire::appointment(appointment, &[], self.site.public_url(), now)
    }

    /// A day as officials see it; today where none is named.
    pub(super) async fn day(&self, caller: &Caller, day: Option<Day>) -> Result<DayView, Problem> {
        let authority = self.desk.authority(&caller.authority)?;
        let now = self.desk.now();
        let day = day.unwrap_or_else(|| authority.time_zone.day_of(now));
        let found = self.desk.day(caller, day).await?;
        Ok(DayView {
            day: day.to_string(),
            appointments: found.iter().map(|one| self.card(one)).collect(),
        })
    }
}

async fn official(
    State(pages): State<Pages>,
    LoggedIn(session): LoggedIn,
) -> Result<Json<WhoIsIn>, Problem> {
    let view = pages.official_view(&session.authority, &session.official)?;
    Ok(Json(view))
}

/// The day in an address.
#[derive(Deserialize)]
pub(super) struct WhichDay {
    day: Option<String>,
}

impl WhichDay {
    fn read(self) -> Result<Option<Day>, Problem> {
        self.day.map(|text| text.parse().map_err(bad)).transpose()
    }
}

fn bad(error: impl std::fmt::Display) -> Problem {
    Problem::invalid(error.to_string())
}

async fn day(
    State(pages): State<Pages>,
    session: LoggedIn,
    InQuery(which): InQuery<WhichDay>,
) -> Result<Json<DayView>, Problem> {
    let day = which.read()?;
    Ok(Json(pages.day(&session.caller(), day).await?))
}

/// An appointment by the address.
pub(super) fn appointment_id(text: &str) -> Result<AppointmentId, Problem> {
    text.parse()
        .map_err(|_| crate::domain::Refusal::NoAppointment.into())
}

/// A person by the address.
pub(super) fn person_id(text: &str) -> Result<PersonId, Problem> {
    text.parse()
        .map_err(|_| crate::domain::Refusal::NoPerson.into())
}

/// No keys: what is to be done stands in the address.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

macro_rules! decision {
    ($name:ident) => {
        async fn $name(
            State(pages): State<Pages>,
            session: LoggedIn,
            InPath((id, person)): InPath<(String, String)>,
            Body(Nothing {}): Body<Nothing>,
        ) -> Result<Json<Value>, Problem> {
            let caller = session.caller();
            let (id, person) = (appointment_id(&id)?, person_id(&person)?);
            let done = pages.desk.$name(&caller, &id, &person).await?;
            Ok(Json(pages.card(&done.appointment)))
        }
    };
}

decision!(admit);
decision!(hold);
decision!(remove);

/// Why somebody is denied; nothing need be said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Why {
    text: Option<String>,
}

async fn deny(
    State(pages): State<Pages>,
    session: LoggedIn,
    InPath((id, person)): InPath<(String, String)>,
    Body(why): Body<Why>,
) -> Result<Json<Value>, Problem> {
    let caller = session.caller();
    let (id, person) = (appointment_id(&id)?, person_id(&person)?);
    let words = why.text.map(|text| MessageText::new(&text));
    let words = words.transpose().map_err(bad)?;
    let done = pages.desk.deny(&caller, &id, &person, words).await?;
    Ok(Json(pages.card(&done.appointment)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    text: String,
}

async fn message(
    State(pages): State<Pages>,
    session: LoggedIn,
    InPath((id, person)): InPath<(String, String)>,
    Body(words): Body<Words>,
) -> Result<Json<Value>, Problem> {
    let caller = session.caller();
    let (id, person) = (appointment_id(&id)?, person_id(&person)?);
    let text = MessageText::new(&words.text).map_err(bad)?;
    let done = pages.desk.message(&caller, &id, &person, text).await?;
    Ok(Json(pages.card(&done.appointment)))
}

/// As others are to see the colleague; as the office where nothing is said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Colleague {
    name: Option<String>,
}

async fn colleague(
    State(pages): State<Pages>,
    session: LoggedIn,
    InPath(id): InPath<String>,
    Body(colleague): Body<Colleague>,
) -> Result<Json<Value>, Problem> {
    let caller = session.caller();
    let id = appointment_id(&id)?;
    let name = colleague.name.map(|name| Name::new(&name));
    let name = name.transpose().map_err(bad)?;
    let done = pages.desk.add_colleague(&caller, &id, name).await?;
    // It is told once.
    let link = done.person.as_ref().and_then(|person| done.link_of(person));
    let url = link.map(|token| wire::join_url(pages.site.public_url(), Role::Official, token));
    Ok(Json(json!({ "join_url": url })))
}

async fn seat(
    State(pages): State<Pages>,
    session: LoggedIn,
    InPath(id): InPath<String>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<SeatToken>, Problem> {
    let id = appointment_id(&id)?;
    Ok(Json(
        pages.desk.seat_official(&session.caller(), &id).await?,
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    outcome: String,
}

async fn end(
    State(pages): State<Pages>,
    session: LoggedIn,
    InPath(id): InPath<String>,
    Body(end): Body<End>,
) -> Result<Json<Value>, Problem> {
    let caller = session.caller();
    let outcome = OutcomeCode::new(&end.outcome).map_err(bad)?;
    let done = pages
        .desk
        .end(&caller, &appointment_id(&id)?, outcome)
        .await?;
    Ok(Json(pages.card(&done.appointment)))
}

async fn socket(
    State(pages): State<Pages>,
    LoggedIn(session): LoggedIn,
    InQuery(which): InQuery<WhichDay>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    let day = which.read()?;
    let Some(place) = pages.sockets.place(session.key()) else {
        return Err(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-sockets",
            "this session has too many of these open",
        ));
    };
    Ok(upgrade
        .max_message_size(super::sockets::MAX_MESSAGE)
        .on_upgrade(move |socket| async move {
            super::sockets::official(socket, pages, session, day).await;
            drop(place);
        }))
}
