//! One encoding as its publisher sends it: sequence numbers made monotonic, loss and jitter (RFC 3550 §A),
//! restarts, the publisher's clock, and everything that belongs to the stream (cache, NACKs, keyframe gate).

use std::time::Duration;

use schalter_model::{Bitrate, DropReason, MediaKind, NtpTime, Time};
use schalter_rtp::rtcp::ReportBlock;
use schalter_rtp::seq::SequenceUnwrapper;

use crate::cache::PacketCache;
use crate::envelope::EnvelopeMeta;
use crate::flow::Flow;
use crate::keyframe::KeyframeGate;
use crate::layer::{Layer, LayerRates};
use crate::nack::{Hopeless, NackList, NackPolicy};
use crate::settings::RouterConfig;

/// A step ahead larger than this is a restart, if the next packet follows it (RFC 3550 §A.1 MAX_DROPOUT).
const MAX_DROPOUT: u64 = 3_000;
/// Without a packet for so long a stream has paused: what is measured meanwhile is not what it takes.
const FLOWING: Duration = Duration::from_millis(150);
/// Rates are measured over a second, and an encoder's first keyframe is no measure.
const SETTLING: Duration = Duration::from_secs(1);
/// Nothing came where so many frames were due, and for [`FLOWING`]: a gap.
const GAP_FRAMES: f32 = 3.0;
/// Frames a second (Hz) that are expected of an encoding whose own are not known yet.
const FIRST_FRAME_RATE: f32 = 10.0;
/// A stream that comes in pieces from its beginning on is taken as it is after so long.
const UNEVEN: Duration = Duration::from_secs(3);
/// How much more a simulcast encoding takes than the next lower one, where nothing else is known: four times the pixels.
const STEP_UP: u64 = 3;
/// Distance between the sequence numbers of two lives of a stream: nothing late can reach over it.
const RESTART_DISTANCE: u64 = 1 << 20;

/// The publisher's clock: one instant as NTP time and RTP timestamp, and when we learnt it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SenderClock {
    pub(crate) ntp: NtpTime,
    pub(crate) rtp_timestamp: u32,
    pub(crate) arrived: Time,
}

/// What an encoding took when it last sent for a while.
#[derive(Clone, Copy, Debug)]
struct Usual {
    rate: Bitrate,
    /// Hz.
    frame_rate: f32,
}

/// What is known about a packet's place, before it is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// Unwrapped sequence number.
    pub(crate) seq: u64,
    /// So much was lost that repair is hopeless, or the stream restarted.
    pub(crate) needs_keyframe: bool,
    /// The gap list changed: look at its deadlines.
    pub(crate) gap: bool,
}

#[derive(Debug, Default)]
struct Reception {
    /// First sequence number of this life of the stream.
    base: u64,
    received: u64,
    expected_prior: u64,
    received_prior: u64,
    /// What [`Encoding::take_reception`] told of.
    expected_told: u64,
    received_told: u64,
    transit: Option<u32>,
    /// Jitter in 1/16 timestamp ticks (RFC 3550 §A.8).
    jitter: u32,
}

/// What came of a stream in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) expected: u64,
    /// Of those expected, repairs aside.
    pub(crate) missing: u64,
}

