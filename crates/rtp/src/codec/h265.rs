//! H.265 payloads: NAL unit types, aggregation and fragmentation (RFC 7798 §4.4).

use super::FrameInfo;
use crate::wire::Reader;

/// NAL unit types that matter to a forwarder (ITU-T H.265 table 7-1, RFC 7798 §4.4).
mod nal_type {
    pub(super) const TSA_N: u8 = 2;
    pub(super) const STSA_R: u8 = 5;
    pub(super) const LAST_SUB_LAYER_NON_REFERENCE: u8 = 14;
    pub(super) const BLA_W_LP: u8 = 16;
    pub(super) const LAST_RESERVED_IRAP: u8 = 23;
    pub(super) const LAST_VCL: u8 = 31;
    pub(super) const VPS: u8 = 32;
    pub(super) const SPS: u8 = 33;
    pub(super) const DELIMITER: u8 = 35;
    pub(super) const PREFIX_SEI: u8 = 39;
    pub(super) const AGGREGATION: u8 = 48;
    pub(super) const FRAGMENT: u8 = 49;
    pub(super) const PACI: u8 = 50;
}

/// The start of a NAL unit inside a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NalUnit<'a> {
    /// NAL unit type, 0–63, of the unit itself and not of the packet that carries it.
    pub nal_type: u8,
    /// `nuh_layer_id`, 0–63; above 0 only in the multi-layer extensions.
    pub layer_id: u8,
    /// Temporal layer, 0 is the base (`nuh_temporal_id_plus1` less one).
    pub temporal_id: u8,
    /// The first byte of the unit is in this payload.
    pub starts: bool,
    /// The bytes after the NAL unit header that are in this payload.
    pub body: &'a [u8],
}

/// Iterates over the NAL units of a payload: one for single units and fragments, several for aggregation
/// packets (without DONL fields, which only `sprop-max-don-diff` above 0 brings).
///
/// A PACI packet yields nothing, as does a malformed payload from its broken unit on.
#[must_use]
pub fn nal_units(payload: &[u8]) -> NalUnits<'_> {
    let Some(unit) = NalUnit::whole(payload) else {
        return NalUnits::empty();
    };
    match unit.nal_type {
        nal_type::AGGREGATION => NalUnits {
            single: None,
            aggregated: Reader::new(unit.body),
        },
        nal_type::FRAGMENT => {
            let Some((&fragment, body)) = unit.body.split_first() else {
                return NalUnits::empty();
            };
            let (nal_type, starts) = (fragment & 0x3F, fragment & 0x80 != 0);
            NalUnits {
                single: Some(NalUnit {
                    nal_type,
                    starts,
                    body,
                    ..unit
                }),
                ..NalUnits::empty()
            }
        }
        0..nal_type::AGGREGATION => NalUnits {
            single: Some(unit),
            ..NalUnits::empty()
        },
        nal_type::PACI.. => NalUnits::empty(),
    }
}

/// The NAL units of one payload; see [`nal_units`].
#[derive(Clone, Copy, Debug)]
pub struct NalUnits<'a> {
    single: Option<NalUnit<'a>>,
    aggregated: Reader<'a>,
}

impl NalUnits<'_> {
    fn empty() -> Self {
        Self {
            single: None,
            aggregated: Reader::new(&[]),
        }
    }
}

impl<'a> Iterator for NalUnits<'a> {
    type Item = NalUnit<'a>;

    fn next(&mut self) -> Option<NalUnit<'a>> {
        if let Some(unit) = self.single.take() {
            return Some(unit);
        }
        let len = self.aggregated.u16()?;
        let unit = self
            .aggregated
            .take(usize::from(len))
            .and_then(NalUnit::whole);
        if unit.is_none() {
            self.aggregated = Reader::new(&[]);
        }
        unit
    }
}

impl<'a> NalUnit<'a> {
    fn whole(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let [first, second] = reader.array()?;
        Some(Self {
            nal_type: first >> 1 & 0x3F,
            layer_id: (first & 1) << 5 | second >> 3,
            temporal_id: (second & 0x07).saturating_sub(1),
            starts: true,
            body: reader.rest(),
        })
    }

    fn is_irap(&self) -> bool {
        (nal_type::BLA_W_LP..=nal_type::LAST_RESERVED_IRAP).contains(&self.nal_type)
    }

    fn opens_keyframe(&self) -> bool {
        self.starts && (self.is_irap() || matches!(self.nal_type, nal_type::VPS | nal_type::SPS))
    }

    /// The first slice of a picture starts with `first_slice_segment_in_pic_flag`.
    fn may_open_frame(&self) -> bool {
        self.starts
            && match self.nal_type {
                0..=nal_type::LAST_VCL => self.body.first().is_some_and(|byte| byte & 0x80 != 0),
                nal_type::VPS..=nal_type::DELIMITER | nal_type::PREFIX_SEI => true,
                _ => false,
            }
    }

    /// Temporal sub-layer access pictures, TSA and STSA.
    fn is_switching_point(&self) -> bool {
        self.opens_keyframe() || (nal_type::TSA_N..=nal_type::STSA_R).contains(&self.nal_type)
    }

    /// Sub-layer non-reference pictures have the even types up to 14. Non-VCL units do not count.
    fn is_referenced(&self) -> bool {
        self.nal_type > nal_type::LAST_SUB_LAYER_NON_REFERENCE || self.nal_type % 2 == 1
    }
}

/// Tells whether decoding can start with this payload: it holds a video or sequence parameter set or the
/// start of an intra random access picture.
#[must_use]
pub fn is_keyframe(payload: &[u8]) -> bool {
    nal_units(payload).any(|unit| unit.opens_keyframe())
}

pub(super) fn inspect(payload: &[u8], marker: bool) -> Option<FrameInfo> {
    let units = nal_units(payload);
    let temporal = units.into_iter().map(|unit| unit.temporal_id).min()?;
    let keyframe = units.into_iter().any(|unit| unit.opens_keyframe());
    Some(FrameInfo {
        keyframe,
        start_of_frame: units.into_iter().any(|unit| unit.may_open_frame()),
        end_of_frame: marker,
        spatial: 0,
        temporal,
        switching_point: units.into_iter().any(|unit| unit.is_switching_point()),
        // A sub-layer non-reference picture may still serve higher sub-layers, of which this cannot know.
        discardable: temporal > 0 && !units.into_iter().any(|unit| unit.is_referenced()),
    })
}
