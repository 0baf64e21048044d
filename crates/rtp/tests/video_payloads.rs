//! VP8, VP9, H.264, H.265 and AV1 payloads: what a forwarder learns from their clear part.

use schalter_rtp::CodecError;
use schalter_rtp::codec::vp8::{self, PictureId, Vp8Descriptor, Vp8Patch};
use schalter_rtp::codec::vp9::{Vp9Descriptor, Vp9Patch};
use schalter_rtp::codec::{FrameInfo, VideoCodec, av1, h264, h265, inspect};

/// X, S, PID 0; I, L, T, K; picture id 0x1234 (15 bits); TL0PICIDX 7; TID 2, Y, KEYIDX 3.
const VP8_FULL: [u8; 6] = [0x90, 0xF0, 0x92, 0x34, 7, 0xA3];

fn vp8_keyframe() -> Vec<u8> {
    // Tag with the inverse key frame bit 0, start code, 640 × 360 (upscaling bits set, to be ignored).
    [
        &VP8_FULL[..],
        &[0x10, 0x02, 0x00, 0x9D, 0x01, 0x2A, 0x80, 0x42, 0x68, 0x81],
    ]
    .concat()
}

#[test]
fn a_vp8_key_frame_shows_its_ids_layer_and_size() {
    let descriptor = Vp8Descriptor::parse(&vp8_keyframe()).unwrap();
    assert_eq!(descriptor.picture_id, Some(PictureId::Long(0x1234)));
    assert_eq!(
        (descriptor.tl0picidx, descriptor.temporal_id),
        (Some(7), Some(2))
    );
    assert_eq!(
        (descriptor.layer_sync, descriptor.key_index),
        (true, Some(3))
    );
    assert_eq!((descriptor.header_len, descriptor.is_keyframe), (6, true));
    assert_eq!(descriptor.size, Some((640, 360)));
    assert!(!descriptor.non_reference && descriptor.start_of_frame());
}

#[test]
fn only_the_first_packet_of_a_vp8_key_frame_is_one() {
    let mut payload = vp8_keyframe();
    payload[6] |= 1;
    assert!(
        !Vp8Descriptor::parse(&payload).unwrap().is_keyframe,
        "inverse key frame bit"
    );
    for first in [0x80, 0x91] {
        let mut payload = vp8_keyframe();
        payload[0] = first;
        assert!(
            !Vp8Descriptor::parse(&payload).unwrap().is_keyframe,
            "{first:#x}"
        );
    }
}

#[test]
fn a_vp8_key_frame_without_its_start_code_has_no_size() {
    let mut payload = vp8_keyframe();
    payload[9] = 0;
    assert_eq!(Vp8Descriptor::parse(&payload).unwrap().size, None);
}

#[test]
fn a_minimal_vp8_descriptor_is_one_byte() {
    let descriptor = Vp8Descriptor::parse(&[0x30, 0x01]).unwrap();
    assert_eq!((descriptor.header_len, descriptor.picture_id), (1, None));
    assert_eq!(
        (descriptor.temporal_id, descriptor.layer_sync),
        (None, false)
    );
    assert!(descriptor.non_reference);
}

#[test]
fn a_vp8_descriptor_that_is_cut_is_an_error() {
    for len in 0..VP8_FULL.len() {
        assert_eq!(
            Vp8Descriptor::parse(&VP8_FULL[..len]),
            Err(CodecError::Truncated),
            "{len} bytes"
        );
    }
}

#[test]
fn patching_vp8_changes_only_the_running_numbers() {
    let mut payload = vp8_keyframe();
    vp8::patch(&mut payload, Some(0xFFFF), Some(9)).unwrap();
    assert_eq!(payload[..6], [0x90, 0xF0, 0xFF, 0xFF, 9, 0xA3]);
    assert_eq!(payload[6..], vp8_keyframe()[6..]);
    let mut short = [0x90, 0x80, 0x05, 0x01];
    vp8::patch(&mut short, Some(0x1F81), None).unwrap();
    assert_eq!(
        short,
        [0x90, 0x80, 0x01, 0x01],
        "seven bits stay seven bits"
    );
}

#[test]
fn patching_an_absent_vp8_field_changes_nothing() {
    let mut payload = [0x90, 0x80, 0x05, 0x01];
    let patch = Vp8Patch {
        picture_id: Some(6),
        tl0picidx: Some(1),
    };
    assert_eq!(patch.apply(&mut payload), Err(CodecError::AbsentField));
    assert_eq!(payload, [0x90, 0x80, 0x05, 0x01]);
    assert_eq!(patch.apply(&mut payload[..2]), Err(CodecError::Truncated));
    assert_eq!(Vp8Patch::default().apply(&mut payload), Ok(()));
}

