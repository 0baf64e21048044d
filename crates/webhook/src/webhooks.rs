//! The handle the binary holds: opens the spools, starts a task for each receiver, takes events, counts, stops.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::client::Client;
use crate::config::{Target, WebhookConfig};
use crate::outbox::Outbox;
use crate::receiver::{Receiver, unix_ms};
use crate::spool::{self, Restored, Spool};
use crate::stats::{Counters, DropReason, WebhookStats};
use crate::tasks::Tasks;

/// Events that one receiver's task has not noted yet. A disk that stalls for a moment costs nothing; one that stalls for
/// long must not fill the memory.
const INBOX: usize = 4_096;
/// File in the spools' folder that whoever writes there has locked.
const LOCK: &str = "lock";

/// Something that receivers are told.
#[derive(Clone, Debug)]
pub struct Event {
    /// What events are ordered by.
    pub room: Arc<str>,
    /// JSON without line ends or tabs outside of strings, as serde_json writes it.
    pub body: Arc<str>,
}

/// Vouches for bodies.
pub trait Signer: Send + Sync + 'static {
    /// The value of `Authorization` for a body whose SHA-256, in standard base64, is `sha256`; `None` if the key that signs
    /// is gone. Called for each request, so that what it signs may be short-lived.
    fn sign(&self, sha256: &str) -> Option<String>;
}

/// Why delivery could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The spool's folder or a file in it.
    #[error("{path}: {source}")]
    Spool {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process delivers from this folder.
    #[error("{path}: another server uses these spools")]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// There is a receiver with `https`, and nobody who could vouch for it.
    #[error(
        "there are no certificates that the system trusts: install ca-certificates, or set SSL_CERT_FILE"
    )]
    NoRoots,
}

/// Delivers events to every receiver.
pub struct Webhooks {
    inboxes: Vec<mpsc::Sender<(u64, Event)>>,
    counters: Arc<Counters>,
    tasks: Tasks,
    _lock: File,
}

impl std::fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhooks")
            .field("receivers", &self.inboxes.len())
            .finish_non_exhaustive()
    }
}

impl Webhooks {
    /// Opens the spools and starts delivering, what waited there first.
    ///
    /// # Errors
    /// [`StartError`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(config: WebhookConfig, signer: Arc<dyn Signer>) -> Result<Self, StartError> {
        let folder = config.folder.as_path();
        if config.targets.iter().any(|target| target.tls) && config.roots.is_empty() {
            return Err(StartError::NoRoots);
        }
        spool::make_folder(folder).map_err(|source| at(folder, source))?;
        let lock = lock(&folder.join(LOCK))?;
        let counters = Arc::new(Counters::default());
        let names: Vec<_> = config.targets.iter().map(Target::fingerprint).collect();
        remove_orphans(folder, &names, &counters)?;

        let mut inboxes = Vec::new();
        let tasks = Tasks::new();
        for (index, (target, name)) in config.targets.iter().zip(&names).enumerate() {
            let (spool, restored) = Spool::open(folder, name)
                .map_err(|source| at(&spool::path(folder, name), source))?;
            let Restored {
                waiting,
                unreadable,
            } = restored;
            counters.dropped(DropReason::Unreadable, unreadable);
            if unreadable > 0 {
                tracing::warn!(
                    receiver = index,
                    count = unreadable,
                    "lines of the webhook spool can't be read"
                );
            }
            let client = Client::new(
                target.clone(),
                config.addresses.clone(),
                Arc::clone(&config.roots),
                config.limits.request,
            );
            let (inbox, events) = mpsc::channel(INBOX);
            let receiver = Receiver::new(
                index,
                Outbox::new(config.limits, rand::random()),
                spool,
                client,
                Arc::clone(&signer),
                Arc::clone(&counters),
            );
            tasks.spawn(|closing| receiver.run(waiting, events, closing));
            inboxes.push(inbox);
        }
        Ok(Self {
            inboxes,
            counters,
            tasks,
            _lock: lock,
        })
    }

    /// Takes an event for every receiver. Never waits.
    pub fn tell(&self, event: &Event) {
        let now = unix_ms();
        for inbox in &self.inboxes {
            match inbox.try_send((now, event.clone())) {
                // Closed: the server ends, and rooms have said everything before.
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
                Err(mpsc::error::TrySendError::Full(_)) => {
                    self.counters.dropped(DropReason::Overload, 1);
                }
            }
        }
    }

    /// What was counted until now.
    pub fn stats(&self) -> WebhookStats {
        self.counters.snapshot()
    }

    /// Takes no more events, gives those under way a moment, and leaves what is undelivered in the spools.
    pub async fn shutdown(&self) {
        self.tasks.shutdown().await;
    }
}

fn at(path: &Path, source: io::Error) -> StartError {
    StartError::Spool {
        path: path.to_owned(),
        source,
    }
}

/// Locks the folder for this process; the system unlocks it however the process ends.
fn lock(path: &Path) -> Result<File, StartError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|source| at(path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StartError::InUse {
            path: path.to_owned(),
        }),
        Err(std::fs::TryLockError::Error(source)) => Err(at(path, source)),
    }
}

/// What waits for a receiver that is configured no more must not stay on the disk for ever.
fn remove_orphans(folder: &Path, names: &[String], counters: &Counters) -> Result<(), StartError> {
    let orphans = spool::orphans(folder, names).map_err(|source| at(folder, source))?;
    for (path, waiting) in orphans {
        std::fs::remove_file(&path).map_err(|source| at(&path, source))?;
        counters.dropped(DropReason::Orphaned, waiting);
        tracing::warn!(
            count = waiting,
            "removed the webhook spool of a receiver that is no longer configured"
        );
    }
    Ok(())
}
