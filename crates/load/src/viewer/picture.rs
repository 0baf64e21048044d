//! What a decoder could make of a picture whose packets all came: nothing, or a picture of some size.
//!
//! Owns what of earlier frames later ones may refer to: by frame number where a dependency descriptor says so (AV1 RTP
//! specification, appendix A), by picture id and layer for VP9 (RFC 9628 §4.2). VP8 is forwarded by whole frames whose
//! order shows what is missing. Refuses to know sequence numbers: that is [`super::stream`]'s.

use std::collections::VecDeque;

use schalter_rtp::codec::VideoCodec;
use schalter_rtp::codec::av1::{self, Descriptor, Structure};
use schalter_rtp::codec::vp8::Vp8Descriptor;
use schalter_rtp::codec::vp9::{ScalabilityStructure, Vp9Descriptor};

/// Frames remembered, a second of three spatial layers: encoders refer back by a few pictures. Below 128, so that VP9's short
/// picture ids name one of them.
const FRAMES: usize = 96;

/// Width and height in pixels.
pub(super) type Size = (u16, u16);

/// The head of one packet, as far as it takes to judge its frame.
#[derive(Clone, Debug)]
pub(super) enum Head {
    Vp8 {
        key: bool,
        size: Option<Size>,
    },
    Vp9(Box<Vp9Descriptor>),
    /// A dependency descriptor. It is resolved in the order of packets: the structure that it needs may come late.
    Described {
        key: bool,
        value: Vec<u8>,
    },
    /// AV1 without descriptor: there are no layers to tell apart.
    Plain {
        key: bool,
    },
    /// Padding, or nothing that can be read.
    Blank,
}

impl Head {
    /// Reads a packet's payload, and its dependency descriptor if it has one.
    pub(super) fn read(codec: VideoCodec, payload: &[u8], descriptor: Option<&[u8]>) -> Self {
        if payload.is_empty() {
            return Self::Blank;
        }
        match codec {
            VideoCodec::Vp8 => {
                Vp8Descriptor::parse(payload).map_or(Self::Blank, |head| Self::Vp8 {
                    key: head.is_keyframe,
                    size: head.size,
                })
            }
            VideoCodec::Vp9 => {
                Vp9Descriptor::parse(payload).map_or(Self::Blank, |head| Self::Vp9(Box::new(head)))
            }
            VideoCodec::Av1 => match descriptor {
                Some(value) => Self::Described {
                    key: matches!(Descriptor::attached_structure(value), Ok(Some(_))),
                    value: value.to_vec(),
                },
                None => Self::Plain {
                    key: av1::is_keyframe(payload),
                },
            },
            VideoCodec::H264 | VideoCodec::H265 => Self::Blank,
        }
    }

    /// Decoding can start with this packet.
    pub(super) fn is_key(&self) -> bool {
        match self {
            Self::Vp8 { key, .. } | Self::Described { key, .. } | Self::Plain { key } => *key,
            Self::Vp9(descriptor) => descriptor.is_keyframe(),
            Self::Blank => false,
        }
    }
}

/// A frame of one spatial layer that could be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// Frame number or picture id.
    number: u16,
    /// Spatial layer; 0 where numbers alone tell frames apart.
    spatial: u8,
}

/// A frame whose end has not come yet.
#[derive(Clone, Copy, Debug)]
struct Open {
    frame: Known,
    is_decodable: bool,
}

/// What was decoded of one stream.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    structure: Option<Box<Structure>>,
    sizes: Option<ScalabilityStructure>,
    known: VecDeque<Known>,
    /// The last VP9 picture of the base temporal layer, by its running index.
    base: Option<u8>,
}

fn pixels((width, height): (u32, u32)) -> Size {
    let limit = |size| u16::try_from(size).unwrap_or(u16::MAX);
    (limit(width), limit(height))
}

