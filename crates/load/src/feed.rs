//! What a publisher sends: VP8 in bursts as a camera makes them, and Opus, both valid as far as a server may look.
//!
//! Owns pacing, RTP and codec headers, key frames upon request and the memory that answers NACKs. Every packet ends in a
//! [`Probe`].

use std::time::{Duration, Instant};

use schalter_rtp::packet::RtpHeader;
use schalter_rtp::rtcp::{RtcpWriter, SenderInfo};

use crate::probe::{Kind, PROBE_LEN, Probe};

/// Payload type of Opus in our offers.
pub const OPUS: u8 = 111;
/// Payload type of VP8 in our offers.
pub const VP8: u8 = 96;
/// Payload type of retransmitted VP8 in our offers.
pub const VP8_RTX: u8 = 97;

/// Header extension ids in our offers, as Chromium numbers them.
pub mod extension {
    /// `ssrc-audio-level` (RFC 6464).
    pub const AUDIO_LEVEL: u8 = 1;
    /// Absolute send time.
    pub const ABS_SEND_TIME: u8 = 2;
    /// Transport-wide sequence number.
    pub const TRANSPORT_CC: u8 = 3;
    /// `sdes:mid`.
    pub const MID: u8 = 4;
    /// AV1 dependency descriptor.
    pub const DEPENDENCY_DESCRIPTOR: u8 = 12;
}

/// Packets at the start of a stream that carry `mid`. Browsers send it until the server has reported on the stream.
const PACKETS_WITH_MID: u32 = 100;
/// Packets that can be sent again, a second and a half of video.
const MEMORY: usize = 256;
/// Largest sealed packet that the memory keeps.
const MEMORY_SLOT: usize = 1_400;
/// VP8 payload descriptor with 15-bit picture id (RFC 7741 §4.2).
const DESCRIPTOR_LEN: usize = 4;
/// Frame tag, start code and dimensions of a key frame (RFC 6386 §9.1).
const KEY_FRAME_HEADER: [u8; 10] = [0x10, 0x02, 0x00, 0x9D, 0x01, 0x2A, 0x80, 0x02, 0x68, 0x01];
/// Frame tag of an inter frame.
const INTER_FRAME_HEADER: [u8; 3] = [0x11, 0x02, 0x00];
/// Opus TOC: hybrid fullband 20 ms, mono, one frame (RFC 6716 §3.1).
const OPUS_TOC: u8 = 0x78;
/// −20 dBov with voice activity (RFC 6464 §3).
const SPEAKING: u8 = 0x80 | 20;

/// Rates and sizes of one publisher's feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedConfig {
    /// Video packets per second; 0 for none.
    pub video_packets: u32,
    /// RTP payload of each video packet, bytes.
    pub video_bytes: usize,
    /// Frames, and with them bursts, per second.
    pub video_bursts: u32,
    /// Audio packets per second; 0 for none.
    pub audio_packets: u32,
    /// RTP payload of each audio packet, bytes.
    pub audio_bytes: usize,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self {
            video_packets: 160,
            video_bytes: 1_150,
            video_bursts: 30,
            audio_packets: 50,
            audio_bytes: 120,
        }
    }
}

impl FeedConfig {
    /// Whether all sizes can be sent.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn check(&self) -> Result<(), String> {
        let smallest = DESCRIPTOR_LEN + KEY_FRAME_HEADER.len() + PROBE_LEN;
        let video = smallest..=1_200;
        let audio = 1 + PROBE_LEN..=1_200;
        if self.video_packets > 0 && (!video.contains(&self.video_bytes) || self.video_bursts == 0)
        {
            return Err(format!(
                "video packets have {video:?} bytes of payload and at least one burst a second"
            ));
        }
        if self.audio_packets > 0 && !audio.contains(&self.audio_bytes) {
            return Err(format!("audio packets have {audio:?} bytes of payload"));
        }
        if self.video_packets == 0 && self.audio_packets == 0 {
            return Err("a publisher needs audio or video".to_owned());
        }
        Ok(())
    }

    /// Packets per second together.
    pub fn packets_per_second(&self) -> u32 {
        self.video_packets + self.audio_packets
    }
}

