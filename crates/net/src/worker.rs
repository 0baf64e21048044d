//! The seam to the sans-IO shard: what the event loop feeds, and what it drains.

use schalter_model::{Counters, Path, ShardId, Time};
pub use schalter_shard::Transmit;
use schalter_shard::control::{Command, Event};
use schalter_shard::peer::{Envelope, PeerMessage};

/// Bytes of the buffer that [`Worker::poll_transmit`] fills: the largest UDP payload over IPv4.
pub const EGRESS_LEN: usize = 65_507;

/// Most datagrams in one run: what Linux takes in one call (`UDP_MAX_SEGMENTS`). A longer run is sent in several calls.
pub const MAX_SEGMENTS: usize = 64;

/// A sans-IO media worker. Every call comes from the one thread that owns it.
///
/// After each batch of input the loop calls the `poll_…` methods until they return `None`. `now` never goes backwards.
/// A worker must not block, and must not allocate per packet.
pub trait Worker: Send + 'static {
    /// A request from signaling.
    fn on_command(&mut self, now: Time, command: Command);

    /// A datagram from the network. Addresses are normalised: IPv4-mapped IPv6 comes as IPv4. May be empty.
    fn on_datagram(&mut self, now: Time, path: Path, datagram: &mut [u8]);

    /// A message of another shard on the lane that never drops; messages of one sender come in order.
    fn on_peer(&mut self, now: Time, from: ShardId, message: PeerMessage);

    /// A packet of another shard.
    fn on_envelope(&mut self, now: Time, from: ShardId, envelope: &Envelope);

    /// Fills `out` ([`EGRESS_LEN`] bytes) with the next datagrams for one peer.
    fn poll_transmit(&mut self, now: Time, out: &mut [u8]) -> Option<Transmit>;

    /// The next event for signaling.
    fn poll_event(&mut self) -> Option<Event>;

    /// The next message for another shard's control lane.
    fn poll_peer(&mut self) -> Option<(ShardId, PeerMessage)>;

    /// Fills `out` with the next packet for another shard and tells which.
    fn poll_envelope(&mut self, now: Time, out: &mut Envelope) -> Option<ShardId>;

    /// So many bytes wait for the connection of `path` because the network takes no more, now that this has changed. What
    /// is sent on it meanwhile comes after them. All datagrams of a connection have the same path.
    fn on_stream_backlog(&mut self, now: Time, path: Path, waiting: usize);

    /// The connection of `path` is over; nothing comes on it or leaves by it any more.
    fn on_stream_closed(&mut self, now: Time, path: Path);

    /// Whether anyone uses the connection of `path`. One that no one has used for some seconds is closed.
    fn wants_stream(&self, path: &Path) -> bool;

    /// When [`Self::on_timeout`] is wanted.
    fn next_timeout(&self) -> Option<Time>;

    /// The point that [`Self::next_timeout`] named has come.
    fn on_timeout(&mut self, now: Time);

    /// What the worker counts. The loop adds what it counts itself: datagrams and bytes both ways, batches, busy
    /// time, and drops at the socket and at full mailboxes. A worker leaves the former at zero.
    fn counters(&self) -> Counters;
}
