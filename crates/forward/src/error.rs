//! Why a topology change is refused, by blame. Packets are never refused with these: they have drop reasons.

/// Why a producer, a consumer or a tap could not be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RouterError {
    /// The owner was never added, or was removed (caller).
    #[error("the owner is not known to this router")]
    UnknownOwner,
    /// No such track on this shard (caller).
    #[error("the track is not known to this router")]
    UnknownTrack,
    /// The track exists with another owner, or as another shard's (caller).
    #[error("the track belongs to somebody else")]
    ForeignTrack,
    /// No payload type, no or too many encodings, or no SSRC where one is needed (caller).
    #[error("the configuration has no formats, no encodings, or too many of them")]
    InvalidConfig,
    /// Publisher and subscriber share no format (peers).
    #[error("publisher and subscriber share no format")]
    NoCommonCodec,
    /// An SSRC is in use by another consumer of the same owner (caller).
    #[error("the SSRC is in use")]
    SsrcInUse,
    /// A bound of [`crate::RouterConfig`] (limit).
    #[error("a limit of the router is reached")]
    Limit,
}
