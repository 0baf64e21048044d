//! The shard itself: takes inputs, keeps transports and router in step, queues outputs.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use schalter_forward::{Owner, Router, RouterConfig};
use schalter_model::{
    Bitrate, Carrier, Counters, DropReason, Path, ShardId, Time, TrackId, TransportId,
    TransportStateGauges, Ufrag,
};
use schalter_transport::{Transport, TransportEvent, stun};
use schalter_turn::Turn;

use crate::config::ShardConfig;
use crate::control::{Command, Event, Refusal, TransportFailure, TransportState};
use crate::demux::{Protocol, protocol};
use crate::peer::PeerMessage;
use crate::remote::RemoteTrack;
use crate::slots::{Slots, Stage, WaitingConsumer, WaitingMessage};
use crate::timers::Timers;

/// One worker's part of the media plane.
pub struct Shard {
    pub(crate) config: ShardConfig,
    pub(crate) slots: Slots,
    /// Transports whose handshake is not finished.
    pub(crate) half_open: usize,
    pub(crate) router: Router,
    pub(crate) timers: Timers,
    /// Transports that may have something to send.
    pub(crate) dirty: Vec<Owner>,
    /// Datagrams that are ready but belong to no run: last words of transports that are gone, and the odd packet that
    /// turned out longer than the run it was meant for.
    pub(crate) stray: VecDeque<(Path, Vec<u8>)>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) peer_messages: VecDeque<(ShardId, PeerMessage)>,
    /// Tracks of other shards that transports here subscribe to.
    pub(crate) remote: FxHashMap<TrackId, RemoteTrack>,
    /// Shards that take copies of our tracks.
    pub(crate) taps: FxHashMap<TrackId, Vec<ShardId>>,
    /// Shards that asked for a track before its producer came.
    pub(crate) waiting_taps: Vec<(TrackId, ShardId)>,
    pub(crate) counters: Counters,
    /// The TURN server, if this shard has one.
    pub(crate) turn: Option<Turn>,
}

impl Shard {
    /// An empty shard.
    pub fn new(config: ShardConfig) -> Self {
        let router = Router::new(RouterConfig {
            wall: config.wall,
            seed: config.seed,
            burst: config.burst,
            loudest: config.loudest,
            ..RouterConfig::default()
        });
        Self {
            config,
            slots: Slots::default(),
            half_open: 0,
            router,
            timers: Timers::default(),
            dirty: Vec::new(),
            stray: VecDeque::new(),
            events: VecDeque::new(),
            peer_messages: VecDeque::new(),
            remote: FxHashMap::default(),
            taps: FxHashMap::default(),
            waiting_taps: Vec::new(),
            counters: Counters::default(),
            turn: None,
        }
    }

    /// Which shard this is.
    pub fn id(&self) -> ShardId {
        self.config.id
    }

