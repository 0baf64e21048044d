//! Offers and answers in both directions: which section carries what, and what the shard is told of it.

use std::collections::HashMap;
use std::sync::Arc;

use livekit_protocol::request_response::Reason;
use livekit_protocol::{
    AudioTrackFeature, MediaSectionsRequirement, SessionDescription as WireDescription,
    SignalTarget, TrickleRequest, signal_response::Message,
};
use rand::RngExt;
use rand::distr::{Alphanumeric, SampleString};
use schalter_forward::ConsumerConfig;
use schalter_model::{MediaKind, TrackId, Ufrag};
use schalter_shard::control::Command;
use schalter_transport::{DataChannelConfig, LocalIce, Reliability};

use super::data::{DATA_TRACK, LOSSY, RELIABLE};
use super::participant::{Participant, ParticipantKey};
use super::request::Refusal;
use super::track::Track;
use super::transport::{Downlink, Transport, TransportRole, Uplink};
use super::{ConnectionMode, Room};
use crate::sdp::{
    self, AnswerPlan, Candidate, CodecKind, CodecSet, LocalDescription, MediaSection, OfferSection,
    ReceiveOptions, SdpError, SectionKind, SendTrack, SessionDescription,
};

/// Characters of an ICE password; 22 are the least (RFC 8839 §5.4).
const PASSWORD_LEN: usize = 32;

/// Longest data channel message that we take, as clients expect it.
const MAX_MESSAGE_SIZE: u32 = 65_535;

/// The mid of the data section of our own offers.
const DATA_MID: &str = "0";

impl Room {
    pub(super) fn codecs(&self) -> CodecSet {
        self.config.codecs.iter().copied().collect()
    }

    fn sdp_limits(&self) -> sdp::Limits {
        sdp::Limits {
            max_bytes: self.config.limits.sdp_bytes,
            ..sdp::Limits::default()
        }
    }

    /// Reads an offer, and that it has all a transport needs.
    pub(super) fn read_offer(
        &self,
        offer: &WireDescription,
    ) -> Result<(SessionDescription, u32), SdpError> {
        let parsed = SessionDescription::parse(&offer.sdp, &self.sdp_limits())?;
        parsed.transport_parameters()?;
        Ok((parsed, offer.id))
    }

    pub(super) fn on_offer(&mut self, key: ParticipantKey, offer: &WireDescription) {
        match self.read_offer(offer) {
            Ok((parsed, id)) => self.answer_offer(key, parsed, id),
            Err(error) => {
                tracing::debug!(room = %self.sid, line = error.line, "offer refused");
                let refusal = Refusal::new(Reason::InvalidRequest, "the offer can't be used");
                self.refuse_request(key, 0, refusal, None);
            }
        }
    }

    fn fresh_ice(&mut self, key: ParticipantKey) -> LocalIce {
        let shard = self.participants[&key].shard;
        LocalIce {
            ufrag: Ufrag::new(self.node.number, shard, self.rng.random()),
            password: Alphanumeric
                .sample_string(&mut self.rng, PASSWORD_LEN)
                .into(),
        }
    }

    pub(super) fn fresh_ssrc(&mut self) -> u32 {
        // Zero stands for "none" in places.
        self.rng.random_range(1..=u32::MAX)
    }

    /// Opens a transport; returns whether it is new.
    fn open(&mut self, key: ParticipantKey, role: TransportRole) -> bool {
        if self.participants[&key].transports.get(role).is_some() {
            return false;
        }
        let ice = self.fresh_ice(key);
        let id = self.ids.transport();
        let mut transport = Transport::new(id, ice.clone(), self.rng.random());
        // Any start will do; clients only compare.
        transport.last_offer = self.rng.random_range(0..256);
        let channels = match role {
            TransportRole::Publisher => Vec::new(),
            TransportRole::Subscriber => own_channels(),
        };
        let Some(participant) = self.participants.get_mut(&key) else {
            return false;
        };
        participant.transports.set(role, transport);
        let shard = participant.shard;
        self.by_transport.insert(id, (key, role));
        let command = Command::OpenTransport {
            transport: id,
            ice,
            certificate: self.node.certificate.0,
            channels,
        };
        self.media(shard, command);
        true
    }

