//! The offers we make, and what their answers mean.

use crate::fixture::*;
use schalter_forward::ConsumerTarget;
use schalter_model::MediaKind;
use schalter_signaling::sdp::{
    Candidate, CodecKind, CodecSet, Direction, OfferSection, server_offer,
};

fn sections() -> Vec<OfferSection> {
    vec![
        OfferSection::Data { mid: "0".into() },
        OfferSection::Media {
            mid: "1".into(),
            kind: MediaKind::Audio,
            track: Some(track("TR_AMx", 11, None)),
        },
        OfferSection::Media {
            mid: "2".into(),
            kind: MediaKind::Video,
            track: Some(track("TR_VCx", 21, Some(22))),
        },
        OfferSection::Media {
            mid: "3".into(),
            kind: MediaKind::Video,
            track: None,
        },
    ]
}

#[test]
fn an_offer_lists_our_formats_under_our_numbers() {
    let text = server_offer(&Local::new().description(CodecSet::ALL), &sections());
    assert!(text.contains("a=group:BUNDLE 0 1 2 3\r\n"));
    assert!(text.contains("a=ice-lite\r\n"));
    assert!(!text.contains("a=setup:passive"));
    let audio = section(&text, "1");
    assert_eq!(audio[0], "m=audio 9 UDP/TLS/RTP/SAVPF 111 63");
    assert!(audio.contains(&"a=setup:actpass"));
    assert!(audio.contains(&"a=sendonly"));
    assert!(audio.contains(&"a=fmtp:63 111/111"));
    assert!(audio.contains(&"a=msid:PA_anna|TR_AMx TR_AMx"));
    let video = section(&text, "2");
    assert_eq!(
        video[0],
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99 100 101 125 126 108 109 35 36 116 117"
    );
    assert!(video.contains(&"a=fmtp:109 apt=108"));
    assert!(video.contains(&"a=ssrc-group:FID 21 22"));
    let free = section(&text, "3");
    assert!(free.contains(&"a=inactive"));
    assert!(
        !free
            .iter()
            .any(|line| line.starts_with("a=ssrc") || line.starts_with("a=msid"))
    );
}

#[test]
fn extension_ids_are_one_mapping_for_the_whole_bundle() {
    let offer = parse(&server_offer(
        &Local::new().description(CodecSet::ALL),
        &sections(),
    ));
    let mut by_id = std::collections::HashMap::new();
    for extension in offer.sections.iter().flat_map(|s| &s.extensions) {
        let known = by_id.entry(extension.id).or_insert(&extension.uri);
        assert_eq!(**known, extension.uri);
        assert!((1..=14).contains(&extension.id));
    }
    assert!(by_id.len() >= 7);
}

#[test]
fn disabled_codecs_are_not_offered() {
    let few = CodecSet::NONE.with(CodecKind::Opus).with(CodecKind::H264);
    let text = server_offer(&Local::new().description(few), &sections());
    assert_eq!(section(&text, "1")[0], "m=audio 9 UDP/TLS/RTP/SAVPF 111");
    assert_eq!(
        section(&text, "2")[0],
        "m=video 9 UDP/TLS/RTP/SAVPF 125 126 108 109"
    );
}

#[test]
fn a_reused_section_keeps_its_place() {
    let local = Local::new();
    let mut list = sections();
    list[3] = OfferSection::Media {
        mid: "3".into(),
        kind: MediaKind::Video,
        track: Some(track("TR_VSy", 31, Some(32))),
    };
    let offer = parse(&server_offer(&local.description(CodecSet::ALL), &list));
    let mids: Vec<_> = offer.sections.iter().map(|s| &*s.mid).collect();
    assert_eq!(mids, ["0", "1", "2", "3"]);
    let reused = offer.section("3").unwrap();
    assert_eq!(reused.direction, Direction::SendOnly);
    assert_eq!(reused.track_id(), Some("TR_VSy"));
}

#[test]
fn an_answers_section_makes_a_consumer() {
    let target = ConsumerTarget {
        paused: false,
        max_encoding: 2,
        ..ConsumerTarget::default()
    };
    let picture = track("TR_VCx", 21, Some(22));
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
        let consumer = reception.consumer_config(&picture, target);
        assert_eq!((consumer.ssrc, consumer.rtx_ssrc), (21, Some(22)), "{name}");
        assert_eq!(consumer.mid.as_deref(), Some(mid), "{name}");
        assert_eq!(consumer.target, target, "{name}");
        assert_eq!(&*consumer.cname, "PA_anna", "{name}");
    }
    let answer = parse(CHROMIUM_DUAL_ANSWER);
    let voice = answer
        .section("1")
        .unwrap()
        .reception(CodecSet::ALL)
        .unwrap();
    assert_eq!(voice.consumer_config(&picture, target).rtx_ssrc, None);
}

#[test]
fn candidates_are_ranked_and_written_for_both_ways() {
    let near = Candidate::udp_host("10.0.0.1:5000".parse().unwrap(), 65_535);
    let far = Candidate::udp_host("[2001:db8::1]:5000".parse().unwrap(), 1);
    assert!(near.priority() > far.priority());
    assert_eq!(near.priority(), 2_130_706_431);
    let text = far.to_string();
    assert!(text.starts_with("candidate:"), "{text}");
    assert!(
        text.ends_with("1 udp 2113929727 2001:db8::1 5000 typ host"),
        "{text}"
    );
    let json: serde_json::Value = serde_json::from_str(&near.init_json()).unwrap();
    assert_eq!(json["candidate"], near.to_string());
    assert_eq!(json["sdpMid"], "0");
    assert_eq!(json["sdpMLineIndex"], 0);
    assert!(json["usernameFragment"].is_null());
}

#[test]
fn feedback_by_stream_is_offered_and_taken_where_the_answer_leaves_out_transport_wide_numbers() {
    let text = server_offer(&Local::new().description(CodecSet::ALL), &sections());
    for mid in ["1", "2", "3"] {
        assert!(
            section(&text, mid).contains(&"a=rtcp-fb:* ack ccfb"),
            "{mid}"
        );
    }
    assert!(!section(&text, "0").contains(&"a=rtcp-fb:* ack ccfb"));
    const MUX: &str = "a=rtcp-mux\r\n";
    const CCFB: &str = "a=rtcp-fb:* ack ccfb\r\n";
    const WIDE: &str =
        "a=extmap:5 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n";
    assert!(CHROMIUM_DUAL_ANSWER.contains(MUX) && !CHROMIUM_DUAL_ANSWER.contains("transport-wide"));
    let with = |lines: &str| CHROMIUM_DUAL_ANSWER.replace(MUX, &format!("{MUX}{lines}"));
    // What libwebrtc makes of the offer with and without RFC 8888, and what one makes of it that repeats what it reads.
    let (agreed, ignored) = (with(CCFB), with(WIDE));
    let echoed = with(&format!("{CCFB}{WIDE}"));
    for (answer, by_stream) in [(agreed, true), (ignored, false), (echoed, false)] {
        let answer = parse(&answer);
        let reception = answer
            .section("2")
            .unwrap()
            .reception(CodecSet::ALL)
            .unwrap();
        assert_eq!(reception.congestion_feedback, by_stream);
        assert_eq!(reception.extensions.transport_cc.is_none(), by_stream);
        let config = reception.consumer_config(&track("TR", 1, None), ConsumerTarget::default());
        assert_eq!(config.congestion_feedback, by_stream);
    }
}
