//! A stream whose SSRC stays while tracks take turns on it: numbers and time go on, and nobody hears of an end.

use schalter_forward::*;
use schalter_model::TrackId;

use crate::rig::*;

const OTHER: TrackId = TrackId(8);

/// RTCP that was sent, and to whom.
type Said = Vec<(Owner, Vec<Control>)>;

fn turns() -> ConsumerConfig {
    ConsumerConfig {
        continues: true,
        ..subscription(vec![VP8])
    }
}

/// A subscriber that had three packets of one track and now gets another.
fn switched(config: ConsumerConfig) -> (Rig, Vec<Got>, Said) {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    let other = ProducerConfig {
        mid: Some("w".into()),
        ..video(vec![encoding(300)])
    };
    rig.router
        .add_producer(rig.now, PUBLISHER, OTHER, other)
        .unwrap();
    rig.subscribe(config.clone());
    let mut got = Vec::new();
    for n in 0..3_u16 {
        got.extend(rig.forward(&vp8(100, 40 + n, 3_000 * u32::from(n), n == 0)));
        rig.wait(33);
    }
    rig.router.remove_consumer(rig.now, SUBSCRIBER, TRACK);
    let mut said = rig.wait(100);
    rig.router
        .add_consumer(rig.now, SUBSCRIBER, OTHER, config)
        .unwrap();
    for n in 0..3_u16 {
        got.extend(rig.forward(&vp8(300, 9_000 + n, 77_000 + 3_000 * u32::from(n), n == 0)));
        said.extend(rig.wait(33));
    }
    (rig, got, said)
}

#[test]
fn another_track_goes_on_where_the_first_ended() {
    let (_, got, said) = switched(turns());
    assert_eq!(got.len(), 6);
    assert!(got.iter().all(|packet| packet.header.ssrc == OUT));
    let first = &got[0];
    for (n, packet) in (0_u16..).zip(&got) {
        assert_eq!(
            packet.header.sequence.wrapping_sub(first.header.sequence),
            n
        );
        assert_eq!(packet.picture_id().wrapping_sub(first.picture_id()), n);
    }
    // 133 ms lie between the last packet of the one and the first of the other, in 90 kHz.
    let pause = got[3]
        .header
        .timestamp
        .wrapping_sub(got[2].header.timestamp);
    assert!((11_000..13_000).contains(&pause), "{pause}");
    let bye = |control: &Control| matches!(control, Control::Bye { .. });
    assert!(said.iter().all(|(_, controls)| !controls.iter().any(bye)));
}

#[test]
fn a_stream_that_does_not_stay_begins_anew_and_says_goodbye() {
    let (_, got, said) = switched(subscription(vec![VP8]));
    assert_eq!(got.len(), 6);
    let step = got[3].header.sequence.wrapping_sub(got[2].header.sequence);
    assert_ne!(step, 1);
    let bye = Control::Bye { ssrcs: vec![OUT] };
    assert!(said.iter().any(|(_, controls)| controls.contains(&bye)));
}

#[test]
fn packets_of_the_track_before_are_not_sent_again() {
    let (mut rig, got, _) = switched(turns());
    rig.nack(&[got[1].header.sequence, got[4].header.sequence]);
    let again = rig.received();
    let sources: Vec<_> = again.iter().filter_map(Got::source).collect();
    assert_eq!(sources, [(300, 9_001)]);
}

#[test]
fn what_ended_is_remembered_within_a_bound() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    let stream = |n: u32| ConsumerConfig {
        ssrc: 10_000 + 2 * n,
        rtx_ssrc: Some(10_001 + 2 * n),
        ..turns()
    };
    let mut last = Vec::new();
    for n in 0..200_u16 {
        rig.subscribe(stream(n.into()));
        let got = rig.forward(&vp8(100, n, 3_000 * u32::from(n), true));
        last.push(got[0].header.sequence);
        rig.router.remove_consumer(rig.now, SUBSCRIBER, TRACK);
        rig.wait(33);
    }
    let mut next = 200;
    let mut goes_on = |n: u16| {
        rig.subscribe(stream(n.into()));
        let got = rig.forward(&vp8(100, next, 3_000 * u32::from(next), true));
        next += 1;
        rig.router.remove_consumer(rig.now, SUBSCRIBER, TRACK);
        rig.wait(33);
        got[0].header.sequence == last[usize::from(n)].wrapping_add(1)
    };
    assert!(goes_on(199));
    assert!(!goes_on(0));
}