    /// Carries out a request of signaling. What can't be carried out is answered by [`Event::Refused`].
    pub fn on_command(&mut self, now: Time, command: Command) {
        match command {
            Command::ServeTurn(service) => self.serve_turn(*service),
            Command::OpenTransport {
                transport,
                ice,
                channels,
            } => {
                let ufrag = ice.ufrag;
                let config = self.transport_config(ice, channels);
                self.open_transport(now, transport, ufrag, || Transport::new(now, config));
            }
            Command::SetRemote {
                transport,
                ice,
                fingerprints,
            } => {
                if let Some(owner) = self.known(transport, None)
                    && let Some(slot) = self.slots.slot_mut(owner)
                {
                    slot.transport.set_remote(now, ice, fingerprints);
                    self.after_transport_input(now, owner);
                }
            }
            Command::RestartIce { transport, ice } => {
                if let Some(owner) = self.known(transport, None) {
                    self.slots.learn_ufrag(owner, ice.ufrag);
                    if let Some(slot) = self.slots.slot_mut(owner) {
                        slot.transport.restart_ice(now, &ice);
                    }
                    self.after_transport_input(now, owner);
                }
            }
            Command::CloseTransport { transport } => self.close_transport(now, transport),
            Command::AddProducer {
                transport,
                track,
                config,
            } => {
                let Some(owner) = self.known(transport, Some(track)) else {
                    return;
                };
                match self.router.add_producer(now, owner, track, config) {
                    Ok(()) => {
                        if let Some(slot) = self.slots.slot_mut(owner)
                            && !slot.tracks.contains(&track)
                        {
                            slot.tracks.push(track);
                        }
                        self.announce_producer(now, track);
                    }
                    Err(error) => self.refuse(transport, Some(track), Refusal::from(&error)),
                }
            }
            Command::RemoveProducer { track } => {
                // A remote track ends by its own shard's word, never by signaling's.
                if !self.remote.contains_key(&track) {
                    self.router.remove_producer(now, track);
                    self.slots.forget_track(track);
                    self.producer_gone(track);
                }
            }
            Command::MuteProducer { track, muted } => self.router.mute_producer(now, track, muted),
            Command::AddConsumer {
                transport,
                track,
                producer_shard,
                config,
            } => {
                let Some(owner) = self.known(transport, Some(track)) else {
                    return;
                };
                self.add_consumer(
                    now,
                    owner,
                    WaitingConsumer {
                        track,
                        producer_shard,
                        config,
                    },
                );
            }
            Command::SetConsumerTarget {
                transport,
                track,
                target,
            } => {
                let Some(owner) = self.known(transport, Some(track)) else {
                    return;
                };
                if let Some(waiting) = self.waiting_consumer(owner, track) {
                    waiting.config.target = target;
                } else {
                    self.router.set_target(now, owner, track, target);
                }
            }
            Command::LimitDownlink { transport, limit } => self.limit_link(now, transport, limit),
            Command::RemoveConsumer { transport, track } => {
                let Some(owner) = self.slots.by_id(transport) else {
                    return;
                };
                self.remove_consumer(now, owner, track);
            }
            Command::SendData {
                transports,
                label,
                binary,
                must_arrive,
                data,
            } => {
                for transport in transports {
                    let message = WaitingMessage {
                        label: label.clone(),
                        binary,
                        must_arrive,
                        data: data.clone(),
                    };
                    self.send_data(now, transport, message);
                }
            }
        }
    }

    /// Takes one received datagram; decrypts media in place.
    pub fn on_datagram(&mut self, now: Time, path: Path, datagram: &mut [u8]) {
        if let Err(reason) = self.dispatch(now, path, datagram) {
            self.counters.drops.count(reason);
        }
    }

    pub(crate) fn dispatch(
        &mut self,
        now: Time,
        path: Path,
        datagram: &mut [u8],
    ) -> Result<(), DropReason> {
        if path.carrier == Carrier::TurnPort {
            return self.on_turn_port(now, path, datagram);
        }
        match protocol(datagram) {
            Protocol::Rtp => match self.slots.by_path(&path) {
                Some(owner) => self.on_rtp(now, path, owner, datagram),
                None => self.on_stray(now, path, datagram),
            },
            Protocol::Rtcp => match self.slots.by_path(&path) {
                Some(owner) => self.on_rtcp(now, path, owner, datagram),
                None => self.on_stray(now, path, datagram),
            },
            Protocol::Channel => self.on_turn(now, path, datagram),
            Protocol::Stun if self.is_for_turn(datagram) => self.on_turn(now, path, datagram),
            Protocol::Stun => self.on_stun(now, path, datagram),
            Protocol::Dtls => {
                let owner = self.slots.by_path(&path).ok_or(DropReason::DtlsBeforeIce)?;
                let slot = self
                    .slots
                    .slot_mut(owner)
                    .ok_or(DropReason::DtlsBeforeIce)?;
                let result = slot.transport.on_dtls(now, path, datagram);
                self.after_transport_input(now, owner);
                result
            }
            Protocol::Unknown => Err(DropReason::UnknownProtocol),
        }
    }

    fn on_rtp(
        &mut self,
        now: Time,
        path: Path,
        owner: Owner,
        datagram: &mut [u8],
    ) -> Result<(), DropReason> {
        let slot = self.slots.slot_mut(owner).ok_or(DropReason::UnknownPeer)?;
        let len = slot.transport.open_rtp(now, path, datagram)?;
        self.after_media(now, owner);
        self.router.on_rtp(now, owner, &datagram[..len])
    }

