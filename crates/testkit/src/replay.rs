//! A call over a link that changes, and what came of it over time.
//!
//! One or more cameras publish over clean links; one or more subscribers watch all of them behind one link that follows
//! a [`LinkTrace`]. Everything is sampled in bins of [`BIN`].

use std::time::Duration;

use schalter_model::{Bitrate, MediaKind, Time};

use crate::conference::{self, source};
use crate::{
    BIN, Feedback, Layer, LinkConfig, LinkTrace, PeerStats, Picture, ReceiverStats, Shown, Sim,
    SimConfig, SimPeer, Timeline, Wait,
};

/// What a jitter buffer holds on a calm network: about what browsers' do.
const SOUND_BUFFER: Duration = Duration::from_millis(80);
/// A packet of sound, and the share of its time that is saved by playing it faster while the buffer is longer than it
/// has to be: browsers do about so much without being noticed.
const SOUND_PACKET: Duration = Duration::from_millis(20);
const FASTER: u32 = 8;
/// A picture that stands for so long shows no layer any more.
const STANDS: Duration = Duration::from_millis(1_000);
/// Frames of so long a time tell which temporal layers are shown: eight of 30 a second.
const LAYER_WINDOW: Duration = Duration::from_millis(270);

/// What is to happen.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Repeats everything.
    pub seed: u64,
    /// Cameras (with microphones), each of a peer of its own.
    pub publishers: usize,
    /// What each camera sends.
    pub picture: Picture,
    /// Who watches, all behind one link.
    pub subscribers: usize,
    /// Time between the subscribers' coming.
    pub stagger: Duration,
    /// How subscribers feed back.
    pub feedback: Feedback,
    /// The link to the subscribers.
    pub trace: LinkTrace,
    /// How long it goes on.
    pub length: Duration,
}

impl Scenario {
    /// One camera, one subscriber.
    pub fn new(trace: LinkTrace, picture: Picture, length: Duration) -> Self {
        Self {
            seed: 1,
            publishers: 1,
            picture,
            subscribers: 1,
            stagger: Duration::ZERO,
            feedback: Feedback::default(),
            trace,
            length,
        }
    }

    /// Three cameras whose layers together fill nearly any link: what arrives is what the estimate allows.
    pub fn elastic(trace: LinkTrace, length: Duration) -> Self {
        Self {
            publishers: 3,
            ..Self::new(trace, Picture::elastic(), length)
        }
    }

    /// The peer that a subscriber is, counted from 0.
    pub fn subscriber(&self, index: usize) -> usize {
        self.publishers + index
    }

    /// Lets it happen.
    pub fn run(&self) -> Replay {
        self.run_with(|_| {})
    }

    /// Lets it happen, and `act` interfere at the beginning of every bin.
    pub fn run_with(&self, mut act: impl FnMut(&mut Sim)) -> Replay {
        let mut sim = Sim::new(SimConfig::new(self.seed));
        let down = LinkConfig::clean(Duration::from_millis(10));
        // Wide, but a keyframe takes its time: publishers pace what they send.
        let up = LinkConfig {
            rate: Some(Bitrate::from_kbps(10_000)),
            queue_bytes: 1_000_000,
            ..down
        };
        for publisher in 0..self.publishers {
            sim.add_peer(0, up, down);
            sim.publish_picture(publisher, &self.picture);
        }
        let mut estimates = vec![Vec::new(); self.subscribers];
        let mut joined = 0;
        let end = Time::ZERO + self.length;
        while sim.now() < end {
            while joined < self.subscribers
                && sim.now() >= Time::ZERO + self.stagger * joined as u32
            {
                self.join(&mut sim, joined);
                joined += 1;
            }
            act(&mut sim);
            let next = sim.now() + BIN;
            sim.run_until(next);
            for (index, estimates) in estimates.iter_mut().enumerate().take(joined) {
                let subscriber = sim.peer(self.subscriber(index)).config().transport;
                if let Some(estimate) = sim.shard(0).estimate(subscriber) {
                    estimates.push((next, estimate));
                }
            }
        }
        let mut replay = self.collect(&mut sim);
        for (seen, estimates) in replay.subscribers.iter_mut().zip(estimates) {
            seen.estimate = Some(estimates).filter(|estimates| !estimates.is_empty());
        }
        replay
    }

