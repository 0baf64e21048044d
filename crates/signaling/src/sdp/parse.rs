//! Reads the lines of a description into types (RFC 8866 §9), within limits.
//!
//! Lenient where clients differ (line ends, unknown attributes, attributes of unknown payload types), strict where a
//! misreading would mix up streams (duplicate mids, bad numbers in what we use).

use std::collections::HashSet;
use std::sync::Arc;

use schalter_transport::Fingerprint;

use super::description::{
    Direction, HeaderExtension, MediaSection, Msid, PayloadFormat, Rid, SectionKind,
    SessionDescription, Setup, SsrcGroup, SsrcSource, TransportAttributes,
};

/// Bounds on what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest description, in bytes.
    pub max_bytes: usize,
    /// Most lines.
    pub max_lines: usize,
    /// Most media sections.
    pub max_sections: usize,
}

impl Limits {
    /// A Chromium section takes 2.5 kB: room for about a hundred of them.
    pub const MAX_BYTES: usize = 256 * 1024;
    /// Lines have some 25 bytes.
    pub const MAX_LINES: usize = 16_384;
    /// A hundred others with sound and pictures.
    pub const MAX_SECTIONS: usize = 200;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: Self::MAX_BYTES,
            max_lines: Self::MAX_LINES,
            max_sections: Self::MAX_SECTIONS,
        }
    }
}

/// Bounds within one section. Beyond them lines are ignored: no client comes near, and what is used comes first.
const MAX_PER_SECTION: usize = 64;
/// Feedback values of one payload type.
const MAX_FEEDBACK: usize = 16;
/// Longest mid; it must fit a one-byte header extension's 16 bytes, but peers may have their own ideas.
const MAX_MID_LEN: usize = 64;

/// Why a description can't be used, and in which line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("session description, line {line}: {problem}")]
pub struct SdpError {
    /// Counts from 1; 0 where no single line is to blame.
    pub line: usize,
    /// What is wrong.
    pub problem: SdpProblem,
}

impl SdpError {
    pub(super) const fn whole(problem: SdpProblem) -> Self {
        Self { line: 0, problem }
    }
}

/// What is wrong with a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SdpProblem {
    /// Longer than [`Limits::max_bytes`].
    #[error("too long")]
    TooLong,
    /// More than [`Limits::max_lines`].
    #[error("too many lines")]
    TooManyLines,
    /// More than [`Limits::max_sections`].
    #[error("too many media sections")]
    TooManySections,
    /// Does not start with `v=0`.
    #[error("does not start with v=0")]
    NotSdp,
    /// Not `<letter>=<value>`, or with control characters in it.
    #[error("not a line of a session description")]
    BadLine,
    /// An m-line that can't be read.
    #[error("unreadable media line")]
    BadMediaLine,
    /// An attribute that can't be read.
    #[error("unreadable attribute")]
    BadAttribute,
    /// A section without `a=mid`.
    #[error("media section without mid")]
    NoMid,
    /// Two sections with one mid.
    #[error("mid used twice")]
    DuplicateMid,
    /// No `a=ice-ufrag` where one is needed.
    #[error("no ICE credentials")]
    NoIceCredentials,
    /// No `a=fingerprint` with a hash that we know.
    #[error("no usable certificate fingerprint")]
    NoFingerprint,
    /// The peer wants to be the DTLS server, as we do.
    #[error("the peer must be the DTLS client")]
    DtlsRole,
    /// No section that we could serve.
    #[error("no usable media section")]
    NothingUsable,
}

impl SessionDescription {
    /// Reads a description.
    ///
    /// # Errors
    /// [`SdpError`] with the line that can't be used.
    pub fn parse(text: &str, limits: &Limits) -> Result<Self, SdpError> {
        if text.len() > limits.max_bytes {
            return Err(SdpError::whole(SdpProblem::TooLong));
        }
        let mut parser = Parser::default();
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
            if content.chars().any(char::is_control) {
                return Err(fail(SdpProblem::BadLine));
            }
            if !parser.started {
                if content != "v=0" {
                    return Err(fail(SdpProblem::NotSdp));
                }
                parser.started = true;
                continue;
            }
            parser.line(content, line, limits).map_err(fail)?;
        }
        if !parser.started {
            return Err(SdpError::whole(SdpProblem::NotSdp));
        }
        parser.close_section()?;
        Ok(parser.description)
    }
}

#[derive(Default)]
struct Parser {
    started: bool,
    description: SessionDescription,
    mids: HashSet<Arc<str>>,
    /// What sections that name no direction have (RFC 8866 §6.7).
    direction: Direction,
    current: Option<Section>,
}

