//! Delivery of a log's events by Standard Webhooks: each receiver reads the log by itself, one event after the other, and notes how far it is.
//!
//! Nothing is spooled: the log is there anyway, and how long it keeps an event bounds how long a receiver may be away. An event that its
//! receiver does not take holds up those behind it, as the order is part of what is promised; the numbers and the log say so.

mod standing;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::HeaderMap;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustls::RootCertStore;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::backoff;
use crate::client::{Client, Failure};
use crate::config::Target;
use crate::network::AddressPolicy;
use crate::receiver::{LAST_REQUESTS, unix_ms};
use crate::signature::Secrets;
use crate::stats::{FeedStats, RetryReason};
use crate::tasks::Tasks;
use crate::webhooks::StartError;
use standing::Counters;

pub use standing::{SkipError, Standing};

/// Events that are read at once.
const PAGE: usize = 100;
/// Longest that one request may take: what Standard Webhooks proposes at least.
const REQUEST_TIME: Duration = Duration::from_secs(15);
/// Pause before a log that could not be read or written is tried again.
const LOG_PAUSE: Duration = Duration::from_secs(5);
/// Pause between two lines about a receiver that still takes nothing.
const REMINDER: Duration = Duration::from_secs(3_600);

/// An event of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number. Rises by one from event to event, except where the log forgot some.
    pub seq: u64,
    /// What receivers tell repetitions by: visible ASCII, the same each time.
    pub id: String,
    /// JSON.
    pub body: String,
}

/// The log could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LogError(pub String);

/// Answers later.
pub type LogAnswer<'a, T> = Pin<Box<dyn Future<Output = Result<T, LogError>> + Send + 'a>>;

/// Events in order, and how far receivers are.
pub trait EventLog: Send + Sync + 'static {
    /// The number of the last event, 0 if there was none.
    fn last(&self) -> LogAnswer<'_, u64>;

    /// Events with numbers greater than `seq`, in order, at most `limit`.
    fn after(&self, seq: u64, limit: usize) -> LogAnswer<'_, Vec<Entry>>;

    /// The number of the last event that a receiver took; `None` for one that is new.
    fn cursor<'a>(&'a self, receiver: &'a str) -> LogAnswer<'a, Option<u64>>;

    /// Notes that number.
    fn set_cursor<'a>(&'a self, receiver: &'a str, seq: u64) -> LogAnswer<'a, ()>;

    /// Changes after each event.
    fn news(&self) -> watch::Receiver<()>;
}

/// Who is told of a log's events.
pub struct FeedReceiver {
    /// Where.
    pub target: Target,
    /// Which addresses may be connected to.
    pub addresses: AddressPolicy,
    /// What signs.
    pub secrets: Secrets,
    /// Of what.
    pub log: Arc<dyn EventLog>,
}

impl std::fmt::Debug for FeedReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeedReceiver")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// Delivers until it is shut down.
pub struct Feed {
    counters: Arc<Counters>,
    tasks: Tasks,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed")
            .field("receivers", &self.counters.receivers.len())
            .finish_non_exhaustive()
    }
}

impl Feed {
    /// Starts a task for each receiver. One that is new hears of what happens from now on.
    ///
    /// # Errors
    /// [`StartError::NoRoots`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(
        receivers: Vec<FeedReceiver>,
        roots: &Arc<RootCertStore>,
    ) -> Result<Self, StartError> {
        if receivers.iter().any(|one| one.target.tls) && roots.is_empty() {
            return Err(StartError::NoRoots);
        }
        let readers = receivers.into_iter().map(|receiver| {
            let FeedReceiver {
                target,
                addresses,
                secrets,
                log,
            } = receiver;
            let name = target.fingerprint();
            let client = Client::new(target, addresses, Arc::clone(roots), REQUEST_TIME);
            (name, client, secrets, log)
        });
        Ok(Self::run(readers.collect()))
    }

    fn run<P: Post>(receivers: Vec<(String, P, Secrets, Arc<dyn EventLog>)>) -> Self {
        let counters = Arc::new(Counters::of(receivers.len()));
        let tasks = Tasks::new();
        for (index, (name, post, secrets, log)) in receivers.into_iter().enumerate() {
            let reader = Reader {
                index,
                name,
                post,
                secrets,
                log,
                counters: Arc::clone(&counters),
                last: 0,
                cursor: 0,
                noted: 0,
                failures: 0,
                failing: None,
                log_is_failing: false,
                rng: StdRng::from_seed(rand::random()),
            };
            tasks.spawn(|closing| reader.run(closing));
        }
        Self { counters, tasks }
    }

    /// What was counted until now.
    pub fn stats(&self) -> FeedStats {
        self.counters.snapshot()
    }

    /// Where each receiver is, in their order.
    pub fn standings(&self) -> Vec<Standing> {
        self.counters.standings()
    }

    /// Has a receiver, told by its place, pass over the event that it fails to take and those after it up to `through`: the way out where it will
    /// never take one. Done once a request that is under way has ended; if that one is taken, it is not passed over.
    ///
    /// # Errors
    /// [`SkipError`].
    pub fn skip(&self, receiver: usize, through: u64) -> Result<(), SkipError> {
        self.counters.skip(receiver, through)
    }

    /// Makes no more requests, and gives those under way a moment.
    pub async fn shutdown(&self) {
        self.tasks.shutdown().await;
    }
}

