//! A bit reader, most significant bit first, for the formats that are not byte-aligned.

/// Reads bit fields from the front of a slice; answers `None` at the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// Position in bits.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Reads an unsigned field of `width` bits, at most 32.
    pub(super) fn bits(&mut self, width: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..width {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    /// Reads a field of up to 8 bits.
    pub(super) fn small(&mut self, width: u32) -> Option<u8> {
        self.bits(width.min(8))
            .and_then(|value| u8::try_from(value).ok())
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// Reads a value below `count`, coded with the fewest bits: `ns(n)` of the AV1 specification §4.10.7.
    pub(super) fn below(&mut self, count: u32) -> Option<u32> {
        let width = 32 - count.leading_zeros();
        let short = width.checked_sub(1)?;
        // How many values are coded with one bit less.
        let shorter = (1_u32 << short).checked_mul(2)?.checked_sub(count)?;
        let value = self.bits(short)?;
        if value < shorter {
            return Some(value);
        }
        let extra = u32::from(self.flag()?);
        (value << 1 | extra).checked_sub(shorter)
    }
}
