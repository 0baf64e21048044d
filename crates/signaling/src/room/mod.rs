//! One room as a sans-IO state machine: requests, media events and time go in; messages, media commands and closes
//! are drained. Owns participants, tracks and subscriptions. Refuses sockets, clocks and tasks.

mod answer;
mod clear;
mod codecs;
mod data;
mod data_track;
mod demand;
mod downlink;
mod ending;
mod events;
mod forward;
mod http_session;
mod join;
mod key;
mod negotiate;
mod participant;
mod permissions;
mod priority;
mod profile;
mod publish;
mod quality;
mod refused;
mod replay;
mod request;
mod resume;
mod server_data;
mod service;
mod simulate;
mod speakers;
mod stage;
mod subscribe;
mod timers;
mod track;
mod transport;
mod updates;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use livekit_protocol::{
    AddTrackRequest, ClientInfo, DisconnectReason, RoomConfiguration, RoomEndReason,
    SessionDescription, SyncState, WebhookEvent, leave_request::Action, signal_request,
    signal_response,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use schalter_model::{RoomId, ShardId, Time, TrackId, TransportId, WallClock};
use schalter_shard::control::{Command, Event};
use schalter_transport::Fingerprint;

use crate::administration::{ParticipantSummary, RoomSummary};
use crate::config::SignalingConfig;
use crate::error::JoinRefusal;
use crate::guided::{Clear, Presence};
use crate::ids::{self, ConnectionId, IdSource};
use crate::media::ShardInfo;
use crate::stats::Counters;
use crate::token::Grants;
use crate::turn::TurnServers;

pub(crate) use data::is_reliable;
pub use forward::{Forwarded, LinkId, LinkOutput, Needs};
pub use http_session::{
    HttpJoin, HttpRole, HttpSessionBegun, IceChange, Precondition, SessionCaller, SessionRefusal,
};
pub(crate) use join::leave;
pub use key::RoomKey;
pub use service::ServiceRefusal;

use participant::{Participant, ParticipantKey};
use timers::Timer;
use track::Track;
use transport::TransportRole;

/// How a client connects its media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionMode {
    /// One peer connection that the client offers (`/rtc/v1`).
    Single,
    /// One for publishing, offered by the client, and one for subscribing, offered by us (`/rtc`).
    Dual,
    /// One that the client offers once, without a WebSocket (WHIP, WHEP).
    Http,
}

/// What a client brings when it joins or resumes.
#[derive(Clone, Debug)]
pub struct JoinParams {
    /// Its verified token.
    pub grants: Arc<Grants>,
    /// What it says of itself.
    pub client: ClientInfo,
    /// How it connects.
    pub mode: ConnectionMode,
    /// Whether it gets every track unless it says otherwise.
    pub auto_subscribe: bool,
    /// The same for data tracks.
    pub auto_subscribe_data_tracks: bool,
    /// Metadata in place of the token's, if it may change its own; empty: the token's.
    pub metadata: String,
    /// Attributes beside the token's, if it may change its own.
    pub attributes: HashMap<String, String>,
    /// The publisher's offer.
    pub offer: Option<SessionDescription>,
    /// Tracks to publish at once.
    pub add_tracks: Vec<AddTrackRequest>,
    /// Set to continue a session.
    pub resume: Option<Resume>,
    /// The shard for its media, if this begins a session.
    pub shard: ShardId,
}

/// Which session a client wants to continue.
#[derive(Clone, Debug)]
pub struct Resume {
    /// The session's id.
    pub participant_sid: String,
    /// The client's view, where it comes with the request.
    pub sync_state: Option<SyncState>,
}

