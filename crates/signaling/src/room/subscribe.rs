//! Who gets which track in which quality, and what publishers are asked to send for it.

use std::sync::Arc;

use livekit_protocol::request_response::Reason;
use livekit_protocol::{
    SubscribedCodec, SubscribedQuality, SubscribedQualityUpdate, SubscriptionError,
    SubscriptionPermission, SubscriptionPermissionUpdate, SubscriptionResponse, TrackSubscribed,
    UpdateSubscription, UpdateTrackSettings, signal_response::Message,
};
use schalter_forward::ConsumerConfig;
use schalter_model::{MediaKind, Time, TrackId, TransportId};
use schalter_shard::control::{Command, Refusal};

use super::participant::ParticipantKey;
use super::track::{Quality, Track, Wanted};
use super::{Room, Timer};

/// What a subscriber wants of a track; replaced as a whole by each `track_setting`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    disabled: bool,
    quality: Option<Quality>,
    /// Width and height in pixels; wins over the quality.
    size: Option<(u32, u32)>,
}

impl Settings {
    fn wanted(self, track: &Track) -> Wanted {
        if self.disabled {
            return Wanted::Nothing;
        }
        let quality = match (self.size, self.quality) {
            (Some((width, height)), _) => track.quality_for(width, height),
            (None, Some(quality)) => quality.min(track.top()),
            (None, None) => track.top(),
        };
        Wanted::UpTo(quality)
    }
}

/// One participant's subscription to one track.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub(super) settings: Settings,
    /// SSRCs in the subscriber's SDP, the same as long as the subscription lasts.
    pub(super) ssrc: u32,
    pub(super) rtx_ssrc: u32,
    /// The mid it is bound to, once negotiated or about to be.
    pub(super) mid: Option<Arc<str>>,
    /// As the shard was last told.
    pub(super) config: Option<ConsumerConfig>,
    /// The shard forwards.
    pub(super) active: bool,
}

impl Room {
    /// What a participant gets once it is active.
    pub(super) fn subscribe_to_all(&mut self, key: ParticipantKey) {
        let tracks: Vec<_> = self.tracks.keys().copied().collect();
        for track in tracks {
            let owner = self.tracks[&track].owner;
            if owner == key {
                self.offer_to_all(track);
            } else {
                self.reconcile(key, track);
            }
        }
    }

    /// Subscribes everybody who wants a track that is new or newly allowed.
    pub(super) fn offer_to_all(&mut self, track: TrackId) {
        let keys: Vec<_> = self.participants.keys().copied().collect();
        for key in keys {
            self.reconcile(key, track);
        }
    }

    fn wants(&self, key: ParticipantKey, track: &Track) -> bool {
        let Some(participant) = self.participants.get(&key) else {
            return false;
        };
        let chosen = participant
            .choices
            .get(&track.id)
            .copied()
            .unwrap_or(participant.auto_subscribe);
        chosen
            && track.owner != key
            && track.announced
            && participant.is_active()
            && participant.video.can_subscribe
            && self
                .participants
                .get(&track.owner)
                .is_some_and(|owner| owner.is_active())
    }

    /// Whether the publisher lets this participant have a track.
    fn allowed(&self, key: ParticipantKey, track: &Track) -> bool {
        let (Some(subscriber), Some(owner)) = (
            self.participants.get(&key),
            self.participants.get(&track.owner),
        ) else {
            return false;
        };
        let Some(audience) = &owner.audience else {
            return true;
        };
        audience.all_participants
            || audience.track_permissions.iter().any(|permission| {
                let meant = (!permission.participant_identity.is_empty()
                    && permission.participant_identity == *subscriber.identity)
                    || (!permission.participant_sid.is_empty()
                        && permission.participant_sid == *subscriber.sid);
                meant
                    && (permission.all_tracks
                        || permission.track_sids.iter().any(|sid| **sid == *track.sid))
            })
    }

