//! One subscriber's link: what it carries, what it is asked to carry, and which layers of its tracks go over it.
//!
//! Joins the estimate ([`crate::bandwidth`]), the division of it ([`crate::allocate`]), pace and probes
//! ([`crate::egress`]) and the layers that consumers follow ([`crate::select`]). Only subscribers that send transport-wide
//! feedback or an estimate of their own (REMB) have one; the others get what they asked for.

use std::time::Duration;

use schalter_model::{Bitrate, ProbeCounters, Time};
use schalter_rtp::rtcp::{CongestionFeedback, TransportCc};

use crate::allocate::{Demand, allocate};
use crate::bandwidth::{BandwidthConfig, BandwidthEstimator};
use crate::caution::{Caution, Climbs};
use crate::consumer::Grant;
use crate::egress::Lane;
use crate::event::ForwardEvent;
use crate::owner::Owner;
use crate::pace::{LONG_BURST, PROBE_PACKETS, Pace, SHORT_BURST};
use crate::quality::LinkView;
use crate::router::Router;
use crate::share::{Share, share};

/// How often links are looked at beside what feedback causes: probes and outages need a clock.
const TICK: Duration = Duration::from_millis(50);
/// Feedback comes every 50 to 100 ms; the division follows at most so often, as rates of layers do.
const DIVIDE: Duration = Duration::from_millis(100);
/// A queue above this is drained by lower layers; a shorter one by the pace alone.
const DEEP: Duration = Duration::from_millis(150);
/// So long before a queue on the way has drained the keyframe is asked for that comes after it: a round trip to the publisher,
/// and what its encoder takes. Earlier it would only wait, and the pictures after it be late for as long.
const AHEAD: Duration = Duration::from_millis(100);
/// Nothing is held back for longer, whatever forecasts say.
const HELD: Duration = Duration::from_millis(1_500);
/// How long the first probes may take to show that a link is wider than believed.
const PROVING: Duration = Duration::from_secs(2);
/// Without a sign of distress for so long the lowest layers are sent, whatever the estimate says: media itself is the probe.
const CALM: Duration = Duration::from_secs(4);
/// How long a subscriber that announced feedback may take for the first.
const TRUST: Duration = Duration::from_secs(2);
/// Below the first rate sound comes without its redundancy (RFC 2198), above the second with it again: on a thin link the
/// copies cost what a small picture needs, and crowd out what they protect.
const THIN: (Bitrate, Bitrate) = (Bitrate::from_kbps(500), Bitrate::from_kbps(700));
/// Headers of sound, in bits a second: 50 packets of 68 bytes. Without redundancy half of the rest remains.
const SOUND_HEADERS: u64 = 50 * 68 * 8;
/// Pace, in halves of the estimate, where everything that is wanted is sent: short queues on the way are better than long ones
/// here.
const UNCONSTRAINED: u64 = 5;
/// Retransmissions and reports, in percent of the media.
const SPARE: u64 = 3;
/// The lowest layers of what is shown go on up to this share of what the link seems to have for them, in percent. If it has
/// less, a queue tells, and lowers the estimate further.
const NEARLY: u64 = 140;
/// From this share of what pictures take a receiver's estimate is no complaint, in percent: receivers that see a queue
/// ask for 85 % of what arrives, which is less than what was sent.
const FOLLOWS: u64 = 85;
/// Bytes of IP and UDP headers and of an AEAD tag, which the link carries beside the plaintext packet.
pub(crate) const WIRE_OVERHEAD: usize = 20 + 8 + 16;

/// State of one link.
#[derive(Debug)]
pub(crate) struct Downlink {
    pub(crate) estimator: BandwidthEstimator,
    /// What tracks may take together, however much the link carries.
    limit: Option<Bitrate>,
    divided_at: Option<Time>,
    /// What the layers in force take.
    sending: Bitrate,
    /// What those of pictures take.
    pictures: Bitrate,
    /// What they would take if the link were wide.
    wanted: Bitrate,
    trust: Trust,
    /// When the link last showed that it is full.
    pub(crate) distress_at: Option<Time>,
    /// Since when some consumer is held back.
    held_at: Option<Time>,
    caution: Caution,
}