/// What the SDP says about a publisher's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamIds {
    /// SSRC of audio.
    pub audio: u32,
    /// SSRC of video.
    pub video: u32,
    /// SSRC of retransmitted video.
    pub video_rtx: u32,
}

impl StreamIds {
    /// Fresh ones; never 0, which some servers take for "none".
    pub fn generate() -> Self {
        let ssrc = || rand::random::<u32>() | 1;
        Self {
            audio: ssrc(),
            video: ssrc(),
            video_rtx: ssrc(),
        }
    }
}

/// What the server takes of our extensions, and how the sections are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedHeader {
    /// `a=mid` of the audio section, where the extension was negotiated.
    pub audio_mid: Option<String>,
    /// `a=mid` of the video section, where the extension was negotiated.
    pub video_mid: Option<String>,
    /// The server takes RFC 6464 levels.
    pub audio_level: bool,
    /// The server takes transport-wide sequence numbers.
    pub transport_cc: bool,
}

struct Stream {
    kind: Kind,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    counter: u32,
    octets: u32,
    measured: u32,
    /// When its next burst is due.
    next: Instant,
    /// Bursts so far.
    bursts: u64,
    /// Packets of the current burst that are still to come.
    left: u32,
    first_of_frame: bool,
}

impl Stream {
    fn new(kind: Kind, ssrc: u32, next: Instant) -> Self {
        Self {
            kind,
            ssrc,
            sequence: rand::random::<u16>() & 0x7FFF,
            timestamp: rand::random(),
            counter: 0,
            octets: 0,
            measured: 0,
            next,
            bursts: 0,
            left: 0,
            first_of_frame: false,
        }
    }
}

/// One publisher's feed.
pub struct Publisher {
    id: u32,
    config: FeedConfig,
    header: FeedHeader,
    streams: Vec<Stream>,
    transport_sequence: u16,
    picture_id: u16,
    key_frame: bool,
    key_frames: u64,
    next_report: Instant,
    memory: Vec<(Option<(u32, u16)>, usize)>,
    memory_bytes: Vec<u8>,
}

/// Packets sent while a measurement ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Audio packets.
    pub audio: u64,
    /// Video packets.
    pub video: u64,
}

impl Publisher {
    /// A feed that starts at `start`.
    pub fn new(
        id: u32,
        config: FeedConfig,
        ids: StreamIds,
        header: FeedHeader,
        start: Instant,
    ) -> Self {
        let mut streams = Vec::new();
        if config.audio_packets > 0 {
            streams.push(Stream::new(Kind::Audio, ids.audio, start));
        }
        if config.video_packets > 0 {
            streams.push(Stream::new(Kind::Video, ids.video, start));
        }
        Self {
            id,
            config,
            header,
            streams,
            transport_sequence: 0,
            picture_id: rand::random::<u16>() & 0x7FFF,
            key_frame: true,
            key_frames: 0,
            next_report: start,
            memory: vec![(None, 0); MEMORY],
            memory_bytes: vec![0; MEMORY * MEMORY_SLOT],
        }
    }

    /// The next frame will be a key frame.
    pub fn request_key_frame(&mut self) {
        self.key_frame = true;
    }

    /// Key frames sent so far.
    pub fn key_frames(&self) -> u64 {
        self.key_frames
    }

    /// Packets sent while a measurement ran.
    pub fn sent(&self) -> Sent {
        let of = |kind| {
            self.streams
                .iter()
                .filter(|s| s.kind == kind)
                .map(|s| u64::from(s.measured))
                .sum()
        };
        Sent {
            audio: of(Kind::Audio),
            video: of(Kind::Video),
        }
    }

    /// When the next packet or report is due.
    pub fn next_due(&self) -> Instant {
        self.streams
            .iter()
            .map(|s| s.next)
            .fold(self.next_report, Instant::min)
    }