impl Decoder {
    /// Takes a picture's packets in order; answers its size, as far as it says one, if all of it can be decoded.
    ///
    /// Browsers show a picture only if they can decode each of its layers, and so does this.
    pub(super) fn picture<'a>(
        &mut self,
        packets: impl Iterator<Item = &'a Head>,
    ) -> Result<Option<Size>, Broken> {
        let (mut open, mut size) = (None, None);
        let mut is_whole = true;
        for head in packets {
            match head {
                Head::Vp8 { size: told, .. } => size = size.or(*told),
                Head::Vp9(descriptor) => {
                    size = self.vp9(descriptor, &mut open, &mut is_whole).or(size);
                }
                Head::Described { value, .. } => {
                    size = self.described(value, &mut open, &mut is_whole).or(size);
                }
                Head::Plain { .. } | Head::Blank => {}
            }
        }
        if is_whole && open.is_none() {
            Ok(size)
        } else {
            Err(Broken)
        }
    }

    fn is_known(&self, frame: Known) -> bool {
        self.known.contains(&frame)
    }

    /// Takes a packet of `frame`: `begins` says of its first whether what the frame refers to is there.
    fn packet(
        &mut self,
        open: &mut Option<Open>,
        is_whole: &mut bool,
        frame: Known,
        begins: Option<bool>,
        ends: bool,
    ) {
        if let Some(is_decodable) = begins {
            // One that is still open has no end.
            *is_whole &= open.is_none() && is_decodable;
            *open = Some(Open {
                frame,
                is_decodable,
            });
        }
        if ends {
            self.end(open, is_whole, frame);
        }
    }

    fn end(&mut self, open: &mut Option<Open>, is_whole: &mut bool, frame: Known) {
        match open.take().filter(|open| open.frame == frame) {
            Some(open) => {
                if open.is_decodable {
                    if self.known.len() == FRAMES {
                        self.known.pop_front();
                    }
                    self.known.push_back(frame);
                }
            }
            // Its beginning never came.
            None => *is_whole = false,
        }
    }

    fn described(
        &mut self,
        value: &[u8],
        open: &mut Option<Open>,
        is_whole: &mut bool,
    ) -> Option<Size> {
        if let Ok(Some(structure)) = Descriptor::attached_structure(value) {
            self.structure = Some(Box::new(structure));
        }
        let Ok(descriptor) = Descriptor::parse(value, self.structure.as_deref()) else {
            *is_whole = false;
            return None;
        };
        let named = |number| Known { number, spatial: 0 };
        let frame = named(descriptor.frame_number);
        let begins = descriptor.start_of_frame.then(|| {
            let refers = descriptor.frame_diffs();
            if descriptor.structure_attached && refers.is_empty() {
                self.known.clear();
            }
            let mut referred = refers
                .iter()
                .map(|back| named(frame.number.wrapping_sub(*back)));
            referred.all(|frame| self.is_known(frame))
        });
        self.packet(open, is_whole, frame, begins, descriptor.end_of_frame);
        descriptor.resolution.map(pixels)
    }

    fn vp9(
        &mut self,
        descriptor: &Vp9Descriptor,
        open: &mut Option<Open>,
        is_whole: &mut bool,
    ) -> Option<Size> {
        self.sizes = descriptor.structure.or(self.sizes);
        let layers = descriptor.layers;
        let spatial = layers.map_or(0, |layers| layers.spatial_id);
        let number = descriptor.picture_id.map_or(0, |id| id.value());
        let frame = Known { number, spatial };
        let begins = descriptor.start_of_frame.then(|| {
            if descriptor.is_keyframe() {
                self.known.clear();
                self.base = None;
            }
            let below = layers.filter(|layers| layers.inter_layer).map(|_| Known {
                spatial: spatial.wrapping_sub(1),
                ..frame
            });
            below.is_none_or(|below| self.is_known(below)) && self.follows(descriptor, frame)
        });
        self.packet(open, is_whole, frame, begins, descriptor.end_of_frame);
        self.sizes.and_then(|sizes| sizes.size(spatial))
    }

    /// Whether the earlier pictures that a VP9 frame refers to were decoded, as far as its descriptor tells.
    fn follows(&mut self, descriptor: &Vp9Descriptor, frame: Known) -> bool {
        let base = descriptor.layers.and_then(|layers| layers.tl0picidx);
        let is_base = descriptor
            .layers
            .is_none_or(|layers| layers.temporal_id == 0);
        // Without a list of references, base pictures refer to the base picture before, others to the last one.
        let before = self.base;
        if is_base {
            self.base = base.or(before);
        }
        if !descriptor.inter_picture {
            return true;
        }
        if descriptor.flexible {
            // Ids have 7 or 15 bits, and go back by less than 128.
            return descriptor.references().iter().all(|back| {
                let number = frame.number.wrapping_sub(u16::from(*back));
                let mut known = self.known.iter();
                known.any(|known| {
                    known.spatial == frame.spatial && known.number & 0x7f == number & 0x7f
                })
            });
        }
        let (Some(before), Some(now)) = (before, base) else {
            return true;
        };
        now == before || is_base && now == before.wrapping_add(1)
    }
}

/// A picture that can't be decoded though nothing of it is missing: what it refers to is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

#[cfg(test)]
mod tests {
    use super::*;

