//! Data channel messages: sent at once, or kept until their channel opens.

use schalter_forward::Owner;
use schalter_model::{DropReason, Time, TransportId};

use crate::control::Refusal;
use crate::shard::Shard;
use crate::slots::WaitingMessage;

impl Shard {
    /// Sends a message on the channel with its label, or keeps it (bounded) until there is one.
    pub(crate) fn send_data(&mut self, now: Time, transport: TransportId, message: WaitingMessage) {
        let Some(owner) = self.slots.by_id(transport) else {
            return;
        };
        let limits = self.config.limits;
        let Some(slot) = self.slots.slot_mut(owner) else {
            return;
        };
        match slot.transport.channel_by_label(&message.label) {
            Some(channel) => {
                let sent = slot
                    .transport
                    .send_data(now, channel, message.binary, message.data);
                if sent.is_ok() {
                    self.counters.data_out += 1;
                } else {
                    self.lose(transport, message.must_arrive);
                }
                self.after_transport_input(now, owner);
            }
            None => {
                let bytes = slot.waiting_bytes + message.data.len();
                if slot.waiting_messages.len() >= limits.waiting_messages
                    || bytes > limits.waiting_bytes
                {
                    self.lose(transport, message.must_arrive);
                    return;
                }
                slot.waiting_bytes = bytes;
                slot.waiting_messages.push_back(message);
            }
        }
    }

    /// Counts a message that found no room, and tells if it must not be missing.
    fn lose(&mut self, transport: TransportId, must_arrive: bool) {
        self.counters.drops.count(DropReason::DataOverload);
        if must_arrive {
            self.refuse(transport, None, Refusal::DataOverload);
        }
    }

    /// Sends what waited for a channel that is open now.
    pub(crate) fn send_waiting(&mut self, now: Time, owner: Owner) {
        let Some(slot) = self.slots.slot_mut(owner) else {
            return;
        };
        let waiting = std::mem::take(&mut slot.waiting_messages);
        slot.waiting_bytes = 0;
        let id = slot.id;
        for message in waiting {
            self.send_data(now, id, message);
        }
    }
}
