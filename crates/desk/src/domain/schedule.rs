//! Planning: create, change, cancel, people, links, and what happens when the doors close.

use schalter_model::AuthorityId;

use super::appointment::{Appointment, Moved, State, When};
use super::authority::{Authority, NO_SHOW};
use super::error::Refusal;
use super::event::{EventKind, Fact};
use super::ids::{AppointmentId, Digest, PersonId};
use super::limits::{MAX_AHEAD_S, MAX_DURATION_S, MAX_PEOPLE, MIN_DURATION_S};
use super::official::Dismissal;
use super::person::{Bye, Gone, Link, LinkState, Needs, Person, Role};
use super::text::{ExternalRef, LanguageTag, Name, OutcomeCode, Subject};
use super::time::Timestamp;

/// Somebody to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPerson {
    /// Fresh.
    pub id: PersonId,
    /// What they are there for.
    pub role: Role,
    /// As others see it.
    pub name: Name,
    /// What they need.
    pub needs: Needs,
    /// One of the authority's.
    pub language: Option<LanguageTag>,
    /// Whom an interpreter or companion belongs to.
    pub linked_to: Option<PersonId>,
    /// Digest of a fresh token.
    pub link: Digest,
}

/// An appointment to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAppointment {
    /// Fresh.
    pub id: AppointmentId,
    /// How the case system calls it.
    pub external_ref: Option<ExternalRef>,
    /// What it is about.
    pub subject: Subject,
    /// Its window.
    pub when: When,
    /// Who takes part.
    pub people: Vec<NewPerson>,
}

/// A change of plan: what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// What it is about.
    pub subject: Option<Subject>,
    /// Its start.
    pub starts_at: Option<Timestamp>,
    /// Its end.
    pub ends_at: Option<Timestamp>,
    /// How the case system calls it; `Some(None)` takes it away.
    pub external_ref: Option<Option<ExternalRef>>,
}

/// A change of somebody: what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersonPatch {
    /// As others see it.
    pub name: Option<Name>,
    /// What they are there for.
    pub role: Option<Role>,
    /// One of the authority's; `Some(None)` takes it away.
    pub language: Option<Option<LanguageTag>>,
    /// Whom an interpreter or companion belongs to; `Some(None)` takes it away.
    pub linked_to: Option<Option<PersonId>>,
}

fn check_window(when: When, now: Timestamp) -> Result<(), Refusal> {
    let length = when.ends_at.since_s(when.starts_at);
    let fits = (MIN_DURATION_S..=MAX_DURATION_S).contains(&length)
        && when.ends_at > now
        && when.starts_at <= now.plus_s(MAX_AHEAD_S);
    fits.then_some(()).ok_or(Refusal::WrongWindow)
}

fn check_people(people: &[Person]) -> Result<(), Refusal> {
    if people.len() > MAX_PEOPLE {
        return Err(Refusal::TooManyPeople);
    }
    if !people.iter().any(|person| person.role == Role::Citizen) {
        return Err(Refusal::NoCitizen);
    }
    for person in people {
        let fits = match &person.linked_to {
            None => true,
            Some(partner) => {
                person.role.is_linked()
                    && people.iter().any(|other| {
                        other.id == *partner && matches!(other.role, Role::Citizen | Role::Official)
                    })
            }
        };
        if !fits {
            return Err(Refusal::WrongPartner);
        }
    }
    Ok(())
}

impl NewPerson {
    fn into_person(self) -> Person {
        Person {
            id: self.id,
            role: self.role,
            name: self.name,
            needs: self.needs,
            language: self.language,
            linked_to: self.linked_to,
            official: None,
            link: Some(Link {
                digest: self.link,
                state: LinkState::Unused,
                one_time: false,
                expires_at: None,
            }),
            seat: None,
            other: None,
            gone: Vec::new(),
            sessions: 0,
            numbers: 0,
            agreed: None,
            devices: None,
            message: None,
            came: false,
        }
    }
}

