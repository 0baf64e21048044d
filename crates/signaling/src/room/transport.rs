//! The server side of a participant's peer connections, as far as signalling knows them: credentials and sections.

use std::collections::BTreeMap;
use std::sync::Arc;

use schalter_model::{MediaKind, Time, TrackId, TransportId};
use schalter_transport::LocalIce;

use crate::sdp::{MediaSection, SendTrack};

/// What a transport is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransportRole {
    /// The client offers: what it publishes and, in single mode, everything.
    Publisher,
    /// We offer: what it gets in dual mode.
    Subscriber,
}

/// A section the client sends on, or did.
#[derive(Debug)]
pub(super) struct Uplink {
    /// As last offered.
    pub(super) section: MediaSection,
    /// What is published on it.
    pub(super) track: Option<TrackId>,
    /// What was published on it was ended here, and the client may be about to stop it: it is nobody else's yet.
    pub(super) left: bool,
}

impl Uplink {
    /// Its track ends, but not by an offer.
    pub(super) fn leave(&mut self) {
        self.track = None;
        self.left = true;
    }
}

/// A section we send on, or may.
#[derive(Debug)]
pub(super) struct Downlink {
    pub(super) mid: Arc<str>,
    pub(super) kind: MediaKind,
    pub(super) track: Option<TrackId>,
    /// Had a track once: stays `inactive` until the next.
    pub(super) used: bool,
    /// What it is called whatever it carries, where tracks come and go without another negotiation (WHEP).
    pub(super) stream: Option<SendTrack>,
}

/// That a client was asked to offer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Requirement {
    /// How often it was, for the same.
    pub(super) times: u8,
    /// When it is asked once more, or given up.
    pub(super) due: Time,
}

#[derive(Debug)]
pub(super) struct Transport {
    pub(super) id: TransportId,
    pub(super) ice: LocalIce,
    pub(super) remote_ufrag: Option<Arc<str>>,
    pub(super) session_id: u64,
    pub(super) version: u64,
    /// By mid.
    pub(super) uplinks: BTreeMap<Arc<str>, Uplink>,
    pub(super) downlinks: Vec<Downlink>,
    /// The client's view of the downlinks is out of date.
    pub(super) dirty: bool,
    /// Single mode: the client was asked to offer and has not yet.
    pub(super) requirement: Option<Requirement>,
    /// Dual mode: the offer that waits for its answer.
    pub(super) offer_sent: Option<u32>,
    /// Dual mode: when that answer is overdue.
    pub(super) answer_due: Time,
    /// Dual mode: how many answers in a row could not be used.
    pub(super) unusable_answers: u8,
    /// Dual mode: the id of the last offer.
    pub(super) last_offer: u32,
}

impl Transport {
    pub(super) fn new(id: TransportId, ice: LocalIce, session_id: u64) -> Self {
        Self {
            id,
            ice,
            remote_ufrag: None,
            // The top bit must not be set (RFC 8829 §5.2.1).
            session_id: session_id & (u64::MAX >> 1),
            version: 0,
            uplinks: BTreeMap::new(),
            downlinks: Vec::new(),
            dirty: false,
            requirement: None,
            offer_sent: None,
            answer_due: Time::ZERO,
            unusable_answers: 0,
            last_offer: 0,
        }
    }

    pub(super) fn downlink(&self, mid: &str) -> Option<&Downlink> {
        self.downlinks.iter().find(|d| &*d.mid == mid)
    }

    /// Takes a free downlink of a kind for a track.
    pub(super) fn bind(&mut self, track: TrackId, kind: MediaKind) -> Option<Arc<str>> {
        let free = self
            .downlinks
            .iter_mut()
            .find(|d| d.kind == kind && d.track.is_none())?;
        free.track = Some(track);
        free.used = true;
        self.dirty = true;
        Some(Arc::clone(&free.mid))
    }

    fn unbind(&mut self, track: TrackId) {
        for downlink in &mut self.downlinks {
            if downlink.track == Some(track) {
                downlink.track = None;
                self.dirty = true;
            }
        }
    }
}

/// A participant's one or two transports.
#[derive(Debug, Default)]
pub(super) struct Transports {
    publisher: Option<Transport>,
    subscriber: Option<Transport>,
}

impl Transports {
    pub(super) fn get(&self, role: TransportRole) -> Option<&Transport> {
        match role {
            TransportRole::Publisher => self.publisher.as_ref(),
            TransportRole::Subscriber => self.subscriber.as_ref(),
        }
    }

    pub(super) fn get_mut(&mut self, role: TransportRole) -> Option<&mut Transport> {
        match role {
            TransportRole::Publisher => self.publisher.as_mut(),
            TransportRole::Subscriber => self.subscriber.as_mut(),
        }
    }

    pub(super) fn set(&mut self, role: TransportRole, transport: Transport) {
        match role {
            TransportRole::Publisher => self.publisher = Some(transport),
            TransportRole::Subscriber => self.subscriber = Some(transport),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Transport> {
        self.publisher.iter().chain(&self.subscriber)
    }

    /// Frees the section of a track that is no longer subscribed.
    pub(super) fn unbind(&mut self, track: TrackId) {
        let both = self.publisher.iter_mut().chain(&mut self.subscriber);
        both.for_each(|transport| transport.unbind(track));
    }
}
