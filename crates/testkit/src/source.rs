//! A stream that a simulated peer publishes: sound, a picture, or one encoding of a simulcast picture.

use std::collections::VecDeque;
use std::time::Duration;

use schalter_model::{Bitrate, MediaKind, Time};
use schalter_rtp::RtpHeader;

use crate::Random;
use crate::media::{
    AUDIO_LEVEL, FrameMark, Layer, MID, Mark, Marks, OPUS, REPAIRED_RID, RID, TRANSPORT_CC, VP8,
    Vp8Frame, opus_payload, packet, vp8_payload,
};

/// Packets kept for retransmission, as a browser does.
const HISTORY: usize = 1_000;
/// A packet is not sent again within this time.
const RESEND_GUARD: Duration = Duration::from_millis(20);
/// Bytes of a payload of a stream that has a rate: what browsers put into a packet.
const FULL_PAYLOAD: usize = 1_150;

/// What a stream is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceConfig {
    /// VP8 or Opus.
    pub kind: MediaKind,
    /// Time from frame to frame.
    pub interval: Duration,
    /// Packets that a frame is made of, without a [`Self::rate`].
    pub packets_per_frame: u32,
    /// Bytes of a payload; with a [`Self::rate`] the most of them.
    pub payload_len: usize,
    /// Its SSRC; the next number is its retransmissions'.
    pub ssrc: u32,
    /// Bits of payload per second, which frames are made to fit.
    pub rate: Option<Bitrate>,
    /// How many times larger than other frames a keyframe is.
    pub keyframe_factor: u32,
    /// 1 to 3, in the pattern of browsers: 0, 0 1 or 0 2 1 2.
    pub temporal_layers: u8,
    /// The stream id of a simulcast encoding (RFC 8852).
    pub rid: Option<&'static str>,
    /// Which encoding of its track it is, lowest first.
    pub encoding: u8,
    /// Width and height in pixels.
    pub size: (u16, u16),
    /// How loud a sound says it is (RFC 6464), in −dBov.
    pub level: u8,
}

impl SourceConfig {
    /// A small VP8 picture: 15 frames a second of two packets.
    pub fn video(ssrc: u32) -> Self {
        Self {
            kind: MediaKind::Video,
            interval: Duration::from_micros(66_667),
            packets_per_frame: 2,
            payload_len: 400,
            ssrc,
            rate: None,
            keyframe_factor: 2,
            temporal_layers: 1,
            rid: None,
            encoding: 0,
            size: (320, 240),
            level: 30,
        }
    }

    /// A VP8 picture of this rate with this many frames a second; keyframes are four times as big as other frames.
    pub fn video_at(ssrc: u32, rate: Bitrate, frames_per_second: u32) -> Self {
        Self {
            interval: Duration::from_secs(1) / frames_per_second.max(1),
            payload_len: FULL_PAYLOAD,
            rate: Some(rate),
            keyframe_factor: 4,
            ..Self::video(ssrc)
        }
    }

    /// Opus with frames of 20 ms.
    pub fn audio(ssrc: u32) -> Self {
        Self {
            kind: MediaKind::Audio,
            interval: Duration::from_millis(20),
            packets_per_frame: 1,
            payload_len: 60,
            ..Self::video(ssrc)
        }
    }

    /// SSRC of its retransmissions.
    pub fn rtx_ssrc(&self) -> u32 {
        self.ssrc + 1
    }

    /// The section's mid.
    pub fn mid(&self) -> &'static str {
        match self.kind {
            MediaKind::Audio => "a",
            MediaKind::Video => "v",
        }
    }
}

/// A frame's place among temporal layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    temporal: u8,
    /// The layer that it is predicted from.
    predicted_from: u8,
}

const fn place(temporal: u8, predicted_from: u8) -> Place {
    Place {
        temporal,
        predicted_from,
    }
}

