//! The Data Channel Establishment Protocol (RFC 8832): its two messages, read and written.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::{DataChannelConfig, DataError, Reliability};

/// `DATA_CHANNEL_ACK` (RFC 8832 §8.2.1).
const ACK: u8 = 0x02;
/// `DATA_CHANNEL_OPEN`.
const OPEN: u8 = 0x03;
/// Fixed part of `DATA_CHANNEL_OPEN`: type, channel type, priority, reliability, two lengths.
const OPEN_LEN: usize = 12;
/// Bit of the channel type: unordered delivery.
const UNORDERED: u8 = 0x80;
const RELIABLE: u8 = 0x00;
const REXMIT: u8 = 0x01;
const TIMED: u8 = 0x02;
/// Priority "normal" (RFC 8831 §6.4): all we ever ask for.
const PRIORITY_NORMAL: u16 = 256;
/// Longest label, longest sub-protocol in bytes. The RFC allows 65,535; labels that clients use are a few bytes long, and
/// each open channel keeps its own.
pub(crate) const LABEL_MAX: usize = 1024;

/// A DCEP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dcep {
    /// The sender opens the channel of the stream that this came on.
    Open(DataChannelConfig),
    /// The other side has opened it, too.
    Ack,
}

/// Bytes that are no DCEP message that Schalter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed DCEP message")]
pub struct MalformedDcep;

impl Dcep {
    /// Reads a message.
    ///
    /// # Errors
    /// [`MalformedDcep`] for an unknown message or channel type, lengths that do not fit, names that are not UTF-8 or
    /// longer than 1,024 bytes.
    pub fn parse(message: &[u8]) -> Result<Self, MalformedDcep> {
        match message.first() {
            Some(&ACK) => Ok(Self::Ack),
            Some(&OPEN) => Self::parse_open(message),
            _ => Err(MalformedDcep),
        }
    }

    fn parse_open(message: &[u8]) -> Result<Self, MalformedDcep> {
        let (fixed, names) = message
            .split_first_chunk::<OPEN_LEN>()
            .ok_or(MalformedDcep)?;
        let parameter = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
        let reliability = match fixed[1] & !UNORDERED {
            RELIABLE => Reliability::Reliable,
            REXMIT => Reliability::MaxRetransmits(parameter),
            TIMED => Reliability::MaxLifetimeMs(parameter),
            _ => return Err(MalformedDcep),
        };
        let label_len = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let protocol_len = usize::from(u16::from_be_bytes([fixed[10], fixed[11]]));
        if label_len > LABEL_MAX || protocol_len > LABEL_MAX {
            return Err(MalformedDcep);
        }
        let (label, rest) = names.split_at_checked(label_len).ok_or(MalformedDcep)?;
        let protocol = rest.get(..protocol_len).ok_or(MalformedDcep)?;
        let text = |bytes| {
            std::str::from_utf8(bytes)
                .map(Arc::from)
                .map_err(|_| MalformedDcep)
        };
        Ok(Self::Open(DataChannelConfig {
            label: text(label)?,
            protocol: text(protocol)?,
            ordered: fixed[1] & UNORDERED == 0,
            reliability,
        }))
    }

    /// Writes the message.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Ack => Bytes::from_static(&[ACK]),
            Self::Open(config) => {
                let (kind, parameter) = match config.reliability {
                    Reliability::Reliable => (RELIABLE, 0),
                    Reliability::MaxRetransmits(count) => (REXMIT, count),
                    Reliability::MaxLifetimeMs(millis) => (TIMED, millis),
                };
                let (label, protocol) = (config.label.as_bytes(), config.protocol.as_bytes());
                let mut out = BytesMut::with_capacity(OPEN_LEN + label.len() + protocol.len());
                out.put_u8(OPEN);
                out.put_u8(if config.ordered {
                    kind
                } else {
                    kind | UNORDERED
                });
                out.put_u16(PRIORITY_NORMAL);
                out.put_u32(parameter);
                for name in [label, protocol] {
                    let len = u16::try_from(name.len());
                    out.put_u16(len.expect("check_names bounds both names well below 64 KiB"));
                }
                out.put_slice(label);
                out.put_slice(protocol);
                out.freeze()
            }
        }
    }
}

/// Refuses names that the other side of this codec would refuse.
pub(crate) fn check_names(config: &DataChannelConfig) -> Result<(), DataError> {
    if config.label.len() > LABEL_MAX || config.protocol.len() > LABEL_MAX {
        Err(DataError::LabelTooLong)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(ordered: bool, reliability: Reliability) -> DataChannelConfig {
        DataChannelConfig {
            label: "_lossy".into(),
            protocol: "p".into(),
            ordered,
            reliability,
        }
    }

    #[test]
    fn every_channel_type_survives_the_round_trip() {
        for ordered in [true, false] {
            for reliability in [
                Reliability::Reliable,
                Reliability::MaxRetransmits(0),
                Reliability::MaxRetransmits(3),
                Reliability::MaxLifetimeMs(500),
            ] {
                let open = Dcep::Open(config(ordered, reliability));
                assert_eq!(Dcep::parse(&open.to_bytes()), Ok(open));
            }
        }
        assert_eq!(Dcep::parse(&Dcep::Ack.to_bytes()), Ok(Dcep::Ack));
    }

    #[test]
    fn open_is_laid_out_as_the_rfc_draws_it() {
        let open = Dcep::Open(config(false, Reliability::MaxRetransmits(7)));
        let expected = [
            &[3, 0x81, 1, 0, 0, 0, 0, 7, 0, 6, 0, 1][..],
            b"_lossy",
            b"p",
        ]
        .concat();
        assert_eq!(open.to_bytes(), expected);
    }

    #[test]
    fn truncated_and_unknown_messages_are_refused() {
        let whole = Dcep::Open(config(true, Reliability::Reliable)).to_bytes();
        for len in 0..whole.len() {
            assert_eq!(Dcep::parse(&whole[..len]), Err(MalformedDcep), "{len}");
        }
        let mut unknown = whole.to_vec();
        unknown[1] = 0x03;
        assert_eq!(Dcep::parse(&unknown), Err(MalformedDcep));
        let mut not_text = whole.to_vec();
        not_text[OPEN_LEN] = 0xff;
        assert_eq!(Dcep::parse(&not_text), Err(MalformedDcep));
    }
}
