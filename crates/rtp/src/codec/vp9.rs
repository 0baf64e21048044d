//! The VP9 payload descriptor (RFC 9628 §4.2), including the scalability structure.
//!
//! Owns reading, and rewriting running numbers in place, which continues them over a change of stream.

use super::FrameInfo;
use crate::CodecError;
use crate::codec::vp8::PictureId;
use crate::wire::Reader;

/// Most reference pictures that one descriptor may list (RFC 9628 §4.2, P_DIFF).
pub const MAX_REFERENCES: usize = 3;
/// Most pictures of a group that is remembered; the patterns in use have at most eight.
pub const MAX_GROUP: usize = 16;
/// Most spatial layers that a scalability structure can describe (N_S has 3 bits).
pub const MAX_SPATIAL_LAYERS: usize = 8;

/// Layer indices of one frame (L = 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vp9Layers {
    /// TID: temporal layer, 0–7.
    pub temporal_id: u8,
    /// U: a receiver may go up to this temporal layer from here on.
    pub switching_up: bool,
    /// SID: spatial layer, 0–7.
    pub spatial_id: u8,
    /// D: the frame depends on the next lower spatial layer of the same picture.
    pub inter_layer: bool,
    /// Running index of base temporal layer pictures; only in non-flexible mode.
    pub tl0picidx: Option<u8>,
}

/// Scalability structure (V = 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScalabilityStructure {
    /// Number of spatial layers, 1–8.
    pub spatial_layers: u8,
    sizes: Option<[(u16, u16); MAX_SPATIAL_LAYERS]>,
    /// Number of pictures in the described picture group; 0 if it is not described.
    pub group_pictures: u8,
    /// The described picture group, if it is not longer than [`MAX_GROUP`].
    pub group: Option<PictureGroup>,
}

/// What the pictures of a group refer to; the group repeats until another is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PictureGroup {
    count: u8,
    temporal: [u8; MAX_GROUP],
    referred: [u8; MAX_GROUP],
}

impl PictureGroup {
    /// Number of pictures, at least 1.
    #[must_use]
    pub fn pictures(&self) -> u8 {
        self.count
    }

    /// Temporal layers that a picture refers to, the lowest in the lowest bit.
    ///
    /// The picture is the one so many pictures after the group's first, the one that described it. Answers `None` if
    /// it should be of another temporal layer: then the encoder left the pattern.
    #[must_use]
    pub fn referred(&self, pictures: u16, temporal: u8) -> Option<u8> {
        let position = usize::from(pictures).checked_rem(usize::from(self.count))?;
        let is_it = *self.temporal.get(position)? == temporal;
        self.referred.get(position).copied().filter(|_| is_it)
    }
}

impl ScalabilityStructure {
    /// Width and height of one spatial layer in pixels, if the structure has sizes (Y = 1).
    #[must_use]
    pub fn size(&self, spatial: u8) -> Option<(u16, u16)> {
        if spatial >= self.spatial_layers {
            return None;
        }
        self.sizes?.get(usize::from(spatial)).copied()
    }
}

/// A parsed payload descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vp9Descriptor {
    /// I: running picture id.
    pub picture_id: Option<PictureId>,
    /// P: the frame is predicted from earlier pictures.
    pub inter_picture: bool,
    /// L: layer indices.
    pub layers: Option<Vp9Layers>,
    /// F: flexible mode, references are listed.
    pub flexible: bool,
    /// B: the packet starts a layer frame.
    pub start_of_frame: bool,
    /// E: the packet ends a layer frame.
    pub end_of_frame: bool,
    /// V: scalability structure.
    pub structure: Option<ScalabilityStructure>,
    /// Z: no higher spatial layer of the picture depends on this frame.
    pub not_inter_layer_reference: bool,
    references: [u8; MAX_REFERENCES],
    reference_count: u8,
    /// Length of the descriptor, in bytes.
    pub header_len: usize,
}

