//! Writes descriptions: what answers and offers have in common.

use std::fmt::Write as _;
use std::sync::Arc;

use schalter_transport::{Fingerprint, LocalIce};

use super::candidate::Candidate;
use super::codec::CodecSet;
use super::description::Direction;
use super::media::{CONGESTION_FEEDBACK, SendTrack};

/// Our side of a connection, as descriptions state it.
#[derive(Clone, Copy, Debug)]
pub struct LocalDescription<'a> {
    /// Session id of the `o=` line, the same as long as the connection lives. Its top bit is not used.
    pub session_id: u64,
    /// Version of the `o=` line, rising with each description.
    pub version: u64,
    /// Our credentials.
    pub ice: &'a LocalIce,
    /// All our candidates.
    pub candidates: &'a [Candidate],
    /// The certificates that the transport may show, the likeliest first.
    pub fingerprints: &'a [Fingerprint],
    /// The codecs that are switched on.
    pub codecs: CodecSet,
    /// Longest data channel message that we take, in bytes.
    pub max_message_size: u32,
}

/// Which side of the offer/answer exchange a description is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Offer,
    Answer,
}

/// A format as it is written.
pub(super) struct Format {
    pub(super) payload_type: u8,
    pub(super) map: String,
    pub(super) parameters: Option<String>,
    pub(super) feedback: Vec<Arc<str>>,
}

/// A header extension as it is written.
pub(super) struct Extmap<'a> {
    pub(super) id: u8,
    pub(super) direction: Option<Direction>,
    pub(super) uri: &'a str,
}

/// A section as it is written.
pub(super) struct Section<'a> {
    /// `audio`, `video`.
    pub(super) media: &'a str,
    pub(super) protocol: &'a str,
    pub(super) mid: &'a str,
    pub(super) direction: Direction,
    pub(super) formats: Vec<Format>,
    pub(super) extensions: Vec<Extmap<'a>>,
    pub(super) rids: Vec<Arc<str>>,
    pub(super) track: Option<&'a SendTrack>,
    /// Whether the formats include retransmission.
    pub(super) rtx: bool,
    /// Whether feedback by stream (RFC 8888) is offered or agreed to.
    pub(super) congestion_feedback: bool,
}

