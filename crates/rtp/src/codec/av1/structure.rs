//! The template dependency structure: what frames a stream has and who needs them (AV1 RTP specification
//! §A.8.3).
//!
//! Sent with key frames and stored by the receiver; every later descriptor refers to it. It has a fixed
//! size, so that storing it does not allocate.

use crate::CodecError;
use crate::codec::bits::BitReader;

/// Most templates that a 6-bit id can name.
const MAX_TEMPLATES: usize = 64;
/// Most decode targets (5 bits, plus one).
pub(super) const MAX_TARGETS: usize = 32;
/// Most frame differences that are kept for one frame.
///
/// The format has no bound; AV1 has eight reference slots, so no frame refers to more.
pub const MAX_FRAME_DIFFS: usize = 8;
/// Most spatial layers (AV1 has 2 bits for the spatial id).
const MAX_SPATIAL_LAYERS: usize = 4;
/// Most temporal layers (AV1 has 3 bits for the temporal id).
const MAX_TEMPORAL_LAYERS: u8 = 8;

/// Decode target indication: what a frame means to one decode target (§A.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dti {
    /// The frame is not part of the target.
    NotPresent,
    /// No later frame of the target refers to it.
    Discardable,
    /// No later frame of the target needs anything before it: a receiver may switch to the target here.
    Switch,
    /// Later frames of the target may refer to it.
    Required,
}

impl Dti {
    pub(super) fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::NotPresent,
            1 => Self::Discardable,
            2 => Self::Switch,
            _ => Self::Required,
        }
    }
}

/// The highest layers of a decode target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct DecodeTarget {
    /// Highest spatial layer.
    pub spatial: u8,
    /// Highest temporal layer.
    pub temporal: u8,
    /// The chain that protects the target, if the stream has chains.
    pub chain: Option<u8>,
}

/// How far back the frames are that a frame refers to, a bounded list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct FrameDiffs {
    diffs: [u16; MAX_FRAME_DIFFS],
    count: u8,
}

impl FrameDiffs {
    pub(super) fn push(&mut self, diff: u16) -> Result<(), CodecError> {
        *self
            .diffs
            .get_mut(usize::from(self.count))
            .ok_or(CodecError::Limit)? = diff;
        self.count += 1;
        Ok(())
    }

    pub(super) fn as_slice(&self) -> &[u16] {
        self.diffs
            .get(..usize::from(self.count))
            .unwrap_or_default()
    }
}

/// A frame in the pattern that the encoder repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Template {
    pub(super) spatial: u8,
    pub(super) temporal: u8,
    /// Two bits for each decode target, target 0 in the lowest.
    pub(super) dtis: u64,
    pub(super) diffs: FrameDiffs,
    pub(super) chain_diffs: [u8; MAX_TARGETS],
}

/// The dependency structure of a stream, to be stored with it; about 4 kB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    id_offset: u8,
    target_count: u8,
    chain_count: u8,
    template_count: u8,
    templates: [Template; MAX_TEMPLATES],
    targets: [DecodeTarget; MAX_TARGETS],
    resolutions: Option<[(u32, u32); MAX_SPATIAL_LAYERS]>,
    spatial_layers: u8,
}

impl Structure {
    /// Reads the structure that a descriptor carries.
    pub(super) fn read(bits: &mut BitReader<'_>) -> Result<Self, CodecError> {
        let mut structure = Self {
            id_offset: bits.small(6).ok_or(CodecError::Truncated)?,
            target_count: bits.small(5).ok_or(CodecError::Truncated)? + 1,
            chain_count: 0,
            template_count: 0,
            templates: [Template::default(); MAX_TEMPLATES],
            targets: [DecodeTarget::default(); MAX_TARGETS],
            resolutions: None,
            spatial_layers: 0,
        };
        structure.read_layers(bits)?;
        structure.read_dtis(bits).ok_or(CodecError::Truncated)?;
        structure.read_diffs(bits)?;
        structure.read_chains(bits).ok_or(CodecError::Truncated)?;
        structure.derive_targets();
        structure
            .read_resolutions(bits)
            .ok_or(CodecError::Truncated)?;
        Ok(structure)
    }

    fn read_layers(&mut self, bits: &mut BitReader<'_>) -> Result<(), CodecError> {
        let (mut spatial, mut temporal) = (0_u8, 0_u8);
        for (count, template) in (1..).zip(&mut self.templates) {
            (template.spatial, template.temporal) = (spatial, temporal);
            self.template_count = count;
            self.spatial_layers = spatial + 1;
            match bits.small(2).ok_or(CodecError::Truncated)? {
                0 => {}
                1 => temporal += 1,
                2 => (spatial, temporal) = (spatial + 1, 0),
                _ => return Ok(()),
            }
            if temporal >= MAX_TEMPORAL_LAYERS || usize::from(spatial) >= MAX_SPATIAL_LAYERS {
                return Err(CodecError::Limit);
            }
        }
        Err(CodecError::Limit)
    }