/// A stream of a producer.
#[derive(Debug)]
pub(crate) struct Encoding {
    pub(crate) producer: u32,
    pub(crate) index: u8,
    pub(crate) ssrc: Option<u32>,
    pub(crate) rtx_ssrc: Option<u32>,
    /// The SSRC before, whose late packets are of no use.
    pub(crate) retired_ssrc: Option<u32>,
    pub(crate) cache: PacketCache,
    pub(crate) nack: NackList,
    pub(crate) keyframe: KeyframeGate,
    pub(crate) layers: LayerRates,
    pub(crate) flow: Flow,
    pub(crate) clock: Option<SenderClock>,
    pub(crate) first_arrival: Option<Time>,
    pub(crate) last_arrival: Option<Time>,
    pub(crate) active: bool,
    /// Since when it is active, and what it took in full the last time that it had been so for a while.
    pub(crate) awake_since: Time,
    usual: Option<Usual>,
    /// Until when the measured window holds a gap in which nothing came.
    uneven_until: Time,
    pub(crate) started: bool,
    /// Consumers may only go on within sequence numbers from here: set by restarts and after a mute.
    pub(crate) epoch_start: u64,
    /// Timestamps before this sequence number are of another clock.
    pub(crate) clock_start: u64,
    pub(crate) highest: u64,
    pub(crate) clock_rate: u32,
    /// Losses are asked for. Browsers don't repeat sound unless retransmission was negotiated.
    pub(crate) repairs: bool,
    unwrapper: SequenceUnwrapper,
    /// Added to unwrapped numbers, so that a restart lands ahead of everything before it.
    base: u64,
    /// The number that would confirm a restart (RFC 3550 §A.1 `bad_seq`).
    suspect: Option<u16>,
    reception: Reception,
}

impl Encoding {
    pub(crate) fn new(producer: u32, index: u8, kind: MediaKind, config: &RouterConfig) -> Self {
        let (size, clock_rate) = match kind {
            MediaKind::Audio => (config.audio_cache, 48_000),
            MediaKind::Video => (config.video_cache, 90_000),
        };
        Self {
            producer,
            index,
            ssrc: None,
            rtx_ssrc: None,
            retired_ssrc: None,
            cache: PacketCache::new(size),
            nack: NackList::new(NackPolicy::from(config)),
            keyframe: KeyframeGate::new(config.keyframe_interval),
            layers: LayerRates::new(),
            flow: Flow::default(),
            clock: None,
            first_arrival: None,
            last_arrival: None,
            active: false,
            awake_since: Time::ZERO,
            usual: None,
            uneven_until: Time::ZERO,
            started: false,
            epoch_start: 0,
            clock_start: 0,
            highest: 0,
            clock_rate,
            repairs: kind == MediaKind::Video,
            unwrapper: SequenceUnwrapper::new(),
            base: 0,
            suspect: None,
            reception: Reception::default(),
        }
    }

    /// Starts a new life: another SSRC, or the same one from somewhere else.
    pub(crate) fn restart(&mut self) {
        if self.highest > 0 {
            self.base = self.highest + RESTART_DISTANCE;
            self.epoch_start = self.base;
            self.clock_start = self.base;
        }
        self.unwrapper = SequenceUnwrapper::new();
        self.suspect = None;
        self.clock = None;
        self.nack.clear();
        self.layers.frames.restart();
        self.flow.restart();
        self.reception = Reception::default();
        self.started = false;
    }

    /// Makes consumers begin anew with what comes from now on: what came before was withheld from them.
    pub(crate) fn begin_epoch(&mut self) {
        if self.highest > 0 {
            self.epoch_start = self.highest + 1;
        }
    }

    /// Takes note of a packet from the publisher.
    ///
    /// # Errors
    /// [`DropReason::RtpDuplicate`] or [`DropReason::RtpTooOld`]; a number far off counts as too old until a
    /// second one confirms that the stream restarted.
    pub(crate) fn receive(
        &mut self,
        now: Time,
        sequence: u16,
        timestamp: u32,
        origin: Origin,
    ) -> Result<Received, DropReason> {
        let mut restarted = false;
        if self.unwrapper.highest().is_some() {
            let seq = self.base + self.unwrapper.peek(sequence);
            let ahead = seq > self.highest + MAX_DROPOUT;
            let behind = seq + self.cache.window() <= self.highest;
            if ahead || behind {
                // Retransmissions are of the past; they prove no restart.
                if origin == Origin::Retransmission || self.suspect != Some(sequence) {
                    if origin == Origin::Media {
                        self.suspect = Some(sequence.wrapping_add(1));
                    }
                    return Err(DropReason::RtpTooOld);
                }
                self.restart();
                restarted = true;
            }
        } else if origin == Origin::Retransmission {
            return Err(DropReason::RtpTooOld);
        }
        let first = self.unwrapper.highest().is_none();
        let seq = self.base + self.unwrapper.peek(sequence);
        if self.cache.has_seen(seq) {
            return Err(DropReason::RtpDuplicate);
        }
        self.unwrapper.unwrap(sequence);
        if origin == Origin::Media {
            self.suspect = None;
            self.count(now, seq, timestamp, first);
        }
        let mut received = Received {
            seq,
            needs_keyframe: restarted,
            gap: false,
        };
        if first {
            self.highest = seq;
        } else if seq > self.highest {
            let before = self.highest;
            self.highest = seq;
            if self.repairs {
                let repair = self.nack.on_newest(now, before, seq);
                received.gap = self.nack.next_due().is_some();
                received.needs_keyframe |= repair == Err(Hopeless);
            }
        } else {
            self.nack
                .on_late(now, seq, origin == Origin::Retransmission);
        }
        Ok(received)
    }

