//! What whoever has a link does: open, agree, check, say what they need, wait, leave; and what the room tells of them.

use super::appointment::{Appointment, Moved, State};
use super::authority::Authority;
use super::error::Refusal;
use super::event::{EventKind, Fact};
use super::ids::{Digest, PersonId};
use super::limits::MAX_SESSIONS;
use super::person::{Agreed, Bye, Devices, Gone, LinkState, Needs, Person, Role, Session, Stage};
use super::time::Timestamp;

/// A link was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedSession {
    /// By whom.
    pub person: PersonId,
    /// Whether the browser had the session already, so that its cookie stays.
    pub known: bool,
}

impl Appointment {
    /// Opens a link. The first browser is bound to it; another one may wait to be admitted in its place.
    ///
    /// `presented` is the digest of the cookie that came with the request, `fresh` that of the secret that the browser gets if it
    /// has no session yet.
    ///
    /// # Errors
    /// [`Refusal::LinkUnknown`], [`Refusal::LinkRevoked`], [`Refusal::Cancelled`], [`Refusal::TooEarly`],
    /// [`Refusal::TooLate`], [`Refusal::TooManyDevices`].
    pub fn open(
        &mut self,
        authority: &Authority,
        link: &Digest,
        presented: Option<&Digest>,
        fresh: Digest,
        now: Timestamp,
    ) -> Result<(OpenedSession, Moved), Refusal> {
        let index = self
            .people
            .iter()
            .position(|person| person.link.as_ref().is_some_and(|own| own.digest == *link))
            .ok_or(Refusal::LinkUnknown)?;
        self.check_doors(authority, index, now)?;
        let mut moved = Moved::default();
        let official = self.people[index].role == Role::Official;
        let person = &mut self.people[index];
        let id = person.id.clone();
        if presented.is_some_and(|digest| person.session(digest).is_some()) {
            let known = OpenedSession {
                person: id,
                known: true,
            };
            return Ok((known, moved));
        }
        let Some(own) = &mut person.link else {
            return Err(Refusal::LinkUnknown);
        };
        if own.state == LinkState::Bound && own.one_time {
            return Err(Refusal::LinkRevoked);
        }
        if person.sessions >= MAX_SESSIONS {
            return Err(Refusal::TooManyDevices);
        }
        own.state = LinkState::Bound;
        person.sessions += 1;
        person.numbers += 1;
        let first = person.seat.is_none();
        let stage = if first && official {
            Stage::Admitted
        } else if first || person.agreed.is_none() && !official {
            Stage::Opened
        } else {
            Stage::Waiting { since: now }
        };
        let session = Session {
            digest: fresh,
            number: person.numbers,
            stage,
        };
        moved.push(Fact::of(EventKind::LinkOpened, person));
        if stage.waiting_since().is_some() {
            moved.push(Fact::of(EventKind::Waiting, person));
        }
        if first {
            person.seat = Some(session);
        } else if let Some(old) = person.other.replace(session) {
            person.gone.push(Gone {
                digest: old.digest,
                why: Bye::Moved,
            });
        }
        if stage == Stage::Admitted {
            person.came = true;
            moved.push(Fact::of(EventKind::Admitted, person));
            self.begin();
        }
        let opened = OpenedSession {
            person: id,
            known: false,
        };
        Ok((opened, moved))
    }

    fn check_doors(
        &self,
        authority: &Authority,
        index: usize,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let link = self.people[index]
            .link
            .as_ref()
            .ok_or(Refusal::LinkUnknown)?;
        if link.state == LinkState::Revoked {
            return Err(Refusal::LinkRevoked);
        }
        match self.state {
            State::Scheduled | State::Running => {}
            State::Ended => return Err(Refusal::TooLate),
            State::Cancelled => return Err(Refusal::Cancelled),
        }
        let expired = link.expires_at.is_some_and(|at| now >= at);
        if expired && link.state == LinkState::Unused {
            return Err(Refusal::LinkRevoked);
        }
        let opens_at = self.opens_at(authority);
        if now < opens_at {
            return Err(Refusal::TooEarly { opens_at });
        }
        if now >= self.closes_at(authority) {
            return Err(Refusal::TooLate);
        }
        Ok(())
    }

    /// Finds the person of a browser's session while the appointment is not over.
    fn guest(&mut self, digest: &Digest) -> Result<&mut Person, Refusal> {
        self.check_not_over()?;
        self.people
            .iter_mut()
            .find(|person| person.session(digest).is_some())
            .ok_or(Refusal::NoSession)
    }

    /// Notes that the person agreed to the notice with this hash.
    ///
    /// # Errors
    /// [`Refusal::NoticeChanged`] if it reads otherwise by now; [`Refusal::NoSession`], [`Refusal::Cancelled`],
    /// [`Refusal::Ended`].
    pub fn agree(
        &mut self,
        authority: &Authority,
        session: &Digest,
        notice: Digest,
        now: Timestamp,
    ) -> Result<Moved, Refusal> {
        let person = self.guest(session)?;
        if !authority.reads(&notice) {
            return Err(Refusal::NoticeChanged);
        }
        let mut moved = Moved::default();
        if person.agreed.is_none_or(|agreed| agreed.notice != notice) {
            person.agreed = Some(Agreed { notice, at: now });
            moved.push(Fact {
                notice: Some(notice),
                ..Fact::of(EventKind::Consent, person)
            });
        }
        Ok(moved)
    }