    fn templates_mut(&mut self) -> impl Iterator<Item = &mut Template> {
        self.templates
            .iter_mut()
            .take(usize::from(self.template_count))
    }

    fn read_dtis(&mut self, bits: &mut BitReader<'_>) -> Option<()> {
        let targets = self.target_count;
        for template in self.templates_mut() {
            template.dtis = read_dtis(bits, targets)?;
        }
        Some(())
    }

    fn read_diffs(&mut self, bits: &mut BitReader<'_>) -> Result<(), CodecError> {
        for template in self.templates_mut() {
            while bits.flag().ok_or(CodecError::Truncated)? {
                let minus_one = bits.small(4).ok_or(CodecError::Truncated)?;
                template.diffs.push(u16::from(minus_one) + 1)?;
            }
        }
        Ok(())
    }

    fn read_chains(&mut self, bits: &mut BitReader<'_>) -> Option<()> {
        let chains = bits.below(u32::from(self.target_count) + 1)?;
        if chains == 0 {
            return Some(());
        }
        self.chain_count = u8::try_from(chains).ok()?;
        for target in self.targets.iter_mut().take(usize::from(self.target_count)) {
            target.chain = Some(u8::try_from(bits.below(chains)?).ok()?);
        }
        let chains = usize::from(self.chain_count);
        for template in self.templates_mut() {
            for diff in template.chain_diffs.iter_mut().take(chains) {
                *diff = bits.small(4)?;
            }
        }
        Some(())
    }

    /// A target has the highest layers among the templates that are part of it (§A.8.3.6).
    fn derive_targets(&mut self) {
        let templates = self.templates.iter().take(usize::from(self.template_count));
        for template in templates {
            for (index, target) in self
                .targets
                .iter_mut()
                .enumerate()
                .take(usize::from(self.target_count))
            {
                if Dti::from_bits(template.dtis >> (2 * index)) != Dti::NotPresent {
                    target.spatial = target.spatial.max(template.spatial);
                    target.temporal = target.temporal.max(template.temporal);
                }
            }
        }
    }

    fn read_resolutions(&mut self, bits: &mut BitReader<'_>) -> Option<()> {
        if bits.flag()? {
            let mut resolutions = [(0, 0); MAX_SPATIAL_LAYERS];
            for slot in resolutions
                .iter_mut()
                .take(usize::from(self.spatial_layers))
            {
                *slot = (bits.bits(16)? + 1, bits.bits(16)? + 1);
            }
            self.resolutions = Some(resolutions);
        }
        Some(())
    }

    /// Finds the template that a descriptor names.
    pub(super) fn template(&self, id: u8) -> Result<&Template, CodecError> {
        let index = (id & 63).wrapping_sub(self.id_offset) & 63;
        if index >= self.template_count {
            return Err(CodecError::UnknownTemplate);
        }
        self.templates
            .get(usize::from(index))
            .ok_or(CodecError::UnknownTemplate)
    }

    /// Number of spatial layers, 1–4.
    #[must_use]
    pub fn spatial_layers(&self) -> u8 {
        self.spatial_layers
    }

    /// Number of chains; 0 if the stream has none.
    #[must_use]
    pub fn chain_count(&self) -> u8 {
        self.chain_count
    }

    /// The decode targets, 1–32; a bit in [`super::Descriptor::active_decode_targets`] stands for each, target
    /// 0 in the lowest.
    #[must_use]
    pub fn decode_targets(&self) -> &[DecodeTarget] {
        self.targets
            .get(..usize::from(self.target_count))
            .unwrap_or_default()
    }

    /// Width and height of a spatial layer in pixels, if the structure has them.
    #[must_use]
    pub fn resolution(&self, spatial: u8) -> Option<(u32, u32)> {
        if spatial >= self.spatial_layers {
            return None;
        }
        self.resolutions?.get(usize::from(spatial)).copied()
    }

    /// The bitmask of all decode targets.
    #[must_use]
    pub fn all_targets(&self) -> u32 {
        u32::MAX >> (32 - u32::from(self.target_count))
    }
}

/// Reads two bits for each target, in the layout of [`Template::dtis`].
pub(super) fn read_dtis(bits: &mut BitReader<'_>, targets: u8) -> Option<u64> {
    let mut dtis = 0;
    for index in 0..targets {
        dtis |= u64::from(bits.small(2)?) << (2 * index);
    }
    Some(dtis)
}
