//! Fragments of descriptions: candidates that come later, and new credentials (RFC 8840 §9), as WHIP and WHEP use them.
//!
//! We are ICE-lite: a client's candidates tell us nothing, its checks do. They are looked at all the same, so that a
//! client hears of its mistakes.

use std::fmt::Write as _;
use std::sync::Arc;

use schalter_transport::RemoteIce;

use super::description::SessionDescription;
use super::parse::{Limits, SdpError, SdpProblem, ice_text};
use super::write::LocalDescription;

/// What a client's fragment says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceFragment {
    /// The client's credentials; others than before mean that it restarts ICE (RFC 9725 §4.3.3). `None` where the
    /// fragment has none.
    pub ice: Option<RemoteIce>,
    /// The sections that it speaks of.
    pub mids: Vec<Arc<str>>,
    /// Candidates in it.
    pub candidates: usize,
}

impl IceFragment {
    /// Reads a fragment.
    ///
    /// # Errors
    /// [`SdpError`] with the line that can't be used; one of the two credentials alone is
    /// [`SdpProblem::NoIceCredentials`].
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, SdpError> {
        if text.len() > limits.max_bytes {
            return Err(SdpError::whole(SdpProblem::TooLong));
        }
        let mut fragment = Self::default();
        let (mut ufrag, mut password) = (None, None);
        for (index, raw) in text.split('\n').enumerate() {
            let line = index + 1;
            let fail = |problem| SdpError { line, problem };
            if index >= limits.max_lines {
                return Err(fail(SdpProblem::TooManyLines));
            }
            let content = raw.strip_suffix('\r').unwrap_or(raw);
            if content.is_empty() {
                continue;
            }
            let (kind, value) = content
                .split_once('=')
                .filter(|(kind, value)| {
                    let letter = kind.len() == 1 && kind.as_bytes()[0].is_ascii_lowercase();
                    letter && !value.chars().any(char::is_control)
                })
                .ok_or(fail(SdpProblem::BadLine))?;
            if kind != "a" {
                continue;
            }
            let (name, value) = value.split_once(':').unwrap_or((value, ""));
            let value = value.trim();
            match name {
                "ice-ufrag" => {
                    let value = ice_text(value, 4).map_err(fail)?;
                    ufrag.get_or_insert(value);
                }
                "ice-pwd" => {
                    let value = ice_text(value, 22).map_err(fail)?;
                    password.get_or_insert(value);
                }
                "mid" => {
                    if fragment.mids.len() >= limits.max_sections {
                        return Err(fail(SdpProblem::TooManySections));
                    }
                    fragment.mids.push(value.into());
                }
                "candidate" => {
                    if !is_candidate(value) {
                        return Err(fail(SdpProblem::BadAttribute));
                    }
                    fragment.candidates += 1;
                }
                _ => {}
            }
        }
        fragment.ice = match (ufrag, password) {
            (Some(ufrag), Some(password)) => Some(RemoteIce { ufrag, password }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err(SdpError::whole(SdpProblem::NoIceCredentials));
            }
        };
        Ok(fragment)
    }
}

/// RFC 8839 §5.1: `<foundation> <component> <transport> <priority> <address> <port> typ <type>` and what follows.
fn is_candidate(value: &str) -> bool {
    let words: Vec<&str> = value.split_ascii_whitespace().take(8).collect();
    let [_, component, _, priority, _, port, typ, _] = words[..] else {
        return false;
    };
    component.parse::<u16>().is_ok()
        && priority.parse::<u32>().is_ok()
        && port.parse::<u16>().is_ok()
        && typ == "typ"
}

/// Our side of a restarted ICE session, as the fragment that answers the client's (RFC 9725 §4.3.3).
pub fn restart_fragment(offer: &SessionDescription, local: &LocalDescription<'_>) -> String {
    let mut text = String::with_capacity(512);
    text.push_str("a=ice-lite\r\n");
    let first = offer
        .sections
        .iter()
        .find(|section| offer.is_usable(section));
    if let Some(bundle) = &offer.bundle {
        let _ = write!(text, "a=group:BUNDLE {}\r\n", bundle.join(" "));
    }
    if let Some(section) = first {
        let kind = section
            .media_kind()
            .map_or("application", |kind| match kind {
                schalter_model::MediaKind::Audio => "audio",
                schalter_model::MediaKind::Video => "video",
            });
        let _ = write!(
            text,
            "m={kind} 9 {} 0\r\na=mid:{}\r\n",
            section.protocol, section.mid
        );
    }
    let _ = write!(
        text,
        "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
        local.ice.ufrag, local.ice.password
    );
    for candidate in local.candidates {
        let _ = write!(text, "a={candidate}\r\n");
    }
    text.push_str("a=end-of-candidates\r\n");
    text
}