/// A section under construction.
struct Section {
    line: usize,
    media: MediaSection,
    /// `a=rtcp-fb:*`, applied at the end.
    wildcard_feedback: Vec<Arc<str>>,
}

impl Parser {
    fn line(&mut self, content: &str, line: usize, limits: &Limits) -> Result<(), SdpProblem> {
        let (kind, value) = content.split_once('=').ok_or(SdpProblem::BadLine)?;
        match kind {
            "m" => {
                self.close_section().map_err(|error| error.problem)?;
                if self.description.sections.len() >= limits.max_sections {
                    return Err(SdpProblem::TooManySections);
                }
                let mut media = media_line(value)?;
                media.direction = self.direction;
                self.current = Some(Section {
                    line,
                    media,
                    wildcard_feedback: Vec::new(),
                });
                Ok(())
            }
            "a" => {
                let (name, value) = value.split_once(':').unwrap_or((value, ""));
                match &mut self.current {
                    Some(section) => section.attribute(name, value.trim()),
                    None => match Direction::parse(name) {
                        Some(direction) => {
                            self.direction = direction;
                            Ok(())
                        }
                        None => {
                            session_attribute(&mut self.description, name, value.trim(), limits)
                        }
                    },
                }
            }
            // Origin, name, connection, bandwidth, time and the rest say nothing that WebRTC uses.
            _ if kind.len() == 1 && kind.as_bytes()[0].is_ascii_lowercase() => Ok(()),
            _ => Err(SdpProblem::BadLine),
        }
    }

    fn close_section(&mut self) -> Result<(), SdpError> {
        let Some(section) = self.current.take() else {
            return Ok(());
        };
        let Section {
            line,
            mut media,
            wildcard_feedback,
        } = section;
        let fail = |problem| SdpError { line, problem };
        if media.mid.is_empty() {
            return Err(fail(SdpProblem::NoMid));
        }
        if !self.mids.insert(Arc::clone(&media.mid)) {
            return Err(fail(SdpProblem::DuplicateMid));
        }
        for format in &mut media.formats {
            format.feedback.extend(wildcard_feedback.iter().cloned());
        }
        self.description.sections.push(media);
        Ok(())
    }
}

fn session_attribute(
    description: &mut SessionDescription,
    name: &str,
    value: &str,
    limits: &Limits,
) -> Result<(), SdpProblem> {
    match name {
        "ice-lite" => description.ice_lite = true,
        "extmap-allow-mixed" => description.extmap_allow_mixed = true,
        "group" => {
            let mut words = value.split_ascii_whitespace();
            // A second BUNDLE group would be a second transport; its sections count as outside of ours.
            if words.next() == Some("BUNDLE") && description.bundle.is_none() {
                description.bundle = Some(words.take(limits.max_sections).map(Arc::from).collect());
            }
        }
        _ => {
            description.transport.read(name, value)?;
        }
    }
    Ok(())
}

