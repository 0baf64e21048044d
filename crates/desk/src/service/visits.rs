//! What happens by a link: the citizen's way, and that of whoever else was invited.

use schalter_model::AuthorityId;

use super::change::{Done, Step, Subject};
use super::decisions::grants_of;
use super::{Desk, DeskError};
use crate::domain::{
    Appointment, Authority, Bye, Devices, Digest, LinkToken, Moved, Needs, Person, PersonId,
    Refusal, Role, Secret, Session, Timestamp,
};
use crate::seats::{Grants, SeatToken};

/// A link was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// For the cookie; `None` if the browser keeps the one it has.
    pub secret: Option<Secret>,
    /// Who it is.
    pub visitor: Visitor,
}

/// Somebody's browser in an appointment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// The whole appointment: pages show a part of it.
    pub appointment: Appointment,
    /// Who it is.
    pub person: PersonId,
    /// Of the cookie.
    pub session: Digest,
}

impl Visitor {
    /// The person.
    ///
    /// # Errors
    /// [`Refusal::NoPerson`], which can't be as long as it was made by the desk.
    pub fn me(&self) -> Result<&Person, Refusal> {
        self.appointment.person(&self.person)
    }

    /// The browser's own session: where it is, which need not be where the person's other browser is.
    ///
    /// # Errors
    /// [`Refusal::NoSession`].
    pub fn own(&self) -> Result<&Session, Refusal> {
        self.me()?.session(&self.session).ok_or(Refusal::NoSession)
    }

    /// Whether another browser has the seat, and this one waits to take it.
    pub fn is_other_device(&self) -> bool {
        self.me().is_ok_and(|person| {
            person
                .other
                .as_ref()
                .is_some_and(|other| other.digest == self.session)
        })
    }

    /// Who is to be shown as present: only to those who are admitted.
    pub fn present(&self) -> Vec<&Person> {
        let admitted = self.own().is_ok_and(|own| own.stage.may_sit());
        if !admitted {
            return Vec::new();
        }
        self.appointment
            .people
            .iter()
            .filter(|person| person.stage().is_present())
            .collect()
    }

    /// What it may do in the room.
    pub fn grants(&self) -> Grants {
        self.me()
            .map_or(grants_of(Role::Observer), |person| grants_of(person.role))
    }
}

/// What a cookie is good for.
#[derive(Clone, Debug)]
pub enum Standing {
    /// Somebody's browser.
    Here(Box<Visitor>),
    /// It was, until this.
    Gone(Bye),
}

impl Desk {
    /// Opens a link.
    ///
    /// `cookie` is what the browser brought, if anything.
    ///
    /// # Errors
    /// What [`Appointment::open`] refuses.
    pub async fn open(
        &self,
        token: &LinkToken,
        cookie: Option<&Secret>,
    ) -> Result<Opened, DeskError> {
        let link = token.digest();
        let found = self.find(&link).await?.ok_or(Refusal::LinkUnknown)?;
        let (authority, id) = owner(&found)?;
        let presented = cookie.map(Secret::digest);
        let secret = Secret::from_random(self.random());
        // The person is found before, so that events can say who did it.
        let by = found
            .people
            .iter()
            .find(|person| person.link.as_ref().is_some_and(|own| own.digest == link))
            .map_or_else(
                || "system".to_owned(),
                |person| format!("person:{}", person.id),
            );
        let subject = Subject {
            authority: &authority,
            id,
            by: &by,
            expected: None,
            keep: None,
        };
        let done = self
            .change(subject, |appointment, authority, now| {
                let (opened, moved) =
                    appointment.open(authority, &link, presented.as_ref(), secret.digest(), now)?;
                Ok(Step {
                    person: Some(opened.person),
                    ..Step::from(moved)
                })
            })
            .await?;
        let Done {
            appointment,
            person,
            ..
        } = done;
        let person = person.ok_or(Refusal::NoPerson)?;
        let kept = presented.filter(|digest| {
            appointment
                .person(&person)
                .is_ok_and(|person| person.session(digest).is_some())
        });
        Ok(Opened {
            visitor: Visitor {
                session: kept.unwrap_or_else(|| secret.digest()),
                appointment,
                person,
            },
            secret: kept.is_none().then_some(secret),
        })
    }

    /// Whose browser has this cookie.
    ///
    /// # Errors
    /// [`Refusal::NoSession`] if nobody's ever had.
    pub async fn standing(&self, cookie: &Secret) -> Result<Standing, DeskError> {
        let digest = cookie.digest();
        let found = self.find(&digest).await?.ok_or(Refusal::NoSession)?;
        if let Some(why) = found.farewell(&digest) {
            return Ok(Standing::Gone(why));
        }
        let (person, _) = found.visitor(&digest)?;
        let person = person.id.clone();
        Ok(Standing::Here(Box::new(Visitor {
            appointment: found,
            person,
            session: digest,
        })))
    }

