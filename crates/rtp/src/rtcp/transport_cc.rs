//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).
//!
//! Owns the chunk coding in both directions. Whoever receives packets keeps the arrival times and splits
//! long histories over several feedback packets; see [`super::RtcpWriter::transport_cc`].

use crate::RtcpError;
use crate::wire::{Cursor, Reader};

/// Arrival ticks (250 µs) in one unit of reference time (64 ms).
const TICKS_PER_REFERENCE: i64 = 256;
/// Longest run that one chunk can say (13 bits).
const MAX_RUN: usize = (1 << 13) - 1;
/// Symbols in a vector chunk of one bit each.
const ONE_BIT_SYMBOLS: usize = 14;
/// Symbols in a vector chunk of two bits each.
const TWO_BIT_SYMBOLS: usize = 7;

/// Packet status symbols (§3.1.1).
const NOT_RECEIVED: u16 = 0;
const SMALL_DELTA: u16 = 1;
const LARGE_DELTA: u16 = 2;

/// Arrival times of a run of packets, as their receiver saw them.
#[derive(Clone, Copy, Debug)]
pub struct TransportCc<'a> {
    /// Who received the packets.
    pub sender_ssrc: u32,
    /// Any stream of the transport; not meaningful.
    pub media_ssrc: u32,
    /// Transport-wide sequence number of the first packet reported on.
    pub base_sequence: u16,
    /// Number of packets reported on.
    pub status_count: u16,
    /// Time that the first delta counts from: 24 bits, units of 64 ms, unknown epoch, wrapping.
    pub reference_time: u32,
    /// Number of this feedback packet, wrapping, to notice lost feedback.
    pub fb_count: u8,
    deltas: Deltas<'a>,
}

impl<'a> TransportCc<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let sender_ssrc = reader.u32()?;
        let media_ssrc = reader.u32()?;
        let base_sequence = reader.u16()?;
        let status_count = reader.u16()?;
        let reference_time = reader.u24()?;
        let fb_count = reader.u8()?;
        let chunks = *reader;
        let mut delta_bytes = 0;
        let mut left = usize::from(status_count);
        while left > 0 {
            let chunk = Chunk::decode(reader.u16()?);
            let covered = usize::from(chunk.left).min(left);
            delta_bytes += chunk.delta_bytes(covered)?;
            // A chunk that covers nothing would let a short packet loop over its own padding for nothing.
            if covered == 0 {
                return None;
            }
            left -= covered;
        }
        let deltas = Deltas {
            chunks,
            chunk: Chunk { word: 0, left: 0 },
            times: Reader::new(reader.take(delta_bytes)?),
            left: status_count,
        };
        Some(Self {
            sender_ssrc,
            media_ssrc,
            base_sequence,
            status_count,
            reference_time,
            fb_count,
            deltas,
        })
    }

    /// One item per packet, starting at [`Self::base_sequence`]: the time since the packet received before
    /// it (the first: since [`Self::reference_time`]) in 250 µs ticks, or `None` if it was not received.
    #[must_use]
    pub fn deltas(&self) -> Deltas<'a> {
        self.deltas
    }
}

/// The per-packet statuses of one feedback packet; see [`TransportCc::deltas`].
#[derive(Clone, Copy, Debug)]
pub struct Deltas<'a> {
    chunks: Reader<'a>,
    chunk: Chunk,
    times: Reader<'a>,
    left: u16,
}