/// A description in the making.
pub(super) struct Writer<'a> {
    local: &'a LocalDescription<'a>,
    role: Role,
    text: String,
    /// Candidates and further fingerprints stand in the first section only: BUNDLE makes them everyone's.
    first_written: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        local: &'a LocalDescription<'a>,
        role: Role,
        bundle: &[&str],
        extmap_allow_mixed: bool,
    ) -> Self {
        let mut writer = Self {
            local,
            role,
            text: String::with_capacity(4096),
            first_written: false,
        };
        // Chromium reads the id as a signed number (RFC 8829 §5.2.1 asks for 63 bits).
        let session_id = local.session_id & (u64::MAX >> 1);
        writer.line(format_args!("v=0"));
        writer.line(format_args!(
            "o=- {session_id} {} IN IP4 0.0.0.0",
            local.version
        ));
        writer.line(format_args!("s=-"));
        writer.line(format_args!("t=0 0"));
        if !bundle.is_empty() {
            writer.line(format_args!("a=group:BUNDLE {}", bundle.join(" ")));
        }
        writer.line(format_args!("a=ice-lite"));
        writer.line(format_args!("a=msid-semantic:WMS *"));
        // One only: libwebrtc refuses a description with a second one on this level.
        if let Some(fingerprint) = local.fingerprints.first() {
            writer.line(format_args!("a=fingerprint:{fingerprint}"));
        }
        if extmap_allow_mixed {
            writer.line(format_args!("a=extmap-allow-mixed"));
        }
        writer
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    pub(super) fn rejected(&mut self, media: &str, protocol: &str, formats: &str, mid: &str) {
        self.line(format_args!("m={media} 0 {protocol} {formats}"));
        self.line(format_args!("c=IN IP4 0.0.0.0"));
        self.line(format_args!("a=mid:{mid}"));
        self.line(format_args!("a=inactive"));
    }

    pub(super) fn data(&mut self, protocol: &str, mid: &str) {
        self.line(format_args!(
            "m=application 9 {protocol} webrtc-datachannel"
        ));
        self.line(format_args!("c=IN IP4 0.0.0.0"));
        self.transport(mid);
        self.line(format_args!("a=sctp-port:5000"));
        let size = self.local.max_message_size;
        self.line(format_args!("a=max-message-size:{size}"));
    }

    pub(super) fn section(&mut self, section: &Section<'_>) {
        let mut formats = String::new();
        for format in &section.formats {
            let _ = write!(formats, " {}", format.payload_type);
        }
        self.line(format_args!(
            "m={} 9 {}{formats}",
            section.media, section.protocol
        ));
        self.line(format_args!("c=IN IP4 0.0.0.0"));
        self.line(format_args!("a=rtcp:9 IN IP4 0.0.0.0"));
        self.transport(section.mid);
        self.line(format_args!("a={}", section.direction.as_str()));
        self.line(format_args!("a=rtcp-mux"));
        self.line(format_args!("a=rtcp-rsize"));
        for format in &section.formats {
            self.format(format);
        }
        if section.congestion_feedback {
            self.line(format_args!("a=rtcp-fb:* {CONGESTION_FEEDBACK}"));
        }
        for Extmap { id, direction, uri } in &section.extensions {
            match direction {
                Some(direction) => {
                    self.line(format_args!("a=extmap:{id}/{} {uri}", direction.as_str()));
                }
                None => self.line(format_args!("a=extmap:{id} {uri}")),
            }
        }
        if let Some(track) = section.track {
            self.track(track, section.rtx);
        }
        for rid in &section.rids {
            self.line(format_args!("a=rid:{rid} recv"));
        }
        if section.rids.len() > 1 {
            self.line(format_args!("a=simulcast:recv {}", section.rids.join(";")));
        }
    }

    fn transport(&mut self, mid: &str) {
        let local = self.local;
        self.line(format_args!("a=mid:{mid}"));
        self.line(format_args!("a=ice-ufrag:{}", local.ice.ufrag));
        self.line(format_args!("a=ice-pwd:{}", local.ice.password));
        // We are the DTLS server always; an offer must leave the choice, and clients choose `active` (RFC 8842 §5.3).
        self.line(format_args!(
            "a=setup:{}",
            match self.role {
                Role::Offer => "actpass",
                Role::Answer => "passive",
            }
        ));
        if !self.first_written {
            self.first_written = true;
            self.further_fingerprints();
            for candidate in local.candidates {
                self.line(format_args!("a={candidate}"));
            }
            self.line(format_args!("a=end-of-candidates"));
        }
    }

    /// All fingerprints where the bundle's transport is described (RFC 8122 §5: any of them may be the one). libwebrtc knows
    /// only the last of a section and pion only the first, so the likeliest certificate's encloses the others.
    fn further_fingerprints(&mut self) {
        let [likeliest, others @ ..] = self.local.fingerprints else {
            return;
        };
        if others.is_empty() {
            return;
        }
        for fingerprint in [likeliest].into_iter().chain(others).chain([likeliest]) {
            self.line(format_args!("a=fingerprint:{fingerprint}"));
        }
    }

    fn format(&mut self, format: &Format) {
        let payload_type = format.payload_type;
        self.line(format_args!("a=rtpmap:{payload_type} {}", format.map));
        if let Some(parameters) = &format.parameters {
            self.line(format_args!("a=fmtp:{payload_type} {parameters}"));
        }
        for feedback in &format.feedback {
            self.line(format_args!("a=rtcp-fb:{payload_type} {feedback}"));
        }
    }

    fn track(&mut self, track: &SendTrack, rtx: bool) {
        let SendTrack {
            stream_id,
            track_id,
            cname,
            ..
        } = track;
        self.line(format_args!("a=msid:{stream_id} {track_id}"));
        let rtx_ssrc = track.rtx_ssrc.filter(|_| rtx);
        if let Some(rtx) = rtx_ssrc {
            self.line(format_args!("a=ssrc-group:FID {} {rtx}", track.ssrc));
        }
        for ssrc in [Some(track.ssrc), rtx_ssrc].into_iter().flatten() {
            self.line(format_args!("a=ssrc:{ssrc} cname:{cname}"));
            self.line(format_args!("a=ssrc:{ssrc} msid:{stream_id} {track_id}"));
            self.line(format_args!("a=ssrc:{ssrc} mslabel:{stream_id}"));
            self.line(format_args!("a=ssrc:{ssrc} label:{track_id}"));
        }
    }

    /// Everything that the peer or the caller puts in passes here: a line is one line, whatever it holds.
    fn line(&mut self, content: std::fmt::Arguments<'_>) {
        let start = self.text.len();
        let _ = self.text.write_fmt(content);
        if self.text[start..].contains(char::is_control) {
            let clean = self.text[start..].replace(char::is_control, "");
            self.text.replace_range(start.., &clean);
        }
        self.text.push_str("\r\n");
    }
}
