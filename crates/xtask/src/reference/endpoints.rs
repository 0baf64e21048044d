//! Every route in the sources must be in the OpenAPI document.

use std::path::Path;

use crate::step::{Failure, root};

const DOCUMENT: &str = "crates/schalter/src/openapi";

/// Paths that the document leaves out: WebSockets, the room service's, whose own code describes each method, and what
/// certificate authorities look at (RFC 8555 §8.3).
const ELSEWHERE: &[&str] = &[
    "/rtc",
    "/rtc/v1",
    "/twirp/{*path}",
    "/.well-known/acme-challenge/{token}",
];

/// Where a crate's routes are nested: their own literal is only the end of the path.
const NESTED: &[(&str, &[&str])] = &[
    ("crates/desk/src/http/pages/", &["/desk/v1"]),
    ("crates/desk/src/http/appointments.rs", &["/v1", "/desk/v1"]),
    ("crates/desk/src/http/", &["/v1"]),
];

/// What is wrong, a line each.
pub(super) fn undescribed() -> Result<Vec<String>, Failure> {
    let mut yaml = String::new();
    for file in files(&root().join(DOCUMENT), "yaml")? {
        yaml.push_str(&file.1);
    }
    let mut wrong = Vec::new();
    let crates = root().join("crates");
    let unreadable = |error| format!("crates: {error}");
    for entry in std::fs::read_dir(&crates).map_err(unreadable)? {
        let sources = entry.map_err(unreadable)?.path().join("src");
        if !sources.is_dir() || sources.starts_with(crates.join("xtask")) {
            continue;
        }
        for (file, text) in files(&sources, "rs")? {
            // Tests route what nobody else sees.
            if file.ends_with("/tests.rs") {
                continue;
            }
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (at, call) in text.match_indices(".route(") {
                let rest = text[at + call.len()..].trim_start();
                let Some(path) = rest
                    .strip_prefix('"')
                    .and_then(|rest| rest.split('"').next())
                else {
                    continue;
                };
                if ELSEWHERE.contains(&path) {
                    continue;
                }
                let nested = NESTED.iter().find(|(below, _)| file.starts_with(below));
                for before in nested.map_or(&[""][..], |(_, before)| before) {
                    if !yaml.contains(&format!("\n  {before}{path}:\n")) {
                        wrong.push(format!(
                            "{file}: {before}{path} is not in the OpenAPI document"
                        ));
                    }
                }
            }
        }
    }
    Ok(wrong)
}

/// Names (from the root) and texts of the files below a folder.
fn files(folder: &Path, extension: &str) -> Result<Vec<(String, String)>, Failure> {
    let unreadable = |error| format!("{}: {error}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|name| name == extension) {
            let text = std::fs::read_to_string(&path).map_err(unreadable)?;
            let name = path.strip_prefix(root()).unwrap_or(&path);
            found.push((name.to_string_lossy().into_owned(), text));
        }
    }
    Ok(found)
}
