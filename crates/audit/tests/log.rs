//! Logs and records: good ones verify, and each way in which one can be changed is found.

#![expect(clippy::unwrap_used, reason = "tests")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use schalter_audit::growth::{self, GrowthError};
use schalter_audit::note::{SigningKey, VerifyingKey};
use schalter_audit::record::{self, Doubt, RecordError};
use schalter_audit::tree::{Tree, leaf_hash};
use schalter_audit::verify::{self, EpochFiles, Mismatch, Source, root_of};
use schalter_audit::{Checkpoint, CommitmentKey, Epoch, Hash, LEAF_BYTES, Leaf, Opening, leaves};
use serde_json::{Value, json};

const NAME: &str = "termin.example.org";
const APPOINTMENT: &str = "apt_aaaaaaaaaaaaaaaaaaaaaaaaaa";

fn signer() -> SigningKey {
    SigningKey::from_seed(NAME, &[3; 32]).unwrap()
}

fn trusted() -> [VerifyingKey; 1] {
    [signer().public().clone()]
}

fn key() -> CommitmentKey {
    CommitmentKey::new([9; 32])
}

fn opening(seq: u64) -> Opening<'static> {
    Opening {
        seq,
        at: "2026-11-28T09:00:00.000Z",
        kind: "person.admitted",
        appointment: APPOINTMENT,
        by: "official:o1",
        person: Some("per_aaaaaaaaaaaaaaaaaaaaaaaaaa"),
        role: Some("citizen"),
        notice: None,
        outcome: None,
    }
}

fn sign(epoch: &str, leaves: &[u8]) -> (Checkpoint, String) {
    let size = (leaves.len() / LEAF_BYTES) as u64;
    let checkpoint = Checkpoint {
        origin: format!("{NAME}/ulm/{epoch}"),
        size,
        root: root_of(leaves, size).unwrap(),
    };
    let note = checkpoint.sign(&signer()).unwrap();
    (checkpoint, note)
}

/// An epoch with events from `next` on.
fn epoch(name: &str, former: Hash, next: u64, events: u64) -> (EpochFiles, Checkpoint) {
    let begin = Leaf::Begins {
        next,
        former,
        goes_on: true,
    };
    let mut bytes = begin.to_bytes().to_vec();
    for seq in next..next + events {
        bytes.extend_from_slice(&opening(seq).leaf(&key()).to_bytes());
    }
    let (checkpoint, note) = sign(name, &bytes);
    let epoch: Epoch = name.parse().unwrap();
    (
        EpochFiles {
            epoch,
            leaves: bytes,
            checkpoint: note,
        },
        checkpoint,
    )
}

/// Three epochs, the middle one without an event; and the checkpoint that somebody kept when the last had half of its events.
fn good() -> (Vec<EpochFiles>, Checkpoint) {
    let (first, end) = epoch("2026-10", [0; 32], 1, 5);
    let (second, end) = epoch("2026-11", end.hash(), 6, 0);
    let (third, _) = epoch("2026-12", end.hash(), 6, 8);
    let (kept, _) = sign("2026-12", &third.leaves[..5 * LEAF_BYTES]);
    (vec![first, second, third], kept)
}

fn mismatches(files: &[EpochFiles], kept: &Checkpoint) -> Vec<Mismatch> {
    verify::log(files, &trusted(), std::slice::from_ref(kept)).mismatches
}

/// What somebody does who has the key, too.
fn sign_again(file: &mut EpochFiles) {
    file.checkpoint = sign(&file.epoch.to_string(), &file.leaves).1;
}

fn e(text: &str) -> Epoch {
    text.parse().unwrap()
}

#[test]
fn a_good_log_verifies_also_while_it_grows_and_after_its_first_epochs_are_gone() {
    let (mut files, kept) = good();
    let report = verify::log(&files, &trusted(), std::slice::from_ref(&kept));
    assert_eq!(report.mismatches, []);
    let events: Vec<_> = report.epochs.iter().map(|seen| seen.events).collect();
    assert_eq!(events, [Some((1, 5)), None, Some((6, 13))]);
    let more = opening(14).leaf(&key()).to_bytes();
    files[2].leaves.extend_from_slice(&more);
    files[2].leaves.extend_from_slice(&more[..7]);
    let report = verify::log(&files, &trusted(), std::slice::from_ref(&kept));
    assert_eq!((report.mismatches.len(), report.epochs[2].unsigned), (0, 1));
    files.remove(0);
    assert_eq!(mismatches(&files, &kept), []);
}

