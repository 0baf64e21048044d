//! What does the router cost for each forwarded packet, from plaintext in to plaintext out, copy included?
//!
//! One publisher sends bursts of five 1,150-byte VP8 packets to 10, 50 and 1,000 subscribers; every output packet is
//! written into a buffer that plays the egress slot. The same number of bytes copied alone is the floor to compare
//! with. Run: `cargo run --release -p schalter-forward --example fanout_cost`.

#![expect(clippy::print_stdout, reason = "a measurement for people")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schalter_forward::*;
use schalter_model::{MediaKind, Time, TrackId};
use schalter_rtp::RtpHeader;

/// Plaintext packet size, as a 1.5 Mbit/s video has.
const PACKET_LEN: usize = 1_150;
/// Forwarded packets that one measurement counts.
const FORWARDED: u32 = 2_000_000;
/// Egress slots that outputs rotate through, as a shard's batch does.
const SLOTS: usize = 64;

const VP8: CodecBinding = CodecBinding {
    payload_type: 96,
    codec: Codec::Vp8,
    rtx_payload_type: Some(97),
};

fn router(subscribers: u32) -> Router {
    let extensions = ExtensionIds {
        mid: Some(1),
        transport_cc: Some(2),
        ..ExtensionIds::default()
    };
    let mut router = Router::new(RouterConfig::default());
    router.add_owner(Owner(0)).expect("within limits");
    let producer = ProducerConfig {
        kind: MediaKind::Video,
        mid: None,
        codecs: vec![VP8],
        encodings: vec![EncodingConfig {
            rid: None,
            ssrc: Some(1),
            rtx_ssrc: None,
        }],
        extensions,
        transport_cc: true,
        room: None,
    };
    router
        .add_producer(Time::ZERO, Owner(0), TrackId(1), producer)
        .expect("a valid track");
    for owner in 1..=subscribers {
        router.add_owner(Owner(owner)).expect("within limits");
        let consumer = ConsumerConfig {
            ssrc: 1_000 + owner,
            rtx_ssrc: Some(1_000_000 + owner),
            cname: Arc::from("c"),
            mid: Some("0".into()),
            codecs: vec![VP8],
            extensions,
            congestion_feedback: false,
            continues: false,
            target: ConsumerTarget {
                paused: false,
                max_encoding: 0,
                ..ConsumerTarget::default()
            },
        };
        router
            .add_consumer(Time::ZERO, Owner(owner), TrackId(1), consumer)
            .expect("a valid subscription");
    }
    router
}

/// Publishes `packets` packets and drains everything; answers packets sent.
fn run(router: &mut Router, from: u32, packets: u32, slots: &mut [[u8; 1_500]; SLOTS]) -> u64 {
    let mut packet = [0; PACKET_LEN];
    let mut sent = 0;
    for n in from..from + packets {
        // Bursts of five, 30 times a second.
        let now = Time::from_millis(1) + Duration::from_micros(33_333) * (n / 5);
        let header = RtpHeader {
            marker: n % 5 == 4,
            payload_type: 96,
            sequence: n as u16,
            timestamp: n / 5 * 3_000,
            ssrc: 1,
        };
        let sequence = (n as u16).to_be_bytes();
        let Ok(len) = header.write(&[(2, &sequence)], &mut packet) else {
            return sent;
        };
        packet[len] = 0x10;
        packet[len + 1] = u8::from(n > 0);
        if router.on_rtp(now, Owner(0), &packet).is_err() {
            return sent;
        }
        if router.next_timeout().is_some_and(|at| at <= now) {
            router.on_timeout(now);
        }
        while let Some(owner) = router.next_ready(now) {
            while router.peek_len(now, owner).is_some() {
                let slot = &mut slots[sent as usize % SLOTS];
                if let Some(len) = router.pop(now, owner, slot) {
                    black_box(&slot[..len]);
                    sent += 1;
                }
            }
        }
        while router.next_rtcp(now, &mut slots[0]).is_some() {}
        while router.poll_event().is_some() {}
    }
    sent
}

fn copy_alone(packets: u64, slots: &mut [[u8; 1_500]; SLOTS]) -> Duration {
    let source = [7; PACKET_LEN];
    let start = Instant::now();
    for n in 0..packets {
        let slot = &mut slots[n as usize % SLOTS];
        slot[..PACKET_LEN].copy_from_slice(black_box(&source));
        black_box(&slot[..PACKET_LEN]);
    }
    start.elapsed()
}

fn main() {
    let mut slots = [[0; 1_500]; SLOTS];
    for subscribers in [10, 50, 1_000] {
        let mut router = router(subscribers);
        run(&mut router, 0, 2_000, &mut slots);
        let packets = FORWARDED / subscribers;
        let start = Instant::now();
        let sent = run(&mut router, 2_000, packets, &mut slots);
        let spent = start.elapsed();
        let floor = copy_alone(sent, &mut slots);
        let per = |span: Duration| span.as_nanos() as f64 / sent as f64;
        println!(
            "1 -> {subscribers}: {:.0} ns per forwarded packet ({sent} packets), copy alone {:.0} ns, ratio {:.1}",
            per(spent),
            per(floor),
            per(spent) / per(floor),
        );
    }
}
