//! The RTP forwarding core, sans-IO: producers, consumers and the router between them.
//!
//! A [`Router`] holds all media of one shard. Plaintext packets go in ([`Router::on_rtp`], [`Router::on_rtcp`],
//! [`Router::on_envelope`]), rewritten ones come out ([`Router::next_ready`] and [`Router::pop`],
//! [`Router::next_rtcp`], [`Router::next_tap`]). Every packet is stored once per encoding; subscribers' queues hold
//! small entries that say how it differs for them. Time comes in as an argument, and equal seeds and inputs give equal
//! outputs. What a subscriber's link carries is measured, and divided among its tracks. Refuses sockets, clocks,
//! encryption and signaling.

#![forbid(unsafe_code)]

mod allocate;
mod audio_level;
mod bandwidth;
mod cache;
mod caution;
mod config;
mod consumer;
mod downlink;
mod egress;
mod encoding;
mod envelope;
mod error;
mod event;
mod extensions;
mod fanout;
mod feedback;
mod flow;
mod follow;
mod form;
mod frame;
mod ingress;
mod intake;
mod keyframe;
mod layer;
mod loudest;
mod nack;
mod outage;
mod owner;
mod pace;
mod pending;
mod producer;
mod quality;
mod random;
mod repair;
mod report;
mod resend;
mod rewrite;
mod router;
mod score;
mod select;
mod settings;
mod share;
mod slab;
mod subscription;
mod twcc;
mod write;

pub use allocate::Rank;
pub use config::{
    Codec, CodecBinding, ConsumerConfig, ConsumerTarget, EncodingConfig, ExtensionIds,
    ProducerConfig,
};
pub use consumer::ConsumerStats;
pub use envelope::EnvelopeMeta;
pub use error::RouterError;
pub use event::ForwardEvent;
pub use intake::Intake;
pub use loudest::LoudestConfig;
pub use owner::Owner;
pub use quality::{DownlinkQuality, MediaQuality, QUALITY_INTERVAL, UplinkQuality};
pub use router::Router;
pub use score::{BEST_SCORE, WORST_SCORE};
pub use settings::{CacheSize, RouterConfig};
