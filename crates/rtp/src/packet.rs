//! RTP packets: a borrowed view, a header writer, padding (RFC 3550 §5.1, RFC 8285).
//!
//! Owns the header layout in both directions. Refuses to know what an extension element means (see
//! [`crate::extension`]) or what the payload is (see [`crate::codec`]).

use crate::RtpError;
use crate::wire::{Cursor, Full, Reader};

/// Length of the fixed RTP header, in bytes (RFC 3550 §5.1).
pub const FIXED_HEADER_LEN: usize = 12;

/// `defined by profile` value of one-byte extension elements (RFC 8285 §4.2).
const ONE_BYTE_PROFILE: u16 = 0xBEDE;
/// `defined by profile` value of two-byte extension elements, application bits zero (RFC 8285 §4.3).
const TWO_BYTE_PROFILE: u16 = 0x1000;
/// Bits of the profile that mark the two-byte form; the lower four belong to the application.
const TWO_BYTE_PROFILE_MASK: u16 = 0xFFF0;
/// Largest element id of the one-byte form; 15 is reserved (RFC 8285 §4.2).
const ONE_BYTE_MAX_ID: u8 = 14;
/// Largest element of the one-byte form, in bytes.
const ONE_BYTE_MAX_LEN: usize = 16;

const PADDING_BIT: u8 = 0x20;
const EXTENSION_BIT: u8 = 0x10;

/// Answers the length of the RTP header in bytes: fixed part, CSRCs and extension block.
///
/// Only the clear part of the packet is looked at, so that SRTP may call it before decryption.
///
/// # Errors
/// [`RtpError::Truncated`] if the datagram ends inside the header, [`RtpError::Version`] if it is not RTP 2.
pub fn header_len(datagram: &[u8]) -> Result<usize, RtpError> {
    RtpPacket::parse_encrypted(datagram).map(|packet| packet.header_len())
}

/// A parsed view of one RTP packet; borrows the datagram and copies nothing.
#[derive(Clone, Copy, Debug)]
pub struct RtpPacket<'a> {
    datagram: &'a [u8],
    flags: u8,
    marker_and_type: u8,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    csrcs: &'a [[u8; 4]],
    profile: u16,
    elements: &'a [u8],
    payload: &'a [u8],
    padding_len: u8,
}