#[test]
fn an_edited_byte_is_found_wherever_it_is() {
    let (files, kept) = good();
    for place in 0..files[2].leaves.len() {
        let mut files = files.clone();
        files[2].leaves[place] ^= 1;
        assert!(!mismatches(&files, &kept).is_empty(), "{place}");
    }
    let mut files = files;
    let edited = 3 * LEAF_BYTES + 20;
    files[2].leaves[edited] ^= 1;
    let own = Mismatch::Root(e("2026-12"), 9, Source::Own);
    let elsewhere = Mismatch::Root(e("2026-12"), 5, Source::Elsewhere);
    assert_eq!(mismatches(&files, &kept), [own, elsewhere.clone()]);
    // Signed anew: only who kept a checkpoint finds it.
    sign_again(&mut files[2]);
    assert_eq!(mismatches(&files, &kept), [elsewhere]);
    assert_eq!(verify::log(&files, &trusted(), &[]).mismatches, []);
    // In an epoch that ended, the next one finds it.
    files[0].leaves[edited] ^= 1;
    sign_again(&mut files[0]);
    assert!(mismatches(&files, &kept).contains(&Mismatch::Chain(e("2026-11"))));
}

#[test]
fn deleted_swapped_and_inserted_leaves_are_found() {
    let (files, kept) = good();
    let order = |index, found, due| Mismatch::Order {
        epoch: e("2026-12"),
        index,
        found,
        due,
    };
    let mut deleted = files.clone();
    deleted[2].leaves.drain(2 * LEAF_BYTES..3 * LEAF_BYTES);
    sign_again(&mut deleted[2]);
    assert!(mismatches(&deleted, &kept).contains(&order(2, 8, 7)));
    let mut swapped = files.clone();
    let (one, other) = swapped[2].leaves[2 * LEAF_BYTES..].split_at_mut(LEAF_BYTES);
    one.swap_with_slice(&mut other[..LEAF_BYTES]);
    assert!(mismatches(&swapped, &kept).contains(&order(2, 8, 7)));
    // With the numbers put right, and signed anew.
    swapped[2].leaves[2 * LEAF_BYTES + 8] = 7;
    swapped[2].leaves[3 * LEAF_BYTES + 8] = 8;
    sign_again(&mut swapped[2]);
    let root = Mismatch::Root(e("2026-12"), 5, Source::Elsewhere);
    assert_eq!(mismatches(&swapped, &kept), [root]);
    let mut twice = files.clone();
    let leaf = twice[2].leaves[2 * LEAF_BYTES..3 * LEAF_BYTES].to_vec();
    twice[2].leaves.extend_from_slice(&leaf);
    sign_again(&mut twice[2]);
    assert!(mismatches(&twice, &kept).contains(&order(9, 7, 14)));
    let mut kinds = files;
    kinds[2].leaves[2 * LEAF_BYTES] = 1;
    assert!(mismatches(&kinds, &kept).contains(&Mismatch::Kind(e("2026-12"), 2)));
    kinds[2].leaves[2 * LEAF_BYTES] = 77;
    let found = mismatches(&kinds, &kept);
    assert!(matches!(&found[0], Mismatch::Leaf(_, 2, error) if error.0 == 77));
}

#[test]
fn a_truncated_log_is_found() {
    let (files, kept) = good();
    let short = |there, signed| Mismatch::Short {
        epoch: e("2026-12"),
        there,
        signed,
    };
    let mut cut = files.clone();
    cut[2].leaves.truncate(4 * LEAF_BYTES);
    assert_eq!(mismatches(&cut, &kept), [short(4, 9), short(4, 5)]);
    sign_again(&mut cut[2]);
    assert_eq!(mismatches(&cut, &kept), [short(4, 5)]);
    // Whole epochs.
    let gone = Mismatch::Gone(kept.origin.clone());
    assert_eq!(mismatches(&files[..2], &kept), std::slice::from_ref(&gone));
    assert_eq!(mismatches(&[], &kept), [Mismatch::Empty, gone]);
    let holed = [files[0].clone(), files[2].clone()];
    assert_eq!(mismatches(&holed, &kept), [Mismatch::Chain(e("2026-12"))]);
    let mut longer = files.clone();
    longer[0].leaves.push(0);
    assert_eq!(mismatches(&longer, &kept), [Mismatch::Long(e("2026-10"))]);
}

#[test]
fn another_key_and_another_log_are_found() {
    let (files, mut kept) = good();
    let other = SigningKey::from_seed(NAME, &[4; 32]).unwrap();
    let report = verify::log(&files, &[other.public().clone()], &[]);
    assert_eq!(report.mismatches.len(), 3);
    assert!(matches!(report.mismatches[0], Mismatch::Checkpoint(..)));
    kept.origin = format!("{NAME}/bonn/2026-12");
    assert_eq!(
        mismatches(&files, &kept),
        [Mismatch::Gone(kept.origin.clone())]
    );
    let (mut files, kept) = good();
    files[1].checkpoint = files[0].checkpoint.clone();
    let strange = Mismatch::Strange(e("2026-11"), format!("{NAME}/ulm/2026-10"));
    assert!(mismatches(&files, &kept).contains(&strange));
}

