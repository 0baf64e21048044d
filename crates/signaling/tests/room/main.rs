//! The room state machine, driven without sockets.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it doesn't expect may panic, and looks at single variants"
)]

mod answers;
mod backup;
mod clear;
mod data;
mod data_pressure;
mod data_tracks;
mod description;
mod events;
mod forward;
mod http_backup;
mod http_sessions;
mod join;
mod limits;
mod operations;
mod permissions;
mod priority;
mod publish;
mod quality;
mod refused;
mod requirement;
mod resume;
mod service;
mod service_data;
mod service_operations;
mod service_update;
mod simulate;
mod speakers;
mod subscribe;
mod support;
mod tracks;
mod transcripts;
mod unknown_fields;
