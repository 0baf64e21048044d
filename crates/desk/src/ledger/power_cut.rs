//! The power is cut after any call to the disk, with anything left of what was not synced: the log starts, has every event that the store
//! has, and contradicts no checkpoint that anybody was told.
//!
//! The store is one that has what it answered (that is SQLite's own affair, with `synchronous = FULL`), so that hundreds of starts take no
//! longer than a few of the real one.

mod paper;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use schalter_audit::note::SigningKey;
use schalter_audit::{
    Checkpoint, CommitmentKey, Hash, LEAF_BYTES, Leaf, Opening, growth, leaves, verify,
};
use schalter_model::AuthorityId;
use schalter_testkit::{Files, Left, Random, SimDisk, seeds};

use paper::{Paper, Stored};

use super::proofs::snapshots;
use super::{Ledger, LedgerRules, Period, Wanted, read_log};
use crate::domain::{
    AppointmentId, Authority, EndToEnd, Event, Help, Links, Notice, NoticeKind, TimeZone, Timestamp,
};
use crate::seats::{Grants, SeatAnswer, SeatToken, Seats};
use crate::{Actor, Caller, Clock, Desk, SystemRandom};

/// Of the office whose log it is.
const OFFICE: &str = "own";
/// Ways that each power cut is tried in: everything is left, nothing is, and any of it.
const WAYS: u64 = 6;
/// How many of them have a second power cut while the first is got over.
const AGAIN: f64 = 0.3;
/// 2026-11-28T09:00:00Z.
const NOW_MS: i64 = 1_795_856_400_000;
const HOUR_MS: i64 = 3_600_000;

#[derive(Clone, Copy)]
struct Still(Timestamp);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.0
    }
}

struct Nobody;

impl Seats for Nobody {
    fn token<'a>(
        &'a self,
        _: &'a AuthorityId,
        _: &'a AppointmentId,
        _: &'a str,
        _: &'a str,
        _: Grants,
    ) -> SeatAnswer<'a, SeatToken> {
        Box::pin(async { Err(crate::seats::SeatError("not in this test".to_owned())) })
    }
    fn dismiss<'a>(
        &'a self,
        _: &'a AuthorityId,
        _: &'a AppointmentId,
        _: &'a str,
    ) -> SeatAnswer<'a, ()> {
        Box::pin(async { Ok(()) })
    }
    fn close<'a>(&'a self, _: &'a AuthorityId, _: &'a AppointmentId) -> SeatAnswer<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

fn own() -> AuthorityId {
    AuthorityId::new(OFFICE).unwrap()
}

fn signer() -> SigningKey {
    SigningKey::from_seed("termin.example.org", &[5; 32]).unwrap()
}

fn opened(note: &str) -> Checkpoint {
    Checkpoint::open(note, &[signer().public().clone()])
        .unwrap()
        .0
}

fn at(hours: i64) -> Timestamp {
    Timestamp::from_ms(NOW_MS + hours * HOUR_MS)
}

/// What was signed, and what of it somebody was told, with the disk's calls until then.
#[derive(Clone, Default)]
struct Signed {
    roots: BTreeMap<(String, u64), (usize, Hash)>,
    told: Vec<(usize, Checkpoint)>,
}

impl Signed {
    fn sign(&mut self, calls: usize, checkpoint: &Checkpoint) {
        let leaves = (checkpoint.origin.clone(), checkpoint.size);
        let signed = (calls, checkpoint.root);
        let (_, root) = *self.roots.entry(leaves).or_insert(signed);
        assert_eq!(root, checkpoint.root, "signed twice: {}", checkpoint.origin);
    }

    fn tell(&mut self, calls: usize, note: &str) {
        let checkpoint = opened(note);
        self.sign(calls, &checkpoint);
        if self.told.last().is_none_or(|(_, last)| *last != checkpoint) {
            self.told.push((calls, checkpoint));
        }
    }
}

/// Whether somebody reads the log while it is written, beside whoever asks once a change is in it.
#[derive(Clone, Copy, Debug)]
enum Reader {
    Nobody,
    Always,
    NowAndThen,
}

/// A server with its log.
struct Server {
    disk: SimDisk,
    store: Paper,
    desk: Desk,
    signed: Arc<Mutex<Signed>>,
    root: PathBuf,
}

