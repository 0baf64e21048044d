//! What we answer to clients' offers.

use crate::fixture::*;
use schalter_signaling::sdp::{
    AnswerPlan, CodecKind, CodecSet, Direction, MediaSection, ReceiveOptions, SectionKind, answer,
};

/// Takes what is published, offers nothing yet.
fn plain<'t>(section: &MediaSection) -> AnswerPlan<'t> {
    if section.kind == SectionKind::Data {
        AnswerPlan::Data
    } else if section.direction.sends() {
        AnswerPlan::Receive(ReceiveOptions::default())
    } else {
        AnswerPlan::Send(None)
    }
}

fn answered(offer: &str) -> String {
    answer(
        &parse(offer),
        &Local::new().description(CodecSet::ALL),
        plain,
    )
}

/// Measured with Chromium, Firefox and GStreamer, read for pion; see ADR 0002.
#[test]
fn the_likeliest_fingerprint_is_the_only_one_of_the_session_and_encloses_the_others_once() {
    let mut local = Local::new();
    local.fingerprints = vec![fingerprint("AB"), fingerprint("CD")];
    let text = answer(
        &parse(CHROMIUM_JOIN),
        &local.description(CodecSet::ALL),
        plain,
    );
    let lines = |text: &str| -> Vec<String> {
        text.lines()
            .filter_map(|line| line.strip_prefix("a=fingerprint:sha-256 "))
            .map(|digest| digest[..2].to_owned())
            .collect()
    };
    let (head, sections) = text.split_once("m=").expect("sections");
    assert_eq!(lines(head), ["AB"]);
    assert_eq!(lines(sections), ["AB", "CD", "AB"]);
    assert_eq!(lines(&section(&text, "0").join("\n")), ["AB", "CD", "AB"]);
}

#[test]
fn a_join_is_answered_with_one_lite_transport() {
    let text = answered(CHROMIUM_JOIN);
    let head: Vec<_> = text
        .split("\r\n")
        .take_while(|l| !l.starts_with("m="))
        .collect();
    assert_eq!(
        head,
        [
            "v=0",
            "o=- 42 7 IN IP4 0.0.0.0",
            "s=-",
            "t=0 0",
            "a=group:BUNDLE 0 1 2 3 4 5 6",
            "a=ice-lite",
            "a=msid-semantic:WMS *",
            &format!("a=fingerprint:sha-256 {}", ["AB"; 32].join(":")),
            "a=extmap-allow-mixed",
        ]
    );
    assert_eq!(
        section(&text, "0"),
        [
            "m=audio 9 UDP/TLS/RTP/SAVPF 111 63",
            "c=IN IP4 0.0.0.0",
            "a=rtcp:9 IN IP4 0.0.0.0",
            "a=mid:0",
            "a=ice-ufrag:1020001DAAAAAAAA",
            "a=ice-pwd:0123456789abcdefghijklmnopqrstuv",
            "a=setup:passive",
            "a=candidate:2132737070 1 udp 2130706431 203.0.113.7 7882 typ host",
            "a=candidate:1817903566 1 udp 2130706175 2001:db8::7 7882 typ host",
            "a=end-of-candidates",
            "a=sendonly",
            "a=rtcp-mux",
            "a=rtcp-rsize",
            "a=rtpmap:111 opus/48000/2",
            "a=fmtp:111 minptime=10;useinbandfec=1",
            "a=rtcp-fb:111 transport-cc",
            "a=rtpmap:63 red/48000/2",
            "a=fmtp:63 111/111",
            "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            "a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
            "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid",
        ]
    );
    let video = section(&text, "3");
    assert_eq!(
        video[0],
        "m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99 100 101 108 109 114 115 45 46"
    );
    assert!(!video.iter().any(|line| line.starts_with("a=candidate")));
    for feedback in ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"] {
        let line = format!("a=rtcp-fb:45 {feedback}");
        assert!(video.contains(&line.as_str()), "{line}");
    }
    assert_eq!(
        section(&text, "6"),
        [
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
            "c=IN IP4 0.0.0.0",
            "a=mid:6",
            section(&text, "0")[4],
            "a=ice-pwd:0123456789abcdefghijklmnopqrstuv",
            "a=setup:passive",
            "a=sctp-port:5000",
            "a=max-message-size:65535",
        ]
    );
}

