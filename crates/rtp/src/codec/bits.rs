//! A bit reader and a bit writer, most significant bit first, for the formats that are not byte-aligned.

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

    /// Bits read so far.
    pub(super) fn position(&self) -> usize {
        self.at
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

/// Writes bit fields to the front of a slice; what exceeds it is cut off, what is left of it is zero.
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    bytes: &'a mut [u8],
    /// Position in bits.
    at: usize,
}

impl<'a> BitWriter<'a> {
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        bytes.fill(0);
        Self { bytes, at: 0 }
    }

    fn flag(&mut self, flag: bool) {
        if let Some(byte) = self.bytes.get_mut(self.at / 8) {
            *byte |= u8::from(flag) << (7 - self.at % 8);
        }
        self.at += 1;
    }

    /// Writes the lowest `width` bits of a value, at most 32.
    pub(super) fn bits(&mut self, value: u32, width: usize) {
        for bit in (0..width).rev() {
            self.flag(value >> bit & 1 == 1);
        }
    }

    /// Writes as many bits from a reader, or as many as it has.
    pub(super) fn copy(&mut self, from: &mut BitReader<'_>, count: usize) {
        for _ in 0..count {
            let Some(flag) = from.flag() else {
                return;
            };
            self.flag(flag);
        }
    }
}
