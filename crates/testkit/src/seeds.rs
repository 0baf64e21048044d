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

/// Runs `test` with each seed and says which one failed.
///
/// # Panics
/// As `test` does.
pub fn for_each_seed(default: u64, test: impl Fn(u64)) {
    for seed in seeds(default) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            #[expect(
                clippy::print_stderr,
                reason = "whoever repeats the failure needs the seed"
            )]
            {
                eprintln!("failed with seed {seed}");
            }
            resume_unwind(panic);
        }
    }
}
