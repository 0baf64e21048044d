//! The task of one receiver: notes events in the spool, then makes the requests that are due.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use schalter_model::Time;
use tokio::sync::{mpsc, watch};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::Instant;

use crate::client::{Client, Failure};
use crate::outbox::{Delivery, Outbox, Outcome, Sequence, Waiting};
use crate::signature;
use crate::spool::Spool;
use crate::stats::{Counters, DropReason, RetryReason};
use crate::webhooks::{Event, Signer};

/// Events that are noted together, so that a burst waits for the disk once.
const BATCH: usize = 256;
/// How long requests go on after the server was told to stop.
pub(crate) const LAST_REQUESTS: Duration = Duration::from_secs(2);
/// Pause before a spool that could not be written is tried again.
const SPOOL_PAUSE: Duration = Duration::from_secs(5);
/// Shortest distance between two lines of the log about dropped events.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// Milliseconds since 1970.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) struct Receiver {
    /// Its place among the configured ones: all that logs say of it.
    index: usize,
    outbox: Outbox,
    /// Taken while a thread for files has it.
    spool: Option<Spool>,
    /// When the spool may be written again, after it could not be.
    spool_retry: Option<Time>,
    client: Arc<Client>,
    signer: Arc<dyn Signer>,
    counters: Arc<Counters>,
    /// Its share of what the counters say waits.
    counted: (u64, u64),
    unlogged: [u64; DropReason::ALL.len()],
    logged_at: Option<Time>,
    is_failing: bool,
    start: Instant,
}

