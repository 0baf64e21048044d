//! Sealing and opening allocate nothing once a stream is known. Alone in its binary because it owns the allocator.

use std::alloc::System;

use schalter_model::SrtpProfile;
use schalter_transport::srtp::{DtlsRole, SessionKeys, SrtpLimits, exporter_len};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const LEN: usize = 1_200;
const STREAMS: u32 = 40;

fn packet(buffer: &mut [u8], sequence: u16, ssrc: u32) {
    buffer.fill(0x5A);
    buffer[0] = 0x80;
    buffer[1] = 96;
    buffer[2..4].copy_from_slice(&sequence.to_be_bytes());
    buffer[8..12].copy_from_slice(&ssrc.to_be_bytes());
}

#[test]
fn sealing_and_opening_allocate_nothing_after_the_first_packet_of_a_stream() {
    for profile in SrtpProfile::ALL {
        let material = vec![9; exporter_len(profile)];
        let contexts = |role| {
            SessionKeys::from_exporter(profile, &material, role)
                .unwrap()
                .into_contexts(SrtpLimits::default())
                .unwrap()
        };
        let (mut outbound, _) = contexts(DtlsRole::Server);
        let (_, mut inbound) = contexts(DtlsRole::Client);
        let mut buffer = vec![0; 1_500];
        let mut run = |sequences: std::ops::Range<u16>| {
            for sequence in sequences {
                for ssrc in 0..STREAMS {
                    packet(&mut buffer, sequence, ssrc);
                    let len = outbound.seal_rtp(&mut buffer, LEN).unwrap();
                    assert_eq!(inbound.open_rtp(&mut buffer[..len]), Ok(LEN));
                    buffer[..8].copy_from_slice(&[0x80, 200, 0, 6, 0, 0, 0, ssrc as u8]);
                    let len = outbound.seal_rtcp(&mut buffer, 28).unwrap();
                    assert_eq!(inbound.open_rtcp(&mut buffer[..len]), Ok(28));
                }
            }
        };
        run(0..1);
        // The test harness has threads of its own; what they allocate now and then is not in every round.
        let least = (0..5)
            .map(|round| {
                let region = Region::new(ALLOCATOR);
                run(1 + round * 50..50 + round * 50);
                let change = region.change();
                (
                    change.allocations,
                    change.reallocations,
                    change.deallocations,
                )
            })
            .min();
        assert_eq!(least, Some((0, 0, 0)), "{}", profile.name());
    }
}
