//! Publishing: requests for tracks, the sections that carry them in either order, and what their media shows.

use std::sync::Arc;

use livekit_protocol::request_response::{Reason, Request};
use livekit_protocol::{
    AddTrackRequest, TrackPublishedResponse, TrackSource, TrackType, signal_response::Message,
};
use schalter_forward::{Codec, CodecBinding, ProducerConfig};
use schalter_model::{MediaKind, TrackId};
use schalter_shard::control::Command;

use super::Room;
use super::participant::ParticipantKey;
use super::request::Refusal;
use super::track::Track;
use super::transport::TransportRole;
use crate::ids;
use crate::sdp::CodecKind;

impl Room {
    pub(super) fn on_add_track(&mut self, key: ParticipantKey, request: AddTrackRequest) {
        let known = self
            .own_tracks(key)
            .find(|track| track.cids.contains(&request.cid))
            .map(|track| track.id);
        // A client that repeats itself, e.g. after a resume, gets the same answer.
        if let Some(id) = known
            && request.sid.is_empty()
        {
            self.tell_published(key, id, request.cid);
            return;
        }
        if let Err(refusal) = self.may_add_track(key, &request) {
            self.refuse_request(key, 0, refusal, Some(Request::AddTrack(request)));
            return;
        }
        if !request.sid.is_empty() {
            self.on_add_backup(key, request);
            return;
        }
        let id = self.ids.track();
        let sid = ids::sid(
            ids::track_prefix(request.r#type(), request.source()),
            &mut self.rng,
        );
        let micros = self.wall.unix_nanos(self.now) / 1_000;
        let track = Track::new(id, Arc::clone(&sid), key, &request, micros);
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        participant.published.push(id);
        self.tracks_by_sid.insert(sid, id);
        self.tracks.insert(id, track);
        self.tell_published(key, id, request.cid);
        self.claim_sections(key);
    }

    fn own_tracks(&self, key: ParticipantKey) -> impl Iterator<Item = &Track> {
        self.participants
            .get(&key)
            .into_iter()
            .flat_map(|p| &p.published)
            .filter_map(|id| self.tracks.get(id))
            .flat_map(|track| {
                let backup = track.backup.and_then(|id| self.tracks.get(&id));
                std::iter::once(track).chain(backup)
            })
    }

    pub(super) fn tell_published(&mut self, key: ParticipantKey, id: TrackId, cid: String) {
        let track = self.tracks.get(&id).map(|track| track.info.clone());
        self.send(
            key,
            Message::TrackPublished(TrackPublishedResponse { cid, track }),
        );
    }

    fn may_add_track(&self, key: ParticipantKey, request: &AddTrackRequest) -> Result<(), Refusal> {
        let limits = &self.config.limits;
        let participant = &self.participants[&key];
        if !participant.video.may_publish(request.source()) {
            return Err(Refusal::new(Reason::NotAllowed, ""));
        }
        self.check_encryption(request)?;
        if request.r#type() == TrackType::Data {
            let text = "data tracks have a request of their own";
            return Err(Refusal::new(Reason::UnsupportedType, text));
        }
        if request.cid.is_empty() {
            return Err(Refusal::new(Reason::InvalidRequest, "cid is missing"));
        }
        let texts = [&request.cid, &request.name, &request.stream];
        let codecs = &request.simulcast_codecs;
        let cids = codecs.iter().flat_map(|c| [&c.cid, &c.codec]);
        if texts
            .into_iter()
            .chain(cids)
            .any(|text| text.len() > limits.name_bytes)
            || codecs.len() > CodecKind::ALL.len()
        {
            return Err(Refusal::new(Reason::LimitExceeded, "a name is too long"));
        }
        if request.sid.is_empty() && participant.published.len() >= limits.tracks_per_participant {
            return Err(Refusal::new(Reason::LimitExceeded, "too many tracks"));
        }
        Ok(())
    }

    /// Brings sections that send and requested tracks together; either may have come first.
    pub(super) fn claim_sections(&mut self, key: ParticipantKey) {
        let Some(transport) = self
            .participants
            .get(&key)
            .and_then(|p| p.transports.get(TransportRole::Publisher))
        else {
            return;
        };
        let claimed: Vec<TrackId> = transport.uplinks.values().filter_map(|u| u.track).collect();
        let mut waiting: Vec<(TrackId, schalter_model::MediaKind, Vec<String>)> = self
            .own_tracks(key)
            .filter(|track| track.producer.is_none() && !claimed.contains(&track.id))
            .map(|track| (track.id, track.kind, track.cids.clone()))
            .collect();
        let open: Vec<_> = transport
            .uplinks
            .values()
            .filter(|uplink| uplink.track.is_none() && !uplink.left)
            .filter(|uplink| uplink.section.direction.sends())
            .map(|uplink| &uplink.section)
            .collect();
        let named = |cids: &[String], id: Option<&str>| {
            id.is_some_and(|id| cids.iter().any(|cid| cid == id))
        };
        let mut pairs = Vec::new();
        let mut unmatched = Vec::new();
        for section in &open {
            match waiting
                .iter()
                .position(|(_, _, cids)| named(cids, section.track_id()))
            {
                Some(place) => pairs.push((Arc::clone(&section.mid), waiting.remove(place).0)),
                None => unmatched.push(*section),
            }
        }
        // Some browsers don't keep the id: then kind and order must do.
        for section in unmatched {
            let place = waiting
                .iter()
                .position(|(_, kind, _)| section.media_kind() == Some(*kind));
            if let Some(place) = place {
                pairs.push((Arc::clone(&section.mid), waiting.remove(place).0));
            }
        }
        for (mid, id) in pairs {
            self.carry(key, &mid, id);
        }
    }

