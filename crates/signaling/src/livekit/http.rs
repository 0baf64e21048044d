//! The paths clients join through. A join that fails stays HTTP: the upgrade is answered once the room let it in.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use livekit_protocol::{DisconnectReason, leave_request, signal_response};
use tokio::sync::oneshot;

use super::codec::Encoded;
use super::join::{JoinQuery, read_join_request};
use super::ws::{self, Session};
use crate::error::JoinRefusal;
use crate::registry::Registry;
use crate::room::{ConnectionMode, JoinParams, Resume, RoomKey};
use crate::room_task::{Outgoing, RoomMessage, WriterQueue, writer_queue};
use crate::stats::JoinStage;
use crate::token::TokenError;

/// How often a join is tried when the room it found ends meanwhile.
pub(crate) const JOIN_ATTEMPTS: usize = 3;

/// `/rtc` and `/rtc/v1` with their `validate`.
pub(crate) fn router(registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/rtc", get(dual))
        .route("/rtc/v1", get(single))
        .route("/rtc/validate", get(validate_dual).options(preflight))
        .route("/rtc/v1/validate", get(validate_single).options(preflight))
        .with_state(registry)
}

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;
type Parameters = Result<Query<JoinQuery>, QueryRejection>;

async fn dual(
    State(registry): State<Arc<Registry>>,
    headers: HeaderMap,
    query: Parameters,
    upgrade: Upgrade,
) -> Response {
    connect(&registry, ConnectionMode::Dual, &headers, query, upgrade).await
}

async fn single(
    State(registry): State<Arc<Registry>>,
    headers: HeaderMap,
    query: Parameters,
    upgrade: Upgrade,
) -> Response {
    connect(&registry, ConnectionMode::Single, &headers, query, upgrade).await
}

async fn validate_dual(
    State(registry): State<Arc<Registry>>,
    headers: HeaderMap,
    query: Parameters,
) -> Response {
    validate(&registry, ConnectionMode::Dual, &headers, query).await
}

async fn validate_single(
    State(registry): State<Arc<Registry>>,
    headers: HeaderMap,
    query: Parameters,
) -> Response {
    validate(&registry, ConnectionMode::Single, &headers, query).await
}

/// Browsers read the answer of `validate` only with this, whatever page asks.
pub(crate) const ANY_ORIGIN: (header::HeaderName, HeaderValue) = (
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    HeaderValue::from_static("*"),
);

async fn preflight() -> Response {
    let headers = [
        ANY_ORIGIN,
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("authorization"),
        ),
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET"),
        ),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

impl IntoResponse for JoinRefusal {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, self.to_string()).into_response()
    }
}

async fn validate(
    registry: &Arc<Registry>,
    mode: ConnectionMode,
    headers: &HeaderMap,
    query: Parameters,
) -> Response {
    let answer = async {
        let (key, params) = prepare(registry, mode, headers, query)?;
        if params.resume.is_some() {
            return Ok(());
        }
        let Some(room) = registry.room(&key) else {
            if !registry.config.makes_rooms(&key.authority) {
                return Err(JoinRefusal::NoSuchRoom);
            }
            return registry.has_place_for(&key.authority);
        };
        let (reply, answer) = oneshot::channel();
        let ask = RoomMessage::Admits {
            identity: params.grants.identity.clone(),
            reply,
        };
        // A room that ended meanwhile will be made again.
        if room.control.send(ask).await.is_ok() && answer.await == Ok(false) {
            return Err(JoinRefusal::RoomFull);
        }
        Ok(())
    };
    match answer.await {
        Ok(()) => ([ANY_ORIGIN], "success").into_response(),
        Err(refusal) => ([ANY_ORIGIN], refusal).into_response(),
    }
}

async fn connect(
    registry: &Arc<Registry>,
    mode: ConnectionMode,
    headers: &HeaderMap,
    query: Parameters,
    upgrade: Upgrade,
) -> Response {
    let Ok(upgrade) = upgrade else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let admitted = match prepare(registry, mode, headers, query) {
        Ok((key, params)) => admit(registry, &key, params).await,
        Err(refusal) => Err(refusal),
    };
    let (session, queue) = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => {
            registry.counters.join_failed(refusal.stage());
            return refusal.into_response();
        }
    };
    let registry = Arc::clone(registry);
    let limit = registry.config.limits.message_bytes;
    upgrade
        // The library's own buffer of 128 KiB would be most of what a quiet participant costs; frames here are small.
        .read_buffer_size(8 << 10)
        .max_message_size(limit)
        .max_frame_size(limit)
        .on_upgrade(move |socket| ws::run(socket, session, queue, registry))
}

