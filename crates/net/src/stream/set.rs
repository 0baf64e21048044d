//! The connections of one worker, and which of them have something to do.

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::Timespec;
use schalter_model::{Counters, DropReason, Path, StreamId, Time};

use super::connection::{Connection, End};
use super::unproven::{Origin, Unproven};
use super::{AcceptedStream, MAX_EARLY_LEN, MAX_FRAME_LEN, MAX_STREAMS};
use crate::worker::{Transmit, Worker};

/// Connections that one look at the network finds ready at most; the kernel takes turns among them.
const READY: usize = 64;
/// Bytes that one read brings at most.
const READ_LEN: usize = 16_384;
/// How often connections that no one wants are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How long a connection may be of no use to anyone: before the first authentic check comes on it, and after what it
/// served is over.
const UNWANTED: Duration = Duration::from_secs(10);
/// Bits of a stream's id that tell its slot.
const SLOT_BITS: u32 = 16;

/// All connections of one worker.
#[derive(Debug)]
pub(crate) struct Streams {
    epoll: OwnedFd,
    slots: Vec<Option<Box<Connection>>>,
    free: Vec<usize>,
    opened: u64,
    unproven: Unproven,
    /// What is read stands here; taken out while it is looked at.
    pub(super) buffer: Box<[u8]>,
    /// Connections that ended while their worker had the word.
    pub(super) ended: Vec<StreamId>,
    /// Connections to be read from again without being asked to.
    pub(super) again: VecDeque<StreamId>,
    sweep_at: Time,
}

/// What the kernel tells of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) id: StreamId,
    pub(super) writable: bool,
}

