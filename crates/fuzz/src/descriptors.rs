//! Codec payloads and dependency descriptors; the first byte chooses the format.
use schalter_rtp::codec::av1::{self, ActiveTargets, Descriptor, DescriptorPatch};
use schalter_rtp::codec::vp8::{Vp8Descriptor, Vp8Patch};
use schalter_rtp::codec::{VideoCodec, h264, h265, inspect, opus, red};

/// Does it with one input.
pub fn run(input: &[u8]) {
    let Some((&format, payload)) = input.split_first() else {
        return;
    };
    match format % 8 {
        0 => vp8(payload),
        1 => inspect_as(VideoCodec::Vp9, payload),
        2 => {
            inspect_as(VideoCodec::H264, payload);
            assert!(h264::nal_units(payload).count() <= 1 + payload.len() / 3);
        }
        3 => {
            inspect_as(VideoCodec::H265, payload);
            assert!(h265::nal_units(payload).count() <= 1 + payload.len() / 4);
        }
        4 => {
            inspect_as(VideoCodec::Av1, payload);
            assert!(av1::elements(payload).count() <= payload.len());
        }
        5 => dependency_descriptor(payload),
        6 => {
            let _ = (opus::Toc::parse(payload), opus::is_dtx(payload));
        }
        _ => {
            let _ = (
                red::primary(payload),
                red::blocks(payload).map(Iterator::count),
            );
        }
    }
}

fn inspect_as(codec: VideoCodec, payload: &[u8]) {
    let _ = inspect(codec, payload, false, None);
    let _ = inspect(codec, payload, true, None);
}

fn vp8(payload: &[u8]) {
    let Ok(before) = Vp8Descriptor::parse(payload) else {
        return;
    };
    let mut patched = payload.to_vec();
    let patch = Vp8Patch {
        picture_id: before.picture_id.map(|_| 0x55),
        tl0picidx: before.tl0picidx.map(|_| 0x55),
    };
    patch.apply(&mut patched).expect("the fields are there");
    let after = Vp8Descriptor::parse(&patched).expect("patching keeps the layout");
    assert_eq!(after.header_len, before.header_len);
    assert_eq!(after.picture_id.map(|id| id.value()), patch.picture_id);
    assert_eq!(patched[after.header_len..], payload[before.header_len..]);
}

/// The bytes are two descriptors: the first may bring the structure for the second.
fn dependency_descriptor(payload: &[u8]) {
    let Some((&split, bytes)) = payload.split_first() else {
        return;
    };
    let (first, second) = bytes.split_at(usize::from(split).min(bytes.len()));
    let structure = Descriptor::attached_structure(first).ok().flatten();
    for descriptor in [
        Descriptor::parse(first, None),
        Descriptor::parse(second, structure.as_ref()),
    ] {
        let Ok(descriptor) = descriptor else { continue };
        assert!((1..=32).contains(&descriptor.dtis().count()));
        assert!(descriptor.chain_diffs().len() <= 32 && descriptor.frame_diffs().len() <= 8);
        assert!(inspect(VideoCodec::Av1, bytes, false, Some(&descriptor)).is_some());
    }
    let patch = DescriptorPatch {
        frame_number: Some(0x5555),
        active_targets: Some(ActiveTargets {
            count: split,
            mask: 0x5555_5555,
        }),
    };
    let mut out = [0; 300];
    if let Ok(len) = patch.write(second, &mut out) {
        assert_eq!(len, patch.written_len(second));
    }
}
