//! What officials decide: admit, deny, hold, message, remove, a colleague, their own seat, the end.

use super::appointment::{Appointment, Moved, State};
use super::authority::{Authority, OfficialId};
use super::error::Refusal;
use super::event::{EventKind, Fact};
use super::ids::{Digest, PersonId};
use super::limits::{COLLEAGUE_LINK_S, MAX_PEOPLE};
use super::person::{Bye, Gone, Link, LinkState, Message, Needs, Person, Role, Session, Stage};
use super::text::{MessageText, Name, OutcomeCode};
use super::time::Timestamp;

/// Whose media end at once: an identity in the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dismissal {
    /// Person, and session if not the first.
    pub identity: String,
}

impl Dismissal {
    /// Everything that a person may have in the room.
    pub(crate) fn all_of(person: &Person) -> impl Iterator<Item = Self> {
        let seat = person.seat.as_ref();
        let may_be_there = seat.filter(|seat| seat.stage.may_sit());
        may_be_there
            .map(|seat| Self {
                identity: person.identity(seat.number),
            })
            .into_iter()
    }
}

impl Appointment {
    /// Somebody is in the call, or may be: from now on it runs.
    pub(crate) fn begin(&mut self) {
        if self.state == State::Scheduled {
            self.state = State::Running;
        }
    }

    /// Admits somebody who waits, and with them whoever of their pair waits. Another browser takes the place of the one that
    /// had the seat.
    ///
    /// # Errors
    /// [`Refusal::NotWaiting`], [`Refusal::NoPerson`], [`Refusal::Cancelled`], [`Refusal::Ended`].
    pub fn admit(&mut self, id: &PersonId) -> Result<Moved, Refusal> {
        self.check_not_over()?;
        let index = self.index(id)?;
        let person = &self.people[index];
        let waits = person.lobby_stage().waiting_since().is_some();
        if !waits && person.stage() != Stage::Denied {
            return Err(Refusal::NotWaiting);
        }
        let mut moved = Moved::default();
        for i in self.pair(index) {
            let person = &mut self.people[i];
            if i == index || person.lobby_stage().waiting_since().is_some() {
                seat(person, &mut moved);
            }
        }
        self.begin();
        Ok(moved)
    }

    /// Tells somebody no: the browser that waits. `why` is shown to them as a message.
    ///
    /// # Errors
    /// [`Refusal::NotWaiting`] (who has the seat is held or removed instead); [`Refusal::NoPerson`], [`Refusal::Cancelled`],
    /// [`Refusal::Ended`].
    pub fn deny(
        &mut self,
        id: &PersonId,
        why: Option<MessageText>,
        now: Timestamp,
    ) -> Result<Moved, Refusal> {
        self.check_not_over()?;
        let index = self.index(id)?;
        let person = &mut self.people[index];
        let mut moved = Moved::default();
        if let Some(other) = person.other.take() {
            person.gone.push(Gone {
                digest: other.digest,
                why: Bye::Revoked,
            });
        } else {
            match &mut person.seat {
                Some(seat)
                    if matches!(
                        seat.stage,
                        Stage::Opened | Stage::Waiting { .. } | Stage::Held { .. }
                    ) =>
                {
                    seat.stage = Stage::Denied;
                }
                Some(_) | None => return Err(Refusal::NotWaiting),
            }
        }
        if let Some(text) = why {
            person.message = Some(Message { text, at: now });
        }
        moved.push(Fact::of(EventKind::Denied, person));
        Ok(moved)
    }

    /// Sends somebody back to the waiting room, and their pair with them. Nothing of or for them is forwarded from then on.
    ///
    /// # Errors
    /// [`Refusal::NotInCall`]; [`Refusal::NoPerson`], [`Refusal::Cancelled`], [`Refusal::Ended`].
    pub fn hold(&mut self, id: &PersonId, now: Timestamp) -> Result<Moved, Refusal> {
        self.check_not_over()?;
        let index = self.index(id)?;
        if !self.people[index].stage().may_sit() {
            return Err(Refusal::NotInCall);
        }
        let mut moved = Moved::default();
        for i in self.pair(index) {
            let person = &mut self.people[i];
            // The official whom an interpreter works for goes on with the call.
            let spared = i != index && person.role == Role::Official;
            if spared || !person.stage().may_sit() {
                continue;
            }
            moved.dismissed.extend(Dismissal::all_of(person));
            if let Some(seat) = &mut person.seat {
                seat.stage = Stage::Held { since: now };
            }
            moved.push(Fact::of(EventKind::Held, person));
            moved.push(Fact::of(EventKind::Waiting, person));
        }
        Ok(moved)
    }

    /// Removes somebody for good: link and sessions end.
    ///
    /// # Errors
    /// [`Refusal::NoPerson`], [`Refusal::Cancelled`], [`Refusal::Ended`].
    pub fn remove(&mut self, id: &PersonId) -> Result<Moved, Refusal> {
        self.revoke_link(id)
    }