    fn count(&mut self, now: Time, seq: u64, timestamp: u32, first: bool) {
        self.flow.on_packet(now, seq, timestamp, self.clock_rate);
        let reception = &mut self.reception;
        if first {
            reception.base = seq;
        }
        reception.received += 1;
        let arrival = now.as_micros().wrapping_mul(u64::from(self.clock_rate)) / 1_000_000;
        let transit = (arrival as u32).wrapping_sub(timestamp);
        if let Some(previous) = reception.transit.replace(transit) {
            let step = transit.wrapping_sub(previous).cast_signed().unsigned_abs();
            reception.jitter = reception
                .jitter
                .saturating_add(step)
                .saturating_sub((reception.jitter + 8) >> 4);
        }
    }

    /// What came since the last call, beside what [`Self::report`] tells the publisher.
    pub(crate) fn take_reception(&mut self) -> Interval {
        let reception = &mut self.reception;
        if reception.received == 0 {
            return Interval::default();
        }
        let expected = self.highest + 1 - reception.base.min(self.highest);
        let interval = expected.saturating_sub(reception.expected_told);
        let received = reception.received - reception.received_told;
        reception.expected_told = expected;
        reception.received_told = reception.received;
        Interval {
            expected: interval,
            missing: interval.saturating_sub(received),
        }
    }

    /// Reports reception since the last report (RFC 3550 §A.3); `None` before the first packet.
    pub(crate) fn report(&mut self, now: Time) -> Option<ReportBlock> {
        let ssrc = self.ssrc?;
        self.unwrapper.highest()?;
        let reception = &mut self.reception;
        if reception.received == 0 {
            return None;
        }
        let expected = self.highest + 1 - reception.base.min(self.highest);
        let lost = expected.cast_signed() - reception.received.cast_signed();
        let expected_interval = expected.saturating_sub(reception.expected_prior);
        let received_interval = reception.received - reception.received_prior;
        reception.expected_prior = expected;
        reception.received_prior = reception.received;
        let lost_interval = expected_interval.saturating_sub(received_interval);
        let fraction = (lost_interval << 8)
            .checked_div(expected_interval)
            .unwrap_or(0);
        let (last_sr, delay) = self.clock.map_or((0, 0), |clock| {
            let delay = (now - clock.arrived).as_micros() * 65_536 / 1_000_000;
            (clock.ntp.middle(), u32::try_from(delay).unwrap_or(u32::MAX))
        });
        // The unwrapper starts one cycle above zero, reports start at cycle 0.
        let extended = self.highest - self.base - (1 << 16);
        Some(ReportBlock {
            ssrc,
            fraction_lost: fraction.min(255) as u8,
            cumulative_lost: lost.clamp(-(1 << 23), (1 << 23) - 1) as i32,
            highest_sequence: extended as u32,
            jitter: reception.jitter >> 4,
            last_sr,
            delay_since_last_sr: delay,
        })
    }

    /// The NTP time, as 32.32 fixed point, at which this timestamp was due by the publisher's clock.
    pub(crate) fn ntp_of(&self, timestamp: u32) -> Option<i128> {
        let clock = self.clock?;
        let ticks = i128::from(timestamp.wrapping_sub(clock.rtp_timestamp).cast_signed());
        Some(i128::from(clock.ntp.0) + (ticks << 32) / i128::from(self.clock_rate))
    }

