//! Coming and going: joins, the join response, sessions that become active, leaves and removals.

use std::sync::Arc;
use std::time::Duration;

use livekit_protocol::{
    ClientInfo, Codec, DisconnectReason, JoinResponse, LeaveRequest, ParticipantInfo, ServerInfo,
    client_info::Sdk, leave_request::Action, signal_response::Message,
};
use rand::RngExt;
use schalter_model::{ShardId, Time, TransportId};
use schalter_shard::control::{TransportFailure, TransportState};

use super::participant::{Participant, ParticipantKey, Phase};
use super::transport::TransportRole;
use super::{ConnectionMode, JoinParams, Output, Room, Timer};
use crate::error::JoinRefusal;
use crate::ids::{self, ConnectionId};
use crate::stats::JoinStage;

/// The version whose behaviour clients may expect: they compare it, so it follows the protocol, not this project.
const SERVER_VERSION: &str = "1.11.0";

/// The protocol version that belongs to it.
const PROTOCOL: i32 = 17;

/// How long a client whose media closed properly may take to say goodbye on its WebSocket.
const CLOSED_GRACE: Duration = Duration::from_secs(5);

/// Interval and silence for clients that are no browsers, at least. Those built on LiveKit's Rust SDK go on counting the silence of a
/// connection that was cut while they resume by another, and begin a new session when the resume takes longer.
const PATIENT_PINGS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(15));

/// A `leave` that clients of any age understand.
pub(crate) fn leave(reason: DisconnectReason, action: Action) -> LeaveRequest {
    LeaveRequest {
        // What clients before protocol 13 read in place of the action.
        can_reconnect: action != Action::Disconnect,
        reason: reason as i32,
        action: action as i32,
        regions: None,
    }
}

impl Room {
    pub(super) fn on_join(&mut self, connection: ConnectionId, params: JoinParams) {
        if let Some(resume) = params.resume.clone() {
            self.on_resume(connection, &params, resume);
            return;
        }
        if params.grants.video.is_none() {
            let refusal = JoinRefusal::Token(crate::token::TokenError::NoVideoGrant);
            self.refuse(connection, refusal);
            return;
        }
        if !self.admits(&params.grants.identity) {
            self.refuse(connection, JoinRefusal::RoomFull);
            return;
        }
        // Nothing of an offer that can't be used must stay behind.
        let offer = match params.offer.as_ref().map(|offer| self.read_offer(offer)) {
            None => None,
            Some(Ok(offer)) => Some(offer),
            Some(Err(error)) => {
                tracing::debug!(room = %self.sid, line = error.line, "publisher offer refused");
                self.refuse(connection, JoinRefusal::Offer);
                return;
            }
        };
        if let Some(old) = self.by_identity.get(&*params.grants.identity).copied() {
            self.dismiss(old, DisconnectReason::DuplicateIdentity);
        }

        let key = self.seat(Some(connection), &params);
        self.outputs.push_back(Output::Accepted { connection });
        let response = self.join_response(key);
        self.send(key, Message::Join(response));
        match params.mode {
            ConnectionMode::Single => {
                self.refresh_token(key);
            }
            ConnectionMode::Dual => {
                self.open_subscriber(key);
                self.refresh_token(key);
            }
            // Joins by `begin_http_session`.
            ConnectionMode::Http => {}
        }
        for request in params.add_tracks {
            self.on_add_track(key, request);
        }
        if let Some((offer, id)) = offer {
            self.answer_offer(key, offer, id);
        }
    }

    fn refuse(&mut self, connection: ConnectionId, refusal: JoinRefusal) {
        self.outputs.push_back(Output::Refused {
            connection,
            refusal,
        });
    }

