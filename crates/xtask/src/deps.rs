//! The layering, checked: crates depend on lower layers only, and L0 to L2 have no sockets, clocks, threads or
//! randomness of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::step::{Failure, cargo, output, root, say};

/// Where a crate stands. Side crates serve tests and builds; nothing that ships may depend on them except as named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    Level(u8),
    /// Asks the operating system for what crates from L3 on need, and knows no other crate. Sans-IO layers don't see it.
    System,
    Side,
}

/// Every package of the workspace. One that is missing here fails the check.
const LAYERS: &[(&str, Layer)] = &[
    ("schalter-rtp", Layer::Level(0)),
    ("schalter-model", Layer::Level(0)),
    ("schalter-stun", Layer::Level(0)),
    ("schalter-forward", Layer::Level(1)),
    ("schalter-transport", Layer::Level(1)),
    ("schalter-turn", Layer::Level(1)),
    ("schalter-audit", Layer::Level(1)),
    ("schalter-shard", Layer::Level(2)),
    ("schalter-durable", Layer::System),
    ("schalter-net", Layer::Level(3)),
    ("schalter-signaling", Layer::Level(3)),
    ("schalter-metrics", Layer::Level(3)),
    ("schalter-web", Layer::Level(3)),
    ("schalter-webhook", Layer::Level(3)),
    ("schalter-desk", Layer::Level(3)),
    ("schalter", Layer::Level(4)),
    ("schalter-testkit", Layer::Side),
    ("schalter-fuzz", Layer::Side),
    ("schalter-load", Layer::Side),
    ("schalter-benches", Layer::Side),
    ("schalter-xtask", Layer::Side),
];

/// Highest layer that must stay sans-IO.
const SANS_IO: u8 = 2;

/// Packages that bring sockets, threads, clocks or randomness; L0 to L2 may not name them.
const IO_PACKAGES: &[&str] = &[
    "tokio",
    "mio",
    "socket2",
    "quinn",
    "quinn-udp",
    "rustix",
    "libc",
    "nix",
    "polling",
    "async-nats",
    "axum",
    "hyper",
    "rand",
    "getrandom",
    "crossbeam",
    "parking_lot",
    "rtrb",
    "chrono",
];

/// What the sources of L0 to L2 may not contain.
const IO_SOURCE: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "std::thread",
    "thread::spawn",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "std::fs::",
    "std::env::",
    "thread_rng",
    "rand::",
    "OnceLock",
    "LazyLock",
    "static mut",
    "println!",
    "eprintln!",
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// Checks the whole workspace.
pub(crate) fn check() -> Result<(), Failure> {
    let text = output(&mut cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--locked",
    ]))?;
    let metadata: Metadata =
        serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))?;
    let layers: BTreeMap<&str, Layer> = LAYERS.iter().copied().collect();
    let mut complaints = Vec::new();
    for package in &metadata.packages {
        match layers.get(package.name.as_str()) {
            None => complaints.push(format!(
                "{} has no layer in crates/xtask/src/deps.rs",
                package.name
            )),
            Some(layer) => {
                complaints.extend(check_dependencies(package, *layer, &layers));
                if matches!(layer, Layer::Level(level) if *level <= SANS_IO) {
                    let dir = Path::new(&package.manifest_path)
                        .parent()
                        .unwrap_or(Path::new("."));
                    check_sources(&dir.join("src"), &mut complaints)?;
                }
            }
        }
    }
    if complaints.is_empty() {
        say(&format!(
            "deps: {} packages, all dependencies point down",
            metadata.packages.len()
        ));
        Ok(())
    } else {
        Err(complaints.join("\n       "))
    }
}

fn check_dependencies(
    package: &Package,
    layer: Layer,
    layers: &BTreeMap<&str, Layer>,
) -> Vec<String> {
    // Tests may look anywhere: only what ships is bound.
    let shipped = package
        .dependencies
        .iter()
        .filter(|d| d.kind.as_deref() != Some("dev"));
    let mut complaints = Vec::new();
    for dependency in shipped {
        let name = &dependency.name;
        let own = &package.name;
        match (layer, layers.get(name.as_str())) {
            (Layer::Side, _) => {}
            (_, Some(Layer::Side)) => {
                complaints.push(format!("{own} ships with the side crate {name}"));
            }
            (Layer::System, Some(_)) => {
                complaints.push(format!(
                    "{own} depends on {name}, and must know none of ours"
                ));
            }
            (Layer::Level(level), Some(Layer::System)) if level <= SANS_IO => {
                complaints.push(format!("{own} (L{level}, sans-IO) depends on {name}"));
            }
            // Crates of L0 are words that may use each other; from L1 on a crate sees lower layers only.
            (Layer::Level(level), Some(Layer::Level(below))) if *below >= level && level > 0 => {
                complaints.push(format!("{own} (L{level}) depends on {name} (L{below})"));
            }
            (Layer::Level(level), None)
                if level <= SANS_IO && IO_PACKAGES.contains(&name.as_str()) =>
            {
                complaints.push(format!("{own} (L{level}, sans-IO) depends on {name}"));
            }
            (Layer::Level(_) | Layer::System, _) => {}
        }
    }
    complaints
}