    /// Writes the next packet that is due into `out` (1,500 bytes); answers its length. Call until `None`.
    pub fn produce(
        &mut self,
        now: Instant,
        wall: u64,
        measured: bool,
        out: &mut [u8],
    ) -> Option<usize> {
        let index = self
            .streams
            .iter()
            .position(|s| s.left > 0 || s.next <= now)?;
        if self.streams[index].left == 0 {
            self.begin_burst(index, now);
        }
        Some(self.write_packet(index, wall, measured, out))
    }

    fn begin_burst(&mut self, index: usize, now: Instant) {
        let stream = &mut self.streams[index];
        let (bursts, packets, ticks) = match stream.kind {
            Kind::Audio => (self.config.audio_packets, self.config.audio_packets, 48_000),
            Kind::Video => (self.config.video_bursts, self.config.video_packets, 90_000),
        };
        let (n, bursts64, packets) = (stream.bursts, u64::from(bursts), u64::from(packets));
        let due = (n + 1) * packets / bursts64 - n * packets / bursts64;
        stream.left = u32::try_from(due).unwrap_or(u32::MAX).max(1);
        stream.bursts += 1;
        stream.first_of_frame = true;
        stream.timestamp = stream.timestamp.wrapping_add(ticks / bursts);
        let interval = Duration::from_secs(1) / bursts;
        // A generator that was held up goes on at its rate instead of flooding the server with what it missed.
        stream.next = if now > stream.next + interval * 8 {
            now
        } else {
            stream.next
        } + interval;
        if stream.kind == Kind::Video {
            self.picture_id = (self.picture_id + 1) & 0x7FFF;
        }
    }

    fn write_packet(&mut self, index: usize, wall: u64, measured: bool, out: &mut [u8]) -> usize {
        let stream = &mut self.streams[index];
        let video = stream.kind == Kind::Video;
        let header = RtpHeader {
            marker: if video {
                stream.left == 1
            } else {
                stream.counter == 0
            },
            payload_type: if video { VP8 } else { OPUS },
            sequence: stream.sequence,
            timestamp: stream.timestamp,
            ssrc: stream.ssrc,
        };
        let transport_sequence = self.transport_sequence.to_be_bytes();
        let level = [SPEAKING];
        let mid = if video {
            &self.header.video_mid
        } else {
            &self.header.audio_mid
        };
        let mut extensions: [(u8, &[u8]); 3] = [(0, &[]); 3];
        let mut count = 0;
        if let Some(mid) = mid
            && stream.counter < PACKETS_WITH_MID
        {
            extensions[count] = (extension::MID, mid.as_bytes());
            count += 1;
        }
        if self.header.transport_cc {
            extensions[count] = (extension::TRANSPORT_CC, &transport_sequence);
            self.transport_sequence = self.transport_sequence.wrapping_add(1);
            count += 1;
        }
        if self.header.audio_level && !video {
            extensions[count] = (extension::AUDIO_LEVEL, &level);
            count += 1;
        }
        let head = header
            .write(&extensions[..count], out)
            .expect("1,500 bytes hold a header with three short extensions");
        let body = if video {
            self.config.video_bytes
        } else {
            self.config.audio_bytes
        };
        let payload = &mut out[head..head + body];
        if video {
            let key = self.key_frame && stream.first_of_frame;
            write_vp8(payload, self.picture_id, stream.first_of_frame, key);
            if key {
                self.key_frame = false;
                self.key_frames += 1;
            }
        } else {
            payload[0] = OPUS_TOC;
        }
        let probe = Probe {
            publisher: self.id,
            kind: stream.kind,
            measured,
            counter: stream.counter,
            sent_at: wall,
        };
        probe.write(payload);
        stream.first_of_frame = false;
        stream.left -= 1;
        stream.sequence = stream.sequence.wrapping_add(1);
        stream.counter += 1;
        stream.octets = stream.octets.wrapping_add(body as u32);
        stream.measured += u32::from(measured);
        head + body
    }

