//! The audit log of the built server, and the commands that verify it: over a kill, with a copy of the log that was changed in each way, and
//! without the server.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use schalter_desk::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::server::{Scratch, Server};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const LEAF: usize = 41;

fn desk(folder: &Path) -> String {
    let key = folder.join("key");
    std::fs::write(&key, KEY).unwrap();
    format!(
        "desk:\n  database: {}\n  authorities:\n    - {{id: ulm, name: Amt, keys: [{{id: case, secret_file: {}, \
         scopes: ['appointments:read', 'appointments:write', 'audit:read']}}]}}\n",
        folder.join("desk.db").display(),
        key.display()
    )
}

async fn ask(server: &Server, request: &str, body: &str) -> (u16, String) {
    let head = format!(
        "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {KEY}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    server.exchange(&head).await
}

async fn create(server: &Server, external_ref: &str) {
    let starts_at = SystemClock.now().plus_s(3_600);
    let body = json!({
        "external_ref": external_ref, "subject": "Wohngeld", "starts_at": starts_at, "ends_at": starts_at.plus_s(1_800),
        "people": [{"role": "citizen", "name": "Erika Beispiel"}]
    });
    let (status, made) = ask(server, "POST /v1/appointments", &body.to_string()).await;
    assert_eq!(status, 201, "{made}");
}

async fn checkpoint(server: &Server) -> String {
    let (status, note) = ask(server, "GET /v1/audit/checkpoint", "").await;
    assert_eq!(status, 200, "{note}");
    note
}

fn audit(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_schalter"))
        .arg("audit")
        .args(arguments)
        .env_remove("SCHALTER_CONFIG")
        .output()
        .unwrap()
}

/// With which code it ended, and what it said.
fn ended(arguments: &[&str]) -> (i32, String) {
    let output = audit(arguments);
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(said).unwrap(),
    )
}

/// A copy of the log, for changes.
fn copy(log: &Path, to: &Path) -> PathBuf {
    let _ = std::fs::remove_dir_all(to);
    for epoch in std::fs::read_dir(log).unwrap() {
        let epoch = epoch.unwrap();
        let own = to.join(epoch.file_name());
        std::fs::create_dir_all(&own).unwrap();
        for file in std::fs::read_dir(epoch.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), own.join(file.file_name())).unwrap();
        }
    }
    let mut epochs: Vec<_> = std::fs::read_dir(to)
        .unwrap()
        .map(|one| one.unwrap().path())
        .collect();
    epochs.sort();
    epochs.pop().unwrap().join("leaves")
}

