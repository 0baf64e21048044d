//! How media fares, for those who want to know: told of each transport, and counted over all of them.
//!
//! Owns what is gathered once in a while; refuses the packet path, and to steer anything by what it sees. What it is worth
//! to a participant is [`crate::score`]'s.

use std::time::Duration;

use schalter_model::{Bitrate, MediaKind, QualityCounters, Time};

use crate::event::ForwardEvent;
use crate::owner::Owner;
use crate::router::Router;

/// How often it is counted what links show: a distribution over links needs no more, and links are thousands.
const SAMPLE: Duration = Duration::from_secs(1);

/// How often each transport is told of: what clients are told of connections has the same pace.
pub const QUALITY_INTERVAL: Duration = Duration::from_secs(5);
/// Transports have their turns so many times in an interval, that a thousand of them don't come at once.
const TURNS: u32 = 10;
/// A loss is shared by at least so many packets: one of three is no third of a second's sound.
const FEW: u64 = 50;

/// How a transport's media fared in the last [`QUALITY_INTERVAL`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MediaQuality {
    /// What its peer sends; `None` if nothing came.
    pub uplink: Option<UplinkQuality>,
    /// What is sent to it; `None` if it subscribes to nothing that flows.
    pub downlink: Option<DownlinkQuality>,
}

/// What came of a publisher's media. Muted tracks don't count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UplinkQuality {
    /// Share of packets that didn't come, repairs aside, 0 to 1.
    pub loss: f32,
    /// How often a stream stalled: came later than its own time, or missed a run of packets.
    pub stalls: u32,
    /// For how long the worst stream stalled together.
    pub stalled: Duration,
    /// The smallest share of its usual frame rate that a video has, 0 to 1.
    pub frame_share: f32,
}

/// How a subscriber is served.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DownlinkQuality {
    /// Share of packets that it misses, repairs aside, 0 to 1.
    pub loss: f32,
    /// What stands in the queue on the way.
    pub queue: Duration,
    /// `None` before it was measured.
    pub round_trip: Option<Duration>,
    /// Share of the wanted bandwidth that its link is wide enough for, 0 to 1.
    pub share: f32,
    /// Tracks that stopped for want of bandwidth.
    pub paused: u32,
}

/// What a measured link shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LinkView {
    /// What it is believed to carry.
    pub(crate) estimate: Bitrate,
    /// What stands in the queue on the way.
    pub(crate) queue: Duration,
    /// Smoothed share of packets lost, 0 to 1.
    pub(crate) loss: f32,
    /// Smoothed round trip; `None` before the first.
    pub(crate) round_trip: Option<Duration>,
    /// It showed a queue, loss or missing feedback within the last seconds.
    pub(crate) distressed: bool,
    /// What the layers in force take.
    pub(crate) sending: Bitrate,
    /// What they would take if the link were wide.
    pub(crate) wanted: Bitrate,
}

impl Router {
    /// Counts what all measured links show, if it is time.
    pub(crate) fn sample_links(&mut self, now: Time) {
        if now - self.links_sampled < SAMPLE {
            return;
        }
        self.links_sampled = now;
        let links = &mut self.tally.links;
        for owner in &self.measured {
            let Some(Some(state)) = self.owners.get_mut(*owner as usize) else {
                continue;
            };
            let Some(link) = &mut state.downlink else {
                continue;
            };
            links.probes.add(&link.take_probe_results());
            if let Some(view) = link.view(now) {
                let queue = u64::try_from(view.queue.as_micros()).unwrap_or(u64::MAX);
                let loss = (view.loss.clamp(0.0, 1.0) * 1e6) as u64;
                links.observe(view.estimate.as_bps(), queue, loss);
            }
        }
    }

    /// How many links are measured, and how many of them are in distress.
    pub(crate) fn link_gauges(&self, now: Time) -> (u64, u64) {
        let views = self.measured.iter().filter_map(|owner| {
            let link = self.owner(*owner)?.downlink.as_ref()?;
            link.view(now)
        });
        views.fold((0, 0), |(measured, distressed), view| {
            (measured + 1, distressed + u64::from(view.distressed))
        })
    }

    /// Counts what a division changed for one track: `paused` is before and after.
    pub(crate) fn count_step(
        &mut self,
        before: Option<u8>,
        after: Option<u8>,
        paused: (bool, bool),
    ) {
        let links = &mut self.tally.links;
        match paused {
            (false, true) => links.pauses += 1,
            (true, false) => links.resumes += 1,
            (true, true) | (false, false) => {
                if let (Some(before), Some(after)) = (before, after) {
                    links.switches_up += u64::from(after > before);
                    links.switches_down += u64::from(after < before);
                }
            }
        }
    }
}

