//! What a subscriber gets whose link does not carry everything: told by its own estimate (REMB) here.

use schalter_forward::{ForwardEvent, Rank};
use schalter_model::Bitrate;

use crate::rig::*;

/// A picture of about 700 kbit/s, in packets of 1,200 bytes, 75 a second.
fn big(n: u16, keyframe: bool) -> Packet {
    let mut packet = vp8(100, n, u32::from(n) * 1_200, keyframe);
    packet.payload.resize(1_200, 0);
    packet
}

/// Two seconds of pictures for somebody who says how much its link carries; answers how many of the last 75 arrived.
fn two_seconds(rig: &mut Rig, n: &mut u16, kbps: u64) -> usize {
    let mut arrived = 0;
    for frame in 0..150 {
        if frame % 25 == 0 {
            rig.control(SUBSCRIBER, |w| w.remb(1, kbps * 1_000, &[OUT]).unwrap());
        }
        *n += 1;
        // The encoder answers requests as soon as it can: with the next picture.
        let mut got = rig.forward(&big(*n, true));
        rig.wait(13);
        got.extend(rig.received());
        let media = got.iter().filter(|got| got.header.ssrc == OUT).count();
        arrived += if frame >= 75 { media } else { 0 };
    }
    arrived
}

fn states(rig: &mut Rig) -> Vec<bool> {
    let events = rig.events().into_iter();
    let states = events.filter_map(|event| match event {
        ForwardEvent::StreamState { paused, .. } => Some(paused),
        _ => None,
    });
    states.collect()
}

fn watched() -> Rig {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    rig.subscribe(subscription(vec![VP8]));
    rig
}

#[test]
fn a_picture_that_does_not_fit_stops_says_so_and_comes_back() {
    let (mut rig, mut n) = (watched(), 0);
    assert!(two_seconds(&mut rig, &mut n, 5_000) >= 70);
    assert_eq!(states(&mut rig), []);
    assert_eq!(two_seconds(&mut rig, &mut n, 150), 0);
    assert_eq!(states(&mut rig), [true]);
    for _ in 0..3 {
        two_seconds(&mut rig, &mut n, 5_000);
    }
    assert!(two_seconds(&mut rig, &mut n, 5_000) >= 70);
    assert_eq!(states(&mut rig), [false]);
    let links = rig.counters().links;
    assert_eq!((links.pauses, links.resumes), (1, 1));
}

#[test]
fn an_estimate_that_follows_what_is_sent_limits_nothing() {
    let (mut rig, mut n) = (watched(), 0);
    two_seconds(&mut rig, &mut n, 5_000);
    // Of some 780 kbit/s that are sent, headers counted.
    for _ in 0..5 {
        assert!(two_seconds(&mut rig, &mut n, 700) >= 70);
    }
    assert_eq!(states(&mut rig), []);
    assert_eq!(two_seconds(&mut rig, &mut n, 500), 0);
    assert_eq!(states(&mut rig), [true]);
}

#[test]
fn a_picture_that_nearly_fits_goes_on() {
    let (mut rig, mut n) = (watched(), 0);
    two_seconds(&mut rig, &mut n, 5_000);
    // A quarter less than is sent: an estimate after a fall is that low, and the picture would come back with a key frame.
    for _ in 0..5 {
        assert!(two_seconds(&mut rig, &mut n, 600) >= 70);
    }
    assert_eq!(states(&mut rig), []);
}

#[test]
fn what_links_are_believed_to_carry_is_counted_once_a_second() {
    let (mut rig, mut n) = (watched(), 0);
    let before = rig.counters().links;
    assert_eq!((before.measured, before.estimates.count()), (0, 0));
    for _ in 0..3 {
        two_seconds(&mut rig, &mut n, 150);
    }
    let links = rig.counters().links;
    assert_eq!((links.measured, links.distressed), (1, 1));
    let seen = links.estimates.count();
    assert!((4..=6).contains(&seen), "{seen}");
    // 150 kbit/s is above the first bound and not above the second.
    let low = links.estimates.cumulative();
    assert_eq!(low[0], 0);
    assert!(low[1] >= 4, "{low:?}");
    assert_eq!((links.queues.count(), links.losses.count()), (seen, seen));
    rig.router.remove_owner(rig.now, SUBSCRIBER);
    assert_eq!(rig.counters().links.measured, 0);
}

#[test]
fn another_layer_is_counted_as_a_switch() {
    let mut rig = Rig::new(video(vec![encoding(100), encoding(200)]));
    rig.subscribe(subscription(vec![VP8]));
    let small = |n: u16| {
        let mut packet = vp8(100, n, u32::from(n) * 1_200, true);
        packet.payload.resize(300, 0);
        packet
    };
    let large = |n: u16| {
        let mut packet = vp8(200, n, u32::from(n) * 1_200, true);
        packet.payload.resize(1_200, 0);
        packet
    };
    let mut n = 0;
    let mut run = |rig: &mut Rig, kbps: u64| {
        for frame in 0..300 {
            if frame % 25 == 0 {
                rig.control(SUBSCRIBER, |w| w.remb(1, kbps * 1_000, &[OUT]).unwrap());
            }
            n += 1;
            rig.forward(&small(n));
            rig.forward(&large(n));
            rig.wait(13);
            rig.received();
        }
        rig.counters().links
    };
    let wide = run(&mut rig, 5_000);
    let thin = run(&mut rig, 400);
    assert_eq!(thin.switches_down, wide.switches_down + 1, "{thin:?}");
    run(&mut rig, 5_000);
    run(&mut rig, 5_000);
    let wide = run(&mut rig, 5_000);
    assert_eq!(wide.switches_up, thin.switches_up + 1, "{wide:?}");
    assert_eq!(wide.pauses, 0);
}

