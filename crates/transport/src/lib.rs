//! One peer, sans-IO: ICE-lite, DTLS, SRTP, SCTP and data channels.

mod channels;
mod config;
mod data_channel;
mod dtls;
pub mod ice;
mod identity;
mod params;
mod sctp;
pub mod srtp;
mod transport;

pub use config::{
    DataError, TransportConfig, TransportError, TransportEvent, TransportFailureKind,
    TransportLimits,
};
pub use data_channel::{Dcep, MalformedDcep};
pub use dtls::{ClientHello, MalformedHello};
pub use identity::{Identity, IdentityError};
pub use params::{
    ChannelId, CryptoProfile, DataChannelConfig, Fingerprint, FingerprintHash, InvalidFingerprint,
    LocalIce, Reliability, RemoteIce,
};
/// The wire format of connectivity checks.
pub use schalter_stun as stun;
pub use transport::{SealError, Transport};
