//! Several encodings of one picture: the best that is there and wanted, switched at keyframes.

use crate::rig::*;

/// Three layers, bound by mid and rid.
fn watched() -> Rig {
    let layers = ["q", "h", "f"].map(layer).to_vec();
    let mut rig = Rig::new(video(layers));
    rig.subscribe(subscription(vec![VP8]));
    rig
}

fn layered(index: u32, sequence: u16, timestamp: u32, keyframe: bool) -> Packet {
    let rid = [b"q", b"h", b"f"][index as usize];
    vp8(100 + index, sequence, timestamp, keyframe)
        .with(1, b"v")
        .with(2, rid)
}

/// One frame of every layer; answers the SSRCs that were forwarded.
fn frames(rig: &mut Rig, n: u16, layers: &[u32], keyframes: &[u32]) -> Vec<Got> {
    let mut got = Vec::new();
    for index in layers {
        let keyframe = keyframes.contains(index);
        // Every layer has clocks and counters of its own.
        let timestamp = (index + 1) * 1_000_000 + u32::from(n) * 3_000;
        let sequence = n.wrapping_add(*index as u16 * 20_000);
        got.extend(rig.forward(&layered(*index, sequence, timestamp, keyframe)));
    }
    rig.wait(33);
    got
}

fn ssrcs(got: &[Got]) -> Vec<u32> {
    got.iter()
        .filter_map(|got| got.source())
        .map(|source| source.0)
        .collect()
}

const ALL: &[u32] = &[0, 1, 2];

#[test]
fn the_highest_layer_within_the_target_is_forwarded() {
    let mut rig = watched();
    frames(&mut rig, 1, ALL, ALL);
    let mut got = frames(&mut rig, 2, ALL, ALL);
    got.extend(frames(&mut rig, 3, ALL, &[]));
    assert_eq!(ssrcs(&got), [102, 102]);
    rig.target(false, 1);
    assert_eq!(plis(&rig.wait(1_000)).first(), Some(&101));
    // The old layer goes on until the new one has a keyframe.
    assert_eq!(ssrcs(&frames(&mut rig, 4, ALL, &[])), [102]);
    let switched = frames(&mut rig, 5, ALL, &[1]);
    assert_eq!(ssrcs(&switched), [101]);
    assert_eq!(ssrcs(&frames(&mut rig, 6, ALL, &[])), [101]);
}

#[test]
fn numbers_time_and_pictures_continue_over_a_switch() {
    let mut rig = watched();
    frames(&mut rig, 1, ALL, ALL);
    let mut got = frames(&mut rig, 2, ALL, ALL);
    got.extend(frames(&mut rig, 3, ALL, &[]));
    rig.target(false, 0);
    got.extend(frames(&mut rig, 4, ALL, &[0]));
    got.extend(frames(&mut rig, 5, ALL, &[]));
    // In frame 4 the lowest layer comes first, so that the highest is not sent any more.
    assert_eq!(ssrcs(&got), [102, 102, 100, 100]);
    for pair in got.windows(2) {
        assert_eq!(
            pair[1].header.sequence,
            pair[0].header.sequence.wrapping_add(1)
        );
        assert_eq!(pair[1].picture_id(), (pair[0].picture_id() + 1) & 0x7fff);
        let ticks = pair[1]
            .header
            .timestamp
            .wrapping_sub(pair[0].header.timestamp);
        assert!((2_900..=3_100).contains(&ticks), "{ticks}");
    }
}

#[test]
fn sender_reports_place_a_switch_exactly() {
    let mut rig = watched();
    frames(&mut rig, 1, ALL, ALL);
    // All layers' clocks tell the same NTP time at frame 0.
    for index in 0..3_u32 {
        let info = schalter_rtp::rtcp::SenderInfo {
            ssrc: 100 + index,
            ntp: 5_000 << 32,
            rtp_timestamp: (index + 1) * 1_000_000,
            packet_count: 1,
            octet_count: 1,
        };
        rig.control(PUBLISHER, |writer| {
            writer.sender_report(&info, &[]).unwrap()
        });
    }
    let mut got = frames(&mut rig, 2, ALL, ALL);
    rig.target(false, 0);
    rig.wait(40);
    got.extend(frames(&mut rig, 4, ALL, &[0]));
    assert_eq!(ssrcs(&got), [102, 100]);
    let ticks = got[1]
        .header
        .timestamp
        .wrapping_sub(got[0].header.timestamp);
    assert_eq!(ticks, 6_000);
}

#[test]
fn a_layer_that_falls_silent_is_replaced_and_taken_up_again() {
    let mut rig = watched();
    frames(&mut rig, 1, ALL, ALL);
    assert_eq!(ssrcs(&frames(&mut rig, 2, ALL, ALL)), [102]);
    let mut asked = Vec::new();
    for n in 3..50 {
        frames(&mut rig, n, &[0, 1], &[]);
        asked.extend(plis(&rig.wait(5)));
    }
    assert!(rig.counters().pli_sent > 0);
    assert_eq!(ssrcs(&frames(&mut rig, 50, &[0, 1], &[1])), [101]);
    // It comes back: with its keyframe it is taken again.
    frames(&mut rig, 51, ALL, &[]);
    let got = frames(&mut rig, 52, ALL, &[2]);
    assert_eq!(ssrcs(&got).last(), Some(&102));
    assert_eq!(ssrcs(&frames(&mut rig, 53, ALL, &[])), [102]);
}

#[test]
fn late_packets_of_the_old_layer_keep_their_place() {
    let mut rig = watched();
    frames(&mut rig, 1, ALL, ALL);
    let first = frames(&mut rig, 2, ALL, ALL).remove(0);
    // Frame 3 of the top layer is lost, frame 4 comes.
    frames(&mut rig, 3, &[0, 1], &[]);
    let fourth = frames(&mut rig, 4, ALL, &[]).remove(0);
    rig.target(false, 0);
    let switched = frames(&mut rig, 5, &[0], &[0]).remove(0);
    let late = rig.forward(&layered(2, 40_003, 3_009_000, false));
    let step = |got: &Got| got.header.sequence.wrapping_sub(first.header.sequence);
    assert_eq!([step(&late[0]), step(&fourth), step(&switched)], [1, 2, 3]);
    // What the old layer sends from now on is nobody's.
    assert_eq!(rig.forward(&layered(2, 40_005, 3_015_000, false)), []);
}
