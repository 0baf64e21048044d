//! What a transport is made with, what it reports and how it refuses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use schalter_model::SrtpProfile;

use crate::ice::{ChallengeSecret, IceLimits};
use crate::srtp::{SrtpError, SrtpLimits};
use crate::{ChannelId, CryptoProfile, DataChannelConfig, Identity, LocalIce};

/// Bounds of one transport. The defaults suit browsers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportLimits {
    /// Timeouts and bounds of ICE.
    pub ice: IceLimits,
    /// Bounds of SRTP.
    pub srtp: SrtpLimits,
    /// From the first valid check to the end of the DTLS handshake.
    pub dtls_handshake_timeout: Duration,
    /// Largest data channel message in either direction, bytes.
    pub max_message_size: u32,
    /// Data channels open at one time.
    pub max_channels: usize,
    /// Bytes waiting to be sent or acknowledged per channel, and before the channel is open.
    pub channel_send_buffer: usize,
    /// Bytes received and not yet delivered over all channels: the advertised SCTP receive window.
    pub receive_buffer: u32,
}

impl Default for TransportLimits {
    fn default() -> Self {
        Self {
            ice: IceLimits::default(),
            srtp: SrtpLimits::default(),
            dtls_handshake_timeout: Duration::from_secs(30),
            max_message_size: 65_535,
            max_channels: 64,
            // A file of a few megabytes comes in one burst, as fast as its sender reads it; a smaller buffer would end the
            // session of everybody whose link is slower than that.
            channel_send_buffer: 4 * 1024 * 1024,
            receive_buffer: 1024 * 1024,
        }
    }
}

/// What a transport is made with.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// The instant that [`schalter_model::Time::ZERO`] stands for. Handed on to libraries that want `Instant`s; no clock
    /// is ever read.
    pub epoch: Instant,
    /// Our certificates. The client's hello decides which one it is shown; the SDP announces all of them.
    pub identity: Arc<Identity>,
    /// Which SRTP profiles are taken.
    pub crypto: CryptoProfile,
    /// Our ICE credentials.
    pub ice: LocalIce,
    /// What our questions to the peer's new paths are made unguessable with.
    pub challenges: ChallengeSecret,
    /// Channels that we open once SCTP is up.
    pub channels: Vec<DataChannelConfig>,
    /// Bounds.
    pub limits: TransportLimits,
}

/// Something that happened on a transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportEvent {
    /// A valid connectivity check arrived; the DTLS handshake may run.
    Connecting,
    /// The handshake is done and the peer is who its SDP said; media can flow.
    Connected {
        /// What protects the media.
        profile: SrtpProfile,
    },
    /// No checks for a while; the peer may come back.
    Disconnected,
    /// Checks came back after [`Self::Disconnected`].
    Reconnected,
    /// The peer is reached on another path now, see [`crate::Transport::path`].
    PathChanged,
    /// Over; drain `poll_transmit` and drop the transport.
    Failed(TransportFailureKind),
    /// The peer closed it; drain `poll_transmit` and drop the transport.
    Closed,
    /// A data channel opened, from either side.
    ChannelOpened {
        /// Its stream.
        channel: ChannelId,
        /// As its opener declared it.
        config: DataChannelConfig,
    },
    /// A data channel closed.
    ChannelClosed {
        /// Its stream.
        channel: ChannelId,
    },
    /// A message arrived.
    Data {
        /// Its stream.
        channel: ChannelId,
        /// The channel's label.
        label: Arc<str>,
        /// Binary or UTF-8 text (RFC 8831 §8). Text has been checked to be UTF-8.
        binary: bool,
        /// The message.
        data: Bytes,
    },
}

/// Why a transport failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportFailureKind {
    /// No valid check within the limit after opening.
    NeverConnected,
    /// Checks stopped (RFC 7675).
    ConsentLost,
    /// The DTLS handshake failed or timed out.
    Dtls,
    /// The peer's certificate is not the one its SDP announced.
    FingerprintMismatch,
    /// The peer offers no SRTP profile that we take.
    NoSrtpProfile,
}

/// Why a transport could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// One of the channels to open cannot be.
    #[error("data channel: {0}")]
    Channel(#[from] DataError),
    /// The keys that came with it are of no use.
    #[error("keying material: {0}")]
    Keys(#[from] SrtpError),
}

/// Why a request about a data channel was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// No channel has this id.
    #[error("no such channel")]
    UnknownChannel,
    /// The message is beyond [`TransportLimits::max_message_size`].
    #[error("message too large")]
    TooLarge,
    /// More than [`TransportLimits::channel_send_buffer`] would wait.
    #[error("send buffer full")]
    BufferFull,
    /// The channel is not open (yet) and its messages are not worth keeping, or the transport is over.
    #[error("channel not open")]
    NotOpen,
    /// [`TransportLimits::max_channels`] are in use.
    #[error("too many channels")]
    TooManyChannels,
    /// Label or sub-protocol is longer than DCEP can carry in one message.
    #[error("label or protocol too long")]
    LabelTooLong,
    /// Text that is not UTF-8.
    #[error("text is not UTF-8")]
    NotText,
}
