//! No parser panics, loops without end or answers with more than it was given, whatever the bytes.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use proptest::prelude::*;
use schalter_rtp::codec::av1::{self, Descriptor};
use schalter_rtp::codec::vp8::{Vp8Descriptor, Vp8Patch};
use schalter_rtp::codec::{VideoCodec, h264, h265, inspect, opus, red};
use schalter_rtp::extension::{
    AbsCaptureTime, AbsSendTime, AudioLevel, VideoOrientation, parse_mid, parse_rid,
};
use schalter_rtp::rtcp::{Rtcp, compound};
use schalter_rtp::{RtpPacket, is_rtcp};

const CODECS: [VideoCodec; 5] = [
    VideoCodec::Vp8,
    VideoCodec::Vp9,
    VideoCodec::H264,
    VideoCodec::H265,
    VideoCodec::Av1,
];

/// Bytes that get past the version check more often than chance would have it.
fn datagram() -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(any::<u8>(), 0..300), any::<bool>()).prop_map(|(mut bytes, valid)| {
        if let (Some(first), true) = (bytes.first_mut(), valid) {
            *first = *first & 0x3F | 0x80;
        }
        bytes
    })
}

/// RTCP packets with right framing and random bodies.
fn framed_rtcp() -> impl Strategy<Value = Vec<u8>> {
    let packet = (
        0_u8..64,
        198_u8..210,
        prop::collection::vec(any::<[u8; 4]>(), 0..40),
    )
        .prop_map(|(flags, packet_type, words)| {
            let len = u16::try_from(words.len()).unwrap().to_be_bytes();
            [
                &[0x80 | flags, packet_type, len[0], len[1]][..],
                words.as_flattened(),
            ]
            .concat()
        });
    prop::collection::vec(packet, 1..5).prop_map(|packets| packets.concat())
}

fn walk(bytes: &[u8]) -> usize {
    let mut items = 0;
    for packet in compound(bytes) {
        items += 1;
        match packet {
            Ok(Rtcp::SenderReport(report)) => items += report.reports.count(),
            Ok(Rtcp::ReceiverReport(report)) => items += report.reports.count(),
            Ok(Rtcp::SourceDescription(description)) => items += description.chunks().count(),
            Ok(Rtcp::Bye(bye)) => items += bye.sources().count(),
            Ok(Rtcp::Nack(nack)) => items += nack.lost().count(),
            Ok(Rtcp::Fir(fir)) => items += fir.entries().count(),
            Ok(Rtcp::Remb(remb)) => items += remb.ssrcs().count(),
            Ok(Rtcp::TransportCc(feedback)) => {
                assert_eq!(
                    feedback.deltas().count(),
                    usize::from(feedback.status_count)
                );
            }
            Ok(Rtcp::CongestionControl(feedback)) => {
                for stream in feedback.streams() {
                    items += 1 + stream.packets().count();
                }
            }
            Ok(_) | Err(_) => {}
        }
    }
    items
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn rtp(bytes in datagram()) {
        let _ = is_rtcp(&bytes);
        if let Ok(packet) = RtpPacket::parse(&bytes) {
            prop_assert_eq!(packet.header_len() + packet.payload().len() + packet.padding_len(), bytes.len());
            prop_assert!(packet.csrcs().count() <= 15);
            let total: usize = packet.extensions().map(|(_, value)| value.len()).sum();
            prop_assert!(total <= packet.header_len());
        }
    }

    #[test]
    fn rtcp(bytes in prop_oneof![datagram(), framed_rtcp()]) {
        // A NACK entry of four bytes says at most 17 numbers; nothing is denser.
        prop_assert!(walk(&bytes) <= 1 + bytes.len() * 17 / 4);
    }

    #[test]
    fn payloads(bytes in prop::collection::vec(any::<u8>(), 0..120), marker: bool) {
        for codec in CODECS {
            let _ = inspect(codec, &bytes, marker, None);
        }
        prop_assert!(h264::nal_units(&bytes).count() <= 1 + bytes.len() / 3);
        prop_assert!(h265::nal_units(&bytes).count() <= 1 + bytes.len() / 4);
        prop_assert!(av1::elements(&bytes).count() <= bytes.len());
        let _ = (opus::Toc::parse(&bytes), opus::is_dtx(&bytes), red::primary(&bytes));
        let _ = (Descriptor::parse(&bytes, None), Descriptor::attached_structure(&bytes));
    }

    #[test]
    fn extension_values(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let _ = (AudioLevel::parse(&bytes), AbsSendTime::parse(&bytes), AbsCaptureTime::parse(&bytes));
        let _ = (VideoOrientation::parse(&bytes), parse_mid(&bytes), parse_rid(&bytes));
    }

    #[test]
    fn a_vp8_patch_is_read_back_and_changes_nothing_else(
        mut bytes in prop::collection::vec(any::<u8>(), 1..30), picture_id in 0_u16..0x80, tl0picidx: u8,
    ) {
        let Ok(before) = Vp8Descriptor::parse(&bytes) else { return Ok(()) };
        let patch = Vp8Patch {
            picture_id: before.picture_id.map(|_| picture_id),
            tl0picidx: before.tl0picidx.map(|_| tl0picidx),
        };
        patch.apply(&mut bytes).unwrap();
        let mut after = Vp8Descriptor::parse(&bytes).unwrap();
        prop_assert_eq!(after.picture_id.map(|id| id.value()), patch.picture_id);
        prop_assert_eq!(after.tl0picidx, patch.tl0picidx);
        (after.picture_id, after.tl0picidx) = (before.picture_id, before.tl0picidx);
        prop_assert_eq!(after, before);
    }
}