#[test]
fn a_vp9_key_picture_brings_its_scalability_structure() {
    // I, L, B, V; 15-bit id; TID 0, SID 0; TL0PICIDX 5; two layers with sizes, a group of one picture.
    let payload = [
        0b1010_1010,
        0x81,
        0x02,
        0x00,
        5, // descriptor
        0b0011_1000,
        1,
        64,
        0,
        180,
        2,
        128,
        1,
        104, // N_S 1, Y, G; 320×180, 640×360
        1,
        0b0001_1000,
        3,
        4, // group of 1: TID 0, U, R 2 → two differences
        0xFF,
    ];
    let descriptor = Vp9Descriptor::parse(&payload).unwrap();
    assert_eq!(descriptor.picture_id, Some(PictureId::Long(0x102)));
    let layers = descriptor.layers.unwrap();
    assert_eq!(
        (layers.temporal_id, layers.spatial_id, layers.tl0picidx),
        (0, 0, Some(5))
    );
    let structure = descriptor.structure.unwrap();
    assert_eq!((structure.spatial_layers, structure.group_pictures), (2, 1));
    assert_eq!(
        (structure.size(0), structure.size(1)),
        (Some((320, 180)), Some((640, 360)))
    );
    assert_eq!(structure.size(2), None);
    assert!(descriptor.is_keyframe());
    assert_eq!(descriptor.header_len, payload.len() - 1);
    for len in 0..descriptor.header_len {
        assert_eq!(
            Vp9Descriptor::parse(&payload[..len]),
            Err(CodecError::Truncated),
            "{len} bytes"
        );
    }
}

#[test]
fn a_vp9_picture_group_tells_references_by_position() {
    // I, L, B, V; 15-bit id; TID 0, SID 0; TL0PICIDX; one layer, G; group of four: layers 0, 2, 1, 2.
    let mut payload = vec![0b1010_1010, 0x80, 0, 0, 0, 0b0000_1000, 4];
    for (temporal, back) in [(0_u8, 4_u8), (2, 1), (1, 2), (2, 1)] {
        payload.extend_from_slice(&[temporal << 5 | 1 << 2, back]);
    }
    let descriptor = Vp9Descriptor::parse(&payload).unwrap();
    let group = descriptor.structure.unwrap().group.unwrap();
    let referred: Vec<_> = [0, 2, 1, 2, 0]
        .iter()
        .zip(0..)
        .map(|(temporal, position)| group.referred(position, *temporal))
        .collect();
    assert_eq!(referred, [Some(1), Some(1), Some(1), Some(2), Some(1)]);
    assert_eq!(group.referred(1, 0), None, "the encoder left the pattern");
    // A group that is too long is read over.
    let mut long = payload[..6].to_vec();
    long.push(17);
    long.extend_from_slice(&[0; 17]);
    let structure = Vp9Descriptor::parse(&long).unwrap().structure.unwrap();
    assert_eq!((structure.group_pictures, structure.group), (17, None));
}

#[test]
fn patching_vp9_changes_only_the_running_numbers() {
    let patch = Vp9Patch {
        picture_id: Some(0x7abc),
        tl0picidx: Some(77),
    };
    let mut long = [0b1010_1000, 0x81, 0x02, 0b0010_0010, 5, 0xEE];
    let before = Vp9Descriptor::parse(&long).unwrap();
    assert_eq!(patch.apply(&mut long), Ok(()));
    assert_eq!(long, [0b1010_1000, 0xfa, 0xbc, 0b0010_0010, 77, 0xEE]);
    let after = Vp9Descriptor::parse(&long).unwrap();
    assert_eq!(after.header_len, before.header_len);
    let mut short = [0b1010_1000, 0x01, 0b0010_0010, 5, 0xEE];
    assert_eq!(patch.apply(&mut short), Ok(()));
    assert_eq!(short, [0b1010_1000, 0x3c, 0b0010_0010, 77, 0xEE]);
    // Flexible mode has no base layer index.
    let mut flexible = [0b1011_1000, 0x01, 0b0010_0010, 0xEE];
    assert_eq!(patch.apply(&mut flexible), Err(CodecError::AbsentField));
    assert_eq!(flexible, [0b1011_1000, 0x01, 0b0010_0010, 0xEE]);
}

#[test]
fn a_vp9_frame_of_a_higher_spatial_layer_is_no_key_frame() {
    // I, L, F, B; short id; SID 1, D.
    let payload = [0b1011_1000, 5, 0b0000_0011];
    let descriptor = Vp9Descriptor::parse(&payload).unwrap();
    assert!(!descriptor.is_keyframe());
    assert_eq!(descriptor.layers.unwrap().tl0picidx, None);
}

#[test]
fn flexible_vp9_lists_up_to_three_references() {
    let payload = [0b1111_1100, 5, 0b0101_0010, 1 << 1 | 1, 2 << 1 | 1, 8 << 1];
    let descriptor = Vp9Descriptor::parse(&payload).unwrap();
    assert_eq!(descriptor.references(), [1, 2, 8]);
    let info = inspect(VideoCodec::Vp9, &payload, false, None).unwrap();
    assert_eq!((info.spatial, info.temporal), (1, 2));
    assert!(info.start_of_frame && info.end_of_frame && info.switching_point && !info.keyframe);
    let mut four = payload;
    four[5] |= 1;
    assert_eq!(Vp9Descriptor::parse(&four), Err(CodecError::Malformed));
}