#[test]
fn answers_keep_the_clients_sections_and_numbers() {
    for (name, offer) in RECORDED
        .iter()
        .filter(|(name, _)| !name.ends_with("answer"))
    {
        let offer = parse(offer);
        let text = answer(&offer, &Local::new().description(CodecSet::ALL), plain);
        let answer = parse(&text);
        assert_eq!(answer.sections.len(), offer.sections.len(), "{name}");
        let bundle = answer.bundle.clone().unwrap();
        for (ours, theirs) in answer.sections.iter().zip(&offer.sections) {
            assert_eq!(
                (&ours.mid, &ours.kind),
                (&theirs.mid, &theirs.kind),
                "{name}"
            );
            assert_eq!(
                ours.port, 9,
                "{name}: bundled sections are alive in answers"
            );
            assert!(bundle.contains(&ours.mid), "{name}");
            for format in &ours.formats {
                let offered = theirs
                    .formats
                    .iter()
                    .find(|f| f.payload_type == format.payload_type);
                let offered = offered.unwrap();
                assert_eq!(format.name, offered.name, "{name}");
                assert_eq!(format.clock_rate, offered.clock_rate, "{name}");
            }
            for extension in &ours.extensions {
                let offered = theirs
                    .extensions
                    .iter()
                    .find(|e| e.id == extension.id)
                    .unwrap();
                assert_eq!(extension.uri, offered.uri, "{name}");
                assert_eq!(
                    extension.direction,
                    offered.direction.map(Direction::reversed)
                );
            }
            let ways = (theirs.direction, ours.direction);
            assert!(
                matches!(
                    ways,
                    (
                        Direction::SendOnly | Direction::SendRecv,
                        Direction::RecvOnly
                    ) | (Direction::RecvOnly, Direction::SendOnly)
                        | (Direction::Inactive, Direction::Inactive)
                ) || ours.kind == SectionKind::Data,
                "{name}: {ways:?}"
            );
        }
    }
}

#[test]
fn what_is_answered_is_what_the_media_plane_is_told() {
    for (name, offer) in RECORDED {
        let offer = parse(offer);
        let local = Local::new();
        let answer = parse(&answer(&offer, &local.description(CodecSet::ALL), plain));
        for (ours, theirs) in answer.sections.iter().zip(&offer.sections) {
            let Some(producer) = theirs.producer_config(CodecSet::ALL) else {
                continue;
            };
            // Our answer receives: read as a reception it must name the same formats.
            let mut told = producer.codecs.clone();
            let mut said = ours.reception(CodecSet::ALL).unwrap().codecs;
            told.sort_by_key(|c| c.payload_type);
            said.sort_by_key(|c| c.payload_type);
            assert_eq!(told, said, "{name} {}", ours.mid);
            let rids = producer
                .encodings
                .iter()
                .filter(|e| e.rid.is_some())
                .count();
            assert_eq!(ours.rids.len(), rids, "{name} {}", ours.mid);
            assert_eq!(ours.simulcast_recv.len(), rids, "{name} {}", ours.mid);
        }
    }
}

#[test]
fn simulcast_is_accepted_in_the_senders_order() {
    let text = answered(CHROMIUM_DUAL_PUBLISH);
    let video = section(&text, "2");
    let at = video
        .iter()
        .position(|line| *line == "a=rid:q recv")
        .unwrap();
    assert_eq!(
        video[at..],
        [
            "a=rid:q recv",
            "a=rid:h recv",
            "a=rid:f recv",
            "a=simulcast:recv q;h;f"
        ]
    );
    assert!(video.contains(&"a=recvonly"));
    assert!(video.contains(&"a=fmtp:96 x-google-start-bitrate=1000"));
    let text = answered(PYTHON_PUBLISH);
    assert!(section(&text, "7").contains(&"a=simulcast:recv h;q"));
}

