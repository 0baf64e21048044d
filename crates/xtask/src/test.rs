//! The gate: every check of the project, one after the other, with a summary at the end.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::step::{Failure, captured, cargo, each_on_a_core, output, program, root, run, say};
use crate::{deps, install, reference, unit, web};

/// Seconds that libFuzzer runs each fuzz target in `--long`. The gate tries the same functions with changed seeds, as a behaviour
/// test: instrumented, everything would have to be compiled once more.
const FUZZ_SECONDS: u32 = 600;

/// The workspace of all fuzz targets for libFuzzer.
const FUZZED: &str = "crates/fuzz/libfuzzer";

type Step = (&'static str, Box<dyn Fn() -> Result<(), Failure>>);

/// Runs the gate. Every step runs even if an earlier one failed; the last line counts.
fn run_steps(steps: Vec<Step>) -> Result<(), Failure> {
    let mut results: Vec<(&str, Duration, Result<(), Failure>)> = Vec::new();
    for (name, step) in steps {
        say(&format!("\n=== {name}"));
        let start = Instant::now();
        let result = step();
        if let Err(error) = &result {
            say(&format!("*** {name}: {error}"));
        }
        results.push((name, start.elapsed(), result));
    }
    say("\n=== summary");
    for (name, time, result) in &results {
        let mark = if result.is_ok() { "ok    " } else { "FAILED" };
        say(&format!("{mark} {:>6.1} s  {name}", time.as_secs_f64()));
    }
    let failed = results
        .iter()
        .filter(|(_, _, result)| result.is_err())
        .count();
    say(&format!(
        "{} passed, {failed} failed",
        results.len() - failed
    ));
    if failed == 0 {
        Ok(())
    } else {
        Err(format!("{failed} steps failed"))
    }
}

/// Installs what is needed and runs the gate, or the long tests.
pub(crate) fn execute(long: bool, only: Option<&str>) -> Result<(), Failure> {
    let mut steps = if long { long_steps() } else { gate() };
    if let Some(text) = only {
        steps.retain(|(name, _)| name.contains(text));
        if steps.is_empty() {
            return Err(format!("no step's name contains {text:?}"));
        }
    }
    run_steps(steps)
}

fn gate() -> Vec<Step> {
    vec![
        step("install: Debian packages", install::debian),
        step("install: cargo-deny", || {
            install::cargo_tool(install::CARGO_DENY)
        }),
        // Registries are waited for, whipsink is compiled: together they take as long as one.
        step(
            "install: npm and Python packages, GStreamer's whipsink",
            || {
                each_on_a_core(
                    &[
                        || install::whipsink().map(|_| ()),
                        || install::python().map(|_| ()),
                        install::node as fn() -> Result<(), Failure>,
                    ],
                    |install| install(),
                )
            },
        ),
        step("format", || run(&mut cargo(&["fmt", "--all", "--check"]))),
        step("layers", deps::check),
        step("licences, bans, sources", || {
            run(&mut cargo(&[
                "deny", "check", "bans", "licenses", "sources",
            ]))
        }),
        step("clippy", || {
            run(&mut cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ]))
        }),
        step("documentation", || {
            let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--locked", "--quiet"]);
            run(doc.env("RUSTDOCFLAGS", "-D warnings"))
        }),
        step("unit and behaviour tests", unit::execute),
        step("pages: bundle is what the sources build", || {
            web::build(true)
        }),
        step("reference: docs/api, tests and endpoints agree", || {
            reference::execute(true)
        }),
        step("server and load generator", || GATE.make()),
        step("clients and proxies: what works, two at a time", || {
            node_tests(GATE, "test:together")
        }),
        step("browsers: how well it works", || {
            node_tests(GATE, "test:alone")
        }),
        step("load: delivery and memory", || {
            load(GATE, &["smoke", "--spawn"])
        }),
        step("load: rooms made and left", || load(GATE, &CHURN)),
        step("load: half-open transports and hostile packets", || {
            load(GATE, &HALF_OPEN)
        }),
    ]
}

/// Memory must come back. Forty rounds are 12 s; what the allocator keeps of them is spread over few, so the bound is
/// wider than that of the long run.
const CHURN: [&str; 8] = [
    "churn",
    "--spawn",
    "--rounds",
    "40",
    "--warm-up",
    "10",
    "--max-growth-kib",
    "64",
];
/// Two hundred rounds: what the allocator keeps is spread thin, and one leaked session in each would be 36 KiB.
const CHURN_LONG: [&str; 6] = [
    "churn",
    "--spawn",
    "--rounds",
    "200",
    "--max-growth-kib",
    "24",
];
/// More half-open transports than a worker takes by default, so that the limit is part of it.
const HALF_OPEN: [&str; 8] = [
    "half-open",
    "--spawn",
    "--count",
    "2000",
    "--joins",
    "1200",
    "--max-rss-mib",
    HALF_OPEN_MIB,
];
const HALF_OPEN_LONG: [&str; 8] = [
    "half-open",
    "--spawn",
    "--count",
    "10000",
    "--joins",
    "10000",
    "--max-rss-mib",
    HALF_OPEN_MIB_LONG,
];
/// What the server may take with 1,200 and with 10,000 participants that never come, MiB.
const HALF_OPEN_MIB: &str = "128";
const HALF_OPEN_MIB_LONG: &str = "128";
/// Half an hour of one publisher and fifty subscribers, within the memory of a short one.
const SOAK: [&str; 7] = [
    "run",
    "--spawn",
    "--seconds",
    "1800",
    "--strict",
    "--max-rss-mib",
    "40",
];

