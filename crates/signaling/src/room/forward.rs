//! Forwarded participants: somebody of this room shown in another one, and somebody of another one shown here.
//!
//! Each room keeps its own picture of the participant; what they tell each other is whole each time, so that only the
//! latest of it counts, and neither waits for the other (ADR 0006). Media needs no word: consumers of one room attach to
//! the producers of the other where the shards are.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use livekit_protocol::{
    ClientInfo, DisconnectReason, SubscriptionPermission, TrackInfo, TrackSubscribed,
    signal_response::Message,
};
use schalter_forward::ProducerConfig;
use schalter_model::{MediaKind, ShardId, TrackId};

use super::participant::{Participant, ParticipantKey, Phase};
use super::quality::SeenQuality;
use super::service::ServiceRefusal;
use super::track::{Track, Wanted};
use super::{ConnectionMode, Room};
use crate::ids;
use crate::token::{Grants, VideoGrants};

/// Rooms that one participant is forwarded to at most: each is told of everything about it.
const MAX_FORWARDS: usize = 16;

/// One forwarding of one participant to one room. Unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Somebody as another room is to show it.
#[derive(Clone, PartialEq)]
pub struct Forwarded {
    identity: Arc<str>,
    grants: Arc<Grants>,
    video: VideoGrants,
    client: ClientInfo,
    name: String,
    metadata: String,
    attributes: BTreeMap<String, String>,
    joined_ms: u64,
    /// Where its producers are.
    shard: ShardId,
    audience: Option<SubscriptionPermission>,
    quality: SeenQuality,
    tracks: Vec<ForwardedTrack>,
}

impl std::fmt::Debug for Forwarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Forwarded(…, {} tracks)", self.tracks.len())
    }
}

#[derive(Clone, Debug, PartialEq)]
struct ForwardedTrack {
    id: TrackId,
    sid: Arc<str>,
    kind: MediaKind,
    info: TrackInfo,
    producer: ProducerConfig,
    /// How loud it is, in the steps that clients are told.
    loudness: u8,
}

/// What a room needs of the tracks that are forwarded to it: those that somebody got there, and how well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs(BTreeMap<TrackId, Wanted>);

/// What the other end of a link is told.
#[derive(Clone, Debug)]
pub enum LinkOutput {
    /// To the room that somebody is forwarded to.
    State {
        /// Which link.
        link: LinkId,
        /// The participant now.
        state: Arc<Forwarded>,
    },
    /// To the room that somebody is forwarded from.
    Needs {
        /// Which link.
        link: LinkId,
        /// What is needed now.
        needs: Arc<Needs>,
    },
    /// The forwarding has ended at this end.
    Closed {
        /// Which link.
        link: LinkId,
    },
}

impl LinkOutput {
    /// The link that it is about.
    pub fn link(&self) -> LinkId {
        match self {
            Self::State { link, .. } | Self::Needs { link, .. } | Self::Closed { link } => *link,
        }
    }
}

#[derive(Debug)]
struct Outgoing {
    identity: Arc<str>,
    told: Arc<Forwarded>,
}

#[derive(Debug)]
struct Incoming {
    key: ParticipantKey,
    told: Arc<Needs>,
}

/// The ends of links that are in this room.
#[derive(Debug, Default)]
pub(super) struct Links {
    outgoing: BTreeMap<LinkId, Outgoing>,
    incoming: BTreeMap<LinkId, Incoming>,
    outputs: VecDeque<LinkOutput>,
    /// Something may have changed that the other ends don't know.
    stale: bool,
    /// Keys that were given to who is forwarded here.
    pub(super) keys: u32,
}

impl Links {
    pub(super) fn note_change(&mut self) {
        self.stale = true;
    }
}

impl Room {
    /// What the other ends of links are told, in order.
    pub fn poll_link(&mut self) -> Option<LinkOutput> {
        self.links.outputs.pop_front()
    }

