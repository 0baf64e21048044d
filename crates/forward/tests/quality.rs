//! How media fares, as it is told of each transport.

use schalter_forward::{BEST_SCORE, ForwardEvent, MediaQuality, Owner};
use schalter_rtp::rtcp::ReportBlock;

use crate::rig::*;

fn told(rig: &mut Rig, owner: Owner) -> Vec<MediaQuality> {
    let events = rig.events().into_iter();
    let told = events.filter_map(|event| match event {
        ForwardEvent::Quality { owner: of, quality } => (of == owner).then_some(quality),
        _ => None,
    });
    told.collect()
}

fn frame(n: u16) -> Packet {
    vp8(100, n, u32::from(n) * 3_000, true)
}

/// Frames of a camera, 30 a second, except those that are lost.
fn film(rig: &mut Rig, from: u16, frames: u16, lost: impl Fn(u16) -> bool) {
    for n in from..from + frames {
        if !lost(n) {
            rig.forward(&frame(n));
        }
        rig.wait(if n % 3 == 0 { 34 } else { 33 });
    }
}

#[test]
fn media_that_flows_is_told_every_five_seconds_as_the_best() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    rig.subscribe(subscription(vec![VP8]));
    film(&mut rig, 1, 450, |_| false);
    let told = told(&mut rig, PUBLISHER);
    assert!((2..=3).contains(&told.len()), "{told:?}");
    for quality in &told {
        let uplink = quality.uplink.unwrap();
        assert_eq!((uplink.loss, uplink.stalls), (0.0, 0));
        assert!(uplink.frame_share > 0.9, "{uplink:?}");
        assert_eq!((quality.downlink, quality.score()), (None, BEST_SCORE));
    }
    let counted = rig.counters().quality;
    // Frames of 30 a second are not above the bound of 30 and above that of 25.
    let rates = counted.frame_rates.cumulative();
    assert_eq!((rates[5], rates[6]), (0, counted.frame_rates.count()));
    assert!(counted.scores.count() >= 4, "publisher and subscriber");
    assert_eq!(counted.scores.cumulative()[4], 0, "all above 4");
}

#[test]
fn what_a_publisher_loses_lowers_its_score_and_nobody_elses() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    rig.subscribe(subscription(vec![VP8]));
    film(&mut rig, 1, 330, |n| n % 10 == 5);
    let quality = told(&mut rig, PUBLISHER).pop().unwrap();
    let uplink = quality.uplink.unwrap();
    assert!((0.09..0.11).contains(&uplink.loss), "{uplink:?}");
    assert_eq!(uplink.stalls, 0);
    assert!((1.5..2.6).contains(&quality.score()), "{}", quality.score());
    film(&mut rig, 331, 330, |_| false);
    let events = rig.events();
    let subscriber = events.iter().rev().find_map(|event| match event {
        ForwardEvent::Quality { owner, quality } => (*owner == SUBSCRIBER).then_some(*quality),
        _ => None,
    });
    assert_eq!(subscriber.unwrap().score(), BEST_SCORE);
}

#[test]
fn an_outage_of_a_second_is_a_stall_and_a_pause_of_the_source_is_none() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    rig.subscribe(subscription(vec![VP8]));
    film(&mut rig, 1, 100, |_| false);
    rig.wait(2_000);
    // 60 frames' time that nothing was made in: the numbers go on, the timestamps jump.
    for n in 101..150 {
        rig.forward(&vp8(100, n, (u32::from(n) + 60) * 3_000, true));
        rig.wait(33);
    }
    assert_eq!(rig.counters().quality.freezes, 0);
    told(&mut rig, PUBLISHER);
    film(&mut rig, 210, 300, |n| (250..280).contains(&n));
    let stalled: Vec<_> = told(&mut rig, PUBLISHER)
        .into_iter()
        .filter_map(|quality| quality.uplink)
        .filter(|uplink| uplink.stalls > 0)
        .collect();
    assert_eq!(stalled.len(), 1, "{stalled:?}");
    let millis = stalled[0].stalled.as_millis();
    assert!((950..1_200).contains(&millis), "{millis}");
    assert_eq!(rig.counters().quality.freezes, 1);
}

