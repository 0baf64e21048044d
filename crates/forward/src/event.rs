//! What a router tells its shard beside packets.

use schalter_model::{NtpTime, TrackId};

use crate::config::Codec;
use crate::owner::Owner;
use crate::quality::MediaQuality;

/// Something the shard should pass on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ForwardEvent {
    /// The first packet of an encoding arrived, or the first after it restarted with another SSRC.
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
    /// A track's smoothed loudness changed its step, or somebody began or stopped to speak.
    AudioLevel {
        /// Which track.
        track: TrackId,
        /// 0 (silence) to 1 (loudest), linear.
        level: f32,
        /// Whether somebody speaks.
        active: bool,
    },
    /// A subscriber's link became too thin for a track, or wide enough again.
    StreamState {
        /// The subscriber.
        owner: Owner,
        /// Which track.
        track: TrackId,
        /// Nothing is forwarded.
        paused: bool,
    },
    /// How a transport's media fared, every [`crate::QUALITY_INTERVAL`].
    Quality {
        /// The transport.
        owner: Owner,
        /// How.
        quality: MediaQuality,
    },
    /// A remote producer's consumers wait for a keyframe; goes to the publisher's shard as
    /// [`crate::Router::request_keyframe`].
    KeyframeNeeded {
        /// Which track.
        track: TrackId,
        /// Index into the producer's encodings.
        encoding: u8,
    },
    /// The publisher's clock, for the shards that tap the track: [`crate::Router::on_remote_sender_report`].
    SenderReport {
        /// Which track.
        track: TrackId,
        /// Index into the producer's encodings.
        encoding: u8,
        /// An instant, by the publisher's clock.
        ntp: NtpTime,
        /// The same instant as RTP timestamp of the encoding.
        rtp_timestamp: u32,
    },
}
