//! What signaling asks of a shard and what a shard reports back. Values only: the carrier is `net`'s.

use std::sync::Arc;

use bytes::Bytes;
use schalter_forward::{
    Codec, ConsumerConfig, ConsumerTarget, MediaQuality, ProducerConfig, RouterError,
};
use schalter_model::{Bitrate, ShardId, SrtpProfile, TrackId, TransportId};
use schalter_transport::{ChannelId, DataChannelConfig, Fingerprint, LocalIce, RemoteIce};

use crate::turn::TurnService;

pub use schalter_transport::TransportFailureKind as TransportFailure;

/// A request to one shard. Requests of one sender arrive in order; none is ever dropped.
#[derive(Clone, Debug)]
pub enum Command {
    /// Serves TURN from now on. A second one starts over, without the relays of the first.
    ServeTurn(Box<TurnService>),
    /// Makes a transport that waits for connectivity checks.
    OpenTransport {
        /// Its name from now on.
        transport: TransportId,
        /// Our credentials, as they stand in the SDP.
        ice: LocalIce,
        /// Channels that we open once SCTP is up (the subscriber connection of dual mode).
        channels: Vec<DataChannelConfig>,
    },
    /// Tells the peer's side, once its SDP is known. May come again, e.g. after an ICE restart of the peer.
    SetRemote {
        /// Which transport.
        transport: TransportId,
        /// The peer's ICE user, to tell its checks from a stranger's.
        ice: RemoteIce,
        /// The certificate the peer must show. Handshakes that finished before are held until this is known.
        fingerprints: Vec<Fingerprint>,
    },
    /// Starts a new ICE generation: checks for the new credentials are answered, the old ones still count until then.
    RestartIce {
        /// Which transport.
        transport: TransportId,
        /// The new credentials.
        ice: LocalIce,
    },
    /// Closes a transport with all producers, consumers and channels that it has.
    CloseTransport {
        /// Which transport.
        transport: TransportId,
    },
    /// Accepts a track of a publisher, or replaces its configuration (new payload types after a renegotiation).
    AddProducer {
        /// The publisher's transport.
        transport: TransportId,
        /// The track's name from now on.
        track: TrackId,
        /// As negotiated.
        config: ProducerConfig,
    },
    /// Ends a track and every subscription to it on this shard.
    RemoveProducer {
        /// Which track.
        track: TrackId,
    },
    /// Stops (or lets go on) forwarding of a track at its source, e.g. muted by a moderator.
    MuteProducer {
        /// Which track.
        track: TrackId,
        /// Whether its packets are dropped.
        muted: bool,
    },
    /// Subscribes a transport of this shard to a track, or replaces the subscription's configuration.
    AddConsumer {
        /// The subscriber's transport.
        transport: TransportId,
        /// The track.
        track: TrackId,
        /// The shard the publisher is on.
        producer_shard: ShardId,
        /// As negotiated.
        config: ConsumerConfig,
    },
    /// Changes what a subscriber wants.
    SetConsumerTarget {
        /// The subscriber's transport.
        transport: TransportId,
        /// The track.
        track: TrackId,
        /// The new wish.
        target: ConsumerTarget,
    },
    /// Has a subscriber's tracks take no more than this together, as if its link carried no more.
    LimitDownlink {
        /// The subscriber's transport.
        transport: TransportId,
        /// Bits a second; `None` lifts the limit.
        limit: Option<Bitrate>,
    },
    /// Ends a subscription.
    RemoveConsumer {
        /// The subscriber's transport.
        transport: TransportId,
        /// The track.
        track: TrackId,
    },
    /// Sends one message to the channel with this label on each transport. Kept (bounded) until the channel opens.
    SendData {
        /// The receivers, all on this shard.
        transports: Vec<TransportId>,
        /// The channel's label.
        label: Arc<str>,
        /// Binary or UTF-8 text (RFC 8831 §8).
        binary: bool,
        /// Its loss is told: [`Event::Refused`] with [`Refusal::DataOverload`] and no track, for each receiver that has no room.
        must_arrive: bool,
        /// The message.
        data: Bytes,
    },
}

