//! Packet indexes: 48 bits guessed from 16, and which of them were seen (RFC 3711 §3.3.1, §3.3.2, appendix A).

/// Largest RTP index: 32 bits of roll-over counter, 16 of sequence number.
pub(super) const MAX_RTP_INDEX: u64 = (1 << 48) - 1;

/// The index that `sequence` most likely has in a stream whose highest index is `highest`.
///
/// `None` if that lies before the start of the stream or after its end.
pub(super) fn guess(highest: u64, sequence: u16) -> Option<u64> {
    let ahead = sequence.wrapping_sub(highest as u16) as i16;
    let index = highest.checked_add_signed(i64::from(ahead))?;
    (index <= MAX_RTP_INDEX).then_some(index)
}

/// What a window knows about an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    New,
    Before,
    /// It fell out of the window.
    TooOld,
}

/// Which indexes up to the highest were seen: a ring of `WORDS` × 64 bits, of which all but the last, partly filled
/// word are always valid.
#[derive(Clone, Debug)]
pub(super) struct Window<const WORDS: usize> {
    highest: u64,
    bits: [u64; WORDS],
}

impl<const WORDS: usize> Window<WORDS> {
    /// How far behind the highest an index may lie.
    pub(super) const SPAN: u64 = (WORDS as u64 - 1) * 64;

    /// A window that has seen nothing and whose highest index is going to be `first` at least.
    pub(super) const fn starting_at(first: u64) -> Self {
        Self {
            highest: first,
            bits: [0; WORDS],
        }
    }

    /// A window that goes on after `highest`: that index and all before count as seen.
    pub(super) const fn resumed_after(highest: u64) -> Self {
        let mut bits = [u64::MAX; WORDS];
        bits[(highest / 64 % WORDS as u64) as usize] = u64::MAX >> (63 - highest % 64);
        Self { highest, bits }
    }

    pub(super) const fn highest(&self) -> u64 {
        self.highest
    }

    pub(super) fn check(&self, index: u64) -> Seen {
        if index > self.highest {
            return Seen::New;
        }
        if self.highest - index >= Self::SPAN {
            return Seen::TooOld;
        }
        let (word, bit) = Self::place(index);
        if self.bits[word] & bit == 0 {
            Seen::New
        } else {
            Seen::Before
        }
    }

    /// Marks `index`, which [`Self::check`] called new.
    pub(super) fn mark(&mut self, index: u64) {
        if index > self.highest {
            let skipped = (index / 64 - self.highest / 64).min(WORDS as u64);
            for step in 0..skipped {
                self.bits[((index / 64 - step) % WORDS as u64) as usize] = 0;
            }
            self.highest = index;
        }
        let (word, bit) = Self::place(index);
        self.bits[word] |= bit;
    }

    fn place(index: u64) -> (usize, u64) {
        ((index / 64 % WORDS as u64) as usize, 1 << (index % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_follow_the_nearest_roll_over() {
        assert_eq!(guess(10, 11), Some(11));
        assert_eq!(guess(0xFFFF, 0), Some(0x1_0000));
        assert_eq!(guess(0x1_0002, 0xFFFF), Some(0xFFFF));
        assert_eq!(guess(2, 0xFFFF), None);
        assert_eq!(guess(MAX_RTP_INDEX, 0), None);
        assert_eq!(guess(0x5_8000, 0xFFFF), Some(0x5_FFFF));
    }

    /// Against a set of all that was marked.
    #[test]
    fn a_window_agrees_with_a_list_of_everything_seen() {
        for seed in 1..20_u64 {
            let mut random = seed;
            let mut next = move || {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random
            };
            let mut window = Window::<4>::starting_at(1_000);
            let mut seen = std::collections::BTreeSet::new();
            let mut highest = 1_000;
            for _ in 0..5_000 {
                let reach = [8, 100, 300][(next() % 3) as usize];
                let index = (highest + next() % reach).saturating_sub(reach / 2);
                let expected = if index <= highest && highest - index >= Window::<4>::SPAN {
                    Seen::TooOld
                } else if seen.contains(&index) {
                    Seen::Before
                } else {
                    Seen::New
                };
                assert_eq!(window.check(index), expected, "seed {seed}, index {index}");
                if expected == Seen::New {
                    window.mark(index);
                    seen.insert(index);
                    highest = highest.max(index);
                }
            }
        }
    }

    #[test]
    fn a_resumed_window_knows_all_before() {
        let window = Window::<4>::resumed_after(500);
        assert_eq!(window.check(500), Seen::Before);
        assert_eq!(window.check(450), Seen::Before);
        assert_eq!(window.check(1), Seen::TooOld);
        assert_eq!(window.check(501), Seen::New);
    }

    #[test]
    fn a_resumed_window_forgets_nothing_when_it_goes_on() {
        let mut window = Window::<4>::resumed_after(500);
        window.mark(502);
        assert_eq!(window.check(500), Seen::Before);
        assert_eq!(window.check(501), Seen::New);
    }
}