    /// Gives a newcomer its place. Whoever had its identity is gone already.
    pub(super) fn seat(
        &mut self,
        connection: Option<ConnectionId>,
        params: &JoinParams,
    ) -> ParticipantKey {
        let key = ParticipantKey(self.next_key);
        self.next_key += 1;
        self.empty_since = None;
        let participant = self.enter(connection, params);
        tracing::info!(room = %self.sid, participant = %participant.sid, mode = ?params.mode, "participant joins");
        self.by_identity
            .insert(Arc::clone(&participant.identity), key);
        self.by_sid.insert(Arc::clone(&participant.sid), key);
        if let Some(connection) = connection {
            self.by_connection.insert(connection, key);
        }
        self.participants.insert(key, participant);
        self.arm(self.now + self.config.join_timeout, Timer::Join(key));
        self.counters.joins.add(1);
        self.counters.participants.add(1);
        key
    }

    fn enter(&mut self, connection: Option<ConnectionId>, params: &JoinParams) -> Participant {
        let grants = &params.grants;
        let mut participant = Participant {
            sid: ids::sid("PA_", &mut self.rng),
            identity: grants.identity.as_str().into(),
            grants: Arc::clone(grants),
            video: grants
                .video
                .clone()
                .expect("a join without video grant was refused"),
            name: grants.name.clone(),
            metadata: grants.metadata.clone(),
            attributes: grants.attributes.clone(),
            client: super::participant::kept(&params.client),
            mode: params.mode,
            subscriber_primary: grants
                .video
                .as_ref()
                .is_some_and(|video| video.can_subscribe),
            auto_subscribe: params.auto_subscribe,
            auto_subscribe_data_tracks: params.auto_subscribe_data_tracks,
            phase: Phase::Joining,
            version: 0,
            joined_ms: self.unix_ms(),
            shard: params.shard,
            connection,
            forwarded: None,
            remove_at: None,
            refresh_at: Time::ZERO,
            transports: Default::default(),
            media_closed: false,
            subscriptions: Default::default(),
            choices: Default::default(),
            audience: None,
            published: Vec::new(),
            is_publisher: false,
            speaks: false,
            data: super::data::SenderState::new(&self.config.limits, self.now),
            replay_due: false,
            data_tracks: Vec::new(),
            data_subscriptions: Default::default(),
            connection_quality: Default::default(),
            http: None,
            simulation: Default::default(),
        };
        // What a client says of itself counts only if it may say so later, too.
        if participant.video.can_update_own_metadata {
            if !params.metadata.is_empty() {
                participant.metadata.clone_from(&params.metadata);
            }
            participant.attributes.extend(
                params
                    .attributes
                    .iter()
                    .map(|(k, v)| (k.clone(), v.clone())),
            );
        }
        participant
    }

    fn join_response(&mut self, key: ParticipantKey) -> JoinResponse {
        let ice_servers = self.ice_servers(self.participants[&key].shard);
        let participant = &self.participants[&key];
        let secs = |d: Duration| d.as_secs().clamp(1, i32::MAX as u64) as i32;
        let (ping_interval, ping_timeout) = self.pings_of(&participant.client);
        JoinResponse {
            room: Some(self.room_info()),
            participant: Some(self.info(participant)),
            other_participants: self.others(key),
            server_version: SERVER_VERSION.to_owned(),
            ice_servers,
            subscriber_primary: participant.primary_role() == TransportRole::Subscriber,
            server_region: self.config.region.clone(),
            ping_timeout: secs(ping_timeout),
            ping_interval: secs(ping_interval),
            server_info: Some(self.server_info()),
            sif_trailer: self.sif_trailer.clone(),
            enabled_publish_codecs: self
                .config
                .codecs
                .iter()
                .map(|codec| Codec {
                    mime: codec.mime().to_owned(),
                    ..Codec::default()
                })
                .collect(),
            fast_publish: participant.video.can_publish,
            ..JoinResponse::default()
        }
    }