    fn on_rtcp(
        &mut self,
        now: Time,
        path: Path,
        owner: Owner,
        datagram: &mut [u8],
    ) -> Result<(), DropReason> {
        let slot = self.slots.slot_mut(owner).ok_or(DropReason::UnknownPeer)?;
        let len = slot.transport.open_rtcp(now, path, datagram)?;
        self.after_media(now, owner);
        self.router.on_rtcp(now, owner, &datagram[..len])
    }

    /// What an authentic packet of media changes, which mostly is nothing.
    pub(crate) fn after_media(&mut self, now: Time, owner: Owner) {
        let Some(slot) = self.slots.slot_mut(owner) else {
            return;
        };
        let has_news = slot.stage == Stage::Disconnected || slot.transport.has_challenge();
        if let Some(ssrc) = slot.transport.take_new_stream() {
            self.slots.learn_ssrc(owner, ssrc);
        }
        if has_news {
            self.after_transport_input(now, owner);
        }
    }

    fn on_stun(&mut self, now: Time, path: Path, datagram: &[u8]) -> Result<(), DropReason> {
        if stun::is_response(datagram) {
            return self.on_proof(now, path, datagram);
        }
        let limit = self.config.limits.failed_checks_per_second;
        let (local, _) = stun::username_of(datagram).ok_or(DropReason::StunMalformed)?;
        let ufrag = Ufrag::parse(local).map_err(|_| DropReason::StunUnknownUser)?;
        let owner = self
            .slots
            .by_ufrag(&ufrag)
            .ok_or(DropReason::StunUnknownUser)?;
        let known_path = self.slots.by_path(&path) == Some(owner);
        let slot = self
            .slots
            .slot_mut(owner)
            .ok_or(DropReason::StunUnknownUser)?;
        // A valid peer's own path is never locked out by what a stranger sends from elsewhere.
        if !known_path && slot.failed_checks.exhausted(now, limit) {
            return Err(DropReason::StunRateLimited);
        }
        match slot.transport.on_stun(now, path, datagram) {
            Ok(()) => {
                // An indication is taken without proof of anything, and an error answer validates no path.
                if slot.transport.is_validated(&path) {
                    self.slots.learn_path(owner, path);
                }
                self.after_transport_input(now, owner);
                Ok(())
            }
            Err(reason) => {
                slot.failed_checks.count(now);
                Err(reason)
            }
        }
    }

    /// When [`Self::on_timeout`] wants to be called next.
    pub fn next_timeout(&self) -> Option<Time> {
        let turn = self.turn.as_ref().and_then(Turn::next_timeout);
        [self.timers.next(), self.router.next_timeout(), turn]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what time asks for.
    pub fn on_timeout(&mut self, now: Time) {
        while let Some((at, owner)) = self.timers.pop_due(now) {
            let Some(slot) = self.slots.slot_mut(owner) else {
                continue;
            };
            if slot.scheduled != Some(at) {
                continue;
            }
            slot.scheduled = None;
            slot.transport.on_timeout(now);
            self.after_transport_input(now, owner);
        }
        if self.router.next_timeout().is_some_and(|at| at <= now) {
            self.router.on_timeout(now);
            self.drain_router_events();
        }
        if let Some(turn) = &mut self.turn {
            turn.on_timeout(now);
        }
    }

    /// What happened since the last call, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.drain_router_events();
        self.events.pop_front()
    }

    /// What the link to a subscriber is believed to carry; `None` if nobody measures it.
    pub fn estimate(&self, transport: TransportId) -> Option<Bitrate> {
        self.router.estimate(self.slots.by_id(transport)?)
    }

