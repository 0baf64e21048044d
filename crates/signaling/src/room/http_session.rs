//! Participants without a WebSocket: one offer, one answer, then only ICE changes (WHIP, RFC 9725; WHEP,
//! draft-ietf-wish-whep). What they publish is made of the offer, what they get is `stage`'s.
//!
//! Who may begin a session, and with which offers, was decided before; who may change or end one is decided here.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use livekit_protocol::{
    AddTrackRequest, ClientInfo, DisconnectReason, TrackSource, TrackType, VideoLayer, VideoQuality,
};
use rand::distr::{Alphanumeric, SampleString};
use schalter_model::{MediaKind, ShardId, Time};
use schalter_shard::control::Command;

use super::participant::ParticipantKey;
use super::transport::{Transport, TransportRole};
use super::{ConnectionMode, JoinParams, Room};
use crate::error::JoinRefusal;
use crate::sdp::{self, IceFragment, MediaSection, SendTrack, SessionDescription};
use crate::stats::HttpProtocol;
use crate::token::{Grants, TokenError};

/// Characters of the secret in a session's URL: 238 bits, that nobody guesses (RFC 9725 §5).
const SECRET_LEN: usize = 40;

/// Qualities from the top down, as simulcast layers have them.
const FROM_TOP: [VideoQuality; 3] = [VideoQuality::High, VideoQuality::Medium, VideoQuality::Low];

/// What a session without a WebSocket is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpRole {
    /// WHIP: it publishes what it offered.
    Publisher,
    /// WHEP: it gets tracks on the sections that it offered.
    Player {
        /// The identity whose tracks it wants; everybody's without.
        participant: Option<Arc<str>>,
    },
}

impl HttpRole {
    pub(super) const fn protocol(&self) -> HttpProtocol {
        match self {
            Self::Publisher => HttpProtocol::Whip,
            Self::Player { .. } => HttpProtocol::Whep,
        }
    }
}

/// What a client brings that joins by HTTP.
#[derive(Clone, Debug)]
pub struct HttpJoin {
    /// Its verified token.
    pub grants: Arc<Grants>,
    /// The token's signature: whoever shows it again shows the same token, even after it expired.
    pub signature: Arc<str>,
    /// What it wants.
    pub role: HttpRole,
    /// Its offer, of which everything is wanted that has media.
    pub offer: SessionDescription,
    /// The shard for its media.
    pub shard: ShardId,
}

/// A session that began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSessionBegun {
    /// Its secret name within the room.
    pub secret: String,
    /// The answer.
    pub answer: String,
    /// The entity-tag of its ICE session, quotes included (RFC 9110 §8.8.3).
    pub etag: String,
}

/// Who asks for a change, and for which session.
#[derive(Clone, Debug)]
pub struct SessionCaller {
    /// The secret from the URL.
    pub secret: String,
    /// The path that it was found under.
    pub protocol: HttpProtocol,
    /// The token's signature.
    pub signature: String,
    /// The token, if it is a good one now.
    pub grants: Option<Box<Grants>>,
}

/// `If-Match` (RFC 9110 §13.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// `*`.
    Any,
    /// These entity-tags, quotes included.
    Tags(Vec<String>),
}

/// What a fragment changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IceChange {
    /// Nothing: candidates of the ICE session that runs.
    Trickled,
    /// ICE was restarted.
    Restarted {
        /// Our new credentials and candidates, for the client.
        fragment: String,
        /// The new entity-tag.
        etag: String,
    },
}

/// Why a change of a session was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionRefusal {
    /// No such session, or no longer.
    #[error("there is no such session")]
    NoSession,
    /// The token is neither the session's nor a good one.
    #[error("the token is not valid")]
    BadToken,
    /// The token is good, but for another room or identity.
    #[error("the token is not for this session")]
    ForeignToken,
    /// No `If-Match`.
    #[error("If-Match is required: the entity-tag of the ICE session, or * to restart it")]
    NoPrecondition,
    /// `If-Match` names another ICE session than the one that runs.
    #[error("the entity-tag is not that of the ICE session that runs")]
    StaleIce,
    /// A section that was not offered.
    #[error("the fragment speaks of a section that was not offered")]
    UnknownSection,
}

