//! Places for connections, and what is counted of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Why a connection was closed before anything was served on it, other than by its peer or for want of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// It was the oldest when there were too many half-open ones.
    HalfOpenLimit,
    /// It was the oldest of its address when there were too many half-open ones of that.
    AddressLimit,
    /// It took longer than `limits.request_seconds` to say what it wants.
    TooSlow,
    /// TLS could not be agreed on.
    TlsHandshake,
    /// HTTP without TLS on a port for TLS.
    PlainHttp,
    /// The first bytes are of no protocol that is served here.
    UnknownProtocol,
    /// A stream of TURN where TURN is off.
    TurnOff,
    /// A stream of ICE-TCP for no shard of ours.
    IceUnknown,
    /// A PROXY header from an address that is not in `proxy_protocol.trusted`.
    ProxyUntrusted,
    /// A PROXY header of version 1.
    ProxyVersion1,
    /// No PROXY header from an address that is in `proxy_protocol.trusted`.
    ProxyMissing,
    /// A PROXY header that is not well-formed or too long.
    ProxyMalformed,
}

impl Closed {
    const ALL: [(Self, &'static str); 12] = [
        (Self::HalfOpenLimit, "half_open_limit"),
        (Self::AddressLimit, "address_limit"),
        (Self::TooSlow, "too_slow"),
        (Self::TlsHandshake, "tls_handshake"),
        (Self::PlainHttp, "plain_http"),
        (Self::UnknownProtocol, "unknown_protocol"),
        (Self::TurnOff, "turn_off"),
        (Self::IceUnknown, "ice_unknown"),
        (Self::ProxyUntrusted, "proxy_untrusted"),
        (Self::ProxyVersion1, "proxy_version_1"),
        (Self::ProxyMissing, "proxy_missing"),
        (Self::ProxyMalformed, "proxy_malformed"),
    ];
}

/// Bounds how many connections there are. Clones share places and counters.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    limit: u32,
    places: Arc<Semaphore>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    refused: AtomicU64,
    unanswered: AtomicU64,
    closed: [AtomicU64; Closed::ALL.len()],
    turn: AtomicU64,
    ice_tcp: AtomicU64,
}

/// What a gate counted.
pub(super) struct Counted {
    /// Places taken now.
    pub(super) connections: u64,
    /// Connections without a place.
    pub(super) refused: u64,
    /// Places given back without a request.
    pub(super) unanswered: u64,
    /// By label.
    pub(super) closed: Vec<(&'static str, u64)>,
    /// Streams handed to workers, by label.
    pub(super) streams: Vec<(&'static str, u64)>,
}

impl Gate {
    pub(super) fn new(connections: u32) -> Self {
        Self {
            limit: connections,
            places: Arc::new(Semaphore::new(connections as usize)),
            counters: Arc::default(),
        }
    }

    /// A place, if there is one; counted if not.
    pub(super) fn place(&self) -> Option<Place> {
        let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() else {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        Some(Place {
            served: AtomicBool::new(false),
            counters: Arc::clone(&self.counters),
            _permit: permit,
        })
    }

    pub(super) fn counted(&self) -> Counted {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let labels = Closed::ALL.iter().map(|(_, label)| *label);
        Counted {
            connections: u64::from(self.limit) - self.places.available_permits() as u64,
            refused: read(&self.counters.refused),
            unanswered: read(&self.counters.unanswered),
            closed: labels.zip(self.counters.closed.iter().map(read)).collect(),
            streams: vec![
                ("ice_tcp", read(&self.counters.ice_tcp)),
                ("turn", read(&self.counters.turn)),
            ],
        }
    }
}

/// A connection's place, which it keeps as long as it is open: as WebSocket, too.
#[derive(Debug)]
pub(super) struct Place {
    served: AtomicBool,
    counters: Arc<Counters>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// A request came.
    pub(super) fn on_request(&self) {
        self.served.store(true, Ordering::Relaxed);
    }

    /// A worker takes it over.
    pub(super) fn on_stream(&self, turn: bool) {
        let counter = if turn {
            &self.counters.turn
        } else {
            &self.counters.ice_tcp
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.on_request();
    }

    /// It ends, for this reason.
    pub(super) fn on_closed(&self, why: Closed) {
        let index = Closed::ALL.iter().position(|(each, _)| *each == why);
        let counter = index.and_then(|index| self.counters.closed.get(index));
        counter
            .expect("ALL has every reason")
            .fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.served.load(Ordering::Relaxed) {
            self.counters.unanswered.fetch_add(1, Ordering::Relaxed);
        }
    }
}
