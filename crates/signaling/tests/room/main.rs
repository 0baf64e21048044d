//! The room state machine, driven without sockets.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it doesn't expect may panic, and looks at single variants"
)]

mod answers;
mod data;
mod data_pressure;
mod data_tracks;
mod description;
mod join;
mod limits;
mod operations;
mod permissions;
mod priority;
mod publish;
mod quality;
mod refused;
mod resume;
mod speakers;
mod subscribe;
mod support;
mod tracks;
mod transcripts;
mod unknown_fields;
