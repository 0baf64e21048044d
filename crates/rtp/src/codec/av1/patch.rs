//! Rewriting a dependency descriptor for one receiver (AV1 RTP specification §A.8).
//!
//! Owns the frame number and the bitmask of active decode targets. Everything else is copied bit by bit: a receiver's
//! frames refer to each other as the sender's do.

use super::descriptor::Head;
use super::structure::Structure;
use crate::CodecError;
use crate::codec::bits::{BitReader, BitWriter};

/// Which decode targets a receiver can decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ActiveTargets {
    /// Number of decode targets of the stream's structure, 1–32.
    pub count: u8,
    /// One bit for each, target 0 in the lowest.
    pub mask: u32,
}

impl ActiveTargets {
    fn width(self) -> usize {
        usize::from(self.count.min(32))
    }
}

/// New values for one outgoing descriptor; `None` keeps what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct DescriptorPatch {
    /// Frame number.
    pub frame_number: Option<u16>,
    /// Active decode targets; the descriptor gets the field if it lacks it.
    pub active_targets: Option<ActiveTargets>,
}

impl DescriptorPatch {
    /// Length in bytes of what [`Self::write`] will write for this descriptor.
    #[must_use]
    pub fn written_len(&self, value: &[u8]) -> usize {
        let Some(active) = self.active_targets else {
            return value.len();
        };
        let flags = value.get(MANDATORY_LEN).copied();
        let has_mask = flags.is_some_and(|flags| flags & ACTIVE_TARGETS_PRESENT != 0);
        let bits = match flags {
            None => 8 * MANDATORY_LEN + FLAGS_WIDTH + active.width(),
            Some(_) if has_mask => 8 * value.len(),
            Some(_) => 8 * value.len() + active.width(),
        };
        bits.div_ceil(8)
    }

    /// Writes the descriptor with new values to the front of `out` and answers its length in bytes.
    ///
    /// # Errors
    /// [`CodecError::Truncated`] if the descriptor ends early or `out` is too small; [`CodecError::Limit`] as for
    /// [`super::Descriptor::parse`].
    pub fn write(&self, value: &[u8], out: &mut [u8]) -> Result<usize, CodecError> {
        let len = self.written_len(value);
        let out = out.get_mut(..len).ok_or(CodecError::Truncated)?;
        match self.active_targets {
            None => out.copy_from_slice(value),
            Some(active) => copy_with_targets(active, value, out)?,
        }
        if let Some(number) = self.frame_number {
            out.get_mut(1..MANDATORY_LEN)
                .ok_or(CodecError::Truncated)?
                .copy_from_slice(&number.to_be_bytes());
        }
        Ok(len)
    }
}

/// Bytes of the mandatory fields.
const MANDATORY_LEN: usize = 3;
/// Bits of the flags behind them.
const FLAGS_WIDTH: usize = 5;
/// One of those flags, in the fourth byte.
const ACTIVE_TARGETS_PRESENT: u8 = 0x40;

fn copy_with_targets(
    active: ActiveTargets,
    value: &[u8],
    out: &mut [u8],
) -> Result<(), CodecError> {
    let mut reader = BitReader::new(value);
    let head = Head::read(&mut reader, value.len()).ok_or(CodecError::Truncated)?;
    let extended = value.len() > MANDATORY_LEN;
    if head.structure_attached {
        Structure::read(&mut reader)?;
    }
    let behind_structure = reader.position();
    let mut from = BitReader::new(value);
    let mut to = BitWriter::new(out);
    to.copy(&mut from, 8 * MANDATORY_LEN);
    if extended {
        // The structure follows its flag and those behind it.
        let flags = from.small(5).ok_or(CodecError::Truncated)?;
        to.bits(u32::from(flags | ACTIVE_TARGETS_PRESENT >> 3), FLAGS_WIDTH);
        let structure_len = behind_structure - from.position();
        to.copy(&mut from, structure_len);
    } else {
        to.bits(u32::from(ACTIVE_TARGETS_PRESENT >> 3), FLAGS_WIDTH);
    }
    to.bits(active.mask, active.width());
    if head.active_targets_present {
        from.bits(u32::from(active.count.min(32)))
            .ok_or(CodecError::Truncated)?;
    }
    let left = (8 * value.len()).saturating_sub(from.position());
    to.copy(&mut from, left);
    Ok(())
}
