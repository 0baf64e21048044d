//! One worker's life: wait, receive a batch, look into the lanes, run timers, send what came of it.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;
use schalter_model::{Counters, DropReason, ShardId, Time};
use schalter_shard::control::Event;
use schalter_shard::peer::Envelope;

use crate::egress::{Drained, Egress};
use crate::mailbox::{Doorbell, Mailbox};
use crate::receive::{BATCH, ReceivePool};
use crate::socket::Sockets;
use crate::stream::Streams;
use crate::worker::Worker;

/// How often counters are published.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);
/// Commands, and control messages, that are carried out before the network has its turn.
const COMMANDS_PER_PASS: usize = 64;
/// Envelopes of one ring that are taken before the network has its turn.
const ENVELOPES_PER_PASS: usize = 64;
/// Received messages after which the outcome is sent before more are looked at, to bound how long the first waits.
pub(crate) const MESSAGES_PER_DRAIN: usize = 8;
/// Passes that a stopping worker still makes to carry out what was asked of it before.
const LAST_PASSES: usize = 1_024;

/// What a worker shows to the outside while it runs.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    counters: Mutex<Counters>,
    pub(crate) stop: AtomicBool,
}

impl Shown {
    /// As last published.
    pub(crate) fn counters(&self) -> Counters {
        // A plain copy can't be left half-written by a panic.
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, counters: Counters) {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner) = counters;
    }
}

/// Reads time as a worker counts it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) epoch: Instant,
}

impl Clock {
    pub(crate) fn now(self) -> Time {
        Time::ZERO + self.epoch.elapsed()
    }
}

/// Takes what a shard reports.
pub(crate) type EventSink = dyn Fn(ShardId, Event) + Send + Sync;

/// Everything one worker's thread owns or looks at.
pub(crate) struct EventLoop<'a, W> {
    pub(crate) shard: ShardId,
    pub(crate) worker: W,
    pub(crate) sockets: &'a Sockets,
    pub(crate) mailbox: Mailbox,
    pub(crate) clock: Clock,
    pub(crate) events: &'a EventSink,
    pub(crate) shown: &'a Shown,
}

/// What a pass leaves to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pass {
    /// Work is left: don't sleep.
    more: bool,
    egress: Drained,
}

/// State that outlives a pass but that only [`EventLoop::run`] needs.
pub(crate) struct Gear {
    pool: ReceivePool,
    egress: Egress,
    envelope: Envelope,
    pub(crate) streams: Streams,
    pub(crate) counters: Counters,
    readable: Vec<bool>,
    streams_ready: bool,
}

