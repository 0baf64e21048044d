//! The spool of one receiver: a file of notes, appended as events come and go, written anew when most of it is history.
//!
//! One line a note, fields between tabs: `put`, sequence, milliseconds since 1970, room as a JSON string, body as JSON;
//! or `done` and a sequence. JSON has neither tabs nor line ends outside of strings that serde_json wrote, and escapes them
//! inside, so a line that a crash cut off is known by its missing end and harms no other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use schalter_durable::{DiskFile, System};

use crate::outbox::{Note, Sequence, Waiting};

/// First line of every spool.
const HEADER: &str = "schalter-webhook-spool 1\n";
/// History that is not worth writing a file anew for.
const HISTORY: u64 = 256 * 1024;
/// How the files' names end.
const EXTENSION: &str = "spool";

/// What a spool held when it was opened.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// What waits, the oldest first.
    pub(crate) waiting: Vec<Waiting>,
    /// Lines that could not be read.
    pub(crate) unreadable: u64,
}

/// The file.
#[derive(Debug)]
pub(crate) struct Spool {
    path: PathBuf,
    file: Option<Box<dyn DiskFile>>,
    len: u64,
}

/// Makes the folder that spools are in, for nobody else to read.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    schalter_durable::make_folder(&System, folder)
}

/// Where the spool called `name` is.
pub(crate) fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(name).with_extension(EXTENSION)
}

/// Spools in `folder` other than those called in `names`, each with the number of events that wait in it.
pub(crate) fn orphans(folder: &Path, names: &[String]) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_spool = path.extension().is_some_and(|ext| ext == EXTENSION);
        let known = path
            .file_stem()
            .is_some_and(|stem| names.iter().any(|name| stem == name.as_str()));
        if is_spool && !known {
            let waiting = read(&path)?.waiting.len() as u64;
            found.push((path, waiting));
        }
    }
    Ok(found)
}

impl Spool {
    /// Opens the spool called `name`, and tells what it held. The caller writes it anew before anything else, so that
    /// what a crash left behind is gone.
    pub(crate) fn open(folder: &Path, name: &str) -> io::Result<(Self, Restored)> {
        let path = path(folder, name);
        let restored = read(&path)?;
        let spool = Self {
            path,
            file: None,
            len: 0,
        };
        Ok((spool, restored))
    }

    /// Whether the file holds so much history that it should be written anew. `waiting` is the bytes of what waits.
    pub(crate) fn is_mostly_history(&self, waiting: u64) -> bool {
        self.file.is_none() || self.len > waiting.saturating_mul(2).saturating_add(HISTORY)
    }

    /// Whether the file is there to append to.
    pub(crate) fn is_written(&self) -> bool {
        self.file.is_some()
    }

    /// Appends notes and waits until they are on the disk.
    pub(crate) fn append(&mut self, notes: &[Note]) -> io::Result<()> {
        let text = lines(notes);
        let file = self
            .file
            .as_mut()
            .ok_or_else(|| io::Error::other("the spool was not written yet"))?;
        let written = file.append(text.as_bytes()).and_then(|()| file.sync());
        if written.is_err() {
            // Half a line may be there: only a new file is right again.
            self.file = None;
        }
        self.len += text.len() as u64;
        written
    }

    /// Writes the file anew. A crash leaves the old or the new one.
    pub(crate) fn rewrite(&mut self, all: &[Note]) -> io::Result<()> {
        self.file = None;
        let text = HEADER.to_owned() + &lines(all);
        let file = schalter_durable::replace(&System, &self.path, text.as_bytes())?;
        self.len = text.len() as u64;
        self.file = Some(file);
        Ok(())
    }
}

fn lines(notes: &[Note]) -> String {
    let mut text = String::new();
    for note in notes {
        // Writing to a string can't fail.
        let _ = match note {
            Note::Put(sequence, event) => {
                let room = serde_json::Value::from(&*event.room);
                let (at, body) = (event.unix_ms, &event.body);
                writeln!(text, "put\t{sequence}\t{at}\t{room}\t{body}")
            }
            Note::Done(sequence) => writeln!(text, "done\t{sequence}"),
        };
    }
    text
}

fn read(path: &Path) -> io::Result<Restored> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Restored::default()),
        Err(error) => return Err(error),
    };
    let Some(notes) = bytes.strip_prefix(HEADER.as_bytes()) else {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            "no spool of this version; move the file away",
        ));
    };
    Ok(restore(notes))
}

fn restore(notes: &[u8]) -> Restored {
    let mut waiting: BTreeMap<Sequence, Waiting> = BTreeMap::new();
    let mut unreadable = 0;
    // A last line without an end was cut off before its event could count as noted.
    let whole = notes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    for line in notes[..whole].split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        match parse(line) {
            Some(Note::Put(sequence, event)) => {
                waiting.insert(sequence, event);
            }
            Some(Note::Done(sequence)) => {
                waiting.remove(&sequence);
            }
            None => unreadable += 1,
        }
    }
    Restored {
        waiting: waiting.into_values().collect(),
        unreadable,
    }
}

