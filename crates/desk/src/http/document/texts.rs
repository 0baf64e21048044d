//! The words of a record, by language: the files beside this one.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::domain::{EventKind, Role, State};

/// Everything that a record says by itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Texts {
    /// BCP 47.
    pub(super) language: String,
    /// How times are written, as `strftime` has it.
    pub(super) time: String,
    pub(super) title: String,
    pub(super) appointment: String,
    pub(super) what: String,
    pub(super) value: String,
    pub(super) people: String,
    pub(super) agreements: String,
    pub(super) history: String,
    pub(super) office: String,
    pub(super) id: String,
    pub(super) external_ref: String,
    pub(super) subject: String,
    pub(super) starts_at: String,
    pub(super) ends_at: String,
    pub(super) created_at: String,
    pub(super) over_at: String,
    pub(super) state: String,
    pub(super) outcome: String,
    pub(super) call_began: String,
    pub(super) call_ended: String,
    pub(super) call_length: String,
    /// With `{minutes}` and `{seconds}`.
    pub(super) minutes_seconds: String,
    pub(super) no_call: String,
    pub(super) version: String,
    pub(super) printed_at: String,
    pub(super) role: String,
    pub(super) name: String,
    pub(super) needs: String,
    pub(super) linked_to: String,
    pub(super) time_column: String,
    pub(super) event: String,
    pub(super) by: String,
    pub(super) notice: String,
    pub(super) hash: String,
    pub(super) former_notice: String,
    pub(super) nobody: String,
    pub(super) none: String,
    /// With `{id}`.
    pub(super) official: String,
    /// With `{id}`.
    pub(super) integrator: String,
    pub(super) system: String,
    /// With `{id}`.
    pub(super) former_person: String,
    /// With `{proven}`, `{events}`, `{log}`, `{size}` and `{root}`.
    pub(super) logged: String,
    pub(super) not_logged: String,
    roles: BTreeMap<String, String>,
    states: BTreeMap<String, String>,
    outcomes: BTreeMap<String, String>,
    pub(super) need: NeedTexts,
    events: BTreeMap<String, String>,
}

/// The words for each need.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NeedTexts {
    pub(super) signing: String,
    pub(super) live_text: String,
    pub(super) interpreter: String,
    pub(super) companion: String,
}

static GERMAN: LazyLock<Texts> = LazyLock::new(|| read(include_str!("texts.de.json")));
static ENGLISH: LazyLock<Texts> = LazyLock::new(|| read(include_str!("texts.en.json")));

fn read(json: &str) -> Texts {
    serde_json::from_str(json).expect("the embedded files have every text; a test reads them")
}

fn word<'a>(words: &'a BTreeMap<String, String>, label: &'a str) -> &'a str {
    words.get(label).map_or(label, String::as_str)
}

impl Texts {
    /// Those of the first language that there are any in; German otherwise. Officials read it: Leichte Sprache is German here.
    pub(super) fn of(languages: &[String]) -> &'static Self {
        let known = |tag: &String| match tag.split('-').next() {
            Some("de") => Some(&*GERMAN),
            Some("en") => Some(&*ENGLISH),
            Some(_) | None => None,
        };
        languages.iter().find_map(known).unwrap_or(&GERMAN)
    }

    pub(super) fn role(&self, role: Role) -> &str {
        word(&self.roles, role.label())
    }

    pub(super) fn state_of(&self, state: State) -> &str {
        word(&self.states, state.label())
    }

    /// The word for a code; the code itself where an office has its own.
    pub(super) fn outcome_of<'a>(&'a self, code: &'a str) -> &'a str {
        word(&self.outcomes, code)
    }

    pub(super) fn event_of(&self, kind: EventKind) -> &str {
        word(&self.events, kind.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Authority;

    #[test]
    fn every_role_state_outcome_and_event_has_a_word_in_each_language() {
        for texts in [&*GERMAN, &*ENGLISH] {
            let has = |words: &BTreeMap<String, String>, labels: &[&str]| {
                let mut labels: Vec<_> = labels.to_vec();
                labels.sort_unstable();
                assert_eq!(words.keys().collect::<Vec<_>>(), labels);
            };
            has(&texts.roles, &Role::ALL.map(Role::label));
            has(&texts.states, &State::ALL.map(State::label));
            has(&texts.outcomes, &Authority::OUTCOMES);
            let kinds: Vec<_> = EventKind::ALL.iter().map(|kind| kind.label()).collect();
            has(&texts.events, &kinds);
        }
    }

    #[test]
    fn the_first_language_that_there_are_words_in_is_taken() {
        let language = |tags: &[&str]| {
            let tags: Vec<_> = tags.iter().map(ToString::to_string).collect();
            Texts::of(&tags).language.as_str()
        };
        assert_eq!(language(&["de-leicht", "en"]), "de");
        assert_eq!(language(&["tr", "en", "de"]), "en");
        assert_eq!(language(&["tr"]), "de");
        assert_eq!(language(&[]), "de");
    }
}