impl Appointment {
    /// Makes one.
    ///
    /// # Errors
    /// [`Refusal::WrongWindow`], [`Refusal::TooManyPeople`], [`Refusal::NoCitizen`], [`Refusal::WrongPartner`].
    pub fn create(
        authority: &AuthorityId,
        new: NewAppointment,
        now: Timestamp,
    ) -> Result<(Self, Moved), Refusal> {
        check_window(new.when, now)?;
        let people: Vec<Person> = new.people.into_iter().map(NewPerson::into_person).collect();
        check_people(&people)?;
        let mut moved = Moved::default();
        moved.push(Fact::plain(EventKind::Created));
        for person in &people {
            moved.push(Fact::of(EventKind::LinkIssued, person));
        }
        let appointment = Self {
            id: new.id,
            authority: authority.as_str().to_owned(),
            external_ref: new.external_ref,
            subject: new.subject,
            when: new.when,
            state: State::Scheduled,
            outcome: None,
            created_at: now,
            over_at: None,
            people,
            version: 0,
        };
        Ok((appointment, moved))
    }

    /// Changes the plan. Subject and reference may change until it is over, the window until somebody was admitted.
    ///
    /// # Errors
    /// [`Refusal::Cancelled`], [`Refusal::Ended`], [`Refusal::NotScheduled`], [`Refusal::WrongWindow`].
    pub fn change(&mut self, patch: Patch, now: Timestamp) -> Result<Moved, Refusal> {
        self.check_not_over()?;
        let when = When {
            starts_at: patch.starts_at.unwrap_or(self.when.starts_at),
            ends_at: patch.ends_at.unwrap_or(self.when.ends_at),
        };
        if when != self.when {
            // Who talks may talk longer than planned; nothing else of the window can change under them.
            if self.state != State::Scheduled && when.starts_at != self.when.starts_at {
                return Err(Refusal::NotScheduled);
            }
            check_window(when, now)?;
            self.when = when;
        }
        if let Some(subject) = patch.subject {
            self.subject = subject;
        }
        if let Some(external_ref) = patch.external_ref {
            self.external_ref = external_ref;
        }
        let mut moved = Moved::default();
        moved.push(Fact::plain(EventKind::Changed));
        Ok(moved)
    }

    /// Cancels it. Whoever waits is told.
    ///
    /// # Errors
    /// [`Refusal::Cancelled`], [`Refusal::Ended`], [`Refusal::NotScheduled`] if somebody was admitted: then it is ended.
    pub fn cancel(&mut self, now: Timestamp) -> Result<Moved, Refusal> {
        self.check_not_over()?;
        if self.state != State::Scheduled {
            return Err(Refusal::NotScheduled);
        }
        let mut moved = Moved::default();
        moved.push(Fact::plain(EventKind::Cancelled));
        self.finish(now, State::Cancelled, &mut moved);
        Ok(moved)
    }

    /// Adds somebody.
    ///
    /// # Errors
    /// As for [`Self::create`]; [`Refusal::Cancelled`], [`Refusal::Ended`].
    pub fn add_person(&mut self, new: NewPerson) -> Result<Moved, Refusal> {
        self.check_not_over()?;
        let mut people = self.people.clone();
        people.push(new.into_person());
        check_people(&people)?;
        let mut moved = Moved::default();
        moved.push(Fact::plain(EventKind::Changed));
        moved.facts.extend(
            people
                .last()
                .map(|person| Fact::of(EventKind::LinkIssued, person)),
        );
        self.people = people;
        Ok(moved)
    }

    /// Changes somebody. Name and language may change until it is over. Role and partner may while nobody opened the link: by them it is decided what
    /// somebody agrees to, with whom they are admitted, and what the seat is good for. Nor does anybody become an official, or cease to be one: their
    /// links lead to another page, and were given out already.
    ///
    /// # Errors
    /// [`Refusal::NoPerson`], [`Refusal::RoleFixed`]; [`Refusal::NoCitizen`], [`Refusal::WrongPartner`] as for [`Self::create`];
    /// [`Refusal::Cancelled`], [`Refusal::Ended`].
    pub fn change_person(&mut self, id: &PersonId, patch: PersonPatch) -> Result<Moved, Refusal> {
        self.check_not_over()?;
        let index = self.index(id)?;
        let mut people = self.people.clone();
        let person = &mut people[index];
        let role = patch.role.unwrap_or(person.role);
        let linked_to = patch.linked_to.unwrap_or_else(|| person.linked_to.clone());
        if role != person.role || linked_to != person.linked_to {
            let official = role == Role::Official || person.role == Role::Official;
            let crosses = official && role != person.role;
            if crosses || person.link_state() != LinkState::Unused || person.sessions > 0 {
                return Err(Refusal::RoleFixed);
            }
            person.role = role;
            person.linked_to = linked_to;
        }
        if let Some(name) = patch.name {
            person.name = name;
        }
        if let Some(language) = patch.language {
            person.language = language;
        }
        check_people(&people)?;
        let mut moved = Moved::default();
        moved.push(Fact::of(EventKind::Changed, &people[index]));
        self.people = people;
        Ok(moved)
    }

