//! What a shard is made with.

use std::sync::Arc;
use std::time::{Duration, Instant};

use schalter_forward::{LoudestConfig, RouterConfig};
use schalter_model::{ShardId, WallClock};
use schalter_transport::ice::ChallengeSecret;
use schalter_transport::{CryptoProfile, Identity, TransportLimits};

/// Bounds of one shard. Everything that a stranger can make grow has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardLimits {
    /// Transports at once, connected or not.
    pub transports: usize,
    /// Transports at once that have not finished their handshake.
    pub half_open_transports: usize,
    /// Connectivity checks with wrong integrity that are looked at, per transport and second; the rest is dropped
    /// unseen, since each costs an HMAC.
    pub failed_checks_per_second: u32,
    /// Packets from paths of nobody, whose SSRC is a transport's, that turn out not to be that transport's: so many are looked
    /// at, per transport and second; the rest is dropped unseen, since each costs a decryption.
    pub failed_strays_per_second: u32,
    /// Data messages that wait for a reliable channel to open, per transport.
    pub waiting_messages: usize,
    /// Bytes that those messages may have together.
    pub waiting_bytes: usize,
    /// Subscriptions of other shards that wait for a track to appear.
    pub waiting_taps: usize,
}

impl Default for ShardLimits {
    fn default() -> Self {
        Self {
            transports: 4_000,
            half_open_transports: 1_000,
            failed_checks_per_second: 50,
            failed_strays_per_second: 50,
            waiting_messages: 256,
            waiting_bytes: 1 << 20,
            waiting_taps: 4_096,
        }
    }
}

/// What a shard is made with.
#[derive(Clone)]
pub struct ShardConfig {
    /// Which shard of the node it is.
    pub id: ShardId,
    /// The instant that [`schalter_model::Time::ZERO`] stands for. Never compared with a clock here; the webrtc
    /// family's crates want instants.
    pub epoch: Instant,
    /// Wall clock, for sender reports.
    pub wall: WallClock,
    /// Seed of every random choice.
    pub seed: u64,
    /// What our questions to the new paths of peers are made unguessable with. [`Self::new`] takes it from the seed, as a
    /// simulation wants it; a server has random bytes for it.
    pub challenges: ChallengeSecret,
    /// Our certificates.
    pub identity: Arc<Identity>,
    /// Which cryptography may be negotiated.
    pub crypto: CryptoProfile,
    /// Bounds of the shard.
    pub limits: ShardLimits,
    /// Bounds of each transport.
    pub transport_limits: TransportLimits,
    /// How long packets for one subscriber may wait for company, so that one system call sends them.
    pub burst: Duration,
    /// Who is heard in big rooms.
    pub loudest: LoudestConfig,
}

impl ShardConfig {
    /// A shard with default bounds.
    pub fn new(
        id: ShardId,
        epoch: Instant,
        wall: WallClock,
        seed: u64,
        identity: Arc<Identity>,
    ) -> Self {
        Self {
            id,
            epoch,
            wall,
            seed,
            challenges: ChallengeSecret::new(expanded(seed)),
            identity,
            crypto: CryptoProfile::default(),
            limits: ShardLimits::default(),
            transport_limits: TransportLimits::default(),
            burst: RouterConfig::default().burst,
            loudest: LoudestConfig::default(),
        }
    }
}

fn expanded(seed: u64) -> [u8; ChallengeSecret::LEN] {
    let mut bytes = [0; ChallengeSecret::LEN];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    bytes
}