    /// The timestamp of this encoding's clock at an NTP time.
    pub(crate) fn timestamp_at(&self, ntp: i128) -> Option<u32> {
        let clock = self.clock?;
        let passed = (ntp - i128::from(clock.ntp.0)) * i128::from(self.clock_rate);
        // Rounded to the nearest tick, because fixed-point seconds were cut off on the way here.
        let ticks = (passed + (1 << 31)) >> 32;
        Some(clock.rtp_timestamp.wrapping_add(ticks as u32))
    }

    /// Takes over what the publisher's shard knows.
    ///
    /// # Errors
    /// [`DropReason::RtpDuplicate`] or [`DropReason::RtpTooOld`].
    pub(crate) fn on_remote(&mut self, meta: &EnvelopeMeta) -> Result<(), DropReason> {
        if meta.sequence + self.cache.window() <= self.highest {
            return Err(DropReason::RtpTooOld);
        }
        if self.cache.has_seen(meta.sequence) {
            return Err(DropReason::RtpDuplicate);
        }
        if meta.clock_start > self.clock_start {
            self.clock_start = meta.clock_start;
            self.clock = None;
            self.layers.frames.restart();
        }
        self.epoch_start = self.epoch_start.max(meta.epoch_start);
        self.highest = self.highest.max(meta.sequence);
        self.ssrc = Some(meta.ssrc);
        Ok(())
    }

    /// Takes note of what it takes; to be called about ten times a second.
    pub(crate) fn measure(&mut self, now: Time) {
        self.layers.on_tick(now);
        self.note_gap(now);
        let flows = self.last_arrival.is_some_and(|last| now - last < FLOWING);
        let is_whole = !self.is_uneven(now) || self.usual.is_none();
        if self.active && self.is_settled(now) && flows && is_whole {
            self.usual = Some(Usual {
                rate: self.layers.rate(u8::MAX, u8::MAX),
                frame_rate: self.layers.frame_rate(u8::MAX, u8::MAX),
            });
        }
    }

    /// Takes note of a packet that was accepted.
    pub(crate) fn on_arrival(&mut self, now: Time) {
        self.note_gap(now);
        self.last_arrival = Some(now);
    }

    /// Remembers that nothing came for longer than its usual frames let expect.
    fn note_gap(&mut self, now: Time) {
        let Some(last) = self.last_arrival.filter(|_| self.active) else {
            return;
        };
        let silent = now - last;
        // Of nearly every packet no more is asked.
        if silent <= FLOWING {
            return;
        }
        let frame_rate = match &self.usual {
            Some(usual) if usual.frame_rate <= 0.0 => return,
            Some(usual) => usual.frame_rate.max(1.0),
            None => FIRST_FRAME_RATE,
        };
        if silent > Duration::from_secs_f32(GAP_FRAMES / frame_rate) {
            self.uneven_until = now + SETTLING;
        }
    }

    /// Whether its measured rates are lower than what it takes, because for a part of the measured second nothing came: a
    /// publisher whose machine is busy, or whose link failed for a moment.
    pub(crate) fn is_uneven(&self, now: Time) -> bool {
        now < self.uneven_until
    }

    /// Whether it has been active for long enough that its measured rates are what it takes.
    pub(crate) fn is_settled(&self, now: Time) -> bool {
        let awake = now - self.awake_since;
        let began_unevenly = self.usual.is_none() && self.is_uneven(now) && awake < UNEVEN;
        awake >= SETTLING && !began_unevenly
    }

    /// What it took in full the last time that it had been active for a while.
    pub(crate) fn usual_rate(&self) -> Option<Bitrate> {
        self.usual.as_ref().map(|usual| usual.rate)
    }