/// The server and the load generator in a profile of Cargo.toml.
#[derive(Clone, Copy)]
struct Build {
    profile: &'static str,
    /// Where cargo puts it, below the target directory.
    folder: &'static str,
}

/// Shares what it is made of with the unit tests: compiled anew it would take as long as all of them.
const GATE: Build = Build {
    profile: "dev",
    folder: "debug",
};
/// What people run.
const RELEASE: Build = Build {
    profile: "release",
    folder: "release",
};

impl Build {
    /// Both at once: for one package alone cargo resolves other features than for the two, and builds nearly everything a second
    /// time.
    fn make(self) -> Result<(), Failure> {
        run(&mut cargo(&[
            "build",
            "--profile",
            self.profile,
            "--locked",
            "-p",
            "schalter",
            "-p",
            "schalter-load",
        ]))
    }

    /// A binary, which is beside the folder of this program: cargo has built both into the same target directory.
    fn binary(self, name: &str) -> Result<PathBuf, Failure> {
        let own =
            std::env::current_exe().map_err(|error| format!("this program's path: {error}"))?;
        let target = own
            .ancestors()
            .nth(2)
            .ok_or("this program's folder has no parent")?;
        Ok(target.join(self.folder).join(name))
    }
}

/// Runs the load generator against the server, as they were built.
fn load(built: Build, arguments: &[&str]) -> Result<(), Failure> {
    run(Command::new(built.binary("schalter-load")?)
        .args(arguments)
        .current_dir(root()))
}

fn long_steps() -> Vec<Step> {
    vec![
        step("install: cargo-fuzz", || {
            install::cargo_tool(install::CARGO_FUZZ)
        }),
        step("fuzz: ten minutes for every target", || fuzz(FUZZ_SECONDS)),
        step("simulations: thousands of seeds", || {
            let mut tests = cargo(&["test", "--release", "--locked", "-p", "schalter-testkit"]);
            run(tests.env("SCHALTER_SEEDS", "2000"))
        }),
        step("property tests: many cases", || {
            let mut tests = cargo(&[
                "test",
                "--release",
                "--locked",
                "-p",
                "schalter-rtp",
                "-p",
                "schalter-forward",
            ]);
            run(tests.env("PROPTEST_CASES", "20000"))
        }),
        step("desk: ten thousand appointments, p95 below 50 ms", || {
            run(&mut cargo(&[
                "test",
                "--release",
                "--locked",
                "-p",
                "schalter-desk",
                "--",
                "--ignored",
            ]))
        }),
        step("release build", || RELEASE.make()),
        step(
            "browsers: calls measured for longer, a minute of signing",
            || node_tests(RELEASE, "test:long"),
        ),
        step("load: 200 rooms made and left", || {
            load(RELEASE, &CHURN_LONG)
        }),
        step("load: ten thousand half-open transports", || {
            load(RELEASE, &HALF_OPEN_LONG)
        }),
        step("load: soak, half an hour", || load(RELEASE, &SOAK)),
    ]
}

fn step(name: &'static str, work: impl Fn() -> Result<(), Failure> + 'static) -> Step {
    (name, Box::new(work))
}

/// Runs a list of tests in Node, some of which drive clients in Python or GStreamer.
fn node_tests(built: Build, script: &str) -> Result<(), Failure> {
    let (python, plugins) = (install::python()?, install::whipsink()?);
    let mut tests = program("crates/testkit/browser", "npm", &["run", script]);
    tests.env("SCHALTER_BIN", built.binary("schalter")?);
    tests.env("SCHALTER_LOAD_BIN", built.binary("schalter-load")?);
    tests.env("SCHALTER_TEST_PYTHON", python);
    run(tests.env("GST_PLUGIN_PATH", plugins))
}

/// Runs every fuzz target for `seconds`, one on each core. No sanitizer: nothing here is `unsafe`, and stable Rust is enough.
fn fuzz(seconds: u32) -> Result<(), Failure> {
    let target_dir = root().join("target/fuzz");
    let options = ["--sanitizer", "none"];
    let cargo = |command: &str| {
        let mut cargo = program(FUZZED, "cargo", &["fuzz", command, "--fuzz-dir", "."]);
        cargo.env("CARGO_TARGET_DIR", &target_dir);
        cargo
    };
    // All at once: linking them one by one leaves a core idle.
    run(cargo("build").args(options))?;
    let listed = output(&mut cargo("list"))?;
    let targets: Vec<&str> = listed.lines().collect();
    let total = format!("-max_total_time={seconds}");
    each_on_a_core(&targets, |target| {
        let mut command = cargo("run");
        let seeds = root().join("crates/fuzz/corpus").join(target);
        command.args(options).arg(target);
        if seeds.is_dir() {
            command.arg(seeds);
        }
        command.args(["--", &total, "-verbosity=0"]);
        let (text, result) = captured(&mut command);
        say(&format!("--- {target}\n{text}"));
        result.map_err(|error| format!("{target}: {error}"))
    })
}
