//! Reliable packets that are kept for a while: for clients that resume and say what they have of each sender, and for
//! those whose transport opens after they joined.

use std::collections::VecDeque;

use bytes::Bytes;

use super::participant::ParticipantKey;
use crate::config::Limits;

/// Whom a packet was for when it came.
#[derive(Clone, Debug)]
pub(super) enum Audience {
    /// Everybody who was there. Keys grow, so those who came later have this one or a higher.
    All {
        /// The key that the next participant got.
        before: ParticipantKey,
    },
    /// These.
    Named(Vec<ParticipantKey>),
}

impl Audience {
    fn includes(&self, key: ParticipantKey) -> bool {
        match self {
            Self::All { before } => key < *before,
            Self::Named(keys) => keys.contains(&key),
        }
    }
}

#[derive(Debug)]
struct Kept {
    sequence: u32,
    audience: Audience,
    packet: Bytes,
}

/// One sender's latest reliable packets, as they were relayed.
#[derive(Debug, Default)]
pub(super) struct Replay {
    kept: VecDeque<Kept>,
    bytes: usize,
}

impl Replay {
    /// Keeps a packet, and forgets the oldest ones for it.
    pub(super) fn keep(
        &mut self,
        limits: &Limits,
        sequence: u32,
        audience: Audience,
        packet: Bytes,
    ) {
        self.bytes += packet.len();
        self.kept.push_back(Kept {
            sequence,
            audience,
            packet,
        });
        while self.kept.len() > limits.replay_messages || self.bytes > limits.replay_bytes {
            let Some(oldest) = self.kept.pop_front() else {
                return;
            };
            self.bytes -= oldest.packet.len();
        }
    }

    /// What was for `receiver`, oldest first; with `after` only what has a higher number.
    pub(super) fn packets(
        &self,
        receiver: ParticipantKey,
        after: Option<u32>,
    ) -> impl Iterator<Item = &Bytes> {
        self.kept
            .iter()
            .filter(move |kept| after.is_none_or(|after| kept.sequence > after))
            .filter(move |kept| kept.audience.includes(receiver))
            .map(|kept| &kept.packet)
    }
}
