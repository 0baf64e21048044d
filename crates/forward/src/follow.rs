//! Which frames of an encoding one subscriber gets: the goal followed from frame to frame, so that everything that is
//! sent can be decoded with what was sent before.
//!
//! Up to a layer it goes where the stream allows it, down at the next picture. A frame is decided once, by its first
//! packet, and remembered for its late ones and for retransmissions. Refuses to know sequence numbers: leaving a frame
//! out closes a gap, and that is [`crate::rewrite`]'s.

use crate::cache::Stored;
use crate::frame::{FRAMES, Frame, LAYER_SETS, MAX_SPATIAL, MAX_TEMPORAL, Scheme, layer_bit};
use crate::layer::{LayerRates, Reach};

/// Goals remembered for frames that come late; who changes them faster than retransmissions take loses a few.
const PAST_GOALS: usize = 4;

const WORDS: usize = FRAMES as usize / 64;

/// What was decided about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Send {
        /// It is the last of its picture that the subscriber gets: its end is marked.
        completes: bool,
    },
    Leave,
}

/// One bit for each of the last [`FRAMES`] frames.
#[derive(Clone, Copy, Debug, Default)]
struct Bits([u64; WORDS]);

impl Bits {
    fn put(&mut self, id: u64, value: bool) {
        let (word, bit) = ((id / 64) as usize % WORDS, id % 64);
        self.0[word] = self.0[word] & !(1 << bit) | u64::from(value) << bit;
    }

    fn of(&self, id: u64) -> bool {
        self.0[(id / 64) as usize % WORDS] & 1 << (id % 64) != 0
    }
}

/// Follows one encoding for one subscriber.
#[derive(Debug)]
pub(crate) struct Follower {
    /// Slot of the encoding.
    pub(crate) slot: u32,
    /// Goal of the present picture: goals change between pictures.
    reach: Reach,
    /// Timestamp of the present picture.
    picture: Option<u32>,
    /// The present picture is one that everything begins anew with.
    opening: bool,
    /// The last opening picture did not bring the goal's decode target.
    humble: bool,
    /// Decode target that is followed, where there are any.
    target: Option<u8>,
    /// Strands that the subscriber lacks nothing of.
    intact: u32,
    /// Packets since and until which each strand is intact, for frames that come late.
    since: [u64; LAYER_SETS],
    until: [u64; LAYER_SETS],
    /// Goals before the present one and the packets that ended them, newest first.
    past: [(u64, Reach); PAST_GOALS],
    /// Highest frame decided.
    newest: u64,
    verdict: Verdict,
    sent: Bits,
    completing: Bits,
    /// Something was left out since the beginning.
    filters: bool,
    counts: (u8, u8),
}

impl Follower {
    pub(crate) fn new(slot: u32) -> Self {
        Self {
            slot,
            reach: Reach::ALL,
            picture: None,
            opening: false,
            humble: false,
            target: None,
            intact: 0,
            since: [0; LAYER_SETS],
            until: [0; LAYER_SETS],
            past: [(0, Reach::BASE); PAST_GOALS],
            newest: 0,
            verdict: Verdict::Leave,
            sent: Bits::default(),
            completing: Bits::default(),
            filters: false,
            counts: (1, 1),
        }
    }

    /// Begins anew with a keyframe's packet; what was decided before stays known.
    pub(crate) fn begin(&mut self, first: &Stored) {
        self.picture = None;
        self.opening = false;
        self.target = None;
        self.humble = false;
        self.intact = 0;
        self.until = [0; LAYER_SETS];
        self.past = [(0, Reach::BASE); PAST_GOALS];
        self.filters = false;
        let before = first.place.frame.saturating_sub(1);
        // What lies between was not sent; a fresh follower has nothing to forget.
        for skipped in self.newest.max(before.saturating_sub(FRAMES)) + 1..=before {
            self.sent.put(skipped, false);
        }
        self.newest = before;
    }

