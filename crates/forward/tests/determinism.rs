//! One seed and one list of inputs replay every output.

use proptest::prelude::*;
use schalter_forward::{Owner, RouterConfig};

use crate::rig::*;

/// Packets, RTCP and events of one run.
type Outputs = (Vec<Got>, Vec<(Owner, Vec<Control>)>, String);

fn play(seed: u64, inputs: &[(u16, bool, bool)]) -> Outputs {
    let config = RouterConfig {
        seed,
        ..RouterConfig::default()
    };
    let mut rig = Rig::with(config, video(vec![encoding(100)]));
    rig.subscribe(subscription(vec![VP8]));
    let (mut got, mut sent) = (Vec::new(), Vec::new());
    for (n, (skip, keyframe, nack)) in inputs.iter().enumerate() {
        let sequence = (n as u16).wrapping_mul(2).wrapping_add(skip % 5);
        let packet =
            vp8(100, sequence, n as u32 * 3_000, *keyframe).with(5, &sequence.to_be_bytes());
        let _dropped = rig.publish(&packet);
        got.extend(rig.received());
        if let (true, Some(last)) = (nack, got.last().cloned()) {
            rig.nack(&[last.header.sequence]);
        }
        sent.extend(rig.wait(u64::from(skip % 40)));
    }
    let events = format!("{:?}", rig.events());
    (got, sent, events)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32,
        failure_persistence: None,
        ..ProptestConfig::default() })]

    #[test]
    fn equal_seeds_and_inputs_give_equal_outputs(
        seed: u64,
        inputs in prop::collection::vec(any::<(u16, bool, bool)>(), 1..100),
    ) {
        prop_assert_eq!(play(seed, &inputs), play(seed, &inputs));
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..50),
    ) {
        let mut rig = Rig::new(video(vec![encoding(100)]));
        rig.subscribe(subscription(vec![VP8]));
        rig.forward(&vp8(100, 1, 0, true));
        for mut datagram in datagrams {
            let _dropped = rig.router.on_rtcp(rig.now, SUBSCRIBER, &datagram);
            let _dropped = rig.router.on_rtp(rig.now, PUBLISHER, &datagram);
            // Once more as a packet that is really taken.
            let head = vp8(100, 2, 3_000, false).bytes();
            for (to, from) in datagram.iter_mut().zip(&head[..12]) {
                *to = *from;
            }
            let _dropped = rig.router.on_rtp(rig.now, PUBLISHER, &datagram);
            rig.received();
            rig.wait(3);
        }
    }
}
