//! What a person in front of a receiver would see and hear: complete frames in order, their size, and how long the
//! picture or the sound stood still.
//!
//! Owns counting. Putting packets in order and asking for missing ones is `stream`'s, telling what can be decoded
//! `picture`'s.

mod picture;
mod stream;

use rustc_hash::FxHashMap;
use schalter_rtp::packet::RtpPacket;
use schalter_rtp::rtcp::RtcpWriter;
use schalter_rtp::seq::SequenceUnwrapper;
use serde::Serialize;

use crate::feed::{OPUS, extension};
use crate::format::VideoFormat;
use picture::Head;
use stream::{ShownFrame, Video};

const MILLI: u64 = 1_000_000;

/// What was seen and heard in a span of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct View {
    /// RTP bytes, without SRTP, UDP and IP.
    pub bytes: u64,
    /// Name of the last picture's format.
    pub codec: Option<&'static str>,
    /// Width and height of the last picture that said them, pixels: VP8 key frames do, and all of VP9 and AV1 whose key
    /// frame listed the sizes of its layers. With layers, of the highest that could be decoded.
    pub size: Option<(u16, u16)>,
    /// Sizes in the order in which they came.
    pub sizes: Vec<(u16, u16)>,
    /// Frames that could be decoded: whole, and after all that they depend on.
    pub frames_complete: u64,
    /// Frames given up.
    pub frames_incomplete: u64,
    /// Longest time between two complete frames, ms; one that lasts counts so far.
    pub longest_video_gap_ms: u64,
    /// Audio packets.
    pub audio_packets: u64,
    /// Audio packets that never came, or are still out.
    pub audio_lost: u64,
    /// Longest time between two audio packets, ms; one that lasts counts so far.
    pub longest_audio_gap_ms: u64,
    /// Packets asked for again.
    pub nacked: u64,
    /// Key frames asked for.
    pub key_frame_requests: u64,
}

#[derive(Debug, Default)]
struct Audio {
    sequence: SequenceUnwrapper,
    highest: Option<u64>,
    last: u64,
}

/// One receiver's eyes and ears.
#[derive(Debug, Default)]
pub struct Viewer {
    videos: FxHashMap<u32, Video>,
    audios: FxHashMap<u32, Audio>,
    span: View,
    whole: View,
}

impl View {
    fn shown(&mut self, size: Option<(u16, u16)>) {
        self.frames_complete += 1;
        if size.is_some() && self.sizes.last().copied() != size {
            self.sizes.extend(size);
        }
        self.size = size.or(self.size);
    }
}

impl Viewer {
    fn count(&mut self, with: impl Fn(&mut View)) {
        with(&mut self.span);
        with(&mut self.whole);
    }

    /// Takes a decrypted RTP packet that arrived at `now`, ns.
    pub fn on_rtp(&mut self, now: u64, datagram: &[u8]) {
        let Ok(packet) = RtpPacket::parse(datagram) else {
            return;
        };
        self.count(|view| view.bytes += datagram.len() as u64);
        match packet.payload_type() {
            OPUS => self.on_audio(now, &packet),
            other => match VideoFormat::of(other) {
                Some((format, false)) => self.on_video(now, &packet, format),
                Some((format, true)) => self.on_repair(now, &packet, format),
                None => {}
            },
        }
    }

    fn on_video(&mut self, now: u64, packet: &RtpPacket<'_>, format: &VideoFormat) {
        let head = head_of(packet, packet.payload(), format);
        let video = self.videos.entry(packet.ssrc()).or_default();
        let number = video.sequence.unwrap(packet.sequence());
        video.insert(number, packet, head);
        self.count(|view| view.codec = Some(format.name));
        self.play(now, packet.ssrc());
    }

    fn on_audio(&mut self, now: u64, packet: &RtpPacket<'_>) {
        let audio = self.audios.entry(packet.ssrc()).or_default();
        let number = audio.sequence.unwrap(packet.sequence());
        let (mut lost, mut gap, mut late) = (0, 0, 0);
        if let Some(highest) = audio.highest {
            lost = number.saturating_sub(highest + 1);
            gap = now.saturating_sub(audio.last) / MILLI;
            late = u64::from(number < highest);
        }
        audio.highest = audio.highest.max(Some(number));
        audio.last = now;
        self.count(|view| {
            view.audio_packets += 1;
            view.audio_lost = (view.audio_lost + lost).saturating_sub(late);
            view.longest_audio_gap_ms = view.longest_audio_gap_ms.max(gap);
        });
    }