    /// Begins to forward a participant. Answers what the other room begins with.
    ///
    /// # Errors
    /// [`ServiceRefusal::NoParticipant`]; [`ServiceRefusal::NotAsThingsAre`] if it is not connected yet or forwarded from
    /// elsewhere itself; [`ServiceRefusal::Exhausted`] if it is forwarded to as many rooms as it may be.
    pub fn start_forward(
        &mut self,
        link: LinkId,
        identity: &str,
    ) -> Result<Arc<Forwarded>, ServiceRefusal> {
        let key = self.named(identity)?;
        self.refuse_forwarded(key)?;
        if !self.participants[&key].is_active() {
            let text = "the participant is not connected yet; try again";
            return Err(ServiceRefusal::NotAsThingsAre(text));
        }
        let mine = |outgoing: &&Outgoing| *outgoing.identity == *identity;
        if self.links.outgoing.values().filter(mine).count() >= MAX_FORWARDS {
            let text = "the participant is forwarded to as many rooms as it may be";
            return Err(ServiceRefusal::Exhausted(text));
        }
        let told = Arc::new(self.forwarded(key));
        let outgoing = Outgoing {
            identity: identity.into(),
            told: Arc::clone(&told),
        };
        self.links.outgoing.insert(link, outgoing);
        Ok(told)
    }

    /// Shows somebody of another room from now on.
    ///
    /// # Errors
    /// [`ServiceRefusal::NotAsThingsAre`] if somebody here has its identity, [`ServiceRefusal::Exhausted`] if the room is
    /// full.
    pub fn accept_forward(
        &mut self,
        link: LinkId,
        state: &Forwarded,
    ) -> Result<(), ServiceRefusal> {
        if self.by_identity.contains_key(&state.identity) {
            let text = "the destination has a participant with this identity";
            return Err(ServiceRefusal::NotAsThingsAre(text));
        }
        if !self.admits(&state.identity) {
            return Err(ServiceRefusal::Exhausted("room is full"));
        }
        let key = ParticipantKey(self.next_key);
        self.next_key += 1;
        self.links.keys += 1;
        let participant = self.stand_in(link, state);
        tracing::info!(room = %self.sid, participant = %participant.sid, "participant is forwarded here");
        self.by_identity
            .insert(Arc::clone(&participant.identity), key);
        self.by_sid.insert(Arc::clone(&participant.sid), key);
        self.participants.insert(key, participant);
        self.counters.participants.add(1);
        self.counters.forwards.add(1);
        let told = Arc::default();
        self.links.incoming.insert(link, Incoming { key, told });
        self.start_connections();
        self.announce_now(key);
        self.report_joined(key);
        self.show_tracks(key, state);
        Ok(())
    }

    fn stand_in(&mut self, link: LinkId, state: &Forwarded) -> Participant {
        Participant {
            sid: ids::sid("PA_", &mut self.rng),
            identity: Arc::clone(&state.identity),
            grants: Arc::clone(&state.grants),
            video: stand_ins_grants(&state.video),
            name: state.name.clone(),
            metadata: state.metadata.clone(),
            attributes: state.attributes.clone(),
            speaks: false,
            client: state.client.clone(),
            mode: ConnectionMode::Single,
            subscriber_primary: false,
            auto_subscribe: false,
            auto_subscribe_data_tracks: false,
            phase: Phase::Active,
            version: 0,
            joined_ms: state.joined_ms,
            shard: state.shard,
            connection: None,
            forwarded: Some(link),
            remove_at: None,
            refresh_at: self.now,
            transports: Default::default(),
            media_closed: false,
            subscriptions: Default::default(),
            choices: Default::default(),
            audience: state.audience.clone(),
            published: Vec::new(),
            is_publisher: false,
            data: super::data::SenderState::new(&self.config.limits, self.now),
            replay_due: false,
            data_tracks: Vec::new(),
            data_subscriptions: Default::default(),
            connection_quality: super::quality::ConnectionState::seen_elsewhere(state.quality),
            http: None,
            simulation: Default::default(),
        }
    }

