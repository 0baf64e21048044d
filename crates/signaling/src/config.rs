//! What an operator may tune, each with its default and its reason.

use std::time::Duration;

use schalter_model::AuthorityId;

use crate::guided::Guided;
use crate::sdp::CodecKind;

/// Every codec, in the order clients are told of them: the first is what most fall back to.
pub const PUBLISH_ORDER: [CodecKind; 7] = [
    CodecKind::Vp8,
    CodecKind::H264,
    CodecKind::Vp9,
    CodecKind::Av1,
    CodecKind::H265,
    CodecKind::Opus,
    CodecKind::Red,
];

/// Everything that signaling is configured with.
#[derive(Clone, Debug)]
pub struct SignalingConfig {
    /// Bounds on what peers may ask for.
    pub limits: Limits,
    /// What a room starts with unless its token says otherwise.
    pub room: RoomDefaults,
    /// How often clients are told to ping (whole seconds on the wire, at least 1). With [`Self::ping_timeout`] it decides how
    /// long a browser goes without media whose address changed: see docs/adr/0011. Other clients are told no less than 5 s and 15 s.
    pub ping_interval: Duration,
    /// Silence after which clients give a connection up and resume by another (whole seconds on the wire, more than
    /// [`Self::ping_interval`]).
    pub ping_timeout: Duration,
    /// How often we send a WebSocket ping; a socket without any frame for three intervals is closed.
    pub socket_ping_interval: Duration,
    /// How long a session may take until its media connects; longer than the 15 s after which clients give up.
    pub join_timeout: Duration,
    /// How long a client may take to answer an offer of ours; as long as clients wait for answers of ours.
    pub answer_timeout: Duration,
    /// How long a participant without a WebSocket keeps its session and media.
    pub resume_window: Duration,
    /// How often a fresh token is sent. Tokens live twice as long.
    pub token_refresh_interval: Duration,
    /// How long news about participants that publish nothing are gathered before everybody hears them.
    pub presence_interval: Duration,
    /// Shortest distance between two `room_update` messages.
    pub room_update_interval: Duration,
    /// Shortest distance between two `speakers_changed` messages.
    pub speaker_interval: Duration,
    /// How long a quality nobody wants any more stays requested (dynacast).
    pub quality_down_delay: Duration,
    /// Codecs that may be published and received, in order of preference.
    pub codecs: Vec<CodecKind>,
    /// Browser origins that may connect; empty: any, since tokens protect and SDK apps are cross-origin.
    pub allowed_origins: Vec<String>,
    /// STUN or TURN servers handed to clients; empty is fine where the server is reachable directly.
    pub ice_servers: Vec<IceServer>,
    /// The region that `server_info` names, if any.
    pub region: String,
    /// The tenant whose rooms integrators are told of: the one of the key that signs webhooks, so that nobody learns of
    /// another's rooms. `None`: nobody is told anything.
    pub webhook_authority: Option<AuthorityId>,
    /// Tenants whose rooms another part of this server guides: its [`RoomObserver`](crate::RoomObserver) hears who comes and goes.
    pub guided: Guided,
}

impl SignalingConfig {
    /// Whether a join makes a room of this authority that isn't there.
    pub(crate) fn makes_rooms(&self, authority: &AuthorityId) -> bool {
        self.room.auto_create || self.guided.contains(authority)
    }
}

impl Default for SignalingConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            room: RoomDefaults::default(),
            ping_interval: Duration::from_secs(1),
            ping_timeout: Duration::from_secs(2),
            socket_ping_interval: Duration::from_secs(10),
            join_timeout: Duration::from_secs(20),
            answer_timeout: Duration::from_secs(15),
            resume_window: Duration::from_secs(20),
            token_refresh_interval: Duration::from_secs(300),
            presence_interval: Duration::from_millis(500),
            room_update_interval: Duration::from_secs(5),
            speaker_interval: Duration::from_millis(400),
            quality_down_delay: Duration::from_secs(5),
            codecs: PUBLISH_ORDER.to_vec(),
            allowed_origins: Vec::new(),
            ice_servers: Vec::new(),
            region: String::new(),
            webhook_authority: None,
            guided: Guided::default(),
        }
    }
}