#[test]
fn growth_is_proven_without_the_log_and_another_past_is_found() {
    let (files, kept) = good();
    let tree = Tree::of(leaves(&files[2].leaves).map(|leaf| leaf_hash(leaf)));
    let proof = tree.consistency(5, 9).unwrap();
    let text = growth::write(5, &proof, &files[2].checkpoint);
    let kept = [kept];
    let (old, new) = growth::verify(&text, &trusted(), &kept).unwrap();
    assert_eq!((old.size, new.size), (5, 9));
    let told =
        |text: &str, kept: &[Checkpoint]| growth::verify(text, &trusted(), kept).unwrap_err();
    let mut other = kept[0].clone();
    other.root[0] ^= 1;
    assert!(matches!(
        told(&text, &[other]),
        GrowthError::Inconsistent { old: 5, new: 9, .. }
    ));
    assert!(matches!(told(&text, &[]), GrowthError::Unknown(_, 5)));
    let shorter = growth::write(5, &proof[1..], &files[2].checkpoint);
    assert!(matches!(
        told(&shorter, &kept),
        GrowthError::Inconsistent { .. }
    ));
    let unsigned = text.replace("2026-12", "2026-11");
    assert!(matches!(told(&unsigned, &kept), GrowthError::Checkpoint(_)));
    for bad in [
        "",
        "old 5\n",
        "old 05\n\nx\n",
        "new 5\n\nx\n",
        "old 5\nAAAA\n\nx\n",
    ] {
        assert!(
            matches!(told(bad, &kept), GrowthError::Malformed(_)),
            "{bad}"
        );
    }
}

#[test]
fn numbers_that_do_not_go_on_are_said() {
    let (first, end) = epoch("2026-10", [0; 32], 1, 5);
    let (mut second, _) = epoch("2026-11", end.hash(), 9, 2);
    let gap = Mismatch::Gap {
        epoch: e("2026-11"),
        found: 9,
        due: 6,
    };
    let files = [first.clone(), second.clone()];
    assert_eq!(verify::log(&files, &trusted(), &[]).mismatches, [gap]);
    second.leaves[0] = 2;
    sign_again(&mut second);
    let report = verify::log(&[first, second], &trusted(), &[]);
    assert_eq!(report.mismatches, []);
    assert!(report.epochs[0].goes_on && !report.epochs[1].goes_on);
}

/// A record of the last epoch's first two events.
fn exported() -> Value {
    let (files, _) = good();
    let tree = Tree::of(leaves(&files[2].leaves).map(|leaf| leaf_hash(leaf)));
    let event = |seq: u64, index: usize| {
        let of = opening(seq);
        let proof = tree.inclusion(index, 9).unwrap();
        let proof: Vec<_> = proof.iter().map(|hash| STANDARD.encode(hash)).collect();
        json!({
            "id": format!("evt_{seq}"), "seq": seq, "type": of.kind, "timestamp": of.at,
            "data": {"appointment": of.appointment, "by": of.by, "person": of.person, "role": of.role},
            "audit": {"epoch": "2026-12", "index": index, "proof": proof},
        })
    };
    json!({
        "appointment": {"id": APPOINTMENT, "subject": "Wohngeld"},
        "events": [event(6, 1), event(7, 2)],
        "audit": {"key": STANDARD.encode([9; 32]), "checkpoints": [files[2].checkpoint]},
    })
}

fn doubts(record: &Value) -> Vec<Doubt> {
    let reports = record::verify(&record.to_string(), &trusted()).unwrap();
    reports[0].doubts.clone()
}

#[test]
fn a_record_is_proven_without_the_log() {
    let record = exported();
    let reports = record::verify(&record.to_string(), &trusted()).unwrap();
    assert_eq!((reports[0].proven, reports[0].doubts.len()), (2, 0));
    assert_eq!(reports[0].checkpoints[0].size, 9);
    let several = json!({"records": [record, exported()]}).to_string();
    assert_eq!(record::verify(&several, &trusted()).unwrap().len(), 2);
}