    /// Makes a subscription what it should be.
    fn reconcile(&mut self, key: ParticipantKey, id: TrackId) {
        let Some(track) = self.tracks.get(&id) else {
            return;
        };
        let wants = self.wants(key, track);
        let allowed = self.allowed(key, track);
        let subscribed = track.subscribers.contains(&key);
        if wants && allowed && !subscribed {
            self.subscribe(key, id);
            self.tell_permission(key, id, true);
        } else if subscribed && !(wants && allowed) {
            self.unsubscribe(key, id);
            if !allowed {
                self.tell_permission(key, id, false);
            }
        }
    }

    fn tell_permission(&mut self, key: ParticipantKey, id: TrackId, allowed: bool) {
        let Some(track) = self.tracks.get(&id) else {
            return;
        };
        let Some(owner) = self.participants.get(&track.owner) else {
            return;
        };
        let message = SubscriptionPermissionUpdate {
            participant_sid: owner.sid.to_string(),
            track_sid: track.sid.to_string(),
            allowed,
        };
        self.send(key, Message::SubscriptionPermissionUpdate(message));
    }

    fn subscribe(&mut self, key: ParticipantKey, id: TrackId) {
        let subscription = Subscription {
            settings: Settings::default(),
            ssrc: self.fresh_ssrc(),
            rtx_ssrc: self.fresh_ssrc(),
            mid: None,
            config: None,
            active: false,
        };
        let (Some(track), Some(participant)) =
            (self.tracks.get_mut(&id), self.participants.get_mut(&key))
        else {
            return;
        };
        track.subscribers.insert(key);
        participant.subscriptions.insert(id, subscription);
        self.negotiate.insert(key);
    }

    fn unsubscribe(&mut self, key: ParticipantKey, id: TrackId) {
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        track.subscribers.remove(&key);
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let Some(subscription) = participant.subscriptions.remove(&id) else {
            return;
        };
        participant.transports.unbind(id);
        let shard = participant.shard;
        if subscription.active {
            self.counters.subscriptions.sub(1);
            if let Some(transport) = participant
                .transports
                .get(participant.downlink_role())
                .map(|t| t.id)
            {
                let command = Command::RemoveConsumer {
                    transport,
                    track: id,
                };
                self.media(shard, command);
            }
        }
        self.negotiate.insert(key);
        self.review_quality(id);
    }

    /// Ends all subscriptions of a participant that leaves; its transports go with it.
    pub(super) fn drop_subscriptions(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        for (id, subscription) in std::mem::take(&mut participant.subscriptions) {
            if subscription.active {
                self.counters.subscriptions.sub(1);
            }
            if let Some(track) = self.tracks.get_mut(&id) {
                track.subscribers.remove(&key);
            }
            self.review_quality(id);
        }
    }

    /// Ends all subscriptions to a track that ends.
    pub(super) fn drop_subscribers(&mut self, id: TrackId) {
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        for key in std::mem::take(&mut track.subscribers) {
            let Some(participant) = self.participants.get_mut(&key) else {
                continue;
            };
            participant.transports.unbind(id);
            let subscription = participant.subscriptions.remove(&id);
            let shard = participant.shard;
            let transport = participant
                .transports
                .get(participant.downlink_role())
                .map(|t| t.id);
            if let (Some(Subscription { active: true, .. }), Some(transport)) =
                (subscription, transport)
            {
                self.counters.subscriptions.sub(1);
                let command = Command::RemoveConsumer {
                    transport,
                    track: id,
                };
                self.media(shard, command);
            }
            self.negotiate.insert(key);
        }
        for participant in self.participants.values_mut() {
            participant.choices.remove(&id);
        }
    }

    pub(super) fn on_subscription(&mut self, key: ParticipantKey, request: &UpdateSubscription) {
        let mut named: Vec<&str> = request.track_sids.iter().map(String::as_str).collect();
        named.extend(
            request
                .participant_tracks
                .iter()
                .flat_map(|tracks| tracks.track_sids.iter().map(String::as_str)),
        );
        named.sort_unstable();
        named.dedup();
        for sid in named {
            let Some(id) = self.tracks_by_sid.get(sid).copied() else {
                if request.subscribe {
                    self.fail_subscription(key, sid.to_owned(), SubscriptionError::SeTrackNotfound);
                }
                continue;
            };
            self.choose(key, id, request.subscribe);
            let Some(track) = self.tracks.get(&id) else {
                continue;
            };
            if request.subscribe && self.wants(key, track) && !self.allowed(key, track) {
                self.tell_permission(key, id, false);
            }
        }
    }

