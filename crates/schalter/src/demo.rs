//! The demo: one office with one official, made for who starts the server for the first time or writes `desk: demo`. On the loopback only.
//!
//! Its database is a file of its own that ends with the process. One that was killed leaves it to the next to remove.

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use schalter_desk::domain::{Name, Needs, Role, Subject, TimeZone, When};
use schalter_desk::http::wire::join_url;
use schalter_desk::login::{DemoOfficial, Official};
use schalter_desk::{Partner, PersonInput};
use schalter_model::AuthorityId;

use crate::Failure;
use crate::config::{Desk, Office};
use crate::desk::Running;
use crate::say;
use crate::state::random_secret;

const AUTHORITY: &str = "demo";
const OFFICE: &str = "Amt für Beispiele";
const OFFICIAL: (&str, &str) = ("dilek", "Dilek Muster");
const CITIZEN: &str = "Erika Beispiel";
const SUBJECT: &str = "Beratung zum Ausprobieren";
/// Seconds that the appointment lasts: a working day, in which nobody has to start again.
const LASTS_S: u64 = 8 * 3_600;
/// What the names of demos' folders begin with.
const PREFIX: &str = "schalter-demo-";
const FOLDER_BYTES: usize = 9;
/// Times that a folder is made. Another start takes one away only in the moment before it is locked.
const TRIES: usize = 5;

/// A folder that ends with this value, or, if the process was killed, with the next demo's start.
pub(crate) struct Folder {
    path: PathBuf,
    // Locked: who could lock it, too, knows that nobody uses the folder. The system unlocks it however the process ends.
    _lock: File,
}

impl Folder {
    /// Makes one beside other temporary files, and removes those of demos that were killed.
    pub(crate) fn new() -> Result<Self, Failure> {
        Self::within(&std::env::temp_dir())
    }

    fn within(parent: &Path) -> Result<Self, Failure> {
        remove_stale(parent);
        let mut result = Err(Failure::setup("the demo's folder is removed by others"));
        for _ in 0..TRIES {
            let path = parent.join(format!("{PREFIX}{}", random_secret(FOLDER_BYTES)));
            result = Self::make(&path)
                .map_err(|error| Failure::setup(format!("{}: {error}", path.display())));
            if result.is_ok() {
                break;
            }
        }
        result
    }

    fn make(path: &Path) -> std::io::Result<Self> {
        std::fs::DirBuilder::new().mode(0o700).create(path)?;
        let lock = File::open(path)?;
        lock.try_lock()?;
        // Another demo's start may have taken it for stale in between.
        let still_there = std::fs::symlink_metadata(path)?;
        if still_there.ino() != lock.metadata()?.ino() {
            return Err(std::io::ErrorKind::NotFound.into());
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is removed by the next.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Removes folders of ours that nobody has locked. What can't be removed stays: it is in nobody's way.
fn remove_stale(parent: &Path) {
    let own = rustix::process::geteuid().as_raw();
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes())
        {
            continue;
        }
        let path = entry.path();
        // Not by a symbolic link: it may lead anywhere.
        let ours = std::fs::symlink_metadata(&path)
            .is_ok_and(|found| found.is_dir() && found.uid() == own);
        if ours
            && let Ok(lock) = File::open(&path)
            && lock.try_lock().is_ok()
        {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

/// Puts the demo's database into a folder of its own.
pub(crate) fn at(desk: &mut Desk, folder: &Folder) {
    desk.database = Some(folder.path.join("desk.db"));
}

/// The demo's office.
pub(crate) fn office() -> Office {
    let id = AuthorityId::new(AUTHORITY).expect("the id is a plain word");
    let zone = TimeZone::new("Europe/Berlin").expect("the zone is in the binary's own database");
    let mut office = Office::new(id, OFFICE, zone);
    let (id, name) = OFFICIAL;
    office.logins.demo.push(DemoOfficial {
        id: id.to_owned(),
        name: name.to_owned(),
    });
    office
}

/// Makes the demo's appointment and prints its two links.
pub(crate) async fn greet(running: &Running) -> Result<(), Failure> {
    let office = office();
    let (id, name) = OFFICIAL;
    let official = Official::new(id, name, None).expect("the constants above are an official");
    let caller = official.caller(&office.id);
    let words = "the constants above are short lines";
    let subject = Subject::new(SUBJECT).expect(words);
    let starts_at = running.desk.now();
    let when = When {
        starts_at,
        ends_at: starts_at.plus_s(LASTS_S),
    };
    let citizen = PersonInput {
        role: Role::Citizen,
        name: Name::new(CITIZEN).expect(words),
        needs: Needs::default(),
        language: None,
        linked_to: Partner::Nobody,
    };
    let done = running
        .desk
        .create(&caller, (None, subject, when), vec![citizen], None)
        .await
        .map_err(Failure::setup)?;
    let Some((_, token)) = done.links.first() else {
        return Err(Failure::setup("the demo's appointment has no link"));
    };
    let citizen = join_url(&running.public_url, Role::Citizen, token);
    say("\nOpen these two links, in two windows:\n");
    say(&format!("  {CITIZEN} has an appointment:\n  {citizen}\n"));
    say(&format!(
        "  {name} works at the {OFFICE}:\n  {}/amt\n",
        running.public_url
    ));
    say(
        "This office is made up and ends with the server. For real use, set `desk` in a configuration file.",
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_demo_left_is_removed_by_the_next_and_nothing_else_is() {
        let parent = std::env::temp_dir().join(format!("schalter-stale-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&parent);
        let stale = parent.join("schalter-demo-abc");
        std::fs::create_dir_all(&stale).unwrap();
        std::fs::write(stale.join("desk.db"), "Erika").unwrap();
        let other = parent.join("schalter-other");
        std::fs::create_dir_all(&other).unwrap();
        let linked = parent.join("schalter-demo-link");
        std::os::unix::fs::symlink(&other, &linked).unwrap();
        let first = Folder::within(&parent).unwrap();
        assert!(!stale.exists());
        let second = Folder::within(&parent).unwrap();
        assert!(first.path.exists(), "it is in use");
        assert!(other.exists() && linked.exists());
        let mode = std::fs::metadata(&second.path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o700);
        let paths = [first.path.clone(), second.path.clone()];
        drop((first, second));
        assert!(paths.iter().all(|path| !path.exists()));
        std::fs::remove_dir_all(&parent).unwrap();
    }
}
