//! Data tracks: frames on an unreliable channel, addressed by 16-bit handles that differ at each end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use livekit_protocol::data_track_subscriber_handles::PublishedDataTrack;
use livekit_protocol::encryption::Type as Encryption;
use livekit_protocol::request_response::{Reason, Request};
use livekit_protocol::{
    DataTrackInfo, DataTrackSubscriberHandles, PublishDataTrackRequest, PublishDataTrackResponse,
    UnpublishDataTrackRequest, UnpublishDataTrackResponse, UpdateDataSubscription,
    signal_response::Message,
};
use prost::Message as _;
use schalter_shard::control::Command;

use super::Room;
use super::clear::MUST_ENCRYPT;
use super::data::DATA_TRACK;
use super::participant::ParticipantKey;
use super::request::Refusal;
use crate::ids;

/// Bytes of a frame's fixed header.
const HEADER_LEN: usize = 12;

/// Where the handle stands in it, big-endian.
const HANDLE_AT: usize = 2;

/// How many names of full length a request may hold: its own, and those of schema and encodings.
const MAX_REQUEST_NAMES: usize = 4;

/// A subscription as its subscriber knows it.
#[derive(Clone, Debug)]
struct Subscribed {
    publisher: ParticipantKey,
    publisher_handle: u16,
    track_sid: String,
}

/// Both ends' handles of one participant.
#[derive(Debug, Default)]
pub(super) struct DataSubscriptions {
    /// What it gets, by its own handle.
    received: BTreeMap<u16, Subscribed>,
    /// Who gets its tracks, by its handle: subscriber and the subscriber's handle.
    fanout: HashMap<u16, Vec<(ParticipantKey, u16)>>,
    last_handle: u16,
}

impl DataSubscriptions {
    /// A handle that is not in use; handles are reused as late as possible.
    fn free_handle(&mut self) -> Option<u16> {
        for _ in 0..u16::MAX {
            self.last_handle = self.last_handle.checked_add(1).unwrap_or(1);
            if !self.received.contains_key(&self.last_handle) {
                return Some(self.last_handle);
            }
        }
        None
    }
}

impl Room {
    pub(super) fn on_publish_data_track(
        &mut self,
        key: ParticipantKey,
        request: PublishDataTrackRequest,
    ) {
        match self.publish_data_track(key, &request) {
            Ok(info) => {
                let response = PublishDataTrackResponse {
                    info: Some(info.clone()),
                };
                self.send(key, Message::PublishDataTrackResponse(response));
                self.announce(key);
                self.auto_subscribe_data_track(key, &info.sid);
            }
            Err(refusal) => {
                let echo = Some(Request::PublishDataTrack(request));
                self.refuse_request(key, 0, refusal, echo);
            }
        }
    }

    fn publish_data_track(
        &mut self,
        key: ParticipantKey,
        request: &PublishDataTrackRequest,
    ) -> Result<DataTrackInfo, Refusal> {
        let in_clear = request.encryption() == Encryption::None && self.refuses_clear();
        let limits = &self.config.limits;
        let sid = ids::sid("DTR_", &mut self.rng);
        let Some(participant) = self.participants.get_mut(&key) else {
            return Err(Refusal::new(Reason::NotFound, ""));
        };
        let tracks = &mut participant.data_tracks;
        let refusal = if !participant.video.can_publish_data {
            Some((Reason::NotAllowed, "not allowed to publish data"))
        } else if in_clear {
            self.counters.clear_tracks_refused.add(1);
            Some((Reason::NotAllowed, MUST_ENCRYPT))
        } else if !(1..=u32::from(u16::MAX)).contains(&request.pub_handle) {
            Some((Reason::InvalidHandle, "handles are 1 to 65535"))
        } else if request.name.is_empty() || request.name.len() > limits.name_bytes {
            Some((Reason::InvalidName, "the name is empty or too long"))
        } else if tracks.iter().any(|t| t.pub_handle == request.pub_handle) {
            Some((Reason::DuplicateHandle, "the handle is in use"))
        } else if tracks.iter().any(|t| t.name == request.name) {
            Some((Reason::DuplicateName, "the name is in use"))
        } else if request.encoded_len() > MAX_REQUEST_NAMES * limits.name_bytes {
            Some((Reason::LimitExceeded, "the description is too long"))
        } else if tracks.len() >= limits.data_tracks_per_participant {
            Some((Reason::LimitExceeded, "too many data tracks"))
        } else {
            None
        };
        if let Some((reason, text)) = refusal {
            return Err(Refusal::new(reason, text));
        }
        let info = DataTrackInfo {
            pub_handle: request.pub_handle,
            sid: sid.to_string(),
            name: request.name.clone(),
            encryption: request.encryption,
            frame_encoding: request.frame_encoding.clone(),
            schema: request.schema.clone(),
        };
        tracks.push(info.clone());
        participant.is_publisher = true;
        Ok(info)
    }

