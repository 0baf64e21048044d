//! The fixed RTP header, CSRCs and padding, read and written (RFC 3550 §5.1).

use proptest::prelude::*;
use schalter_rtp::packet::{self, RtpHeader, RtpPacket};
use schalter_rtp::{RtpError, is_rtcp};

/// Marker, payload type 96, sequence 0x1234, two CSRCs, one-byte extension, payload, padding of 3.
const FULL: [u8; 36] = [
    0xB2, 0xE0, 0x12, 0x34, 0xDE, 0xAD, 0xBE, 0xEF, 0x01, 0x02, 0x03, 0x04, // fixed
    0, 0, 0, 1, 0, 0, 0, 2, // CSRCs
    0xBE, 0xDE, 0, 1, 0x10, 0xFF, 0, 0, // extension: id 1, one byte
    9, 8, 7, 6, 5, // payload
    0, 0, 3, // padding
];

#[test]
fn every_field_of_a_full_header_is_read() {
    let packet = RtpPacket::parse(&FULL).unwrap();
    assert!(packet.marker());
    assert_eq!(packet.payload_type(), 96);
    assert_eq!(packet.sequence(), 0x1234);
    assert_eq!(packet.timestamp(), 0xDEAD_BEEF);
    assert_eq!(packet.ssrc(), 0x0102_0304);
    assert_eq!(packet.csrcs().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(packet.header_len(), 28);
    assert_eq!(packet.extension(1), Some(&[0xFF][..]));
    assert_eq!(packet.payload(), [9, 8, 7, 6, 5]);
    assert_eq!(packet.padding_len(), 3);
}

#[test]
fn padding_of_an_encrypted_packet_is_left_alone() {
    let mut encrypted = FULL;
    encrypted[35] = 0xFF;
    assert_eq!(RtpPacket::parse(&encrypted).unwrap_err(), RtpError::Padding);
    let packet = RtpPacket::parse_encrypted(&encrypted).unwrap();
    assert_eq!(packet.header_len(), 28);
    assert_eq!(packet.payload().len(), 8);
    assert_eq!(packet::header_len(&encrypted), Ok(28));
}

#[test]
fn every_cut_inside_the_header_is_truncated() {
    for len in 0..28 {
        assert_eq!(
            packet::header_len(&FULL[..len]),
            Err(RtpError::Truncated),
            "{len} bytes"
        );
    }
}

#[test]
fn another_version_is_refused() {
    let mut old = FULL;
    old[0] = 0x72;
    assert_eq!(RtpPacket::parse(&old).unwrap_err(), RtpError::Version);
}

#[test]
fn padding_may_be_the_whole_payload_but_not_more() {
    let mut bytes = [0_u8; 16];
    RtpHeader::default().write(&[], &mut bytes).unwrap();
    assert_eq!(packet::set_padding(&mut bytes, 12, 4), Ok(16));
    let packet = RtpPacket::parse(&bytes).unwrap();
    assert_eq!((packet.payload().len(), packet.padding_len()), (0, 4));
    for wrong in [0, 5] {
        bytes[15] = wrong;
        assert_eq!(RtpPacket::parse(&bytes).unwrap_err(), RtpError::Padding);
    }
}

#[test]
fn impossible_padding_is_refused() {
    let mut bytes = [0_u8; 16];
    assert_eq!(
        packet::set_padding(&mut bytes, 12, 0),
        Err(RtpError::Padding)
    );
    assert_eq!(
        packet::set_padding(&mut bytes, 12, 5),
        Err(RtpError::NoSpace)
    );
    assert_eq!(
        packet::set_padding(&mut bytes, 11, 1),
        Err(RtpError::Truncated)
    );
    assert_eq!(
        packet::set_padding(&mut bytes, usize::MAX, 1),
        Err(RtpError::NoSpace)
    );
}

#[test]
fn a_payload_type_of_eight_bits_is_not_written() {
    let header = RtpHeader {
        payload_type: 128,
        ..RtpHeader::default()
    };
    assert_eq!(header.write(&[], &mut [0; 64]), Err(RtpError::PayloadType));
}

#[test]
fn rtcp_is_told_from_rtp_by_its_packet_type() {
    assert!(is_rtcp(&[0x80, 200, 0, 1]));
    assert!(is_rtcp(&[0x81, 192]) && is_rtcp(&[0x81, 223]));
    assert!(!is_rtcp(&[0x80, 191]) && !is_rtcp(&[0x80, 224]));
    assert!(
        !is_rtcp(&[0x80, 0x80 | 96]),
        "dynamic payload type with marker"
    );
    assert!(!is_rtcp(&[0x16, 200]) && !is_rtcp(&[0x80]) && !is_rtcp(&[]));
}

prop_compose! {
    fn any_header()(marker: bool, payload_type in 0_u8..128, sequence: u16, timestamp: u32, ssrc: u32) -> RtpHeader {
        RtpHeader { marker, payload_type, sequence, timestamp, ssrc }
    }
}

fn any_elements() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let small = (1_u8..=14, prop::collection::vec(any::<u8>(), 1..=16));
    let large = (1_u8..=255, prop::collection::vec(any::<u8>(), 0..=255));
    prop_oneof![
        prop::collection::vec(small, 0..6),
        prop::collection::vec(large, 0..6)
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        header in any_header(),
        elements in any_elements(),
        payload in prop::collection::vec(any::<u8>(), 0..64),
        pad in 0_u8..=255,
    ) {
        let borrowed: Vec<(u8, &[u8])> = elements.iter().map(|(id, value)| (*id, &value[..])).collect();
        let mut bytes = vec![0xAA; 4096];
        let len = header.write(&borrowed, &mut bytes).unwrap();
        prop_assert_eq!(len % 4, 0);
        let mut end = len + payload.len();
        bytes[len..end].copy_from_slice(&payload);
        if pad > 0 {
            end = packet::set_padding(&mut bytes, end, pad).unwrap();
        }
        let packet = RtpPacket::parse(&bytes[..end]).unwrap();
        prop_assert_eq!(packet.header(), header);
        prop_assert_eq!(packet.header_len(), len);
        prop_assert_eq!(packet.payload(), &payload[..]);
        prop_assert_eq!(packet.padding_len(), usize::from(pad));
        prop_assert_eq!(packet.extensions().collect::<Vec<_>>(), borrowed);
    }

    #[test]
    fn a_short_buffer_is_an_error_and_never_a_panic(header in any_header(), elements in any_elements(), room in 0_usize..64) {
        let borrowed: Vec<(u8, &[u8])> = elements.iter().map(|(id, value)| (*id, &value[..])).collect();
        let needed = header.write(&borrowed, &mut [0; 4096]).unwrap();
        let written = header.write(&borrowed, &mut vec![0; room]);
        prop_assert_eq!(written, if room < needed { Err(RtpError::NoSpace) } else { Ok(needed) });
    }
}
