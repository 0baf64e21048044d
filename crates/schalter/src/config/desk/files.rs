//! Files that an office brings: texts, notice, logo. They are read at the start, bounded, and text stays text.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use schalter_desk::domain::OutcomeCode;

use crate::config::document::{Complaint, Value};

/// Largest file of texts or of a notice.
pub(super) const MAX_TEXT_BYTES: u64 = 256 * 1024;
/// Largest logo.
pub(super) const MAX_LOGO_BYTES: u64 = 512 * 1024;
/// Characters of one text.
const MAX_TEXT_CHARS: usize = 4_000;
/// Texts of one language: more than the pages have.
const MAX_TEXTS: usize = 2_000;

/// The bytes of a file of at most `most` bytes.
pub(super) fn bytes(value: &Value<'_>, most: u64) -> Result<Vec<u8>, Complaint> {
    let path = Path::new(value.text()?);
    let complain = |error: std::io::Error| value.complain(format!("{}: {error}", path.display()));
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > most => {
            return value.complain(format!("{}: larger than {most} bytes", path.display()));
        }
        Ok(metadata) if !metadata.is_file() => {
            return value.complain(format!("{}: not a file", path.display()));
        }
        Ok(_) => {}
        Err(error) => return complain(error),
    }
    std::fs::read(path).or_else(complain)
}

/// The text of a file.
pub(super) fn text(value: &Value<'_>) -> Result<String, Complaint> {
    String::from_utf8(bytes(value, MAX_TEXT_BYTES)?)
        .or_else(|_| value.complain("the file is not UTF-8"))
}

/// What the pages say without an office, by name.
static WORDS: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    serde_json::from_slice(schalter_web::WORDS)
        .expect("the pages' own words are a JSON object of texts")
});

/// Texts by name: a JSON object of strings. Each stands in place of one of the pages', or names one of these outcomes; any other would be
/// shown nowhere, and whoever mistyped it would not learn why.
pub(super) fn texts(
    value: &Value<'_>,
    outcomes: &[OutcomeCode],
) -> Result<BTreeMap<String, String>, Complaint> {
    let texts: BTreeMap<String, String> = match serde_json::from_str(&text(value)?) {
        Ok(texts) => texts,
        Err(error) => {
            return value.complain(format!(
                "the file is no JSON object of texts (line {})",
                error.line()
            ));
        }
    };
    if texts.len() > MAX_TEXTS {
        return value.complain(format!("the file has more than {MAX_TEXTS} texts"));
    }
    let known = |name: &str| {
        let outcome = name.strip_prefix("outcome.");
        WORDS.contains_key(name) || outcomes.iter().any(|code| outcome == Some(code.as_str()))
    };
    if let Some(unknown) = texts.keys().find(|name| !known(name)) {
        return value.complain(format!(
            "the pages have no text {unknown:?}; this server tells all names at /assets/texts/de.json"
        ));
    }
    let long = texts
        .iter()
        .find(|(_, text)| text.chars().count() > MAX_TEXT_CHARS);
    if let Some((key, _)) = long {
        return value.complain(format!(
            "the text {key:?} is longer than {MAX_TEXT_CHARS} characters"
        ));
    }
    Ok(texts)
}

/// A picture's kind by its first bytes, never by its name.
pub(super) fn picture_type(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some("image/png");
    }
    if bytes.starts_with(b"\xff\xd8\xff") {
        return Some("image/jpeg");
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Some("image/webp");
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let begins = text.starts_with("<svg") || text.starts_with("<?xml") || text.starts_with("<!--");
    (begins && text.contains("<svg")).then_some("image/svg+xml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_what_it_begins_with() {
        assert_eq!(picture_type(b"\x89PNG\r\n\x1a\n..."), Some("image/png"));
        assert_eq!(picture_type(b"\xff\xd8\xff\xe0"), Some("image/jpeg"));
        assert_eq!(picture_type(b"RIFF\0\0\0\0WEBPVP8 "), Some("image/webp"));
        assert_eq!(picture_type(b" <svg xmlns='x'/>"), Some("image/svg+xml"));
        assert_eq!(
            picture_type(b"<?xml version='1.0'?><svg/>"),
            Some("image/svg+xml")
        );
        for other in [&b"<html><svg>"[..], b"", b"GIF89a", b"\xff\xfe<\0s\0v\0g\0"] {
            assert_eq!(picture_type(other), None);
        }
    }
}