/// Something that happened on a shard.
#[derive(Clone, Debug)]
pub enum Event {
    /// A transport changed its state.
    TransportState {
        /// Which transport.
        transport: TransportId,
        /// The new state.
        state: TransportState,
    },
    /// A data channel opened, from either side.
    ChannelOpened {
        /// Which transport.
        transport: TransportId,
        /// Which stream.
        channel: ChannelId,
        /// As the opener declared it.
        config: DataChannelConfig,
    },
    /// A data channel closed.
    ChannelClosed {
        /// Which transport.
        transport: TransportId,
        /// Which stream.
        channel: ChannelId,
    },
    /// A message arrived.
    Data {
        /// Which transport.
        transport: TransportId,
        /// Which stream.
        channel: ChannelId,
        /// Label of the channel.
        label: Arc<str>,
        /// Binary or UTF-8 text.
        binary: bool,
        /// The message.
        data: Bytes,
    },
    /// The first packet of an encoding arrived.
    EncodingStarted {
        /// Which track.
        track: TrackId,
        /// Index into the producer's encodings.
        encoding: u8,
        /// The SSRC it came with.
        ssrc: u32,
        /// The format it came in.
        codec: Codec,
    },
    /// A track's smoothed loudness changed its step (RFC 6464 levels, about every 400 ms).
    AudioLevel {
        /// Which track.
        track: TrackId,
        /// 0 (silence) to 1 (loudest).
        level: f32,
        /// Whether somebody speaks.
        active: bool,
    },
    /// A subscriber's link became too thin for a track, or wide enough again.
    StreamState {
        /// The subscriber's transport.
        transport: TransportId,
        /// Which track.
        track: TrackId,
        /// Nothing is forwarded.
        paused: bool,
    },
    /// How a transport's media fared, every [`schalter_forward::QUALITY_INTERVAL`] while there is some.
    Quality {
        /// Which transport.
        transport: TransportId,
        /// How.
        quality: MediaQuality,
    },
    /// A request could not be carried out.
    Refused {
        /// The transport it was about.
        transport: TransportId,
        /// The track it was about, if one.
        track: Option<TrackId>,
        /// Why.
        reason: Refusal,
    },
}

/// The life of a transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportState {
    /// A valid check arrived, DTLS runs.
    Connecting,
    /// DTLS is done, media can flow.
    Connected {
        /// What protects the media.
        profile: SrtpProfile,
    },
    /// No checks for a while; the peer may come back.
    Disconnected,
    /// Checks came back after [`Self::Disconnected`].
    Reconnected,
    /// Over; the transport is gone.
    Failed {
        /// Why.
        reason: TransportFailure,
    },
    /// The peer closed it (DTLS `close_notify`); the transport is gone.
    Closed,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No such transport.
    UnknownTransport,
    /// No such track.
    UnknownTrack,
    /// Subscriber and publisher share no format.
    NoCommonCodec,
    /// The configuration contradicts itself or another one: a track of another transport, an SSRC used twice.
    InvalidConfig,
    /// A limit of this shard.
    Limit,
    /// A message for a reliable channel that its buffer has no room for: the receiver has a gap now.
    DataOverload,
}

impl From<&RouterError> for Refusal {
    fn from(error: &RouterError) -> Self {
        match error {
            RouterError::UnknownTrack => Self::UnknownTrack,
            RouterError::UnknownOwner => Self::UnknownTransport,
            RouterError::NoCommonCodec => Self::NoCommonCodec,
            RouterError::Limit => Self::Limit,
            RouterError::ForeignTrack | RouterError::InvalidConfig | RouterError::SsrcInUse => {
                Self::InvalidConfig
            }
        }
    }
}
