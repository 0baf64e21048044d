//! Administration over the admin listener: JSON, errors as RFC 9457 has them. Documented in `docs/administration.md`.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use schalter_metrics::{AdminAuth, problem, require_token};
use schalter_signaling::Signaling;
use schalter_signaling::administration::{
    NotFound, ParticipantSummary, RemovalError, RevokeError, RoomSummary, TokensToWithdraw,
};
use serde::{Deserialize, Serialize};

use crate::desk::{Receivers, receivers_router};
use crate::reload::Reloader;

/// The routes below `/v1`, for bearers of the token.
pub(crate) fn router(
    signaling: Signaling,
    reloader: Arc<Reloader>,
    receivers: Receivers,
    auth: AdminAuth,
) -> Router {
    let reload = Router::new()
        .route("/v1/reload", post(reload))
        .with_state(reloader);
    let routes = Router::new()
        .route("/v1/rooms", get(list_rooms))
        .route("/v1/rooms/{room}", get(show_room).delete(end_room))
        .route(
            "/v1/rooms/{room}/participants/{participant}",
            delete(remove_participant),
        )
        .route(
            "/v1/drain",
            get(show_drain).put(begin_drain).delete(end_drain),
        )
        .merge(reload)
        .with_state(signaling)
        .merge(receivers_router(receivers));
    require_token(routes, auth)
}

#[derive(Serialize)]
struct RoomList {
    rooms: Vec<RoomEntry>,
}

#[derive(Serialize)]
struct RoomEntry {
    sid: String,
    authority: String,
    name: String,
    participants: usize,
    since: String,
}

#[derive(Serialize)]
struct RoomDetail {
    #[serde(flatten)]
    room: RoomEntry,
    members: Vec<MemberEntry>,
}

#[derive(Serialize)]
struct MemberEntry {
    sid: String,
    identity: String,
    since: String,
    active: bool,
    tracks: usize,
}

#[derive(Serialize)]
struct Drain {
    draining: bool,
}

impl From<&RoomSummary> for RoomEntry {
    fn from(room: &RoomSummary) -> Self {
        Self {
            sid: room.sid.to_string(),
            authority: room.authority.to_string(),
            name: room.name.to_string(),
            participants: room.participants.len(),
            since: rfc3339(room.since_ms),
        }
    }
}

impl From<&ParticipantSummary> for MemberEntry {
    fn from(participant: &ParticipantSummary) -> Self {
        Self {
            sid: participant.sid.to_string(),
            identity: participant.identity.to_string(),
            since: rfc3339(participant.since_ms),
            active: participant.active,
            tracks: participant.tracks,
        }
    }
}

async fn list_rooms(State(signaling): State<Signaling>) -> Response {
    let mut rooms = signaling.rooms().await;
    rooms.sort_by(|a, b| (a.since_ms, &a.sid).cmp(&(b.since_ms, &b.sid)));
    json(&RoomList {
        rooms: rooms.iter().map(RoomEntry::from).collect(),
    })
}

/// Parts of a path; they can't be read if they are no UTF-8.
type Ids<T> = Result<Path<T>, PathRejection>;

async fn show_room(State(signaling): State<Signaling>, sid: Ids<String>) -> Response {
    let Ok(Path(sid)) = sid else {
        return unreadable();
    };
    let rooms = signaling.rooms().await;
    let Some(room) = rooms.iter().find(|room| *room.sid == *sid) else {
        return not_found(NotFound::Room);
    };
    json(&RoomDetail {
        room: room.into(),
        members: room.participants.iter().map(MemberEntry::from).collect(),
    })
}

async fn end_room(State(signaling): State<Signaling>, sid: Ids<String>) -> Response {
    let Ok(Path(sid)) = sid else {
        return unreadable();
    };
    done(signaling.end_room(&sid).await)
}

/// What a removal takes back, as the query says it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Removal {
    revoke: Option<Revoke>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Revoke {
    Identity,
    Token,
}

async fn remove_participant(
    State(signaling): State<Signaling>,
    ids: Ids<(String, String)>,
    query: Result<Query<Removal>, QueryRejection>,
) -> Response {
    let Ok(Path((room, participant))) = ids else {
        return unreadable();
    };
    let Ok(Query(removal)) = query else {
        let detail = "the query may have revoke=identity or revoke=token";
        return problem(StatusCode::BAD_REQUEST, detail);
    };
    let tokens = match removal.revoke {
        None => TokensToWithdraw::None,
        Some(Revoke::Identity) => TokensToWithdraw::OfIdentity,
        Some(Revoke::Token) => TokensToWithdraw::Own,
    };
    match signaling
        .remove_participant(&room, &participant, tokens)
        .await
    {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(RemovalError::NotFound(what)) => not_found(what),
        Err(RemovalError::NoJti) => problem(
            StatusCode::CONFLICT,
            "the participant's token has no jti; nobody was removed; take revoke=identity",
        ),
        Err(RemovalError::Withdrawing(error)) => {
            let (status, detail) = match error {
                RevokeError::Full => (
                    StatusCode::INSUFFICIENT_STORAGE,
                    "the participant is removed, but its tokens stay good: limits.revocations is reached",
                ),
                RevokeError::NotKept => (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the participant is removed, but its tokens are withdrawn only until the server restarts: the disk refuses",
                ),
            };
            problem(status, detail)
        }
    }
}

async fn show_drain(State(signaling): State<Signaling>) -> Response {
    json(&Drain {
        draining: signaling.is_draining(),
    })
}

async fn begin_drain(State(signaling): State<Signaling>) -> StatusCode {
    if !signaling.is_draining() {
        tracing::info!("draining: no new rooms");
    }
    signaling.set_draining(true);
    StatusCode::NO_CONTENT
}

async fn end_drain(State(signaling): State<Signaling>) -> StatusCode {
    if signaling.is_draining() {
        tracing::info!("no longer draining");
    }
    signaling.set_draining(false);
    StatusCode::NO_CONTENT
}

async fn reload(State(reloader): State<Arc<Reloader>>) -> Response {
    match tokio::task::spawn_blocking(move || reloader.reload()).await {
        Ok(Ok(reloaded)) => json(&reloaded),
        Ok(Err(error)) => problem(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the reload did not end"),
    }
}

fn done(result: Result<(), NotFound>) -> Response {
    match result {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => not_found(error),
    }
}

fn unreadable() -> Response {
    problem(StatusCode::BAD_REQUEST, "the path is no UTF-8")
}

fn not_found(what: NotFound) -> Response {
    let detail = match what {
        NotFound::Room => "no room has this id",
        NotFound::Participant => "nobody in the room has this id",
    };
    problem(StatusCode::NOT_FOUND, detail)
}

fn json(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(mut text) => {
            text.push('\n');
            ([(header::CONTENT_TYPE, "application/json")], text).into_response()
        }
        // Strings and numbers can always be written; should that change, nobody must take it for an empty answer.
        Err(_) => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the answer can't be written",
        ),
    }
}

/// A time in UTC, to the second.
fn rfc3339(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days from civil, backwards: years that begin in March, in eras of 400 years (Hinnant).
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn times_are_utc_and_leap_days_are_known() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (1_795_910_400, "2026-11-29T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds * 1_000 + 999), text);
        }
    }
}
