//! Packets whose payload says where they come from, in the formats that the simulation negotiates.

use schalter_forward::{Codec, CodecBinding};
use schalter_model::Time;
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
/// Header extension of the stream id (RFC 8852).
pub(crate) const RID: u8 = 2;
/// Header extension of the id of the stream that a retransmission belongs to.
pub(crate) const REPAIRED_RID: u8 = 3;
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

/// Which quality a frame is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Layer {
    /// Index of the simulcast encoding, lowest first.
    pub encoding: u8,
    /// Temporal layer of the frame, 0 for the base.
    pub temporal: u8,
}

/// What the encoder knew about the frame that a packet is of; stands before its [`Mark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameMark {
    /// Which quality.
    pub layer: Layer,
    /// It needs no other frame.
    pub keyframe: bool,
    /// Counts the frames of the encoding.
    pub number: u32,
    /// The frame that it was predicted from; none for a keyframe and for sound.
    pub reference: Option<u32>,
    /// Which packet of the frame this is.
    pub part: u16,
    /// How many packets it has.
    pub parts: u16,
    /// When it was captured, in the simulation's time.
    pub captured: Time,
}

impl FrameMark {
    const LEN: usize = 22;
    const KEYFRAME: u8 = 0x80;

    /// Reads the mark of a payload.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let end = payload.len().checked_sub(Mark::LEN)?;
        let bytes = payload.get(..end)?.last_chunk::<{ Self::LEN }>()?;
        let word = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let half = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let captured = u64::from(word(14)) << 32 | u64::from(word(18));
        Some(Self {
            layer: Layer {
                encoding: bytes[0],
                temporal: bytes[1] & !Self::KEYFRAME,
            },
            keyframe: bytes[1] & Self::KEYFRAME != 0,
            number: word(2),
            reference: Some(word(6)).filter(|number| *number != u32::MAX),
            part: half(10),
            parts: half(12),
            captured: Time::from_nanos(captured),
        })
    }

    fn write(self, payload: &mut Vec<u8>) {
        let keyframe = if self.keyframe { Self::KEYFRAME } else { 0 };
        payload.extend_from_slice(&[self.layer.encoding, self.layer.temporal | keyframe]);
        payload.extend_from_slice(&self.number.to_be_bytes());
        payload.extend_from_slice(&self.reference.unwrap_or(u32::MAX).to_be_bytes());
        payload.extend_from_slice(&self.part.to_be_bytes());
        payload.extend_from_slice(&self.parts.to_be_bytes());
        payload.extend_from_slice(&self.captured.as_nanos().to_be_bytes());
    }
}

/// Both marks of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) frame: FrameMark,
    pub(crate) packet: Mark,
}

impl Marks {
    const LEN: usize = FrameMark::LEN + Mark::LEN;

    /// Fills `payload` up to `len` bytes, marks included; never cuts it.
    fn fill(self, payload: &mut Vec<u8>, len: usize, filling: u8) {
        payload.resize(payload.len().max(len.saturating_sub(Self::LEN)), filling);
        self.frame.write(payload);
        self.packet.write(payload);
    }
}

/// What the VP8 payload descriptor says of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vp8Frame {
    pub(crate) picture_id: u16,
    pub(crate) tl0picidx: u8,
    /// Temporal layer and whether it only needs the base layer; none without temporal layers.
    pub(crate) temporal: Option<(u8, bool)>,
    /// No other frame is predicted from it.
    pub(crate) discardable: bool,
    /// Width and height in pixels.
    pub(crate) size: (u16, u16),
}

/// A VP8 payload of `len` bytes or a little more (RFC 7741 §4).
pub(crate) fn vp8_payload(frame: Vp8Frame, marks: Marks, len: usize) -> Vec<u8> {
    let [high, low] = (frame.picture_id & 0x7fff).to_be_bytes();
    let first = marks.frame.part == 0;
    let start = 0x80 | u8::from(frame.discardable) << 5 | u8::from(first) << 4;
    let has = if frame.temporal.is_some() { 0xE0 } else { 0xC0 };
    let mut payload = vec![start, has, high | 0x80, low, frame.tl0picidx];
    if let Some((temporal, sync)) = frame.temporal {
        payload.push(temporal << 6 | u8::from(sync) << 5);
    }
    if first {
        payload.extend_from_slice(&[u8::from(!marks.frame.keyframe), 0, 0]);
        if marks.frame.keyframe {
            payload.extend_from_slice(&[0x9d, 0x01, 0x2a]);
            payload.extend_from_slice(&frame.size.0.to_le_bytes());
            payload.extend_from_slice(&frame.size.1.to_le_bytes());
        }
    }
    marks.fill(&mut payload, len, 0x55);
    payload
}

/// An Opus payload of `len` bytes or a little more: one frame of 20 ms (RFC 6716 §3.1).
pub(crate) fn opus_payload(marks: Marks, len: usize) -> Vec<u8> {
    let mut payload = vec![0x78];
    marks.fill(&mut payload, len, 0xAA);
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
