//! Real sockets on the loopback: refusals before the upgrade, framing, limits, shutdown.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it doesn't expect may panic, and looks at single variants"
)]

mod administration;
mod authorities;
mod refusals;
mod sessions;
mod support;