/// Whether there is a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Feedback was negotiated and may come until then. So long the estimate is a guess that pauses nothing.
    Until(Time),
    /// There is feedback, since then.
    Measured(Time),
    /// It did not come: the link is one that nobody measures, and gets what was asked for.
    Given,
}

impl Trust {
    fn begin(&mut self, now: Time) {
        if !matches!(self, Self::Measured(_)) {
            *self = Self::Measured(now);
        }
    }
}

/// How a consumer fares under the division.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allotment {
    /// Nothing is sent, because the link is too thin.
    pub(crate) paused: bool,
}

impl Downlink {
    /// Whether a receiver's estimate says anything of the link. Some follow what arrives, sound not counted (aiortc): one
    /// that is about what pictures take now says only that nothing more was sent. Taken for a limit it would stop them,
    /// and without them no other estimate follows.
    fn is_limited_by(&self, rate: Bitrate) -> bool {
        let pictures = self.pictures.as_bps();
        let follows = pictures > 0 && rate.as_bps() >= pictures * FOLLOWS / 100;
        !follows || rate > self.estimator.estimate()
    }

    /// What the link shows now; `None` if nobody measures it.
    pub(crate) fn view(&self, now: Time) -> Option<LinkView> {
        matches!(self.trust, Trust::Measured(_)).then(|| LinkView {
            estimate: self.estimator.estimate(),
            queue: self.estimator.queue_delay(),
            loss: self.estimator.loss(),
            round_trip: self.estimator.round_trip(),
            distressed: self.distress_at.is_some_and(|at| now - at < CALM),
            sending: self.sending,
            wanted: self.wanted,
        })
    }

    /// What probes showed since the last call.
    pub(crate) fn take_probe_results(&mut self) -> ProbeCounters {
        self.estimator.take_probe_results()
    }
}

impl Router {
    /// Measures an owner's link from now on.
    pub(crate) fn measure_link(&mut self, now: Time, owner: u32) {
        let config = BandwidthConfig {
            min: self.config.min_bitrate,
            start: self.config.start_bitrate,
            max: self.config.max_bitrate,
        };
        let Some(state) = self.owner_mut(owner) else {
            return;
        };
        if state.downlink.is_none() {
            state.downlink = Some(Box::new(Downlink {
                estimator: BandwidthEstimator::new(config),
                limit: None,
                divided_at: None,
                sending: Bitrate::ZERO,
                pictures: Bitrate::ZERO,
                wanted: Bitrate::ZERO,
                trust: Trust::Until(now + TRUST),
                distress_at: None,
                held_at: None,
                caution: Caution::default(),
            }));
            self.measured.push(owner);
            self.links_at.get_or_insert(now + TICK);
        }
    }

    /// Has an owner's tracks take no more than `limit` together, as if its link carried no more; `None` lifts that. Sound is
    /// sent all the same.
    pub fn limit_link(&mut self, now: Time, owner: Owner, limit: Option<Bitrate>) {
        if limit.is_some() {
            self.measure_link(now, owner.0);
        }
        if let Some(link) = self.link_mut(owner.0) {
            link.limit = limit;
            self.divide_soon(now, owner.0);
        }
    }

    pub(crate) fn forget_link(&mut self, owner: u32) {
        self.measured.retain(|measured| *measured != owner);
    }

    /// A packet left with a transport-wide number.
    #[inline]
    pub(crate) fn note_sent(
        &mut self,
        now: Time,
        owner: u32,
        sequence: u16,
        len: usize,
        probe: Option<crate::bandwidth::ProbeId>,
    ) {
        if let Some(Some(state)) = self.owners.get_mut(owner as usize)
            && let Some(link) = &mut state.downlink
        {
            link.estimator
                .on_sent(now, sequence, len + WIRE_OVERHEAD, probe);
        }
    }