    /// Takes somebody out, with the link and whatever they have open.
    ///
    /// # Errors
    /// [`Refusal::NoPerson`]; [`Refusal::NoCitizen`] for the last one; [`Refusal::WrongPartner`] while others are linked
    /// to them; [`Refusal::Cancelled`], [`Refusal::Ended`].
    pub fn remove_person(&mut self, id: &PersonId) -> Result<Moved, Refusal> {
        self.check_not_over()?;
        let index = self.index(id)?;
        let mut people = self.people.clone();
        let removed = people.remove(index);
        check_people(&people)?;
        let mut moved = Moved::default();
        moved.push(Fact::plain(EventKind::Changed));
        if removed.link_state() != LinkState::Revoked {
            moved.push(Fact::of(EventKind::LinkRevoked, &removed));
        }
        moved.dismissed.extend(Dismissal::all_of(&removed));
        self.people = people;
        Ok(moved)
    }

    /// Gives somebody a new link; the old one is good for nothing, and whatever was open by it ends.
    ///
    /// # Errors
    /// [`Refusal::NoPerson`], [`Refusal::Cancelled`], [`Refusal::Ended`].
    pub fn reissue_link(&mut self, id: &PersonId, link: Digest) -> Result<Moved, Refusal> {
        let mut moved = self.revoke_link(id)?;
        let index = self.index(id)?;
        let person = &mut self.people[index];
        person.link = Some(Link {
            digest: link,
            state: LinkState::Unused,
            one_time: false,
            expires_at: None,
        });
        moved.push(Fact::of(EventKind::LinkIssued, person));
        Ok(moved)
    }

    /// Withdraws somebody's link, and ends whatever is open by it.
    ///
    /// # Errors
    /// [`Refusal::NoPerson`], [`Refusal::Cancelled`], [`Refusal::Ended`].
    pub fn revoke_link(&mut self, id: &PersonId) -> Result<Moved, Refusal> {
        self.check_not_over()?;
        let index = self.index(id)?;
        let mut moved = Moved::default();
        self.expel(index, &mut moved);
        Ok(moved)
    }

    /// Ends a person's sessions and link.
    pub(crate) fn expel(&mut self, index: usize, moved: &mut Moved) {
        let person = &mut self.people[index];
        if let Some(link) = &mut person.link
            && link.state != LinkState::Revoked
        {
            link.state = LinkState::Revoked;
            moved.push(Fact::of(EventKind::LinkRevoked, person));
        }
        moved.dismissed.extend(Dismissal::all_of(person));
        let ended = [person.seat.take(), person.other.take()];
        for session in ended.into_iter().flatten() {
            person.gone.push(Gone {
                digest: session.digest,
                why: Bye::Revoked,
            });
        }
    }

    /// Ends it for the reason that its doors have closed; nothing happens before.
    pub fn close(&mut self, authority: &Authority, now: Timestamp) -> Moved {
        let mut moved = Moved::default();
        if self.state.is_over() || now < self.closes_at(authority) {
            return moved;
        }
        let nobody_came = self
            .people
            .iter()
            .all(|person| person.role != Role::Citizen || !person.came);
        if nobody_came {
            self.outcome = OutcomeCode::new(NO_SHOW)
                .ok()
                .filter(|code| authority.outcomes.contains(code));
        }
        // As of then, however late the sweep comes: what is kept is not kept longer for that.
        self.finish(self.closes_at(authority), State::Ended, &mut moved);
        moved.push(Fact {
            outcome: self.outcome.clone(),
            ..Fact::plain(EventKind::Ended)
        });
        moved
    }

    pub(crate) fn check_not_over(&self) -> Result<(), Refusal> {
        match self.state {
            State::Scheduled | State::Running => Ok(()),
            State::Ended => Err(Refusal::Ended),
            State::Cancelled => Err(Refusal::Cancelled),
        }
    }
}
