//! Keyframe requests: one for many, again until one comes.

use schalter_forward::{Owner, RouterConfig};
use schalter_model::Time;

use crate::rig::*;

#[test]
fn a_new_subscriber_triggers_one_request_and_many_cause_no_more() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    rig.subscribe(subscription(vec![VP8]));
    assert_eq!(rig.forward(&vp8(100, 1, 0, false)), []);
    for owner in 2..52 {
        rig.router.add_owner(Owner(owner)).unwrap();
        let config = subscription(vec![VP8]);
        rig.router
            .add_consumer(rig.now, Owner(owner), TRACK, config)
            .unwrap();
    }
    assert_eq!(plis(&rig.wait(240)), [100]);
    // No more than two a second, however long none comes.
    assert_eq!(plis(&rig.wait(1_750)).len(), 3);
}

#[test]
fn requests_repeat_until_a_keyframe_comes() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    rig.subscribe(subscription(vec![VP8]));
    rig.forward(&vp8(100, 1, 0, false));
    assert_eq!(plis(&rig.wait(1_600)).len(), 4);
    assert_eq!(rig.forward(&vp8(100, 2, 3_000, true)).len(), 1);
    assert_eq!(plis(&rig.wait(2_000)), []);
}

#[test]
fn subscribers_requests_reach_the_publisher_at_its_pace() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    rig.subscribe(subscription(vec![VP8]));
    rig.forward(&vp8(100, 1, 0, true));
    rig.wait(600);
    for _ in 0..10 {
        rig.control(SUBSCRIBER, |writer| writer.pli(1, OUT).unwrap());
        rig.control(SUBSCRIBER, |writer| writer.fir(1, &[(OUT, 1)]).unwrap());
    }
    assert_eq!(plis(&rig.wait(100)), [100]);
    assert_eq!(rig.counters().pli_received, 20);
}

#[test]
fn nobody_is_asked_when_nobody_watches() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    rig.subscribe(subscription(vec![VP8]));
    rig.forward(&vp8(100, 1, 0, false));
    rig.router.remove_consumer(rig.now, SUBSCRIBER, TRACK);
    assert_eq!(plis(&rig.wait(2_000)), []);
}

#[test]
fn forwarding_starts_with_a_keyframe_even_if_its_packets_were_reordered() {
    let mut rig = Rig::with(RouterConfig::default(), video(vec![encoding(100)]));
    rig.subscribe(subscription(vec![VP8]));
    rig.publish(&vp8(100, 10, 0, false)).unwrap();
    rig.publish(&vp8(100, 12, 3_000, false)).unwrap();
    assert_eq!(rig.received(), []);
    let got = rig.forward(&vp8(100, 11, 3_000, true));
    let sources: Vec<_> = got.iter().filter_map(|got| got.source()).collect();
    assert_eq!(sources, [(100, 11), (100, 12)]);
    let step = got[1].header.sequence.wrapping_sub(got[0].header.sequence);
    assert_eq!(step, 1);
}

#[test]
fn unmuting_waits_for_a_keyframe_and_leaves_no_gap() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    rig.subscribe(subscription(vec![VP8]));
    let first = rig.forward(&vp8(100, 1, 0, true));
    rig.wait(400);
    rig.router.mute_producer(rig.now, TRACK, true);
    let dropped = rig.publish(&vp8(100, 2, 3_000, true));
    assert_eq!(dropped, Err(schalter_model::DropReason::RtpMuted));
    rig.wait(400);
    rig.router.mute_producer(rig.now, TRACK, false);
    assert_eq!(plis(&rig.rtcp()), [100]);
    assert_eq!(rig.forward(&vp8(100, 3, 6_000, false)), []);
    let second = rig.forward(&vp8(100, 4, 9_000, true));
    assert_eq!(second[0].header.sequence, first[0].header.sequence + 1);
    let passed = second[0]
        .header
        .timestamp
        .wrapping_sub(first[0].header.timestamp);
    assert_eq!(passed, 9_000);
    // What was said while muted is nobody's, asked for or not.
    rig.nack(&[first[0].header.sequence, second[0].header.sequence]);
    let again: Vec<_> = rig
        .received()
        .iter()
        .filter_map(|got| got.source())
        .collect();
    assert_eq!(again, [(100, 1), (100, 4)]);
}

#[test]
fn a_request_is_not_owed_before_its_time() {
    let rig = Rig::new(video(vec![encoding(100)]));
    assert!(rig.router.next_timeout().is_none_or(|at| at > Time::ZERO));
}
