//! What clients' descriptions mean to the media plane.

use std::sync::Arc;

use crate::fixture::*;
use proptest::prelude::*;
use schalter_forward::Codec;
use schalter_model::MediaKind;
use schalter_signaling::sdp::{
    AnswerPlan, CodecKind, CodecSet, Direction, Limits, ReceiveOptions, SdpProblem, SectionKind,
    SessionDescription, answer,
};

fn problem(text: &str) -> (usize, SdpProblem) {
    let error = SessionDescription::parse(text, &Limits::default()).expect_err("an unusable text");
    (error.line, error.problem)
}

fn session(sections: &str) -> String {
    format!("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n{sections}")
}

#[test]
fn every_recorded_description_names_a_transport() {
    for (name, text) in RECORDED {
        let description = parse(text);
        let transport = description.transport_parameters();
        let transport = transport.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(transport.remote_ice.ufrag.len() >= 4, "{name}");
        assert_eq!(transport.fingerprints.len(), 1, "{name}");
        let m_lines = text.lines().filter(|line| line.starts_with("m=")).count();
        assert_eq!(description.sections.len(), m_lines, "{name}");
        for section in &description.sections {
            assert!(description.is_usable(section), "{name} {}", section.mid);
        }
    }
}

#[test]
fn a_join_offers_places_to_receive_in() {
    for (name, text) in [
        ("chromium", CHROMIUM_JOIN),
        ("firefox", FIREFOX_JOIN),
        ("python", PYTHON_JOIN),
    ] {
        let offer = parse(text);
        let receptions: Vec<_> = offer
            .sections
            .iter()
            .filter_map(|s| s.reception(CodecSet::ALL))
            .collect();
        let count = |kind| receptions.iter().filter(|r| r.kind == kind).count();
        assert_eq!(
            (count(MediaKind::Audio), count(MediaKind::Video)),
            (3, 3),
            "{name}"
        );
        let data = offer.section("6").unwrap();
        assert_eq!(data.kind, SectionKind::Data, "{name}");
        assert_eq!(data.sctp_port, Some(5000), "{name}");
        let publishing =
            |s| schalter_signaling::sdp::MediaSection::producer_config(s, CodecSet::ALL);
        assert!(
            offer.sections.iter().all(|s| publishing(s).is_none()),
            "{name}"
        );
    }
}

#[test]
fn chromium_receives_in_the_formats_that_we_forward() {
    let offer = parse(CHROMIUM_JOIN);
    let video = offer
        .section("3")
        .unwrap()
        .reception(CodecSet::ALL)
        .unwrap();
    let found: Vec<_> = video
        .codecs
        .iter()
        .map(|c| (c.payload_type, c.codec, c.rtx_payload_type))
        .collect();
    let h264 = |packetization_mode| Codec::H264 {
        packetization_mode,
        profile: 0x42e0,
    };
    assert_eq!(
        found,
        [
            (96, Codec::Vp8, Some(97)),
            (98, Codec::Vp9 { profile: 0 }, Some(99)),
            (100, Codec::Vp9 { profile: 2 }, Some(101)),
            (108, h264(1), Some(109)),
            (114, h264(0), Some(115)),
            (45, Codec::Av1 { profile: 0 }, Some(46)),
        ]
    );
    let ids = video.extensions;
    assert_eq!(
        (ids.mid, ids.abs_send_time, ids.transport_cc),
        (Some(4), Some(2), Some(3))
    );
    assert_eq!(
        (ids.dependency_descriptor, ids.video_orientation),
        (Some(12), Some(13))
    );
    assert_eq!(
        (ids.rid, ids.repaired_rid, ids.audio_level),
        (None, None, None)
    );
    let audio = offer
        .section("0")
        .unwrap()
        .reception(CodecSet::ALL)
        .unwrap();
    let codecs: Vec<_> = audio
        .codecs
        .iter()
        .map(|c| (c.payload_type, c.codec))
        .collect();
    assert_eq!(codecs, [(111, Codec::Opus), (63, Codec::Red)]);
    assert_eq!(audio.extensions.audio_level, Some(1));
}