    /// Tells somebody something.
    ///
    /// # Errors
    /// [`Refusal::NoPerson`], [`Refusal::Cancelled`], [`Refusal::Ended`].
    pub fn message(
        &mut self,
        id: &PersonId,
        text: MessageText,
        now: Timestamp,
    ) -> Result<Moved, Refusal> {
        self.check_not_over()?;
        let index = self.index(id)?;
        self.people[index].message = Some(Message { text, at: now });
        Ok(Moved::default())
    }

    /// Adds a colleague, with a link that opens one browser within [`COLLEAGUE_LINK_S`].
    ///
    /// # Errors
    /// [`Refusal::TooManyPeople`], [`Refusal::Cancelled`], [`Refusal::Ended`].
    pub fn add_colleague(
        &mut self,
        id: PersonId,
        name: Name,
        link: Digest,
        now: Timestamp,
    ) -> Result<Moved, Refusal> {
        let link = Link {
            digest: link,
            state: LinkState::Unused,
            one_time: true,
            expires_at: Some(now.plus_s(COLLEAGUE_LINK_S)),
        };
        let index = self.push_official(id, name, Some(link), None)?;
        let mut moved = Moved::default();
        moved.push(Fact::plain(EventKind::Changed));
        moved.push(Fact::of(EventKind::LinkIssued, &self.people[index]));
        Ok(moved)
    }

    /// Gives an official of the day list a seat, the one they had if they had one. Answers with their person.
    ///
    /// # Errors
    /// [`Refusal::TooManyPeople`], [`Refusal::Cancelled`], [`Refusal::Ended`].
    pub fn seat_official(
        &mut self,
        official: &OfficialId,
        name: Name,
        fresh: (PersonId, Digest),
    ) -> Result<(PersonId, Moved), Refusal> {
        self.check_not_over()?;
        let mut moved = Moved::default();
        let own = self
            .people
            .iter()
            .find(|person| person.official.as_ref() == Some(official));
        if let Some(person) = own
            && person.stage().may_sit()
        {
            return Ok((person.id.clone(), moved));
        }
        let (id, digest) = fresh;
        let index = self.push_official(id, name, None, Some(official.clone()))?;
        let person = &mut self.people[index];
        // No browser has this secret: the official's own session stands for it.
        person.numbers = 1;
        person.seat = Some(Session {
            digest,
            number: 1,
            stage: Stage::Admitted,
        });
        person.came = true;
        moved.push(Fact::of(EventKind::Admitted, person));
        let id = person.id.clone();
        self.begin();
        Ok((id, moved))
    }

    fn push_official(
        &mut self,
        id: PersonId,
        name: Name,
        link: Option<Link>,
        official: Option<OfficialId>,
    ) -> Result<usize, Refusal> {
        self.check_not_over()?;
        if self.people.len() >= MAX_PEOPLE {
            return Err(Refusal::TooManyPeople);
        }
        self.people.push(Person {
            id,
            role: Role::Official,
            name,
            needs: Needs::default(),
            language: None,
            linked_to: None,
            official,
            link,
            seat: None,
            other: None,
            gone: Vec::new(),
            sessions: 0,
            numbers: 0,
            agreed: None,
            devices: None,
            message: None,
            came: false,
        });
        Ok(self.people.len() - 1)
    }

    /// Ends the appointment. Everybody must leave.
    ///
    /// # Errors
    /// [`Refusal::WrongOutcome`], [`Refusal::Cancelled`], [`Refusal::Ended`].
    pub fn end(
        &mut self,
        authority: &Authority,
        outcome: OutcomeCode,
        now: Timestamp,
    ) -> Result<Moved, Refusal> {
        self.check_not_over()?;
        if !authority.outcomes.contains(&outcome) {
            return Err(Refusal::WrongOutcome);
        }
        let mut moved = Moved::default();
        self.outcome = Some(outcome.clone());
        self.finish(now, State::Ended, &mut moved);
        moved.push(Fact {
            outcome: Some(outcome),
            ..Fact::plain(EventKind::Ended)
        });
        Ok(moved)
    }
}

/// Gives the browser that waits the seat.
fn seat(person: &mut Person, moved: &mut Moved) {
    let other_waits = person
        .other
        .as_ref()
        .is_some_and(|other| other.stage.waiting_since().is_some());
    if other_waits {
        moved.dismissed.extend(Dismissal::all_of(person));
        let other = person.other.take();
        if let Some(old) = std::mem::replace(&mut person.seat, other) {
            person.gone.push(Gone {
                digest: old.digest,
                why: Bye::Moved,
            });
        }
    }
    if let Some(seat) = &mut person.seat {
        if matches!(seat.stage, Stage::Held { .. }) {
            // The room takes no token for a dismissed identity, those of the next minute included.
            person.numbers += 1;
            seat.number = person.numbers;
        }
        seat.stage = Stage::Admitted;
    }
    person.came = true;
    moved.push(Fact::of(EventKind::Admitted, person));
}
