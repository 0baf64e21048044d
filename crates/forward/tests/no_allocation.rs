//! After warm-up, a packet costs no allocation, however many subscribers it goes to.

#![expect(clippy::unwrap_used, reason = "what prepares the test is test code")]

use std::alloc::System;
use std::sync::Arc;
use std::time::Duration;

use schalter_forward::*;
use schalter_model::{MediaKind, Time, TrackId};
use schalter_rtp::RtpHeader;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SUBSCRIBERS: u32 = 50;

fn router(max_temporal: u8) -> Router {
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
            extensions,
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

/// Publishes and drains `packets` packets, RTCP included; answers how many went out.
fn run(router: &mut Router, from: u32, packets: u32) -> u64 {
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
            while router.pop(now, owner, &mut out).is_some() {
                sent += 1;
            }
        }
        while router.next_rtcp(now, &mut out).is_some() {}
        while router.poll_event().is_some() {}
    }
    sent
}

#[test]
fn packets_cost_no_allocation_after_warm_up() {
    // One test for both, because all threads share the allocator.
    for (max_temporal, least) in [(u8::MAX, 3_900), (0, 1_950)] {
        let mut router = router(max_temporal);
        assert!(run(&mut router, 0, 4_000) > 0);
        let region = Region::new(ALLOCATOR);
        let sent = run(&mut router, 4_000, 4_000);
        let change = region.change();
        assert!(sent >= least * u64::from(SUBSCRIBERS), "{sent}");
        assert_eq!(
            (change.allocations, change.reallocations),
            (0, 0),
            "{change:?}"
        );
    }
}