    /// How often a client pings, and what silence it takes for the end of its connection.
    fn pings_of(&self, client: &ClientInfo) -> (Duration, Duration) {
        let (interval, timeout) = (self.config.ping_interval, self.config.ping_timeout);
        if client.sdk() == Sdk::Js {
            (interval, timeout)
        } else {
            (interval.max(PATIENT_PINGS.0), timeout.max(PATIENT_PINGS.1))
        }
    }

    pub(super) fn server_info(&self) -> ServerInfo {
        ServerInfo {
            version: SERVER_VERSION.to_owned(),
            protocol: PROTOCOL,
            region: self.config.region.clone(),
            node_id: self.node.sid.to_string(),
            ..ServerInfo::default()
        }
    }

    /// The configured ICE servers, and the shard's own with credentials that nobody else has.
    pub(super) fn ice_servers(&mut self, shard: ShardId) -> Vec<livekit_protocol::IceServer> {
        let random = self.rng.random();
        let seconds = self.unix_ms() / 1_000;
        let own = self.node.turn.as_ref();
        self.config
            .ice_servers
            .iter()
            .cloned()
            .chain(own.and_then(|turn| turn.of(shard, seconds, random)))
            .map(|server| livekit_protocol::IceServer {
                urls: server.urls,
                username: server.username,
                credential: server.credential,
            })
            .collect()
    }

    /// Sends a fresh token now and again after the interval.
    pub(super) fn refresh_token(&mut self, key: ParticipantKey) {
        let at = self.now + self.config.token_refresh_interval;
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        participant.refresh_at = at;
        if let Some(connection) = participant.connection {
            let grants = Arc::clone(&participant.grants);
            self.outputs
                .push_back(Output::RefreshToken { connection, grants });
        }
        self.arm(at, Timer::Refresh(key));
    }

    /// Sends everybody a fresh token. Who is forwarded here has one of its own room.
    pub fn refresh_tokens(&mut self) {
        let here = self.participants.iter();
        let here = here.filter(|(_, participant)| participant.forwarded.is_none());
        let keys: Vec<_> = here.map(|(key, _)| *key).collect();
        for key in keys {
            self.refresh_token(key);
        }
    }

    pub(super) fn on_refresh_timer(&mut self, key: ParticipantKey, at: Time) {
        // Another refresh may have come between.
        if self
            .participants
            .get(&key)
            .is_some_and(|p| p.refresh_at == at)
        {
            self.refresh_token(key);
        }
    }

    /// A session that never came so far that a transport could fail, e.g. without an offer, ends all the same.
    pub(super) fn on_join_timer(&mut self, key: ParticipantKey) {
        if self.participants.get(&key).is_some_and(|p| !p.is_active()) {
            self.counters.join_failed(JoinStage::Media);
            self.lose_media(key, DisconnectReason::JoinFailure);
        }
    }

    pub(super) fn on_transport_state(&mut self, transport: TransportId, state: TransportState) {
        let Some((key, role)) = self.by_transport.get(&transport).copied() else {
            return;
        };
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        tracing::debug!(room = %self.sid, participant = %participant.sid, ?role, ?state, "transport");
        match state {
            TransportState::Connected { .. } => {
                if role == participant.primary_role() {
                    self.activate(key);
                }
            }
            TransportState::Disconnected => self.on_silence(key, role, true),
            TransportState::Reconnected => self.on_silence(key, role, false),
            TransportState::Connecting => {}
            TransportState::Failed { reason } => {
                if !participant.is_active() {
                    self.counters.join_failed(JoinStage::Media);
                }
                match reason {
                    TransportFailure::NeverConnected
                    | TransportFailure::Dtls
                    | TransportFailure::FingerprintMismatch => {
                        self.lose_media(key, DisconnectReason::JoinFailure);
                    }
                    // Trying again can't help, and the page has something to say about it.
                    TransportFailure::NoSrtpProfile => {
                        self.dismiss(key, DisconnectReason::MediaFailure);
                    }
                    TransportFailure::ConsentLost => {
                        self.lose_media(key, DisconnectReason::ConnectionTimeout);
                    }
                }
            }
            TransportState::Closed if participant.http.is_some() => self.on_media_closed(key),
            TransportState::Closed => {
                // Clients close their media and say goodbye on the WebSocket; the order is open.
                let at = self.now + CLOSED_GRACE;
                participant.media_closed = true;
                participant.remove_at = Some((at, DisconnectReason::ClientInitiated));
                self.arm(at, Timer::Remove(key));
            }
        }
    }

