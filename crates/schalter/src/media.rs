//! Joins signaling and the exporter to the media workers: the one place where the three meet.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use schalter_metrics::{DeskSnapshot, HttpSnapshot, SignalingSnapshot, Source, WebhookSnapshot};
use schalter_model::{Counters, ShardId};
use schalter_net::{Commands, Workers};
use schalter_shard::control::Command;
use schalter_signaling::{
    HttpProtocol, JoinStage, MediaPlane, ROOM_SERVICE_OUTCOMES, ShardInfo, Signaling, TurnServers,
};
use schalter_transport::{Fingerprint, Identity};

use crate::desk::Counts;
use crate::front::Front;
use crate::tls::Tls;
use crate::webhook::Delivery;

/// The workers as signaling sees them.
pub(crate) struct WorkerMedia {
    commands: Commands,
    shards: Vec<ShardInfo>,
    fingerprints: [Fingerprint; 2],
    turn: Option<TurnServers>,
}

impl WorkerMedia {
    /// `tcp_port` is that of ICE-TCP, which all shards share.
    pub(crate) fn new(
        workers: &Workers,
        advertised: &[IpAddr],
        tcp_port: Option<u16>,
        identity: &Identity,
    ) -> Self {
        let shards = workers
            .local_ports()
            .iter()
            .zip(0..)
            .map(|(port, index)| ShardInfo {
                id: ShardId(index),
                candidates: advertised
                    .iter()
                    .map(|ip| SocketAddr::new(*ip, *port))
                    .collect(),
                tcp_candidates: tcp_port
                    .into_iter()
                    .flat_map(|port| advertised.iter().map(move |ip| SocketAddr::new(*ip, port)))
                    .collect(),
            })
            .collect();
        Self {
            commands: workers.commands(),
            shards,
            fingerprints: identity.fingerprints(),
            turn: None,
        }
    }
}

impl WorkerMedia {
    /// With these TURN servers.
    pub(crate) fn with_turn(mut self, turn: Option<TurnServers>) -> Self {
        self.turn = turn;
        self
    }
}

/// This node's number. Clusters give out others; a single node is the first.
pub(crate) const NODE: u16 = 0;

impl MediaPlane for WorkerMedia {
    fn shards(&self) -> &[ShardInfo] {
        &self.shards
    }

    fn send(&self, shard: ShardId, command: Command) {
        // A worker that has ended takes the process with it; until then there is nobody to tell.
        if let Err(error) = self.commands.send(shard, command) {
            tracing::debug!(%error, "a command had no receiver");
        }
    }

    fn fingerprints(&self) -> &[Fingerprint] {
        &self.fingerprints
    }

    fn node(&self) -> u16 {
        NODE
    }

    fn turn(&self) -> Option<TurnServers> {
        self.turn.clone()
    }
}

/// What the exporter reads.
pub(crate) struct Sources {
    /// Not an owner: a scrape that is under way must not keep the workers from stopping.
    pub(crate) workers: Weak<Workers>,
    pub(crate) signaling: Signaling,
    pub(crate) front: Front,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) acme_failures: Option<Arc<AtomicU64>>,
    pub(crate) webhooks: Option<Arc<Delivery>>,
    pub(crate) desk: Option<Arc<Counts>>,
}

impl Source for Sources {
    fn shards(&self) -> Vec<(ShardId, Counters)> {
        let Some(workers) = self.workers.upgrade() else {
            return Vec::new();
        };
        (0..)
            .map(ShardId)
            .map_while(|shard| workers.counters(shard).map(|counters| (shard, counters)))
            .collect()
    }

    fn http(&self) -> HttpSnapshot {
        HttpSnapshot {
            certificate_seconds: self.tls.as_ref().and_then(|tls| tls.seconds_left()),
            acme_failures: self
                .acme_failures
                .as_ref()
                .map(|failures| failures.load(Ordering::Relaxed)),
            ..self.front.snapshot()
        }
    }

    fn desk(&self) -> Option<DeskSnapshot> {
        self.desk.as_ref().map(|counts| counts.snapshot())
    }

    fn webhooks(&self) -> Option<WebhookSnapshot> {
        self.webhooks.as_ref().map(|delivery| delivery.snapshot())
    }

    fn signaling(&self) -> SignalingSnapshot {
        let stats = self.signaling.stats();
        let by_protocol = |counts: [u64; HttpProtocol::ALL.len()]| -> Vec<_> {
            let labels = HttpProtocol::ALL.map(HttpProtocol::label);
            labels.into_iter().zip(counts).collect()
        };
        SignalingSnapshot {
            rooms: stats.rooms,
            participants: stats.participants,
            connections: stats.connections,
            tracks: stats.tracks,
            subscriptions: stats.subscriptions,
            joins: stats.joins,
            joins_connected: stats.joins_connected,
            resumes: stats.resumes,
            join_failures: JoinStage::ALL
                .iter()
                .map(|stage| (stage.label(), stats.failures_at(*stage)))
                .collect(),
            whip_sessions: by_protocol(stats.http_sessions),
            whip_refused: by_protocol(stats.http_refused),
            whip_restarts: by_protocol(stats.http_restarts),
            room_service_calls: ROOM_SERVICE_OUTCOMES
                .into_iter()
                .zip(stats.room_service_calls)
                .collect(),
            messages_in: stats.messages_in,
            messages_out: stats.messages_out,
            messages_malformed: stats.messages_malformed,
            messages_oversized: stats.messages_oversized,
            messages_delayed: stats.messages_delayed,
            requests_refused: stats.requests_refused,
            slow_clients: stats.slow_clients,
            data_relayed: stats.data_relayed,
            data_refused: stats.data_refused,
            clear_tracks_refused: stats.clear_tracks_refused,
            clear_data_refused: stats.clear_data_refused,
            data_overload: stats.data_overload,
            data_leaves: stats.data_leaves,
            events_unrouted: stats.events_unrouted,
            forwards: stats.forwards,
            revocations: stats.revocations,
            revocations_unkept: stats.revocations_unkept,
            revoked_refused: stats.revoked_refused,
        }
    }
}