    fn join(&self, sim: &mut Sim, index: usize) {
        let clean = LinkConfig::clean(Duration::from_millis(20));
        let peer = sim.add_peer(0, clean, self.trace.start());
        assert_eq!(peer, self.subscriber(index), "nobody else comes");
        let (address, first) = (
            Sim::peer_address(peer, 0),
            Sim::peer_address(self.subscriber(0), 0),
        );
        if index == 0 {
            sim.net_mut().follow(address, &self.trace);
        } else {
            sim.net_mut().share(address, first);
        }
        sim.with_peer(peer, |now, peer| peer.set_feedback(now, self.feedback));
        for publisher in 0..self.publishers {
            sim.subscribe_picture(peer, publisher, &self.picture);
        }
    }

    fn collect(&self, sim: &mut Sim) -> Replay {
        let subscribers = (0..self.subscribers)
            .map(|index| self.seen(sim, self.subscriber(index)))
            .collect();
        let address = Sim::peer_address(self.subscriber(0), 0);
        Replay {
            scenario: self.clone(),
            waits: sim.net_mut().down_mut(address).waits().to_vec(),
            subscribers,
        }
    }

    fn seen(&self, sim: &Sim, index: usize) -> Seen {
        let peer = sim.peer(index);
        let receiver = |publisher, kind| peer.receiver_of(source(publisher, kind).ssrc);
        let (mut pictures, mut sounds) = (Vec::new(), Vec::new());
        for publisher in 0..self.publishers {
            if let Some(video) = receiver(publisher, MediaKind::Video) {
                pictures.push(Watched {
                    shown: video.decoder().shown().to_vec(),
                    media: video.media().clone(),
                    misnumbered: video.decoder().misnumbered(),
                    clock_error: video.decoder().clock_error(),
                    stats: video.stats(),
                });
            }
            sounds.extend(self.sounds(sim.peer(publisher), publisher, peer));
        }
        sounds.sort_by_key(|sound: &Sound| sound.captured);
        Seen {
            arrived: peer.arrived().clone(),
            pictures,
            sounds,
            stats: peer.stats(),
            estimate: None,
        }
    }

    /// Every packet of a publisher's microphone from the first that came, and what became of it.
    fn sounds(&self, from: &SimPeer, publisher: usize, to: &SimPeer) -> Vec<Sound> {
        let ssrc = source(publisher, MediaKind::Audio).ssrc;
        let sent = from.sources().iter().find(|s| s.config().ssrc == ssrc);
        let (Some(sent), Some(receiver)) = (sent, to.receiver_of(ssrc)) else {
            return Vec::new();
        };
        let Some(first) = receiver.first_number() else {
            return Vec::new();
        };
        let mut sounds: Vec<_> = (first..sent.sent())
            .filter_map(|number| sent.sent_at(number))
            .map(|captured| Sound {
                microphone: publisher,
                captured,
                delay: None,
            })
            .collect();
        for heard in receiver.heard() {
            if let Some(sound) = sounds.get_mut((heard.number - first) as usize) {
                sound.delay = Some(heard.at - heard.captured);
            }
        }
        sounds
    }
}

/// A packet of sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    /// Whose it is: the publisher's number.
    pub microphone: usize,
    /// When it was captured.
    pub captured: Time,
    /// How long it took; none if it never came.
    pub delay: Option<Duration>,
}

/// What a subscriber got of one camera.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The frames that were shown.
    pub shown: Vec<Shown>,
    /// Bytes that brought something new.
    pub media: Timeline,
    /// Neighbouring frames whose numbers don't follow each other.
    pub misnumbered: u64,
    /// How far timestamps were from the captures, at most.
    pub clock_error: Duration,
    /// What was counted.
    pub stats: ReceiverStats,
}

impl Watched {
    /// Which quality is seen: the newest frame's encoding and the highest temporal layer of the last frames. `None` if the
    /// picture stands.
    pub fn layer(&self, at: Time) -> Option<Layer> {
        let end = self.shown.partition_point(|frame| frame.at <= at);
        let newest = self.shown[..end].last()?;
        if at - newest.at > STANDS {
            return None;
        }
        let encoding = newest.layer.encoding;
        let recent = self.shown[..end].iter().rev();
        recent
            .take_while(|frame| frame.layer.encoding == encoding && at - frame.at < LAYER_WINDOW)
            .map(|frame| frame.layer)
            .chain([newest.layer])
            .max()
    }

    /// How long the picture stood still, each time that it was longer than `least`, between these times.
    pub fn freezes(&self, from: Time, to: Time, least: Duration) -> Vec<Duration> {
        let shown = self.shown.iter().map(|frame| frame.at);
        let shown = shown.filter(|at| (from..to).contains(at));
        let starts = std::iter::once(from).chain(shown.clone());
        starts
            .zip(shown.chain([to]))
            .map(|(start, end)| end - start)
            .filter(|stood| *stood > least)
            .collect()
    }