    /// The packet noted last left on this stream.
    #[inline]
    pub(crate) fn note_stream(&mut self, owner: u32, ssrc: u32, sequence: u16) {
        if let Some(link) = self.link_mut(owner) {
            link.estimator.on_stream(ssrc, sequence);
        }
    }

    /// Expects feedback by stream (RFC 8888) of an owner whose link is measured.
    pub(crate) fn expect_congestion_feedback(&mut self, owner: u32) {
        if let Some(link) = self.link_mut(owner) {
            link.estimator.expect_congestion_feedback();
        }
    }

    pub(crate) fn on_congestion_feedback(
        &mut self,
        now: Time,
        owner: u32,
        feedback: &CongestionFeedback<'_>,
    ) {
        if let Some(link) = self.link_mut(owner)
            && link.estimator.expects_congestion_feedback()
        {
            link.trust.begin(now);
            self.hear(now, owner, |router| {
                if let Some(link) = router.link_mut(owner) {
                    link.estimator.on_congestion_feedback(now, feedback);
                }
            });
            self.tally.congestion_feedback += 1;
            self.look_at_link(now, owner);
        }
    }

    pub(crate) fn on_transport_cc(&mut self, now: Time, owner: u32, feedback: &TransportCc<'_>) {
        if let Some(link) = self.link_mut(owner) {
            link.trust.begin(now);
            self.hear(now, owner, |router| {
                if let Some(link) = router.link_mut(owner) {
                    link.estimator.on_feedback(now, feedback);
                }
            });
            self.look_at_link(now, owner);
        }
    }

    pub(crate) fn on_remb(&mut self, now: Time, owner: u32, rate: Bitrate) {
        self.measure_link(now, owner);
        if let Some(link) = self.link_mut(owner) {
            link.trust.begin(now);
            if link.is_limited_by(rate) {
                link.estimator.on_remb(now, rate);
            }
            self.look_at_link(now, owner);
        }
    }

    pub(crate) fn on_link_report(
        &mut self,
        now: Time,
        owner: u32,
        fraction_lost: u8,
        round_trip: Option<Duration>,
    ) {
        if let Some(link) = self.link_mut(owner) {
            link.estimator.on_report(now, fraction_lost, round_trip);
        }
    }

    /// What an owner's link is believed to carry; `None` if it is not measured.
    pub fn estimate(&self, owner: Owner) -> Option<Bitrate> {
        let link = self.owner(owner.0)?.downlink.as_ref()?;
        Some(link.estimator.estimate())
    }

    pub(crate) fn link_mut(&mut self, owner: u32) -> Option<&mut Downlink> {
        self.owner_mut(owner)?.downlink.as_deref_mut()
    }

    /// Looks at every link whose time has come.
    pub(crate) fn look_at_links(&mut self, now: Time) {
        self.links_at = (!self.measured.is_empty()).then(|| now + TICK);
        for position in 0..self.measured.len() {
            let Some(owner) = self.measured.get(position).copied() else {
                return;
            };
            if let Some(link) = self.link_mut(owner)
                && link.estimator.next_timeout().is_some_and(|at| at <= now)
            {
                link.estimator.on_timeout(now);
            }
            self.look_at_link(now, owner);
        }
        self.sample_links(now);
    }

