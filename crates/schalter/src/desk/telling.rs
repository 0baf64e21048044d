//! Who is told of what happens in appointments: the desk's store as the log that webhooks are delivered from.

use std::collections::BTreeMap;
use std::sync::Arc;

use schalter_desk::domain::Event;
use schalter_desk::http::wire;
use schalter_desk::store::{Store, StoreError};
use schalter_desk::{Changed, Desk};
use schalter_model::AuthorityId;
use schalter_webhook::{
    Entry, EventLog, Feed, FeedReceiver, LogAnswer, LogError, Secrets, system_roots,
};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Failure;
use crate::config::DeskWebhook;

/// The events of one authority.
struct Events {
    store: Arc<dyn Store>,
    authority: AuthorityId,
    news: watch::Receiver<()>,
}

fn log_error(error: StoreError) -> LogError {
    LogError(error.to_string())
}

fn entry(event: &Event) -> Entry {
    let body = wire::event(event);
    Entry {
        seq: event.seq,
        id: wire::event_id(event),
        body: body.to_string(),
    }
}

impl EventLog for Events {
    fn last(&self) -> LogAnswer<'_, u64> {
        Box::pin(async {
            let last = self.store.last_event(&self.authority).await;
            last.map_err(log_error)
        })
    }

    fn after(&self, seq: u64, limit: usize) -> LogAnswer<'_, Vec<Entry>> {
        Box::pin(async move {
            let events = self.store.events(&self.authority, seq, limit).await;
            Ok(events.map_err(log_error)?.iter().map(entry).collect())
        })
    }

    fn cursor<'a>(&'a self, receiver: &'a str) -> LogAnswer<'a, Option<u64>> {
        Box::pin(async {
            let cursor = self.store.cursor(&self.authority, receiver).await;
            cursor.map_err(log_error)
        })
    }

    fn set_cursor<'a>(&'a self, receiver: &'a str, seq: u64) -> LogAnswer<'a, ()> {
        Box::pin(async move {
            let noted = self.store.set_cursor(&self.authority, receiver, seq).await;
            noted.map_err(log_error)
        })
    }

    fn news(&self) -> watch::Receiver<()> {
        self.news.clone()
    }
}

/// Starts telling, with the secrets of each receiver in their order; nothing where nobody is to be told.
pub(super) fn start(
    desk: &Arc<Desk>,
    webhooks: &[DeskWebhook],
    secrets: &[Secrets],
    tasks: &mut JoinSet<()>,
) -> Result<Option<Arc<Feed>>, Failure> {
    if webhooks.is_empty() {
        return Ok(None);
    }
    let mut senders: BTreeMap<AuthorityId, watch::Sender<()>> = BTreeMap::new();
    let receivers = webhooks.iter().zip(secrets).map(|(webhook, secrets)| {
        let news = senders.entry(webhook.authority.clone()).or_default();
        FeedReceiver {
            target: webhook.target.clone(),
            addresses: webhook.addresses.clone(),
            secrets: secrets.clone(),
            log: Arc::new(Events {
                store: Arc::clone(desk.store()),
                authority: webhook.authority.clone(),
                news: news.subscribe(),
            }),
        }
    });
    let receivers = receivers.collect();
    tasks.spawn(wake(desk.changes(), senders));
    let feed = Feed::start(receivers, &Arc::new(system_roots()))
        .map_err(|error| Failure::setup(format!("desk.webhooks: {error}")))?;
    Ok(Some(Arc::new(feed)))
}

/// Wakes whoever is told of an authority with each of its changes.
async fn wake(
    mut changes: broadcast::Receiver<Changed>,
    senders: BTreeMap<AuthorityId, watch::Sender<()>>,
) {
    loop {
        match changes.recv().await {
            Ok(change) => {
                if let Some(news) = senders.get(&change.authority) {
                    news.send_replace(());
                }
            }
            Err(RecvError::Lagged(_)) => senders.values().for_each(|news| {
                news.send_replace(());
            }),
            Err(RecvError::Closed) => return,
        }
    }
}
