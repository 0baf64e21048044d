//! `/v1` from the outside, over a real store and a clock that the tests set.

#![expect(clippy::unwrap_used, reason = "tests")]

mod api;
mod audit;
mod documents;
mod invariants;
mod life;
mod office;
mod speed;
