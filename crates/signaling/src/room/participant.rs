//! A participant: who it is, what it may do, what it publishes and wants.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use livekit_protocol::participant_info::State;
use livekit_protocol::{
    ClientInfo, DataTrackInfo, DisconnectReason, ParticipantInfo, ParticipantPermission,
    SubscriptionPermission,
};
use schalter_model::{ShardId, Time, TrackId};

use super::ConnectionMode;
use super::data::SenderState;
use super::data_track::DataSubscriptions;
use super::forward::LinkId;
use super::http_session::{HttpRole, HttpSession};
use super::quality::ConnectionState;
use super::simulate::Simulation;
use super::subscribe::Subscription;
use super::transport::{TransportRole, Transports};
use crate::ids::ConnectionId;
use crate::token::{Grants, VideoGrants};

/// A participant's slot in its room; never used again after it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ParticipantKey(pub(super) u32);

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Signalling runs, media doesn't yet.
    Joining,
    /// Media connected once.
    Active,
}

#[derive(Debug)]
pub(super) struct Participant {
    pub(super) sid: Arc<str>,
    pub(super) identity: Arc<str>,
    /// The token's grants; claims follow changes of name, metadata and attributes for the refresh token.
    pub(super) grants: Arc<Grants>,
    pub(super) video: VideoGrants,
    pub(super) name: String,
    pub(super) metadata: String,
    pub(super) attributes: BTreeMap<String, String>,
    /// Listeners were told that it speaks.
    pub(super) speaks: bool,
    pub(super) client: ClientInfo,
    pub(super) mode: ConnectionMode,
    /// In dual mode the client was told to wait for the subscriber connection: as it may subscribe when it joins.
    pub(super) subscriber_primary: bool,
    pub(super) auto_subscribe: bool,
    pub(super) auto_subscribe_data_tracks: bool,
    pub(super) phase: Phase,
    pub(super) version: u32,
    pub(super) joined_ms: u64,
    pub(super) shard: ShardId,
    pub(super) connection: Option<ConnectionId>,
    /// It is in another room, and shown here over this link.
    pub(super) forwarded: Option<LinkId>,
    /// When the session ends unless its client or its media comes back.
    pub(super) remove_at: Option<(Time, DisconnectReason)>,
    pub(super) refresh_at: Time,
    pub(super) transports: Transports,
    /// The client closed its media: there is nothing left to resume.
    pub(super) media_closed: bool,
    pub(super) subscriptions: BTreeMap<TrackId, Subscription>,
    /// What it asked for explicitly; the rest follows `auto_subscribe`.
    pub(super) choices: HashMap<TrackId, bool>,
    /// Who may have its tracks; everybody until it says otherwise.
    pub(super) audience: Option<SubscriptionPermission>,
    pub(super) published: Vec<TrackId>,
    pub(super) is_publisher: bool,
    pub(super) data: SenderState,
    /// It resumed and has not yet said which reliable packets it has.
    pub(super) replay_due: bool,
    pub(super) data_tracks: Vec<DataTrackInfo>,
    pub(super) data_subscriptions: DataSubscriptions,
    pub(super) connection_quality: ConnectionState,
    /// Set if it came by WHIP or WHEP: it has no WebSocket, and nothing is ever said to it.
    pub(super) http: Option<HttpSession>,
    pub(super) simulation: Simulation,
}

/// Most capabilities and features that are passed on; a few are defined.
pub(super) const MAX_FLAGS: usize = 32;

/// A list of flags as others are told of it: each once, and no more than make sense.
pub(super) fn flags(mut list: Vec<i32>) -> Vec<i32> {
    list.sort_unstable();
    list.dedup();
    list.truncate(MAX_FLAGS);
    list
}

/// What is kept of what a client says of itself: only what others need.
pub(super) fn kept(client: &ClientInfo) -> ClientInfo {
    ClientInfo {
        sdk: client.sdk,
        protocol: client.protocol,
        client_protocol: client.client_protocol,
        capabilities: flags(client.capabilities.clone()),
        ..ClientInfo::default()
    }
}

impl Participant {
    /// The role of the transport that carries downlink media and data.
    pub(super) fn downlink_role(&self) -> TransportRole {
        match self.mode {
            ConnectionMode::Single | ConnectionMode::Http => TransportRole::Publisher,
            ConnectionMode::Dual => TransportRole::Subscriber,
        }
    }

    /// The role of the transport whose connecting makes the session active.
    pub(super) fn primary_role(&self) -> TransportRole {
        match self.mode {
            ConnectionMode::Single | ConnectionMode::Http => TransportRole::Publisher,
            ConnectionMode::Dual if self.subscriber_primary => TransportRole::Subscriber,
            ConnectionMode::Dual => TransportRole::Publisher,
        }
    }

    /// Whether it has data channels: what was kept for one that never opens would pile up.
    pub(super) fn takes_data(&self) -> bool {
        self.mode != ConnectionMode::Http
    }

    /// Whether it came for this publisher's tracks: all come for everybody's, but players of one participant.
    pub(super) fn plays(&self, publisher: &Self) -> bool {
        let Some(http) = &self.http else {
            return true;
        };
        match &http.role {
            HttpRole::Publisher => false,
            HttpRole::Player { participant: None } => true,
            HttpRole::Player {
                participant: Some(only),
            } => *only == publisher.identity,
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.phase == Phase::Active
    }

    pub(super) fn permission(&self) -> ParticipantPermission {
        #[expect(deprecated, reason = "older clients read these two")]
        ParticipantPermission {
            can_subscribe: self.video.can_subscribe,
            can_publish: self.video.can_publish,
            can_publish_data: self.video.can_publish_data,
            can_publish_sources: self
                .video
                .can_publish_sources
                .iter()
                .map(|source| *source as i32)
                .collect(),
            hidden: self.video.hidden,
            recorder: self.video.recorder,
            can_update_metadata: self.video.can_update_own_metadata,
            agent: self.video.agent,
            ..ParticipantPermission::default()
        }
    }

    /// What others are told of it, without tracks.
    pub(super) fn info_without_tracks(&self) -> ParticipantInfo {
        ParticipantInfo {
            sid: self.sid.to_string(),
            identity: self.identity.to_string(),
            state: match self.phase {
                Phase::Joining => State::Joining,
                Phase::Active => State::Active,
            } as i32,
            metadata: self.metadata.clone(),
            joined_at: (self.joined_ms / 1000) as i64,
            joined_at_ms: self.joined_ms as i64,
            name: self.name.clone(),
            version: self.version,
            permission: Some(self.permission()),
            is_publisher: self.is_publisher,
            kind: self.grants.kind as i32,
            attributes: self
                .attributes
                .iter()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
            client_protocol: self.client.client_protocol,
            capabilities: self.client.capabilities.clone(),
            ..ParticipantInfo::default()
        }
    }
}
