//! What the router promises, one file a behaviour.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "tests pick the one variant that they are about"
)]
#![expect(
    clippy::unwrap_used,
    reason = "the rig is test code outside of test functions"
)]

mod rig;
mod streams;

mod determinism;
mod ingress_binding;
mod keyframes;
mod layers_follow_goals;
mod levels;
mod loudest;
mod one_stream_many_tracks;
mod quality;
mod red;
mod reports;
mod retransmission;
mod rewriting_has_no_gaps;
mod shards;
mod simulcast;
mod thin_links;
