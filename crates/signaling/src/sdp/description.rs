//! What a session description says, typed. Unknown attributes are not kept.

use std::sync::Arc;

use schalter_transport::Fingerprint;

/// A parsed description, offer or answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionDescription {
    /// `a=ice-lite`.
    pub ice_lite: bool,
    /// `a=extmap-allow-mixed` at session level.
    pub extmap_allow_mixed: bool,
    /// The mids of `a=group:BUNDLE` (RFC 9143); `None` without the attribute.
    pub bundle: Option<Vec<Arc<str>>>,
    /// Attributes that hold for every section that doesn't say otherwise.
    pub transport: TransportAttributes,
    /// The media sections in their order.
    pub sections: Vec<MediaSection>,
}

/// ICE and DTLS attributes, at session or media level.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TransportAttributes {
    /// `a=ice-ufrag`.
    pub ice_ufrag: Option<Arc<str>>,
    /// `a=ice-pwd`; a secret.
    pub ice_pwd: Option<Arc<str>>,
    /// `a=fingerprint`, those with a hash that we know.
    pub fingerprints: Vec<Fingerprint>,
    /// `a=setup`.
    pub setup: Option<Setup>,
    /// `a=ice-options` names trickle (RFC 8838).
    pub trickle: bool,
}

impl std::fmt::Debug for TransportAttributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransportAttributes")
            .field("ice_ufrag", &self.ice_ufrag)
            .field("fingerprints", &self.fingerprints)
            .field("setup", &self.setup)
            .field("trickle", &self.trickle)
            .finish_non_exhaustive()
    }
}

/// `a=setup` (RFC 8842 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// DTLS client.
    Active,
    /// DTLS server.
    Passive,
    /// Either.
    ActPass,
    /// Neither, for now.
    HoldConn,
}

/// The media type of an m-line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// `audio`.
    Audio,
    /// `video`.
    Video,
    /// `application` with data channels (RFC 8841).
    Data,
    /// Anything else: refused in answers under its own name.
    Other(Arc<str>),
}

/// Which way media flows, seen from the description's author (RFC 8866 §6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// The author sends.
    SendOnly,
    /// The author receives.
    RecvOnly,
    /// Nothing flows.
    Inactive,
}

impl Direction {
    /// Whether the author sends.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the author receives.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same seen from the other side.
    pub const fn reversed(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            Self::SendRecv | Self::Inactive => self,
        }
    }

    /// The attribute's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [
            Self::SendRecv,
            Self::SendOnly,
            Self::RecvOnly,
            Self::Inactive,
        ]
        .into_iter()
        .find(|direction| direction.as_str() == text)
    }
}

/// One m-line with its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaSection {
    /// The media type.
    pub kind: SectionKind,
    /// The port; 0 means rejected unless [`Self::bundle_only`].
    pub port: u16,
    /// The transport protocol, e.g. `UDP/TLS/RTP/SAVPF`.
    pub protocol: Arc<str>,
    /// The rest of the m-line: payload types, or `webrtc-datachannel`.
    pub format_list: Arc<str>,
    /// `a=mid`.
    pub mid: Arc<str>,
    /// Direction.
    pub direction: Direction,
    /// `a=bundle-only`.
    pub bundle_only: bool,
    /// `a=rtcp-mux`.
    pub rtcp_mux: bool,
    /// `a=rtcp-rsize`.
    pub rtcp_rsize: bool,
    /// ICE and DTLS attributes of this section.
    pub transport: TransportAttributes,
    /// Payload types of the m-line with what the attributes say of them, in the author's order of preference.
    pub formats: Vec<PayloadFormat>,
    /// `a=extmap`.
    pub extensions: Vec<HeaderExtension>,
    /// `a=rid` (RFC 8851).
    pub rids: Vec<Rid>,
    /// Stream ids of `a=simulcast:send` (RFC 8853), first alternatives only; empty without the attribute.
    pub simulcast_send: Vec<Arc<str>>,
    /// Stream ids of `a=simulcast:recv`, likewise.
    pub simulcast_recv: Vec<Arc<str>>,
    /// `a=msid` (RFC 8830).
    pub msid: Option<Msid>,
    /// The SSRCs that `a=ssrc` names (RFC 5576), in order of appearance.
    pub ssrcs: Vec<SsrcSource>,
    /// `a=ssrc-group`.
    pub ssrc_groups: Vec<SsrcGroup>,
    /// `a=sctp-port` (RFC 8841).
    pub sctp_port: Option<u16>,
    /// `a=max-message-size` in bytes.
    pub max_message_size: Option<u64>,
}