fn check_sources(folder: &Path, complaints: &mut Vec<String>) -> Result<(), Failure> {
    let mut sources = Vec::new();
    read_sources(folder, &mut sources)?;
    let only_tests: Vec<_> = sources
        .iter()
        .flat_map(|(path, text)| test_modules(path, text))
        .collect();
    for (path, text) in &sources {
        if only_tests.contains(path) {
            continue;
        }
        for (number, line) in (1..).zip(without_tests(text).lines()) {
            let line_code = line.split("//").next().unwrap_or_default();
            for word in IO_SOURCE.iter().filter(|word| line_code.contains(*word)) {
                let shown = path.strip_prefix(root()).unwrap_or(path).display();
                complaints.push(format!("{shown}:{number} uses {word} in a sans-IO layer"));
            }
        }
    }
    Ok(())
}

fn read_sources(folder: &Path, sources: &mut Vec<(PathBuf, String)>) -> Result<(), Failure> {
    let entries =
        std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.is_dir() {
            read_sources(&path, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
            sources.push((path, text));
        }
    }
    Ok(())
}

/// Unit tests at the end of a file may do as they like; single items that only tests have may not.
fn without_tests(text: &str) -> &str {
    let end = text
        .match_indices("#[cfg(test)]\nmod ")
        .map(|(at, _)| at)
        .find(|at| {
            let declaration = text[*at..].lines().nth(1);
            declaration.is_some_and(|line| line.ends_with('{'))
        });
    &text[..end.unwrap_or(text.len())]
}

/// Files that a file declares as modules of tests.
fn test_modules(path: &Path, text: &str) -> Vec<PathBuf> {
    let folder = if path.ends_with("mod.rs") || path.ends_with("lib.rs") {
        path.with_file_name("")
    } else {
        path.with_extension("")
    };
    text.match_indices("#[cfg(test)]\nmod ")
        .filter_map(|(at, _)| text[at..].lines().nth(1))
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
        .map(|name| folder.join(format!("{name}.rs")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        Package {
            name: name.to_owned(),
            manifest_path: String::new(),
            dependencies: dependencies
                .iter()
                .map(|(name, kind)| Dependency {
                    name: (*name).to_owned(),
                    kind: kind.map(str::to_owned),
                })
                .collect(),
        }
    }

    fn complaints(package: &Package) -> usize {
        let layers: BTreeMap<&str, Layer> = LAYERS.iter().copied().collect();
        check_dependencies(package, layers[package.name.as_str()], &layers).len()
    }

    #[test]
    fn upward_sideways_and_io_dependencies_are_found() {
        assert_eq!(
            complaints(&package("schalter-forward", &[("schalter-rtp", None)])),
            0
        );
        assert_eq!(
            complaints(&package("schalter-forward", &[("schalter-shard", None)])),
            1
        );
        assert_eq!(
            complaints(&package("schalter-net", &[("schalter-signaling", None)])),
            1
        );
        assert_eq!(complaints(&package("schalter-rtp", &[("tokio", None)])), 1);
        assert_eq!(
            complaints(&package("schalter-rtp", &[("tokio", Some("dev"))])),
            0
        );
        assert_eq!(
            complaints(&package("schalter-net", &[("schalter-testkit", None)])),
            1
        );
        let durable = [("schalter-durable", None)];
        assert_eq!(complaints(&package("schalter-desk", &durable)), 0);
        assert_eq!(complaints(&package("schalter-audit", &durable)), 1);
        let model = [("schalter-model", None)];
        assert_eq!(complaints(&package("schalter-durable", &model)), 1);
    }

    #[test]
    fn only_tests_may_read_the_clock() {
        let text = "#[cfg(test)]\nmod far;\n#[cfg(test)]\nfn one() {}\nfn two() {}\n#[cfg(test)]\nmod tests {\n}\n";
        assert!(without_tests(text).ends_with("fn two() {}\n"));
        let found = test_modules(Path::new("src/a/mod.rs"), text);
        assert_eq!(found, [PathBuf::from("src/a/far.rs")]);
        let found = test_modules(Path::new("src/b.rs"), text);
        assert_eq!(found, [PathBuf::from("src/b/far.rs")]);
    }
}