fn parse(line: &[u8]) -> Option<Note> {
    let line = std::str::from_utf8(line).ok()?;
    let mut fields = line.splitn(5, '\t');
    let (kind, sequence) = (fields.next()?, fields.next()?.parse().ok()?);
    match kind {
        "put" => {
            let unix_ms = fields.next()?.parse().ok()?;
            let room: String = serde_json::from_str(fields.next()?).ok()?;
            let body = fields.next()?;
            serde_json::from_str::<serde::de::IgnoredAny>(body).ok()?;
            let event = Waiting {
                room: room.into(),
                body: body.into(),
                unix_ms,
            };
            Some(Note::Put(sequence, event))
        }
        "done" if fields.next().is_none() => Some(Note::Done(sequence)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A folder that is gone when the test is.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("schalter-spool-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            make_folder(&path).unwrap();
            Self(path)
        }

        fn text(&self) -> String {
            fs::read_to_string(self.0.join("x.spool")).unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn put(sequence: Sequence, room: &str, body: &str) -> Note {
        let event = Waiting {
            room: room.into(),
            body: body.into(),
            unix_ms: 1_800_000_000_123,
        };
        Note::Put(sequence, event)
    }

    fn bodies(restored: &Restored) -> Vec<&str> {
        restored.waiting.iter().map(|event| &*event.body).collect()
    }

    #[test]
    fn what_was_not_done_is_there_after_a_restart_in_its_order() {
        let folder = Folder::new("restart");
        let (mut spool, restored) = Spool::open(&folder.0, "x").unwrap();
        assert!(restored.waiting.is_empty());
        spool.rewrite(&[]).unwrap();
        let awkward = "a\tb\n\"ü\u{2028}";
        spool.append(&[put(1, awkward, r#"{"a":"\t\n"}"#)]).unwrap();
        spool
            .append(&[put(2, "b", "{}"), Note::Done(2), put(10, "b", "[1]")])
            .unwrap();
        drop(spool);
        let (_, restored) = Spool::open(&folder.0, "x").unwrap();
        assert_eq!(bodies(&restored), [r#"{"a":"\t\n"}"#, "[1]"]);
        assert_eq!(&*restored.waiting[0].room, awkward);
        assert_eq!(restored.waiting[0].unix_ms, 1_800_000_000_123);
        assert_eq!(restored.unreadable, 0);
    }

    #[test]
    fn a_line_that_a_crash_cut_off_harms_no_other() {
        let folder = Folder::new("torn");
        let (mut spool, _) = Spool::open(&folder.0, "x").unwrap();
        spool.rewrite(&[]).unwrap();
        spool.append(&[put(1, "a", r#"{"a":1}"#)]).unwrap();
        let whole = folder.text();
        spool.append(&[put(2, "a", r#"{"a":2}"#)]).unwrap();
        let longer = folder.text();
        for end in whole.len()..longer.len() {
            fs::write(folder.0.join("x.spool"), &longer[..end]).unwrap();
            let (_, restored) = Spool::open(&folder.0, "x").unwrap();
            assert_eq!(bodies(&restored), [r#"{"a":1}"#], "cut at {end}");
        }
        fs::write(
            folder.0.join("x.spool"),
            longer.replace("put\t1", "p\0t\t1"),
        )
        .unwrap();
        let (_, restored) = Spool::open(&folder.0, "x").unwrap();
        assert_eq!(bodies(&restored), [r#"{"a":2}"#]);
        assert_eq!(restored.unreadable, 1);
    }

    #[test]
    fn history_is_dropped_when_it_is_most_of_the_file() {
        let folder = Folder::new("history");
        let (mut spool, _) = Spool::open(&folder.0, "x").unwrap();
        assert!(spool.is_mostly_history(0), "a new one must be written");
        spool.rewrite(&[]).unwrap();
        let body = format!("\"{}\"", "x".repeat(1_000));
        let mut appended = 0;
        while !spool.is_mostly_history(0) {
            spool
                .append(&[put(appended, "a", &body), Note::Done(appended)])
                .unwrap();
            appended += 1;
            assert!(appended < 1_000, "never");
        }
        assert!(folder.text().len() > 256 * 1024);
        spool.rewrite(&[put(7, "a", "{}")]).unwrap();
        assert!(folder.text().len() < 100);
        spool.append(&[Note::Done(7)]).unwrap();
        let (_, restored) = Spool::open(&folder.0, "x").unwrap();
        assert!(restored.waiting.is_empty());
    }

    #[test]
    fn nobody_else_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = Folder::new("mode");
        let (mut spool, _) = Spool::open(&folder.0, "x").unwrap();
        spool.rewrite(&[]).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder.0), 0o700);
        assert_eq!(mode(&folder.0.join("x.spool")), 0o600);
    }

    #[test]
    fn spools_of_receivers_that_are_gone_are_found() {
        let folder = Folder::new("orphans");
        for name in ["x", "y"] {
            let (mut spool, _) = Spool::open(&folder.0, name).unwrap();
            spool.rewrite(&[put(1, "a", "{}")]).unwrap();
        }
        let found = orphans(&folder.0, &["x".to_owned()]).unwrap();
        assert_eq!(found, [(folder.0.join("y.spool"), 1)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// What a disk gives back may be anything, and whatever is read can be written again.
        #[test]
        fn any_bytes_are_lines_or_counted(
            lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..5),
            cuts in prop::collection::vec((0_usize..80, any::<u8>()), 0..4),
        ) {
            let mut bytes = super::lines(&[put(3, "r\t", r#"{"a":"b"}"#), Note::Done(1)]).into_bytes();
            for (at, byte) in cuts {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            for line in &lines {
                bytes.extend(line);
                bytes.push(b'\n');
            }
            let restored = restore(&bytes);
            let notes: Vec<_> = (0..).zip(restored.waiting.iter().cloned()).map(|(n, event)| Note::Put(n, event)).collect();
            let again = restore(super::lines(&notes).as_bytes());
            prop_assert_eq!(again.unreadable, 0);
            prop_assert_eq!(bodies(&again), bodies(&restored));
        }
    }

    #[test]
    fn a_file_that_is_no_spool_is_left_alone() {
        let folder = Folder::new("other");
        fs::write(folder.0.join("x.spool"), "something else\n").unwrap();
        assert!(Spool::open(&folder.0, "x").is_err());
        assert_eq!(folder.text(), "something else\n");
    }
}
