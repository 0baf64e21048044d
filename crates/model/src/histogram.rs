//! Observations sorted into fixed buckets: a distribution whose size doesn't grow with who is observed.

/// How many observations fell into which of `N` buckets, and beyond the last.
///
/// The upper bounds belong to what is observed and are given each time; unit and order are theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram<const N: usize> {
    buckets: [u64; N],
    beyond: u64,
    sum: u64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self {
            buckets: [0; N],
            beyond: 0,
            sum: 0,
        }
    }
}

impl<const N: usize> Histogram<N> {
    /// Sorts one observation into the first bucket whose upper bound is not below it.
    pub fn observe(&mut self, bounds: &[u64; N], value: u64) {
        match bounds.iter().position(|bound| value <= *bound) {
            Some(bucket) => self.buckets[bucket] += 1,
            None => self.beyond += 1,
        }
        self.sum = self.sum.saturating_add(value);
    }

    /// Adds the observations of another one with the same bounds.
    pub fn add(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += more;
        }
        self.beyond += other.beyond;
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many observations were at most as large as each bound.
    pub fn cumulative(&self) -> [u64; N] {
        let mut count = 0;
        self.buckets.map(|bucket| {
            count += bucket;
            count
        })
    }

    /// All observations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum::<u64>() + self.beyond
    }

    /// What was observed, added up.
    pub fn sum(&self) -> u64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_belong_to_their_bucket_and_nothing_is_lost_beyond_the_last() {
        let bounds = [10, 20];
        let mut histogram = Histogram::default();
        for value in [0, 10, 11, 20, 21, u64::MAX] {
            histogram.observe(&bounds, value);
        }
        assert_eq!(histogram.cumulative(), [2, 4]);
        assert_eq!((histogram.count(), histogram.sum()), (6, u64::MAX));
        let mut both = Histogram::default();
        both.observe(&bounds, 15);
        both.add(&both.clone());
        assert_eq!(
            (both.cumulative(), both.count(), both.sum()),
            ([0, 2], 2, 30)
        );
    }
}
