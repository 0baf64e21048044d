//! RTCP that the router makes of its own accord: reports, transport-wide feedback, goodbyes.

use schalter_forward::{CodecBinding, Owner};
use schalter_model::TrackId;
use schalter_rtp::rtcp::{ReportBlock, SenderInfo};

use crate::rig::*;

fn of(sent: &[(Owner, Vec<Control>)], owner: Owner) -> Vec<Control> {
    let parts = sent.iter().filter(|(to, _)| *to == owner);
    parts.flat_map(|(_, all)| all.clone()).collect()
}

fn publisher_report(rig: &mut Rig, ssrc: u32, ntp: u64, rtp_timestamp: u32) {
    let info = SenderInfo {
        ssrc,
        ntp,
        rtp_timestamp,
        packet_count: 0,
        octet_count: 0,
    };
    rig.control(PUBLISHER, |writer| {
        writer.sender_report(&info, &[]).unwrap()
    });
}

#[test]
fn sender_reports_keep_the_publishers_time_for_sound_and_picture() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    let sound = TrackId(8);
    rig.router
        .add_producer(rig.now, PUBLISHER, sound, audio(vec![OPUS]))
        .unwrap();
    rig.subscribe(subscription(vec![VP8]));
    let mut config = subscription(vec![OPUS]);
    (config.ssrc, config.rtx_ssrc) = (OUT + 10, None);
    rig.router
        .add_consumer(rig.now, SUBSCRIBER, sound, config)
        .unwrap();
    // Both clocks say second 5,000 at the same instant.
    let picture = rig.forward(&vp8(100, 1, 90_000, true)).remove(0);
    let voice = rig.forward(&opus(1, 48_000, b"sound")).remove(0);
    publisher_report(&mut rig, 100, 5_000 << 32, 90_000);
    publisher_report(&mut rig, 500, 5_000 << 32, 48_000);
    rig.wait(400);
    rig.forward(&vp8(100, 2, 90_000 + 36_000, false));
    rig.forward(&opus(2, 48_000 + 19_200, b"sound"));
    let sent = of(&rig.wait(1_100), SUBSCRIBER);
    let mut checked = 0;
    for control in &sent {
        let Control::Sender {
            ssrc,
            ntp,
            timestamp,
            packets,
        } = control
        else {
            continue;
        };
        let (first, rate) = if *ssrc == OUT {
            (&picture, 90_000_u64)
        } else {
            (&voice, 48_000)
        };
        let passed = ntp - (5_000_u64 << 32);
        let ticks = timestamp.wrapping_sub(first.header.timestamp);
        let expected = (passed * rate) >> 32;
        assert!(
            expected.abs_diff(u64::from(ticks)) <= 1,
            "{ssrc:x} {ticks} {expected}"
        );
        assert_eq!(*packets, 2);
        checked += 1;
    }
    assert!(checked >= 2, "{sent:?}");
    for ssrc in [OUT, OUT + 10] {
        let name = "stream".to_owned();
        assert!(sent.contains(&Control::Cname { ssrc, name }));
    }
}

#[test]
fn subscribers_reports_give_loss_and_round_trip() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    rig.subscribe(subscription(vec![VP8]));
    rig.forward(&vp8(100, 1, 0, true));
    publisher_report(&mut rig, 100, 5_000 << 32, 0);
    let sent = of(&rig.rtcp(), SUBSCRIBER);
    let Some(Control::Sender { ntp, .. }) = sent.first().cloned() else {
        panic!("no sender report at once: {sent:?}");
    };
    rig.wait(80);
    let block = ReportBlock {
        ssrc: OUT,
        fraction_lost: 64,
        cumulative_lost: 3,
        jitter: 9,
        last_sr: (ntp >> 16) as u32,
        // 50 ms in 1/65536 s.
        delay_since_last_sr: 3_277,
        ..ReportBlock::default()
    };
    rig.control(SUBSCRIBER, |writer| {
        writer.receiver_report(1, &[block]).unwrap()
    });
    let stats = rig.router.consumer_stats(SUBSCRIBER, TRACK).unwrap();
    assert_eq!(
        (stats.fraction_lost, stats.cumulative_lost, stats.jitter),
        (64, 3, 9)
    );
    let round_trip = stats.round_trip.unwrap().as_micros();
    assert!((29_900..=30_100).contains(&round_trip), "{round_trip}");
}

#[test]
fn publishers_are_told_loss_and_their_last_report() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    rig.publish(&vp8(100, 10, 0, true)).unwrap();
    rig.publish(&vp8(100, 13, 0, false)).unwrap();
    publisher_report(&mut rig, 100, 0x1234_5678_9abc_def0, 0);
    let sent = of(&rig.wait(1_000), PUBLISHER);
    let block = sent.iter().find_map(|control| match control {
        Control::Receiver { blocks } => blocks.first(),
        _ => None,
    });
    let block = block.expect("a report within a second");
    assert_eq!(
        (block.ssrc, block.fraction_lost, block.cumulative_lost),
        (100, 128, 2)
    );
    assert_eq!((block.highest_sequence, block.last_sr), (13, 0x5678_9abc));
    assert!(block.delay_since_last_sr > 0);
}

