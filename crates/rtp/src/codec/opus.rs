//! The Opus table-of-contents byte (RFC 6716 §3.1) and discontinuous transmission (RFC 7587 §3.1.3).

use crate::CodecError;

/// Longest payload, in bytes, that an Opus encoder sends while it transmits nothing (RFC 6716 §2.1.9 has
/// frames of at most one byte; with the table of contents that is two).
const DTX_MAX_LEN: usize = 2;

/// Audio bandwidth (RFC 6716 table 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bandwidth {
    /// 4 kHz.
    Narrow,
    /// 6 kHz.
    Medium,
    /// 8 kHz.
    Wide,
    /// 12 kHz.
    SuperWide,
    /// 20 kHz.
    Full,
}

/// What the first bytes of an Opus packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Toc {
    /// Configuration number, 0–31: mode, bandwidth and frame duration.
    pub config: u8,
    /// Two channels.
    pub stereo: bool,
    /// Number of frames in the packet, 1–48.
    pub frame_count: u8,
}

impl Toc {
    /// Parses the front of an Opus payload.
    ///
    /// # Errors
    /// [`CodecError::Truncated`] if the payload is empty or lacks its frame count byte,
    /// [`CodecError::Malformed`] if the frames are none or longer than 120 ms together (RFC 6716 §3.2.5).
    pub fn parse(payload: &[u8]) -> Result<Self, CodecError> {
        let &toc = payload.first().ok_or(CodecError::Truncated)?;
        let frame_count = match toc & 0x03 {
            0 => 1,
            1 | 2 => 2,
            _ => payload.get(1).ok_or(CodecError::Truncated)? & 0x3F,
        };
        let parsed = Self {
            config: toc >> 3,
            stereo: toc & 0x04 != 0,
            frame_count,
        };
        if frame_count == 0 || parsed.duration_micros() > 120_000 {
            return Err(CodecError::Malformed);
        }
        Ok(parsed)
    }

    /// Audio bandwidth.
    #[must_use]
    pub fn bandwidth(&self) -> Bandwidth {
        match self.config {
            0..=3 | 16..=19 => Bandwidth::Narrow,
            4..=7 => Bandwidth::Medium,
            8..=11 | 20..=23 => Bandwidth::Wide,
            12..=13 | 24..=27 => Bandwidth::SuperWide,
            _ => Bandwidth::Full,
        }
    }

    /// Duration of one frame, in microseconds.
    #[must_use]
    pub fn frame_micros(&self) -> u32 {
        match (self.config, self.config & 3) {
            (0..=11, 0) => 10_000,
            (0..=11, 1) => 20_000,
            (0..=11, 2) => 40_000,
            (0..=11, _) => 60_000,
            (12..=15, step) => 10_000 << (step & 1),
            (_, step) => 2_500 << step,
        }
    }

    /// Duration of the whole packet, in microseconds.
    #[must_use]
    pub fn duration_micros(&self) -> u32 {
        self.frame_micros() * u32::from(self.frame_count)
    }
}

/// Tells whether the payload carries no audio: the encoder is silent and only keeps the stream alive.
#[must_use]
pub fn is_dtx(payload: &[u8]) -> bool {
    (1..=DTX_MAX_LEN).contains(&payload.len())
}
