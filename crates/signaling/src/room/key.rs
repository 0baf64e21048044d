//! What names a room.

use std::fmt;
use std::sync::Arc;

use schalter_model::AuthorityId;

/// Names a room on this node: rooms of two authorities never meet, whatever they are called.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RoomKey {
    /// The tenant.
    pub authority: AuthorityId,
    /// The room's name as tokens have it.
    pub name: Arc<str>,
}

impl fmt::Debug for RoomKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A room's name may say who meets there.
        write!(f, "RoomKey({}/…)", self.authority)
    }
}
