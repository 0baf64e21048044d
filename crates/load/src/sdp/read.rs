//! Reads the few lines of a server's description that matter.

use std::net::SocketAddr;

use schalter_transport::Fingerprint;

use super::{
    Direction, Setup, URI_ABS_SEND_TIME, URI_AUDIO_LEVEL, URI_DEPENDENCY_DESCRIPTOR, URI_MID,
    URI_TRANSPORT_CC,
};
use crate::client::IceCredentials;
use crate::error::LoadError;
use crate::feed::extension;
use crate::probe::Kind;

/// What matters of a server's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its ICE credentials.
    pub ice: IceCredentials,
    /// Its certificates.
    pub fingerprints: Vec<Fingerprint>,
    /// Its DTLS role, as it wrote it.
    pub setup: Setup,
    /// Its UDP candidates, best first as it listed them.
    pub candidates: Vec<SocketAddr>,
    /// Its sections.
    pub sections: Vec<RemoteSection>,
}

/// One of a server's sections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSection {
    /// Sound or pictures; `None` for data channels.
    pub kind: Option<Kind>,
    /// The `m=` line's protocol.
    pub protocol: String,
    /// The `m=` line's formats.
    pub formats: Vec<String>,
    /// `a=mid`.
    pub mid: String,
    /// Which way media flows, as the server sees it.
    pub direction: Direction,
    /// Whether it was refused (port 0).
    pub rejected: bool,
    /// `a=rtpmap` and `a=fmtp` lines, as they stand.
    pub codec_lines: Vec<String>,
    /// Extension URIs that are in use.
    pub extensions: Vec<(u8, String)>,
}

impl RemoteSection {
    /// Whether the server takes (or sends) this extension under this id.
    pub fn has_extension(&self, id: u8) -> bool {
        let uri = match id {
            extension::AUDIO_LEVEL => URI_AUDIO_LEVEL,
            extension::ABS_SEND_TIME => URI_ABS_SEND_TIME,
            extension::TRANSPORT_CC => URI_TRANSPORT_CC,
            extension::MID => URI_MID,
            extension::DEPENDENCY_DESCRIPTOR => URI_DEPENDENCY_DESCRIPTOR,
            _ => return false,
        };
        self.extensions
            .iter()
            .any(|(theirs, name)| *theirs == id && name == uri)
    }
}

fn missing(what: &str) -> LoadError {
    LoadError::Sdp(format!("the server's description has no {what}"))
}

/// Reads a server's description.
///
/// # Errors
/// [`LoadError::Sdp`] when credentials, fingerprint or DTLS role are missing.
pub fn read(sdp: &str) -> Result<Remote, LoadError> {
    let mut sections: Vec<RemoteSection> = Vec::new();
    let (mut ufrag, mut password, mut setup) = (None, None, None);
    let mut fingerprints = Vec::new();
    let mut candidates = Vec::new();
    let mut session_direction = Direction::SendRecv;
    for line in sdp.lines().map(str::trim_end) {
        if let Some(media) = line.strip_prefix("m=") {
            sections.push(read_media(media, session_direction)?);
            continue;
        }
        let Some(attribute) = line.strip_prefix("a=") else {
            continue;
        };
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        let direction = match name {
            "sendonly" => Some(Direction::SendOnly),
            "recvonly" => Some(Direction::RecvOnly),
            "sendrecv" => Some(Direction::SendRecv),
            "inactive" => Some(Direction::Inactive),
            _ => None,
        };
        if let Some(direction) = direction {
            *sections
                .last_mut()
                .map_or(&mut session_direction, |s| &mut s.direction) = direction;
            continue;
        }
        match name {
            // Bundled: every section says the same.
            "ice-ufrag" => ufrag = ufrag.or(Some(value)),
            "ice-pwd" => password = password.or(Some(value)),
            "setup" => setup = setup.or(read_setup(value)),
            "fingerprint" => {
                if let Ok(fingerprint) = Fingerprint::parse(value)
                    && !fingerprints.contains(&fingerprint)
                {
                    fingerprints.push(fingerprint);
                }
            }
            "candidate" => {
                if let Some(candidate) = read_candidate(value)
                    && !candidates.contains(&candidate)
                {
                    candidates.push(candidate);
                }
            }
            "mid" => {
                if let Some(section) = sections.last_mut() {
                    section.mid = value.to_owned();
                }
            }
            "rtpmap" | "fmtp" => {
                if let Some(section) = sections.last_mut() {
                    section.codec_lines.push(line.to_owned());
                }
            }
            "extmap" => {
                if let Some(section) = sections.last_mut()
                    && let Some((id, uri)) = value.split_once(' ')
                    && let Ok(id) = id.split('/').next().unwrap_or(id).parse()
                {
                    section
                        .extensions
                        .push((id, uri.split(' ').next().unwrap_or(uri).to_owned()));
                }
            }
            _ => {}
        }
    }
    let ice = IceCredentials {
        ufrag: ufrag.ok_or_else(|| missing("ice-ufrag"))?.to_owned(),
        password: password.ok_or_else(|| missing("ice-pwd"))?.to_owned(),
    };
    if fingerprints.is_empty() {
        return Err(missing("usable fingerprint"));
    }
    Ok(Remote {
        ice,
        fingerprints,
        setup: setup.ok_or_else(|| missing("setup"))?,
        candidates,
        sections,
    })
}

fn read_setup(value: &str) -> Option<Setup> {
    match value {
        "actpass" => Some(Setup::ActPass),
        "active" => Some(Setup::Active),
        "passive" => Some(Setup::Passive),
        _ => None,
    }
}

fn read_media(line: &str, direction: Direction) -> Result<RemoteSection, LoadError> {
    let mut fields = line.split_ascii_whitespace();
    let (Some(kind), Some(port), Some(protocol)) = (fields.next(), fields.next(), fields.next())
    else {
        return Err(LoadError::Sdp(format!("unreadable section m={line}")));
    };
    Ok(RemoteSection {
        kind: match kind {
            "audio" => Some(Kind::Audio),
            "video" => Some(Kind::Video),
            _ => None,
        },
        protocol: protocol.to_owned(),
        formats: fields.map(str::to_owned).collect(),
        mid: String::new(),
        direction,
        rejected: port == "0",
        codec_lines: Vec::new(),
        extensions: Vec::new(),
    })
}

/// The address of a UDP candidate, `a=candidate:` stripped or not; `None` for TCP, names and other components.
pub fn read_candidate(value: &str) -> Option<SocketAddr> {
    let mut fields = value
        .trim_start_matches("candidate:")
        .split_ascii_whitespace();
    let component = fields.nth(1)?;
    let protocol = fields.next()?;
    let address = fields.nth(1)?.parse().ok()?;
    let port = fields.next()?.parse().ok()?;
    (component == "1" && protocol.eq_ignore_ascii_case("udp"))
        .then(|| SocketAddr::new(address, port))
}
