//! Transports come and go.

use std::collections::VecDeque;

use schalter_forward::Owner;
use schalter_model::{DropReason, SrtpProfile, Time, TransportId, Ufrag};
use schalter_transport::{
    DataChannelConfig, DataError, LocalIce, Transport, TransportConfig, TransportError,
};

use crate::control::Refusal;
use crate::shard::Shard;
use crate::slots::{FailedChecks, Slot, Stage};

impl Shard {
    /// Makes a transport whose SRTP keys were agreed on outside of DTLS, see [`Transport::with_keys`]. It has no data
    /// channels and otherwise lives like one of [`Command::OpenTransport`](crate::control::Command::OpenTransport).
    pub fn open_keyed_transport(
        &mut self,
        now: Time,
        transport: TransportId,
        ice: LocalIce,
        profile: SrtpProfile,
        keying_material: &[u8],
    ) {
        let ufrag = ice.ufrag;
        let config = self.transport_config(ice, Vec::new());
        self.open_transport(now, transport, ufrag, || {
            Transport::with_keys(now, config, profile, keying_material)
        });
    }

    pub(crate) fn transport_config(
        &self,
        ice: LocalIce,
        channels: Vec<DataChannelConfig>,
    ) -> TransportConfig {
        TransportConfig {
            epoch: self.config.epoch,
            identity: self.config.identity.clone(),
            crypto: self.config.crypto,
            ice,
            challenges: self.config.challenges.clone(),
            channels,
            limits: self.config.transport_limits,
        }
    }

    pub(crate) fn open_transport(
        &mut self,
        now: Time,
        id: TransportId,
        ufrag: Ufrag,
        make: impl FnOnce() -> Result<Transport, TransportError>,
    ) {
        let full = self.slots.len() >= self.config.limits.transports
            || self.half_open >= self.config.limits.half_open_transports
            || self.slots.by_id(id).is_some();
        if full {
            self.counters.drops.count(DropReason::TransportLimit);
            self.refuse(id, None, Refusal::Limit);
            return;
        }
        let transport = match make() {
            Ok(transport) => transport,
            Err(error) => {
                let reason = match error {
                    TransportError::Channel(DataError::TooManyChannels) => Refusal::Limit,
                    TransportError::Channel(_) | TransportError::Keys(_) => Refusal::InvalidConfig,
                };
                self.refuse(id, None, reason);
                return;
            }
        };
        let owner = self.slots.insert(Slot {
            id,
            transport,
            stage: Stage::New,
            ufrags: vec![ufrag],
            paths: Vec::new(),
            ssrcs: Vec::new(),
            guests: Vec::new(),
            media: false,
            waiting_consumers: Vec::new(),
            waiting_messages: VecDeque::new(),
            waiting_bytes: 0,
            tracks: Vec::new(),
            failed_checks: FailedChecks::default(),
            failed_strays: FailedChecks::default(),
            scheduled: None,
            dirty: false,
            slow: None,
        });
        self.half_open += 1;
        if self.router.add_owner(owner).is_err() {
            self.remove_transport(now, owner);
            self.refuse(id, None, Refusal::Limit);
            return;
        }
        self.after_transport_input(now, owner);
    }

    pub(crate) fn close_transport(&mut self, now: Time, id: TransportId) {
        let Some(owner) = self.slots.by_id(id) else {
            return;
        };
        if let Some(slot) = self.slots.slot_mut(owner) {
            slot.transport.close(now);
        }
        self.flush_closing(now, owner);
        self.remove_transport(now, owner);
    }

    /// Forgets a transport and everything that hangs on it.
    pub(crate) fn remove_transport(&mut self, now: Time, owner: Owner) {
        let tracks = self
            .slots
            .slot_mut(owner)
            .map(|slot| std::mem::take(&mut slot.tracks))
            .unwrap_or_default();
        self.router.remove_owner(now, owner);
        for track in tracks {
            self.producer_gone(track);
        }
        self.forget_remote_consumers(now, owner);
        if self.slots.remove(owner).is_some_and(|slot| !slot.media) {
            self.half_open -= 1;
        }
    }
}
