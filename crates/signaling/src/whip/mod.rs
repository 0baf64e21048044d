//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): publishing and playing with nothing but HTTP beside the media.
//!
//! Owns paths, methods, headers, tokens, content types and what errors look like. What an offer must be is `offer`'s; what
//! a session is, the room's. Refuses tokens in URLs, which would stand in the logs of every proxy.

mod exchange;
mod offer;
mod problem;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use schalter_model::ShardId;

use crate::body::content_type_is;
use crate::config::IceServer;
use crate::error::JoinRefusal;
use crate::livekit::http::{ANY_ORIGIN, JOIN_ATTEMPTS, bearer, origin_allowed};
use crate::registry::Registry;
use crate::room::{
    HttpJoin, HttpRole, HttpSessionBegun, IceChange, Room, RoomKey, SessionCaller, SessionRefusal,
};
use crate::sdp::IceFragment;
use crate::stats::HttpProtocol;
use crate::token::{Grants, TokenError};
use exchange::{player_of, precondition, read_text};
use problem::Problem;

/// What endpoints take (RFC 8866).
const SDP: &str = "application/sdp";
/// What sessions take (RFC 8840 §9).
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
/// Between a room's id and a session's secret in the URL.
const ID_SEPARATOR: char = '.';
/// What endpoints answer to.
const ENDPOINT_METHODS: &str = "GET, HEAD, OPTIONS, POST";
/// What sessions answer to.
const SESSION_METHODS: &str = "DELETE, GET, HEAD, OPTIONS, PATCH";
/// How long whoever met a full or draining server should wait, in seconds.
const RETRY_AFTER: &str = "5";

const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// `/whip/v1` and `/whep/v1`, and the sessions below them.
pub(crate) fn router(registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/whip/v1", any(whip))
        .route("/whip/v1/{session}", any(whip_session))
        .route("/whep/v1", any(whep))
        .route("/whep/v1/{session}", any(whep_session))
        .with_state(registry)
}

async fn whip(State(registry): State<Arc<Registry>>, request: Request<Body>) -> Response {
    let endpoint = Endpoint::new(registry, HttpProtocol::Whip);
    endpoint.answer(endpoint.on_endpoint(request).await)
}

async fn whep(State(registry): State<Arc<Registry>>, request: Request<Body>) -> Response {
    let endpoint = Endpoint::new(registry, HttpProtocol::Whep);
    endpoint.answer(endpoint.on_endpoint(request).await)
}

async fn whip_session(
    State(registry): State<Arc<Registry>>,
    Path(session): Path<String>,
    request: Request<Body>,
) -> Response {
    let endpoint = Endpoint::new(registry, HttpProtocol::Whip);
    endpoint.answer(endpoint.on_session(&session, request).await)
}

async fn whep_session(
    State(registry): State<Arc<Registry>>,
    Path(session): Path<String>,
    request: Request<Body>,
) -> Response {
    let endpoint = Endpoint::new(registry, HttpProtocol::Whep);
    endpoint.answer(endpoint.on_session(&session, request).await)
}

/// One protocol's paths on this server.
struct Endpoint {
    registry: Arc<Registry>,
    protocol: HttpProtocol,
}

impl Endpoint {
    fn new(registry: Arc<Registry>, protocol: HttpProtocol) -> Self {
        Self { registry, protocol }
    }

