//! Descriptions: reading, what they mean to the media plane, and answering them with every plan.
use schalter_model::{ShardId, Ufrag};
use schalter_signaling::sdp::{
    AnswerPlan, Candidate, CodecKind, CodecSet, IceFragment, Limits, LocalDescription,
    ReceiveOptions, SendTrack, SessionDescription, answer, restart_fragment,
};
use schalter_transport::LocalIce;

/// Our answers may be longer than what we read.
const UNLIMITED: Limits = Limits {
    max_bytes: usize::MAX,
    max_lines: usize::MAX,
    max_sections: usize::MAX,
};

/// Does it with one input.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    // What WHIP's clients send later is read by rules of its own.
    let _ = IceFragment::parse(text, &Limits::default());
    let Ok(offer) = SessionDescription::parse(text, &Limits::default()) else {
        return;
    };
    let _ = offer.transport_parameters();
    for section in &offer.sections {
        let _ = section.reception(CodecSet::ALL);
        if let Some(producer) = section.producer_config(CodecSet::ALL) {
            assert!((1..=4).contains(&producer.encodings.len()));
            assert!(!producer.codecs.is_empty());
        }
    }
    let ice = LocalIce {
        ufrag: Ufrag::new(0, ShardId(0), 0),
        password: "0123456789abcdefghijklmn".into(),
    };
    let local = LocalDescription {
        session_id: 1,
        version: 1,
        ice: &ice,
        candidates: &[Candidate::udp_host(([127, 0, 0, 1], 1).into(), 1)],
        fingerprints: &[],
        codecs: CodecSet::ALL,
        max_message_size: 65_535,
    };
    let track = SendTrack {
        stream_id: "PA_x|TR_y".into(),
        track_id: "TR_y".into(),
        cname: "PA_x".into(),
        ssrc: 1,
        rtx_ssrc: Some(2),
    };
    let receive = AnswerPlan::Receive(ReceiveOptions {
        first: Some(CodecKind::Vp9),
        dtx: true,
        stereo: true,
    });
    let _ = restart_fragment(&offer, &local);
    for plan in [receive, AnswerPlan::Send(Some(&track)), AnswerPlan::Data] {
        let text = answer(&offer, &local, |_| plan);
        let ours = SessionDescription::parse(&text, &UNLIMITED).expect("our own answer");
        assert_eq!(ours.sections.len(), offer.sections.len());
    }
}