    fn fail_subscription(
        &mut self,
        key: ParticipantKey,
        track_sid: String,
        err: SubscriptionError,
    ) {
        let response = SubscriptionResponse {
            track_sid,
            err: err as i32,
        };
        self.send(key, Message::SubscriptionResponse(response));
    }

    /// Remembers an explicit choice and follows it.
    pub(super) fn choose(&mut self, key: ParticipantKey, id: TrackId, subscribe: bool) {
        if let Some(participant) = self.participants.get_mut(&key) {
            participant.choices.insert(id, subscribe);
            self.reconcile(key, id);
        }
    }

    pub(super) fn on_subscription_permission(
        &mut self,
        key: ParticipantKey,
        audience: SubscriptionPermission,
    ) {
        let limits = &self.config.limits;
        let permissions = &audience.track_permissions;
        let too_many = permissions.len() > limits.participants_per_room
            || permissions
                .iter()
                .any(|p| p.track_sids.len() > limits.tracks_per_participant);
        if too_many {
            let refusal = super::request::Refusal::new(Reason::LimitExceeded, "too many entries");
            self.refuse_request(key, 0, refusal, None);
            return;
        }
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        participant.audience = Some(audience);
        for track in participant.published.clone() {
            self.offer_to_all(track);
        }
    }

    pub(super) fn on_track_setting(&mut self, key: ParticipantKey, request: &UpdateTrackSettings) {
        let settings = Settings {
            disabled: request.disabled,
            quality: Some(Quality::of(request.quality)),
            size: (request.width > 0 || request.height > 0)
                .then_some((request.width, request.height)),
        };
        for sid in &request.track_sids {
            if let Some(id) = self.tracks_by_sid.get(&**sid).copied() {
                self.apply_settings(key, id, settings);
            }
        }
    }

    /// Disables tracks without a wish for a quality, as a resuming client names them.
    pub(super) fn disable_tracks(&mut self, key: ParticipantKey, sids: &[Arc<str>]) {
        for sid in sids {
            let Some(id) = self.tracks_by_sid.get(sid).copied() else {
                continue;
            };
            let Some(subscription) = self
                .participants
                .get(&key)
                .and_then(|p| p.subscriptions.get(&id))
            else {
                continue;
            };
            let settings = Settings {
                disabled: true,
                ..subscription.settings
            };
            self.apply_settings(key, id, settings);
        }
    }

    fn apply_settings(&mut self, key: ParticipantKey, id: TrackId, settings: Settings) {
        let (Some(track), Some(participant)) =
            (self.tracks.get(&id), self.participants.get_mut(&key))
        else {
            return;
        };
        let role = participant.downlink_role();
        let Some(subscription) = participant.subscriptions.get_mut(&id) else {
            return;
        };
        let before = track.target(subscription.settings.wanted(track));
        subscription.settings = settings;
        let target = track.target(settings.wanted(track));
        let active = subscription.active;
        let shard = participant.shard;
        if let Some(transport) = participant.transports.get(role).map(|t| t.id)
            && active
            && target != before
        {
            let command = Command::SetConsumerTarget {
                transport,
                track: id,
                target,
            };
            self.media(shard, command);
        }
        self.review_quality(id);
    }

    /// What the shard is told of a subscription's wish now.
    pub(super) fn consumer_target(
        &self,
        key: ParticipantKey,
        id: TrackId,
    ) -> schalter_forward::ConsumerTarget {
        let track = &self.tracks[&id];
        let settings = self.participants[&key].subscriptions[&id].settings;
        track.target(settings.wanted(track))
    }

    /// Notes that the shard forwards from now on.
    pub(super) fn consumer_added(&mut self, key: ParticipantKey, id: TrackId) {
        let Some(subscription) = self
            .participants
            .get_mut(&key)
            .and_then(|p| p.subscriptions.get_mut(&id))
        else {
            return;
        };
        if subscription.active {
            return;
        }
        subscription.active = true;
        self.counters.subscriptions.add(1);
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        let (owner, first) = (track.owner, !track.subscribed_told);
        track.subscribed_told = true;
        let track_sid = track.sid.to_string();
        self.review_quality(id);
        if first {
            self.send(
                owner,
                Message::TrackSubscribed(TrackSubscribed { track_sid }),
            );
        }
    }

