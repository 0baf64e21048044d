//! Header extension blocks (RFC 8285) and the values inside.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use schalter_rtp::extension::{
    self, AbsCaptureTime, AbsSendTime, AudioLevel, MAX_ID_LEN, VideoOrientation, parse_mid,
    parse_rid,
};
use schalter_rtp::{RtpError, RtpHeader, RtpPacket};

fn packet_with(profile: u16, block: &[u8]) -> Vec<u8> {
    assert_eq!(block.len() % 4, 0);
    let mut bytes = vec![0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
    bytes.extend(profile.to_be_bytes());
    bytes.extend(u16::try_from(block.len() / 4).unwrap().to_be_bytes());
    bytes.extend(block);
    bytes
}

fn elements(profile: u16, block: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let bytes = packet_with(profile, block);
    RtpPacket::parse(&bytes)
        .unwrap()
        .extensions()
        .map(|(id, value)| (id, value.to_vec()))
        .collect()
}

#[test]
fn one_byte_elements_of_the_rfc_8285_figure_are_read() {
    // §4.2: an element of 1 byte, one of 2, padding, one of 4.
    let block = [0x10, 0xAA, 0x21, 0xBB, 0xBB, 0, 0, 0x33, 1, 2, 3, 4];
    assert_eq!(
        elements(0xBEDE, &block),
        [
            (1, vec![0xAA]),
            (2, vec![0xBB, 0xBB]),
            (3, vec![1, 2, 3, 4])
        ]
    );
}

#[test]
fn two_byte_elements_of_the_rfc_8285_figure_are_read() {
    // §4.3: an empty element, one of 1 byte, padding, one of 4; any application bits.
    let block = [1, 0, 2, 1, 0xBB, 0, 3, 4, 1, 2, 3, 4];
    for profile in [0x1000, 0x100F] {
        assert_eq!(
            elements(profile, &block),
            [(1, vec![]), (2, vec![0xBB]), (3, vec![1, 2, 3, 4])]
        );
    }
}

#[test]
fn id_15_ends_a_one_byte_block() {
    assert_eq!(
        elements(0xBEDE, &[0x10, 0xAA, 0xF0, 0xBB, 0x20, 0xCC, 0, 0]),
        [(1, vec![0xAA])]
    );
}

#[test]
fn id_0_with_a_length_ends_a_one_byte_block() {
    assert_eq!(
        elements(0xBEDE, &[0x10, 0xAA, 0x01, 0xBB, 0x20, 0xCC, 0, 0]),
        [(1, vec![0xAA])]
    );
}

#[test]
fn an_element_beyond_its_block_is_dropped_and_the_rest_kept() {
    assert_eq!(
        elements(0xBEDE, &[0x10, 0xAA, 0x27, 0xBB]),
        [(1, vec![0xAA])]
    );
    assert_eq!(elements(0x1000, &[1, 1, 0xAA, 2]), [(1, vec![0xAA])]);
    assert_eq!(elements(0x1000, &[1, 0, 2, 9]), [(1, vec![])]);
}

#[test]
fn an_unknown_profile_has_no_elements() {
    assert_eq!(elements(0xABCD, &[0x10, 0xAA, 0, 0]), []);
}

#[test]
fn the_one_byte_form_is_chosen_while_it_can_hold_everything() {
    let profile_of = |elements: &[(u8, &[u8])]| {
        let mut out = [0; 128];
        RtpHeader::default().write(elements, &mut out).unwrap();
        u16::from_be_bytes([out[12], out[13]])
    };
    assert_eq!(profile_of(&[(14, &[0; 16])]), 0xBEDE);
    assert_eq!(profile_of(&[(1, &[0; 17])]), 0x1000);
    assert_eq!(profile_of(&[(1, &[])]), 0x1000);
    assert_eq!(profile_of(&[(15, &[0])]), 0x1000);
}

#[test]
fn without_elements_there_is_no_extension_block() {
    let mut out = [0xFF; 32];
    assert_eq!(RtpHeader::default().write(&[], &mut out), Ok(12));
    assert_eq!(out[0], 0x80);
}

#[test]
fn elements_without_encoding_are_refused() {
    let write = |elements: &[(u8, &[u8])]| RtpHeader::default().write(elements, &mut [0; 512]);
    assert_eq!(write(&[(0, &[1])]), Err(RtpError::ElementId));
    assert_eq!(write(&[(1, &[0; 256])]), Err(RtpError::ElementLength));
}

#[test]
fn audio_level_has_a_voice_bit_and_seven_bits_of_level() {
    let level = AudioLevel {
        voice: true,
        level_dbov: 42,
    };
    assert_eq!(level.encode(), [0x80 | 42]);
    assert_eq!(AudioLevel::parse(&[0x80 | 42]), Ok(level));
    assert_eq!(
        AudioLevel {
            voice: false,
            level_dbov: 200
        }
        .encode(),
        [127]
    );
    assert_eq!(AudioLevel::parse(&[]), Err(RtpError::ElementLength));
}

#[test]
fn stream_ids_are_bounded_text() {
    assert_eq!(parse_mid(b"0"), Ok("0"));
    assert_eq!(parse_mid(b"audio~1"), Ok("audio~1"));
    assert_eq!(parse_rid(b"hi_2-x"), Ok("hi_2-x"));
    for bad in [
        &b""[..],
        b"a b",
        b"a/b",
        b"\xC3\xA4",
        b"a\0",
        &[b'a'; MAX_ID_LEN + 1],
    ] {
        assert_eq!(parse_mid(bad), Err(RtpError::ElementText));
        assert_eq!(parse_rid(bad), Err(RtpError::ElementText));
    }
    assert_eq!(parse_rid(b"a~"), Err(RtpError::ElementText));
}

#[test]
fn abs_send_time_is_fixed_point_and_wraps_after_64_seconds() {
    assert_eq!(AbsSendTime::from_micros(1_000_000).ticks(), 1 << 18);
    assert_eq!(AbsSendTime::from_micros(64_500_000).ticks(), 1 << 17);
    assert_eq!(AbsSendTime::from_micros(u64::MAX).ticks() >> 24, 0);
    let time = AbsSendTime::from_ticks(0x12_3456);
    assert_eq!(time.encode(), [0x12, 0x34, 0x56]);
    assert_eq!(AbsSendTime::parse(&time.encode()), Ok(time));
    assert_eq!(AbsSendTime::parse(&[1, 2]), Err(RtpError::ElementLength));
}

#[test]
fn transport_sequence_of_either_version_is_read() {
    assert_eq!(extension::parse_transport_sequence(&[1, 2]), Ok(0x0102));
    assert_eq!(
        extension::parse_transport_sequence(&[1, 2, 0x80, 5]),
        Ok(0x0102)
    );
    assert_eq!(
        extension::parse_transport_sequence(&[1, 2, 3]),
        Err(RtpError::ElementLength)
    );
    assert_eq!(extension::encode_transport_sequence(0x0102), [1, 2]);
}

#[test]
fn abs_capture_time_has_an_optional_offset() {
    for clock_offset in [None, Some(-5)] {
        let time = AbsCaptureTime {
            capture_ntp: 0x0102_0304_0506_0708,
            clock_offset,
        };
        let (bytes, len) = time.encode();
        assert_eq!(AbsCaptureTime::parse(&bytes[..len]), Ok(time));
    }
    assert_eq!(
        AbsCaptureTime::parse(&[0; 12]),
        Err(RtpError::ElementLength)
    );
}

#[test]
fn video_orientation_bits_are_read_and_written() {
    let upside_down = VideoOrientation {
        back_camera: true,
        flipped: false,
        quarter_turns: 2,
    };
    assert_eq!(VideoOrientation::parse(&[0b1010]), Ok(upside_down));
    assert_eq!(upside_down.encode(), [0b1010]);
    assert_eq!(VideoOrientation::parse(&[]), Err(RtpError::ElementLength));
}