    /// Whose browser has this cookie, if it still has a session.
    ///
    /// # Errors
    /// [`Refusal::NoSession`].
    pub async fn visitor(&self, cookie: &Secret) -> Result<Visitor, DeskError> {
        match self.standing(cookie).await? {
            Standing::Here(visitor) => Ok(*visitor),
            Standing::Gone(_) => Err(Refusal::NoSession.into()),
        }
    }

    /// Notes that they agreed to the notice with this hash.
    ///
    /// # Errors
    /// What [`Appointment::agree`] refuses.
    pub async fn agree(&self, cookie: &Secret, notice: Digest) -> Result<Visitor, DeskError> {
        self.visit(cookie, |appointment, authority, session, now| {
            appointment.agree(authority, session, notice, now)
        })
        .await
    }

    /// Notes what the check of devices found.
    ///
    /// # Errors
    /// What [`Appointment::check_devices`] refuses.
    pub async fn check_devices(
        &self,
        cookie: &Secret,
        devices: Devices,
    ) -> Result<Visitor, DeskError> {
        self.visit(cookie, |appointment, _, session, _| {
            appointment.check_devices(session, devices)
        })
        .await
    }

    /// Notes what they need.
    ///
    /// # Errors
    /// What [`Appointment::say_needs`] refuses.
    pub async fn say_needs(&self, cookie: &Secret, needs: Needs) -> Result<Visitor, DeskError> {
        self.visit(cookie, |appointment, _, session, _| {
            appointment.say_needs(session, needs)
        })
        .await
    }

    /// Takes a place in the waiting room.
    ///
    /// # Errors
    /// What [`Appointment::wait`] refuses.
    pub async fn wait(&self, cookie: &Secret) -> Result<Visitor, DeskError> {
        self.visit(cookie, |appointment, authority, session, now| {
            appointment.wait(authority, session, now)
        })
        .await
    }

    /// Leaves.
    ///
    /// # Errors
    /// What [`Appointment::leave`] refuses.
    pub async fn leave(&self, cookie: &Secret) -> Result<Visitor, DeskError> {
        self.visit(cookie, |appointment, _, session, _| {
            appointment.leave(session)
        })
        .await
    }

    /// A seat, for whoever is admitted.
    ///
    /// # Errors
    /// What [`Appointment::sit`] refuses; [`DeskError::Seats`].
    pub async fn sit(&self, cookie: &Secret) -> Result<SeatToken, DeskError> {
        let visitor = self.visitor(cookie).await?;
        let (authority_id, id) = owner(&visitor.appointment)?;
        let authority = self.authority(&authority_id)?;
        let (person, identity) =
            visitor
                .appointment
                .sit(&authority, &visitor.session, self.now())?;
        let grants = grants_of(person.role);
        let name = person.name.as_str();
        let token = self.seats.token(&authority_id, id, &identity, name, grants);
        Ok(token.await?)
    }

    /// Hears from the room that somebody's media connected, or ended. Rooms that are no appointment's are ignored.
    ///
    /// # Errors
    /// [`DeskError::Store`].
    pub async fn on_presence(
        &self,
        authority: &AuthorityId,
        room: &str,
        identity: &str,
        came: bool,
    ) -> Result<(), DeskError> {
        let Ok(id) = room.parse() else { return Ok(()) };
        let subject = Subject {
            authority,
            id: &id,
            by: "system",
            expected: None,
            keep: None,
        };
        let noted = self
            .change(subject, |appointment, _, _| {
                Ok(appointment.on_presence(identity, came).into())
            })
            .await;
        match noted {
            // Erased meanwhile.
            Ok(_) | Err(DeskError::Refused(Refusal::NoAppointment)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn find(&self, digest: &Digest) -> Result<Option<Appointment>, DeskError> {
        self.store.find(digest).await.map_err(DeskError::Store)
    }

    async fn visit(
        &self,
        cookie: &Secret,
        step: impl Fn(&mut Appointment, &Authority, &Digest, Timestamp) -> Result<Moved, Refusal>
        + Send
        + Sync,
    ) -> Result<Visitor, DeskError> {
        let visitor = self.visitor(cookie).await?;
        let (authority, id) = owner(&visitor.appointment)?;
        let by = format!("person:{}", visitor.person);
        let subject = Subject {
            authority: &authority,
            id,
            by: &by,
            expected: None,
            keep: None,
        };
        let session = visitor.session;
        let done = self
            .change(subject, |appointment, authority, now| {
                Ok(step(appointment, authority, &session, now)?.into())
            })
            .await?;
        Ok(Visitor {
            appointment: done.appointment,
            ..visitor
        })
    }
}

fn owner(
    appointment: &Appointment,
) -> Result<(AuthorityId, &crate::domain::AppointmentId), DeskError> {
    let authority = AuthorityId::new(&appointment.authority).map_err(|_| DeskError::NoAuthority)?;
    Ok((authority, &appointment.id))
}
