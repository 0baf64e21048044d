//! Simulated clocks, networks and peers, for tests that run real shards in virtual time.
//!
//! A [`Sim`] owns a [`SimClock`], a [`SimNet`], shards and [`SimPeer`]s and lets them meet: nothing waits, nothing is
//! random but by its seed, so that one seed repeats a run to the byte. Peers speak STUN, SRTP and RTCP as a browser does
//! and get their SRTP keys injected, because real handshakes draw randomness of their own; those have tests of their own.
//! Refuses sockets and threads.
//!
//! A test's helper: what it sets up wrongly panics.

mod clock;
pub mod conference;
mod decoder;
mod disk;
mod feedback;
mod link;
mod link_trace;
mod mailbox;
mod media;
mod net;
mod peer;
mod picture;
mod plot;
mod random;
mod receiver;
mod replay;
mod seeds;
mod sim;
mod source;
mod stream;
mod timeline;
mod trace;
pub mod turn_client;

pub use clock::SimClock;
pub use decoder::{Decoder, Shown};
pub use disk::{Cut, Files, Left, SimDisk};
pub use feedback::Feedback;
pub use link::{Bursts, Link, LinkConfig, LinkStats, Wait};
pub use link_trace::{CrossTraffic, LinkTrace, queue_of};
pub use mailbox::{Delivery, MailboxConfig, SimMailbox};
pub use media::{FrameMark, Layer, Mark, OPUS, VP8};
pub use net::{Datagram, SimNet};
pub use peer::{PEER_CLOCK, PeerConfig, PeerStats, SimPeer, binding_request, binding_response};
pub use picture::{Encoding, Picture};
pub use plot::svg;
pub use random::Random;
pub use receiver::{Heard, Receiver, ReceiverStats};
pub use replay::{Replay, Scenario, Seen, Sound, Watched};
pub use seeds::{for_each_seed, for_most_seeds, is_long, seeds};
pub use sim::{Sim, SimConfig, identity};
pub use source::{Source, SourceConfig};
pub use timeline::{BIN, Timeline};
pub use trace::Trace;