#[test]
fn a_muted_track_doesnt_count() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    rig.router.mute_producer(rig.now, TRACK, true);
    for n in 1..200 {
        if n % 3 == 0 {
            assert!(rig.publish(&frame(n)).is_err());
        }
        rig.wait(33);
    }
    assert_eq!(told(&mut rig, PUBLISHER), []);
}

#[test]
fn what_a_subscriber_reports_is_told() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    rig.subscribe(subscription(vec![VP8]));
    film(&mut rig, 1, 10, |_| false);
    let block = ReportBlock {
        ssrc: OUT,
        fraction_lost: 26,
        ..ReportBlock::default()
    };
    rig.control(SUBSCRIBER, |w| w.receiver_report(1, &[block]).unwrap());
    film(&mut rig, 11, 150, |_| false);
    let quality = told(&mut rig, SUBSCRIBER).pop().unwrap();
    let downlink = quality.downlink.unwrap();
    assert!((0.1..0.103).contains(&downlink.loss), "{downlink:?}");
    assert!(quality.score() < 2.5);
}

#[test]
fn a_picture_that_stopped_for_want_of_bandwidth_is_felt() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    rig.subscribe(subscription(vec![VP8]));
    for n in 0..1_200_u16 {
        if n % 25 == 0 {
            rig.control(SUBSCRIBER, |w| w.remb(1, 100_000, &[OUT]).unwrap());
        }
        let mut packet = vp8(100, n + 1, u32::from(n) * 1_200, true);
        packet.payload.resize(1_200, 0);
        rig.forward(&packet);
        rig.wait(13);
        rig.received();
    }
    let quality = told(&mut rig, SUBSCRIBER).pop().unwrap();
    let downlink = quality.downlink.unwrap();
    assert_eq!((downlink.paused, downlink.share < 0.5), (1, true));
    assert!(quality.score() <= 2.5);
}

#[test]
fn silence_that_sends_nothing_passes_and_is_neither_loss_nor_stall() {
    // Opus with DTX: speech, comfort noise every 400 ms, nothing for ten seconds, speech (RFC 7587 §3.1.3).
    let mut rig = Rig::new(audio(vec![OPUS]));
    rig.subscribe(subscription(vec![OPUS]));
    let (mut sent, mut got, mut asked) = (Vec::new(), Vec::new(), Vec::new());
    // Packets, and how far apart; the last one has nothing after it for ten seconds.
    for (packets, every) in [(50, 20), (9, 400), (1, 10_000), (301, 20)] {
        for _ in 0..packets {
            let timestamp = (rig.now.as_micros() / 1_000 * 48) as u32;
            sent.push(timestamp);
            let packet = opus(sent.len() as u16, timestamp, b"sound").with(4, &[0x80 | 40]);
            got.extend(rig.forward(&packet));
            asked.extend(rig.wait(every));
        }
    }
    assert_eq!(got.len(), 361);
    let first = &got[0].header;
    for ((n, got), sent_at) in (0..).zip(&got).zip(&sent) {
        assert_eq!(got.header.sequence, first.sequence.wrapping_add(n));
        let passed = got.header.timestamp.wrapping_sub(first.timestamp);
        assert_eq!(passed, sent_at - sent[0]);
    }
    assert_eq!(nacks(&asked), []);
    let lost = asked
        .iter()
        .flat_map(|(_, parts)| parts)
        .any(|part| match part {
            Control::Receiver { blocks } => blocks.iter().any(|block| block.fraction_lost > 0),
            _ => false,
        });
    assert!(!lost, "{asked:?}");
    let told = told(&mut rig, PUBLISHER);
    assert!(told.len() >= 3);
    assert!(told.iter().all(|quality| quality.score() == BEST_SCORE));
    assert_eq!(rig.counters().quality.freezes, 0);
}