#[test]
fn the_chosen_codec_comes_first() {
    let offer = parse(CHROMIUM_DUAL_PUBLISH);
    let local = Local::new();
    let first = |kind, mid: &str| {
        let options = ReceiveOptions {
            first: Some(kind),
            ..ReceiveOptions::default()
        };
        let text = answer(&offer, &local.description(CodecSet::ALL), |_| {
            AnswerPlan::Receive(options)
        });
        section(&text, mid)[0].to_owned()
    };
    assert_eq!(
        first(CodecKind::Av1, "2"),
        "m=video 9 UDP/TLS/RTP/SAVPF 45 46 96 97 108 109 114 115 98 99 100 101"
    );
    assert_eq!(
        first(CodecKind::Red, "1"),
        "m=audio 9 UDP/TLS/RTP/SAVPF 63 111"
    );
    assert_eq!(
        first(CodecKind::Opus, "1"),
        "m=audio 9 UDP/TLS/RTP/SAVPF 111 63"
    );
}

#[test]
fn opus_senders_are_told_dtx_and_stereo_only_if_wanted() {
    let offer = parse(CHROMIUM_DUAL_PUBLISH);
    let local = Local::new();
    let fmtp = |dtx, stereo| {
        let options = ReceiveOptions {
            first: None,
            dtx,
            stereo,
        };
        let text = answer(&offer, &local.description(CodecSet::ALL), |_| {
            AnswerPlan::Receive(options)
        });
        let line = section(&text, "1")
            .into_iter()
            .find(|l| l.starts_with("a=fmtp:111"));
        line.unwrap().to_owned()
    };
    assert_eq!(fmtp(false, false), "a=fmtp:111 minptime=10;useinbandfec=1");
    assert_eq!(
        fmtp(true, false),
        "a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1"
    );
    assert_eq!(
        fmtp(true, true),
        "a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1;stereo=1"
    );
}

#[test]
fn bound_sections_name_stream_track_and_ssrcs() {
    let offer = parse(CHROMIUM_JOIN);
    let local = Local::new();
    let (voice, picture) = (track("TR_AMx", 11, None), track("TR_VCx", 21, Some(22)));
    let text = answer(
        &offer,
        &local.description(CodecSet::ALL),
        |section| match &*section.mid {
            "1" => AnswerPlan::Send(Some(&voice)),
            "4" => AnswerPlan::Send(Some(&picture)),
            "5" => AnswerPlan::Inactive,
            "6" => AnswerPlan::Data,
            _ => AnswerPlan::Send(None),
        },
    );
    let of = |mid| -> Vec<_> {
        let lines = section(&text, mid).into_iter();
        lines
            .filter(|l| l.starts_with("a=ssrc") || l.starts_with("a=msid"))
            .collect()
    };
    assert_eq!(
        of("1"),
        [
            "a=msid:PA_anna|TR_AMx TR_AMx",
            "a=ssrc:11 cname:PA_anna",
            "a=ssrc:11 msid:PA_anna|TR_AMx TR_AMx",
            "a=ssrc:11 mslabel:PA_anna|TR_AMx",
            "a=ssrc:11 label:TR_AMx",
        ]
    );
    assert_eq!(
        of("4"),
        [
            "a=msid:PA_anna|TR_VCx TR_VCx",
            "a=ssrc-group:FID 21 22",
            "a=ssrc:21 cname:PA_anna",
            "a=ssrc:21 msid:PA_anna|TR_VCx TR_VCx",
            "a=ssrc:21 mslabel:PA_anna|TR_VCx",
            "a=ssrc:21 label:TR_VCx",
            "a=ssrc:22 cname:PA_anna",
            "a=ssrc:22 msid:PA_anna|TR_VCx TR_VCx",
            "a=ssrc:22 mslabel:PA_anna|TR_VCx",
            "a=ssrc:22 label:TR_VCx",
        ]
    );
    for mid in ["0", "2", "3", "5"] {
        assert_eq!(of(mid), [] as [&str; 0], "{mid}");
    }
    assert!(section(&text, "0").contains(&"a=sendonly"));
    assert!(section(&text, "5").contains(&"a=inactive"));
}