    /// Keeps a sealed video packet, so that it can be sent again bit by bit (which SRTP allows).
    pub fn remember(&mut self, sealed: &[u8]) {
        let [_, _, s0, s1, _, _, _, _, a, b, c, d, ..] = *sealed else {
            return;
        };
        let video = |ssrc| {
            self.streams
                .iter()
                .any(|s| s.ssrc == ssrc && s.kind == Kind::Video)
        };
        if sealed.len() > MEMORY_SLOT || !video(u32::from_be_bytes([a, b, c, d])) {
            return;
        }
        let (sequence, ssrc) = (
            u16::from_be_bytes([s0, s1]),
            u32::from_be_bytes([a, b, c, d]),
        );
        let slot = usize::from(sequence) % MEMORY;
        self.memory[slot] = (Some((ssrc, sequence)), sealed.len());
        self.memory_bytes[slot * MEMORY_SLOT..][..sealed.len()].copy_from_slice(sealed);
    }

    /// The sealed packet that the server missed, if it is remembered.
    pub fn recall(&self, ssrc: u32, sequence: u16) -> Option<&[u8]> {
        let slot = usize::from(sequence) % MEMORY;
        let (key, len) = self.memory[slot];
        (key == Some((ssrc, sequence))).then(|| &self.memory_bytes[slot * MEMORY_SLOT..][..len])
    }

    /// All sealed packets that are remembered.
    pub fn remembered(&self) -> Vec<Vec<u8>> {
        let slots = self
            .memory
            .iter()
            .zip(self.memory_bytes.chunks(MEMORY_SLOT));
        slots
            .filter(|((key, _), _)| key.is_some())
            .map(|((_, len), slot)| slot[..*len].to_vec())
            .collect()
    }

    /// Writes sender reports if they are due; answers the length of the compound.
    pub fn report(&mut self, now: Instant, wall: u64, out: &mut [u8]) -> Option<usize> {
        if now < self.next_report {
            return None;
        }
        self.next_report = now + Duration::from_secs(1);
        let mut writer = RtcpWriter::new(out);
        for stream in self.streams.iter().filter(|s| s.counter > 0) {
            let info = SenderInfo {
                ssrc: stream.ssrc,
                ntp: ntp(wall),
                rtp_timestamp: stream.timestamp,
                packet_count: stream.counter,
                octet_count: stream.octets,
            };
            writer.sender_report(&info, &[]).ok()?;
            writer.sdes_cname(stream.ssrc, "schalter-load").ok()?;
        }
        (!writer.is_empty()).then(|| writer.finish())
    }
}

/// 32.32 fixed-point seconds since 1900 (RFC 3550 §4).
fn ntp(wall: u64) -> u64 {
    const UNIX_IN_NTP: u64 = 2_208_988_800;
    let (seconds, nanos) = (wall / 1_000_000_000, wall % 1_000_000_000);
    ((seconds + UNIX_IN_NTP) << 32) | ((nanos << 32) / 1_000_000_000)
}

fn write_vp8(payload: &mut [u8], picture_id: u16, first: bool, key: bool) {
    payload[0] = 0x80 | if first { 0x10 } else { 0 };
    payload[1] = 0x80;
    payload[2..4].copy_from_slice(&(0x8000 | picture_id).to_be_bytes());
    if first {
        let tag: &[u8] = if key {
            &KEY_FRAME_HEADER
        } else {
            &INTER_FRAME_HEADER
        };
        payload[DESCRIPTOR_LEN..DESCRIPTOR_LEN + tag.len()].copy_from_slice(tag);
    }
}

#[cfg(test)]
mod tests {
    use schalter_rtp::codec::vp8::Vp8Descriptor;
    use schalter_rtp::packet::RtpPacket;

    use super::*;

