//! Which header extensions (RFC 8285) we use, by their URIs.

use schalter_forward::ExtensionIds;
use schalter_model::MediaKind;

use super::description::{Direction, HeaderExtension, MediaSection};

/// Ids above this need two-byte headers (RFC 8285 §4.3), which our packets don't have.
const MAX_ONE_BYTE_ID: u16 = 14;

/// A header extension that the media plane reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extension {
    Mid,
    Rid,
    RepairedRid,
    AudioLevel,
    TransportCc,
    AbsSendTime,
    AbsCaptureTime,
    VideoOrientation,
    DependencyDescriptor,
}

/// Which way a section's packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// The peer publishes.
    Up,
    /// The peer subscribes.
    Down,
}

impl Extension {
    const ALL: [Self; 9] = [
        Self::Mid,
        Self::Rid,
        Self::RepairedRid,
        Self::AudioLevel,
        Self::TransportCc,
        Self::AbsSendTime,
        Self::AbsCaptureTime,
        Self::VideoOrientation,
        Self::DependencyDescriptor,
    ];

    pub(super) const fn uri(self) -> &'static str {
        match self {
            Self::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Self::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Self::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Self::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Self::TransportCc => {
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
            }
            Self::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Self::AbsCaptureTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
            Self::VideoOrientation => "urn:3gpp:video-orientation",
            Self::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
        }
    }

    /// Whether it is of use for such media going that way; what is of use down is of use up. A subscriber's streams are told apart by SSRC, so stream
    /// ids go up only.
    pub(super) const fn is_used(self, media: MediaKind, flow: Flow) -> bool {
        let up = matches!(flow, Flow::Up);
        match (self, media) {
            (Self::Mid | Self::TransportCc | Self::AbsCaptureTime, _) => true,
            (Self::AudioLevel, media) => matches!(media, MediaKind::Audio),
            (Self::Rid | Self::RepairedRid, media) => up && matches!(media, MediaKind::Video),
            (Self::AbsSendTime | Self::VideoOrientation | Self::DependencyDescriptor, media) => {
                matches!(media, MediaKind::Video)
            }
        }
    }

    /// Our id for it in offers of our own.
    pub(super) const fn own_id(self) -> u8 {
        self as u8 + 1
    }

    /// All that are of use for such media going that way.
    pub(super) fn used(media: MediaKind, flow: Flow) -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(move |extension| extension.is_used(media, flow))
    }
}

/// The extensions of a section that we keep whichever way its media goes, in the author's order.
///
/// Answers name all of them, for a section may turn round: browsers offer again only what was agreed upon before.
pub(super) fn kept(section: &MediaSection) -> Vec<(Extension, &HeaderExtension)> {
    let Some(media) = section.media_kind() else {
        return Vec::new();
    };
    let mut kept: Vec<(Extension, &HeaderExtension)> = Vec::new();
    for offered in &section.extensions {
        let known = Extension::used(media, Flow::Up).find(|known| known.uri() == &*offered.uri);
        let Some(extension) = known else {
            continue;
        };
        let fits = (1..=MAX_ONE_BYTE_ID).contains(&offered.id);
        let unique = kept
            .iter()
            .all(|(other, taken)| *other != extension && taken.id != offered.id);
        if offered.direction != Some(Direction::Inactive) && fits && unique {
            kept.push((extension, offered));
        }
    }
    kept
}

/// Those of them that packets going one way carry, as the media plane wants them.
pub(super) fn ids(section: &MediaSection, flow: Flow) -> ExtensionIds {
    let mut ids = ExtensionIds::default();
    let Some(media) = section.media_kind() else {
        return ids;
    };
    for (extension, offered) in kept(section) {
        let direction = offered.direction.unwrap_or(Direction::SendRecv);
        let flows = match flow {
            Flow::Up => direction.sends(),
            Flow::Down => direction.receives(),
        };
        if !flows || !extension.is_used(media, flow) {
            continue;
        }
        let id = u8::try_from(offered.id).ok();
        *match extension {
            Extension::Mid => &mut ids.mid,
            Extension::Rid => &mut ids.rid,
            Extension::RepairedRid => &mut ids.repaired_rid,
            Extension::AudioLevel => &mut ids.audio_level,
            Extension::TransportCc => &mut ids.transport_cc,
            Extension::AbsSendTime => &mut ids.abs_send_time,
            Extension::AbsCaptureTime => &mut ids.abs_capture_time,
            Extension::VideoOrientation => &mut ids.video_orientation,
            Extension::DependencyDescriptor => &mut ids.dependency_descriptor,
        } = id;
    }
    ids
}
