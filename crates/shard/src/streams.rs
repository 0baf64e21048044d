//! What a shard does about the connections that carry its datagrams: it forgets those that end, and keeps back what
//! those that are slow don't take.

use std::time::Duration;

use schalter_forward::{Intake, Owner};
use schalter_model::{Bitrate, Carrier, Path, Time};

use crate::shard::Shard;

/// Bytes in front of a connection up to which sound is still added: 27 ms of them at 300 kbit/s. Where nothing passes at all,
/// this much sound is late when it does again.
const ROOM_FOR_SOUND: usize = 1_024;
/// What is handed to a connection in one go, as time at the link's estimate. Until the connection takes no more nobody
/// knows, and then all of it may wait in front of the next sound.
const IN_ONE_GO: Duration = Duration::from_millis(20);
/// The least and the most of that, in bytes: room for any packet, and a dozen large ones.
const LEAST_IN_ONE_GO: u64 = 2_048;
const MOST_IN_ONE_GO: u64 = 16_384;
/// The estimate of links that nobody measures.
const UNMEASURED: Bitrate = Bitrate::from_kbps(3_000);

impl Shard {
    /// The connection of `path` is over. What it served goes on by another path, or waits for the peer to come back by one
    /// until its consent ends.
    pub fn on_stream_closed(&mut self, now: Time, path: Path) {
        let served = self.served_by(&path);
        if let (Some(turn), Carrier::Stream(stream)) = (&mut self.turn, path.carrier) {
            turn.on_stream_closed(stream);
        }
        let Some((owner, path)) = served else {
            return;
        };
        self.slots.forget_path(&path);
        if let Some(slot) = self.slots.slot_mut(owner) {
            slot.transport.forget_path(now, &path);
        }
        self.let_go(now, owner, &path);
        self.after_transport_input(now, owner);
    }

    /// So many bytes wait for the connection of `path`.
    pub fn on_stream_backlog(&mut self, now: Time, path: Path, waiting: usize) {
        let Some((owner, path)) = self.served_by(&path) else {
            return;
        };
        let Some(slot) = self.slots.slot_mut(owner) else {
            return;
        };
        if slot.transport.path() != Some(path) {
            self.let_go(now, owner, &path);
            return;
        }
        let intake = match waiting {
            0 => Intake::Everything,
            1..=ROOM_FOR_SOUND => Intake::Sound,
            _ => Intake::Nothing,
        };
        let was_shut = slot.is_shut();
        slot.slow = (intake != Intake::Everything).then_some((path, intake));
        if was_shut && !slot.is_shut() && !slot.dirty {
            // What the transport itself wanted to send was not asked for meanwhile.
            slot.dirty = true;
            self.dirty.push(owner);
        }
        self.router.set_intake(now, owner, intake);
    }

    /// Whether the connection of `path` serves anyone: authentic checks came on it, for a transport that is not over, or it
    /// has a TURN allocation.
    pub fn wants_stream(&self, path: &Path) -> bool {
        self.slots.owner_of(path).is_some()
            || self.turn.as_ref().is_some_and(|turn| turn.serves(path))
    }

    /// Holds nothing back for this path any more, as another one is in use.
    fn let_go(&mut self, now: Time, owner: Owner, path: &Path) {
        if let Some(slot) = self.slots.slot_mut(owner)
            && slot.slow.take_if(|(slow, _)| slow == path).is_some()
        {
            if !slot.dirty {
                slot.dirty = true;
                self.dirty.push(owner);
            }
            self.router.set_intake(now, owner, Intake::Everything);
        }
    }

    /// The transport sends by another path now.
    pub(crate) fn on_path_changed(&mut self, now: Time, owner: Owner) {
        self.counters.address_changes += 1;
        if let Some(slot) = self.slots.slot(owner)
            && let Some((slow, _)) = slot.slow
            && slot.transport.path() != Some(slow)
        {
            self.let_go(now, owner, &slow);
        }
    }

    /// Bytes that may be handed over in one go, of those that fit into a buffer of `len`.
    pub(crate) fn in_one_go(&self, owner: Owner, path: &Path, len: usize) -> usize {
        match path.carrier {
            Carrier::Udp | Carrier::TurnPort | Carrier::Relay(_) => len,
            Carrier::Stream(_) => {
                let rate = self.router.estimate(owner).unwrap_or(UNMEASURED).as_bps();
                let bytes = rate * IN_ONE_GO.as_millis() as u64 / 8_000;
                len.min(bytes.clamp(LEAST_IN_ONE_GO, MOST_IN_ONE_GO) as usize)
            }
        }
    }
}
