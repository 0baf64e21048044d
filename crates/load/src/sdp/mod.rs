//! As much SDP as a generator needs: offers and answers of our own, and the few lines of a server's that matter.

mod read;

use std::fmt::Write as _;
use std::net::SocketAddr;

use schalter_transport::Fingerprint;

use crate::client::IceCredentials;
use crate::feed::{FeedHeader, OPUS, StreamIds, extension};
use crate::format::{VIEWED, VP8_FORMAT, VideoFormat};
use crate::probe::Kind;

pub use read::{Remote, RemoteSection, read, read_candidate};

const URI_AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
const URI_ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
const URI_TRANSPORT_CC: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
const URI_MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const URI_DEPENDENCY_DESCRIPTOR: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// `a=setup` (RFC 8842 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// In offers: the other side chooses.
    ActPass,
    /// We are the DTLS client.
    Active,
    /// We would be the DTLS server.
    Passive,
}

impl Setup {
    fn as_str(self) -> &'static str {
        match self {
            Self::ActPass => "actpass",
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }
}

/// Which way media flows, as the SDP's author sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Out.
    SendOnly,
    /// In.
    RecvOnly,
    /// Both.
    SendRecv,
    /// Neither.
    Inactive,
}

impl Direction {
    fn as_str(self) -> &'static str {
        match self {
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::SendRecv => "sendrecv",
            Self::Inactive => "inactive",
        }
    }
}

/// One of our sections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// `a=mid`.
    pub mid: String,
    /// Sound or pictures.
    pub kind: Kind,
    /// What we publish in it; `None` to receive.
    pub send: Option<StreamIds>,
}

impl Section {
    /// The `MediaStreamTrack` id of what is published, which servers match with their own announcement.
    pub fn track_id(&self) -> Option<String> {
        let ids = self.send?;
        Some(match self.kind {
            Kind::Audio => format!("audio-{:08x}", ids.audio),
            Kind::Video => format!("video-{:08x}", ids.video),
        })
    }
}

/// What all sections of one description share.
#[derive(Clone, Debug)]
pub struct Local<'a> {
    /// Our credentials.
    pub ice: &'a IceCredentials,
    /// Our certificate.
    pub fingerprint: &'a Fingerprint,
    /// Our socket.
    pub candidate: SocketAddr,
    /// Our DTLS role.
    pub setup: Setup,
    /// Offer transport-wide congestion control in sections that receive.
    pub feedback: bool,
    /// Offer all that a viewer can tell whole frames of in sections that receive, not VP8 alone.
    pub views: bool,
}

fn put(out: &mut String, line: std::fmt::Arguments<'_>) {
    out.write_fmt(line)
        .and_then(|()| out.write_str("\r\n"))
        .expect("writing to a String can't fail");
}

/// Writes an offer with these sections, bundled.
pub fn write_offer(version: u64, local: &Local<'_>, sections: &[Section]) -> String {
    let mut out = String::new();
    write_session(&mut out, version, sections.iter().map(|s| s.mid.as_str()));
    for section in sections {
        let formats: &[VideoFormat] = match (section.kind, section.send) {
            (Kind::Audio, _) => &[],
            (Kind::Video, None) if local.views => &VIEWED,
            (Kind::Video, _) => &[VP8_FORMAT],
        };
        let pts: Vec<u8> = match section.kind {
            Kind::Audio => vec![OPUS],
            Kind::Video => formats
                .iter()
                .flat_map(|format| [format.payload_type, format.rtx])
                .collect(),
        };
        let direction = if section.send.is_some() {
            Direction::SendOnly
        } else {
            Direction::RecvOnly
        };
        write_section_head(&mut out, local, section.kind, &pts, &section.mid, direction);
        match section.kind {
            Kind::Audio => write_audio(&mut out, local, section),
            Kind::Video => write_video(&mut out, local, section, formats),
        }
        if let Some(ids) = section.send {
            write_sources(&mut out, section, ids);
        }
    }
    out
}