    /// Adds what every answer has, so that pages of any origin can read it.
    fn answer(&self, answered: Result<Response, Problem>) -> Response {
        let response = match answered {
            Ok(response) => response,
            Err(problem) => {
                self.registry.counters.http_refused(self.protocol);
                problem.into_response()
            }
        };
        let exposed = "Accept-Patch, Accept-Post, Access-Control-Allow-Methods, Allow, ETag, Link, Location, Retry-After";
        let headers = [
            ANY_ORIGIN,
            (
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static(exposed),
            ),
        ];
        (headers, response).into_response()
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Problem> {
        if origin_allowed(&self.registry.config.allowed_origins, headers) {
            return Ok(());
        }
        Err(JoinRefusal::Origin.into())
    }

    async fn on_endpoint(&self, request: Request<Body>) -> Result<Response, Problem> {
        self.check_origin(request.headers())?;
        match *request.method() {
            Method::POST => {
                let begun = self.begin(request).await;
                if let Err(problem) = &begun
                    && let Some(stage) = problem.stage
                {
                    self.registry.counters.join_failed(stage);
                }
                begun
            }
            Method::OPTIONS => Ok(self.endpoint_options(request.headers())),
            // Nothing to be had, but no error (RFC 9725 §4.1); players find out by it what this is.
            Method::GET | Method::HEAD => {
                let headers = [(header::CONTENT_TYPE, SDP), (ACCEPT_POST, SDP)];
                Ok((headers, Body::empty()).into_response())
            }
            _ => Err(Problem::method(ENDPOINT_METHODS)),
        }
    }

    fn verified(&self, headers: &HeaderMap) -> Result<Grants, TokenError> {
        self.registry.verify(bearer(headers).unwrap_or_default())
    }

    async fn begin(&self, request: Request<Body>) -> Result<Response, Problem> {
        let (head, body) = request.into_parts();
        let grants = self.verified(&head.headers)?;
        let video = grants.require_join()?;
        let limits = &self.registry.config.limits;
        if video.room.len() > limits.name_bytes {
            return Err(TokenError::RoomTooLong.into());
        }
        if grants.identity.len() > limits.name_bytes {
            return Err(TokenError::IdentityTooLong.into());
        }
        let role = match self.protocol {
            HttpProtocol::Whip if !video.can_publish => {
                return Err(Problem::forbidden("the token does not allow to publish"));
            }
            HttpProtocol::Whep if !video.can_subscribe => {
                return Err(Problem::forbidden("the token does not allow to subscribe"));
            }
            HttpProtocol::Whip => HttpRole::Publisher,
            HttpProtocol::Whep => HttpRole::Player {
                participant: player_of(&head.uri, limits.name_bytes)?,
            },
        };
        if !content_type_is(&head.headers, SDP) {
            return Err(Problem::media_type(SDP).with(ACCEPT_POST, SDP));
        }
        let text = read_text(&head.headers, body, limits.sdp_bytes).await?;
        let codecs = self.registry.config.codecs.iter().copied().collect();
        let offer = match self.protocol {
            HttpProtocol::Whip => offer::to_publish(&text, limits.sdp_bytes, codecs, video)?,
            HttpProtocol::Whep => offer::to_play(&text, limits.sdp_bytes, codecs)?,
        };
        let key = RoomKey {
            authority: grants.authority.clone(),
            name: video.room.as_str().into(),
        };
        let join = HttpJoin {
            signature: signature(&head.headers).into(),
            grants: Arc::new(grants),
            role,
            offer,
            shard: self.registry.quietest_shard(),
        };
        let shard = join.shard;
        let (room, begun) = self.join(&key, join).await?;
        Ok(self.created(&room, begun, shard))
    }

    /// Brings a client into its room, which is made if it isn't there.
    async fn join(
        &self,
        key: &RoomKey,
        join: HttpJoin,
    ) -> Result<(Arc<str>, HttpSessionBegun), JoinRefusal> {
        for _ in 0..JOIN_ATTEMPTS {
            let room = if self.registry.config.makes_rooms(&key.authority) {
                let room_config = join.grants.room_config.clone();
                self.registry.room_or_new(key, room_config)?
            } else {
                self.registry.room(key).ok_or(JoinRefusal::NoSuchRoom)?
            };
            let join = join.clone();
            let registry = Arc::clone(&self.registry);
            let begin = move |room: &mut Room| {
                // Its token may have been withdrawn since it was checked; who withdraws it removes afterwards.
                registry.revoker.check(&join.grants)?;
                room.begin_http_session(join)
            };
            // One that ends just now is made anew.
            if let Some(begun) = room.ask(begin).await {
                return begun.map(|begun| (Arc::clone(&room.sid), begun));
            }
        }
        Err(JoinRefusal::Unavailable)
    }

    fn created(&self, room: &str, begun: HttpSessionBegun, shard: ShardId) -> Response {
        let HttpSessionBegun {
            secret,
            answer,
            etag,
        } = begun;
        let location = format!("/{}/v1/{room}{ID_SEPARATOR}{secret}", self.protocol.label());
        let headers = [
            (header::CONTENT_TYPE, SDP.to_owned()),
            (header::LOCATION, location),
            (header::ETAG, etag),
            (ACCEPT_PATCH, FRAGMENT.to_owned()),
            // The answer holds credentials of one session.
            (header::CACHE_CONTROL, "no-store".to_owned()),
        ];
        let mut response = (StatusCode::CREATED, headers, answer).into_response();
        let servers = self.registry.ice_servers(Some(shard));
        link_ice_servers(&servers, response.headers_mut());
        response
    }

    /// Preflights, and what clients that need ICE servers before they offer may have (RFC 9725 §4.6).
    fn endpoint_options(&self, headers: &HeaderMap) -> Response {
        let mut response = options(ENDPOINT_METHODS, ACCEPT_POST, SDP);
        let is_preflight = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let may_join = || {
            let grants = self.verified(headers);
            grants.is_ok_and(|grants| grants.require_join().is_ok())
        };
        if !is_preflight && may_join() {
            // Which shard the session will be on is not known yet.
            let servers = self.registry.ice_servers(None);
            link_ice_servers(&servers, response.headers_mut());
        }
        response
    }

    async fn on_session(&self, id: &str, request: Request<Body>) -> Result<Response, Problem> {
        self.check_origin(request.headers())?;
        match *request.method() {
            Method::OPTIONS => Ok(options(SESSION_METHODS, ACCEPT_PATCH, FRAGMENT)),
            Method::PATCH => self.patch(id, request).await,
            Method::DELETE => {
                let caller = self.caller(id, request.headers())?;
                self.of_session(id, move |room| room.end_http_session(&caller))
                    .await?;
                Ok(StatusCode::OK.into_response())
            }
            Method::GET | Method::HEAD => {
                let caller = self.caller(id, request.headers())?;
                self.of_session(id, move |room| room.find_http_session(&caller))
                    .await?;
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            _ => Err(Problem::method(SESSION_METHODS)),
        }
    }

    async fn patch(&self, id: &str, request: Request<Body>) -> Result<Response, Problem> {
        let (head, body) = request.into_parts();
        let caller = self.caller(id, &head.headers)?;
        let asked = caller.clone();
        self.of_session(id, move |room| room.find_http_session(&asked))
            .await?;
        if !content_type_is(&head.headers, FRAGMENT) {
            return Err(Problem::media_type(FRAGMENT).with(ACCEPT_PATCH, FRAGMENT));
        }
        let precondition = precondition(&head.headers)?;
        let limit = self.registry.config.limits.sdp_bytes;
        let text = read_text(&head.headers, body, limit).await?;
        let fragment = IceFragment::parse(&text, &offer::limits(limit))?;
        let change = self
            .of_session(id, move |room| {
                room.change_ice(&caller, precondition.as_ref(), &fragment)
            })
            .await?;
        match change {
            IceChange::Trickled => Ok(StatusCode::NO_CONTENT.into_response()),
            IceChange::Restarted { fragment, etag } => {
                self.registry.counters.http_restarted(self.protocol);
                let headers = [
                    (header::CONTENT_TYPE, FRAGMENT.to_owned()),
                    (header::ETAG, etag),
                    (header::CACHE_CONTROL, "no-store".to_owned()),
                ];
                Ok((headers, fragment).into_response())
            }
        }
    }

    /// Who asks for a session. Whether it may is the room's to say; without any token nothing is looked for.
    fn caller(&self, id: &str, headers: &HeaderMap) -> Result<SessionCaller, Problem> {
        if bearer(headers).is_none() {
            return Err(TokenError::Missing.into());
        }
        let (_, secret) = id.split_once(ID_SEPARATOR).unwrap_or_default();
        let grants = self.verified(headers).ok();
        Ok(SessionCaller {
            secret: secret.to_owned(),
            protocol: self.protocol,
            signature: signature(headers).to_owned(),
            grants: grants
                .filter(|grants| grants.require_join().is_ok())
                .map(Box::new),
        })
    }

    /// Has the room of a session do something with it.
    async fn of_session<T: Send + 'static>(
        &self,
        id: &str,
        call: impl FnOnce(&mut Room) -> Result<T, SessionRefusal> + Send + 'static,
    ) -> Result<T, Problem> {
        let (sid, _) = id.split_once(ID_SEPARATOR).unwrap_or_default();
        let Ok(room) = self.registry.room_by_sid(sid) else {
            return Err(SessionRefusal::NoSession.into());
        };
        let answer = room.ask(call).await;
        Ok(answer.unwrap_or(Err(SessionRefusal::NoSession))?)
    }
}

/// The token's signature, which stands for the token: nobody has the one without the other.
fn signature(headers: &HeaderMap) -> &str {
    let token = bearer(headers).unwrap_or_default();
    token
        .rsplit_once('.')
        .map_or("", |(_, signature)| signature)
}

fn options(methods: &'static str, accept: HeaderName, media_type: &'static str) -> Response {
    let headers = [
        (header::ALLOW, methods),
        // Of the session, too: browsers keep the answer for the endpoint alone, and some clients ask there once.
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            "DELETE, GET, HEAD, OPTIONS, PATCH, POST",
        ),
        (
            // Some clients send their entity-tag under its own name.
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, etag, if-match, link",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "7200"),
        (accept, media_type),
    ];
    (headers, Body::empty()).into_response()
}

/// `Link` headers with `rel="ice-server"` (RFC 9725 §4.6).
fn link_ice_servers(servers: &[IceServer], headers: &mut HeaderMap) {
    for server in servers {
        for url in &server.urls {
            let mut link = format!("<{url}>; rel=\"ice-server\"");
            if !server.username.is_empty() {
                link += &format!(
                    "; username=\"{}\"; credential=\"{}\"; credential-type=\"password\"",
                    quoted(&server.username),
                    quoted(&server.credential)
                );
            }
            if let Ok(value) = HeaderValue::from_str(&link) {
                headers.append(header::LINK, value);
            }
        }
    }
}

/// The inside of a quoted string (RFC 9110 §5.6.4).
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
