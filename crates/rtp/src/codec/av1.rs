//! AV1 payloads: the aggregation header, OBU elements and the dependency descriptor (AV1 RTP specification
//! §4 and appendix A).
//!
//! Layers are told by the dependency descriptor. Without it, the payload shows where a coded video sequence
//! starts and, with OBU extension headers, the layer of its first OBU.

mod descriptor;
mod patch;
mod structure;

pub use descriptor::{Descriptor, Dtis};
pub use patch::{ActiveTargets, DescriptorPatch};
pub use structure::{DecodeTarget, Dti, MAX_FRAME_DIFFS, Structure};

use super::FrameInfo;
use crate::CodecError;
use crate::wire::Reader;

/// OBU types that matter to a forwarder (AV1 specification §6.2.2).
mod obu_type {
    pub(super) const SEQUENCE_HEADER: u8 = 1;
    pub(super) const TEMPORAL_DELIMITER: u8 = 2;
}

/// The aggregation header, first byte of every payload (§4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AggregationHeader {
    /// Z: the first element continues an OBU of the packet before.
    pub continues: bool,
    /// Y: the last element is continued in the next packet.
    pub continued: bool,
    /// W: number of elements, 1–3, or 0 if every element has a length.
    pub element_count: u8,
    /// N: the packet is the first of a coded video sequence; decoding can start here.
    pub new_sequence: bool,
}

impl AggregationHeader {
    /// Parses the header at the front of an RTP payload.
    ///
    /// # Errors
    /// [`CodecError::Truncated`] if the payload is empty, [`CodecError::Malformed`] if a new sequence starts
    /// with the middle of an OBU.
    pub fn parse(payload: &[u8]) -> Result<Self, CodecError> {
        let &byte = payload.first().ok_or(CodecError::Truncated)?;
        let header = Self {
            continues: byte & 0x80 != 0,
            continued: byte & 0x40 != 0,
            element_count: byte >> 4 & 0x03,
            new_sequence: byte & 0x08 != 0,
        };
        if header.new_sequence && header.continues {
            Err(CodecError::Malformed)
        } else {
            Ok(header)
        }
    }
}

/// Iterates over the OBU elements of a payload: whole OBUs or fragments, in the order sent.
///
/// A malformed payload ends the iteration at its broken element.
#[must_use]
pub fn elements(payload: &[u8]) -> Elements<'_> {
    let mut reader = Reader::new(payload);
    let left = reader.u8().map_or(0, |byte| byte >> 4 & 0x03);
    Elements {
        reader,
        left: (left > 0).then_some(left),
    }
}

/// The OBU elements of one payload; see [`elements`].
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a> {
    reader: Reader<'a>,
    /// Elements left if the header counts them; the last one has no length then.
    left: Option<u8>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.reader.is_empty() {
            return None;
        }
        let element = match self.left {
            Some(0) => None,
            Some(1) => self.reader.take(self.reader.len()),
            Some(_) | None => read_leb128(&mut self.reader).and_then(|len| self.reader.take(len)),
        };
        self.left = self.left.map(|left| left.saturating_sub(1));
        if element.is_none() {
            self.reader = Reader::new(&[]);
        }
        element
    }
}

/// Reads a length of at most 32 bits (AV1 specification §4.10.5).
fn read_leb128(reader: &mut Reader<'_>) -> Option<usize> {
    let mut value = 0_u64;
    for index in 0..8 {
        let byte = reader.u8()?;
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return u32::try_from(value)
                .ok()
                .and_then(|value| usize::try_from(value).ok());
        }
    }
    None
}

/// Tells whether decoding can start with this payload.
#[must_use]
pub fn is_keyframe(payload: &[u8]) -> bool {
    AggregationHeader::parse(payload).is_ok_and(|header| header.new_sequence)
}

pub(super) fn inspect(payload: &[u8], marker: bool) -> Option<FrameInfo> {
    let header = AggregationHeader::parse(payload).ok()?;
    let first = if header.continues {
        None
    } else {
        elements(payload).next()
    };
    let first_header = first.and_then(|element| element.first()).copied();
    let first_type = first_header.map(|byte| byte >> 3 & 0x0F);
    let layers = match first {
        Some([byte, extension, ..]) if byte & 0x04 != 0 => *extension,
        _ => 0,
    };
    Some(FrameInfo {
        keyframe: header.new_sequence,
        start_of_frame: header.new_sequence
            || matches!(
                first_type,
                Some(obu_type::SEQUENCE_HEADER | obu_type::TEMPORAL_DELIMITER)
            ),
        end_of_frame: marker,
        spatial: layers >> 3 & 0x03,
        temporal: layers >> 5,
        switching_point: header.new_sequence,
        discardable: false,
    })
}