    /// Follows the estimate of one link: divides it anew if it is time, sets the pace, begins a probe.
    pub(crate) fn look_at_link(&mut self, now: Time, owner: u32) {
        let Some(link) = self.link_mut(owner) else {
            return;
        };
        if link.divided_at.is_none_or(|at| now - at >= DIVIDE) {
            link.divided_at = Some(now);
            self.divide(now, owner);
        }
        self.release_held(now, owner);
        let Some(link) = self.link_mut(owner) else {
            return;
        };
        if link.trust == Trust::Given {
            if let Some(pace) = self.egress.pace_mut(owner) {
                *pace = None;
            }
            return;
        }
        let pace = link.estimator.pacing_rate();
        let (rate, burst) = if link.estimator.send_rate() < link.estimator.estimate() {
            // While a queue drains on the way it is better to wait here, where sound overtakes.
            (pace, SHORT_BURST)
        } else {
            // What is let through must not pile up here, even where it is more than the link seems to carry.
            let rate = pace.max(link.sending);
            if link.wanted <= link.sending {
                // There is room to spare: a keyframe, or what a publisher caught up with, need not wait.
                let spare = link.estimator.estimate().as_bps() * UNCONSTRAINED / 2;
                (rate.max(Bitrate::from_bps(spare)), LONG_BURST)
            } else {
                (rate, SHORT_BURST)
            }
        };
        let probe = link.estimator.next_probe(now);
        if let Some(pace) = self.egress.pace_mut(owner) {
            pace.get_or_insert_with(|| Pace::new(rate, burst))
                .set(rate, burst);
        }
        if let Some(probe) = probe {
            self.tally.links.probes_sent += 1;
            self.egress.start_probe(now, owner, probe);
            self.fill_with_padding(now, owner, probe.bytes);
        }
    }

    /// Lets those begin that waited for the queue on the way, if it is short enough.
    fn release_held(&mut self, now: Time, owner: u32) {
        let Some(link) = self.link_mut(owner) else {
            return;
        };
        let Some(since) = link.held_at else {
            return;
        };
        if link.estimator.forecast() > AHEAD && now - since < HELD {
            return;
        }
        link.held_at = None;
        let count = self.owner(owner).map_or(0, |state| state.consumers.len());
        for position in 0..count {
            let consumer = self
                .owner(owner)
                .and_then(|state| state.consumers.get(position));
            if let Some(consumer) = consumer.copied() {
                self.release(now, consumer);
            }
        }
    }

    /// Divides an owner's link at the next look, whenever the last division was.
    pub(crate) fn divide_soon(&mut self, now: Time, owner: u32) {
        if let Some(link) = self.link_mut(owner) {
            link.divided_at = None;
            self.look_at_link(now, owner);
        }
    }