    /// The longest time that the picture stood still between these times.
    pub fn longest_freeze(&self, from: Time, to: Time) -> Duration {
        let freezes = self.freezes(from, to, Duration::ZERO);
        freezes.into_iter().max().unwrap_or_default()
    }

    /// Frames shown per second between these times.
    pub fn frame_rate(&self, from: Time, to: Time) -> f64 {
        let shown = self.shown.iter();
        let shown = shown.filter(|frame| (from..to).contains(&frame.at));
        shown.count() as f64 / (to - from).as_secs_f64()
    }
}

/// What a subscriber got.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Bytes of RTP: media, repetitions and padding.
    pub arrived: Timeline,
    /// By camera.
    pub pictures: Vec<Watched>,
    /// Packets of all microphones by the time of capture, from the first that came.
    pub sounds: Vec<Sound>,
    /// What the peer counted.
    pub stats: PeerStats,
    /// What the shard believed that the way carries, by time; `None` if it doesn't tell.
    pub estimate: Option<Vec<(Time, Bitrate)>>,
}

impl Seen {
    /// Rate of video that brought something new between these times.
    pub fn video(&self, from: Time, to: Time) -> Bitrate {
        let rates = self
            .pictures
            .iter()
            .map(|p| p.media.rate(from, to).as_bps());
        Bitrate::from_bps(rates.sum())
    }

    /// The estimate at a time.
    pub fn estimate_at(&self, at: Time) -> Option<Bitrate> {
        let estimates = self.estimate.as_ref()?;
        let passed = estimates.partition_point(|(time, _)| *time <= at);
        Some(estimates[passed.checked_sub(1)?].1)
    }

    fn sounds_between(&self, from: Time, to: Time) -> &[Sound] {
        let index = |at| self.sounds.partition_point(|sound| sound.captured < at);
        &self.sounds[index(from)..index(to)]
    }

    /// Packets of sound that were sent between these times and never came.
    pub fn sounds_lost(&self, from: Time, to: Time) -> usize {
        let sounds = self.sounds_between(from, to).iter();
        sounds.filter(|sound| sound.delay.is_none()).count()
    }

    /// Share of the time between these that a jitter buffer would have to make up for, because packets of sound never came
    /// or came too late.
    ///
    /// As browsers' buffers do, it waits for what is late, keeps the delay that this makes, and plays a bit faster from
    /// then on: a queue that builds up is heard once, not for as long as it stands.
    pub fn sounds_concealed(&self, from: Time, to: Time) -> f64 {
        let mut microphones: Vec<_> = self.sounds.iter().map(|sound| sound.microphone).collect();
        microphones.sort_unstable();
        microphones.dedup();
        let (mut concealed, mut all) = (Duration::ZERO, Duration::ZERO);
        for microphone in microphones {
            let sounds = || self.sounds.iter().filter(|s| s.microphone == microphone);
            let least = sounds().filter_map(|sound| sound.delay).min();
            let calm = least.unwrap_or_default() + SOUND_BUFFER;
            let mut buffer = calm;
            let arrived = |sound: &Sound| Some(sound.captured + sound.delay?);
            let newest = sounds().filter_map(arrived);
            // The first arrival of what was captured later: who comes after that was lost for the buffer.
            let mut later: Vec<_> = newest.collect::<Vec<_>>();
            for index in (1..later.len()).rev() {
                later[index - 1] = later[index - 1].min(later[index]);
            }
            let mut later = later.into_iter();
            for sound in sounds() {
                let overtaken =
                    arrived(sound).is_none_or(|at| later.next().is_some_and(|l| l < at));
                let missed = match sound.delay {
                    Some(delay) if overtaken => delay.saturating_sub(buffer).min(SOUND_PACKET),
                    Some(delay) => delay.saturating_sub(buffer),
                    None => SOUND_PACKET,
                };
                if let Some(delay) = sound.delay.filter(|_| !overtaken) {
                    buffer = (buffer.saturating_sub(SOUND_PACKET / FASTER))
                        .max(calm)
                        .max(delay);
                }
                if (from..to).contains(&sound.captured) {
                    concealed += missed;
                    all += SOUND_PACKET;
                }
            }
        }
        concealed.as_secs_f64() / all.as_secs_f64().max(0.02)
    }
}

