//! Joins signaling to the delivery of webhooks: signs with an API key, hands events on, counts for the exporter.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use schalter_metrics::WebhookSnapshot;
use schalter_model::AuthorityId;
use schalter_signaling::authority::KeyRing;
use schalter_signaling::token::Claims;
use schalter_signaling::{EventSink, RoomEvent};
use schalter_webhook::{
    DropReason, Event, RetryReason, Signer, WebhookConfig, Webhooks, system_roots,
};

use crate::Failure;
use crate::config::Webhook;
use crate::state::StateDir;
use crate::token::unix_now;

/// Folder of the spools in the state directory.
const FOLDER: &str = "webhooks";
/// How long a signature is good for, as LiveKit's are.
const SIGNATURE_TTL: Duration = Duration::from_secs(5 * 60);

/// Signs with the key of this name, whatever its secret is by then.
pub(crate) struct KeySigner {
    keys: Arc<ArcSwap<KeyRing>>,
    key: ArcSwap<String>,
    authority: AuthorityId,
}

impl KeySigner {
    /// Whose rooms are told of.
    pub(crate) fn authority(&self) -> &AuthorityId {
        &self.authority
    }

    /// Signs with another key of the same authority from now on.
    pub(crate) fn sign_with(&self, key: &str) {
        self.key.store(Arc::new(key.to_owned()));
    }
}

impl Signer for KeySigner {
    fn sign(&self, sha256: &str) -> Option<String> {
        let claims = Claims {
            sha256: Some(sha256.to_owned()),
            ..Claims::default()
        };
        let keys = self.keys.load();
        keys.mint(&self.key.load(), &claims, unix_now(), SIGNATURE_TTL)
            .ok()
    }
}

/// What signaling hands events to.
pub(crate) struct Delivery(Webhooks);

/// A delivery that runs.
pub(crate) struct Started {
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) signer: Arc<KeySigner>,
}

impl EventSink for Delivery {
    fn tell(&self, event: RoomEvent) {
        let RoomEvent { room, body } = event;
        self.0.tell(&Event {
            room,
            body: body.into(),
        });
    }
}

impl Delivery {
    /// What the exporter shows.
    pub(crate) fn snapshot(&self) -> WebhookSnapshot {
        let stats = self.0.stats();
        let retries = RetryReason::ALL.iter().zip(stats.retries);
        let dropped = DropReason::ALL.iter().zip(stats.dropped);
        WebhookSnapshot {
            delivered: stats.delivered,
            retries: retries.map(|(r, count)| (r.label(), count)).collect(),
            dropped: dropped.map(|(r, count)| (r.label(), count)).collect(),
            waiting_events: stats.waiting_events,
            waiting_bytes: stats.waiting_bytes,
            spool_failures: stats.spool_failures,
        }
    }

    /// Leaves what is undelivered in the spools. To be called when rooms have said everything.
    pub(crate) async fn shutdown(&self) {
        self.0.shutdown().await;
    }
}

/// Starts delivering; nothing where no receiver is configured.
pub(crate) fn start(
    config: &Webhook,
    keys: &Arc<ArcSwap<KeyRing>>,
    state: impl FnOnce() -> Result<StateDir, Failure>,
) -> Result<Option<Started>, Failure> {
    if config.targets.is_empty() {
        return Ok(None);
    }
    let Some(authority) = keys
        .load()
        .key(&config.api_key)
        .map(|key| key.authority.clone())
    else {
        return Err(Failure::setup("webhook.api_key: there is no such key"));
    };
    let signer = Arc::new(KeySigner {
        keys: Arc::clone(keys),
        key: ArcSwap::from_pointee(config.api_key.clone()),
        authority,
    });
    let folder: PathBuf = state()?.path_of(FOLDER);
    let webhooks = Webhooks::start(
        WebhookConfig {
            targets: config.targets.clone(),
            addresses: config.addresses.clone(),
            roots: Arc::new(system_roots()),
            folder,
            limits: config.limits,
        },
        Arc::clone(&signer) as Arc<dyn Signer>,
    );
    let webhooks = webhooks.map_err(|error| Failure::setup(format!("webhook: {error}")))?;
    let delivery = Arc::new(Delivery(webhooks));
    Ok(Some(Started { delivery, signer }))
}