    /// RFC 4588 §4. The stream is the one that misses the number: no two of a receiver miss the same one for long.
    fn on_repair(&mut self, now: u64, packet: &RtpPacket<'_>, format: &VideoFormat) {
        let Some((&[high, low], payload)) = packet.payload().split_first_chunk::<2>() else {
            return;
        };
        let original = u16::from_be_bytes([high, low]);
        let missed = self
            .videos
            .iter()
            .find_map(|(ssrc, video)| Some((*ssrc, video.missing(original)?)));
        if let Some((ssrc, number)) = missed
            && let Some(video) = self.videos.get_mut(&ssrc)
        {
            video.insert(number, packet, head_of(packet, payload, format));
            self.play(now, ssrc);
        }
    }

    fn play(&mut self, now: u64, ssrc: u32) {
        let Some(video) = self.videos.get_mut(&ssrc) else {
            return;
        };
        let (shown, given_up) = video.advance(now);
        self.count(|view| view.frames_incomplete += given_up);
        for ShownFrame { size, gap } in shown {
            self.count(|view| {
                view.shown(size);
                view.longest_video_gap_ms = view.longest_video_gap_ms.max(gap);
            });
        }
    }

    /// Writes one request that is due; `false` if none is. Call until `false`, with a buffer each.
    pub fn ask(&mut self, now: u64, own: u32, writer: &mut RtcpWriter<'_>) -> bool {
        let ssrcs: Vec<u32> = self.videos.keys().copied().collect();
        for ssrc in ssrcs {
            self.play(now, ssrc);
            let Some(video) = self.videos.get_mut(&ssrc) else {
                continue;
            };
            if video.wants_key_frame(now) && writer.pli(own, ssrc).is_ok() {
                self.count(|view| view.key_frame_requests += 1);
                return true;
            }
            let missing = video.due_requests(now);
            if !missing.is_empty() && writer.nack(own, ssrc, &missing).is_ok() {
                self.count(|view| view.nacked += missing.len() as u64);
                return true;
            }
        }
        false
    }

    fn with_open_gaps(&self, now: u64, mut view: View) -> View {
        for at in self.videos.values().filter_map(|video| video.last_frame) {
            let gap = now.saturating_sub(at) / MILLI;
            view.longest_video_gap_ms = view.longest_video_gap_ms.max(gap);
        }
        for audio in self.audios.values() {
            let gap = now.saturating_sub(audio.last) / MILLI;
            view.longest_audio_gap_ms = view.longest_audio_gap_ms.max(gap);
        }
        view
    }

    /// What was seen and heard since the last call.
    pub fn take_span(&mut self, now: u64) -> View {
        let next = View {
            size: self.span.size,
            codec: self.span.codec,
            ..View::default()
        };
        let span = std::mem::replace(&mut self.span, next);
        self.with_open_gaps(now, span)
    }

    /// What was seen and heard since the start.
    pub fn whole(&self, now: u64) -> View {
        self.with_open_gaps(now, self.whole.clone())
    }
}

fn head_of(packet: &RtpPacket<'_>, payload: &[u8], format: &VideoFormat) -> Head {
    let descriptor = packet.extension(extension::DEPENDENCY_DESCRIPTOR);
    Head::read(format.codec, payload, descriptor)
}

#[cfg(test)]
mod tests {
    use schalter_rtp::packet::RtpHeader;

    use super::*;
    use crate::feed::{VP8, VP8_RTX};

    const KEY: [u8; 11] = [0x10, 0x10, 0x02, 0, 0x9D, 0x01, 0x2A, 0x40, 0x01, 0xB4, 0];
    const INTER: [u8; 4] = [0x10, 0x11, 0x02, 0];

