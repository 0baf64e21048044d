//! How much one subscriber's link carries, seen from the sending side (draft-ietf-rmcat-gcc-02, with transport-wide
//! feedback of draft-holmer-rmcat-transport-wide-cc-extensions-01, or feedback by stream of RFC 8888).
//!
//! [`BandwidthEstimator`] joins the views of one path: whether delay grows ([`trend`]), how much queue stands
//! ([`queue`]) and whose it is ([`standing`]), what arrives ([`acked`]), what is lost ([`loss`]), and what short bursts
//! show ([`probe`]). [`aimd`] makes the estimate of them; the send rate is the estimate less what it takes to drain the
//! queue. What feedback means for it is judged in [`conclude`]. Sans-IO: time is an argument, the caller paces and sends. Nothing is allocated after construction, and
//! nothing that a peer says can do more than mislead the estimate within its limits.
//!
//! Allocate by [`BandwidthEstimator::estimate`], and by [`BandwidthEstimator::send_rate`] only while that is less than
//! half of it (a deep queue, or silence); pace by [`BandwidthEstimator::pacing_rate`]; ask
//! [`BandwidthEstimator::next_probe`] after each feedback and timeout.

mod acked;
mod aimd;
mod ccfb;
mod conclude;
mod drain;
mod loss;
mod probe;
mod queue;
mod reports;
mod sent;
mod silence;
mod standing;
mod trend;

#[cfg(test)]
mod by_stream;
#[cfg(test)]
mod by_stream_scenarios;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod simulation;

use std::time::Duration;

use schalter_model::{Bitrate, ProbeCounters, Time};
use schalter_rtp::rtcp::{CongestionFeedback, TransportCc};

use acked::{AckedRate, ReceiverClock};
use aimd::RateControl;
use ccfb::{Fate, Streams};
use drain::Drain;
use loss::{LossWindow, Verdict};
use probe::{Conditions, Prober};
use queue::QueueDelay;
use reports::Reports;
use sent::{Acknowledged, SentPackets};
use silence::Silence;
use standing::Standing;
use trend::Trend;

pub(crate) use probe::{Probe, ProbeId};

/// A tick of feedback deltas, in microseconds (§3.1.5).
const TICK_MICROS: i64 = 250;
/// One-way delays that differ by more belong to another clock or path.
const DELAY_JUMP_MICROS: i64 = 5_000_000;
/// Statuses of one feedback packet that are read; a run can claim 65,535 in two bytes.
const MOST_STATUSES: usize = 2 * sent::CAPACITY as usize;
/// On a slow link half a packet in front is no queue: so many bytes' time is added to every length that counts as one.
const SLACK_BYTES: f64 = 600.0;
/// A queue up to this length is left alone.
const TOLERATED: f64 = 0.015;
/// What is above is drained within about twice this time, in seconds.
const DRAIN: f64 = 0.35;
/// Draining keeps this share of the link, for sound.
const DRAIN_LEAST: f64 = 0.15;
/// A queue above this is high, and worth a cut if it stays.
const STANDING: Duration = Duration::from_millis(25);
/// Forecasts are renewed at this interval while a queue is drained.
const RENEWAL: Duration = Duration::from_millis(25);
/// A queue up to this does not disturb a probe.
const CALM: Duration = Duration::from_millis(12);
/// Below this share of the estimate the source sends too little to prove it.
const USED: f64 = 0.8;
/// Packets may leave this much faster than the send rate, so that a frame takes less than a frame's time.
const PACING: f64 = 1.2;
/// Transport-wide feedback younger than this makes reports and REMB moot.
const FEEDBACK_RULES: Duration = Duration::from_secs(5);
/// Weight of a new round trip in the smoothed one.
const ROUND_TRIP_WEIGHT: u32 = 8;

/// Share of packets whose loss is more than a bad radio link's.
const DISTRESS: f32 = 0.1;
/// Older proof of what a link carries is none: it may have changed, and probes may not reach the receiver's feedback.
const PROOF: Duration = Duration::from_secs(8);

