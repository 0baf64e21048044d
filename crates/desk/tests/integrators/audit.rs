//! The audit log: what happened can be proven, what was erased can't be opened, and neither crashes nor whoever sets something back goes
//! unseen.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schalter_audit::note::VerifyingKey;
use schalter_audit::verify::{self, EpochFiles, Report};
use schalter_audit::{Checkpoint, Epoch, LEAF_BYTES, Leaf, growth, leaves, record};
use schalter_desk::ledger::read_log;
use schalter_desk::store::conformance::creation;
use schalter_model::AuthorityId;
use serde_json::{Value, json};

use crate::api::plan;
use crate::documents::ended;
use crate::office::{
    ARCHIVE_KEY, EVENTS_KEY, KEEP_DAYS, KEY, LOGS, Office, SEED, any_file_holds, signer,
};

const DAY: i64 = 86_400;
const CHILD: &str = "SCHALTER_DESK_TEST_AUDIT_CHILD";
const NEXT_SEED: u8 = 6;

fn own() -> AuthorityId {
    AuthorityId::new("own").unwrap()
}

fn trusted(seed: u8) -> VerifyingKey {
    signer(seed).public().clone()
}

fn logs(folder: &Path) -> PathBuf {
    folder.join(LOGS).join("own")
}

/// What is on the disk, from old to new.
fn files(folder: &Path) -> Vec<EpochFiles> {
    read_log(&logs(folder)).unwrap()
}

fn report(folder: &Path, elsewhere: &[Checkpoint]) -> Report {
    verify::log(
        &files(folder),
        &[trusted(SEED), trusted(NEXT_SEED)],
        elsewhere,
    )
}

fn good(folder: &Path, elsewhere: &[Checkpoint]) -> Report {
    let report = report(folder, elsewhere);
    assert_eq!(report.mismatches, []);
    report
}

fn opened(note: &str) -> Checkpoint {
    Checkpoint::open(note, &[trusted(SEED)]).unwrap().0
}

async fn checkpoint(office: &Office) -> Checkpoint {
    let bearer = format!("Bearer {ARCHIVE_KEY}");
    let auth = [("authorization", bearer.as_str())];
    let answer = office
        .call("GET", "/v1/audit/checkpoint", &auth, None)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    opened(&answer.text)
}

async fn make(office: &Office, external_ref: &str) -> Value {
    let mut plan = plan();
    plan["external_ref"] = json!(external_ref);
    plan["starts_at"] = json!(office.desk.now().plus_s(3_600));
    plan["ends_at"] = json!(office.desk.now().plus_s(7_200));
    let made = office
        .call("POST", "/v1/appointments", &[], Some(plan))
        .await;
    assert_eq!(made.status, 201, "{}", made.text);
    made.json
}