    fn send(viewer: &mut Viewer, at_ms: u64, pt: u8, sequence: u16, payload: &[u8]) {
        let mut out = vec![0; 100];
        let header = RtpHeader {
            marker: true,
            payload_type: pt,
            sequence,
            timestamp: u32::from(sequence) * 3_000,
            ssrc: u32::from(pt),
        };
        let head = header.write(&[], &mut out).unwrap();
        out.truncate(head);
        out.extend_from_slice(payload);
        viewer.on_rtp(at_ms * MILLI, &out);
    }

    fn asked(viewer: &mut Viewer, at_ms: u64) -> bool {
        let mut out = [0; 200];
        viewer.ask(at_ms * MILLI, 1, &mut RtcpWriter::new(&mut out))
    }

    #[test]
    fn a_repaired_frame_is_late_and_not_lost() {
        let mut viewer = Viewer::default();
        send(&mut viewer, 1_000, VP8, 10, &KEY);
        send(&mut viewer, 1_066, VP8, 12, &INTER);
        assert_eq!(viewer.whole(1_066 * MILLI).frames_complete, 1);
        assert!(asked(&mut viewer, 1_066));
        let repair = [&[0, 11][..], &INTER].concat();
        send(&mut viewer, 1_100, VP8_RTX, 1, &repair);
        let view = viewer.whole(1_100 * MILLI);
        assert_eq!((view.frames_complete, view.frames_incomplete), (3, 0));
        assert_eq!((view.longest_video_gap_ms, view.nacked), (100, 1));
        assert_eq!(
            (view.size, view.sizes),
            (Some((320, 180)), vec![(320, 180)])
        );
    }

    #[test]
    fn what_never_comes_costs_all_frames_up_to_a_key_frame() {
        let mut viewer = Viewer::default();
        send(&mut viewer, 1_000, VP8, 10, &KEY);
        send(&mut viewer, 1_066, VP8, 12, &INTER);
        send(&mut viewer, 1_400, VP8, 13, &INTER);
        assert!(asked(&mut viewer, 1_400));
        assert_eq!(viewer.whole(1_400 * MILLI).key_frame_requests, 1);
        send(&mut viewer, 1_433, VP8, 14, &KEY);
        let view = viewer.take_span(1_433 * MILLI);
        assert_eq!((view.frames_complete, view.frames_incomplete), (2, 2));
        assert_eq!(view.longest_video_gap_ms, 433);
        assert_eq!(viewer.take_span(1_440 * MILLI).frames_complete, 0);
    }

    #[test]
    fn a_picture_without_an_end_is_given_up_with_the_next_one() {
        let mut viewer = Viewer::default();
        let mut packet = |sequence: u16, timestamp, marker, payload: &[u8]| {
            let mut out = vec![0; 100];
            let header = RtpHeader {
                marker,
                payload_type: VP8,
                sequence,
                timestamp,
                ssrc: 1,
            };
            let head = header.write(&[], &mut out).unwrap();
            out.truncate(head);
            out.extend_from_slice(payload);
            viewer.on_rtp(1_000 * MILLI, &out);
            viewer.whole(1_000 * MILLI)
        };
        packet(1, 0, true, &KEY);
        let view = packet(2, 3_000, false, &INTER);
        assert_eq!((view.frames_complete, view.frames_incomplete), (1, 0));
        // Padding in a picture is no end of it.
        packet(3, 3_000, false, &[]);
        packet(4, 3_000, true, &INTER);
        let view = packet(5, 6_000, false, &INTER);
        assert_eq!((view.frames_complete, view.frames_incomplete), (2, 0));
        let view = packet(6, 9_000, true, &INTER);
        assert_eq!((view.frames_complete, view.frames_incomplete), (3, 1));
        assert_eq!(view.codec, Some("VP8"));
    }

    #[test]
    fn sound_that_is_missing_is_counted_until_it_comes() {
        let mut viewer = Viewer::default();
        for (at, sequence) in [(0, 1), (20, 2), (80, 5), (85, 4)] {
            send(&mut viewer, at, OPUS, sequence, &[0x78; 20]);
        }
        let view = viewer.whole(90 * MILLI);
        assert_eq!((view.audio_packets, view.audio_lost), (4, 1));
        assert_eq!(view.longest_audio_gap_ms, 60);
    }
}