/// Something that happens to a room.
#[derive(Clone, Debug)]
pub enum Input {
    /// A client wants in. Answered with [`Output::Accepted`] or [`Output::Refused`].
    Join {
        /// Its WebSocket.
        connection: ConnectionId,
        /// What it brings.
        params: Box<JoinParams>,
    },
    /// A request on a WebSocket.
    Request {
        /// Which.
        connection: ConnectionId,
        /// What it asks.
        request: Box<signal_request::Message>,
    },
    /// A frame on a WebSocket that is no request.
    Unreadable {
        /// Which.
        connection: ConnectionId,
        /// What is wrong with it.
        frame: UnreadableFrame,
    },
    /// A WebSocket is gone.
    Closed {
        /// Which.
        connection: ConnectionId,
    },
    /// A WebSocket's queue is full: its client has missed messages.
    Overflowed {
        /// Which.
        connection: ConnectionId,
    },
    /// The media plane reports.
    Media(Event),
    /// A reliable packet from this transport was lost on its way here.
    DataLost {
        /// The sender's.
        transport: TransportId,
    },
    /// The time of [`Room::poll_timeout`] has come.
    Timeout,
    /// An operator removes a participant.
    Remove {
        /// The session's id.
        participant: String,
    },
    /// An operator ends the room.
    End,
    /// Everybody must leave.
    Shutdown,
}

/// Why a frame is no request. Clients are answered all the same: most wait for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnreadableFrame {
    /// A request of a kind that only newer clients know.
    UnknownRequest,
    /// No `SignalRequest` at all.
    Malformed,
}

/// Something a room wants done, in order.
#[derive(Clone, Debug)]
pub enum Output {
    /// A join or resume succeeded; its first message follows.
    Accepted {
        /// Which WebSocket.
        connection: ConnectionId,
    },
    /// A join was refused.
    Refused {
        /// Which WebSocket.
        connection: ConnectionId,
        /// Why.
        refusal: JoinRefusal,
    },
    /// The same message to each of these.
    Send {
        /// Receivers, at least one.
        to: Vec<ConnectionId>,
        /// The message.
        message: Box<signal_response::Message>,
    },
    /// A fresh token with these claims.
    RefreshToken {
        /// Receiver.
        connection: ConnectionId,
        /// The grants whose key and claims the token gets.
        grants: Arc<Grants>,
    },
    /// Close a WebSocket after what was sent before.
    Close {
        /// Which.
        connection: ConnectionId,
    },
    /// A command for the media plane.
    Media {
        /// Which shard.
        shard: ShardId,
        /// What.
        command: Command,
    },
    /// Something that integrators are told; only in rooms of
    /// [`SignalingConfig::webhook_authority`](crate::SignalingConfig::webhook_authority).
    Report(Box<WebhookEvent>),
    /// Somebody came or left; only in rooms of [`SignalingConfig::guided`](crate::SignalingConfig::guided).
    Presence(Presence),
    /// Nobody is here and the timeout has passed, or the room was shut down. The last output.
    Ended,
}

/// What the room must know of the node it lives on.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// Number in user name fragments.
    pub number: u16,
    /// `ND_…`, as clients see it.
    pub sid: Arc<str>,
    /// Where media is sent to.
    pub shards: Arc<[ShardInfo]>,
    /// Fingerprints of the certificates that transports may present, the likeliest first.
    pub fingerprints: Arc<[Fingerprint]>,
    /// The TURN servers that the shards are.
    pub turn: Option<Arc<TurnServers>>,
}

/// What a room is made of.
#[derive(Clone, Debug)]
pub struct RoomSetup {
    /// Its name.
    pub key: RoomKey,
    /// The server's configuration.
    pub config: Arc<SignalingConfig>,
    /// The node.
    pub node: NodeInfo,
    /// Where ids of transports and tracks come from.
    pub ids: Arc<IdSource>,
    /// Where it counts.
    pub counters: Arc<Counters>,
    /// What time it is.
    pub wall: WallClock,
    /// Randomness for ids and ICE passwords: from the system in production.
    pub seed: [u8; 32],
    /// What the token that makes the room says of it.
    pub room_config: Option<RoomConfiguration>,
}