#[test]
fn h264_key_frames_are_found_in_every_packet_kind() {
    assert!(h264::is_keyframe(&[0x67, 0x42]), "SPS");
    assert!(h264::is_keyframe(&[0x65, 0x88]), "IDR");
    assert!(!h264::is_keyframe(&[0x41, 0x9A]), "slice");
    assert!(!h264::is_keyframe(&[0x68, 0xCE]), "PPS alone");
    assert!(
        h264::is_keyframe(&[0x78, 0, 2, 0x09, 0x10, 0, 2, 0x67, 0x42]),
        "STAP-A"
    );
    assert!(
        !h264::is_keyframe(&[0x78, 0, 2, 0x09, 0x10, 0, 9, 0x67, 0x42]),
        "STAP-A cut short"
    );
    assert!(h264::is_keyframe(&[0x7C, 0x85, 0x88]), "FU-A start");
    assert!(!h264::is_keyframe(&[0x7C, 0x05, 0x88]), "FU-A middle");
    assert!(
        !h264::is_keyframe(&[]) && !h264::is_keyframe(&[0x7C]) && !h264::is_keyframe(&[0x78, 0, 0])
    );
}

#[test]
fn h264_slices_tell_start_and_importance() {
    let info = |payload: &[u8]| inspect(VideoCodec::H264, payload, true, None).unwrap();
    let first = info(&[0x01, 0x9A]);
    assert!(first.start_of_frame && first.end_of_frame && first.discardable && !first.keyframe);
    let second = info(&[0x41, 0x1A]);
    assert!(!second.start_of_frame && !second.discardable);
    assert!(info(&[0x67, 0x42]).start_of_frame);
    assert_eq!(inspect(VideoCodec::H264, &[], true, None), None);
}

#[test]
fn h265_key_frames_are_found_in_every_packet_kind() {
    assert!(h265::is_keyframe(&[0x40, 0x01, 0]), "VPS");
    assert!(h265::is_keyframe(&[0x42, 0x01, 0]), "SPS");
    assert!(h265::is_keyframe(&[0x26, 0x01, 0x80]), "IDR");
    assert!(h265::is_keyframe(&[0x2A, 0x01, 0x80]), "CRA");
    assert!(!h265::is_keyframe(&[0x02, 0x01, 0x80]), "trailing picture");
    assert!(
        h265::is_keyframe(&[0x60, 0x01, 0, 3, 0x46, 0x01, 0x50, 0, 3, 0x42, 0x01, 1]),
        "aggregation"
    );
    assert!(
        h265::is_keyframe(&[0x62, 0x01, 0x80 | 19, 0x80]),
        "fragment start"
    );
    assert!(
        !h265::is_keyframe(&[0x62, 0x01, 19, 0x80]),
        "fragment middle"
    );
    assert!(
        !h265::is_keyframe(&[])
            && !h265::is_keyframe(&[0x62, 0x01])
            && !h265::is_keyframe(&[0x60, 1, 0])
    );
}

#[test]
fn h265_temporal_layers_and_their_access_points_are_told() {
    // TSA_N of temporal layer 1 (plus one: 2), first slice.
    let info = inspect(VideoCodec::H265, &[0x04, 0x02, 0x80], false, None).unwrap();
    assert_eq!(info.temporal, 1);
    assert!(info.switching_point && info.start_of_frame && info.discardable && !info.keyframe);
}

#[test]
fn av1_aggregation_tells_sequence_starts_and_elements() {
    let payload = [0b0010_1000, 1, 0x12, 0x0A, 0x0B];
    let header = av1::AggregationHeader::parse(&payload).unwrap();
    assert_eq!(
        (header.element_count, header.new_sequence, header.continues),
        (2, true, false)
    );
    assert_eq!(
        av1::elements(&payload).collect::<Vec<_>>(),
        [&[0x12][..], &[0x0A, 0x0B]]
    );
    let with_lengths = [0x00, 1, 0x12, 0x82, 0x00, 1, 2];
    assert_eq!(
        av1::elements(&with_lengths).collect::<Vec<_>>(),
        [&[0x12][..], &[1, 2]]
    );
    assert_eq!(
        av1::elements(&[0x00, 5, 0x12]).count(),
        0,
        "a length beyond the payload"
    );
    assert_eq!(
        av1::AggregationHeader::parse(&[0x88]),
        Err(CodecError::Malformed)
    );
    assert!(av1::is_keyframe(&payload) && !av1::is_keyframe(&with_lengths));
}

#[test]
fn av1_without_descriptor_shows_the_layer_of_its_first_obu() {
    // Frame OBU with extension: temporal 2, spatial 1.
    let info = inspect(VideoCodec::Av1, &[0x10, 0x34, 0b0100_1000, 0], true, None).unwrap();
    let expected = FrameInfo {
        end_of_frame: true,
        spatial: 1,
        temporal: 2,
        ..FrameInfo::default()
    };
    assert_eq!(info, expected);
}
