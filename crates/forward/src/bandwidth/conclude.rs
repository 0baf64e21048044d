//! What feedback means for the estimate: when it is cut, grows, or stays.
//!
//! Owns the conclusions, and nothing that is measured: [`super::BandwidthEstimator`] gathers, this part judges. One
//! congestion is cut for once, however many packets tell of it.

use std::time::Duration;

use schalter_model::{ProbeResult, Time};

use super::drain::Drain;
use super::probe::Outcome;
use super::standing::{Finding, Standing};
use super::trend::Usage;
use super::{BandwidthEstimator, STANDING, USED};

/// A growing delay counts as overuse if so much stands in the queue, or it is jitter.
const EVIDENCE: Duration = Duration::from_millis(18);
/// Growth stops with a smaller queue than that, for it would only have to be drained.
const QUIET: Duration = Duration::from_millis(6);
/// Share of what arrives that is used while a high queue stays.
const STANDING_USE: f64 = 0.95;
/// So little queue is no hurry for a source that sends less than it might.
const MODEST: Duration = Duration::from_millis(60);
/// So soon after a cut packets must really arrive slower than they were sent for another one: the trend remembers
/// longer than that.
const CUT_LATELY: Duration = Duration::from_millis(1_000);
const STRETCH: f64 = 1.03;
/// A queue that grew above this, of packets that arrive so much slower than they were sent, is a link that became slow.
const SUDDEN: Duration = Duration::from_millis(35);
const SUDDEN_STRETCH: f64 = 1.33;
/// The same so long after a probe was asked for, which makes a queue itself.
const SUDDEN_PROBED: Duration = Duration::from_millis(60);
const AFTERMATH: Duration = Duration::from_millis(400);
/// Without jitter the newest two packets tell as much, one feedback earlier.
const SUDDEN_LATELY: Duration = Duration::from_millis(30);
/// And packet by packet, where what arrives is less than this share of the estimate.
const SUDDEN_CLIMB: Duration = Duration::from_millis(45);
const FAR_LESS: f64 = 0.5;
/// Share of what a drain showed that is used.
const DRAINED: f64 = 0.92;
/// A full link that carries this multiple of the estimate is looked at again.
const SURPRISE: f64 = 1.15;
/// A source that sends less than this share of the estimate fills the link with single frames at most.
const BURSTY: f64 = 0.9;
/// With less jitter than this, in seconds, the shortest time shows a rate.
const REGULAR: f64 = 0.004;
/// What arrives all the time leaves the source this much room, however little probes show.
const PROVEN: f64 = 1.1;

impl BandwidthEstimator {
    pub(super) fn on_delay(&mut self, now: Time, acked: f64, queue: Duration) {
        let estimate = self.control.estimate();
        // What was sent before a cut cuts again only if the cut was too small.
        let known = self.covered <= self.explained && acked > estimate;
        let evidence = EVIDENCE + self.slack();
        // So much queue and so little arriving need no trend, which takes a while to follow a step.
        let lately = self.queue.lately();
        let regular = self.queue.jitter() < REGULAR;
        // What a probe leaves behind is no narrow link.
        let probed = self.probed.is_some_and(|at| now - at < AFTERMATH);
        let is_long = if probed {
            queue > SUDDEN_PROBED
        } else {
            queue > SUDDEN || regular && lately > SUDDEN_LATELY
        };
        let hasty = self.acked.hasty().unwrap_or(acked);
        // One frame is enough if its packets come ever later, and far more slowly than was believed.
        let climb = self.queue.climb();
        let climbs = climb > SUDDEN_CLIMB && hasty < estimate * FAR_LESS && !probed;
        let sudden = climbs || is_long && self.queue.stretch() > SUDDEN_STRETCH;
        let queue = match sudden {
            true if climbs => queue.max(lately).max(climb),
            true => queue.max(lately),
            false => queue,
        };
        let sending = self.demand.map_or(f64::MAX, |demand| demand.sending);
        let (usage, acked) = if sudden {
            (Usage::Over, hasty.min(acked))
        } else if sending < estimate * BURSTY || regular {
            // The queue is that of one big frame: only while it lasts the link is full and shows what it carries.
            (self.trend.usage(), hasty.max(acked))
        } else {
            (self.trend.usage(), acked)
        };
        let cut_lately = self
            .control
            .last_cut()
            .is_some_and(|cut| now - cut < CUT_LATELY);
        // Nor is a path that jumps about, a phone's, full because of a source that sends less than it carried.
        let spared = !regular && acked < estimate * USED;
        let remembered = (cut_lately || spared) && self.queue.stretch() < STRETCH;
        match usage {
            Usage::Over if queue > evidence && !remembered && !known => {
                self.full = Some((acked, now));
                // A source that sends little proves little: first the room above it goes, then its own rate.
                let modest = acked < estimate * USED && queue < MODEST;
                let cut = if modest {
                    self.control.cut_to(now, acked, PROVEN)
                } else {
                    self.control.on_overuse(now, acked)
                };
                if cut {
                    self.on_cut(now);
                    let before = self.standing.map_or(estimate, |standing| standing.before);
                    self.standing = Some(Standing {
                        cut: true,
                        ..self.stands(now, acked, before)
                    });
                }
            }
            Usage::Over | Usage::Under => self.control.hold(now),
            Usage::Normal => {
                let used = acked.min(sending) >= estimate * USED;
                let quiet = queue < QUIET + self.slack();
                if used && quiet && self.loss.is_free() && self.silence.factor() >= 1.0 {
                    self.control.grow(now, acked);
                } else {
                    self.control.hold(now);
                }
            }
        }
        self.on_standing(now, acked, queue);
    }

