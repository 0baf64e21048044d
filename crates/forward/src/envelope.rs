//! What accompanies a packet on its way to another shard or node.

/// The facts about a forwarded packet that its bytes don't tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EnvelopeMeta {
    /// Index into the producer's encodings.
    pub encoding: u8,
    /// The publisher's SSRC.
    pub ssrc: u32,
    /// Sequence number, unwrapped by the publisher's shard.
    pub sequence: u64,
    /// Consumers may only go on within sequence numbers from here (restart, mute).
    pub epoch_start: u64,
    /// Timestamps before this sequence number are of another clock.
    pub clock_start: u64,
}
