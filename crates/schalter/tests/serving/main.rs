//! The built server with a configuration: what of it takes effect, and what operators can do while it runs.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that can't go on should stop there, and looks at single variants"
)]

mod acme;
mod admin_listener;
mod administration;
mod audit;
mod authority;
mod configured;
mod desk;
mod desk_encryption;
mod desk_offices;
mod desk_reload;
mod desk_webhooks;
mod doctor;
mod ice_tcp;
mod lan;
mod livekit_api;
mod privacy;
mod reload;
mod replaced;
mod revocation;
mod server;
mod service;
mod tls;
mod turn;
mod webhooks;
