//! The statements, each a function over a connection. All run on the store's own threads.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use schalter_audit::{CommitmentKey, KEY_BYTES};
use schalter_model::AuthorityId;

use super::{Commit, Filter, Kept, MAX_APPOINTMENTS, MAX_EVENTS, StoreError};
use crate::domain::{Appointment, AppointmentId, Digest, Event, Fact, Retention, Timestamp};

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

fn broken(what: &str) -> StoreError {
    // Not the reader's own words: they may quote what it read.
    StoreError::Failed(format!("a stored {what} can't be read"))
}

fn to_i64(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn appointment_of(body: &str) -> Result<Appointment, StoreError> {
    serde_json::from_str(body).map_err(|_| broken("appointment"))
}

fn appointments(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<Appointment>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(values, |row| row.get::<_, String>(0))?;
    rows.map(|body| appointment_of(&body?)).collect()
}

pub(super) fn load(
    connection: &Connection,
    authority: &str,
    id: &AppointmentId,
) -> Result<Option<Appointment>, StoreError> {
    let found = appointments(
        connection,
        "SELECT body FROM appointments WHERE id = ?1 AND authority = ?2",
        params![id.as_str(), authority],
    )?;
    Ok(found.into_iter().next())
}

pub(super) fn find(
    connection: &Connection,
    digest: &Digest,
) -> Result<Option<Appointment>, StoreError> {
    let found = appointments(
        connection,
        "SELECT body FROM appointments WHERE id = (SELECT appointment FROM ways WHERE digest = ?1)",
        params![digest.as_bytes()],
    )?;
    Ok(found.into_iter().next())
}

pub(super) fn list(
    connection: &Connection,
    authority: &str,
    filter: &Filter,
) -> Result<Vec<Appointment>, StoreError> {
    let from = filter.from.map_or(0, Timestamp::ms);
    let to = filter.to.map_or(i64::MAX, Timestamp::ms);
    let (after_at, after_id) = filter
        .after
        .as_ref()
        .map_or((-1, ""), |(at, id)| (at.ms(), id.as_str()));
    let limit = to_i64(filter.limit.min(MAX_APPOINTMENTS) as u64);
    match &filter.external_ref {
        Some(external_ref) => appointments(
            connection,
            "SELECT body FROM appointments WHERE authority = ?1 AND external_ref = ?2 AND starts_at >= ?3
             AND starts_at < ?4 AND (starts_at, id) > (?5, ?6) ORDER BY starts_at, id LIMIT ?7",
            params![authority, external_ref.as_str(), from, to, after_at, after_id, limit],
        ),
        None => appointments(
            connection,
            "SELECT body FROM appointments WHERE authority = ?1 AND starts_at >= ?2 AND starts_at < ?3
             AND (starts_at, id) > (?4, ?5) ORDER BY starts_at, id LIMIT ?6",
            params![authority, from, to, after_at, after_id, limit],
        ),
    }
}

pub(super) fn overdue(
    connection: &Connection,
    authority: &str,
    ends_before: Timestamp,
) -> Result<Vec<Appointment>, StoreError> {
    appointments(
        connection,
        "SELECT body FROM appointments WHERE authority = ?1 AND over_at IS NULL AND ends_at < ?2
         ORDER BY ends_at LIMIT ?3",
        params![authority, ends_before.ms(), to_i64(MAX_APPOINTMENTS as u64)],
    )
}

pub(super) fn commit(connection: &mut Connection, commit: &Commit) -> Result<u64, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    write_appointment(&transaction, &commit.appointment)?;
    if let Some(kept) = &commit.keep {
        write_kept(&transaction, kept)?;
    }
    let seq = write_facts(&transaction, commit)?;
    transaction.commit()?;
    Ok(seq)
}

