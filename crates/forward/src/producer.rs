//! A published track on this shard, and which stream of its publisher belongs to which encoding.

use schalter_model::{DropReason, MediaKind, RoomId, ShardId, TrackId};
use schalter_rtp::codec::VideoCodec;

use crate::audio_level::LevelMeter;
use crate::cache::{PASSED_KINDS, PassedKind};
use crate::config::{Codec, ExtensionIds, ProducerConfig};
use crate::error::RouterError;
use crate::loudest::Voice;
use crate::settings::{MAX_ENCODINGS, MAX_FORMATS};

/// A track that consumers can subscribe to.
#[derive(Debug)]
pub(crate) struct Producer {
    pub(crate) track: TrackId,
    /// The publisher; `None` if it is on another shard.
    pub(crate) owner: Option<u32>,
    pub(crate) config: ProducerConfig,
    pub(crate) payload_types: PayloadTypes,
    /// Slots of the encodings, lowest quality first. They stay until the track ends: consumers remember them.
    pub(crate) slots: Vec<u32>,
    pub(crate) consumers: Vec<u32>,
    pub(crate) taps: Vec<ShardId>,
    pub(crate) muted: bool,
    pub(crate) level: LevelMeter,
    /// The room in which it competes to be heard, and how loud it is there.
    pub(crate) competes: Option<RoomId>,
    pub(crate) voice: Voice,
    /// Nothing is forwarded here from this sequence number on, because others are louder.
    pub(crate) withheld_from: Option<u64>,
}

impl Producer {
    pub(crate) fn new(track: TrackId, owner: Option<u32>, config: ProducerConfig) -> Self {
        Self {
            track,
            owner,
            payload_types: PayloadTypes::new(&config),
            config,
            slots: Vec::new(),
            consumers: Vec::new(),
            taps: Vec::new(),
            muted: false,
            level: LevelMeter::default(),
            competes: None,
            voice: Voice::default(),
            withheld_from: None,
        }
    }

    /// Encodings that the configuration has now.
    pub(crate) fn encoding_count(&self) -> usize {
        self.config.encodings.len().min(self.slots.len())
    }

    pub(crate) fn is_wanted(&self) -> bool {
        !self.consumers.is_empty() || !self.taps.is_empty()
    }

    pub(crate) fn is_video(&self) -> bool {
        self.config.kind == MediaKind::Video
    }

    /// The encoding that a stream id names, or the only one if there is no name.
    pub(crate) fn encoding_of(&self, rid: Option<&str>) -> Option<usize> {
        let encodings = &self.config.encodings;
        match rid {
            Some(rid) => encodings
                .iter()
                .position(|encoding| encoding.rid.as_deref() == Some(rid))
                .or_else(|| (encodings.len() == 1 && encodings[0].rid.is_none()).then_some(0)),
            None => (encodings.len() == 1).then_some(0),
        }
    }
}

/// Refuses what can't work.
pub(crate) fn check(config: &ProducerConfig) -> Result<(), RouterError> {
    let formats = (1..=MAX_FORMATS).contains(&config.codecs.len())
        && config.codecs.iter().all(|binding| {
            binding.payload_type < 128
                && binding.rtx_payload_type.is_none_or(|rtx| rtx < 128)
                && binding.codec.kind() == config.kind
        });
    let encodings = (1..=MAX_ENCODINGS).contains(&config.encodings.len());
    if formats && encodings {
        Ok(())
    } else {
        Err(RouterError::InvalidConfig)
    }
}

/// What a payload type is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Media in the format with this index.
    Media(u8),
    /// Retransmissions of the format with this index.
    Retransmission(u8),
}

/// Payload type to role, for one producer.
#[derive(Debug)]
pub(crate) struct PayloadTypes([Option<Role>; 128]);

impl PayloadTypes {
    fn new(config: &ProducerConfig) -> Self {
        let mut roles = [None; 128];
        for (index, binding) in (0_u8..).zip(&config.codecs) {
            let media = usize::from(binding.payload_type) % 128;
            roles[media].get_or_insert(Role::Media(index));
            if let Some(rtx) = binding.rtx_payload_type {
                roles[usize::from(rtx) % 128].get_or_insert(Role::Retransmission(index));
            }
        }
        Self(roles)
    }

    pub(crate) fn rebuild(&mut self, config: &ProducerConfig) {
        *self = Self::new(config);
    }

    /// The role of a payload type.
    ///
    /// # Errors
    /// [`DropReason::RtpUnknownPayloadType`] if it was not negotiated.
    #[inline]
    pub(crate) fn role(&self, payload_type: u8) -> Result<Role, DropReason> {
        self.0[usize::from(payload_type) % 128].ok_or(DropReason::RtpUnknownPayloadType)
    }
}

/// Ids of the passed elements by [`PassedKind`], 0 for none.
pub(crate) fn passed_ids(ids: &ExtensionIds) -> [u8; PASSED_KINDS] {
    let mut passed = [0; PASSED_KINDS];
    passed[PassedKind::AudioLevel as usize] = ids.audio_level.unwrap_or(0);
    passed[PassedKind::VideoOrientation as usize] = ids.video_orientation.unwrap_or(0);
    passed[PassedKind::AbsCaptureTime as usize] = ids.abs_capture_time.unwrap_or(0);
    passed[PassedKind::DependencyDescriptor as usize] = ids.dependency_descriptor.unwrap_or(0);
    passed
}

/// The codec as the payload parsers name it.
pub(crate) fn video_codec(codec: Codec) -> Option<VideoCodec> {
    match codec {
        Codec::Opus | Codec::Red => None,
        Codec::Vp8 => Some(VideoCodec::Vp8),
        Codec::Vp9 { .. } => Some(VideoCodec::Vp9),
        Codec::H264 { .. } => Some(VideoCodec::H264),
        Codec::H265 => Some(VideoCodec::H265),
        Codec::Av1 { .. } => Some(VideoCodec::Av1),
    }
}
