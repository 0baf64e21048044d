//! The frames of one encoding as its packets tell them, and what forwarding each takes.
//!
//! All codecs are brought to one form. A stream consists of up to [`LAYER_SETS`] *strands*: layers where the payload
//! descriptor names them (VP8: RFC 7741, VP9: RFC 9628), decode targets where the dependency descriptor does (AV1 RTP
//! specification, appendix A). A strand is intact for a subscriber as long as it got all that later frames of it may
//! refer to. A [`Frame`] says which strands it takes, mends and breaks, so that [`crate::follow`] decides by masks.
//!
//! The dependency descriptor is read for AV1 only: for other codecs browsers call every frame a switching point in it,
//! and their payload descriptors stay readable under end-to-end encryption.

use std::cmp::Reverse;

use schalter_rtp::codec::av1::{Descriptor, Dti, Structure};
use schalter_rtp::codec::vp8::{PictureId, Vp8Descriptor};
use schalter_rtp::codec::vp9::{PictureGroup, Vp9Descriptor, Vp9Layers};

/// Most strands of one encoding: 4 spatial by 8 temporal layers, or 32 decode targets.
pub(crate) const LAYER_SETS: usize = 32;
/// Spatial layers that are told apart; what VP9 could have above counts as the highest.
pub(crate) const MAX_SPATIAL: u8 = 4;
/// Temporal layers that are told apart: all that any descriptor can name.
pub(crate) const MAX_TEMPORAL: u8 = 8;
/// Frames remembered: almost three seconds of three spatial layers at 30 Hz, longer than the packets are kept, and
/// more than any descriptor of a living stream refers back to.
pub(crate) const FRAMES: u64 = 256;

/// The strand of a layer.
pub(crate) const fn layer_bit(spatial: u8, temporal: u8) -> u32 {
    1 << (spatial * MAX_TEMPORAL + temporal)
}

/// The strands of one spatial layer from one temporal layer upwards.
fn layer_and_above(spatial: u8, temporal: u8) -> u32 {
    (0xff << temporal & 0xff) << (spatial * MAX_TEMPORAL)
}

/// The strands of one spatial layer below a temporal layer.
fn layers_below(spatial: u8, temporal: u8) -> u32 {
    (0xff & !(0xff << temporal)) << (spatial * MAX_TEMPORAL)
}

/// What the strands of an encoding are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scheme {
    #[default]
    Layers,
    Targets,
}

/// A frame of one spatial layer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Frame {
    /// Counts from 1 in the order of first packets; 0 is none.
    pub(crate) id: u64,
    pub(crate) timestamp: u32,
    /// VP8 and VP9 picture id, or frame number.
    number: u16,
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
    /// Everything begins anew with this frame.
    pub(crate) opens: bool,
    /// It says which decode targets are active.
    pub(crate) tells_active: bool,
    pub(crate) scheme: Scheme,
    /// Strands that it is part of.
    pub(crate) present: u32,
    /// With layers, all of these must be intact for it to be decodable; with targets, one of them.
    pub(crate) needs: u32,
    /// Strands that are intact after it.
    pub(crate) mends: u32,
    /// Strands that are not intact any more if it is left out.
    pub(crate) breaks: u32,
}

/// Where a packet lies in the structure of its encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// [`Frame::id`], or 0 if the packet can't be told from others.
    pub(crate) frame: u64,
    /// Last packet of its frame.
    pub(crate) ends_frame: bool,
}

/// The decode targets of a dependency structure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Targets {
    layers: [(u8, u8); LAYER_SETS],
    /// Targets that the sender produces.
    pub(crate) active: u32,
    pub(crate) all: u32,
}

impl Targets {
    const NONE: Self = Self {
        layers: [(0, 0); LAYER_SETS],
        active: 0,
        all: 0,
    };

    /// Highest spatial and temporal layer of a target.
    pub(crate) fn layers_of(&self, target: u8) -> (u8, u8) {
        self.layers[usize::from(target) % LAYER_SETS]
    }

    /// Number of targets.
    pub(crate) fn count(&self) -> u8 {
        self.all.count_ones() as u8
    }

    /// Those of some targets that have no layer above another target's.
    pub(crate) fn within(&self, among: u32, target: u8) -> u32 {
        let (spatial, temporal) = self.layers_of(target);
        self.iter(among)
            .filter(|(_, layers)| layers.0 <= spatial && layers.1 <= temporal)
            .fold(0, |within, (target, _)| within | 1 << target)
    }

    fn iter(&self, among: u32) -> impl Iterator<Item = (u8, (u8, u8))> {
        (0_u8..)
            .zip(self.layers)
            .filter(move |(target, _)| among & 1 << target != 0)
    }

