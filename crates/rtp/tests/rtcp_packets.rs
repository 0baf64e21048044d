//! RTCP reports and feedback, read from hand-made bytes and written back.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use proptest::prelude::*;
use schalter_rtp::RtcpError;
use schalter_rtp::rtcp::{ReportBlock, Rtcp, RtcpWriter, SenderInfo, compound};

fn only(bytes: &[u8]) -> Rtcp<'_> {
    let mut packets = compound(bytes);
    let packet = packets.next().unwrap().unwrap();
    assert!(packets.next().is_none());
    packet
}

fn written(write: impl FnOnce(&mut RtcpWriter<'_>) -> Result<(), RtcpError>) -> Vec<u8> {
    let mut bytes = vec![0xAA; 2048];
    let mut writer = RtcpWriter::new(&mut bytes);
    write(&mut writer).unwrap();
    let len = writer.finish();
    assert_eq!(len % 4, 0);
    bytes.truncate(len);
    bytes
}

const BLOCK: ReportBlock = ReportBlock {
    ssrc: 0x1111_1111,
    fraction_lost: 64,
    cumulative_lost: -2,
    highest_sequence: 0x0001_0002,
    jitter: 7,
    last_sr: 0xAABB_CCDD,
    delay_since_last_sr: 65_536,
};

#[test]
fn a_sender_report_is_read_field_by_field() {
    let mut bytes = vec![0x81, 200, 0, 12, 0, 0, 0, 9];
    bytes.extend([
        1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 10, 0, 0, 0, 11, 0, 0, 0, 12,
    ]);
    bytes.extend([
        0x11, 0x11, 0x11, 0x11, 64, 0xFF, 0xFF, 0xFE, 0, 1, 0, 2, 0, 0, 0, 7,
    ]);
    bytes.extend([0xAA, 0xBB, 0xCC, 0xDD, 0, 1, 0, 0]);
    let Rtcp::SenderReport(report) = only(&bytes) else {
        panic!("not a sender report")
    };
    assert_eq!((report.ssrc, report.ntp), (9, 0x0102_0304_0506_0708));
    assert_eq!(
        (
            report.rtp_timestamp,
            report.packet_count,
            report.octet_count
        ),
        (10, 11, 12)
    );
    assert_eq!(report.compact_ntp(), 0x0304_0506);
    assert_eq!(report.reports.collect::<Vec<_>>(), [BLOCK]);
    let info = SenderInfo {
        ssrc: 9,
        ntp: report.ntp,
        rtp_timestamp: 10,
        packet_count: 11,
        octet_count: 12,
    };
    assert_eq!(
        written(|writer| writer.sender_report(&info, &[BLOCK])),
        bytes
    );
}

#[test]
fn a_report_shorter_than_its_count_is_malformed_and_the_next_packet_survives() {
    let bytes = [
        0x81, 201, 0, 1, 0, 0, 0, 9, 0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2,
    ];
    let packets: Vec<_> = compound(&bytes).collect();
    assert!(matches!(packets[0], Err(RtcpError::Malformed)));
    assert!(matches!(
        packets[1],
        Ok(Rtcp::Pli {
            sender_ssrc: 1,
            media_ssrc: 2
        })
    ));
    assert_eq!(packets.len(), 2);
}

#[test]
fn broken_framing_ends_the_compound() {
    for (bytes, error) in [
        (&[0x80, 201, 0, 1, 0, 0, 0][..], RtcpError::Truncated),
        (&[0x40, 201, 0, 0, 0x80, 201, 0, 0][..], RtcpError::Version),
        (&[0x80][..], RtcpError::Truncated),
    ] {
        let packets: Vec<_> = compound(bytes).map(|packet| packet.map(drop)).collect();
        assert_eq!(packets, [Err(error)]);
    }
    assert!(compound(&[]).next().is_none());
}

#[test]
fn padding_is_removed_and_impossible_padding_refused() {
    let mut bytes = [0xA1, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 4];
    assert!(matches!(
        only(&bytes),
        Rtcp::Pli {
            sender_ssrc: 1,
            media_ssrc: 2
        }
    ));
    for wrong in [0, 13] {
        bytes[15] = wrong;
        assert!(matches!(
            compound(&bytes).next(),
            Some(Err(RtcpError::Padding))
        ));
    }
    assert!(matches!(
        compound(&[0xA1, 206, 0, 0]).next(),
        Some(Err(RtcpError::Padding))
    ));
}

#[test]
fn other_packet_types_are_reported_as_unknown() {
    assert!(matches!(
        only(&[0x82, 207, 0, 0]),
        Rtcp::Unknown {
            packet_type: 207,
            fmt: 2
        }
    ));
    let other_application = [
        0x8F, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, b'N', b'O', b'P', b'E',
    ];
    assert!(matches!(
        only(&other_application),
        Rtcp::Unknown {
            packet_type: 206,
            fmt: 15
        }
    ));
}

#[test]
fn a_source_description_ends_its_items_with_zeros_up_to_a_word() {
    for (name, len) in [("", 12), ("a", 12), ("ab", 16), ("abcdef", 20)] {
        let bytes = written(|writer| writer.sdes_cname(5, name));
        assert_eq!((bytes.len(), bytes[0]), (len, 0x81), "{name}");
        assert_eq!(bytes.last(), Some(&0));
        let Rtcp::SourceDescription(description) = only(&bytes) else {
            panic!("not a description")
        };
        let chunks: Vec<_> = description
            .chunks()
            .map(|chunk| (chunk.ssrc, chunk.cname))
            .collect();
        assert_eq!(chunks, [(5, Some(name))]);
    }
}

#[test]
fn several_description_chunks_and_other_items_are_read() {
    let bytes = [
        0x82, 202, 0, 6, 0, 0, 0, 1, 2, 1, b'x', 1, 1, b'c', 0, 0, // NAME, then CNAME
        0, 0, 0, 2, 6, 1, b't', 0, // TOOL only
        0, 0, 0, 0,
    ];
    let Rtcp::SourceDescription(description) = only(&bytes) else {
        panic!("not a description")
    };
    let chunks: Vec<_> = description
        .chunks()
        .map(|chunk| (chunk.ssrc, chunk.cname))
        .collect();
    assert_eq!(chunks, [(1, Some("c")), (2, None)]);
}

#[test]
fn a_description_without_its_end_is_malformed() {
    let bytes = [0x81, 202, 0, 2, 0, 0, 0, 1, 1, 2, b'a', b'b'];
    assert!(matches!(
        compound(&bytes).next(),
        Some(Err(RtcpError::Malformed))
    ));
}

#[test]
fn a_goodbye_has_sources_and_perhaps_a_reason() {
    let bytes = written(|writer| writer.bye(&[1, 2]));
    assert_eq!(bytes, [0x82, 203, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]);
    let Rtcp::Bye(bye) = only(&bytes) else {
        panic!("not a goodbye")
    };
    assert_eq!(
        (bye.sources().collect::<Vec<_>>(), bye.reason()),
        (vec![1, 2], None)
    );
    let with_reason = [0x81, 203, 0, 2, 0, 0, 0, 1, 3, b'e', b'n', b'd'];
    let Rtcp::Bye(bye) = only(&with_reason) else {
        panic!("not a goodbye")
    };
    assert_eq!(bye.reason(), Some(&b"end"[..]));
}

#[test]
fn a_nack_packs_sixteen_followers_into_one_entry() {
    let bytes = written(|writer| writer.nack(1, 2, &[10, 11, 26, 27]));
    assert_eq!(bytes[12..], [0, 10, 0x80, 0x01, 0, 27, 0, 0]);
    let Rtcp::Nack(nack) = only(&bytes) else {
        panic!("not a NACK")
    };
    assert_eq!((nack.sender_ssrc, nack.media_ssrc), (1, 2));
    assert_eq!(nack.lost().collect::<Vec<_>>(), [10, 11, 26, 27]);
}

#[test]
fn a_nack_across_the_wrap_stays_in_order() {
    let lost = [65_534, 65_535, 0, 14, 15];
    let bytes = written(|writer| writer.nack(1, 2, &lost));
    let Rtcp::Nack(nack) = only(&bytes) else {
        panic!("not a NACK")
    };
    assert_eq!(nack.lost().collect::<Vec<_>>(), lost);
    assert!(written(|writer| writer.nack(1, 2, &[])).is_empty());
}

#[test]
fn key_frame_requests_are_written_as_the_rfcs_draw_them() {
    assert_eq!(
        written(|writer| writer.pli(1, 2)),
        [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]
    );
    let bytes = written(|writer| writer.fir(1, &[(2, 7), (3, 8)]));
    assert_eq!(bytes[..12], [0x84, 206, 0, 6, 0, 0, 0, 1, 0, 0, 0, 0]);
    let Rtcp::Fir(fir) = only(&bytes) else {
        panic!("not a FIR")
    };
    assert_eq!(fir.entries().collect::<Vec<_>>(), [(2, 7), (3, 8)]);
}

#[test]
fn a_bitrate_estimate_keeps_eighteen_significant_bits() {
    let bytes = written(|writer| writer.remb(1, 1_000_000, &[2, 3]));
    assert_eq!(
        bytes[12..20],
        [b'R', b'E', b'M', b'B', 2, 2 << 2 | 3, 0xD0, 0x90]
    );
    let Rtcp::Remb(remb) = only(&bytes) else {
        panic!("not a REMB")
    };
    assert_eq!((remb.sender_ssrc, remb.bitrate_bps), (1, 1_000_000));
    assert_eq!(remb.ssrcs().collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn an_absurd_bitrate_saturates() {
    let mut bytes = written(|writer| writer.remb(1, u64::MAX, &[]));
    let Rtcp::Remb(remb) = only(&bytes) else {
        panic!("not a REMB")
    };
    assert_eq!(remb.bitrate_bps, 0x3_FFFF << 46);
    bytes[17] = 0xFF;
    let Rtcp::Remb(remb) = only(&bytes) else {
        panic!("not a REMB")
    };
    assert_eq!(remb.bitrate_bps, u64::MAX);
}

#[test]
fn a_packet_without_room_leaves_the_earlier_ones() {
    let mut bytes = [0; 20];
    let mut writer = RtcpWriter::new(&mut bytes);
    writer.pli(1, 2).unwrap();
    assert_eq!(writer.pli(3, 4), Err(RtcpError::NoSpace));
    assert_eq!(writer.nack(3, 4, &[1]), Err(RtcpError::NoSpace));
    writer.receiver_report(5, &[]).unwrap();
    assert_eq!(writer.finish(), 20);
    assert_eq!(compound(&bytes).filter(Result::is_ok).count(), 2);
}

#[test]
fn counts_beyond_five_bits_are_refused() {
    let mut bytes = [0; 2048];
    let mut writer = RtcpWriter::new(&mut bytes);
    assert_eq!(
        writer.receiver_report(1, &[BLOCK; 32]),
        Err(RtcpError::Unencodable)
    );
    assert_eq!(writer.bye(&[0; 32]), Err(RtcpError::Unencodable));
    assert_eq!(
        writer.sdes_cname(1, &"x".repeat(256)),
        Err(RtcpError::Unencodable)
    );
    assert_eq!(writer.remb(1, 1, &[0; 256]), Err(RtcpError::Unencodable));
    assert!(writer.is_empty());
    assert_eq!(writer.receiver_report(1, &[BLOCK; 31]), Ok(()));
}

prop_compose! {
    fn any_block()(
        ssrc: u32, fraction_lost: u8, cumulative_lost in -(1_i32 << 23)..(1 << 23), highest_sequence: u32,
        jitter: u32, last_sr: u32, delay_since_last_sr: u32,
    ) -> ReportBlock {
        ReportBlock { ssrc, fraction_lost, cumulative_lost, highest_sequence, jitter, last_sr, delay_since_last_sr }
    }
}

proptest! {
    #[test]
    fn report_blocks_are_read_back(ssrc: u32, blocks in prop::collection::vec(any_block(), 0..=31)) {
        let bytes = written(|writer| writer.receiver_report(ssrc, &blocks));
        let Rtcp::ReceiverReport(report) = only(&bytes) else { panic!("not a receiver report") };
        prop_assert_eq!(report.ssrc, ssrc);
        prop_assert_eq!(report.reports.len(), blocks.len());
        prop_assert_eq!(report.reports.collect::<Vec<_>>(), blocks);
    }

    #[test]
    fn sorted_losses_are_read_back(start: u16, steps in prop::collection::vec(1_u16..40, 1..100)) {
        let mut lost = vec![start];
        for step in steps {
            lost.push(lost.last().unwrap().wrapping_add(step));
        }
        let bytes = written(|writer| writer.nack(1, 2, &lost));
        let Rtcp::Nack(nack) = only(&bytes) else { panic!("not a NACK") };
        prop_assert_eq!(nack.lost().collect::<Vec<_>>(), lost);
    }

    #[test]
    fn bitrates_lose_less_than_one_in_two_to_the_seventeenth(bitrate: u64) {
        let bytes = written(|writer| writer.remb(1, bitrate, &[]));
        let Rtcp::Remb(remb) = only(&bytes) else { panic!("not a REMB") };
        prop_assert!(remb.bitrate_bps <= bitrate);
        prop_assert!(bitrate - remb.bitrate_bps <= bitrate >> 17);
    }

    #[test]
    fn any_canonical_name_is_read_back(ssrc: u32, name in "[ -~]{0,255}") {
        let bytes = written(|writer| writer.sdes_cname(ssrc, &name));
        let Rtcp::SourceDescription(description) = only(&bytes) else { panic!("not a description") };
        let chunks: Vec<_> = description.chunks().map(|chunk| (chunk.ssrc, chunk.cname)).collect();
        prop_assert_eq!(chunks, [(ssrc, Some(&name[..]))]);
    }
}
