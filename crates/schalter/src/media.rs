//! Joins signaling and the exporter to the media workers: the one place where the three meet.

use std::net::{IpAddr, SocketAddr};
use std::sync::Weak;

use schalter_metrics::{HttpSnapshot, SignalingSnapshot, Source};
use schalter_model::{Counters, ShardId};
use schalter_net::{Commands, Workers};
use schalter_shard::control::Command;
use schalter_signaling::{JoinStage, MediaPlane, ShardInfo, Signaling};
use schalter_transport::{Fingerprint, Identity};

use crate::connections::ConnectionGate;

/// The workers as signaling sees them.
pub(crate) struct WorkerMedia {
    commands: Commands,
    shards: Vec<ShardInfo>,
    fingerprints: [Fingerprint; 2],
}

impl WorkerMedia {
    pub(crate) fn new(workers: &Workers, advertised: &[IpAddr], identity: &Identity) -> Self {
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
            })
            .collect();
        Self {
            commands: workers.commands(),
            shards,
            fingerprints: identity.fingerprints(),
        }
    }
}

/// This node's number. Clusters give out others; a single node is the first.
const NODE: u16 = 0;

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
}

/// What the exporter reads.
pub(crate) struct Sources {
    /// Not an owner: a scrape that is under way must not keep the workers from stopping.
    pub(crate) workers: Weak<Workers>,
    pub(crate) signaling: Signaling,
    pub(crate) gate: ConnectionGate,
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
        self.gate.snapshot()
    }

    fn signaling(&self) -> SignalingSnapshot {
        let stats = self.signaling.stats();
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
            messages_in: stats.messages_in,
            messages_out: stats.messages_out,
            messages_malformed: stats.messages_malformed,
            messages_oversized: stats.messages_oversized,
            messages_delayed: stats.messages_delayed,
            requests_refused: stats.requests_refused,
            slow_clients: stats.slow_clients,
            data_relayed: stats.data_relayed,
            data_refused: stats.data_refused,
            data_overload: stats.data_overload,
            data_leaves: stats.data_leaves,
            events_unrouted: stats.events_unrouted,
        }
    }
}