    /// Dependency descriptors of Chromium's L3T3_KEY at 720p, as they came: a key frame's first packet, then packets of three
    /// bytes each. Frames 4, 5, 6 are the key picture's layers, 7, 8, 9 those of the next one, and so on.
    const KEY: &str = "c0000480081485214eaaaaa8000600004000100002aa80a8000600004000100002a000a800060000400016d549241b5524\
                       906d54923157e001974ca864330e222396eca8655304224390eca87753013f00b3027f016704ff02cf";
    const SIZES: [Size; 3] = [(320, 180), (640, 360), (1_280, 720)];

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect()
    }

    fn av1(decoder: &mut Decoder, packets: &[&str]) -> Result<Option<Size>, Broken> {
        let heads: Vec<Head> = packets
            .iter()
            .map(|value| Head::read(VideoCodec::Av1, &[0x10; 40], Some(&bytes(value))))
            .collect();
        decoder.picture(heads.iter())
    }

    fn vp9(decoder: &mut Decoder, packets: &[&str]) -> Result<Option<Size>, Broken> {
        let heads: Vec<Head> = packets
            .iter()
            .map(|head| Head::read(VideoCodec::Vp9, &bytes(head), None))
            .collect();
        decoder.picture(heads.iter())
    }

    #[test]
    fn a_picture_has_the_size_of_its_highest_layer() {
        // From the base alone to all three.
        for top in 0..3 {
            let mut decoder = Decoder::default();
            let key: &[&str] = &[KEY, "850005", "450005", "8a0006", "0a0006", "4a0006"];
            let key = &key[..[1, 3, 6][top]];
            assert_eq!(av1(&mut decoder, key), Ok(Some(SIZES[top])));
            // Later pictures refer to their own layer only, and may come without the others.
            let layers = [
                ["c30007", "c2000a", "c4000d", "c10010"],
                ["c80008", "c7000b", "c9000e", "c60011"],
                ["cd0009", "cc000c", "ce000f", "cb0012"],
            ];
            for frame in layers[top] {
                assert_eq!(av1(&mut decoder, &[frame]), Ok(Some(SIZES[top])));
            }
        }
    }

    #[test]
    fn what_refers_to_a_frame_that_never_came_is_broken() {
        let mut decoder = Decoder::default();
        let key = [KEY, "c50005", "ca0006"];
        assert_eq!(av1(&mut decoder, &key), Ok(Some(SIZES[2])));
        assert_eq!(av1(&mut decoder, &["cc000c"]), Ok(Some(SIZES[2])));
        // It refers to 11, which came with the middle layer only.
        assert_eq!(av1(&mut decoder, &["c9000e"]), Err(Broken));
        assert_eq!(av1(&mut decoder, &["ce000f"]), Ok(Some(SIZES[2])));
        // A layer that can't be decoded breaks the picture, though the one above could.
        assert_eq!(av1(&mut decoder, &["c10010", "c60011"]), Ok(Some(SIZES[1])));
        assert_eq!(av1(&mut decoder, &["c4000d", "cb0012"]), Err(Broken));
    }

    #[test]
    fn a_frame_lacks_nothing_between_its_first_and_last_packet() {
        for packets in [
            &[KEY, "450005"][..],
            &[KEY, "850005"],
            &[KEY, "850005", "ca0006"],
        ] {
            assert_eq!(av1(&mut Decoder::default(), packets), Err(Broken));
        }
        // A descriptor whose structure never came says nothing.
        assert_eq!(av1(&mut Decoder::default(), &["cb0012"]), Err(Broken));
    }

    /// Descriptors of Chromium's VP9 L3T3_KEY, as they came, and a byte of payload: a key picture in one or two packets a layer.
    const VP9_KEY: [&str; 5] = [
        "bad0f01050014000b402800168050002d083",
        "b4d0f0105400",
        "bcd0f0138700",
        "b9d0f0158700",
        "b5d0f0153f00",
    ];

    #[test]
    fn vp9_pictures_refer_to_pictures_and_to_the_layer_below() {
        let mut decoder = Decoder::default();
        assert_eq!(vp9(&mut decoder, &VP9_KEY), Ok(Some(SIZES[2])));
        // The encoder left the highest layer out of this one.
        let next = ["fdd0f1500287", "fdd0f1520287"];
        assert_eq!(vp9(&mut decoder, &next), Ok(Some(SIZES[1])));
        // Two pictures back, in the layer that is sent alone.
        assert_eq!(vp9(&mut decoder, &["fdd0f2320487"]), Ok(Some(SIZES[1])));
        // One back in the base layer, which was left out.
        assert_eq!(vp9(&mut decoder, &["fdd0f3500287"]), Err(Broken));
        // The key picture's higher layers need its lower ones.
        let mut decoder = Decoder::default();
        let [base, end, _, high, last] = VP9_KEY;
        let key = [base, end, high, last];
        assert_eq!(vp9(&mut decoder, &key), Err(Broken));
    }
}
