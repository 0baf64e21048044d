//! The pages' HTTP: the way through it, and everything that must not go through.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that can't go on should stop there, and looks at single variants"
)]

mod cross_site;
mod limits;
mod logins;
mod sockets;
mod speed;
mod support;
mod way;
