//! Codec payload descriptors: what a forwarder must know about a frame without decoding it.
//!
//! Owns the parsers of each payload format's clear part and one answer that all of them share,
//! [`FrameInfo`]. Refuses to depacketise: payloads are never assembled into frames.

pub mod av1;
pub mod h264;
pub mod h265;
pub mod opus;
pub mod red;
pub mod vp8;
pub mod vp9;

mod bits;

use av1::{Descriptor, Dti};

/// The video payload formats that Schalter can forward by layer or key frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// RFC 6184.
    H264,
    /// RFC 7798.
    H265,
    /// AV1 RTP specification of the Alliance for Open Media.
    Av1,
}

/// What one packet says about the frame it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct FrameInfo {
    /// Decoding can start with this packet: it is the first of a key frame, or carries its parameter sets.
    pub keyframe: bool,
    /// The packet is the first of a frame (of one spatial layer, in the layered formats). H.264 and H.265
    /// do not mark it: there it means that a frame *may* start here.
    pub start_of_frame: bool,
    /// The packet is the last of a frame (of one spatial layer, in the layered formats).
    pub end_of_frame: bool,
    /// Spatial layer, 0 is the base.
    pub spatial: u8,
    /// Temporal layer, 0 is the base.
    pub temporal: u8,
    /// A receiver of lower temporal layers may go up to [`Self::temporal`] from this frame on.
    pub switching_point: bool,
    /// No other frame of any layer depends on this one, as far as the packet tells.
    pub discardable: bool,
}

/// Looks at one video packet: `payload` without padding, the RTP `marker`, and the dependency descriptor if
/// the packet had one.
///
/// A descriptor, where present, is believed over the payload, so that end-to-end encrypted payloads can be
/// forwarded by layer. Answers `None` if the payload is malformed.
#[must_use]
pub fn inspect(
    codec: VideoCodec,
    payload: &[u8],
    marker: bool,
    descriptor: Option<&Descriptor>,
) -> Option<FrameInfo> {
    if let Some(descriptor) = descriptor {
        return Some(inspect_descriptor(descriptor));
    }
    match codec {
        VideoCodec::Vp8 => vp8::inspect(payload, marker),
        VideoCodec::Vp9 => vp9::inspect(payload),
        VideoCodec::H264 => h264::inspect(payload, marker),
        VideoCodec::H265 => h265::inspect(payload, marker),
        VideoCodec::Av1 => av1::inspect(payload, marker),
    }
}

fn inspect_descriptor(descriptor: &Descriptor) -> FrameInfo {
    let mut switching_point = false;
    let mut discardable = true;
    for dti in descriptor.dtis() {
        switching_point |= dti == Dti::Switch;
        discardable &= matches!(dti, Dti::NotPresent | Dti::Discardable);
    }
    FrameInfo {
        keyframe: descriptor.structure_attached,
        start_of_frame: descriptor.start_of_frame,
        end_of_frame: descriptor.end_of_frame,
        spatial: descriptor.spatial,
        temporal: descriptor.temporal,
        switching_point,
        discardable,
    }
}
