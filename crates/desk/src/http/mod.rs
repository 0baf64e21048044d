//! The desk over HTTP. Handlers don't know who calls: a [`Gate`] lets integrators in by key, and the office's pages by session.

pub mod access;
pub mod answer;
pub mod appointments;
mod document;
mod idempotency;
pub mod integrators;
pub mod keys;
mod location;
pub mod pages;
pub mod problem;
pub mod records;
pub mod wire;

pub use access::{Admitted, Front, Gate, Scope};
pub use keys::{DeskKey, DeskKeys, KeyError};
pub use problem::Problem;

/// Most bytes of a request's body: an appointment with everybody in it takes some 10 KiB.
pub const MAX_BODY: usize = 64 * 1024;