#[test]
fn disabled_codecs_vanish_and_take_red_along() {
    let offer = parse(CHROMIUM_JOIN);
    let kinds = |mid, set| -> Vec<_> {
        offer
            .section(mid)
            .unwrap()
            .reception(set)
            .map_or(vec![], |r| {
                r.codecs.iter().map(|c| CodecKind::of(c.codec)).collect()
            })
    };
    let vp8 = CodecSet::NONE.with(CodecKind::Vp8).with(CodecKind::Red);
    assert_eq!(kinds("3", vp8), [CodecKind::Vp8]);
    assert_eq!(kinds("0", vp8), []);
    assert_eq!(
        kinds("0", CodecSet::ALL.without(CodecKind::Red)),
        [CodecKind::Opus]
    );
}

#[test]
fn simulcast_layers_rise_whatever_order_they_are_listed_in() {
    for (name, text, mid, expected) in [
        ("chromium", CHROMIUM_DUAL_PUBLISH, "2", vec!["q", "h", "f"]),
        (
            "chromium single",
            CHROMIUM_SINGLE_PUBLISH,
            "9",
            vec!["q", "h", "f"],
        ),
        ("firefox", FIREFOX_PUBLISH, "1", vec!["q", "h", "f"]),
        // This client lists `h;q`.
        ("python", PYTHON_PUBLISH, "7", vec!["q", "h"]),
    ] {
        let offer = parse(text);
        let producer = offer
            .section(mid)
            .unwrap()
            .producer_config(CodecSet::ALL)
            .unwrap();
        let rids: Vec<_> = producer
            .encodings
            .iter()
            .map(|e| e.rid.as_deref().unwrap())
            .collect();
        assert_eq!(rids, expected, "{name}");
        assert!(
            producer.encodings.iter().all(|e| e.ssrc.is_none()),
            "{name}"
        );
        assert!(producer.transport_cc, "{name}");
        assert!(producer.extensions.rid.is_some(), "{name}");
        assert!(producer.extensions.repaired_rid.is_some(), "{name}");
    }
}

#[test]
fn foreign_rids_keep_the_senders_order() {
    let text = session(
        "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=sendonly\r\na=rtpmap:96 VP8/90000\r\n\
         a=rid:hi send\r\na=rid:mid send\r\na=rid:lo send\r\na=rid:back recv\r\n\
         a=simulcast:send lo;~mid,x;hi;undeclared recv back\r\n",
    );
    let producer = parse(&text).sections[0]
        .producer_config(CodecSet::ALL)
        .unwrap();
    let rids: Vec<_> = producer
        .encodings
        .iter()
        .map(|e| e.rid.as_deref().unwrap())
        .collect();
    assert_eq!(rids, ["lo", "mid", "hi"]);
}

#[test]
fn single_streams_are_known_by_their_ssrc_and_its_companion() {
    for (name, text, mid, ssrc, rtx) in [
        (
            "chromium",
            CHROMIUM_WHIP,
            "1",
            3_098_808_523,
            Some(1_027_240_176),
        ),
        (
            "chromium svc",
            CHROMIUM_PUBLISH_SVC,
            "3",
            2_171_322_607,
            Some(1_620_109_567),
        ),
        (
            "firefox",
            FIREFOX_SENDRECV,
            "1",
            3_898_582_501,
            Some(1_249_710_310),
        ),
        ("python", PYTHON_PUBLISH, "8", 784_581_148, None),
    ] {
        let offer = parse(text);
        let producer = offer
            .section(mid)
            .unwrap()
            .producer_config(CodecSet::ALL)
            .unwrap();
        let [encoding] = &producer.encodings[..] else {
            panic!("{name}: {:?}", producer.encodings)
        };
        assert_eq!(
            (encoding.ssrc, encoding.rtx_ssrc),
            (Some(ssrc), rtx),
            "{name}"
        );
        assert_eq!(producer.mid.as_deref(), Some(mid), "{name}");
    }
}

