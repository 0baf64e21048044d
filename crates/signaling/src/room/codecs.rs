//! Which codec of a track a subscriber gets.
//!
//! A publisher may offer a track in a second codec for those who can't decode the first. It sends that one only when it is
//! asked to, as another encoding of the same track with a section of its own; here it is a [`Track`] that nobody else knows
//! of, named by [`Track::backup`]. Whether everybody then gets the second codec, so that the publisher encodes once, is the
//! track's `backup_codec_policy`.

use livekit_protocol::encryption::Type as Encryption;
use livekit_protocol::request_response::{Reason, Request};
use livekit_protocol::{AddTrackRequest, BackupCodecPolicy, TrackType};
use schalter_forward::ConsumerConfig;
use schalter_model::{MediaKind, TrackId};
use schalter_shard::control::Command;

use super::demand::Demand;
use super::participant::ParticipantKey;
use super::request::Refusal;
use super::subscribe::Subscription;
use super::track::Track;
use super::{Room, Timer};
use crate::sdp::CodecKind;

/// One of the codecs of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    First,
    Backup,
}

impl Choice {
    pub(super) const ALL: [Self; 2] = [Self::First, Self::Backup];
}

/// The codec of an entry of `TrackInfo.codecs`.
fn kind_of(mime: &str) -> Option<CodecKind> {
    CodecKind::parse(mime)
}

/// Whether a subscriber takes a codec.
fn takes(config: &ConsumerConfig, kind: Option<CodecKind>) -> bool {
    // What we don't know by name is for the media plane to judge.
    kind.is_none_or(|kind| {
        let mut codecs = config.codecs.iter();
        codecs.any(|binding| CodecKind::of(binding.codec) == kind)
    })
}

impl Track {
    /// The codec that it is sent in, or will be.
    fn first_codec(&self) -> Option<CodecKind> {
        let declared = self.info.codecs.first().map(|c| c.mime_type.as_str());
        let seen = Some(self.info.mime_type.as_str()).filter(|mime| !mime.is_empty());
        kind_of(seen.or(declared)?)
    }

    /// The codec that its publisher is asked to send it in, of those that its section has.
    pub(super) fn preferred_codec(&self) -> Option<CodecKind> {
        let info = &self.info;
        match self.kind {
            // What is encrypted end to end can't be taken out of its redundancy for those who don't know it.
            MediaKind::Audio if info.disable_red || info.encryption() != Encryption::None => {
                Some(CodecKind::Opus)
            }
            // Clients name Opus first and leave it to the answer to choose.
            MediaKind::Audio => Some(CodecKind::Red),
            MediaKind::Video => kind_of(&info.codecs.first()?.mime_type),
        }
    }

    /// The second codec that its publisher offered.
    pub(super) fn backup_codec(&self) -> Option<CodecKind> {
        let first = self.first_codec();
        let declared = self.info.codecs.iter().skip(1);
        declared
            .filter_map(|codec| kind_of(&codec.mime_type))
            .find(|kind| Some(*kind) != first)
    }
}

impl Room {
    /// The track that the media plane's name stands for: itself, or the one whose second codec it is.
    pub(super) fn published_as(&self, media: TrackId) -> TrackId {
        let of = self.tracks.get(&media).and_then(|track| track.backup_of);
        of.unwrap_or(media)
    }

    /// A request for a track that is published already: its publisher is about to send the second codec.
    pub(super) fn on_add_backup(&mut self, key: ParticipantKey, request: AddTrackRequest) {
        match self.may_add_backup(key, &request) {
            Ok(id) => self.add_backup(key, id, &request),
            Err(refusal) => {
                self.refuse_request(key, 0, refusal, Some(Request::AddTrack(request)));
            }
        }
    }