impl Iterator for Deltas<'_> {
    type Item = Option<i16>;

    fn next(&mut self) -> Option<Option<i16>> {
        self.left = self.left.checked_sub(1)?;
        if self.chunk.left == 0 {
            self.chunk = Chunk::decode(self.chunks.u16()?);
        }
        Some(match self.chunk.next_symbol() {
            SMALL_DELTA => Some(i16::from(self.times.u8()?)),
            LARGE_DELTA => Some(self.times.u16()?.cast_signed()),
            _ => None,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for Deltas<'_> {}

/// A packet status chunk (§3.1.2–3.1.5) of which `left` symbols are still to be read.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    word: u16,
    left: u16,
}

impl Chunk {
    fn decode(word: u16) -> Self {
        let left = match word >> 14 {
            0b10 => 14,
            0b11 => 7,
            _ => word & 0x1FFF,
        };
        Self { word, left }
    }

    fn next_symbol(&mut self) -> u16 {
        self.left = self.left.saturating_sub(1);
        match self.word >> 14 {
            0b10 => self.word >> self.left & 1,
            0b11 => self.word >> (2 * self.left) & 3,
            _ => self.word >> 13 & 3,
        }
    }

    /// Bytes of delta that the first `count` symbols need; `None` if one of them is reserved.
    fn delta_bytes(mut self, count: usize) -> Option<usize> {
        if self.word >> 15 == 0 {
            return Some(count * symbol_bytes(self.next_symbol())?);
        }
        let mut bytes = 0;
        for _ in 0..count {
            bytes += symbol_bytes(self.next_symbol())?;
        }
        Some(bytes)
    }
}

fn symbol_bytes(symbol: u16) -> Option<usize> {
    match symbol {
        NOT_RECEIVED => Some(0),
        SMALL_DELTA => Some(1),
        LARGE_DELTA => Some(2),
        _ => None,
    }
}

/// The fields of one feedback packet to be written after the SSRCs.
///
/// Deltas are computed on the way over `packets`, so that nothing has to be stored.
pub(super) struct Feedback<'a> {
    packets: &'a [(u16, Option<i64>)],
    reference: i64,
}

impl<'a> Feedback<'a> {
    /// Chooses how many of `packets` fit in `room` bytes (base sequence up to the last delta, without
    /// padding) and in the range of a delta. `None` if none fits.
    pub(super) fn plan(packets: &'a [(u16, Option<i64>)], room: usize) -> Option<Self> {
        let packets = packets.get(..usize::from(u16::MAX)).unwrap_or(packets);
        let reference = packets
            .iter()
            .find_map(|(_, arrival)| *arrival)
            .map_or(0, |first| first.div_euclid(TICKS_PER_REFERENCE));
        let mut previous = reference * TICKS_PER_REFERENCE;
        let encodable = packets
            .iter()
            .position(|(_, arrival)| Symbol::next(&mut previous, *arrival).is_none())
            .unwrap_or(packets.len());
        let mut feedback = Self {
            packets: packets.get(..encodable)?,
            reference,
        };
        let fitting = feedback.fitting(room.checked_sub(8)?);
        feedback.packets = feedback.packets.get(..fitting)?;
        (fitting > 0).then_some(feedback)
    }

    pub(super) fn packet_count(&self) -> usize {
        self.packets.len()
    }

    fn symbols(&self) -> Symbols<'a> {
        Symbols {
            packets: self.packets.iter(),
            previous: self.reference * TICKS_PER_REFERENCE,
        }
    }

    /// Number of leading packets whose chunks and deltas take at most `room` bytes.
    fn fitting(&self, mut room: usize) -> usize {
        let mut symbols = self.symbols();
        let mut fitting = 0;
        loop {
            let (_, covered) = encode_chunk(symbols.clone());
            let Some(after_chunk) = room.checked_sub(2) else {
                return fitting;
            };
            room = after_chunk;
            if covered == 0 {
                return fitting;
            }
            for _ in 0..covered {
                let Some(symbol) = symbols.next() else {
                    return fitting;
                };
                let Some(after_delta) = room.checked_sub(symbol.delta_bytes()) else {
                    return fitting;
                };
                room = after_delta;
                fitting += 1;
            }
        }
    }

    /// Writes everything after the SSRCs.
    pub(super) fn write(&self, fb_count: u8, cursor: &mut Cursor<'_>) -> Result<(), RtcpError> {
        let base = self.packets.first().map_or(0, |(sequence, _)| *sequence);
        let count = u16::try_from(self.packets.len()).map_err(|_| RtcpError::Unencodable)?;
        cursor.put(&base.to_be_bytes())?;
        cursor.put(&count.to_be_bytes())?;
        let [.., a, b, c] = self.reference.to_be_bytes();
        cursor.put(&[a, b, c, fb_count])?;
        let mut symbols = self.symbols();
        loop {
            let (chunk, covered) = encode_chunk(symbols.clone());
            let Some(last) = covered.checked_sub(1) else {
                break;
            };
            cursor.put(&chunk.to_be_bytes())?;
            symbols.nth(last);
        }
        for symbol in self.symbols() {
            match symbol {
                Symbol::NotReceived => {}
                Symbol::Small(delta) => cursor.put(&[delta])?,
                Symbol::Large(delta) => cursor.put(&delta.to_be_bytes())?,
            }
        }
        Ok(())
    }
}

