//! Who hears of whom: participant updates, gathered for those who publish nothing, and room updates.

use std::collections::{BTreeMap, BTreeSet};

use livekit_protocol::{
    Codec, DisconnectReason, ParticipantInfo, ParticipantUpdate, RoomUpdate, participant_info,
    signal_response::Message,
};
use schalter_model::Time;

use super::participant::{Participant, ParticipantKey};
use super::{Room, Timer};
use crate::ids::ConnectionId;

/// News that wait to be sent together.
#[derive(Debug, Default)]
pub(super) struct Presence {
    changed: BTreeSet<ParticipantKey>,
    gone: BTreeMap<ParticipantKey, ParticipantInfo>,
    due: Option<Time>,
}

impl Room {
    /// Everything that others are told of a participant.
    pub(super) fn info(&self, participant: &Participant) -> ParticipantInfo {
        ParticipantInfo {
            tracks: participant
                .published
                .iter()
                .filter_map(|id| self.tracks.get(id))
                .filter(|track| track.announced)
                .map(|track| track.info.clone())
                .collect(),
            data_tracks: participant.data_tracks.clone(),
            ..participant.info_without_tracks()
        }
    }

    /// Everybody that `viewer` may see, as it is now.
    pub(super) fn others(&self, viewer: ParticipantKey) -> Vec<ParticipantInfo> {
        self.participants
            .iter()
            .filter(|(key, p)| **key != viewer && p.is_active() && !p.video.hidden)
            .map(|(_, p)| self.info(p))
            .collect()
    }

    /// Says that something about a participant changed: at once if it publishes, else with the next batch.
    pub(super) fn announce(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        participant.version += 1;
        self.links.note_change();
        let (publishes, hidden) = (participant.is_publisher, participant.video.hidden);
        self.note_counts();
        if hidden {
            self.tell_itself(key);
        } else if publishes {
            self.presence.changed.remove(&key);
            self.tell_everybody(key);
        } else {
            self.presence.changed.insert(key);
            self.schedule_presence();
        }
    }

    /// The same without waiting for a batch, e.g. because the client waits for it.
    pub(super) fn announce_now(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        participant.version += 1;
        self.links.note_change();
        // Others don't hear of who is hidden, or of a session whose media has not connected.
        let alone = participant.video.hidden || !participant.is_active();
        self.presence.changed.remove(&key);
        self.note_counts();
        if alone {
            self.tell_itself(key);
        } else {
            self.tell_everybody(key);
        }
    }

    /// Tells others that a participant is gone which from now on is hidden.
    pub(super) fn announce_hidden(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        self.presence.changed.remove(&key);
        if !participant.is_active() {
            return;
        }
        participant.version += 1;
        let own = participant.connection;
        let info = ParticipantInfo {
            state: participant_info::State::Disconnected as i32,
            ..participant.info_without_tracks()
        };
        let mut to = self.connections();
        to.retain(|connection| Some(*connection) != own);
        self.send_to(to, update(vec![info]));
    }

    /// Tells now what waits for the next batch about a participant that speaks up: others would not know who says it.
    pub(super) fn introduce(&mut self, key: ParticipantKey) {
        if self.presence.changed.remove(&key) {
            self.tell_everybody(key);
        }
    }

    fn tell_itself(&mut self, key: ParticipantKey) {
        let Some(info) = self.participants.get(&key).map(|p| self.info(p)) else {
            return;
        };
        self.send(key, update(vec![info]));
    }

    fn tell_everybody(&mut self, key: ParticipantKey) {
        let Some(info) = self.participants.get(&key).map(|p| self.info(p)) else {
            return;
        };
        let to = self.connections();
        self.send_to(to, update(vec![info]));
    }

    /// Says that a participant is gone. It must have left the maps already.
    pub(super) fn announce_gone(
        &mut self,
        key: ParticipantKey,
        mut participant: Participant,
        reason: DisconnectReason,
    ) {
        self.presence.changed.remove(&key);
        self.note_counts();
        // Others never heard of a session whose media did not connect.
        if participant.video.hidden || !participant.is_active() {
            return;
        }
        participant.version += 1;
        let info = ParticipantInfo {
            state: participant_info::State::Disconnected as i32,
            disconnect_reason: reason as i32,
            ..participant.info_without_tracks()
        };
        if participant.is_publisher {
            let to = self.connections();
            self.send_to(to, update(vec![info]));
        } else {
            self.presence.gone.insert(key, info);
            self.schedule_presence();
        }
    }

    fn schedule_presence(&mut self) {
        if self.presence.due.is_none() {
            let at = self.now + self.config.presence_interval;
            self.presence.due = Some(at);
            self.arm(at, Timer::Presence);
        }
    }

    pub(super) fn flush_presence(&mut self) {
        let Presence { changed, gone, .. } = std::mem::take(&mut self.presence);
        // Older sessions first: a new session of the same identity must be heard of after the old one's end.
        let mut news: BTreeMap<ParticipantKey, ParticipantInfo> = gone;
        for key in changed {
            if let Some(participant) = self.participants.get(&key) {
                news.insert(key, self.info(participant));
            }
        }
        if !news.is_empty() {
            let to = self.connections();
            self.send_to(to, update(news.into_values().collect()));
        }
    }

    pub(super) fn connections(&self) -> Vec<ConnectionId> {
        self.participants
            .values()
            .filter_map(|p| p.connection)
            .collect()
    }

    fn counts(&self) -> (u32, u32) {
        let visible = || {
            self.participants
                .values()
                .filter(|p| p.is_active() && !p.video.hidden)
        };
        (
            visible().count() as u32,
            visible().filter(|p| p.is_publisher).count() as u32,
        )
    }

    /// The room as clients and the room service see it.
    pub fn room_info(&self) -> livekit_protocol::Room {
        let (num_participants, num_publishers) = self.counts();
        let codecs = self.config.codecs.iter().map(|codec| codec.mime());
        livekit_protocol::Room {
            sid: self.sid.to_string(),
            name: self.key.name.to_string(),
            empty_timeout: self.empty_timeout.as_secs() as u32,
            departure_timeout: self.departure_timeout.as_secs() as u32,
            max_participants: self.max_participants as u32,
            creation_time: (self.created_ms / 1000) as i64,
            creation_time_ms: self.created_ms as i64,
            enabled_codecs: codecs
                .chain(["video/rtx"])
                .map(|mime| Codec {
                    mime: mime.into(),
                    ..Codec::default()
                })
                .collect(),
            metadata: self.metadata.clone(),
            num_participants,
            num_publishers,
            ..livekit_protocol::Room::default()
        }
    }

    /// Schedules a `room_update` if the counts are no longer what clients were told.
    pub(super) fn note_counts(&mut self) {
        if self.room_update_due.is_none() && self.counts() != self.counts_sent {
            let at = self
                .now
                .max(self.room_update_sent + self.config.room_update_interval);
            self.room_update_due = Some(at);
            self.arm(at, Timer::RoomUpdate);
        }
    }

    pub(super) fn on_room_update_timer(&mut self) {
        self.room_update_due = None;
        let counts = self.counts();
        if counts != self.counts_sent {
            self.counts_sent = counts;
            self.room_update_sent = self.now;
            let (to, message) = (self.connections(), self.room_update());
            self.send_to(to, message);
        }
    }

    pub(super) fn room_update(&self) -> Message {
        Message::RoomUpdate(RoomUpdate {
            room: Some(self.room_info()),
        })
    }
}

pub(super) fn update(participants: Vec<ParticipantInfo>) -> Message {
    Message::Update(ParticipantUpdate { participants })
}
