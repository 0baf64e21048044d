//! Every test of the project by its name: functions in Rust, titles in Node.

use std::collections::BTreeMap;
use std::path::Path;

use crate::step::{Failure, root};

pub(super) struct Tests {
    /// The file of each function with `#[test]` or the like, or in a `proptest!`.
    functions: BTreeMap<String, String>,
    titles: Vec<Title>,
}

/// A title, in the pieces between the parts that are filled in when the test runs.
struct Title {
    pieces: Vec<String>,
    file: String,
}

impl Tests {
    pub(super) fn collect() -> Result<Self, Failure> {
        let mut tests = Self {
            functions: BTreeMap::new(),
            titles: Vec::new(),
        };
        tests.walk(&root().join("crates"))?;
        Ok(tests)
    }

    fn walk(&mut self, folder: &Path) -> Result<(), Failure> {
        let unreadable = |error| format!("{}: {error}", folder.display());
        for entry in std::fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                if name != "node_modules" && name != "target" {
                    self.walk(&path)?;
                }
                continue;
            }
            let (rust, node) = (name.ends_with(".rs"), name.ends_with(".test.mjs"));
            if !rust && !node {
                continue;
            }
            let text = std::fs::read_to_string(&path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let file = path.strip_prefix(root()).unwrap_or(&path);
            let file = file.to_string_lossy().into_owned();
            if rust {
                self.add_functions(&text, &file);
            } else {
                self.add_titles(&text, &file);
            }
        }
        Ok(())
    }

    fn add_functions(&mut self, text: &str, file: &str) {
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with("#[") {
                is_test |= line.contains("test]") || line.contains("test(");
                continue;
            }
            let declared = line
                .trim_start_matches("pub ")
                .trim_start_matches("async ")
                .strip_prefix("fn ");
            if let Some(declared) = declared {
                if is_test && let Some((name, _)) = declared.split_once(['(', '<']) {
                    self.functions.insert(name.to_owned(), file.to_owned());
                }
                is_test = false;
            } else if !line.starts_with("//") {
                is_test = false;
            }
        }
    }

    fn add_titles(&mut self, text: &str, file: &str) {
        for call in ["test(", "it(", "describe("] {
            for (at, _) in text.match_indices(call) {
                let before = text[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '.' || c == '_') {
                    continue;
                }
                if let Some(pieces) = title(text[at + call.len()..].trim_start()) {
                    let file = file.to_owned();
                    self.titles.push(Title { pieces, file });
                }
            }
        }
        // Titles that stand in a constant before the call.
        for (at, _) in text.match_indices("const name = ") {
            if let Some(pieces) = title(text[at + "const name = ".len()..].trim_start()) {
                let file = file.to_owned();
                self.titles.push(Title { pieces, file });
            }
        }
    }

    /// The file of a test, by the name of its function or by its title.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        if let Some(file) = self.functions.get(name) {
            return Some(file);
        }
        let fitting = self.titles.iter().filter(|title| title.fits(name));
        // Some titles are little more than what is filled in.
        let title = fitting.max_by_key(|title| title.fixed())?;
        (title.fixed() >= MIN_FIXED).then_some(title.file.as_str())
    }
}

/// Bytes of a title that must be written out, so that it can't be taken for another.
const MIN_FIXED: usize = 5;

impl Title {
    /// How much of it is written out.
    fn fixed(&self) -> usize {
        self.pieces.iter().map(String::len).sum()
    }

    fn fits(&self, name: &str) -> bool {
        let Some((first, rest)) = self.pieces.split_first() else {
            return false;
        };
        let Some(mut left) = name.strip_prefix(first.as_str()) else {
            return false;
        };
        let Some((last, middle)) = rest.split_last() else {
            return left.is_empty();
        };
        for piece in middle {
            let Some(at) = left.find(piece.as_str()) else {
                return false;
            };
            left = &left[at + piece.len()..];
        }
        left.ends_with(last.as_str())
    }
}

/// The pieces of a literal that a text begins with.
fn title(text: &str) -> Option<Vec<String>> {
    let quote = text.chars().next()?;
    if !matches!(quote, '\'' | '"' | '`') {
        return None;
    }
    let mut pieces = vec![String::new()];
    let mut chars = text[1..].chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => pieces.last_mut()?.push(chars.next()?),
            '$' if quote == '`' && chars.peek() == Some(&'{') => {
                let mut depth = 0;
                for c in chars.by_ref() {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    if depth == 0 {
                        break;
                    }
                }
                pieces.push(String::new());
            }
            c if c == quote => return Some(pieces),
            c => pieces.last_mut()?.push(c),
        }
    }
    None
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_title_fits_whatever_is_filled_in() {
        let title = |text: &str, name: &str| {
            let pieces = title(text).unwrap();
            let file = String::new();
            Title { pieces, file }.fits(name)
        };
        assert!(title("'all of it', {", "all of it"));
        assert!(!title("'all of it', {", "all of it, and more"));
        assert!(title("`${kind}, to all`, ", "reliable, to all"));
        assert!(title(
            "`resume, ${a ? `x${b}` : 'y'} and ${c}`",
            "resume, one and two"
        ));
        assert!(!title("`resume, ${a}`", "reset, one"));
        assert!(title("'who\\'s there'", "who's there"));
    }
}
