//! What an offer must be to be served as a whole: nobody is told "created" who will miss something (RFC 9725 §4.4.3).

use livekit_protocol::TrackSource;
use schalter_model::MediaKind;

use super::problem::Problem;
use crate::sdp::{CodecSet, Direction, Limits, MediaSection, SectionKind, SessionDescription};
use crate::token::VideoGrants;

/// Sections of an offer. A player of a large room may have dozens.
const MAX_SECTIONS: usize = 64;

/// Bounds on what is read.
pub(super) fn limits(max_bytes: usize) -> Limits {
    Limits {
        max_bytes,
        max_sections: MAX_SECTIONS,
        ..Limits::default()
    }
}

fn parse(text: &str, max_bytes: usize) -> Result<SessionDescription, Problem> {
    if text.trim().is_empty() {
        let detail = "the offer is missing: the client offers, the server doesn't";
        return Err(Problem::new(axum::http::StatusCode::BAD_REQUEST, detail));
    }
    let offer = SessionDescription::parse(text, &limits(max_bytes))?;
    offer.transport_parameters()?;
    Ok(offer)
}

/// Reads the offer of a publisher: at most one section with sound and one with pictures, each sending something that we
/// forward (RFC 9725 §4.4.2).
pub(super) fn to_publish(
    text: &str,
    max_bytes: usize,
    codecs: CodecSet,
    video: &VideoGrants,
) -> Result<SessionDescription, Problem> {
    let mut offer = parse(text, max_bytes)?;
    check_sections(&offer, codecs)?;
    for section in &mut offer.sections {
        let Some(kind) = section.media_kind() else {
            continue;
        };
        if !section.direction.sends() {
            let text = "a section must be sendonly or sendrecv to be published";
            return Err(Problem::offer(about(section, text)));
        }
        section.direction = Direction::SendOnly;
        let source = match kind {
            MediaKind::Audio => TrackSource::Microphone,
            MediaKind::Video => TrackSource::Camera,
        };
        if !video.may_publish(source) {
            let name = source.as_str_name().to_ascii_lowercase();
            return Err(Problem::new(
                axum::http::StatusCode::FORBIDDEN,
                format!("the token does not allow to publish the source {name}"),
            ));
        }
    }
    for kind in [SectionKind::Audio, SectionKind::Video] {
        if offer
            .sections
            .iter()
            .filter(|section| section.kind == kind)
            .count()
            > 1
        {
            let text =
                "one section with sound and one with pictures are the most that WHIP publishes";
            return Err(Problem::offer(text));
        }
    }
    Ok(offer)
}

/// Reads the offer of a player: any number of sections that receive something that we forward.
pub(super) fn to_play(
    text: &str,
    max_bytes: usize,
    codecs: CodecSet,
) -> Result<SessionDescription, Problem> {
    let mut offer = parse(text, max_bytes)?;
    check_sections(&offer, codecs)?;
    for section in &mut offer.sections {
        if section.media_kind().is_none() {
            continue;
        }
        if !section.direction.receives() {
            let text = "a section must be recvonly or sendrecv to be played";
            return Err(Problem::offer(about(section, text)));
        }
        // What a player would send is nobody's to get.
        section.direction = Direction::RecvOnly;
    }
    Ok(offer)
}

/// What holds for both: media in one BUNDLE group, with a codec of ours.
fn check_sections(offer: &SessionDescription, codecs: CodecSet) -> Result<(), Problem> {
    if offer
        .sections
        .iter()
        .all(|section| section.media_kind().is_none())
    {
        return Err(Problem::offer("the offer has neither sound nor pictures"));
    }
    for section in &offer.sections {
        match &section.kind {
            SectionKind::Audio | SectionKind::Video => {}
            // Refused in the answer: no media is missing without it.
            SectionKind::Data => continue,
            SectionKind::Other(_) => {
                let text = "a section is neither sound nor pictures nor data";
                return Err(Problem::offer(about(section, text)));
            }
        }
        if !offer.is_usable(section) {
            let text = "a section is rejected or outside of the one BUNDLE group";
            return Err(Problem::offer(about(section, text)));
        }
        if !section.has_codec(codecs) {
            let text = "a section has no codec in common with this server";
            return Err(Problem::offer(about(section, text)));
        }
    }
    Ok(())
}

fn about(section: &MediaSection, text: &str) -> String {
    // Mids are the client's own, short, and without control characters.
    format!("{text} (mid {})", section.mid)
}
