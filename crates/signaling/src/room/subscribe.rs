//! Who gets which track, and in which quality.

use std::sync::Arc;

use livekit_protocol::request_response::Reason;
use livekit_protocol::{
    SubscriptionError, SubscriptionPermission, SubscriptionPermissionUpdate, SubscriptionResponse,
    TrackSubscribed, UpdateSubscription, UpdateTrackSettings, signal_response::Message,
};
use schalter_forward::ConsumerConfig;
use schalter_model::TrackId;
use schalter_shard::control::Command;

use super::Room;
use super::participant::ParticipantKey;
use super::request::Refusal;
use super::track::{Quality, Track, Wanted};

/// Subscriptions that one request is told to have failed; each is a message of its own.
const MAX_FAILURES: usize = 64;

/// What a subscriber wants of a track; replaced as a whole by each `track_setting`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    disabled: bool,
    quality: Option<Quality>,
    /// Width and height in pixels; wins over the quality.
    size: Option<(u32, u32)>,
    /// 1 is the highest; 0 is none.
    priority: u32,
}

impl Settings {
    pub(super) fn wanted(self, track: &Track) -> Wanted {
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
    /// As negotiated last.
    pub(super) config: Option<ConsumerConfig>,
    /// What the shard forwards, or will: the track, or its second codec.
    pub(super) media: TrackId,
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

    pub(super) fn wants(&self, key: ParticipantKey, track: &Track) -> bool {
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
                .is_some_and(|owner| owner.is_active() && participant.plays(owner))
    }

    /// Whether the publisher lets this participant have a track.
    pub(super) fn allowed(&self, key: ParticipantKey, track: &Track) -> bool {
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

    pub(super) fn tell_permission(&mut self, key: ParticipantKey, id: TrackId, allowed: bool) {
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
            media: id,
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

    pub(super) fn unsubscribe(&mut self, key: ParticipantKey, id: TrackId) {
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
                    track: subscription.media,
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
            if let (
                Some(Subscription {
                    active: true,
                    media,
                    ..
                }),
                Some(transport),
            ) = (subscription, transport)
            {
                self.counters.subscriptions.sub(1);
                let command = Command::RemoveConsumer {
                    transport,
                    track: media,
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
        let may_subscribe = self.participants[&key].video.can_subscribe;
        let mut failures = 0;
        for sid in named {
            let known = self.tracks_by_sid.get(sid).copied();
            if let Some(id) = known {
                self.choose(key, id, request.subscribe);
            }
            // Not to have what there isn't, or may not be had, is no failure.
            if !request.subscribe {
                continue;
            }
            let track = known.and_then(|id| self.tracks.get(&id));
            let err = match track {
                Some(track) if may_subscribe && track.owner != key => {
                    if self.wants(key, track) && !self.allowed(key, track) {
                        self.tell_permission(key, track.id, false);
                    }
                    continue;
                }
                Some(_) => SubscriptionError::SeUnknown,
                None => SubscriptionError::SeTrackNotfound,
            };
            failures += 1;
            if failures > MAX_FAILURES {
                let refusal = Refusal::new(Reason::LimitExceeded, "too many unknown tracks");
                self.refuse_request(key, 0, refusal, None);
                break;
            }
            self.fail_subscription(key, sid.to_owned(), err);
        }
        if request.subscribe && !may_subscribe {
            let refusal = Refusal::new(Reason::NotAllowed, "not allowed to subscribe");
            self.refuse_request(key, 0, refusal, None);
        }
    }

    pub(super) fn fail_subscription(
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
            let refusal = Refusal::new(Reason::LimitExceeded, "too many entries");
            self.refuse_request(key, 0, refusal, None);
            return;
        }
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        participant.audience = Some(audience);
        self.links.note_change();
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
            priority: request.priority,
        };
        let mut missing = false;
        for sid in &request.track_sids {
            let subscribed = self
                .tracks_by_sid
                .get(&**sid)
                .copied()
                .filter(|id| self.participants[&key].subscriptions.contains_key(id));
            match subscribed {
                Some(id) => self.apply_settings(key, id, settings),
                None => missing = true,
            }
        }
        if missing {
            let refusal = Refusal::new(Reason::NotFound, "not subscribed to such a track");
            self.refuse_request(key, 0, refusal, None);
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
        let subscribed = self
            .participants
            .get(&key)
            .is_some_and(|participant| participant.subscriptions.contains_key(&id));
        if !subscribed || !self.tracks.contains_key(&id) {
            return;
        }
        let before = self.consumer_target(key, id);
        if let Some(subscription) = self
            .participants
            .get_mut(&key)
            .and_then(|participant| participant.subscriptions.get_mut(&id))
        {
            subscription.settings = settings;
        }
        if self.consumer_target(key, id) != before {
            self.tell_target(key, id);
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
        let Subscription {
            settings, media, ..
        } = &self.participants[&key].subscriptions[&id];
        let publisher = self.participants.get(&track.owner);
        let rank = Self::rank(track, publisher, settings.priority);
        let carried = self.tracks.get(media).unwrap_or(track);
        carried.target(settings.wanted(carried), rank)
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
        self.links.note_change();
        let track_sid = track.sid.to_string();
        self.review_quality(id);
        if first {
            self.send(
                owner,
                Message::TrackSubscribed(TrackSubscribed { track_sid }),
            );
        }
    }
}