    fn activate(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        if participant.is_active() {
            return;
        }
        participant.phase = Phase::Active;
        self.counters.joins_connected.add(1);
        self.start_connections();
        self.announce(key);
        self.report_joined(key);
        self.subscribe_to_all(key);
        self.subscribe_to_data_tracks(key);
    }

    /// A transport is gone for good: the client must begin a new session, if it is still there.
    pub(super) fn lose_media(&mut self, key: ParticipantKey, reason: DisconnectReason) {
        self.part(key, leave(reason, Action::Reconnect), reason);
    }

    /// Ends a session for good.
    pub(super) fn dismiss(&mut self, key: ParticipantKey, reason: DisconnectReason) {
        self.part(key, leave(reason, Action::Disconnect), reason);
    }

    pub(super) fn on_overflow(&mut self, connection: ConnectionId) {
        let Some(key) = self.by_connection.get(&connection).copied() else {
            return;
        };
        // It missed messages: only a new session brings it back in step.
        self.lose_media(key, DisconnectReason::StateMismatch);
    }

    pub(super) fn part(
        &mut self,
        key: ParticipantKey,
        last: LeaveRequest,
        reason: DisconnectReason,
    ) {
        if let Some(connection) = self.participants.get(&key).and_then(|p| p.connection) {
            self.send(key, Message::Leave(last));
            self.outputs.push_back(Output::Close { connection });
            // What its own end changes is no news for it any more.
            self.by_connection.remove(&connection);
            if let Some(participant) = self.participants.get_mut(&key) {
                participant.connection = None;
            }
        }
        self.remove(key, reason);
    }

    pub(super) fn remove(&mut self, key: ParticipantKey, reason: DisconnectReason) {
        let Some(published) = self.participants.get(&key).map(|p| p.published.clone()) else {
            return;
        };
        for track in published {
            self.drop_track(track);
        }
        self.drop_data_tracks(key);
        self.drop_subscriptions(key);
        let Some(participant) = self.participants.remove(&key) else {
            return;
        };
        for transport in participant.transports.iter() {
            self.by_transport.remove(&transport.id);
            let command = schalter_shard::control::Command::CloseTransport {
                transport: transport.id,
            };
            self.media(participant.shard, command);
        }
        self.by_identity.remove(&participant.identity);
        self.by_sid.remove(&participant.sid);
        if let Some(connection) = participant.connection {
            self.by_connection.remove(&connection);
        }
        self.negotiate.remove(&key);
        self.counters.participants.sub(1);
        if let Some(http) = &participant.http {
            self.counters.http_sessions(http.role.protocol()).sub(1);
        }
        tracing::info!(room = %self.sid, participant = %participant.sid, ?reason, "participant leaves");
        self.report_left(&participant, reason);
        let participant_link = participant.forwarded;
        self.announce_gone(key, participant, reason);
        if let Some(link) = participant_link {
            self.end_stand_in(link);
        }
        self.links.note_change();
        self.note_deserted();
    }

    pub(super) fn on_remove_timer(&mut self, key: ParticipantKey, at: Time) {
        let due = self.participants.get(&key).and_then(|p| p.remove_at);
        if let Some((due, reason)) = due
            && due == at
        {
            self.lose_media(key, reason);
        }
    }

    /// Everybody, as the room service lists them: hidden ones, too, for who moderates must see them.
    pub fn participant_infos(&self) -> Vec<ParticipantInfo> {
        self.participants.values().map(|p| self.info(p)).collect()
    }
}
