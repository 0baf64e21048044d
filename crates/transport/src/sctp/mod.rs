//! SCTP over DTLS (RFC 8261, RFC 9260) on `rtc-sctp`: one association, streams of whole messages.
//!
//! Owns the association's making (either side may send INIT, RFC 8831 §6.2 has both do it), its timers and its bounds. Refuses
//! peers that open streams without end, fill the receive buffer with what can never be delivered, or ask for more work than
//! a packet is worth ([`gate`]).

mod gate;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc_sctp::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig,
    EndpointEvent, Event, Payload, PayloadProtocolIdentifier, ReliabilityType, ServerConfig,
    StreamEvent, TransportConfig,
};
use rtc_shared::TransportProtocol;
use schalter_model::DropReason;

use crate::{DataChannelConfig, Reliability};
use gate::{Gate, Verdict};

/// The peer as the library sees it; DTLS is the only way it has to us.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);
/// How long a client may take with its INIT before we send ours, if we have channels to open. All browsers send one at
/// once. A client that negotiated none would take ours for an error (GStreamer's does).
const WAIT_FOR_INIT: Duration = Duration::from_secs(2);
/// Associations under construction: the library makes a new one for every repeated INIT, and the peer may take up any.
const CANDIDATES_MAX: usize = 4;
/// Packets held from the end of the handshake until the peer is verified: its INIT, perhaps repeated. Without them a peer
/// whose SDP is a moment late would wait a second for its own repetition.
const EARLY_PACKETS_MAX: usize = 4;
/// Streams announced in INIT; browsers announce 1,024 or 65,535 and use a handful.
const STREAMS_MAX: u16 = 1024;
/// SCTP packet that fits a DTLS record in a datagram of 1,200 bytes.
const PACKET_MAX: u32 = 1160;
const PACKET_HEADER_LEN: usize = 12;

/// What a message is (RFC 8831 §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageKind {
    Dcep,
    Text,
    Binary,
}

/// What happened on the association.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SctpEvent {
    Established,
    /// A whole message. Empty messages are empty here (on the wire they carry one byte).
    Message {
        stream: u16,
        kind: MessageKind,
        data: Bytes,
    },
    /// A message that was thrown away, for being too large or of an unknown kind.
    Dropped(DropReason),
    /// The peer reset its side of the stream; ours is reset in answer.
    StreamReset(u16),
    /// The association is gone.
    Lost,
}

/// Bounds of one association.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SctpLimits {
    pub(crate) max_message_size: u32,
    pub(crate) receive_buffer: u32,
    pub(crate) send_buffer: usize,
    pub(crate) max_streams: usize,
}

enum State {
    /// The peer is not verified. What it sends meanwhile waits.
    Idle {
        early: Vec<Bytes>,
    },
    /// Nobody has an association yet; ours is tried at the given time.
    Waiting {
        initiate_at: Instant,
    },
    /// INITs are under way.
    Building,
    /// `candidates` holds exactly the one that was established.
    Established,
    Over,
}

/// The association of one transport.
pub(crate) struct Sctp {
    limits: SctpLimits,
    endpoint: Endpoint,
    transport: Arc<TransportConfig>,
    candidates: Vec<(AssociationHandle, Association)>,
    state: State,
    /// We have channels to open.
    is_wanted: bool,
    gate: Gate,
    /// Bytes received while our advertised window was closed and nothing could be delivered.
    stuck_bytes: usize,
    window_closed: bool,
    outgoing: VecDeque<Bytes>,
    events: VecDeque<SctpEvent>,
}

/// A write was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteError {
    Closed,
    Full,
}

