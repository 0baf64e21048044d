//! What the media plane refuses: whoever waits for it is told at once, and nothing of it stays behind.

use livekit_protocol::request_response::{Reason, Request};
use livekit_protocol::{
    AddTrackRequest, DisconnectReason, SubscriptionError, TrackUnpublishedResponse,
    signal_response::Message,
};
use schalter_model::{TrackId, TransportId};
use schalter_shard::control::Refusal as MediaRefusal;

use super::Room;
use super::participant::ParticipantKey;
use super::request::Refusal;
use crate::stats::JoinStage;

impl Room {
    pub(super) fn on_media_refused(
        &mut self,
        transport: TransportId,
        track: Option<TrackId>,
        reason: MediaRefusal,
    ) {
        let Some((key, _)) = self.by_transport.get(&transport).copied() else {
            return;
        };
        let participant = &self.participants[&key];
        // Commands cross the client's close; how that session ends is settled already.
        if participant.media_closed {
            return;
        }
        // Shards count why: whoever causes it by the thousand must not fill the log.
        tracing::debug!(room = %self.sid, participant = %participant.sid, ?track, ?reason, "the media plane refused");
        match track {
            None if reason == MediaRefusal::DataOverload => self.on_receiver_behind(key),
            None => self.on_transport_refused(key, reason),
            Some(id) if self.tracks.get(&id).is_some_and(|t| t.owner == key) => {
                self.on_producer_refused(key, id, reason);
            }
            Some(id) => self.on_consumer_refused(key, self.published_as(id), reason),
        }
    }

    /// Without its transport a session is none: it ends before the client's own patience does.
    fn on_transport_refused(&mut self, key: ParticipantKey, reason: MediaRefusal) {
        if self.participants[&key].is_active() {
            self.lose_media(key, DisconnectReason::MediaFailure);
            return;
        }
        match reason {
            // Whoever tried again at once would meet the same limit.
            MediaRefusal::Limit => {
                self.counters.join_failed(JoinStage::Capacity);
                self.dismiss(key, DisconnectReason::JoinFailure);
            }
            MediaRefusal::UnknownTransport
            | MediaRefusal::UnknownTrack
            | MediaRefusal::NoCommonCodec
            | MediaRefusal::InvalidConfig
            | MediaRefusal::DataOverload => {
                self.counters.join_failed(JoinStage::Media);
                self.lose_media(key, DisconnectReason::JoinFailure);
            }
        }
    }

    /// A track that the shard doesn't take is unpublished: clients would go on showing it as published.
    fn on_producer_refused(&mut self, key: ParticipantKey, id: TrackId, reason: MediaRefusal) {
        let Some(track) = self.tracks.get(&id) else {
            return;
        };
        let refusal = match reason {
            MediaRefusal::Limit => Refusal::new(
                Reason::LimitExceeded,
                "the server has no capacity for the track",
            ),
            MediaRefusal::NoCommonCodec | MediaRefusal::InvalidConfig => Refusal::new(
                Reason::InvalidRequest,
                "the track's description can't be used",
            ),
            MediaRefusal::UnknownTransport
            | MediaRefusal::UnknownTrack
            | MediaRefusal::DataOverload => {
                Refusal::new(Reason::UnclassifiedError, "the track's connection is gone")
            }
        };
        let track_sid = track.sid.to_string();
        let request = AddTrackRequest {
            cid: track.cids.first().cloned().unwrap_or_default(),
            sid: track_sid.clone(),
            name: track.info.name.clone(),
            r#type: track.info.r#type,
            source: track.info.source,
            ..AddTrackRequest::default()
        };
        let is_backup = track.backup_of.is_some();
        self.refuse_request(key, 0, refusal, Some(Request::AddTrack(request)));
        if is_backup {
            self.drop_backup(id);
            return;
        }
        let message = TrackUnpublishedResponse { track_sid };
        self.send(key, Message::TrackUnpublished(message));
        self.unpublish(key, id);
        self.end_without_tracks(key);
    }

    fn on_consumer_refused(&mut self, key: ParticipantKey, id: TrackId, reason: MediaRefusal) {
        let Some(sid) = self.tracks.get(&id).map(|t| t.sid.to_string()) else {
            return;
        };
        if !self.participants[&key].subscriptions.contains_key(&id) {
            return;
        }
        let err = match reason {
            MediaRefusal::NoCommonCodec => SubscriptionError::SeCodecUnsupported,
            MediaRefusal::UnknownTrack => SubscriptionError::SeTrackNotfound,
            MediaRefusal::UnknownTransport
            | MediaRefusal::Limit
            | MediaRefusal::InvalidConfig
            | MediaRefusal::DataOverload => SubscriptionError::SeUnknown,
        };
        self.unsubscribe(key, id);
        self.fail_subscription(key, sid, err);
    }
}