    /// Those of some targets whose highest spatial layer is this.
    pub(crate) fn of_spatial(&self, among: u32, spatial: u8) -> u32 {
        self.iter(among)
            .filter(|(_, layers)| layers.0 == spatial)
            .fold(0, |all, (target, _)| all | 1 << target)
    }

    /// The best of these targets that stays within the layers; else the smallest pictures beyond, at that frame rate
    /// if there are any.
    pub(crate) fn best(&self, among: u32, spatial: u8, temporal: u8) -> Option<u8> {
        let rated = || self.iter(among).filter(|(_, layers)| layers.1 <= temporal);
        rated()
            .filter(|(_, layers)| layers.0 <= spatial)
            .max_by_key(|(_, layers)| *layers)
            .or_else(|| rated().max_by_key(|(_, layers)| (Reverse(layers.0), layers.1)))
            .or_else(|| self.iter(among).min_by_key(|(_, layers)| *layers))
            .map(|(target, _)| target)
    }
}

/// What is known of an encoding's frames. Takes no memory before its first layered frame.
#[derive(Debug)]
pub(crate) struct FrameTracker {
    ring: Box<[Frame]>,
    newest: u64,
    /// Timestamp of the newest picture.
    latest: u32,
    structure: Option<Box<Structure>>,
    /// First packet that brought the structure.
    pub(crate) structure_seq: u64,
    pub(crate) targets: Targets,
    pub(crate) scheme: Scheme,
    /// The last two VP9 picture groups, newest first, and the ids of their first pictures.
    groups: [Option<(PictureGroup, u16)>; 2],
    sizes: [Option<(u16, u16)>; MAX_SPATIAL as usize],
    /// Spatial layers that a VP9 scalability structure announced; 0 if none did.
    announced: u8,
}

impl FrameTracker {
    pub(crate) fn new() -> Self {
        Self {
            ring: Box::default(),
            newest: 0,
            latest: 0,
            structure: None,
            structure_seq: 0,
            targets: Targets::NONE,
            scheme: Scheme::Layers,
            groups: [None; 2],
            sizes: [None; MAX_SPATIAL as usize],
            announced: 0,
        }
    }

    /// Forgets the stream but not how far frames were counted: consumers remember numbers.
    pub(crate) fn restart(&mut self) {
        for frame in &mut self.ring {
            frame.id = 0;
        }
        self.structure = None;
        self.structure_seq = 0;
        self.targets = Targets::NONE;
        self.groups = [None; 2];
        self.announced = 0;
        self.sizes = [None; MAX_SPATIAL as usize];
    }

    /// A frame that is still remembered.
    #[inline]
    pub(crate) fn of(&self, id: u64) -> Option<&Frame> {
        self.ring
            .get((id % FRAMES) as usize)
            .filter(|frame| frame.id == id && id != 0)
    }

    #[cfg(test)]
    pub(crate) fn size(&self, spatial: u8) -> Option<(u16, u16)> {
        *self.sizes.get(usize::from(spatial))?
    }

    /// Spatial layers that the sender said it has; 0 if it said nothing.
    pub(crate) fn announced_spatial(&self) -> u8 {
        match self.scheme {
            Scheme::Layers => self.announced,
            Scheme::Targets => self
                .targets
                .iter(self.targets.active)
                .map(|(_, layers)| layers.0 + 1)
                .max()
                .unwrap_or(0),
        }
    }

    fn recent(&self) -> impl Iterator<Item = &Frame> {
        (self.newest.saturating_sub(FRAMES - 1)..=self.newest)
            .rev()
            .map_while(|id| self.of(id))
    }

    /// The frame of a packet; `make` is asked if none of its packets came before, or only this one `opens` it.
    fn place(
        &mut self,
        timestamp: u32,
        number: u16,
        (spatial, temporal): (u8, u8),
        opens: bool,
        make: impl FnOnce(&Self) -> Frame,
    ) -> u64 {
        let is_it = |frame: &Frame| {
            frame.timestamp == timestamp && frame.number == number && frame.spatial == spatial
        };
        let is_newer = self
            .of(self.newest)
            .is_none_or(|_| timestamp.wrapping_sub(self.latest).cast_signed() > 0);
        let known = if is_newer {
            None
        } else {
            self.recent().find(|frame| is_it(frame))
        };
        if let Some(known) = known
            && (known.opens || !opens)
        {
            return known.id;
        }
        let id = known.map_or(self.newest + 1, |known| known.id);
        if is_newer {
            self.latest = timestamp;
        }
        let frame = make(self);
        self.newest = self.newest.max(id);
        if self.ring.is_empty() {
            self.ring = vec![Frame::default(); FRAMES as usize].into_boxed_slice();
        }
        self.ring[(id % FRAMES) as usize] = Frame {
            id,
            timestamp,
            number,
            spatial,
            temporal,
            scheme: self.scheme,
            ..frame
        };
        id
    }

