//! Delivery of webhooks: signed bodies, to receivers that the operator named and to nobody else.
//!
//! Owns order, repetition, the spool on disk and the HTTP client. Each receiver has an outbox of its own, so that one
//! that is down holds up no other. Refuses to know what an event says: bodies come ready, and the signature of each
//! request from a [`Signer`]. Refuses redirects, answers beyond a few kilobytes, and addresses that are not public unless
//! they are listed.
//!
//! An event is delivered at least once as long as it is neither too old nor pushed out by newer ones; events of one room
//! in order. Receivers tell repetitions by the event's id.

mod client;
mod config;
mod network;
mod outbox;
mod receiver;
mod spool;
mod stats;
mod webhooks;

pub use client::system_roots;
pub use config::{Limits, Target, TargetError, WebhookConfig};
pub use network::{AddressPolicy, Network, NetworkError};
pub use stats::{DropReason, RetryReason, WebhookStats};
pub use webhooks::{Event, Signer, StartError, Webhooks};
