//! What a participant gets: asking its client for sections, or offering them, and telling the shard what they carry.

use std::sync::Arc;
use std::time::Duration;

use livekit_protocol::request_response::Reason;
use livekit_protocol::{
    DisconnectReason, MediaSectionsRequirement, SessionDescription as WireDescription,
    SignalTarget, signal_response::Message,
};
use schalter_forward::ConsumerConfig;
use schalter_model::{MediaKind, Time, TrackId};
use schalter_shard::control::Command;

use super::participant::ParticipantKey;
use super::request::Refusal;
use super::transport::{Downlink, Requirement, TransportRole};
use super::{ConnectionMode, Room, Timer};
use crate::sdp::{self, OfferSection, SessionDescription};
use crate::stats::JoinStage;

/// Answers in a row that can't be used before the session ends. What is wrong with one may be gone in the next; a
/// client that can't answer at all must not be asked for ever.
const MAX_UNUSABLE_ANSWERS: u8 = 3;

/// How often a client is asked for an offer in all before it is left alone: each time it may add sections.
const MAX_REQUIREMENTS: u8 = 4;

/// How long a client has to offer when asked. Longer than any client takes that heard of it, shorter than people wait.
const REQUIREMENT_PATIENCE: Duration = Duration::from_secs(4);

/// The mid of the data section of our own offers.
const DATA_MID: &str = "0";

impl Room {
    /// Tells the shard of every bound subscription that is new or renegotiated.
    pub(super) fn consume(&mut self, key: ParticipantKey, remote: &SessionDescription) {
        let codecs = self.codecs();
        let participant = &self.participants[&key];
        let role = participant.downlink_role();
        let Some(transport) = participant.transports.get(role) else {
            return;
        };
        // Tracks on sections whose stream the client knows by the section alone.
        let on_fixed_streams: Vec<TrackId> = transport
            .downlinks
            .iter()
            .filter(|downlink| downlink.stream.is_some())
            .filter_map(|downlink| downlink.track)
            .collect();
        let mut added: Vec<(TrackId, ConsumerConfig)> = Vec::new();
        let mut refused = Vec::new();
        for (id, subscription) in &participant.subscriptions {
            let Some(mid) = &subscription.mid else {
                continue;
            };
            let reception = remote
                .section(mid)
                .and_then(|section| section.reception(codecs));
            let (Some(reception), Some(track)) = (reception, self.send_track(participant, *id))
            else {
                refused.push(*id);
                continue;
            };
            let target = self.consumer_target(key, *id);
            let config = ConsumerConfig {
                continues: on_fixed_streams.contains(id),
                ..reception.consumer_config(&track, target)
            };
            let same = subscription.config.as_ref().is_some_and(|before| {
                ConsumerConfig {
                    target,
                    ..before.clone()
                } == config
            });
            if !same {
                added.push((*id, config));
            }
        }
        for id in refused {
            self.unbind_consumer(key, id);
        }
        for (id, config) in added {
            self.apply_negotiated(key, id, config);
        }
    }

