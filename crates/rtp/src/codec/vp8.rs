//! The VP8 payload descriptor (RFC 7741 §4.2) and the start of the key frame header (RFC 6386 §9.1).
//!
//! Owns reading, and rewriting picture ids in place, which keeps them gapless when frames are dropped for
//! a receiver. Field widths are never changed: the descriptor keeps its length.

use super::FrameInfo;
use crate::CodecError;
use crate::wire::Reader;

/// Picture id values that the 15-bit form can hold.
const LONG_PICTURE_ID_MASK: u16 = 0x7FFF;
/// Start code of a key frame (RFC 6386 §9.1).
const START_CODE: [u8; 3] = [0x9D, 0x01, 0x2A];

/// A VP8 picture id with its width on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PictureId {
    /// 7 bits.
    Short(u8),
    /// 15 bits.
    Long(u16),
}

impl PictureId {
    /// The number, whatever its width.
    #[must_use]
    pub fn value(self) -> u16 {
        match self {
            Self::Short(id) => u16::from(id),
            Self::Long(id) => id,
        }
    }
}

/// A parsed payload descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vp8Descriptor {
    /// N: no other frame refers to this one.
    pub non_reference: bool,
    /// S: the payload begins a partition.
    pub start_of_partition: bool,
    /// PID: partition index, 0–7 (the three bits of RFC 7741 §4.2).
    pub partition_id: u8,
    /// Running picture id.
    pub picture_id: Option<PictureId>,
    /// Running index of base temporal layer frames.
    pub tl0picidx: Option<u8>,
    /// TID: temporal layer, 0–3.
    pub temporal_id: Option<u8>,
    /// Y: the frame depends only on the base layer. Meaningful with `temporal_id`.
    pub layer_sync: bool,
    /// KEYIDX: temporal key frame index, 0–31.
    pub key_index: Option<u8>,
    /// Length of the descriptor, in bytes.
    pub header_len: usize,
    /// The payload is the start of a key frame (S = 1, PID = 0 and the inverse key frame bit is 0).
    pub is_keyframe: bool,
    /// Width and height in pixels, if the payload is the start of a key frame and long enough.
    pub size: Option<(u16, u16)>,
}

impl Vp8Descriptor {
    /// Parses the descriptor at the front of an RTP payload.
    ///
    /// # Errors
    /// [`CodecError::Truncated`] if the payload ends inside the descriptor.
    pub fn parse(payload: &[u8]) -> Result<Self, CodecError> {
        Fields::locate(payload)
            .map(|fields| fields.descriptor)
            .ok_or(CodecError::Truncated)
    }

    /// The payload is the start of a frame.
    #[must_use]
    pub fn start_of_frame(&self) -> bool {
        self.start_of_partition && self.partition_id == 0
    }
}

/// A descriptor together with where its patchable fields are.
struct Fields {
    descriptor: Vp8Descriptor,
    picture_id_at: usize,
    tl0picidx_at: usize,
}

impl Fields {
    fn locate(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        let position = |reader: &Reader<'_>| payload.len() - reader.len();
        let first = reader.u8()?;
        let has = if first & 0x80 != 0 { reader.u8()? } else { 0 };
        let picture_id_at = position(&reader);
        let mut picture_id = None;
        if has & 0x80 != 0 {
            let high = reader.u8()?;
            picture_id = Some(if high & 0x80 != 0 {
                PictureId::Long(u16::from_be_bytes([high & 0x7F, reader.u8()?]))
            } else {
                PictureId::Short(high)
            });
        }
        let tl0picidx_at = position(&reader);
        let tl0picidx = if has & 0x40 != 0 {
            Some(reader.u8()?)
        } else {
            None
        };
        let layers = if has & 0x30 != 0 { reader.u8()? } else { 0 };
        let has_temporal_id = has & 0x20 != 0;
        let mut descriptor = Vp8Descriptor {
            non_reference: first & 0x20 != 0,
            start_of_partition: first & 0x10 != 0,
            partition_id: first & 0x07,
            picture_id,
            tl0picidx,
            temporal_id: has_temporal_id.then_some(layers >> 6),
            layer_sync: has_temporal_id && layers & 0x20 != 0,
            key_index: (has & 0x10 != 0).then_some(layers & 0x1F),
            header_len: position(&reader),
            is_keyframe: false,
            size: None,
        };
        if descriptor.start_of_frame() && reader.rest().first().is_some_and(|byte| byte & 1 == 0) {
            descriptor.is_keyframe = true;
            descriptor.size = keyframe_size(reader);
        }
        Some(Self {
            descriptor,
            picture_id_at,
            tl0picidx_at,
        })
    }
}

