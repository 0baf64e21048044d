//! What happened goes into the audit log: followed by a cursor, as receivers of webhooks follow it.

use schalter_audit::{CommitmentKey, Opening};
use schalter_model::AuthorityId;

use super::{Caller, Desk, DeskError, Record};
use crate::domain::{Event, Timestamp};
use crate::ledger::{Entry, Held, LedgerError, LedgerStats, Log, RecordProof, Wanted};
use crate::store::{MAX_EVENTS, StoreError};

/// The log's name among the cursors of those who follow events.
const CURSOR: &str = "audit";
const DAY_S: u64 = 86_400;

impl From<LedgerError> for DeskError {
    fn from(error: LedgerError) -> Self {
        // Paths and reasons are for who looks after the server.
        Self::Store(StoreError::Failed(error.to_string()))
    }
}

/// Has a thread that may wait for the disk do something with a log.
async fn with_log<T: Send + 'static>(
    mut held: Held,
    work: impl FnOnce(&mut Option<Log>) -> Result<T, LedgerError> + Send + 'static,
) -> (Held, Result<T, LedgerError>) {
    let task = tokio::task::spawn_blocking(move || {
        let result = work(&mut held);
        if result.is_err() {
            // Half of a batch may be written: opened anew, it is held against its checkpoint and what nobody signed is cut off.
            *held = None;
        }
        (held, result)
    });
    task.await.expect("it does not panic, and nobody aborts it")
}

/// What an event is committed to as: the words of its JSON, which is what people and systems see.
fn leaf(event: &Event, key: &CommitmentKey) -> schalter_audit::Leaf {
    let fact = &event.fact;
    let (at, notice) = (event.at.to_string(), fact.notice.map(String::from));
    let opening = Opening {
        seq: event.seq,
        at: &at,
        kind: fact.kind.label(),
        appointment: event.appointment.as_str(),
        by: &event.by,
        person: fact.person.as_ref().map(|id| id.as_str()),
        role: fact.role.map(crate::domain::Role::label),
        notice: notice.as_deref(),
        outcome: fact.outcome.as_ref().map(|code| code.as_str()),
    };
    opening.leaf(key)
}

impl Desk {
    /// Brings an authority's log up to date. Nothing is done where the desk has none.
    ///
    /// # Errors
    /// [`DeskError::Store`]: the database, or the log. What could not be logged waits, and is logged by a later call.
    pub async fn log_events(&self, authority: &AuthorityId) -> Result<(), DeskError> {
        let Some(ledger) = &self.ledger else {
            return Ok(());
        };
        let held = ledger.hold(authority).await;
        self.log_held(authority, held).await.map(drop)
    }

    async fn log_held(&self, authority: &AuthorityId, held: Held) -> Result<Held, DeskError> {
        let Some(ledger) = &self.ledger else {
            return Ok(held);
        };
        let store = &self.store;
        let last = store.last_event(authority).await;
        let last = last.map_err(DeskError::Store)?;
        let (mut held, mut after) = match held.as_ref().map(Log::through) {
            // Other numbers than the store's can come up only while the server is down.
            Some(through) => (held, through),
            None => self.open_log(authority, held, last).await?,
        };
        loop {
            let events = store.events(authority, after, MAX_EVENTS).await;
            let events = events.map_err(DeskError::Store)?;
            let Some(newest) = events.last().map(|event| event.seq) else {
                break;
            };
            let entries = self.entries(authority, &events).await?;
            let open = ledger.opener(authority);
            let (still, appended) = with_log(held, move |log| open(log)?.append(&entries)).await;
            appended.inspect_err(|error| ledger.note_failure(authority, last, error))?;
            held = still;
            after = newest;
            let noted = store.set_cursor(authority, CURSOR, after).await;
            noted.map_err(DeskError::Store)?;
        }
        if let Some(log) = held.as_ref() {
            ledger.note(authority, log, last);
        }
        Ok(held)
    }

    /// Opens a log and compares it with the store. Answers after which event to go on.
    ///
    /// The store notes how far the log is only after it is on the disk: after a crash the log may be a batch ahead. If it is further, or what
    /// it has of these numbers is something else, the database was set back; if it is behind, the log was. Then it goes on in an epoch that
    /// says so.
    async fn open_log(
        &self,
        authority: &AuthorityId,
        held: Held,
        last: u64,
    ) -> Result<(Held, u64), DeskError> {
        let Some(ledger) = &self.ledger else {
            return Ok((held, last));
        };
        let noted = self.store.cursor(authority, CURSOR).await;
        let noted = noted.map_err(DeskError::Store)?.unwrap_or(0);
        let open = ledger.opener(authority);
        let (held, through) = with_log(held, move |log| Ok(open(log)?.through())).await;
        let through = through.inspect_err(|error| ledger.note_failure(authority, last, error))?;
        let ahead = if through > noted {
            let ahead = self.store.events(authority, noted, MAX_EVENTS).await;
            let mut ahead = ahead.map_err(DeskError::Store)?;
            ahead.retain(|event| event.seq <= through);
            self.entries(authority, &ahead).await?
        } else {
            Vec::new()
        };
        let complete = ahead.last().map_or(noted, |entry| entry.seq) == through;
        let open = ledger.opener(authority);
        let (held, after) = with_log(held, move |log| {
            let log = open(log)?;
            if complete && log.has(&ahead)? {
                return Ok(through);
            }
            tracing::error!(
                through,
                noted,
                last,
                "the audit log and the database don't fit together: one of them was set back; a new epoch begins"
            );
            log.was_set_back();
            Ok(through.min(noted))
        })
        .await;
        let after = after.inspect_err(|error| ledger.note_failure(authority, last, error))?;
        Ok((held, after))
    }