    /// Asks the publisher for what its subscribers want: more at once, less after a while.
    pub(super) fn review_quality(&mut self, id: TrackId) {
        let Some(track) = self.tracks.get(&id) else {
            return;
        };
        if track.kind != MediaKind::Video {
            return;
        }
        let wanted = self.wanted(track);
        // Before anybody subscribed there is nothing to take back.
        if track.wanted_told.is_none() && wanted == Wanted::Nothing {
            return;
        }
        let (told, down_at) = (track.wanted_told, track.quality_down_at);
        if told.is_none_or(|told| wanted > told) {
            self.tell_quality(id, wanted);
        } else if told == Some(wanted) {
            if let Some(track) = self.tracks.get_mut(&id) {
                track.quality_down_at = None;
            }
        } else if down_at.is_none() {
            let at = self.now + self.config.quality_down_delay;
            if let Some(track) = self.tracks.get_mut(&id) {
                track.quality_down_at = Some(at);
            }
            self.arm(at, Timer::QualityDown(id));
        }
    }

    fn wanted(&self, track: &Track) -> Wanted {
        track
            .subscribers
            .iter()
            .filter_map(|key| self.participants.get(key)?.subscriptions.get(&track.id))
            .filter(|subscription| subscription.active)
            .map(|subscription| subscription.settings.wanted(track))
            .max()
            .unwrap_or(Wanted::Nothing)
    }

    pub(super) fn on_quality_timer(&mut self, id: TrackId, at: Time) {
        let Some(track) = self.tracks.get(&id) else {
            return;
        };
        if track.quality_down_at != Some(at) {
            return;
        }
        let wanted = self.wanted(track);
        self.tell_quality(id, wanted);
    }

    fn tell_quality(&mut self, id: TrackId, wanted: Wanted) {
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        track.quality_down_at = None;
        if track.wanted_told == Some(wanted) {
            return;
        }
        track.wanted_told = Some(wanted);
        let owner = track.owner;
        let qualities: Vec<_> = Quality::ALL
            .into_iter()
            .map(|quality| SubscribedQuality {
                quality: quality.wire() as i32,
                enabled: wanted >= Wanted::UpTo(quality),
            })
            .collect();
        let codec = track
            .info
            .codecs
            .first()
            .map(|codec| codec.mime_type.to_ascii_lowercase())
            .unwrap_or_default();
        let codec = codec.strip_prefix("video/").unwrap_or(&codec).to_owned();
        #[expect(deprecated, reason = "older clients read this list")]
        let message = SubscribedQualityUpdate {
            track_sid: track.sid.to_string(),
            subscribed_qualities: qualities.clone(),
            subscribed_codecs: vec![SubscribedCodec { codec, qualities }],
        };
        self.send(owner, Message::SubscribedQualityUpdate(message));
    }

    pub(super) fn on_media_refused(
        &mut self,
        transport: TransportId,
        track: Option<TrackId>,
        reason: Refusal,
    ) {
        let Some((key, _)) = self.by_transport.get(&transport).copied() else {
            return;
        };
        if track.is_none() {
            self.on_transport_refused(key, reason);
            return;
        }
        let sid = track.and_then(|id| self.tracks.get(&id)).map(|t| &t.sid);
        tracing::warn!(room = %self.sid, ?sid, ?reason, "the media plane refused");
        let (Some(id), Some(sid)) = (track, sid.map(ToString::to_string)) else {
            return;
        };
        if !self.participants[&key].subscriptions.contains_key(&id) {
            return;
        }
        let err = match reason {
            Refusal::NoCommonCodec => SubscriptionError::SeCodecUnsupported,
            Refusal::UnknownTrack => SubscriptionError::SeTrackNotfound,
            Refusal::UnknownTransport | Refusal::Limit | Refusal::InvalidConfig => {
                SubscriptionError::SeUnknown
            }
        };
        self.unsubscribe(key, id);
        self.fail_subscription(key, sid, err);
    }
}
