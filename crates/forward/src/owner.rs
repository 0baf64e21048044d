//! What a router keeps per transport: its tracks and subscriptions, how to read its header extensions, and when its
//! next RTCP is due.

use schalter_model::Time;

use crate::config::ExtensionIds;
use crate::consumer::EndedStream;
use crate::downlink::Downlink;
use crate::twcc::TwccRecorder;

/// A transport of the shard, by its slot there. Small and dense: it is used as an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(pub u32);

/// Meaning of an incoming extension id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ElementKind {
    #[default]
    Unknown,
    Mid,
    Rid,
    RepairedRid,
    AudioLevel,
    TransportCc,
    AbsCaptureTime,
    VideoOrientation,
    DependencyDescriptor,
}

/// Incoming extension ids of one transport (RFC 8843 §9: one mapping for all sections).
#[derive(Debug)]
pub(crate) struct ElementKinds(Box<[ElementKind; 256]>);

impl ElementKinds {
    pub(crate) fn new() -> Self {
        Self(Box::new([ElementKind::Unknown; 256]))
    }

    pub(crate) fn learn(&mut self, ids: &ExtensionIds) {
        for (id, kind) in [
            (ids.mid, ElementKind::Mid),
            (ids.rid, ElementKind::Rid),
            (ids.repaired_rid, ElementKind::RepairedRid),
            (ids.audio_level, ElementKind::AudioLevel),
            (ids.transport_cc, ElementKind::TransportCc),
            (ids.abs_capture_time, ElementKind::AbsCaptureTime),
            (ids.video_orientation, ElementKind::VideoOrientation),
            (ids.dependency_descriptor, ElementKind::DependencyDescriptor),
        ] {
            if let Some(id) = id {
                self.0[usize::from(id)] = kind;
            }
        }
    }

    #[inline]
    pub(crate) fn of(&self, id: u8) -> ElementKind {
        self.0[usize::from(id)]
    }
}

/// Ended streams that a transport remembers, about 100 bytes each: more than a client has sections. Beyond them the
/// oldest is forgotten, and what comes next under its SSRC starts anew.
const MAX_ENDED: usize = 128;

/// State of one transport.
#[derive(Debug)]
pub(crate) struct OwnerState {
    pub(crate) producers: Vec<u32>,
    pub(crate) consumers: Vec<u32>,
    pub(crate) elements: ElementKinds,
    pub(crate) twcc: Option<TwccRecorder>,
    /// What is known of the way to it.
    pub(crate) downlink: Option<Box<Downlink>>,
    /// SSRCs bound so far.
    pub(crate) ssrcs: usize,
    /// SSRCs whose consumers ended, until a BYE told the subscriber.
    pub(crate) goodbyes: Vec<u32>,
    /// Streams whose SSRC stays and that carry nothing now.
    pub(crate) ended: Vec<EndedStream>,
    pub(crate) receiver_report_at: Option<Time>,
    /// Where the receiver reports go on that did not fit in one compound.
    pub(crate) receiver_report_from: usize,
    pub(crate) sender_report_at: Option<Time>,
    /// Where the sender reports go on that did not fit in one compound.
    pub(crate) sender_report_from: usize,
    /// Deadline in the timer heap.
    pub(crate) armed: Time,
    /// In the list of owners whose RTCP is due.
    pub(crate) rtcp_queued: bool,
}

impl OwnerState {
    pub(crate) fn new() -> Self {
        Self {
            producers: Vec::new(),
            consumers: Vec::new(),
            elements: ElementKinds::new(),
            twcc: None,
            downlink: None,
            ssrcs: 0,
            goodbyes: Vec::new(),
            ended: Vec::new(),
            receiver_report_at: None,
            receiver_report_from: 0,
            sender_report_at: None,
            sender_report_from: 0,
            armed: Time::MAX,
            rtcp_queued: false,
        }
    }

    /// Remembers where a stream ended.
    pub(crate) fn remember(&mut self, ended: EndedStream) {
        if self.ended.len() == MAX_ENDED {
            self.ended.remove(0);
        }
        self.ended.push(ended);
    }

    /// Where the stream with this SSRC ended, for the one that goes on.
    pub(crate) fn take_ended(&mut self, ssrc: u32) -> Option<EndedStream> {
        let place = self.ended.iter().position(|ended| ended.ssrc == ssrc)?;
        Some(self.ended.remove(place))
    }
}