impl Server {
    /// Starts it over what is in a folder and in its store, as the binary does.
    async fn start(
        root: &Path,
        stored: Stored,
        now: Timestamp,
        signed: Signed,
        reader: Reader,
    ) -> Self {
        let disk = SimDisk::new(root);
        let signed = Arc::new(Mutex::new(signed));
        watch(&disk, root, &signed, reader);
        let rules = LedgerRules {
            period: Period::Day,
            keep_days: 3,
        };
        let folder = root.join("log");
        let ledger = Ledger::open_on(Arc::new(disk.clone()), &folder, signer(), rules).unwrap();
        let store = Paper::new(stored, &disk);
        let authority = Authority {
            id: own(),
            name: "Bürgeramt".to_owned(),
            time_zone: TimeZone::new("Europe/Berlin").unwrap(),
            help: Help::default(),
            retention_days: 1,
            opens_before_s: Authority::OPENS_BEFORE_S,
            closes_after_s: Authority::CLOSES_AFTER_S,
            notice: Notice {
                kind: NoticeKind::Notice,
                title: String::new(),
                text: String::new(),
                details: String::new(),
            },
            notices: BTreeMap::new(),
            outcomes: Vec::new(),
            languages: Vec::new(),
            links: Links::default(),
            colours: BTreeMap::new(),
            end_to_end: EndToEnd::default(),
        };
        let desk = Desk::new(
            Arc::new(store.clone()),
            Arc::new(Nobody),
            Arc::new(Still(now)),
            Arc::new(SystemRandom::default()),
            BTreeMap::from([(own(), Arc::new(authority))]),
        )
        .with_ledger(ledger);
        let server = Self {
            disk,
            store,
            desk,
            signed,
            root: root.to_owned(),
        };
        server.desk.log_events(&own()).await.unwrap();
        server.desk.sweep().await.unwrap();
        server
    }

    /// Something happens, this many hours after the first moment, and somebody asks for a checkpoint of it.
    async fn happens(&self, hours: &[i64]) {
        hours.iter().for_each(|hour| self.store.happens(at(*hour)));
        self.desk.log_events(&own()).await.unwrap();
        let note = self.desk.checkpoint(&caller(), Wanted::default()).await;
        let note = note.unwrap().unwrap();
        self.signed.lock().unwrap().tell(self.disk.calls(), &note);
    }

    /// Looks at everything that was signed, told to somebody or not. What was erased is random, and nothing until somebody was told.
    fn look(&self) {
        if !self.store.now().erased.is_empty() {
            return;
        }
        let mut signed = self.signed.lock().unwrap();
        let trusted = [signer().public().clone()];
        for (calls, bytes) in self.disk.written() {
            let note = String::from_utf8(bytes).ok();
            let note = note.and_then(|note| Checkpoint::open(&note, &trusted).ok());
            if let Some((checkpoint, _)) = note {
                signed.sign(calls, &checkpoint);
            }
        }
    }

    /// The log has all events, each under its appointment's key, and everything that anybody was told.
    async fn is_right(&self) {
        self.look();
        let stats = self.desk.log_stats().unwrap();
        assert_eq!((stats.broken, stats.behind, stats.failures), (0, 0, 0));
        let files = read_log(&self.root.join("log").join(OFFICE)).unwrap();
        let oldest = files.first().map(|file| file.epoch.clone());
        let told = self.signed.lock().unwrap().told.clone();
        let told = told.into_iter().map(|(_, checkpoint)| checkpoint);
        // What was kept long enough is gone, with what was said of it.
        let told: Vec<_> = told
            .filter(|it| {
                let origin: schalter_audit::Origin = it.origin.parse().unwrap();
                oldest.as_ref().is_none_or(|oldest| origin.epoch >= *oldest)
            })
            .collect();
        let stored = self.store.now();
        if stored.events.is_empty() && told.is_empty() {
            return;
        }
        let report = verify::log(&files, &[signer().public().clone()], &told);
        assert_eq!(report.mismatches, []);
        let told_so = report
            .epochs
            .iter()
            .all(|epoch| epoch.goes_on && epoch.unsigned == 0);
        assert!(told_so, "a power cut is no restore: {report:?}");
        for one in &told {
            let origin: schalter_audit::Origin = one.origin.parse().unwrap();
            let wanted = Wanted {
                epoch: Some(origin.epoch),
                old: Some(one.size),
            };
            let grown = self.desk.checkpoint(&caller(), wanted).await;
            let grown = grown.unwrap().unwrap();
            let trusted = [signer().public().clone()];
            growth::verify(&grown, &trusted, std::slice::from_ref(one)).unwrap();
        }
        let all: Vec<_> = files.iter().flat_map(|file| leaves(&file.leaves)).collect();
        let first = all.iter().find_map(|leaf| match Leaf::from_bytes(leaf) {
            Ok(Leaf::Begins { next, .. }) => Some(next),
            Ok(Leaf::Event { .. }) | Err(_) => None,
        });
        for event in stored
            .events
            .iter()
            .filter(|event| Some(event.seq) >= first)
        {
            let Some(key) = stored.keys.get(&event.appointment) else {
                assert!(stored.erased.contains(&event.appointment));
                continue;
            };
            let leaf = commitment(event, key);
            let there = all.iter().filter(|there| ***there == leaf).count();
            assert_eq!(there, 1, "event {}", event.seq);
        }
    }
}

fn caller() -> Caller {
    Caller {
        authority: own(),
        actor: Actor::Integrator {
            key: "archive".to_owned(),
        },
    }
}

