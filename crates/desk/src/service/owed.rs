//! What rooms were to be told and could not be: told again, until they are.
//!
//! Kept in memory: a restart empties every room, and makes every token worthless.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use schalter_model::AuthorityId;
use tokio::sync::Notify;

use super::Desk;
use crate::domain::AppointmentId;
use crate::seats::SeatError;

/// Pause before a room is told again, the first time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause: whoever was sent away and is not gone should be soon.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Something that a room is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    pub(super) authority: AuthorityId,
    /// Which room.
    pub(super) appointment: AppointmentId,
    /// Who must leave for good; `None` for everybody. No identity is given to anybody twice, so that telling it late sends nobody
    /// away who was admitted since.
    pub(super) identity: Option<String>,
}

/// What is owed.
#[derive(Debug, Default)]
pub(super) struct Owed {
    orders: Mutex<BTreeSet<Order>>,
    news: Notify,
}

impl Owed {
    fn with<T>(&self, change: impl FnOnce(&mut BTreeSet<Order>) -> T) -> T {
        change(&mut self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, order: Order) {
        self.with(|orders| orders.insert(order));
        self.news.notify_one();
    }
}

impl Desk {
    /// Tells a room; what it can't be told now it is told later by [`Self::settle`].
    pub(super) async fn tell(&self, order: Order) -> Result<(), SeatError> {
        let told = self.order(&order).await;
        if let Err(error) = &told {
            tracing::error!(%error, "a room could not be told who must leave, and is told again until it is");
            self.owed.add(order);
        }
        told
    }

    async fn order(&self, order: &Order) -> Result<(), SeatError> {
        let (authority, id) = (&order.authority, &order.appointment);
        match &order.identity {
            Some(identity) => self.seats.dismiss(authority, id, identity).await,
            None => self.seats.close(authority, id).await,
        }
    }

    /// How many are to leave, or rooms to end, that could not be told so until now.
    pub fn owed(&self) -> usize {
        self.owed.with(|orders| orders.len())
    }

    /// Tells rooms again what they could not be told, for as long as it runs. To be run once, beside everything else.
    pub async fn settle(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let orders = self.owed.with(|orders| orders.clone());
            if orders.is_empty() {
                pause = FIRST_PAUSE;
                // One that came since is noticed: it left a permit.
                self.owed.news.notified().await;
                continue;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            for order in orders {
                if self.order(&order).await.is_ok() {
                    self.owed.with(|orders| orders.remove(&order));
                }
            }
            if self.owed() == 0 {
                tracing::info!("every room knows who must leave");
            }
        }
    }
}
