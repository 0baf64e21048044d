//! Every route in the sources, with each of its methods, must be in the OpenAPI document.

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

/// Functions of `axum::routing` that answer a method, by the method's name in the document.
const METHODS: &[&str] = &["get", "post", "put", "patch", "delete"];

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
                let arguments = enclosed(&text[at + call.len()..]);
                let Some((path, handlers)) = arguments
                    .trim_start()
                    .strip_prefix('"')
                    .and_then(|rest| rest.split_once('"'))
                else {
                    continue;
                };
                if ELSEWHERE.contains(&path) {
                    continue;
                }
                let nested = NESTED.iter().find(|(below, _)| file.starts_with(below));
                for before in nested.map_or(&[""][..], |(_, before)| before) {
                    let path = format!("{before}{path}");
                    let Some(described) = item(&yaml, &path) else {
                        wrong.push(format!("{file}: {path} is not in the OpenAPI document"));
                        continue;
                    };
                    for method in METHODS.iter().filter(|method| answers(handlers, method)) {
                        if !described.contains(&format!("\n    {method}:")) {
                            wrong.push(format!(
                                "{file}: {method} of {path} is not in the OpenAPI document"
                            ));
                        }
                    }
                }
            }
        }
    }
    Ok(wrong)
}

/// What is before the parenthesis that closes the one before `text`.
fn enclosed(text: &str) -> &str {
    let mut depth = 0_usize;
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' if depth == 0 => return &text[..at],
            ')' => depth -= 1,
            _ => {}
        }
    }
    text
}

/// What the document says of a path: the lines that are further in than its own.
fn item<'y>(yaml: &'y str, path: &str) -> Option<&'y str> {
    let head = format!("\n  {path}:\n");
    // Its line end begins what is found.
    let rest = &yaml[yaml.find(&head)? + head.len() - 1..];
    let end = rest.match_indices('\n').find(|(at, _)| {
        let line = &rest[at + 1..];
        !line.starts_with("    ") && !line.starts_with('\n')
    });
    Some(end.map_or(rest, |(at, _)| &rest[..=at]))
}

/// Whether the second argument of `route` has a handler for the method.
fn answers(handlers: &str, method: &str) -> bool {
    handlers.match_indices(method).any(|(at, _)| {
        let before = handlers[..at].chars().next_back();
        let after = &handlers[at + method.len()..];
        after.starts_with('(') && !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
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

#[cfg(test)]
mod checks {
    use super::{answers, enclosed, item};

    #[test]
    fn methods_are_told_from_names_that_contain_them() {
        let handlers = enclosed(r#" get(one).post(budget(two)), x) .route("/b", put(three))"#);
        assert_eq!(handlers, " get(one).post(budget(two)), x");
        assert!(answers(handlers, "get") && answers(handlers, "post"));
        assert!(!answers(handlers, "put") && !answers("budget(two)", "get"));
    }

    #[test]
    fn what_the_document_says_of_a_path_ends_with_the_next() {
        let yaml = "paths:\n  /a:\n    get:\n      x: 1\n\n    post:\n  /b:\n    put:\n";
        let a = item(yaml, "/a").unwrap();
        assert!(a.contains("\n    get:\n") && a.contains("\n    post:\n"));
        assert!(!a.contains("put") && item(yaml, "/c").is_none());
        assert!(item(yaml, "/b").unwrap().contains("\n    put:\n"));
    }
}
