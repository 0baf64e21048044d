//! Whatever fails and whenever the power is cut, a file is the old one or the new one.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use schalter_durable::{Disk, System, create, make_folder, replace};
use schalter_testkit::{Left, Random, SimDisk};

const OLD: &[u8] = b"old, and longer than the other";
const NEW: &[u8] = b"new";

/// A folder that is gone when the test is.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("durable-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn nobody_else_can_read_what_was_made() {
    let folder = Folder::new("mode");
    let own = folder.0.join("a/b");
    make_folder(&System, &own).unwrap();
    make_folder(&System, &own).unwrap();
    drop(replace(&System, &own.join("replaced"), NEW).unwrap());
    assert!(create(&System, &own.join("created"), NEW).unwrap());
    for name in ["replaced", "created"] {
        assert_eq!(mode(&own.join(name)), 0o600, "{name}");
    }
    for name in ["a", "a/b"] {
        assert_eq!(mode(&folder.0.join(name)), 0o700, "{name}");
    }
    let file = own.join("replaced");
    assert!(make_folder(&System, &file).is_err(), "a file is no folder");
    assert!(make_folder(&System, &file.join("c")).is_err());
}

#[test]
fn what_was_replaced_is_appended_to() {
    let folder = Folder::new("append");
    let path = folder.0.join("x.spool");
    drop(replace(&System, &path, OLD).unwrap());
    let mut file = replace(&System, &path, NEW).unwrap();
    file.append(b"er").unwrap();
    file.sync().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"newer");
    file.cut(3).unwrap();
    file.append(b"!").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new!");
    assert_eq!(folder.names(), ["x.spool"]);
}

#[test]
fn a_call_that_fails_leaves_the_old_file_and_nothing_beside() {
    let folder = Folder::new("fails");
    let path = folder.0.join("file");
    for call in 0.. {
        fs::write(&path, OLD).unwrap();
        let disk = SimDisk::new(&folder.0);
        disk.fail_in(call);
        let failed = replace(&disk, &path, NEW).is_err();
        assert_eq!(folder.names(), ["file"], "call {call}");
        // Open, append, sync, rename; after that it is the new one, which is told to be unsure until its folder is synced.
        let whole = if call < 4 { OLD } else { NEW };
        assert_eq!(fs::read(&path).unwrap(), whole, "call {call}");
        assert_eq!(failed, call < 5, "call {call}");
        if !failed {
            break;
        }
    }
    fs::remove_file(&path).unwrap();
    for call in 0..4 {
        let disk = SimDisk::new(&folder.0);
        disk.fail_in(call);
        assert!(create(&disk, &path, NEW).is_err(), "call {call}");
        assert_eq!(folder.names(), [] as [&str; 0], "call {call}");
    }
}

#[test]
fn what_was_left_beside_by_a_killed_process_is_taken_by_the_next_write() {
    let folder = Folder::new("beside");
    let path = folder.0.join("file");
    fs::write(folder.0.join("file.new"), OLD).unwrap();
    drop(replace(&System, &path, NEW).unwrap());
    assert_eq!(fs::read(&path).unwrap(), NEW);
    assert_eq!(folder.names(), ["file"]);
}

#[test]
fn of_many_that_create_a_file_one_is_first_and_all_find_its_own() {
    let folder = Folder::new("first");
    let path = folder.0.join("key");
    let firsts: Vec<(bool, String, String)> = std::thread::scope(|scope| {
        let start = |n: usize| {
            let path = &path;
            scope.spawn(move || {
                let own = n.to_string().repeat(10_000);
                let first = create(&System, path, own.as_bytes()).unwrap();
                (first, own, fs::read_to_string(path).unwrap())
            })
        };
        let threads: Vec<_> = (0..8).map(start).collect();
        threads.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let winners: Vec<_> = firsts.iter().filter(|(first, ..)| *first).collect();
    assert_eq!(winners.len(), 1);
    assert!(firsts.iter().all(|(_, _, found)| *found == winners[0].1));
    assert_eq!(folder.names(), ["key"]);
}

#[test]
fn a_power_cut_leaves_the_old_or_the_new_file_and_the_new_one_once_it_was_told() {
    let folder = Folder::new("power");
    let path = folder.0.join("own/file");
    let disk = SimDisk::new(&folder.0);
    make_folder(&disk, &folder.0.join("own")).unwrap();
    let made = disk.calls();
    drop(replace(&disk, &path, OLD).unwrap());
    let old = disk.calls();
    drop(replace(&disk, &path, NEW).unwrap());
    let new = disk.calls();
    assert!(create(&disk, &folder.0.join("own/key"), OLD).unwrap());
    let created = disk.calls();
    let mut seen = Vec::new();
    let mut try_all = |left: &dyn Fn() -> Left| {
        for calls in made..=created {
            let files = disk.after(calls, &mut left());
            let found = files.file("own/file");
            let right = match calls {
                calls if calls >= new => found == Some(NEW),
                calls if calls >= old => found == Some(OLD) || found == Some(NEW),
                _ => found.is_none() || found == Some(OLD),
            };
            assert!(right, "after {calls} of {created}: {found:?}");
            let key = files.file("own/key");
            let whole = key == Some(OLD);
            let lost = calls < created && key.is_none();
            assert!(whole || lost, "after {calls} of {created}: {key:?}");
            seen.push(files);
        }
    };
    try_all(&|| Left::All);
    try_all(&|| Left::Nothing);
    for seed in 0..200 {
        try_all(&|| Left::Any(Random::new(seed)));
    }
    seen.sort();
    seen.dedup();
    assert!(seen.len() > 20, "{} ways to be cut", seen.len());
}

/// The simulated disk itself: without a sync anything may be left.
#[test]
fn without_syncs_files_are_torn_and_names_lost() {
    let folder = Folder::new("torn");
    let path = folder.0.join("file");
    let disk = SimDisk::new(&folder.0);
    let mut file = disk.open(&path, schalter_durable::Open::New).unwrap();
    file.append(OLD).unwrap();
    let mut found = std::collections::BTreeSet::new();
    for seed in 0..300 {
        let files = disk.after(disk.calls(), &mut Left::Any(Random::new(seed)));
        found.insert(files.file("file").map(<[u8]>::to_vec));
    }
    assert!(found.contains(&None));
    assert!(found.contains(&Some(OLD.to_vec())));
    assert!(found.contains(&Some(vec![0; OLD.len()])));
    assert!(found.contains(&Some(OLD[..5].to_vec())));
    assert!(found.contains(&Some(Vec::new())));
}