fn write_appointment(
    transaction: &Transaction<'_>,
    appointment: &Appointment,
) -> Result<(), StoreError> {
    let body = serde_json::to_string(appointment).map_err(|_| broken("appointment"))?;
    let external_ref = appointment.external_ref.as_ref().map(|text| text.as_str());
    let (starts_at, ends_at) = (appointment.when.starts_at, appointment.when.ends_at);
    let over_at = appointment.over_at.map(Timestamp::ms);
    let version = to_i64(appointment.version);
    let id = appointment.id.as_str();
    let written = if appointment.version <= 1 {
        transaction.prepare_cached(
            "INSERT INTO appointments (id, authority, external_ref, starts_at, ends_at, over_at, version, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        )?
    } else {
        transaction.prepare_cached(
            "UPDATE appointments SET external_ref = ?3, starts_at = ?4, ends_at = ?5, over_at = ?6, version = ?7, body = ?8
             WHERE id = ?1 AND authority = ?2 AND version = ?7 - 1",
        )?
    }
    .execute(params![
        id,
        appointment.authority,
        external_ref,
        starts_at.ms(),
        ends_at.ms(),
        over_at,
        version,
        body
    ])?;
    if written != 1 {
        return Err(StoreError::Conflict);
    }
    let digests = appointment.digests();
    let mut there = transaction.prepare_cached("SELECT digest FROM ways WHERE appointment = ?1")?;
    let there: Vec<[u8; 32]> = there
        .query_map([id], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for digest in &digests {
        if !there.contains(digest.as_bytes()) {
            transaction
                .prepare_cached("INSERT INTO ways (digest, appointment) VALUES (?1, ?2)")?
                .execute(params![digest.as_bytes(), id])?;
        }
    }
    for digest in there {
        if !digests.iter().any(|own| *own.as_bytes() == digest) {
            transaction
                .prepare_cached("DELETE FROM ways WHERE digest = ?1")?
                .execute([digest])?;
        }
    }
    Ok(())
}

fn write_kept(transaction: &Transaction<'_>, kept: &Kept) -> Result<(), StoreError> {
    let written = transaction
        .prepare_cached(
            "INSERT INTO kept_answers (slot, request, appointment, status, body, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            kept.slot.as_bytes(),
            kept.request.as_bytes(),
            kept.appointment.as_str(),
            kept.status,
            kept.body,
            kept.at.ms()
        ])?;
    if written == 1 {
        Ok(())
    } else {
        Err(StoreError::Repeated)
    }
}

fn write_facts(transaction: &Transaction<'_>, commit: &Commit) -> Result<u64, StoreError> {
    let authority = &commit.appointment.authority;
    let mut seq = last_event(transaction, authority)?;
    for fact in &commit.facts {
        seq += 1;
        let body = serde_json::to_string(fact).map_err(|_| broken("event"))?;
        transaction
            .prepare_cached(
                "INSERT INTO events (authority, seq, at, appointment, actor, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                authority,
                to_i64(seq),
                commit.at.ms(),
                commit.appointment.id.as_str(),
                commit.by,
                body
            ])?;
    }
    if !commit.facts.is_empty() {
        transaction
            .prepare_cached(
                "INSERT INTO counters (authority, seq) VALUES (?1, ?2)
                 ON CONFLICT (authority) DO UPDATE SET seq = excluded.seq",
            )?
            .execute(params![authority, to_i64(seq)])?;
    }
    Ok(seq)
}

pub(super) fn erase(
    connection: &mut Connection,
    authority: &str,
    ids: &[AppointmentId],
) -> Result<usize, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut erased = 0;
    for id in ids {
        let gone = transaction
            .prepare_cached("DELETE FROM appointments WHERE id = ?1 AND authority = ?2")?
            .execute(params![id.as_str(), authority])?;
        if gone > 0 {
            transaction
                .prepare_cached("DELETE FROM kept_answers WHERE appointment = ?1")?
                .execute([id.as_str()])?;
        }
        erased += gone;
    }
    transaction.commit()?;
    empty_log(connection)?;
    Ok(erased)
}

