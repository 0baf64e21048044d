//! Packets that wait for their owner to be served, and which owner is to be served next.
//!
//! A packet that ends a frame, sound, and a full queue release an owner at once. Everything else waits for one
//! deadline that all owners of an ingress batch share, so that a frame leaves in one run and there is no timer per
//! owner. Within an owner sound goes first, then what was asked for again, then video, then padding.
//!
//! An owner whose link is measured is paced ([`crate::pace`]): sound never waits for that, everything else does. An owner
//! behind a connection that is full ([`Intake`]) is held back until it takes more.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use schalter_model::Time;

use crate::bandwidth::{Probe, ProbeId};
use crate::intake::Intake;
use crate::pace::Pace;
use crate::pending::Pending;
use crate::settings::RouterConfig;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Release {
    #[default]
    Idle,
    /// Has packets that wait for the batch's deadline.
    Waiting,
    /// In the list of owners to be served.
    Ready,
    /// Has packets that wait for the pace; the time is in the heap.
    Paced(Time),
    /// Has packets that wait for the connection to take more.
    Held,
}

/// What a packet is to its owner: the order in which they leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Sound,
    Repair,
    Video,
    /// Sent only while a probe lasts.
    Padding,
}

impl Lane {
    const ALL: [Self; LANES] = [Self::Sound, Self::Repair, Self::Video, Self::Padding];
}

const LANES: usize = 4;

#[derive(Debug, Default)]
struct Outbox {
    lanes: [VecDeque<Pending>; LANES],
    /// Packets in all lanes but padding.
    pending: usize,
    release: Release,
    in_batch: bool,
    /// Next transport-wide sequence number.
    transport_sequence: u16,
    pace: Option<Pace>,
    intake: Intake,
}

impl Outbox {
    /// The lane whose packet may leave now.
    #[inline]
    fn open_lane(&self, now: Time) -> Option<Lane> {
        if self.intake == Intake::Nothing {
            return None;
        }
        if !self.lanes[Lane::Sound as usize].is_empty() {
            return Some(Lane::Sound);
        }
        if self.intake == Intake::Sound {
            return None;
        }
        if self.pace.as_ref().is_some_and(|pace| !pace.is_open(now)) {
            return None;
        }
        Lane::ALL
            .into_iter()
            .find(|lane| !self.lanes[*lane as usize].is_empty())
    }

    fn is_empty(&self) -> bool {
        self.pending == 0 && self.lanes[Lane::Padding as usize].is_empty()
    }
}