    /// Takes a VP8 packet; without temporal layers there is nothing to tell apart.
    pub(crate) fn on_vp8(&mut self, timestamp: u32, descriptor: &Vp8Descriptor) -> u64 {
        self.scheme = Scheme::Layers;
        if descriptor.size.is_some() {
            self.sizes[0] = descriptor.size;
        }
        let Some(temporal) = descriptor.temporal_id else {
            return 0;
        };
        let number = descriptor.picture_id.map_or(0, |id| id.value());
        let opens = descriptor.is_keyframe;
        self.place(timestamp, number, (0, temporal), opens, |_| {
            vp8_frame(temporal, descriptor)
        })
    }

    /// Takes a VP9 packet; without layer indices there is nothing to tell apart.
    pub(crate) fn on_vp9(&mut self, timestamp: u32, descriptor: &Vp9Descriptor) -> u64 {
        self.scheme = Scheme::Layers;
        if let Some(structure) = descriptor.structure {
            self.announced = structure.spatial_layers.min(MAX_SPATIAL);
            let id = descriptor.picture_id.map(|id| id.value());
            let group = structure.group.zip(id);
            if group.is_some() && group != self.groups[0] {
                self.groups = [group, self.groups[0]];
            }
            for (spatial, size) in (0_u8..).zip(&mut self.sizes) {
                *size = structure.size(spatial);
            }
        }
        let Some(layers) = descriptor.layers else {
            return 0;
        };
        let number = descriptor.picture_id.map_or(0, |id| id.value());
        let spatial = layers.spatial_id.min(MAX_SPATIAL - 1);
        if let Some((group, first)) = &mut self.groups[0]
            && number.wrapping_sub(*first) & 0x7000 == 0x1000
        {
            // Ids come round: the group's beginning has to keep up.
            *first = first.wrapping_add(0x1000 - 0x1000 % u16::from(group.pictures().max(1)));
        }
        let place = (spatial, layers.temporal_id);
        self.place(timestamp, number, place, false, |tracker| {
            tracker.vp9_frame(number, spatial, &layers, descriptor)
        })
    }

    fn vp9_frame(
        &self,
        number: u16,
        spatial: u8,
        layers: &Vp9Layers,
        descriptor: &Vp9Descriptor,
    ) -> Frame {
        let temporal = layers.temporal_id;
        let mut needs = 0;
        let mut mends = 0;
        if layers.inter_layer {
            // The lower one refers to those below in turn.
            needs |= (0..spatial).fold(0, |all, below| all | layer_bit(below, temporal));
        }
        if !descriptor.inter_picture {
            // RFC 9628 §4.2: going up to this spatial layer is possible here.
            mends |= layer_and_above(spatial, temporal);
        } else {
            let own = 1_u8 << temporal;
            // Without knowing better, it may refer to all up to its own layer.
            let referred = self.referred(number, spatial, temporal, descriptor);
            let referred = referred.unwrap_or(own | (own - 1));
            needs |= u32::from(referred) << (spatial * MAX_TEMPORAL);
            if referred < own {
                mends |= layer_bit(spatial, temporal);
            }
        }
        if layers.switching_up {
            // Later pictures of higher temporal layers refer to nothing of those layers before this one.
            mends |= layer_and_above(spatial, temporal) & !layer_bit(spatial, temporal);
        }
        Frame {
            opens: spatial == 0 && !descriptor.inter_picture,
            present: layer_bit(spatial, temporal),
            needs,
            mends,
            breaks: layer_and_above(spatial, temporal),
            ..Frame::default()
        }
    }

    /// Temporal layers that a VP9 frame refers to within its spatial layer, the lowest in the lowest bit.
    fn referred(
        &self,
        number: u16,
        spatial: u8,
        temporal: u8,
        descriptor: &Vp9Descriptor,
    ) -> Option<u8> {
        if !descriptor.flexible {
            // Ids of 7 bits come round too soon to tell a place.
            if !matches!(descriptor.picture_id, Some(PictureId::Long(_))) {
                return None;
            }
            let is_behind = |first: u16| number.wrapping_sub(first) & 0x4000 == 0;
            let mut groups = self.groups.iter().flatten();
            let (group, first) = groups.find(|(_, first)| is_behind(*first))?;
            return group.referred(number.wrapping_sub(*first) & 0x3fff, temporal);
        }
        // Picture ids have 7 or 15 bits; the distance is below 128, so that the low bits tell.
        let is_back = |frame: &Frame, back: u8| {
            frame.spatial == spatial && number.wrapping_sub(frame.number) & 0x7f == u16::from(back)
        };
        let mut referred = 0;
        for back in descriptor.references() {
            let frame = self.recent().find(|frame| is_back(frame, *back))?;
            referred |= 1 << frame.temporal;
        }
        Some(referred).filter(|referred| *referred != 0)
    }

