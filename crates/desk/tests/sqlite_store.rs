//! The SQLite store: held against the conformance suite, against crashes, and against whoever reads its file.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use schalter_desk::domain::{AppointmentId, Timestamp};
use schalter_desk::store::conformance::{conforms, creation};
use schalter_desk::store::{SqliteStore, Store};
use schalter_model::AuthorityId;

const NOW: Timestamp = Timestamp::from_ms(1_795_856_400_000);
const CHILD: &str = "SCHALTER_DESK_TEST_CHILD";

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("desk-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("desk.sqlite")
    }

    fn holds(&self, text: &str) -> bool {
        std::fs::read_dir(&self.0).unwrap().any(|entry| {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            bytes.windows(text.len()).any(|w| w == text.as_bytes())
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn authority() -> AuthorityId {
    AuthorityId::new("own").unwrap()
}

#[tokio::test]
async fn sqlite_conforms() {
    let folder = Folder::new("conforms");
    conforms(&SqliteStore::open(&folder.file()).unwrap()).await;
}

#[tokio::test]
async fn what_is_stored_is_there_after_a_restart() {
    let folder = Folder::new("restart");
    let store = SqliteStore::open(&folder.file()).unwrap();
    store.commit(creation(&authority(), 1, NOW)).await.unwrap();
    drop(store);
    let store = SqliteStore::open(&folder.file()).unwrap();
    let id = AppointmentId::from_random([1; 16]);
    assert!(store.load(&authority(), &id).await.unwrap().is_some());
}

#[tokio::test]
async fn the_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("mode");
    let store = SqliteStore::open(&folder.file()).unwrap();
    store.commit(creation(&authority(), 1, NOW)).await.unwrap();
    for entry in std::fs::read_dir(&folder.0).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test]
async fn after_erasure_no_file_holds_the_name() {
    let folder = Folder::new("erasure");
    let store = SqliteStore::open(&folder.file()).unwrap();
    for n in 0..60 {
        let starts_at = NOW.plus_s(u64::from(n) * 60);
        let mut commit = creation(&authority(), n, starts_at);
        store.commit(commit.clone()).await.unwrap();
        // Rewritten as in life, so that old pages have had every chance to keep it.
        for version in 2..5 {
            commit.appointment.version = version;
            commit.facts.clear();
            store.commit(commit.clone()).await.unwrap();
        }
    }
    assert!(folder.holds("Zaphod Musterfrau 33"));
    let half: Vec<_> = (0..60)
        .filter(|n| n % 2 == 1)
        .map(|n| AppointmentId::from_random([n; 16]))
        .collect();
    assert_eq!(store.erase(&authority(), half).await, Ok(30));
    for n in (1..60).step_by(2) {
        assert!(!folder.holds(&format!("Zaphod Musterfrau {n}\"")), "{n}");
    }
    assert!(folder.holds("Zaphod Musterfrau 32\""), "others stay");
}

/// Not a test of its own: the process that the next one kills. Says the number of each change once it is acknowledged.
#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    let Ok(path) = std::env::var(CHILD) else {
        return;
    };
    let store = SqliteStore::open(&PathBuf::from(path)).unwrap();
    let id = AppointmentId::from_random([1; 16]);
    let found = store.load(&authority(), &id).await.unwrap();
    let mut commit = creation(&authority(), 1, NOW);
    if let Some(found) = found {
        commit.appointment = found;
        commit.appointment.version += 1;
    }
    loop {
        store.commit(commit.clone()).await.unwrap();
        println!("acknowledged {}", commit.appointment.version);
        commit.appointment.version += 1;
    }
}

#[tokio::test]
async fn a_kill_loses_no_acknowledged_change() {
    let folder = Folder::new("kill");
    let mut before = 0;
    for round in 0..8_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "child_that_writes_until_it_is_killed",
                "--nocapture",
            ])
            .env(CHILD, folder.file())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn(move || {
            let last = |last: u64, line: std::io::Result<String>| {
                let line = line.unwrap_or_default();
                // A line that the kill cut short says nothing.
                line.split_once("acknowledged ")
                    .and_then(|(_, n)| n.parse().ok())
                    .map_or(last, |n: u64| n.max(last))
            };
            lines.fold(0, last)
        });
        // At a moment that has nothing to do with what it does: this waits for nothing, it is the experiment.
        std::thread::sleep(Duration::from_millis(150 + round * 37));
        child.kill().unwrap();
        child.wait().unwrap();
        let acknowledged = reader.join().unwrap().max(before);
        let store = SqliteStore::open(&folder.file()).unwrap();
        let id = AppointmentId::from_random([1; 16]);
        let found = store.load(&authority(), &id).await.unwrap();
        let stored = found.map_or(0, |one| one.version);
        // The last line may have been cut, or not have been said any more.
        assert!(stored >= acknowledged, "{stored} < {acknowledged}");
        let events = store.last_event(&authority()).await.unwrap();
        assert_eq!(events, stored * 2, "events are stored with their change");
        before = stored;
    }
    assert!(before > 20, "only {before} changes were made at all");
}