/// Reads and checks everything that needs no room.
fn prepare(
    registry: &Registry,
    mode: ConnectionMode,
    headers: &HeaderMap,
    query: Parameters,
) -> Result<(RoomKey, JoinParams), JoinRefusal> {
    if !origin_allowed(&registry.config.allowed_origins, headers) {
        return Err(JoinRefusal::Origin);
    }
    let Ok(Query(query)) = query else {
        return Err(JoinRefusal::JoinRequest("the query can't be read"));
    };
    let token = bearer(headers).unwrap_or(&query.access_token);
    let grants = registry.verify(token)?;
    // What the request lacks is told before what the token lacks in names, as 400 both.
    if let Err(error) = grants.require_join()
        && error.status() != 400
    {
        return Err(error.into());
    }
    let limits = &registry.config.limits;
    let request = match mode {
        ConnectionMode::Dual => query.join_request(limits.attributes_bytes)?,
        ConnectionMode::Single | ConnectionMode::Http => {
            read_join_request(&query.join_request, limits.join_request_bytes)?
        }
    };
    let room = grants.require_join()?.room.clone();
    if room.len() > limits.name_bytes {
        return Err(TokenError::RoomTooLong.into());
    }
    if grants.identity.len() > limits.name_bytes {
        return Err(TokenError::IdentityTooLong.into());
    }
    if request.metadata.len() > limits.metadata_bytes {
        return Err(TokenError::MetadataTooLong.into());
    }
    let attributes = &request.participant_attributes;
    if attributes
        .iter()
        .map(|(k, v)| k.len() + v.len())
        .sum::<usize>()
        > limits.attributes_bytes
    {
        return Err(JoinRefusal::Attributes);
    }
    let key = RoomKey {
        authority: grants.authority.clone(),
        name: room.into(),
    };
    let settings = request.connection_settings.unwrap_or_default();
    let params = JoinParams {
        grants: Arc::new(grants),
        client: request.client_info.unwrap_or_default(),
        mode,
        auto_subscribe: settings.auto_subscribe,
        auto_subscribe_data_tracks: settings.auto_subscribe_data_track.unwrap_or(false),
        metadata: request.metadata,
        attributes: request.participant_attributes,
        offer: request.publisher_offer,
        add_tracks: request.add_track_requests,
        resume: request.reconnect.then_some(Resume {
            participant_sid: request.participant_sid,
            sync_state: request.sync_state,
        }),
        shard: registry.quietest_shard(),
    };
    Ok((key, params))
}

/// The token that comes as `Authorization` (RFC 6750 §2.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?;
    value.to_str().ok()?.strip_prefix("Bearer ")
}

pub(crate) fn origin_allowed(allowed: &[String], headers: &HeaderMap) -> bool {
    // Clients outside of browsers send no origin; nothing is gained by refusing them, they could send any.
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    allowed.is_empty()
        || allowed
            .iter()
            .any(|a| a.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
}

/// Brings a client into its room.
async fn admit(
    registry: &Arc<Registry>,
    key: &RoomKey,
    params: JoinParams,
) -> Result<(Option<Session>, WriterQueue), JoinRefusal> {
    for _ in 0..JOIN_ATTEMPTS {
        let room = if params.resume.is_some() {
            registry.room(key)
        } else if registry.config.makes_rooms(&key.authority) {
            Some(registry.room_or_new(key, params.grants.room_config.clone())?)
        } else {
            Some(registry.room(key).ok_or(JoinRefusal::NoSuchRoom)?)
        };
        let (writer, queue) = writer_queue(registry.config.limits.send_queue);
        let Some(room) = room else {
            registry.counters.join_failed(JoinStage::Resume);
            return Ok((None, session_unknown(queue)));
        };
        let connection = registry.ids.connection();
        let (reply, answer) = oneshot::channel();
        let join = RoomMessage::Join {
            connection,
            params: Box::new(params.clone()),
            writer,
            reply,
        };
        // From here on a client that goes away is reported to the room.
        let session = Session::new(room.control.clone(), connection);
        if room.control.send(join).await.is_err() {
            continue;
        }
        match answer.await {
            Ok(Ok(())) => return Ok((Some(session), queue)),
            Ok(Err(refusal)) => return Err(refusal),
            Err(_) => {}
        }
    }
    Err(JoinRefusal::Unavailable)
}

/// Tells a client that wants to continue a session of a room that is gone to begin a new one.
fn session_unknown(mut queue: WriterQueue) -> WriterQueue {
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    let leave = crate::room::leave(
        DisconnectReason::StateMismatch,
        leave_request::Action::Reconnect,
    );
    let message = Encoded::new(signal_response::Message::Leave(leave));
    // Two messages fit into a queue of two.
    let _ = sender.try_send(Outgoing::Message(Arc::new(message)));
    let _ = sender.try_send(Outgoing::Close);
    queue.queue = receiver;
    queue
}