fn write_session<'m>(out: &mut String, version: u64, mids: impl Iterator<Item = &'m str>) {
    let mids: Vec<&str> = mids.collect();
    put(out, format_args!("v=0"));
    put(
        out,
        format_args!("o=- 4611731400430051336 {version} IN IP4 127.0.0.1"),
    );
    put(out, format_args!("s=-"));
    put(out, format_args!("t=0 0"));
    put(out, format_args!("a=group:BUNDLE {}", mids.join(" ")));
    put(out, format_args!("a=extmap-allow-mixed"));
    put(out, format_args!("a=msid-semantic: WMS *"));
}

fn write_section_head(
    out: &mut String,
    local: &Local<'_>,
    kind: Kind,
    payload_types: &[u8],
    mid: &str,
    direction: Direction,
) {
    let media = match kind {
        Kind::Audio => "audio",
        Kind::Video => "video",
    };
    let formats: Vec<String> = payload_types.iter().map(u8::to_string).collect();
    put(
        out,
        format_args!("m={media} 9 UDP/TLS/RTP/SAVPF {}", formats.join(" ")),
    );
    put(out, format_args!("c=IN IP4 0.0.0.0"));
    put(out, format_args!("a=rtcp:9 IN IP4 0.0.0.0"));
    put(out, format_args!("a=ice-ufrag:{}", local.ice.ufrag));
    put(out, format_args!("a=ice-pwd:{}", local.ice.password));
    put(out, format_args!("a=fingerprint:{}", local.fingerprint));
    put(out, format_args!("a=setup:{}", local.setup.as_str()));
    put(out, format_args!("a=mid:{mid}"));
    let (ip, port) = (local.candidate.ip(), local.candidate.port());
    put(
        out,
        format_args!("a=candidate:1 1 udp 2130706431 {ip} {port} typ host"),
    );
    put(out, format_args!("a=end-of-candidates"));
    put(out, format_args!("a={}", direction.as_str()));
    put(out, format_args!("a=rtcp-mux"));
    put(out, format_args!("a=rtcp-rsize"));
}

fn write_audio(out: &mut String, local: &Local<'_>, section: &Section) {
    put(
        out,
        format_args!("a=extmap:{} {URI_AUDIO_LEVEL}", extension::AUDIO_LEVEL),
    );
    write_shared_extensions(out, local, section);
    put(out, format_args!("a=rtpmap:{OPUS} opus/48000/2"));
    if local.feedback || section.send.is_some() {
        put(out, format_args!("a=rtcp-fb:{OPUS} transport-cc"));
    }
    put(
        out,
        format_args!("a=fmtp:{OPUS} minptime=10;useinbandfec=1"),
    );
}

fn write_video(out: &mut String, local: &Local<'_>, section: &Section, formats: &[VideoFormat]) {
    write_shared_extensions(out, local, section);
    if local.views && section.send.is_none() {
        let id = extension::DEPENDENCY_DESCRIPTOR;
        put(
            out,
            format_args!("a=extmap:{id} {URI_DEPENDENCY_DESCRIPTOR}"),
        );
    }
    for format in formats {
        let pt = format.payload_type;
        put(out, format_args!("a=rtpmap:{pt} {}/90000", format.name));
        if local.feedback || section.send.is_some() {
            put(out, format_args!("a=rtcp-fb:{pt} transport-cc"));
        }
        for feedback in ["ccm fir", "nack", "nack pli"] {
            put(out, format_args!("a=rtcp-fb:{pt} {feedback}"));
        }
        if let Some(parameters) = format.parameters {
            put(out, format_args!("a=fmtp:{pt} {parameters}"));
        }
        put(out, format_args!("a=rtpmap:{} rtx/90000", format.rtx));
        put(out, format_args!("a=fmtp:{} apt={pt}", format.rtx));
    }
}

fn write_shared_extensions(out: &mut String, local: &Local<'_>, section: &Section) {
    if local.feedback || section.send.is_some() {
        put(
            out,
            format_args!("a=extmap:{} {URI_ABS_SEND_TIME}", extension::ABS_SEND_TIME),
        );
        put(
            out,
            format_args!("a=extmap:{} {URI_TRANSPORT_CC}", extension::TRANSPORT_CC),
        );
    }
    put(out, format_args!("a=extmap:{} {URI_MID}", extension::MID));
}