    /// Decides about a packet that is newer than all before it.
    #[inline]
    pub(crate) fn on_packet(
        &mut self,
        stored: &Stored,
        layers: &LayerRates,
        goal: Reach,
    ) -> (Verdict, bool) {
        let id = stored.place.frame;
        if id == 0 {
            return (Verdict::Send { completes: false }, false);
        }
        if id == self.newest {
            return (self.verdict, false);
        }
        if id < self.newest {
            // A frame whose other packets came late.
            return (self.recall(id).unwrap_or(Verdict::Leave), false);
        }
        let Some(frame) = layers.frames.of(id) else {
            return (Verdict::Leave, false);
        };
        if self.picture != Some(frame.timestamp) {
            self.turn_page(stored.seq, frame, layers, goal);
        }
        let is_sent = match frame.scheme {
            Scheme::Layers => wants(self.reach, frame) && frame.needs & !self.intact == 0,
            Scheme::Targets => self.is_of_target(frame, layers),
        };
        if is_sent {
            self.mend(frame.mends, stored.seq);
        } else {
            self.smash(frame.breaks, stored.seq);
        }
        let verdict = self.conclude(frame, layers, is_sent);
        (verdict, true)
    }

    /// Decides about a packet that came after its successors.
    pub(crate) fn on_late_packet(&mut self, stored: &Stored, layers: &LayerRates) -> Verdict {
        let id = stored.place.frame;
        if id == 0 {
            return if self.filters {
                Verdict::Leave
            } else {
                Verdict::Send { completes: false }
            };
        }
        if id <= self.newest {
            return self.recall(id).unwrap_or(Verdict::Leave);
        }
        let Some(frame) = layers.frames.of(id).copied() else {
            return Verdict::Leave;
        };
        // It is judged by what was known and wanted at its place.
        let seq = stored.seq;
        let usable = (0..LAYER_SETS)
            .filter(|strand| (self.since[*strand]..self.until[*strand]).contains(&seq))
            .fold(0, |usable, strand| usable | 1 << strand);
        // What was sent since may refer to it, by whichever goal it was sent.
        let is_sent = self
            .past
            .iter()
            .take_while(|(ended, _)| seq < *ended)
            .map(|(_, reach)| *reach)
            .chain([self.reach])
            .any(|reach| match frame.scheme {
                Scheme::Layers => wants(reach, &frame) && frame.needs & !usable == 0,
                Scheme::Targets => {
                    let targets = &layers.frames.targets;
                    let target = targets.best(usable, reach.spatial, reach.temporal);
                    target.is_some_and(|target| frame.present & 1 << target != 0)
                }
            });
        if !is_sent {
            self.smash(frame.breaks & usable, seq);
        }
        self.conclude(&frame, layers, is_sent)
    }

    /// The goal that it follows now.
    pub(crate) fn reach(&self) -> Reach {
        self.reach
    }

    /// What was decided about a frame, if that is not too long ago.
    pub(crate) fn recall(&self, id: u64) -> Option<Verdict> {
        if id == 0 {
            return Some(Verdict::Send { completes: false });
        }
        if id > self.newest || id + FRAMES <= self.newest {
            return None;
        }
        Some(if self.sent.of(id) {
            Verdict::Send {
                completes: self.completing.of(id),
            }
        } else {
            Verdict::Leave
        })
    }

    fn turn_page(&mut self, seq: u64, frame: &Frame, layers: &LayerRates, goal: Reach) {
        if self.opening {
            let is_met = self
                .target
                .is_some_and(|target| self.intact & 1 << target != 0);
            self.humble = frame.scheme == Scheme::Targets && !is_met;
        }
        self.picture = Some(frame.timestamp);
        if self.reach != goal {
            self.past.rotate_right(1);
            self.past[0] = (seq, self.reach);
            self.reach = goal;
        }
        self.opening = frame.opens;
        self.counts = (layers.spatial_count(), layers.temporal_count());
        if self.opening {
            self.counts.0 = self.counts.0.max(layers.frames.announced_spatial());
            if frame.scheme == Scheme::Targets {
                self.smash(u32::MAX, seq);
            }
        }
    }

    /// Chooses the decode target to follow, and whether the frame is part of it.
    fn is_of_target(&mut self, frame: &Frame, layers: &LayerRates) -> bool {
        let intact = self.intact;
        let targets = &layers.frames.targets;
        let is_decodable = frame.needs & intact != 0 || frame.needs == u32::MAX;
        let gained = if is_decodable { frame.mends } else { 0 };
        let Reach { spatial, temporal } = self.reach;
        let reachable = if self.opening && !self.humble {
            // All that is active begins in this picture, though not all with this frame.
            targets.active
        } else {
            (intact | gained) & targets.active
        };
        self.target = targets.best(reachable, spatial, temporal).or(self.target);
        self.target
            .is_some_and(|target| is_decodable && frame.present & 1 << target != 0)
    }

