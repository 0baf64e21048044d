//! Wraps what goes to a client in place: ChannelData, or a Data indication where no channel is bound (RFC 8656 §11.7, §12.7).

use std::net::SocketAddr;

use schalter_model::Path;
use schalter_stun::{HEADER_LEN, StunClass, StunWriter, TransactionId, attribute, method};

use crate::channel_data::{self, CHANNEL_HEAD};

/// Most bytes that a [`Wrap`] adds: a Data indication's header, an IPv6 peer, the head of DATA, and padding.
pub const MAX_OVERHEAD: usize = HEADER_LEN + 24 + 4 + 3;

/// How datagrams of one path are to be wrapped, good for one run of them.
#[derive(Clone, Copy, Debug)]
pub struct Wrap {
    /// Where they go.
    pub outer: Path,
    pub(crate) head: Head,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Head {
    Channel {
        number: u16,
        /// Streams need every message to end at a multiple of four (RFC 8656 §12.5).
        padded: bool,
    },
    Indication {
        peer: SocketAddr,
        /// Tells indications apart; each gets the next one.
        number: u64,
    },
}

impl Wrap {
    /// Bytes before the payload.
    pub fn headroom(&self) -> usize {
        match self.head {
            Head::Channel { .. } => CHANNEL_HEAD,
            Head::Indication { peer, .. } => HEADER_LEN + peer_len(&peer) + 4,
        }
    }

    /// Bytes of a wrapped datagram whose payload has `len` bytes.
    pub fn wrapped_len(&self, len: usize) -> usize {
        let padded = match self.head {
            Head::Channel { padded, .. } => padded,
            Head::Indication { .. } => true,
        };
        let len = if padded { len.next_multiple_of(4) } else { len };
        self.headroom() + len
    }

    /// Wraps a payload of `len` bytes that stands in `buffer` after [`Self::headroom`] bytes; answers the length of all, or
    /// `None` if `buffer` is too short or 16 bits don't hold the length.
    pub fn finish(&mut self, buffer: &mut [u8], len: usize) -> Option<usize> {
        let (headroom, end) = (self.headroom(), self.wrapped_len(len));
        let short = u16::try_from(end).ok()?;
        let buffer = buffer.get_mut(..end)?;
        buffer[headroom + len..].fill(0);
        match &mut self.head {
            Head::Channel { number, .. } => {
                let head = channel_data::head(*number, len as u16);
                buffer[..CHANNEL_HEAD].copy_from_slice(&head);
            }
            Head::Indication { peer, number } => {
                let mut id = [0; 12];
                id[4..].copy_from_slice(&number.to_be_bytes());
                *number += 1;
                let id = TransactionId(id);
                let mut writer =
                    StunWriter::new(buffer, StunClass::Indication, method::DATA, id).ok()?;
                writer
                    .xor_address(attribute::XOR_PEER_ADDRESS, *peer)
                    .ok()?;
                let body = short - HEADER_LEN as u16;
                buffer[2..4].copy_from_slice(&body.to_be_bytes());
                let head = &mut buffer[headroom - 4..headroom];
                head[..2].copy_from_slice(&attribute::DATA.to_be_bytes());
                head[2..].copy_from_slice(&(len as u16).to_be_bytes());
            }
        }
        Some(end)
    }
}

fn peer_len(peer: &SocketAddr) -> usize {
    match peer {
        SocketAddr::V4(_) => 4 + 8,
        SocketAddr::V6(_) => 4 + 20,
    }
}

#[cfg(test)]
mod tests {
    use schalter_stun::StunMessage;

    use super::*;

    fn wrapped(head: Head, payload: &[u8]) -> Vec<u8> {
        let outer = Path::udp("192.0.2.9:4000".parse().unwrap(), None);
        let mut wrap = Wrap { outer, head };
        let mut buffer = vec![0xEE; 200];
        let at = wrap.headroom();
        buffer[at..at + payload.len()].copy_from_slice(payload);
        let len = wrap.finish(&mut buffer, payload.len()).unwrap();
        assert_eq!(len, wrap.wrapped_len(payload.len()));
        assert!(len <= payload.len() + MAX_OVERHEAD);
        buffer.truncate(len);
        buffer
    }

    #[test]
    fn a_channel_costs_four_bytes_and_streams_are_padded() {
        let channel = |padded| Head::Channel {
            number: 0x4abc,
            padded,
        };
        assert_eq!(wrapped(channel(false), b"hello"), b"\x4a\xbc\0\x05hello");
        assert_eq!(
            wrapped(channel(true), b"hello"),
            b"\x4a\xbc\0\x05hello\0\0\0"
        );
    }

    #[test]
    fn an_indication_carries_peer_and_data() {
        for peer in ["192.0.2.1:7882", "[2001:db8::1]:7882"] {
            let peer: SocketAddr = peer.parse().unwrap();
            let bytes = wrapped(Head::Indication { peer, number: 7 }, b"hello");
            let message = StunMessage::parse(&bytes).unwrap();
            assert_eq!(message.class(), StunClass::Indication);
            assert_eq!(message.method(), method::DATA);
            let named = message.attribute(attribute::XOR_PEER_ADDRESS).unwrap();
            assert_eq!(message.xor_address(named), Some(peer));
            assert_eq!(message.attribute(attribute::DATA), Some(&b"hello"[..]));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let outer = Path::udp("192.0.2.9:4000".parse().unwrap(), None);
        let head = Head::Channel {
            number: 0x4000,
            padded: false,
        };
        let mut wrap = Wrap { outer, head };
        assert_eq!(wrap.finish(&mut [0; 8], 5), None);
        assert_eq!(wrap.finish(&mut vec![0; 70_000], 66_000), None);
    }
}
