//! Which stream of a publisher is which encoding, and what happens when it changes its SSRC.

use schalter_forward::{ForwardEvent, RouterError};
use schalter_model::DropReason;

use crate::rig::*;

#[test]
fn streams_are_bound_by_mid_and_rid_and_their_repairs_too() {
    let mut rig = Rig::new(video(vec![layer("q"), layer("f")]));
    rig.subscribe(subscription(vec![VP8]));
    let low = vp8(900, 1, 0, true).with(1, b"v").with(2, b"q");
    let high = vp8(901, 1, 0, true).with(1, b"v").with(2, b"f");
    rig.publish(&low).unwrap();
    rig.publish(&high).unwrap();
    rig.publish(&vp8(901, 2, 3_000, true)).unwrap();
    rig.publish(&vp8(901, 4, 6_000, false)).unwrap();
    rig.received();
    let repair = vp8(901, 3, 4_500, false)
        .into_rtx(777, 1)
        .with(1, b"v")
        .with(3, b"f");
    let got = rig.forward(&repair);
    assert_eq!(got[0].source(), Some((901, 3)));
    let started: Vec<_> = rig
        .events()
        .into_iter()
        .filter_map(|event| match event {
            ForwardEvent::EncodingStarted { encoding, ssrc, .. } => Some((encoding, ssrc)),
            _ => None,
        })
        .collect();
    assert_eq!(started, [(0, 900), (1, 901)]);
}

#[test]
fn a_payload_type_binds_if_only_one_track_has_it() {
    let mut unnamed = video(vec![layer("x")]);
    unnamed.encodings[0].rid = None;
    let mut rig = Rig::new(unnamed);
    rig.publish(&vp8(900, 1, 0, true)).unwrap();
    assert_eq!(
        rig.publish(&vp8(901, 1, 0, true)),
        Err(DropReason::RtpUnknownSsrc)
    );
    let other = schalter_model::TrackId(8);
    let mut second = video(vec![layer("x")]);
    second.mid = Some("w".into());
    rig.router
        .add_producer(rig.now, PUBLISHER, other, second)
        .unwrap();
    assert_eq!(
        rig.publish(&vp8(902, 1, 0, true)),
        Err(DropReason::RtpUnknownSsrc)
    );
}

#[test]
fn a_new_ssrc_continues_the_stream_and_the_old_one_is_over() {
    let mut rig = Rig::new(video(vec![layer("f")]));
    rig.subscribe(subscription(vec![VP8]));
    let named = |ssrc, sequence, timestamp, keyframe| {
        vp8(ssrc, sequence, timestamp, keyframe)
            .with(1, b"v")
            .with(2, b"f")
    };
    let before = rig.forward(&named(900, 1, 1_000_000, true)).remove(0);
    rig.wait(100);
    assert_eq!(rig.forward(&named(901, 30_000, 5, false)), []);
    assert_eq!(
        rig.publish(&named(900, 2, 1_003_000, false)),
        Err(DropReason::RtpTooOld)
    );
    rig.wait(100);
    let after = rig.forward(&named(901, 30_001, 3_005, true)).remove(0);
    assert_eq!(after.header.sequence, before.header.sequence + 1);
    assert_eq!(after.picture_id(), before.picture_id() + 1);
    let ticks = after.header.timestamp.wrapping_sub(before.header.timestamp);
    assert_eq!(ticks, 18_000);
}

#[test]
fn unknown_payload_types_and_broken_packets_are_told_apart() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    let mut strange = vp8(100, 1, 0, true);
    strange.header.payload_type = 50;
    assert_eq!(
        rig.publish(&strange),
        Err(DropReason::RtpUnknownPayloadType)
    );
    let broken = rig.router.on_rtp(rig.now, PUBLISHER, &[0x80, 96, 0]);
    assert_eq!(broken, Err(DropReason::RtpMalformed));
    let broken = rig.router.on_rtcp(rig.now, PUBLISHER, &[0x80, 200, 0, 9]);
    assert_eq!(broken, Err(DropReason::RtcpMalformed));
}

#[test]
fn a_publishers_ssrcs_are_bounded() {
    let config = schalter_forward::RouterConfig {
        max_ssrcs_per_owner: 2,
        ..Default::default()
    };
    let mut rig = Rig::with(config, video(vec![layer("a"), layer("b"), layer("c")]));
    for (ssrc, rid) in [(1, b"a"), (2, b"b")] {
        rig.publish(&vp8(ssrc, 1, 0, true).with(1, b"v").with(2, rid))
            .unwrap();
    }
    let third = vp8(3, 1, 0, true).with(1, b"v").with(2, b"c");
    assert_eq!(rig.publish(&third), Err(DropReason::RtpUnknownSsrc));
}

#[test]
fn configurations_that_cannot_work_are_refused() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    let now = rig.now;
    let nothing =
        rig.router
            .add_producer(now, PUBLISHER, schalter_model::TrackId(1), video(vec![]));
    assert_eq!(nothing, Err(RouterError::InvalidConfig));
    let foreign = rig
        .router
        .add_producer(now, SUBSCRIBER, TRACK, video(vec![encoding(100)]));
    assert_eq!(foreign, Err(RouterError::ForeignTrack));
    let unshared = rig
        .router
        .add_consumer(now, SUBSCRIBER, TRACK, subscription(vec![OPUS]));
    assert_eq!(unshared, Err(RouterError::NoCommonCodec));
    rig.subscribe(subscription(vec![VP8]));
    let other = schalter_model::TrackId(8);
    rig.router
        .add_producer(now, PUBLISHER, other, audio(vec![OPUS]))
        .unwrap();
    let taken = rig
        .router
        .add_consumer(now, SUBSCRIBER, other, subscription(vec![OPUS]));
    assert_eq!(taken, Err(RouterError::SsrcInUse));
}

#[test]
fn replaced_payload_types_keep_the_stream() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    rig.subscribe(subscription(vec![VP8]));
    let before = rig.forward(&vp8(100, 1, 0, true)).remove(0);
    let mut renumbered = video(vec![encoding(100)]);
    renumbered.codecs[0].payload_type = 120;
    rig.router
        .add_producer(rig.now, PUBLISHER, TRACK, renumbered)
        .unwrap();
    let mut packet = vp8(100, 2, 3_000, false);
    packet.header.payload_type = 120;
    let after = rig.forward(&packet).remove(0);
    assert_eq!(after.header.sequence, before.header.sequence + 1);
    assert_eq!(after.header.payload_type, 96);
}