#[tokio::test]
async fn a_record_proves_itself_and_its_document_says_by_what() {
    let office = Office::open();
    let none = office.call("GET", "/v1/audit/checkpoint", &[], None).await;
    assert_eq!(none.problem(), (404, "no-checkpoint".into()));
    let path = format!("{}/record", ended(&office, plan()).await);
    let json = office.call("GET", &path, &[], None).await;
    let reports = record::verify(&json.text, &[trusted(SEED)]).unwrap();
    let events = json.json["events"].as_array().unwrap().len();
    assert_eq!(reports[0].doubts, []);
    assert_eq!((reports[0].proven, events > 5), (events, true));
    let changed = json.text.replace("person.admitted", "person.denied");
    let reports = record::verify(&changed, &[trusted(SEED)]).unwrap();
    assert_eq!(reports[0].doubts.len(), 1, "{:?}", reports[0].doubts);

    let checkpoint = checkpoint(&office).await;
    assert_eq!(checkpoint.origin, "termin.example.org/own/2026-11");
    assert_eq!(reports[0].checkpoints, std::slice::from_ref(&checkpoint));
    good(&office.folder, std::slice::from_ref(&checkpoint));
    let html = [("accept", "text/html")];
    let page = office.call("GET", &path, &html, None).await;
    let line = format!(
        "<p>{events} von {events} Ereignissen sind im Prüfprotokoll <code>{}</code> belegt, mit {} Einträgen und der Wurzel <code>{}</code>",
        checkpoint.origin,
        checkpoint.size,
        STANDARD.encode(checkpoint.root)
    );
    assert!(page.text.contains(&line), "{line}\n{}", page.text);

    let events_only = format!("Bearer {EVENTS_KEY}");
    let auth = [("authorization", events_only.as_str())];
    let answer = office
        .call("GET", "/v1/audit/checkpoint", &auth, None)
        .await;
    assert_eq!(answer.problem(), (403, "scope".into()));
    let archive = format!("Bearer {ARCHIVE_KEY}");
    let auth = [("authorization", archive.as_str())];
    let answer = office.call("GET", "/v1/events", &auth, None).await;
    assert_eq!(answer.problem(), (403, "scope".into()));
    let stats = office.desk.log_stats().unwrap();
    assert_eq!((stats.leaves, stats.behind), (checkpoint.size, 0));
    assert_eq!((stats.broken, stats.failures), (0, 0));
}