/// A session whose client closed its media and has yet to say goodbye: most close first.
#[derive(Debug)]
pub(super) struct Parting {
    secret: String,
    signature: Arc<str>,
    protocol: HttpProtocol,
    at: Time,
}

/// How long a goodbye may come after the media's end; later it is an unknown session's.
const GOODBYE: Duration = Duration::from_secs(10);
/// Sessions of a room that are remembered for that: only a `DELETE` that is answered with 404 is the harm beyond.
const MAX_PARTING: usize = 64;

/// What a participant without a WebSocket is beside other participants.
#[derive(Debug)]
pub(super) struct HttpSession {
    secret: String,
    signature: Arc<str>,
    pub(super) role: HttpRole,
    pub(super) offer: Arc<SessionDescription>,
}

fn etag(transport: &Transport) -> String {
    format!("\"{}\"", transport.ice.ufrag)
}

impl Room {
    /// Lets a client in that joins by HTTP. Its session ends by itself if its media doesn't connect in time.
    ///
    /// # Errors
    /// [`JoinRefusal`], as for any other client.
    pub fn begin_http_session(&mut self, join: HttpJoin) -> Result<HttpSessionBegun, JoinRefusal> {
        let role = TransportRole::Publisher;
        if join.grants.video.is_none() {
            return Err(TokenError::NoVideoGrant.into());
        }
        // There is nothing in an offer that says so, and hardly a client that could.
        if join.role == HttpRole::Publisher && self.refuses_clear() {
            return Err(JoinRefusal::InClear);
        }
        if !self.admits(&join.grants.identity) {
            return Err(JoinRefusal::RoomFull);
        }
        if let Some(old) = self.by_identity.get(&*join.grants.identity).copied() {
            self.dismiss(old, DisconnectReason::DuplicateIdentity);
        }
        let params = JoinParams {
            grants: join.grants,
            client: ClientInfo::default(),
            mode: ConnectionMode::Http,
            auto_subscribe: matches!(join.role, HttpRole::Player { .. }),
            auto_subscribe_data_tracks: false,
            metadata: String::new(),
            attributes: Default::default(),
            offer: None,
            add_tracks: Vec::new(),
            resume: None,
            shard: join.shard,
        };
        let key = self.seat(None, &params);
        let secret = Alphanumeric.sample_string(&mut self.rng, SECRET_LEN);
        let offer = Arc::new(join.offer);
        let publishes = join.role == HttpRole::Publisher;
        let counters = self.counters.http_sessions(join.role.protocol());
        counters.add(1);
        if let Some(participant) = self.participants.get_mut(&key) {
            participant.http = Some(HttpSession {
                secret: secret.clone(),
                signature: join.signature,
                role: join.role,
                offer: Arc::clone(&offer),
            });
        }
        if publishes {
            for request in requests(&offer, self.config.limits.name_bytes) {
                self.on_add_track(key, request);
            }
        }
        self.open(key, role);
        self.set_remote(key, role, &offer);
        self.read_uplinks(key, &offer);
        self.claim_sections(key);
        if !publishes {
            self.read_downlinks(key, &offer);
            self.name_sections(key);
        }
        let answer = self.write_answer(key, &offer);
        let transport = self.participants[&key].transports.get(role);
        Ok(HttpSessionBegun {
            secret,
            answer,
            etag: transport.map(etag).unwrap_or_default(),
        })
    }

