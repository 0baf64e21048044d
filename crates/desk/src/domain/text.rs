//! Texts that people wrote, held to a length and free of what only terminals and layouts would obey.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::limits::{
    MAX_EXTERNAL_REF, MAX_LANGUAGE, MAX_MESSAGE, MAX_NAME, MAX_OUTCOME, MAX_SUBJECT,
};

/// A text is not what is expected here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("1 to {max} characters are expected, {rule}")]
pub struct InvalidText {
    /// Most characters.
    pub max: usize,
    /// What else is asked of it.
    pub rule: &'static str,
}

/// What a kind of text may be.
pub trait Words {
    /// Most characters (Unicode scalar values).
    const MAX: usize;
    /// Said when a text is refused.
    const RULE: &'static str;

    /// Whether a character may stand in it.
    fn takes(c: char) -> bool;
}

/// Characters that steer a terminal or turn the direction of what follows (Trojan Source, CVE-2021-42574).
fn is_steering(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

macro_rules! words {
    ($kind:ident, $name:ident, $max:expr, $rule:literal, $doc:literal, $takes:expr) => {
        #[doc = concat!("Marks [`", stringify!($name), "`].")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $kind;

        impl Words for $kind {
            const MAX: usize = $max;
            const RULE: &'static str = $rule;

            fn takes(c: char) -> bool {
                let takes: fn(char) -> bool = $takes;
                takes(c)
            }
        }

        #[doc = $doc]
        pub type $name = Line<$kind>;
    };
}

words!(
    NameWords,
    Name,
    MAX_NAME,
    "in one line, not blank",
    "A person's name, as others in the appointment see it.",
    |c| !is_steering(c)
);
words!(
    SubjectWords,
    Subject,
    MAX_SUBJECT,
    "in one line, not blank",
    "What an appointment is about, as citizens see it.",
    |c| !is_steering(c)
);
words!(
    MessageWords,
    MessageText,
    MAX_MESSAGE,
    "not blank",
    "What an official tells somebody who waits.",
    |c| c == '\n' || !is_steering(c)
);
words!(
    RefWords,
    ExternalRef,
    MAX_EXTERNAL_REF,
    "printable ASCII without spaces",
    "How a case system calls an appointment. Opaque; should name nobody.",
    |c| c.is_ascii_graphic()
);
words!(
    LanguageWords,
    LanguageTag,
    MAX_LANGUAGE,
    "of letters, digits and -",
    "A language's tag (BCP 47). Whether an office speaks it, its authority knows.",
    |c| c.is_ascii_alphanumeric() || c == '-'
);
words!(
    OutcomeWords,
    OutcomeCode,
    MAX_OUTCOME,
    "of a–z, 0–9 and _",
    "How an appointment ended: a code of its authority's list.",
    |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
);

/// A text of kind `K`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String", bound = "K: Words + Clone")]
pub struct Line<K>(String, std::marker::PhantomData<K>);

impl<K: Words> Line<K> {
    /// Takes a text, without the blanks around it.
    ///
    /// # Errors
    /// [`InvalidText`].
    pub fn new(text: &str) -> Result<Self, InvalidText> {
        let text = text.trim();
        let fits = !text.is_empty() && text.chars().count() <= K::MAX;
        if fits && text.chars().all(K::takes) {
            Ok(Self(text.to_owned(), std::marker::PhantomData))
        } else {
            Err(InvalidText {
                max: K::MAX,
                rule: K::RULE,
            })
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<K> fmt::Debug for Line<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whatever people wrote stays out of logs, errors and assertions that print a whole appointment.
        f.write_str("Line(…)")
    }
}

impl<K: Words> TryFrom<String> for Line<K> {
    type Error = InvalidText;

    fn try_from(text: String) -> Result<Self, InvalidText> {
        Self::new(&text)
    }
}

impl<K> From<Line<K>> for String {
    fn from(line: Line<K>) -> Self {
        line.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_held_to_their_length_and_letters() {
        assert!(Name::new(&"ä".repeat(MAX_NAME)).is_ok());
        assert!(Name::new(&"ä".repeat(MAX_NAME + 1)).is_err());
        assert!(Subject::new(&"s".repeat(MAX_SUBJECT)).is_ok());
        assert!(Subject::new(&"s".repeat(MAX_SUBJECT + 1)).is_err());
        assert!(MessageText::new(&"m".repeat(MAX_MESSAGE)).is_ok());
        assert!(MessageText::new(&"m".repeat(MAX_MESSAGE + 1)).is_err());
        assert!(ExternalRef::new(&"r".repeat(MAX_EXTERNAL_REF)).is_ok());
        assert!(ExternalRef::new(&"r".repeat(MAX_EXTERNAL_REF + 1)).is_err());
        assert!(OutcomeCode::new(&"o".repeat(MAX_OUTCOME)).is_ok());
        assert!(OutcomeCode::new(&"o".repeat(MAX_OUTCOME + 1)).is_err());
        assert!(LanguageTag::new(&"l".repeat(MAX_LANGUAGE)).is_ok());
        assert!(LanguageTag::new(&"l".repeat(MAX_LANGUAGE + 1)).is_err());
        assert!(LanguageTag::new("de_DE").is_err());
        for bad in ["", "  ", "a\u{202e}b", "a\nb", "a\u{0}"] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
        assert!(MessageText::new("a\nb").is_ok());
        assert!(ExternalRef::new("a b").is_err());
        assert!(OutcomeCode::new("No-Show").is_err());
        // Markup is text: pages never read it as anything else.
        assert_eq!(Name::new(" <b>Ö</b> ").unwrap().as_str(), "<b>Ö</b>");
    }
}