    /// What a layer takes. While the encoding has only begun to send that is what it took before, or what the next lower
    /// one lets expect: the first keyframes say nothing.
    pub(crate) fn expected_rate(&self, now: Time, layer: Layer, below: Bitrate) -> Bitrate {
        if self.is_settled(now) {
            return self.layers.rate(layer.spatial, layer.temporal);
        }
        self.usual_rate()
            .unwrap_or(Bitrate::from_bps(below.as_bps() * STEP_UP))
    }

    /// Whether somebody waits for a keyframe.
    pub(crate) fn wants_keyframe(&self) -> bool {
        self.keyframe.due().is_some()
    }

    /// Whether no packet came for `silent_after`.
    pub(crate) fn is_silent(&self, now: Time, silent_after: Duration) -> bool {
        self.last_arrival
            .is_none_or(|last| now - last > silent_after)
    }
}

/// How a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Under the stream's own SSRC.
    Media,
    /// As retransmission (RFC 4588).
    Retransmission,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Stored;

    fn encoding() -> Encoding {
        let mut encoding = Encoding::new(0, 0, MediaKind::Video, &RouterConfig::default());
        encoding.ssrc = Some(1);
        encoding
    }

    fn take(encoding: &mut Encoding, sequence: u16, at: u64) -> Result<Received, DropReason> {
        let now = Time::from_millis(at);
        let received = encoding.receive(now, sequence, (at * 90) as u32, Origin::Media)?;
        let entry = Stored {
            seq: received.seq,
            ..Stored::EMPTY
        };
        encoding.cache.insert(entry, &[], &[0]);
        Ok(received)
    }

    #[test]
    fn loss_is_reported_per_interval_and_in_sum() {
        let mut encoding = encoding();
        for sequence in [65_534, 65_535, 0, 1, 4, 5] {
            take(&mut encoding, sequence, 0).unwrap();
        }
        let report = encoding.report(Time::from_millis(0)).unwrap();
        assert_eq!((report.cumulative_lost, report.fraction_lost), (2, 64));
        assert_eq!(report.highest_sequence, (1 << 16) + 5);
        for sequence in 6..10 {
            take(&mut encoding, sequence, 0).unwrap();
        }
        let report = encoding.report(Time::from_millis(0)).unwrap();
        assert_eq!((report.cumulative_lost, report.fraction_lost), (2, 0));
    }

    #[test]
    fn steady_arrival_has_no_jitter() {
        let mut encoding = encoding();
        for n in 0..100 {
            take(&mut encoding, n, u64::from(n) * 10).unwrap();
        }
        assert_eq!(encoding.report(Time::ZERO).unwrap().jitter, 0);
        for n in 100..200 {
            take(&mut encoding, n, u64::from(n) * 10).unwrap();
            encoding.reception.transit = encoding.reception.transit.map(|t| t ^ 512);
        }
        assert!(encoding.report(Time::ZERO).unwrap().jitter > 200);
    }

    #[test]
    fn one_stray_number_is_dropped_and_two_in_a_row_restart() {
        let mut encoding = encoding();
        take(&mut encoding, 10, 0).unwrap();
        let before = encoding.highest;
        assert_eq!(take(&mut encoding, 30_000, 1), Err(DropReason::RtpTooOld));
        take(&mut encoding, 11, 2).unwrap();
        assert_eq!(encoding.epoch_start, 0);
        assert_eq!(take(&mut encoding, 30_000, 3), Err(DropReason::RtpTooOld));
        let received = take(&mut encoding, 30_001, 4).unwrap();
        assert!(received.needs_keyframe && received.seq > before + RESTART_DISTANCE);
        assert_eq!(encoding.clock_start, encoding.epoch_start);
        assert!(received.seq >= encoding.epoch_start);
    }

    #[test]
    fn duplicates_are_told_apart_from_late_packets() {
        let mut encoding = encoding();
        for sequence in [1, 2, 4] {
            take(&mut encoding, sequence, 0).unwrap();
        }
        assert_eq!(take(&mut encoding, 2, 0), Err(DropReason::RtpDuplicate));
        take(&mut encoding, 3, 0).unwrap();
        assert_eq!(take(&mut encoding, 3, 0), Err(DropReason::RtpDuplicate));
    }
}