/// Writes the log back into the file and empties it, so that what was deleted is in neither.
pub(super) fn empty_log(connection: &Connection) -> Result<(), StoreError> {
    let busy: i64 =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy == 0 {
        Ok(())
    } else {
        Err(StoreError::Failed(
            "written, but a reader keeps the log from being emptied".to_owned(),
        ))
    }
}

pub(super) fn purge(
    connection: &mut Connection,
    authority: &str,
    before: Timestamp,
    through: u64,
) -> Result<Vec<AppointmentId>, StoreError> {
    let due = appointments(
        connection,
        "SELECT body FROM appointments WHERE authority = ?1 AND over_at < ?2 ORDER BY over_at LIMIT ?3",
        params![authority, before.ms(), to_i64(MAX_APPOINTMENTS as u64)],
    )?;
    let old = connection
        .prepare_cached("DELETE FROM events WHERE authority = ?1 AND at < ?2 AND seq <= ?3")?
        .execute(params![authority, before.ms(), to_i64(through)])?;
    let ids: Vec<_> = due.into_iter().map(|appointment| appointment.id).collect();
    if !ids.is_empty() {
        erase(connection, authority, &ids)?;
    } else if old > 0 {
        empty_log(connection)?;
    }
    Ok(ids)
}

pub(super) fn commitment_keys(
    connection: &mut Connection,
    authority: &str,
    fresh: BTreeMap<AppointmentId, CommitmentKey>,
) -> Result<BTreeMap<AppointmentId, CommitmentKey>, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut keys = BTreeMap::new();
    for (id, fresh) in fresh {
        let kept: Option<Option<[u8; KEY_BYTES]>> = transaction
            .prepare_cached(
                "SELECT secret FROM appointments LEFT JOIN commitment_keys ON appointment = id WHERE id = ?1 AND authority = ?2",
            )?
            .query_row([id.as_str(), authority], |row| row.get(0))
            .optional()?;
        let key = match kept {
            None => continue,
            Some(Some(secret)) => CommitmentKey::new(secret),
            Some(None) => {
                transaction
                    .prepare_cached(
                        "INSERT INTO commitment_keys (appointment, secret) VALUES (?1, ?2)",
                    )?
                    .execute(params![id.as_str(), fresh.reveal()])?;
                fresh
            }
        };
        keys.insert(id, key);
    }
    transaction.commit()?;
    Ok(keys)
}

fn event_of(row: &Row<'_>) -> rusqlite::Result<(String, i64, i64, String, String, String)> {
    Ok((
        row.get(0)?,
        row.get(1)?,
        row.get(2)?,
        row.get(3)?,
        row.get(4)?,
        row.get(5)?,
    ))
}

fn read_events(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<Event>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(values, event_of)?;
    rows.map(|row| {
        let (authority, seq, at, appointment, by, body) = row?;
        let fact: Fact = serde_json::from_str(&body).map_err(|_| broken("event"))?;
        Ok(Event {
            authority,
            seq: seq.unsigned_abs(),
            at: Timestamp::from_ms(at),
            appointment: appointment.parse().map_err(|_| broken("event"))?,
            by,
            fact,
        })
    })
    .collect()
}

pub(super) fn events(
    connection: &Connection,
    authority: &str,
    after: u64,
    limit: usize,
) -> Result<Vec<Event>, StoreError> {
    read_events(
        connection,
        "SELECT authority, seq, at, appointment, actor, body FROM events WHERE authority = ?1 AND seq > ?2
         ORDER BY seq LIMIT ?3",
        params![authority, to_i64(after), to_i64(limit.min(MAX_EVENTS) as u64)],
    )
}

pub(super) fn history(
    connection: &Connection,
    authority: &str,
    appointment: &AppointmentId,
) -> Result<Vec<Event>, StoreError> {
    read_events(
        connection,
        "SELECT authority, seq, at, appointment, actor, body FROM events WHERE appointment = ?2 AND authority = ?1
         ORDER BY seq",
        params![authority, appointment.as_str()],
    )
}

