//! The demo: one office with one official, made for who starts the server for the first time or writes `desk: demo`. On the loopback only.
//!
//! Its database is a file of its own that ends with the process.

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

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
const FOLDER_BYTES: usize = 9;

/// A folder that ends with this value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Result<Self, Failure> {
        let path =
            std::env::temp_dir().join(format!("schalter-demo-{}", random_secret(FOLDER_BYTES)));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| Failure::setup(format!("{}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is cleaned up with the other temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Puts the demo's database into a folder of its own.
pub(crate) fn at(desk: &mut Desk, folder: &Folder) {
    desk.database = Some(folder.0.join("desk.db"));
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