fn commitment(event: &Event, key: &CommitmentKey) -> [u8; LEAF_BYTES] {
    let at = event.at.to_string();
    let opening = Opening {
        seq: event.seq,
        at: &at,
        kind: event.fact.kind.label(),
        appointment: event.appointment.as_str(),
        by: &event.by,
        person: None,
        role: None,
        notice: None,
        outcome: None,
    };
    opening.leaf(key).to_bytes()
}

/// Now and then tells somebody who looks on.
fn watch(disk: &SimDisk, root: &Path, signed: &Arc<Mutex<Signed>>, reader: Reader) {
    let folder = root.join("log").join(OFFICE);
    let (own, signed) = (disk.clone(), Arc::clone(signed));
    let mut random = Random::new(11);
    disk.watch(move || {
        let reads = match reader {
            Reader::Nobody => false,
            Reader::Always => true,
            Reader::NowAndThen => random.below(3) == 0,
        };
        if reads && let Some(newest) = snapshots(&own, &folder).unwrap().last() {
            signed.lock().unwrap().tell(own.calls(), &newest.note);
        }
    });
}

/// Cuts the power when a server's disk had had so many calls; answers what the store has then, and what was signed and told.
fn cut(server: &Server, calls: usize) -> (Vec<Stored>, Signed) {
    let mut signed = server.signed.lock().unwrap().clone();
    // What came later never came; after the next start the rest is from before it.
    signed.told.retain(|(until, _)| *until <= calls);
    signed.told.iter_mut().for_each(|(until, _)| *until = 0);
    signed.roots.retain(|_, (until, _)| *until <= calls);
    signed.roots.values_mut().for_each(|(until, _)| *until = 0);
    (server.store.after(calls), signed)
}

/// A folder that is gone when the test is.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn survives(reader: Reader, erased: &[u8]) {
    let name = format!("desk-power-{}-{reader:?}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    let first = folder.0.join("first");
    Files::default().write(&first);
    let start = Server::start(
        &first,
        Stored {
            erased: erased
                .iter()
                .map(|n| AppointmentId::from_random([*n; 16]))
                .collect(),
            ..Stored::default()
        },
        at(100),
        Signed::default(),
        reader,
    );
    let server = start.await;
    // A day, the same day again, the next one within one batch, a day on which nothing happens, and the end of what is kept.
    for hours in [&[0, 1][..], &[2], &[3, 20], &[70, 71]] {
        server.happens(hours).await;
    }
    server.desk.sweep().await.unwrap();
    server.happens(&[101]).await;
    server.is_right().await;
    let calls = server.disk.calls();
    // The same files are worth another try where more was told.
    let mut tried: BTreeMap<(Files, usize), Vec<Stored>> = BTreeMap::new();
    let mut random = Random::new(seeds(WAYS).end);
    for at_call in 0..=calls {
        let broken = server.disk.cut(at_call);
        let (stored, signed) = cut(&server, at_call);
        for way in seeds(WAYS) {
            let files = broken.files(&mut match way {
                0 => Left::All,
                1 => Left::Nothing,
                _ => Left::Any(random.fork(way)),
            });
            for stored in &stored {
                let known = tried.entry((files.clone(), signed.told.len())).or_default();
                if known.contains(stored) {
                    continue;
                }
                known.push(stored.clone());
                println!("{reader:?}, after {at_call} of {calls} calls, way {way}");
                again(
                    &folder.0,
                    &files,
                    stored.clone(),
                    signed.clone(),
                    &mut random,
                )
                .await;
            }
        }
        random.next();
    }
    let tried: usize = tried.values().map(Vec::len).sum();
    assert!(tried > calls / 3, "{tried} ways to be cut in {calls} calls");
}

/// Starts over what a power cut left, goes on, and perhaps has the power cut once more meanwhile.
async fn again(folder: &Path, files: &Files, stored: Stored, signed: Signed, random: &mut Random) {
    let root = folder.join("again");
    files.write(&root);
    let start = Server::start(&root, stored, at(102), signed, Reader::Nobody);
    let second = start.await;
    second.is_right().await;
    second.happens(&[102]).await;
    second.is_right().await;
    if !random.chance(AGAIN) {
        return;
    }
    let calls = random.below(second.disk.calls() as u64 + 1) as usize;
    let (stored, signed) = cut(&second, calls);
    let files = second.disk.after(calls, &mut Left::Any(random.fork(0)));
    let root = folder.join("third");
    files.write(&root);
    let stored = stored.into_iter().next_back().unwrap();
    let start = Server::start(&root, stored, at(103), signed, Reader::Nobody);
    let third = start.await;
    third.is_right().await;
    third.happens(&[103]).await;
    third.is_right().await;
}

#[tokio::test]
async fn a_power_cut_takes_nothing_that_anybody_was_told() {
    survives(Reader::Nobody, &[]).await;
}

#[tokio::test]
async fn nor_what_was_read_while_it_was_written() {
    survives(Reader::Always, &[0]).await;
    survives(Reader::NowAndThen, &[0]).await;
}
