//! Redundant audio data: several payloads in one packet (RFC 2198 §3).

use crate::CodecError;
use crate::wire::Reader;

/// One payload inside a redundant packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RedBlock<'a> {
    /// Payload type of the data, 0–127.
    pub payload_type: u8,
    /// How much older the data is than the packet, in timestamp ticks (14 bits); 0 for the primary.
    pub timestamp_offset: u16,
    /// The payload.
    pub data: &'a [u8],
}

/// Iterates over the blocks of a redundant payload: oldest redundancy first, the primary last.
///
/// # Errors
/// [`CodecError::Truncated`] if headers or blocks exceed the payload.
pub fn blocks(payload: &[u8]) -> Result<RedBlocks<'_>, CodecError> {
    let mut reader = Reader::new(payload);
    let mut redundant_len = 0;
    loop {
        let head = reader.u8().ok_or(CodecError::Truncated)?;
        if head & 0x80 == 0 {
            break;
        }
        let fields = reader.u24().ok_or(CodecError::Truncated)?;
        redundant_len += block_len(fields);
    }
    if redundant_len > reader.len() {
        return Err(CodecError::Truncated);
    }
    Ok(RedBlocks {
        headers: Reader::new(payload),
        data: reader,
    })
}

/// The primary block, the one that a receiver without support for redundancy needs.
///
/// # Errors
/// As [`blocks`].
pub fn primary(payload: &[u8]) -> Result<RedBlock<'_>, CodecError> {
    blocks(payload)?.last().ok_or(CodecError::Truncated)
}

fn block_len(fields: u32) -> usize {
    usize::from(crate::wire::low16(u64::from(fields & 0x3FF)))
}

/// The blocks of one payload; see [`blocks`].
#[derive(Clone, Copy, Debug)]
pub struct RedBlocks<'a> {
    headers: Reader<'a>,
    data: Reader<'a>,
}

impl<'a> Iterator for RedBlocks<'a> {
    type Item = RedBlock<'a>;

    fn next(&mut self) -> Option<RedBlock<'a>> {
        let head = self.headers.u8()?;
        let payload_type = head & 0x7F;
        if head & 0x80 == 0 {
            self.headers = Reader::new(&[]);
            return Some(RedBlock {
                payload_type,
                timestamp_offset: 0,
                data: self.data.rest(),
            });
        }
        let fields = self.headers.u24()?;
        Some(RedBlock {
            payload_type,
            timestamp_offset: crate::wire::low16(u64::from(fields >> 10)),
            data: self.data.take(block_len(fields))?,
        })
    }
}
