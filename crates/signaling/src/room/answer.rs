//! Answers to clients' offers: what they publish and, with one connection for all, what they get.

use std::collections::HashMap;
use std::sync::Arc;

use livekit_protocol::request_response::Reason;
use livekit_protocol::{
    AudioTrackFeature, SessionDescription as WireDescription, SignalTarget,
    signal_response::Message,
};
use schalter_model::TrackId;

use super::participant::ParticipantKey;
use super::request::Refusal;
use super::track::Track;
use super::transport::{Downlink, TransportRole, Uplink};
use super::{ConnectionMode, Room};
use crate::sdp::{
    self, AnswerPlan, MediaSection, ReceiveOptions, SdpError, SectionKind, SendTrack,
    SessionDescription,
};

impl Room {
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
            // What the answer says is known now; what follows from the offer may need another.
            if let Some(transport) = self.transport_mut(key, role) {
                transport.requirement = None;
                transport.dirty = false;
            }
            self.consume(key, &offer);
            self.negotiate.insert(key);
        }
    }

    /// Notes which sections send; returns the tracks whose sections stopped.
    pub(super) fn read_uplinks(
        &mut self,
        key: ParticipantKey,
        offer: &SessionDescription,
    ) -> Vec<TrackId> {
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
                    // Clients stop one track after the other: an offer may come for each.
                    uplink.left &= sends && uplink.section.track_id() == section.track_id();
                    uplink.section = section.clone();
                }
                None if sends => {
                    let uplink = Uplink {
                        section: section.clone(),
                        track: None,
                        left: false,
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
    pub(super) fn read_downlinks(&mut self, key: ParticipantKey, offer: &SessionDescription) {
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
                    stream: None,
                }),
                (Some(place), None) => lost.extend(transport.downlinks.remove(place).track),
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
        for id in lost {
            self.unbind_consumer(key, id);
        }
    }

    pub(super) fn write_answer(
        &mut self,
        key: ParticipantKey,
        offer: &SessionDescription,
    ) -> String {
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
                return match participant.mode {
                    ConnectionMode::Single | ConnectionMode::Dual => AnswerPlan::Data,
                    ConnectionMode::Http => AnswerPlan::Reject,
                };
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
                    stream: Some(stream),
                    ..
                }) => AnswerPlan::Send(Some(stream)),
                Some(Downlink {
                    track: Some(id), ..
                }) => AnswerPlan::Send(sends.get(id)),
                Some(Downlink { used: false, .. }) => AnswerPlan::Send(None),
                Some(_) | None => AnswerPlan::Inactive,
            }
        };
        let candidates = self.candidates(key);
        let mut local = self.local(transport, &candidates);
        if participant.mode == ConnectionMode::Http {
            // Some players want all of them to be right (aiortc), and each has the certificate that comes first.
            local.fingerprints = local.fingerprints.get(..1).unwrap_or_default();
        }
        sdp::answer(offer, &local, plan)
    }
}

/// What the answer asks of a track's sender.
fn options(track: &Track) -> ReceiveOptions {
    let info = &track.info;
    let has = |feature: AudioTrackFeature| info.audio_features.contains(&(feature as i32));
    #[expect(deprecated, reason = "older clients say it here")]
    let (no_dtx, stereo) = (info.disable_dtx, info.stereo);
    ReceiveOptions {
        first: track.preferred_codec(),
        dtx: !no_dtx && !has(AudioTrackFeature::TfNoDtx),
        stereo: stereo || has(AudioTrackFeature::TfStereo),
    }
}
