//! ChannelData messages (RFC 8656 §12.4): four bytes of head, then what is relayed.

use std::ops::Range;

/// Length of the head: channel number and length of what follows.
pub const CHANNEL_HEAD: usize = 4;
/// First bytes of ChannelData (RFC 7983 §7); of them 80–95 are channel numbers that RFC 8656 §12 reserves.
const FIRST: std::ops::RangeInclusive<u8> = 64..=79;
/// Numbers that a channel may have (RFC 8656 §12).
pub(crate) const CHANNELS: std::ops::RangeInclusive<u16> = 0x4000..=0x4FFF;

/// Whether a datagram on a port that several protocols share is ChannelData.
pub fn is_channel_data(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| FIRST.contains(first))
}

/// Channel number and where in the datagram the payload stands. What follows it is padding, which UDP allows and streams
/// need.
pub(crate) fn parse(datagram: &[u8]) -> Option<(u16, Range<usize>)> {
    let (&[n0, n1, l0, l1], rest) = datagram.split_first_chunk::<CHANNEL_HEAD>()?;
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    let number = u16::from_be_bytes([n0, n1]);
    (len <= rest.len()).then_some((number, CHANNEL_HEAD..CHANNEL_HEAD + len))
}

pub(crate) fn head(number: u16, len: u16) -> [u8; CHANNEL_HEAD] {
    let ([n0, n1], [l0, l1]) = (number.to_be_bytes(), len.to_be_bytes());
    [n0, n1, l0, l1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_must_fit_and_padding_is_passed_over() {
        assert_eq!(
            parse(&[0x40, 1, 0, 3, 9, 9, 9, 0]),
            Some((0x4001, 4..7)),
            "one byte of padding"
        );
        assert_eq!(parse(&[0x40, 1, 0, 0]), Some((0x4001, 4..4)));
        assert_eq!(parse(&[0x40, 1, 0, 3, 9, 9]), None);
        assert_eq!(parse(&[0x40, 1, 0]), None);
        assert_eq!(head(0x4001, 3), [0x40, 1, 0, 3]);
    }
}
