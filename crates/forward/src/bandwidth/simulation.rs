//! A bottleneck in virtual time: flows with estimators share one link with a droptail queue.
//!
//! The link is served in steps of one millisecond, arrivals are interpolated within a step, and feedback goes through
//! the wire format, so that its rounding is part of what is tested.

use std::collections::VecDeque;
use std::time::Duration;

use schalter_model::{Bitrate, Time};
use schalter_rtp::RtcpWriter;
use schalter_rtp::rtcp::{Rtcp, compound};

use super::by_stream::{ByStream, Kind};
use super::{BandwidthConfig, BandwidthEstimator, Probe, ProbeId};
use crate::random::Random;
use crate::twcc::TwccRecorder;

const PACKET: usize = 1_200;
/// Bits per second of sound beside video.
const SOUND: u64 = 48_000;
/// Stands for the neighbour's packets.
const GREEDY: usize = usize::MAX;

/// What a flow has to send.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// Whatever the send rate allows.
    Elastic,
    /// The highest of these rates, in kbit/s, that the estimate allows, evenly.
    Layered([u64; 3]),
    /// The same as 30 uneven frames a second with a keyframe of six frames' size every five seconds, paced, and sound.
    Video([u64; 3]),
}

/// Disturbance after the queue.
#[derive(Clone, Copy, Debug)]
pub(super) enum Noise {
    None,
    /// Each packet waits up to so many microseconds, in order.
    Jitter(u64),
    /// Once in about so many milliseconds everything is held back for up to as many.
    Stalls {
        every: u64,
        most: u64,
    },
}

/// The link that all flows share.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// Rate in kbit/s from a time in milliseconds on, in order.
    pub(super) rates: Vec<(u64, u64)>,
    pub(super) queue_bytes: usize,
    /// One way, in milliseconds.
    pub(super) delay: u64,
    /// Share of packets lost at random.
    pub(super) loss: f64,
    pub(super) noise: Noise,
    /// Feedback interval in milliseconds.
    pub(super) interval: u64,
    /// How much faster the receiver's clock runs, in ppm.
    pub(super) drift: i64,
    /// Times in milliseconds, from and to, in which nothing passes.
    pub(super) outage: Option<(u64, u64)>,
    /// From a time in milliseconds on the way is so many milliseconds longer.
    pub(super) detour: Option<(u64, u64)>,
    /// Feedback is by stream (RFC 8888) instead of transport-wide.
    pub(super) by_stream: bool,
    /// Share of feedback that is lost, and by how many milliseconds some of it is late.
    pub(super) feedback_loss: f64,
    pub(super) feedback_late: u64,
    /// From this time in milliseconds on somebody else fills the queue until it overflows, like a TCP download.
    pub(super) greedy: Option<u64>,
}

impl Link {
    pub(super) fn steady(kbps: u64) -> Self {
        Self::stepping(vec![(0, kbps)])
    }

    /// A link whose queue holds half a second of its first rate.
    pub(super) fn stepping(rates: Vec<(u64, u64)>) -> Self {
        Self {
            queue_bytes: (rates[0].1 * 1_000 / 8 / 2) as usize,
            rates,
            delay: 25,
            loss: 0.0,
            noise: Noise::None,
            interval: 50,
            drift: 0,
            outage: None,
            detour: None,
            by_stream: false,
            feedback_loss: 0.0,
            feedback_late: 0,
            greedy: None,
        }
    }

    fn kbps(&self, ms: u64) -> u64 {
        let now = self.rates.iter().rev().find(|(from, _)| *from <= ms);
        now.map_or(0, |(_, rate)| *rate)
    }

    fn is_out(&self, ms: u64) -> bool {
        self.outage
            .is_some_and(|(from, to)| (from..to).contains(&ms))
    }
}

struct Packet {
    flow: usize,
    sequence: u16,
    bytes: usize,
    left: f64,
}

/// One subscriber.
pub(super) struct Flow {
    pub(super) estimator: BandwidthEstimator,
    pub(super) source: Source,
    starts: u64,
    sequence: u16,
    credit: f64,
    /// Bytes of video that wait for the pacer.
    backlog: f64,
    random: Random,
    probe: Option<(Probe, f64, usize)>,
    recorder: TwccRecorder,
    by_stream: Option<ByStream>,
    arriving: VecDeque<(Time, u16)>,
    feedback: VecDeque<(Time, Vec<u8>)>,
    last_arrival: Time,
    /// Bytes that arrived in each hundredth second.
    pub(super) arrived: Vec<u64>,
    /// Estimates in each hundredth second, bits per second.
    pub(super) estimates: Vec<u64>,
    pub(super) send_rates: Vec<u64>,
    pub(super) probes: usize,
}

