//! The dependency descriptor of one packet (AV1 RTP specification §A.8).

use super::structure::{Dti, FrameDiffs, MAX_TARGETS, Structure, read_dtis};
use crate::CodecError;
use crate::codec::bits::BitReader;

/// Length of the mandatory fields; a longer descriptor has the extended ones too.
const MANDATORY_LEN: usize = 3;

/// What a packet's dependency descriptor says about its frame, templates resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Descriptor {
    /// The packet is the first of its frame.
    pub start_of_frame: bool,
    /// The packet is the last of its frame.
    pub end_of_frame: bool,
    /// Template id, 0–63.
    pub template_id: u8,
    /// Frame number, wrapping.
    pub frame_number: u16,
    /// The packet carries a template dependency structure, as the first of a coded video sequence does.
    pub structure_attached: bool,
    /// Decode targets that the sender currently produces, target 0 in the lowest bit; `None` keeps what was
    /// said before. A new structure makes all of them active.
    pub active_decode_targets: Option<u32>,
    /// Spatial layer of the frame.
    pub spatial: u8,
    /// Temporal layer of the frame.
    pub temporal: u8,
    /// Width and height of the frame's spatial layer in pixels, if the structure has them.
    pub resolution: Option<(u32, u32)>,
    dtis: u64,
    target_count: u8,
    diffs: FrameDiffs,
    chain_diffs: [u8; MAX_TARGETS],
    chain_count: u8,
}

/// Flags and fields in front of the frame's own definition.
pub(super) struct Head {
    start_of_frame: bool,
    end_of_frame: bool,
    template_id: u8,
    frame_number: u16,
    pub(super) structure_attached: bool,
    pub(super) active_targets_present: bool,
    custom_dtis: bool,
    custom_diffs: bool,
    custom_chains: bool,
}

impl Head {
    pub(super) fn read(bits: &mut BitReader<'_>, len: usize) -> Option<Self> {
        let mut head = Self {
            start_of_frame: bits.flag()?,
            end_of_frame: bits.flag()?,
            template_id: bits.small(6)?,
            frame_number: u16::try_from(bits.bits(16)?).ok()?,
            structure_attached: false,
            active_targets_present: false,
            custom_dtis: false,
            custom_diffs: false,
            custom_chains: false,
        };
        if len > MANDATORY_LEN {
            head.structure_attached = bits.flag()?;
            head.active_targets_present = bits.flag()?;
            head.custom_dtis = bits.flag()?;
            head.custom_diffs = bits.flag()?;
            head.custom_chains = bits.flag()?;
        }
        Some(head)
    }
}

impl Descriptor {
    /// Parses a descriptor, resolving its template in the structure that it carries or, without one, in
    /// `stored`.
    ///
    /// # Errors
    /// [`CodecError::Truncated`]; [`CodecError::UnknownTemplate`] if there is no structure or not this template
    /// in it; [`CodecError::Limit`] for more layers or references than AV1 allows.
    pub fn parse(value: &[u8], stored: Option<&Structure>) -> Result<Self, CodecError> {
        let mut bits = BitReader::new(value);
        let head = Head::read(&mut bits, value.len()).ok_or(CodecError::Truncated)?;
        if head.structure_attached {
            let attached = Structure::read(&mut bits)?;
            Self::resolve(&head, &mut bits, &attached)
        } else {
            Self::resolve(&head, &mut bits, stored.ok_or(CodecError::UnknownTemplate)?)
        }
    }

    /// Parses the structure that a descriptor carries, for the caller to store; `None` if it has none.
    ///
    /// Costs nothing more than a look at one bit for the other packets. The caller decides whether a
    /// reordered packet's structure may replace a newer one.
    ///
    /// # Errors
    /// [`CodecError::Truncated`] or [`CodecError::Limit`], as for [`Self::parse`].
    pub fn attached_structure(value: &[u8]) -> Result<Option<Structure>, CodecError> {
        let mut bits = BitReader::new(value);
        let head = Head::read(&mut bits, value.len()).ok_or(CodecError::Truncated)?;
        if head.structure_attached {
            Structure::read(&mut bits).map(Some)
        } else {
            Ok(None)
        }
    }

