//! What an operator may see and do, beside what clients ask for: rooms, who is in them, ending, removing, draining.

use std::sync::Arc;

use schalter_model::AuthorityId;

pub use crate::revoker::RevokeError;

/// A room as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomSummary {
    /// Its id: what the log names it by.
    pub sid: Arc<str>,
    /// The tenant.
    pub authority: AuthorityId,
    /// Its name, as tokens have it.
    pub name: Arc<str>,
    /// When it was made, in ms since 1970.
    pub since_ms: u64,
    /// Who is in it, hidden ones included, in the order of joining.
    pub participants: Vec<ParticipantSummary>,
}

/// A participant as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParticipantSummary {
    /// The session's id: what the log names it by.
    pub sid: Arc<str>,
    /// Its identity, as the token has it.
    pub identity: Arc<str>,
    /// When it joined, in ms since 1970.
    pub since_ms: u64,
    /// Whether its media is connected.
    pub active: bool,
    /// Tracks that it publishes.
    pub tracks: usize,
}

/// What an operator named is not there (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// No room has the id.
    #[error("no such room")]
    Room,
    /// Nobody in the room has the id.
    #[error("no such participant")]
    Participant,
}

/// Which tokens a removal takes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokensToWithdraw {
    /// None: whoever is removed may join again.
    #[default]
    None,
    /// Those for this room and identity that were issued until now.
    OfIdentity,
    /// The one that the session began with.
    Own,
}

/// Why a removal did not do what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemovalError {
    /// It is not there.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// The token has no name; nobody was removed.
    #[error("the participant's token has no jti")]
    NoJti,
    /// The participant was removed; its tokens are withdrawn not at all, or not for long.
    #[error("the participant is removed, but {0}")]
    Withdrawing(#[from] RevokeError),
}