    /// Starts a new ICE generation of our side.
    fn restart_ice(&mut self, key: ParticipantKey, role: TransportRole) {
        let ice = self.fresh_ice(key);
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let shard = participant.shard;
        let Some(transport) = participant.transports.get_mut(role) else {
            return;
        };
        transport.ice = ice.clone();
        let transport = transport.id;
        self.media(shard, Command::RestartIce { transport, ice });
    }

    /// Takes the peer's side of a transport from its description. Returns whether the peer restarted ICE.
    fn set_remote(
        &mut self,
        key: ParticipantKey,
        role: TransportRole,
        remote: &SessionDescription,
    ) -> bool {
        let Ok(parameters) = remote.transport_parameters() else {
            return false;
        };
        let Some(participant) = self.participants.get_mut(&key) else {
            return false;
        };
        let shard = participant.shard;
        let Some(transport) = participant.transports.get_mut(role) else {
            return false;
        };
        let ufrag = Arc::clone(&parameters.remote_ice.ufrag);
        let before = transport.remote_ufrag.replace(Arc::clone(&ufrag));
        if before.as_ref() == Some(&ufrag) {
            return false;
        }
        let transport = transport.id;
        let restarted = before.is_some();
        if restarted && role == TransportRole::Publisher {
            // The answer to a restart carries new credentials (RFC 8839 §4.4.3).
            self.restart_ice(key, role);
        }
        let command = Command::SetRemote {
            transport,
            ice: parameters.remote_ice,
            fingerprints: parameters.fingerprints,
        };
        self.media(shard, command);
        restarted
    }

    /// Answers a client's offer: takes what it publishes and, in single mode, binds what it gets.
    pub(super) fn answer_offer(&mut self, key: ParticipantKey, offer: SessionDescription, id: u32) {
        let role = TransportRole::Publisher;
        let opened = self.open(key, role);
        let restarted = self.set_remote(key, role, &offer);
        let ended = self.read_uplinks(key, &offer);
        self.claim_sections(key);
        self.renew_producers(key);
        let single = self.participants[&key].mode == ConnectionMode::Single;
        if single {
            self.read_downlinks(key, &offer);
            self.bind_pending(key, role);
        }

        let text = self.write_answer(key, &offer);
        let description = WireDescription {
            r#type: "answer".to_owned(),
            sdp: text,
            id,
            mid_to_track_id: self.mid_to_track_id(key, role),
        };
        self.send(key, Message::Answer(description));
        if opened || restarted {
            self.trickle(key, SignalTarget::Publisher);
        }
        // The client waits for its answer; the news can come after it.
        for id in ended {
            self.unpublish(key, id);
        }
        if single {
            self.consume(key, &offer);
            if let Some(transport) = self.transport_mut(key, role) {
                transport.requirement_sent = false;
                transport.dirty = false;
            }
            self.negotiate.insert(key);
        }
    }

    fn transport_mut(
        &mut self,
        key: ParticipantKey,
        role: TransportRole,
    ) -> Option<&mut Transport> {
        self.participants.get_mut(&key)?.transports.get_mut(role)
    }

