//! Which clients, in which version, the tests drive: read from what pins them and from the tests themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Deserialize;

use crate::install;
use crate::step::{Failure, root};

const FOLDER: &str = "crates/testkit/browser";
/// Where the built server is driven by Rust.
const RUST_TESTS: &str = "crates/schalter/tests/serving";

/// A client of somebody else's, and words in a test's file that tell that it is driven there.
struct Client {
    name: &'static str,
    package: Package,
    driven_by: &'static [&'static str],
}

/// What pins the version.
enum Package {
    Npm(&'static str),
    Python(&'static str),
    /// A lock file, and a crate in it.
    Locked(&'static str, &'static str),
    Debian,
}

const CLIENTS: &[Client] = &[
    Client {
        name: "`livekit-client` in Chromium",
        package: Package::Npm("livekit-client"),
        driven_by: &[
            "stage.page(",
            "stage.oneWay(",
            "openPage(chromium",
            "openPage(stage.chromium",
        ],
    },
    Client {
        name: "`livekit-client` in Firefox",
        package: Package::Npm("livekit-client"),
        driven_by: &["firefox: {", "firefox: true", "stage.firefox"],
    },
    Client {
        name: "`livekit` (Python)",
        package: Package::Python("livekit"),
        driven_by: &["'python'", "VERSIONS.python"],
    },
    Client {
        name: "`@livekit/rtc-node`",
        package: Package::Npm("@livekit/rtc-node"),
        driven_by: &["'node'", "VERSIONS.node}"],
    },
    Client {
        name: "`livekit-server-sdk` (Node)",
        package: Package::Npm("livekit-server-sdk"),
        driven_by: &["livekit-server-sdk", "VERSIONS.nodeApi", "lib/backends.mjs"],
    },
    Client {
        name: "`livekit-api` (Python)",
        package: Package::Python("livekit-api"),
        driven_by: &["'api'", "VERSIONS.api", "lib/backends.mjs"],
    },
    Client {
        name: "`livekit-api` (Rust)",
        package: Package::Locked("Cargo.lock", "livekit-api"),
        driven_by: &["use livekit_api", "livekit_api::"],
    },
    Client {
        name: "GStreamer's webrtcbin",
        package: Package::Debian,
        driven_by: &["'gstreamer'", "lib/gstreamer.mjs"],
    },
    Client {
        name: "GStreamer's whipsink (`gst-plugin-webrtchttp`)",
        package: Package::Locked(
            "crates/testkit/whipsink/Cargo.lock",
            "gst-plugin-webrtchttp",
        ),
        driven_by: &["startWhipsink("],
    },
    Client {
        name: "`whip-whep` (WHIP and WHEP)",
        package: Package::Npm("whip-whep"),
        driven_by: &["'whip-whep", "devDependencies['whip-whep']"],
    },
    Client {
        name: "`@eyevinn/whip-web-client` (WHIP)",
        package: Package::Npm("@eyevinn/whip-web-client"),
        driven_by: &["@eyevinn/whip-web-client"],
    },
    Client {
        name: "`@eyevinn/webrtc-player` (WHEP)",
        package: Package::Npm("@eyevinn/webrtc-player"),
        driven_by: &["@eyevinn/webrtc-player"],
    },
    Client {
        name: "`aiortc` (WHEP)",
        package: Package::Python("aiortc"),
        driven_by: &["startAiortc(", "aiortc plays"],
    },
];

#[derive(Deserialize)]
struct Npm {
    #[serde(rename = "devDependencies")]
    dependencies: BTreeMap<String, String>,
}

pub(super) fn render() -> Result<String, Failure> {
    let read = |path: &str| {
        std::fs::read_to_string(root().join(path)).map_err(|error| format!("{path}: {error}"))
    };
    let npm: Npm = serde_json::from_str(&read(&format!("{FOLDER}/package.json"))?)
        .map_err(|error| format!("{FOLDER}/package.json: {error}"))?;
    let mut files = Vec::new();
    for folder in [format!("{FOLDER}/test"), RUST_TESTS.to_owned()] {
        let unreadable = |error| format!("{folder}: {error}");
        for entry in std::fs::read_dir(root().join(&folder)).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            let name = name.to_string_lossy().into_owned();
            if name.ends_with(".test.mjs") || name.ends_with(".rs") {
                let path = format!("{folder}/{name}");
                files.push((read(&path)?, path));
            }
        }
    }
    let mut text = String::from(
        "\n## Clients\n\nUnmodified, in the version that the tests pin; browsers and GStreamer are Debian's.\n\n\
         | client | version | driven in |\n|---|---|---|\n",
    );
    for client in CLIENTS {
        let version = match client.package {
            Package::Npm(name) => npm.dependencies.get(name).cloned(),
            Package::Python(name) => install::python_version(name).map(str::to_owned),
            Package::Locked(file, name) => locked(&read(file)?, name),
            Package::Debian => Some("Debian's".to_owned()),
        };
        let version = version.ok_or_else(|| format!("nothing pins {}", client.name))?;
        let driven: BTreeSet<_> = files
            .iter()
            .filter(|(text, _)| client.driven_by.iter().any(|words| text.contains(words)))
            .map(|(_, path)| path)
            .collect();
        if driven.is_empty() {
            return Err(format!("no test drives {}", client.name));
        }
        let links: Vec<_> = driven
            .iter()
            .map(|path| {
                let name = path.rsplit('/').next().unwrap_or(path);
                let name = name.trim_end_matches(".test.mjs");
                format!("[{name}](../../{path})")
            })
            .collect();
        let _ = writeln!(
            text,
            "| {} | {version} | {} |",
            client.name,
            links.join(", ")
        );
    }
    Ok(text)
}

/// The version of a crate in the lock file.
fn locked(lock: &str, name: &str) -> Option<String> {
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    rest.split_once('"').map(|(version, _)| version.to_owned())
}
