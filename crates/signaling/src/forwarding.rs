//! Links between two rooms' tasks, over which participants are forwarded (ADR 0006).
//!
//! A room writes the latest of what the other has to know into a cell and goes on; a task of the link carries it to the
//! other's mailbox and waits there. So rooms never wait for each other, and what waits is one state in each direction.

use std::sync::Arc;

use schalter_model::Time;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::JoinRefusal;
use crate::registry::Registry;
use crate::room::{Forwarded, LinkId, LinkOutput, Needs, Room, ServiceRefusal};
use crate::room_task::{RoomHandle, RoomMessage};

/// A room's end of a link: where it writes what the other has to know.
pub(crate) enum LinkEnd {
    /// In the room that somebody is forwarded from.
    Source(watch::Sender<Arc<Forwarded>>),
    /// In the room that somebody is forwarded to.
    Destination(watch::Sender<Arc<Needs>>),
}

impl LinkEnd {
    /// Takes what a room has to say. A link whose task has ended is about to be closed.
    pub(crate) fn take(&self, output: LinkOutput) {
        match (self, output) {
            (Self::Source(cell), LinkOutput::State { state, .. }) => {
                cell.send_replace(state);
            }
            (Self::Destination(cell), LinkOutput::Needs { needs, .. }) => {
                cell.send_replace(needs);
            }
            // An end says nothing of the other's, and closing is the room task's to do.
            (
                Self::Source(_) | Self::Destination(_),
                LinkOutput::State { .. } | LinkOutput::Needs { .. } | LinkOutput::Closed { .. },
            ) => {}
        }
    }
}

/// What a room's task does to begin its end of a link; answers the end, if it was begun.
pub(crate) type LinkStart = Box<dyn FnOnce(&mut Room, Time) -> Option<LinkEnd> + Send>;

/// Why somebody is not forwarded.
pub(crate) enum ForwardRefusal {
    /// The room of the participant has ended.
    NoRoom,
    /// One of the two rooms says no.
    Room(ServiceRefusal),
    /// The destination has ended meanwhile.
    Destination(JoinRefusal),
}

async fn begin<T: Send + 'static>(
    room: &RoomHandle,
    link: LinkId,
    start: impl FnOnce(&mut Room) -> Result<(T, LinkEnd), ServiceRefusal> + Send + 'static,
) -> Option<Result<T, ServiceRefusal>> {
    let (reply, answer) = oneshot::channel();
    let start: LinkStart = Box::new(move |room, now| match room.call(now, start)? {
        Ok((value, end)) => {
            // The asker is a task of ours, and waits.
            let _ = reply.send(Ok(value));
            Some(end)
        }
        Err(refusal) => {
            let _ = reply.send(Err(refusal));
            None
        }
    });
    let message = RoomMessage::Link { link, start };
    room.control.send(message).await.ok()?;
    answer.await.ok()
}

/// Forwards a participant of `source` to `destination`, until it leaves, is removed there, or one of them ends.
pub(crate) async fn forward(
    registry: &Registry,
    source: RoomHandle,
    destination: RoomHandle,
    identity: String,
) -> Result<(), ForwardRefusal> {
    let link = LinkId(registry.ids.link());
    let started = begin(&source, link, move |room: &mut Room| {
        let state = room.start_forward(link, &identity)?;
        let (cell, states) = watch::channel(Arc::clone(&state));
        Ok(((state, states), LinkEnd::Source(cell)))
    });
    let (state, states) = started
        .await
        .ok_or(ForwardRefusal::NoRoom)?
        .map_err(ForwardRefusal::Room)?;
    let accepted = begin(&destination, link, move |room: &mut Room| {
        room.accept_forward(link, &state)?;
        let (cell, needs) = watch::channel(Arc::default());
        Ok((needs, LinkEnd::Destination(cell)))
    });
    let refusal = match accepted.await {
        Some(Ok(needs)) => {
            tokio::spawn(carry(
                states,
                destination.control,
                link,
                Room::update_forward,
            ));
            tokio::spawn(carry(needs, source.control, link, Room::take_needs));
            return Ok(());
        }
        Some(Err(refusal)) => ForwardRefusal::Room(refusal),
        None => ForwardRefusal::Destination(JoinRefusal::Unavailable),
    };
    close(&source.control, link).await;
    Err(refusal)
}

/// Carries the latest state of one end to the other, until either is gone.
async fn carry<T: Send + Sync + 'static>(
    mut states: watch::Receiver<Arc<T>>,
    to: mpsc::Sender<RoomMessage>,
    link: LinkId,
    take: fn(&mut Room, LinkId, &T),
) {
    while states.changed().await.is_ok() {
        let state = Arc::clone(&states.borrow_and_update());
        let call = Box::new(move |room: &mut Room, now: Time| {
            room.call(now, |room| take(room, link, &state));
        });
        if to.send(RoomMessage::Call(call)).await.is_err() {
            return;
        }
    }
    close(&to, link).await;
}

async fn close(room: &mpsc::Sender<RoomMessage>, link: LinkId) {
    let call = Box::new(move |room: &mut Room, now: Time| {
        room.call(now, |room| room.close_forward(link));
    });
    // A room that has ended has closed its links.
    let _ = room.send(RoomMessage::Call(call)).await;
}
