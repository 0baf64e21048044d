//! Losses on both sides: asked for at the publisher, answered to subscribers.

use schalter_forward::{CodecBinding, ConsumerConfig};
use schalter_model::DropReason;
use schalter_rtp::rtcp::ReportBlock;

use crate::rig::*;

fn watched() -> Rig {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    let with_rtx = CodecBinding {
        payload_type: 98,
        rtx_payload_type: Some(99),
        ..VP8
    };
    rig.subscribe(subscription(vec![with_rtx]));
    rig
}

#[test]
fn a_nack_is_answered_from_the_cache_as_rfc_4588_retransmission() {
    let mut rig = watched();
    let first = rig.forward(&vp8(100, 10, 0, true)).remove(0);
    let second = rig.forward(&vp8(100, 11, 3_000, false)).remove(0);
    rig.nack(&[first.header.sequence, second.header.sequence]);
    let again = rig.received();
    assert_eq!(again.len(), 2);
    for (original, again) in [&first, &second].into_iter().zip(&again) {
        assert_eq!(again.header.ssrc, OUT_RTX);
        assert_eq!(again.header.payload_type, 99);
        assert_eq!(again.header.timestamp, original.header.timestamp);
        assert_eq!(again.payload[..2], original.header.sequence.to_be_bytes());
        assert_eq!(again.payload[2..], original.payload[..]);
    }
    assert_eq!(
        again[1].header.sequence,
        again[0].header.sequence.wrapping_add(1)
    );
    assert_eq!(rig.counters().rtx_out, 2);
}

#[test]
fn what_is_a_second_old_is_replaced_by_a_keyframe() {
    let mut rig = watched();
    let old = rig.forward(&vp8(100, 10, 0, true)).remove(0);
    rig.wait(500);
    let new = rig.forward(&vp8(100, 11, 45_000, false)).remove(0);
    rig.wait(499);
    rig.nack(&[old.header.sequence]);
    assert_eq!(rig.received().len(), 1, "not a second old yet");
    rig.wait(1);
    rig.nack(&[old.header.sequence, new.header.sequence]);
    assert_eq!(rig.received(), [], "what follows is of no use without it");
    assert_eq!(plis(&rig.wait(200)), [100]);
    assert_eq!(rig.counters().rtx_missed, 1);
}

/// The section of every packet that is sent on the stream for retransmissions, among `got`.
fn repairs_with_mid(got: &[Got]) -> Vec<bool> {
    let repairs = got.iter().filter(|got| got.header.ssrc == OUT_RTX);
    repairs
        .map(|got| got.elements.get(&9).is_some_and(|mid| mid == b"17"))
        .collect()
}

#[test]
fn whatever_is_sent_again_names_its_section() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    let with_rtx = CodecBinding {
        rtx_payload_type: Some(99),
        ..VP8
    };
    let mut config = subscription(vec![with_rtx]);
    config.mid = Some("17".into());
    config.extensions.mid = Some(9);
    config.extensions.transport_cc = Some(5);
    rig.subscribe(config);
    rig.forward(&vp8(100, 10, 0, true));
    // The subscriber knows the stream of the media itself: that names its section no longer.
    let block = ReportBlock {
        ssrc: OUT,
        ..ReportBlock::default()
    };
    rig.control(SUBSCRIBER, |w| w.receiver_report(1, &[block]).unwrap());
    let known = rig.forward(&vp8(100, 11, 3_000, false)).remove(0);
    assert_eq!(known.elements.get(&9), None);
    rig.nack(&[known.header.sequence]);
    assert_eq!(repairs_with_mid(&rig.received()), [true]);
    // Nor is there a report on what fills probes.
    let mut all = Vec::new();
    for n in 0..200 {
        // Most of what a link is taken to carry at first: there is reason to look for more, and room to.
        let mut packet = vp8(100, 12 + n, u32::from(n + 2) * 1_800, n == 0);
        packet.payload.resize(1_200, 0);
        let mut got = rig.forward(&packet);
        for _ in 0..20 {
            rig.wait(1);
            got.extend(rig.received());
        }
        let ticks = (rig.now.as_micros() / 250) as i64;
        let arrived: Vec<(u16, Option<i64>)> = got
            .iter()
            .map(|got| u16::from_be_bytes([got.elements[&5][0], got.elements[&5][1]]))
            .map(|number| (number, Some(ticks)))
            .collect();
        rig.control(SUBSCRIBER, |w| {
            w.transport_cc(1, OUT, n as u8, &arrived).unwrap();
        });
        all.extend(got);
    }
    let probes = repairs_with_mid(&all);
    let padding = all.iter().filter(|got| got.payload.is_empty()).count();
    assert!(padding > 5 && probes.len() >= padding, "{probes:?}");
    assert!(probes.iter().all(|with_mid| *with_mid), "{probes:?}");
}