impl Vp9Descriptor {
    /// Parses the descriptor at the front of an RTP payload.
    ///
    /// # Errors
    /// [`CodecError::Truncated`] if the payload ends inside the descriptor, [`CodecError::Malformed`] if it
    /// lists more than [`MAX_REFERENCES`] references.
    pub fn parse(payload: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(payload);
        let first = reader.u8().ok_or(CodecError::Truncated)?;
        let mut descriptor = Self {
            picture_id: None,
            inter_picture: first & 0x40 != 0,
            layers: None,
            flexible: first & 0x10 != 0,
            start_of_frame: first & 0x08 != 0,
            end_of_frame: first & 0x04 != 0,
            structure: None,
            not_inter_layer_reference: first & 0x01 != 0,
            references: [0; MAX_REFERENCES],
            reference_count: 0,
            header_len: 0,
        };
        if first & 0x80 != 0 {
            descriptor.picture_id =
                Some(read_picture_id(&mut reader).ok_or(CodecError::Truncated)?);
        }
        if first & 0x20 != 0 {
            let layers =
                read_layers(&mut reader, descriptor.flexible).ok_or(CodecError::Truncated)?;
            descriptor.layers = Some(layers);
        }
        if descriptor.flexible && descriptor.inter_picture {
            descriptor.read_references(&mut reader)?;
        }
        if first & 0x02 != 0 {
            descriptor.structure = Some(read_structure(&mut reader).ok_or(CodecError::Truncated)?);
        }
        descriptor.header_len = payload.len() - reader.len();
        Ok(descriptor)
    }

    fn read_references(&mut self, reader: &mut Reader<'_>) -> Result<(), CodecError> {
        for (count, slot) in (1..).zip(&mut self.references) {
            let byte = reader.u8().ok_or(CodecError::Truncated)?;
            *slot = byte >> 1;
            self.reference_count = count;
            if byte & 1 == 0 {
                return Ok(());
            }
        }
        Err(CodecError::Malformed)
    }

    /// How many pictures back each reference is (P_DIFF, 0–127); only in flexible mode.
    #[must_use]
    pub fn references(&self) -> &[u8] {
        self.references
            .get(..usize::from(self.reference_count))
            .unwrap_or_default()
    }

    /// The packet starts a frame that needs no other: not predicted from earlier pictures nor from a lower
    /// spatial layer.
    #[must_use]
    pub fn is_keyframe(&self) -> bool {
        let base = self
            .layers
            .is_none_or(|layers| layers.spatial_id == 0 && !layers.inter_layer);
        self.start_of_frame && !self.inter_picture && base
    }
}

fn read_picture_id(reader: &mut Reader<'_>) -> Option<PictureId> {
    let high = reader.u8()?;
    Some(if high & 0x80 != 0 {
        PictureId::Long(u16::from_be_bytes([high & 0x7F, reader.u8()?]))
    } else {
        PictureId::Short(high)
    })
}

fn read_layers(reader: &mut Reader<'_>, flexible: bool) -> Option<Vp9Layers> {
    let byte = reader.u8()?;
    Some(Vp9Layers {
        temporal_id: byte >> 5,
        switching_up: byte & 0x10 != 0,
        spatial_id: byte >> 1 & 0x07,
        inter_layer: byte & 0x01 != 0,
        tl0picidx: if flexible { None } else { Some(reader.u8()?) },
    })
}

fn read_structure(reader: &mut Reader<'_>) -> Option<ScalabilityStructure> {
    let byte = reader.u8()?;
    let spatial_layers = (byte >> 5) + 1;
    let mut sizes = None;
    if byte & 0x10 != 0 {
        let mut read = [(0, 0); MAX_SPATIAL_LAYERS];
        for slot in read.iter_mut().take(usize::from(spatial_layers)) {
            *slot = (reader.u16()?, reader.u16()?);
        }
        sizes = Some(read);
    }
    let (group_pictures, group) = if byte & 0x08 != 0 {
        read_group(reader)?
    } else {
        (0, None)
    };
    Some(ScalabilityStructure {
        spatial_layers,
        sizes,
        group_pictures,
        group,
    })
}