    /// A subscription lost its section: it waits for another.
    pub(super) fn unbind_consumer(&mut self, key: ParticipantKey, id: TrackId) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let shard = participant.shard;
        let transport = participant
            .transports
            .get(participant.downlink_role())
            .map(|t| t.id);
        let Some(subscription) = participant.subscriptions.get_mut(&id) else {
            return;
        };
        subscription.mid = None;
        subscription.config = None;
        if let (true, Some(transport)) = (subscription.active, transport) {
            subscription.active = false;
            self.counters.subscriptions.sub(1);
            let command = Command::RemoveConsumer {
                transport,
                track: subscription.media,
            };
            self.media(shard, command);
        }
    }

    /// Starts a negotiation if the client's view of its downlinks is out of date and none is under way.
    pub(super) fn negotiate_downlinks(&mut self, key: ParticipantKey) {
        match self.participants.get(&key).map(|p| p.mode) {
            Some(ConnectionMode::Single) => self.require_sections(key),
            Some(ConnectionMode::Dual) => self.offer_downlinks(key),
            Some(ConnectionMode::Http) => self.set_stage(key),
            None => {}
        }
    }

    /// Single mode: asks the client for an offer with sections enough.
    fn require_sections(&mut self, key: ParticipantKey) {
        let asked = self
            .transport_mut(key, TransportRole::Publisher)
            .is_some_and(|transport| transport.requirement.is_some());
        if !asked {
            self.ask_for_sections(key, 1);
        }
    }

    /// Single mode: asks for the `times`-th time, if there is need and somebody to ask.
    fn ask_for_sections(&mut self, key: ParticipantKey, times: u8) {
        let Some(participant) = self.participants.get(&key) else {
            return;
        };
        let Some(transport) = participant.transports.get(TransportRole::Publisher) else {
            return;
        };
        let missing = |kind: MediaKind| {
            let pending = participant
                .subscriptions
                .iter()
                .filter(|(id, s)| {
                    s.mid.is_none() && self.tracks.get(id).is_some_and(|t| t.kind == kind)
                })
                .count();
            let free = transport
                .downlinks
                .iter()
                .filter(|d| d.kind == kind && d.track.is_none())
                .count();
            (pending, pending.saturating_sub(free) as u32)
        };
        let (audio_pending, num_audios) = missing(MediaKind::Audio);
        let (video_pending, num_videos) = missing(MediaKind::Video);
        let needed = transport.dirty || audio_pending + video_pending > 0;
        if !needed || participant.connection.is_none() {
            return;
        }
        let due = self.now + REQUIREMENT_PATIENCE;
        if let Some(transport) = self.transport_mut(key, TransportRole::Publisher) {
            transport.requirement = Some(Requirement { times, due });
        }
        self.arm(due, Timer::Requirement(key));
        let requirement = MediaSectionsRequirement {
            num_audios,
            num_videos,
        };
        self.send(key, Message::MediaSectionsRequirement(requirement));
    }

    /// Single mode: the client has not offered. It may have been asked while it could not, or have offered what can't be
    /// used; without another word it would never get what it waits for. A last time of silence ends the asking only: what
    /// is subscribed next is asked for anew, and what the client has goes on.
    pub(super) fn on_requirement_timer(&mut self, key: ParticipantKey, at: Time) {
        let Some(transport) = self.transport_mut(key, TransportRole::Publisher) else {
            return;
        };
        let Some(requirement) = transport.requirement.take_if(|r| r.due == at) else {
            return;
        };
        if requirement.times < MAX_REQUIREMENTS {
            self.ask_for_sections(key, requirement.times + 1);
        } else {
            tracing::debug!(room = %self.sid, participant = %self.participants[&key].sid, "no offer though asked");
        }
    }

    /// Single mode: a request that a lost socket may have swallowed is due again.
    pub(super) fn forget_requirement(&mut self, key: ParticipantKey) {
        if let Some(transport) = self.transport_mut(key, TransportRole::Publisher) {
            transport.requirement = None;
            self.negotiate.insert(key);
        }
    }

    /// Dual mode: opens the subscriber's transport with its data channels.
    pub(super) fn open_subscriber(&mut self, key: ParticipantKey) {
        self.open(key, TransportRole::Subscriber);
        self.send_offer(key);
        self.trickle(key, SignalTarget::Subscriber);
    }

    /// Dual mode: offers again with new credentials, whatever was under way.
    pub(super) fn restart_subscriber(&mut self, key: ParticipantKey) {
        self.restart_ice(key, TransportRole::Subscriber);
        self.bind_or_grow(key);
        self.send_offer(key);
        self.trickle(key, SignalTarget::Subscriber);
    }

    fn offer_downlinks(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get(&key) else {
            return;
        };
        let waiting = participant
            .transports
            .get(TransportRole::Subscriber)
            .is_none_or(|t| t.offer_sent.is_some());
        if waiting || participant.connection.is_none() {
            return;
        }
        self.bind_or_grow(key);
        let dirty = self
            .transport_mut(key, TransportRole::Subscriber)
            .is_some_and(|t| t.dirty);
        if dirty {
            self.send_offer(key);
        }
    }

    /// Dual mode: binds all pending subscriptions, with new sections where none is free.
    fn bind_or_grow(&mut self, key: ParticipantKey) {
        let role = TransportRole::Subscriber;
        self.bind_pending(key, role);
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let pending: Vec<_> = participant
            .subscriptions
            .iter()
            .filter(|(_, s)| s.mid.is_none())
            .filter_map(|(id, _)| self.tracks.get(id).map(|t| t.kind))
            .collect();
        let Some(transport) = participant.transports.get_mut(role) else {
            return;
        };
        for kind in pending {
            // The data section is the first; sections never go away.
            let mid = (transport.downlinks.len() + 1).to_string().into();
            transport.downlinks.push(Downlink {
                mid,
                kind,
                track: None,
                used: false,
                stream: None,
            });
        }
        self.bind_pending(key, role);
    }

    fn send_offer(&mut self, key: ParticipantKey) {
        let role = TransportRole::Subscriber;
        let due = self.now + self.config.answer_timeout;
        let Some(transport) = self.transport_mut(key, role) else {
            return;
        };
        transport.answer_due = due;
        transport.version += 1;
        transport.last_offer = transport.last_offer.wrapping_add(1).max(1);
        transport.offer_sent = Some(transport.last_offer);
        transport.dirty = false;
        let participant = &self.participants[&key];
        let Some(transport) = participant.transports.get(role) else {
            return;
        };
        let media = transport.downlinks.iter().map(|d| OfferSection::Media {
            mid: Arc::clone(&d.mid),
            kind: d.kind,
            track: d.track.and_then(|id| self.send_track(participant, id)),
        });
        let data = OfferSection::Data {
            mid: DATA_MID.into(),
        };
        let sections: Vec<_> = std::iter::once(data).chain(media).collect();
        let candidates = self.candidates(key);
        let description = WireDescription {
            r#type: "offer".to_owned(),
            sdp: sdp::server_offer(&self.local(transport, &candidates), &sections),
            id: transport.last_offer,
            mid_to_track_id: self.mid_to_track_id(key, role),
        };
        self.send(key, Message::Offer(description));
        self.arm(due, Timer::Answer(key));
    }

    /// Dual mode: without its answer no later offer could follow, and what is published from now on would never come.
    pub(super) fn on_answer_timer(&mut self, key: ParticipantKey, at: Time) {
        let Some(participant) = self.participants.get(&key) else {
            return;
        };
        let overdue = participant
            .transports
            .get(TransportRole::Subscriber)
            .is_some_and(|t| t.offer_sent.is_some() && t.answer_due == at);
        // A client without a socket hears of the offer, and of a new one, when it resumes.
        if overdue && participant.connection.is_some() {
            tracing::debug!(room = %self.sid, participant = %participant.sid, "no answer to an offer");
            self.give_up_negotiating(key);
        }
    }

    /// Dual mode: a client's answer to our offer. One to an older offer says nothing about the last.
    pub(super) fn on_answer(&mut self, key: ParticipantKey, answer: &WireDescription) {
        let role = TransportRole::Subscriber;
        let limits = self.sdp_limits();
        let Some(transport) = self.transport_mut(key, role) else {
            let refusal = Refusal::new(Reason::InvalidRequest, "nothing was offered");
            self.refuse_request(key, 0, refusal, None);
            return;
        };
        // Clients from before ids answer with none.
        if transport.offer_sent.is_none()
            || (answer.id != 0 && transport.offer_sent != Some(answer.id))
        {
            return;
        }
        let parsed = SessionDescription::parse(&answer.sdp, &limits)
            .and_then(|parsed| parsed.transport_parameters().map(|_| parsed));
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                tracing::debug!(room = %self.sid, line = error.line, "answer refused");
                self.on_unusable_answer(key);
                return;
            }
        };
        transport.offer_sent = None;
        transport.unusable_answers = 0;
        self.set_remote(key, role, &parsed);
        self.consume(key, &parsed);
        self.negotiate.insert(key);
    }

    /// Dual mode: an offer whose answer can't be used is open no longer, or no later one would ever follow.
    fn on_unusable_answer(&mut self, key: ParticipantKey) {
        let refusal = Refusal::new(Reason::InvalidRequest, "the answer can't be used");
        self.refuse_request(key, 0, refusal, None);
        let Some(transport) = self.transport_mut(key, TransportRole::Subscriber) else {
            return;
        };
        transport.offer_sent = None;
        transport.unusable_answers += 1;
        if transport.unusable_answers < MAX_UNUSABLE_ANSWERS {
            self.bind_or_grow(key);
            self.send_offer(key);
        } else {
            self.give_up_negotiating(key);
        }
    }

    fn give_up_negotiating(&mut self, key: ParticipantKey) {
        if self.participants[&key].is_active() {
            self.lose_media(key, DisconnectReason::MediaFailure);
        } else {
            self.counters.join_failed(JoinStage::Media);
            self.lose_media(key, DisconnectReason::JoinFailure);
        }
    }
}