#[test]
fn without_a_retransmission_ssrc_the_packet_itself_comes_again() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    let config = ConsumerConfig {
        rtx_ssrc: None,
        ..subscription(vec![VP8])
    };
    rig.subscribe(config);
    let first = rig.forward(&vp8(100, 10, 0, true));
    rig.nack(&[first[0].header.sequence]);
    assert_eq!(rig.received(), first);
}

#[test]
fn one_loss_is_answered_once_a_round_trip_and_floods_are_bounded() {
    let mut rig = watched();
    let first = rig
        .forward(&vp8(100, 10, 0, true))
        .remove(0)
        .header
        .sequence;
    for _ in 0..5 {
        rig.nack(&[first]);
    }
    assert_eq!(rig.received().len(), 1);
    rig.wait(20);
    rig.nack(&[first]);
    assert_eq!(rig.received().len(), 1);
    for n in 1..600 {
        rig.forward(&vp8(100, 10 + n, u32::from(n) * 3_000, false));
    }
    rig.wait(900);
    let all: Vec<_> = (0..600).map(|n| first + n).collect();
    for part in all.chunks(100) {
        rig.nack(part);
    }
    let burst = rig.received().len();
    assert!((200..=260).contains(&burst), "{burst}");
}

#[test]
fn what_the_cache_lost_is_counted_and_not_sent() {
    let mut rig = watched();
    let first = rig
        .forward(&vp8(100, 10, 0, true))
        .remove(0)
        .header
        .sequence;
    for n in 1..1_100 {
        rig.forward(&vp8(100, 10 + n, u32::from(n) * 3_000, false));
    }
    rig.nack(&[first.wrapping_sub(5), first.wrapping_add(5_000), first]);
    assert_eq!(rig.received(), []);
    assert_eq!(rig.counters().rtx_missed, 3);
    assert_eq!(plis(&rig.wait(200)), [100], "nothing else can mend it");
}

#[test]
fn a_gap_is_asked_for_and_the_late_packet_takes_its_place_once() {
    let mut rig = watched();
    let first = rig
        .forward(&vp8(100, 10, 0, true))
        .remove(0)
        .header
        .sequence;
    rig.forward(&vp8(100, 12, 6_000, false));
    let sent = rig.wait(10);
    assert_eq!(nacks(&sent), [11]);
    let lost = vp8(100, 11, 3_000, false);
    let got = rig.forward(&lost.clone().into_rtx(1_100, 77));
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].header.sequence, first + 1);
    assert_eq!(got[0].payload[4..], lost.payload[4..]);
    assert_eq!(rig.publish(&lost), Err(DropReason::RtpDuplicate));
    assert_eq!(
        rig.publish(&lost.into_rtx(1_100, 78)),
        Err(DropReason::RtpDuplicate)
    );
    assert_eq!(nacks(&rig.wait(2_000)), []);
    assert_eq!(rig.counters().rtx_in, 1);
}