    pub(super) fn on_unpublish_data_track(
        &mut self,
        key: ParticipantKey,
        request: UnpublishDataTrackRequest,
    ) {
        let place = self.participants.get(&key).and_then(|p| {
            p.data_tracks
                .iter()
                .position(|t| t.pub_handle == request.pub_handle)
        });
        let (Some(place), Some(participant)) = (place, self.participants.get_mut(&key)) else {
            let refusal = Refusal::new(Reason::NotFound, "no such data track");
            self.refuse_request(key, 0, refusal, Some(Request::UnpublishDataTrack(request)));
            return;
        };
        let info = participant.data_tracks.remove(place);
        self.drop_fanout(key, info.pub_handle as u16);
        let response = UnpublishDataTrackResponse { info: Some(info) };
        self.send(key, Message::UnpublishDataTrackResponse(response));
        self.announce(key);
    }

    fn drop_fanout(&mut self, publisher: ParticipantKey, handle: u16) {
        let subscribers = self
            .participants
            .get_mut(&publisher)
            .and_then(|p| p.data_subscriptions.fanout.remove(&handle))
            .unwrap_or_default();
        for (subscriber, handle) in subscribers {
            if let Some(participant) = self.participants.get_mut(&subscriber) {
                participant.data_subscriptions.received.remove(&handle);
            }
            self.send_data_handles(subscriber);
        }
    }

    /// Ends everything that a leaving participant publishes or gets.
    pub(super) fn drop_data_tracks(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let handles: Vec<_> = participant
            .data_tracks
            .drain(..)
            .map(|track| track.pub_handle as u16)
            .collect();
        let received = std::mem::take(&mut participant.data_subscriptions.received);
        for handle in handles {
            self.drop_fanout(key, handle);
        }
        for (handle, subscribed) in received {
            self.leave_fanout(&subscribed, key, handle);
        }
    }

    /// Unpublishes all data tracks of a participant that may not have any more.
    pub(super) fn withdraw_data_tracks(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let tracks = std::mem::take(&mut participant.data_tracks);
        if tracks.is_empty() {
            return;
        }
        for info in tracks {
            self.drop_fanout(key, info.pub_handle as u16);
            let response = UnpublishDataTrackResponse { info: Some(info) };
            self.send(key, Message::UnpublishDataTrackResponse(response));
        }
        self.announce(key);
    }

    /// Ends what a participant gets that may not subscribe any more.
    pub(super) fn drop_received_data_tracks(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let received = std::mem::take(&mut participant.data_subscriptions.received);
        if received.is_empty() {
            return;
        }
        for (handle, subscribed) in received {
            self.leave_fanout(&subscribed, key, handle);
        }
        self.send_data_handles(key);
    }

    fn leave_fanout(&mut self, subscribed: &Subscribed, subscriber: ParticipantKey, handle: u16) {
        if let Some(list) = self
            .participants
            .get_mut(&subscribed.publisher)
            .and_then(|p| {
                p.data_subscriptions
                    .fanout
                    .get_mut(&subscribed.publisher_handle)
            })
        {
            list.retain(|entry| *entry != (subscriber, handle));
        }
    }

    pub(super) fn on_data_subscription(
        &mut self,
        key: ParticipantKey,
        request: &UpdateDataSubscription,
    ) {
        let mut changed = false;
        let mut missing = false;
        for update in &request.updates {
            match self.subscribe_data_track(key, &update.track_sid, update.subscribe) {
                Some(news) => changed |= news,
                None => missing |= update.subscribe,
            }
        }
        if missing {
            let refusal = if self.participants[&key].video.can_subscribe {
                Refusal::new(Reason::NotFound, "no such data track")
            } else {
                Refusal::new(Reason::NotAllowed, "not allowed to subscribe")
            };
            self.refuse_request(key, 0, refusal, None);
        }
        if changed {
            self.send_data_handles(key);
        }
    }