/// All owners' queues.
#[derive(Debug)]
pub(crate) struct Egress {
    boxes: Vec<Outbox>,
    batch: Vec<u32>,
    deadline: Option<Time>,
    ready: VecDeque<u32>,
    paced: BinaryHeap<Reverse<(Time, u32)>>,
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
            paced: BinaryHeap::new(),
            burst: config.burst,
            burst_packets: config.burst_packets.max(1),
            max_pending: config.max_pending_per_owner.max(1),
        }
    }

    pub(crate) fn add(&mut self, owner: u32) {
        let needed = owner as usize + 1;
        if self.boxes.len() < needed {
            self.boxes.resize_with(needed, Outbox::default);
            // Every owner may wait for its pace at once, and sound supersedes some of the waits.
            self.paced
                .reserve((4 * needed).saturating_sub(self.paced.len()));
        }
    }

    /// Forgets an owner's packets and pace; its place in the lists is found empty later.
    pub(crate) fn remove(&mut self, owner: u32) {
        if let Some(outbox) = self.boxes.get_mut(owner as usize) {
            outbox.lanes = Default::default();
            outbox.pending = 0;
            outbox.transport_sequence = 0;
            outbox.pace = None;
            outbox.intake = Intake::Everything;
            if outbox.release == Release::Held {
                outbox.release = Release::Idle;
            }
        }
    }

    pub(crate) fn remove_consumer(&mut self, owner: u32, consumer: u32) {
        if let Some(outbox) = self.boxes.get_mut(owner as usize) {
            for lane in &mut outbox.lanes {
                lane.retain(|pending| pending.consumer != consumer);
            }
            outbox.pending = outbox.lanes[..Lane::Padding as usize]
                .iter()
                .map(VecDeque::len)
                .sum();
        }
    }

    /// The pace of an owner, to begin or change it.
    pub(crate) fn pace_mut(&mut self, owner: u32) -> Option<&mut Option<Pace>> {
        Some(&mut self.boxes.get_mut(owner as usize)?.pace)
    }

    /// Sets what an owner's connection takes; answers what it took before.
    pub(crate) fn set_intake(&mut self, owner: u32, intake: Intake) -> Intake {
        let Some(outbox) = self.boxes.get_mut(owner as usize) else {
            return intake;
        };
        if outbox.release == Release::Held {
            if outbox.is_empty() {
                outbox.release = Release::Idle;
            } else if intake != Intake::Nothing {
                outbox.release = Release::Ready;
                self.ready.push_back(owner);
            }
        }
        std::mem::replace(&mut outbox.intake, intake)
    }

    /// Drops an owner's sound that was queued before `since`; answers how many packets.
    pub(crate) fn drop_sound_before(&mut self, owner: u32, since: Time) -> u64 {
        let Some(outbox) = self.boxes.get_mut(owner as usize) else {
            return 0;
        };
        let mut dropped = 0;
        let lane = &mut outbox.lanes[Lane::Sound as usize];
        while lane.pop_front_if(|pending| pending.since < since).is_some() {
            dropped += 1;
        }
        outbox.pending -= dropped;
        dropped as u64
    }

    /// Since when the first of an owner's pictures or repairs waits.
    pub(crate) fn pictures_wait_since(&self, owner: u32) -> Option<Time> {
        let outbox = self.boxes.get(owner as usize)?;
        [Lane::Repair, Lane::Video]
            .into_iter()
            .filter_map(|lane| Some(outbox.lanes[lane as usize].front()?.since))
            .min()
    }

    /// Packets that wait in an owner's video and repair lanes.
    pub(crate) fn backlog(&self, owner: u32) -> usize {
        let Some(outbox) = self.boxes.get(owner as usize) else {
            return 0;
        };
        outbox.lanes[Lane::Repair as usize].len() + outbox.lanes[Lane::Video as usize].len()
    }

    /// Sends at a probe's rate from now on until its bytes are sent; [`Lane::Padding`] fills what media does not.
    pub(crate) fn start_probe(&mut self, now: Time, owner: u32, probe: Probe) {
        if let Some(outbox) = self.boxes.get_mut(owner as usize)
            && let Some(pace) = &mut outbox.pace
        {
            outbox.lanes[Lane::Padding as usize].clear();
            pace.start_probe(now, probe);
        }
    }

    /// Queues a packet. `urgent` releases the owner at once.
    #[inline]
    pub(crate) fn push(
        &mut self,
        now: Time,
        owner: u32,
        lane: Lane,
        pending: Pending,
        urgent: bool,
    ) -> Result<(), Full> {
        let outbox = self.boxes.get_mut(owner as usize).ok_or(Full)?;
        if outbox.pending >= self.max_pending {
            return Err(Full);
        }
        outbox.lanes[lane as usize].push_back(Pending {
            since: now,
            ..pending
        });
        if lane != Lane::Padding {
            outbox.pending += 1;
        }
        let at_once = urgent || outbox.pending >= self.burst_packets;
        match outbox.release {
            Release::Ready => {}
            Release::Held if lane == Lane::Sound && outbox.intake == Intake::Sound => {
                outbox.release = Release::Ready;
                self.ready.push_back(owner);
            }
            Release::Held => {}
            // Sound overtakes the pace; the entry in the heap is found superseded.
            Release::Paced(_) if lane != Lane::Sound => {}
            Release::Paced(_) => {
                outbox.release = Release::Ready;
                self.ready.push_back(owner);
            }
            Release::Idle | Release::Waiting if at_once => {
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

    /// An owner to be served; the same one until nothing of it may leave now.
    pub(crate) fn next_ready(&mut self, now: Time) -> Option<u32> {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.release_batch();
        }
        while let Some(Reverse((at, owner))) = self.paced.peek().copied()
            && at <= now
        {
            self.paced.pop();
            let outbox = &mut self.boxes[owner as usize];
            if outbox.release == Release::Paced(at) {
                outbox.release = Release::Ready;
                self.ready.push_back(owner);
            }
        }
        while let Some(owner) = self.ready.front().copied() {
            let outbox = &mut self.boxes[owner as usize];
            if outbox.open_lane(now).is_some() {
                return Some(owner);
            }
            self.ready.pop_front();
            let opens = outbox.pace.as_ref().map(Pace::opens_at);
            if outbox.intake != Intake::Everything && !outbox.is_empty() {
                outbox.release = Release::Held;
                continue;
            }
            outbox.release = match opens {
                Some(at) if !outbox.is_empty() => {
                    // Never at once: what is closed now was asked just now.
                    let at = at.max(now + std::time::Duration::from_micros(100));
                    self.paced.push(Reverse((at, owner)));
                    Release::Paced(at)
                }
                Some(_) | None => Release::Idle,
            };
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
    pub(crate) fn peek(&self, now: Time, owner: u32) -> Option<&Pending> {
        let outbox = self.boxes.get(owner as usize)?;
        outbox.lanes[outbox.open_lane(now)? as usize].front()
    }

    /// Takes the packet that [`Self::peek`] showed, with the probe it belongs to; `wire_len` is what it takes of the link.
    #[inline]
    pub(crate) fn pop(
        &mut self,
        now: Time,
        owner: u32,
        wire_overhead: usize,
    ) -> Option<(Pending, Option<ProbeId>)> {
        let outbox = self.boxes.get_mut(owner as usize)?;
        let lane = outbox.open_lane(now)?;
        let pending = outbox.lanes[lane as usize].pop_front()?;
        if lane != Lane::Padding {
            outbox.pending -= 1;
        }
        let mut probe = None;
        if let Some(pace) = &mut outbox.pace {
            probe = pace.on_sent(now, usize::from(pending.len) + wire_overhead);
            if !pace.is_probing() {
                outbox.lanes[Lane::Padding as usize].clear();
            }
        }
        Some((pending, probe))
    }

    /// Takes the packet that [`Self::peek`] showed, without it being sent.
    pub(crate) fn discard(&mut self, now: Time, owner: u32) {
        let Some(outbox) = self.boxes.get_mut(owner as usize) else {
            return;
        };
        if let Some(lane) = outbox.open_lane(now)
            && outbox.lanes[lane as usize].pop_front().is_some()
            && lane != Lane::Padding
        {
            outbox.pending -= 1;
        }
    }

    pub(crate) fn transport_sequence(&mut self, owner: u32) -> Option<&mut u16> {
        Some(&mut self.boxes.get_mut(owner as usize)?.transport_sequence)
    }

    /// When [`Self::next_ready`] will have something that it has not now.
    pub(crate) fn next_timeout(&self) -> Option<Time> {
        let paced = self.paced.peek().map(|Reverse((at, _))| *at);
        self.deadline.into_iter().chain(paced).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pending::Part;
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
            since: Time::ZERO,
        }
    }

    fn egress() -> Egress {
        let mut egress = Egress::new(&RouterConfig::default());
        for owner in 0..3 {
            egress.add(owner);
        }
        egress
    }

    /// Takes a packet of owner 1; answers its consumer.
    fn pop(egress: &mut Egress, micros: u64) -> Option<u32> {
        let taken = egress.pop(Time::from_micros(micros), 1, 0);
        taken.map(|(pending, _)| pending.consumer)
    }

    #[test]
    fn a_frame_waits_for_its_end_and_no_longer_than_the_burst() {
        let mut egress = egress();
        egress
            .push(Time::ZERO, 0, Lane::Video, packet(0), false)
            .unwrap();
        egress
            .push(Time::from_micros(500), 1, Lane::Video, packet(1), false)
            .unwrap();
        assert_eq!(egress.next_ready(Time::from_micros(900)), None);
        egress
            .push(Time::from_micros(900), 1, Lane::Video, packet(1), true)
            .unwrap();
        assert_eq!(egress.next_ready(Time::from_micros(900)), Some(1));
        assert_eq!(
            (pop(&mut egress, 900), pop(&mut egress, 900)),
            (Some(1), Some(1))
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
            egress
                .push(Time::ZERO, 2, Lane::Video, packet(0), false)
                .unwrap();
        }
        assert_eq!(egress.next_ready(Time::ZERO), Some(2));
    }

    #[test]
    fn a_full_queue_refuses() {
        let mut egress = egress();
        for _ in 0..1_024 {
            egress
                .push(Time::ZERO, 0, Lane::Video, packet(0), false)
                .unwrap();
        }
        assert_eq!(
            egress.push(Time::ZERO, 0, Lane::Video, packet(0), false),
            Err(Full)
        );
    }

    #[test]
    fn sound_goes_first_then_repairs_then_video() {
        let mut egress = egress();
        for (consumer, lane) in [(1, Lane::Video), (2, Lane::Repair), (3, Lane::Sound)] {
            egress
                .push(Time::ZERO, 1, lane, packet(consumer), true)
                .unwrap();
        }
        let order: Vec<_> = (0..4).map(|_| pop(&mut egress, 0)).collect();
        assert_eq!(order, [Some(3), Some(2), Some(1), None]);
    }

    #[test]
    fn a_paced_owner_waits_and_its_sound_does_not() {
        let mut egress = egress();
        let pace = egress.pace_mut(1).unwrap();
        *pace = Some(Pace::new(
            schalter_model::Bitrate::from_kbps(8),
            crate::pace::SHORT_BURST,
        ));
        for _ in 0..3 {
            egress
                .push(Time::ZERO, 1, Lane::Video, packet(1), true)
                .unwrap();
        }
        // 12 bytes at 8 kbit/s take 10 ms (the slowest pace), beyond the burst of 5 ms.
        assert_eq!(egress.next_ready(Time::ZERO), Some(1));
        assert_eq!((pop(&mut egress, 0), pop(&mut egress, 0)), (Some(1), None));
        assert_eq!(egress.next_ready(Time::ZERO), None);
        let opens = egress.next_timeout().unwrap();
        assert!((Time::from_millis(5)..Time::from_millis(20)).contains(&opens));
        egress
            .push(Time::from_millis(1), 1, Lane::Sound, packet(9), true)
            .unwrap();
        assert_eq!(egress.next_ready(Time::from_millis(1)), Some(1));
        assert_eq!(pop(&mut egress, 1_000), Some(9));
        assert_eq!(egress.next_ready(Time::from_millis(1)), None);
        let opens = egress.next_timeout().unwrap().max(Time::from_millis(40));
        assert_eq!(egress.next_ready(opens), Some(1));
        assert_eq!(pop(&mut egress, 40_000), Some(1));
    }

    #[test]
    fn padding_leaves_only_while_a_probe_lasts() {
        let mut egress = egress();
        let rate = schalter_model::Bitrate::from_kbps(8_000);
        *egress.pace_mut(1).unwrap() = Some(Pace::new(rate, crate::pace::SHORT_BURST));
        let probe = Probe {
            id: ProbeId::new(1),
            rate,
            bytes: 70,
        };
        egress.start_probe(Time::ZERO, 1, probe);
        for lane in [Lane::Padding; 7] {
            egress.push(Time::ZERO, 1, lane, packet(7), true).unwrap();
        }
        let sent: Vec<_> = (0..7)
            .map(|_| egress.pop(Time::ZERO, 1, 0).and_then(|(_, probe)| probe))
            .collect();
        let id = Some(probe.id);
        assert_eq!(
            sent,
            [id, id, id, id, id, id, None],
            "70 bytes in packets of 12"
        );
    }
}
