//! Permissions that change during a session: what the participant now may do counts at once, and its refresh token says
//! it, so that it counts after a reconnect, too.

use std::sync::Arc;

use livekit_protocol::{
    ParticipantPermission, TrackSource, TrackUnpublishedResponse, signal_response::Message,
};

use super::Room;
use super::participant::ParticipantKey;
use crate::token::VideoGrants;

/// A participant's grants with the permissions in place of its token's.
fn permitted(grants: &VideoGrants, permission: &ParticipantPermission) -> VideoGrants {
    let sources: Vec<_> = permission
        .can_publish_sources
        .iter()
        .filter_map(|source| TrackSource::try_from(*source).ok())
        .filter(|source| *source != TrackSource::Unknown)
        .collect();
    // A restriction to sources that all are unknown must not turn into none at all.
    let any_source = permission.can_publish_sources.is_empty() || !sources.is_empty();
    #[expect(deprecated, reason = "clients of the API still set these two")]
    VideoGrants {
        can_publish: permission.can_publish && any_source,
        can_subscribe: permission.can_subscribe,
        can_publish_data: permission.can_publish_data,
        can_publish_sources: sources,
        can_update_own_metadata: permission.can_update_metadata,
        hidden: permission.hidden,
        recorder: permission.recorder,
        agent: permission.agent,
        ..grants.clone()
    }
}

impl Room {
    /// Replaces what a participant may do. Others hear of it with the next announcement, which is the caller's.
    /// Returns what it could do before.
    pub(super) fn permit(
        &mut self,
        key: ParticipantKey,
        permission: &ParticipantPermission,
    ) -> Option<VideoGrants> {
        let participant = self.participants.get_mut(&key)?;
        let video = permitted(&participant.video, permission);
        let grants = Arc::make_mut(&mut participant.grants);
        let claims = grants.claims.video.get_or_insert_default();
        claims.can_publish = Some(video.can_publish);
        claims.can_subscribe = Some(video.can_subscribe);
        claims.can_publish_data = Some(video.can_publish_data);
        claims.can_publish_sources = (!video.can_publish_sources.is_empty()).then(|| {
            let names = video.can_publish_sources.iter();
            names
                .map(|source| source.as_str_name().to_ascii_lowercase())
                .collect()
        });
        claims.can_update_own_metadata = Some(video.can_update_own_metadata);
        claims.hidden = Some(video.hidden);
        claims.recorder = Some(video.recorder);
        claims.agent = Some(video.agent);
        grants.video = Some(video.clone());
        Some(std::mem::replace(&mut participant.video, video))
    }

    /// Ends what a participant does and may no longer, and begins what it may now.
    pub(super) fn enforce_permissions(&mut self, key: ParticipantKey, before: &VideoGrants) {
        let Some(participant) = self.participants.get(&key) else {
            return;
        };
        let video = participant.video.clone();
        let is_active = participant.is_active();
        let forbidden: Vec<_> = participant
            .published
            .iter()
            .filter_map(|id| self.tracks.get(id))
            .filter(|track| !video.may_publish(track.info.source()))
            .map(|track| (track.id, track.sid.to_string()))
            .collect();
        for (id, track_sid) in forbidden {
            let message = TrackUnpublishedResponse { track_sid };
            self.send(key, Message::TrackUnpublished(message));
            self.unpublish(key, id);
        }
        if !video.can_publish_data {
            self.withdraw_data_tracks(key);
        }
        if video.can_subscribe == before.can_subscribe {
            return;
        }
        if !video.can_subscribe {
            self.drop_received_data_tracks(key);
        }
        // Whoever is not active yet gets everything when it is.
        if is_active {
            self.subscribe_to_all(key);
            if video.can_subscribe {
                self.subscribe_to_data_tracks(key);
            }
        }
    }
}