#[tokio::test]
async fn erasure_takes_what_opens_the_leaves_and_leaves_the_proof() {
    let office = Office::open();
    let made = make(&office, "case-secret-77").await;
    let record = office
        .call("GET", "/v1/records/case-secret-77", &[], None)
        .await;
    let record = &record.json["records"][0];
    let key = STANDARD
        .decode(record["audit"]["key"].as_str().unwrap())
        .unwrap();
    let before = checkpoint(&office).await;
    assert!(office.holds_bytes(&key), "in the database");
    let log = logs(&office.folder);
    let person = record["events"][0]["data"]["person"]
        .as_str()
        .unwrap_or("per_");
    let id = made["id"].as_str().unwrap();
    for text in [
        id,
        person,
        "apt_",
        "per_",
        "case-secret",
        "Zaphod",
        "Wohngeld",
        "integrator:",
        KEY,
    ] {
        assert!(!any_file_holds(&log, text.as_bytes()), "{text}");
    }
    assert!(!any_file_holds(&log, &key));

    let erased = office
        .call("DELETE", "/v1/records/case-secret-77", &[], None)
        .await;
    assert_eq!(erased.status, 204);
    assert!(!office.holds_bytes(&key), "nowhere");
    let report = good(&office.folder, std::slice::from_ref(&before));
    assert_eq!(report.epochs[0].checkpoint, before, "nothing is gone");
    // Who kept the record can still prove it: that is theirs to erase.
    let kept = record::verify(&record.to_string(), &[trusted(SEED)]).unwrap();
    assert_eq!(kept[0].doubts, []);

    // Erased before its events are in the log: their places are taken all the same.
    let quick = make(&office, "case-quick").await;
    assert_eq!(
        office
            .call("DELETE", "/v1/records/case-quick", &[], None)
            .await
            .status,
        204
    );
    let after = checkpoint(&office).await;
    let told = office.call("GET", "/v1/events", &[], None).await;
    let of_quick = |one: &&Value| one["data"]["appointment"] == quick["id"];
    let more = told.json["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(of_quick)
        .count();
    assert_eq!(after.size, before.size + more as u64);
    good(&office.folder, &[before, after]);
}

#[tokio::test]
async fn what_nobody_signed_is_written_anew_and_what_was_signed_is_not() {
    let office = Office::open();
    make(&office, "case-1").await;
    let before = checkpoint(&office).await;
    let folder = office.folder.clone();
    let path = logs(&folder).join("2026-11/leaves");
    let append = |bytes: &[u8]| {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap();
        file.write_all(bytes).unwrap();
    };
    // A leaf and a half, as a crash may leave them.
    append(&[0x5a; LEAF_BYTES + LEAF_BYTES / 2]);
    // And an epoch that was just begun.
    std::fs::create_dir(logs(&folder).join("2026-12")).unwrap();
    let office = office.restart(SEED);
    assert_eq!(checkpoint(&office).await, before, "the same leaves");
    make(&office, "case-2").await;
    let after = checkpoint(&office).await;
    good(&folder, &[before.clone(), after.clone()]);
    assert_eq!(files(&folder).len(), 1);

    // A byte that was signed: nothing is added to it, nothing is erased, and a record is given without proofs.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[2 * LEAF_BYTES + 20] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let office = office.restart(SEED);
    make(&office, "case-3").await;
    let answer = office.call("GET", "/v1/audit/checkpoint", &[], None).await;
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    let stats = office.desk.log_stats().unwrap();
    assert_eq!(
        (stats.broken, stats.failures > 0, stats.behind > 0),
        (1, true, true)
    );
    let answer = office.call("GET", "/v1/records/case-3", &[], None).await;
    assert_eq!(answer.json["records"][0]["audit"], Value::Null);
    office.pass(40 * DAY);
    office.desk.sweep().await.unwrap();
    let told = office.call("GET", "/v1/events", &[], None).await;
    assert_eq!(told.json["events"][0]["seq"], 1, "held back");

    // Mended by who looks after the server: a copy from before.
    bytes[2 * LEAF_BYTES + 20] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    office.desk.sweep().await.unwrap();
    let told = office.call("GET", "/v1/events", &[], None).await;
    let first = &told.json["events"][0];
    assert!(
        first.is_null() || first["seq"].as_u64() > Some(1),
        "{first}"
    );
    assert_eq!(office.desk.log_stats().unwrap().broken, 0);
    good(&folder, &[before, after]);
}

#[tokio::test]
async fn epochs_end_and_are_deleted_whole() {
    let office = Office::open();
    make(&office, "case-1").await;
    let first = checkpoint(&office).await;
    office.pass(3 * DAY);
    office.desk.sweep().await.unwrap();
    let second = checkpoint(&office).await;
    assert_eq!(second.origin, "termin.example.org/own/2026-12");
    // Nothing happened since: the first leaf alone, which names the epoch before.
    make(&office, "case-2").await;
    let report = good(&office.folder, &[first.clone(), second.clone()]);
    let (old, new) = (&report.epochs[0], &report.epochs[1]);
    assert_eq!(old.next, new.events.map_or(old.next, |(first, _)| first));
    let bytes = &files(&office.folder)[1].leaves;
    let begin = Leaf::from_bytes(leaves(bytes).next().unwrap());
    let former = old.checkpoint.hash();
    assert_eq!(
        begin,
        Ok(Leaf::Begins {
            next: old.next,
            former,
            goes_on: true
        })
    );
    // An appointment of one month whose record goes over two of them.
    office.pass(i64::from(KEEP_DAYS) * DAY - 3 * DAY);
    office.desk.sweep().await.unwrap();
    assert_eq!(files(&office.folder).len(), 3, "not yet");
    office.pass(4 * DAY);
    office.desk.sweep().await.unwrap();
    let epochs: Vec<_> = files(&office.folder)
        .into_iter()
        .map(|one| one.epoch)
        .collect();
    let left: Vec<Epoch> = ["2026-12", "2027-03"]
        .map(|text| text.parse().unwrap())
        .to_vec();
    assert_eq!(epochs, left);
    good(&office.folder, &[second]);
    // Whoever holds a checkpoint of what was deleted is told so.
    let gone = report_of(&office, &[first]);
    assert_eq!(gone.mismatches.len(), 1);
}

fn report_of(office: &Office, elsewhere: &[Checkpoint]) -> Report {
    report(&office.folder, elsewhere)
}

#[tokio::test]
async fn a_record_over_two_epochs_is_proven_in_both() {
    let office = Office::open();
    let made = make(&office, "case-1").await;
    checkpoint(&office).await;
    office.pass(3 * DAY);
    let path = format!("/v1/appointments/{}/cancel", made["id"].as_str().unwrap());
    let any = [("if-match", "*")];
    let cancelled = office.call("POST", &path, &any, None).await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text);
    // Another one under the same reference, with a key of its own.
    make(&office, "case-1").await;
    let record = office.call("GET", "/v1/records/case-1", &[], None).await;
    let reports = record::verify(&record.text, &[trusted(SEED)]).unwrap();
    let told: Vec<_> = reports
        .iter()
        .map(|one| (one.doubts.len(), one.proven > 1, one.checkpoints.len()))
        .collect();
    assert_eq!(told, [(0, true, 2), (0, true, 1)]);
    let key = |n: usize| record.json["records"][n]["audit"]["key"].as_str();
    assert_ne!(key(0), key(1));
}

