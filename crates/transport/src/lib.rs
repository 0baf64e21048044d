//! One peer, sans-IO: ICE-lite, DTLS, SRTP, SCTP and data channels.

mod params;

pub use params::{
    CertificateKind, ChannelId, CryptoProfile, DataChannelConfig, Fingerprint, FingerprintHash,
    InvalidFingerprint, LocalIce, Reliability, RemoteIce,
};
