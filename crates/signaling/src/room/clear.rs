//! Rooms that take nothing in the clear ([`Clear::Refused`]): what a sender says itself is not encrypted between the people in the room is refused
//! and counted. The server can't see whether it is true: this guards against clients that don't encrypt and say so, and against no others
//! (docs/adr/0013-encryption-between-browsers.md).

use livekit_protocol::AddTrackRequest;
use livekit_protocol::encryption::Type as Encryption;
use livekit_protocol::request_response::Reason;

use super::Room;
use super::participant::ParticipantKey;
use super::request::Refusal;
use crate::guided::Clear;
use crate::splice::PacketView;

/// Topics that the pages send under: messages of the agreement on keys, which can't be encrypted yet, and what is sealed by the keys.
/// `crates/web/page/talk/e2ee/encryption.ts` has them, too.
const TOPICS: [&str; 2] = ["e2ee-agree", "e2ee"];

impl Room {
    /// Whether nothing is taken in the clear. Who is in a call that began otherwise need not be able to encrypt, so a call is never made
    /// stricter; what the authority no longer asks for is not asked for at once.
    pub(super) fn refuses_clear(&self) -> bool {
        let now = self.config.guided.clear(&self.key.authority);
        self.clear == Clear::Refused && now != Some(Clear::Taken)
    }

    /// Refuses, and counts, a track that is announced as not encrypted where that is not taken. An algorithm that is not known here is none.
    pub(super) fn check_encryption(&self, request: &AddTrackRequest) -> Result<(), Refusal> {
        if request.encryption() != Encryption::None || !self.refuses_clear() {
            return Ok(());
        }
        self.counters.clear_tracks_refused.add(1);
        Err(Refusal::new(Reason::NotAllowed, MUST_ENCRYPT))
    }

    /// The same for a packet. Whoever sends such is told, now and then.
    pub(super) fn takes_packet(&mut self, key: ParticipantKey, packet: &PacketView<'_>) -> bool {
        let sealed = packet.encrypted || packet.topic.is_some_and(|topic| TOPICS.contains(&topic));
        if sealed || !self.refuses_clear() {
            return true;
        }
        self.counters.clear_data_refused.add(1);
        let now = self.now;
        let sender = self.participants.get_mut(&key);
        if sender.is_some_and(|sender| sender.data.notice_due(now)) {
            let refusal = Refusal::new(Reason::NotAllowed, MUST_ENCRYPT);
            self.refuse_request(key, 0, refusal, None);
        }
        false
    }
}

/// What clients are told.
pub(super) const MUST_ENCRYPT: &str =
    "only what is encrypted between the participants is taken here";
