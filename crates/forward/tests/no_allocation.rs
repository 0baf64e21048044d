//! After warm-up, a packet costs no allocation, however many subscribers it goes to.

#![expect(clippy::unwrap_used, reason = "what prepares the test is test code")]

use std::alloc::System;
use std::sync::Arc;
use std::time::Duration;

use schalter_forward::*;
use schalter_model::{Counters, MediaKind, RoomId, Time, TrackId};
use schalter_rtp::extension::parse_transport_sequence;
use schalter_rtp::rtcp::{ArrivalOffset, Ecn, PacketArrival, StreamArrivals};
use schalter_rtp::{RtcpWriter, RtpHeader, RtpPacket};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SUBSCRIBERS: u32 = 50;

/// How subscribers tell what arrived.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Feedback {
    None,
    /// By transport-wide numbers.
    Numbered,
    /// By stream (RFC 8888).
    ByStream,
}

fn router(max_temporal: u8, feedback: Feedback) -> Router {
    let vp8 = CodecBinding {
        payload_type: 96,
        codec: Codec::Vp8,
        rtx_payload_type: Some(97),
    };
    let extensions = ExtensionIds {
        mid: Some(1),
        transport_cc: Some(2),
        video_orientation: Some(3),
        ..ExtensionIds::default()
    };
    let mut router = Router::new(RouterConfig::default());
    router.add_owner(Owner(0)).unwrap();
    let encoding = EncodingConfig {
        rid: None,
        ssrc: Some(1),
        rtx_ssrc: Some(2),
    };
    let producer = ProducerConfig {
        kind: MediaKind::Video,
        mid: Some("0".into()),
        codecs: vec![vp8],
        encodings: vec![encoding],
        extensions,
        transport_cc: true,
        room: None,
    };
    router
        .add_producer(Time::ZERO, Owner(0), TrackId(1), producer)
        .unwrap();
    for owner in 1..=SUBSCRIBERS {
        router.add_owner(Owner(owner)).unwrap();
        let consumer = ConsumerConfig {
            ssrc: 1_000 + owner,
            rtx_ssrc: Some(2_000 + owner),
            cname: Arc::from("c"),
            mid: Some("0".into()),
            codecs: vec![vp8],
            extensions: ExtensionIds {
                transport_cc: extensions
                    .transport_cc
                    .filter(|_| feedback != Feedback::ByStream),
                ..extensions
            },
            congestion_feedback: feedback == Feedback::ByStream,
            continues: false,
            target: ConsumerTarget {
                paused: false,
                max_encoding: 0,
                max_temporal,
                ..ConsumerTarget::default()
            },
        };
        router
            .add_consumer(Time::ZERO, Owner(owner), TrackId(1), consumer)
            .unwrap();
    }
    router
}

/// Packets of one stream that a subscriber has not reported yet.
struct Unreported {
    /// Transport-wide numbers, or the sequence numbers of the stream, with arrivals.
    arrivals: Vec<(u16, Time)>,
    ssrc: u32,
}

/// What subscribers tell of the packets that they got, over links that carry everything.
struct Subscribers {
    feedback: Feedback,
    /// By owner: pictures and retransmissions, or all in the first.
    got: Vec<[Unreported; 2]>,
    due: Time,
    count: u8,
}

impl Subscribers {
    const INTERVAL: Duration = Duration::from_millis(50);
    const WAY: Duration = Duration::from_millis(20);

    fn new(feedback: Feedback) -> Self {
        let stream = |ssrc| Unreported {
            arrivals: Vec::with_capacity(1_000),
            ssrc,
        };
        Self {
            feedback,
            got: (0..=SUBSCRIBERS)
                .map(|owner| [stream(1_000 + owner), stream(2_000 + owner)])
                .collect(),
            due: Time::ZERO,
            count: 0,
        }
    }

    fn on_packet(&mut self, now: Time, owner: Owner, packet: &[u8]) {
        let packet = RtpPacket::parse(packet).unwrap();
        let [pictures, repairs] = &mut self.got[owner.0 as usize];
        let (stream, number) = match self.feedback {
            Feedback::None => return,
            Feedback::Numbered => {
                let number = packet.extension(2).unwrap();
                (pictures, parse_transport_sequence(number).unwrap())
            }
            Feedback::ByStream if packet.ssrc() == repairs.ssrc => (repairs, packet.sequence()),
            Feedback::ByStream => (pictures, packet.sequence()),
        };
        stream.arrivals.push((number, now + Self::WAY));
    }

