//! Events, records and erasure.

use serde::Serialize;

use super::owed::Order;
use super::{Caller, Desk, DeskError};
use crate::domain::{Appointment, AppointmentId, Call, Event, ExternalRef, Refusal};
use crate::ledger::RecordProof;
use crate::store::{Filter, MAX_APPOINTMENTS};

/// Everything that is kept of one appointment.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// The appointment.
    pub appointment: Appointment,
    /// What happened in it, in order.
    pub events: Vec<Event>,
    /// What proves that.
    #[serde(skip)]
    pub proof: Option<RecordProof>,
}

impl Record {
    /// From when to when people talked, if they did.
    pub fn call(&self) -> Option<Call> {
        Call::of(&self.events)
    }
}

impl Desk {
    /// Events after a number, in order.
    ///
    /// # Errors
    /// [`DeskError::Store`].
    pub async fn events(
        &self,
        caller: &Caller,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Event>, DeskError> {
        let found = self.store.events(&caller.authority, after, limit).await;
        found.map_err(DeskError::Store)
    }

    /// Everything that is kept under a reference (GDPR Art. 15). Empty if there is nothing.
    ///
    /// # Errors
    /// [`DeskError::Store`].
    pub async fn export(
        &self,
        caller: &Caller,
        external_ref: &ExternalRef,
    ) -> Result<Vec<Record>, DeskError> {
        let mut records = Vec::new();
        for appointment in self.under(caller, external_ref).await? {
            records.push(self.with_history(caller, appointment).await?);
        }
        self.prove(&caller.authority, &mut records).await;
        Ok(records)
    }

    /// The record of one appointment that is over.
    ///
    /// # Errors
    /// [`Refusal::NoAppointment`]; [`Refusal::NotOver`]; [`DeskError::Store`].
    pub async fn record(&self, caller: &Caller, id: &AppointmentId) -> Result<Record, DeskError> {
        let appointment = self.appointment(caller, id).await?;
        if !appointment.state.is_over() {
            return Err(Refusal::NotOver.into());
        }
        let mut record = self.with_history(caller, appointment).await?;
        let one = std::slice::from_mut(&mut record);
        self.prove(&caller.authority, one).await;
        Ok(record)
    }

    async fn with_history(
        &self,
        caller: &Caller,
        appointment: Appointment,
    ) -> Result<Record, DeskError> {
        let events = self.store.history(&caller.authority, &appointment.id).await;
        Ok(Record {
            appointment,
            events: events.map_err(DeskError::Store)?,
            proof: None,
        })
    }

    /// Erases everything that is kept under a reference (GDPR Art. 17), and ends the rooms. Answers with how many appointments there
    /// were.
    ///
    /// # Errors
    /// [`DeskError::Store`], [`DeskError::Seats`].
    pub async fn erase(
        &self,
        caller: &Caller,
        external_ref: &ExternalRef,
    ) -> Result<usize, DeskError> {
        let found = self.under(caller, external_ref).await?;
        let ids: Vec<_> = found.iter().map(|one| one.id.clone()).collect();
        let erased = self.store.erase(&caller.authority, ids.clone()).await;
        let erased = erased.map_err(DeskError::Store)?;
        let mut told = Ok(());
        for id in ids {
            let order = Order {
                authority: caller.authority.clone(),
                appointment: id.clone(),
                identity: None,
            };
            told = told.and(self.tell(order).await);
            // Nobody listens now: nobody misses it.
            let _ = self.changes.send(super::Changed {
                authority: caller.authority.clone(),
                appointment: id,
            });
        }
        told?;
        Ok(erased)
    }

    async fn under(
        &self,
        caller: &Caller,
        external_ref: &ExternalRef,
    ) -> Result<Vec<Appointment>, DeskError> {
        let filter = Filter {
            external_ref: Some(external_ref.clone()),
            limit: MAX_APPOINTMENTS,
            ..Filter::default()
        };
        self.appointments(caller, filter).await
    }
}
