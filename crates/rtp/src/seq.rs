//! Wrapping counters made monotonic: RTP sequence numbers and timestamps (RFC 3550 §5.1, §A.1).
//!
//! Owns the arithmetic only. Refuses to judge jumps: a restarted sender is the producer's business, which
//! starts a fresh unwrapper.

use crate::wire::{low16, low32};

/// Tells whether sequence number `a` is newer than `b`, modulo 2^16 (RFC 1982 serial numbers).
///
/// Numbers exactly half the range apart are ordered by value, so that exactly one of them is newer.
#[must_use]
pub fn is_newer_u16(a: u16, b: u16) -> bool {
    let ahead = a.wrapping_sub(b);
    if ahead == 1 << 15 {
        a > b
    } else {
        ahead != 0 && ahead < 1 << 15
    }
}

/// Tells whether timestamp `a` is newer than `b`, modulo 2^32 (RFC 1982 serial numbers).
///
/// Values exactly half the range apart are ordered by value, so that exactly one of them is newer.
#[must_use]
pub fn is_newer_u32(a: u32, b: u32) -> bool {
    let ahead = a.wrapping_sub(b);
    if ahead == 1 << 31 {
        a > b
    } else {
        ahead != 0 && ahead < 1 << 31
    }
}

/// Extends 16-bit sequence numbers to 64 bits that never wrap.
///
/// The first number is placed one cycle (65536) above zero, so that older packets, arriving late, still
/// have a non-negative place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SequenceUnwrapper {
    highest: Option<u64>,
}

impl SequenceUnwrapper {
    /// An unwrapper that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { highest: None }
    }

    /// Extends `sequence` to the value nearest to the highest one so far, and remembers it if it is higher.
    ///
    /// Exactly half the range away counts as behind.
    pub fn unwrap(&mut self, sequence: u16) -> u64 {
        let value = self.peek(sequence);
        self.highest = self.highest.max(Some(value));
        value
    }

    /// Extends `sequence` like [`Self::unwrap`], without remembering it.
    ///
    /// For packets that are not authenticated yet.
    #[must_use]
    pub fn peek(&self, sequence: u16) -> u64 {
        match self.highest {
            None => u64::from(sequence) + (1 << 16),
            Some(highest) => {
                let step = sequence.wrapping_sub(low16(highest)).cast_signed();
                highest.wrapping_add_signed(i64::from(step))
            }
        }
    }

    /// The highest extended value so far.
    #[must_use]
    pub fn highest(&self) -> Option<u64> {
        self.highest
    }
}

/// Extends 32-bit RTP timestamps to 64 bits that never wrap; the first starts one cycle above zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimestampUnwrapper {
    highest: Option<u64>,
}

impl TimestampUnwrapper {
    /// An unwrapper that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { highest: None }
    }

    /// Extends `timestamp` to the value nearest to the highest one so far, and remembers it if it is higher.
    ///
    /// Exactly half the range away counts as behind.
    pub fn unwrap(&mut self, timestamp: u32) -> u64 {
        let value = self.peek(timestamp);
        self.highest = self.highest.max(Some(value));
        value
    }

    /// Extends `timestamp` like [`Self::unwrap`], without remembering it.
    #[must_use]
    pub fn peek(&self, timestamp: u32) -> u64 {
        match self.highest {
            None => u64::from(timestamp) + (1 << 32),
            Some(highest) => {
                let step = timestamp.wrapping_sub(low32(highest)).cast_signed();
                highest.wrapping_add_signed(i64::from(step))
            }
        }
    }

    /// The highest extended value so far.
    #[must_use]
    pub fn highest(&self) -> Option<u64> {
        self.highest
    }
}