impl Receiver {
    pub(crate) fn new(
        index: usize,
        outbox: Outbox,
        spool: Spool,
        client: Client,
        signer: Arc<dyn Signer>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            index,
            outbox,
            spool: Some(spool),
            spool_retry: None,
            client: Arc::new(client),
            signer,
            counters,
            counted: (0, 0),
            unlogged: [0; DropReason::ALL.len()],
            logged_at: None,
            is_failing: false,
            start: Instant::now(),
        }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    /// Delivers until `closing` says so; `restored` is what waited in the spool.
    pub(crate) async fn run(
        mut self,
        restored: Vec<Waiting>,
        mut events: mpsc::Receiver<(u64, Event)>,
        mut closing: watch::Receiver<bool>,
    ) {
        let now = self.now();
        for event in restored {
            self.outbox.push(now, unix_ms(), event);
        }
        let mut requests = JoinSet::new();
        let mut sequences: HashMap<task::Id, Sequence> = HashMap::new();
        let (mut ended, mut stop_at) = (false, None);
        loop {
            let now = self.now();
            let due: Vec<Delivery> =
                std::iter::from_fn(|| self.outbox.poll_delivery(now)).collect();
            // First the disk: a crash during a request repeats it, and loses nothing.
            self.note().await;
            for Delivery { sequence, body } in due {
                let (client, signer) = (Arc::clone(&self.client), Arc::clone(&self.signer));
                let request = requests.spawn(async move {
                    let fields = signature::livekit(&*signer, &body);
                    let fields = fields.ok_or(RetryReason::Unsigned)?;
                    let body = Bytes::copy_from_slice(body.as_bytes());
                    client.send(fields, body).await
                });
                sequences.insert(request.id(), sequence);
            }
            if let Some(stop_at) = stop_at
                && (stop_at <= self.now() || (ended && !self.outbox.is_busy(self.now())))
            {
                break;
            }
            let wake = [self.outbox.poll_timeout(), self.spool_retry, stop_at];
            let wake = wake.into_iter().flatten().min();
            let wake = wake.map(|at| self.start + at.since(Time::ZERO));
            let timeout = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.recv(), if !ended => match event {
                    Some(event) => {
                        self.take(event);
                        for _ in 1..BATCH {
                            let Ok(event) = events.try_recv() else { break };
                            self.take(event);
                        }
                    }
                    None => ended = true,
                },
                Some(result) = requests.join_next_with_id() => {
                    self.on_end(result, &mut sequences);
                }
                () = timeout => {}
                // An error means that the handle was dropped, which ends it as well.
                _ = closing.changed(), if stop_at.is_none() => {
                    events.close();
                    stop_at = Some(self.now() + LAST_REQUESTS);
                }
            }
        }
        // Whatever is under way is not known to be taken: it stays, and may come twice.
        drop(requests);
        while let Ok(event) = events.try_recv() {
            self.take(event);
        }
        self.spool_retry = None;
        self.note().await;
        let (events, _) = self.outbox.size();
        if events > 0 {
            tracing::info!(receiver = self.index, events, "webhooks stay in the spool");
        }
    }

    fn take(&mut self, (unix_ms, event): (u64, Event)) {
        let Event { room, body } = event;
        let waiting = Waiting {
            room,
            body,
            unix_ms,
        };
        self.outbox.push(self.now(), unix_ms, waiting);
    }

    fn on_end(
        &mut self,
        result: Result<(task::Id, Result<(), Failure>), JoinError>,
        sequences: &mut HashMap<task::Id, Sequence>,
    ) {
        let (id, result) = match result {
            Ok(ended) => ended,
            Err(error) => (error.id(), Err(RetryReason::Protocol.into())),
        };
        let Some(sequence) = sequences.remove(&id) else {
            return;
        };
        let outcome = match result {
            Ok(()) => {
                self.counters.delivered();
                Outcome::Taken
            }
            Err(Failure::Refused | Failure::Gone) => Outcome::Refused,
            Err(Failure::Again(reason, after)) => {
                self.counters.retry(reason);
                if !self.is_failing {
                    self.is_failing = true;
                    let reason = reason.label();
                    tracing::warn!(
                        receiver = self.index,
                        reason,
                        "a webhook receiver takes no events; they wait"
                    );
                }
                Outcome::Again(after)
            }
        };
        if outcome == Outcome::Taken && self.is_failing {
            self.is_failing = false;
            tracing::info!(
                receiver = self.index,
                "the webhook receiver takes events again"
            );
        }
        self.outbox.on_outcome(self.now(), sequence, outcome);
    }

    /// Brings spool, counters and log up to date.
    async fn note(&mut self) {
        self.count();
        let now = self.now();
        let notes = self.outbox.take_notes();
        if let Some(at) = self.spool_retry {
            // Until then everything waits in memory; the spool is written anew from there.
            if at > now {
                return;
            }
        } else if notes.is_empty() && self.spool.as_ref().is_none_or(Spool::is_written) {
            return;
        }
        let Some(mut spool) = self.spool.take() else {
            return;
        };
        let (_, bytes) = self.outbox.size();
        let anew = spool
            .is_mostly_history(bytes)
            .then(|| self.outbox.all().collect::<Vec<_>>());
        let written = task::spawn_blocking(move || {
            let result = match anew {
                Some(all) => spool.rewrite(&all),
                None => spool.append(&notes),
            };
            (spool, result)
        });
        // Only a panic or the end of the process keeps it from coming back.
        let Ok((spool, result)) = written.await else {
            return;
        };
        self.spool = Some(spool);
        match result {
            Ok(()) => {
                if self.spool_retry.take().is_some() {
                    tracing::info!(receiver = self.index, "the webhook spool is written again");
                }
            }
            Err(error) => {
                self.counters.spool_failure();
                if self.spool_retry.is_none() {
                    tracing::warn!(
                        receiver = self.index,
                        %error,
                        "the webhook spool can't be written; events wait in memory only"
                    );
                }
                self.spool_retry = Some(now + SPOOL_PAUSE);
            }
        }
    }

    fn count(&mut self) {
        let size = self.outbox.size();
        self.counters.waiting(self.counted, size);
        self.counted = size;
        let dropped = self.outbox.take_dropped();
        for (reason, count) in DropReason::ALL.into_iter().zip(dropped) {
            if count > 0 {
                self.counters.dropped(reason, count);
                self.unlogged[reason as usize] += count;
            }
        }
        let now = self.now();
        let pause_over = self.logged_at.is_none_or(|at| now >= at + LOG_PAUSE);
        if !pause_over || self.unlogged.iter().all(|count| *count == 0) {
            return;
        }
        self.logged_at = Some(now);
        let unlogged = std::mem::take(&mut self.unlogged);
        for (reason, count) in DropReason::ALL.into_iter().zip(unlogged) {
            if count > 0 {
                let reason = reason.label();
                tracing::warn!(
                    receiver = self.index,
                    reason,
                    count,
                    "webhook events were dropped"
                );
            }
        }
    }
}
