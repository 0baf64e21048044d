//! Opus and redundant audio payloads.

use proptest::prelude::*;
use schalter_rtp::CodecError;
use schalter_rtp::codec::opus::{Bandwidth, Toc, is_dtx};
use schalter_rtp::codec::red::{self, RedBlock};

#[test]
fn the_opus_table_of_contents_is_read_after_rfc_6716_table_2() {
    for (config, bandwidth, micros) in [
        (0, Bandwidth::Narrow, 10_000),
        (3, Bandwidth::Narrow, 60_000),
        (5, Bandwidth::Medium, 20_000),
        (10, Bandwidth::Wide, 40_000),
        (12, Bandwidth::SuperWide, 10_000),
        (15, Bandwidth::Full, 20_000),
        (16, Bandwidth::Narrow, 2_500),
        (21, Bandwidth::Wide, 5_000),
        (26, Bandwidth::SuperWide, 10_000),
        (31, Bandwidth::Full, 20_000),
    ] {
        let toc = Toc::parse(&[config << 3 | 4, 0, 0]).unwrap();
        assert_eq!((toc.config, toc.stereo, toc.frame_count), (config, true, 1));
        assert_eq!(
            (toc.bandwidth(), toc.frame_micros()),
            (bandwidth, micros),
            "config {config}"
        );
    }
}

#[test]
fn opus_frames_are_counted_and_their_duration_bounded() {
    let count = |bytes: &[u8]| Toc::parse(bytes).map(|toc| toc.frame_count);
    assert_eq!(count(&[31 << 3 | 1]), Ok(2));
    assert_eq!(count(&[31 << 3 | 2]), Ok(2));
    assert_eq!(count(&[31 << 3 | 3, 6]), Ok(6));
    assert_eq!(count(&[31 << 3 | 3, 7]), Err(CodecError::Malformed));
    assert_eq!(count(&[31 << 3 | 3, 0x80]), Err(CodecError::Malformed));
    assert_eq!(count(&[31 << 3 | 3]), Err(CodecError::Truncated));
    assert_eq!(count(&[]), Err(CodecError::Truncated));
}

#[test]
fn a_silent_opus_encoder_is_recognised() {
    assert!(is_dtx(&[0x78]) && is_dtx(&[0x78, 0]));
    assert!(!is_dtx(&[]) && !is_dtx(&[0x78, 0, 0]));
}

#[test]
fn redundant_blocks_come_before_the_primary() {
    // Two redundant blocks of type 111, 1920 and 960 ticks old, lengths 2 and 1.
    let payload = [
        0x80 | 111,
        0x1E,
        0x00,
        2,
        0x80 | 111,
        0x0F,
        0x00,
        1,
        111,
        1,
        2,
        3,
        4,
        5,
    ];
    let blocks: Vec<_> = red::blocks(&payload).unwrap().collect();
    let block = |timestamp_offset, data| RedBlock {
        payload_type: 111,
        timestamp_offset,
        data,
    };
    assert_eq!(
        blocks,
        [
            block(1920, &[1, 2][..]),
            block(960, &[3]),
            block(0, &[4, 5])
        ]
    );
    assert_eq!(red::primary(&payload), Ok(block(0, &[4, 5])));
    assert_eq!(red::primary(&[111]), Ok(block(0, &[])));
}

#[test]
fn redundant_blocks_beyond_the_payload_are_truncated() {
    for payload in [
        &[][..],
        &[0x80 | 111, 0, 0],
        &[0x80 | 111, 0, 0, 2],
        &[0x80 | 111, 0, 0, 2, 111, 1],
    ] {
        assert_eq!(red::primary(payload), Err(CodecError::Truncated));
    }
}

proptest! {
    #[test]
    fn redundant_blocks_never_exceed_the_payload(payload in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(blocks) = red::blocks(&payload) {
            let total: usize = blocks.map(|block| block.data.len()).sum();
            prop_assert!(total < payload.len());
        }
    }
}
