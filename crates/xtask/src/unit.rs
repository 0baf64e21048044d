//! Unit and behaviour tests: all test programs of the workspace, as many at a time as there are cores. Cargo itself runs one
//! after the other, and most of them wait for timers and sockets.

use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;

use crate::step::{Failure, captured, cargo, each_on_a_core, output, run, say};

/// One line of what cargo tells with `--message-format=json` (The Cargo Book, "External tools").
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    executable: Option<PathBuf>,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    profile: Profile,
}

#[derive(Default, Deserialize)]
struct Profile {
    #[serde(default)]
    test: bool,
}

/// A test program, and the folder that its tests expect to be in.
struct TestProgram {
    path: PathBuf,
    folder: PathBuf,
}

/// Builds and runs all tests, then those in the documentation. Says what each program said, whole.
pub(crate) fn execute() -> Result<(), Failure> {
    let built = output(&mut cargo(&[
        "test",
        "--workspace",
        "--locked",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]))?;
    let programs = programs(&built)?;
    let ran = each_on_a_core(&programs, |program| {
        let mut command = Command::new(&program.path);
        command.arg("--quiet").current_dir(&program.folder);
        // As cargo sets it: tests find their data by it.
        command.env("CARGO_MANIFEST_DIR", &program.folder);
        let (text, result) = captured(&mut command);
        let name = program.path.file_name().unwrap_or_default().display();
        say(&format!("--- {name}{text}"));
        result
    });
    let documented = run(&mut cargo(&[
        "test",
        "--workspace",
        "--locked",
        "--doc",
        "--quiet",
    ]));
    ran.and(documented)
}

fn programs(built: &str) -> Result<Vec<TestProgram>, Failure> {
    let mut programs = Vec::new();
    for line in built.lines() {
        let message: Message = serde_json::from_str(line)
            .map_err(|error| format!("what cargo says can't be read: {error}"))?;
        if let (Some(path), true) = (message.executable, message.profile.test) {
            let folder = message.manifest_path.parent().map(PathBuf::from);
            programs.push(TestProgram {
                path,
                folder: folder.ok_or("a manifest without a folder")?,
            });
        }
    }
    if programs.is_empty() {
        return Err("cargo built no tests".to_owned());
    }
    Ok(programs)
}