    /// Everything counted so far; gauges as of now.
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters;
        self.router.counters(&mut counters);
        let mut gauges = TransportStateGauges::default();
        for (_, slot) in self.slots.iter() {
            match slot.stage {
                Stage::New => gauges.new += 1,
                Stage::Connecting => gauges.connecting += 1,
                Stage::Connected => gauges.connected += 1,
                Stage::Disconnected => gauges.disconnected += 1,
            }
        }
        counters.transports = gauges;
        if let Some(turn) = &self.turn {
            counters.turn = turn.counters();
        }
        counters
    }

    /// Brings timers, outputs and events up to date after anything touched a transport.
    pub(crate) fn after_transport_input(&mut self, now: Time, owner: Owner) {
        let mut over = None;
        while let Some(event) = self
            .slots
            .slot_mut(owner)
            .and_then(|slot| slot.transport.poll_event())
        {
            if let Some(end) = self.on_transport_event(now, owner, event) {
                over = Some(end);
            }
        }
        if let Some(state) = over {
            let Some(id) = self.slots.slot(owner).map(|slot| slot.id) else {
                return;
            };
            self.flush_closing(now, owner);
            self.remove_transport(now, owner);
            self.push_event(Event::TransportState {
                transport: id,
                state,
            });
            return;
        }
        let Some(slot) = self.slots.slot_mut(owner) else {
            return;
        };
        if !slot.dirty {
            slot.dirty = true;
            self.dirty.push(owner);
        }
        let wanted = slot.transport.next_timeout();
        if let Some(at) = wanted
            && slot.scheduled.is_none_or(|scheduled| at < scheduled)
        {
            slot.scheduled = Some(at);
            self.timers.schedule(at, owner);
        }
    }

    /// Handles one event; returns the final state if the transport is over.
    fn on_transport_event(
        &mut self,
        now: Time,
        owner: Owner,
        event: TransportEvent,
    ) -> Option<TransportState> {
        let slot = self.slots.slot_mut(owner)?;
        let transport = slot.id;
        let state = match event {
            TransportEvent::Connecting => {
                slot.stage = Stage::Connecting;
                TransportState::Connecting
            }
            TransportEvent::Connected { profile } => {
                slot.stage = Stage::Connected;
                slot.media = true;
                self.half_open -= 1;
                let waiting = std::mem::take(&mut slot.waiting_consumers);
                self.counters.srtp_profiles.count(profile);
                for consumer in waiting {
                    self.add_consumer(now, owner, consumer);
                }
                TransportState::Connected { profile }
            }
            TransportEvent::Disconnected => {
                slot.stage = Stage::Disconnected;
                TransportState::Disconnected
            }
            TransportEvent::Reconnected => {
                slot.stage = if slot.media {
                    Stage::Connected
                } else {
                    Stage::Connecting
                };
                TransportState::Reconnected
            }
            TransportEvent::PathChanged => {
                self.on_path_changed(now, owner);
                return None;
            }
            TransportEvent::Failed(reason) => {
                match reason {
                    TransportFailure::ConsentLost => self.counters.consent_losses += 1,
                    TransportFailure::Dtls
                    | TransportFailure::FingerprintMismatch
                    | TransportFailure::NoSrtpProfile => self.counters.dtls_failures += 1,
                    TransportFailure::NeverConnected => {}
                }
                return Some(TransportState::Failed { reason });
            }
            TransportEvent::Closed => return Some(TransportState::Closed),
            TransportEvent::ChannelOpened { channel, config } => {
                self.push_event(Event::ChannelOpened {
                    transport,
                    channel,
                    config,
                });
                self.send_waiting(now, owner);
                return None;
            }
            TransportEvent::ChannelClosed { channel } => {
                self.push_event(Event::ChannelClosed { transport, channel });
                return None;
            }
            TransportEvent::Data {
                channel,
                label,
                binary,
                data,
            } => {
                self.counters.data_in += 1;
                self.push_event(Event::Data {
                    transport,
                    channel,
                    label,
                    binary,
                    data,
                });
                return None;
            }
        };
        self.push_event(Event::TransportState { transport, state });
        None
    }

    fn waiting_consumer(&mut self, owner: Owner, track: TrackId) -> Option<&mut WaitingConsumer> {
        let slot = self.slots.slot_mut(owner)?;
        slot.waiting_consumers
            .iter_mut()
            .find(|waiting| waiting.track == track)
    }

    fn known(&mut self, transport: TransportId, track: Option<TrackId>) -> Option<Owner> {
        let owner = self.slots.by_id(transport);
        if owner.is_none() {
            self.refuse(transport, track, Refusal::UnknownTransport);
        }
        owner
    }

    pub(crate) fn refuse(
        &mut self,
        transport: TransportId,
        track: Option<TrackId>,
        reason: Refusal,
    ) {
        self.push_event(Event::Refused {
            transport,
            track,
            reason,
        });
    }

    pub(crate) fn push_event(&mut self, event: Event) {
        self.events.push_back(event);
    }
}