/// Reads the frame header of a key frame: 3 bytes of tag, the start code, two scaled 14-bit sizes.
fn keyframe_size(mut frame: Reader<'_>) -> Option<(u16, u16)> {
    let _tag = frame.array::<3>()?;
    if frame.array()? != START_CODE {
        return None;
    }
    let width = u16::from_le_bytes(frame.array()?) & 0x3FFF;
    let height = u16::from_le_bytes(frame.array()?) & 0x3FFF;
    Some((width, height))
}

/// New values for the running numbers of one outgoing packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Vp8Patch {
    /// Picture id, cut to the width that the descriptor uses; `None` keeps the old one.
    pub picture_id: Option<u16>,
    /// Base layer index; `None` keeps the old one.
    pub tl0picidx: Option<u8>,
}

impl Vp8Patch {
    /// Writes the new values into the descriptor at the front of `payload`, keeping field widths.
    ///
    /// # Errors
    /// [`CodecError::Truncated`] if the payload ends inside the descriptor, [`CodecError::AbsentField`] if
    /// it lacks a field that is to be written; the payload is unchanged then.
    pub fn apply(self, payload: &mut [u8]) -> Result<(), CodecError> {
        let fields = Fields::locate(payload).ok_or(CodecError::Truncated)?;
        let descriptor = fields.descriptor;
        if self.picture_id.is_some() && descriptor.picture_id.is_none()
            || self.tl0picidx.is_some() && descriptor.tl0picidx.is_none()
        {
            return Err(CodecError::AbsentField);
        }
        if let (Some(new), Some(old)) = (self.picture_id, descriptor.picture_id) {
            let [high, low] = (new & LONG_PICTURE_ID_MASK).to_be_bytes();
            match old {
                PictureId::Short(_) => store(payload, fields.picture_id_at, [low & 0x7F]),
                PictureId::Long(_) => store(payload, fields.picture_id_at, [high | 0x80, low]),
            }
        }
        if let Some(new) = self.tl0picidx {
            store(payload, fields.tl0picidx_at, [new]);
        }
        Ok(())
    }
}

fn store<const N: usize>(payload: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(slot) = payload
        .get_mut(at..)
        .and_then(|tail| tail.first_chunk_mut())
    {
        *slot = bytes;
    }
}

/// Rewrites picture id and base layer index in place; see [`Vp8Patch::apply`].
///
/// # Errors
/// As [`Vp8Patch::apply`].
pub fn patch(
    payload: &mut [u8],
    picture_id: Option<u16>,
    tl0picidx: Option<u8>,
) -> Result<(), CodecError> {
    Vp8Patch {
        picture_id,
        tl0picidx,
    }
    .apply(payload)
}

pub(super) fn inspect(payload: &[u8], marker: bool) -> Option<FrameInfo> {
    let descriptor = Vp8Descriptor::parse(payload).ok()?;
    Some(FrameInfo {
        keyframe: descriptor.is_keyframe,
        start_of_frame: descriptor.start_of_frame(),
        end_of_frame: marker,
        spatial: 0,
        temporal: descriptor.temporal_id.unwrap_or(0),
        switching_point: descriptor.is_keyframe || descriptor.layer_sync,
        discardable: descriptor.non_reference,
    })
}