    fn publisher(start: Instant) -> Publisher {
        let header = FeedHeader {
            audio_mid: Some("0".into()),
            video_mid: Some("1".into()),
            audio_level: true,
            transport_cc: true,
        };
        Publisher::new(
            3,
            FeedConfig::default(),
            StreamIds {
                audio: 1,
                video: 2,
                video_rtx: 3,
            },
            header,
            start,
        )
    }

    #[test]
    fn a_second_of_feed_has_the_promised_packets_in_bursts() {
        let start = Instant::now();
        let mut feed = publisher(start);
        let mut out = [0; 1_500];
        let (mut audio, mut video, mut bursts) = (0, 0, 0);
        while feed.streams.iter().map(|s| s.next).min().unwrap() < start + Duration::from_secs(1) {
            let now = feed.streams.iter().map(|s| s.next).min().unwrap();
            let mut in_burst = 0;
            while let Some(len) = feed.produce(now, 1, false, &mut out) {
                let packet = RtpPacket::parse(&out[..len]).unwrap();
                if packet.ssrc() == 1 {
                    audio += 1;
                } else {
                    in_burst += 1;
                }
            }
            video += in_burst;
            bursts += u32::from(in_burst > 0);
            assert!(in_burst == 0 || (5..=6).contains(&in_burst), "{in_burst}");
        }
        assert!((50..=51).contains(&audio), "{audio}");
        assert!((30..=31).contains(&bursts), "{bursts}");
        assert!((160..=166).contains(&video), "{video}");
    }

    #[test]
    fn packets_are_valid_vp8_and_name_their_section() {
        let start = Instant::now();
        let mut feed = publisher(start);
        let mut out = [0; 1_500];
        let mut frames = Vec::new();
        for tick in 0..3 {
            let now = start + Duration::from_millis(40 * tick);
            while let Some(len) = feed.produce(now, 9, true, &mut out) {
                let packet = RtpPacket::parse(&out[..len]).unwrap();
                if packet.ssrc() != 2 {
                    assert_eq!(
                        packet.extension(extension::AUDIO_LEVEL),
                        Some(&[SPEAKING][..])
                    );
                    continue;
                }
                assert_eq!(packet.extension(extension::MID), Some(&b"1"[..]));
                let vp8 = Vp8Descriptor::parse(packet.payload()).unwrap();
                frames.push((vp8.is_keyframe, packet.marker()));
                let probe = Probe::read(packet.payload()).unwrap();
                assert_eq!(
                    (probe.publisher, probe.sent_at, probe.measured),
                    (3, 9, true)
                );
            }
            if tick == 1 {
                feed.request_key_frame();
            }
        }
        let keys = frames.iter().filter(|(key, _)| *key).count();
        let ends = frames.iter().filter(|(_, marker)| *marker).count();
        assert_eq!((keys, ends, feed.key_frames()), (2, 3, 2));
        assert!(feed.sent().video >= 15);
    }

    #[test]
    fn what_was_sent_can_be_sent_again_until_it_is_overwritten() {
        let mut feed = publisher(Instant::now());
        let packet = |sequence: u16| {
            let mut out = vec![0; 100];
            RtpHeader {
                sequence,
                ssrc: 2,
                ..RtpHeader::default()
            }
            .write(&[], &mut out)
            .unwrap();
            out
        };
        feed.remember(&packet(5));
        assert_eq!(feed.recall(2, 5), Some(&packet(5)[..]));
        assert_eq!(feed.recall(1, 5), None);
        feed.remember(&packet(5 + MEMORY as u16));
        assert_eq!(feed.recall(2, 5), None);
    }

    #[test]
    fn sizes_that_hold_no_mark_are_refused() {
        let small = FeedConfig {
            video_bytes: 20,
            ..FeedConfig::default()
        };
        assert!(small.check().is_err());
        let none = FeedConfig {
            video_packets: 0,
            audio_packets: 0,
            ..FeedConfig::default()
        };
        assert!(none.check().is_err());
        assert!(FeedConfig::default().check().is_ok());
    }
}
