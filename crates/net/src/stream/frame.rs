//! Where a frame begins and ends on a connection that carries datagrams.
//!
//! Two framings: a length before each datagram (RFC 4571 §2), which ICE-TCP uses (RFC 6544 §3), and TURN's own, where STUN
//! messages and ChannelData messages follow each other (RFC 8656 §3.3, §12.5). Refuses frames that are longer than any datagram we
//! take, so that a peer can't make us wait for 64 KiB that never come.

use std::ops::Range;

/// Longest datagram that is taken from or put on a connection, in bytes. No peer of ours sends larger ones: media and
/// DTLS keep to an Ethernet frame, and TURN adds less than 100 bytes to that.
pub const MAX_FRAME_LEN: usize = 4_096;

/// Length of the head that RFC 4571 puts before each datagram.
const RFC4571_HEAD: usize = 2;
/// Length of the head of a ChannelData message (RFC 8656 §12.4).
const CHANNEL_DATA_HEAD: usize = 4;
/// Length of the head of a STUN message.
const STUN_HEAD: usize = 20;
/// Bytes 4 to 7 of a STUN message (RFC 8489 §5).
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];

/// How the bounds of datagrams are kept on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// 16 bits of length before each datagram (RFC 4571 §2), as ICE-TCP has it.
    Rfc4571,
    /// STUN messages and ChannelData padded to 4 bytes (RFC 8656 §12.5), as TURN has it.
    Turn,
}

/// One frame at the beginning of what was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where the datagram stands. With [`Framing::Turn`] that is the whole message without its padding. May be empty.
    pub datagram: Range<usize>,
    /// Where the next frame begins.
    pub end: usize,
}

/// The peer does not keep to the framing; what follows can't be made sense of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The frame is longer than [`MAX_FRAME_LEN`].
    #[error("a frame of {0} bytes is longer than any datagram")]
    TooLong(usize),
    /// Neither STUN nor ChannelData where one of them must stand.
    #[error("neither STUN nor ChannelData")]
    NeitherStunNorChannelData,
}

impl Framing {
    /// The frame that `received` begins with; `None` if it is not complete yet.
    ///
    /// # Errors
    /// [`FrameError`]; the connection is of no further use then.
    pub fn next_frame(self, received: &[u8]) -> Result<Option<Frame>, FrameError> {
        let (datagram, end) = match self {
            Self::Rfc4571 => {
                let [high, low, ..] = *received else {
                    return Ok(None);
                };
                let len = usize::from(u16::from_be_bytes([high, low]));
                let end = RFC4571_HEAD + len;
                if len > MAX_FRAME_LEN {
                    return Err(FrameError::TooLong(len));
                }
                (RFC4571_HEAD..end, end)
            }
            Self::Turn => {
                let Some(len) = turn_len(received)? else {
                    return Ok(None);
                };
                if len > MAX_FRAME_LEN {
                    return Err(FrameError::TooLong(len));
                }
                (0..len, len.next_multiple_of(4))
            }
        };
        Ok((end <= received.len()).then_some(Frame { datagram, end }))
    }

    /// What stands before and after a datagram of `len` bytes on the wire; `None` if it can't be framed.
    pub(crate) fn around(self, len: usize) -> Option<Surround> {
        if len > MAX_FRAME_LEN {
            return None;
        }
        Some(match self {
            Self::Rfc4571 => Surround {
                head: u16::try_from(len).ok()?.to_be_bytes(),
                head_len: RFC4571_HEAD,
                padding: 0,
            },
            Self::Turn => Surround {
                head: [0; RFC4571_HEAD],
                head_len: 0,
                padding: len.next_multiple_of(4) - len,
            },
        })
    }
}

/// What makes a frame of a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Surround {
    pub(crate) head: [u8; RFC4571_HEAD],
    pub(crate) head_len: usize,
    /// Zero bytes after the datagram.
    pub(crate) padding: usize,
}