    /// Notes which sections send; returns the tracks whose sections stopped.
    fn read_uplinks(&mut self, key: ParticipantKey, offer: &SessionDescription) -> Vec<TrackId> {
        let mut ended = Vec::new();
        let tracks = &self.tracks;
        let Some(transport) = self
            .participants
            .get_mut(&key)
            .and_then(|p| p.transports.get_mut(TransportRole::Publisher))
        else {
            return ended;
        };
        for section in &offer.sections {
            let sends = section.media_kind().is_some()
                && section.direction.sends()
                && offer.is_usable(section);
            match transport.uplinks.get_mut(&section.mid) {
                Some(uplink) => {
                    if !sends {
                        ended.extend(uplink.track.take());
                    }
                    uplink.section = section.clone();
                }
                None if sends => {
                    let uplink = Uplink {
                        section: section.clone(),
                        track: None,
                    };
                    transport.uplinks.insert(Arc::clone(&section.mid), uplink);
                }
                None => {}
            }
        }
        // A section that goes on sending may carry another track now.
        let requested = |cid: &str, but: TrackId| {
            tracks.values().any(|t| {
                t.owner == key
                    && t.id != but
                    && t.producer.is_none()
                    && t.cids.iter().any(|c| c == cid)
            })
        };
        for uplink in transport.uplinks.values_mut() {
            let (Some(id), Some(cid)) = (uplink.track, uplink.section.track_id()) else {
                continue;
            };
            let same = tracks
                .get(&id)
                .is_some_and(|t| t.cids.iter().any(|c| c == cid));
            if !same && requested(cid, id) {
                uplink.track = None;
                ended.push(id);
            }
        }
        ended
    }

    /// Tells the shard what a new offer changed about tracks it has.
    fn renew_producers(&mut self, key: ParticipantKey) {
        let codecs = self.codecs();
        let Some(transport) = self.transport_mut(key, TransportRole::Publisher) else {
            return;
        };
        let carried: Vec<_> = transport
            .uplinks
            .values()
            .filter_map(|uplink| Some((uplink.track?, uplink.section.producer_config(codecs)?)))
            .collect();
        for (id, config) in carried {
            self.produce(key, id, config);
        }
    }

    /// Notes which sections can receive, in single mode.
    fn read_downlinks(&mut self, key: ParticipantKey, offer: &SessionDescription) {
        let codecs = self.codecs();
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let Some(transport) = participant.transports.get_mut(TransportRole::Publisher) else {
            return;
        };
        let mut lost = Vec::new();
        for section in &offer.sections {
            // A section that once published is left alone: some clients turn it to `recvonly` when they unpublish.
            if transport.uplinks.contains_key(&section.mid) {
                continue;
            }
            let reception = offer
                .is_usable(section)
                .then(|| section.reception(codecs))
                .flatten();
            let known = transport
                .downlinks
                .iter_mut()
                .position(|d| d.mid == section.mid);
            match (known, reception) {
                (None, Some(reception)) => transport.downlinks.push(Downlink {
                    mid: reception.mid,
                    kind: reception.kind,
                    track: None,
                    used: false,
                }),
                (Some(place), None) => lost.extend(transport.downlinks.remove(place).track),
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
        for id in lost {
            self.unbind_consumer(key, id);
        }
    }

    /// A subscription lost its section: it waits for another.
    fn unbind_consumer(&mut self, key: ParticipantKey, id: TrackId) {
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
                track: id,
            };
            self.media(shard, command);
        }
    }

    /// Gives free sections to subscriptions that have none.
    fn bind_pending(&mut self, key: ParticipantKey, role: TransportRole) {
        let tracks = &self.tracks;
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let Some(transport) = participant.transports.get_mut(role) else {
            return;
        };
        for (id, subscription) in &mut participant.subscriptions {
            if subscription.mid.is_none()
                && let Some(track) = tracks.get(id)
            {
                subscription.mid = transport.bind(*id, track.kind);
            }
        }
    }

    fn mid_to_track_id(&self, key: ParticipantKey, role: TransportRole) -> HashMap<String, String> {
        let participant = &self.participants[&key];
        participant
            .transports
            .get(role)
            .into_iter()
            .flat_map(|t| &t.downlinks)
            .filter_map(|d| {
                let track = self.tracks.get(&d.track?)?;
                Some((d.mid.to_string(), track.sid.to_string()))
            })
            .collect()
    }

