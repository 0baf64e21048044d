//! How media fares, for those who want to know: what is believed of links, counted over all of them.
//!
//! Owns what is counted once in a while; refuses the packet path, and to steer anything by what it sees.

use std::time::Duration;

use schalter_model::{Bitrate, Time};

use crate::router::Router;

/// How often it is counted what links show: a distribution over links needs no more, and links are thousands.
const SAMPLE: Duration = Duration::from_secs(1);

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