#[test]
fn whatever_is_changed_in_a_record_is_found() {
    let record = exported();
    let texts = [
        "/events/0/type",
        "/events/0/timestamp",
        "/events/0/data/by",
        "/events/0/data/person",
        "/events/0/data/role",
    ];
    for place in texts {
        let mut other = record.clone();
        *other.pointer_mut(place).unwrap() = json!("something else");
        assert_eq!(doubts(&other), [Doubt::NotIncluded(6)], "{place}");
    }
    let mut other = record.clone();
    other["events"][0]["data"]["notice"] = json!("");
    assert_eq!(doubts(&other), [Doubt::NotIncluded(6)], "one more member");
    let mut other = record.clone();
    other["events"][0]["data"]["role"] = Value::Null;
    assert_eq!(doubts(&other), [Doubt::NotIncluded(6)], "one member less");
    let mut other = record.clone();
    other["events"][0]["data"]["appointment"] = json!("apt_b");
    assert_eq!(doubts(&other), [Doubt::Strange(6)]);
    let mut other = record.clone();
    other["events"][0]["audit"]["index"] = json!(2);
    assert_eq!(doubts(&other), [Doubt::NotIncluded(6)]);
    let mut other = record.clone();
    other["events"].as_array_mut().unwrap().swap(0, 1);
    assert_eq!(doubts(&other), [Doubt::Order(6)]);
    let mut other = record.clone();
    other["events"][0].as_object_mut().unwrap().remove("audit");
    assert_eq!(doubts(&other), [Doubt::NoProof(6)]);
    let mut other = record.clone();
    other["audit"]["key"] = json!(STANDARD.encode([8; 32]));
    assert_eq!(
        doubts(&other),
        [Doubt::NotIncluded(6), Doubt::NotIncluded(7)]
    );
    let mut other = record.clone();
    other["audit"]["checkpoints"] = json!([]);
    assert_eq!(doubts(&other)[0], Doubt::NoCheckpoint(6, e("2026-12")));
    let mut other = record.clone();
    other.as_object_mut().unwrap().remove("audit");
    assert_eq!(doubts(&other), [Doubt::Nothing]);
    let stranger = SigningKey::from_seed(NAME, &[4; 32]).unwrap();
    let reports = record::verify(&record.to_string(), &[stranger.public().clone()]);
    assert!(matches!(
        reports.unwrap()[0].doubts[0],
        Doubt::Checkpoint(_)
    ));
}

#[test]
fn what_is_no_record_is_said_to_be_none() {
    let mut short = exported();
    short["audit"]["key"] = json!("AAAA");
    let mut epoch = exported();
    epoch["events"][0]["audit"]["epoch"] = json!("now");
    let mut more = exported();
    more["events"][0]["data"]["name"] = json!("unproven");
    for bad in [
        "",
        "[]",
        "{}",
        &short.to_string(),
        &epoch.to_string(),
        &more.to_string(),
    ] {
        let result = record::verify(bad, &trusted());
        assert!(matches!(result, Err(RecordError::Malformed(_))), "{bad}");
    }
}

/// Bytes with one piece in another's place.
fn changed(bytes: &[u8], at: usize, piece: &[u8], gone: usize) -> Vec<u8> {
    let at = at % (bytes.len() + 1);
    let end = (at + gone).min(bytes.len());
    [&bytes[..at], piece, &bytes[end..]].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_is_in_a_file_panics_nothing_and_proves_nothing(
        at: usize, piece in proptest::collection::vec(any::<u8>(), 0..12), gone in 0_usize..12
    ) {
        let (files, kept) = good();
        let kept = [kept];
        let whole = files[2].clone();
        let change = |bytes: &[u8]| changed(bytes, at, &piece, gone);
        let text = |text: &str| String::from_utf8_lossy(&change(text.as_bytes())).into_owned();

        let mut log = files.clone();
        log[2].leaves = change(&whole.leaves);
        // What comes behind the signed leaves of the newest epoch is not looked at yet.
        let touched = !log[2].leaves.starts_with(&whole.leaves);
        let report = verify::log(&log, &trusted(), &kept);
        prop_assert_eq!(report.mismatches.is_empty(), !touched);
        let mut log = files.clone();
        log[2].checkpoint = text(&whole.checkpoint);
        let same = log[2].checkpoint == whole.checkpoint;
        prop_assert!(same || !verify::log(&log, &trusted(), &[]).mismatches.is_empty());

        let tree = Tree::of(leaves(&whole.leaves).map(|leaf| leaf_hash(leaf)));
        let grown = growth::write(5, &tree.consistency(5, 9).unwrap(), &whole.checkpoint);
        let other = text(&grown);
        prop_assert!(other == grown || growth::verify(&other, &trusted(), &kept).is_err());

        let json = exported().to_string();
        if let Ok(reports) = record::verify(&text(&json), &trusted()) {
            let good = reports.iter().all(|one| one.doubts.is_empty() && one.proven == 2);
            // Members that nothing reads may be anything.
            let events = |json: &str| serde_json::from_str::<Value>(json).map(|value| {
                let event = |n: usize| value["events"][n].clone();
                [event(0)["timestamp"].clone(), event(0)["type"].clone(), event(0)["data"].clone(), event(1)["data"].clone()]
            });
            prop_assert!(!good || events(&text(&json)).unwrap() == events(&json).unwrap());
        }
    }
}