    /// Takes over what changed of somebody who is forwarded here. Of a link that has ended, nothing.
    pub fn update_forward(&mut self, link: LinkId, state: &Forwarded) {
        let Some(key) = self.links.incoming.get(&link).map(|end| end.key) else {
            return;
        };
        let Some(participant) = self.participants.get_mut(&key) else {
            return;
        };
        participant.shard = state.shard;
        participant.grants = Arc::clone(&state.grants);
        participant.connection_quality.see_elsewhere(state.quality);
        let shown = (
            participant.name != state.name,
            participant.metadata != state.metadata,
            participant.attributes != state.attributes,
            participant.video.hidden != state.video.hidden,
        );
        let renamed = shown != (false, false, false, false);
        let reopened = participant.audience != state.audience;
        participant.name.clone_from(&state.name);
        participant.metadata.clone_from(&state.metadata);
        participant.attributes.clone_from(&state.attributes);
        participant.audience.clone_from(&state.audience);
        let was_hidden = participant.video.hidden;
        participant.video = stand_ins_grants(&state.video);
        if renamed {
            if !was_hidden && state.video.hidden {
                self.announce_hidden(key);
            }
            self.announce_now(key);
            self.rank_anew(key);
        }
        self.show_tracks(key, state);
        if reopened {
            for id in self.participants[&key].published.clone() {
                self.offer_to_all(id);
            }
        }
    }

    /// Makes what somebody publishes here the same as there.
    fn show_tracks(&mut self, key: ParticipantKey, state: &Forwarded) {
        let published = self.participants[&key].published.clone();
        let gone = published
            .iter()
            .filter(|id| !state.tracks.iter().any(|track| track.id == **id));
        let mut news = false;
        for id in gone {
            self.drop_track(*id);
            news = true;
        }
        let mut new = Vec::new();
        for forwarded in &state.tracks {
            if let Some(track) = self.tracks.get_mut(&forwarded.id) {
                if track.info != forwarded.info {
                    track.info.clone_from(&forwarded.info);
                    news = true;
                }
                track.producer = Some(forwarded.producer.clone());
            } else {
                new.push(forwarded.id);
                self.show_track(key, forwarded);
            }
        }
        // Others must know the tracks before an SDP names them.
        if news || !new.is_empty() {
            self.announce_now(key);
        }
        for id in new {
            self.report_published(key, id);
            self.offer_to_all(id);
        }
        for forwarded in &state.tracks {
            self.on_loudness(forwarded.id, forwarded.loudness);
        }
    }

    fn show_track(&mut self, key: ParticipantKey, forwarded: &ForwardedTrack) {
        let (id, sid) = (forwarded.id, Arc::clone(&forwarded.sid));
        let track = Track {
            producer: Some(forwarded.producer.clone()),
            announced: true,
            ..Track::described(id, sid, key, forwarded.kind, forwarded.info.clone())
        };
        self.counters.tracks.add(1);
        self.tracks_by_sid
            .insert(Arc::clone(&forwarded.sid), forwarded.id);
        self.tracks.insert(forwarded.id, track);
        if let Some(participant) = self.participants.get_mut(&key) {
            participant.published.push(forwarded.id);
            participant.is_publisher = true;
        }
    }

    /// Takes over what another room needs. Of a link that has ended, nothing.
    pub fn take_needs(&mut self, link: LinkId, needs: &Needs) {
        if !self.links.outgoing.contains_key(&link) {
            return;
        }
        let ids: Vec<_> = self.tracks.keys().copied().collect();
        for id in ids {
            let need = needs.0.get(&id).copied();
            let Some(track) = self.tracks.get_mut(&id) else {
                continue;
            };
            let before = match need {
                Some(wanted) => track.wanted_elsewhere.insert(link, wanted),
                None => track.wanted_elsewhere.remove(&link),
            };
            if before == need {
                continue;
            }
            let first = need.is_some() && !std::mem::replace(&mut track.subscribed_told, true);
            let (owner, track_sid) = (track.owner, track.sid.to_string());
            self.review_quality(id);
            if first {
                let message = TrackSubscribed { track_sid };
                self.send(owner, Message::TrackSubscribed(message));
            }
        }
    }

    /// Ends a link whose other end has ended.
    pub fn close_forward(&mut self, link: LinkId) {
        if let Some(end) = self.links.incoming.remove(&link) {
            self.dismiss(end.key, DisconnectReason::ClientInitiated);
        }
        if self.links.outgoing.remove(&link).is_some() {
            self.forget_needs(link);
        }
    }

    fn forget_needs(&mut self, link: LinkId) {
        let ids: Vec<_> = self.tracks.keys().copied().collect();
        for id in ids {
            let track = self.tracks.get_mut(&id);
            if track.is_some_and(|track| track.wanted_elsewhere.remove(&link).is_some()) {
                self.review_quality(id);
            }
        }
    }

