//! Which formats we keep of those that a section names, and what they mean to the media plane.

use schalter_forward::{Codec, CodecBinding};
use schalter_model::MediaKind;

use super::description::{MediaSection, PayloadFormat};

/// A codec as operators and LiveKit's messages name it: formats without their parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CodecKind {
    /// `audio/opus`.
    Opus,
    /// `audio/red`.
    Red,
    /// `video/VP8`.
    Vp8,
    /// `video/VP9`.
    Vp9,
    /// `video/H264`.
    H264,
    /// `video/H265`.
    H265,
    /// `video/AV1`.
    Av1,
}

impl CodecKind {
    /// All codecs.
    pub const ALL: [Self; 7] = [
        Self::Opus,
        Self::Red,
        Self::Vp8,
        Self::Vp9,
        Self::H264,
        Self::H265,
        Self::Av1,
    ];

    /// The MIME type in SDP's spelling, e.g. `video/VP8`.
    pub const fn mime(self) -> &'static str {
        match self {
            Self::Opus => "audio/opus",
            Self::Red => "audio/red",
            Self::Vp8 => "video/VP8",
            Self::Vp9 => "video/VP9",
            Self::H264 => "video/H264",
            Self::H265 => "video/H265",
            Self::Av1 => "video/AV1",
        }
    }

    /// The name without the type, in SDP's spelling, e.g. `VP8`.
    pub fn name(self) -> &'static str {
        &self.mime()["audio/".len()..]
    }

    /// Reads a MIME type or a bare name, in any case: `video/vp8`, `VP8`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| {
            kind.mime().eq_ignore_ascii_case(text) || kind.name().eq_ignore_ascii_case(text)
        })
    }

    /// The codec of a format.
    pub const fn of(codec: Codec) -> Self {
        match codec {
            Codec::Opus => Self::Opus,
            Codec::Red => Self::Red,
            Codec::Vp8 => Self::Vp8,
            Codec::Vp9 { .. } => Self::Vp9,
            Codec::H264 { .. } => Self::H264,
            Codec::H265 => Self::H265,
            Codec::Av1 { .. } => Self::Av1,
        }
    }

    /// Sound or pictures.
    pub const fn media(self) -> MediaKind {
        match self {
            Self::Opus | Self::Red => MediaKind::Audio,
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::H265 | Self::Av1 => MediaKind::Video,
        }
    }
}

/// The codecs that are switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodecSet(u8);

impl CodecSet {
    /// No codec.
    pub const NONE: Self = Self(0);
    /// Every codec.
    pub const ALL: Self = Self((1 << CodecKind::ALL.len()) - 1);

    /// Whether `kind` is in.
    pub const fn contains(self, kind: CodecKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    /// This set and `kind`.
    #[must_use]
    pub const fn with(self, kind: CodecKind) -> Self {
        Self(self.0 | (1 << kind as u8))
    }

    /// This set but `kind`.
    #[must_use]
    pub const fn without(self, kind: CodecKind) -> Self {
        Self(self.0 & !(1 << kind as u8))
    }

    /// The codecs in it.
    pub fn iter(self) -> impl Iterator<Item = CodecKind> {
        CodecKind::ALL
            .into_iter()
            .filter(move |kind| self.contains(*kind))
    }
}

impl FromIterator<CodecKind> for CodecSet {
    fn from_iter<T: IntoIterator<Item = CodecKind>>(kinds: T) -> Self {
        kinds.into_iter().fold(Self::NONE, Self::with)
    }
}

/// `profile_idc` and constraint flags of H.264 Constrained Baseline, in the form that browsers write.
pub(super) const H264_CONSTRAINED_BASELINE: u16 = 0x42e0;
/// The same of Baseline.
const H264_BASELINE: u16 = 0x4200;

/// A format that we keep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept<'a> {
    pub(super) format: &'a PayloadFormat,
    pub(super) rtx: Option<&'a PayloadFormat>,
    pub(super) codec: Codec,
}

impl Kept<'_> {
    pub(super) fn binding(&self) -> CodecBinding {
        CodecBinding {
            payload_type: self.format.payload_type,
            codec: self.codec,
            rtx_payload_type: self.rtx.map(|rtx| rtx.payload_type),
        }
    }
}

