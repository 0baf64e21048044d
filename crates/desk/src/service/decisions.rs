//! What officials decide during a consultation.

use super::change::{Done, Step, Subject, Terms};
use super::{Actor, Caller, Desk, DeskError};
use crate::domain::{
    AppointmentId, Digest, LinkToken, MessageText, Name, OutcomeCode, PersonId, Refusal, Role,
};
use crate::seats::{Grants, SeatToken};

impl Desk {
    /// Admits somebody who waits, with their pair.
    ///
    /// # Errors
    /// What [`crate::domain::Appointment::admit`] refuses; [`DeskError::Seats`].
    pub async fn admit(
        &self,
        caller: &Caller,
        id: &AppointmentId,
        person: &PersonId,
    ) -> Result<Done, DeskError> {
        self.decide(caller, id, |appointment, _, _| appointment.admit(person))
            .await
    }

    /// Tells somebody no, and why if there are words for it.
    ///
    /// # Errors
    /// What [`crate::domain::Appointment::deny`] refuses.
    pub async fn deny(
        &self,
        caller: &Caller,
        id: &AppointmentId,
        person: &PersonId,
        why: Option<MessageText>,
    ) -> Result<Done, DeskError> {
        self.decide(caller, id, |appointment, _, now| {
            appointment.deny(person, why.clone(), now)
        })
        .await
    }

    /// Sends somebody back to the waiting room, with their pair. When it answers, nothing of or for them is forwarded.
    ///
    /// # Errors
    /// What [`crate::domain::Appointment::hold`] refuses; [`DeskError::Seats`].
    pub async fn hold(
        &self,
        caller: &Caller,
        id: &AppointmentId,
        person: &PersonId,
    ) -> Result<Done, DeskError> {
        self.decide(caller, id, |appointment, _, now| {
            appointment.hold(person, now)
        })
        .await
    }

    /// Removes somebody for good.
    ///
    /// # Errors
    /// What [`crate::domain::Appointment::remove`] refuses; [`DeskError::Seats`].
    pub async fn remove(
        &self,
        caller: &Caller,
        id: &AppointmentId,
        person: &PersonId,
    ) -> Result<Done, DeskError> {
        self.decide(caller, id, |appointment, _, _| appointment.remove(person))
            .await
    }

    /// Tells somebody something.
    ///
    /// # Errors
    /// What [`crate::domain::Appointment::message`] refuses.
    pub async fn message(
        &self,
        caller: &Caller,
        id: &AppointmentId,
        person: &PersonId,
        text: MessageText,
    ) -> Result<Done, DeskError> {
        self.decide(caller, id, |appointment, _, now| {
            appointment.message(person, text.clone(), now)
        })
        .await
    }

    /// Makes a one-time link for a colleague; [`Done::links`] holds it. Others see them under `name`, or else as the office.
    ///
    /// # Errors
    /// What [`crate::domain::Appointment::add_colleague`] refuses.
    pub async fn add_colleague(
        &self,
        caller: &Caller,
        id: &AppointmentId,
        name: Option<Name>,
    ) -> Result<Done, DeskError> {
        let person = PersonId::from_random(self.random());
        let token = LinkToken::from_random(self.random());
        let name = match name {
            Some(name) => name,
            None => self.authority(&caller.authority)?.seen_as(),
        };
        let by = caller.by();
        self.change(
            Subject::of(caller, id, &by, Terms::default()),
            |appointment, _, now| {
                let moved =
                    appointment.add_colleague(person.clone(), name.clone(), token.digest(), now)?;
                Ok(Step {
                    moved,
                    person: Some(person.clone()),
                    links: vec![(person.clone(), token.clone())],
                })
            },
        )
        .await
    }

    /// A seat for the official who calls.
    ///
    /// # Errors
    /// What [`crate::domain::Appointment::seat_official`] refuses; [`Refusal::NotAdmitted`] for integrators;
    /// [`DeskError::Seats`].
    pub async fn seat_official(
        &self,
        caller: &Caller,
        id: &AppointmentId,
    ) -> Result<SeatToken, DeskError> {
        let Actor::Official { id: official, name } = &caller.actor else {
            return Err(Refusal::NotAdmitted.into());
        };
        let fresh = PersonId::from_random(self.random());
        let digest = Digest::of(&self.random::<32>());
        let by = caller.by();
        let done = self
            .change(
                Subject::of(caller, id, &by, Terms::default()),
                |appointment, _, _| {
                    let fresh = (fresh.clone(), digest);
                    let (person, moved) =
                        appointment.seat_official(official, name.clone(), fresh)?;
                    Ok(Step {
                        person: Some(person),
                        ..Step::from(moved)
                    })
                },
            )
            .await?;
        let person = done.person.as_ref().ok_or(Refusal::NoPerson)?;
        let person = done.appointment.person(person)?;
        let number = person.seat.as_ref().map_or(1, |seat| seat.number);
        let identity = person.identity(number);
        let token = self.seats.token(
            &caller.authority,
            id,
            &identity,
            person.name.as_str(),
            grants_of(Role::Official),
        );
        Ok(token.await?)
    }

    /// Ends an appointment.
    ///
    /// # Errors
    /// What [`crate::domain::Appointment::end`] refuses; [`DeskError::Seats`].
    pub async fn end(
        &self,
        caller: &Caller,
        id: &AppointmentId,
        outcome: OutcomeCode,
    ) -> Result<Done, DeskError> {
        self.decide(caller, id, |appointment, authority, now| {
            appointment.end(authority, outcome.clone(), now)
        })
        .await
    }
}

/// What a role may do in the room.
pub(crate) const fn grants_of(role: Role) -> Grants {
    Grants {
        publish: role.publishes(),
        captions: matches!(role, Role::Captioner | Role::Interpreter),
    }
}