impl Sctp {
    pub(crate) fn new(limits: SctpLimits) -> Self {
        let transport = TransportConfig::default()
            .with_max_message_size(limits.max_message_size)
            .with_max_receive_buffer_size(limits.receive_buffer)
            .with_max_num_inbound_streams(STREAMS_MAX)
            .with_max_num_outbound_streams(STREAMS_MAX);
        let mut endpoint_config = EndpointConfig::new();
        endpoint_config.max_payload_size(rtc_sctp::max_payload_size_for_mtu(PACKET_MAX));
        let endpoint = Endpoint::new(
            PEER,
            TransportProtocol::UDP,
            Arc::new(endpoint_config),
            Some(Arc::new(ServerConfig::new(transport.clone()))),
        );
        Self {
            limits,
            endpoint,
            transport: Arc::new(transport),
            candidates: Vec::new(),
            state: State::Idle { early: Vec::new() },
            is_wanted: false,
            gate: Gate::default(),
            stuck_bytes: 0,
            window_closed: false,
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Has the association made by us if the peer doesn't begin.
    pub(crate) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// DTLS is up and the peer verified: waits for its INIT, for a while where we want one, if it has not come already.
    pub(crate) fn start(&mut self, now: Instant) {
        let State::Idle { early } = &mut self.state else {
            return;
        };
        let early = std::mem::take(early);
        self.state = State::Waiting {
            initiate_at: now + WAIT_FOR_INIT,
        };
        for packet in early {
            // One that is of no use is what it would have been later.
            let _ = self.on_packet(now, packet);
        }
    }

    /// Takes a packet from DTLS.
    pub(crate) fn on_packet(&mut self, now: Instant, packet: Bytes) -> Result<(), DropReason> {
        match &mut self.state {
            State::Idle { early } if early.len() < EARLY_PACKETS_MAX => {
                early.push(packet);
                return Ok(());
            }
            State::Idle { .. } => return Err(DropReason::DataOverload),
            State::Over => return Err(DropReason::SctpMalformed),
            State::Waiting { .. } | State::Building | State::Established => {}
        }
        let established = matches!(self.state, State::Established);
        match self.gate.judge(&packet, established) {
            Verdict::Pass => {}
            Verdict::Refuse => return Err(DropReason::SctpMalformed),
            Verdict::Abort => {
                self.end();
                return Ok(());
            }
        }
        let len = packet.len();
        match self.endpoint.handle(now, PEER, None, packet) {
            None => return Err(DropReason::SctpMalformed),
            Some((handle, DatagramEvent::NewAssociation(association))) => {
                self.add(handle, association);
            }
            Some((handle, DatagramEvent::AssociationEvent(event))) => {
                let (_, association) = self
                    .candidates
                    .iter_mut()
                    .find(|(candidate, _)| *candidate == handle)
                    .ok_or(DropReason::SctpMalformed)?;
                association.handle_event(event);
            }
            Some(_) => return Err(DropReason::SctpMalformed),
        }
        if self.window_closed {
            self.stuck_bytes += len;
        }
        self.settle(now);
        if self.stuck_bytes > self.limits.receive_buffer as usize {
            self.abort(now);
        }
        Ok(())
    }

    fn add(&mut self, handle: AssociationHandle, association: Association) {
        if matches!(self.state, State::Waiting { .. }) {
            self.state = State::Building;
        }
        if self.candidates.len() == CANDIDATES_MAX {
            let (oldest, _) = self.candidates.remove(0);
            self.forget(oldest);
        }
        self.candidates.push((handle, association));
    }

    fn forget(&mut self, handle: AssociationHandle) {
        self.endpoint.handle_event(handle, EndpointEvent::drained());
    }

    /// Moves what the associations have for us.
    fn settle(&mut self, now: Instant) {
        let mut index = 0;
        while index < self.candidates.len() {
            let mut established = false;
            let mut dead = false;
            while let Some(event) = self.candidates[index].1.poll() {
                match event {
                    Event::Connected => established = true,
                    Event::HandshakeFailed { .. } => dead = true,
                    Event::AssociationLost { id, .. } if !self.candidates[index].1.is_closed() => {
                        self.events.push_back(SctpEvent::StreamReset(id));
                    }
                    Event::Stream(StreamEvent::Readable { id }) => self.read(index, id),
                    Event::Stream(_)
                    | Event::AssociationLost { .. }
                    | Event::DatagramReceived
                    | _ => {}
                }
            }
            // Packets first: an abort still has to leave.
            self.gather(index, now);
            let association = &self.candidates[index].1;
            // An association that waits for the peer's COOKIE ECHO counts as closed, too.
            dead |= matches!(self.state, State::Established) && association.is_closed();
            if association.stream_ids().len() > self.limits.max_streams {
                self.abort(now);
                return;
            }
            if established && matches!(self.state, State::Waiting { .. } | State::Building) {
                let chosen = self.candidates.swap_remove(index);
                for (handle, _) in std::mem::take(&mut self.candidates) {
                    self.forget(handle);
                }
                self.candidates.push(chosen);
                self.state = State::Established;
                // From here on an INIT could only be an attempt to have two associations.
                self.endpoint.reject_new_associations();
                self.events.push_back(SctpEvent::Established);
                index = 0;
            }
            if dead {
                let (handle, _) = self.candidates.remove(index);
                self.forget(handle);
                if self.candidates.is_empty() && !matches!(self.state, State::Over) {
                    self.state = State::Over;
                    self.events.push_back(SctpEvent::Lost);
                }
                continue;
            }
            index += 1;
        }
    }

    fn read(&mut self, index: usize, stream: u16) {
        let association = &mut self.candidates[index].1;
        while let Ok(mut handle) = association.stream(stream)
            && let Ok(Some(message)) = handle.read_sctp()
        {
            self.stuck_bytes = 0;
            let (kind, empty) = match message.ppi {
                PayloadProtocolIdentifier::Dcep => (MessageKind::Dcep, false),
                PayloadProtocolIdentifier::String => (MessageKind::Text, false),
                PayloadProtocolIdentifier::StringEmpty => (MessageKind::Text, true),
                PayloadProtocolIdentifier::Binary => (MessageKind::Binary, false),
                PayloadProtocolIdentifier::BinaryEmpty => (MessageKind::Binary, true),
                PayloadProtocolIdentifier::Unknown | _ => {
                    self.events
                        .push_back(SctpEvent::Dropped(DropReason::SctpMalformed));
                    continue;
                }
            };
            let data = if empty {
                Bytes::new()
            } else if let Ok(whole) = message.to_payload(self.limits.max_message_size as usize) {
                whole.freeze()
            } else {
                self.events
                    .push_back(SctpEvent::Dropped(DropReason::DataTooLarge));
                continue;
            };
            self.events
                .push_back(SctpEvent::Message { stream, kind, data });
        }
    }

    fn gather(&mut self, index: usize, now: Instant) {
        let association = &mut self.candidates[index].1;
        while let Some(transmit) = association.poll_transmit(now) {
            let Payload::RawEncode(packets) = transmit.message else {
                continue;
            };
            for packet in packets {
                if let Some(window) = self.gate.on_sent(&packet) {
                    self.window_closed = window == 0;
                    if window > 0 {
                        self.stuck_bytes = 0;
                    }
                }
                self.outgoing.push_back(packet);
            }
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        if let State::Waiting { initiate_at } = self.state {
            return Some(initiate_at).filter(|_| self.is_wanted);
        }
        self.candidates
            .iter()
            .filter_map(|(_, association)| association.poll_timeout())
            .min()
    }

    pub(crate) fn on_timeout(&mut self, now: Instant) {
        if let State::Waiting { initiate_at } = self.state
            && self.is_wanted
            && initiate_at <= now
        {
            let config = ClientConfig {
                transport: Arc::clone(&self.transport),
            };
            if let Ok((handle, association)) = self.endpoint.connect(now, config, PEER) {
                self.add(handle, association);
            }
            self.state = State::Building;
        }
        for (_, association) in &mut self.candidates {
            association.handle_timeout(now);
        }
        self.settle(now);
    }

    fn association(&mut self) -> Option<&mut Association> {
        match self.state {
            State::Established => self.candidates.first_mut().map(|(_, a)| a),
            State::Idle { .. } | State::Waiting { .. } | State::Building | State::Over => None,
        }
    }

    /// Makes our side of a stream, or sets how an existing one delivers.
    pub(crate) fn open_stream(&mut self, stream: u16, config: &DataChannelConfig) -> bool {
        let Some(association) = self.association() else {
            return false;
        };
        // An error says that the peer's message made it already.
        let _ = association.open_stream(stream, PayloadProtocolIdentifier::Binary);
        self.set_delivery(stream, config.ordered, config.reliability)
    }

    /// Sets how a stream delivers what we send on it.
    pub(crate) fn set_delivery(
        &mut self,
        stream: u16,
        ordered: bool,
        reliability: Reliability,
    ) -> bool {
        let (kind, value) = match reliability {
            Reliability::Reliable => (ReliabilityType::Reliable, 0),
            Reliability::MaxRetransmits(count) => (ReliabilityType::Rexmit, count),
            Reliability::MaxLifetimeMs(millis) => (ReliabilityType::Timed, millis),
        };
        self.association()
            .and_then(|association| association.stream(stream).ok())
            .is_some_and(|mut s| s.set_reliability_params(!ordered, kind, value).is_ok())
    }

    /// Bytes of the stream that wait to be sent or acknowledged.
    pub(crate) fn buffered(&mut self, stream: u16) -> usize {
        self.association()
            .and_then(|association| association.stream(stream).ok())
            .and_then(|s| s.buffered_amount().ok())
            .unwrap_or(0)
    }

    /// Queues a message of at most the maximum size.
    pub(crate) fn write(
        &mut self,
        now: Instant,
        stream: u16,
        kind: MessageKind,
        data: &Bytes,
    ) -> Result<(), WriteError> {
        if kind != MessageKind::Dcep && self.buffered(stream) + data.len() > self.limits.send_buffer
        {
            return Err(WriteError::Full);
        }
        // SCTP cannot carry an empty message: one byte and an identifier of its own stand for it (RFC 8831 §6.6).
        let filler = Bytes::from_static(&[0]);
        let (ppi, data) = match (kind, data.is_empty()) {
            (MessageKind::Dcep, _) => (PayloadProtocolIdentifier::Dcep, data),
            (MessageKind::Text, false) => (PayloadProtocolIdentifier::String, data),
            (MessageKind::Text, true) => (PayloadProtocolIdentifier::StringEmpty, &filler),
            (MessageKind::Binary, false) => (PayloadProtocolIdentifier::Binary, data),
            (MessageKind::Binary, true) => (PayloadProtocolIdentifier::BinaryEmpty, &filler),
        };
        let association = self.association().ok_or(WriteError::Closed)?;
        association
            .stream(stream)
            .and_then(|mut s| s.write_chunk_with_ppi(now, data, ppi))
            .map_err(|_| WriteError::Closed)?;
        self.settle(now);
        Ok(())
    }

    /// Resets our side of a stream (RFC 6525).
    pub(crate) fn reset(&mut self, now: Instant, stream: u16) {
        if let Some(association) = self.association()
            && let Ok(mut handle) = association.stream(stream)
        {
            // An error means that the association is going down, which closes the stream as well.
            let _ = handle.close(now);
        }
        self.settle(now);
    }

    /// Ends the association by ABORT.
    pub(crate) fn abort(&mut self, now: Instant) {
        for index in 0..self.candidates.len() {
            // Aborting a closed association does nothing, which is what is wanted.
            let _ = self.candidates[index].1.abort();
            self.gather(index, now);
        }
        self.end();
    }

    /// The association is over, and nobody needs to be told but its owner.
    fn end(&mut self) {
        let was_over = matches!(self.state, State::Idle { .. } | State::Over);
        for (handle, _) in std::mem::take(&mut self.candidates) {
            self.forget(handle);
        }
        self.state = State::Over;
        if !was_over {
            self.events.push_back(SctpEvent::Lost);
        }
    }

    pub(crate) fn poll_event(&mut self) -> Option<SctpEvent> {
        self.events.pop_front()
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Bytes> {
        self.outgoing.pop_front()
    }
}
