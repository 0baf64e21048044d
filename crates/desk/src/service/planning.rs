//! Commands of integrators and officials on the plan.

use super::change::{Done, Keep, Step, Subject, Terms};
use super::{Caller, Desk, DeskError};
use crate::domain::{
    Appointment, AppointmentId, ExternalRef, LanguageTag, LinkToken, Name, Needs, NewAppointment,
    NewPerson, Patch, PersonId, PersonPatch, Refusal, Role, Subject as About, When,
};
use crate::store::Filter;

/// Somebody to be added, before there are ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonInput {
    /// What they are there for.
    pub role: Role,
    /// As others see it.
    pub name: Name,
    /// What they need.
    pub needs: Needs,
    /// In which the office writes to them.
    pub language: Option<LanguageTag>,
    /// Whom an interpreter or companion belongs to.
    pub linked_to: Partner,
}

/// Whom somebody is linked to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Partner {
    /// Nobody.
    #[default]
    Nobody,
    /// Somebody who is in the appointment.
    Person(PersonId),
    /// Somebody in the same request, by their place from 0.
    Place(usize),
}

impl Desk {
    fn fresh_person(&self) -> (PersonId, LinkToken) {
        (
            PersonId::from_random(self.random()),
            LinkToken::from_random(self.random()),
        )
    }

    /// Makes an appointment, with a link for everybody.
    ///
    /// # Errors
    /// What [`Appointment::create`] refuses; [`DeskError::Replay`] and [`DeskError::KeyReused`] with `keep`.
    pub async fn create(
        &self,
        caller: &Caller,
        about: (Option<ExternalRef>, About, When),
        people: Vec<PersonInput>,
        keep: Option<&Keep<'_>>,
    ) -> Result<Done, DeskError> {
        let authority = self.authority(&caller.authority)?;
        self.check_kept(keep).await?;
        for input in &people {
            authority.check_language(input.language.as_ref())?;
        }
        let (external_ref, subject, when) = about;
        let links: Vec<_> = people.iter().map(|_| self.fresh_person()).collect();
        let people = people
            .into_iter()
            .zip(&links)
            .map(|(input, (id, token))| {
                let linked_to = match input.linked_to {
                    Partner::Nobody => None,
                    Partner::Person(id) => Some(id),
                    Partner::Place(place) => {
                        let (id, _) = links.get(place).ok_or(Refusal::WrongPartner)?;
                        Some(id.clone())
                    }
                };
                Ok(NewPerson {
                    id: id.clone(),
                    role: input.role,
                    name: input.name,
                    needs: input.needs,
                    language: input.language,
                    linked_to,
                    link: token.digest(),
                })
            })
            .collect::<Result<Vec<_>, Refusal>>()?;
        let id = AppointmentId::from_random(self.random());
        let new = NewAppointment {
            id: id.clone(),
            external_ref,
            subject,
            when,
            people,
        };
        let now = self.now();
        let (appointment, moved) = Appointment::create(&caller.authority, new, now)?;
        let done = Done {
            appointment,
            person: None,
            links,
        };
        let by = caller.by();
        let subject = Subject {
            authority: &caller.authority,
            id: &id,
            by: &by,
            expected: None,
            keep,
        };
        match self.store_and_tell(done, moved, &subject, now).await {
            // Twins: the other one's answer is there now.
            Err(DeskError::Store(crate::store::StoreError::Repeated)) => {
                self.check_kept(keep).await?;
                Err(DeskError::Busy)
            }
            other => other,
        }
    }

    /// An appointment of the caller's authority.
    ///
    /// # Errors
    /// [`Refusal::NoAppointment`].
    pub async fn appointment(
        &self,
        caller: &Caller,
        id: &AppointmentId,
    ) -> Result<Appointment, DeskError> {
        let found = self.store.load(&caller.authority, id).await;
        Ok(found
            .map_err(DeskError::Store)?
            .ok_or(Refusal::NoAppointment)?)
    }

    /// Appointments of the caller's authority, by start.
    ///
    /// # Errors
    /// [`DeskError::Store`].
    pub async fn appointments(
        &self,
        caller: &Caller,
        filter: Filter,
    ) -> Result<Vec<Appointment>, DeskError> {
        let found = self.store.list(&caller.authority, filter).await;
        found.map_err(DeskError::Store)
    }

    /// The appointments that start on a day, in the authority's zone.
    ///
    /// # Errors
    /// [`DeskError::NoAuthority`], [`DeskError::Store`].
    pub async fn day(
        &self,
        caller: &Caller,
        day: crate::domain::Day,
    ) -> Result<Vec<Appointment>, DeskError> {
        let (from, to) = self.authority(&caller.authority)?.time_zone.bounds(day);
        let filter = Filter {
            from: Some(from),
            to: Some(to),
            limit: crate::store::MAX_APPOINTMENTS,
            ..Filter::default()
        };
        self.appointments(caller, filter).await
    }

