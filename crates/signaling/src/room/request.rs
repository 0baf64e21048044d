//! Requests on a WebSocket: each is carried out or refused with a reason, since clients wait for an answer.

use livekit_protocol::request_response::{Reason, Request};
use livekit_protocol::{
    DisconnectReason, MuteTrackRequest, Ping, Pong, RequestResponse, UpdateLocalAudioTrack,
    UpdateLocalVideoTrack, UpdateParticipantMetadata, leave_request::Action,
    signal_request::Message as Asked, signal_response::Message,
};
use schalter_shard::control::Command;

use super::join::leave;
use super::participant::{Participant, ParticipantKey, flags};
use super::profile::ProfileChange;
use super::{Room, UnreadableFrame};
use crate::ids::ConnectionId;

/// Why a request is not carried out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    pub(super) text: &'static str,
}

impl Refusal {
    pub(super) const fn new(reason: Reason, text: &'static str) -> Self {
        Self { reason, text }
    }
}

impl Room {
    pub(super) fn on_request(&mut self, connection: ConnectionId, request: Asked) {
        // A socket that a newer one replaced may have requests under way.
        let Some(key) = self.by_connection.get(&connection).copied() else {
            return;
        };
        match request {
            Asked::Offer(offer) => self.on_offer(key, &offer),
            Asked::Answer(answer) => self.on_answer(key, &answer),
            // We are ICE-lite and never check a candidate of the peer; its checks show where it is.
            Asked::Trickle(_) => {}
            Asked::AddTrack(request) => self.on_add_track(key, request),
            Asked::Mute(request) => self.on_mute(key, request),
            Asked::Subscription(request) => self.on_subscription(key, &request),
            Asked::TrackSetting(settings) => self.on_track_setting(key, &settings),
            Asked::Leave(_) => self.on_leave(key),
            #[expect(deprecated, reason = "older clients send it")]
            Asked::UpdateLayers(layers) => self.on_update_layers(key, &layers.track_sid),
            Asked::SubscriptionPermission(audience) => {
                self.on_subscription_permission(key, audience);
            }
            Asked::SyncState(state) => self.on_sync_state(key, state),
            Asked::Simulate(request) => self.on_simulate(key, &request),
            Asked::Ping(_) => self.send(key, Message::Pong(self.unix_ms() as i64)),
            Asked::PingReq(ping) => self.on_ping(key, ping),
            Asked::UpdateMetadata(request) => self.on_update_metadata(key, request),
            Asked::UpdateAudioTrack(request) => self.on_update_audio_track(key, request),
            Asked::UpdateVideoTrack(request) => self.on_update_video_track(key, request),
            Asked::PublishDataTrackRequest(request) => self.on_publish_data_track(key, request),
            Asked::UnpublishDataTrackRequest(request) => self.on_unpublish_data_track(key, request),
            Asked::UpdateDataSubscription(request) => self.on_data_subscription(key, &request),
            Asked::StoreDataBlobRequest(request) => self.refuse_blob(key, request.request_id),
            Asked::GetDataBlobRequest(request) => self.refuse_blob(key, request.request_id),
        }
    }

    fn refuse_blob(&mut self, key: ParticipantKey, request_id: u32) {
        let refusal = Refusal::new(Reason::UnsupportedType, "data blobs are not supported");
        self.refuse_request(key, request_id, refusal, None);
    }

    pub(super) fn on_unreadable(&mut self, connection: ConnectionId, frame: UnreadableFrame) {
        let Some(key) = self.by_connection.get(&connection).copied() else {
            return;
        };
        let refusal = match frame {
            UnreadableFrame::UnknownRequest => {
                Refusal::new(Reason::UnsupportedType, "the request is not known here")
            }
            UnreadableFrame::Malformed => {
                Refusal::new(Reason::InvalidRequest, "the request can't be read")
            }
        };
        self.refuse_request(key, 0, refusal, None);
    }

    pub(super) fn refuse_request(
        &mut self,
        key: ParticipantKey,
        request_id: u32,
        refusal: Refusal,
        request: Option<Request>,
    ) {
        self.counters.requests_refused.add(1);
        let response = RequestResponse {
            request_id,
            reason: refusal.reason as i32,
            message: refusal.text.to_owned(),
            request,
        };
        self.send(key, Message::RequestResponse(response));
    }

    fn on_ping(&mut self, key: ParticipantKey, ping: Ping) {
        let pong = Pong {
            last_ping_timestamp: ping.timestamp,
            timestamp: self.unix_ms() as i64,
        };
        self.send(key, Message::PongResp(pong));
    }

    fn on_leave(&mut self, key: ParticipantKey) {
        self.dismiss(key, DisconnectReason::ClientInitiated);
    }

    fn on_mute(&mut self, key: ParticipantKey, request: MuteTrackRequest) {
        let Some(id) = self.own_track(key, &request.sid) else {
            let refusal = Refusal::new(Reason::NotFound, "no such track");
            self.refuse_request(key, 0, refusal, Some(Request::Mute(request)));
            return;
        };
        self.set_muted(key, id, request.muted);
    }