    /// A section carries a track from now on.
    fn carry(&mut self, key: ParticipantKey, mid: &str, id: TrackId) {
        let codecs = self.codecs();
        let Some(uplink) = self
            .participants
            .get_mut(&key)
            .and_then(|p| p.transports.get_mut(TransportRole::Publisher))
            .and_then(|t| t.uplinks.get_mut(mid))
        else {
            return;
        };
        uplink.track = Some(id);
        // Nothing of it that we could forward: the track stays, without media.
        if let Some(config) = uplink.section.producer_config(codecs) {
            self.produce(key, id, config);
        }
    }

    /// Tells the shard of a track as negotiated, if anything is new.
    pub(super) fn produce(&mut self, key: ParticipantKey, id: TrackId, mut config: ProducerConfig) {
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        // What a shared screen sounds like is no speaker, and heard however loud.
        let is_speaker = track.info.source() != TrackSource::ScreenShareAudio;
        config.room = (config.kind == MediaKind::Audio && is_speaker).then_some(self.id);
        // The answer puts it first, and clients send the first.
        if let Some(preferred) = track.preferred_codec() {
            let is_other = |binding: &CodecBinding| CodecKind::of(binding.codec) != preferred;
            config.codecs.sort_by_key(is_other);
        }
        if track.kind != config.kind || track.producer.as_ref() == Some(&config) {
            return;
        }
        // The shard keeps the state of a track that it has.
        let mute = track.info.muted && track.producer.is_none();
        let is_backup = track.backup_of.is_some();
        let unseen = track.info.muted && !track.announced && !is_backup;
        track.negotiated(config.clone());
        self.links.note_change();
        if is_backup && self.show_backup(id) {
            self.announce(key);
        }
        let participant = &self.participants[&key];
        let (shard, transport) = (
            participant.shard,
            participant.transports.get(TransportRole::Publisher),
        );
        if let Some(transport) = transport.map(|t| t.id) {
            let command = Command::AddProducer {
                transport,
                track: id,
                config,
            };
            self.media(shard, command);
        }
        if mute {
            self.mute_at_source(key, id, true);
        }
        if unseen {
            self.announce_unseen(key, id);
        }
    }

    /// Announces a muted track in the codec that was negotiated: nothing of it arrives that could show it.
    pub(super) fn announce_unseen(&mut self, key: ParticipantKey, id: TrackId) {
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        let binding = track.producer.as_ref().and_then(|p| p.codecs.first());
        if let Some(codec) = binding.map(|binding| binding.codec) {
            track.expect(codec);
            self.announce_track(key, id);
        }
    }

    pub(super) fn on_encoding_started(
        &mut self,
        id: TrackId,
        encoding: u8,
        ssrc: u32,
        codec: Codec,
    ) {
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        let news = track.seen(encoding, ssrc, codec);
        let (owner, announced) = (track.owner, track.announced);
        if track.backup_of.is_some() {
            self.on_backup_started(id);
            return;
        }
        if !announced {
            self.announce_track(owner, id);
        } else if news {
            self.announce(owner);
        }
    }

    fn announce_track(&mut self, key: ParticipantKey, id: TrackId) {
        let (Some(track), Some(participant)) =
            (self.tracks.get_mut(&id), self.participants.get_mut(&key))
        else {
            return;
        };
        track.announced = true;
        participant.is_publisher = true;
        tracing::info!(room = %self.sid, participant = %participant.sid, track = %track.sid, kind = ?track.kind, "track published");
        self.counters.tracks.add(1);
        // Others must know the track before the SDP names it.
        self.announce(key);
        self.report_published(key, id);
        self.offer_to_all(id);
    }

    /// A track ends: its section stopped, or its publisher leaves.
    pub(super) fn drop_track(&mut self, id: TrackId) {
        self.forget_speaker(id);
        self.drop_subscribers(id);
        if let Some(backup) = self.tracks.get(&id).and_then(|track| track.backup) {
            self.drop_backup(backup);
        }
        let Some(track) = self.tracks.remove(&id) else {
            return;
        };
        self.tracks_by_sid.remove(&track.sid);
        if track.announced {
            self.counters.tracks.sub(1);
        }
        let Some(participant) = self.participants.get_mut(&track.owner) else {
            return;
        };
        participant.published.retain(|other| *other != id);
        if let Some(transport) = participant.transports.get_mut(TransportRole::Publisher) {
            for uplink in transport.uplinks.values_mut() {
                if uplink.track == Some(id) {
                    uplink.leave();
                }
            }
        }
        let shard = participant.shard;
        // What is forwarded here is produced for another room.
        if track.producer.is_some() && participant.forwarded.is_none() {
            self.media(shard, Command::RemoveProducer { track: id });
        }
        if track.announced {
            self.report_unpublished(track.owner, track.info);
        }
    }

    /// A section of the client stopped sending: what it carried is unpublished.
    pub(super) fn unpublish(&mut self, key: ParticipantKey, id: TrackId) {
        let Some(track) = self.tracks.get(&id) else {
            return;
        };
        let announced = track.announced;
        if track.backup_of.is_some() {
            self.drop_backup(id);
            return;
        }
        tracing::info!(room = %self.sid, track = %track.sid, "track unpublished");
        self.drop_track(id);
        if announced {
            self.announce(key);
        }
    }
}
