//! How a subscriber gets each of its publisher's formats: under its own payload types, RED whole or as its primary block.

use crate::config::{Codec, CodecBinding};

/// How a subscriber gets one of the publisher's formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) payload_type: u8,
    pub(crate) rtx_payload_type: Option<u8>,
    /// Only the primary block of RED is sent.
    pub(crate) unwrap_red: bool,
    /// Payload type that RED's blocks must name.
    pub(crate) red_inner: Option<u8>,
    /// Payload type of RED's primary block alone, where the subscriber takes both.
    pub(crate) plain: Option<u8>,
}

/// For each of the publisher's formats, what the subscriber gets; `None` if it gets nothing at all.
pub(crate) fn forms(
    source: &[CodecBinding],
    accepted: &[CodecBinding],
) -> Option<Box<[Option<Form>]>> {
    let accepts = |codec: Codec| accepted.iter().find(|binding| fits(codec, binding.codec));
    let opus = accepts(Codec::Opus).map(|binding| binding.payload_type);
    let source_opus = source
        .iter()
        .find(|binding| binding.codec == Codec::Opus)
        .map(|binding| binding.payload_type);
    let forms: Box<[Option<Form>]> = source
        .iter()
        .map(|binding| {
            if let Some(same) = accepts(binding.codec) {
                let is_red = binding.codec == Codec::Red;
                return Some(Form {
                    payload_type: same.payload_type,
                    rtx_payload_type: same.rtx_payload_type,
                    unwrap_red: false,
                    red_inner: if is_red && opus != source_opus {
                        opus
                    } else {
                        None
                    },
                    plain: opus.filter(|_| is_red),
                });
            }
            let plain = accepts(Codec::Opus).filter(|_| binding.codec == Codec::Red)?;
            Some(Form {
                payload_type: plain.payload_type,
                rtx_payload_type: plain.rtx_payload_type,
                unwrap_red: true,
                red_inner: None,
                plain: None,
            })
        })
        .collect();
    forms.iter().any(Option::is_some).then_some(forms)
}

/// Whether a subscriber that negotiated `accepted` can be sent `offered`.
fn fits(offered: Codec, accepted: Codec) -> bool {
    match (offered, accepted) {
        (
            Codec::H264 {
                packetization_mode: a,
                profile: p,
            },
            Codec::H264 {
                packetization_mode: b,
                profile: q,
            },
        ) => a == b && p >> 8 == q >> 8,
        (offered, accepted) => offered == accepted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(payload_type: u8, codec: Codec) -> CodecBinding {
        CodecBinding {
            payload_type,
            codec,
            rtx_payload_type: None,
        }
    }

    fn h264(packetization_mode: u8, profile: u16) -> Codec {
        Codec::H264 {
            packetization_mode,
            profile,
        }
    }

    #[test]
    fn h264_fits_by_mode_and_profile_idc() {
        assert!(fits(h264(1, 0x42e0), h264(1, 0x4200)));
        assert!(!fits(h264(1, 0x42e0), h264(0, 0x42e0)));
        assert!(!fits(h264(1, 0x42e0), h264(1, 0x6400)));
        assert!(!fits(Codec::Vp9 { profile: 0 }, Codec::Vp9 { profile: 2 }));
    }

    #[test]
    fn red_passes_is_unwrapped_or_has_no_form() {
        let source = [binding(63, Codec::Red), binding(111, Codec::Opus)];
        let both = forms(
            &source,
            &[binding(96, Codec::Opus), binding(97, Codec::Red)],
        )
        .unwrap();
        let form = both[0].unwrap();
        assert_eq!(
            (form.payload_type, form.unwrap_red, form.red_inner),
            (97, false, Some(96))
        );
        assert_eq!(both[1].unwrap().payload_type, 96);
        let plain = forms(&source, &[binding(111, Codec::Opus)]).unwrap();
        assert!(plain[0].unwrap().unwrap_red);
        assert!(forms(&source, &[binding(96, Codec::Vp8)]).is_none());
    }
}
