//! RTP headers and extension values: what is parsed is inside the datagram and survives being written again.
use schalter_rtp::extension::{
    AbsCaptureTime, AbsSendTime, AudioLevel, VideoOrientation, parse_mid, parse_rid,
    parse_transport_sequence,
};
use schalter_rtp::{RtpPacket, is_rtcp, packet};

/// Does it with one input.
pub fn run(datagram: &[u8]) {
    let _ = is_rtcp(datagram);
    let Ok(parsed) = RtpPacket::parse(datagram) else {
        return;
    };
    assert_eq!(packet::header_len(datagram), Ok(parsed.header_len()));
    assert_eq!(
        parsed.header_len() + parsed.payload().len() + parsed.padding_len(),
        datagram.len()
    );
    let mut elements = [(0, &[][..]); 64];
    let mut count = 0;
    for ((id, value), slot) in parsed.extensions().zip(&mut elements) {
        *slot = (id, value);
        count += 1;
        let _ = (
            AudioLevel::parse(value),
            AbsSendTime::parse(value),
            AbsCaptureTime::parse(value),
        );
        let _ = (
            VideoOrientation::parse(value),
            parse_mid(value),
            parse_rid(value),
        );
        let _ = parse_transport_sequence(value);
    }
    let elements = &elements[..count];
    let mut out = [0; 64 * 257 + 64];
    let len = parsed
        .header()
        .write(elements, &mut out)
        .expect("what was read can be written");
    let again = RtpPacket::parse(&out[..len]).expect("what was written can be read");
    assert_eq!(again.header(), parsed.header());
    assert!(again.extensions().eq(elements.iter().copied()));
}
