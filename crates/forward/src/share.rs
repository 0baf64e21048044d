//! What one video track asks of its subscriber's link: the layers it can be had in, and what each takes.
//!
//! Reads rates that [`crate::layer`] measured; refuses to know the link and the other tracks, which are
//! [`crate::downlink`]'s and [`crate::allocate`]'s.

use schalter_model::{Bitrate, Time};

use crate::allocate::{Demand, MAX_STEPS, Rank, Steps};
use crate::consumer::{Consumer, Grant};
use crate::encoding::Encoding;
use crate::layer::Layer;
use crate::producer::Producer;
use crate::slab::Slab;

/// What a layer is taken to need while nothing of it was measured.
const UNMEASURED: Bitrate = Bitrate::from_kbps(150);
/// Frames a second that sign language takes (EN 301 549 §6.5.3).
const SIGNING_FRAME_RATE: f32 = 19.0;

/// One video track in the division.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) consumer: u32,
    pub(crate) demand: Demand,
    pub(crate) layers: [Layer; MAX_STEPS],
    /// What each step takes at this moment, be it a keyframe.
    pub(crate) flows: [Bitrate; MAX_STEPS],
    /// The last step is all there is.
    pub(crate) complete: bool,
    /// Its rates are known.
    pub(crate) settled: bool,
}

/// Whether going to a layer were more than a grant allows.
fn is_climb(grant: Grant, layer: Layer) -> bool {
    match grant {
        Grant::Nothing => true,
        Grant::UpTo(granted) => layer > granted,
        Grant::Everything => false,
    }
}

/// What a track can be had in, from the lowest layer up.
pub(crate) fn share(
    now: Time,
    index: u32,
    consumer: &Consumer,
    producer: &Producer,
    encodings: &Slab<Encoding>,
) -> Share {
    let mut steps = Steps::default();
    let mut layers = [Layer::default(); MAX_STEPS];
    let mut flows = [Bitrate::ZERO; MAX_STEPS];
    let mut offer = |steps: &mut Steps, layer: Layer, rate: Bitrate, flow: Bitrate| {
        let place = steps.as_slice().len();
        if steps.push(rate) {
            layers[place] = layer;
            flows[place] = flow;
        }
    };
    let signs = consumer.target.rank == Rank::SIGNING;
    let (mut complete, mut settled) = (true, true);
    let slots = (0_u8..)
        .zip(&producer.slots)
        .take(producer.encoding_count());
    for (encoding, slot) in slots {
        if encoding > consumer.target.max_encoding && !steps.as_slice().is_empty() {
            break;
        }
        let Some(source) = encodings.of(*slot).filter(|encoding| encoding.active) else {
            // What comes up later has to be asked for: three cameras' first frames are a second of a slow link.
            complete = false;
            continue;
        };
        settled &= source.is_settled(now);
        let rates = &source.layers;
        let top_spatial = (rates.spatial_count() - 1).min(consumer.target.max_spatial);
        let top = (rates.temporal_count() - 1).min(consumer.target.max_temporal);
        for spatial in 0..=top_spatial {
            let is_lowest = steps.as_slice().is_empty();
            // At the lowest layer fewer frames are better than none; further up a smaller picture is better than a jerky
            // one, and hands are not understood below 20 frames a second (EN 301 549 §6.5.3).
            let from = if is_lowest { 0 } else { top };
            for temporal in from..=top {
                let layer = Layer {
                    encoding,
                    spatial,
                    temporal,
                };
                let below = steps.as_slice().last().copied().unwrap_or_default();
                let settled = source.is_settled(now);
                let rate = if !settled && is_lowest && temporal == top {
                    source.usual_rate().unwrap_or(UNMEASURED)
                } else if !settled && temporal < top {
                    Bitrate::ZERO
                } else if is_lowest || temporal < top {
                    rates.rate(spatial, temporal)
                } else {
                    source.expected_rate(now, layer, below)
                };
                // What paused for a moment seems cheap. What is shown already may be so; nothing else begins for it.
                let seems = source.is_uneven(now) && is_climb(consumer.grant, layer);
                let rate = match source.usual_rate() {
                    Some(usual) if seems && rate > Bitrate::ZERO => rate.max(usual),
                    Some(_) | None => rate,
                };
                let too_few = signs && rates.frame_rate(spatial, temporal) < SIGNING_FRAME_RATE;
                if temporal < top && (rate == Bitrate::ZERO || too_few) {
                    continue;
                }
                let flow = rates.rate(spatial, temporal);
                match rate {
                    Bitrate::ZERO if steps.as_slice().is_empty() => {
                        offer(&mut steps, layer, UNMEASURED, flow);
                    }
                    // Nobody knows yet what it takes.
                    Bitrate::ZERO => complete = false,
                    expected => offer(&mut steps, layer, expected, flow),
                }
            }
        }
    }
    let current = match consumer.grant {
        Grant::Nothing => None,
        Grant::Everything => steps.as_slice().len().checked_sub(1),
        Grant::UpTo(layer) => {
            let offered = &layers[..steps.as_slice().len()];
            offered.iter().rposition(|offered| *offered <= layer)
        }
    };
    Share {
        consumer: index,
        demand: Demand {
            rank: consumer.target.rank,
            steps,
            current: current.and_then(|step| u8::try_from(step).ok()),
            never_paused: signs,
        },
        layers,
        flows,
        complete,
        settled,
    }
}