fn write_sources(out: &mut String, section: &Section, ids: StreamIds) {
    let track = section
        .track_id()
        .expect("a section that sends has a track");
    put(out, format_args!("a=msid:load {track}"));
    let ssrcs: &[u32] = match section.kind {
        Kind::Audio => &[ids.audio],
        Kind::Video => {
            put(
                out,
                format_args!("a=ssrc-group:FID {} {}", ids.video, ids.video_rtx),
            );
            &[ids.video, ids.video_rtx]
        }
    };
    for ssrc in ssrcs {
        put(out, format_args!("a=ssrc:{ssrc} cname:schalter-load"));
        put(out, format_args!("a=ssrc:{ssrc} msid:load {track}"));
    }
}

/// Answers an offer: takes everything that the server sends, as DTLS client.
pub fn write_answer(version: u64, local: &Local<'_>, remote: &Remote) -> String {
    let mut out = String::new();
    write_session(
        &mut out,
        version,
        remote.sections.iter().map(|s| s.mid.as_str()),
    );
    for section in &remote.sections {
        let direction = match section.direction {
            Direction::SendOnly | Direction::SendRecv => Direction::RecvOnly,
            Direction::RecvOnly | Direction::Inactive => Direction::Inactive,
        };
        let Some(kind) = section.kind.filter(|_| !section.rejected) else {
            let media = if section.kind.is_none() {
                "application"
            } else {
                "audio"
            };
            put(
                &mut out,
                format_args!(
                    "m={media} 0 {} {}",
                    section.protocol,
                    section.formats.join(" ")
                ),
            );
            put(&mut out, format_args!("c=IN IP4 0.0.0.0"));
            put(&mut out, format_args!("a=mid:{}", section.mid));
            put(&mut out, format_args!("a=inactive"));
            continue;
        };
        let formats: Vec<u8> = section
            .formats
            .iter()
            .filter_map(|f| f.parse().ok())
            .collect();
        write_section_head(&mut out, local, kind, &formats, &section.mid, direction);
        for (id, uri) in &section.extensions {
            let wanted = uri == URI_MID || (local.feedback && uri == URI_TRANSPORT_CC);
            if wanted {
                put(&mut out, format_args!("a=extmap:{id} {uri}"));
            }
        }
        for line in &section.codec_lines {
            put(&mut out, format_args!("{line}"));
        }
    }
    out
}