impl TransportAttributes {
    /// Takes an attribute if it is one of these.
    fn read(&mut self, name: &str, value: &str) -> Result<(), SdpProblem> {
        match name {
            "ice-ufrag" => self.ice_ufrag = Some(ice_text(value, 4)?),
            "ice-pwd" => self.ice_pwd = Some(ice_text(value, 22)?),
            "ice-options" => {
                self.trickle = value.split_ascii_whitespace().any(|word| word == "trickle");
            }
            "setup" => {
                self.setup = Some(match value {
                    "active" => Setup::Active,
                    "passive" => Setup::Passive,
                    "actpass" => Setup::ActPass,
                    "holdconn" => Setup::HoldConn,
                    _ => return Err(SdpProblem::BadAttribute),
                });
            }
            "fingerprint" => {
                // Several hashes of one certificate may be given; those we don't know are no reason to refuse.
                if let Ok(fingerprint) = Fingerprint::parse(value)
                    && self.fingerprints.len() < MAX_PER_SECTION
                {
                    self.fingerprints.push(fingerprint);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// RFC 8839 §5.4: at most 256 characters of a small alphabet. Stray characters other than blanks are let through.
pub(super) fn ice_text(value: &str, min: usize) -> Result<Arc<str>, SdpProblem> {
    let plain = value.bytes().all(|b| b.is_ascii_graphic());
    if plain && (min..=256).contains(&value.len()) {
        Ok(value.into())
    } else {
        Err(SdpProblem::BadAttribute)
    }
}

fn media_line(value: &str) -> Result<MediaSection, SdpProblem> {
    let mut words = value.splitn(4, ' ');
    let mut word = || words.next().filter(|w| !w.is_empty());
    let bad = SdpProblem::BadMediaLine;
    let (media, port, protocol, format_list) = (
        word().ok_or(bad)?,
        word().ok_or(bad)?,
        word().ok_or(bad)?,
        word().ok_or(bad)?,
    );
    // `<port>/<number of ports>` is legal, if unheard of.
    let port = port.split('/').next().unwrap_or(port);
    let port = port.parse().map_err(|_| bad)?;
    let kind = match media {
        "audio" => SectionKind::Audio,
        "video" => SectionKind::Video,
        "application" if protocol.contains("SCTP") => SectionKind::Data,
        other => SectionKind::Other(other.into()),
    };
    let mut formats: Vec<PayloadFormat> = Vec::new();
    if matches!(kind, SectionKind::Audio | SectionKind::Video) {
        for word in format_list.split_ascii_whitespace() {
            let payload_type: u8 = word.parse().map_err(|_| bad)?;
            if payload_type > 127 {
                return Err(bad);
            }
            if formats.iter().all(|f| f.payload_type != payload_type) {
                formats.push(PayloadFormat {
                    payload_type,
                    name: "".into(),
                    clock_rate: 0,
                    channels: None,
                    parameters: None,
                    feedback: Vec::new(),
                });
            }
        }
    }
    Ok(MediaSection {
        kind,
        port,
        protocol: protocol.into(),
        format_list: format_list.into(),
        mid: "".into(),
        direction: Direction::default(),
        bundle_only: false,
        rtcp_mux: false,
        rtcp_rsize: false,
        transport: TransportAttributes::default(),
        formats,
        extensions: Vec::new(),
        rids: Vec::new(),
        simulcast_send: Vec::new(),
        simulcast_recv: Vec::new(),
        msid: None,
        ssrcs: Vec::new(),
        ssrc_groups: Vec::new(),
        sctp_port: None,
        max_message_size: None,
    })
}

impl Section {
    fn attribute(&mut self, name: &str, value: &str) -> Result<(), SdpProblem> {
        let bad = SdpProblem::BadAttribute;
        let media = &mut self.media;
        match name {
            "mid" => {
                if value.is_empty() || value.len() > MAX_MID_LEN || value.contains(' ') {
                    return Err(bad);
                }
                media.mid = value.into();
            }
            "bundle-only" => media.bundle_only = true,
            "rtcp-mux" => media.rtcp_mux = true,
            "rtcp-rsize" => media.rtcp_rsize = true,
            "sctp-port" => media.sctp_port = Some(value.parse().map_err(|_| bad)?),
            "max-message-size" => media.max_message_size = Some(value.parse().map_err(|_| bad)?),
            "rtpmap" => rtpmap(media, value)?,
            "fmtp" => {
                if let Some((format, rest)) = of_format(media, value)? {
                    format.parameters = Some(rest.into());
                }
            }
            "rtcp-fb" => self.feedback(value)?,
            "extmap" => extmap(media, value)?,
            "rid" => rid(media, value)?,
            "simulcast" => simulcast(media, value),
            "msid" => media.msid = Some(msid(value).ok_or(bad)?),
            "ssrc" => ssrc(media, value)?,
            "ssrc-group" => ssrc_group(media, value)?,
            _ => match Direction::parse(name) {
                Some(direction) => media.direction = direction,
                None => media.transport.read(name, value)?,
            },
        }
        Ok(())
    }

    fn feedback(&mut self, value: &str) -> Result<(), SdpProblem> {
        if let Some(rest) = value.strip_prefix("* ") {
            if self.wildcard_feedback.len() < MAX_FEEDBACK {
                self.wildcard_feedback.push(rest.trim().into());
            }
        } else if let Some((format, rest)) = of_format(&mut self.media, value)?
            && format.feedback.len() < MAX_FEEDBACK
        {
            format.feedback.push(rest.into());
        }
        Ok(())
    }
}

/// Splits `<payload type> <rest>` and finds the format; `None` for one that the m-line doesn't name.
fn of_format<'a, 'b>(
    media: &'a mut MediaSection,
    value: &'b str,
) -> Result<Option<(&'a mut PayloadFormat, &'b str)>, SdpProblem> {
    let (number, rest) = value.split_once(' ').ok_or(SdpProblem::BadAttribute)?;
    let Ok(payload_type) = number.parse::<u8>() else {
        // Data sections of older clients have `a=fmtp:webrtc-datachannel`.
        return Ok(None);
    };
    let format = media
        .formats
        .iter_mut()
        .find(|format| format.payload_type == payload_type);
    Ok(format.map(|format| (format, rest.trim())))
}

fn rtpmap(media: &mut MediaSection, value: &str) -> Result<(), SdpProblem> {
    let Some((format, rest)) = of_format(media, value)? else {
        return Ok(());
    };
    let mut parts = rest.split('/');
    let name = parts.next().filter(|name| !name.is_empty());
    format.name = name.ok_or(SdpProblem::BadAttribute)?.into();
    format.clock_rate = parts
        .next()
        .and_then(|rate| rate.parse().ok())
        .ok_or(SdpProblem::BadAttribute)?;
    format.channels = parts.next().and_then(|channels| channels.parse().ok());
    Ok(())
}

fn extmap(media: &mut MediaSection, value: &str) -> Result<(), SdpProblem> {
    let mut words = value.split_ascii_whitespace();
    let (Some(head), Some(uri)) = (words.next(), words.next()) else {
        return Err(SdpProblem::BadAttribute);
    };
    let (id, direction) = match head.split_once('/') {
        Some((id, direction)) => (
            id,
            Some(Direction::parse(direction).ok_or(SdpProblem::BadAttribute)?),
        ),
        None => (head, None),
    };
    let id = id.parse().map_err(|_| SdpProblem::BadAttribute)?;
    if media.extensions.len() < MAX_PER_SECTION {
        media.extensions.push(HeaderExtension {
            id,
            direction,
            uri: uri.into(),
        });
    }
    Ok(())
}

/// RFC 8851 §10: letters, digits, `-` and `_`.
fn is_rid(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=255).contains(&text.len()) && text.bytes().all(legal)
}

fn rid(media: &mut MediaSection, value: &str) -> Result<(), SdpProblem> {
    let mut words = value.split_ascii_whitespace();
    let (Some(id), Some(direction)) = (words.next(), words.next()) else {
        return Err(SdpProblem::BadAttribute);
    };
    if !is_rid(id) {
        return Err(SdpProblem::BadAttribute);
    }
    if media.rids.len() < MAX_PER_SECTION && media.rids.iter().all(|rid| &*rid.id != id) {
        media.rids.push(Rid {
            id: id.into(),
            send: direction == "send",
        });
    }
    Ok(())
}

fn simulcast(media: &mut MediaSection, value: &str) {
    let mut words = value.split_ascii_whitespace();
    while let (Some(direction), Some(list)) = (words.next(), words.next()) {
        // `;` separates streams, `,` alternatives of one; `~` marks it as paused for now.
        let ids = list
            .split(';')
            .filter_map(|stream| stream.split(',').next())
            .map(|id| id.strip_prefix('~').unwrap_or(id))
            .filter(|id| is_rid(id))
            .take(MAX_PER_SECTION)
            .map(Arc::from)
            .collect();
        match direction {
            "send" => media.simulcast_send = ids,
            "recv" => media.simulcast_recv = ids,
            _ => {}
        }
    }
}

fn msid(value: &str) -> Option<Msid> {
    let mut words = value.split_ascii_whitespace();
    Some(Msid {
        stream: words.next()?.into(),
        track: words.next().map(Arc::from),
    })
}

fn ssrc(media: &mut MediaSection, value: &str) -> Result<(), SdpProblem> {
    let (number, rest) = value.split_once(' ').unwrap_or((value, ""));
    let ssrc = number.parse().map_err(|_| SdpProblem::BadAttribute)?;
    let known = media.ssrcs.iter().position(|source| source.ssrc == ssrc);
    let source = match known {
        Some(index) => &mut media.ssrcs[index],
        None if media.ssrcs.len() < MAX_PER_SECTION => {
            media.ssrcs.push(SsrcSource {
                ssrc,
                cname: None,
                msid: None,
            });
            media.ssrcs.last_mut().expect("pushed the line before")
        }
        None => return Ok(()),
    };
    match rest.split_once(':') {
        Some(("cname", cname)) => source.cname = Some(cname.into()),
        Some(("msid", value)) => source.msid = msid(value),
        _ => {}
    }
    Ok(())
}

fn ssrc_group(media: &mut MediaSection, value: &str) -> Result<(), SdpProblem> {
    let mut words = value.split_ascii_whitespace();
    let semantics = words.next().ok_or(SdpProblem::BadAttribute)?.into();
    let ssrcs = words
        .take(MAX_PER_SECTION)
        .map(str::parse)
        .collect::<Result<Vec<u32>, _>>()
        .map_err(|_| SdpProblem::BadAttribute)?;
    if media.ssrc_groups.len() < MAX_PER_SECTION {
        media.ssrc_groups.push(SsrcGroup { semantics, ssrcs });
    }
    Ok(())
}