    /// Somebody who was forwarded here is shown no more.
    pub(super) fn end_stand_in(&mut self, link: LinkId) {
        self.counters.forwards.sub(1);
        if self.links.incoming.remove(&link).is_some() {
            self.links.outputs.push_back(LinkOutput::Closed { link });
        }
    }

    /// Whether nobody is here but who is forwarded from elsewhere.
    pub(super) fn is_deserted(&self) -> bool {
        self.participants
            .values()
            .all(|participant| participant.forwarded.is_some())
    }

    /// Refuses what only the room can do that a participant is really in.
    pub(super) fn refuse_forwarded(&self, key: ParticipantKey) -> Result<(), ServiceRefusal> {
        if self.participants[&key].forwarded.is_some() {
            let text = "the participant is forwarded from another room; ask that one";
            return Err(ServiceRefusal::NotAsThingsAre(text));
        }
        Ok(())
    }

    /// Tells the other ends of links what changed, once for each input.
    pub(super) fn settle_links(&mut self) {
        if !std::mem::take(&mut self.links.stale) {
            return;
        }
        let mut ended = Vec::new();
        let outgoing: Vec<_> = self.links.outgoing.keys().copied().collect();
        for link in outgoing {
            let identity = Arc::clone(&self.links.outgoing[&link].identity);
            // A session that replaced another goes on with its links.
            let Some(key) = self.by_identity.get(&identity).copied() else {
                ended.push(link);
                continue;
            };
            let state = self.forwarded(key);
            if let Some(end) = self.links.outgoing.get_mut(&link)
                && *end.told != state
            {
                end.told = Arc::new(state);
                let state = Arc::clone(&end.told);
                self.links
                    .outputs
                    .push_back(LinkOutput::State { link, state });
            }
        }
        for link in ended {
            self.links.outgoing.remove(&link);
            self.links.outputs.push_back(LinkOutput::Closed { link });
        }
        let incoming: Vec<_> = self.links.incoming.keys().copied().collect();
        for link in incoming {
            let needs = self.needs(self.links.incoming[&link].key);
            if let Some(end) = self.links.incoming.get_mut(&link)
                && *end.told != needs
            {
                end.told = Arc::new(needs);
                let needs = Arc::clone(&end.told);
                self.links
                    .outputs
                    .push_back(LinkOutput::Needs { link, needs });
            }
        }
    }

    fn forwarded(&self, key: ParticipantKey) -> Forwarded {
        let participant = &self.participants[&key];
        let tracks = participant.published.iter();
        let tracks = tracks
            .filter_map(|id| self.tracks.get(id))
            .filter(|track| track.announced);
        Forwarded {
            identity: Arc::clone(&participant.identity),
            grants: Arc::clone(&participant.grants),
            video: participant.video.clone(),
            client: participant.client.clone(),
            name: participant.name.clone(),
            metadata: participant.metadata.clone(),
            attributes: participant.attributes.clone(),
            joined_ms: participant.joined_ms,
            shard: participant.shard,
            audience: participant.audience.clone(),
            quality: participant.connection_quality.seen(),
            tracks: tracks
                .filter_map(|track| {
                    Some(ForwardedTrack {
                        id: track.id,
                        sid: Arc::clone(&track.sid),
                        kind: track.kind,
                        info: track.info.clone(),
                        producer: track.producer.clone()?,
                        loudness: track.loudness.told(),
                    })
                })
                .collect(),
        }
    }

    fn needs(&self, key: ParticipantKey) -> Needs {
        let published = self.participants.get(&key).map(|p| &p.published);
        let tracks = published.into_iter().flatten();
        let tracks = tracks.filter_map(|id| self.tracks.get(id));
        let needed = tracks.filter(|track| track.subscribed_told);
        Needs(
            needed
                .map(|track| (track.id, track.demand.told().unwrap_or(Wanted::Nothing)))
                .collect(),
        )
    }
}

/// Who stands in for somebody elsewhere gets nothing here.
fn stand_ins_grants(video: &VideoGrants) -> VideoGrants {
    VideoGrants {
        can_subscribe: false,
        can_publish_data: false,
        can_update_own_metadata: false,
        ..video.clone()
    }
}