    /// Mutes or unmutes a track and tells everybody, if that is news.
    pub(super) fn set_muted(
        &mut self,
        key: ParticipantKey,
        id: schalter_model::TrackId,
        muted: bool,
    ) {
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        if track.info.muted == muted {
            return;
        }
        track.info.muted = muted;
        let (announced, negotiated) = (track.announced, track.producer.is_some());
        let backup = track.backup;
        if negotiated {
            self.mute_at_source(key, id, muted);
        }
        if let Some(track) = backup.and_then(|id| self.tracks.get_mut(&id)) {
            track.info.muted = muted;
            if track.producer.is_some() {
                let id = track.id;
                self.mute_at_source(key, id, muted);
            }
        }
        if muted {
            self.silence(id);
        }
        self.stage_anew(id);
        if announced {
            self.announce(key);
        } else if muted && negotiated {
            self.announce_unseen(key, id);
        }
    }

    /// What a muted client still sends, by mistake or between request and microphone, is nobody's to hear.
    pub(super) fn mute_at_source(
        &mut self,
        key: ParticipantKey,
        track: schalter_model::TrackId,
        muted: bool,
    ) {
        let Some(shard) = self.participants.get(&key).map(|p| p.shard) else {
            return;
        };
        self.media(shard, Command::MuteProducer { track, muted });
    }

    /// A participant's own track by its id.
    pub(super) fn own_track(
        &self,
        key: ParticipantKey,
        sid: &str,
    ) -> Option<schalter_model::TrackId> {
        let id = *self.tracks_by_sid.get(sid)?;
        (self.tracks.get(&id)?.owner == key).then_some(id)
    }

    fn on_update_metadata(&mut self, key: ParticipantKey, request: UpdateParticipantMetadata) {
        let answer = self.update_metadata(key, &request);
        let request_id = request.request_id;
        let echo = Some(Request::UpdateMetadata(request));
        match answer {
            Ok(()) => {
                self.announce_now(key);
                let response = RequestResponse {
                    request_id,
                    request: echo,
                    ..RequestResponse::default()
                };
                self.send(key, Message::RequestResponse(response));
                self.refresh_token(key);
            }
            Err(refusal) => self.refuse_request(key, request_id, refusal, echo),
        }
    }

    fn update_metadata(
        &mut self,
        key: ParticipantKey,
        request: &UpdateParticipantMetadata,
    ) -> Result<(), Refusal> {
        let may = |p: &Participant| p.video.can_update_own_metadata;
        if !self.participants.get(&key).is_some_and(may) {
            let text = "does not have permission to update own metadata";
            return Err(Refusal::new(Reason::NotAllowed, text));
        }
        // Clients always send both along.
        let change = ProfileChange {
            name: Some(&request.name),
            metadata: Some(&request.metadata),
            attributes: &request.attributes,
        };
        self.check_profile(key, change)
            .map_err(|text| Refusal::new(Reason::LimitExceeded, text))?;
        self.change_profile(key, change);
        Ok(())
    }

    fn on_update_audio_track(&mut self, key: ParticipantKey, request: UpdateLocalAudioTrack) {
        let Some(id) = self.own_track(key, &request.track_sid) else {
            let refusal = Refusal::new(Reason::NotFound, "no such track");
            self.refuse_request(key, 0, refusal, Some(Request::UpdateAudioTrack(request)));
            return;
        };
        self.edit_track(key, id, |info| {
            info.audio_features = flags(request.features);
        });
    }

    fn on_update_video_track(&mut self, key: ParticipantKey, request: UpdateLocalVideoTrack) {
        let Some(id) = self.own_track(key, &request.track_sid) else {
            let refusal = Refusal::new(Reason::NotFound, "no such track");
            self.refuse_request(key, 0, refusal, Some(Request::UpdateVideoTrack(request)));
            return;
        };
        self.edit_track(key, id, |info| {
            info.width = request.width;
            info.height = request.height;
        });
    }

    /// Layers are what the SDP and the media say; only the name of the track can be wrong.
    fn on_update_layers(&mut self, key: ParticipantKey, sid: &str) {
        if self.own_track(key, sid).is_none() {
            let refusal = Refusal::new(Reason::NotFound, "no such track");
            self.refuse_request(key, 0, refusal, None);
        }
    }

    fn edit_track(
        &mut self,
        key: ParticipantKey,
        id: schalter_model::TrackId,
        edit: impl FnOnce(&mut livekit_protocol::TrackInfo),
    ) {
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        let before = track.info.clone();
        edit(&mut track.info);
        if track.announced && track.info != before {
            self.announce(key);
        }
    }

    /// Tells a client that its session is not known and it must begin a new one.
    pub(super) fn send_unknown_session(&mut self, connection: ConnectionId) {
        let message = leave(DisconnectReason::StateMismatch, Action::Reconnect);
        self.send_to(vec![connection], Message::Leave(message));
        self.outputs.push_back(super::Output::Close { connection });
    }
}