/// Places by number of layers, repeated from each keyframe on. A layer can be added at a frame that is predicted from
/// the base alone.
const PATTERNS: [&[Place]; 3] = [
    &[place(0, 0)],
    &[place(0, 0), place(1, 0)],
    &[place(0, 0), place(2, 0), place(1, 0), place(2, 1)],
];
/// How much larger than an average frame those of each layer are, in percent: so that layers add up to 60 % and 100 %
/// of the rate, or to 40 %, 60 % and 100 %, as browsers divide it.
const WEIGHTS: [&[u64]; 3] = [&[100], &[120, 80], &[160, 80, 80]];

struct Sent {
    sequence: u16,
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
    resent: Option<Time>,
}

/// A stream being published.
pub struct Source {
    config: SourceConfig,
    random: Random,
    /// When each packet was sent, by its number.
    times: Vec<Time>,
    first_sequence: u16,
    rtx_sequence: u16,
    first_timestamp: u32,
    started: Time,
    frames: u32,
    /// Frames since the last keyframe.
    in_pattern: usize,
    /// The newest frame of each temporal layer.
    newest: [u32; 3],
    tl0picidx: u8,
    picture_id: u16,
    next_frame: Time,
    wants_keyframe: bool,
    /// Bytes that keyframes took beyond the rate and that other frames still save.
    debt: usize,
    /// The server reported on the stream: it knows which one it is.
    known: bool,
    history: VecDeque<Sent>,
    octets: u64,
    keyframes: u64,
    retransmitted: u64,
    stopped: bool,
}

impl Source {
    /// A stream that begins at `start`; `drawn` chooses its first numbers.
    pub fn new(start: Time, config: SourceConfig, drawn: u64) -> Self {
        Self {
            config,
            random: Random::new(drawn),
            times: Vec::new(),
            // So near the end that a run of some seconds wraps, but not so near that the first losses hide the wrap from
            // SRTP's guess at the rollover (RFC 3711 §3.3.1).
            first_sequence: 0xff00 | (drawn as u16 & 0x7f),
            rtx_sequence: (drawn >> 16) as u16 & 0x7fff,
            first_timestamp: (drawn >> 32) as u32,
            started: start,
            frames: 0,
            in_pattern: 0,
            newest: [0; 3],
            tl0picidx: 0,
            picture_id: (drawn >> 24) as u16 & 0x7fff,
            next_frame: start,
            wants_keyframe: true,
            debt: 0,
            known: false,
            history: VecDeque::new(),
            octets: 0,
            keyframes: 0,
            retransmitted: 0,
            stopped: false,
        }
    }

    /// What it is like.
    pub fn config(&self) -> &SourceConfig {
        &self.config
    }

    /// Packets sent, retransmissions not counted.
    pub fn sent(&self) -> u64 {
        self.times.len() as u64
    }

    /// How many packets had been sent before `at`.
    pub fn sent_before(&self, at: Time) -> u64 {
        self.times.partition_point(|time| *time < at) as u64
    }

    /// When a packet was sent first.
    pub fn sent_at(&self, number: u64) -> Option<Time> {
        self.times.get(number as usize).copied()
    }

    /// Payload bytes sent, retransmissions not counted.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Keyframes sent.
    pub fn keyframes(&self) -> u64 {
        self.keyframes
    }

    /// Packets sent again.
    pub fn retransmitted(&self) -> u64 {
        self.retransmitted
    }

    /// Sends no more frames; still answers NACKs.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Sends frames again, a keyframe first.
    pub fn resume(&mut self, now: Time) {
        if std::mem::take(&mut self.stopped) {
            self.next_frame = self.next_frame.max(now);
            self.wants_keyframe = true;
        }
    }

    /// The next frame is a keyframe.
    pub fn on_keyframe_request(&mut self) {
        self.wants_keyframe = true;
    }

    /// The server reported on the stream.
    pub(crate) fn on_report(&mut self) {
        self.known = true;
    }

