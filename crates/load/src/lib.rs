//! Load generator with real ICE, DTLS and SRTP: publishers and subscribers that cost little enough to leave the
//! machine to the server under test.
//!
//! Owns the client side of one peer ([`client`]), the test feed ([`feed`]), what arrives ([`receive`]), what a person would see of it
//! ([`viewer`], in which formats: [`mod@format`]) behind a thin link ([`link`]) or with TCP in between ([`tunnel`]), the thread that
//! drives all of them ([`engine`]), how servers are spoken to ([`livekit`], [`janus`]) and started ([`server`]), and
//! what is measured ([`call`], [`report`]). The binary and the benches share it.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a client picks the few messages it needs out of protocols with dozens"
)]

pub mod call;
pub mod client;
pub mod engine;
pub mod error;
pub mod feed;
pub mod format;
pub mod histogram;
pub mod janus;
pub mod link;
pub mod livekit;
pub mod probe;
pub mod process;
pub mod receive;
pub mod report;
pub mod scenario;
pub mod sdp;
pub mod server;
pub mod target;
pub mod tunnel;
pub mod viewer;