    fn resolve(
        head: &Head,
        bits: &mut BitReader<'_>,
        structure: &Structure,
    ) -> Result<Self, CodecError> {
        let target_count = u8::try_from(structure.decode_targets().len()).unwrap_or(u8::MAX);
        let active_decode_targets = if head.active_targets_present {
            Some(
                bits.bits(u32::from(target_count))
                    .ok_or(CodecError::Truncated)?,
            )
        } else {
            head.structure_attached.then(|| structure.all_targets())
        };
        let template = structure.template(head.template_id)?;
        let mut descriptor = Self {
            start_of_frame: head.start_of_frame,
            end_of_frame: head.end_of_frame,
            template_id: head.template_id,
            frame_number: head.frame_number,
            structure_attached: head.structure_attached,
            active_decode_targets,
            spatial: template.spatial,
            temporal: template.temporal,
            resolution: structure.resolution(template.spatial),
            dtis: template.dtis,
            target_count,
            diffs: template.diffs,
            chain_diffs: template.chain_diffs,
            chain_count: structure.chain_count(),
        };
        if head.custom_dtis {
            descriptor.dtis = read_dtis(bits, target_count).ok_or(CodecError::Truncated)?;
        }
        if head.custom_diffs {
            descriptor.diffs = read_custom_diffs(bits)?;
        }
        if head.custom_chains {
            for diff in descriptor
                .chain_diffs
                .iter_mut()
                .take(usize::from(descriptor.chain_count))
            {
                *diff = bits.small(8).ok_or(CodecError::Truncated)?;
            }
        }
        Ok(descriptor)
    }

    /// What the frame means to each decode target, in target order.
    #[must_use]
    pub fn dtis(&self) -> Dtis {
        Dtis {
            bits: self.dtis,
            left: self.target_count,
        }
    }

    /// What the frame means to one decode target; `NotPresent` beyond the last target.
    #[must_use]
    pub fn dti(&self, target: u8) -> Dti {
        if target < self.target_count {
            Dti::from_bits(self.dtis >> (2 * target))
        } else {
            Dti::NotPresent
        }
    }

    /// How many frame numbers back each referred frame is.
    #[must_use]
    pub fn frame_diffs(&self) -> &[u16] {
        self.diffs.as_slice()
    }

    /// For each chain, how many frame numbers back its latest frame is; 0 if the chain starts here.
    #[must_use]
    pub fn chain_diffs(&self) -> &[u8] {
        self.chain_diffs
            .get(..usize::from(self.chain_count))
            .unwrap_or_default()
    }
}

fn read_custom_diffs(bits: &mut BitReader<'_>) -> Result<FrameDiffs, CodecError> {
    let mut diffs = FrameDiffs::default();
    loop {
        let nibbles = bits.bits(2).ok_or(CodecError::Truncated)?;
        if nibbles == 0 {
            return Ok(diffs);
        }
        let minus_one = bits.bits(4 * nibbles).ok_or(CodecError::Truncated)?;
        // At most 12 bits.
        diffs.push(u16::try_from(minus_one + 1).unwrap_or(u16::MAX))?;
    }
}

/// The decode target indications of a frame; see [`Descriptor::dtis`].
#[derive(Clone, Copy, Debug)]
pub struct Dtis {
    bits: u64,
    left: u8,
}

impl Iterator for Dtis {
    type Item = Dti;

    fn next(&mut self) -> Option<Dti> {
        self.left = self.left.checked_sub(1)?;
        let dti = Dti::from_bits(self.bits);
        self.bits >>= 2;
        Some(dti)
    }
}
