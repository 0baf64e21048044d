//! Lanes into and between workers, and the bell that wakes a sleeping one.
//!
//! Commands and control messages never drop; how many may be under way is bounded by those who send them (signaling
//! limits requests per participant, shards send control messages only in answer to those or at limited rates, and who
//! accepts connections bounds how many are under way).
//! Envelopes travel in one bounded ring per ordered pair of shards.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc;

use rustix::event::{EventfdFlags, eventfd};
use schalter_model::ShardId;
use schalter_shard::control::Command;
use schalter_shard::peer::{Envelope, PeerMessage};

use crate::stream::AcceptedStream;

/// Wakes one worker. Ringing costs a system call only when the worker sleeps.
#[derive(Debug)]
pub(crate) struct Doorbell {
    fd: OwnedFd,
    asleep: AtomicBool,
    /// Something was put into a lane since the worker last began to look.
    waiting: AtomicBool,
}

impl Doorbell {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            fd: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            asleep: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
        })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Makes the worker look into its lanes, after something was put there.
    pub(crate) fn ring(&self) {
        self.waiting.store(true, Ordering::Release);
        // Pairs with the fence in `falls_asleep`: either the worker sees that something waits, or we see it asleep.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            // Fails only when the counter is full, and then the worker is woken anyway.
            let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        }
    }

    /// The worker begins to look into its lanes.
    pub(crate) fn looks(&self) {
        self.waiting.swap(false, Ordering::AcqRel);
    }

    /// The worker is about to sleep. Returns `false` if it must not, because something waits.
    pub(crate) fn falls_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        !self.waiting.load(Ordering::Relaxed)
    }

    /// The worker is awake again; `rung` tells that the descriptor was readable.
    pub(crate) fn wakes_up(&self, rung: bool) {
        self.asleep.store(false, Ordering::Relaxed);
        if rung {
            // Resets the counter; that it was zero already is no harm.
            let _ = rustix::io::read(&self.fd, &mut [0u8; 8]);
        }
    }
}

/// The ends of the lanes that one worker holds.
pub(crate) struct Mailbox {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) streams: mpsc::Receiver<AcceptedStream>,
    pub(crate) messages: mpsc::Receiver<(ShardId, PeerMessage)>,
    pub(crate) envelopes: Vec<Ring>,
    bells: Arc<[Doorbell]>,
    own: ShardId,
    to: Vec<Outbox>,
}

/// Packets from one other shard.
pub(crate) struct Ring {
    pub(crate) from: ShardId,
    pub(crate) slots: rtrb::Consumer<Envelope>,
}

/// The lanes towards one shard.
struct Outbox {
    messages: mpsc::Sender<(ShardId, PeerMessage)>,
    /// `None` for the shard itself.
    envelopes: Option<rtrb::Producer<Envelope>>,
    /// Something was put since the bell rang.
    unannounced: bool,
}

/// Why an envelope was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Mailbox {
    /// Every worker's bell, in the order of the shards.
    pub(crate) fn bells(&self) -> Arc<[Doorbell]> {
        Arc::clone(&self.bells)
    }

    /// Puts a packet into the ring to another shard. There is no ring to the shard itself or to one that doesn't
    /// exist; both count as full.
    pub(crate) fn post(&mut self, to: ShardId, envelope: &Envelope) -> Result<(), Full> {
        let outbox = self.to.get_mut(usize::from(to.0)).ok_or(Full)?;
        let ring = outbox.envelopes.as_mut().ok_or(Full)?;
        outbox.unannounced = true;
        // Looked at first, so that a full ring does not cost the copy.
        if ring.is_full() {
            return Err(Full);
        }
        ring.push(envelope.clone()).map_err(|_| Full)
    }

    /// Sends a control message; `false` if there is no such shard, or its worker is gone.
    pub(crate) fn tell(&mut self, to: ShardId, message: PeerMessage) -> bool {
        let Some(outbox) = self.to.get_mut(usize::from(to.0)) else {
            return false;
        };
        outbox.unannounced = true;
        outbox.messages.send((self.own, message)).is_ok()
    }

    /// Rings once at every shard that something was put for.
    pub(crate) fn announce(&mut self) {
        for (outbox, bell) in self.to.iter_mut().zip(self.bells.iter()) {
            if std::mem::take(&mut outbox.unannounced) {
                bell.ring();
            }
        }
    }
}

