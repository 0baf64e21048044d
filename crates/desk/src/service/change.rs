//! Read, change, store, tell: the one way in which an appointment changes.

use schalter_model::AuthorityId;

use super::owed::Order;
use super::{Caller, Changed, Desk, DeskError};
use crate::domain::{
    Appointment, AppointmentId, Authority, Digest, LinkToken, Moved, PersonId, Refusal, Timestamp,
};
use crate::store::{Commit, Kept, StoreError};

/// Times that a change is tried anew because somebody else was faster. Each time one of them got through, so that more means a crowd.
const TRIES: usize = 16;

/// What a command brought about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The appointment as it is stored now.
    pub appointment: Appointment,
    /// Whom the command was about, where it made or seated somebody.
    pub person: Option<PersonId>,
    /// Fresh links: told once, kept nowhere.
    pub links: Vec<(PersonId, LinkToken)>,
}

impl Done {
    /// The fresh link of a person.
    pub fn link_of(&self, person: &PersonId) -> Option<&LinkToken> {
        self.links
            .iter()
            .find(|(id, _)| id == person)
            .map(|(_, token)| token)
    }
}

/// The status, and the body of an answer, sealed.
pub type KeepBytes = (u16, Vec<u8>);

/// Asks for the answer to be kept, so that the same request gets the same answer and is carried out once.
pub struct Keep<'a> {
    /// Digest of authority, key, path and idempotency key.
    pub slot: Digest,
    /// Digest of the body.
    pub request: Digest,
    /// Makes the answer out of what was done, and seals it.
    pub answer: &'a (dyn Fn(&Done) -> KeepBytes + Send + Sync),
}

impl std::fmt::Debug for Keep<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keep")
    }
}

/// On what terms a change is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms<'a> {
    /// The version that the client saw; with another the change is refused ([`Refusal::Stale`]).
    pub expected: Option<u64>,
    /// Whether the answer is kept.
    pub keep: Option<&'a Keep<'a>>,
}

/// An answer that was given before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// HTTP status.
    pub status: u16,
    /// Sealed.
    pub body: Vec<u8>,
}

/// Which appointment is to change, and for whom.
pub(super) struct Subject<'a> {
    pub(super) authority: &'a AuthorityId,
    pub(super) id: &'a AppointmentId,
    pub(super) by: &'a str,
    /// The version that the client saw.
    pub(super) expected: Option<u64>,
    pub(super) keep: Option<&'a Keep<'a>>,
}

/// What a step of the domain says, besides changing the appointment.
pub(super) struct Step {
    pub(super) moved: Moved,
    pub(super) person: Option<PersonId>,
    pub(super) links: Vec<(PersonId, LinkToken)>,
}

impl From<Moved> for Step {
    fn from(moved: Moved) -> Self {
        Self {
            moved,
            person: None,
            links: Vec::new(),
        }
    }
}

impl Desk {
    /// Looks for an answer that was given before.
    pub(super) async fn check_kept(&self, keep: Option<&Keep<'_>>) -> Result<(), DeskError> {
        let Some(keep) = keep else { return Ok(()) };
        let Some(kept) = self
            .store
            .kept(&keep.slot)
            .await
            .map_err(DeskError::Store)?
        else {
            return Ok(());
        };
        if kept.request != keep.request {
            return Err(DeskError::KeyReused);
        }
        Err(DeskError::Replay(Box::new(Replayed {
            status: kept.status,
            body: kept.body,
        })))
    }

    /// Changes an appointment. The step is made anew if somebody else was faster.
    pub(super) async fn change(
        &self,
        subject: Subject<'_>,
        step: impl Fn(&mut Appointment, &Authority, Timestamp) -> Result<Step, Refusal> + Send + Sync,
    ) -> Result<Done, DeskError> {
        let authority = self.authority(subject.authority)?;
        for _ in 0..TRIES {
            self.check_kept(subject.keep).await?;
            let found = self.store.load(subject.authority, subject.id).await;
            let before = found
                .map_err(DeskError::Store)?
                .ok_or(Refusal::NoAppointment)?;
            if subject.expected.is_some_and(|seen| seen != before.version) {
                return Err(Refusal::Stale.into());
            }
            let mut appointment = before.clone();
            let now = self.now();
            let step = step(&mut appointment, &authority, now)?;
            let done = Done {
                appointment,
                person: step.person,
                links: step.links,
            };
            if done.appointment == before && step.moved.is_nothing() && subject.keep.is_none() {
                return Ok(done);
            }
            match self.store_and_tell(done, step.moved, &subject, now).await {
                Err(DeskError::Store(StoreError::Conflict | StoreError::Repeated)) => {}
                other => return other,
            }
        }
        Err(DeskError::Busy)
    }

    /// Changes an appointment for a caller who neither saw a version nor wants the answer kept, by a step that makes nobody.
    pub(super) async fn decide(
        &self,
        caller: &Caller,
        id: &AppointmentId,
        step: impl Fn(&mut Appointment, &Authority, Timestamp) -> Result<Moved, Refusal> + Send + Sync,
    ) -> Result<Done, DeskError> {
        let by = caller.by();
        self.change(
            Subject::of(caller, id, &by, Terms::default()),
            |appointment, authority, now| Ok(step(appointment, authority, now)?.into()),
        )
        .await
    }

    /// Stores what was done, then tells the room and whoever looks on.
    pub(super) async fn store_and_tell(
        &self,
        mut done: Done,
        moved: Moved,
        subject: &Subject<'_>,
        now: Timestamp,
    ) -> Result<Done, DeskError> {
        done.appointment.version += 1;
        let keep = subject.keep.map(|keep| {
            let (status, body) = (keep.answer)(&done);
            Kept {
                slot: keep.slot,
                request: keep.request,
                appointment: done.appointment.id.clone(),
                status,
                body,
                at: now,
            }
        });
        let commit = Commit {
            appointment: done.appointment.clone(),
            facts: moved.facts,
            at: now,
            by: subject.by.to_owned(),
            keep,
        };
        self.store.commit(commit).await.map_err(DeskError::Store)?;
        let room = self.tell_room(subject, &moved.dismissed, moved.closes_room);
        let told = room.await;
        // Nobody listens now: nobody misses it.
        let _ = self.changes.send(Changed {
            authority: subject.authority.clone(),
            appointment: subject.id.clone(),
        });
        told?;
        Ok(done)
    }

    async fn tell_room(
        &self,
        subject: &Subject<'_>,
        dismissed: &[crate::domain::Dismissal],
        closes: bool,
    ) -> Result<(), DeskError> {
        let order = |identity: Option<&String>| Order {
            authority: subject.authority.clone(),
            appointment: subject.id.clone(),
            identity: identity.cloned(),
        };
        let mut result = Ok(());
        // Everybody is dismissed even if one can't be.
        for dismissal in dismissed {
            result = result.and(self.tell(order(Some(&dismissal.identity))).await);
        }
        if closes {
            result = result.and(self.tell(order(None)).await);
        }
        Ok(result?)
    }
}
