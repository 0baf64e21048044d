//! The built server with a configuration: what of it takes effect, and what operators can do while it runs.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that can't go on should stop there, and looks at single variants"
)]

mod admin_listener;
mod administration;
mod configured;
mod lan;
mod server;
