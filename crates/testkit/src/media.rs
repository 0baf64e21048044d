//! Packets whose payload says where they come from, in the formats that the simulation negotiates.

use schalter_forward::{Codec, CodecBinding};
use schalter_rtp::RtpHeader;

/// VP8 with retransmission, as the simulation negotiates it.
pub const VP8: CodecBinding = CodecBinding {
    payload_type: 96,
    codec: Codec::Vp8,
    rtx_payload_type: Some(97),
};
/// Opus, with retransmission so that sound can be measured like pictures.
pub const OPUS: CodecBinding = CodecBinding {
    payload_type: 111,
    codec: Codec::Opus,
    rtx_payload_type: Some(112),
};

/// Header extension of the mid.
pub(crate) const MID: u8 = 1;
/// Header extension of the audio level.
pub(crate) const AUDIO_LEVEL: u8 = 4;
/// Header extension of the transport-wide sequence number.
pub(crate) const TRANSPORT_CC: u8 = 5;

/// Which packet of which stream a payload is; stands at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// The publisher's SSRC.
    pub stream: u32,
    /// Counts the stream's packets from 0.
    pub number: u64,
}

impl Mark {
    const LEN: usize = 12;

    /// Reads the mark of a payload.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let (stream, number) = payload.last_chunk::<{ Self::LEN }>()?.split_at(4);
        Some(Self {
            stream: u32::from_be_bytes(stream.try_into().ok()?),
            number: u64::from_be_bytes(number.try_into().ok()?),
        })
    }

    fn write(self, payload: &mut Vec<u8>) {
        payload.extend_from_slice(&self.stream.to_be_bytes());
        payload.extend_from_slice(&self.number.to_be_bytes());
    }
}

/// Where in a VP8 frame a packet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FramePart {
    pub(crate) first: bool,
    pub(crate) keyframe: bool,
    pub(crate) picture_id: u16,
    pub(crate) tl0picidx: u8,
}

/// A VP8 payload of `len` bytes or a little more (RFC 7741 §4).
pub(crate) fn vp8_payload(part: FramePart, mark: Mark, len: usize) -> Vec<u8> {
    let [high, low] = (part.picture_id & 0x7fff).to_be_bytes();
    let start = if part.first { 0x90 } else { 0x80 };
    let mut payload = vec![start, 0xC0, high | 0x80, low, part.tl0picidx];
    if part.first {
        payload.extend_from_slice(&[u8::from(!part.keyframe), 0, 0]);
        if part.keyframe {
            payload.extend_from_slice(&[0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00]);
        }
    }
    payload.resize(payload.len().max(len.saturating_sub(Mark::LEN)), 0x55);
    mark.write(&mut payload);
    payload
}

/// An Opus payload of `len` bytes or a little more: one frame of 20 ms (RFC 6716 §3.1).
pub(crate) fn opus_payload(mark: Mark, len: usize) -> Vec<u8> {
    let mut payload = vec![0x78];
    payload.resize(len.saturating_sub(Mark::LEN).max(1), 0xAA);
    mark.write(&mut payload);
    payload
}

/// Header, elements and payload as one packet.
pub(crate) fn packet(header: RtpHeader, elements: &[(u8, &[u8])], payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 64 + payload.len()];
    let len = header
        .write(elements, &mut out)
        .expect("a simulated header is encodable and short");
    out.truncate(len);
    out.extend_from_slice(payload);
    out
}