    fn feed_back(&mut self, now: Time, router: &mut Router) {
        if now < self.due {
            return;
        }
        self.due = now + Self::INTERVAL;
        self.count = self.count.wrapping_add(1);
        for (owner, streams) in (0..).zip(&mut self.got) {
            for stream in streams {
                if stream.arrivals.is_empty() {
                    continue;
                }
                let mut out = [0; 1_500];
                let mut writer = RtcpWriter::new(&mut out);
                if self.feedback == Feedback::ByStream {
                    by_stream(now + Self::WAY, stream, &mut writer);
                } else {
                    numbered(stream, self.count, &mut writer);
                }
                stream.arrivals.clear();
                let len = writer.finish();
                router.on_rtcp(now, Owner(owner), &out[..len]).unwrap();
            }
        }
    }
}

/// Room for a report, without the heap: what the test itself allocates would be counted.
const REPORTED: usize = 256;

fn numbered(stream: &Unreported, count: u8, writer: &mut RtcpWriter<'_>) {
    let mut packets = [(0, None); REPORTED];
    let packets = &mut packets[..stream.arrivals.len()];
    for (slot, (number, at)) in packets.iter_mut().zip(&stream.arrivals) {
        *slot = (*number, Some((at.as_micros() / 250).cast_signed()));
    }
    let covered = writer.transport_cc(9, stream.ssrc, count, packets);
    assert_eq!(covered.unwrap(), packets.len());
}

fn by_stream(now: Time, stream: &Unreported, writer: &mut RtcpWriter<'_>) {
    let begin = stream.arrivals[0].0;
    let (mut packets, mut len) = ([None; REPORTED], 0);
    for (number, at) in &stream.arrivals {
        let place = usize::from(number.wrapping_sub(begin));
        let before = (now - *at).as_micros() * 1_024 / 1_000_000;
        packets[place] = Some(PacketArrival {
            ecn: Ecn::NotCapable,
            offset: ArrivalOffset::Before(before as u16),
        });
        len = len.max(place + 1);
    }
    let report = StreamArrivals {
        ssrc: stream.ssrc,
        begin_sequence: begin,
        packets: &packets[..len],
    };
    let timestamp = (now.as_micros() * 65_536 / 1_000_000) as u32;
    writer.congestion_control(9, timestamp, &[report]).unwrap();
}

/// Publishes and drains `packets` packets, RTCP included; answers how many went out.
fn run(router: &mut Router, subscribers: &mut Subscribers, from: u32, packets: u32) -> u64 {
    let mut packet = [0; 1_200];
    let mut out = [0; 1_500];
    let mut sent = 0;
    for n in from..from + packets {
        let now = Time::from_millis(1) + Duration::from_micros(6_250) * n;
        // Every 50th packet is lost, so that NACKs are on the way measured.
        if n % 50 == 7 {
            continue;
        }
        let header = RtpHeader {
            marker: n % 5 == 4,
            payload_type: 96,
            sequence: n as u16,
            timestamp: n / 5 * 3_000,
            ssrc: 1,
        };
        let sequence = (n as u16).to_be_bytes();
        let elements: [(u8, &[u8]); 2] = [(2, &sequence), (3, &[0])];
        let len = header.write(&elements, &mut packet).unwrap();
        let start = u8::from(n % 5 == 0) << 4;
        // Every second frame is of a higher temporal layer and refers to the base only.
        let temporal = if n / 5 % 2 == 1 { 0x60 } else { 0 };
        let head = [0x80 | start, 0x20, temporal, u8::from(n % 1_000 != 0)];
        packet[len..len + 4].copy_from_slice(&head);
        router.on_rtp(now, Owner(0), &packet).unwrap();
        if router.next_timeout().is_some_and(|at| at <= now) {
            router.on_timeout(now);
        }
        while let Some(owner) = router.next_ready(now) {
            while let Some(len) = router.pop(now, owner, &mut out) {
                sent += 1;
                subscribers.on_packet(now, owner, &out[..len]);
            }
        }
        subscribers.feed_back(now, router);
        while router.next_rtcp(now, &mut out).is_some() {}
        while router.poll_event().is_some() {}
    }
    sent
}

