//! What the header extension elements mean: typed values for the extensions that Schalter negotiates.
//!
//! Owns value layouts and URIs. The block that carries the elements is [`crate::packet`]'s; the dependency
//! descriptor has its own parser in [`crate::codec::av1`].

use crate::RtpError;
use crate::wire::Reader;

/// Extension URIs, as they stand in `a=extmap` lines (RFC 8285 §5).
pub mod uri {
    /// Client-to-mixer audio level (RFC 6464).
    pub const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
    /// Media identification (RFC 9143 §15).
    pub const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
    /// RTP stream identification (RFC 8852 §3.1).
    pub const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
    /// Identification of the stream that a retransmission repairs (RFC 8852 §3.2).
    pub const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
    /// Send time, 24 bits of 6.18 fixed-point seconds.
    pub const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
    /// Transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    pub const TRANSPORT_CC: &str =
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
    /// NTP time of capture and optional clock offset.
    pub const ABS_CAPTURE_TIME: &str =
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";
    /// Coordination of video orientation (3GPP TS 26.114 §7.4.5).
    pub const VIDEO_ORIENTATION: &str = "urn:3gpp:video-orientation";
    /// Dependency descriptor (AV1 RTP specification, appendix A).
    pub const DEPENDENCY_DESCRIPTOR: &str =
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
}

/// Longest accepted mid, rid or repaired rid, in bytes.
///
/// Browsers use at most 16 (the one-byte form's limit); other endpoints choose longer mids, but a bound
/// keeps what is stored per stream small.
pub const MAX_ID_LEN: usize = 32;

/// Audio level of one packet, measured by the sender (RFC 6464 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AudioLevel {
    /// The sender believes that the packet contains voice.
    pub voice: bool,
    /// Level in −dBov: 0 is the loudest, 127 is silence.
    pub level_dbov: u8,
}

impl AudioLevel {
    /// Parses the one-byte value.
    ///
    /// # Errors
    /// [`RtpError::ElementLength`] if it is not one byte.
    pub fn parse(value: &[u8]) -> Result<Self, RtpError> {
        let &[byte] = value else {
            return Err(RtpError::ElementLength);
        };
        Ok(Self {
            voice: byte & 0x80 != 0,
            level_dbov: byte & 0x7F,
        })
    }

    /// Encodes the value; levels above 127 are silence.
    #[must_use]
    pub fn encode(self) -> [u8; 1] {
        [u8::from(self.voice) << 7 | self.level_dbov.min(127)]
    }
}

/// Parses a mid (RFC 9143 §15: an RFC 4566 `token`) of at most [`MAX_ID_LEN`] bytes.
///
/// # Errors
/// [`RtpError::ElementText`] if it is empty, too long or not a token.
pub fn parse_mid(value: &[u8]) -> Result<&str, RtpError> {
    let is_token = |byte: u8| byte.is_ascii_graphic() && !br#""(),/:;<=>?@[\]"#.contains(&byte);
    parse_text(value, is_token)
}

/// Parses a rid or repaired rid (RFC 8852 §3, RFC 8851 §10) of at most [`MAX_ID_LEN`] bytes.
///
/// `-` and `_` are accepted beside letters and digits, as RFC 8851 had them before its erratum.
///
/// # Errors
/// [`RtpError::ElementText`] if it is empty, too long or has other characters.
pub fn parse_rid(value: &[u8]) -> Result<&str, RtpError> {
    parse_text(value, |byte| {
        byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
    })
}

fn parse_text(value: &[u8], accepts: impl Fn(u8) -> bool) -> Result<&str, RtpError> {
    if !(1..=MAX_ID_LEN).contains(&value.len()) || !value.iter().all(|byte| accepts(*byte)) {
        return Err(RtpError::ElementText);
    }
    core::str::from_utf8(value).map_err(|_| RtpError::ElementText)
}

/// Departure time of a packet: 24 bits of 6.18 fixed-point seconds, wrapping every 64 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AbsSendTime(u32);

impl AbsSendTime {
    /// Takes the low 24 bits of `ticks`, each 2⁻¹⁸ s (about 3.8 µs).
    #[must_use]
    pub const fn from_ticks(ticks: u32) -> Self {
        Self(ticks & 0x00FF_FFFF)
    }