#[test]
fn every_compound_to_a_publisher_begins_with_a_report_and_a_name() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    rig.subscribe(subscription(vec![VP8]));
    rig.publish(&vp8(100, 10, 0, false)).unwrap();
    for (owner, parts) in rig.wait(3_000) {
        if owner == PUBLISHER {
            assert!(matches!(parts[0], Control::Receiver { .. }), "{parts:?}");
            assert!(matches!(parts[1], Control::Cname { .. }), "{parts:?}");
        }
    }
}

#[test]
fn arrivals_are_fed_back_across_all_streams_of_a_publisher() {
    let mut rig = Rig::new(video(vec![encoding(100), encoding(101)]));
    for n in [1_u16, 2, 4] {
        let packet = vp8(100 + u32::from(n % 2), n, 0, true).with(5, &n.to_be_bytes());
        rig.publish(&packet).unwrap();
    }
    let mut probe = vp8(100, 9, 0, false).into_rtx(1_100, 5).with(5, &[0, 5]);
    probe.payload.clear();
    rig.publish(&probe).unwrap();
    let sent = of(&rig.wait(50), PUBLISHER);
    let feedback = Control::Feedback {
        base: 1,
        statuses: vec![true, true, false, true, true],
    };
    assert!(sent.contains(&feedback), "{sent:?}");
}

#[test]
fn an_ended_subscription_says_goodbye() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    rig.subscribe(subscription(vec![VP8]));
    rig.forward(&vp8(100, 1, 0, true));
    rig.router.remove_producer(rig.now, TRACK);
    let bye = Control::Bye { ssrcs: vec![OUT] };
    assert!(of(&rig.rtcp(), SUBSCRIBER).contains(&bye));
    assert!(!of(&rig.wait(2_000), SUBSCRIBER).contains(&bye));
}

#[test]
fn many_reports_are_split_at_the_size_of_a_datagram() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    for n in 0..100_u32 {
        let track = TrackId(u64::from(n) + 100);
        let mut producer = audio(vec![OPUS]);
        producer.encodings[0].ssrc = Some(5_000 + n);
        rig.router
            .add_producer(rig.now, PUBLISHER, track, producer)
            .unwrap();
        let mut config = subscription(vec![CodecBinding {
            payload_type: 96,
            ..OPUS
        }]);
        (config.ssrc, config.rtx_ssrc) = (9_000 + n, None);
        rig.router
            .add_consumer(rig.now, SUBSCRIBER, track, config)
            .unwrap();
    }
    // Our own clock stands in after three seconds without the publisher's.
    for round in 0..200_u16 {
        for n in 0..100_u32 {
            let mut packet = opus(round, u32::from(round) * 960, b"sound");
            packet.header.ssrc = 5_000 + n;
            rig.publish(&packet).unwrap();
        }
        rig.received();
        rig.wait(20);
    }
    let sent = rig.wait(1_000);
    let mut reported: Vec<_> = of(&sent, SUBSCRIBER)
        .iter()
        .filter_map(|control| match control {
            Control::Sender { ssrc, .. } => Some(*ssrc),
            _ => None,
        })
        .collect();
    reported.sort_unstable();
    reported.dedup();
    assert_eq!(reported.len(), 100);
    let blocks: usize = of(&sent, PUBLISHER)
        .iter()
        .map(|control| match control {
            Control::Receiver { blocks } => blocks.len(),
            _ => 0,
        })
        .sum();
    assert!((100..=200).contains(&blocks), "{blocks}");
}

#[test]
fn the_mid_is_sent_until_the_subscriber_reports() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    let mut config = subscription(vec![VP8]);
    config.mid = Some("17".into());
    config.extensions.mid = Some(9);
    config.extensions.transport_cc = Some(3);
    rig.subscribe(config);
    let first = rig.forward(&vp8(100, 1, 0, true)).remove(0);
    assert_eq!(first.elements.get(&9), Some(&b"17".to_vec()));
    assert_eq!(first.elements.get(&3), Some(&vec![0, 0]));
    let block = ReportBlock {
        ssrc: OUT,
        ..ReportBlock::default()
    };
    rig.control(SUBSCRIBER, |writer| {
        writer.receiver_report(1, &[block]).unwrap()
    });
    let second = rig.forward(&vp8(100, 2, 3_000, false)).remove(0);
    assert_eq!(second.elements.get(&9), None);
    assert_eq!(second.elements.get(&3), Some(&vec![0, 1]));
}