/// All lanes of a node.
pub(crate) struct Lanes {
    pub(crate) commands: Vec<mpsc::Sender<Command>>,
    pub(crate) streams: Vec<mpsc::Sender<AcceptedStream>>,
    pub(crate) bells: Arc<[Doorbell]>,
    /// One for each worker, in the order of the shards.
    pub(crate) mailboxes: Vec<Mailbox>,
}

impl Lanes {
    /// Lanes among `shards` workers, with `slots` envelopes in each ring.
    ///
    /// # Errors
    /// When the kernel has no more descriptors, with the shard it was for.
    pub(crate) fn new(shards: u8, slots: usize) -> Result<Self, (ShardId, io::Error)> {
        let ids: Vec<_> = (0..shards).map(ShardId).collect();
        let bells: Arc<[Doorbell]> = ids
            .iter()
            .map(|id| Doorbell::new().map_err(|error| (*id, error)))
            .collect::<Result<Vec<_>, _>>()?
            .into();
        let (messages_in, messages_out): (Vec<_>, Vec<_>) =
            ids.iter().map(|_| mpsc::channel()).unzip();
        let mut mailboxes = Vec::with_capacity(ids.len());
        let mut commands = Vec::with_capacity(ids.len());
        let mut streams = Vec::with_capacity(ids.len());
        for (own, messages) in ids.iter().zip(messages_out) {
            let (sender, receiver) = mpsc::channel();
            commands.push(sender);
            let (sender, accepted) = mpsc::channel();
            streams.push(sender);
            mailboxes.push(Mailbox {
                commands: receiver,
                streams: accepted,
                messages,
                envelopes: Vec::new(),
                bells: Arc::clone(&bells),
                own: *own,
                to: Vec::with_capacity(ids.len()),
            });
        }
        for from in &ids {
            for to in &ids {
                let ring = (from != to).then(|| {
                    let (producer, consumer) = rtrb::RingBuffer::new(slots.max(1));
                    mailboxes[usize::from(to.0)].envelopes.push(Ring {
                        from: *from,
                        slots: consumer,
                    });
                    producer
                });
                mailboxes[usize::from(from.0)].to.push(Outbox {
                    messages: messages_in[usize::from(to.0)].clone(),
                    envelopes: ring,
                    unannounced: false,
                });
            }
        }
        Ok(Self {
            commands,
            streams,
            bells,
            mailboxes,
        })
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    fn rung(bell: &Doorbell) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(bell.fd(), PollFlags::IN)];
        poll(
            &mut fds,
            Some(&rustix::time::Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            }),
        )
        .unwrap()
            > 0
    }

    #[test]
    fn only_a_sleeping_worker_is_rung_and_only_once() {
        let bell = Doorbell::new().unwrap();
        bell.ring();
        assert!(!rung(&bell), "awake: it looks anyway");
        assert!(!bell.falls_asleep(), "something waits");
        bell.wakes_up(false);
        bell.looks();
        assert!(bell.falls_asleep());
        bell.ring();
        bell.ring();
        assert!(rung(&bell));
        bell.wakes_up(true);
        assert!(!rung(&bell), "one look answers any number of rings");
    }

    #[test]
    fn a_full_ring_refuses_and_loses_nothing_it_took() {
        let mut lanes = Lanes::new(2, 2).unwrap();
        let mut receiver = lanes.mailboxes.pop().unwrap();
        let mut sender = lanes.mailboxes.pop().unwrap();
        let mut envelope = Envelope::default();
        for value in 0..3 {
            envelope.buffer()[0] = value;
            envelope.set_len(1);
            let expected = if value < 2 { Ok(()) } else { Err(Full) };
            assert_eq!(sender.post(ShardId(1), &envelope), expected);
        }
        assert_eq!(
            sender.post(ShardId(0), &envelope),
            Err(Full),
            "no ring to oneself"
        );
        assert_eq!(
            sender.post(ShardId(9), &envelope),
            Err(Full),
            "no such shard"
        );
        let ring = &mut receiver.envelopes[0];
        assert_eq!(ring.from, ShardId(0));
        let got: Vec<_> = std::iter::from_fn(|| ring.slots.pop().ok())
            .map(|e| e.packet().to_vec())
            .collect();
        assert_eq!(got, [[0], [1]]);
    }
}
