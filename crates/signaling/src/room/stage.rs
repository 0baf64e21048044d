//! What a player without a WebSocket (WHEP) gets: its sections are fixed by its one offer, so the room's tracks take
//! turns on them, without another negotiation.
//!
//! Where there are more tracks than sections of their kind: sign language, then a shared screen, then who speaks, then
//! who has a section already, then the others in the order they came. A muted track is behind all others. So nothing
//! moves unless somebody begins to speak, to share or to sign, or ends.

use std::sync::Arc;

use livekit_protocol::TrackSource;
use schalter_forward::Rank;
use schalter_model::{MediaKind, TrackId};

use super::Room;
use super::participant::{Participant, ParticipantKey};
use super::track::Track;
use super::transport::{Downlink, TransportRole};
use crate::sdp::{CodecKind, CodecSet, SessionDescription};

impl Room {
    /// The sections that a player may get something on.
    pub(super) fn downlinks(&self, key: ParticipantKey) -> impl Iterator<Item = &Downlink> {
        self.participants
            .get(&key)
            .and_then(|participant| participant.transports.get(TransportRole::Publisher))
            .into_iter()
            .flat_map(|transport| &transport.downlinks)
    }

    /// Something about a track changed that may decide who gets a section.
    pub(super) fn stage_anew(&mut self, id: TrackId) {
        let Some(track) = self.tracks.get(&id) else {
            return;
        };
        let players = track.subscribers.iter().copied().filter(|key| {
            let participant = self.participants.get(key);
            participant.is_some_and(|participant| participant.http.is_some())
        });
        let players: Vec<_> = players.collect();
        self.negotiate.extend(players);
    }

    /// Gives a player's sections to the tracks that matter most now.
    pub(super) fn set_stage(&mut self, key: ParticipantKey) {
        let Some(http) = self.participants.get(&key).and_then(|p| p.http.as_ref()) else {
            return;
        };
        let offer = Arc::clone(&http.offer);
        for kind in [MediaKind::Audio, MediaKind::Video] {
            self.fill_sections(key, &offer, kind);
        }
        self.consume(key, &offer);
    }

    fn fill_sections(&mut self, key: ParticipantKey, offer: &SessionDescription, kind: MediaKind) {
        let Some(participant) = self.participants.get(&key) else {
            return;
        };
        let enabled = self.codecs();
        let accepted = |mid: &str| accepted(offer, mid, enabled);
        let sections = self.downlinks(key).filter(|downlink| downlink.kind == kind);
        let places: Vec<CodecSet> = sections.map(|downlink| accepted(&downlink.mid)).collect();
        let mut tracks: Vec<_> = participant
            .subscriptions
            .iter()
            .filter_map(|(id, subscription)| Some((self.tracks.get(id)?, subscription)))
            .filter(|(track, _)| track.kind == kind)
            .filter(|(track, _)| places.iter().any(|codecs| plays(*codecs, track)))
            .map(|(track, subscription)| {
                let bound = subscription.mid.is_some();
                let owner = self.participants.get(&track.owner);
                (order(track, owner), !bound, track.id)
            })
            .collect();
        tracks.sort_unstable();
        tracks.truncate(places.len());
        let chosen: Vec<TrackId> = tracks.into_iter().map(|(_, _, id)| id).collect();
        let bound = self.downlinks(key).filter(|downlink| downlink.kind == kind);
        let bound: Vec<TrackId> = bound.filter_map(|downlink| downlink.track).collect();
        for id in bound.iter().filter(|id| !chosen.contains(id)) {
            self.unbind_consumer(key, *id);
            if let Some(participant) = self.participants.get_mut(&key) {
                participant.transports.unbind(*id);
            }
        }
        for id in chosen.into_iter().filter(|id| !bound.contains(id)) {
            self.take_section(key, offer, id);
        }
    }

    /// Binds a track to a free section that can play it, beside the other tracks of its publisher if there is a choice.
    fn take_section(&mut self, key: ParticipantKey, offer: &SessionDescription, id: TrackId) {
        let Some(track) = self.tracks.get(&id) else {
            return;
        };
        let enabled = self.codecs();
        let is_beside = |downlink: &Downlink| {
            let stream = |d: &Downlink| {
                d.stream
                    .as_ref()
                    .map(|stream| Arc::clone(&stream.stream_id))
            };
            let mut others = self
                .downlinks(key)
                .filter(|other| other.kind != downlink.kind);
            let neighbour = others.find(|other| stream(other) == stream(downlink));
            let theirs = neighbour.and_then(|other| self.tracks.get(&other.track?));
            theirs.is_some_and(|other| other.owner == track.owner)
        };
        let free: Vec<&Downlink> = self
            .downlinks(key)
            .filter(|downlink| downlink.kind == track.kind && downlink.track.is_none())
            .filter(|downlink| plays(accepted(offer, &downlink.mid, enabled), track))
            .collect();
        let beside = free.iter().find(|downlink| is_beside(downlink));
        let Some(mid) = beside
            .or(free.first())
            .map(|downlink| Arc::clone(&downlink.mid))
        else {
            return;
        };
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let role = TransportRole::Publisher;
        if let Some(transport) = participant.transports.get_mut(role)
            && let Some(downlink) = transport.downlinks.iter_mut().find(|d| d.mid == mid)
        {
            downlink.track = Some(id);
            downlink.used = true;
        }
        if let Some(subscription) = participant.subscriptions.get_mut(&id) {
            subscription.mid = Some(mid);
        }
    }
}

/// The codecs that a section of an offer takes.
fn accepted(offer: &SessionDescription, mid: &str, enabled: CodecSet) -> CodecSet {
    let reception = offer
        .section(mid)
        .and_then(|section| section.reception(enabled));
    let codecs = reception.into_iter().flat_map(|reception| reception.codecs);
    codecs.map(|binding| CodecKind::of(binding.codec)).collect()
}

/// Whether a track can be played with these codecs: redundancy is taken off where it is not understood.
fn plays(codecs: CodecSet, track: &Track) -> bool {
    if track
        .backup_codec()
        .is_some_and(|kind| codecs.contains(kind))
    {
        return true;
    }
    match CodecKind::parse(&track.info.mime_type) {
        Some(CodecKind::Red) => codecs.contains(CodecKind::Red) || codecs.contains(CodecKind::Opus),
        Some(kind) => codecs.contains(kind),
        None => true,
    }
}

/// How much a track matters to players; less is more.
fn order(track: &Track, owner: Option<&Participant>) -> (bool, Rank) {
    let speaks = owner.is_some_and(|owner| owner.speaks);
    let rank = match track.kind {
        // What a shared screen sounds like must not silence who speaks.
        MediaKind::Audio if speaks && track.info.source() != TrackSource::ScreenShareAudio => {
            Room::SPEAKER
        }
        MediaKind::Audio => Rank::DEFAULT,
        MediaKind::Video => Room::rank(track, owner, 0),
    };
    (track.info.muted, rank)
}
