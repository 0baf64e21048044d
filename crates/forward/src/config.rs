//! What signaling negotiated for a producer or a consumer, in the media plane's words.

use std::sync::Arc;

use schalter_model::{MediaKind, RoomId};

use crate::allocate::Rank;

/// A media format, as far as forwarding must tell formats apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Opus (RFC 7587).
    Opus,
    /// Redundant audio, Opus inside (RFC 2198).
    Red,
    /// VP8 (RFC 7741).
    Vp8,
    /// VP9 (RFC 9628) with its profile.
    Vp9 {
        /// `profile-id`.
        profile: u8,
    },
    /// H.264 (RFC 6184).
    H264 {
        /// `packetization-mode`.
        packetization_mode: u8,
        /// The first two bytes of `profile-level-id`: `profile_idc` and constraints.
        profile: u16,
    },
    /// H.265 (RFC 7798).
    H265,
    /// AV1 (AV1 RTP specification) with its profile.
    Av1 {
        /// `profile`.
        profile: u8,
    },
}

impl Codec {
    /// The kind of media it carries.
    pub const fn kind(self) -> MediaKind {
        match self {
            Self::Opus | Self::Red => MediaKind::Audio,
            Self::Vp8 | Self::Vp9 { .. } | Self::H264 { .. } | Self::H265 | Self::Av1 { .. } => {
                MediaKind::Video
            }
        }
    }

    /// RTP clock rate in Hz.
    pub const fn clock_rate(self) -> u32 {
        match self.kind() {
            MediaKind::Audio => 48_000,
            MediaKind::Video => 90_000,
        }
    }
}

/// One payload type of one section, with its retransmission payload type (RFC 4588).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodecBinding {
    /// RTP payload type, 0–127.
    pub payload_type: u8,
    /// What it means.
    pub codec: Codec,
    /// Payload type of its retransmissions.
    pub rtx_payload_type: Option<u8>,
}

/// Negotiated header extension ids (RFC 8285), `None` where not negotiated.
///
/// Within one transport all sections share one mapping (RFC 8843 §9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid`.
    pub mid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id`.
    pub rid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id`.
    pub repaired_rid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464).
    pub audio_level: Option<u8>,
    /// Transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions).
    pub transport_cc: Option<u8>,
    /// Absolute send time.
    pub abs_send_time: Option<u8>,
    /// Absolute capture time.
    pub abs_capture_time: Option<u8>,
    /// Video orientation (3GPP TS 26.114).
    pub video_orientation: Option<u8>,
    /// AV1 dependency descriptor.
    pub dependency_descriptor: Option<u8>,
}

/// One stream of a track: a simulcast layer, or the only one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodingConfig {
    /// RTP stream id (RFC 8852), for simulcast.
    pub rid: Option<Arc<str>>,
    /// SSRC, where the SDP names it.
    pub ssrc: Option<u32>,
    /// SSRC of its retransmissions, where the SDP names it.
    pub rtx_ssrc: Option<u32>,
}

/// A published track as negotiated with its publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerConfig {
    /// Sound or pictures.
    pub kind: MediaKind,
    /// The section's `a=mid`, to recognise streams whose SSRC the SDP doesn't name.
    pub mid: Option<Arc<str>>,
    /// The publisher's payload types, at least one.
    pub codecs: Vec<CodecBinding>,
    /// Lowest quality first, 1 to 4.
    pub encodings: Vec<EncodingConfig>,
    /// The publisher's header extension ids.
    pub extensions: ExtensionIds,
    /// Feed transport-wide feedback back to the publisher.
    pub transport_cc: bool,
    /// The room in which it competes to be heard ([`crate::LoudestConfig`]); `None`: it is forwarded always.
    pub room: Option<RoomId>,
}

/// A subscription as negotiated with its subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// SSRC that the subscriber's SDP names.
    pub ssrc: u32,
    /// SSRC for retransmissions; without one they are sent again under [`Self::ssrc`].
    pub rtx_ssrc: Option<u32>,
    /// RTCP CNAME: equal for tracks that play in sync.
    pub cname: Arc<str>,
    /// The section's `a=mid`, sent as header extension where negotiated.
    pub mid: Option<Arc<str>>,
    /// The subscriber's payload types.
    pub codecs: Vec<CodecBinding>,
    /// The subscriber's header extension ids.
    pub extensions: ExtensionIds,
    /// The subscriber feeds back by stream (RFC 8888).
    pub congestion_feedback: bool,
    /// [`Self::ssrc`] stays when the subscription ends: the subscriber gets no BYE, and the next subscription with the
    /// same SSRC goes on after its numbers, whichever track that is of.
    pub continues: bool,
    /// Where it starts.
    pub target: ConsumerTarget,
}

/// What a subscriber wants of a track now. Without congestion it gets the best that this allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerTarget {
    /// Nothing is forwarded.
    pub paused: bool,
    /// Highest encoding to forward, as index into [`ProducerConfig::encodings`].
    pub max_encoding: u8,
    /// Highest spatial layer to forward within an encoding (VP9, AV1).
    pub max_spatial: u8,
    /// Highest temporal layer to forward within an encoding (VP8, VP9, AV1).
    pub max_temporal: u8,
    /// Whose turn it is when the subscriber's link is too thin for all.
    pub rank: Rank,
}

impl Default for ConsumerTarget {
    /// Everything there is.
    fn default() -> Self {
        Self {
            paused: false,
            max_encoding: u8::MAX,
            max_spatial: u8::MAX,
            max_temporal: u8::MAX,
            rank: Rank::DEFAULT,
        }
    }
}
