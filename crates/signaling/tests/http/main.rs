//! Real sockets on the loopback: refusals before the upgrade, framing, limits, shutdown.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it doesn't expect may panic, and looks at single variants"
)]

mod administration;
mod authorities;
mod forwarding;
mod guided;
mod refusals;
mod revocation;
mod room_service;
mod rooms;
mod scopes;
mod sessions;
mod support;
mod whip;