/// The world.
pub(super) struct Simulation {
    pub(super) link: Link,
    pub(super) flows: Vec<Flow>,
    pub(super) ms: u64,
    random: Random,
    queue: VecDeque<Packet>,
    queued: usize,
    stall: (u64, u64),
    greedy_window: f64,
    greedy_out: usize,
    greedy_inflight: VecDeque<Time>,
    greedy_calm: Time,
    /// Milliseconds of queue, in each millisecond.
    pub(super) queues: Vec<f64>,
    pub(super) dropped: usize,
}

impl Simulation {
    pub(super) fn new(seed: u64, link: Link, sources: &[(u64, Source)]) -> Self {
        let estimator = || {
            let mut estimator = BandwidthEstimator::new(BandwidthConfig::default());
            if link.by_stream {
                estimator.expect_congestion_feedback();
            }
            estimator
        };
        let flows: Vec<_> = sources
            .iter()
            .map(|(starts, source)| Flow {
                estimator: estimator(),
                source: *source,
                starts: *starts,
                sequence: 65_000,
                credit: 0.0,
                backlog: 0.0,
                random: Random::new(!seed),
                probe: None,
                recorder: TwccRecorder::new(Duration::from_millis(link.interval)),
                by_stream: link
                    .by_stream
                    .then(|| ByStream::new(Duration::from_millis(link.interval))),
                arriving: VecDeque::new(),
                feedback: VecDeque::new(),
                last_arrival: Time::ZERO,
                arrived: Vec::new(),
                estimates: Vec::new(),
                send_rates: Vec::new(),
                probes: 0,
            })
            .collect();
        Self {
            flows,
            link,
            ms: 0,
            random: Random::new(seed),
            queue: VecDeque::new(),
            queued: 0,
            stall: (0, 0),
            greedy_window: 10.0,
            greedy_out: 0,
            greedy_inflight: VecDeque::new(),
            greedy_calm: Time::ZERO,
            queues: Vec::new(),
            dropped: 0,
        }
    }

