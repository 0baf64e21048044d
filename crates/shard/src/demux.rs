//! Tells the protocols on one port apart by their first byte (RFC 7983 §7).

/// What a datagram is, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Stun,
    Dtls,
    Rtp,
    Rtcp,
    /// ChannelData of TURN.
    Channel,
    Unknown,
}

/// First bytes of STUN: 0–3.
const STUN_LAST: u8 = 3;
/// First bytes of DTLS: 20–63.
const DTLS: std::ops::RangeInclusive<u8> = 20..=63;
/// First bytes of ChannelData: 64–79.
const CHANNEL: std::ops::RangeInclusive<u8> = 64..=79;
/// First bytes of RTP and RTCP: 128–191.
const RTP: std::ops::RangeInclusive<u8> = 128..=191;

pub(crate) fn protocol(datagram: &[u8]) -> Protocol {
    match datagram.first() {
        Some(0..=STUN_LAST) => Protocol::Stun,
        Some(first) if DTLS.contains(first) => Protocol::Dtls,
        Some(first) if CHANNEL.contains(first) => Protocol::Channel,
        Some(first) if RTP.contains(first) => {
            if schalter_rtp::is_rtcp(datagram) {
                Protocol::Rtcp
            } else {
                Protocol::Rtp
            }
        }
        Some(_) | None => Protocol::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_decides() {
        assert_eq!(protocol(&[]), Protocol::Unknown);
        assert_eq!(protocol(&[0, 1]), Protocol::Stun);
        assert_eq!(protocol(&[3]), Protocol::Stun);
        assert_eq!(protocol(&[4]), Protocol::Unknown);
        assert_eq!(protocol(&[19]), Protocol::Unknown);
        assert_eq!(protocol(&[20]), Protocol::Dtls);
        assert_eq!(protocol(&[63]), Protocol::Dtls);
        assert_eq!(protocol(&[64]), Protocol::Channel);
        assert_eq!(protocol(&[79]), Protocol::Channel);
        assert_eq!(protocol(&[80]), Protocol::Unknown);
        assert_eq!(protocol(&[0x80, 96]), Protocol::Rtp);
        assert_eq!(protocol(&[0x80, 200]), Protocol::Rtcp);
        assert_eq!(protocol(&[192]), Protocol::Unknown);
    }
}
