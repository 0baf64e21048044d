//! The streams of one session by SSRC, bounded, and the memory of those that ended.

use rustc_hash::FxHashMap;

/// Ended streams that are remembered, 16 bytes each. Once full, streams can't be forgotten any more and
/// count against the limit: sessions that long must be renewed rather than lose the protection of their nonces.
const MAX_ENDED: usize = 16_384;

/// State per SSRC. Remembers the highest index of ended streams, so that a stream that comes back goes on after it:
/// starting over would reuse nonces on the way out, and admit replays on the way in.
#[derive(Debug)]
pub(super) struct Streams<T> {
    live: FxHashMap<u32, T>,
    ended: FxHashMap<u32, u64>,
    max: usize,
}

/// What a lookup found.
pub(super) enum Found<'a, T> {
    Live(&'a mut T),
    /// It ended, and this was its highest index.
    Ended(u64),
    Unknown,
}

/// What remains of a stream when it ends.
pub(super) trait HighestIndex {
    /// The highest index in use, `None` before the first packet.
    fn highest(&self) -> Option<u64>;
}

impl<T: HighestIndex> Streams<T> {
    pub(super) fn new(max: usize) -> Self {
        Self {
            live: FxHashMap::default(),
            ended: FxHashMap::default(),
            max,
        }
    }

    pub(super) fn find(&mut self, ssrc: u32) -> Found<'_, T> {
        match self.live.get_mut(&ssrc) {
            Some(stream) => Found::Live(stream),
            None => self
                .ended
                .get(&ssrc)
                .map_or(Found::Unknown, |highest| Found::Ended(*highest)),
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.live.len() < self.max
    }

    /// Enters a stream; the caller asked [`Self::has_room`].
    pub(super) fn insert(&mut self, ssrc: u32, stream: T) -> &mut T {
        self.ended.remove(&ssrc);
        self.live.entry(ssrc).insert_entry(stream).into_mut()
    }

    /// Frees a stream's state; answers whether its place is free now.
    pub(super) fn forget(&mut self, ssrc: u32) -> bool {
        let Some(stream) = self.live.get(&ssrc) else {
            return true;
        };
        if let Some(highest) = stream.highest() {
            if self.ended.len() >= MAX_ENDED {
                return false;
            }
            self.ended.insert(ssrc, highest);
        }
        self.live.remove(&ssrc);
        true
    }

    pub(super) fn len(&self) -> usize {
        self.live.len()
    }
}
