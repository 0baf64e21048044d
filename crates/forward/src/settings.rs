//! The router's bounds and intervals, each with the trade-off that chose its default.

use std::time::Duration;

use schalter_model::{Bitrate, WallClock};

use crate::loudest::LoudestConfig;

/// Most encodings of one track: simulcast with more than four layers does not exist in browsers.
pub(crate) const MAX_ENCODINGS: usize = 4;
/// Most payload types of one track; Chromium's longest video section has fewer than 60 with their repairs.
pub(crate) const MAX_FORMATS: usize = 64;
/// Longest RTCP compound, in bytes: fits one datagram on any path that carries video.
pub(crate) const MAX_RTCP_LEN: usize = 1_200;

/// How much of one encoding is kept for retransmission; the older bound of the two counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSize {
    /// Packets, rounded up to a power of two, 64 to 16,384.
    pub packets: usize,
    /// Bytes of payload and header extensions, at least 4,096.
    pub bytes: usize,
}

/// Settings of a [`crate::Router`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterConfig {
    /// Maps the worker's time to NTP time, for sender reports without a publisher's.
    pub wall: WallClock,
    /// Seeds SSRCs, first sequence numbers and timestamps; equal seeds and inputs replay equal outputs.
    pub seed: u64,
    /// Retransmission cache of a video encoding.
    pub video_cache: CacheSize,
    /// Retransmission cache of an audio encoding.
    pub audio_cache: CacheSize,
    /// How long a packet may wait for others to the same subscriber, so that they leave in one system call.
    pub burst: Duration,
    /// With this many packets pending an owner is released before [`Self::burst`] is over.
    pub burst_packets: usize,
    /// Most owners; an owner's number is below this.
    pub max_owners: usize,
    /// Most tracks.
    pub max_producers: usize,
    /// Most subscriptions of one track.
    pub max_consumers_per_producer: usize,
    /// Most packets waiting for one owner; what exceeds it is dropped and can be asked for again.
    pub max_pending_per_owner: usize,
    /// Most SSRCs that one publisher may bring.
    pub max_ssrcs_per_owner: usize,
    /// Most packets waiting for other shards together.
    pub max_pending_taps: usize,
    /// Most events not yet polled; more are dropped, oldest first.
    pub max_events: usize,
    /// Least time between two keyframe requests for one encoding, and between its repetitions.
    pub keyframe_interval: Duration,
    /// How long arrivals are gathered for transport-wide feedback.
    pub twcc_interval: Duration,
    /// Time between reports, both ways.
    pub report_interval: Duration,
    /// An encoding without packets for so long counts as switched off.
    pub silent_after: Duration,
    /// How long a gap may be mere reordering, before it is asked for.
    pub reorder_wait: Duration,
    /// A packet that stayed away for so long is given up, and one that is older is not sent again: a call has gone on.
    pub nack_max_age: Duration,
    /// How often one packet is asked for.
    pub nack_max_tries: u8,
    /// A packet is not sent again to the same subscriber within this time: one round trip's worth of NACKs ask
    /// for the same loss.
    pub resend_guard: Duration,
    /// What a subscriber's link is taken to carry at least.
    pub min_bitrate: Bitrate,
    /// What it is taken to carry until it showed otherwise.
    pub start_bitrate: Bitrate,
    /// What no subscriber is sent more than.
    pub max_bitrate: Bitrate,
    /// Retransmissions per second that one subscriber may cause; a quarter of it at once.
    pub resend_rate: u32,
    /// Who is heard in big rooms.
    pub loudest: LoudestConfig,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            wall: WallClock::default(),
            seed: 0,
            // Over a second of 3 Mbit/s: what a NACK after a long round trip may still want.
            video_cache: CacheSize {
                packets: 1_024,
                bytes: 512 * 1_024,
            },
            audio_cache: CacheSize {
                packets: 128,
                bytes: 32 * 1_024,
            },
            burst: Duration::from_millis(1),
            burst_packets: 16,
            max_owners: 65_536,
            max_producers: 16_384,
            max_consumers_per_producer: 16_384,
            max_pending_per_owner: 1_024,
            max_ssrcs_per_owner: 256,
            max_pending_taps: 4_096,
            max_events: 4_096,
            keyframe_interval: Duration::from_millis(500),
            twcc_interval: Duration::from_millis(50),
            report_interval: Duration::from_secs(1),
            silent_after: Duration::from_secs(1),
            reorder_wait: Duration::from_millis(5),
            nack_max_age: Duration::from_secs(1),
            nack_max_tries: 10,
            resend_guard: Duration::from_millis(20),
            resend_rate: 1_000,
            loudest: LoudestConfig::default(),
            // Sound and a small picture pass.
            min_bitrate: Bitrate::from_kbps(60),
            // One step below what a camera's lower layers take: the first probes double it within half a second.
            start_bitrate: Bitrate::from_kbps(600),
            max_bitrate: Bitrate::from_kbps(50_000),
        }
    }
}
