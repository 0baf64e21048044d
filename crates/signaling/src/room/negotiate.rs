//! What offers and answers of both directions share: transports, credentials, candidates, and which section is whose.

use std::collections::HashMap;
use std::sync::Arc;

use livekit_protocol::{SignalTarget, TrickleRequest, signal_response::Message};
use rand::RngExt;
use rand::distr::{Alphanumeric, SampleString};
use schalter_model::{MediaKind, TrackId, Ufrag};
use schalter_shard::control::Command;
use schalter_transport::{DataChannelConfig, LocalIce, Reliability};

use super::Room;
use super::data::{DATA_TRACK, LOSSY, RELIABLE};
use super::participant::{Participant, ParticipantKey};
use super::transport::{Transport, TransportRole};
use crate::sdp::{self, Candidate, CodecSet, LocalDescription, SendTrack, SessionDescription};

/// Characters of an ICE password; 22 are the least (RFC 8839 §5.4).
const PASSWORD_LEN: usize = 32;

/// Longest data channel message that we take, as clients expect it.
pub(super) const MAX_MESSAGE_SIZE: u32 = 65_535;

impl Room {
    pub(super) fn codecs(&self) -> CodecSet {
        self.config.codecs.iter().copied().collect()
    }

    pub(super) fn sdp_limits(&self) -> sdp::Limits {
        sdp::Limits {
            max_bytes: self.config.limits.sdp_bytes,
            ..sdp::Limits::default()
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
    pub(super) fn open(&mut self, key: ParticipantKey, role: TransportRole) -> bool {
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
        let is_downlink = role == participant.downlink_role();
        self.by_transport.insert(id, (key, role));
        let command = Command::OpenTransport {
            transport: id,
            ice,
            channels,
        };
        self.media(shard, command);
        if is_downlink && self.participants[&key].takes_data() {
            self.replay_missed(key);
        }
        true
    }

    /// Starts a new ICE generation of our side.
    pub(super) fn restart_ice(&mut self, key: ParticipantKey, role: TransportRole) {
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
    pub(super) fn set_remote(
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

    pub(super) fn transport_mut(
        &mut self,
        key: ParticipantKey,
        role: TransportRole,
    ) -> Option<&mut Transport> {
        self.participants.get_mut(&key)?.transports.get_mut(role)
    }

    /// Gives free sections to subscriptions that have none.
    pub(super) fn bind_pending(&mut self, key: ParticipantKey, role: TransportRole) {
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

    pub(super) fn mid_to_track_id(
        &self,
        key: ParticipantKey,
        role: TransportRole,
    ) -> HashMap<String, String> {
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
    pub(super) fn send_track(&self, participant: &Participant, id: TrackId) -> Option<SendTrack> {
        let track = self.tracks.get(&id)?;
        let owner = self.participants.get(&track.owner)?;
        let subscription = participant.subscriptions.get(&id)?;
        let section = participant
            .transports
            .get(participant.downlink_role())
            .and_then(|transport| transport.downlinks.iter().find(|d| d.track == Some(id)));
        if let Some(stream) = section.and_then(|downlink| downlink.stream.clone()) {
            return Some(stream);
        }
        Some(SendTrack {
            stream_id: format!("{}|{}", owner.sid, track.sid).into(),
            track_id: Arc::clone(&track.sid),
            // One name for all tracks of a participant: they play in sync.
            cname: Arc::clone(&owner.sid),
            ssrc: subscription.ssrc,
            rtx_ssrc: (track.kind == MediaKind::Video).then_some(subscription.rtx_ssrc),
        })
    }

    pub(super) fn candidates(&self, key: ParticipantKey) -> Vec<Candidate> {
        let shard = self.participants[&key].shard;
        let info = self.node.shards.iter().find(|info| info.id == shard);
        let Some(info) = info else {
            return Vec::new();
        };
        // The operator lists the best first.
        let preferences = || (0..=u16::MAX).rev();
        let udp = preferences().zip(&info.candidates);
        let tcp = preferences().zip(&info.tcp_candidates);
        udp.map(|(preference, address)| Candidate::udp_host(*address, preference))
            .chain(
                tcp.map(|(preference, address)| Candidate::tcp_passive_host(*address, preference)),
            )
            .collect()
    }

    pub(super) fn local<'a>(
        &'a self,
        transport: &'a Transport,
        candidates: &'a [Candidate],
    ) -> LocalDescription<'a> {
        LocalDescription {
            session_id: transport.session_id,
            version: transport.version,
            ice: &transport.ice,
            candidates,
            fingerprints: &self.node.fingerprints,
            codecs: self.codecs(),
            max_message_size: MAX_MESSAGE_SIZE,
        }
    }

    /// Our candidates once more, for clients that look for them there.
    pub(super) fn trickle(&mut self, key: ParticipantKey, target: SignalTarget) {
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
