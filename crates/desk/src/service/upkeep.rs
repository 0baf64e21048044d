//! What time does: doors close, epochs of the log end, records are erased, kept answers forgotten.

use super::change::Subject;
use super::{Desk, DeskError};
use crate::domain::Refusal;

/// Seconds that an answer is kept under its idempotency key.
pub const KEEP_ANSWERS_S: u64 = 24 * 3_600;

/// What one sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Appointments whose doors were closed.
    pub closed: usize,
    /// Appointments erased for their age.
    pub erased: usize,
}

impl Desk {
    /// Does what is due. To be called every minute or so; how often changes nothing of what is kept but for so long.
    ///
    /// # Errors
    /// [`DeskError::Store`], [`DeskError::Seats`]; the next sweep goes on from there.
    pub async fn sweep(&self) -> Result<Sweep, DeskError> {
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
            let logged = self.keep_log(&authority.id, authority.retention_days, now);
            let logged = logged.await;
            let kept_s = u64::from(authority.retention_days) * 86_400;
            let before = now.minus_s(kept_s);
            let purged = self.store.purge(&authority.id, before, logged).await;
            sweep.erased += purged.map_err(DeskError::Store)?.len();
        }
        let now = self.now();
        let forgotten = self.store.forget(now.minus_s(KEEP_ANSWERS_S), now).await;
        forgotten.map_err(DeskError::Store)?;
        Ok(sweep)
    }
}