#[tokio::test]
async fn growth_since_a_checkpoint_is_proven_also_in_an_epoch_that_ended() {
    let office = Office::open();
    make(&office, "case-1").await;
    let kept = [checkpoint(&office).await];
    make(&office, "case-2").await;
    let last = checkpoint(&office).await;
    office.pass(3 * DAY);
    office.desk.sweep().await.unwrap();
    let path = "/v1/audit/checkpoint";
    let since = format!("{path}?epoch=2026-11&old={}", kept[0].size);
    let text = office.call("GET", &since, &[], None).await.text;
    let (old, new) = growth::verify(&text, &[trusted(SEED)], &kept).unwrap();
    assert_eq!((old, &new), (&kept[0], &last));
    for (query, begins) in [
        ("?epoch=2026-11", last.text()),
        ("?epoch=2026-11&old=0", format!("old 0\n\n{}", last.text())),
        ("?old=1", "old 1\n".to_owned()),
    ] {
        let answer = office
            .call("GET", &format!("{path}{query}"), &[], None)
            .await;
        assert!(answer.text.starts_with(&begins), "{query}: {}", answer.text);
    }
    for (query, status) in [
        ("?epoch=2026-10", 404),
        ("?old=99", 404),
        ("?epoch=now", 400),
        ("?old=-1", 400),
        ("?new=1", 400),
    ] {
        let answer = office
            .call("GET", &format!("{path}{query}"), &[], None)
            .await;
        assert_eq!(answer.problem().0, status, "{query}");
    }
}

#[tokio::test]
async fn another_key_begins_another_epoch() {
    let office = Office::open();
    make(&office, "case-1").await;
    let first = checkpoint(&office).await;
    let office = office.restart(NEXT_SEED);
    make(&office, "case-2").await;
    let authority = own();
    office.desk.log_events(&authority).await.unwrap();
    let report = good(&office.folder, &[first]);
    let second = &report.epochs[1];
    assert_eq!(second.checkpoint.origin, "termin.example.org/own/2026-11.2");
    assert!(second.goes_on);
    let old = verify::log(&files(&office.folder), &[trusted(SEED)], &[]);
    assert_eq!(old.mismatches.len(), 1, "signed by the new one");
}