/// What of our offer the server took.
pub fn feed_header(sections: &[Section], answer: &Remote) -> FeedHeader {
    let mut header = FeedHeader::default();
    for section in sections.iter().filter(|s| s.send.is_some()) {
        let Some(theirs) = answer
            .sections
            .iter()
            .find(|theirs| theirs.mid == section.mid)
        else {
            continue;
        };
        let mid = theirs
            .has_extension(extension::MID)
            .then(|| section.mid.clone());
        match section.kind {
            Kind::Audio => {
                header.audio_mid = mid;
                header.audio_level = theirs.has_extension(extension::AUDIO_LEVEL);
            }
            Kind::Video => header.video_mid = mid,
        }
        header.transport_cc |= theirs.has_extension(extension::TRANSPORT_CC);
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint() -> Fingerprint {
        Fingerprint::parse(&format!("sha-256 {}", ["0A"; 32].join(":"))).unwrap()
    }

    fn sections() -> Vec<Section> {
        let ids = StreamIds {
            audio: 1,
            video: 2,
            video_rtx: 3,
        };
        vec![
            Section {
                mid: "0".into(),
                kind: Kind::Audio,
                send: Some(ids),
            },
            Section {
                mid: "1".into(),
                kind: Kind::Video,
                send: Some(ids),
            },
            Section {
                mid: "2".into(),
                kind: Kind::Video,
                send: None,
            },
        ]
    }

    fn offer(feedback: bool) -> (String, IceCredentials) {
        let ice = IceCredentials::generate();
        let local = Local {
            ice: &ice,
            fingerprint: &fingerprint(),
            candidate: "127.0.0.1:5000".parse().unwrap(),
            setup: Setup::ActPass,
            feedback,
            views: feedback,
        };
        (write_offer(1, &local, &sections()), ice)
    }

    #[test]
    fn offers_can_be_read_back() {
        let (text, ice) = offer(false);
        let remote = read(&text).unwrap();
        assert_eq!(remote.ice, ice);
        assert_eq!(remote.fingerprints, [fingerprint()]);
        assert_eq!(
            remote.candidates,
            ["127.0.0.1:5000".parse::<SocketAddr>().unwrap()]
        );
        let seen: Vec<_> = remote
            .sections
            .iter()
            .map(|s| (s.kind, s.mid.as_str(), s.direction))
            .collect();
        assert_eq!(
            seen,
            [
                (Some(Kind::Audio), "0", Direction::SendOnly),
                (Some(Kind::Video), "1", Direction::SendOnly),
                (Some(Kind::Video), "2", Direction::RecvOnly),
            ]
        );
        assert!(remote.sections[0].has_extension(extension::AUDIO_LEVEL));
        assert!(remote.sections[1].has_extension(extension::TRANSPORT_CC));
    }

    #[test]
    fn feedback_is_offered_only_where_it_is_sent() {
        for feedback in [false, true] {
            let remote = read(&offer(feedback).0).unwrap();
            assert_eq!(
                remote.sections[2].has_extension(extension::TRANSPORT_CC),
                feedback
            );
        }
    }

    #[test]
    fn who_views_offers_more_than_it_sends() {
        let remote = read(&offer(true).0).unwrap();
        assert_eq!(remote.sections[1].formats, ["96", "97"]);
        let viewed = &remote.sections[2];
        assert_eq!(viewed.formats, ["96", "97", "98", "99", "45", "46"]);
        assert!(viewed.has_extension(extension::DEPENDENCY_DESCRIPTOR));
        for line in ["a=rtpmap:45 AV1/90000", "a=fmtp:46 apt=45"] {
            assert!(viewed.codec_lines.iter().any(|had| had == line), "{line}");
        }
        let remote = read(&offer(false).0).unwrap();
        assert_eq!(remote.sections[2].formats, ["96", "97"]);
    }

    #[test]
    fn every_line_ends_in_crlf() {
        let (text, _) = offer(true);
        assert!(
            text.split_inclusive('\n')
                .all(|line| line.ends_with("\r\n") && line.len() > 4)
        );
    }

    #[test]
    fn answers_take_what_is_sent_and_refuse_the_rest() {
        let theirs = "v=0\r\na=fingerprint:sha-256 PRINT\r\nm=audio 9 UDP/TLS/RTP/SAVPF 100\r\na=mid:a\r\n\
             a=ice-ufrag:u\r\na=ice-pwd:p\r\na=setup:actpass\r\na=sendonly\r\na=rtpmap:100 opus/48000/2\r\n\
             a=extmap:7 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=extmap:8 urn:x\r\n\
             m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:d\r\n"
            .replace("PRINT", &["0A"; 32].join(":"));
        let remote = read(&theirs).unwrap();
        let ice = IceCredentials::generate();
        let local = Local {
            ice: &ice,
            fingerprint: &fingerprint(),
            candidate: "127.0.0.1:5000".parse().unwrap(),
            setup: Setup::Active,
            feedback: false,
            views: false,
        };
        let answer = read(&write_answer(1, &local, &remote)).unwrap();
        assert_eq!(answer.setup, Setup::Active);
        assert_eq!(answer.sections[0].direction, Direction::RecvOnly);
        assert_eq!(
            answer.sections[0].codec_lines,
            ["a=rtpmap:100 opus/48000/2"]
        );
        assert_eq!(answer.sections[0].extensions.len(), 1);
        assert!(answer.sections[1].rejected && answer.sections[1].kind.is_none());
    }

    #[test]
    fn only_udp_candidates_count() {
        let udp = "candidate:1 1 udp 2130706431 10.0.0.1 7882 typ host";
        assert_eq!(read_candidate(udp), Some("10.0.0.1:7882".parse().unwrap()));
        for bad in [
            "1 1 tcp 1 10.0.0.1 7881 typ host tcptype passive",
            "1 2 udp 1 10.0.0.1 7881 typ host",
            "1 1 udp 1 name.local 7881 typ host",
            "1 1",
        ] {
            assert_eq!(read_candidate(bad), None, "{bad}");
        }
    }

    #[test]
    fn descriptions_without_identity_are_refused() {
        assert!(
            read("v=0\r\nm=audio 9 X 1\r\na=ice-ufrag:a\r\na=ice-pwd:b\r\na=setup:active\r\n")
                .is_err()
        );
        assert!(read("").is_err());
    }
}