    fn divide(&mut self, now: Time, owner: u32) {
        let start_bitrate = self.config.start_bitrate;
        let mut shares = std::mem::take(&mut self.scratch.shares);
        shares.clear();
        let mut sound = 0;
        let Some(Some(state)) = self.owners.get(owner as usize) else {
            return;
        };
        let is_measured = |link: &Downlink| matches!(link.trust, Trust::Measured(_));
        let link = state.downlink.as_deref().filter(|link| is_measured(link));
        let estimate = link.map(|link| link.estimator.estimate());
        for index in &state.consumers {
            let Some(consumer) = self.consumers.of_mut(*index) else {
                continue;
            };
            let Some(producer) = self.producers.of(consumer.producer) else {
                continue;
            };
            if producer.withheld_from.is_some() {
                continue;
            }
            if !producer.is_video() {
                match estimate {
                    Some(estimate) if estimate < THIN.0 => consumer.spares_redundancy = true,
                    Some(estimate) if estimate < THIN.1 => {}
                    Some(_) | None => consumer.spares_redundancy = false,
                }
                let slots = producer.slots.iter();
                let encodings = slots.filter_map(|slot| self.encodings.of(*slot));
                let whole = encodings
                    .map(|encoding| encoding.layers.rate(0, 0).as_bps())
                    .sum::<u64>();
                sound += if consumer.spares_redundancy && consumer.may_spare_redundancy() {
                    (whole + SOUND_HEADERS) / 2
                } else {
                    whole
                };
            } else if !consumer.target.paused && !producer.muted {
                shares.push(share(now, *index, consumer, producer, &self.encodings));
            }
        }
        let Some(link) = self.link_mut(owner) else {
            return;
        };
        if matches!(link.trust, Trust::Until(until) if until <= now) {
            link.trust = Trust::Given;
        }
        if link.trust == Trust::Given && link.limit.is_none() {
            for share in &shares {
                self.set_grant(now, share.consumer, Grant::Everything, false);
                self.tell_pause(share.consumer, false);
            }
            self.scratch.shares = shares;
            return;
        }
        // The first probes take a moment; until then only a link that proved to be thin pauses anything.
        let is_guess = match link.trust {
            Trust::Measured(since) => {
                let is_new = now - since < PROVING && link.estimator.estimate() >= start_bitrate;
                // Media itself is the probe where probes show nothing.
                is_new || !link.estimator.is_proven(now)
            }
            Trust::Until(_) | Trust::Given => true,
        };
        // A short drain is the pace's; only a deep queue or an outage is worth another layer.
        let is_drain = link.estimator.queue_delay() > DEEP || link.estimator.is_silent();
        let rate = match (link.trust, link.limit) {
            // Nobody measures it: the limit is all that is known.
            (Trust::Given, Some(limit)) => limit,
            _ if is_drain => link.estimator.send_rate(),
            _ => link.estimator.estimate(),
        };
        let bound = link.limit.filter(|limit| *limit <= rate);
        let rate = bound.unwrap_or(rate);
        let budget = rate.as_bps().saturating_sub(sound) * (100 - SPARE) / 100;
        let climbs = if is_drain {
            Climbs::NONE
        } else {
            link.caution.climbs(now, budget)
        };
        // Before the first feedback there is none that stays away.
        let is_known = matches!(link.trust, Trust::Measured(_));
        if is_known && link.estimator.is_distressed(now, DEEP) {
            link.distress_at = Some(now);
        }
        // An estimate may be low because nothing showed more. What stops a picture is a queue, loss, or the receiver's word.
        let is_calm = link.distress_at.is_none_or(|at| now - at >= CALM);
        // An estimate is a little low after a fall, and a measured rate a little high at times.
        let shown = shares.iter().filter(|share| share.demand.current.is_some());
        let least = shown.filter_map(|share| share.demand.steps.as_slice().first());
        let least: u64 = least.map(|rate| rate.as_bps()).sum();
        let nearly_fits = bound.is_none() && least * 100 <= budget * NEARLY;
        let mut demands = std::mem::take(&mut self.scratch.demands);
        demands.clear();
        demands.extend(shares.iter().map(|share| Demand {
            // What a pause would gain in a drain, or where little is missing, the keyframe after it would cost.
            never_paused: share.demand.never_paused
                || (is_guess || is_calm) && bound.is_none()
                || (is_drain || nearly_fits) && share.demand.current.is_some(),
            ..share.demand
        }));
        let mut chosen = std::mem::take(&mut self.scratch.chosen);
        chosen.clear();
        chosen.resize(demands.len(), None);
        allocate(Bitrate::from_bps(budget), climbs, &demands, &mut chosen);
        let (mut wanted, mut sending, mut before) = (sound, sound, 0);
        let (mut climbed, mut fell) = (false, false);
        let settled = shares.iter().all(|share| share.settled);
        for (share, step) in shares.iter().zip(&chosen) {
            let rates = share.demand.steps.as_slice();
            wanted += rates.last().map_or(0, |rate| rate.as_bps());
            let rate_of = |step: Option<u8>| {
                step.and_then(|step| rates.get(usize::from(step)))
                    .map_or(0, |rate| rate.as_bps())
            };
            let flow = step.map_or(0, |step| share.flows[usize::from(step)].as_bps());
            sending += rate_of(*step).max(flow);
            before += rate_of(share.demand.current);
            climbed |= *step > share.demand.current;
            fell |= *step < share.demand.current;
            self.allot(now, share, *step);
        }
        if let Some(link) = self.link_mut(owner) {
            // What fell because a rate was not what was expected says nothing of the link.
            if fell && settled && bound.is_none() {
                link.caution.on_fall(now, before, is_drain);
            }
            if climbed {
                link.caution.on_climb(now);
            }
            let with_spare = |bps: u64| Bitrate::from_bps(bps + bps * (SPARE + 10) / 100);
            link.sending = with_spare(sending);
            link.pictures = Bitrate::from_bps(sending - sound);
            link.wanted = with_spare(wanted);
            // Probes for what will not be sent show nothing.
            let probed = bound.map_or(link.wanted, |limit| link.wanted.min(limit));
            link.estimator
                .set_demand(now, probed.max(link.sending), link.sending);
        }
        self.scratch.shares = shares;
        self.scratch.demands = demands;
        self.scratch.chosen = chosen;
    }

