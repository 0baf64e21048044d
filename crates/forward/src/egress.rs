//! Packets that wait for their owner to be served, and which owner is to be served next.
//!
//! A packet that ends a frame, sound, and a full queue release an owner at once. Everything else waits for one
//! deadline that all owners of an ingress batch share, so that a frame leaves in one run and there is no timer per
//! owner.

use std::collections::VecDeque;

use schalter_model::Time;

use crate::consumer::Pending;
use crate::settings::RouterConfig;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Release {
    #[default]
    Idle,
    /// Has packets that wait for the batch's deadline.
    Waiting,
    /// In the list of owners to be served.
    Ready,
}

#[derive(Debug, Default)]
struct Outbox {
    pending: VecDeque<Pending>,
    release: Release,
    in_batch: bool,
    /// Next transport-wide sequence number.
    transport_sequence: u16,
}

/// All owners' queues.
#[derive(Debug)]
pub(crate) struct Egress {
    boxes: Vec<Outbox>,
    batch: Vec<u32>,
    deadline: Option<Time>,
    ready: VecDeque<u32>,
    burst: std::time::Duration,
    burst_packets: usize,
    max_pending: usize,
}

/// The queue of an owner is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Egress {
    pub(crate) fn new(config: &RouterConfig) -> Self {
        Self {
            boxes: Vec::new(),
            batch: Vec::new(),
            deadline: None,
            ready: VecDeque::new(),
            burst: config.burst,
            burst_packets: config.burst_packets.max(1),
            max_pending: config.max_pending_per_owner.max(1),
        }
    }

    pub(crate) fn add(&mut self, owner: u32) {
        let needed = owner as usize + 1;
        if self.boxes.len() < needed {
            self.boxes.resize_with(needed, Outbox::default);
        }
    }

    /// Forgets an owner's packets; its place in the lists is found empty later.
    pub(crate) fn remove(&mut self, owner: u32) {
        if let Some(outbox) = self.boxes.get_mut(owner as usize) {
            outbox.pending = VecDeque::new();
            outbox.transport_sequence = 0;
        }
    }

    pub(crate) fn remove_consumer(&mut self, owner: u32, consumer: u32) {
        if let Some(outbox) = self.boxes.get_mut(owner as usize) {
            outbox
                .pending
                .retain(|pending| pending.consumer != consumer);
        }
    }

    /// Queues a packet. `urgent` releases the owner at once.
    #[inline]
    pub(crate) fn push(
        &mut self,
        now: Time,
        owner: u32,
        pending: Pending,
        urgent: bool,
    ) -> Result<(), Full> {
        let outbox = self.boxes.get_mut(owner as usize).ok_or(Full)?;
        if outbox.pending.len() >= self.max_pending {
            return Err(Full);
        }
        outbox.pending.push_back(pending);
        match outbox.release {
            Release::Ready => {}
            Release::Idle | Release::Waiting
                if urgent || outbox.pending.len() >= self.burst_packets =>
            {
                outbox.release = Release::Ready;
                self.ready.push_back(owner);
            }
            Release::Waiting => {}
            Release::Idle => {
                outbox.release = Release::Waiting;
                if !outbox.in_batch {
                    outbox.in_batch = true;
                    self.batch.push(owner);
                }
                self.deadline.get_or_insert(now + self.burst);
            }
        }
        Ok(())
    }

    /// An owner to be served; the same one until its queue is empty.
    pub(crate) fn next_ready(&mut self, now: Time) -> Option<u32> {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.release_batch();
        }
        while let Some(owner) = self.ready.front().copied() {
            let outbox = &mut self.boxes[owner as usize];
            if !outbox.pending.is_empty() {
                return Some(owner);
            }
            outbox.release = Release::Idle;
            self.ready.pop_front();
        }
        None
    }

    fn release_batch(&mut self) {
        self.deadline = None;
        for owner in self.batch.drain(..) {
            let outbox = &mut self.boxes[owner as usize];
            outbox.in_batch = false;
            if outbox.release == Release::Waiting {
                outbox.release = Release::Ready;
                self.ready.push_back(owner);
            }
        }
    }

    #[inline]
    pub(crate) fn peek(&self, owner: u32) -> Option<&Pending> {
        self.boxes.get(owner as usize)?.pending.front()
    }

    #[inline]
    pub(crate) fn pop(&mut self, owner: u32) -> Option<Pending> {
        self.boxes.get_mut(owner as usize)?.pending.pop_front()
    }

    pub(crate) fn transport_sequence(&mut self, owner: u32) -> Option<&mut u16> {
        Some(&mut self.boxes.get_mut(owner as usize)?.transport_sequence)
    }

    /// When [`Self::next_ready`] will have something that it has not now.
    pub(crate) fn next_timeout(&self) -> Option<Time> {
        self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::Part;
    use crate::rewrite::Shift;

    fn packet(consumer: u32) -> Pending {
        Pending {
            seq: 1,
            consumer,
            slot: 0,
            shift: Shift::default(),
            sequence: 0,
            len: 12,
            part: Part::Whole,
            marker: false,
            active_targets: None,
            with_mid: false,
            retransmission: false,
        }
    }

    fn egress() -> Egress {
        let mut egress = Egress::new(&RouterConfig::default());
        for owner in 0..3 {
            egress.add(owner);
        }
        egress
    }

    #[test]
    fn a_frame_waits_for_its_end_and_no_longer_than_the_burst() {
        let mut egress = egress();
        egress.push(Time::ZERO, 0, packet(0), false).unwrap();
        egress
            .push(Time::from_micros(500), 1, packet(1), false)
            .unwrap();
        assert_eq!(egress.next_ready(Time::from_micros(900)), None);
        egress
            .push(Time::from_micros(900), 1, packet(1), true)
            .unwrap();
        assert_eq!(egress.next_ready(Time::from_micros(900)), Some(1));
        assert_eq!(
            (egress.pop(1).is_some(), egress.pop(1).is_some()),
            (true, true)
        );
        assert_eq!(egress.next_ready(Time::from_micros(999)), None);
        assert_eq!(egress.next_timeout(), Some(Time::from_millis(1)));
        assert_eq!(egress.next_ready(Time::from_millis(1)), Some(0));
    }

    #[test]
    fn many_packets_do_not_wait() {
        let mut egress = egress();
        for _ in 0..16 {
            assert_eq!(egress.next_ready(Time::ZERO), None);
            egress.push(Time::ZERO, 2, packet(0), false).unwrap();
        }
        assert_eq!(egress.next_ready(Time::ZERO), Some(2));
    }

    #[test]
    fn a_full_queue_refuses() {
        let mut egress = egress();
        for _ in 0..1_024 {
            egress.push(Time::ZERO, 0, packet(0), false).unwrap();
        }
        assert_eq!(egress.push(Time::ZERO, 0, packet(0), false), Err(Full));
    }
}
