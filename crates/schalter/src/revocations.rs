//! Withdrawn tokens in a file of the state directory, so that a restart forgets none.
//!
//! One JSON object a line, made durable one by one; what was replaced or has ended goes when the file is written anew. A
//! line that a crash cut off is known by its missing end: its revocation was never confirmed. A line that can't be read
//! otherwise keeps the server from starting, since whom it kept out nobody knows any more.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use schalter_durable::{Disk, DiskFile, FILE_MODE, Open, System, replace};
use schalter_model::AuthorityId;
use schalter_signaling::KeptRevocations;
use schalter_signaling::revocation::{Revocation, RevocationStore, Withdrawn};
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::state::StateDir;

/// File in the state directory.
const FILE: &str = "revocations";
/// File that is locked while a server runs, beside it: the other one is replaced when it is written anew.
const LOCK: &str = "revocations.lock";

/// Either `room` and `issued_before`, or `jti` and `until`.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    authority: String,
    identity: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

fn write(revocation: &Revocation) -> io::Result<String> {
    let mut line = Line {
        authority: revocation.authority.to_string(),
        identity: revocation.identity.to_string(),
        ..Line::default()
    };
    match &revocation.withdrawn {
        Withdrawn::IssuedBefore { room, at } => {
            line.room = Some(room.to_string());
            line.issued_before = Some(*at);
        }
        Withdrawn::Token { jti, until } => {
            line.jti = Some(jti.to_string());
            line.until = Some(*until);
        }
    }
    Ok(serde_json::to_string(&line)? + "\n")
}

fn read(line: &str) -> Option<Revocation> {
    let line: Line = serde_json::from_str(line).ok()?;
    let withdrawn = match (line.room, line.issued_before, line.jti, line.until) {
        (Some(room), Some(at), None, None) => Withdrawn::IssuedBefore {
            room: room.into(),
            at,
        },
        (None, None, Some(jti), Some(until)) => Withdrawn::Token {
            jti: jti.into(),
            until,
        },
        _ => return None,
    };
    Some(Revocation {
        authority: AuthorityId::new(&line.authority).ok()?,
        identity: line.identity.into(),
        withdrawn,
    })
}

struct Written {
    file: Box<dyn DiskFile>,
    entries: usize,
    /// Bytes that are whole lines. What a failed write left behind them is cut off before the next.
    len: u64,
}

struct RevocationFile {
    path: PathBuf,
    open: Mutex<Written>,
    /// Held as long as the server runs.
    _lock: File,
}

fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    options.mode(FILE_MODE).open(path)
}

impl RevocationStore for RevocationFile {
    fn append(&self, revocation: &Revocation) -> io::Result<usize> {
        let line = write(revocation)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let len = open.len;
        open.file.cut(len)?;
        open.file.append(line.as_bytes())?;
        open.file.sync()?;
        open.len += line.len() as u64;
        open.entries += 1;
        Ok(open.entries)
    }

    fn rewrite(&self, all: &[Revocation]) -> io::Result<()> {
        let text = all.iter().map(write).collect::<io::Result<String>>()?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let file = replace(&System, &self.path, text.as_bytes())?;
        *open = Written {
            file,
            entries: all.len(),
            len: text.len() as u64,
        };
        Ok(())
    }
}

/// Opens the file and reads what it holds; `None` where there is no state directory that could be written to.
///
/// # Errors
/// Another server has the file, or it can't be read: then the server must not start, since it would let people in who
/// were kept out.
pub(crate) fn open(
    state: impl FnOnce() -> Result<StateDir, Failure>,
) -> Result<Option<KeptRevocations>, Failure> {
    let state = match state() {
        Ok(state) => state,
        Err(_) => return Ok(None),
    };
    let path = state.path_of(FILE);
    let complain = |error: io::Error| Failure::setup(format!("{}: {error}", path.display()));
    let lock = match open_lock(&state.path_of(LOCK)) {
        Ok(lock) => lock,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(complain(error)),
    };
    if lock.try_lock().is_err() {
        return Err(Failure::setup(format!(
            "{}: another server uses it; give each its own state_dir",
            path.display()
        )));
    }
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(complain(error)),
    };
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let mut revocations = Vec::new();
    for (number, line) in text[..whole].lines().enumerate() {
        let revocation = read(line).ok_or_else(|| {
            Failure::setup(format!(
                "{}: line {} can't be read, so nobody knows whose tokens it took back; mend or remove it",
                path.display(),
                number + 1
            ))
        })?;
        revocations.push(revocation);
    }
    let file = System.open(&path, Open::AsItIs);
    let file = file.and_then(|file| {
        // It may be new: what is appended to it is worth nothing without its name.
        System.sync_folder(&state.path_of(""))?;
        Ok(file)
    });
    let open = Written {
        file: file.map_err(complain)?,
        entries: revocations.len(),
        len: whole as u64,
    };
    Ok(Some(KeptRevocations {
        revocations,
        store: Arc::new(RevocationFile {
            path,
            open: Mutex::new(open),
            _lock: lock,
        }),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("schalter-kept-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    fn kept(folder: &Path) -> Result<KeptRevocations, Failure> {
        open(|| StateDir::open(Some(folder))).map(|kept| kept.unwrap())
    }

    fn both() -> [Revocation; 2] {
        let authority = AuthorityId::new("ulm").unwrap();
        let withdrawn = [
            Withdrawn::IssuedBefore {
                room: "hall \"1\"\n".into(),
                at: 7,
            },
            Withdrawn::Token {
                jti: "j\tü".into(),
                until: u64::MAX,
            },
        ];
        withdrawn.map(|withdrawn| Revocation {
            authority: authority.clone(),
            identity: "anna".into(),
            withdrawn,
        })
    }

    #[test]
    fn what_was_confirmed_is_there_again_and_a_line_that_a_crash_cut_off_harms_nothing() {
        let folder = folder("again");
        let first = kept(&folder).unwrap();
        assert_eq!(first.revocations, []);
        for (count, revocation) in both().iter().enumerate() {
            assert_eq!(first.store.append(revocation).unwrap(), count + 1);
        }
        drop(first);
        let path = folder.join(FILE);
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("{\"authority\":\"ulm\",\"ident");
        fs::write(&path, &text).unwrap();
        let second = kept(&folder).unwrap();
        assert_eq!(second.revocations, both());
        second.store.append(&both()[0]).unwrap();
        drop(second);
        let third = kept(&folder).unwrap();
        assert_eq!(third.revocations.len(), 3);
        third.store.rewrite(&both()).unwrap();
        assert_eq!(third.store.append(&both()[1]).unwrap(), 3);
        drop(third);
        assert_eq!(kept(&folder).unwrap().revocations.len(), 3);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_is_in_use_or_unreadable_keeps_the_server_from_starting() {
        let folder = folder("bad");
        let first = kept(&folder).unwrap();
        assert!(
            matches!(kept(&folder), Err(Failure::Setup(text)) if text.contains("another server"))
        );
        drop(first);
        fs::write(folder.join(FILE), "{}\n").unwrap();
        assert!(matches!(kept(&folder), Err(Failure::Setup(text)) if text.contains("line 1")));
        fs::remove_dir_all(folder).unwrap();
    }
}