    fn stands(&self, now: Time, acked: f64, before: f64) -> Standing {
        let carried = acked.max(self.min);
        let queue = self.queue.standing();
        let forecast = self.queue.forecast(now, self.sent.total(), carried);
        Standing {
            since: now,
            most: queue.max(forecast),
            carried,
            before,
            cut: false,
        }
    }

    /// Cuts if a queue stays although nothing grows, and accepts it if sending less did not help.
    fn on_standing(&mut self, now: Time, acked: f64, queue: Duration) {
        if queue < QUIET + self.slack() {
            self.standing = None;
            return;
        }
        let high = queue >= STANDING + self.slack();
        if high {
            self.full = Some((acked, now));
        }
        let Some(standing) = self.standing else {
            self.standing = Some(self.stands(now, acked, self.control.estimate()));
            return;
        };
        let told = self.queue.newest_sent().unwrap_or(now);
        match standing.look(told, queue, high, acked) {
            Finding::Wait => {}
            Finding::Foreign(before) => {
                self.queue.rebase();
                self.trend.reset();
                self.control.set(self.control.estimate().max(before));
                self.standing = None;
            }
            Finding::Shrinks => {
                let carried = acked.max(standing.carried);
                self.standing = Some(self.stands(now, carried, standing.before));
            }
            Finding::Stays => {
                let carried = acked.max(standing.carried);
                if self.control.cut_to(now, acked, STANDING_USE) {
                    self.on_cut(now);
                }
                self.standing = Some(Standing {
                    cut: true,
                    ..self.stands(now, carried, standing.before)
                });
            }
        }
    }

    pub(super) fn on_heavy_loss(&mut self, now: Time, share: f64, acked: f64) {
        self.proved_at = Some(now);
        let estimate = self.control.estimate();
        let rate = estimate * (1.0 - 0.5 * share);
        // A policer, or a queue that is full: what arrives is what fits.
        let rate = if self.queue.standing() > EVIDENCE + self.slack() || share > 0.3 {
            rate.min(acked * STANDING_USE).max(estimate * 0.3)
        } else {
            rate
        };
        self.control.on_loss(now, rate);
        self.on_cut(now);
    }

    /// What the link carried while its queue drained is worth more than the moment's guess that the cut was made by.
    pub(super) fn on_drained(&mut self, now: Time) {
        if self.covered <= self.explained {
            return;
        }
        if let Some(rate) = std::mem::take(&mut self.drain).rate()
            && rate * DRAINED > self.control.estimate()
        {
            self.control.on_probed(now, rate * DRAINED);
            self.proved_at = Some(now);
        }
    }

    /// What was sent before a cut may still be lost in the queue that led to it: that is the same congestion, not more of it.
    fn on_cut(&mut self, now: Time) {
        self.prober.on_cut(now);
        self.explained = self.sent.highest().unwrap_or(0);
        self.drain = Drain::default();
        self.loss.restart(now);
    }

    pub(super) fn on_probed(&mut self, now: Time, outcome: Outcome, acked: Option<f64>) {
        self.results.count(match outcome {
            Outcome::Carried(_) => ProbeResult::Carried,
            Outcome::Full(_) => ProbeResult::Full,
            Outcome::Disturbed => ProbeResult::Disturbed,
            Outcome::Unknown => ProbeResult::Unknown,
        });
        let estimate = self.control.estimate();
        let acked = acked.unwrap_or(0.0);
        let doubted = std::mem::take(&mut self.doubted);
        if matches!(outcome, Outcome::Carried(_) | Outcome::Full(_)) {
            self.proved_at = Some(now);
        }
        match outcome {
            Outcome::Carried(rate) if rate > estimate => self.control.on_probed(now, rate),
            Outcome::Full(rate) if rate > estimate => {
                // A burst takes from others on the link as well: what it got is more than is free.
                self.control.on_probed(now, (estimate + rate) / 2.0);
                // So much more than was believed is worth another look.
                if rate > estimate * SURPRISE {
                    self.prober.again(now);
                }
            }
            // One burst may have met somebody else's, and what arrives all the time is better proof than any.
            Outcome::Full(rate) if acked < estimate * USED => {
                if doubted {
                    self.control
                        .on_probed(now, rate.max(acked * PROVEN).min(estimate));
                } else {
                    self.doubted = true;
                    self.prober.again(now);
                }
            }
            Outcome::Carried(_) | Outcome::Full(_) | Outcome::Disturbed | Outcome::Unknown => {}
        }
    }
}
