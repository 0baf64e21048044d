//! Whose picture matters most to a subscriber when its link is too thin for all, and telling which had to stop.
//!
//! First who signs (EN 301 549 6.5), then what the subscriber itself ranked, then screens, then who speaks, then the rest.

use livekit_protocol::{
    StreamState, StreamStateInfo, StreamStateUpdate, TrackSource, signal_response::Message,
};
use schalter_forward::Rank;
use schalter_model::{MediaKind, TrackId, TransportId};
use schalter_shard::control::Command;

use super::Room;
use super::participant::{Participant, ParticipantKey};
use super::track::Track;

/// Attribute of a participant whose camera shows sign language, if it is `true`.
pub(super) const SIGNING_ATTRIBUTE: &str = "schalter.signing";
/// Name of a track that shows sign language, whoever publishes it.
const SIGNING_TRACK: &str = "signing";
/// Rank of the subscriber's priority 1, its highest; the lowest that is told apart is behind it by the width.
const ASKED: u8 = 8;
const ASKED_WIDTH: u32 = 32;
const SCREEN: Rank = Rank(64);

impl Room {
    pub(super) const SPEAKER: Rank = Rank(96);

    /// The rank of a track for a subscriber who gave it this priority, 0 for none.
    pub(super) fn rank(track: &Track, publisher: Option<&Participant>, priority: u32) -> Rank {
        if track.kind == MediaKind::Audio {
            return Rank::DEFAULT;
        }
        let source = track.info.source();
        let signs = publisher.is_some_and(|publisher| {
            let attribute = publisher.attributes.get(SIGNING_ATTRIBUTE);
            attribute.is_some_and(|value| value == "true")
        });
        if (signs && source == TrackSource::Camera) || track.info.name == SIGNING_TRACK {
            Rank::SIGNING
        } else if priority > 0 {
            Rank(ASKED + (priority - 1).min(ASKED_WIDTH) as u8)
        } else if source == TrackSource::ScreenShare {
            SCREEN
        } else if publisher.is_some_and(|publisher| publisher.speaks) {
            Self::SPEAKER
        } else {
            Rank::DEFAULT
        }
    }

    /// Tells the shards of a participant's pictures anew, because it began or stopped to speak or to sign.
    pub(super) fn rank_anew(&mut self, publisher: ParticipantKey) {
        let Some(participant) = self.participants.get(&publisher) else {
            return;
        };
        for id in participant.published.clone() {
            self.stage_anew(id);
            let Some(track) = self.tracks.get(&id) else {
                continue;
            };
            if track.kind != MediaKind::Video {
                continue;
            }
            for subscriber in track.subscribers.clone() {
                self.tell_target(subscriber, id);
            }
        }
    }

    /// Tells a subscriber's shard what it wants of a track now, if the track is forwarded.
    pub(super) fn tell_target(&mut self, key: ParticipantKey, id: TrackId) {
        let Some(participant) = self.participants.get(&key) else {
            return;
        };
        let subscription = participant.subscriptions.get(&id);
        let active = subscription.filter(|subscription| subscription.active);
        let transport = participant.transports.get(participant.downlink_role());
        let (Some(transport), Some(active)) = (transport.map(|t| t.id), active) else {
            return;
        };
        let shard = participant.shard;
        let command = Command::SetConsumerTarget {
            transport,
            track: active.media,
            target: self.consumer_target(key, id),
        };
        self.media(shard, command);
    }

    pub(super) fn on_stream_state(&mut self, transport: TransportId, id: TrackId, paused: bool) {
        let Some((key, _)) = self.by_transport.get(&transport).copied() else {
            return;
        };
        let Some(track) = self.tracks.get(&id) else {
            return;
        };
        let Some(publisher) = self.participants.get(&track.owner) else {
            return;
        };
        let state = if paused {
            StreamState::Paused
        } else {
            StreamState::Active
        };
        let info = StreamStateInfo {
            participant_sid: publisher.sid.to_string(),
            track_sid: track.sid.to_string(),
            state: state as i32,
        };
        let message = StreamStateUpdate {
            stream_states: vec![info],
        };
        self.send(key, Message::StreamStateUpdate(message));
    }
}