/// What is said about one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbol {
    NotReceived,
    Small(u8),
    Large(i16),
}

impl Symbol {
    /// Codes one arrival after `previous`; `None` if the time between them has no encoding.
    fn next(previous: &mut i64, arrival: Option<i64>) -> Option<Self> {
        let Some(arrival) = arrival else {
            return Some(Self::NotReceived);
        };
        let delta = i16::try_from(arrival.checked_sub(*previous)?).ok()?;
        *previous = arrival;
        Some(u8::try_from(delta).map_or(Self::Large(delta), Self::Small))
    }

    fn code(self) -> u16 {
        match self {
            Self::NotReceived => NOT_RECEIVED,
            Self::Small(_) => SMALL_DELTA,
            Self::Large(_) => LARGE_DELTA,
        }
    }

    fn delta_bytes(self) -> usize {
        match self {
            Self::NotReceived => 0,
            Self::Small(_) => 1,
            Self::Large(_) => 2,
        }
    }
}

/// Walks over packets, turning arrivals into symbols.
#[derive(Clone)]
struct Symbols<'a> {
    packets: core::slice::Iter<'a, (u16, Option<i64>)>,
    previous: i64,
}

impl Iterator for Symbols<'_> {
    type Item = Symbol;

    fn next(&mut self) -> Option<Symbol> {
        let (_, arrival) = self.packets.next()?;
        Symbol::next(&mut self.previous, *arrival)
    }
}

/// Codes the next chunk and answers it with the number of symbols it covers (0 at the end).
///
/// A run wins as soon as it is as long as the vector that it would replace; otherwise one bit a symbol if
/// no large delta is near, else two bits.
fn encode_chunk(symbols: Symbols<'_>) -> (u16, usize) {
    let mut codes = symbols.clone().map(Symbol::code);
    let Some(first) = codes.next() else {
        return (0, 0);
    };
    let run = 1 + codes
        .take(MAX_RUN - 1)
        .take_while(|code| *code == first)
        .count();
    let window = symbols.clone().take(ONE_BIT_SYMBOLS);
    let near = window.clone().count();
    let narrow = window.clone().all(|symbol| symbol.code() != LARGE_DELTA);
    let vector_len = near.min(if narrow {
        ONE_BIT_SYMBOLS
    } else {
        TWO_BIT_SYMBOLS
    });
    if run >= vector_len {
        return (first << 13 | u16::try_from(run).unwrap_or(0), run);
    }
    let (mut word, width, capacity) = if narrow {
        (0b10_u16, 1, ONE_BIT_SYMBOLS)
    } else {
        (0b11, 2, TWO_BIT_SYMBOLS)
    };
    let mut codes = window.map(Symbol::code);
    for _ in 0..capacity {
        word = word << width | codes.next().unwrap_or(NOT_RECEIVED);
    }
    (word, vector_len)
}
