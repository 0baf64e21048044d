//! How long what failed waits for its next try.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

/// Wait after the first failure. Receivers that restart are back within seconds.
pub(crate) const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest wait between two tries: an outage of hours costs a receiver a minute more at most.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Beyond so many doublings the wait is the longest in any case.
const MOST_DOUBLINGS: u32 = 16;

/// The wait after that many failures before this one: doubled each time, between its half and its whole, so that what failed together does
/// not come back together. At least what the receiver asked for, as far as that is not too long.
pub(crate) fn wait(failures: u32, asked: Option<Duration>, rng: &mut StdRng) -> Duration {
    let doublings = failures.min(MOST_DOUBLINGS);
    let wait = FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
    let half = (wait / 2).as_millis() as u64;
    let wait = Duration::from_millis(half + rng.random_range(0..=half));
    wait.max(asked.unwrap_or_default().min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_wait_grows_to_its_bound_and_heeds_what_was_asked() {
        let mut rng = StdRng::from_seed([7; 32]);
        for failures in [0, 1, 2, 5, 6, 16, 17, u32::MAX] {
            let whole = FIRST_WAIT * (1 << failures.min(6));
            let whole = whole.min(LONGEST_WAIT);
            for _ in 0..50 {
                let wait = wait(failures, None, &mut rng);
                assert!((whole / 2..=whole).contains(&wait), "{failures}: {wait:?}");
            }
        }
        let asked = |seconds| {
            wait(
                0,
                Some(Duration::from_secs(seconds)),
                &mut StdRng::from_seed([7; 32]),
            )
        };
        assert_eq!(asked(30), Duration::from_secs(30));
        assert_eq!(asked(3_600), LONGEST_WAIT);
    }
}