impl<'a> RtpPacket<'a> {
    /// Parses a clear-text packet (RFC 3550 §5.1).
    ///
    /// # Errors
    /// [`RtpError::Truncated`], [`RtpError::Version`], or [`RtpError::Padding`] if the last byte does not
    /// hold a padding count that fits in the payload.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, RtpError> {
        let mut packet = Self::parse_encrypted(datagram)?;
        if packet.flags & PADDING_BIT != 0 {
            let &padding_len = packet.payload.last().ok_or(RtpError::Padding)?;
            let end = packet
                .payload
                .len()
                .checked_sub(usize::from(padding_len))
                .ok_or(RtpError::Padding)?;
            if padding_len == 0 {
                return Err(RtpError::Padding);
            }
            packet.payload = packet.payload.get(..end).ok_or(RtpError::Padding)?;
            packet.padding_len = padding_len;
        }
        Ok(packet)
    }

    /// Parses the clear header of a packet whose payload is still encrypted (RFC 3711 §3.1).
    ///
    /// The padding count is part of the cipher text, so [`Self::payload`] is everything after the header,
    /// authentication tag included, and [`Self::padding_len`] is 0.
    ///
    /// # Errors
    /// [`RtpError::Truncated`] or [`RtpError::Version`].
    pub fn parse_encrypted(datagram: &'a [u8]) -> Result<Self, RtpError> {
        Self::read(datagram)
            .ok_or(RtpError::Truncated)
            .and_then(|packet| {
                if packet.flags >> 6 == 2 {
                    Ok(packet)
                } else {
                    Err(RtpError::Version)
                }
            })
    }

    fn read(datagram: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(datagram);
        let [flags, marker_and_type] = reader.array()?;
        let mut packet = Self {
            datagram,
            flags,
            marker_and_type,
            sequence: reader.u16()?,
            timestamp: reader.u32()?,
            ssrc: reader.u32()?,
            csrcs: &[],
            profile: 0,
            elements: &[],
            payload: &[],
            padding_len: 0,
        };
        // A packet of another version has another layout: let the caller see the version, not a length.
        if flags >> 6 != 2 {
            return Some(packet);
        }
        packet.csrcs = reader.take(usize::from(flags & 0x0F) * 4)?.as_chunks().0;
        if flags & EXTENSION_BIT != 0 {
            packet.profile = reader.u16()?;
            let words = usize::from(reader.u16()?);
            packet.elements = reader.take(words * 4)?;
        }
        packet.payload = reader.rest();
        Some(packet)
    }

    /// The whole datagram that was parsed.
    #[must_use]
    pub fn datagram(&self) -> &'a [u8] {
        self.datagram
    }

    /// The fields that a forwarder rewrites, by value.
    #[must_use]
    pub fn header(&self) -> RtpHeader {
        RtpHeader {
            marker: self.marker(),
            payload_type: self.payload_type(),
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        }
    }

    /// The marker bit; for video, the last packet of a frame (or of a picture, in the layered formats).
    #[must_use]
    pub fn marker(&self) -> bool {
        self.marker_and_type & 0x80 != 0
    }

    /// The payload type, 0–127.
    #[must_use]
    pub fn payload_type(&self) -> u8 {
        self.marker_and_type & 0x7F
    }

    /// The sequence number as sent; see [`crate::seq`] to extend it.
    #[must_use]
    pub fn sequence(&self) -> u16 {
        self.sequence
    }

    /// The timestamp, in ticks of the payload type's clock rate.
    #[must_use]
    pub fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// The synchronisation source.
    #[must_use]
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The contributing sources, at most 15.
    pub fn csrcs(&self) -> impl Iterator<Item = u32> + 'a {
        self.csrcs.iter().map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// Length of fixed header, CSRCs and extension block, in bytes.
    #[must_use]
    pub fn header_len(&self) -> usize {
        self.datagram.len() - self.payload.len() - usize::from(self.padding_len)
    }

    /// The payload without padding.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Number of padding bytes, its count byte included; 0 without padding.
    #[must_use]
    pub fn padding_len(&self) -> usize {
        usize::from(self.padding_len)
    }

    /// The header extension elements as (id, value), in the order sent (RFC 8285 §4.2, §4.3).
    ///
    /// A broken or reserved element ends the iteration; what came before it stays valid. Unknown profiles
    /// have no elements.
    #[must_use]
    pub fn extensions(&self) -> Elements<'a> {
        let form = match self.profile {
            ONE_BYTE_PROFILE => Form::OneByte,
            profile if profile & TWO_BYTE_PROFILE_MASK == TWO_BYTE_PROFILE => Form::TwoByte,
            _ => {
                return Elements {
                    reader: Reader::new(&[]),
                    form: Form::OneByte,
                };
            }
        };
        Elements {
            reader: Reader::new(self.elements),
            form,
        }
    }

    /// The value of the first extension element with this id.
    #[must_use]
    pub fn extension(&self, id: u8) -> Option<&'a [u8]> {
        self.extensions()
            .find_map(|(found, value)| (found == id).then_some(value))
    }
}

/// Layout of extension elements inside the extension block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    OneByte,
    TwoByte,
}

/// Iterates over the extension elements of one packet; see [`RtpPacket::extensions`].
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    reader: Reader<'a>,
    form: Form,
}

impl<'a> Elements<'a> {
    fn read_one_byte(&mut self) -> Option<(u8, &'a [u8])> {
        loop {
            let head = self.reader.u8()?;
            match head >> 4 {
                0 if head == 0 => {}
                // RFC 8285 §4.2: id 15, and id 0 with a length, end the processing of the whole block.
                0 | 15 => return None,
                id => return Some((id, self.reader.take(usize::from(head & 0x0F) + 1)?)),
            }
        }
    }

