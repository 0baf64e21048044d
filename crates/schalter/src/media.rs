//! Joins signaling and the exporter to the media workers: the one place where the three meet.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use schalter_metrics::{SignalingSnapshot, Source};
use schalter_model::{Counters, ShardId};
use schalter_net::Workers;
use schalter_shard::control::Command;
use schalter_signaling::{MediaPlane, ShardInfo, Signaling};
use schalter_transport::{CertificateKind, Fingerprint, Identity};

/// The workers as signaling sees them.
pub(crate) struct WorkerMedia {
    workers: Arc<Workers>,
    shards: Vec<ShardInfo>,
    fingerprints: Vec<(CertificateKind, Fingerprint)>,
}

impl WorkerMedia {
    pub(crate) fn new(workers: Arc<Workers>, advertised: &[IpAddr], identity: &Identity) -> Self {
        let shards = workers
            .local_ports()
            .iter()
            .zip(0..)
            .map(|(port, index)| ShardInfo {
                id: ShardId(index),
                candidates: advertised.iter().map(|ip| SocketAddr::new(*ip, *port)).collect(),
            })
            .collect();
        let fingerprints = [CertificateKind::Ecdsa, CertificateKind::Rsa]
            .map(|kind| (kind, identity.fingerprint(kind)))
            .to_vec();
        Self { workers, shards, fingerprints }
    }
}

/// This node's number. Clusters give out others; a single node is the first.
const NODE: u16 = 0;

impl MediaPlane for WorkerMedia {
    fn shards(&self) -> &[ShardInfo] {
        &self.shards
    }

    fn send(&self, shard: ShardId, command: Command) {
        self.workers.send(shard, command);
    }

    fn fingerprints(&self) -> &[(CertificateKind, Fingerprint)] {
        &self.fingerprints
    }

    fn node(&self) -> u16 {
        NODE
    }
}

/// What the exporter reads.
pub(crate) struct Sources {
    pub(crate) workers: Arc<Workers>,
    pub(crate) signaling: Signaling,
}
