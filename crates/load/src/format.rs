//! Payload formats of pictures in our offers, numbered as Chromium numbers them.
//!
//! Publishers send VP8 only ([`crate::feed`]); who watches takes whatever [`crate::viewer`] can tell whole frames of.

use schalter_rtp::codec::VideoCodec;

use crate::feed::{VP8, VP8_RTX};

/// A video format with its retransmission format (RFC 4588).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoFormat {
    /// How its payloads are read.
    pub codec: VideoCodec,
    /// Its name in `a=rtpmap`.
    pub name: &'static str,
    /// Its payload type.
    pub payload_type: u8,
    /// The payload type of its retransmissions.
    pub rtx: u8,
    /// `a=fmtp`, if it takes one.
    pub parameters: Option<&'static str>,
}

/// VP8 (RFC 7741).
pub const VP8_FORMAT: VideoFormat = VideoFormat {
    codec: VideoCodec::Vp8,
    name: "VP8",
    payload_type: VP8,
    rtx: VP8_RTX,
    parameters: None,
};

/// What a viewer takes.
pub const VIEWED: [VideoFormat; 3] = [
    VP8_FORMAT,
    VideoFormat {
        codec: VideoCodec::Vp9,
        name: "VP9",
        payload_type: 98,
        rtx: 99,
        parameters: Some("profile-id=0"),
    },
    VideoFormat {
        codec: VideoCodec::Av1,
        name: "AV1",
        payload_type: 45,
        rtx: 46,
        parameters: Some("level-idx=5;profile=0;tier=0"),
    },
];

impl VideoFormat {
    /// The format of a packet that a viewer got, and whether it is a retransmission; `None` for other payload types.
    pub fn of(payload_type: u8) -> Option<(&'static Self, bool)> {
        VIEWED.iter().find_map(|format| {
            let is_repair = payload_type == format.rtx;
            (is_repair || payload_type == format.payload_type).then_some((format, is_repair))
        })
    }
}