#[test]
fn without_rtx_no_retransmission_ssrc_is_named() {
    let lines = CHROMIUM_JOIN.split_inclusive('\n');
    let text: String = lines
        .filter(|l| !l.contains(" rtx/") && !l.contains("apt="))
        .collect();
    let picture = track("TR_VCx", 21, Some(22));
    let text = answer(
        &parse(&text),
        &Local::new().description(CodecSet::ALL),
        |_| AnswerPlan::Send(Some(&picture)),
    );
    let video = section(&text, "3");
    assert!(video.contains(&"a=ssrc:21 cname:PA_anna"));
    assert!(
        !video
            .iter()
            .any(|line| line.contains("22") && line.starts_with("a=ssrc"))
    );
}

#[test]
fn stopped_sections_are_inactive_and_stay_in_the_bundle() {
    let text = answered(CHROMIUM_SINGLE_PUBLISH);
    let stopped = section(&text, "8");
    assert!(stopped.contains(&"a=inactive"));
    assert!(!stopped.iter().any(|line| line.starts_with("a=rid")));
    assert!(text.contains("a=group:BUNDLE 0 1 2 3 4 5 6 7 8 9\r\n"));
}

#[test]
fn what_we_cannot_serve_is_rejected_and_leaves_the_bundle() {
    let offer = "v=0\r\na=group:BUNDLE a b c d\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 8\r\na=mid:a\r\na=rtpmap:8 PCMA/8000\r\n\
        m=text 9 UDP/TLS/RTP/SAVPF 98\r\na=mid:b\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:c\r\na=rtpmap:111 opus/48000/2\r\n\
        m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:d\r\na=rtpmap:96 VP8/90000\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:e\r\na=rtpmap:111 opus/48000/2\r\n";
    let text = answered(offer);
    assert!(text.contains("a=group:BUNDLE c\r\n"), "{text}");
    assert_eq!(section(&text, "b")[0], "m=text 0 UDP/TLS/RTP/SAVPF 98");
    for mid in ["a", "b", "d", "e"] {
        assert!(section(&text, mid)[0].contains(" 0 "), "{mid}");
    }
    // The candidates stand where the transport is.
    assert!(
        section(&text, "c")
            .iter()
            .any(|line| line.starts_with("a=candidate"))
    );
}

#[test]
fn without_bundle_only_the_first_section_is_served() {
    let offer = CHROMIUM_WHIP.replace("a=group:BUNDLE 0 1\r\n", "");
    let text = answered(&offer);
    assert!(!text.contains("a=group"));
    assert!(section(&text, "0")[0].starts_with("m=audio 9"));
    assert!(section(&text, "1")[0].starts_with("m=video 0"));
}

#[test]
fn a_line_stays_one_line_whatever_ids_hold() {
    let mut evil = track("TR_x", 1, None);
    evil.stream_id = "PA\r\na=setup:active".into();
    let text = answer(
        &parse(CHROMIUM_JOIN),
        &Local::new().description(CodecSet::ALL),
        |_| AnswerPlan::Send(Some(&evil)),
    );
    assert!(!text.contains("\r\na=setup:active"));
}

#[test]
fn feedback_by_stream_is_agreed_to_only_where_we_send_and_nothing_else_is_offered() {
    const CCFB: &str = "a=rtcp-fb:* ack ccfb";
    let video = |direction: &str, extension: &str| {
        format!(
            "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na={direction}\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n{CCFB}\r\n{extension}"
        )
    };
    let wide =
        "a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n";
    for (offer, agreed) in [
        (video("recvonly", ""), true),
        (video("recvonly", wide), false),
        (video("sendonly", ""), false),
    ] {
        let offer = parse(&offer);
        let text = answer(
            &offer,
            &Local::new().description(CodecSet::ALL),
            |section| {
                if section.direction.sends() {
                    AnswerPlan::Receive(ReceiveOptions::default())
                } else {
                    AnswerPlan::Send(None)
                }
            },
        );
        let lines = section(&text, "0");
        assert_eq!(lines.contains(&CCFB), agreed, "{text}");
        assert_eq!(lines.iter().any(|line| line.contains("ccfb")), agreed);
    }
}