#[test]
fn ssrc_simulcast_of_old_clients_is_understood() {
    let text = session(
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:0\r\na=rtpmap:96 VP8/90000\r\n\
         a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=ssrc-group:SIM 1 2 3\r\n\
         a=ssrc-group:FID 1 11\r\na=ssrc-group:FID 3 13\r\na=ssrc:1 cname:x\r\n",
    );
    let producer = parse(&text).sections[0]
        .producer_config(CodecSet::ALL)
        .unwrap();
    let found: Vec<_> = producer
        .encodings
        .iter()
        .map(|e| (e.ssrc, e.rtx_ssrc))
        .collect();
    assert_eq!(
        found,
        [(Some(1), Some(11)), (Some(2), None), (Some(3), Some(13))]
    );
}

#[test]
fn tracks_carry_the_id_that_add_track_announces() {
    for (text, mid, stream, track) in [
        (
            CHROMIUM_DUAL_PUBLISH,
            "1",
            "c73ff581-e499-4d6d-ae8e-5bbe2733c967",
            "6a976331-aefa-4cdd-9ee4-f4514870d771",
        ),
        (
            PYTHON_PUBLISH,
            "7",
            "-",
            "00c460e9-3c19-481b-b68f-11819fbe57b8",
        ),
        (
            FIREFOX_SENDRECV,
            "1",
            "-",
            "{b8b7541b-7483-433d-ae3f-f97e687b88a2}",
        ),
    ] {
        let offer = parse(text);
        let section = offer.section(mid).unwrap();
        assert_eq!(section.track_id(), Some(track));
        assert_eq!(section.stream_id(), Some(stream));
    }
    let old = session(
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ssrc:5 cname:x\r\na=ssrc:5 msid:s t\r\n",
    );
    assert_eq!(parse(&old).sections[0].track_id(), Some("t"));
}

#[test]
fn firefox_directions_of_extensions_are_heeded() {
    let offer = parse(FIREFOX_PUBLISH);
    assert!(!offer.extmap_allow_mixed);
    let video = offer.section("1").unwrap();
    assert!(video.bundle_only && !video.is_rejected());
    let producer = video.producer_config(CodecSet::ALL).unwrap();
    assert_eq!(producer.extensions.dependency_descriptor, Some(8));
    // What it only sends it can't receive.
    let join = parse(FIREFOX_JOIN);
    let reception = join.section("3").unwrap().reception(CodecSet::ALL).unwrap();
    assert_eq!(reception.extensions.dependency_descriptor, None);
    assert!(reception.extensions.transport_cc.is_some());
}

#[test]
fn answers_to_our_offers_tell_what_is_received() {
    for (name, text, mid) in [
        ("chromium", CHROMIUM_DUAL_ANSWER, "2"),
        ("firefox", FIREFOX_DUAL_ANSWER, "4"),
    ] {
        let answer = parse(text);
        let reception = answer
            .section(mid)
            .unwrap()
            .reception(CodecSet::ALL)
            .unwrap();
        assert_eq!(reception.codecs[0].codec, Codec::Vp8, "{name}");
        assert_eq!(reception.codecs[0].rtx_payload_type, Some(97), "{name}");
    }
    let inactive = parse(FIREFOX_DUAL_ANSWER);
    assert_eq!(
        inactive.section("2").unwrap().direction,
        Direction::Inactive
    );
    assert!(
        inactive
            .section("2")
            .unwrap()
            .reception(CodecSet::ALL)
            .is_none()
    );
}

#[test]
fn baseline_h264_stands_in_only_where_constrained_baseline_is_missing() {
    let offered = |profiles: &[&str]| {
        let numbers: Vec<_> = (0..profiles.len()).map(|i| (96 + i).to_string()).collect();
        let mut text = session(&format!(
            "m=video 9 UDP/TLS/RTP/SAVPF {}\r\na=mid:0\r\na=sendonly\r\n",
            numbers.join(" ")
        ));
        for (number, profile) in numbers.iter().zip(profiles) {
            text += &format!("a=rtpmap:{number} H264/90000\r\n");
            text += &format!("a=fmtp:{number} packetization-mode=1;profile-level-id={profile}\r\n");
        }
        parse(&text).sections[0]
            .producer_config(CodecSet::ALL)
            .map(|p| p.codecs.iter().map(|c| c.payload_type).collect::<Vec<_>>())
    };
    assert_eq!(offered(&["42001f", "42e01f", "640c1f"]), Some(vec![97]));
    assert_eq!(offered(&["4d001f", "42001f"]), Some(vec![97]));
    assert_eq!(offered(&["42c01f", "42e034"]), Some(vec![96]));
    assert_eq!(offered(&["640c1f", "nonsense"]), None);
}

