//! Data that the room service sends: packets without a sender, bounded like those of one.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use livekit_protocol::{DataPacket, SendDataRequest, UserPacket, data_packet};
use prost::Message as _;
use schalter_model::Time;

use super::Room;
use super::data::{LOSSY, RELIABLE, SenderState};
use super::negotiate::MAX_MESSAGE_SIZE;
use super::service::ServiceRefusal;
use crate::config::Limits;
use crate::splice;

/// Requests whose repetition is noticed: an SDK repeats one within seconds if its answer was lost.
const NONCES: usize = 1024;

/// Longest nonce, in bytes; SDKs send 16.
const NONCE_BYTES: usize = 64;

/// What limits the room service as a sender, and what is kept of what it sent.
#[derive(Debug)]
pub(super) struct ServerData {
    pub(super) sender: SenderState,
    /// Of the latest requests, oldest first.
    nonces: VecDeque<Vec<u8>>,
    known: HashSet<Vec<u8>>,
}

impl ServerData {
    pub(super) fn new(limits: &Limits, now: Time) -> Self {
        Self {
            sender: SenderState::new(limits, now),
            nonces: VecDeque::new(),
            known: HashSet::new(),
        }
    }

    fn remember(&mut self, nonce: Vec<u8>) {
        if nonce.is_empty() {
            return;
        }
        self.known.insert(nonce.clone());
        self.nonces.push_back(nonce);
        if self.nonces.len() > NONCES
            && let Some(oldest) = self.nonces.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

impl Room {
    /// Sends data to those it names, or to everybody. Names of participants who aren't here are passed over: they may
    /// have left meanwhile. A request with the nonce of one that was carried out is answered and not sent again.
    ///
    /// # Errors
    /// [`ServiceRefusal::Invalid`] if the kind is unknown or the packet too long, [`ServiceRefusal::Exhausted`] beyond
    /// the rate that one participant may send at.
    pub fn send_server_data(&mut self, request: SendDataRequest) -> Result<(), ServiceRefusal> {
        let Ok(kind) = data_packet::Kind::try_from(request.kind) else {
            return Err(ServiceRefusal::Invalid("kind is RELIABLE or LOSSY"));
        };
        let nonce = request.nonce;
        if nonce.len() > NONCE_BYTES {
            return Err(ServiceRefusal::Invalid("nonce is longer than 64 bytes"));
        }
        if self.server_data.known.contains(&nonce) {
            return Ok(());
        }
        let lossy = kind == data_packet::Kind::Lossy;
        #[expect(deprecated, reason = "older clients read and send these fields")]
        let packet = DataPacket {
            kind: kind as i32,
            destination_identities: request.destination_identities.clone(),
            value: Some(data_packet::Value::User(UserPacket {
                payload: request.data,
                topic: request.topic,
                destination_sids: request.destination_sids,
                destination_identities: request.destination_identities,
                nonce: nonce.clone(),
                ..UserPacket::default()
            })),
            ..DataPacket::default()
        };
        let packet = Bytes::from(packet.encode_to_vec());
        if packet.len() > MAX_MESSAGE_SIZE as usize {
            let text = "data, topic and destinations are longer than 65535 bytes together";
            return Err(ServiceRefusal::Invalid(text));
        }
        let audience = {
            let view = splice::view(&packet).expect("what was just encoded is well-formed");
            self.audience(&view)
        };
        let receivers = self.receivers(None, lossy, &audience);
        let count = receivers.values().map(Vec::len).sum();
        if !self
            .server_data
            .sender
            .admits(packet.len(), count, self.now)
        {
            self.counters.data_overload.add(1);
            let text = "data is sent to the room faster than the limit";
            return Err(ServiceRefusal::Exhausted(text));
        }
        self.server_data.remember(nonce);
        if !lossy {
            let (limits, kept) = (&self.config.limits, packet.clone());
            let replay = &mut self.server_data.sender.replay;
            replay.keep(limits, 0, audience, kept);
        }
        let label = if lossy { LOSSY } else { RELIABLE };
        for (shard, transports) in receivers {
            self.send_data(shard, transports, label.into(), packet.clone());
        }
        self.counters.data_relayed.add(1);
        Ok(())
    }
}