pub(super) fn last_event(connection: &Connection, authority: &str) -> Result<u64, StoreError> {
    let seq: Option<i64> = connection
        .prepare_cached("SELECT seq FROM counters WHERE authority = ?1")?
        .query_row([authority], |row| row.get(0))
        .optional()?;
    Ok(seq.unwrap_or(0).unsigned_abs())
}

pub(super) fn kept(connection: &Connection, slot: &Digest) -> Result<Option<Kept>, StoreError> {
    let row = connection
        .prepare_cached(
            "SELECT request, appointment, status, body, at FROM kept_answers WHERE slot = ?1",
        )?
        .query_row([slot.as_bytes()], |row| {
            let request: [u8; 32] = row.get(0)?;
            let appointment: String = row.get(1)?;
            Ok((request, appointment, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .optional()?;
    let Some((request, appointment, status, body, at)) = row else {
        return Ok(None);
    };
    Ok(Some(Kept {
        slot: *slot,
        request: Digest::from_bytes(request),
        appointment: appointment.parse().map_err(|_| broken("answer"))?,
        status,
        body,
        at: Timestamp::from_ms(at),
    }))
}

pub(super) fn forget(
    connection: &mut Connection,
    answers_before: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute(
        "DELETE FROM kept_answers WHERE at < ?1",
        [answers_before.ms()],
    )?;
    transaction.execute("DELETE FROM used_tokens WHERE until < ?1", [now.ms()])?;
    transaction.commit()?;
    Ok(())
}

pub(super) fn use_once(
    connection: &Connection,
    token: &Digest,
    until: Timestamp,
) -> Result<bool, StoreError> {
    let written = connection
        .prepare_cached(
            "INSERT INTO used_tokens (digest, until) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        )?
        .execute(params![token.as_bytes(), until.ms()])?;
    Ok(written == 1)
}

pub(super) fn set_retention(
    connection: &Connection,
    authority: &str,
    retention: Retention,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO retentions (authority, days, closes_after_s) VALUES (?1, ?2, ?3)
             ON CONFLICT (authority) DO UPDATE SET days = excluded.days, closes_after_s = excluded.closes_after_s",
        )?
        .execute(params![
            authority,
            retention.days,
            to_i64(retention.closes_after_s)
        ])?;
    Ok(())
}

pub(super) fn retentions(
    connection: &Connection,
) -> Result<BTreeMap<AuthorityId, Retention>, StoreError> {
    let mut found =
        connection.prepare_cached("SELECT authority, days, closes_after_s FROM retentions")?;
    let mut rows = found.query([])?;
    let mut retentions = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let id = AuthorityId::new(&id).map_err(|_| broken("retention"))?;
        let seconds: i64 = row.get(2)?;
        let retention = Retention {
            days: row.get(1)?,
            closes_after_s: seconds.unsigned_abs(),
        };
        retentions.insert(id, retention);
    }
    Ok(retentions)
}

pub(super) fn cursor(
    connection: &Connection,
    authority: &str,
    receiver: &str,
) -> Result<Option<u64>, StoreError> {
    let seq: Option<i64> = connection
        .prepare_cached("SELECT seq FROM cursors WHERE authority = ?1 AND receiver = ?2")?
        .query_row([authority, receiver], |row| row.get(0))
        .optional()?;
    Ok(seq.map(i64::unsigned_abs))
}

pub(super) fn set_cursor(
    connection: &Connection,
    authority: &str,
    receiver: &str,
    seq: u64,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO cursors (authority, receiver, seq) VALUES (?1, ?2, ?3)
             ON CONFLICT (authority, receiver) DO UPDATE SET seq = excluded.seq",
        )?
        .execute(params![authority, receiver, to_i64(seq)])?;
    Ok(())
}