#[test]
fn dtls_server_role_is_ours_alone() {
    let offer = |setup: &str| {
        let text = CHROMIUM_WHIP.replace("a=setup:actpass", &format!("a=setup:{setup}"));
        parse(&text).transport_parameters().map_err(|e| e.problem)
    };
    assert!(offer("active").is_ok());
    assert_eq!(offer("passive"), Err(SdpProblem::DtlsRole));
    assert_eq!(offer("holdconn"), Err(SdpProblem::DtlsRole));
}

#[test]
fn missing_credentials_are_named() {
    let without = |start: &str| {
        let lines = CHROMIUM_WHIP.split_inclusive('\n');
        let text: String = lines.filter(|line| !line.starts_with(start)).collect();
        parse(&text).transport_parameters().map_err(|e| e.problem)
    };
    assert_eq!(without("a=ice-pwd"), Err(SdpProblem::NoIceCredentials));
    assert_eq!(without("a=ice-ufrag"), Err(SdpProblem::NoIceCredentials));
    assert_eq!(without("a=fingerprint"), Err(SdpProblem::NoFingerprint));
    assert_eq!(without("m="), Err(SdpProblem::NothingUsable));
}

#[test]
fn errors_name_the_line() {
    assert_eq!(problem(""), (0, SdpProblem::NotSdp));
    assert_eq!(problem("\r\nhello"), (2, SdpProblem::NotSdp));
    assert_eq!(problem("v=0\r\nnonsense"), (2, SdpProblem::BadLine));
    assert_eq!(problem("v=0\r\ns=a\rb"), (2, SdpProblem::BadLine));
    for bad in [
        "audio",
        "audio x y z",
        "audio 9 UDP/TLS/RTP/SAVPF 128",
        "audio 70000 a 1",
    ] {
        assert_eq!(
            problem(&format!("v=0\nm={bad}")),
            (2, SdpProblem::BadMediaLine),
            "{bad}"
        );
    }
    let audio = "v=0\nm=audio 9 UDP/TLS/RTP/SAVPF 111\n";
    for bad in [
        "mid:",
        "rtpmap:111",
        "rtpmap:111 opus",
        "extmap:x urn:y",
        "extmap:1/up urn:y",
        "ssrc:x",
        "ssrc-group:FID x",
        "rid:q",
        "rid:ü send",
        "setup:now",
        "ice-ufrag:abc",
        "ice-pwd:short",
        "sctp-port:70000",
    ] {
        let text = format!("{audio}a={bad}\na=mid:0\n");
        assert_eq!(problem(&text), (3, SdpProblem::BadAttribute), "{bad}");
    }
    assert_eq!(problem(audio), (2, SdpProblem::NoMid));
    let twice = format!("{audio}a=mid:0\nm=audio 9 x 1\na=mid:0\n");
    assert_eq!(problem(&twice).1, SdpProblem::DuplicateMid);
}

#[test]
fn limits_hold() {
    let limits = Limits {
        max_bytes: 400,
        max_lines: 12,
        max_sections: 2,
    };
    let check = |text: &str| SessionDescription::parse(text, &limits).map_err(|e| e.problem);
    let sections = |n: usize| {
        (0..n).fold("v=0\n".to_owned(), |text, i| {
            text + &format!("m=audio 9 x 1\na=mid:{i}\n")
        })
    };
    assert!(check(&sections(2)).is_ok());
    assert_eq!(check(&sections(3)), Err(SdpProblem::TooManySections));
    assert_eq!(
        check(&format!("v=0\n{}", "s=-\n".repeat(12))),
        Err(SdpProblem::TooManyLines)
    );
    assert_eq!(check(&"x".repeat(401)), Err(SdpProblem::TooLong));
}

