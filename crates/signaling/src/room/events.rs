//! What integrators are told of the room (LiveKit's webhooks): its begin and end, who comes and goes, which tracks are
//! published. Nothing is gathered here; events leave as outputs in the order in which things happen.

use std::sync::Arc;

use livekit_protocol::{
    DisconnectReason, ParticipantInfo, RoomEndReason, TrackInfo, WebhookEvent, participant_info,
};

use schalter_model::TrackId;

use super::participant::{Participant, ParticipantKey};
use super::{Output, Room, RoomKey};
use crate::guided::Presence;
use crate::ids;

impl Room {
    /// Whether anybody is told of this room.
    fn is_reported(&self) -> bool {
        self.config.webhook_authority.as_ref() == Some(&self.key.authority)
    }

    fn report(&mut self, name: &str, event: WebhookEvent) {
        let event = WebhookEvent {
            event: name.to_owned(),
            id: ids::sid("EV_", &mut self.rng).to_string(),
            created_at: (self.unix_ms() / 1_000) as i64,
            ..event
        };
        self.outputs.push_back(Output::Report(Box::new(event)));
    }

    pub(super) fn report_room_started(&mut self) {
        if self.is_reported() {
            let event = WebhookEvent {
                room: Some(self.room_info()),
                ..WebhookEvent::default()
            };
            self.report("room_started", event);
        }
    }

    pub(super) fn report_room_finished(&mut self, reason: RoomEndReason) {
        if self.is_reported() {
            let event = WebhookEvent {
                room: Some(self.room_info()),
                room_end_reason: reason as i32,
                ..WebhookEvent::default()
            };
            self.report("room_finished", event);
        }
    }

    /// Somebody's media connected for the first time.
    pub(super) fn report_joined(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get(&key) else {
            return;
        };
        self.tell_presence(Arc::clone(&participant.identity), true);
        if !self.is_reported() {
            return;
        }
        let info = self.info(&self.participants[&key]);
        self.report_of_participant("participant_joined", info);
    }

    /// A session ended; its participant has left the maps already.
    pub(super) fn report_left(&mut self, participant: &Participant, reason: DisconnectReason) {
        if participant.is_active() {
            self.tell_presence(Arc::clone(&participant.identity), false);
        }
        if !self.is_reported() {
            return;
        }
        let info = ParticipantInfo {
            state: participant_info::State::Disconnected as i32,
            disconnect_reason: reason as i32,
            version: participant.version + 1,
            ..participant.info_without_tracks()
        };
        let name = if participant.is_active() {
            "participant_left"
        } else {
            "participant_connection_aborted"
        };
        self.report_of_participant(name, info);
    }

    fn tell_presence(&mut self, identity: Arc<str>, came: bool) {
        if self.config.guided.contains(&self.key.authority) {
            let RoomKey { authority, name } = self.key.clone();
            self.outputs.push_back(Output::Presence(Presence {
                authority,
                room: name,
                identity,
                came,
            }));
        }
    }

    fn report_of_participant(&mut self, name: &str, info: ParticipantInfo) {
        let event = WebhookEvent {
            room: Some(self.room_info()),
            participant: Some(info),
            ..WebhookEvent::default()
        };
        self.report(name, event);
    }

    /// Others know of a track from now on.
    pub(super) fn report_published(&mut self, owner: ParticipantKey, track: TrackId) {
        if let Some(info) = self.tracks.get(&track).map(|track| track.info.clone()) {
            self.report_of_track("track_published", owner, info);
        }
    }

    /// A track that others knew of is gone; its publisher is still there.
    pub(super) fn report_unpublished(&mut self, owner: ParticipantKey, track: TrackInfo) {
        self.report_of_track("track_unpublished", owner, track);
    }

    /// Events of tracks only name room and participant.
    fn report_of_track(&mut self, name: &str, owner: ParticipantKey, track: TrackInfo) {
        if !self.is_reported() {
            return;
        }
        let participant = self.participants.get(&owner).map(|p| ParticipantInfo {
            sid: p.sid.to_string(),
            identity: p.identity.to_string(),
            ..ParticipantInfo::default()
        });
        let event = WebhookEvent {
            room: Some(livekit_protocol::Room {
                sid: self.sid.to_string(),
                name: self.key.name.to_string(),
                ..livekit_protocol::Room::default()
            }),
            participant,
            track: Some(track),
            ..WebhookEvent::default()
        };
        self.report(name, event);
    }
}