/// A room.
#[derive(Debug)]
pub struct Room {
    key: RoomKey,
    sid: Arc<str>,
    /// Its name in the media plane.
    id: RoomId,
    config: Arc<SignalingConfig>,
    /// As its authority wanted it when the room began.
    clear: Clear,
    node: NodeInfo,
    ids: Arc<IdSource>,
    counters: Arc<Counters>,
    wall: WallClock,
    rng: StdRng,
    created_ms: u64,
    metadata: String,
    empty_timeout: Duration,
    departure_timeout: Duration,
    max_participants: usize,
    sif_trailer: Vec<u8>,
    participants: BTreeMap<ParticipantKey, Participant>,
    by_identity: HashMap<Arc<str>, ParticipantKey>,
    by_sid: HashMap<Arc<str>, ParticipantKey>,
    by_connection: HashMap<ConnectionId, ParticipantKey>,
    by_transport: HashMap<TransportId, (ParticipantKey, TransportRole)>,
    tracks: BTreeMap<TrackId, Track>,
    tracks_by_sid: HashMap<Arc<str>, TrackId>,
    next_key: u32,
    timers: BTreeSet<(Time, Timer)>,
    outputs: VecDeque<Output>,
    presence: updates::Presence,
    room_update_due: Option<Time>,
    room_update_sent: Time,
    counts_sent: (u32, u32),
    speakers: speakers::Speakers,
    connections: quality::Connections,
    negotiate: BTreeSet<ParticipantKey>,
    server_data: server_data::ServerData,
    links: forward::Links,
    parting: Vec<http_session::Parting>,
    empty_since: Option<Time>,
    ended: bool,
    now: Time,
}

impl Room {
    /// Makes a room nobody is in yet.
    pub fn new(setup: RoomSetup, now: Time) -> Self {
        let mut rng = StdRng::from_seed(setup.seed);
        let defaults = &setup.config.room;
        let asked = setup.room_config.unwrap_or_default();
        let or = |secs: u32, default: Duration| match secs {
            0 => default,
            secs => Duration::from_secs(u64::from(secs)),
        };
        let ceiling = setup.config.limits.participants_per_room;
        let max_participants = [asked.max_participants, defaults.max_participants]
            .into_iter()
            .find(|max| *max > 0)
            .map_or(ceiling, |max| ceiling.min(max as usize));
        let mut room = Self {
            server_data: server_data::ServerData::new(&setup.config.limits, now),
            sid: ids::sid("RM_", &mut rng),
            id: setup.ids.room(),
            created_ms: setup.wall.unix_nanos(now) / 1_000_000,
            metadata: asked.metadata,
            empty_timeout: or(asked.empty_timeout, defaults.empty_timeout),
            departure_timeout: or(asked.departure_timeout, defaults.departure_timeout),
            max_participants,
            sif_trailer: ids::sid("", &mut rng).as_bytes().to_vec(),
            clear: setup
                .config
                .guided
                .clear(&setup.key.authority)
                .unwrap_or_default(),
            key: setup.key,
            config: setup.config,
            node: setup.node,
            ids: setup.ids,
            counters: setup.counters,
            wall: setup.wall,
            rng,
            participants: BTreeMap::new(),
            by_identity: HashMap::new(),
            by_sid: HashMap::new(),
            by_connection: HashMap::new(),
            by_transport: HashMap::new(),
            tracks: BTreeMap::new(),
            tracks_by_sid: HashMap::new(),
            next_key: 0,
            timers: BTreeSet::new(),
            outputs: VecDeque::new(),
            presence: updates::Presence::default(),
            room_update_due: None,
            room_update_sent: Time::ZERO,
            counts_sent: (0, 0),
            speakers: speakers::Speakers::default(),
            connections: quality::Connections::default(),
            negotiate: BTreeSet::new(),
            links: forward::Links::default(),
            parting: Vec::new(),
            empty_since: Some(now),
            ended: false,
            now,
        };
        room.arm(now + room.empty_timeout, Timer::Empty);
        room.report_room_started();
        room
    }

    /// The room's id as clients see it.
    pub fn sid(&self) -> &Arc<str> {
        &self.sid
    }

    /// Its name.
    pub fn key(&self) -> &RoomKey {
        &self.key
    }

    /// Whether one more participant with this identity would be let in.
    pub fn admits(&self, identity: &str) -> bool {
        // A second session of one identity replaces the first.
        self.participants.len() < self.max_participants || self.by_identity.contains_key(identity)
    }

    /// Whether somebody's session has this id.
    pub fn holds(&self, participant: &str) -> bool {
        self.by_sid.contains_key(participant)
    }