    pub(crate) fn next_timeout(&self) -> Option<Time> {
        (!self.stopped).then_some(self.next_frame)
    }

    /// The instant `now` in the stream's RTP clock.
    pub(crate) fn timestamp_at(&self, now: Time) -> u32 {
        let rate = match self.config.kind {
            MediaKind::Audio => 48_000,
            MediaKind::Video => 90_000,
        };
        let ticks = (now - self.started).as_nanos() * rate / 1_000_000_000;
        self.first_timestamp.wrapping_add(ticks as u32)
    }

    /// Packets and octets for a sender report.
    pub(crate) fn totals(&self) -> (u32, u32) {
        (self.times.len() as u32, self.octets as u32)
    }

    /// Hands the packets of the frame that is due to `send`, each with its transport-wide number.
    pub(crate) fn produce(
        &mut self,
        now: Time,
        transport_sequence: &mut u16,
        mut send: impl FnMut(Vec<u8>),
    ) {
        if self.stopped || self.next_frame > now {
            return;
        }
        if now - self.next_frame > self.config.interval {
            // Nobody was there to send to: frames of the past are not made up for.
            self.next_frame = now;
        }
        let is_video = self.config.kind == MediaKind::Video;
        let timestamp = self.timestamp_at(self.next_frame);
        let (frame, vp8) = self.next_frame();
        let (parts, payload_len) = self.packets_of(frame);
        for part in 0..parts {
            let marks = Marks {
                frame: FrameMark {
                    part,
                    parts,
                    ..frame
                },
                packet: Mark {
                    stream: self.config.ssrc,
                    number: self.times.len() as u64,
                },
            };
            let payload = match self.config.kind {
                MediaKind::Video => vp8_payload(vp8, marks, payload_len),
                MediaKind::Audio => opus_payload(marks, payload_len),
            };
            let sent = Sent {
                sequence: self.first_sequence.wrapping_add(marks.packet.number as u16),
                timestamp,
                marker: is_video && part + 1 == parts,
                payload,
                resent: None,
            };
            self.times.push(now);
            self.octets += sent.payload.len() as u64;
            send(self.write(&sent, None, transport_sequence));
            if self.history.len() == HISTORY {
                self.history.pop_front();
            }
            self.history.push_back(sent);
        }
        self.frames += 1;
        self.next_frame += self.config.interval;
    }

    /// Decides what the frame that is due is like.
    fn next_frame(&mut self) -> (FrameMark, Vp8Frame) {
        let is_video = self.config.kind == MediaKind::Video;
        let keyframe = is_video && std::mem::take(&mut self.wants_keyframe);
        if keyframe {
            self.keyframes += 1;
            self.in_pattern = 0;
        }
        let pattern = PATTERNS[usize::from(self.config.temporal_layers.clamp(1, 3)) - 1];
        let place = pattern[self.in_pattern % pattern.len()];
        self.in_pattern += 1;
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        if place.temporal == 0 {
            self.tl0picidx = self.tl0picidx.wrapping_add(1);
        }
        let reference = self.newest[usize::from(place.predicted_from)];
        self.newest[usize::from(place.temporal)] = self.frames;
        let frame = FrameMark {
            layer: Layer {
                encoding: self.config.encoding,
                temporal: place.temporal,
            },
            keyframe,
            number: self.frames,
            reference: (is_video && !keyframe).then_some(reference),
            part: 0,
            parts: 0,
            captured: self.next_frame,
        };
        let layered = self.config.temporal_layers > 1;
        let vp8 = Vp8Frame {
            picture_id: self.picture_id,
            tl0picidx: self.tl0picidx,
            temporal: layered.then_some((
                place.temporal,
                place.temporal > 0 && place.predicted_from == 0,
            )),
            discardable: layered && place.temporal + 1 == self.config.temporal_layers,
            size: self.config.size,
        };
        (frame, vp8)
    }

