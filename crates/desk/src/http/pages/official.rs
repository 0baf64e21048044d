//! What officials do: their day, their decisions, their seat.

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use schalter_model::AuthorityId;
use serde::{Deserialize, Serialize};

use super::Pages;
use super::problem::Problem;
use super::request::{Body, LoggedIn};
use super::view::{Card, DayView, OfficeView};
use crate::domain::{
    Appointment, AppointmentId, Day, MessageText, OutcomeCode, PersonId, Role, Timestamp,
};
use crate::login::Official;
use crate::{Caller, Done, SeatToken};

pub(super) fn routes() -> Router<Pages> {
    Router::new()
        .route("/official", get(official))
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
            office: self.office(authority),
            outcomes: outcomes.map(|code| code.as_str().to_owned()).collect(),
            server_time: self.desk.now(),
        })
    }

    /// An appointment as officials see it, without links.
    fn card(&self, caller: &Caller, appointment: &Appointment) -> Result<Card, Problem> {
        let authority = self.desk.authority(&caller.authority)?;
        Ok(Card::new(appointment, authority, self.desk.now(), |_| None))
    }

    /// A day as officials see it; today where none is named.
    pub(super) async fn day(&self, caller: &Caller, day: Option<Day>) -> Result<DayView, Problem> {
        let authority = self.desk.authority(&caller.authority)?;
        let now = self.desk.now();
        let day = day.unwrap_or_else(|| authority.time_zone.day_of(now));
        let found = self.desk.day(caller, day).await?;
        Ok(DayView {
            day: day.to_string(),
            appointments: found
                .iter()
                .map(|appointment| Card::new(appointment, authority, now, |_| None))
                .collect(),
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
    Problem::malformed(error.to_string())
}

pub(super) async fn day(
    State(pages): State<Pages>,
    session: LoggedIn,
    Query(which): Query<WhichDay>,
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

pub(super) async fn appointment(
    State(pages): State<Pages>,
    session: LoggedIn,
    Path(id): Path<String>,
) -> Result<Json<Card>, Problem> {
    let caller = session.caller();
    let found = pages
        .desk
        .appointment(&caller, &appointment_id(&id)?)
        .await?;
    Ok(Json(pages.card(&caller, &found)?))
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
            Path((id, person)): Path<(String, String)>,
            Body(Nothing {}): Body<Nothing>,
        ) -> Result<Json<Card>, Problem> {
            let caller = session.caller();
            let (id, person) = (appointment_id(&id)?, person_id(&person)?);
            let done = pages.desk.$name(&caller, &id, &person).await?;
            Ok(Json(pages.card(&caller, &done.appointment)?))
        }
    };
}

decision!(admit);
decision!(deny);
decision!(hold);
decision!(remove);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    text: String,
}

async fn message(
    State(pages): State<Pages>,
    session: LoggedIn,
    Path((id, person)): Path<(String, String)>,
    Body(words): Body<Words>,
) -> Result<Json<Card>, Problem> {
    let caller = session.caller();
    let (id, person) = (appointment_id(&id)?, person_id(&person)?);
    let text = MessageText::new(&words.text).map_err(bad)?;
    let done = pages.desk.message(&caller, &id, &person, text).await?;
    Ok(Json(pages.card(&caller, &done.appointment)?))
}

/// A link that was just made. It is told once.
#[derive(Serialize)]
pub(super) struct JoinUrl {
    join_url: String,
}

impl Pages {
    /// The link that a command made for its person.
    pub(super) fn made(&self, done: &Done) -> Option<JoinUrl> {
        let person = done.person.as_ref()?;
        let official = done
            .appointment
            .person(person)
            .is_ok_and(|person| person.role == Role::Official);
        Some(JoinUrl {
            join_url: self.join_url(official, done.link_of(person)?),
        })
    }
}

async fn colleague(
    State(pages): State<Pages>,
    session: LoggedIn,
    Path(id): Path<String>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<(StatusCode, Json<JoinUrl>), Problem> {
    let caller = session.caller();
    let done = pages
        .desk
        .add_colleague(&caller, &appointment_id(&id)?)
        .await?;
    let made = pages.made(&done).ok_or(crate::domain::Refusal::NoPerson)?;
    Ok((StatusCode::CREATED, Json(made)))
}

async fn seat(
    State(pages): State<Pages>,
    session: LoggedIn,
    Path(id): Path<String>,
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
    Path(id): Path<String>,
    Body(end): Body<End>,
) -> Result<Json<Card>, Problem> {
    let caller = session.caller();
    let outcome = OutcomeCode::new(&end.outcome).map_err(bad)?;
    let done = pages
        .desk
        .end(&caller, &appointment_id(&id)?, outcome)
        .await?;
    Ok(Json(pages.card(&caller, &done.appointment)?))
}

async fn socket(
    State(pages): State<Pages>,
    LoggedIn(session): LoggedIn,
    Query(which): Query<WhichDay>,
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
