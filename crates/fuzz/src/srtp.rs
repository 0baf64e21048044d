//! A list of operations on one session: what was sealed opens once and unchanged, everything else is refused.

use schalter_model::SrtpProfile;
use schalter_transport::srtp::{
    DtlsRole, MAX_SRTP_OVERHEAD, SessionKeys, SrtpLimits, exporter_len,
};

/// Does it with one input.
pub fn run(data: &[u8]) {
    let Some((choice, mut rest)) = data.split_first() else {
        return;
    };
    let profile = SrtpProfile::ALL[usize::from(*choice) % 3];
    let limits = SrtpLimits {
        max_inbound_ssrcs: 4,
        max_outbound_ssrcs: 4,
    };
    let contexts = |role| {
        SessionKeys::from_exporter(profile, &vec![7; exporter_len(profile)], role)
            .expect("the length is right")
            .into_contexts(limits)
            .expect("the library takes any key")
    };
    let (mut outbound, _) = contexts(DtlsRole::Server);
    let (_, mut inbound) = contexts(DtlsRole::Client);

    while let Some((&[operation, len], tail)) = rest.split_first_chunk() {
        let len = usize::from(len).min(tail.len());
        let (bytes, next) = tail.split_at(len);
        rest = next;
        let mut buffer = bytes.to_vec();
        match operation % 6 {
            0 => assert!(inbound.open_rtp(&mut buffer).is_err(), "forged"),
            1 => assert!(inbound.open_rtcp(&mut buffer).is_err(), "forged"),
            kind @ (2..=4) => {
                buffer.resize(len + MAX_SRTP_OVERHEAD, 0);
                let is_rtp = kind != 3;
                let sealed = if is_rtp {
                    outbound.seal_rtp(&mut buffer, len)
                } else {
                    outbound.seal_rtcp(&mut buffer, len)
                };
                let Ok(sealed) = sealed else {
                    continue;
                };
                buffer.truncate(sealed);
                if kind == 4 {
                    // Changed on the way: whichever byte, it must not pass. The real one got lost.
                    let at = usize::from(operation) % sealed;
                    buffer[at] ^= 1;
                    assert!(inbound.open_rtp(&mut buffer).is_err(), "changed");
                    continue;
                }
                let mut replay = buffer.clone();
                let mut open = |buffer: &mut [u8]| {
                    if is_rtp {
                        inbound.open_rtp(buffer)
                    } else {
                        inbound.open_rtcp(buffer)
                    }
                };
                // Losses, forgotten streams and limits may refuse it, but never change it.
                if open(&mut buffer) == Ok(len) {
                    assert_eq!(&buffer[..len], bytes);
                    assert!(open(&mut replay).is_err(), "replayed");
                }
            }
            _ => {
                let ssrc = bytes
                    .first_chunk()
                    .map_or(0, |ssrc| u32::from_be_bytes(*ssrc));
                inbound.forget(ssrc);
                outbound.forget(ssrc);
            }
        }
    }
}