    /// How many packets a frame gets, and how many bytes each payload.
    fn packets_of(&mut self, frame: FrameMark) -> (u16, usize) {
        let config = self.config;
        let factor = if frame.keyframe {
            config.keyframe_factor
        } else {
            1
        };
        let Some(rate) = config.rate else {
            let count = config.packets_per_frame * factor;
            return (count as u16, config.payload_len);
        };
        let average = u128::from(rate.as_bps()) * config.interval.as_nanos() / 8_000_000_000;
        let average = average as usize;
        let weights = WEIGHTS[usize::from(config.temporal_layers.clamp(1, 3)) - 1];
        let weight = weights[usize::from(frame.layer.temporal)] as usize;
        // Pictures differ: 85 % to 115 % of what a frame should have.
        let varied = 85 + self.random.below(31) as usize;
        let planned = average * weight / 100;
        let mut bytes = planned * varied / 100 * factor as usize;
        if frame.keyframe {
            self.debt += bytes.saturating_sub(planned);
        } else {
            // What a keyframe took is saved over the next second or two, as rate control does it.
            let saved = (bytes / 5).min(self.debt);
            self.debt -= saved;
            bytes -= saved;
        }
        let parts = bytes.div_ceil(config.payload_len.max(1)).max(1);
        (parts as u16, bytes.div_ceil(parts))
    }

    /// The retransmission of a packet (RFC 4588); `None` if it is gone or was sent again just now.
    pub(crate) fn resend(
        &mut self,
        now: Time,
        sequence: u16,
        transport_sequence: &mut u16,
    ) -> Option<Vec<u8>> {
        let newest = self.history.back()?.sequence;
        let back = usize::from(newest.wrapping_sub(sequence));
        let index = self.history.len().checked_sub(back + 1)?;
        let sent = &mut self.history[index];
        if sent.resent.is_some_and(|at| now - at < RESEND_GUARD) {
            return None;
        }
        sent.resent = Some(now);
        self.retransmitted += 1;
        self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
        let rtx_sequence = self.rtx_sequence;
        Some(self.write(&self.history[index], Some(rtx_sequence), transport_sequence))
    }

    fn write(&self, sent: &Sent, rtx: Option<u16>, transport_sequence: &mut u16) -> Vec<u8> {
        let binding = match self.config.kind {
            MediaKind::Audio => OPUS,
            MediaKind::Video => VP8,
        };
        let wide = transport_sequence.to_be_bytes();
        *transport_sequence = transport_sequence.wrapping_add(1);
        let level = [0x80 | self.config.level.min(127)];
        let mid = self.config.mid().as_bytes();
        let mut elements: Vec<(u8, &[u8])> = vec![(MID, mid), (TRANSPORT_CC, &wide)];
        match (self.config.rid, rtx) {
            (Some(rid), None) if !self.known => elements.push((RID, rid.as_bytes())),
            // Nobody reports on retransmissions, so these say it always.
            (Some(rid), Some(_)) => elements.push((REPAIRED_RID, rid.as_bytes())),
            (Some(_) | None, _) => {}
        }
        if self.config.kind == MediaKind::Audio {
            elements.push((AUDIO_LEVEL, &level));
        }
        let media = RtpHeader {
            marker: sent.marker,
            payload_type: binding.payload_type,
            sequence: sent.sequence,
            timestamp: sent.timestamp,
            ssrc: self.config.ssrc,
        };
        match rtx {
            None => packet(media, &elements, &sent.payload),
            Some(sequence) => {
                let header = RtpHeader {
                    payload_type: binding.rtx_payload_type.unwrap_or(0),
                    sequence,
                    ssrc: self.config.rtx_ssrc(),
                    ..media
                };
                let payload = [&sent.sequence.to_be_bytes()[..], &sent.payload].concat();
                packet(header, &elements, &payload)
            }
        }
    }
}
