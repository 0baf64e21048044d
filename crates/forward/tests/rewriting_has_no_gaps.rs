//! Whatever happens to the source, the output has unique numbers in source order and no gap of our making.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::rig::*;

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The next frame of both layers.
    Frame {
        keyframe: bool,
    },
    /// The next packet of a layer is lost for good.
    Lose(u8),
    /// The next packet of a layer comes only after this many steps.
    Delay {
        layer: u8,
        steps: u8,
    },
    /// The next packet of a layer comes twice.
    Repeat(u8),
    /// The next packet of a layer has no payload.
    Padding(u8),
    Pause(bool),
    Target(u8),
    Mute(bool),
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any::<bool>().prop_map(|keyframe| Step::Frame { keyframe }),
        1 => (0..2_u8).prop_map(Step::Lose),
        2 => (0..2_u8, 1..8_u8).prop_map(|(layer, steps)| Step::Delay { layer, steps }),
        1 => (0..2_u8).prop_map(Step::Repeat),
        2 => (0..2_u8).prop_map(Step::Padding),
        1 => any::<bool>().prop_map(Step::Pause),
        1 => (0..2_u8).prop_map(Step::Target),
        1 => any::<bool>().prop_map(Step::Mute),
        1 => (0..60_u8).prop_map(Step::Wait),
    ]
}

const FIRST: [u16; 2] = [65_500, 300];

struct Run {
    rig: Rig,
    next: [u16; 2],
    frame: u32,
    delayed: Vec<(usize, Packet)>,
    /// Numbers of the source that really got to the router, by layer, counted from its first.
    arrived: [Vec<u64>; 2],
    got: Vec<Got>,
    steps: usize,
    muted: bool,
    paused: bool,
}

impl Run {
    fn send(&mut self, packet: &Packet) {
        let layer = (packet.header.ssrc - 100) as usize;
        let place = u64::from(packet.header.sequence.wrapping_sub(FIRST[layer]));
        // Every answer is fine here: duplicates and mutes are dropped.
        let _dropped = self.rig.publish(packet);
        // Who hears nothing now can't be told of a gap that is filled too late.
        let is_late = self.arrived[layer].iter().any(|other| *other > place);
        if !(is_late && (self.muted || self.paused)) {
            self.arrived[layer].push(place);
        }
        let got = self.rig.received();
        self.got.extend(got);
    }

    fn take(&mut self, layer: usize, keyframe: bool, empty: bool) -> Packet {
        let sequence = self.next[layer];
        self.next[layer] = sequence.wrapping_add(1);
        let timestamp = self.frame * 3_000 + layer as u32 * 777_777;
        let mut packet = vp8(100 + layer as u32, sequence, timestamp, keyframe);
        if empty {
            packet.payload.clear();
        }
        packet
    }

    fn step(&mut self, step: Step) {
        self.steps += 1;
        match step {
            Step::Frame { keyframe } => {
                self.frame += 1;
                for layer in 0..2 {
                    let packet = self.take(layer, keyframe, false);
                    self.send(&packet);
                }
                self.rig.wait(33);
            }
            Step::Lose(layer) => {
                self.take(usize::from(layer), false, false);
            }
            Step::Delay { layer, steps } => {
                let packet = self.take(usize::from(layer), false, false);
                self.delayed.push((self.steps + usize::from(steps), packet));
            }
            Step::Repeat(layer) => {
                let packet = self.take(usize::from(layer), false, false);
                self.send(&packet);
                self.send(&packet);
            }
            Step::Padding(layer) => {
                let packet = self.take(usize::from(layer), false, true);
                self.send(&packet);
            }
            Step::Pause(paused) => {
                self.paused = paused;
                self.rig.target(paused, 1);
            }
            Step::Target(max) => {
                self.paused = false;
                self.rig.target(false, max);
            }
            Step::Mute(muted) => {
                self.muted = muted;
                self.rig.router.mute_producer(self.rig.now, TRACK, muted);
            }
            Step::Wait(millis) => {
                self.rig.wait(u64::from(millis));
            }
        }
        let (due, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.delayed)
            .into_iter()
            .partition(|(at, _)| *at <= self.steps);
        self.delayed = rest;
        for (_, packet) in due {
            self.send(&packet);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn numbers_are_unique_ordered_and_without_gaps_of_ours(steps in prop::collection::vec(step(), 1..150)) {
        let mut rig = Rig::new(video(vec![encoding(100), encoding(101)]));
        rig.subscribe(subscription(vec![VP8]));
        let mut run = Run {
            rig,
            next: FIRST,
            frame: 1,
            delayed: Vec::new(),
            arrived: [Vec::new(), Vec::new()],
            got: Vec::new(),
            steps: 0,
            muted: false,
            paused: false,
        };
        for step in steps {
            run.step(step);
        }
        let Some(first) = run.got.first().map(|got| got.header.sequence) else {
            return Ok(());
        };
        // By output number, counted from the first; late packets of the first segment may lie before it.
        let mut by_output = BTreeMap::new();
        for got in &run.got {
            let place = i64::from(got.header.sequence.wrapping_sub(first).cast_signed());
            prop_assert!(by_output.insert(place, got).is_none(), "{place} was used twice");
        }
        let place_of = |got: &Got| {
            let (ssrc, sequence) = got.source()?;
            let layer = (ssrc - 100) as usize;
            Some((layer, u64::from(sequence.wrapping_sub(FIRST[layer]))))
        };
        let mut previous: Option<(i64, &Got)> = None;
        let mut highest = [None; 2];
        for (place, got) in &by_output {
            // A late empty packet names no source; its place is all that matters.
            let Some((layer, source)) = place_of(got) else {
                previous = None;
                continue;
            };
            prop_assert!(highest[layer].is_none_or(|before| before < source), "order of {layer}");
            highest[layer] = Some(source);
            if let Some((before_place, before)) = previous
                && let Some((before_layer, before_source)) = place_of(before)
            {
                let newer = got.header.timestamp.wrapping_sub(before.header.timestamp).cast_signed();
                prop_assert!(newer >= 0, "time runs back by {newer}");
                prop_assert!(before_layer == layer || newer > 0, "a switch without time");
                let missing = place - before_place - 1;
                if before_layer == layer {
                    // Not more missing than the source lacks, where the two are in one segment.
                    let lacking = (before_source + 1..source)
                        .filter(|lost| !run.arrived[layer].contains(lost))
                        .count() as i64;
                    prop_assert!(missing <= lacking, "{missing} missing, {lacking} lost");
                } else {
                    // Only what was lost at the end of the old layer's segment can be missing.
                    let newest = run.arrived[before_layer].iter().max().copied().unwrap_or(0);
                    let lacking = (before_source + 1..newest)
                        .filter(|lost| !run.arrived[before_layer].contains(lost))
                        .count() as i64;
                    prop_assert!(missing <= lacking, "a switch left {missing} out, {lacking} lost");
                }
            }
            previous = Some((*place, got));
        }
    }
}