    /// Takes a packet with a dependency descriptor; without its structure it can't be told from others.
    pub(crate) fn on_descriptor(
        &mut self,
        seq: u64,
        timestamp: u32,
        value: &[u8],
    ) -> Option<Place> {
        self.scheme = Scheme::Targets;
        if let Ok(Some(attached)) = Descriptor::attached_structure(value)
            && seq >= self.structure_seq
        {
            self.on_structure(seq, attached);
        }
        if seq < self.structure_seq {
            // Its template is of a structure that is gone, but the frame may be known from other packets.
            let [first, high, low, ..] = value else {
                return None;
            };
            let number = u16::from_be_bytes([*high, *low]);
            let is_it = |frame: &&Frame| frame.timestamp == timestamp && frame.number == number;
            let known = self.recent().find(is_it)?;
            return Some(Place {
                frame: known.id,
                ends_frame: first & 0x40 != 0,
            });
        }
        let descriptor = Descriptor::parse(value, self.structure.as_deref()).ok()?;
        if let Some(active) = descriptor.active_decode_targets {
            self.targets.active = active & self.targets.all;
        }
        let number = descriptor.frame_number;
        let layers = (
            descriptor.spatial.min(MAX_SPATIAL - 1),
            descriptor.temporal.min(MAX_TEMPORAL - 1),
        );
        let opens = descriptor.structure_attached;
        let frame = self.place(timestamp, number, layers, opens, |tracker| {
            tracker.described_frame(&descriptor)
        });
        Some(Place {
            frame,
            ends_frame: descriptor.end_of_frame,
        })
    }

    fn on_structure(&mut self, seq: u64, structure: Structure) {
        self.targets.active = self.targets.all;
        // Most keyframes repeat it; then late packets from before can still be resolved.
        if self.structure.as_deref() == Some(&structure) {
            return;
        }
        self.structure_seq = seq;
        let mut targets = Targets::NONE;
        targets.all = structure.all_targets();
        targets.active = targets.all;
        for (slot, target) in targets.layers.iter_mut().zip(structure.decode_targets()) {
            *slot = (target.spatial, target.temporal);
        }
        self.targets = targets;
        let pixels = |size: u32| u16::try_from(size).unwrap_or(u16::MAX);
        for (spatial, size) in (0_u8..).zip(&mut self.sizes) {
            *size = structure
                .resolution(spatial)
                .map(|(width, height)| (pixels(width), pixels(height)));
        }
        match &mut self.structure {
            Some(stored) => **stored = structure,
            None => self.structure = Some(Box::new(structure)),
        }
    }

    fn described_frame(&self, descriptor: &Descriptor) -> Frame {
        let mut frame = Frame {
            opens: descriptor.structure_attached,
            tells_active: descriptor.active_decode_targets.is_some(),
            needs: u32::MAX,
            ..Frame::default()
        };
        for (target, dti) in descriptor.dtis().enumerate() {
            let strand = 1 << target;
            match dti {
                Dti::NotPresent => {}
                Dti::Discardable => frame.present |= strand,
                Dti::Switch => {
                    frame.present |= strand;
                    frame.mends |= strand;
                    frame.breaks |= strand;
                }
                Dti::Required => {
                    frame.present |= strand;
                    frame.breaks |= strand;
                }
            }
        }
        // It is decodable for whoever has a strand that all it refers to are part of.
        for back in descriptor.frame_diffs() {
            let number = descriptor.frame_number.wrapping_sub(*back);
            let referred = self.recent().find(|frame| frame.number == number);
            frame.needs &= referred.map_or(0, |frame| frame.present);
        }
        frame
    }
}

fn vp8_frame(temporal: u8, descriptor: &Vp8Descriptor) -> Frame {
    let above = layer_and_above(0, temporal);
    let (needs, mends) = if descriptor.is_keyframe {
        // A key frame replaces all reference pictures.
        (0, layer_and_above(0, 0))
    } else if temporal > 0 && descriptor.layer_sync {
        (layer_bit(0, 0), layer_bit(0, temporal))
    } else {
        (layers_below(0, temporal) | layer_bit(0, temporal), 0)
    };
    Frame {
        opens: descriptor.is_keyframe,
        present: layer_bit(0, temporal),
        needs,
        mends,
        breaks: if descriptor.non_reference { 0 } else { above },
        ..Frame::default()
    }
}
