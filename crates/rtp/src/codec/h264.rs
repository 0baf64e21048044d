//! H.264 payloads: NAL unit types, aggregation and fragmentation (RFC 6184 §5).

use super::FrameInfo;
use crate::wire::Reader;

/// NAL unit types that matter to a forwarder (ITU-T H.264 table 7-1, RFC 6184 §5.2).
mod nal_type {
    pub(super) const SLICE: u8 = 1;
    pub(super) const PARTITION_A: u8 = 2;
    pub(super) const IDR: u8 = 5;
    pub(super) const SEI: u8 = 6;
    pub(super) const SPS: u8 = 7;
    pub(super) const DELIMITER: u8 = 9;
    pub(super) const STAP_A: u8 = 24;
    pub(super) const FU_A: u8 = 28;
}

/// The start of a NAL unit inside a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NalUnit<'a> {
    /// NAL unit type, 0–31, of the unit itself and not of the packet that carries it.
    pub nal_type: u8,
    /// `nal_ref_idc`, 0–3; 0 means that no other picture refers to it.
    pub ref_idc: u8,
    /// The first byte of the unit is in this payload.
    pub starts: bool,
    /// The bytes after the NAL unit header that are in this payload.
    pub body: &'a [u8],
}

/// Iterates over the NAL units of a payload: one for single units and FU-A, several for STAP-A.
///
/// Other packet kinds are interleaved modes that browsers do not offer; they yield nothing, as does a
/// malformed payload from its broken unit on.
#[must_use]
pub fn nal_units(payload: &[u8]) -> NalUnits<'_> {
    let Some((&first, rest)) = payload.split_first() else {
        return NalUnits::empty();
    };
    match first & 0x1F {
        nal_type::STAP_A => NalUnits {
            single: None,
            aggregated: Reader::new(rest),
        },
        nal_type::FU_A => {
            let Some((&fragment, body)) = rest.split_first() else {
                return NalUnits::empty();
            };
            NalUnits::one(NalUnit {
                nal_type: fragment & 0x1F,
                ref_idc: first >> 5 & 0x03,
                starts: fragment & 0x80 != 0,
                body,
            })
        }
        1..=23 => NalUnits::one(NalUnit::whole(first, rest)),
        _ => NalUnits::empty(),
    }
}

/// The NAL units of one payload; see [`nal_units`].
#[derive(Clone, Copy, Debug)]
pub struct NalUnits<'a> {
    single: Option<NalUnit<'a>>,
    aggregated: Reader<'a>,
}

impl<'a> NalUnits<'a> {
    fn empty() -> Self {
        Self {
            single: None,
            aggregated: Reader::new(&[]),
        }
    }

    fn one(unit: NalUnit<'a>) -> Self {
        Self {
            single: Some(unit),
            ..Self::empty()
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
            .and_then(<[u8]>::split_first);
        let Some((&header, body)) = unit else {
            self.aggregated = Reader::new(&[]);
            return None;
        };
        Some(NalUnit::whole(header, body))
    }
}

impl<'a> NalUnit<'a> {
    fn whole(header: u8, body: &'a [u8]) -> Self {
        Self {
            nal_type: header & 0x1F,
            ref_idc: header >> 5 & 0x03,
            starts: true,
            body,
        }
    }

    fn opens_keyframe(&self) -> bool {
        self.starts && matches!(self.nal_type, nal_type::SPS | nal_type::IDR)
    }

    /// A picture's first slice has `first_mb_in_slice` 0, an Exp-Golomb code of the single bit 1.
    fn may_open_frame(&self) -> bool {
        self.starts
            && match self.nal_type {
                nal_type::SLICE | nal_type::PARTITION_A | nal_type::IDR => {
                    self.body.first().is_some_and(|byte| byte & 0x80 != 0)
                }
                nal_type::SEI..=nal_type::DELIMITER => true,
                _ => false,
            }
    }
}

/// Tells whether decoding can start with this payload: it holds a sequence parameter set or the start of an
/// IDR slice.
#[must_use]
pub fn is_keyframe(payload: &[u8]) -> bool {
    nal_units(payload).any(|unit| unit.opens_keyframe())
}

pub(super) fn inspect(payload: &[u8], marker: bool) -> Option<FrameInfo> {
    let units = nal_units(payload);
    let keyframe = units.into_iter().any(|unit| unit.opens_keyframe());
    let mut seen = false;
    let mut referenced = false;
    for unit in units {
        seen = true;
        referenced |= unit.ref_idc != 0;
    }
    seen.then_some(FrameInfo {
        keyframe,
        start_of_frame: units.into_iter().any(|unit| unit.may_open_frame()),
        end_of_frame: marker,
        spatial: 0,
        temporal: 0,
        switching_point: keyframe,
        discardable: !referenced,
    })
}
