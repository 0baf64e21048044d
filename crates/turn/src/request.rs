//! What a TURN request asks for, out of its attributes.

use std::net::SocketAddr;

use schalter_model::TurnRefusal;
use schalter_stun::{StunMessage, attribute};

/// Attributes below this number must be understood or the request be refused (RFC 8489 §14).
const OPTIONAL_FROM: u16 = 0x8000;
/// Most types that an answer 420 lists; a client that sends more learns of the rest next time.
pub(crate) const MAX_UNKNOWN: usize = 8;
/// Most peers in one CreatePermission. Nothing but our own addresses is ever permitted, and there are few of them.
pub(crate) const MAX_PEERS: usize = 16;

/// An address family (RFC 8656 §18.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) fn of(address: &SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }

    pub(crate) fn number(self) -> u8 {
        match self {
            Self::V4 => 1,
            Self::V6 => 2,
        }
    }

    fn parse(value: &[u8]) -> Result<Self, TurnRefusal> {
        match value {
            [1, _, _, _] => Ok(Self::V4),
            [2, _, _, _] => Ok(Self::V6),
            [_, _, _, _] => Err(TurnRefusal::FamilyUnsupported),
            _ => Err(TurnRefusal::BadRequest),
        }
    }
}

/// Attribute types that must be understood and are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unknown {
    types: [u16; MAX_UNKNOWN],
    count: usize,
}

impl Unknown {
    fn add(&mut self, kind: u16) {
        if let Some(slot) = self.types.get_mut(self.count) {
            *slot = kind;
            self.count += 1;
        }
    }

    pub(crate) fn types(&self) -> &[u16] {
        &self.types[..self.count]
    }
}

/// The attributes of a request that TURN knows, each as far as it could be read. One that is there twice counts once
/// (RFC 8489 §14), but peers, of which there may be several.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Request {
    pub(crate) unknown: Unknown,
    pub(crate) lifetime: Option<u32>,
    pub(crate) transport: Option<u8>,
    pub(crate) family: Option<Result<Family, TurnRefusal>>,
    pub(crate) additional: Option<Result<Family, TurnRefusal>>,
    /// Whether EVEN-PORT asks to keep the port after it, too.
    pub(crate) even_port: Option<bool>,
    pub(crate) reservation: bool,
    pub(crate) channel: Option<u16>,
    peers: [Option<SocketAddr>; MAX_PEERS],
    /// Peers that the request named, be there room for them or not.
    peer_count: usize,
    /// A value had a length that it can't have.
    malformed: bool,
}

impl Request {
    pub(crate) fn read(message: &StunMessage<'_>) -> Self {
        let mut request = Self::default();
        for (kind, value) in message.attributes() {
            request.attribute(message, kind, value);
        }
        request
    }

    fn attribute(&mut self, message: &StunMessage<'_>, kind: u16, value: &[u8]) {
        match kind {
            attribute::LIFETIME => match value.try_into() {
                Ok(bytes) => {
                    self.lifetime.get_or_insert(u32::from_be_bytes(bytes));
                }
                Err(_) => self.malformed = true,
            },
            attribute::REQUESTED_TRANSPORT => match value {
                [number, _, _, _] => {
                    self.transport.get_or_insert(*number);
                }
                _ => self.malformed = true,
            },
            attribute::REQUESTED_ADDRESS_FAMILY => {
                self.family.get_or_insert(Family::parse(value));
            }
            attribute::ADDITIONAL_ADDRESS_FAMILY => {
                self.additional.get_or_insert(Family::parse(value));
            }
            attribute::EVEN_PORT => match value {
                [flags] => {
                    self.even_port.get_or_insert(flags & 0x80 != 0);
                }
                _ => self.malformed = true,
            },
            attribute::RESERVATION_TOKEN => self.reservation = true,
            attribute::CHANNEL_NUMBER => match value {
                [n0, n1, _, _] => {
                    self.channel.get_or_insert(u16::from_be_bytes([*n0, *n1]));
                }
                _ => self.malformed = true,
            },
            attribute::XOR_PEER_ADDRESS => match message.xor_address(value) {
                Some(peer) => {
                    if let Some(slot) = self.peers.get_mut(self.peer_count) {
                        *slot = Some(peer);
                    }
                    self.peer_count += 1;
                }
                None => self.malformed = true,
            },
            // Nothing that is relayed ever becomes an IP packet, so none of it is fragmented.
            attribute::DONT_FRAGMENT
            | attribute::USERNAME
            | attribute::REALM
            | attribute::NONCE
            | attribute::PASSWORD_ALGORITHM => {}
            optional if optional >= OPTIONAL_FROM => {}
            unknown => self.unknown.add(unknown),
        }
    }

    /// The request, if all of it is understood and none of it is malformed.
    pub(crate) fn checked(self) -> Result<Self, TurnRefusal> {
        if self.unknown.count > 0 {
            Err(TurnRefusal::UnknownAttribute)
        } else if self.malformed {
            Err(TurnRefusal::BadRequest)
        } else {
            Ok(self)
        }
    }

    /// The peers, of which there is at least one.
    pub(crate) fn peers(&self) -> Result<impl Iterator<Item = SocketAddr>, TurnRefusal> {
        match self.peer_count {
            0 => Err(TurnRefusal::BadRequest),
            1..=MAX_PEERS => Ok(self.peers.into_iter().flatten()),
            _ => Err(TurnRefusal::NoCapacity),
        }
    }

    /// The families that an Allocate wants: the one it can't do without, or else the first of two, and the other.
    pub(crate) fn families(&self) -> Result<(Family, Option<Family>), TurnRefusal> {
        match (self.family.transpose()?, self.additional.transpose()?) {
            (Some(_), Some(_)) | (None, Some(Family::V4)) => Err(TurnRefusal::BadRequest),
            (None, Some(Family::V6)) => Ok((Family::V4, Some(Family::V6))),
            (Some(family), None) => Ok((family, None)),
            (None, None) => Ok((Family::V4, None)),
        }
    }
}
