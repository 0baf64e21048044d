//! The AV1 dependency descriptor: templates, customised frames, hostile input.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use proptest::prelude::*;
use schalter_rtp::CodecError;
use schalter_rtp::codec::av1::{
    ActiveTargets, DecodeTarget, Descriptor, DescriptorPatch, Dti, Structure,
};
use schalter_rtp::codec::{VideoCodec, inspect};

/// Packs (value, width) fields, most significant bit first.
fn pack(fields: &[(u32, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut used = 0;
    for &(value, width) in fields {
        for bit in (0..width).rev() {
            if used % 8 == 0 {
                bytes.push(0);
            }
            *bytes.last_mut().unwrap() |= u8::from(value >> bit & 1 == 1) << (7 - used % 8);
            used += 1;
        }
    }
    bytes
}

fn mandatory(start: u32, end: u32, template: u32, frame: u32) -> Vec<(u32, u32)> {
    vec![(start, 1), (end, 1), (template, 6), (frame, 16)]
}

/// Two spatial layers, two decode targets, one chain each, ids from 62 on, sizes. Templates: 62 key frame
/// and 63 delta frame of layer 0, 0 key frame and 1 delta frame of layer 1.
fn two_layers() -> Vec<(u32, u32)> {
    let mut fields = vec![(62, 6), (1, 5)];
    fields.extend([(0, 2), (2, 2), (0, 2), (3, 2)]); // layers: same, next spatial, same, end
    fields.extend([
        (2, 2),
        (2, 2),
        (3, 2),
        (3, 2),
        (0, 2),
        (2, 2),
        (0, 2),
        (1, 2),
    ]); // indications
    fields.extend([(0, 1)]); // template 62: no references
    fields.extend([(1, 1), (1, 4), (0, 1)]); // 63: 2
    fields.extend([(1, 1), (0, 4), (0, 1)]); // 0: 1
    fields.extend([(1, 1), (1, 4), (1, 1), (0, 4), (0, 1)]); // 1: 2 and 1
    // Two chains among 0..=2: ns(3) codes 2 as two bits 11.
    fields.extend([(3, 2), (0, 1), (1, 1)]); // targets 0, 1 protected by chains 0, 1
    fields.extend([
        (0, 4),
        (0, 4),
        (2, 4),
        (1, 4),
        (1, 4),
        (1, 4),
        (1, 4),
        (2, 4),
    ]);
    fields.extend([(1, 1), (319, 16), (179, 16), (639, 16), (359, 16)]);
    fields
}

fn key_descriptor() -> Vec<u8> {
    let mut fields = mandatory(1, 0, 62, 500);
    fields.extend([(1, 1), (0, 1), (0, 1), (0, 1), (0, 1)]);
    fields.extend(two_layers());
    pack(&fields)
}

#[test]
fn a_key_frame_brings_the_structure_that_resolves_it() {
    let bytes = key_descriptor();
    let structure = Descriptor::attached_structure(&bytes).unwrap().unwrap();
    assert_eq!(
        (structure.spatial_layers(), structure.chain_count()),
        (2, 2)
    );
    let targets = [
        DecodeTarget {
            spatial: 0,
            temporal: 0,
            chain: Some(0),
        },
        DecodeTarget {
            spatial: 1,
            temporal: 0,
            chain: Some(1),
        },
    ];
    assert_eq!(structure.decode_targets(), targets);
    assert_eq!(structure.resolution(1), Some((640, 360)));
    assert_eq!(structure.resolution(2), None);
    let descriptor = Descriptor::parse(&bytes, None).unwrap();
    assert!(descriptor.start_of_frame && !descriptor.end_of_frame && descriptor.structure_attached);
    assert_eq!((descriptor.frame_number, descriptor.spatial), (500, 0));
    assert_eq!(descriptor.active_decode_targets, Some(0b11));
    assert_eq!(descriptor.resolution, Some((320, 180)));
    assert_eq!(
        descriptor.dtis().collect::<Vec<_>>(),
        [Dti::Switch, Dti::Switch]
    );
    assert!(descriptor.frame_diffs().is_empty());
    assert_eq!(descriptor.chain_diffs(), [0, 0]);
}

#[test]
fn later_frames_are_resolved_in_the_stored_structure() {
    let structure = Descriptor::attached_structure(&key_descriptor())
        .unwrap()
        .unwrap();
    let delta = pack(&mandatory(1, 1, 1, 501));
    assert_eq!(delta.len(), 3);
    assert_eq!(Descriptor::attached_structure(&delta).unwrap(), None);
    let descriptor = Descriptor::parse(&delta, Some(&structure)).unwrap();
    assert_eq!((descriptor.spatial, descriptor.temporal), (1, 0));
    assert_eq!(descriptor.frame_diffs(), [2, 1]);
    assert_eq!(descriptor.chain_diffs(), [1, 2]);
    assert_eq!(
        (descriptor.dti(0), descriptor.dti(1)),
        (Dti::NotPresent, Dti::Discardable)
    );
    assert_eq!(descriptor.dti(2), Dti::NotPresent);
    assert_eq!(
        (
            descriptor.active_decode_targets,
            descriptor.structure_attached
        ),
        (None, false)
    );
}

#[test]
fn a_frame_may_override_its_template() {
    let structure = Descriptor::attached_structure(&key_descriptor())
        .unwrap()
        .unwrap();
    let mut fields = mandatory(0, 1, 0, 502);
    fields.extend([(0, 1), (1, 1), (1, 1), (1, 1), (1, 1)]);
    fields.extend([(0b01, 2)]); // only target 0 is active
    fields.extend([(1, 2), (2, 2)]);
    fields.extend([(1, 2), (4, 4), (2, 2), (99, 8), (3, 2), (4095, 12), (0, 2)]);
    fields.extend([(200, 8), (7, 8)]);
    let descriptor = Descriptor::parse(&pack(&fields), Some(&structure)).unwrap();
    assert_eq!(descriptor.active_decode_targets, Some(1));
    assert_eq!(
        descriptor.dtis().collect::<Vec<_>>(),
        [Dti::Discardable, Dti::Switch]
    );
    assert_eq!(descriptor.frame_diffs(), [5, 100, 4096]);
    assert_eq!(descriptor.chain_diffs(), [200, 7]);
}

#[test]
fn frames_of_an_unknown_template_wait_for_a_structure() {
    let delta = pack(&mandatory(1, 1, 1, 501));
    assert_eq!(
        Descriptor::parse(&delta, None),
        Err(CodecError::UnknownTemplate)
    );
    let structure = Descriptor::attached_structure(&key_descriptor())
        .unwrap()
        .unwrap();
    let unknown = pack(&mandatory(1, 1, 2, 501));
    assert_eq!(
        Descriptor::parse(&unknown, Some(&structure)),
        Err(CodecError::UnknownTemplate)
    );
}

#[test]
fn every_cut_of_a_key_descriptor_is_truncated() {
    let bytes = key_descriptor();
    for len in (0..bytes.len()).filter(|len| *len != 3) {
        assert_eq!(
            Descriptor::parse(&bytes[..len], None),
            Err(CodecError::Truncated),
            "{len} bytes"
        );
    }
    // Three bytes are a whole descriptor of the short form.
    assert_eq!(
        Descriptor::parse(&bytes[..3], None),
        Err(CodecError::UnknownTemplate)
    );
}

#[test]
fn more_layers_or_references_than_av1_has_are_refused() {
    let with = |layers: &[(u32, u32)]| {
        let mut fields = mandatory(1, 1, 0, 1);
        fields.extend([(1, 1), (0, 4), (0, 6), (0, 5)]);
        fields.extend(layers);
        fields.extend([(0, 32); 40]);
        Descriptor::attached_structure(&pack(&fields)).map(drop)
    };
    assert_eq!(
        with(&[(2, 2), (2, 2), (2, 2), (2, 2)]),
        Err(CodecError::Limit),
        "a fifth spatial layer"
    );
    assert_eq!(
        with(&[(1, 2); 8]),
        Err(CodecError::Limit),
        "a ninth temporal layer"
    );
    assert_eq!(
        with(&[(0, 2); 64]),
        Err(CodecError::Limit),
        "a 65th template"
    );
    let mut references = vec![(3, 2), (3, 2)];
    references.extend([(0b1_0000, 5); 9]);
    assert_eq!(
        with(&references),
        Err(CodecError::Limit),
        "a ninth reference"
    );
}

#[test]
fn inspection_believes_the_descriptor_over_an_encrypted_payload() {
    let bytes = key_descriptor();
    let structure = Descriptor::attached_structure(&bytes).unwrap().unwrap();
    let key = Descriptor::parse(&bytes, None).unwrap();
    let info = inspect(VideoCodec::Av1, &[], false, Some(&key)).unwrap();
    assert!(info.keyframe && info.switching_point && !info.discardable && info.start_of_frame);
    let delta = Descriptor::parse(&pack(&mandatory(0, 1, 1, 501)), Some(&structure)).unwrap();
    let info = inspect(VideoCodec::Vp9, &[], false, Some(&delta)).unwrap();
    assert!(!info.keyframe && !info.switching_point && info.discardable && info.end_of_frame);
    assert_eq!((info.spatial, info.temporal), (1, 0));
}

/// A descriptor rewritten, read with the structure known before.
fn patched(patch: DescriptorPatch, value: &[u8], stored: Option<&Structure>) -> Descriptor {
    let mut out = [0xff; 255];
    let len = patch.write(value, &mut out).unwrap();
    assert_eq!(len, patch.written_len(value));
    Descriptor::parse(&out[..len], stored).unwrap()
}

fn only_base() -> DescriptorPatch {
    DescriptorPatch {
        frame_number: Some(9),
        active_targets: Some(ActiveTargets { count: 2, mask: 1 }),
    }
}

#[test]
fn rewriting_changes_numbers_and_targets_only() {
    let key = key_descriptor();
    let structure = Descriptor::attached_structure(&key).unwrap().unwrap();
    let mut custom = mandatory(0, 1, 0, 502);
    custom.extend([(0, 1), (0, 1), (1, 1), (1, 1), (1, 1)]);
    custom.extend([(1, 2), (2, 2), (1, 2), (4, 4), (0, 2), (200, 8), (7, 8)]);
    let mut with_targets = mandatory(0, 1, 0, 502);
    with_targets.extend([(0, 1), (1, 1), (1, 1), (0, 1), (0, 1)]);
    with_targets.extend([(0b10, 2), (1, 2), (2, 2)]);
    let short = mandatory(1, 1, 1, 501);
    for value in [key, pack(&custom), pack(&with_targets), pack(&short)] {
        let before = Descriptor::parse(&value, Some(&structure)).unwrap();
        let after = patched(only_base(), &value, Some(&structure));
        let mut expected = before;
        (expected.frame_number, expected.active_decode_targets) = (9, Some(1));
        assert_eq!(after, expected);
        let unchanged = patched(DescriptorPatch::default(), &value, Some(&structure));
        assert_eq!(unchanged, before);
    }
}

#[test]
fn a_rewritten_key_descriptor_still_brings_its_structure() {
    let key = key_descriptor();
    let mut out = [0; 255];
    let len = only_base().write(&key, &mut out).unwrap();
    assert_eq!(
        Descriptor::attached_structure(&out[..len]),
        Descriptor::attached_structure(&key)
    );
    assert_eq!(
        only_base().write(&key, &mut [0; 10]),
        Err(CodecError::Truncated)
    );
}

proptest! {
    #[test]
    fn rewriting_arbitrary_bytes_never_panics(
        value in prop::collection::vec(any::<u8>(), 0..80),
        count in 0..40_u8,
        mask: u32,
    ) {
        let patch = DescriptorPatch {
            frame_number: Some(1),
            active_targets: Some(ActiveTargets { count, mask }),
        };
        let mut out = [0; 255];
        if let Ok(len) = patch.write(&value, &mut out) {
            prop_assert_eq!(len, patch.written_len(&value));
        }
    }

    #[test]
    fn flipped_bits_never_panic(flips in prop::collection::vec((0_usize..64, 0_u32..8), 1..12)) {
        let structure = Descriptor::attached_structure(&key_descriptor()).unwrap().unwrap();
        let mut bytes = key_descriptor();
        for (byte, bit) in flips {
            let at = byte % bytes.len();
            bytes[at] ^= 1 << bit;
        }
        if let Ok(descriptor) = Descriptor::parse(&bytes, Some(&structure)) {
            prop_assert!(descriptor.dtis().count() <= 32);
            prop_assert!(inspect(VideoCodec::Av1, &bytes, false, Some(&descriptor)).is_some());
        }
        let _ = Descriptor::attached_structure(&bytes);
    }
}