    /// Changes the plan.
    ///
    /// # Errors
    /// What [`Appointment::change`] refuses; [`Refusal::Stale`] if `terms` expect another version.
    pub async fn patch(
        &self,
        caller: &Caller,
        id: &AppointmentId,
        terms: Terms<'_>,
        patch: Patch,
    ) -> Result<Done, DeskError> {
        let by = caller.by();
        self.change(
            Subject::of(caller, id, &by, terms),
            |appointment, _, now| Ok(appointment.change(patch.clone(), now)?.into()),
        )
        .await
    }

    /// Cancels an appointment.
    ///
    /// # Errors
    /// What [`Appointment::cancel`] refuses.
    pub async fn cancel(
        &self,
        caller: &Caller,
        id: &AppointmentId,
        terms: Terms<'_>,
    ) -> Result<Done, DeskError> {
        let by = caller.by();
        self.change(
            Subject::of(caller, id, &by, terms),
            |appointment, _, now| Ok(appointment.cancel(now)?.into()),
        )
        .await
    }

    /// Adds somebody, with a link.
    ///
    /// # Errors
    /// What [`Appointment::add_person`] refuses.
    pub async fn add_person(
        &self,
        caller: &Caller,
        id: &AppointmentId,
        input: PersonInput,
        terms: Terms<'_>,
    ) -> Result<Done, DeskError> {
        let authority = self.authority(&caller.authority)?;
        authority.check_language(input.language.as_ref())?;
        let (person, token) = self.fresh_person();
        let linked_to = match input.linked_to {
            Partner::Nobody => None,
            Partner::Person(id) => Some(id),
            Partner::Place(_) => return Err(Refusal::WrongPartner.into()),
        };
        let new = NewPerson {
            id: person.clone(),
            role: input.role,
            name: input.name,
            needs: input.needs,
            language: input.language,
            linked_to,
            link: token.digest(),
        };
        let by = caller.by();
        self.change(Subject::of(caller, id, &by, terms), |appointment, _, _| {
            Ok(Step {
                moved: appointment.add_person(new.clone())?,
                person: Some(person.clone()),
                links: vec![(person.clone(), token.clone())],
            })
        })
        .await
    }

    /// Changes somebody.
    ///
    /// # Errors
    /// What [`Appointment::change_person`] refuses; [`Refusal::WrongLanguage`].
    pub async fn change_person(
        &self,
        caller: &Caller,
        id: &AppointmentId,
        person: &PersonId,
        patch: PersonPatch,
        terms: Terms<'_>,
    ) -> Result<Done, DeskError> {
        let authority = self.authority(&caller.authority)?;
        authority.check_language(patch.language.as_ref().and_then(Option::as_ref))?;
        let by = caller.by();
        self.change(Subject::of(caller, id, &by, terms), |appointment, _, _| {
            Ok(appointment.change_person(person, patch.clone())?.into())
        })
        .await
    }

    /// Takes somebody out.
    ///
    /// # Errors
    /// What [`Appointment::remove_person`] refuses.
    pub async fn remove_person(
        &self,
        caller: &Caller,
        id: &AppointmentId,
        person: &PersonId,
        terms: Terms<'_>,
    ) -> Result<Done, DeskError> {
        let by = caller.by();
        self.change(Subject::of(caller, id, &by, terms), |appointment, _, _| {
            Ok(appointment.remove_person(person)?.into())
        })
        .await
    }

    /// Gives somebody a new link.
    ///
    /// # Errors
    /// What [`Appointment::reissue_link`] refuses.
    pub async fn reissue_link(
        &self,
        caller: &Caller,
        id: &AppointmentId,
        person: &PersonId,
        terms: Terms<'_>,
    ) -> Result<Done, DeskError> {
        let token = LinkToken::from_random(self.random());
        let by = caller.by();
        self.change(Subject::of(caller, id, &by, terms), |appointment, _, _| {
            Ok(Step {
                moved: appointment.reissue_link(person, token.digest())?,
                person: Some(person.clone()),
                links: vec![(person.clone(), token.clone())],
            })
        })
        .await
    }

    /// Withdraws somebody's link.
    ///
    /// # Errors
    /// What [`Appointment::revoke_link`] refuses.
    pub async fn revoke_link(
        &self,
        caller: &Caller,
        id: &AppointmentId,
        person: &PersonId,
        terms: Terms<'_>,
    ) -> Result<Done, DeskError> {
        let by = caller.by();
        self.change(Subject::of(caller, id, &by, terms), |appointment, _, _| {
            Ok(appointment.revoke_link(person)?.into())
        })
        .await
    }
}

impl<'a> Subject<'a> {
    pub(super) fn of(
        caller: &'a Caller,
        id: &'a AppointmentId,
        by: &'a str,
        Terms { expected, keep }: Terms<'a>,
    ) -> Self {
        Self {
            authority: &caller.authority,
            id,
            by,
            expected,
            keep,
        }
    }
}