    /// Converts microseconds since any epoch; what exceeds 64 s wraps.
    #[must_use]
    pub fn from_micros(micros: u64) -> Self {
        let within_cycle = micros % 64_000_000;
        Self::from_ticks(crate::wire::low32((within_cycle << 18) / 1_000_000))
    }

    /// Parses the three-byte value.
    ///
    /// # Errors
    /// [`RtpError::ElementLength`] if it is not three bytes.
    pub fn parse(value: &[u8]) -> Result<Self, RtpError> {
        let &[a, b, c] = value else {
            return Err(RtpError::ElementLength);
        };
        Ok(Self(u32::from_be_bytes([0, a, b, c])))
    }

    /// The time in ticks of 2⁻¹⁸ s, below 2²⁴.
    #[must_use]
    pub const fn ticks(self) -> u32 {
        self.0
    }

    /// Encodes the value.
    #[must_use]
    pub fn encode(self) -> [u8; 3] {
        let [_, a, b, c] = self.0.to_be_bytes();
        [a, b, c]
    }
}

/// Parses a transport-wide sequence number; the feedback request of version 2, if any, is ignored.
///
/// # Errors
/// [`RtpError::ElementLength`] if it is neither two nor four bytes.
pub fn parse_transport_sequence(value: &[u8]) -> Result<u16, RtpError> {
    match *value {
        [a, b] | [a, b, _, _] => Ok(u16::from_be_bytes([a, b])),
        _ => Err(RtpError::ElementLength),
    }
}

/// Encodes a transport-wide sequence number.
#[must_use]
pub fn encode_transport_sequence(sequence: u16) -> [u8; 2] {
    sequence.to_be_bytes()
}

/// When a frame was captured, by the capturer's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AbsCaptureTime {
    /// NTP time of capture, 32.32 fixed-point seconds since 1900.
    pub capture_ntp: u64,
    /// Estimated offset of the capturer's clock against the sender's, 32.32 fixed-point seconds.
    pub clock_offset: Option<i64>,
}

impl AbsCaptureTime {
    /// Parses the value.
    ///
    /// # Errors
    /// [`RtpError::ElementLength`] if it is neither 8 nor 16 bytes.
    pub fn parse(value: &[u8]) -> Result<Self, RtpError> {
        if value.len() != 8 && value.len() != 16 {
            return Err(RtpError::ElementLength);
        }
        let mut reader = Reader::new(value);
        let capture_ntp = reader.u64().ok_or(RtpError::ElementLength)?;
        Ok(Self {
            capture_ntp,
            clock_offset: reader.u64().map(u64::cast_signed),
        })
    }

    /// Encodes into a buffer and answers the length, 8 or 16 bytes.
    #[must_use]
    pub fn encode(self) -> ([u8; 16], usize) {
        let mut bytes = [0; 16];
        let (ntp, offset) = bytes.split_at_mut(8);
        ntp.copy_from_slice(&self.capture_ntp.to_be_bytes());
        offset.copy_from_slice(&self.clock_offset.unwrap_or_default().to_be_bytes());
        (bytes, if self.clock_offset.is_some() { 16 } else { 8 })
    }
}

/// How a receiver has to turn the picture (3GPP TS 26.114 §7.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct VideoOrientation {
    /// The back-facing camera is in use.
    pub back_camera: bool,
    /// The picture is mirrored horizontally.
    pub flipped: bool,
    /// Clockwise quarter turns to apply for display, 0–3.
    pub quarter_turns: u8,
}

impl VideoOrientation {
    /// Parses the one-byte value; unknown bits are ignored.
    ///
    /// # Errors
    /// [`RtpError::ElementLength`] if it is not one byte.
    pub fn parse(value: &[u8]) -> Result<Self, RtpError> {
        let &[byte] = value else {
            return Err(RtpError::ElementLength);
        };
        Ok(Self {
            back_camera: byte & 8 != 0,
            flipped: byte & 4 != 0,
            quarter_turns: byte & 3,
        })
    }

    /// Encodes the value; quarter turns count modulo 4.
    #[must_use]
    pub fn encode(self) -> [u8; 1] {
        [u8::from(self.back_camera) << 3 | u8::from(self.flipped) << 2 | self.quarter_turns & 3]
    }
}