#[test]
fn an_unanswered_gap_is_asked_for_a_bounded_number_of_times() {
    let mut rig = watched();
    rig.forward(&vp8(100, 10, 0, true));
    rig.forward(&vp8(100, 12, 6_000, false));
    let asked = nacks(&rig.wait(3_000));
    assert!((3..=10).contains(&asked.len()), "{}", asked.len());
    assert!(asked.iter().all(|sequence| *sequence == 11));
}

#[test]
fn a_huge_gap_asks_for_a_keyframe_instead() {
    let mut rig = watched();
    rig.forward(&vp8(100, 10, 0, true));
    rig.wait(600);
    rig.forward(&vp8(100, 1_000, 6_000, false));
    let sent = rig.wait(50);
    assert_eq!((nacks(&sent), plis(&sent)), (vec![], vec![100]));
}

#[test]
fn probing_retransmissions_without_payload_are_no_error() {
    let mut rig = watched();
    rig.forward(&vp8(100, 10, 0, true));
    let mut probe = vp8(100, 11, 0, false).into_rtx(1_100, 5);
    probe.payload.clear();
    assert_eq!(rig.publish(&probe), Ok(()));
    assert_eq!(rig.received(), []);
}

#[test]
fn sound_is_asked_for_again_only_if_retransmission_was_negotiated() {
    for rtx_payload_type in [None, Some(112)] {
        let negotiated = CodecBinding {
            rtx_payload_type,
            ..OPUS
        };
        let mut rig = Rig::new(audio(vec![negotiated]));
        rig.publish(&opus(1, 0, b"a")).unwrap();
        rig.publish(&opus(3, 1_920, b"c")).unwrap();
        let asked = nacks(&rig.wait(20));
        assert_eq!(asked.is_empty(), rtx_payload_type.is_none(), "{asked:?}");
    }
}

#[test]
fn a_tiny_buffer_gets_no_compound_and_ends() {
    let mut rig = watched();
    rig.forward(&vp8(100, 10, 0, false));
    rig.now = ms(5_000);
    assert_eq!(rig.router.next_rtcp(rig.now, &mut [0; 64]), None);
    let mut parts = 0;
    while rig.router.next_rtcp(rig.now, &mut [0; 128]).is_some() {
        parts += 1;
        assert!(parts < 100);
    }
    assert!(parts > 0);
}

#[test]
fn packets_that_left_the_cache_while_they_waited_are_dropped_and_counted() {
    let mut rig = Rig::new(audio(vec![OPUS]));
    rig.subscribe(subscription(vec![OPUS]));
    for n in 0..300 {
        rig.publish(&opus(
            n,
            u32::from(n) * 960,
            &[1; 20][..1 + usize::from(n % 19)],
        ))
        .unwrap();
    }
    // The sound cache holds 128 packets; the rig compares every length with the one promised.
    assert_eq!(rig.received().len(), 128);
    assert_eq!(rig.counters().drops.of(DropReason::EgressFull), 172);
}

#[test]
fn a_full_queue_drops_what_can_be_asked_for_again() {
    let config = schalter_forward::RouterConfig {
        max_pending_per_owner: 3,
        ..Default::default()
    };
    let mut rig = Rig::with(config, video(vec![encoding(100)]));
    rig.subscribe(subscription(vec![VP8]));
    for n in 0..5_u16 {
        rig.publish(&vp8(100, 10 + n, u32::from(n) * 3_000, n == 0))
            .unwrap();
    }
    let got = rig.received();
    assert_eq!(got.len(), 3);
    let first = got[0].header.sequence;
    rig.nack(&[first + 3, first + 4]);
    let again: Vec<_> = rig
        .received()
        .iter()
        .filter_map(|got| got.source())
        .collect();
    assert_eq!(again, [(100, 13), (100, 14)]);
    assert_eq!(rig.counters().drops.of(DropReason::EgressFull), 2);
}