    /// The track on a downlink as its section names it.
    fn send_track(&self, participant: &Participant, id: TrackId) -> Option<SendTrack> {
        let track = self.tracks.get(&id)?;
        let owner = self.participants.get(&track.owner)?;
        let subscription = participant.subscriptions.get(&id)?;
        Some(SendTrack {
            stream_id: format!("{}|{}", owner.sid, track.sid).into(),
            track_id: Arc::clone(&track.sid),
            // One name for all tracks of a participant: they play in sync.
            cname: Arc::clone(&owner.sid),
            ssrc: subscription.ssrc,
            rtx_ssrc: (track.kind == MediaKind::Video).then_some(subscription.rtx_ssrc),
        })
    }

    fn candidates(&self, key: ParticipantKey) -> Vec<Candidate> {
        let shard = self.participants[&key].shard;
        let addresses = self
            .node
            .shards
            .iter()
            .find(|info| info.id == shard)
            .map(|info| info.candidates.as_slice())
            .unwrap_or_default();
        // The operator lists the best first.
        (0..=u16::MAX)
            .rev()
            .zip(addresses)
            .map(|(preference, address)| Candidate::udp_host(*address, preference))
            .collect()
    }

    fn write_answer(&mut self, key: ParticipantKey, offer: &SessionDescription) -> String {
        if let Some(transport) = self.transport_mut(key, TransportRole::Publisher) {
            transport.version += 1;
        }
        let participant = &self.participants[&key];
        let Some(transport) = participant.transports.get(TransportRole::Publisher) else {
            return String::new();
        };
        let sends: HashMap<TrackId, SendTrack> = transport
            .downlinks
            .iter()
            .filter_map(|d| Some((d.track?, self.send_track(participant, d.track?)?)))
            .collect();
        let plan = |section: &MediaSection| {
            if section.kind == SectionKind::Data {
                return AnswerPlan::Data;
            }
            if let Some(uplink) = transport.uplinks.get(&section.mid) {
                let track = uplink.track.and_then(|id| self.tracks.get(&id));
                return match (section.direction.sends(), track) {
                    (true, Some(track)) => AnswerPlan::Receive(options(track)),
                    // Its request may still be under way.
                    (true, None) if participant.video.can_publish => {
                        AnswerPlan::Receive(ReceiveOptions::default())
                    }
                    (true, None) | (false, _) => AnswerPlan::Inactive,
                };
            }
            match transport.downlink(&section.mid) {
                Some(Downlink {
                    track: Some(id), ..
                }) => AnswerPlan::Send(sends.get(id)),
                Some(Downlink { used: false, .. }) => AnswerPlan::Send(None),
                Some(_) | None => AnswerPlan::Inactive,
            }
        };
        let candidates = self.candidates(key);
        sdp::answer(offer, &self.local(transport, &candidates), plan)
    }

