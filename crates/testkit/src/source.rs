//! A stream that a simulated peer publishes.

use std::collections::VecDeque;
use std::time::Duration;

use schalter_model::{MediaKind, Time};
use schalter_rtp::RtpHeader;

use crate::media::{
    AUDIO_LEVEL, FramePart, MID, Mark, OPUS, TRANSPORT_CC, VP8, opus_payload, packet, vp8_payload,
};

/// Packets kept for retransmission, as a browser does.
const HISTORY: usize = 1_000;
/// A packet is not sent again within this time.
const RESEND_GUARD: Duration = Duration::from_millis(20);

/// What a stream is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceConfig {
    /// VP8 or Opus.
    pub kind: MediaKind,
    /// Time from frame to frame.
    pub interval: Duration,
    /// Packets that a frame is made of; a keyframe has twice as many.
    pub packets_per_frame: u32,
    /// Bytes of a payload.
    pub payload_len: usize,
    /// Its SSRC; the next number is its retransmissions'.
    pub ssrc: u32,
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
        }
    }

    /// Opus with frames of 20 ms.
    pub fn audio(ssrc: u32) -> Self {
        Self {
            kind: MediaKind::Audio,
            interval: Duration::from_millis(20),
            packets_per_frame: 1,
            payload_len: 60,
            ssrc,
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
    /// When each packet was sent, by its number.
    times: Vec<Time>,
    first_sequence: u16,
    rtx_sequence: u16,
    first_timestamp: u32,
    started: Time,
    frames: u32,
    picture_id: u16,
    next_frame: Time,
    wants_keyframe: bool,
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
            times: Vec::new(),
            // So near the end that a run of some seconds wraps, but not so near that the first losses hide the wrap from
            // SRTP's guess at the rollover (RFC 3711 §3.3.1).
            first_sequence: 0xff00 | (drawn as u16 & 0x7f),
            rtx_sequence: (drawn >> 16) as u16 & 0x7fff,
            first_timestamp: (drawn >> 32) as u32,
            started: start,
            frames: 0,
            picture_id: (drawn >> 24) as u16 & 0x7fff,
            next_frame: start,
            wants_keyframe: true,
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

    /// The next frame is a keyframe.
    pub fn on_keyframe_request(&mut self) {
        self.wants_keyframe = true;
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
        let keyframe = is_video && std::mem::take(&mut self.wants_keyframe);
        self.keyframes += u64::from(keyframe);
        let count = self.config.packets_per_frame * if keyframe { 2 } else { 1 };
        let timestamp = self.timestamp_at(self.next_frame);
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        for part in 0..count {
            let mark = Mark {
                stream: self.config.ssrc,
                number: self.times.len() as u64,
            };
            let payload = match self.config.kind {
                MediaKind::Video => {
                    let frame = FramePart {
                        first: part == 0,
                        keyframe,
                        picture_id: self.picture_id,
                        tl0picidx: self.frames as u8,
                    };
                    vp8_payload(frame, mark, self.config.payload_len)
                }
                MediaKind::Audio => opus_payload(mark, self.config.payload_len),
            };
            let sent = Sent {
                sequence: self.first_sequence.wrapping_add(mark.number as u16),
                timestamp,
                marker: is_video && part + 1 == count,
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
        let level = [0x80 | 30];
        let mid = self.config.mid().as_bytes();
        let mut elements: Vec<(u8, &[u8])> = vec![(MID, mid), (TRANSPORT_CC, &wide)];
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
