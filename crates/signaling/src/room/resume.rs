//! Sessions that outlive their WebSocket: kept for a while with their media, continued by the same identity.

use std::sync::Arc;

use livekit_protocol::{
    DisconnectReason, ReconnectResponse, SyncState, UpdateSubscription, signal_response::Message,
};

use super::participant::ParticipantKey;
use super::simulate::FailingResume;
use super::{ConnectionMode, JoinParams, Output, Resume, Room, Timer};
use crate::ids::ConnectionId;
use crate::stats::JoinStage;

impl Room {
    pub(super) fn on_closed(&mut self, connection: ConnectionId) {
        let Some(key) = self.by_connection.remove(&connection) else {
            return;
        };
        let at = self.now + self.config.resume_window;
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        participant.connection = None;
        if !participant.is_active() {
            // Clients don't continue what never began.
            self.counters.join_failed(JoinStage::Media);
            self.dismiss(key, DisconnectReason::SignalClose);
            return;
        }
        if participant.remove_at.is_none() {
            participant.remove_at = Some((at, DisconnectReason::SignalClose));
            self.arm(at, Timer::Remove(key));
        }
    }

    pub(super) fn on_resume(
        &mut self,
        connection: ConnectionId,
        params: &JoinParams,
        resume: Resume,
    ) {
        self.outputs.push_back(Output::Accepted { connection });
        let known = self
            .by_sid
            .get(&*resume.participant_sid)
            .copied()
            .filter(|key| {
                // A session id is no secret: only the same identity, connected the same way, may continue.
                let participant = &self.participants[key];
                *participant.identity == *params.grants.identity
                    && participant.mode == params.mode
                    && participant.forwarded.is_none()
                    && !participant.media_closed
            });
        let Some(key) = known else {
            self.counters.join_failed(JoinStage::Resume);
            self.send_unknown_session(connection);
            return;
        };
        let failing = self.take_failing_resume(key);
        if failing == Some(FailingResume::BeforeMessages) {
            self.outputs.push_back(Output::Close { connection });
            return;
        }
        self.counters.resumes.add(1);
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        tracing::info!(room = %self.sid, participant = %participant.sid, "participant resumes");
        participant.remove_at = None;
        participant.replay_due = true;
        participant.connection_quality.forget_told();
        if let Some(old) = participant.connection.replace(connection) {
            // Half-open: the client has given it up already.
            self.by_connection.remove(&old);
            self.outputs.push_back(Output::Close { connection: old });
        }
        self.by_connection.insert(connection, key);

        // Clients drop everything before `reconnect`.
        let ice_servers = self.ice_servers(self.participants[&key].shard);
        let response = ReconnectResponse {
            ice_servers,
            server_info: Some(self.server_info()),
            last_message_seq: self.participants[&key].data.last_sequence,
            ..ReconnectResponse::default()
        };
        self.send(key, Message::Reconnect(response));
        let mut everybody = self.others(key);
        everybody.push(self.info(&self.participants[&key]));
        self.send(key, super::updates::update(everybody));
        let room_update = self.room_update();
        self.send(key, room_update);
        self.refresh_token(key);
        self.resend_data_handles(key);
        match params.mode {
            ConnectionMode::Dual => self.restart_subscriber(key),
            // The client offers by itself; a request of ours that was lost is repeated after its offer.
            ConnectionMode::Single => self.forget_requirement(key),
            // Has no WebSocket that could come back.
            ConnectionMode::Http => {}
        }
        if let Some(state) = resume.sync_state {
            self.on_sync_state(key, state);
        }
        if failing == Some(FailingResume::AfterMessages) {
            self.outputs.push_back(Output::Close { connection });
            self.on_closed(connection);
        }
    }

    pub(super) fn on_sync_state(&mut self, key: ParticipantKey, state: SyncState) {
        if let Some(subscription) = state.subscription {
            self.sync_subscriptions(key, &subscription);
        }
        let disabled: Vec<Arc<str>> = state
            .track_sids_disabled
            .iter()
            .map(|sid| sid.as_str().into())
            .collect();
        self.disable_tracks(key, &disabled);
        if let Some(data) = state.data_subscription {
            self.on_data_subscription(key, &data);
        }
        // Once for each resume: it is work, and what a second request asked for is on its way.
        let due = self
            .participants
            .get_mut(&key)
            .is_some_and(|p| std::mem::take(&mut p.replay_due));
        if due {
            self.replay_after(key, &state.datachannel_receive_states);
        }
        // `publish_tracks` is what the client last heard from us, older than the requests it has sent since: taking
        // `muted` from there could open a microphone. Ours stands, here and at the shard.
    }

    /// With auto-subscribe the list names what is unsubscribed, without it what is subscribed.
    fn sync_subscriptions(&mut self, key: ParticipantKey, request: &UpdateSubscription) {
        let named = request.track_sids.iter().map(String::as_str).chain(
            request
                .participant_tracks
                .iter()
                .flat_map(|tracks| tracks.track_sids.iter().map(String::as_str)),
        );
        let named: Vec<_> = named
            .filter_map(|sid| self.tracks_by_sid.get(sid).copied())
            .collect();
        for track in named {
            self.choose(key, track, request.subscribe);
        }
    }
}
