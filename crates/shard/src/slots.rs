//! The transports of a shard, found by slot, id, username fragment or path.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use schalter_forward::{ConsumerConfig, Intake, Owner};
use schalter_model::{Path, ShardId, Time, TrackId, TransportId, Ufrag};
use schalter_transport::Transport;

use crate::strays::Claimants;

/// A data message that waits for its channel to open.
pub(crate) struct WaitingMessage {
    pub(crate) label: Arc<str>,
    pub(crate) binary: bool,
    /// Its loss is told.
    pub(crate) must_arrive: bool,
    pub(crate) data: Bytes,
}

/// A subscription that waits for its transport to connect.
pub(crate) struct WaitingConsumer {
    pub(crate) track: TrackId,
    pub(crate) producer_shard: ShardId,
    pub(crate) config: ConsumerConfig,
}

/// Where a transport stands, for gauges and limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    New,
    Connecting,
    Connected,
    Disconnected,
}

/// One transport and what the shard keeps beside it.
pub(crate) struct Slot {
    pub(crate) id: TransportId,
    pub(crate) transport: Transport,
    pub(crate) stage: Stage,
    pub(crate) ufrags: Vec<Ufrag>,
    pub(crate) paths: Vec<Path>,
    /// Streams that came, by which its media is known on other paths.
    pub(crate) ssrcs: Vec<u32>,
    /// Paths that its media came on and that have not proven themselves.
    pub(crate) guests: Vec<Path>,
    /// Media may be sent: DTLS is done and the certificate is the announced one.
    pub(crate) media: bool,
    /// Tracks that this transport publishes.
    pub(crate) tracks: Vec<TrackId>,
    pub(crate) waiting_consumers: Vec<WaitingConsumer>,
    pub(crate) waiting_messages: VecDeque<WaitingMessage>,
    pub(crate) waiting_bytes: usize,
    pub(crate) failed_checks: FailedChecks,
    /// Packets from paths of nobody that seemed to be for this transport and were not.
    pub(crate) failed_strays: FailedChecks,
    /// When the timer queue will look at this transport next.
    pub(crate) scheduled: Option<Time>,
    /// Stands in the list of transports that may have something to send.
    pub(crate) dirty: bool,
    /// The path in use, if it is a connection that does not take everything now, and what it takes.
    pub(crate) slow: Option<(Path, Intake)>,
}

impl Slot {
    /// Whether its connection takes nothing more now.
    pub(crate) fn is_shut(&self) -> bool {
        matches!(self.slow, Some((_, Intake::Nothing)))
    }
}

/// Counts what failed authentication within the running second.
#[derive(Clone, Copy, Default)]
pub(crate) struct FailedChecks {
    second: u64,
    count: u32,
}

impl FailedChecks {
    /// Whether `limit` was reached within the second of `now`.
    pub(crate) fn exhausted(self, now: Time, limit: u32) -> bool {
        self.second == now.as_millis() / 1_000 && self.count >= limit
    }

    pub(crate) fn count(&mut self, now: Time) {
        let second = now.as_millis() / 1_000;
        if self.second != second {
            *self = Self { second, count: 0 };
        }
        self.count = self.count.saturating_add(1);
    }
}

/// Paths remembered for one transport; older ones give way.
const MAX_PATHS: usize = 8;
/// ICE generations remembered for one transport: the current and the one before.
const MAX_UFRAGS: usize = 2;

/// Slots with their indexes.
#[derive(Default)]
pub(crate) struct Slots {
    slots: Vec<Option<Box<Slot>>>,
    free: Vec<u32>,
    by_id: FxHashMap<TransportId, u32>,
    by_ufrag: FxHashMap<Ufrag, u32>,
    by_path: FxHashMap<Path, u32>,
    pub(crate) by_ssrc: FxHashMap<u32, Claimants>,
    pub(crate) by_guest: FxHashMap<Path, u32>,
    /// The path of the last datagram: bursts come from one peer.
    last_path: Option<(Path, u32)>,
}