/// Makes one request.
trait Post: Send + Sync + 'static {
    fn post(
        &self,
        fields: HeaderMap,
        body: Bytes,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

impl Post for Client {
    async fn post(&self, fields: HeaderMap, body: Bytes) -> Result<(), Failure> {
        self.send(fields, body).await
    }
}

/// A receiver that fails: since when, and when the log last said so.
struct Failing {
    since: Instant,
    told: Instant,
}

/// The task of one receiver.
struct Reader<P> {
    /// Its place among the configured ones: all that logs say of it.
    index: usize,
    /// Its name in the log.
    name: String,
    post: P,
    secrets: Secrets,
    log: Arc<dyn EventLog>,
    counters: Arc<Counters>,
    /// The last event, as far as is known.
    last: u64,
    /// The last event that it took.
    cursor: u64,
    /// The same, as the log has it.
    noted: u64,
    /// Failures of the event that is under way.
    failures: u32,
    failing: Option<Failing>,
    log_is_failing: bool,
    rng: StdRng,
}

/// The task is to end.
struct Ended;

impl<P: Post> Reader<P> {
    async fn run(mut self, closing: watch::Receiver<bool>) {
        let mut stop = closing.clone();
        let cut = async {
            closed(&mut stop).await;
            tokio::time::sleep(LAST_REQUESTS).await;
        };
        // What is cut off under way is not known to be taken, and comes twice.
        tokio::select! {
            _ = self.read_on(closing) => {}
            () = cut => {}
        }
    }

    async fn read_on(&mut self, mut closing: watch::Receiver<bool>) -> Result<(), Ended> {
        let mut news = self.log.news();
        while let Err(error) = self.begin().await {
            self.on_log_error(&error);
            pause(LOG_PAUSE, &mut closing).await?;
        }
        loop {
            news.borrow_and_update();
            let page = match self.page().await {
                Ok(page) => page,
                Err(error) => {
                    self.on_log_error(&error);
                    pause(LOG_PAUSE, &mut closing).await?;
                    continue;
                }
            };
            let caught_up = page.is_empty();
            for entry in page {
                self.deliver(&entry, &mut closing).await?;
            }
            if !caught_up {
                continue;
            }
            tokio::select! {
                changed = news.changed() => changed.map_err(|_| Ended)?,
                () = tokio::time::sleep(LOG_PAUSE), if self.noted != self.cursor => self.note().await,
                () = closed(&mut closing) => return Err(Ended),
            }
        }
    }

    /// Finds out how far the receiver is.
    async fn begin(&mut self) -> Result<(), LogError> {
        self.last = self.log.last().await?;
        self.cursor = match self.log.cursor(&self.name).await? {
            Some(cursor) => cursor,
            None => {
                self.log.set_cursor(&self.name, self.last).await?;
                self.last
            }
        };
        self.noted = self.cursor;
        self.log_is_failing = false;
        self.count();
        Ok(())
    }

    /// What comes next. What the log forgot meanwhile is counted and passed over.
    async fn page(&mut self) -> Result<Vec<Entry>, LogError> {
        // The number first: what is not there up to it will not come any more.
        let last = self.log.last().await?;
        let page = self.log.after(self.cursor, PAGE).await?;
        self.log_is_failing = false;
        let before_next = match page.first() {
            Some(next) => next.seq.saturating_sub(1),
            None => last,
        };
        let lost = before_next.saturating_sub(self.cursor);
        if lost > 0 {
            self.counters.lost.fetch_add(lost, Ordering::Relaxed);
            tracing::warn!(
                receiver = self.index,
                count = lost,
                "events of the consultation were erased before their receiver took them"
            );
            self.cursor = before_next;
            self.note().await;
        }
        let known = page.last().map_or(0, |entry| entry.seq);
        self.last = self.last.max(last).max(known);
        self.count();
        Ok(page)
    }

    /// Has the receiver take an event, however long that lasts.
    async fn deliver(
        &mut self,
        entry: &Entry,
        closing: &mut watch::Receiver<bool>,
    ) -> Result<(), Ended> {
        self.failures = 0;
        let mut skip = self.counters.receivers[self.index].skips();
        loop {
            if *closing.borrow() {
                return Err(Ended);
            }
            if entry.seq <= *skip.borrow_and_update() {
                self.pass_over(entry).await;
                return Ok(());
            }
            let fields = self
                .secrets
                .fields(&entry.id, unix_ms() / 1_000, &entry.body);
            let result = match fields {
                Some(fields) => {
                    let body = Bytes::copy_from_slice(entry.body.as_bytes());
                    self.post.post(fields, body).await
                }
                None => Err(RetryReason::Unsigned.into()),
            };
            let (reason, asked) = match result {
                Ok(()) => break,
                Err(Failure::Gone) => {
                    self.counters.receivers[self.index].is_gone();
                    tracing::warn!(
                        receiver = self.index,
                        event = entry.seq,
                        "the receiver of the consultation's events wants nothing any more (410); it is told nothing until a restart"
                    );
                    return Err(Ended);
                }
                // The next version of the receiver may take it, and order goes before.
                Err(Failure::Refused) => (RetryReason::Status, None),
                Err(Failure::Again(reason, asked)) => (reason, asked),
            };
            self.on_failure(entry, reason);
            let wait = backoff::wait(self.failures, asked, &mut self.rng);
            self.failures = self.failures.saturating_add(1);
            // More may have happened meanwhile; the number is all that is of interest.
            if let Ok(last) = self.log.last().await {
                self.last = self.last.max(last);
                self.count();
            }
            tokio::select! {
                paused = pause(wait, closing) => paused?,
                // The sender is as old as the task.
                _ = skip.changed() => {}
            }
        }
        if self.failing.take().is_some() {
            tracing::info!(
                receiver = self.index,
                "the receiver of the consultation's events takes them again"
            );
        }
        self.move_on(entry).await;
        // Last: whoever reads that it was delivered reads that it was taken.
        self.counters.delivered.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Gives an event up, because somebody who looks after the receiver said so.
    async fn pass_over(&mut self, entry: &Entry) {
        self.counters.skipped.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            receiver = self.index,
            event = entry.seq,
            "an event of the consultation was passed over by order: its receiver is not told of it"
        );
        // The next is a new beginning.
        self.failing = None;
        self.move_on(entry).await;
    }

    async fn move_on(&mut self, entry: &Entry) {
        self.counters.receivers[self.index].moved_on();
        self.cursor = entry.seq;
        self.note().await;
        self.count();
    }

    fn on_failure(&mut self, entry: &Entry, reason: RetryReason) {
        self.counters.failures[reason as usize].fetch_add(1, Ordering::Relaxed);
        self.counters.receivers[self.index].fails(entry.seq);
        let now = Instant::now();
        let (reason, receiver, event) = (reason.label(), self.index, entry.seq);
        match &mut self.failing {
            None => {
                self.failing = Some(Failing {
                    since: now,
                    told: now,
                });
                tracing::warn!(
                    receiver,
                    event,
                    reason,
                    "a receiver of the consultation's events takes none; they wait"
                );
            }
            Some(failing) if now - failing.told >= REMINDER => {
                failing.told = now;
                let hours = (now - failing.since).as_secs() / 3_600;
                tracing::warn!(
                    receiver,
                    event,
                    reason,
                    hours,
                    "a receiver of the consultation's events still takes none; all that follow wait for this one"
                );
            }
            Some(_) => {}
        }
    }

    /// Notes how far the receiver is. What can't be noted now is noted with the next, or later; a crash until then repeats it.
    async fn note(&mut self) {
        match self.log.set_cursor(&self.name, self.cursor).await {
            Ok(()) => {
                self.noted = self.cursor;
                self.log_is_failing = false;
            }
            Err(error) => self.on_log_error(&error),
        }
    }

    fn on_log_error(&mut self, error: &LogError) {
        self.counters.log_failures.fetch_add(1, Ordering::Relaxed);
        if !self.log_is_failing {
            self.log_is_failing = true;
            tracing::error!(
                receiver = self.index,
                %error,
                "how far a receiver of the consultation's events is can't be read or noted; it is tried again"
            );
        }
    }

    fn count(&self) {
        self.counters.receivers[self.index].count(self.cursor, self.last);
    }
}

/// Waits, unless the task is to end.
async fn pause(time: Duration, closing: &mut watch::Receiver<bool>) -> Result<(), Ended> {
    tokio::select! {
        () = tokio::time::sleep(time) => Ok(()),
        () = closed(closing) => Err(Ended),
    }
}

/// Answers once the feed is to end.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error means that the handle was dropped, which ends it as well.
    let _ = closing.wait_for(|closing| *closing).await;
}

#[cfg(test)]
mod tests;
