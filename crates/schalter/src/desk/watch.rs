//! What the desk's metrics count: who waits, who was admitted.
//!
//! Reads what changed after each change, and everything when it missed some; a scrape reads numbers only.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use schalter_desk::domain::{Appointment, AppointmentId, EventKind};
use schalter_desk::ledger::LedgerStats;
use schalter_desk::store::{Filter, MAX_APPOINTMENTS, MAX_EVENTS};
use schalter_desk::{Changed, Desk};
use schalter_metrics::{DeskAuditSnapshot, DeskSnapshot, DeskWebhookSnapshot};
use schalter_model::AuthorityId;
use schalter_webhook::{FeedStats, RetryReason};
use tokio::sync::broadcast::error::RecvError;

use super::telling::Telling;

/// How far from now appointments are looked at for people who wait, in seconds: doors are open no longer.
const AROUND_S: u64 = 2 * 24 * 3_600;

/// The numbers.
#[derive(Default)]
pub(crate) struct Counts {
    waiting: AtomicU64,
    running: AtomicU64,
    admitted: AtomicU64,
    /// Of which the rest is read when it is shown.
    desk: Option<Arc<Desk>>,
    telling: Option<Arc<Telling>>,
}

impl Counts {
    /// Numbers of a desk, and of who is told what happens there.
    pub(super) fn new(desk: Arc<Desk>, telling: Arc<Telling>) -> Self {
        Self {
            desk: Some(desk),
            telling: Some(telling),
            ..Self::default()
        }
    }

    /// For the exporter.
    pub(crate) fn snapshot(&self) -> DeskSnapshot {
        DeskSnapshot {
            waiting: self.waiting.load(Ordering::Relaxed),
            running: self.running.load(Ordering::Relaxed),
            admitted: self.admitted.load(Ordering::Relaxed),
            owed: self.desk.as_ref().map_or(0, |desk| desk.owed() as u64),
            webhooks: self.telling.as_ref().and_then(|one| one.stats()).map(told),
            audit: self
                .desk
                .as_ref()
                .and_then(|desk| desk.log_stats())
                .map(logged),
        }
    }
}

fn logged(stats: LedgerStats) -> DeskAuditSnapshot {
    let LedgerStats {
        leaves,
        behind,
        broken,
        failures,
    } = stats;
    DeskAuditSnapshot {
        leaves,
        behind,
        broken,
        failures,
    }
}

fn told(stats: FeedStats) -> DeskWebhookSnapshot {
    let FeedStats {
        delivered,
        failures,
        lost,
        skipped,
        log_failures,
        gone,
        backlogs,
        stuck_s,
    } = stats;
    let failures = RetryReason::ALL.iter().zip(failures);
    DeskWebhookSnapshot {
        delivered,
        failures: failures.map(|(r, count)| (r.label(), count)).collect(),
        lost,
        skipped,
        log_failures,
        gone,
        backlogs,
        stuck_s,
    }
}

/// People who wait in an appointment, and whether it runs.
#[derive(Clone, Copy, Default)]
struct Part {
    waiting: u64,
    running: bool,
}

impl Part {
    fn of(appointment: &Appointment) -> Self {
        let waiting = appointment
            .people
            .iter()
            .filter(|person| person.lobby_stage().waiting_since().is_some())
            .count();
        Self {
            waiting: waiting as u64,
            running: appointment.state == schalter_desk::domain::State::Running,
        }
    }
}

struct Watch {
    desk: Arc<Desk>,
    counts: Arc<Counts>,
    parts: HashMap<AppointmentId, Part>,
    /// The last event that was counted.
    counted: HashMap<AuthorityId, u64>,
}

/// Counts until the desk ends.
pub(super) async fn run(desk: Arc<Desk>, counts: Arc<Counts>) {
    let mut changes = desk.changes();
    let mut watch = Watch {
        desk,
        counts,
        parts: HashMap::new(),
        counted: HashMap::new(),
    };
    watch.begin().await;
    loop {
        match changes.recv().await {
            Ok(change) => watch.look(&change).await,
            Err(RecvError::Lagged(_)) => watch.look_around().await,
            Err(RecvError::Closed) => return,
        }
        watch.show();
    }
}

impl Watch {
    async fn begin(&mut self) {
        for id in self.desk.authorities().iter().map(|one| one.id.clone()) {
            // Without a number everything would be counted from the beginning: wrong, but no harm.
            let last = self.desk.store().last_event(&id).await.unwrap_or_default();
            self.counted.insert(id, last);
        }
        self.look_around().await;
        self.show();
    }

    async fn look_around(&mut self) {
        self.parts.clear();
        for id in self.desk.authorities().iter().map(|one| one.id.clone()) {
            let now = self.desk.now();
            let filter = Filter {
                from: Some(now.minus_s(AROUND_S)),
                to: Some(now.plus_s(AROUND_S)),
                limit: MAX_APPOINTMENTS,
                ..Filter::default()
            };
            let Ok(found) = self.desk.store().list(&id, filter).await else {
                continue;
            };
            for appointment in &found {
                self.note(appointment);
            }
            self.count(&id).await;
        }
    }

    async fn look(&mut self, change: &Changed) {
        let store = Arc::clone(self.desk.store());
        match store.load(&change.authority, &change.appointment).await {
            Ok(Some(appointment)) => self.note(&appointment),
            Ok(None) => {
                self.parts.remove(&change.appointment);
            }
            // The next change looks again.
            Err(_) => {}
        }
        self.count(&change.authority).await;
    }

    fn note(&mut self, appointment: &Appointment) {
        let part = Part::of(appointment);
        if part.waiting == 0 && !part.running {
            self.parts.remove(&appointment.id);
        } else {
            self.parts.insert(appointment.id.clone(), part);
        }
    }

    /// Counts the events since the last time.
    async fn count(&mut self, authority: &AuthorityId) {
        let store = Arc::clone(self.desk.store());
        let counted = match self.counted.entry(authority.clone()) {
            Entry::Occupied(counted) => counted.into_mut(),
            // An office that came by a reload, maybe back: what happened before is no news.
            Entry::Vacant(place) => {
                let last = store.last_event(authority).await.unwrap_or_default();
                place.insert(last.saturating_sub(1))
            }
        };
        while let Ok(events) = store.events(authority, *counted, MAX_EVENTS).await {
            let Some(last) = events.last() else { return };
            *counted = last.seq;
            let admitted = events
                .iter()
                .filter(|event| event.fact.kind == EventKind::Admitted)
                .count();
            self.counts
                .admitted
                .fetch_add(admitted as u64, Ordering::Relaxed);
        }
    }

    fn show(&self) {
        let waiting = self.parts.values().map(|part| part.waiting).sum();
        let running = self.parts.values().filter(|part| part.running).count();
        self.counts.waiting.store(waiting, Ordering::Relaxed);
        self.counts.running.store(running as u64, Ordering::Relaxed);
    }
}
