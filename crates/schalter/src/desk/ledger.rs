//! The audit log in this binary: where it is, what signs it, and who sees to it that events get there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schalter_audit::note::VerifyingKey;
use schalter_desk::ledger::{Ledger, VKEY_FILE};
use schalter_desk::{Changed, Desk};
use schalter_durable::{System, create, make_folder};
use schalter_model::AuthorityId;
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};

use crate::Failure;
use crate::config::{Audit, signing_key};

/// File with the generated key. Its name can't be an authority's.
const KEY_FILE: &str = "key.pem";

/// Where the logs are: beside the database, whose events they hold, unless another folder is configured.
pub(crate) fn folder_of(audit: &Audit, database: &Path) -> PathBuf {
    let beside = || database.with_extension("audit");
    audit.folder.clone().unwrap_or_else(beside)
}

/// Opens the logs.
pub(super) fn open(audit: &Audit, database: &Path, public_url: &str) -> Result<Ledger, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::setup(format!("desk.audit: {error}"));
    let folder = folder_of(audit, database);
    make_folder(&System, &folder)
        .map_err(|error| failed(&format!("{}: {error}", folder.display())))?;
    let name = match &audit.name {
        Some(name) => name.clone(),
        None => first_name(&folder, public_url),
    };
    let file = match &audit.key_file {
        Some(file) => file.clone(),
        None => {
            let file = folder.join(KEY_FILE);
            make_key(&file).map_err(|error| failed(&format!("{}: {error}", file.display())))?;
            file
        }
    };
    let key = signing_key(&name, &file).map_err(|error| failed(&error))?;
    Ledger::open(&folder, key, audit.rules).map_err(|error| failed(&error))
}

/// The name that the log began with; at its first start where the pages are. An address that changes later changes no name.
fn first_name(folder: &Path, public_url: &str) -> String {
    let kept = std::fs::read_to_string(folder.join(VKEY_FILE)).ok();
    let kept = kept.and_then(|text| text.trim().parse::<VerifyingKey>().ok());
    match kept {
        Some(key) => key.name().to_owned(),
        None => {
            let (_, place) = public_url.split_once("://").unwrap_or(("", public_url));
            let place = place.replace(|c: char| c.is_whitespace() || c == '+', "");
            if place.is_empty() {
                "schalter".to_owned()
            } else {
                place
            }
        }
    }
}

/// Generates a key unless there is one.
fn make_key(path: &Path) -> std::io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let der = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new())
        .map_err(|_| std::io::Error::other("no random numbers"))?;
    let text = STANDARD.encode(der.as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
    // Another start may be faster; then its key is the one.
    create(&System, path, pem.as_bytes()).map(drop)
}

/// Brings every log up to date: before anything new happens, so that a database that was set back is noticed.
pub(super) async fn catch_up(desk: &Desk) {
    for authority in desk.authorities() {
        log(desk, &authority.id).await;
    }
}

/// Logs what happens, as it happens.
pub(super) async fn follow(desk: Arc<Desk>, mut changes: broadcast::Receiver<Changed>) {
    loop {
        let first = match changes.recv().await {
            Ok(change) => change.authority,
            Err(RecvError::Lagged(_)) => {
                catch_up(&desk).await;
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        // What came meanwhile is one batch.
        let mut changed = BTreeSet::from([first]);
        loop {
            match changes.try_recv() {
                Ok(change) => drop(changed.insert(change.authority)),
                Err(TryRecvError::Lagged(_)) => {
                    changed.extend(desk.authorities().iter().map(|one| one.id.clone()));
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        for authority in changed {
            log(&desk, &authority).await;
        }
    }
}

async fn log(desk: &Desk, authority: &AuthorityId) {
    // A log that fails says so itself, once. The desk's sweep tries again.
    if let Err(error) = desk.log_events(authority).await {
        tracing::debug!(%error, "events wait for the audit log");
    }
}