/// Length of the message that `received` begins with, padding not counted; `None` if too little of it is there.
fn turn_len(received: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(&first) = received.first() else {
        return Ok(None);
    };
    // RFC 8656 §12: the first two bits are 00 in STUN; channels are 0x4000 to 0x4FFF.
    let is_stun = match first {
        0x00..=0x3F => true,
        0x40..=0x4F => false,
        0x50..=0xFF => return Err(FrameError::NeitherStunNorChannelData),
    };
    let Some(&[_, _, high, low]) = received.first_chunk::<4>() else {
        return Ok(None);
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if !is_stun {
        return Ok(Some(CHANNEL_DATA_HEAD + len));
    }
    let cookie = received.get(4..8);
    if !len.is_multiple_of(4) || cookie.is_some_and(|cookie| cookie != MAGIC_COOKIE) {
        return Err(FrameError::NeitherStunNorChannelData);
    }
    // Without the cookie there is no telling yet, and no complete message either.
    Ok(cookie.map(|_| STUN_HEAD + len))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All frames of `bytes`, and what is left over.
    fn frames(framing: Framing, bytes: &[u8]) -> (Vec<&[u8]>, usize) {
        let mut at = 0;
        let mut found = Vec::new();
        while let Some(frame) = framing.next_frame(&bytes[at..]).unwrap() {
            found.push(&bytes[at..][frame.datagram.clone()]);
            at += frame.end;
        }
        (found, bytes.len() - at)
    }

    fn stun(attributes: usize) -> Vec<u8> {
        let mut message = vec![0, 1];
        message.extend((attributes as u16).to_be_bytes());
        message.extend(MAGIC_COOKIE);
        message.resize(STUN_HEAD + attributes, 7);
        message
    }

    #[test]
    fn a_length_before_each_datagram_bounds_it() {
        let bytes = [0, 3, 1, 2, 3, 0, 0, 0, 1, 9, 0, 2, 5];
        let (found, left) = frames(Framing::Rfc4571, &bytes);
        assert_eq!(found, [&[1, 2, 3][..], &[], &[9]]);
        assert_eq!(left, 3, "the last frame is not complete");
        assert_eq!(Framing::Rfc4571.next_frame(&[0]), Ok(None));
        assert_eq!(
            Framing::Rfc4571.next_frame(&[0xFF, 0xFF]),
            Err(FrameError::TooLong(65_535))
        );
    }

    #[test]
    fn stun_and_channel_data_follow_each_other_with_padding() {
        let channel_data = [0x40, 0x01, 0, 5, 1, 2, 3, 4, 5];
        let bytes = [
            &stun(8)[..],
            &channel_data,
            &[0; 3],
            &stun(0),
            &[0x4F, 0xFF],
        ]
        .concat();
        let (found, left) = frames(Framing::Turn, &bytes);
        assert_eq!(found, [&stun(8)[..], &channel_data, &stun(0)]);
        assert_eq!(left, 2);
    }

    #[test]
    fn channel_data_is_complete_only_with_its_padding() {
        let bytes = [0x40, 0x01, 0, 1, 9, 0, 0, 0];
        assert_eq!(Framing::Turn.next_frame(&bytes[..7]), Ok(None));
        let frame = Framing::Turn.next_frame(&bytes).unwrap().unwrap();
        assert_eq!((frame.datagram, frame.end), (0..5, 8));
    }

    #[test]
    fn what_is_no_turn_is_refused_as_soon_as_it_shows() {
        let refused = Err(FrameError::NeitherStunNorChannelData);
        let no_cookie = [0, 1, 0, 0, 1, 2, 3, 4];
        let odd_length = [0, 1, 0, 3];
        for bytes in [&b"POST /"[..], &[0x80, 0x60], &no_cookie, &odd_length] {
            assert_eq!(Framing::Turn.next_frame(bytes), refused, "{bytes:?}");
        }
        assert_eq!(
            Framing::Turn.next_frame(&[0x40, 0, 0xFF, 0xFF]),
            Err(FrameError::TooLong(65_539))
        );
    }

    #[test]
    fn what_is_framed_can_be_read_again() {
        for (framing, datagram) in [
            (Framing::Rfc4571, vec![9; 1_200]),
            (Framing::Turn, [&[0x40, 0, 0, 6][..], &[3; 6]].concat()),
        ] {
            let around = framing.around(datagram.len()).unwrap();
            let wire = [
                &around.head[..around.head_len],
                &datagram,
                &vec![0; around.padding],
            ]
            .concat();
            assert_eq!(frames(framing, &wire), (vec![&datagram[..]], 0));
            assert_eq!(framing.around(MAX_FRAME_LEN + 1), None);
        }
    }
}