#[test]
fn who_signs_is_never_stopped() {
    let (mut rig, mut n) = (watched(), 0);
    let target = schalter_forward::ConsumerTarget {
        rank: Rank::SIGNING,
        ..Default::default()
    };
    rig.router.set_target(rig.now, SUBSCRIBER, TRACK, target);
    two_seconds(&mut rig, &mut n, 5_000);
    assert!(two_seconds(&mut rig, &mut n, 150) >= 70);
    assert_eq!(states(&mut rig), []);
}

#[test]
fn what_a_full_link_made_give_up_is_not_repaired() {
    let (mut rig, mut n) = (watched(), 0);
    two_seconds(&mut rig, &mut n, 5_000);
    n += 1;
    let last = rig.forward(&big(n, true)).remove(0).header.sequence;
    rig.nack(&[last]);
    rig.wait(40);
    assert_eq!(rig.received().len(), 1, "while it flows it is");
    two_seconds(&mut rig, &mut n, 150);
    assert_eq!(states(&mut rig), [true]);
    rig.wait(200);
    rig.received();
    rig.nack(&[last]);
    rig.wait(200);
    assert_eq!(rig.received(), []);
}

#[test]
fn a_limit_counts_as_a_link_that_carries_no_more_until_it_is_lifted() {
    for measured in [true, false] {
        let (mut rig, mut n) = (watched(), 0);
        let kbps = |rig: &mut Rig, n: &mut u16| {
            if measured {
                return two_seconds(rig, n, 5_000);
            }
            (0..150)
                .map(|frame| {
                    *n += 1;
                    let mut got = rig.forward(&big(*n, true));
                    rig.wait(13);
                    got.extend(rig.received());
                    let media = got.iter().filter(|got| got.header.ssrc == OUT).count();
                    if frame >= 75 { media } else { 0 }
                })
                .sum()
        };
        assert!(kbps(&mut rig, &mut n) >= 70, "measured: {measured}");
        let limit = Some(Bitrate::from_kbps(150));
        rig.router.limit_link(rig.now, SUBSCRIBER, limit);
        kbps(&mut rig, &mut n);
        assert_eq!(kbps(&mut rig, &mut n), 0, "measured: {measured}");
        assert_eq!(states(&mut rig), [true], "measured: {measured}");
        rig.router.limit_link(rig.now, SUBSCRIBER, None);
        kbps(&mut rig, &mut n);
        assert!(kbps(&mut rig, &mut n) >= 70, "measured: {measured}");
        assert_eq!(states(&mut rig), [false], "measured: {measured}");
    }
}

/// Two encodings of a camera for two seconds, 75 pictures a second: some 210 and some 750 kbit/s. Answers how many packets of
/// the larger one arrived, on a link that says of itself that it is wide.
fn camera(rig: &mut Rig, n: &mut u16, frames: usize) -> usize {
    let mut large = 0;
    for frame in 0..frames {
        if frame % 25 == 0 {
            rig.control(SUBSCRIBER, |w| w.remb(1, 5_000_000, &[OUT]).unwrap());
        }
        *n += 1;
        let mut got = Vec::new();
        for (ssrc, len) in [(100, 300), (200, 1_200)] {
            let mut packet = vp8(ssrc, *n, u32::from(*n) * 1_200, true);
            packet.payload.resize(len, 0);
            got.extend(rig.forward(&packet));
        }
        rig.wait(13);
        got.extend(rig.received());
        let media = got.iter().filter(|got| got.header.ssrc == OUT);
        large += media.filter(|got| got.payload.len() > 1_000).count();
    }
    large
}

#[test]
fn what_paused_in_its_first_second_is_not_taken_for_cheap() {
    let mut rig = Rig::new(video(vec![encoding(100), encoding(200)]));
    rig.subscribe(subscription(vec![VP8]));
    let limit = Some(Bitrate::from_kbps(400));
    rig.router.limit_link(rig.now, SUBSCRIBER, limit);
    let mut n = 0;
    camera(&mut rig, &mut n, 20);
    rig.wait(800);
    assert_eq!(camera(&mut rig, &mut n, 300), 0);
    rig.router.limit_link(rig.now, SUBSCRIBER, None);
    assert!(camera(&mut rig, &mut n, 150) > 100);
}

#[test]
fn a_publisher_that_paused_does_not_seem_cheap_afterwards() {
    let mut rig = Rig::new(video(vec![encoding(100), encoding(200)]));
    rig.subscribe(subscription(vec![VP8]));
    let mut n = 0;
    assert!(camera(&mut rig, &mut n, 300) > 100);
    let limit = Some(Bitrate::from_kbps(400));
    rig.router.limit_link(rig.now, SUBSCRIBER, limit);
    camera(&mut rig, &mut n, 150);
    assert_eq!(camera(&mut rig, &mut n, 150), 0);
    let switched = rig.counters().links;
    // A busy machine: for less than what counts as silence nothing is encoded, and the last second seems to have cost little.
    for millis in [250, 500, 900] {
        rig.wait(millis);
        assert_eq!(camera(&mut rig, &mut n, 150), 0, "after {millis} ms");
    }
    let after = rig.counters().links;
    assert_eq!(after.switches_up, switched.switches_up);
    rig.router.limit_link(rig.now, SUBSCRIBER, None);
    assert!(camera(&mut rig, &mut n, 150) > 100);
}
