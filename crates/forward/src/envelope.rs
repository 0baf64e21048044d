//! What accompanies a packet on its way to another shard or node.

/// The facts about a forwarded packet that its bytes don't tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EnvelopeMeta {
    /// Index into the producer's encodings.
    pub encoding: u8,
}