#[tokio::test]
async fn a_log_or_a_store_that_was_set_back_says_so() {
    let office = Office::open();
    make(&office, "case-1").await;
    checkpoint(&office).await;
    let folder = office.folder.clone();
    let early = std::fs::read(folder.join("desk.sqlite")).unwrap();
    let early_log = std::fs::read(folder.join("desk.sqlite-wal")).unwrap();
    make(&office, "case-2").await;
    let kept = checkpoint(&office).await;
    // The database of before, the log of now. In another folder: who has the files open is not done with them at once.
    let restored = folder.with_extension("restored");
    std::fs::create_dir_all(logs(&restored)).unwrap();
    std::fs::write(restored.join("desk.sqlite"), &early).unwrap();
    std::fs::write(restored.join("desk.sqlite-wal"), &early_log).unwrap();
    for epoch in files(&folder) {
        let (from, to) = [&folder, &restored]
            .map(|folder| logs(folder).join(epoch.epoch.to_string()))
            .into();
        std::fs::create_dir(&to).unwrap();
        for file in ["leaves", "checkpoint", "vkey"] {
            std::fs::copy(from.join(file), to.join(file)).unwrap();
        }
    }
    drop(office);
    let (folder, office) = (restored.clone(), Office::open_at(restored));
    make(&office, "case-3").await;
    checkpoint(&office).await;
    let report = good(&folder, std::slice::from_ref(&kept));
    assert_eq!(report.epochs.len(), 2);
    assert!(!report.epochs[1].goes_on, "it begins anew, and says so");
    let record = office.call("GET", "/v1/records/case-3", &[], None).await;
    let proven = record::verify(&record.text, &[trusted(SEED)]).unwrap();
    assert_eq!(proven[0].doubts, [], "the newer of two with one number");

    // The log is gone, the database isn't.
    let office = office.replaced(|folder| std::fs::remove_dir_all(logs(folder)).unwrap());
    make(&office, "case-4").await;
    checkpoint(&office).await;
    let report = report_of(&office, &[kept]);
    assert!(!report.epochs[0].goes_on);
    assert_eq!(report.mismatches.len(), 1, "another tree, or too short");
}

#[tokio::test]
async fn two_servers_do_not_write_one_log() {
    use schalter_desk::ledger::{Ledger, LedgerError, LedgerRules, Period};
    let office = Office::open();
    let rules = LedgerRules {
        period: Period::Month,
        keep_days: 1,
    };
    let second = Ledger::open(&office.folder.join(LOGS), signer(SEED), rules);
    assert!(matches!(second, Err(LedgerError::Locked(_))));
}

/// Not a test of its own: the process that the next one kills. Says each number that is in the log.
#[tokio::test]
async fn child_that_logs_until_it_is_killed() {
    let Ok(path) = std::env::var(CHILD) else {
        return;
    };
    let office = Office::open_at(path.into());
    let authority = own();
    let store = office.desk.store();
    let mut made = creation(&authority, 1, office.desk.now().plus_s(60));
    let id = made.appointment.id.clone();
    if let Some(found) = store.load(&authority, &id).await.unwrap() {
        made.appointment = found;
        made.appointment.version += 1;
    }
    loop {
        let last = store.commit(made.clone()).await.unwrap();
        made.appointment.version += 1;
        if !made.appointment.version.is_multiple_of(3) {
            office.desk.log_events(&authority).await.unwrap();
            println!("logged {last}");
        }
    }
}

#[tokio::test]
async fn a_kill_loses_nothing_and_doubles_nothing() {
    let mut office = Office::open();
    let mut kept: Vec<Checkpoint> = Vec::new();
    let mut most = 0;
    for round in 0..3_u64 {
        let folder = office.folder.clone();
        office.close();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "audit::child_that_logs_until_it_is_killed",
                "--nocapture",
            ])
            .env(CHILD, &folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, said) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let numbers = lines.map_while(Result::ok).filter_map(|line| {
                let number = line.split_once("logged ")?.1.parse::<u64>().ok()?;
                let _ = sender.send(());
                Some(number)
            });
            numbers.fold(0, u64::max)
        });
        said.recv_timeout(Duration::from_secs(30)).unwrap();
        // Then at a moment that has nothing to do with what it does: this waits for nothing, it is the experiment.
        std::thread::sleep(Duration::from_millis(20 + round * 29));
        child.kill().unwrap();
        child.wait().unwrap();
        let logged = reader.join().unwrap();
        assert!(logged > most, "it went on");
        office = Office::open_at(folder);
        let through = office.desk.store().last_event(&own()).await.unwrap();
        kept.push(checkpoint(&office).await);
        let report = good(&office.folder, &kept);
        assert_eq!(report.epochs[0].events, Some((1, through)));
        assert!(through >= logged);
        most = through;
    }
}