    /// Notes what the check of devices found.
    ///
    /// # Errors
    /// [`Refusal::NoSession`], [`Refusal::Cancelled`], [`Refusal::Ended`].
    pub fn check_devices(&mut self, session: &Digest, devices: Devices) -> Result<Moved, Refusal> {
        self.guest(session)?.devices = Some(devices);
        Ok(Moved::default())
    }

    /// Notes what the person needs.
    ///
    /// # Errors
    /// [`Refusal::NoSession`], [`Refusal::Cancelled`], [`Refusal::Ended`].
    pub fn say_needs(&mut self, session: &Digest, needs: Needs) -> Result<Moved, Refusal> {
        self.guest(session)?.needs = needs;
        Ok(Moved::default())
    }

    /// Takes a place in the waiting room. Who waits already, or may sit, stays as they are.
    ///
    /// # Errors
    /// [`Refusal::NoticeFirst`]; [`Refusal::Denied`]; [`Refusal::NoSession`], [`Refusal::Cancelled`], [`Refusal::Ended`].
    pub fn wait(
        &mut self,
        authority: &Authority,
        session: &Digest,
        now: Timestamp,
    ) -> Result<Moved, Refusal> {
        if now >= self.closes_at(authority) {
            return Err(Refusal::Ended);
        }
        let person = self.guest(session)?;
        let agreed = person.agreed.is_some() || person.role == Role::Official;
        let mut moved = Moved::default();
        let stage = match person.session(session) {
            Some(own) => own.stage,
            None => return Err(Refusal::NoSession),
        };
        match stage {
            Stage::Opened | Stage::Invited => {
                if !agreed {
                    return Err(Refusal::NoticeFirst);
                }
                set_stage(person, session, Stage::Waiting { since: now });
                person.came = true;
                moved.push(Fact::of(EventKind::Waiting, person));
                Ok(moved)
            }
            Stage::Waiting { .. }
            | Stage::Held { .. }
            | Stage::Admitted
            | Stage::InCall
            | Stage::Left => Ok(moved),
            Stage::Denied => Err(Refusal::Denied),
            Stage::Ended => Err(Refusal::Ended),
        }
    }

    /// Leaves: the waiting room, or the call, which the page hangs up itself. Who was admitted may come back without a fresh admission.
    ///
    /// # Errors
    /// [`Refusal::NoSession`], [`Refusal::Cancelled`], [`Refusal::Ended`].
    pub fn leave(&mut self, session: &Digest) -> Result<Moved, Refusal> {
        let person = self.guest(session)?;
        let Some(own) = person.session(session) else {
            return Err(Refusal::NoSession);
        };
        let next = match own.stage {
            Stage::Waiting { .. } => Some(Stage::Opened),
            Stage::Admitted | Stage::InCall => Some(Stage::Left),
            // Who was sent back stays so: leaving must not turn a hold into a fresh start.
            Stage::Held { .. }
            | Stage::Invited
            | Stage::Opened
            | Stage::Left
            | Stage::Denied
            | Stage::Ended => None,
        };
        if let Some(next) = next {
            set_stage(person, session, next);
        }
        Ok(Moved::default())
    }

    /// The identity with which a browser may take the seat now.
    ///
    /// # Errors
    /// [`Refusal::NotAdmitted`], [`Refusal::NoSession`], [`Refusal::Cancelled`], [`Refusal::Ended`].
    pub fn sit(
        &self,
        authority: &Authority,
        session: &Digest,
        now: Timestamp,
    ) -> Result<(&Person, String), Refusal> {
        self.check_not_over()?;
        if now >= self.closes_at(authority) {
            return Err(Refusal::Ended);
        }
        let (person, own) = self.visitor(session)?;
        if own.stage.may_sit() {
            Ok((person, person.identity(own.number)))
        } else {
            Err(Refusal::NotAdmitted)
        }
    }

    /// Notes that somebody's media connected in the room, or ended. Identities that are nobody's are ignored.
    pub fn on_presence(&mut self, identity: &str, came: bool) -> Moved {
        let mut moved = Moved::default();
        let over = self.state.is_over();
        let (id, number) = match identity.split_once('.') {
            Some((id, number)) => (id, number.parse().unwrap_or(0)),
            None => (identity, 1),
        };
        let Some(person) = self
            .people
            .iter_mut()
            .find(|person| person.id.as_str() == id)
        else {
            return moved;
        };
        let kind = if came {
            EventKind::Joined
        } else {
            EventKind::Left
        };
        moved.push(Fact::of(kind, person));
        if let Some(seat) = &mut person.seat
            && seat.number == number
            && !over
        {
            match (seat.stage, came) {
                (Stage::Admitted | Stage::Left, true) => seat.stage = Stage::InCall,
                (Stage::InCall, false) => seat.stage = Stage::Left,
                // Held or ended meanwhile: that somebody left the room changes nothing of it.
                (_, _) => {}
            }
        }
        moved
    }
}

pub(crate) fn set_stage(person: &mut Person, session: &Digest, stage: Stage) {
    for own in [&mut person.seat, &mut person.other].into_iter().flatten() {
        if own.digest == *session {
            own.stage = stage;
        }
    }
}
