//! What backends ask of a room through the room service of LiveKit's server API (`livekit_room.proto`): who is there,
//! moderation and metadata. Who may ask was decided before; data is `server_data`'s.

use std::sync::Arc;

use livekit_protocol::{
    DisconnectReason, MuteTrackRequest, ParticipantInfo, TrackInfo, UpdateParticipantRequest,
    UpdateSubscriptionsRequest, leave_request::Action, signal_response::Message,
};
use schalter_model::Time;

use super::join::leave;
use super::participant::ParticipantKey;
use super::profile::ProfileChange;
use super::{Output, Room};

/// Why a room doesn't carry out a call. The texts are made to be shown: they hold no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceRefusal {
    /// Nobody here has the identity.
    #[error("participant does not exist")]
    NoParticipant,
    /// The participant publishes no such track, or nobody does.
    #[error("track does not exist")]
    NoTrack,
    /// Something in the request can't be.
    #[error("{0}")]
    Invalid(&'static str),
    /// The request is right, but not as things are.
    #[error("{0}")]
    NotAsThingsAre(&'static str),
    /// A limit is reached.
    #[error("{0}")]
    Exhausted(&'static str),
}

impl Room {
    /// Lets the room service do something at `now`, which never goes back; `None` once the room has ended. What it
    /// causes is drained as after an input.
    pub fn call<T>(&mut self, now: Time, call: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.now = self.now.max(now);
        if self.ended {
            return None;
        }
        let value = call(self);
        self.fire_timers();
        self.settle();
        Some(value)
    }

    pub(super) fn named(&self, identity: &str) -> Result<ParticipantKey, ServiceRefusal> {
        let key = self.by_identity.get(identity).copied();
        key.ok_or(ServiceRefusal::NoParticipant)
    }

    /// A participant, hidden ones included.
    ///
    /// # Errors
    /// [`ServiceRefusal::NoParticipant`].
    pub fn participant_info(&self, identity: &str) -> Result<ParticipantInfo, ServiceRefusal> {
        let key = self.named(identity)?;
        Ok(self.info(&self.participants[&key]))
    }

    /// The claim `jti` of the token that a participant joined with, if it has one.
    ///
    /// # Errors
    /// [`ServiceRefusal::NoParticipant`].
    pub fn token_of(&self, identity: &str) -> Result<Option<Arc<str>>, ServiceRefusal> {
        let key = self.named(identity)?;
        Ok(self.jti(key))
    }

    /// Identity and `jti` of whom a session belongs to; `None` if nobody's session has the id.
    pub fn token_of_session(&self, sid: &str) -> Option<(Arc<str>, Option<Arc<str>>)> {
        let key = *self.by_sid.get(sid)?;
        Some((Arc::clone(&self.participants[&key].identity), self.jti(key)))
    }

    fn jti(&self, key: ParticipantKey) -> Option<Arc<str>> {
        let jti = self.participants[&key].grants.claims.jti.as_deref();
        jti.map(Arc::from)
    }

    /// Ends a participant's session for good. Whether it may come back is a question of its token.
    ///
    /// # Errors
    /// [`ServiceRefusal::NoParticipant`].
    pub fn remove_participant(&mut self, identity: &str) -> Result<(), ServiceRefusal> {
        let key = self.named(identity)?;
        self.dismiss(key, DisconnectReason::ParticipantRemoved);
        Ok(())
    }

    /// Mutes a participant's track: here at once, whatever its client does, and the client is told. Only the
    /// participant itself opens a microphone or camera again.
    ///
    /// # Errors
    /// [`ServiceRefusal::NoParticipant`], [`ServiceRefusal::NoTrack`], and [`ServiceRefusal::NotAsThingsAre`] for
    /// unmuting.
    pub fn mute_published_track(
        &mut self,
        identity: &str,
        track_sid: &str,
        muted: bool,
    ) -> Result<TrackInfo, ServiceRefusal> {
        let key = self.named(identity)?;
        self.refuse_forwarded(key)?;
        let id = self
            .own_track(key, track_sid)
            .ok_or(ServiceRefusal::NoTrack)?;
        if !muted {
            let text = "only the participant itself may unmute its track";
            return Err(ServiceRefusal::NotAsThingsAre(text));
        }
        if !self.tracks[&id].info.muted {
            self.set_muted(key, id, true);
            let message = MuteTrackRequest {
                sid: track_sid.to_owned(),
                muted: true,
            };
            self.send(key, Message::Mute(message));
        }
        Ok(self.tracks[&id].info.clone())
    }

    /// Changes name, metadata, attributes and permissions of a participant. Empty name and metadata stay as they are,
    /// an empty attribute is removed, permissions are replaced as a whole. One update tells everybody, and the
    /// participant gets a token that says the same.
    ///
    /// # Errors
    /// [`ServiceRefusal::NoParticipant`], and [`ServiceRefusal::Invalid`] for what is too long; then nothing changes.
    pub fn update_participant(
        &mut self,
        request: &UpdateParticipantRequest,
    ) -> Result<ParticipantInfo, ServiceRefusal> {
        let key = self.named(&request.identity)?;
        self.refuse_forwarded(key)?;
        let change = ProfileChange {
            name: Some(request.name.as_str()).filter(|name| !name.is_empty()),
            metadata: Some(request.metadata.as_str()).filter(|metadata| !metadata.is_empty()),
            attributes: &request.attributes,
        };
        self.check_profile(key, change)
            .map_err(ServiceRefusal::Invalid)?;
        self.change_profile(key, change);
        let permission = request.permission.as_ref();
        let before = permission.and_then(|permission| self.permit(key, permission));
        let was_hidden = before.as_ref().is_some_and(|before| before.hidden);
        if before.is_some() && !was_hidden && self.participants[&key].video.hidden {
            self.announce_hidden(key);
        }
        self.announce_now(key);
        if let Some(before) = before {
            self.enforce_permissions(key, &before);
        }
        self.refresh_token(key);
        let info = self.info(&self.participants[&key]);
        self.end_without_tracks(key);
        Ok(info)
    }

    /// Subscribes a participant to tracks or unsubscribes it, as if it had asked itself.
    ///
    /// # Errors
    /// [`ServiceRefusal::NoParticipant`]; when subscribing also [`ServiceRefusal::NoTrack`] if one is not there,
    /// [`ServiceRefusal::Invalid`] for its own and [`ServiceRefusal::NotAsThingsAre`] if it may not subscribe. Then
    /// nothing changes.
    pub fn update_subscriptions(
        &mut self,
        request: &UpdateSubscriptionsRequest,
    ) -> Result<(), ServiceRefusal> {
        let key = self.named(&request.identity)?;
        self.refuse_forwarded(key)?;
        if request.subscribe && !self.participants[&key].video.can_subscribe {
            let text = "the participant is not allowed to subscribe";
            return Err(ServiceRefusal::NotAsThingsAre(text));
        }
        let listed = request.participant_tracks.iter();
        let named = listed.flat_map(|tracks| &tracks.track_sids);
        let mut ids = Vec::new();
        for sid in request.track_sids.iter().chain(named) {
            match self.tracks_by_sid.get(sid.as_str()) {
                Some(id) if request.subscribe && self.tracks[id].owner == key => {
                    let text = "a participant doesn't subscribe to its own tracks";
                    return Err(ServiceRefusal::Invalid(text));
                }
                Some(id) => ids.push(*id),
                // Not to have what is gone already is what was asked for.
                None if !request.subscribe => {}
                None => return Err(ServiceRefusal::NoTrack),
            }
        }
        for id in ids {
            self.choose(key, id, request.subscribe);
            let track = &self.tracks[&id];
            if request.subscribe && self.wants(key, track) && !self.allowed(key, track) {
                self.tell_permission(key, id, false);
            }
        }
        Ok(())
    }

    /// Replaces the room's metadata and tells everybody at once. Empty is a value, too.
    ///
    /// # Errors
    /// [`ServiceRefusal::Invalid`] if it is too long.
    pub fn set_metadata(
        &mut self,
        metadata: String,
    ) -> Result<livekit_protocol::Room, ServiceRefusal> {
        if metadata.len() > self.config.limits.metadata_bytes {
            return Err(ServiceRefusal::Invalid("metadata is too long"));
        }
        self.metadata = metadata;
        let (to, message) = (self.connections(), self.room_update());
        self.send_to(to, message);
        Ok(self.room_info())
    }

    /// Sends a participant to another room: it gets a token for that room and begins a new session with it.
    ///
    /// # Errors
    /// [`ServiceRefusal::NoParticipant`], and [`ServiceRefusal::NotAsThingsAre`] while its client is not connected and
    /// could not be told.
    pub fn send_to_room(
        &mut self,
        identity: &str,
        destination: &str,
    ) -> Result<(), ServiceRefusal> {
        let key = self.named(identity)?;
        self.refuse_forwarded(key)?;
        let Some(participant) = self.participants.get_mut(&key) else {
            return Err(ServiceRefusal::NoParticipant);
        };
        if participant.http.is_some() {
            let text = "the participant came by WHIP or WHEP, which can't be sent to another room";
            return Err(ServiceRefusal::NotAsThingsAre(text));
        }
        let Some(connection) = participant.connection else {
            let text = "the participant's connection is interrupted; try again";
            return Err(ServiceRefusal::NotAsThingsAre(text));
        };
        let mut grants = (*participant.grants).clone();
        let video = grants.claims.video.get_or_insert_default();
        video.room = Some(destination.to_owned());
        // What the token says of rooms that it makes was about the room that it was for.
        grants.claims.room_config = None;
        grants.claims.room_preset = None;
        self.outputs.push_back(Output::RefreshToken {
            connection,
            grants: grants.into(),
        });
        let reason = DisconnectReason::Migration;
        self.part(key, leave(reason, Action::Reconnect), reason);
        Ok(())
    }
}
