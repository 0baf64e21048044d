//! The aggregate: an appointment, its people, and what is true of it at a moment.

use schalter_model::AuthorityId;
use serde::{Deserialize, Serialize};

use super::authority::Authority;
use super::error::Refusal;
use super::event::{EventKind, Fact};
use super::ids::{AppointmentId, Digest, PersonId};
use super::official::Dismissal;
use super::person::{Bye, Gone, Person, Role, Session, Stage};
use super::text::{ExternalRef, OutcomeCode, Subject};
use super::time::Timestamp;

/// Whether an appointment is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nobody was admitted yet.
    Scheduled,
    /// Somebody was.
    Running,
    /// Over.
    Ended,
    /// Did not take place.
    Cancelled,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Scheduled, Self::Running, Self::Ended, Self::Cancelled];

    /// The word in JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Ended => "ended",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing happens in it any more.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Cancelled)
    }
}

/// The window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct When {
    /// Start.
    pub starts_at: Timestamp,
    /// End; after the start.
    pub ends_at: Timestamp,
}

/// An appointment with everybody in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appointment {
    /// Also the name of its room.
    pub id: AppointmentId,
    /// Whose it is: [`AuthorityId`] as text.
    pub authority: String,
    /// How the case system calls it.
    pub external_ref: Option<ExternalRef>,
    /// What it is about.
    pub subject: Subject,
    /// Its window.
    pub when: When,
    /// Whether it is still to come.
    pub state: State,
    /// How it ended.
    pub outcome: Option<OutcomeCode>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ended or was cancelled.
    pub over_at: Option<Timestamp>,
    /// Who takes part, in the order in which they were added.
    pub people: Vec<Person>,
    /// Grows by one with each change; the store sets it. `ETag` is this in quotes.
    pub version: u64,
}

/// What a change brings about outside of the appointment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// For integrators, in this order.
    pub facts: Vec<Fact>,
    /// Whose media end at once.
    pub dismissed: Vec<Dismissal>,
    /// Whether everybody's do.
    pub closes_room: bool,
}

impl Moved {
    pub(crate) fn push(&mut self, fact: Fact) {
        self.facts.push(fact);
    }

    /// Whether nothing changed.
    pub fn is_nothing(&self) -> bool {
        self.facts.is_empty() && self.dismissed.is_empty() && !self.closes_room
    }
}

impl Appointment {
    /// Whether it is this authority's.
    pub fn is_of(&self, authority: &AuthorityId) -> bool {
        self.authority == authority.as_str()
    }

    /// From when links open.
    pub fn opens_at(&self, authority: &Authority) -> Timestamp {
        self.when.starts_at.minus_s(authority.opens_before_s)
    }

    /// Until when links open.
    pub fn closes_at(&self, authority: &Authority) -> Timestamp {
        self.when.ends_at.plus_s(authority.closes_after_s)
    }

    /// Whether it should have begun, and nobody of those it is for is there yet.
    pub fn is_late(&self, now: Timestamp) -> bool {
        self.state == State::Scheduled
            && now > self.when.starts_at
            && self
                .people
                .iter()
                .filter(|person| person.role == Role::Citizen)
                .all(|person| !person.came)
    }

    /// From when its record may be erased.
    pub fn purge_at(&self, authority: &Authority) -> Timestamp {
        let over = self.over_at.unwrap_or_else(|| self.closes_at(authority));
        over.plus_s(authority.retention().kept_s())
    }

    /// A person by id.
    ///
    /// # Errors
    /// [`Refusal::NoPerson`].
    pub fn person(&self, id: &PersonId) -> Result<&Person, Refusal> {
        self.people
            .iter()
            .find(|person| person.id == *id)
            .ok_or(Refusal::NoPerson)
    }

    pub(crate) fn index(&self, id: &PersonId) -> Result<usize, Refusal> {
        self.people
            .iter()
            .position(|person| person.id == *id)
            .ok_or(Refusal::NoPerson)
    }

    /// Whose session a cookie's digest is, and the session.
    ///
    /// # Errors
    /// [`Refusal::NoSession`].
    pub fn visitor(&self, digest: &Digest) -> Result<(&Person, &Session), Refusal> {
        self.people
            .iter()
            .find_map(|person| Some((person, person.session(digest)?)))
            .ok_or(Refusal::NoSession)
    }

    /// Why a browser has no session any more, if it once had one.
    pub fn farewell(&self, digest: &Digest) -> Option<Bye> {
        self.people
            .iter()
            .find_map(|person| person.farewell(digest))
    }

    /// Everybody who is admitted and held together with this person: the partner they are linked to, and whoever is
    /// linked to the same.
    pub(crate) fn pair(&self, index: usize) -> Vec<usize> {
        let person = &self.people[index];
        let head = person.linked_to.as_ref().unwrap_or(&person.id);
        (0..self.people.len())
            .filter(|i| {
                let other = &self.people[*i];
                other.id == *head || other.linked_to.as_ref() == Some(head)
            })
            .collect()
    }

    /// Digests by which somebody may ask for this appointment: links and sessions, ended ones too.
    pub fn digests(&self) -> Vec<Digest> {
        let mut digests = Vec::new();
        for person in &self.people {
            digests.extend(person.link.iter().map(|link| link.digest));
            digests.extend(person.seat.iter().map(|session| session.digest));
            digests.extend(person.other.iter().map(|session| session.digest));
            digests.extend(person.gone.iter().map(|gone| gone.digest));
        }
        digests
    }

    /// Ends every session. Called when the appointment is over.
    pub(crate) fn finish(&mut self, now: Timestamp, state: State, moved: &mut Moved) {
        for person in &mut self.people {
            let never_came = !person.came && person.role == Role::Citizen;
            if state == State::Ended && never_came {
                moved.facts.push(Fact::of(EventKind::NoShow, person));
            }
            if let Some(seat) = &mut person.seat {
                seat.stage = Stage::Ended;
            }
            if let Some(other) = person.other.take() {
                person.gone.push(Gone {
                    digest: other.digest,
                    why: Bye::Ended,
                });
            }
        }
        self.state = state;
        self.over_at = Some(now);
        moved.closes_room = true;
    }
}