    fn may_add_backup(
        &self,
        key: ParticipantKey,
        request: &AddTrackRequest,
    ) -> Result<TrackId, Refusal> {
        let Some(id) = self.own_track(key, &request.sid) else {
            return Err(Refusal::new(Reason::NotFound, "no such track"));
        };
        let track = &self.tracks[&id];
        let asked = request.simulcast_codecs.first();
        let asked = asked.and_then(|codec| kind_of(&codec.codec));
        if request.r#type() != TrackType::Video || track.kind != MediaKind::Video {
            let text = "only pictures have a second codec";
            return Err(Refusal::new(Reason::UnsupportedType, text));
        }
        if asked.is_none() || asked != track.backup_codec() {
            let text = "the codec was not named when the track was published";
            return Err(Refusal::new(Reason::InvalidRequest, text));
        }
        Ok(id)
    }

    fn add_backup(&mut self, key: ParticipantKey, id: TrackId, request: &AddTrackRequest) {
        if let Some(before) = self.tracks[&id].backup {
            // A client that repeats itself gets the same answer; one with another id begins again.
            if self.tracks[&before].cids.contains(&request.cid) {
                self.tell_published(key, id, request.cid.clone());
                return;
            }
            self.drop_backup(before);
        }
        let backup = self.ids.track();
        let sid = self.tracks[&id].sid.clone();
        let micros = self.wall.unix_nanos(self.now) / 1_000;
        let mut track = Track::new(backup, sid, key, request, micros);
        track.backup_of = Some(id);
        track.info.muted = self.tracks[&id].info.muted;
        self.tracks.insert(backup, track);
        if let Some(track) = self.tracks.get_mut(&id) {
            track.backup = Some(backup);
        }
        self.show_backup(backup);
        self.tell_published(key, id, request.cid.clone());
        self.claim_sections(key);
    }

    /// Copies what is known of a second codec to the track that others know. Returns whether that is news.
    pub(super) fn show_backup(&mut self, backup: TrackId) -> bool {
        let Some(track) = self.tracks.get(&backup) else {
            return false;
        };
        let (Some(of), Some(known)) = (track.backup_of, track.info.codecs.first().cloned()) else {
            return false;
        };
        let Some(track) = self.tracks.get_mut(&of) else {
            return false;
        };
        let kind = kind_of(&known.mime_type);
        let mut shown = track.info.codecs.iter_mut().skip(1);
        match shown.find(|codec| kind_of(&codec.mime_type) == kind) {
            Some(codec) if *codec != known => {
                *codec = known;
                true
            }
            Some(_) | None => false,
        }
    }

    /// The second codec's first packet arrived: whoever waits for it gets it.
    pub(super) fn on_backup_started(&mut self, backup: TrackId) {
        let Some(track) = self.tracks.get_mut(&backup) else {
            return;
        };
        track.started = true;
        let (owner, of) = (track.owner, track.backup_of);
        if self.show_backup(backup) {
            self.announce(owner);
        }
        if let Some(of) = of {
            self.review_quality(of);
            self.serve(of);
        }
    }

    /// A second codec ends; the track stays.
    pub(super) fn drop_backup(&mut self, backup: TrackId) {
        let Some(track) = self.tracks.remove(&backup) else {
            return;
        };
        self.free_uplink(track.owner, backup);
        let Some(of) = track.backup_of else {
            return;
        };
        let Some(first) = self.tracks.get_mut(&of) else {
            return;
        };
        first.backup = None;
        first.backup_demand = Demand::default();
        first.regressed = false;
        for key in first.subscribers.clone() {
            self.stop_consumer(key, of, backup);
        }
        if let Some(shard) = self.participants.get(&track.owner).map(|p| p.shard)
            && track.producer.is_some()
        {
            self.media(shard, Command::RemoveProducer { track: backup });
        }
        self.review_quality(of);
        self.serve(of);
    }

    fn free_uplink(&mut self, owner: ParticipantKey, id: TrackId) {
        let role = super::TransportRole::Publisher;
        if let Some(transport) = self.transport_mut(owner, role) {
            for uplink in transport.uplinks.values_mut() {
                if uplink.track == Some(id) {
                    uplink.leave();
                }
            }
        }
    }

    /// Ends what a subscriber gets of `media`, if it does. Its stream is told to be over, so that what follows needs another.
    fn stop_consumer(&mut self, key: ParticipantKey, id: TrackId, media: TrackId) {
        let ssrcs = (self.fresh_ssrc(), self.fresh_ssrc());
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let role = participant.downlink_role();
        let transport = participant.transports.get(role).map(|t| t.id);
        let shard = participant.shard;
        let Some(subscription) = participant.subscriptions.get_mut(&id) else {
            return;
        };
        if !subscription.active || subscription.media != media {
            return;
        }
        subscription.active = false;
        (subscription.ssrc, subscription.rtx_ssrc) = ssrcs;
        subscription.config = None;
        self.counters.subscriptions.sub(1);
        if let Some(transport) = transport {
            let command = Command::RemoveConsumer {
                transport,
                track: media,
            };
            self.media(shard, command);
        }
        self.negotiate_anew(key);
    }

    /// The subscriber's description must name another stream.
    fn negotiate_anew(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let role = participant.downlink_role();
        if let Some(transport) = participant.transports.get_mut(role) {
            transport.dirty = true;
        }
        self.negotiate.insert(key);
    }

    /// What a subscriber with this configuration is to get of a track now; `None`: it waits for the second codec.
    pub(super) fn media_for(&self, id: TrackId, config: &ConsumerConfig) -> Option<TrackId> {
        let track = &self.tracks[&id];
        let started = |backup: &TrackId| self.tracks.get(backup).is_some_and(|b| b.started);
        let backup = track.backup.filter(started);
        match self.choice(track, config) {
            Choice::First => Some(id),
            Choice::Backup => backup,
        }
    }

    /// Which codec suits a subscriber.
    pub(super) fn choice(&self, track: &Track, config: &ConsumerConfig) -> Choice {
        let Some(backup) = track.backup_codec() else {
            return Choice::First;
        };
        let regressed = track.regressed && takes(config, Some(backup));
        if regressed || !takes(config, track.first_codec()) {
            Choice::Backup
        } else {
            Choice::First
        }
    }

    /// Gives every subscriber of a track the codec that suits it, where that has changed.
    pub(super) fn serve(&mut self, id: TrackId) {
        let Some(track) = self.tracks.get(&id) else {
            return;
        };
        for key in track.subscribers.clone() {
            self.serve_one(key, id);
        }
    }

    fn serve_one(&mut self, key: ParticipantKey, id: TrackId) {
        let Some(subscription) = self.subscription(key, id) else {
            return;
        };
        let Some(config) = subscription.config.clone() else {
            return;
        };
        let (active, carried) = (subscription.active, subscription.media);
        let Some(media) = self.media_for(id, &config) else {
            return;
        };
        if !active {
            self.add_consumer(key, id, media, config);
        } else if carried != media && config.continues {
            self.end_stream(key, carried);
            self.add_consumer(key, id, media, config);
            // No description follows with which the codec that is left could be taken off.
            self.review_quality(id);
        } else if carried != media && subscription.ssrc == config.ssrc {
            // Two codecs of one stream would need one row of numbers: the next stream has its own.
            let ssrcs = (self.fresh_ssrc(), self.fresh_ssrc());
            if let Some(subscription) = self
                .participants
                .get_mut(&key)
                .and_then(|p| p.subscriptions.get_mut(&id))
            {
                (subscription.ssrc, subscription.rtx_ssrc) = ssrcs;
            }
            self.negotiate_anew(key);
        }
    }

    pub(super) fn subscription(&self, key: ParticipantKey, id: TrackId) -> Option<&Subscription> {
        self.participants.get(&key)?.subscriptions.get(&id)
    }

    /// A subscription was negotiated with this configuration: what suits it is forwarded, at once or once it is there.
    pub(super) fn apply_negotiated(
        &mut self,
        key: ParticipantKey,
        id: TrackId,
        config: ConsumerConfig,
    ) {
        let Some(subscription) = self.subscription(key, id) else {
            return;
        };
        let (active, carried) = (subscription.active, subscription.media);
        let told = subscription.config.as_ref().map(|config| config.ssrc);
        let media = self.media_for(id, &config);
        match media {
            Some(media) if !active || media == carried => {
                self.add_consumer(key, id, media, config);
            }
            // Another stream, or one that may go on with something else.
            Some(media) if told != Some(config.ssrc) || config.continues => {
                self.end_stream(key, carried);
                self.add_consumer(key, id, media, config);
            }
            // The present stream goes on until the next description.
            Some(_) => {
                self.add_consumer(key, id, carried, config);
                self.serve_one(key, id);
            }
            None => {
                self.stop_consumer(key, id, carried);
                self.remember(key, id, config);
            }
        }
        self.review_quality(id);
    }

    fn end_stream(&mut self, key: ParticipantKey, media: TrackId) {
        let participant = &self.participants[&key];
        let transport = participant.transports.get(participant.downlink_role());
        if let Some(transport) = transport.map(|t| t.id) {
            let command = Command::RemoveConsumer {
                transport,
                track: media,
            };
            self.media(participant.shard, command);
        }
    }

    fn remember(&mut self, key: ParticipantKey, id: TrackId, config: ConsumerConfig) {
        let subscriptions = self
            .participants
            .get_mut(&key)
            .map(|p| &mut p.subscriptions);
        if let Some(subscription) = subscriptions.and_then(|s| s.get_mut(&id)) {
            subscription.config = Some(config);
        }
    }

    fn add_consumer(
        &mut self,
        key: ParticipantKey,
        id: TrackId,
        media: TrackId,
        mut config: ConsumerConfig,
    ) {
        let producer_shard = self.participants[&self.tracks[&id].owner].shard;
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        let role = participant.downlink_role();
        let Some(transport) = participant.transports.get(role).map(|t| t.id) else {
            return;
        };
        let shard = participant.shard;
        if let Some(subscription) = participant.subscriptions.get_mut(&id) {
            subscription.media = media;
        }
        config.target = self.consumer_target(key, id);
        let command = Command::AddConsumer {
            transport,
            track: media,
            producer_shard,
            config: config.clone(),
        };
        self.media(shard, command);
        self.remember(key, id, config);
        self.consumer_added(key, id);
    }

    /// Whether everybody is to get the second codec: somebody needs it, and the publisher would rather encode once.
    fn regresses(&self, track: &Track) -> bool {
        let Some(backup) = track.backup_codec() else {
            return false;
        };
        let configs = || {
            let subscriptions = track.subscribers.iter();
            subscriptions.filter_map(|key| self.subscription(*key, track.id)?.config.as_ref())
        };
        let needed = configs().any(|config| !takes(config, track.first_codec()));
        let suits_all = configs().all(|config| takes(config, Some(backup)));
        needed
            && match track.info.backup_codec_policy() {
                BackupCodecPolicy::Simulcast => false,
                BackupCodecPolicy::PreferRegression => suits_all,
                BackupCodecPolicy::Regression => true,
            }
    }

    /// Begins to give everybody the second codec once it flows. That ends as slowly as what nobody asks for is stopped.
    pub(super) fn review_regression(&mut self, id: TrackId) {
        let track = &self.tracks[&id];
        let flows = |backup: TrackId| self.tracks.get(&backup).is_some_and(|b| b.started);
        let due = self.regresses(track) && track.backup.is_some_and(flows);
        let (regressed, return_at) = (track.regressed, track.return_at);
        let at = self.now + self.config.quality_down_delay;
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        if due {
            track.return_at = None;
            track.regressed = true;
            if !regressed {
                self.serve(id);
            }
        } else if regressed && return_at.is_none() {
            track.return_at = Some(at);
            self.arm(at, Timer::QualityDown(id));
        }
    }
}
