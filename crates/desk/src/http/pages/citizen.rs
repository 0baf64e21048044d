//! What whoever has a link does: open, agree, check, say what they need, wait, sit, leave.

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use schalter_model::AuthorityId;
use serde::Deserialize;

use super::Pages;
use super::request::{Address, Body, Visit};
use super::site::Jar;
use super::view::View;
use crate::domain::{Devices, Digest, LinkToken, Needs, Refusal};
use crate::http::Problem;
use crate::{DeskError, SeatToken, Visitor};

pub(super) fn routes() -> Router<Pages> {
    Router::new()
        .route("/links/open", post(open))
        .route("/me", get(me))
        .route("/me/notice", post(agree))
        .route("/me/devices", post(devices))
        .route("/me/needs", post(needs))
        .route("/me/wait", post(wait))
        .route("/me/leave", post(leave))
        .route("/me/seat", post(seat))
        .route("/me/socket", get(socket))
}

impl Pages {
    /// What a browser is told of its appointment.
    pub(super) fn view(&self, visitor: &Visitor) -> Result<View, Problem> {
        let id =
            AuthorityId::new(&visitor.appointment.authority).map_err(|_| DeskError::NoAuthority)?;
        let authority = self.desk.authority(&id)?;
        Ok(View::new(
            visitor,
            &authority,
            self.office(&authority),
            self.desk.now(),
        )?)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    token: String,
}

/// Opens a link. Only wrong ones count against an address, and only they are refused for it: behind one may be a whole town.
async fn open(
    State(pages): State<Pages>,
    Address(address): Address,
    headers: HeaderMap,
    Body(body): Body<Open>,
) -> Result<Response, Problem> {
    let cookie = pages.site.find_cookie(Jar::Citizen, &headers);
    let opened = match LinkToken::parse(&body.token) {
        Ok(token) => pages.desk.open(&token, cookie.as_ref()).await,
        Err(_) => Err(Refusal::LinkUnknown.into()),
    };
    if let Err(DeskError::Refused(Refusal::LinkUnknown)) = opened {
        let guesses = &pages.login.link_guesses;
        guesses.take(address, pages.now_ms())?;
    }
    let opened = opened?;
    let view = Json(pages.view(&opened.visitor)?);
    Ok(match opened.secret {
        Some(secret) => {
            let cookie = pages.site.set_cookie(Jar::Citizen, &secret);
            ([(SET_COOKIE, cookie)], view).into_response()
        }
        None => view.into_response(),
    })
}

async fn me(State(pages): State<Pages>, Visit(cookie): Visit) -> Result<Json<View>, Problem> {
    Ok(Json(pages.view(&pages.desk.visitor(&cookie).await?)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Agree {
    hash: Digest,
    agreed: bool,
}

async fn agree(
    State(pages): State<Pages>,
    Visit(cookie): Visit,
    Body(body): Body<Agree>,
) -> Result<Json<View>, Problem> {
    if !body.agreed {
        return Err(Problem::invalid("without agreement nothing is noted"));
    }
    let visitor = pages.desk.agree(&cookie, body.hash).await?;
    Ok(Json(pages.view(&visitor)?))
}

async fn devices(
    State(pages): State<Pages>,
    Visit(cookie): Visit,
    Body(body): Body<Devices>,
) -> Result<Json<View>, Problem> {
    let visitor = pages.desk.check_devices(&cookie, body).await?;
    Ok(Json(pages.view(&visitor)?))
}

async fn needs(
    State(pages): State<Pages>,
    Visit(cookie): Visit,
    Body(body): Body<Needs>,
) -> Result<Json<View>, Problem> {
    let visitor = pages.desk.say_needs(&cookie, body).await?;
    Ok(Json(pages.view(&visitor)?))
}

async fn wait(State(pages): State<Pages>, Visit(cookie): Visit) -> Result<Json<View>, Problem> {
    Ok(Json(pages.view(&pages.desk.wait(&cookie).await?)?))
}

async fn leave(State(pages): State<Pages>, Visit(cookie): Visit) -> Result<Json<View>, Problem> {
    Ok(Json(pages.view(&pages.desk.leave(&cookie).await?)?))
}

async fn seat(
    State(pages): State<Pages>,
    Visit(cookie): Visit,
) -> Result<Json<SeatToken>, Problem> {
    Ok(Json(pages.desk.sit(&cookie).await?))
}

async fn socket(
    State(pages): State<Pages>,
    Visit(cookie): Visit,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    pages.desk.standing(&cookie).await?;
    let Some(place) = pages.sockets.place(cookie.digest()) else {
        return Err(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-sockets",
            "this browser has too many of these open",
        ));
    };
    Ok(upgrade
        .max_message_size(super::sockets::MAX_MESSAGE)
        .on_upgrade(move |socket| async move {
            super::sockets::citizen(socket, pages, cookie).await;
            drop(place);
        }))
}