    /// Lets a consumer follow its step.
    fn allot(&mut self, now: Time, share: &Share, step: Option<u8>) {
        let Some(consumer) = self.consumers.of_mut(share.consumer) else {
            return;
        };
        let steps = share.demand.steps.as_slice().len();
        let grant = match step {
            None if steps > 0 => Grant::Nothing,
            Some(step) if usize::from(step) + 1 < steps || !share.complete => {
                Grant::UpTo(share.layers[usize::from(step)])
            }
            None | Some(_) => Grant::Everything,
        };
        let paused = grant == Grant::Nothing;
        let owner = consumer.owner;
        let link = self.link_mut(owner);
        let hold = link.is_some_and(|link| link.estimator.forecast() > AHEAD);
        if self.set_grant(now, share.consumer, grant, hold)
            && let Some(link) = self.link_mut(owner)
        {
            link.held_at.get_or_insert(now);
        }
        let told = self.tell_pause(share.consumer, paused);
        self.count_step(share.demand.current, step, (told, paused));
    }

    /// Says whether a track is paused, if that is news. Answers what was said before.
    fn tell_pause(&mut self, consumer: u32, paused: bool) -> bool {
        let Some(consumer) = self.consumers.of_mut(consumer) else {
            return paused;
        };
        let told = std::mem::replace(&mut consumer.allotment.paused, paused);
        let (owner, track) = (Owner(consumer.owner), consumer.track);
        if told != paused {
            self.tell(ForwardEvent::StreamState {
                owner,
                track,
                paused,
            });
        }
        told
    }

    /// Queues padding for a probe: recent packets again where a stream has retransmissions, because that repairs what may
    /// have been lost, else empty packets.
    fn fill_with_padding(&mut self, now: Time, owner: u32, bytes: usize) {
        let Some(Some(state)) = self.owners.get(owner as usize) else {
            return;
        };
        let mut left = bytes.saturating_sub(self.egress.backlog(owner) * 1_000);
        // Two big packets would show no rate.
        let most = (bytes / PROBE_PACKETS).saturating_sub(WIRE_OVERHEAD);
        let mut queued = 0;
        let mut turn = 0;
        while (left > 0 || queued < PROBE_PACKETS) && turn < MAX_PADDING_PACKETS {
            let mut found = false;
            for index in &state.consumers {
                let Some(consumer) = self.consumers.of_mut(*index) else {
                    continue;
                };
                let encodings = &self.encodings;
                let Some(pending) = consumer.padding(*index, turn as u16, most, encodings) else {
                    continue;
                };
                found = true;
                left = left.saturating_sub(usize::from(pending.len) + WIRE_OVERHEAD);
                queued += 1;
                if self
                    .egress
                    .push(now, owner, Lane::Padding, pending, true)
                    .is_err()
                    || (left == 0 && queued >= PROBE_PACKETS)
                {
                    return;
                }
            }
            if !found {
                return;
            }
            turn += 1;
        }
    }
}

/// Packets of padding that one probe may take: 16 Mbit/s for 40 ms in packets of the longest padding.
const MAX_PADDING_PACKETS: usize = 300;
