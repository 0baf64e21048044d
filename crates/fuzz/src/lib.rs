//! What every parser and state machine that a peer can reach must bear: bytes, whatever they are. Each module is one target, with its claims as
//! assertions. The gate tries them with their seeds, changed at random (`tests/seeds.rs`); the workspace in `libfuzzer/` gives the
//! same functions to libFuzzer, which looks for new paths for as long as it is let.

// Transport's module of SCTP, which `sctp` includes as it is, finds these at its crate's root.
use schalter_transport::{DataChannelConfig, Reliability};

pub mod client_hello;
pub mod data_packet;
pub mod dcep;
pub mod descriptors;
pub mod frames;
pub mod join_request;
pub mod proxy_header;
pub mod rtcp;
pub mod rtp;
pub mod sctp;
pub mod sdp;
pub mod signal_request;
pub mod srtp;
pub mod stun;
pub mod token;
pub mod turn;

/// A target: its name, which is that of its folder of seeds, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("client_hello", client_hello::run),
    ("data_packet", data_packet::run),
    ("dcep", dcep::run),
    ("descriptors", descriptors::run),
    ("frames", frames::run),
    ("join_request", join_request::run),
    ("proxy_header", proxy_header::run),
    ("rtcp", rtcp::run),
    ("rtp", rtp::run),
    ("sctp", sctp::run),
    ("sdp", sdp::run),
    ("signal_request", signal_request::run),
    ("srtp", srtp::run),
    ("stun", stun::run),
    ("token", token::run),
    ("turn", turn::run),
];