    async fn entries(
        &self,
        authority: &AuthorityId,
        events: &[Event],
    ) -> Result<Vec<Entry>, DeskError> {
        let fresh = events.iter().map(|event| {
            let key = CommitmentKey::new(self.random());
            (event.appointment.clone(), key)
        });
        let keys = self.store.commitment_keys(authority, fresh.collect()).await;
        let keys = keys.map_err(DeskError::Store)?;
        let entries = events.iter().map(|event| {
            // Of what was erased before it got here the leaf keeps its place, and nobody can ever open it.
            let lost = || CommitmentKey::new(self.random());
            let key = keys.get(&event.appointment).cloned();
            Entry {
                at: event.at,
                seq: event.seq,
                erased: key.is_none(),
                leaf: leaf(event, &key.unwrap_or_else(lost)),
            }
        });
        Ok(entries.collect())
    }

    /// Ends an epoch whose time is over, and deletes those that were kept long enough. Answers through which event others may be purged.
    pub(super) async fn keep_log(
        &self,
        authority: &AuthorityId,
        retention_days: u32,
        now: Timestamp,
    ) -> u64 {
        let Some(ledger) = &self.ledger else {
            return u64::MAX;
        };
        let keep_s = u64::from(ledger.rules().keep_days.max(retention_days)) * DAY_S;
        let held = ledger.hold(authority).await;
        // Failures are noted where they happen, and tried again by the next sweep.
        if let Ok(held) = self.log_held(authority, held).await {
            let open = ledger.opener(authority);
            let (held, kept) = with_log(held, move |log| {
                let log = open(log)?;
                log.turn(now)?;
                log.forget(now.minus_s(keep_s))
            })
            .await;
            match (kept, held.as_ref()) {
                (Err(error), _) => ledger.note_failure(authority, 0, &error),
                (Ok(_), Some(log)) => ledger.note(authority, log, log.through()),
                (Ok(_), None) => {}
            }
        }
        ledger.through(authority)
    }

    /// A checkpoint of the caller's authority, as a signed note, or with what proves that the log has grown to it ([`schalter_audit::growth`]);
    /// `None` where the desk has no log, or it has no such checkpoint.
    ///
    /// # Errors
    /// [`DeskError::Store`].
    pub async fn checkpoint(
        &self,
        caller: &Caller,
        wanted: Wanted,
    ) -> Result<Option<String>, DeskError> {
        let Some(ledger) = &self.ledger else {
            return Ok(None);
        };
        self.log_events(&caller.authority).await?;
        let (ledger, authority) = (std::sync::Arc::clone(ledger), caller.authority.clone());
        let read = tokio::task::spawn_blocking(move || ledger.checkpoint(&authority, &wanted));
        Ok(read
            .await
            .expect("it does not panic, and nobody aborts it")?)
    }

    /// Adds to records what proves them. Nothing where the desk has no log, or it can't be read: a record is not withheld for that.
    pub(super) async fn prove(&self, authority: &AuthorityId, records: &mut [Record]) {
        if let Some(proofs) = self.proofs(authority, records).await {
            for (record, proof) in records.iter_mut().zip(proofs) {
                record.proof = proof;
            }
        }
    }

    async fn proofs(
        &self,
        authority: &AuthorityId,
        records: &[Record],
    ) -> Option<Vec<Option<RecordProof>>> {
        let ledger = self.ledger.as_ref()?;
        self.log_events(authority).await.ok()?;
        let fresh = records.iter().map(|record| {
            let key = CommitmentKey::new(self.random());
            (record.appointment.id.clone(), key)
        });
        let keys = self.store.commitment_keys(authority, fresh.collect()).await;
        let keys = keys.ok()?;
        let open = |record: &Record| {
            let key = keys.get(&record.appointment.id)?.clone();
            let leaves = record.events.iter().map(|one| (one.seq, leaf(one, &key)));
            let leaves = leaves.collect();
            Some((key, leaves))
        };
        let opened: Vec<_> = records.iter().map(open).collect();
        // One that was erased meanwhile has no key.
        let has_key: Vec<bool> = opened.iter().map(Option::is_some).collect();
        let opened = opened.into_iter().flatten().collect();
        let (ledger, authority) = (std::sync::Arc::clone(ledger), authority.clone());
        let prove = tokio::task::spawn_blocking(move || ledger.prove(&authority, opened));
        match prove
            .await
            .expect("it does not panic, and nobody aborts it")
        {
            Ok(proofs) => {
                let mut proofs = proofs.into_iter();
                let each = has_key.into_iter();
                Some(
                    each.map(|has| if has { proofs.next() } else { None })
                        .collect(),
                )
            }
            Err(error) => {
                tracing::warn!(%error, "records are given without proofs");
                None
            }
        }
    }

    /// What the logs count; `None` where the desk has none.
    pub fn log_stats(&self) -> Option<LedgerStats> {
        self.ledger.as_ref().map(|ledger| ledger.stats())
    }
}