    /// Gives each section of a player its stream for good: what it carries comes and goes without another answer. The
    /// first section of each kind are one stream, the second ones another: players show a stream as a whole.
    fn name_sections(&mut self, key: ParticipantKey) {
        let numbers: Vec<(u32, u32)> = (0..self.downlinks(key).count())
            .map(|_| (self.fresh_ssrc(), self.fresh_ssrc()))
            .collect();
        let sid = Arc::clone(&self.participants[&key].sid);
        let Some(transport) = self.transport_mut(key, TransportRole::Publisher) else {
            return;
        };
        let (mut sounds, mut pictures) = (0, 0);
        for (downlink, (ssrc, rtx_ssrc)) in transport.downlinks.iter_mut().zip(numbers) {
            let (name, count, rtx) = match downlink.kind {
                MediaKind::Audio => ("audio", &mut sounds, None),
                MediaKind::Video => ("video", &mut pictures, Some(rtx_ssrc)),
            };
            downlink.stream = Some(SendTrack {
                stream_id: format!("stream-{count}").into(),
                track_id: format!("{name}-{count}").into(),
                cname: format!("{sid}-{count}").into(),
                ssrc,
                rtx_ssrc: rtx,
            });
            *count += 1;
        }
    }

    /// Takes a client's fragment: candidates, or new credentials.
    ///
    /// # Errors
    /// [`SessionRefusal`]; then nothing changed.
    pub fn change_ice(
        &mut self,
        caller: &SessionCaller,
        precondition: Option<&Precondition>,
        fragment: &IceFragment,
    ) -> Result<IceChange, SessionRefusal> {
        let role = TransportRole::Publisher;
        let key = self.http_session(caller)?;
        let participant = &self.participants[&key];
        let (Some(http), Some(transport)) = (&participant.http, participant.transports.get(role))
        else {
            return Err(SessionRefusal::NoSession);
        };
        match precondition {
            None => return Err(SessionRefusal::NoPrecondition),
            Some(Precondition::Tags(tags)) if !tags.contains(&etag(transport)) => {
                return Err(SessionRefusal::StaleIce);
            }
            Some(Precondition::Any | Precondition::Tags(_)) => {}
        }
        let offer = Arc::clone(&http.offer);
        if fragment.mids.iter().any(|mid| offer.section(mid).is_none()) {
            return Err(SessionRefusal::UnknownSection);
        }
        let Some(ice) = fragment
            .ice
            .clone()
            .filter(|ice| transport.remote_ufrag.as_ref() != Some(&ice.ufrag))
        else {
            return Ok(IceChange::Trickled);
        };
        let (shard, transport) = (participant.shard, transport.id);
        self.restart_ice(key, role);
        if let Some(transport) = self.transport_mut(key, role) {
            transport.remote_ufrag = Some(Arc::clone(&ice.ufrag));
        }
        let fingerprints = offer
            .transport_parameters()
            .map(|parameters| parameters.fingerprints)
            .unwrap_or_default();
        let command = Command::SetRemote {
            transport,
            ice,
            fingerprints,
        };
        self.media(shard, command);
        let candidates = self.candidates(key);
        let Some(transport) = self.participants[&key].transports.get(role) else {
            return Err(SessionRefusal::NoSession);
        };
        Ok(IceChange::Restarted {
            fragment: sdp::restart_fragment(&offer, &self.local(transport, &candidates)),
            etag: etag(transport),
        })
    }

    /// Ends a session at its client's wish.
    ///
    /// # Errors
    /// [`SessionRefusal`].
    pub fn end_http_session(&mut self, caller: &SessionCaller) -> Result<(), SessionRefusal> {
        match self.http_session(caller) {
            Ok(key) => self.dismiss(key, DisconnectReason::ClientInitiated),
            Err(SessionRefusal::NoSession) => self.take_parting(caller)?,
            Err(refusal) => return Err(refusal),
        }
        Ok(())
    }

    fn take_parting(&mut self, caller: &SessionCaller) -> Result<(), SessionRefusal> {
        let now = self.now;
        self.parting.retain(|parting| parting.at + GOODBYE > now);
        let place = self.parting.iter().position(|parting| {
            parting.secret == caller.secret
                && parting.protocol == caller.protocol
                && *parting.signature == *caller.signature
        });
        let place = place.ok_or(SessionRefusal::NoSession)?;
        self.parting.remove(place);
        Ok(())
    }