    /// Returns whether anything changed, `None` if the track can't be had.
    fn subscribe_data_track(
        &mut self,
        key: ParticipantKey,
        sid: &str,
        subscribe: bool,
    ) -> Option<bool> {
        let subscriber = self.participants.get_mut(&key)?;
        let known = subscriber
            .data_subscriptions
            .received
            .iter()
            .find(|(_, s)| s.track_sid == sid)
            .map(|(handle, _)| *handle);
        match (known, subscribe) {
            (Some(handle), false) => {
                let subscribed = subscriber.data_subscriptions.received.remove(&handle)?;
                self.leave_fanout(&subscribed, key, handle);
                Some(true)
            }
            (Some(_), true) | (None, false) => Some(false),
            (None, true) => {
                if !subscriber.video.can_subscribe {
                    return None;
                }
                let (publisher, publisher_handle) =
                    self.participants.iter().find_map(|(publisher, p)| {
                        let track = p.data_tracks.iter().find(|t| t.sid == sid)?;
                        (*publisher != key && !p.video.hidden)
                            .then_some((*publisher, track.pub_handle as u16))
                    })?;
                let subscriber = self.participants.get_mut(&key)?;
                let handle = subscriber.data_subscriptions.free_handle()?;
                let subscribed = Subscribed {
                    publisher,
                    publisher_handle,
                    track_sid: sid.to_owned(),
                };
                subscriber
                    .data_subscriptions
                    .received
                    .insert(handle, subscribed);
                self.participants
                    .get_mut(&publisher)?
                    .data_subscriptions
                    .fanout
                    .entry(publisher_handle)
                    .or_default()
                    .push((key, handle));
                Some(true)
            }
        }
    }

    fn auto_subscribe_data_track(&mut self, publisher: ParticipantKey, sid: &str) {
        let subscribers: Vec<_> = self
            .participants
            .iter()
            .filter(|(key, p)| **key != publisher && p.auto_subscribe_data_tracks && p.is_active())
            .map(|(key, _)| *key)
            .collect();
        for key in subscribers {
            if self.subscribe_data_track(key, sid, true) == Some(true) {
                self.send_data_handles(key);
            }
        }
    }

    /// Everything a new participant gets without asking.
    pub(super) fn subscribe_to_data_tracks(&mut self, key: ParticipantKey) {
        if !self
            .participants
            .get(&key)
            .is_some_and(|p| p.auto_subscribe_data_tracks)
        {
            return;
        }
        let sids: Vec<_> = self
            .participants
            .values()
            .flat_map(|p| p.data_tracks.iter().map(|t| t.sid.clone()))
            .collect();
        let mut changed = false;
        for sid in sids {
            changed |= self.subscribe_data_track(key, &sid, true) == Some(true);
        }
        if changed {
            self.send_data_handles(key);
        }
    }

    /// The whole map, if there is anything in it.
    pub(super) fn resend_data_handles(&mut self, key: ParticipantKey) {
        if self
            .participants
            .get(&key)
            .is_some_and(|p| !p.data_subscriptions.received.is_empty())
        {
            self.send_data_handles(key);
        }
    }

    fn send_data_handles(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get(&key) else {
            return;
        };
        let sub_handles = participant
            .data_subscriptions
            .received
            .iter()
            .filter_map(|(handle, subscribed)| {
                let publisher = self.participants.get(&subscribed.publisher)?;
                let track = PublishedDataTrack {
                    publisher_identity: publisher.identity.to_string(),
                    publisher_sid: publisher.sid.to_string(),
                    track_sid: subscribed.track_sid.clone(),
                };
                Some((u32::from(*handle), track))
            })
            .collect();
        let handles = DataTrackSubscriberHandles { sub_handles };
        self.send(key, Message::DataTrackSubscriberHandles(handles));
    }

    /// Hands a frame to who subscribed to its track. Returns whether it was acceptable.
    pub(super) fn relay_frame(&mut self, key: ParticipantKey, frame: &[u8]) -> bool {
        let now = self.now;
        let Some(sender) = self.participants.get_mut(&key) else {
            return false;
        };
        if frame.len() < HEADER_LEN {
            return false;
        }
        let handle = u16::from_be_bytes([frame[HANDLE_AT], frame[HANDLE_AT + 1]]);
        if !sender
            .data_tracks
            .iter()
            .any(|t| t.pub_handle == u32::from(handle))
        {
            return false;
        }
        let receivers = sender
            .data_subscriptions
            .fanout
            .get(&handle)
            .cloned()
            .unwrap_or_default();
        if !sender.data.admits_lossy(frame.len(), receivers.len(), now) {
            self.counters.data_overload.add(1);
            return true;
        }
        let label: Arc<str> = DATA_TRACK.into();
        for (key, handle) in receivers {
            let Some(receiver) = self.participants.get(&key).filter(|p| p.is_active()) else {
                continue;
            };
            let Some(transport) = receiver.transports.get(receiver.downlink_role()) else {
                continue;
            };
            let mut data = frame.to_vec();
            data[HANDLE_AT..HANDLE_AT + 2].copy_from_slice(&handle.to_be_bytes());
            let command = Command::SendData {
                transports: vec![transport.id],
                label: Arc::clone(&label),
                binary: true,
                must_arrive: false,
                data: Bytes::from(data),
            };
            let shard = receiver.shard;
            self.media(shard, command);
        }
        true
    }
}