/// One payload type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadFormat {
    /// 0–127.
    pub payload_type: u8,
    /// Encoding name of `a=rtpmap`, as spelled; empty if there is none.
    pub name: Arc<str>,
    /// Clock rate in Hz.
    pub clock_rate: u32,
    /// Channels, where named.
    pub channels: Option<u8>,
    /// Parameters of `a=fmtp`, as written.
    pub parameters: Option<Arc<str>>,
    /// Values of `a=rtcp-fb`, those for `*` included.
    pub feedback: Vec<Arc<str>>,
}

impl PayloadFormat {
    /// The value of one `name=value` parameter; names are compared without case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.as_deref()?.split(';').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// One `a=extmap` (RFC 8285 §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderExtension {
    /// Local identifier.
    pub id: u16,
    /// Restriction to one direction, seen from the author.
    pub direction: Option<Direction>,
    /// What it is.
    pub uri: Arc<str>,
}

/// One `a=rid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rid {
    /// Stream id.
    pub id: Arc<str>,
    /// `send`, else `recv`.
    pub send: bool,
}

/// `a=msid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Msid {
    /// Id of the stream; `-` for none.
    pub stream: Arc<str>,
    /// Id of the track, where given.
    pub track: Option<Arc<str>>,
}

/// One SSRC with what the description says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsrcSource {
    /// The SSRC.
    pub ssrc: u32,
    /// `cname`.
    pub cname: Option<Arc<str>>,
    /// `msid`, from clients that have no section-level one.
    pub msid: Option<Msid>,
}

/// One `a=ssrc-group` (RFC 5576 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsrcGroup {
    /// `FID`, `SIM`, …
    pub semantics: Arc<str>,
    /// The members in order.
    pub ssrcs: Vec<u32>,
}

impl SessionDescription {
    /// The section with this mid.
    pub fn section(&self, mid: &str) -> Option<&MediaSection> {
        self.sections.iter().find(|section| &*section.mid == mid)
    }

    /// Whether a section is in use: not rejected, and on the one transport that all share.
    pub fn is_usable(&self, section: &MediaSection) -> bool {
        if section.is_rejected() {
            return false;
        }
        match &self.bundle {
            Some(mids) => mids.contains(&section.mid),
            // Without BUNDLE each section has a transport of its own; the first one gets ours.
            None => self
                .sections
                .iter()
                .find(|other| !other.is_rejected())
                .is_some_and(|first| first.mid == section.mid),
        }
    }
}

impl MediaSection {
    /// Whether its author rejects or has ended it: port 0 (RFC 8829 §5.3.1), `bundle-only` aside.
    pub fn is_rejected(&self) -> bool {
        self.port == 0 && !self.bundle_only
    }

    /// The id that `a=msid` gives the track, from either place; LiveKit's clients put it into `add_track.cid`.
    pub fn track_id(&self) -> Option<&str> {
        self.any_msid()?.track.as_deref()
    }

    /// The id that `a=msid` gives the stream, from either place.
    pub fn stream_id(&self) -> Option<&str> {
        Some(&*self.any_msid()?.stream)
    }

    fn any_msid(&self) -> Option<&Msid> {
        let of_source = || self.ssrcs.iter().find_map(|source| source.msid.as_ref());
        self.msid.as_ref().or_else(of_source)
    }
}
