//! Delivery of webhooks: signed bodies, to receivers that the operator named and to nobody else.
//!
//! Owns order, repetition, the spool on disk and the HTTP client. Each receiver has an outbox of its own, so that one
//! that is down holds up no other. Refuses to know what an event says: bodies come ready, and the signature of each
//! request from a [`Signer`]. Refuses redirects, answers beyond a few kilobytes, and addresses that are not public unless
//! they are listed.
//!
//! Two ways: rooms' events in LiveKit's format go through the spools ([`Webhooks`]); events that a log keeps anyway go by Standard Webhooks,
//! straight from there ([`Feed`]).
//!
//! By the first, an event is delivered at least once as long as it is neither too old nor pushed out by newer ones; events of one room
//! in order. Receivers tell repetitions by the event's id.

mod backoff;
mod client;
mod config;
mod feed;
mod network;
mod outbox;
mod receiver;
mod signature;
mod spool;
mod stats;
mod tasks;
mod webhooks;

pub use client::system_roots;
pub use config::{Limits, Target, TargetError, WebhookConfig};
pub use feed::{Entry, EventLog, Feed, FeedReceiver, LogAnswer, LogError, SkipError, Standing};
pub use network::{AddressPolicy, Network, NetworkError};
pub use signature::{Secret, SecretError, Secrets};
pub use stats::{DropReason, FeedStats, RetryReason, WebhookStats};
pub use webhooks::{Event, Signer, StartError, Webhooks};