impl Slots {
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn insert(&mut self, slot: Slot) -> Owner {
        let id = slot.id;
        let ufrags = slot.ufrags.clone();
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = Some(Box::new(slot));
                index
            }
            None => {
                self.slots.push(Some(Box::new(slot)));
                u32::try_from(self.slots.len() - 1)
                    .expect("ShardLimits::transports is far below 2^32")
            }
        };
        self.by_id.insert(id, index);
        for ufrag in ufrags {
            self.by_ufrag.insert(ufrag, index);
        }
        Owner(index)
    }

    pub(crate) fn remove(&mut self, owner: Owner) -> Option<Box<Slot>> {
        let slot = self.slots.get_mut(owner.0 as usize)?.take()?;
        self.free.push(owner.0);
        self.by_id.remove(&slot.id);
        for ufrag in &slot.ufrags {
            self.by_ufrag.remove(ufrag);
        }
        for path in &slot.paths {
            self.by_path.remove(path);
        }
        for ssrc in &slot.ssrcs {
            self.disclaim(*ssrc, owner);
        }
        for path in &slot.guests {
            self.by_guest.remove(path);
        }
        self.last_path = None;
        Some(slot)
    }

    pub(crate) fn slot(&self, owner: Owner) -> Option<&Slot> {
        self.slots.get(owner.0 as usize)?.as_deref()
    }

    pub(crate) fn slot_mut(&mut self, owner: Owner) -> Option<&mut Slot> {
        self.slots.get_mut(owner.0 as usize)?.as_deref_mut()
    }

    pub(crate) fn by_id(&self, id: TransportId) -> Option<Owner> {
        self.by_id.get(&id).copied().map(Owner)
    }

    pub(crate) fn by_ufrag(&self, ufrag: &Ufrag) -> Option<Owner> {
        self.by_ufrag.get(ufrag).copied().map(Owner)
    }

    pub(crate) fn by_path(&mut self, path: &Path) -> Option<Owner> {
        if let Some((last, index)) = self.last_path
            && last == *path
        {
            return Some(Owner(index));
        }
        let index = *self.by_path.get(path)?;
        self.last_path = Some((*path, index));
        Some(Owner(index))
    }

    /// Whose path it is.
    pub(crate) fn owner_of(&self, path: &Path) -> Option<Owner> {
        self.by_path.get(path).copied().map(Owner)
    }

    /// Forgets a path that leads nowhere any more.
    pub(crate) fn forget_path(&mut self, path: &Path) {
        if let Some(index) = self.by_path.remove(path)
            && let Some(slot) = self.slot_mut(Owner(index))
        {
            slot.paths.retain(|known| known != path);
        }
        self.last_path = None;
    }

    /// Remembers that a check from `path` was valid for `owner`.
    pub(crate) fn learn_path(&mut self, owner: Owner, path: Path) {
        if self.by_path(&path) == Some(owner) {
            return;
        }
        self.forget_guest(&path);
        // The port may have belonged to another transport of the same host before.
        if let Some(previous) = self.by_path.insert(path, owner.0)
            && let Some(slot) = self.slot_mut(Owner(previous))
        {
            slot.paths.retain(|known| *known != path);
        }
        self.last_path = None;
        let Some(slot) = self
            .slots
            .get_mut(owner.0 as usize)
            .and_then(|slot| slot.as_deref_mut())
        else {
            return;
        };
        slot.paths.push(path);
        if slot.paths.len() > MAX_PATHS {
            // The path in use is never the one to go.
            let selected = slot.transport.path();
            let oldest = slot.paths.iter().position(|known| Some(*known) != selected);
            if let Some(position) = oldest {
                let gone = slot.paths.remove(position);
                self.by_path.remove(&gone);
            }
        }
    }

    /// Adds an ICE generation.
    pub(crate) fn learn_ufrag(&mut self, owner: Owner, ufrag: Ufrag) {
        let Some(slot) = self
            .slots
            .get_mut(owner.0 as usize)
            .and_then(|slot| slot.as_deref_mut())
        else {
            return;
        };
        slot.ufrags.push(ufrag);
        self.by_ufrag.insert(ufrag, owner.0);
        if slot.ufrags.len() > MAX_UFRAGS {
            let gone = slot.ufrags.remove(0);
            self.by_ufrag.remove(&gone);
        }
    }

    /// A published track ended.
    pub(crate) fn forget_track(&mut self, track: TrackId) {
        for slot in self.slots.iter_mut().flatten() {
            slot.tracks.retain(|known| *known != track);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Owner, &Slot)> {
        self.slots
            .iter()
            .zip(0u32..)
            .filter_map(|(slot, index)| slot.as_deref().map(|slot| (Owner(index), slot)))
    }
}
