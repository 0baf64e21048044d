//! A digest of everything that left a simulation.

use std::hash::{DefaultHasher, Hasher};

use schalter_model::Time;

/// Sums up outputs in their order, so that two runs can be compared without keeping either.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    hasher: DefaultHasher,
    entries: u64,
}

impl Trace {
    /// Adds one output: when, of which kind, from or to whom, and its bytes.
    pub fn record(&mut self, at: Time, kind: &str, whom: u64, bytes: &[u8]) {
        self.entries += 1;
        self.hasher.write_u64(at.as_nanos());
        self.hasher.write(kind.as_bytes());
        self.hasher.write_u64(whom);
        self.hasher.write_usize(bytes.len());
        self.hasher.write(bytes);
    }

    /// How many outputs there were, and their digest.
    pub fn digest(&self) -> (u64, u64) {
        (self.entries, self.hasher.finish())
    }
}