impl Router {
    pub(crate) fn start_quality(&mut self, now: Time) {
        self.quality_at
            .get_or_insert(now + QUALITY_INTERVAL / TURNS);
    }

    /// Tells of the transports whose turn it is.
    pub(crate) fn tell_quality(&mut self, now: Time) {
        let goes_on = self.producers.len() > 0 || self.consumers.len() > 0;
        self.quality_at = goes_on.then(|| now + QUALITY_INTERVAL / TURNS);
        self.quality_turn = (self.quality_turn + 1) % TURNS;
        let owners = u32::try_from(self.owners.len()).unwrap_or(u32::MAX);
        for owner in (self.quality_turn..owners).step_by(TURNS as usize) {
            let quality = MediaQuality {
                uplink: self.uplink_quality(now, owner),
                downlink: self.downlink_quality(now, owner),
            };
            if quality == MediaQuality::default() {
                continue;
            }
            let tally = &mut self.tally.quality;
            tally.observe_score(quality.score());
            let round_trip = quality.downlink.and_then(|downlink| downlink.round_trip);
            if let Some(round_trip) = round_trip {
                tally.observe_round_trip(round_trip);
            }
            let owner = Owner(owner);
            self.tell(ForwardEvent::Quality { owner, quality });
        }
    }

    fn uplink_quality(&mut self, now: Time, owner: u32) -> Option<UplinkQuality> {
        let state = self.owners.get(owner as usize)?.as_ref()?;
        let tally: &mut QualityCounters = &mut self.tally.quality;
        let (mut expected, mut missing) = (0, 0);
        let mut quality = UplinkQuality {
            loss: 0.0,
            stalls: 0,
            stalled: Duration::ZERO,
            frame_share: 1.0,
        };
        for index in &state.producers {
            let Some(producer) = self.producers.of(*index) else {
                continue;
            };
            // Layers above the lowest that flows come and go by what is wanted.
            let mut is_lowest = producer.is_video();
            for slot in &producer.slots {
                let Some(encoding) = self.encodings.of_mut(*slot) else {
                    continue;
                };
                let reception = encoding.take_reception();
                let stalls = encoding.flow.take();
                if producer.muted {
                    continue;
                }
                expected += reception.expected;
                missing += reception.missing;
                tally.freezes += u64::from(stalls.count);
                quality.stalls += stalls.count;
                quality.stalled = quality.stalled.max(stalls.time);
                if is_lowest && encoding.active && encoding.is_settled(now) {
                    is_lowest = false;
                    let frame_rate = encoding.layers.frame_rate(u8::MAX, u8::MAX);
                    tally.observe_frame_rate(frame_rate);
                    let share = encoding.flow.share_of_usual(frame_rate);
                    quality.frame_share = quality.frame_share.min(share);
                }
            }
        }
        quality.loss = missing as f32 / expected.max(FEW) as f32;
        (expected > 0).then_some(quality)
    }

    fn downlink_quality(&self, now: Time, owner: u32) -> Option<DownlinkQuality> {
        let state = self.owner(owner)?;
        let mut flows = false;
        let mut quality = DownlinkQuality {
            loss: 0.0,
            queue: Duration::ZERO,
            round_trip: None,
            share: 1.0,
            paused: 0,
        };
        for consumer in state.consumers.iter().filter_map(|c| self.consumers.of(*c)) {
            let producer = self.producers.of(consumer.producer);
            if consumer.target.paused || producer.is_none_or(|producer| producer.muted) {
                continue;
            }
            let is_paused = consumer.kind() == MediaKind::Video && consumer.allotment.paused;
            quality.paused += u32::from(is_paused);
            flows |= is_paused || consumer.stats.packets > 0;
            let lost = f32::from(consumer.stats.fraction_lost) / 256.0;
            quality.loss = quality.loss.max(lost);
            quality.round_trip = quality.round_trip.max(consumer.stats.round_trip);
        }
        if let Some(view) = state.downlink.as_ref().and_then(|link| link.view(now)) {
            // Over all packets, and newer than reports.
            quality.loss = view.loss;
            quality.queue = view.queue;
            quality.round_trip = quality.round_trip.or(view.round_trip);
            if view.wanted > Bitrate::ZERO {
                let share = view.sending.as_bps() as f32 / view.wanted.as_bps() as f32;
                quality.share = share.min(1.0);
            }
        }
        flows.then_some(quality)
    }
}