impl Streams {
    /// Of each origin at most so many connections may have proven nothing.
    ///
    /// # Errors
    /// When the kernel has no more descriptors.
    pub(crate) fn new(unproven_per_origin: usize) -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            slots: Vec::new(),
            free: Vec::new(),
            opened: 0,
            unproven: Unproven::new(unproven_per_origin),
            buffer: vec![0; MAX_EARLY_LEN.max(MAX_FRAME_LEN + 4) + READ_LEN].into_boxed_slice(),
            ended: Vec::new(),
            again: VecDeque::new(),
            sweep_at: Time::ZERO,
        })
    }

    /// Readable when [`Self::ready`] has something.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Takes a connection over; `None` if there are too many (counted), or it is broken already. The oldest of the same origin that
    /// has proven nothing ends if they are too many (counted).
    pub(super) fn add(
        &mut self,
        accepted: AcceptedStream,
        counters: &mut Counters,
    ) -> Option<StreamId> {
        if self.len() >= MAX_STREAMS {
            counters.drops.count(DropReason::StreamLimit);
            return None;
        }
        let slot = self.free.pop().unwrap_or(self.slots.len());
        self.opened += 1;
        let id = StreamId(self.opened << SLOT_BITS | slot as u64);
        let added = Connection::new(id, accepted).and_then(|connection| {
            let tcp = connection.tcp.as_fd();
            epoll::add(&self.epoll, tcp, EventData::new_u64(id.0), EventFlags::IN)?;
            Ok(connection)
        });
        let Ok(connection) = added else {
            if slot < self.slots.len() {
                self.free.push(slot);
            }
            return None;
        };
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        let origin = Origin::from(connection.path.remote.ip());
        self.slots[slot] = Some(Box::new(connection));
        if let Some(oldest) = self.unproven.add(origin, id) {
            counters.drops.count(DropReason::StreamUnproven);
            self.ended.push(oldest);
        }
        counters.streams += 1;
        counters.streams_adopted += 1;
        Some(id)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn connection(&mut self, id: StreamId) -> Option<&mut Connection> {
        let slot = slot_of(id);
        let connection = self.slots.get_mut(slot)?.as_deref_mut()?;
        (connection.id == id).then_some(connection)
    }

    /// What has something to do, into `ready`.
    pub(super) fn ready<'a>(
        &self,
        events: &'a mut [MaybeUninit<Event>; READY],
    ) -> io::Result<impl Iterator<Item = Ready> + use<'a>> {
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let (events, _) = epoll::wait(&self.epoll, events, Some(&at_once))?;
        Ok(events.iter().map(|event| {
            let (data, flags) = (event.data, event.flags);
            Ready {
                id: StreamId(data.u64()),
                writable: flags.contains(EventFlags::OUT),
            }
        }))
    }

    /// Frames and sends a run that stands in `contents`. Never waits: what the kernel does not take now waits for that
    /// connection alone, and what has no room there drops.
    pub(crate) fn send<W: Worker>(
        &mut self,
        now: Time,
        worker: &mut W,
        id: StreamId,
        transmit: &Transmit,
        contents: &[u8],
        counters: &mut Counters,
    ) {
        let size = transmit.segment_size.unwrap_or(transmit.len).max(1);
        let count = contents.len().div_ceil(size).max(1) as u64;
        let Some(connection) = self.connection(id) else {
            counters.drops.add(DropReason::SendFailed, count);
            return;
        };
        match connection.send(contents, size) {
            Ok(refused) => {
                counters.send_batches += 1;
                counters.datagrams_out += count - refused;
                counters.bytes_out += contents.len() as u64;
                counters.drops.add(DropReason::EgressFull, refused);
                self.after_write(now, worker, id);
            }
            Err(_) => {
                counters.drops.add(DropReason::SendFailed, count);
                // The worker has the word now; it hears of the end when it has not.
                self.ended.push(id);
            }
        }
    }

    /// Sends what waits for a connection that takes more again.
    pub(super) fn flush<W: Worker>(
        &mut self,
        now: Time,
        worker: &mut W,
        id: StreamId,
    ) -> Result<(), End> {
        let Some(connection) = self.connection(id) else {
            return Ok(());
        };
        connection.flush()?;
        self.after_write(now, worker, id);
        Ok(())
    }

    /// Tells the worker what waits, and has the kernel tell when there is room.
    pub(super) fn after_write<W: Worker>(&mut self, now: Time, worker: &mut W, id: StreamId) {
        let epoll = self.epoll.as_fd();
        let slot = slot_of(id);
        let Some(connection) = self
            .slots
            .get_mut(slot)
            .and_then(|slot| slot.as_deref_mut())
        else {
            return;
        };
        let waiting = connection.waiting();
        if connection.waits_to_write != (waiting > 0) {
            connection.waits_to_write = waiting > 0;
            let flags = if waiting > 0 {
                EventFlags::IN | EventFlags::OUT
            } else {
                EventFlags::IN
            };
            let data = EventData::new_u64(id.0);
            if epoll::modify(epoll, connection.tcp.as_fd(), data, flags).is_err() {
                self.ended.push(id);
                return;
            }
        }
        if connection.told != waiting {
            connection.told = waiting;
            worker.on_stream_backlog(now, connection.path, waiting);
        }
    }

    /// Ends a connection from here; answers the path it was, unless it is gone already.
    pub(super) fn remove(&mut self, id: StreamId, counters: &mut Counters) -> Option<Path> {
        let connection = self.connection(id)?;
        connection.say_goodbye();
        let path = connection.path;
        let slot = slot_of(id);
        self.unproven.remove(path.remote.ip().into(), id);
        // Closing the descriptor takes it out of epoll, too.
        self.slots[slot] = None;
        self.free.push(slot);
        counters.streams -= 1;
        Some(path)
    }

    /// Looks whether a connection that had proven nothing has now.
    pub(super) fn after_frames<W: Worker>(&mut self, worker: &W, id: StreamId) {
        let Some(connection) = self.connection(id) else {
            return;
        };
        if connection.proven || !worker.wants_stream(&connection.path) {
            return;
        }
        connection.proven = true;
        let origin = Origin::from(connection.path.remote.ip());
        self.unproven.remove(origin, id);
    }

    /// When [`Self::sweep`] wants to be called.
    pub(crate) fn next_timeout(&self) -> Option<Time> {
        (self.len() > 0).then_some(self.sweep_at)
    }

    /// Notes which connections no one has wanted for too long.
    pub(super) fn sweep<W: Worker>(&mut self, now: Time, worker: &W) {
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now + SWEEP_EVERY;
        for connection in self.slots.iter_mut().flatten() {
            if worker.wants_stream(&connection.path) {
                connection.unwanted_since = None;
            } else if now >= *connection.unwanted_since.get_or_insert(now) + UNWANTED {
                self.ended.push(connection.id);
            }
        }
    }
}

fn slot_of(id: StreamId) -> usize {
    (id.0 & ((1 << SLOT_BITS) - 1)) as usize
}