#[tokio::test]
async fn what_was_logged_is_verified_from_the_outside_and_each_change_is_found() {
    let files = Scratch::new("audit");
    let config = desk(&files);
    let mut server = Server::start("audited", &config);
    let yaml = server.folder.join("schalter.yaml").display().to_string();
    let (code, said) = ended(&["verify", "--config", &yaml]);
    assert!(
        code == 2 && said.contains("nothing is in the log yet"),
        "{code}: {said}"
    );
    create(&server, "case-1").await;
    create(&server, "case-2").await;
    let first = checkpoint(&server).await;
    server.kill();
    let server_folder = server.folder.clone();
    drop(server);
    let mut server = Server::start("audited", &config);
    assert_eq!(server.folder, server_folder);
    assert_eq!(
        checkpoint(&server).await,
        first,
        "the same name on another port, and the same leaves"
    );
    create(&server, "case-3").await;
    let (_, record) = ask(&server, "GET /v1/records/case-1", "").await;
    let newest = checkpoint(&server).await;
    server
        .until_metric("schalter_desk_audit_behind_events", 0.0)
        .await;
    server.until_metric("schalter_desk_audit_leaves", 7.0).await;
    let (_, grown) = ask(&server, "GET /v1/audit/checkpoint?old=5", "").await;
    let erased = ask(&server, "DELETE /v1/records/case-1", "").await;
    assert_eq!(erased.0, 204);

    // While the server runs.
    let yaml = server.folder.join("schalter.yaml").display().to_string();
    let (code, said) = ended(&["verify", "--config", &yaml]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("7 leaves, events 1 to 6") && said.contains("against itself only"),
        "{said}"
    );
    let (code, printed) = ended(&["checkpoint", "--config", &yaml, "--authority", "ulm"]);
    assert_eq!((code, printed), (0, newest.clone()));
    let (code, vkey) = ended(&["key", "--config", &yaml]);
    let vkey = vkey.trim();
    assert_eq!(code, 0, "{vkey}");
    assert_eq!(server.stop(), Some(0));

    let file = |name: &str, text: &str| {
        let path = files.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let log = files.join("desk.audit/ulm");
    let (kept, late) = (file("kept", &first), file("late", &newest));
    let with = |log: &Path, more: &[&str]| {
        let log = log.display().to_string();
        let own = ["verify", "--log", &log, "--vkey", vkey];
        ended(&[&own, more].concat())
    };
    // The erased appointment's leaves are still there, and whoever has the record can prove it.
    let (code, said) = with(&log, &["--checkpoint", &kept, "--checkpoint", &late]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(said.matches("still has").count(), 2, "{said}");
    let shown = file("record.json", &record);
    let alone = ["verify", "--vkey", vkey, "--record", &shown];
    let (code, said) = ended(&alone);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("2 events are in the log as the record tells them"),
        "{said}"
    );
    assert_eq!(with(&log, &["--record", &shown]).0, 0);

    // Whoever kept the first checkpoint needs no log to see that nothing before it is another.
    let growth = file("grown", &grown);
    let (code, said) = ended(&[
        "verify",
        "--vkey",
        vkey,
        "--checkpoint",
        &kept,
        "--growth",
        &growth,
    ]);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("has only grown, from 5 to 7 leaves"),
        "{said}"
    );
    let (code, said) = ended(&[
        "verify",
        "--vkey",
        vkey,
        "--checkpoint",
        &late,
        "--growth",
        &growth,
    ]);
    assert_eq!(code, 1, "{said}");

    let copied = files.join("copy/ulm");
    let leaves = copy(&log, &copied);
    let good = std::fs::read(&leaves).unwrap();
    let mut edited = good.clone();
    edited[3 * LEAF + 20] ^= 1;
    let deleted = [&good[..2 * LEAF], &good[3 * LEAF..]].concat();
    let swapped = [
        &good[..2 * LEAF],
        &good[3 * LEAF..4 * LEAF],
        &good[2 * LEAF..3 * LEAF],
        &good[4 * LEAF..],
    ]
    .concat();
    let truncated = good[..4 * LEAF].to_vec();
    for (bytes, word) in [
        (edited, "at least one was edited"),
        (deleted, "deleted"),
        (swapped, "another order"),
        (truncated, "truncated"),
    ] {
        std::fs::write(&leaves, bytes).unwrap();
        let (code, said) = with(&copied, &["--checkpoint", &kept]);
        assert_eq!(code, 1, "{word}: {said}");
        assert!(
            said.contains("FAILED") && said.contains(word),
            "{word}: {said}"
        );
    }
    // With the checkpoint of before, which is good by itself: only who kept a later one knows.
    std::fs::write(&leaves, &good[..5 * LEAF]).unwrap();
    std::fs::write(leaves.with_file_name("checkpoint"), &first).unwrap();
    assert_eq!(with(&copied, &["--checkpoint", &kept]).0, 0);
    let (code, said) = with(&copied, &["--checkpoint", &late]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("truncated"), "{said}");

    // A record that was changed, a checkpoint of another log, another key.
    let mut other: Value = serde_json::from_str(&record).unwrap();
    other["records"][0]["events"][0]["timestamp"] = json!("2026-01-01T00:00:00.000Z");
    let forged = file("forged.json", &other.to_string());
    let (code, said) = ended(&["verify", "--vkey", vkey, "--record", &forged]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("it is not in the log as the record tells it"),
        "{said}"
    );
    let text = newest.replace("/ulm/", "/bonn/");
    let (code, said) = with(&log, &["--checkpoint", &file("bonn", &text)]);
    assert_eq!(code, 1, "{said}");
    let strange = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let (code, said) = ended(&[
        "verify",
        "--log",
        &log.display().to_string(),
        "--vkey",
        strange,
    ]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("not signed by PeterNeumann"), "{said}");

    // What can't be looked at at all.
    let text = file("text", "no record");
    for bad in [
        &["verify"][..],
        &["verify", "--record", &shown],
        &["verify", "--vkey", "x", "--record", &shown],
        &["verify", "--vkey", vkey, "--record", &text],
        &["verify", "--vkey", vkey, "--record", "/nonexistent"],
        &["verify", "--vkey", vkey, "--log", "/nonexistent"],
        &[
            "verify",
            "--vkey",
            vkey,
            "--checkpoint",
            &kept,
            "--growth",
            &text,
        ],
        &["key", "--config", "/nonexistent"],
        &["checkpoint", "--config", &yaml, "--authority", "bonn"],
    ] {
        let (code, said) = ended(bad);
        assert_eq!(code, 2, "{bad:?}: {said}");
    }
    // Nothing that names anybody.
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(files.join("desk.audit/key.pem"))
            .unwrap()
            .permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_key_of_ones_own_signs_and_off_is_off() {
    let files = Scratch::new("audit-key");
    let key = files.join("own.pem");
    // RFC 8410 §10.3: its example of a private key.
    let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    std::fs::write(&key, pem).unwrap();
    let audit = format!(
        "  audit: {{name: termin.example.org, key_file: {}}}\n",
        key.display()
    );
    let config = desk(&files).replace("desk:\n", &format!("desk:\n{audit}"));
    let mut server = Server::start("own-key", &config);
    create(&server, "case-1").await;
    let note = checkpoint(&server).await;
    let yaml = server.folder.join("schalter.yaml").display().to_string();
    let (code, vkey) = ended(&["key", "--config", &yaml]);
    assert_eq!(code, 0);
    // The public half, in §10.1 (behind the byte that says what it is).
    assert!(
        vkey.starts_with("termin.example.org+")
            && vkey
                .trim()
                .ends_with("+ARm/RAlphM3+hUG6wWfcO5bIUIaqMLa2ywxcOK1wMWbh"),
        "{vkey}"
    );
    assert!(note.starts_with("termin.example.org/ulm/"), "{note}");
    assert!(!files.join("desk.audit/key.pem").exists());
    assert_eq!(server.stop(), Some(0));
    // A copy of the database's file alone is whole then.
    let log = std::fs::metadata(files.join("desk.db-wal"));
    assert_eq!(log.map_or(0, |log| log.len()), 0);

    let off = desk(&files).replace("desk:\n", "desk:\n  audit: off\n");
    let server = Server::start("audit-off", &off);
    let (status, problem) = ask(&server, "GET /v1/audit/checkpoint", "").await;
    assert_eq!(status, 404, "{problem}");
    let (_, record) = ask(&server, "GET /v1/records/case-1", "").await;
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["records"][0]["audit"], Value::Null);
    let yaml = server.folder.join("schalter.yaml").display().to_string();
    assert_eq!(ended(&["verify", "--config", &yaml]).0, 2);
}