    fn share(&mut self) -> f64 {
        (self.random.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(super) fn run_until(&mut self, ms: u64) {
        while self.ms < ms {
            self.step();
        }
    }

    fn step(&mut self) {
        let now = Time::from_millis(self.ms);
        self.serve(now);
        for index in 0..self.flows.len() {
            self.receive(index, now);
            if self.ms < self.flows[index].starts {
                continue;
            }
            for (sequence, bytes) in self.flows[index].tick(now, self.ms) {
                let lost = self.share() < self.link.loss || self.link.is_out(self.ms);
                if lost || self.queued + bytes > self.link.queue_bytes {
                    self.dropped += usize::from(!lost);
                    continue;
                }
                self.queued += bytes;
                self.queue.push_back(Packet {
                    flow: index,
                    sequence,
                    bytes,
                    left: bytes as f64 * 8.0,
                });
            }
        }
        self.download(now);
        let kbps = self.link.kbps(self.ms).max(1);
        let partly = self
            .queue
            .front()
            .map_or(0.0, |packet| packet.bytes as f64 * 8.0 - packet.left);
        self.queues
            .push((self.queued as f64 * 8.0 - partly) / kbps as f64);
        self.ms += 1;
        if self.ms.is_multiple_of(10) {
            for flow in &mut self.flows {
                flow.estimates.push(flow.estimator.estimate().as_bps());
                flow.send_rates.push(flow.estimator.send_rate().as_bps());
                flow.arrived.push(0);
            }
        }
    }

    /// A loss-driven window (Reno) that always has something to send.
    fn download(&mut self, now: Time) {
        if self.link.greedy.is_none_or(|from| self.ms < from) {
            return;
        }
        while self.greedy_inflight.front().is_some_and(|at| *at <= now) {
            self.greedy_inflight.pop_front();
            self.greedy_out -= 1;
            self.greedy_window += 1.0 / self.greedy_window;
        }
        while (self.greedy_out as f64) < self.greedy_window {
            if self.queued + PACKET > self.link.queue_bytes {
                if now >= self.greedy_calm {
                    self.greedy_window = (self.greedy_window / 2.0).max(2.0);
                    self.greedy_calm = now + Duration::from_millis(200);
                }
                break;
            }
            self.greedy_out += 1;
            self.queued += PACKET;
            self.queue.push_back(Packet {
                flow: GREEDY,
                sequence: 0,
                bytes: PACKET,
                left: PACKET as f64 * 8.0,
            });
        }
    }

    /// Lets one millisecond's bits pass.
    fn serve(&mut self, now: Time) {
        let bits = self.link.kbps(self.ms) as f64;
        let mut left = bits;
        while left > 0.0 {
            let Some(head) = self.queue.front_mut() else {
                break;
            };
            let part = head.left.min(left);
            head.left -= part;
            left -= part;
            if head.left > 1e-6 {
                break;
            }
            let Some(packet) = self.queue.pop_front() else {
                break;
            };
            self.queued -= packet.bytes;
            let within = Duration::from_nanos(((bits - left) / bits * 1e6) as u64);
            let mut at = now + within + Duration::from_millis(self.link.delay);
            if let Some((from, longer)) = self.link.detour
                && self.ms >= from
            {
                at += Duration::from_millis(longer);
            }
            if packet.flow == GREEDY {
                self.greedy_inflight
                    .push_back(at + Duration::from_millis(self.link.delay));
                continue;
            }
            match self.link.noise {
                Noise::None => {}
                Noise::Jitter(most) => {
                    at += Duration::from_micros((self.share() * most as f64) as u64);
                }
                Noise::Stalls { every, most } => {
                    let ms = at.as_millis();
                    if ms >= self.stall.1 + every / 2 {
                        let begin = ms + (self.share() * every as f64) as u64;
                        let end = begin + (self.share() * most as f64) as u64;
                        self.stall = (begin, end);
                    }
                    if (self.stall.0..self.stall.1).contains(&ms) {
                        at = Time::from_millis(self.stall.1);
                    }
                }
            }
            let flow = &mut self.flows[packet.flow];
            at = at.max(flow.last_arrival);
            flow.last_arrival = at;
            flow.arriving.push_back((at, packet.sequence));
            if let Some(sum) = flow.arrived.last_mut() {
                *sum += packet.bytes as u64;
            }
        }
    }

    fn receive(&mut self, index: usize, now: Time) {
        let out = self.link.is_out(self.ms);
        let flow = &mut self.flows[index];
        // The receiver's clock has its own epoch.
        let skew = |at: Time| {
            let nanos = at.as_nanos().cast_signed();
            let drifted = nanos + nanos / 1_000_000 * self.link.drift + 7_000_000_000;
            Time::from_nanos(drifted.cast_unsigned())
        };
        while let Some((at, sequence)) = flow.arriving.front().copied().filter(|(at, _)| *at <= now)
        {
            flow.arriving.pop_front();
            match &mut flow.by_stream {
                Some(streams) => streams.on_packet(skew(at), sequence),
                None => {
                    flow.recorder.on_packet(skew(at), sequence, 1);
                }
            }
        }
        let due = |flow: &Flow| match &flow.by_stream {
            Some(streams) => streams.due(),
            None => flow.recorder.due(),
        };
        while due(flow).is_some_and(|due| due <= skew(now)) {
            let mut bytes = vec![0; 1_200];
            let mut writer = RtcpWriter::new(&mut bytes);
            match &mut flow.by_stream {
                Some(streams) => streams.write(skew(now), &mut writer),
                None => {
                    flow.recorder.write(1, &mut writer, &mut Vec::new());
                }
            }
            let len = writer.finish();
            bytes.truncate(len);
            let draw = (self.random.next() >> 11) as f64 / (1u64 << 53) as f64;
            if !out && draw >= self.link.feedback_loss {
                let late = self.random.next() % (self.link.feedback_late + 1);
                let at = now + Duration::from_millis(self.link.delay + late);
                flow.feedback.push_back((at, bytes));
            }
        }
        while let Some(due) = flow.feedback.iter().position(|(at, _)| *at <= now) {
            let (_, bytes) = flow.feedback.remove(due).expect("a position within");
            for message in compound(&bytes) {
                if let Ok(Rtcp::TransportCc(feedback)) = message {
                    flow.estimator.on_feedback(now, &feedback);
                } else if let Ok(Rtcp::CongestionControl(feedback)) = message {
                    flow.estimator.on_congestion_feedback(now, &feedback);
                }
            }
        }
        if flow.estimator.next_timeout().is_some_and(|due| due <= now) {
            flow.estimator.on_timeout(now);
        }
    }
}

impl Flow {
    fn packet(&mut self, now: Time, bytes: usize, probe: Option<ProbeId>) -> (u16, usize) {
        self.sequence = self.sequence.wrapping_add(1);
        self.estimator.on_sent(now, self.sequence, bytes, probe);
        if let Some(streams) = &mut self.by_stream {
            let kind = match (probe, bytes) {
                (Some(_), _) => Kind::Repair,
                (None, 120) => Kind::Sound,
                (None, _) => Kind::Video,
            };
            let (ssrc, sequence) = streams.name(self.sequence, kind);
            self.estimator.on_stream(ssrc, sequence);
        }
        (self.sequence, bytes)
    }

    fn rate(&mut self, now: Time) -> f64 {
        let allowed = self.estimator.send_rate().as_bps();
        match self.source {
            Source::Elastic => {
                let wanted = Bitrate::from_kbps(20_000);
                self.estimator
                    .set_demand(now, wanted, Bitrate::from_bps(allowed));
                allowed as f64
            }
            Source::Layered(steps) | Source::Video(steps) => {
                // A short drain is the pacer's business and no reason to change layers.
                let mut estimate = self.estimator.estimate().as_bps();
                if allowed < estimate / 2 {
                    estimate = allowed;
                }
                let sound = if matches!(self.source, Source::Video(_)) {
                    SOUND
                } else {
                    0
                };
                let fits = |step: &&u64| **step * 1_000 + sound <= estimate;
                let step = steps.iter().rev().find(fits).unwrap_or(&steps[0]);
                let wanted = Bitrate::from_kbps(steps[2]);
                self.estimator
                    .set_demand(now, wanted, Bitrate::from_kbps(*step));
                (step * 1_000) as f64
            }
        }
    }

    fn tick(&mut self, now: Time, ms: u64) -> Vec<(u16, usize)> {
        let mut sent = Vec::new();
        let rate = self.rate(now);
        if self.probe.is_none()
            && let Some(probe) = self.estimator.next_probe(now)
        {
            self.probes += 1;
            self.probe = Some((probe, 0.0, 0));
        }
        let elastic = matches!(self.source, Source::Elastic);
        if let Some((probe, mut credit, mut done)) = self.probe {
            credit += probe.rate.as_bps() as f64 / 8_000.0;
            let size = (probe.bytes / 5).clamp(100, PACKET);
            let mut finished = false;
            while credit >= size as f64 && !finished {
                credit -= size as f64;
                done += size;
                sent.push(self.packet(now, size, Some(probe.id)));
                finished = done + size / 2 >= probe.bytes;
            }
            self.probe = (!finished).then_some((probe, credit, done));
            // An elastic source's media is what probes are made of.
            if elastic {
                return sent;
            }
        }
        if matches!(self.source, Source::Video(_)) {
            self.video(now, ms, rate, &mut sent);
            return sent;
        }
        self.credit += rate / 8_000.0;
        if ms.is_multiple_of(5) {
            while self.credit >= PACKET as f64 {
                self.credit -= PACKET as f64;
                sent.push(self.packet(now, PACKET, None));
            }
        }
        sent
    }

    fn video(&mut self, now: Time, ms: u64, rate: f64, sent: &mut Vec<(u16, usize)>) {
        if ms.is_multiple_of(20) {
            sent.push(self.packet(now, 120, None));
        }
        if ms.is_multiple_of(33) {
            let uneven = 0.6 + (self.random.next() % 800) as f64 / 1e3;
            let key = if ms.is_multiple_of(4_950) { 6.0 } else { 0.97 };
            self.backlog += rate / 8.0 * 0.033 * uneven * key;
        }
        let pace = self.estimator.pacing_rate().as_bps() as f64 / 8_000.0;
        self.credit = (self.credit + pace).min(PACKET as f64 + pace);
        while self.credit >= 0.0 && self.backlog > 0.0 {
            let bytes = self.backlog.min(PACKET as f64).max(60.0);
            self.backlog = (self.backlog - bytes).max(0.0);
            self.credit -= bytes;
            sent.push(self.packet(now, bytes as usize, None));
        }
    }

    /// Share of `kbps` that arrived between two times in milliseconds.
    pub(super) fn use_of(&self, kbps: u64, from: u64, to: u64) -> f64 {
        let range = from as usize / 10..to as usize / 10;
        let bytes: u64 = self.arrived[range].iter().sum();
        bytes as f64 * 8.0 / (kbps * (to - from)) as f64
    }

    /// The first time in milliseconds after `from` at which the estimate is at least `kbps`.
    pub(super) fn reaches(&self, kbps: f64, from: u64) -> Option<u64> {
        let after = self.estimates.iter().skip(from as usize / 10);
        let steps = after
            .take_while(|estimate| (**estimate as f64) < kbps * 1e3)
            .count();
        let at = from + 10 * steps as u64;
        (at / 10 < self.estimates.len() as u64).then_some(at)
    }
}

/// The value that `share` of the values do not exceed.
pub(super) fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}
