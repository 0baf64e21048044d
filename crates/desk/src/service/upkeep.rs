//! What time does: doors close, epochs of the log end, records are erased, kept answers forgotten.

use schalter_model::AuthorityId;

use super::change::Subject;
use super::owed::Order;
use super::{Changed, Desk, DeskError};
use crate::domain::{Refusal, Retention};
use crate::store::{Filter, MAX_APPOINTMENTS};

/// Seconds that an answer is kept under its idempotency key.
pub const KEEP_ANSWERS_S: u64 = 24 * 3_600;

/// How far from now appointments may have begun or begin whose doors are open, in seconds.
const AROUND_S: u64 = 2 * 24 * 3_600;

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Appointments whose doors were closed.
    pub closed: usize,
    /// Appointments erased for their age.
    pub erased: usize,
}

impl Desk {
    /// Has what was acknowledged in the store's own file, so that a copy of that one is whole. The last that is asked of the desk.
    ///
    /// # Errors
    /// [`DeskError::Store`]; nothing is lost by it.
    pub async fn close(&self) -> Result<(), DeskError> {
        self.store.finish().await.map_err(DeskError::Store)
    }

    /// Does what is due. To be called every minute or so; how often changes nothing of what is kept but for so long.
    ///
    /// # Errors
    /// [`DeskError::Store`], [`DeskError::Seats`]; the next sweep goes on from there.
    pub async fn sweep(&self) -> Result<Sweep, DeskError> {
        self.note_retentions().await?;
        let mut sweep = Sweep::default();
        for authority in self.authorities() {
            let now = self.now();
            let ended_before = now.minus_s(authority.closes_after_s);
            let overdue = self.store.overdue(&authority.id, ended_before).await;
            for appointment in overdue.map_err(DeskError::Store)? {
                let subject = Subject {
                    authority: &authority.id,
                    id: &appointment.id,
                    by: "system",
                    expected: None,
                    keep: None,
                };
                let closed = self
                    .change(subject, |appointment, authority, now| {
                        Ok(appointment.close(authority, now).into())
                    })
                    .await;
                match closed {
                    Ok(_) => sweep.closed += 1,
                    Err(DeskError::Refused(Refusal::NoAppointment)) => {}
                    Err(error) => return Err(error),
                }
            }
            let erased = self.erase_old(&authority.id, authority.retention());
            sweep.erased += erased.await?;
        }
        let kept = self.store.retentions().await.map_err(DeskError::Store)?;
        for (id, retention) in kept {
            if self.authority(&id).is_err() {
                sweep.erased += self.erase_gone(&id, retention).await?;
            }
        }
        let now = self.now();
        let forgotten = self.store.forget(now.minus_s(KEEP_ANSWERS_S), now).await;
        forgotten.map_err(DeskError::Store)?;
        Ok(sweep)
    }

    /// Has the store know how long what each authority has is kept: for when it is no longer configured. To be called before anything is
    /// stored of one that is new; sweeps do it, too.
    ///
    /// # Errors
    /// [`DeskError::Store`].
    pub async fn note_retentions(&self) -> Result<(), DeskError> {
        let fresh: Vec<_> = {
            let own = self.read();
            let all = own.retentions.iter();
            all.filter(|(id, retention)| own.noted.get(*id) != Some(retention))
                .map(|(id, retention)| (id.clone(), *retention))
                .collect()
        };
        for (id, retention) in fresh {
            let noted = self.store.set_retention(&id, retention).await;
            noted.map_err(DeskError::Store)?;
            self.write().noted.insert(id, retention);
        }
        Ok(())
    }

    /// Ends an authority's epochs of the log, and erases what it need not keep any longer; answers how many appointments.
    async fn erase_old(
        &self,
        authority: &AuthorityId,
        retention: Retention,
    ) -> Result<usize, DeskError> {
        let now = self.now();
        let logged = self.keep_log(authority, retention.days, now).await;
        let before = now.minus_s(retention.kept_s());
        let purged = self.store.purge(authority, before, logged).await;
        Ok(purged.map_err(DeskError::Store)?.len())
    }

    /// The same for an authority that is no longer configured. Nobody closes its doors; what was not over when it went is erased when it
    /// would have been.
    async fn erase_gone(
        &self,
        authority: &AuthorityId,
        retention: Retention,
    ) -> Result<usize, DeskError> {
        let erased = self.erase_old(authority, retention).await?;
        let kept_s = retention.kept_s().saturating_add(retention.closes_after_s);
        let open = self.store.overdue(authority, self.now().minus_s(kept_s));
        let open = open.await.map_err(DeskError::Store)?;
        if open.is_empty() {
            return Ok(erased);
        }
        let ids = open.into_iter().map(|appointment| appointment.id).collect();
        let open = self.store.erase(authority, ids).await;
        Ok(erased + open.map_err(DeskError::Store)?)
    }

    /// Ends the rooms of an authority that is gone, and has its open pages look again. What the appointments are does not change.
    ///
    /// # Errors
    /// [`DeskError::Store`]; then some rooms may go on, whose tokens are good for nothing any more.
    pub async fn close_rooms(&self, authority: &AuthorityId) -> Result<(), DeskError> {
        let now = self.now();
        let mut filter = Filter {
            from: Some(now.minus_s(AROUND_S)),
            to: Some(now.plus_s(AROUND_S)),
            limit: MAX_APPOINTMENTS,
            ..Filter::default()
        };
        loop {
            let found = self.store.list(authority, filter.clone()).await;
            let found = found.map_err(DeskError::Store)?;
            for appointment in &found {
                let (authority, appointment) = (authority.clone(), appointment.id.clone());
                // What a room can't be told now it is told later.
                let _ = self
                    .tell(Order {
                        authority: authority.clone(),
                        appointment: appointment.clone(),
                        identity: None,
                    })
                    .await;
                // Nobody listens: nobody misses it.
                let _ = self.changes.send(Changed {
                    authority,
                    appointment,
                });
            }
            match found.last() {
                Some(last) if found.len() == MAX_APPOINTMENTS => {
                    filter.after = Some((last.when.starts_at, last.id.clone()));
                }
                Some(_) | None => return Ok(()),
            }
        }
    }
}