#[test]
fn numbers_of_attributes_are_bounded_within_a_section() {
    let mut text = session("m=video 9 UDP/TLS/RTP/SAVPF 96\na=mid:0\na=rtpmap:96 VP8/90000\n");
    for i in 0..500 {
        text += &format!(
            "a=ssrc:{i} cname:x\na=extmap:{i} urn:{i}\na=rid:r{i} send\na=rtcp-fb:96 x{i}\n\
             a=ssrc-group:FID {i} 1\n"
        );
    }
    let description = parse(&text);
    let section = &description.sections[0];
    assert_eq!(section.ssrcs.len(), 64);
    assert_eq!(section.extensions.len(), 64);
    assert_eq!(section.rids.len(), 64);
    assert_eq!(section.ssrc_groups.len(), 64);
    assert_eq!(section.formats[0].feedback.len(), 16);
    let producer = section.producer_config(CodecSet::ALL).unwrap();
    assert_eq!(producer.encodings.len(), 4);
}

#[test]
fn secrets_stay_out_of_debug_output() {
    let text = format!("{:?}", parse(CHROMIUM_WHIP));
    assert!(!text.contains("0123456789abcdefghijklmn"));
}

/// Reads whatever comes and, if it is a description, does everything with it that the server does.
fn exercise(text: &str) {
    let Ok(description) = SessionDescription::parse(text, &Limits::default()) else {
        return;
    };
    let _ = description.transport_parameters();
    let local = Local::new();
    let local = local.description(CodecSet::ALL);
    let track = track("TR_x", 1, Some(2));
    for plan in [
        AnswerPlan::Receive(ReceiveOptions {
            first: Some(CodecKind::Av1),
            dtx: true,
            stereo: true,
        }),
        AnswerPlan::Send(Some(&track)),
        AnswerPlan::Data,
    ] {
        let text = answer(&description, &local, |_| plan);
        let again = SessionDescription::parse(
            &text,
            &Limits {
                max_bytes: usize::MAX,
                max_lines: usize::MAX,
                ..Limits::default()
            },
        );
        let again = again.unwrap_or_else(|error| panic!("{error} in our own answer:\n{text}"));
        assert_eq!(again.sections.len(), description.sections.len());
        for (ours, theirs) in again.sections.iter().zip(&description.sections) {
            assert_eq!(ours.mid, theirs.mid);
        }
    }
    for section in &description.sections {
        let _ = (
            section.producer_config(CodecSet::ALL),
            section.reception(CodecSet::ALL),
        );
    }
}

#[test]
fn recorded_descriptions_survive_the_whole_way() {
    for (_, text) in RECORDED {
        exercise(text);
    }
}

/// A recorded description with some lines removed, doubled, swapped or overwritten by others.
fn mutated() -> impl Strategy<Value = String> {
    let edit = (
        0..5_u8,
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        ".{0,12}",
    );
    (0..RECORDED.len(), prop::collection::vec(edit, 1..12)).prop_map(|(which, edits)| {
        let mut lines: Vec<Arc<str>> = RECORDED[which].1.lines().map(Arc::from).collect();
        for (kind, at, other, junk) in edits {
            let (at, other) = (at.index(lines.len()), other.index(lines.len()));
            match kind {
                0 => drop(lines.remove(at)),
                1 => lines.insert(at, Arc::clone(&lines[other])),
                2 => lines.swap(at, other),
                3 => lines[at] = format!("{}{junk}", lines[at]).into(),
                _ => {
                    let cut = lines[at]
                        .char_indices()
                        .nth(other % 40)
                        .map_or(0, |(i, _)| i);
                    lines[at] = lines[at][..cut].into();
                }
            }
            if lines.is_empty() {
                lines.push("v=0".into());
            }
        }
        lines.join("\r\n") + "\r\n"
    })
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        exercise(&text);
    }

    #[test]
    fn arbitrary_attributes_never_panic(lines in prop::collection::vec("[amsbc]=[a-z-]{0,12}[: /]?.{0,40}", 0..40)) {
        exercise(&format!("v=0\nm=video 9 UDP/TLS/RTP/SAVPF 96 97\na=mid:0\n{}", lines.join("\n")));
    }

    #[test]
    fn damaged_descriptions_never_panic(text in mutated()) {
        exercise(&text);
    }
}