    /// The client closed its media: nobody waits for its goodbye.
    pub(super) fn on_media_closed(&mut self, key: ParticipantKey) {
        if let Some(http) = self.participants.get(&key).and_then(|p| p.http.as_ref()) {
            if self.parting.len() == MAX_PARTING {
                self.parting.remove(0);
            }
            self.parting.push(Parting {
                secret: http.secret.clone(),
                signature: Arc::clone(&http.signature),
                protocol: http.role.protocol(),
                at: self.now,
            });
        }
        self.dismiss(key, DisconnectReason::ClientInitiated);
    }

    /// Whether there is such a session, for whom the caller may be.
    ///
    /// # Errors
    /// [`SessionRefusal`].
    pub fn find_http_session(&self, caller: &SessionCaller) -> Result<(), SessionRefusal> {
        self.http_session(caller).map(|_| ())
    }

    fn http_session(&self, caller: &SessionCaller) -> Result<ParticipantKey, SessionRefusal> {
        let found = self.participants.iter().find_map(|(key, participant)| {
            let http = participant.http.as_ref()?;
            let meant = http.secret == caller.secret && http.role.protocol() == caller.protocol;
            meant.then_some((key, participant, http))
        });
        let Some((key, participant, http)) = found else {
            return Err(SessionRefusal::NoSession);
        };
        if *http.signature == *caller.signature {
            return Ok(*key);
        }
        let Some(grants) = &caller.grants else {
            return Err(SessionRefusal::BadToken);
        };
        let room = grants.video.as_ref().map(|video| video.room.as_str());
        let same = grants.authority == self.key.authority
            && room == Some(&*self.key.name)
            && *grants.identity == *participant.identity;
        if same {
            Ok(*key)
        } else {
            Err(SessionRefusal::ForeignToken)
        }
    }

    /// Ends a publisher's session that has nothing left to publish: it could never publish again, and its client would
    /// go on sending for nobody.
    pub(super) fn end_without_tracks(&mut self, key: ParticipantKey) {
        let ends = self.participants.get(&key).is_some_and(|participant| {
            let http = participant.http.as_ref();
            http.is_some_and(|http| http.role == HttpRole::Publisher)
                && participant.published.is_empty()
        });
        if ends {
            self.dismiss(key, DisconnectReason::ParticipantRemoved);
        }
    }
}

/// What an offer publishes, as a client with a WebSocket would ask for it.
fn requests(offer: &SessionDescription, name_bytes: usize) -> Vec<AddTrackRequest> {
    let mut cids = HashSet::new();
    let sending = offer.sections.iter().filter(|section| {
        section.media_kind().is_some() && section.direction.sends() && offer.is_usable(section)
    });
    let mut requests = Vec::new();
    for section in sending {
        let id = section.track_id().unwrap_or(&section.mid);
        let usable = id.len() <= name_bytes && cids.insert(id.to_owned());
        let cid = if usable { id } else { &section.mid };
        let (name, r#type, source) = match section.media_kind() {
            Some(MediaKind::Audio) => (
                "synthesized-microphone",
                TrackType::Audio,
                TrackSource::Microphone,
            ),
            Some(MediaKind::Video) | None => {
                ("synthesized-camera", TrackType::Video, TrackSource::Camera)
            }
        };
        #[expect(deprecated, reason = "older clients read these copies")]
        requests.push(AddTrackRequest {
            cid: cid.to_owned(),
            name: name.to_owned(),
            r#type: r#type as i32,
            source: source as i32,
            layers: layers(section),
            // An encoder's sound is a programme: silence in it is part of it.
            disable_dtx: r#type == TrackType::Audio,
            stereo: section.formats.iter().any(|format| {
                let says = |name| format.parameter(name) == Some("1");
                says("stereo") || says("sprop-stereo")
            }),
            ..AddTrackRequest::default()
        });
    }
    requests
}

/// The simulcast layers of a section, lowest quality first; their sizes are not known.
fn layers(section: &MediaSection) -> Vec<VideoLayer> {
    let rids = section.sent_rids();
    if section.media_kind() != Some(MediaKind::Video) {
        return Vec::new();
    }
    let qualities = FROM_TOP.iter().take(rids.len().max(1)).rev();
    qualities
        .map(|quality| VideoLayer {
            quality: *quality as i32,
            ..VideoLayer::default()
        })
        .collect()
}
