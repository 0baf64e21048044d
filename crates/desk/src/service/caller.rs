//! On whose behalf the desk does something.

use schalter_model::AuthorityId;

use crate::domain::{Name, OfficialId};

/// Who does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A case system, by the id of its key.
    Integrator {
        /// The key's id.
        key: String,
    },
    /// Somebody of the office.
    Official {
        /// As the login calls them.
        id: OfficialId,
        /// As citizens see them.
        name: Name,
    },
}

/// Whoever was let in, and to which authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Sees nothing of others.
    pub authority: AuthorityId,
    /// Who.
    pub actor: Actor,
}

impl Caller {
    /// As events say it.
    pub(crate) fn by(&self) -> String {
        match &self.actor {
            Actor::Integrator { key } => format!("integrator:{key}"),
            Actor::Official { id, .. } => format!("official:{id}"),
        }
    }
}