/// The formats of a section that we keep, in the author's order; of several that mean the same, the first.
pub(super) fn kept(section: &MediaSection, enabled: CodecSet) -> Vec<Kept<'_>> {
    let Some(media) = section.media_kind() else {
        return Vec::new();
    };
    let mut kept: Vec<Kept<'_>> = Vec::new();
    for format in &section.formats {
        let Some(codec) = meaning(format) else {
            continue;
        };
        let wanted = codec.kind() == media && enabled.contains(CodecKind::of(codec));
        if wanted && kept.iter().all(|other| other.codec != codec) {
            let rtx = section
                .formats
                .iter()
                .find(|rtx| is_rtx_of(rtx, format.payload_type));
            kept.push(Kept { format, rtx, codec });
        }
    }
    // Baseline stands in for Constrained Baseline only where the latter is missing: what one peer sends in Baseline
    // another may not decode.
    let constrained = |mode| {
        kept.iter().any(|k| {
            k.codec
                == Codec::H264 {
                    packetization_mode: mode,
                    profile: H264_CONSTRAINED_BASELINE,
                }
        })
    };
    let superseded = [constrained(0), constrained(1)];
    // RED is of use only around a format that we keep as well.
    let opus = kept
        .iter()
        .find(|k| k.codec == Codec::Opus)
        .map(|k| k.format.payload_type);
    kept.retain(|k| match k.codec {
        Codec::H264 {
            packetization_mode,
            profile: H264_BASELINE,
        } => !superseded[usize::from(packetization_mode)],
        Codec::Red => opus.is_some_and(|opus| carries(k.format, opus)),
        Codec::Opus
        | Codec::Vp8
        | Codec::Vp9 { .. }
        | Codec::H264 { .. }
        | Codec::H265
        | Codec::Av1 { .. } => true,
    });
    kept
}

/// Puts the formats of `first` before the others.
pub(super) fn prefer(kept: &mut [Kept<'_>], first: Option<CodecKind>) {
    if let Some(first) = first {
        kept.sort_by_key(|k| CodecKind::of(k.codec) != first);
    }
}

fn is_rtx_of(format: &PayloadFormat, payload_type: u8) -> bool {
    format.name.eq_ignore_ascii_case("rtx")
        && format.parameter("apt").and_then(|apt| apt.parse().ok()) == Some(payload_type)
}

/// Whether a RED format (RFC 2198 §5) carries only `opus`: `111/111`, or nothing said, as older clients do.
fn carries(red: &PayloadFormat, opus: u8) -> bool {
    red.parameters.as_deref().is_none_or(|list| {
        list.split('/')
            .all(|payload_type| payload_type.trim().parse() == Ok(opus))
    })
}

/// What a format means, if it is one of those that we forward.
fn meaning(format: &PayloadFormat) -> Option<Codec> {
    let kind = CodecKind::parse(&format.name)?;
    let number = |name: &str, default: u8| {
        format
            .parameter(name)
            .map_or(Some(default), |v| v.parse().ok())
    };
    let codec = match kind {
        CodecKind::Opus => Codec::Opus,
        CodecKind::Red => Codec::Red,
        CodecKind::Vp8 => Codec::Vp8,
        // Profiles 1 and 3 are 4:2:2 and beyond, which no camera of ours needs.
        CodecKind::Vp9 => Codec::Vp9 {
            profile: number("profile-id", 0).filter(|profile| matches!(profile, 0 | 2))?,
        },
        CodecKind::H264 => Codec::H264 {
            packetization_mode: number("packetization-mode", 0).filter(|mode| *mode <= 1)?,
            profile: h264_profile(format)?,
        },
        // Main profile only: the media plane doesn't tell profiles apart.
        CodecKind::H265 => {
            number("profile-id", 1).filter(|profile| *profile == 1)?;
            Codec::H265
        }
        CodecKind::Av1 => Codec::Av1 {
            profile: number("profile", 0).filter(|profile| *profile == 0)?,
        },
    };
    (format.clock_rate == codec.clock_rate()).then_some(codec)
}

/// RFC 6184 §8.1, table 5: Constrained Baseline has several spellings, which count as one.
fn h264_profile(format: &PayloadFormat) -> Option<u16> {
    /// `constraint_set1_flag`: the stream obeys Main profile's constraints as well.
    const SET1: u32 = 0x40;
    let Some(text) = format.parameter("profile-level-id") else {
        return Some(H264_BASELINE);
    };
    if text.len() != 6 {
        return None;
    }
    let id = u32::from_str_radix(text, 16).ok()?;
    let (idc, constraints) = (id >> 16, id >> 8 & 0xff);
    (idc == 0x42).then_some(if constraints & SET1 == 0 {
        H264_BASELINE
    } else {
        H264_CONSTRAINED_BASELINE
    })
}