    fn local<'a>(
        &'a self,
        transport: &'a Transport,
        candidates: &'a [Candidate],
    ) -> LocalDescription<'a> {
        LocalDescription {
            session_id: transport.session_id,
            version: transport.version,
            ice: &transport.ice,
            candidates,
            fingerprints: std::slice::from_ref(&self.node.certificate.1),
            codecs: self.codecs(),
            max_message_size: MAX_MESSAGE_SIZE,
        }
    }

    /// Our candidates once more, for clients that look for them there.
    fn trickle(&mut self, key: ParticipantKey, target: SignalTarget) {
        let candidates = self.candidates(key);
        for (index, candidate) in candidates.iter().enumerate() {
            let trickle = TrickleRequest {
                candidate_init: candidate.init_json(),
                target: target as i32,
                r#final: index + 1 == candidates.len(),
            };
            self.send(key, Message::Trickle(trickle));
        }
    }

    /// Tells the shard of every bound subscription that is new or renegotiated.
    fn consume(&mut self, key: ParticipantKey, remote: &SessionDescription) {
        let codecs = self.codecs();
        let participant = &self.participants[&key];
        let role = participant.downlink_role();
        let Some(transport) = participant.transports.get(role).map(|t| t.id) else {
            return;
        };
        let shard = participant.shard;
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
            let config = reception.consumer_config(&track, target);
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
            let producer_shard = self.participants[&self.tracks[&id].owner].shard;
            let command = Command::AddConsumer {
                transport,
                track: id,
                producer_shard,
                config: config.clone(),
            };
            self.media(shard, command);
            if let Some(subscription) = self
                .participants
                .get_mut(&key)
                .and_then(|p| p.subscriptions.get_mut(&id))
            {
                subscription.config = Some(config);
            }
            self.consumer_added(key, id);
        }
    }

    /// Starts a negotiation if the client's view of its downlinks is out of date and none is under way.
    pub(super) fn negotiate_downlinks(&mut self, key: ParticipantKey) {
        match self.participants.get(&key).map(|p| p.mode) {
            Some(ConnectionMode::Single) => self.require_sections(key),
            Some(ConnectionMode::Dual) => self.offer_downlinks(key),
            None => {}
        }
    }

    /// Single mode: asks the client for an offer with sections enough.
    fn require_sections(&mut self, key: ParticipantKey) {
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
        let due = transport.dirty || audio_pending + video_pending > 0;
        if !due || transport.requirement_sent || participant.connection.is_none() {
            return;
        }
        if let Some(transport) = self.transport_mut(key, TransportRole::Publisher) {
            transport.requirement_sent = true;
        }
        let requirement = MediaSectionsRequirement {
            num_audios,
            num_videos,
        };
        self.send(key, Message::MediaSectionsRequirement(requirement));
    }

    /// Single mode: a request that a lost socket may have swallowed is due again.
    pub(super) fn forget_requirement(&mut self, key: ParticipantKey) {
        if let Some(transport) = self.transport_mut(key, TransportRole::Publisher) {
            transport.requirement_sent = false;
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
            });
        }
        self.bind_pending(key, role);
    }

    fn send_offer(&mut self, key: ParticipantKey) {
        let role = TransportRole::Subscriber;
        let Some(transport) = self.transport_mut(key, role) else {
            return;
        };
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
    }

    /// Dual mode: a client's answer to our offer. One to an older offer says nothing about the last.
    pub(super) fn on_answer(&mut self, key: ParticipantKey, answer: &WireDescription) {
        let role = TransportRole::Subscriber;
        let limits = self.sdp_limits();
        let Some(transport) = self.transport_mut(key, role) else {
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
                let refusal = Refusal::new(Reason::InvalidRequest, "the answer can't be used");
                self.refuse_request(key, 0, refusal, None);
                return;
            }
        };
        transport.offer_sent = None;
        self.set_remote(key, role, &parsed);
        self.consume(key, &parsed);
        self.negotiate.insert(key);
    }
}

/// What the answer asks of a track's sender.
fn options(track: &Track) -> ReceiveOptions {
    let info = &track.info;
    let has = |feature: AudioTrackFeature| info.audio_features.contains(&(feature as i32));
    #[expect(deprecated, reason = "older clients say it here")]
    let (no_dtx, stereo) = (info.disable_dtx, info.stereo);
    ReceiveOptions {
        first: match track.kind {
            MediaKind::Audio if info.disable_red => Some(CodecKind::Opus),
            MediaKind::Audio => None,
            MediaKind::Video => info
                .codecs
                .first()
                .and_then(|codec| CodecKind::parse(&codec.mime_type)),
        },
        dtx: !no_dtx && !has(AudioTrackFeature::TfNoDtx),
        stereo: stereo || has(AudioTrackFeature::TfStereo),
    }
}

/// The channels that clients expect us to open in dual mode.
fn own_channels() -> Vec<DataChannelConfig> {
    let channel = |label: &str, ordered: bool, reliability: Reliability| DataChannelConfig {
        label: label.into(),
        protocol: "".into(),
        ordered,
        reliability,
    };
    vec![
        channel(RELIABLE, true, Reliability::Reliable),
        channel(LOSSY, false, Reliability::MaxRetransmits(0)),
        channel(DATA_TRACK, false, Reliability::MaxRetransmits(0)),
    ]
}
