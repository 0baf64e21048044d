//! Our own offers, for the subscriber connection of LiveKit's older joins (`GET /rtc`) and for WHEP.
//!
//! Payload types and header extension ids are ours and the same in every section.

use std::sync::Arc;

use schalter_model::MediaKind;

use super::answer::FEEDBACK;
use super::codec::CodecKind;
use super::description::Direction;
use super::extension::{Extension, Flow};
use super::media::SendTrack;
use super::write::{Extmap, Format, LocalDescription, Role, Section, Writer};

/// One section of our offer. Sections never go away: later offers list them again in the same order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfferSection {
    /// Data channels.
    Data {
        /// The section's name.
        mid: Arc<str>,
    },
    /// A track, or room for the next one of its kind.
    Media {
        /// The section's name.
        mid: Arc<str>,
        /// Sound or pictures.
        kind: MediaKind,
        /// `None` while it is unused (`inactive`).
        track: Option<SendTrack>,
    },
}

impl OfferSection {
    /// The section's name.
    pub fn mid(&self) -> &Arc<str> {
        match self {
            Self::Data { mid } | Self::Media { mid, .. } => mid,
        }
    }
}

/// A format that we offer.
struct OwnFormat {
    kind: CodecKind,
    payload_type: u8,
    rtx: Option<u8>,
    parameters: Option<&'static str>,
}

const fn own(
    kind: CodecKind,
    payload_type: u8,
    rtx: Option<u8>,
    parameters: Option<&'static str>,
) -> OwnFormat {
    OwnFormat {
        kind,
        payload_type,
        rtx,
        parameters,
    }
}

/// Numbers that LiveKit's clients are used to.
const FORMATS: [OwnFormat; 9] = [
    own(
        CodecKind::Opus,
        111,
        None,
        Some("minptime=10;useinbandfec=1"),
    ),
    own(CodecKind::Red, 63, None, Some("111/111")),
    own(CodecKind::Vp8, 96, Some(97), None),
    own(CodecKind::Vp9, 98, Some(99), Some("profile-id=0")),
    own(CodecKind::Vp9, 100, Some(101), Some("profile-id=2")),
    own(
        CodecKind::H264,
        125,
        Some(126),
        Some("level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f"),
    ),
    own(
        CodecKind::H264,
        108,
        Some(109),
        Some("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
    ),
    own(
        CodecKind::Av1,
        35,
        Some(36),
        Some("level-idx=5;profile=0;tier=0"),
    ),
    own(
        CodecKind::H265,
        116,
        Some(117),
        Some("level-id=180;profile-id=1;tier-flag=0;tx-mode=SRST"),
    ),
];

/// RTP over DTLS over UDP (RFC 5764), as every browser writes it.
const RTP_PROTOCOL: &str = "UDP/TLS/RTP/SAVPF";
/// SCTP over DTLS over UDP (RFC 8841).
const SCTP_PROTOCOL: &str = "UDP/DTLS/SCTP";

/// Writes an offer with these sections. What the client makes of them tells [`super::MediaSection::reception`] of
/// its answer's sections.
pub fn server_offer(local: &LocalDescription<'_>, sections: &[OfferSection]) -> String {
    let bundle: Vec<&str> = sections.iter().map(|section| &**section.mid()).collect();
    let mut writer = Writer::new(local, Role::Offer, &bundle, true);
    for section in sections {
        match section {
            OfferSection::Data { mid } => writer.data(SCTP_PROTOCOL, mid),
            OfferSection::Media { mid, kind, track } => {
                writer.section(&offered(local, mid, *kind, track.as_ref()));
            }
        }
    }
    writer.finish()
}

fn offered<'s>(
    local: &LocalDescription<'_>,
    mid: &'s str,
    media: MediaKind,
    track: Option<&'s SendTrack>,
) -> Section<'s> {
    let enabled = FORMATS.iter().filter(|own| {
        let red_alone = own.kind == CodecKind::Red && !local.codecs.contains(CodecKind::Opus);
        own.kind.media() == media && local.codecs.contains(own.kind) && !red_alone
    });
    let feedback: Vec<Arc<str>> = match media {
        // NACK for sound is answered under the media's own SSRC and would come too late for most.
        MediaKind::Audio => vec!["transport-cc".into()],
        MediaKind::Video => FEEDBACK.iter().map(|fb| Arc::from(*fb)).collect(),
    };
    let mut formats = Vec::new();
    for own in enabled {
        let (clock, channels) = match media {
            MediaKind::Audio => (48_000, "/2"),
            MediaKind::Video => (90_000, ""),
        };
        formats.push(Format {
            payload_type: own.payload_type,
            map: format!("{}/{clock}{channels}", own.kind.name()),
            parameters: own.parameters.map(str::to_owned),
            feedback: if own.kind == CodecKind::Red {
                Vec::new()
            } else {
                feedback.clone()
            },
        });
        formats.extend(own.rtx.map(|rtx| Format {
            payload_type: rtx,
            map: format!("rtx/{clock}"),
            parameters: Some(format!("apt={}", own.payload_type)),
            feedback: Vec::new(),
        }));
    }
    Section {
        media: match media {
            MediaKind::Audio => "audio",
            MediaKind::Video => "video",
        },
        protocol: RTP_PROTOCOL,
        mid,
        direction: match track {
            Some(_) => Direction::SendOnly,
            None => Direction::Inactive,
        },
        formats,
        extensions: Extension::used(media, Flow::Down)
            .map(|extension| Extmap {
                id: extension.own_id(),
                direction: None,
                uri: extension.uri(),
            })
            .collect(),
        rids: Vec::new(),
        track,
        rtx: media == MediaKind::Video,
        congestion_feedback: true,
    }
}