/// Limits of an estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BandwidthConfig {
    /// Never below this: sound must pass.
    pub(crate) min: Bitrate,
    /// Believed before anything is known.
    pub(crate) start: Bitrate,
    /// Never above this.
    pub(crate) max: Bitrate,
}

impl Default for BandwidthConfig {
    fn default() -> Self {
        Self {
            min: Bitrate::from_kbps(30),
            start: Bitrate::from_kbps(600),
            max: Bitrate::from_kbps(20_000),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Demand {
    wanted: f64,
    sending: f64,
}

/// The send-side estimator of one subscriber's transport.
#[derive(Debug)]
pub(crate) struct BandwidthEstimator {
    min: f64,
    start: f64,
    max: f64,
    sent: SentPackets,
    /// Sent packets by stream, where feedback names them so.
    streams: Option<Box<Streams>>,
    clock: ReceiverClock,
    acked: AckedRate,
    trend: Trend,
    queue: QueueDelay,
    control: RateControl,
    loss: LossWindow,
    prober: Prober,
    silence: Silence,
    reports: Reports,
    demand: Option<Demand>,
    standing: Option<Standing>,
    /// What the link last showed to carry while it was full, and when.
    full: Option<(f64, Time)>,
    round_trip: Option<Duration>,
    /// When loss, a probe, or the receiver's own word last showed what the link carries.
    proved_at: Option<Time>,
    /// When the last probe was asked for.
    probed: Option<Time>,
    /// The last probe showed less than is believed.
    doubted: bool,
    /// What probes showed since somebody asked.
    results: ProbeCounters,
    /// Highest packet that feedback spoke of.
    covered: u64,
    /// Loss of packets up to this one has led to a cut: they were sent before it.
    explained: u64,
    drain: Drain,
    forecast: Duration,
    send_rate: f64,
    /// The send rate is below the estimate until this, when to look again.
    renewal: Option<Time>,
}

impl BandwidthEstimator {
    /// An estimator that believes in `config.start`.
    pub(crate) fn new(config: BandwidthConfig) -> Self {
        let min = (config.min.as_bps() as f64).max(1e3);
        let max = (config.max.as_bps() as f64).max(min);
        let start = (config.start.as_bps() as f64).clamp(min, max);
        Self {
            min,
            start,
            max,
            sent: SentPackets::new(),
            streams: None,
            clock: ReceiverClock::default(),
            acked: AckedRate::new(),
            trend: Trend::new(),
            queue: QueueDelay::new(),
            control: RateControl::new(min, start, max),
            loss: LossWindow::default(),
            prober: Prober::new(),
            silence: Silence::new(),
            reports: Reports::new(start),
            demand: None,
            standing: None,
            full: None,
            round_trip: None,
            proved_at: None,
            probed: None,
            doubted: false,
            results: ProbeCounters::default(),
            covered: 0,
            explained: 0,
            drain: Drain::default(),
            forecast: Duration::ZERO,
            send_rate: start,
            renewal: None,
        }
    }

    /// A packet left that carries the transport-wide `sequence`; `bytes` are those on the wire, IP and UDP included.
    pub(crate) fn on_sent(
        &mut self,
        now: Time,
        sequence: u16,
        bytes: usize,
        probe: Option<ProbeId>,
    ) {
        let bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        let number = self.sent.on_sent(now, sequence, bytes);
        self.silence.on_sent(now);
        if let Some(id) = probe {
            self.prober.on_sent(now, number, bytes, id);
        }
    }

    /// Feedback by stream (RFC 8888) is to be expected: from now on packets are remembered by stream too.
    pub(crate) fn expect_congestion_feedback(&mut self) {
        self.streams.get_or_insert_with(|| Box::new(Streams::new()));
    }

    /// Whether feedback by stream is understood.
    pub(crate) fn expects_congestion_feedback(&self) -> bool {
        self.streams.is_some()
    }

    /// The packet that [`Self::on_sent`] was told of last left on this stream, with this RTP sequence number.
    pub(crate) fn on_stream(&mut self, ssrc: u32, sequence: u16) {
        if let (Some(streams), Some(number)) = (&mut self.streams, self.sent.highest()) {
            streams.on_sent(number, ssrc, sequence);
        }
    }

    /// Transport-wide feedback came.
    pub(crate) fn on_feedback(&mut self, now: Time, feedback: &TransportCc<'_>) {
        let mut arrival = self.clock.reference(feedback.reference_time);
        let Some(first) = self.sent.place(feedback.base_sequence) else {
            return;
        };
        let highest = self.sent.highest().unwrap_or(first);
        let assumed = self.sent.on_feedback_begin(first);
        let deltas = feedback.deltas().take(MOST_STATUSES);
        let fates = (first..=highest).zip(deltas).map(|(number, delta)| {
            let fate = delta.map_or(Fate::Missing, |delta| {
                arrival = arrival.saturating_add(i64::from(delta) * TICK_MICROS);
                Fate::At(arrival)
            });
            (number, fate)
        });
        self.on_fates(now, assumed, fates);
    }

    /// Feedback by stream came; nothing happens unless it was [expected](Self::expect_congestion_feedback).
    pub(crate) fn on_congestion_feedback(&mut self, now: Time, feedback: &CongestionFeedback<'_>) {
        let Some(mut streams) = self.streams.take() else {
            return;
        };
        let (assumed, count) = streams.read(&mut self.sent, feedback);
        let fates = (0..count).filter_map(|position| streams.fate(position));
        if count > 0 {
            self.on_fates(now, assumed, fates);
        }
        self.streams = Some(streams);
    }

    /// Takes what feedback of either kind says, in the order of sending; `assumed` bytes arrived unreported before.
    fn on_fates(&mut self, now: Time, mut assumed: u64, fates: impl Iterator<Item = (u64, Fate)>) {
        let mut newest_sent = None;
        for (number, fate) in fates {
            let arrival = match fate {
                Fate::Missing => {
                    // A receiver may not know the stream that padding comes on: its loss says nothing of the link.
                    let is_news = self.sent.on_missing(number);
                    if is_news && number > self.explained && !self.prober.covers(number) {
                        self.loss.on_fate(true);
                    }
                    continue;
                }
                Fate::At(arrival) => Some(arrival),
                Fate::Untimed => None,
            };
            let packet = match self.sent.on_arrived(number) {
                Acknowledged::First(packet) => {
                    if number > self.explained {
                        self.loss.on_fate(false);
                    }
                    packet
                }
                Acknowledged::Late(packet) => {
                    if number > self.explained {
                        self.loss.on_late();
                    }
                    packet
                }
                Acknowledged::Nothing => continue,
            };
            if let Some(arrival) = arrival {
                self.on_arrival(packet, arrival, std::mem::take(&mut assumed));
                newest_sent = newest_sent.max(Some(packet.sent));
            }
        }
        if let Some(sent) = newest_sent {
            self.on_round_trip(now - sent);
        }
        self.covered = self.covered.max(self.sent.uncovered().saturating_sub(1));
        let room = self.queue.standing() < STANDING;
        if self
            .silence
            .on_feedback(now, self.sent.newest_waiting(), room)
        {
            self.on_silence_over(now);
        }
        self.update(now);
    }

    fn on_arrival(&mut self, packet: sent::SentPacket, arrival: i64, assumed: u64) {
        let delay = arrival.saturating_sub(packet.sent.as_micros().cast_signed());
        if let Some(before) = self.queue.newest()
            && delay.saturating_sub(before).saturating_abs() > DELAY_JUMP_MICROS
        {
            self.queue.reset();
            self.trend.reset();
            self.acked.reset();
        }
        self.acked
            .on_arrival(arrival, u64::from(packet.bytes) + assumed);
        self.queue.on_packet(packet.sent, delay, packet.total);
        if packet.number <= self.explained {
            let waited = self.queue.waited(delay);
            self.drain.on_arrival(arrival, waited, packet.bytes);
        }
        self.prober.on_arrival(packet.number, arrival, packet.bytes);
        // The queue that a probe makes on purpose is its result, not a trend.
        if !self.prober.covers(packet.number) {
            self.trend.on_packet(packet.sent, arrival);
        }
    }

    fn on_round_trip(&mut self, sample: Duration) {
        let before = self.round_trip.unwrap_or(sample);
        self.round_trip = Some((before * (ROUND_TRIP_WEIGHT - 1) + sample) / ROUND_TRIP_WEIGHT);
    }

    /// What was held back or lost in the silence says nothing about the link that came back.
    fn on_silence_over(&mut self, now: Time) {
        self.trend.reset();
        self.acked.reset();
        self.loss.restart(now);
        self.standing = None;
        self.prober.soon(now);
    }

    /// Draws conclusions from feedback.
    fn update(&mut self, now: Time) {
        let acked = self.acked.bits_per_second();
        let queue = self.queue.standing();
        if let Some(outcome) = self.prober.judge(now, self.covered, self.queue.jitter()) {
            self.on_probed(now, outcome, acked);
        }
        let verdict = self.loss.judge(now);
        self.on_drained(now);
        if let Some(acked) = acked {
            self.on_delay(now, acked, queue);
            if let Some(Verdict::Heavy(share)) = verdict {
                self.on_heavy_loss(now, share, acked);
            }
        }
        self.renew(now);
    }

    /// What half a packet in front takes.
    fn slack(&self) -> Duration {
        Duration::from_secs_f64(SLACK_BYTES * 8.0 / self.control.estimate().max(1e5))
    }

    /// Sets the send rate by what the queue will be now.
    fn renew(&mut self, now: Time) {
        let estimate = self.control.estimate();
        let carried = match self.full {
            Some((rate, at)) if now - at < Duration::from_secs(1) => rate.max(self.min),
            _ => estimate,
        };
        self.forecast = self.queue.forecast(now, self.sent.total(), carried);
        let standing = self.queue.standing().as_secs_f64();
        // A burst on its way, or jitter, is no queue to be drained: one must have been seen.
        let tolerated = TOLERATED + self.slack().as_secs_f64();
        let excess = if standing > tolerated {
            (self.forecast.as_secs_f64() - tolerated).max(0.0)
        } else {
            0.0
        };
        let share = (1.0 - excess / DRAIN).max(DRAIN_LEAST);
        let rate = if excess > 0.0 {
            estimate.min(carried) * share
        } else {
            estimate
        };
        self.send_rate = (rate * self.silence.factor()).clamp(self.min, estimate);
        self.renewal = (excess > 0.0).then_some(now + RENEWAL);
    }

    fn has_feedback(&self, now: Time) -> bool {
        self.silence
            .heard()
            .is_some_and(|heard| now - heard < FEEDBACK_RULES)
    }

    /// The receiver's own estimate came, which counts only without transport-wide feedback.
    pub(crate) fn on_remb(&mut self, now: Time, rate: Bitrate) {
        self.proved_at = Some(now);
        self.reports.on_remb(rate.as_bps() as f64);
        self.on_receiver(now);
    }

    /// A report block came; `fraction_lost` in 1/256 (RFC 3550 §6.4.1). Its loss counts only without transport-wide
    /// feedback.
    pub(crate) fn on_report(&mut self, now: Time, fraction_lost: u8, round_trip: Option<Duration>) {
        if self.has_feedback(now) {
            return;
        }
        if let Some(sample) = round_trip {
            self.on_round_trip(sample);
        }
        self.loss.smooth(f64::from(fraction_lost) / 256.0, 0.3);
        let estimate = self.control.estimate();
        let busy = self
            .demand
            .is_none_or(|demand| demand.sending >= estimate * USED);
        self.reports.on_report(now, fraction_lost, busy);
        self.on_receiver(now);
    }

    fn on_receiver(&mut self, now: Time) {
        if self.has_feedback(now) {
            return;
        }
        self.reports.clamp(self.min, self.max);
        self.control.set(self.reports.estimate());
        self.renew(now);
    }

    /// What the subscriber would take without any limit, and what is being sent.
    pub(crate) fn set_demand(&mut self, _now: Time, wanted: Bitrate, sending: Bitrate) {
        self.demand = Some(Demand {
            wanted: wanted.as_bps() as f64,
            sending: sending.as_bps() as f64,
        });
    }

    /// What the link is believed to carry.
    pub(crate) fn estimate(&self) -> Bitrate {
        Bitrate::from_bps(self.control.estimate() as u64)
    }

    /// What may be sent now: at most the estimate, less while a queue is drained or the link is silent.
    pub(crate) fn send_rate(&self) -> Bitrate {
        Bitrate::from_bps(self.send_rate as u64)
    }

    /// Whether the estimate rests on something seen lately, and is more than what nobody contradicted.
    pub(crate) fn is_proven(&self, now: Time) -> bool {
        let full = self.full.map(|(_, at)| at);
        let proofs = [self.proved_at, full];
        proofs.into_iter().flatten().any(|at| now - at < PROOF)
    }

    /// Whether a queue longer than `deep` stands, much is lost, feedback stays away, or the receiver itself says what it takes.
    pub(crate) fn is_distressed(&self, now: Time, deep: Duration) -> bool {
        self.queue_delay() > deep
            || self.loss() > DISTRESS
            || self.is_silent()
            || !self.has_feedback(now)
    }

    /// How long feedback has stayed away, if that is worth acting on.
    pub(crate) fn silent_for(&self, now: Time) -> Option<Duration> {
        let heard = self.silence.heard()?;
        self.silence.is_silent().then(|| now - heard)
    }

    /// Less is sent than the link is believed to carry, because it is silent or was lately.
    pub(crate) fn is_silent(&self) -> bool {
        self.silence.factor() < 1.0
    }

    /// How long a packet sent now would wait on the way, as far as is known.
    pub(crate) fn forecast(&self) -> Duration {
        self.forecast
    }

    /// How fast packets may leave that wait to be sent.
    pub(crate) fn pacing_rate(&self) -> Bitrate {
        Bitrate::from_bps((self.send_rate * PACING) as u64)
    }

    /// A burst that is to be sent now.
    pub(crate) fn next_probe(&mut self, now: Time) -> Option<Probe> {
        let calm = self.queue.standing() < CALM + self.slack()
            && self.renewal.is_none()
            && !self.silence.is_silent()
            && self.has_feedback(now);
        let conditions = Conditions {
            estimate: self.control.estimate(),
            start: self.start,
            max: self.max,
            wanted: self.demand.map(|demand| demand.wanted),
            jitter: self.queue.jitter(),
            calm,
        };
        let probe = self.prober.next(now, &conditions);
        if probe.is_some() {
            self.probed = Some(now);
        }
        probe
    }

    /// When [`Self::on_timeout`] is due.
    pub(crate) fn next_timeout(&self) -> Option<Time> {
        [self.renewal, self.silence.due(), self.prober.expiry()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time passed.
    pub(crate) fn on_timeout(&mut self, now: Time) {
        self.silence.on_timeout(now);
        if let Some(outcome) = self.prober.judge(now, self.covered, self.queue.jitter()) {
            self.on_probed(now, outcome, None);
        }
        self.renew(now);
    }

    /// Smoothed share of packets that are lost, 0 to 1.
    pub(crate) fn loss(&self) -> f32 {
        self.loss.smoothed() as f32
    }

    /// Smoothed round trip; `None` before the first.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// What probes showed since the last call.
    pub(crate) fn take_probe_results(&mut self) -> ProbeCounters {
        std::mem::take(&mut self.results)
    }

    /// What stands in the queue on the way.
    pub(crate) fn queue_delay(&self) -> Duration {
        self.queue.standing()
    }
}
