//! The RTP forwarding core, sans-IO.

mod config;
mod envelope;

pub use config::{
    Codec, CodecBinding, ConsumerConfig, ConsumerTarget, EncodingConfig, ExtensionIds,
    ProducerConfig,
};
pub use envelope::EnvelopeMeta;