impl<W: Worker> EventLoop<'_, W> {
    /// Runs until asked to stop.
    ///
    /// # Errors
    /// When the kernel refuses to wait or to receive for another reason than that nothing is there.
    pub(crate) fn run(mut self, streams: Streams) -> io::Result<()> {
        let mut gear = Gear {
            pool: ReceivePool::new(),
            egress: Egress::new(),
            envelope: Envelope::default(),
            streams,
            counters: Counters::default(),
            readable: vec![false; self.sockets.all().len()],
            streams_ready: false,
        };
        // A copy of the descriptor, so that waiting borrows nothing of the streams.
        let streams_fd = gear.streams.fd().try_clone_to_owned()?;
        let bells = self.mailbox.bells();
        let bell = &bells[usize::from(self.shard.0)];
        let sockets = self.sockets;
        let mut fds: Vec<_> = sockets
            .all()
            .iter()
            .map(|socket| socket.udp.as_fd())
            .chain([streams_fd.as_fd(), bell.fd()])
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let mut publish_at = Time::ZERO;
        let mut woke = self.clock.now();
        loop {
            bell.looks();
            let pass = self.pass(&mut gear, woke)?;
            let now = self.clock.now();
            gear.counters.busy_nanos += (now - woke).as_nanos() as u64;
            if now >= publish_at {
                self.publish(&gear.counters);
                publish_at = now + PUBLISH_EVERY;
            }
            if self.shown.stop.load(Ordering::Acquire) {
                return self.finish(&mut gear);
            }
            self.wait(&mut gear, sockets, &mut fds, bell, pass, publish_at)?;
            woke = self.clock.now();
        }
    }

    /// One round over everything that may have something to do.
    fn pass(&mut self, gear: &mut Gear, now: Time) -> io::Result<Pass> {
        let mut more = self.take_commands(now);
        more |= self.take_envelopes(now);
        for index in 0..gear.readable.len() {
            if std::mem::take(&mut gear.readable[index]) {
                more |= self.receive(gear, index)?;
            }
        }
        more |= self.adopt_streams(gear);
        more |= self.serve_again(gear);
        if std::mem::take(&mut gear.streams_ready) {
            self.serve_streams(gear)?;
        }
        let now = self.clock.now();
        if self.worker.next_timeout().is_some_and(|due| due <= now) {
            self.worker.on_timeout(now);
        }
        let egress = self.drain(gear);
        more |= self.end_streams(gear);
        Ok(Pass {
            more: more || egress == Drained::More,
            egress,
        })
    }

    /// Receives one batch. Returns whether there may be more.
    fn receive(&mut self, gear: &mut Gear, index: usize) -> io::Result<bool> {
        let socket = &self.sockets.all()[index];
        let count = gear.pool.receive(socket, &mut gear.counters)?;
        let mut now = self.clock.now();
        for message in 0..count {
            if message > 0 && message % MESSAGES_PER_DRAIN == 0 {
                self.drain(gear);
                now = self.clock.now();
            }
            let message = gear
                .pool
                .message(message, socket.carrier, &mut gear.counters);
            let Some(message) = message else {
                continue;
            };
            let path = message.path();
            for datagram in message.datagrams() {
                self.worker.on_datagram(now, path, datagram);
            }
        }
        Ok(count == BATCH)
    }

    /// Returns whether there may be more.
    fn take_commands(&mut self, now: Time) -> bool {
        let mut taken = 0;
        for command in self.mailbox.commands.try_iter().take(COMMANDS_PER_PASS) {
            self.worker.on_command(now, command);
            taken += 1;
        }
        let mut told = 0;
        for (from, message) in self.mailbox.messages.try_iter().take(COMMANDS_PER_PASS) {
            self.worker.on_peer(now, from, message);
            told += 1;
        }
        taken == COMMANDS_PER_PASS || told == COMMANDS_PER_PASS
    }

    /// Returns whether there is more.
    fn take_envelopes(&mut self, now: Time) -> bool {
        let mut more = false;
        for ring in &mut self.mailbox.envelopes {
            let waiting = ring.slots.slots();
            let count = waiting.min(ENVELOPES_PER_PASS);
            let Ok(chunk) = ring.slots.read_chunk(count) else {
                continue;
            };
            let (first, second) = chunk.as_slices();
            for envelope in first.iter().chain(second) {
                self.worker.on_envelope(now, ring.from, envelope);
            }
            chunk.commit_all();
            more |= waiting > count;
        }
        more
    }

    /// Hands on everything that the worker wants to leave.
    pub(crate) fn drain(&mut self, gear: &mut Gear) -> Drained {
        let now = self.clock.now();
        while let Some(to) = self.worker.poll_envelope(now, &mut gear.envelope) {
            if self.mailbox.post(to, &gear.envelope).is_err() {
                gear.counters.drops.count(DropReason::MailboxFull);
            }
        }
        while let Some((to, message)) = self.worker.poll_peer() {
            if !self.mailbox.tell(to, message) {
                // Only while the node stops, or when a shard names one that does not exist.
                tracing::debug!(from = %self.shard, %to, "message to a shard that does not run");
            }
        }
        self.mailbox.announce();
        let clock = self.clock;
        let drained = gear.egress.drain(
            &mut self.worker,
            self.sockets,
            &mut gear.streams,
            || clock.now(),
            &mut gear.counters,
        );
        while let Some(event) = self.worker.poll_event() {
            (self.events)(self.shard, event);
        }
        drained
    }

    /// Sleeps until a socket, a lane, a timer or the next publication has something to do.
    fn wait<'fd>(
        &self,
        gear: &mut Gear,
        sockets: &'fd Sockets,
        fds: &mut [PollFd<'fd>],
        bell: &Doorbell,
        pass: Pass,
        wake_at: Time,
    ) -> io::Result<()> {
        let mut wake_at = wake_at;
        if let Some(due) = self.worker.next_timeout() {
            wake_at = wake_at.min(due);
        }
        if let Some(due) = gear.streams.next_timeout() {
            wake_at = wake_at.min(due);
        }
        let mut full = None;
        if let Drained::Blocked { wire, until } = pass.egress {
            wake_at = wake_at.min(until);
            full = Some(wire);
        }
        for (index, (fd, socket)) in fds.iter_mut().zip(sockets.all()).enumerate() {
            let writable = if full == Some(index) {
                PollFlags::OUT
            } else {
                PollFlags::empty()
            };
            *fd = PollFd::from_borrowed_fd(socket.udp.as_fd(), PollFlags::IN | writable);
        }
        let may_sleep = bell.falls_asleep();
        let stopping = self.shown.stop.load(Ordering::Acquire);
        let timeout = if may_sleep && !pass.more && !stopping {
            wake_at - self.clock.now()
        } else {
            Duration::ZERO
        };
        let woken = poll(fds, Some(&timespec(timeout)));
        let [socket_fds @ .., streams_fd, bell_fd] = fds else {
            unreachable!("streams and bell come after the sockets");
        };
        match woken {
            Ok(_) => {
                for (readable, fd) in gear.readable.iter_mut().zip(socket_fds) {
                    // Errors are reported by receiving, too; not to look would mean to spin.
                    *readable = fd
                        .revents()
                        .intersects(PollFlags::IN | PollFlags::ERR | PollFlags::HUP);
                }
                gear.streams_ready = streams_fd.revents().contains(PollFlags::IN);
                bell.wakes_up(bell_fd.revents().contains(PollFlags::IN));
                Ok(())
            }
            Err(Errno::INTR) => {
                bell.wakes_up(false);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Carries out what was asked for before the stop, and says the last words to the peers.
    fn finish(&mut self, gear: &mut Gear) -> io::Result<()> {
        for _ in 0..LAST_PASSES {
            if !self.pass(gear, self.clock.now())?.more {
                break;
            }
        }
        self.publish(&gear.counters);
        Ok(())
    }

    fn publish(&self, own: &Counters) {
        let mut all = self.worker.counters();
        all.datagrams_in += own.datagrams_in;
        all.bytes_in += own.bytes_in;
        all.datagrams_out += own.datagrams_out;
        all.bytes_out += own.bytes_out;
        all.send_batches += own.send_batches;
        all.receive_batches += own.receive_batches;
        all.busy_nanos += own.busy_nanos;
        all.streams += own.streams;
        all.streams_adopted += own.streams_adopted;
        for (reason, count) in own.drops.iter() {
            all.drops.add(reason, count);
        }
        self.shown.publish(all);
    }
}

fn timespec(span: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: span.subsec_nanos().into(),
    }
}
