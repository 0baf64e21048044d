//! What the tests need beside Rust and Node: installed here, so that a fresh Debian machine is enough.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{Failure, cargo, program, root, run, say};

/// Debian packages with a file that tells whether they are there.
const DEBIAN: &[(&str, &str)] = &[
    ("chromium", "/usr/bin/chromium"),
    ("firefox-esr", "/usr/bin/firefox-esr"),
    ("pulseaudio", "/usr/bin/pulseaudio"),
    ("pulseaudio-utils", "/usr/bin/pactl"),
    ("prometheus", "/usr/bin/promtool"),
    // Proxies, whose shipped configurations are tried.
    // An independent TURN client.
    ("coturn", "/usr/bin/turnutils_uclient"),
    ("nginx-light", "/usr/sbin/nginx"),
    ("haproxy", "/usr/sbin/haproxy"),
    ("caddy", "/usr/bin/caddy"),
    // A certificate authority, and a scanner of TLS.
    ("pebble", "/usr/bin/pebble"),
    ("testssl.sh", "/usr/bin/testssl"),
    ("openssl", "/usr/bin/openssl"),
    ("systemd", "/usr/bin/systemd-analyze"),
    ("gdb", "/usr/bin/gdb"),
    ("iproute2", "/usr/sbin/ip"),
    ("nftables", "/usr/sbin/nft"),
    ("procps", "/usr/sbin/sysctl"),
    ("python3-venv", "/usr/share/doc/python3-venv"),
    // GStreamer's webrtcbin, its codecs, and Python's way to it.
    (
        "gstreamer1.0-plugins-base",
        "/usr/share/doc/gstreamer1.0-plugins-base",
    ),
    (
        "gstreamer1.0-plugins-good",
        "/usr/share/doc/gstreamer1.0-plugins-good",
    ),
    (
        "gstreamer1.0-plugins-bad",
        "/usr/share/doc/gstreamer1.0-plugins-bad",
    ),
    ("gstreamer1.0-nice", "/usr/share/doc/gstreamer1.0-nice"),
    (
        "gir1.2-gst-plugins-bad-1.0",
        "/usr/share/doc/gir1.2-gst-plugins-bad-1.0",
    ),
    // To build its whipsink, which Debian doesn't have.
    (
        "libgstreamer-plugins-bad1.0-dev",
        "/usr/share/doc/libgstreamer-plugins-bad1.0-dev",
    ),
    ("python3-gi", "/usr/share/doc/python3-gi"),
    ("python3-gst-1.0", "/usr/share/doc/python3-gst-1.0"),
    // A C compiler with headers, for aws-lc: it has ready-made sources for x86-64 and ARM64, so that neither CMake nor
    // Clang is needed. fuzzers link against the C++ library.
    ("build-essential", "/usr/share/doc/build-essential"),
];

/// A tool of cargo, and its version.
pub(crate) type CargoTool = (&'static str, &'static str);
/// Looks at licences and bans.
pub(crate) const CARGO_DENY: CargoTool = ("cargo-deny", "0.20.2");
/// Builds targets for libFuzzer.
pub(crate) const CARGO_FUZZ: CargoTool = ("cargo-fuzz", "0.13.2");

/// Python packages of the tests, with their versions.
const PYTHON: &[&str] = &[
    "livekit==1.2.1",
    "livekit-api==1.2.2",
    "aiortc==1.16.0",
    "numpy",
    "openapi-spec-validator==0.9.0",
    "schemathesis==4.32.5",
];

/// Installs Debian's packages that are missing.
pub(crate) fn debian() -> Result<(), Failure> {
    let missing: Vec<&str> = DEBIAN
        .iter()
        .filter(|(_, witness)| !Path::new(witness).exists())
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        say("all Debian packages are there");
        return Ok(());
    }
    let mut update = apt(&["update", "-q"]);
    run(&mut update)?;
    let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
    arguments.extend(missing);
    run(&mut apt(&arguments))
}

/// As root apt-get works as it is; everybody else needs sudo.
fn apt(arguments: &[&str]) -> Command {
    let root_user = std::fs::metadata("/proc/self").is_ok_and(|meta| {
        use std::os::unix::fs::MetadataExt;
        meta.uid() == 0
    });
    let mut command = if root_user {
        program(".", "apt-get", arguments)
    } else {
        let mut all = vec!["apt-get"];
        all.extend(arguments);
        program(".", "sudo", &all)
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Installs a tool of cargo if it is missing or has another version.
pub(crate) fn cargo_tool((tool, version): CargoTool) -> Result<(), Failure> {
    let subcommand = tool.trim_start_matches("cargo-");
    let there = cargo(&[subcommand, "--version"])
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(version));
    if there {
        return Ok(());
    }
    run(&mut cargo(&[
        "install",
        "--locked",
        "--quiet",
        tool,
        "--version",
        version,
    ]))
}

/// Installs the npm packages of the browser tests.
pub(crate) fn node() -> Result<(), Failure> {
    run(&mut program(
        "crates/testkit/browser",
        "npm",
        &["ci", "--no-audit", "--no-fund"],
    ))
}

/// The version that a Python package is pinned to.
pub(crate) fn python_version(package: &str) -> Option<&'static str> {
    PYTHON.iter().find_map(|pinned| {
        let (name, version) = pinned.split_once("==")?;
        (name == package).then_some(version)
    })
}

/// The Python interpreter with the SDKs, in a virtual environment of the tests.
pub(crate) fn python() -> Result<PathBuf, Failure> {
    let folder = root().join("target/test-python");
    let interpreter = folder.join("bin/python");
    if !interpreter.exists() {
        run(Command::new("python3").arg("-m").arg("venv").arg(&folder))?;
    }
    let mut pip = Command::new(&interpreter);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ])
    .args(PYTHON);
    run(&mut pip)?;
    Ok(interpreter)
}

/// GStreamer's whipsink, built; answers the folder that `GST_PLUGIN_PATH` must name. Nothing else is in it: GStreamer loads
/// whatever it finds there and below.
pub(crate) fn whipsink() -> Result<PathBuf, Failure> {
    const FILE: &str = "libgstwebrtchttp.so";
    let built = root().join("target/test-whipsink");
    run(cargo(&[
        "build",
        "--release",
        "--locked",
        "--quiet",
        "--manifest-path",
        "crates/testkit/whipsink/Cargo.toml",
    ])
    .env("CARGO_TARGET_DIR", &built))?;
    let folder = root().join("target/test-gstreamer");
    std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::copy(built.join("release").join(FILE), folder.join(FILE)))
        .map_err(|error| format!("{FILE}: {error}"))?;
    Ok(folder)
}