fn read_group(reader: &mut Reader<'_>) -> Option<(u8, Option<PictureGroup>)> {
    let count = reader.u8()?;
    let mut temporal = [0; MAX_GROUP];
    let mut back = [[0; MAX_REFERENCES]; MAX_GROUP];
    for position in 0..usize::from(count) {
        let byte = reader.u8()?;
        let references = reader.take(usize::from(byte >> 2 & 0x03))?;
        if let (Some(temporal), Some(back)) = (temporal.get_mut(position), back.get_mut(position)) {
            *temporal = byte >> 5;
            for (slot, reference) in back.iter_mut().zip(references) {
                *slot = *reference;
            }
        }
    }
    let length = usize::from(count);
    if !(1..=MAX_GROUP).contains(&length) {
        return Some((count, None));
    }
    let mut referred = [0; MAX_GROUP];
    for (position, (referred, back)) in referred.iter_mut().zip(&back).enumerate().take(length) {
        for back in back.iter().filter(|back| **back > 0) {
            // Whole groups are added, so that looking back stays above zero.
            let at = (position + 256 * length - usize::from(*back)) % length;
            *referred |= 1 << temporal.get(at)?;
        }
    }
    let group = PictureGroup {
        count,
        temporal,
        referred,
    };
    Some((count, Some(group)))
}

/// New values for the running numbers of one outgoing packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Vp9Patch {
    /// Picture id, cut to the width that the descriptor uses; `None` keeps the old one.
    pub picture_id: Option<u16>,
    /// Base layer index; `None` keeps the old one.
    pub tl0picidx: Option<u8>,
}

impl Vp9Patch {
    /// Writes the new values into the descriptor at the front of `payload`, keeping field widths.
    ///
    /// # Errors
    /// [`CodecError::Truncated`] if the payload ends inside the descriptor, [`CodecError::AbsentField`] if it lacks a
    /// field that is to be written; the payload is unchanged then.
    pub fn apply(self, payload: &mut [u8]) -> Result<(), CodecError> {
        let descriptor = Vp9Descriptor::parse(payload)?;
        let layers = descriptor.layers;
        if self.picture_id.is_some() && descriptor.picture_id.is_none()
            || self.tl0picidx.is_some() && layers.and_then(|layers| layers.tl0picidx).is_none()
        {
            return Err(CodecError::AbsentField);
        }
        let id_len = match descriptor.picture_id {
            None => 0,
            Some(PictureId::Short(_)) => 1,
            Some(PictureId::Long(_)) => 2,
        };
        if let Some(id) = self.picture_id {
            let [high, low] = id.to_be_bytes();
            match payload.get_mut(1..=id_len) {
                Some([only]) => *only = low & 0x7F,
                Some([first, second]) => (*first, *second) = (high | 0x80, low),
                Some(_) | None => {}
            }
        }
        // Behind the first byte, the picture id and the layer indices.
        if let (Some(index), Some(slot)) = (self.tl0picidx, payload.get_mut(2 + id_len)) {
            *slot = index;
        }
        Ok(())
    }
}

pub(super) fn inspect(payload: &[u8]) -> Option<FrameInfo> {
    let descriptor = Vp9Descriptor::parse(payload).ok()?;
    let keyframe = descriptor.is_keyframe();
    Some(FrameInfo {
        keyframe,
        start_of_frame: descriptor.start_of_frame,
        end_of_frame: descriptor.end_of_frame,
        spatial: descriptor.layers.map_or(0, |layers| layers.spatial_id),
        temporal: descriptor.layers.map_or(0, |layers| layers.temporal_id),
        switching_point: keyframe || descriptor.layers.is_some_and(|layers| layers.switching_up),
        // Z speaks of the same picture only; whether later pictures refer to the frame is not said.
        discardable: false,
    })
}
