//! What shards tell each other: a media lane of envelopes that may drop, a control lane that never does.

use schalter_forward::{EnvelopeMeta, ProducerConfig};
use schalter_model::{NtpTime, TrackId};

/// Largest RTP packet that travels between shards, in bytes: an Ethernet frame's worth.
pub const MAX_PACKET: usize = 1500;

/// One packet of a track on its way to another shard: plaintext, as the publisher sent it.
#[derive(Clone)]
pub struct Envelope {
    /// Which track.
    pub track: TrackId,
    /// What the bytes don't tell.
    pub meta: EnvelopeMeta,
    len: u16,
    bytes: [u8; MAX_PACKET],
}

impl Default for Envelope {
    fn default() -> Self {
        Self {
            track: TrackId(0),
            meta: EnvelopeMeta::default(),
            len: 0,
            bytes: [0; MAX_PACKET],
        }
    }
}

impl Envelope {
    /// The packet.
    pub fn packet(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The whole slot, to write a packet into; [`Self::set_len`] says afterwards how much of it counts.
    pub fn buffer(&mut self) -> &mut [u8; MAX_PACKET] {
        &mut self.bytes
    }

    /// Declares the first `len` bytes of the slot as the packet; more than the slot has counts as all of it.
    pub fn set_len(&mut self, len: usize) {
        self.len = len.min(MAX_PACKET) as u16;
    }
}

/// A message on the control lane between two shards.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerMessage {
    /// The sender has subscribers for this track of the receiver.
    Subscribe {
        /// Which track.
        track: TrackId,
    },
    /// The sender's last subscriber is gone.
    Unsubscribe {
        /// Which track.
        track: TrackId,
    },
    /// Answers [`Self::Subscribe`], and comes again when the configuration changes.
    Producer {
        /// Which track.
        track: TrackId,
        /// As negotiated with the publisher.
        config: Box<ProducerConfig>,
    },
    /// The track is over (or never was here).
    ProducerGone {
        /// Which track.
        track: TrackId,
    },
    /// The sender needs a keyframe.
    KeyframeRequest {
        /// Which track.
        track: TrackId,
        /// Which of its encodings.
        encoding: u8,
    },
    /// The publisher's clock (RFC 3550 §6.4.1), so that reports on the other shard keep lips in sync.
    SenderReport {
        /// Which track.
        track: TrackId,
        /// Which of its encodings.
        encoding: u8,
        /// Wall clock of the publisher.
        ntp: NtpTime,
        /// The same instant in the encoding's RTP clock.
        rtp_timestamp: u32,
    },
}
