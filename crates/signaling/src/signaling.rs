//! The handle the binary holds: starts the tasks, serves the router, counts, shuts down.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use schalter_model::ShardId;
use schalter_shard::control::Event;
use tokio::sync::mpsc;

use crate::administration::{NotFound, RemovalError, RoomSummary, TokensToWithdraw};
use crate::authority::KeyRing;
use crate::config::SignalingConfig;
use crate::livekit;
use crate::media::MediaPlane;
use crate::registry::{Outside, Registry};
use crate::stats::SignalingStats;
use crate::whip;

/// What the shards report, each event with the shard it came from. The shards' own limits bound it.
pub type MediaEvents = mpsc::UnboundedReceiver<(ShardId, Event)>;

/// How often shutdown looks whether every client has gone.
const SHUTDOWN_POLL: Duration = Duration::from_millis(20);

/// Signaling of one node. Clones share it.
#[derive(Clone)]
pub struct Signaling {
    pub(crate) registry: Arc<Registry>,
}

impl Signaling {
    /// Starts signaling: one task hands media events to rooms, and each room gets one of its own.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or if `media` has no shard or no fingerprint.
    pub fn new(
        config: SignalingConfig,
        keys: Arc<ArcSwap<KeyRing>>,
        media: Arc<dyn MediaPlane>,
        events: MediaEvents,
    ) -> Self {
        Self::with(config, keys, media, events, Outside::default())
    }

    /// As [`Self::new`], with what outlives the process or leaves it.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn with(
        config: SignalingConfig,
        keys: Arc<ArcSwap<KeyRing>>,
        media: Arc<dyn MediaPlane>,
        events: MediaEvents,
        outside: Outside,
    ) -> Self {
        let registry = Arc::new(Registry::new(config, keys, media, outside));
        tokio::spawn(Arc::clone(&registry).route_events(events));
        Self { registry }
    }

    /// `/rtc`, `/rtc/v1` and their `validate`, the room service at `/twirp/livekit.RoomService`, `/whip/v1` and
    /// `/whep/v1`.
    pub fn router(&self) -> Router {
        livekit::router(Arc::clone(&self.registry)).merge(whip::router(Arc::clone(&self.registry)))
    }

    /// What was counted until now.
    pub fn stats(&self) -> SignalingStats {
        self.registry.stats()
    }

    /// Every room with who is in it, in no particular order.
    pub async fn rooms(&self) -> Vec<RoomSummary> {
        self.registry.summaries().await
    }

    /// Ends a room: everybody in it must leave.
    ///
    /// # Errors
    /// [`NotFound::Room`].
    pub async fn end_room(&self, sid: &str) -> Result<(), NotFound> {
        self.registry.end_room(sid).await
    }

    /// Removes the participant with this session id from a room, and withdraws tokens first.
    ///
    /// # Errors
    /// [`RemovalError`].
    pub async fn remove_participant(
        &self,
        room: &str,
        participant: &str,
        tokens: TokensToWithdraw,
    ) -> Result<(), RemovalError> {
        let removal = self.registry.remove_session(room, participant, tokens);
        removal.await
    }

    /// Sends everybody a fresh token, in a task of its own: to be called when keys were changed or taken away, so that
    /// whoever is in a call can resume it.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn refresh_tokens(&self) {
        let registry = Arc::clone(&self.registry);
        tokio::spawn(async move { registry.refresh_tokens().await });
    }

    /// Whether new rooms are refused while those that are there go on, with newcomers and resumed sessions.
    pub fn set_draining(&self, draining: bool) {
        self.registry.draining.store(draining, Ordering::Release);
    }

    /// Whether new rooms are refused.
    pub fn is_draining(&self) -> bool {
        self.registry.draining.load(Ordering::Acquire)
    }

    /// Refuses new joins, tells every client to leave, and waits until their sockets are closed and rooms have said
    /// everything that integrators are told, at most `deadline`.
    pub async fn shutdown(&self, deadline: Duration) {
        self.registry.shut_down_rooms().await;
        let closed = async {
            let busy = || {
                let stats = self.registry.stats();
                stats.connections > 0 || stats.rooms > 0
            };
            while busy() {
                tokio::time::sleep(SHUTDOWN_POLL).await;
            }
        };
        if tokio::time::timeout(deadline, closed).await.is_err() {
            tracing::warn!(
                connections = self.registry.stats().connections,
                "clients still connected at the end of the shutdown's time"
            );
        }
    }
}
