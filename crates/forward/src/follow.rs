//! Which frames of an encoding one subscriber gets: the goal followed from frame to frame, so that everything that is
//! sent can be decoded with what was sent before.
//!
//! Up to a layer it goes where the stream allows it, down at the next picture. A frame is decided once, by its first
//! packet, and remembered for its late ones and for retransmissions. Refuses to know sequence numbers: leaving a frame
//! out closes a gap, and that is [`crate::rewrite`]'s.

use schalter_rtp::codec::av1::ActiveTargets;

use crate::cache::Stored;
use crate::frame::{FRAMES, Frame, LAYER_SETS, Scheme, Targets, layer_bit};
use crate::layer::{LayerRates, Reach};

/// Goals remembered for frames that come late; who changes them faster than retransmissions take loses a few.
const PAST_GOALS: usize = 4;

/// How often a strand may have been broken and mended since a frame that comes late.
const PAST_SPANS: usize = 4;

const WORDS: usize = FRAMES as usize / 64;

/// Frames remembered that say which decode targets are active: they come with switches and keyframes.
const ANNOUNCED: usize = 8;

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

/// Packets between which a strand is intact.
#[derive(Clone, Copy, Debug)]
struct Span {
    since: u64,
    until: u64,
}

impl Span {
    const NEVER: Self = Self { since: 0, until: 0 };

