//! Answers to clients' offers (RFC 8829 §5.3): the client's sections, order, mids and numbers, cut to what we do.

use std::sync::Arc;

use schalter_forward::Codec;

use super::codec::{self, CodecKind, Kept};
use super::description::{Direction, MediaSection, PayloadFormat, SectionKind, SessionDescription};
use super::extension;
use super::media::SendTrack;
use super::write::{Extmap, Format, LocalDescription, Role, Section, Writer};

/// Feedback that the media plane gives and understands (RFC 4585, RFC 5104).
pub(super) const FEEDBACK: [&str; 5] = ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"];

/// What to do with one section of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerPlan<'a> {
    /// Refuse it for good (port 0).
    Reject,
    /// Keep it, without media.
    Inactive,
    /// Take what it publishes (`recvonly`).
    Receive(ReceiveOptions),
    /// Send on it (`sendonly`): a track, or nothing yet.
    Send(Option<&'a SendTrack>),
    /// Accept data channels.
    Data,
}

/// How a published track is to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveOptions {
    /// The codec to use if the client can; clients take the first of the answer.
    pub first: Option<CodecKind>,
    /// Opus: send next to nothing in silence (`usedtx`).
    pub dtx: bool,
    /// Opus: send two channels (`stereo`).
    pub stereo: bool,
}

/// Writes the answer to `offer`, with `plan` deciding for each section.
///
/// Plans that a section can't follow are weakened: what it doesn't send or take becomes `inactive`; sections outside
/// of BUNDLE, of unknown media or without a common codec are rejected.
pub fn answer<'t>(
    offer: &SessionDescription,
    local: &LocalDescription<'_>,
    mut plan: impl FnMut(&MediaSection) -> AnswerPlan<'t>,
) -> String {
    let outcomes: Vec<Outcome<'_, 't>> = offer
        .sections
        .iter()
        .map(|section| {
            let plan = plan(section);
            Outcome::of(offer, section, local, plan)
        })
        .collect();
    let bundle: Vec<&str> = match &offer.bundle {
        Some(_) => offer
            .sections
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| !matches!(outcome, Outcome::Rejected))
            .map(|(section, _)| &*section.mid)
            .collect(),
        None => Vec::new(),
    };
    let mut writer = Writer::new(local, Role::Answer, &bundle, offer.extmap_allow_mixed);
    for (section, outcome) in offer.sections.iter().zip(outcomes) {
        match outcome {
            Outcome::Rejected => writer.rejected(
                media_name(&section.kind),
                &section.protocol,
                &section.format_list,
                &section.mid,
            ),
            Outcome::Data => writer.data(&section.protocol, &section.mid),
            Outcome::Media {
                kept,
                direction,
                options,
                track,
            } => writer.section(&accepted(section, &kept, direction, options, track)),
        }
    }
    writer.finish()
}

/// What becomes of a section.
enum Outcome<'s, 't> {
    Rejected,
    Data,
    Media {
        kept: Vec<Kept<'s>>,
        /// Ours.
        direction: Direction,
        options: ReceiveOptions,
        track: Option<&'t SendTrack>,
    },
}

impl<'s, 't> Outcome<'s, 't> {
    fn of(
        offer: &SessionDescription,
        section: &'s MediaSection,
        local: &LocalDescription<'_>,
        plan: AnswerPlan<'t>,
    ) -> Self {
        if plan == AnswerPlan::Reject || !offer.is_usable(section) {
            return Self::Rejected;
        }
        let data = section.kind == SectionKind::Data;
        if data || plan == AnswerPlan::Data {
            let agreed = data && plan == AnswerPlan::Data;
            return if agreed { Self::Data } else { Self::Rejected };
        }
        let mut kept = codec::kept(section, local.codecs);
        if kept.is_empty() {
            return Self::Rejected;
        }
        let (mut direction, mut options, mut track) =
            (Direction::Inactive, ReceiveOptions::default(), None);
        match plan {
            AnswerPlan::Receive(wanted) if section.direction.sends() => {
                direction = Direction::RecvOnly;
                options = wanted;
            }
            AnswerPlan::Send(wanted) if section.direction.receives() => {
                direction = Direction::SendOnly;
                track = wanted;
            }
            AnswerPlan::Receive(_)
            | AnswerPlan::Send(_)
            | AnswerPlan::Inactive
            | AnswerPlan::Reject
            | AnswerPlan::Data => {}
        }
        codec::prefer(&mut kept, options.first);
        Self::Media {
            kept,
            direction,
            options,
            track,
        }
    }
}

fn media_name(kind: &SectionKind) -> &str {
    match kind {
        SectionKind::Audio => "audio",
        SectionKind::Video => "video",
        SectionKind::Data => "application",
        SectionKind::Other(name) => name,
    }
}

fn accepted<'s>(
    section: &'s MediaSection,
    kept: &[Kept<'s>],
    direction: Direction,
    options: ReceiveOptions,
    track: Option<&'s SendTrack>,
) -> Section<'s> {
    let receiving = direction == Direction::RecvOnly;
    let mut formats = Vec::with_capacity(kept.len() * 2);
    for k in kept {
        let opus = receiving && k.codec == Codec::Opus;
        let mut format = echo(k.format);
        if opus {
            format.parameters = Some(opus_parameters(k.format, options));
        }
        formats.push(format);
        formats.extend(k.rtx.map(echo));
    }
    Section {
        media: media_name(&section.kind),
        protocol: &section.protocol,
        mid: &section.mid,
        direction,
        formats,
        extensions: extension::kept(section)
            .into_iter()
            .map(|(_, offered)| Extmap {
                id: u8::try_from(offered.id).expect("kept ids fit one-byte headers"),
                direction: offered.direction.map(Direction::reversed),
                uri: &offered.uri,
            })
            .collect(),
        rids: if receiving {
            section.sent_rids()
        } else {
            Vec::new()
        },
        track,
        rtx: kept.iter().any(|k| k.rtx.is_some()),
        // We don't make such feedback, so that no publisher may count on it.
        congestion_feedback: direction == Direction::SendOnly && section.feeds_back_by_stream(),
    }
}

/// The format as offered, with the feedback that we know. `x-google-…` parameters pass on: they are the client's own.
fn echo(format: &PayloadFormat) -> Format {
    let channels = match format.channels {
        Some(channels) if channels > 1 => format!("/{channels}"),
        _ => String::new(),
    };
    let known = |feedback: &&Arc<str>| FEEDBACK.contains(&&***feedback);
    Format {
        payload_type: format.payload_type,
        map: format!("{}/{}{channels}", format.name, format.clock_rate),
        parameters: format.parameters.as_deref().map(str::to_owned),
        feedback: format.feedback.iter().filter(known).cloned().collect(),
    }
}

/// What we ask of an Opus sender (RFC 7587 §6.1). `stereo` doubles the rate, so the offer's is not simply echoed: it
/// says what the client would take, not what its microphone has.
fn opus_parameters(format: &PayloadFormat, options: ReceiveOptions) -> String {
    let mut parameters = Vec::new();
    if let Some(time) = format.parameter("minptime") {
        parameters.push(format!("minptime={time}"));
    }
    parameters.push("useinbandfec=1".to_owned());
    if options.dtx {
        parameters.push("usedtx=1".to_owned());
    }
    if options.stereo {
        parameters.push("stereo=1".to_owned());
    }
    parameters.join(";")
}
