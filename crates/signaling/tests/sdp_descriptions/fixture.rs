//! Descriptions recorded from clients, and our side of a connection.

use schalter_model::{ShardId, Ufrag};
use schalter_signaling::sdp::{
    Candidate, CodecSet, Limits, LocalDescription, SendTrack, SessionDescription,
};
use schalter_transport::{Fingerprint, LocalIce};

pub(crate) const CHROMIUM_JOIN: &str = include_str!("../data/chromium-join.sdp");
pub(crate) const CHROMIUM_SINGLE_PUBLISH: &str =
    include_str!("../data/chromium-single-publish.sdp");
pub(crate) const CHROMIUM_DUAL_PUBLISH: &str = include_str!("../data/chromium-dual-publish.sdp");
pub(crate) const CHROMIUM_DUAL_ANSWER: &str = include_str!("../data/chromium-dual-answer.sdp");
pub(crate) const CHROMIUM_PUBLISH_SVC: &str = include_str!("../data/chromium-publish-svc.sdp");
pub(crate) const CHROMIUM_WHIP: &str = include_str!("../data/chromium-whip.sdp");
pub(crate) const FIREFOX_JOIN: &str = include_str!("../data/firefox-join.sdp");
pub(crate) const FIREFOX_PUBLISH: &str = include_str!("../data/firefox-publish.sdp");
pub(crate) const FIREFOX_SENDRECV: &str = include_str!("../data/firefox-sendrecv.sdp");
pub(crate) const FIREFOX_DUAL_ANSWER: &str = include_str!("../data/firefox-dual-answer.sdp");
pub(crate) const PYTHON_JOIN: &str = include_str!("../data/python-join.sdp");
pub(crate) const PYTHON_PUBLISH: &str = include_str!("../data/python-publish.sdp");

/// All of them with a name.
pub(crate) const RECORDED: [(&str, &str); 12] = [
    ("chromium-join", CHROMIUM_JOIN),
    ("chromium-single-publish", CHROMIUM_SINGLE_PUBLISH),
    ("chromium-dual-publish", CHROMIUM_DUAL_PUBLISH),
    ("chromium-dual-answer", CHROMIUM_DUAL_ANSWER),
    ("chromium-publish-svc", CHROMIUM_PUBLISH_SVC),
    ("chromium-whip", CHROMIUM_WHIP),
    ("firefox-join", FIREFOX_JOIN),
    ("firefox-publish", FIREFOX_PUBLISH),
    ("firefox-sendrecv", FIREFOX_SENDRECV),
    ("firefox-dual-answer", FIREFOX_DUAL_ANSWER),
    ("python-join", PYTHON_JOIN),
    ("python-publish", PYTHON_PUBLISH),
];

pub(crate) fn parse(text: &str) -> SessionDescription {
    SessionDescription::parse(text, &Limits::default()).expect("a description")
}

/// Owns what a [`LocalDescription`] borrows.
pub(crate) struct Local {
    ice: LocalIce,
    candidates: [Candidate; 2],
    pub(crate) fingerprints: Vec<Fingerprint>,
}

impl Local {
    pub(crate) fn new() -> Self {
        Self {
            ice: LocalIce {
                ufrag: Ufrag::new(1, ShardId(2), 3),
                password: "0123456789abcdefghijklmnopqrstuv".into(),
            },
            candidates: [
                Candidate::udp_host("203.0.113.7:7882".parse().expect("an address"), 65_535),
                Candidate::udp_host("[2001:db8::7]:7882".parse().expect("an address"), 65_534),
            ],
            fingerprints: vec![fingerprint("AB")],
        }
    }

    pub(crate) fn description(&self, codecs: CodecSet) -> LocalDescription<'_> {
        LocalDescription {
            session_id: 42,
            version: 7,
            ice: &self.ice,
            candidates: &self.candidates,
            fingerprints: &self.fingerprints,
            codecs,
            max_message_size: 65_535,
        }
    }
}

pub(crate) fn fingerprint(byte: &str) -> Fingerprint {
    Fingerprint::parse(&format!("sha-256 {}", [byte; 32].join(":"))).expect("a fingerprint")
}

pub(crate) fn track(name: &str, ssrc: u32, rtx_ssrc: Option<u32>) -> SendTrack {
    SendTrack {
        stream_id: format!("PA_anna|{name}").into(),
        track_id: name.into(),
        cname: "PA_anna".into(),
        ssrc,
        rtx_ssrc,
    }
}

/// The lines from the m-line of the section with this mid to the next one.
pub(crate) fn section<'a>(text: &'a str, mid: &str) -> Vec<&'a str> {
    let lines: Vec<&str> = text.split_terminator("\r\n").collect();
    lines
        .chunk_by(|_, next| !next.starts_with("m="))
        .find(|lines| lines.contains(&format!("a=mid:{mid}").as_str()))
        .expect("a section with this mid")
        .to_vec()
}