/// What came of a scenario.
#[derive(Clone, Debug)]
pub struct Replay {
    /// What was to happen.
    pub scenario: Scenario,
    /// What each datagram to the subscribers met at the link's queue.
    pub waits: Vec<Wait>,
    /// By subscriber.
    pub subscribers: Vec<Seen>,
}

impl Replay {
    /// The end of it.
    pub fn end(&self) -> Time {
        Time::ZERO + self.scenario.length
    }

    /// The beginnings of all bins.
    pub fn bins(&self) -> impl Iterator<Item = Time> + use<> {
        let count = (self.scenario.length.as_nanos() / BIN.as_nanos()) as u32;
        (0..count).map(|bin| Time::ZERO + BIN * bin)
    }

    /// What the link carries between these times; `None` if it is unlimited.
    pub fn capacity(&self, from: Time, to: Time) -> Option<Bitrate> {
        self.scenario.trace.rate(from, to)
    }

    fn waits_between(&self, from: Time, to: Time) -> &[Wait] {
        let index = |at| self.waits.partition_point(|wait| wait.at < at);
        &self.waits[index(from)..index(to)]
    }

    /// The longest that a datagram waited in the queue between these times.
    pub fn longest_queue(&self, from: Time, to: Time) -> Duration {
        let waits = self.waits_between(from, to).iter();
        waits
            .filter_map(|wait| wait.queued)
            .max()
            .unwrap_or_default()
    }

    /// The wait in the queue that this share of the datagrams between these times had at most.
    pub fn queue_quantile(&self, from: Time, to: Time, share: f64) -> Duration {
        let waits = self.waits_between(from, to).iter();
        let mut queued: Vec<_> = waits.filter_map(|wait| wait.queued).collect();
        queued.sort_unstable();
        let last = queued.len().saturating_sub(1);
        let index = (last as f64 * share).round() as usize;
        queued.get(index).copied().unwrap_or_default()
    }

    /// Datagrams that found the queue full between these times.
    pub fn overflowed(&self, from: Time, to: Time) -> usize {
        let waits = self.waits_between(from, to).iter();
        waits.filter(|wait| wait.queued.is_none()).count()
    }

    /// The share of the link's capacity that arrived at all subscribers together between these times.
    pub fn utilisation(&self, from: Time, to: Time) -> f64 {
        let arrived = self
            .subscribers
            .iter()
            .map(|s| s.arrived.rate(from, to).as_bps());
        let arrived: u64 = arrived.sum();
        let capacity = self.capacity(from, to).map_or(0, Bitrate::as_bps);
        arrived as f64 / capacity.max(1) as f64
    }

    /// The whole of it but the first two seconds, in a few lines.
    pub fn summary(&self) -> String {
        let (from, to) = (Time::from_millis(2_000), self.end());
        // What was sent last may be under way.
        let heard = Time::from_millis(to.as_millis().saturating_sub(1_000));
        let mut lines = format!(
            "{}: {:.0} % of the link, queue p95 {} ms, longest {} ms, {} overflowed",
            self.scenario.trace.name(),
            self.utilisation(from, to) * 100.0,
            self.queue_quantile(from, to, 0.95).as_millis(),
            self.longest_queue(from, to).as_millis(),
            self.overflowed(from, to),
        );
        for (index, seen) in self.subscribers.iter().enumerate() {
            lines += &format!(
                "\n  subscriber {index}: {} kbit/s, sound lost {}, concealed {:.1} %",
                seen.arrived.rate(from, to).as_bps() / 1_000,
                seen.sounds_lost(from, heard),
                seen.sounds_concealed(from, heard) * 100.0,
            );
            for picture in &seen.pictures {
                lines += &format!(
                    "\n    {:.1} frames/s, longest freeze {} ms, {} over 300 ms, layer at the end {:?}",
                    picture.frame_rate(from, to),
                    picture.longest_freeze(from, to).as_millis(),
                    picture.freezes(from, to, Duration::from_millis(300)).len(),
                    picture
                        .layer(to)
                        .map(|layer| (layer.encoding, layer.temporal)),
                );
            }
        }
        lines
    }

    /// The pixels' height of an encoding, as people call it.
    pub(crate) fn encoding_name(&self, encoding: usize) -> String {
        let size = self.scenario.picture.encodings.get(encoding);
        size.map_or_else(String::new, |encoding| format!("{}p", encoding.size.1))
    }

    /// Which streams the cameras sent.
    pub fn streams(&self) -> Vec<crate::SourceConfig> {
        let publishers = 0..self.scenario.publishers;
        publishers
            .flat_map(|publisher| conference::streams(publisher, &self.scenario.picture))
            .collect()
    }
}
