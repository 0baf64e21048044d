//! How many seeds a test tries, and which one it was.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Environment variable with the number of seeds.
const SEEDS: &str = "SCHALTER_SEEDS";
/// Seeds of a long run.
const LONG: u64 = 2_000;

/// Whether the test binary was called with `--long` (only those without the standard harness can be).
pub fn is_long() -> bool {
    std::env::args().any(|argument| argument == "--long")
}

/// The seeds to try: as many as the environment variable `SCHALTER_SEEDS` says, 2,000 with `--long`, else `default`.
///
/// # Panics
/// If the variable is no number.
pub fn seeds(default: u64) -> std::ops::Range<u64> {
    let count = match std::env::var(SEEDS) {
        Ok(value) => value
            .parse()
            .unwrap_or_else(|_| panic!("{SEEDS} is a number of seeds, not {value:?}")),
        Err(_) if is_long() => LONG,
        Err(_) => default,
    };
    0..count
}

/// Runs `test` with every seed, and says which ones failed.
///
/// # Panics
/// As `test` did with the first of them.
pub fn for_each_seed(default: u64, test: impl Fn(u64)) {
    for_most_seeds(default, 0.0, test);
}

/// As [`for_each_seed`], for bars that chance breaks now and then: beyond the `default` seeds, which all have to pass, a share of
/// `outliers` of all may fail.
///
/// # Panics
/// As `test` did with the first seed that failed, if too many or one of the default ones did.
pub fn for_most_seeds(default: u64, outliers: f64, test: impl Fn(u64)) {
    let seeds = seeds(default);
    let tried = seeds.end;
    let mut failed = Vec::new();
    let mut first = None;
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            failed.push(seed);
            first.get_or_insert(panic);
        }
    }
    let Some(panic) = first else {
        return;
    };
    #[expect(
        clippy::print_stderr,
        reason = "whoever repeats a failure needs the seed"
    )]
    {
        eprintln!("{} of {tried} seeds failed: {failed:?}", failed.len());
    }
    let too_many = failed.len() as f64 > outliers * tried as f64;
    if too_many || failed.iter().any(|seed| *seed < default) {
        resume_unwind(panic);
    }
}
