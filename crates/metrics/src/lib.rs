//! The Prometheus exporter: names, collector and HTTP endpoint.
//!
//! Owns the names under which Schalter is watched, and the HTTP routes for operators. Counts nothing itself: it reads
//! a [`Source`] by value whenever it is asked. Refuses labels for rooms and participants: they would be personal data
//! and have no bound.

mod admin;
mod desk;
mod exporter;
mod families;
mod http;
mod links;
mod media;
mod process;
mod signaling;
mod turn;
mod webhooks;

pub use admin::{AdminAuth, Readiness, TokenTooShort, admin_router, problem, require_token};
pub use desk::{DeskAuditSnapshot, DeskSnapshot, DeskWebhookSnapshot};
pub use exporter::{BuildInfo, Exporter, MetricsError, Source};
pub use http::HttpSnapshot;
pub use signaling::SignalingSnapshot;
pub use webhooks::WebhookSnapshot;
