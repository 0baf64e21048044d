//! Whatever a peer says, the estimate stays within its limits and nothing panics.

use std::time::Duration;

use proptest::prelude::*;
use schalter_model::{Bitrate, Time};
use schalter_rtp::RtcpWriter;
use schalter_rtp::rtcp::{Rtcp, compound};

use super::{BandwidthConfig, BandwidthEstimator};

#[derive(Clone, Debug)]
enum Op {
    Wait(u32),
    Send {
        count: u8,
        bytes: usize,
    },
    Jump(u16),
    Feedback {
        behind: u16,
        reference: i64,
        deltas: Vec<Option<i64>>,
    },
    ByStream {
        behind: u16,
        timestamp: u32,
        words: Vec<u16>,
    },
    Bytes(u8, Vec<u8>),
    Remb(u64),
    Report(u8, u32),
    Demand(u64, u64),
    Timeout,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..700_000u32).prop_map(Op::Wait),
        (0..60u8, 0..70_000usize).prop_map(|(count, bytes)| Op::Send { count, bytes }),
        any::<u16>().prop_map(Op::Jump),
        (
            0..300u16,
            any::<i32>(),
            proptest::collection::vec(proptest::option::of(-40_000..40_000i64), 1..80)
        )
            .prop_map(|(behind, reference, deltas)| Op::Feedback {
                behind,
                reference: i64::from(reference),
                deltas
            }),
        (
            0..300u16,
            any::<u32>(),
            proptest::collection::vec(any::<u16>(), 0..120)
        )
            .prop_map(|(behind, timestamp, words)| Op::ByStream {
                behind,
                timestamp,
                words
            }),
        (
            prop_oneof![Just(15), Just(11)],
            proptest::collection::vec(any::<u8>(), 8..60)
        )
            .prop_map(|(fmt, bytes)| Op::Bytes(fmt, bytes)),
        any::<u64>().prop_map(Op::Remb),
        (any::<u8>(), any::<u32>()).prop_map(|(lost, micros)| Op::Report(lost, micros)),
        (any::<u64>(), any::<u64>()).prop_map(|(wanted, sending)| Op::Demand(wanted, sending)),
        Just(Op::Timeout),
    ]
}

const STREAM: u32 = 77;

struct Rig {
    estimator: BandwidthEstimator,
    now: Time,
    sequence: u16,
}

impl Rig {
    fn feed(&mut self, bytes: &[u8]) {
        for message in compound(bytes) {
            if let Ok(Rtcp::TransportCc(feedback)) = message {
                self.estimator.on_feedback(self.now, &feedback);
            } else if let Ok(Rtcp::CongestionControl(feedback)) = message {
                self.estimator.on_congestion_feedback(self.now, &feedback);
            }
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Wait(micros) => self.now += Duration::from_micros(micros.into()),
            Op::Send { count, bytes } => {
                let probe = self.estimator.next_probe(self.now).map(|probe| probe.id);
                for _ in 0..count {
                    self.sequence = self.sequence.wrapping_add(1);
                    self.estimator
                        .on_sent(self.now, self.sequence, bytes, probe);
                    self.estimator.on_stream(STREAM, self.sequence);
                }
            }
            Op::Jump(by) => self.sequence = self.sequence.wrapping_add(by),
            Op::Feedback {
                behind,
                reference,
                deltas,
            } => {
                let base = self.sequence.wrapping_sub(behind);
                let mut at = reference;
                let packets: Vec<_> = (0..)
                    .zip(deltas)
                    .map(|(n, delta)| {
                        at += delta.unwrap_or(0);
                        (base.wrapping_add(n), delta.map(|_| at))
                    })
                    .collect();
                let mut bytes = vec![0; 1_200];
                let mut writer = RtcpWriter::new(&mut bytes);
                let _ = writer.transport_cc(1, 2, 0, &packets);
                let len = writer.finish();
                self.feed(&bytes[..len]);
            }
            Op::ByStream {
                behind,
                timestamp,
                words,
            } => {
                let mut body = vec![0, 0, 0, 1];
                body.extend(STREAM.to_be_bytes());
                body.extend(self.sequence.wrapping_sub(behind).to_be_bytes());
                body.extend((words.len() as u16).to_be_bytes());
                body.extend(words.iter().flat_map(|word| word.to_be_bytes()));
                body.resize(body.len().next_multiple_of(4), 0);
                body.extend(timestamp.to_be_bytes());
                let mut bytes = vec![0x8b, 205];
                bytes.extend(((body.len() / 4) as u16).to_be_bytes());
                bytes.extend(body);
                self.feed(&bytes);
            }
            Op::Bytes(fmt, mut body) => {
                // The right header around anything.
                body.truncate(body.len() & !3);
                let words = (body.len() / 4) as u16;
                let mut bytes = vec![0x80 | fmt, 205];
                bytes.extend(words.to_be_bytes());
                bytes.extend(body);
                self.feed(&bytes);
            }
            Op::Remb(rate) => self.estimator.on_remb(self.now, Bitrate::from_bps(rate)),
            Op::Report(lost, micros) => {
                let round_trip = Duration::from_micros(micros.into());
                self.estimator.on_report(self.now, lost, Some(round_trip));
            }
            Op::Demand(wanted, sending) => self.estimator.set_demand(
                self.now,
                Bitrate::from_bps(wanted),
                Bitrate::from_bps(sending),
            ),
            Op::Timeout => self.estimator.on_timeout(self.now),
        }
    }
}

#[test]
fn the_receivers_own_estimate_counts_without_feedback_only() {
    let mut rig = Rig {
        estimator: BandwidthEstimator::new(BandwidthConfig::default()),
        now: Time::ZERO,
        sequence: 0,
    };
    rig.apply(Op::Remb(2_000_000));
    assert_eq!(rig.estimator.estimate(), Bitrate::from_kbps(2_000));
    assert_eq!(rig.estimator.send_rate(), Bitrate::from_kbps(2_000));
    rig.apply(Op::Send {
        count: 10,
        bytes: 1_200,
    });
    rig.apply(Op::Wait(50_000));
    rig.apply(Op::Feedback {
        behind: 9,
        reference: 1_000,
        deltas: vec![Some(4); 10],
    });
    rig.apply(Op::Remb(100_000));
    rig.apply(Op::Report(200, 1));
    assert_eq!(rig.estimator.estimate(), Bitrate::from_kbps(2_000));
    rig.apply(Op::Wait(6_000_000));
    rig.apply(Op::Remb(100_000));
    assert_eq!(rig.estimator.estimate(), Bitrate::from_kbps(100));
}

proptest! {
    #[test]
    fn nothing_panics_and_limits_hold(ops in proptest::collection::vec(op(), 1..200)) {
        let config = BandwidthConfig::default();
        let mut estimator = BandwidthEstimator::new(config);
        estimator.expect_congestion_feedback();
        let mut rig = Rig { estimator, now: Time::ZERO, sequence: 65_500 };
        for op in ops {
            rig.apply(op);
            let estimator = &rig.estimator;
            prop_assert!((config.min..=config.max).contains(&estimator.estimate()));
            prop_assert!((config.min..=estimator.estimate()).contains(&estimator.send_rate()));
            prop_assert!((0.0..=1.0).contains(&estimator.loss()));
            prop_assert!(estimator.pacing_rate() >= estimator.send_rate());
        }
    }
}
