//! The words every layer shares: time points, rates, ids, drop reasons and counters by value.
//!
//! Owns no behaviour. Refuses clocks, sockets and randomness: time points and seeds are handed in.

mod counters;
mod drop_reason;
mod histogram;
mod ids;
mod link;
mod quality;
mod rate;
mod time;
mod turn;
mod ufrag;

pub use counters::{Counters, DropCounters, SrtpProfileCounters, TransportStateGauges};
pub use drop_reason::DropReason;
pub use histogram::Histogram;
pub use ids::{AuthorityId, InvalidAuthority, RoomId, ShardId, TrackId, TransportId};
pub use link::{LinkCounters, ProbeCounters, ProbeResult};
pub use quality::QualityCounters;
pub use rate::Bitrate;
pub use time::{NtpTime, Time, WallClock};
pub use turn::{TurnCounters, TurnRefusal, TurnRefusals};
pub use ufrag::{InvalidUfrag, Ufrag};

/// Which kind of media a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// Sound, for example Opus.
    Audio,
    /// Pictures, for example VP8.
    Video,
}

/// SRTP protection profiles that Schalter speaks (RFC 5764 §4.1.2, RFC 7714 §14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SrtpProfile {
    /// `AEAD_AES_128_GCM` (0x0007).
    AeadAes128Gcm,
    /// `AEAD_AES_256_GCM` (0x0008).
    AeadAes256Gcm,
    /// `AES128_CM_HMAC_SHA1_80` (0x0001).
    Aes128CmSha1_80,
}

impl SrtpProfile {
    /// All profiles, in Schalter's order of preference.
    pub const ALL: [Self; 3] = [
        Self::AeadAes128Gcm,
        Self::AeadAes256Gcm,
        Self::Aes128CmSha1_80,
    ];

    /// The name that RFC 5764 and RFC 7714 register, as metrics and logs show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
            Self::Aes128CmSha1_80 => "AES128_CM_HMAC_SHA1_80",
        }
    }
}

/// The way between one of our sockets and a peer, as a datagram shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// The peer's address and port.
    pub remote: std::net::SocketAddr,
    /// The local address the datagram came to, where the kernel tells (`IP_PKTINFO`); replies leave from it.
    pub local: Option<std::net::IpAddr>,
    /// What carries datagrams between the two.
    pub carrier: Carrier,
}

impl Path {
    /// A way over UDP.
    pub const fn udp(remote: std::net::SocketAddr, local: Option<std::net::IpAddr>) -> Self {
        Self {
            remote,
            local,
            carrier: Carrier::Udp,
        }
    }
}

/// What carries datagrams on a [`Path`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// UDP itself.
    #[default]
    Udp,
    /// A connection that keeps the bounds of datagrams by framing (RFC 4571, or TURN over TCP, RFC 8656 §12.5).
    Stream(StreamId),
    /// UDP on a port of its own, which serves TURN clients and nobody else.
    TurnPort,
    /// One of our own TURN relays; `remote` is the relayed transport address.
    Relay(RelayId),
}

/// A connection of one worker, plain or over TLS, that carries datagrams. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// A TURN allocation of one worker. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayId(pub u64);
