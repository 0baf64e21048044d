//! Who is in the rooms, from signaling to the desk, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use schalter_desk::Desk;
use schalter_signaling::{Presence, RoomObserver};
use tokio::sync::mpsc;

/// News that may wait for the database. Far more than people that come and go while a disk stalls; what is beyond is lost, and told once.
const WAITING: usize = 65_536;

/// Signaling's end.
pub(crate) struct Presences {
    news: mpsc::Sender<Presence>,
    lost: AtomicBool,
}

/// The desk's end.
pub(crate) struct Heard(mpsc::Receiver<Presence>);

impl Presences {
    /// Both ends.
    pub(crate) fn channel() -> (Self, Heard) {
        let (news, heard) = mpsc::channel(WAITING);
        let lost = AtomicBool::new(false);
        (Self { news, lost }, Heard(heard))
    }
}

impl RoomObserver for Presences {
    fn on_presence(&self, presence: Presence) {
        let full = matches!(
            self.news.try_send(presence),
            Err(mpsc::error::TrySendError::Full(_))
        );
        if full && !self.lost.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "the desk's database is too slow: who came and left is not all recorded"
            );
        }
    }
}

impl Heard {
    /// Tells the desk, one after the other.
    pub(super) async fn tell(mut self, desk: Arc<Desk>) {
        while let Some(presence) = self.0.recv().await {
            let Presence {
                authority,
                room,
                identity,
                came,
            } = presence;
            if let Err(error) = desk.on_presence(&authority, &room, &identity, came).await {
                tracing::error!(%error, came, "the desk could not record who came or left");
            }
        }
    }
}
