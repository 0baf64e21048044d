//! The RTP forwarding core, sans-IO.

mod config;

pub use config::{
    Codec, CodecBinding, ConsumerConfig, ConsumerTarget, EncodingConfig, ExtensionIds,
    ProducerConfig,
};
