//! One SQLite file. One thread writes, so that writers never wait for each other's locks; some read, from the log as it was
//! when they began.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use schalter_audit::CommitmentKey;
use schalter_model::AuthorityId;

use super::threads::Threads;
use super::{Commit, Filter, Kept, Store, StoreAnswer, StoreError, migrations, statements};
use crate::domain::{Appointment, AppointmentId, Digest, Event, Retention, Timestamp};

/// Threads that read: a day list that is computed must not delay an admission.
const READERS: usize = 2;
/// Pages of 4 KiB in the log until it is written back.
const LOG_PAGES: i64 = 1_000;
/// Longest wait for another connection's lock: the checkpoint's for readers, which take milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Prepared statements that each connection keeps: all there are.
const STATEMENTS: usize = 64;

/// A file with everything.
pub struct SqliteStore {
    writer: Threads,
    readers: Threads,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqliteStore")
    }
}

impl SqliteStore {
    /// Opens the file, makes it if there is none, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Failed`] with what the database says.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        protect(path)?;
        let mut writer = connect(path)?;
        migrations::migrate(&mut writer).map_err(StoreError::Failed)?;
        let readers = (0..READERS)
            .map(|_| connect(path))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            writer: Threads::start("desk-writer", vec![writer])?,
            readers: Threads::start("desk-reader", readers)?,
        })
    }
}

/// Makes the file readable for its owner only, before there is anything in it; log and index take over its mode.
fn protect(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt;
    let made = std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StoreError::Failed(error.to_string())),
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(LOCK_WAIT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // FULL: what was acknowledged outlives a power cut, not only a crash of the process.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "secure_delete", "ON")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    // Without a limit the log keeps its largest size, with old pages in its tail.
    connection.pragma_update(None, "journal_size_limit", 0)?;
    Ok(connection)
}

impl Store for SqliteStore {
    fn load<'a>(
        &'a self,
        authority: &'a AuthorityId,
        id: &'a AppointmentId,
    ) -> StoreAnswer<'a, Option<Appointment>> {
        let (authority, id) = (authority.clone(), id.clone());
        self.readers
            .run(move |connection| statements::load(connection, authority.as_str(), &id))
    }

    fn find<'a>(&'a self, digest: &'a Digest) -> StoreAnswer<'a, Option<Appointment>> {
        let digest = *digest;
        self.readers
            .run(move |connection| statements::find(connection, &digest))
    }

    fn list<'a>(
        &'a self,
        authority: &'a AuthorityId,
        filter: Filter,
    ) -> StoreAnswer<'a, Vec<Appointment>> {
        let authority = authority.clone();
        self.readers
            .run(move |connection| statements::list(connection, authority.as_str(), &filter))
    }

    fn overdue<'a>(
        &'a self,
        authority: &'a AuthorityId,
        ends_before: Timestamp,
    ) -> StoreAnswer<'a, Vec<Appointment>> {
        let authority = authority.clone();
        self.readers
            .run(move |connection| statements::overdue(connection, authority.as_str(), ends_before))
    }

    fn commit(&self, commit: Commit) -> StoreAnswer<'_, u64> {
        self.writer
            .run(move |connection| statements::commit(connection, &commit))
    }

    fn erase<'a>(
        &'a self,
        authority: &'a AuthorityId,
        ids: Vec<AppointmentId>,
    ) -> StoreAnswer<'a, usize> {
        let authority = authority.clone();
        self.writer
            .run(move |connection| statements::erase(connection, authority.as_str(), &ids))
    }

    fn purge<'a>(
        &'a self,
        authority: &'a AuthorityId,
        before: Timestamp,
        through: u64,
    ) -> StoreAnswer<'a, Vec<AppointmentId>> {
        let authority = authority.clone();
        self.writer.run(move |connection| {
            statements::purge(connection, authority.as_str(), before, through)
        })
    }

    fn commitment_keys<'a>(
        &'a self,
        authority: &'a AuthorityId,
        fresh: BTreeMap<AppointmentId, CommitmentKey>,
    ) -> StoreAnswer<'a, BTreeMap<AppointmentId, CommitmentKey>> {
        let authority = authority.clone();
        self.writer.run(move |connection| {
            statements::commitment_keys(connection, authority.as_str(), fresh)
        })
    }

    fn events<'a>(
        &'a self,
        authority: &'a AuthorityId,
        after: u64,
        limit: usize,
    ) -> StoreAnswer<'a, Vec<Event>> {
        let authority = authority.clone();
        self.readers
            .run(move |connection| statements::events(connection, authority.as_str(), after, limit))
    }

    fn history<'a>(
        &'a self,
        authority: &'a AuthorityId,
        appointment: &'a AppointmentId,
    ) -> StoreAnswer<'a, Vec<Event>> {
        let (authority, id) = (authority.clone(), appointment.clone());
        self.readers
            .run(move |connection| statements::history(connection, authority.as_str(), &id))
    }

    fn last_event<'a>(&'a self, authority: &'a AuthorityId) -> StoreAnswer<'a, u64> {
        let authority = authority.clone();
        self.readers
            .run(move |connection| statements::last_event(connection, authority.as_str()))
    }

    fn kept<'a>(&'a self, slot: &'a Digest) -> StoreAnswer<'a, Option<Kept>> {
        let slot = *slot;
        self.readers
            .run(move |connection| statements::kept(connection, &slot))
    }

    fn forget(&self, answers_before: Timestamp, now: Timestamp) -> StoreAnswer<'_, ()> {
        self.writer
            .run(move |connection| statements::forget(connection, answers_before, now))
    }

    fn use_once<'a>(&'a self, token: &'a Digest, until: Timestamp) -> StoreAnswer<'a, bool> {
        let token = *token;
        self.writer
            .run(move |connection| statements::use_once(connection, &token, until))
    }

    fn set_retention<'a>(
        &'a self,
        authority: &'a AuthorityId,
        retention: Retention,
    ) -> StoreAnswer<'a, ()> {
        let authority = authority.clone();
        self.writer.run(move |connection| {
            statements::set_retention(connection, authority.as_str(), retention)
        })
    }

    fn retentions(&self) -> StoreAnswer<'_, BTreeMap<AuthorityId, Retention>> {
        self.readers
            .run(|connection| statements::retentions(connection))
    }

    fn cursor<'a>(
        &'a self,
        authority: &'a AuthorityId,
        receiver: &'a str,
    ) -> StoreAnswer<'a, Option<u64>> {
        let (authority, receiver) = (authority.clone(), receiver.to_owned());
        self.readers
            .run(move |connection| statements::cursor(connection, authority.as_str(), &receiver))
    }

    fn set_cursor<'a>(
        &'a self,
        authority: &'a AuthorityId,
        receiver: &'a str,
        seq: u64,
    ) -> StoreAnswer<'a, ()> {
        let (authority, receiver) = (authority.clone(), receiver.to_owned());
        self.writer.run(move |connection| {
            statements::set_cursor(connection, authority.as_str(), &receiver, seq)
        })
    }
    fn finish(&self) -> StoreAnswer<'_, ()> {
        self.writer
            .run(|connection| statements::empty_log(connection))
    }
}