    fn read_two_byte(&mut self) -> Option<(u8, &'a [u8])> {
        loop {
            let id = self.reader.u8()?;
            if id != 0 {
                let len = usize::from(self.reader.u8()?);
                return Some((id, self.reader.take(len)?));
            }
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let element = match self.form {
            Form::OneByte => self.read_one_byte(),
            Form::TwoByte => self.read_two_byte(),
        };
        if element.is_none() {
            self.reader = Reader::new(&[]);
        }
        element
    }
}

impl core::iter::FusedIterator for Elements<'_> {}

/// The header fields that change from packet to packet; write one in front of each outgoing payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct RtpHeader {
    /// Marker bit.
    pub marker: bool,
    /// Payload type, 0–127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp, in ticks of the payload type's clock rate.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

impl RtpHeader {
    /// Writes the header with these extension elements (id, value) and answers its length in bytes.
    ///
    /// Uses one-byte elements unless an id is above 14 or a value is empty or longer than 16 bytes
    /// (RFC 8285 §4.1.2); the block is padded to 32 bits. Without elements there is no extension block.
    /// CSRCs and padding are never written.
    ///
    /// # Errors
    /// [`RtpError::PayloadType`], [`RtpError::ElementId`], [`RtpError::ElementLength`] for values without
    /// encoding, [`RtpError::NoSpace`] if `out` is too small.
    pub fn write(&self, extensions: &[(u8, &[u8])], out: &mut [u8]) -> Result<usize, RtpError> {
        if self.payload_type > 0x7F {
            return Err(RtpError::PayloadType);
        }
        let mut cursor = Cursor::new(out);
        let extension_bit = if extensions.is_empty() {
            0
        } else {
            EXTENSION_BIT
        };
        cursor.put(&[
            0x80 | extension_bit,
            u8::from(self.marker) << 7 | self.payload_type,
        ])?;
        cursor.put(&self.sequence.to_be_bytes())?;
        cursor.put(&self.timestamp.to_be_bytes())?;
        cursor.put(&self.ssrc.to_be_bytes())?;
        if !extensions.is_empty() {
            write_elements(extensions, &mut cursor)?;
        }
        Ok(cursor.len())
    }
}

fn write_elements(elements: &[(u8, &[u8])], cursor: &mut Cursor<'_>) -> Result<(), RtpError> {
    let one_byte = elements
        .iter()
        .all(|(id, value)| *id <= ONE_BYTE_MAX_ID && (1..=ONE_BYTE_MAX_LEN).contains(&value.len()));
    let profile = if one_byte {
        ONE_BYTE_PROFILE
    } else {
        TWO_BYTE_PROFILE
    };
    cursor.put(&profile.to_be_bytes())?;
    let length_at = cursor.len();
    cursor.put(&[0, 0])?;
    let start = cursor.len();
    for &(id, value) in elements {
        if id == 0 {
            return Err(RtpError::ElementId);
        }
        let len = u8::try_from(value.len()).map_err(|_| RtpError::ElementLength)?;
        if one_byte {
            // At least 1: the one-byte form was chosen because no value is empty.
            cursor.put(&[id << 4 | len.saturating_sub(1)])?;
        } else {
            cursor.put(&[id, len])?;
        }
        cursor.put(value)?;
    }
    let len = cursor.len() - start;
    cursor.put([0; 3].get(..len.wrapping_neg() % 4).unwrap_or_default())?;
    let words = u16::try_from(len.div_ceil(4)).map_err(|_| RtpError::ElementLength)?;
    cursor.patch(length_at, &words.to_be_bytes());
    Ok(())
}

/// Appends `pad` bytes of padding to the packet in `packet[..from_len]`, sets its P bit and answers the
/// new length in bytes (RFC 3550 §5.1).
///
/// # Errors
/// [`RtpError::Padding`] if `pad` is 0, [`RtpError::Truncated`] if `from_len` is shorter than a header,
/// [`RtpError::NoSpace`] if `packet` is too short for the padding.
pub fn set_padding(packet: &mut [u8], from_len: usize, pad: u8) -> Result<usize, RtpError> {
    if from_len < FIXED_HEADER_LEN {
        return Err(RtpError::Truncated);
    }
    let end = from_len
        .checked_add(usize::from(pad))
        .ok_or(RtpError::NoSpace)?;
    let padding = packet.get_mut(from_len..end).ok_or(RtpError::NoSpace)?;
    padding.fill(0);
    *padding.last_mut().ok_or(RtpError::Padding)? = pad;
    if let Some(flags) = packet.first_mut() {
        *flags |= PADDING_BIT;
    }
    Ok(end)
}

impl From<Full> for RtpError {
    fn from(_: Full) -> Self {
        Self::NoSpace
    }
}
