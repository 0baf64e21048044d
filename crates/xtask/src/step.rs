//! Running other programs, and telling how it went.

use std::io::Write;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Why a command of ours failed, in words for the person at the terminal.
pub(crate) type Failure = String;

/// Prints a line.
pub(crate) fn say(text: &str) {
    // A closed output is no reason to stop a gate that is running.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this crate lives two folders below the root")
        .to_owned()
}

/// Runs a program to its end, output passed through.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let shown = show(command);
    let status = command
        .status()
        .map_err(|error| format!("{shown}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{shown}: {status}"))
    }
}

/// Runs a program and takes its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let shown = show(command);
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| format!("{shown}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{shown}: {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{shown}: output is not UTF-8"))
}

/// Runs a program to its end and keeps what it says, so that it does not mix with another's: output, then errors.
pub(crate) fn captured(command: &mut Command) -> (String, Result<(), Failure>) {
    let shown = show(command);
    match command.output() {
        Err(error) => (String::new(), Err(format!("{shown}: {error}"))),
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            let result = if output.status.success() {
                Ok(())
            } else {
                Err(format!("{shown}: {}", output.status))
            };
            (String::from_utf8_lossy(&said).into_owned(), result)
        }
    }
}

/// Does `work` for all of `things`, as many at a time as there are cores. Answers all failures at the end.
pub(crate) fn each_on_a_core<T: Sync>(
    things: &[T],
    work: impl Fn(&T) -> Result<(), Failure> + Sync,
) -> Result<(), Failure> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(thing) = things.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = work(thing) {
                        failures.lock().expect("nobody panics with it").push(error);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("nobody panics with it");
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures.join("; "))
    }
}

/// A program with arguments, run in `dir` (from the root).
pub(crate) fn program(dir: &str, name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).current_dir(root().join(dir));
    command
}

/// Cargo, as the one that runs us.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    program(".", &cargo, arguments)
}

fn show(command: &Command) -> String {
    let mut shown = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        shown.push(' ');
        shown.push_str(&argument.to_string_lossy());
    }
    shown
}