    /// What an operator sees of it.
    pub fn summary(&self) -> RoomSummary {
        let participants = self.participants.values().map(|p| ParticipantSummary {
            sid: Arc::clone(&p.sid),
            identity: Arc::clone(&p.identity),
            since_ms: p.joined_ms,
            active: p.is_active(),
            tracks: p.published.len(),
        });
        RoomSummary {
            sid: Arc::clone(&self.sid),
            authority: self.key.authority.clone(),
            name: Arc::clone(&self.key.name),
            since_ms: self.created_ms,
            participants: participants.collect(),
        }
    }

    /// Takes one input at `now`, which never goes back.
    pub fn handle(&mut self, now: Time, input: Input) {
        self.now = self.now.max(now);
        if self.ended {
            self.refuse_late(&input);
            return;
        }
        match input {
            Input::Join { connection, params } => self.on_join(connection, *params),
            Input::Request {
                connection,
                request,
            } => self.on_request(connection, *request),
            Input::Unreadable { connection, frame } => self.on_unreadable(connection, frame),
            Input::Closed { connection } => self.on_closed(connection),
            Input::Overflowed { connection } => self.on_overflow(connection),
            Input::Media(event) => self.on_media(event),
            Input::DataLost { transport } => self.on_data_lost(transport),
            Input::Timeout => {}
            Input::Remove { participant } => {
                if let Some(key) = self.by_sid.get(&*participant).copied() {
                    self.dismiss(key, DisconnectReason::ParticipantRemoved);
                }
            }
            Input::End => self.close_down(
                leave(DisconnectReason::RoomDeleted, Action::Disconnect),
                RoomEndReason::RoomEndApiDelete,
            ),
            // Whoever takes over, this server once more as a rule, is where they find each other again.
            Input::Shutdown => self.close_down(
                leave(DisconnectReason::ServerShutdown, Action::Reconnect),
                RoomEndReason::RoomEndServerShutdown,
            ),
        }
        self.fire_timers();
        self.settle();
    }

    /// The next thing to do, if any.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.first().map(|(at, _)| *at)
    }

    fn refuse_late(&mut self, input: &Input) {
        if let Input::Join { connection, .. } = input {
            self.outputs.push_back(Output::Refused {
                connection: *connection,
                refusal: JoinRefusal::Unavailable,
            });
        }
    }

    /// Ends an input: negotiations that became due, once each.
    fn settle(&mut self) {
        while let Some(key) = self.negotiate.pop_first() {
            self.negotiate_downlinks(key);
        }
        self.settle_links();
    }

    fn on_media(&mut self, event: Event) {
        match event {
            Event::TransportState { transport, state } => self.on_transport_state(transport, state),
            // Labels, not ids, name the channels; nothing waits for them to open.
            Event::ChannelOpened { .. } | Event::ChannelClosed { .. } => {}
            Event::Data {
                transport,
                label,
                data,
                ..
            } => self.on_data(transport, &label, &data),
            Event::EncodingStarted {
                track,
                encoding,
                ssrc,
                codec,
            } => self.on_encoding_started(track, encoding, ssrc, codec),
            Event::AudioLevel {
                track,
                level,
                active,
            } => self.on_audio_level(track, level, active),
            Event::StreamState {
                transport,
                track,
                paused,
            } => self.on_stream_state(transport, track, paused),
            Event::Quality { transport, quality } => self.on_quality(transport, quality),
            Event::Refused {
                transport,
                track,
                reason,
            } => self.on_media_refused(transport, track, reason),
        }
    }

    fn unix_ms(&self) -> u64 {
        self.wall.unix_nanos(self.now) / 1_000_000
    }

    fn media(&mut self, shard: ShardId, command: Command) {
        self.outputs.push_back(Output::Media { shard, command });
    }

    fn send(&mut self, key: ParticipantKey, message: signal_response::Message) {
        let Some(connection) = self.participants.get(&key).and_then(|p| p.connection) else {
            return;
        };
        self.send_to(vec![connection], message);
    }

    fn send_to(&mut self, to: Vec<ConnectionId>, message: signal_response::Message) {
        if !to.is_empty() {
            self.outputs.push_back(Output::Send {
                to,
                message: Box::new(message),
            });
        }
    }
}
