//! Who is told of what happens in appointments: the desk's store as the log that webhooks are delivered from.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use schalter_desk::Desk;
use schalter_desk::domain::Event;
use schalter_desk::http::wire;
use schalter_desk::store::{Store, StoreError};
use schalter_model::AuthorityId;
use schalter_webhook::{
    Entry, EventLog, Feed, FeedReceiver, FeedStats, LogAnswer, LogError, Secrets, SkipError,
    Standing, StartError, system_roots,
};
use tokio::sync::broadcast::error::RecvError;
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

/// Who is told, now.
struct Told {
    feed: Feed,
    receivers: Vec<(DeskWebhook, Secrets)>,
}

/// Tells receivers, and others once a reload names others. Which those are is wanted first and true a moment later: what the old ones were told
/// is noted before the new ones begin.
pub(crate) struct Telling {
    desk: Arc<Desk>,
    wanted: watch::Sender<Vec<DeskWebhook>>,
    told: ArcSwapOption<Told>,
}

impl Telling {
    /// Starts telling; nothing where nobody is to be told.
    ///
    /// # Errors
    /// What is needed to tell those of the first configuration is not there.
    pub(super) fn start(
        desk: &Arc<Desk>,
        webhooks: &[DeskWebhook],
        tasks: &mut JoinSet<()>,
    ) -> Result<Arc<Self>, Failure> {
        check(webhooks).map_err(|error| Failure::setup(format!("desk.webhooks: {error}")))?;
        let telling = Arc::new(Self {
            desk: Arc::clone(desk),
            wanted: watch::Sender::new(webhooks.to_vec()),
            told: ArcSwapOption::empty(),
        });
        let news = telling.begin(webhooks);
        tasks.spawn(Arc::clone(&telling).follow(news));
        Ok(telling)
    }

    /// Has these told from now on, in their order. With the same ones only what signs for them is another.
    pub(super) fn replace(&self, webhooks: &[DeskWebhook]) {
        self.wanted.send_if_modified(|wanted| {
            let same = wanted.len() == webhooks.len()
                && wanted.iter().zip(webhooks).all(|(one, other)| {
                    (&one.authority, &one.target, &one.addresses)
                        == (&other.authority, &other.target, &other.addresses)
                });
            *wanted = webhooks.to_vec();
            !same
        });
        if let Some(told) = &*self.told.load() {
            for webhook in webhooks {
                let own = told.receivers.iter().find(|(own, _)| {
                    own.authority == webhook.authority && own.target == webhook.target
                });
                if let Some((_, secrets)) = own {
                    secrets.replace(&webhook.secrets);
                }
            }
        }
    }

    /// What was counted since these receivers began; `None` with nobody to tell.
    pub(super) fn stats(&self) -> Option<FeedStats> {
        self.told.load().as_ref().map(|told| told.feed.stats())
    }

    /// Of whose appointments each receiver is told, and where it is.
    pub(super) fn standings(&self) -> Vec<(AuthorityId, Standing)> {
        let told = self.told.load();
        let Some(told) = &*told else {
            return Vec::new();
        };
        let authorities = told.receivers.iter().map(|(one, _)| one.authority.clone());
        authorities.zip(told.feed.standings()).collect()
    }

    /// Has a receiver pass over events.
    ///
    /// # Errors
    /// [`SkipError`].
    pub(super) fn skip(&self, receiver: usize, through: u64) -> Result<(), SkipError> {
        match &*self.told.load() {
            Some(told) => told.feed.skip(receiver, through),
            None => Err(SkipError::NoReceiver),
        }
    }

    /// Gives what is under way a moment, and ends.
    pub(super) async fn shutdown(&self) {
        let told = self.told.load_full();
        if let Some(told) = told {
            told.feed.shutdown().await;
        }
    }

    /// Begins with these, and answers by what they are woken.
    fn begin(&self, webhooks: &[DeskWebhook]) -> News {
        let mut news = News::new();
        if webhooks.is_empty() {
            self.told.store(None);
            return news;
        }
        let receivers: Vec<_> = webhooks
            .iter()
            .map(|one| (one.clone(), Secrets::new(&one.secrets)))
            .collect();
        let each = receivers.iter().map(|(webhook, secrets)| FeedReceiver {
            target: webhook.target.clone(),
            addresses: webhook.addresses.clone(),
            secrets: secrets.clone(),
            log: Arc::new(Events {
                store: Arc::clone(self.desk.store()),
                authority: webhook.authority.clone(),
                news: news
                    .entry(webhook.authority.clone())
                    .or_default()
                    .subscribe(),
            }),
        });
        match Feed::start(each.collect(), &Arc::new(system_roots())) {
            Ok(feed) => self.told.store(Some(Arc::new(Told { feed, receivers }))),
            Err(error) => {
                tracing::error!(%error, "the receivers of the consultation's events can't be told")
            }
        }
        news
    }

    /// Wakes receivers with each change of their authority, and changes them when others are wanted.
    async fn follow(self: Arc<Self>, mut news: News) {
        let mut wanted = self.wanted.subscribe();
        let mut changes = self.desk.changes();
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(change) => {
                        if let Some(news) = news.get(&change.authority) {
                            news.send_replace(());
                        }
                    }
                    Err(RecvError::Lagged(_)) => news.values().for_each(|news| {
                        news.send_replace(());
                    }),
                    Err(RecvError::Closed) => return,
                },
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.shutdown().await;
                    let webhooks = wanted.borrow_and_update().clone();
                    // Each reads its log from its cursor on: what happened meanwhile is told.
                    news = self.begin(&webhooks);
                    tracing::info!(receivers = webhooks.len(), "the consultation's events go to other receivers from now on");
                }
            }
        }
    }
}

/// By what receivers of an authority are woken.
type News = BTreeMap<AuthorityId, watch::Sender<()>>;

/// Whether all that is needed to tell them is there.
///
/// # Errors
/// [`StartError::NoRoots`].
pub(super) fn check(webhooks: &[DeskWebhook]) -> Result<(), StartError> {
    if webhooks.iter().any(|one| one.target.is_tls()) && system_roots().is_empty() {
        return Err(StartError::NoRoots);
    }
    Ok(())
}
