//! The schema, step by step. A step that was released is never edited; a new one is added.

use rusqlite::{Connection, TransactionBehavior};

/// Each is run once, in order, in a transaction of its own. Types and clauses are such that PostgreSQL has a counterpart of each:
/// TEXT, BIGINT, BYTEA.
const STEPS: &[&str] = &["
CREATE TABLE appointments (
    id TEXT PRIMARY KEY,
    authority TEXT NOT NULL,
    external_ref TEXT,
    starts_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    over_at INTEGER,
    version INTEGER NOT NULL,
    -- The whole appointment as JSON; the columns above repeat what is searched for.
    body TEXT NOT NULL
) STRICT;
CREATE INDEX appointments_by_start ON appointments (authority, starts_at, id);
CREATE INDEX appointments_by_ref ON appointments (authority, external_ref) WHERE external_ref IS NOT NULL;
CREATE INDEX appointments_not_over ON appointments (authority, ends_at) WHERE over_at IS NULL;
CREATE INDEX appointments_over ON appointments (authority, over_at) WHERE over_at IS NOT NULL;

-- Digests of links and sessions.
CREATE TABLE ways (
    digest BLOB PRIMARY KEY,
    appointment TEXT NOT NULL REFERENCES appointments (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX ways_by_appointment ON ways (appointment);

-- The last number given out, which outlives the events themselves.
CREATE TABLE counters (
    authority TEXT PRIMARY KEY,
    seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE events (
    authority TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    appointment TEXT NOT NULL,
    actor TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (authority, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX events_by_appointment ON events (appointment, seq);
CREATE INDEX events_by_time ON events (authority, at);

CREATE TABLE kept_answers (
    slot BLOB PRIMARY KEY,
    request BLOB NOT NULL,
    appointment TEXT NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX kept_answers_by_appointment ON kept_answers (appointment);
CREATE INDEX kept_answers_by_time ON kept_answers (at);

CREATE TABLE used_tokens (
    digest BLOB PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE cursors (
    authority TEXT NOT NULL,
    receiver TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (authority, receiver)
) STRICT, WITHOUT ROWID;
", "
-- What an appointment's leaves in the audit log are opened with; nowhere else, and gone with the appointment.
CREATE TABLE commitment_keys (
    appointment TEXT PRIMARY KEY REFERENCES appointments (id) ON DELETE CASCADE,
    secret BLOB NOT NULL
) STRICT, WITHOUT ROWID;
", "
-- How long what an authority has is kept, as it was last configured: what is stored of one that is no longer configured ends in time, too.
CREATE TABLE retentions (
    authority TEXT PRIMARY KEY,
    days INTEGER NOT NULL,
    closes_after_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"];

/// Brings the schema up to date.
///
/// # Errors
/// What the database says; or that the file was written by a newer server, which must not be touched.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), String> {
    let said = |error: rusqlite::Error| error.to_string();
    connection
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS migrations (step INTEGER PRIMARY KEY, at INTEGER NOT NULL DEFAULT (unixepoch())) STRICT;",
        )
        .map_err(said)?;
    let done: i64 = connection
        .query_row("SELECT count(*) FROM migrations", [], |row| row.get(0))
        .map_err(said)?;
    let done = usize::try_from(done).unwrap_or(0);
    if done > STEPS.len() {
        return Err(format!(
            "the file has {done} migrations, this server knows {}: it was written by a newer one",
            STEPS.len()
        ));
    }
    for (step, sql) in STEPS.iter().enumerate().skip(done) {
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(said)?;
        transaction.execute_batch(sql).map_err(said)?;
        transaction
            .execute(
                "INSERT INTO migrations (step) VALUES (?1)",
                [i64::try_from(step).unwrap_or(i64::MAX)],
            )
            .map_err(said)?;
        transaction.commit().map_err(said)?;
    }
    Ok(())
}
