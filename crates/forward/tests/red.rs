//! Redundant audio for those who know it, its primary block for the others.

use schalter_forward::{CodecBinding, Owner};

use crate::rig::*;

/// One redundant block of three bytes, and the primary.
fn redundant(sequence: u16, primary: &[u8]) -> Packet {
    let mut payload = vec![0x80 | 111, 0x0f, 0x00, 3, 111, 1, 2, 3];
    payload.extend_from_slice(primary);
    let mut packet = opus(sequence, u32::from(sequence) * 960, &payload);
    packet.header.payload_type = 63;
    packet
}

#[test]
fn a_subscriber_without_red_gets_the_primary_block() {
    let mut rig = Rig::new(audio(vec![RED, OPUS]));
    rig.subscribe(subscription(vec![OPUS]));
    let got = rig.forward(&redundant(1, b"voice"));
    assert_eq!(
        (got[0].payload.as_slice(), got[0].header.payload_type),
        (&b"voice"[..], 111)
    );
}

#[test]
fn a_subscriber_with_red_gets_it_with_its_own_payload_types() {
    let mut rig = Rig::new(audio(vec![RED, OPUS]));
    let own = |payload_type, binding| CodecBinding {
        payload_type,
        ..binding
    };
    rig.subscribe(subscription(vec![own(100, OPUS), own(101, RED)]));
    let got = rig.forward(&redundant(1, b"voice"));
    assert_eq!(got[0].header.payload_type, 101);
    assert_eq!(
        got[0].payload,
        [&[0x80 | 100, 0x0f, 0, 3, 100, 1, 2, 3][..], b"voice"].concat()
    );
    // Plain Opus of the same publisher stays plain.
    let plain = rig.forward(&opus(2, 1_920, b"plain"));
    assert_eq!(
        (plain[0].payload.as_slice(), plain[0].header.payload_type),
        (&b"plain"[..], 100)
    );
}

#[test]
fn an_empty_primary_block_closes_the_gap() {
    let mut rig = Rig::new(audio(vec![RED, OPUS]));
    rig.subscribe(subscription(vec![OPUS]));
    rig.router.add_owner(Owner(2)).unwrap();
    rig.router
        .add_consumer(rig.now, Owner(2), TRACK, subscription(vec![OPUS, RED]))
        .unwrap();
    let mut plain = Vec::new();
    let mut red = Vec::new();
    for (sequence, primary) in [(1, &b"a"[..]), (2, b""), (3, b"b")] {
        for got in rig.forward(&redundant(sequence, primary)) {
            if got.owner == SUBSCRIBER {
                &mut plain
            } else {
                &mut red
            }
            .push(got.header.sequence);
        }
    }
    assert_eq!(plain, [plain[0], plain[0] + 1]);
    assert_eq!(red, [red[0], red[0] + 1, red[0] + 2]);
}

#[test]
fn a_thin_link_gets_no_redundancy_until_it_is_wide_again() {
    let mut rig = Rig::new(audio(vec![RED, OPUS]));
    rig.subscribe(subscription(vec![RED, OPUS]));
    let mut sequence = 0;
    let mut formats = |rig: &mut Rig, kbps: u64| {
        let mut last = None;
        for n in 0..100 {
            if n % 25 == 0 {
                rig.control(SUBSCRIBER, |w| w.remb(1, kbps * 1_000, &[OUT]).unwrap());
            }
            sequence += 1;
            let got = rig.forward(&redundant(sequence, b"voice"));
            rig.wait(20);
            let got = &got[0];
            // Numbers go on, whatever the format.
            let number = got.header.sequence;
            if let Some(before) = last.replace(number) {
                assert_eq!(number, u16::wrapping_add(before, 1));
            }
            if n == 99 {
                return (got.header.payload_type, got.payload.clone());
            }
        }
        unreachable!("the last round answers")
    };
    assert_eq!(formats(&mut rig, 5_000).0, 63);
    assert_eq!(formats(&mut rig, 200), (111, b"voice".to_vec()));
    assert_eq!(formats(&mut rig, 600).0, 111, "between, nothing changes");
    assert_eq!(formats(&mut rig, 5_000).0, 63);
}
