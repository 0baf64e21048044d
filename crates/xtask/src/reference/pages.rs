//! The tables of `docs/api`: what a row is about, and the tests that its last column names.

use std::collections::BTreeMap;

use crate::step::{Failure, root};

const FOLDER: &str = "docs/api";

pub(super) struct Page {
    /// Its name in the folder.
    pub(super) file: String,
    pub(super) rows: Vec<Row>,
}

/// A row of a table whose last column is "proved by".
pub(super) struct Row {
    pub(super) heading: String,
    pub(super) subject: String,
    what: String,
    pub(super) proofs: Vec<String>,
}

impl Row {
    /// What the words in bold say, which every page uses alike.
    pub(super) fn state(&self) -> &'static str {
        let says = |words: &str| self.what.contains(words) || self.subject.contains(words);
        if says("**refused**") {
            "refused"
        } else if says("**not there**") {
            "not there"
        } else if says("**never sent**") {
            "never sent"
        } else if says("**without effect**") {
            "without effect"
        } else {
            "yes"
        }
    }
}

impl Page {
    /// All pages but the one that is generated.
    pub(super) fn all() -> Result<Vec<Self>, Failure> {
        let unreadable = |error| format!("{FOLDER}: {error}");
        let mut pages = Vec::new();
        for entry in std::fs::read_dir(root().join(FOLDER)).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            if !file.ends_with(".md") || file == "support.md" {
                continue;
            }
            let text = std::fs::read_to_string(&path).map_err(unreadable)?;
            pages.push(Self {
                rows: rows(&text),
                file: file.into_owned(),
            });
        }
        pages.sort_by(|a, b| a.file.cmp(&b.file));
        Ok(pages)
    }
}

fn rows(text: &str) -> Vec<Row> {
    let short = short_names(text);
    let mut rows: Vec<Row> = Vec::new();
    let mut heading = String::new();
    let mut is_proved = false;
    for line in text.lines() {
        if let Some(words) = line.strip_prefix('#') {
            heading = words.trim_start_matches('#').trim().to_owned();
        }
        let Some(cells) = cells(line) else {
            is_proved = false;
            continue;
        };
        let Some((last, others)) = cells.split_last() else {
            continue;
        };
        if last.trim() == "proved by" {
            is_proved = true;
            continue;
        }
        if !is_proved || last.chars().all(|c| matches!(c, '-' | ':' | ' ')) {
            continue;
        }
        let proofs = if last.trim() == "the same" {
            rows.last()
                .map(|row| row.proofs.clone())
                .unwrap_or_default()
        } else {
            proofs(last, &short)
        };
        rows.push(Row {
            heading: heading.clone(),
            subject: others.first().map_or("", |cell| cell.trim()).to_owned(),
            what: others.join(" "),
            proofs,
        });
    }
    rows
}

/// The cells of a table's line; bars inside of code don't part them if they are escaped.
fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    let inner = inner.replace("\\|", "\u{1}");
    Some(
        inner
            .split('|')
            .map(|cell| cell.replace('\u{1}', "|"))
            .collect(),
    )
}

/// Titles are long: a page may give them a name, by `*name*: "title"` in its text.
fn short_names(text: &str) -> BTreeMap<String, String> {
    let flowing = text.replace('\n', " ");
    let mut names = BTreeMap::new();
    for (at, _) in flowing.match_indices("*: \"") {
        let name = flowing[..at].rsplit('*').next();
        let title = flowing[at + 4..].split('"').next();
        if let (Some(name), Some(title)) = (name, title) {
            names.insert(name.to_owned(), title.to_owned());
        }
    }
    names
}

fn proofs(cell: &str, short: &BTreeMap<String, String>) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = cell;
    while let Some(at) = rest.find(['`', '*']) {
        let mark = if rest[at..].starts_with('`') {
            '`'
        } else {
            '*'
        };
        let inner = &rest[at + 1..];
        let Some(end) = inner.find(mark) else { break };
        let name = inner[..end].trim_matches('"');
        // Files stand in backticks, too.
        if mark == '*' {
            found.push(short.get(name).map_or(name, String::as_str).to_owned());
        } else if !name.contains(['.', '/']) {
            found.push(name.to_owned());
        }
        rest = &inner[end + 1..];
    }
    found
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn rows_know_their_heading_and_their_tests() {
        let text = "Words: *calls*: \"a call\n works\".\n\n## Parts\n\n| part | | proved by |\n|---|---|---|\n| `a` | does | `a_test`, *calls* |\n\
                    | `b` | **refused** | the same |\n| `c` | x | `file.rs`, *\"another one\"* |\n\n| other | |\n|---|---|\n| x | `y` |\n";
        let rows = rows(text);
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0].heading, "Parts");
        assert_eq!(rows[0].proofs, ["a_test", "a call  works"]);
        assert_eq!(rows[1].proofs, rows[0].proofs);
        assert_eq!((rows[1].state(), rows[0].state()), ("refused", "yes"));
        assert_eq!(rows[2].proofs, ["another one"]);
    }
}
