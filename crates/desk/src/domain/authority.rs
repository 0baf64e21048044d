//! What an authority configured, as far as the domain asks for it.

use std::collections::BTreeMap;

use schalter_model::AuthorityId;
use serde::Serialize;

use super::error::Refusal;
use super::ids::Digest;
use super::limits::MAX_NAME;
use super::text::{LanguageTag, Name, OutcomeCode};
use super::time::TimeZone;

/// An official, as the authority's login or configuration calls them: 1 to 200 printable characters, no name.
pub type OfficialId = String;

/// An office. Everything in the desk belongs to one.
#[derive(Clone, Debug)]
pub struct Authority {
    /// Who.
    pub id: AuthorityId,
    /// As citizens see it.
    pub name: String,
    /// Whose days the day list has.
    pub time_zone: TimeZone,
    /// Where people find help.
    pub help: Help,
    /// Days after an appointment's end that its record is kept.
    pub retention_days: u32,
    /// Seconds before the start from which links open.
    pub opens_before_s: u64,
    /// Seconds after the end until which links open.
    pub closes_after_s: u64,
    /// What people read before they wait.
    pub notice: Notice,
    /// The same for who reads another language, by its tag.
    pub notices: BTreeMap<String, Notice>,
    /// How an appointment may end.
    pub outcomes: Vec<OutcomeCode>,
    /// Tags of languages (BCP 47), the first by default.
    pub languages: Vec<String>,
    /// Pages that must be reachable from everywhere.
    pub links: Links,
    /// Colours by their names in the theme (`primary`, `on_primary`), as CSS hex.
    pub colours: BTreeMap<String, String>,
    /// Whether calls are encrypted between the browsers.
    pub end_to_end: EndToEnd,
}

/// How long what an authority has is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Days after an appointment was over.
    pub days: u32,
    /// Seconds after its planned end from which one is over that nobody ended.
    pub closes_after_s: u64,
}

impl Retention {
    /// Seconds after an appointment was over.
    pub const fn kept_s(self) -> u64 {
        self.days as u64 * 86_400
    }
}

impl Authority {
    /// How long what it has is kept.
    pub const fn retention(&self) -> Retention {
        Retention {
            days: self.retention_days,
            closes_after_s: self.closes_after_s,
        }
    }

    /// Seconds before the start from which links open.
    pub const OPENS_BEFORE_S: u64 = 30 * 60;
    /// Seconds after the end until which links open.
    pub const CLOSES_AFTER_S: u64 = 60 * 60;
    /// Outcomes of an authority that names none.
    pub const OUTCOMES: [&str; 4] = ["done", NO_SHOW, "reschedule", "technical"];

    /// The office as others in a call see it, for whoever has no name of their own there.
    pub fn seen_as(&self) -> Name {
        let short: String = self.name.chars().take(MAX_NAME).collect();
        // An id is always a name.
        let name = Name::new(&short).or_else(|_| Name::new(self.id.as_str()));
        name.expect("an authority's id has printable characters and is short")
    }

    /// Refuses a language in which the office writes to nobody.
    ///
    /// # Errors
    /// [`Refusal::WrongLanguage`].
    pub fn check_language(&self, language: Option<&LanguageTag>) -> Result<(), Refusal> {
        let known = |tag: &LanguageTag| self.languages.iter().any(|own| own == tag.as_str());
        language
            .is_none_or(known)
            .then_some(())
            .ok_or(Refusal::WrongLanguage)
    }

    /// Whether the notice reads like this in any language: whoever agrees has read one of them.
    pub fn reads(&self, notice: &Digest) -> bool {
        self.notice_with(notice).is_some()
    }

    /// The notice with this hash, in whatever language.
    pub fn notice_with(&self, hash: &Digest) -> Option<&Notice> {
        std::iter::once(&self.notice)
            .chain(self.notices.values())
            .find(|shown| shown.hash() == *hash)
    }

    /// The outcomes of an authority that names none.
    pub fn default_outcomes() -> Vec<OutcomeCode> {
        Self::OUTCOMES
            .iter()
            .filter_map(|code| OutcomeCode::new(code).ok())
            .collect()
    }
}

/// The outcome of an appointment to which nobody came.
pub(crate) const NO_SHOW: &str = "no_show";

/// Whether what is said and shown in a call is encrypted between the browsers, so that this server can't read it. The browsers agree on the keys;
/// the server only tells its pages what the office wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndToEnd {
    /// Never.
    Off,
    /// Where the browsers of all who are there can.
    #[default]
    Possible,
    /// Always: who can't is told before they wait.
    Required,
}

/// Where people find help.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Help {
    /// A telephone number.
    pub phone: String,
    /// When it is answered, and by whom.
    pub text: String,
}

/// Pages of the office.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// Imprint.
    pub imprint: Option<String>,
    /// Privacy statement.
    pub privacy: Option<String>,
    /// Accessibility statement.
    pub accessibility: Option<String>,
    /// Where barriers are reported.
    pub feedback: Option<String>,
}

/// Whether people are told, or asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// Told.
    Notice,
    /// Asked.
    Consent,
}

impl NoticeKind {
    /// The word in JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Consent => "consent",
        }
    }
}

/// What people read before they wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Told or asked.
    pub kind: NoticeKind,
    /// Heading.
    pub title: String,
    /// The short text.
    pub text: String,
    /// What can be unfolded.
    pub details: String,
}

impl Notice {
    /// SHA-256 of kind, heading, text and details, each after its length: what was shown, provably.
    pub fn hash(&self) -> Digest {
        let mut bytes = Vec::new();
        for part in [self.kind.label(), &self.title, &self.text, &self.details] {
            bytes.extend((part.len() as u64).to_be_bytes());
            bytes.extend(part.as_bytes());
        }
        Digest::of(&bytes)
    }
}
