//! A packet on its way to one subscriber: a small note of what differs from the cached one, never a copy of it.

use schalter_model::Time;
use schalter_rtp::codec::av1::ActiveTargets;

use crate::cache::Stored;
use crate::follow::Verdict;
use crate::rewrite::Shift;

/// Which part of a cached payload is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// The primary block of RED.
    RedPrimary,
    /// Nothing: the packet was left out for this subscriber, but too late to close the gap.
    Empty,
    /// No media, only so many bytes that nobody reads.
    Padding(u8),
}

/// A packet on its way to one subscriber: where its bytes are, and what differs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) seq: u64,
    pub(crate) consumer: u32,
    pub(crate) slot: u32,
    pub(crate) shift: Shift,
    /// Output sequence number.
    pub(crate) sequence: u16,
    /// Plaintext length.
    pub(crate) len: u16,
    pub(crate) part: Part,
    pub(crate) marker: bool,
    /// Decode targets that its dependency descriptor has to name.
    pub(crate) active_targets: Option<ActiveTargets>,
    pub(crate) with_mid: bool,
    pub(crate) retransmission: bool,
    /// Since when it waits; set when it is queued.
    pub(crate) since: Time,
}

/// What becomes of a packet for one consumer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Placement {
    Send(Pending),
    Nothing,
    /// A segment may begin with this packet.
    Start,
}

/// What is sent of a packet that has its place, and with which marker.
pub(crate) fn content(stored: &Stored, part: Option<Part>, verdict: Verdict) -> (Part, bool) {
    match (part, verdict) {
        (Some(part), Verdict::Send { completes }) => {
            (part, stored.marker || completes && stored.place.ends_frame)
        }
        // No picture ends where nothing is sent.
        (None, Verdict::Send { .. } | Verdict::Leave) | (Some(_), Verdict::Leave) => {
            (Part::Empty, false)
        }
    }
}

pub(crate) fn payload_len(stored: &Stored, part: Part) -> usize {
    match part {
        Part::Whole => usize::from(stored.payload_len),
        Part::RedPrimary => usize::from(stored.payload_len - stored.red_primary_at),
        Part::Empty => 0,
        Part::Padding(len) => usize::from(len),
    }
}