    fn mend(&mut self, strands: u32, seq: u64) {
        let mut mended = strands & !self.intact;
        self.intact |= strands;
        while mended != 0 {
            let strand = mended.trailing_zeros() as usize;
            (self.since[strand], self.until[strand]) = (seq, u64::MAX);
            mended &= mended - 1;
        }
    }

    /// Notes that strands lack a packet.
    fn smash(&mut self, strands: u32, seq: u64) {
        self.intact &= !strands;
        let mut left = strands;
        while left != 0 {
            let until = &mut self.until[left.trailing_zeros() as usize];
            *until = seq.min(*until);
            left &= left - 1;
        }
    }

    fn conclude(&mut self, frame: &Frame, layers: &LayerRates, is_sent: bool) -> Verdict {
        for skipped in self.newest.max(frame.id.saturating_sub(FRAMES)) + 1..frame.id {
            self.sent.put(skipped, false);
        }
        let completes = is_sent && self.is_top(frame, layers);
        self.sent.put(frame.id, is_sent);
        self.completing.put(frame.id, completes);
        self.newest = frame.id;
        self.filters |= !is_sent;
        self.verdict = if is_sent {
            Verdict::Send { completes }
        } else {
            Verdict::Leave
        };
        self.verdict
    }

    /// Whether no frame of a higher spatial layer is to be expected in the same picture.
    fn is_top(&self, frame: &Frame, layers: &LayerRates) -> bool {
        match frame.scheme {
            Scheme::Layers => {
                let top = self.reach.spatial.min(self.counts.0.saturating_sub(1));
                !(frame.spatial + 1..=top).any(|spatial| self.is_expected(frame, spatial))
            }
            Scheme::Targets => self
                .target
                .is_none_or(|target| frame.spatial >= layers.frames.targets.layers_of(target).0),
        }
    }

    /// Whether the frame of a higher spatial layer will be sent, too, if there is one in the picture.
    fn is_expected(&self, frame: &Frame, spatial: u8) -> bool {
        let (own, temporal) = (frame.spatial, frame.temporal);
        let flows = |spatial, temporal| self.intact & layer_bit(spatial, temporal) != 0;
        // Temporal layers are gone up to by all spatial ones in the same picture.
        let is_climbing = frame.mends & layer_bit(own, temporal) != 0
            && flows(spatial, 0)
            && (0..temporal).all(|below| flows(spatial, below) == flows(own, below));
        self.opening || flows(spatial, temporal) || is_climbing
    }

    /// The highest layer that flows: spatial, temporal.
    pub(crate) fn current(&self, layers: &LayerRates) -> (u8, u8) {
        if let (Scheme::Targets, Some(target)) = (layers.frames.scheme, self.target) {
            return layers.frames.targets.layers_of(target);
        }
        let top = self.reach.spatial.min(layers.spatial_count() - 1);
        let flows = |spatial, temporal| self.intact & layer_bit(spatial, temporal) != 0;
        let spatial = (0..=top.min(MAX_SPATIAL - 1))
            .rev()
            .find(|spatial| flows(*spatial, 0));
        let highest = self.reach.temporal.min(layers.temporal_count() - 1);
        let temporal = (0..=highest.min(MAX_TEMPORAL - 1))
            .take_while(|temporal| flows(spatial.unwrap_or(0), *temporal))
            .last();
        (spatial.unwrap_or(0), temporal.unwrap_or(0))
    }

    /// Whether it takes a keyframe to get to the goal's spatial layer.
    pub(crate) fn lacks(&self, layers: &LayerRates, goal: Reach) -> bool {
        match layers.frames.scheme {
            Scheme::Layers => {
                let top = goal.spatial.min(layers.spatial_count() - 1);
                top > 0 && self.intact & layer_bit(top, 0) == 0
            }
            Scheme::Targets => {
                let targets = &layers.frames.targets;
                let best = |among| targets.best(among, goal.spatial, goal.temporal);
                let spatial = |target: Option<u8>| target.map(|target| targets.layers_of(target).0);
                targets.all != 0
                    && spatial(best(targets.active)) != spatial(best(self.intact & targets.active))
            }
        }
    }
}

fn wants(reach: Reach, frame: &Frame) -> bool {
    frame.spatial <= reach.spatial && frame.temporal <= reach.temporal
}