/// A STUN or TURN server that clients are told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:` and `turn:` URLs (RFC 7064, RFC 7065).
    pub urls: Vec<String>,
    /// TURN user name, empty for STUN.
    pub username: String,
    /// TURN password, empty for STUN.
    pub credential: String,
}

/// What a room starts with unless its token says otherwise.
#[derive(Clone, Debug)]
pub struct RoomDefaults {
    /// How long a room nobody ever joined lives.
    pub empty_timeout: Duration,
    /// How long a room lives after its last participant left.
    pub departure_timeout: Duration,
    /// Participants at once; 0 leaves only [`Limits::participants_per_room`].
    pub max_participants: u32,
    /// Whether a join makes a room that isn't there; else only the room service does.
    pub auto_create: bool,
    /// Whether clients may have faults of their own session simulated (`SimulateScenario`).
    pub simulate: bool,
}

impl Default for RoomDefaults {
    fn default() -> Self {
        Self {
            empty_timeout: Duration::from_secs(300),
            departure_timeout: Duration::from_secs(20),
            max_participants: 0,
            auto_create: true,
            simulate: false,
        }
    }
}

/// Bounds on what peers may ask for. Every one is enforced where it is named.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one WebSocket message, and of a body of the room service; an offer with hundreds of sections stays below 512 KiB.
    pub message_bytes: usize,
    /// Messages a connection may send per second on average; further ones wait in the socket.
    pub messages_per_second: u32,
    /// Messages a connection may send at once before that average counts; a join with trickled candidates sends dozens.
    pub message_burst: u32,
    /// Bytes of the `join_request` after decompression.
    pub join_request_bytes: usize,
    /// Bytes of an SDP. Larger ones are refused before they are parsed.
    pub sdp_bytes: usize,
    /// Messages waiting for a client that reads slowly; beyond it the client is disconnected.
    pub send_queue: usize,
    /// Participants in a room, hidden ones included.
    pub participants_per_room: usize,
    /// Published tracks of one participant, pending ones included.
    pub tracks_per_participant: usize,
    /// Published data tracks of one participant.
    pub data_tracks_per_participant: usize,
    /// Rooms of one authority on this node.
    pub rooms_per_authority: usize,
    /// Rooms on this node.
    pub rooms: usize,
    /// Data messages of one sender per second.
    pub data_messages_per_second: u32,
    /// Data bytes of one sender per second, counted once for each receiver.
    pub data_bytes_per_second: u64,
    /// Reliable data messages of one sender that wait for its rate; with one more its session ends.
    pub data_waiting_messages: usize,
    /// Bytes that those messages may have together: half a second at the default rate to one receiver.
    pub data_waiting_bytes: usize,
    /// Reliable data messages of one sender that are kept for clients that resume.
    pub replay_messages: usize,
    /// Bytes that those messages may have together.
    pub replay_bytes: usize,
    /// Bytes of an identity, a name, a room's name, a track's name.
    pub name_bytes: usize,
    /// Bytes of a participant's metadata.
    pub metadata_bytes: usize,
    /// Bytes of a participant's attributes, keys and values together.
    pub attributes_bytes: usize,
    /// Requests and media events waiting for one room.
    pub room_mailbox: usize,
    /// Revocations of tokens that are remembered on this node; each takes some 200 bytes for up to a year.
    pub revocations: usize,
    /// Those of one authority.
    pub revocations_per_authority: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 512 * 1024,
            messages_per_second: 50,
            message_burst: 500,
            join_request_bytes: 512 * 1024,
            sdp_bytes: 256 * 1024,
            send_queue: 1024,
            participants_per_room: 3000,
            tracks_per_participant: 32,
            data_tracks_per_participant: 16,
            rooms_per_authority: 10_000,
            rooms: 20_000,
            data_messages_per_second: 1_000,
            data_bytes_per_second: 64 * 1024 * 1024,
            data_waiting_messages: 1_024,
            data_waiting_bytes: 4 * 1024 * 1024,
            replay_messages: 128,
            replay_bytes: 256 * 1024,
            name_bytes: 256,
            metadata_bytes: 64_000,
            attributes_bytes: 64_000,
            room_mailbox: 8192,
            revocations: 100_000,
            revocations_per_authority: 100_000,
        }
    }
}