    fn holds(&self, seq: u64) -> bool {
        (self.since..self.until).contains(&seq)
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
    /// Targets followed before it and the packets that ended them, newest first.
    followed: [(u64, u8); PAST_GOALS],
    /// Packet that brought the structure that the target is of.
    structure: u64,
    /// Strands that the subscriber lacks nothing of.
    intact: u32,
    /// When each strand is intact, for frames that come late.
    spans: [[Span; PAST_SPANS]; LAYER_SETS],
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
    /// Decode targets that the subscriber believes to be active.
    believed: u32,
    /// Frames that tell the subscriber otherwise, and what.
    announced: [(u64, ActiveTargets); ANNOUNCED],
    next_announced: usize,
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
            followed: [(0, 0); PAST_GOALS],
            structure: 0,
            intact: 0,
            spans: [[Span::NEVER; PAST_SPANS]; LAYER_SETS],
            past: [(0, Reach::BASE); PAST_GOALS],
            newest: 0,
            verdict: Verdict::Leave,
            sent: Bits::default(),
            completing: Bits::default(),
            filters: false,
            counts: (1, 1),
            believed: 0,
            announced: [(0, ActiveTargets { count: 0, mask: 0 }); ANNOUNCED],
            next_announced: 0,
        }
    }

    /// Begins anew with a keyframe's packet; what was decided before stays known.
    pub(crate) fn begin(&mut self, first: &Stored) {
        self.picture = None;
        self.opening = false;
        self.target = None;
        self.followed = [(0, 0); PAST_GOALS];
        self.humble = false;
        self.intact = 0;
        self.spans = [[Span::NEVER; PAST_SPANS]; LAYER_SETS];
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
            Scheme::Targets => self.is_of_target(stored.seq, frame, layers),
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
            .filter(|strand| self.spans[*strand].iter().any(|span| span.holds(seq)))
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
                    // On the way to the goal it may be another target that is followed.
                    let best = targets.best(usable, reach.spatial, reach.temporal);
                    let before = self.followed.iter();
                    let before = before.take_while(|(ended, _)| seq < *ended);
                    let followed = self.target.into_iter().chain(before.map(|(_, was)| *was));
                    let followed = followed.filter(|target| usable & 1 << target != 0);
                    let mut candidates = best.into_iter().chain(followed);
                    candidates.any(|target| frame.present & 1 << target != 0)
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
            if self.structure != layers.frames.structure_seq {
                // Its decode targets are others.
                self.structure = layers.frames.structure_seq;
                self.smash(u32::MAX, seq);
            }
        }
    }

    /// Chooses the decode target to follow, and whether the frame is part of it.
    fn is_of_target(&mut self, seq: u64, frame: &Frame, layers: &LayerRates) -> bool {
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
        let best = targets.best(reachable, spatial, temporal);
        if let Some(best) = best {
            let next = self.step(frame, targets, best, is_decodable);
            if let Some(target) = self.target.filter(|_| self.target != next) {
                self.followed.rotate_right(1);
                self.followed[0] = (seq, target);
            }
            self.target = next;
        }
        // Who lacks nothing gets what its target is, even if what it refers to was lost on the way here.
        self.target.is_some_and(|target| {
            frame.present & 1 << target != 0 && (is_decodable || intact & 1 << target != 0)
        })
    }

    /// The target to follow from this frame on, on the way to the best one.
    fn step(&self, frame: &Frame, targets: &Targets, best: u8, is_decodable: bool) -> Option<u8> {
        let Some(now) = self.target else {
            return Some(best);
        };
        let spatial = targets.layers_of(now).0;
        let is_part = |target: u8| frame.present & 1 << target != 0;
        // Frames that were not to be sent may be missing unnoticed: going over to other ones takes a frame of theirs
        // whose references are known, or one that was to be sent anyway.
        if targets.layers_of(best).0 == spatial
            || is_part(best) && (is_decodable || is_part(now))
            || self.opening
        {
            return Some(best);
        }
        let Reach { temporal, .. } = self.reach;
        let same = targets.of_spatial(self.intact & targets.active, spatial);
        targets.best(same, spatial, temporal).or(Some(now))
    }

    fn mend(&mut self, strands: u32, seq: u64) {
        let mut mended = strands & !self.intact;
        self.intact |= strands;
        while mended != 0 {
            let strand = mended.trailing_zeros() as usize;
            let spans = &mut self.spans[strand];
            spans.rotate_right(1);
            spans[0] = Span {
                since: seq,
                until: u64::MAX,
            };
            mended &= mended - 1;
        }
    }

    /// Notes that strands lack a packet.
    fn smash(&mut self, strands: u32, seq: u64) {
        self.intact &= !strands;
        let mut left = strands;
        while left != 0 {
            for span in &mut self.spans[left.trailing_zeros() as usize] {
                if span.holds(seq) {
                    span.until = seq;
                }
            }
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
        if is_sent && frame.scheme == Scheme::Targets {
            self.announce(frame, layers);
        }
        self.verdict = if is_sent {
            Verdict::Send { completes }
        } else {
            Verdict::Leave
        };
        self.verdict
    }

    /// Has a frame say what can be decoded, where that is not what the subscriber knows: what it gets of the stream
    /// is less than its sender says.
    fn announce(&mut self, frame: &Frame, layers: &LayerRates) {
        let targets = &layers.frames.targets;
        if frame.tells_active {
            self.believed = targets.active;
        }
        let Some(target) = self.target else {
            return;
        };
        let decodable = if self.opening { u32::MAX } else { self.intact };
        let mask = targets.within(targets.active & decodable, target) | 1 << target;
        if mask == self.believed {
            return;
        }
        self.believed = mask;
        let count = targets.count();
        self.announced[self.next_announced] = (frame.id, ActiveTargets { count, mask });
        self.next_announced = (self.next_announced + 1) % ANNOUNCED;
    }

    /// What a frame has to say about decode targets, instead of what it says.
    pub(crate) fn announcement(&self, id: u64) -> Option<ActiveTargets> {
        let mut announced = self.announced.iter();
        let found = announced.find(|(frame, _)| *frame == id && id != 0)?;
        Some(found.1)
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
    #[cfg(test)]
    pub(crate) fn current(&self, layers: &LayerRates) -> (u8, u8) {
        if let (Scheme::Targets, Some(target)) = (layers.frames.scheme, self.target) {
            return layers.frames.targets.layers_of(target);
        }
        let top = self.reach.spatial.min(layers.spatial_count() - 1);
        let flows = |spatial, temporal| self.intact & layer_bit(spatial, temporal) != 0;
        let spatial = (0..=top.min(crate::frame::MAX_SPATIAL - 1))
            .rev()
            .find(|spatial| flows(*spatial, 0));
        let highest = self.reach.temporal.min(layers.temporal_count() - 1);
        let temporal = (0..=highest.min(crate::frame::MAX_TEMPORAL - 1))
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