/// Eight speakers of whom two are heard, and everybody listens.
fn hall() -> Router {
    let opus = CodecBinding {
        payload_type: 111,
        codec: Codec::Opus,
        rtx_payload_type: None,
    };
    let extensions = ExtensionIds {
        audio_level: Some(4),
        ..ExtensionIds::default()
    };
    let mut router = Router::new(RouterConfig {
        loudest: LoudestConfig { most: 2, from: 5 },
        ..RouterConfig::default()
    });
    for speaker in 0..8 {
        let owner = Owner(speaker);
        router.add_owner(owner).unwrap();
        let encoding = EncodingConfig {
            rid: None,
            ssrc: Some(500 + speaker),
            rtx_ssrc: None,
        };
        let producer = ProducerConfig {
            kind: MediaKind::Audio,
            mid: None,
            codecs: vec![opus],
            encodings: vec![encoding],
            extensions,
            transport_cc: false,
            room: Some(RoomId(1)),
        };
        let track = TrackId(speaker.into());
        router
            .add_producer(Time::ZERO, owner, track, producer)
            .unwrap();
    }
    for (listener, speaker) in (0..8).flat_map(|l| (0..8).map(move |s| (l, s))) {
        let consumer = ConsumerConfig {
            ssrc: 1_000 + speaker,
            rtx_ssrc: None,
            congestion_feedback: true,
            continues: false,
            cname: Arc::from("c"),
            mid: None,
            codecs: vec![opus],
            extensions,
            target: ConsumerTarget::default(),
        };
        let track = TrackId(speaker.into());
        router
            .add_consumer(Time::ZERO, Owner(listener), track, consumer)
            .unwrap();
    }
    router
}

/// Everybody speaks in turn for two seconds; answers how many packets went out.
fn speak(router: &mut Router, from: u32, packets: u32) -> u64 {
    let (mut packet, mut out, mut sent) = ([0; 100], [0; 1_500], 0);
    for n in from..from + packets {
        let now = Time::from_millis(1) + Duration::from_millis(20) * n;
        for speaker in 0..8 {
            let header = RtpHeader {
                marker: false,
                payload_type: 111,
                sequence: n as u16,
                timestamp: n * 960,
                ssrc: 500 + speaker,
            };
            let level = [if n / 100 % 8 == speaker {
                0x80 | 25
            } else {
                100
            }];
            header.write(&[(4, &level)], &mut packet).unwrap();
            router.on_rtp(now, Owner(speaker), &packet).unwrap();
        }
        if router.next_timeout().is_some_and(|at| at <= now) {
            router.on_timeout(now);
        }
        while let Some(owner) = router.next_ready(now) {
            while router.pop(now, owner, &mut out).is_some() {
                sent += 1;
            }
        }
        while router.next_rtcp(now, &mut out).is_some() {}
        while router.poll_event().is_some() {}
    }
    sent
}

fn speakers_take_turns_without_allocation() {
    let mut router = hall();
    // Every stream's segments fill up to their bound, and what has to grow has grown.
    speak(&mut router, 0, 20_000);
    let mut before = Counters::default();
    router.counters(&mut before);
    let region = Region::new(ALLOCATOR);
    let sent = speak(&mut router, 20_000, 4_000);
    let change = region.change();
    let mut after = Counters::default();
    router.counters(&mut after);
    // Two of eight are heard, by eight; at a change who leaves may have sent just before.
    let withheld = after.sound_withheld - before.sound_withheld;
    assert_eq!(sent, (4_000 * 8 - withheld) * 8);
    assert!(
        (4_000 * 6 - 40..=4_000 * 6).contains(&withheld),
        "{withheld}"
    );
    assert_eq!(
        (change.allocations, change.reallocations),
        (0, 0),
        "{change:?}"
    );
}

#[test]
fn packets_cost_no_allocation_after_warm_up() {
    // One test for all, because all threads share the allocator.
    speakers_take_turns_without_allocation();
    for (max_temporal, feedback, least) in [
        (u8::MAX, Feedback::None, 3_900),
        (0, Feedback::None, 1_950),
        (u8::MAX, Feedback::Numbered, 3_900),
        (u8::MAX, Feedback::ByStream, 3_900),
    ] {
        let mut router = router(max_temporal, feedback);
        let mut subscribers = Subscribers::new(feedback);
        assert!(run(&mut router, &mut subscribers, 0, 4_000) > 0);
        let region = Region::new(ALLOCATOR);
        let sent = run(&mut router, &mut subscribers, 4_000, 4_000);
        let change = region.change();
        assert!(sent >= least * u64::from(SUBSCRIBERS), "{sent}");
        assert_eq!(
            (change.allocations, change.reallocations),
            (0, 0),
            "{change:?}"
        );
        if feedback != Feedback::None {
            let estimate = router.estimate(Owner(1)).unwrap();
            assert!(estimate.as_bps() > 1_500_000, "{estimate}");
        }
    }
}
