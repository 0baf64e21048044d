//! What integrators hear. Ids, roles, times and hashes; never a name, a subject, a message or an address.

use schalter_model::AuthorityId;
use serde::{Deserialize, Serialize};

use super::ids::{AppointmentId, Digest, PersonId};
use super::person::Role;
use super::text::OutcomeCode;
use super::time::Timestamp;

macro_rules! kinds {
    ($($kind:ident $label:literal $doc:literal),* $(,)?) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum EventKind {
            $(#[doc = $doc] #[serde(rename = $label)] $kind),*
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// The word in JSON.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$kind => $label),* }
            }
        }
    };
}

kinds! {
    Created "appointment.created" "An appointment was made.",
    Changed "appointment.changed" "Its plan or its people changed.",
    Cancelled "appointment.cancelled" "It will not take place.",
    Ended "appointment.ended" "It is over.",
    Waiting "person.waiting" "Somebody waits, first or after they were held.",
    Admitted "person.admitted" "Somebody may take their seat.",
    Denied "person.denied" "Somebody was told no.",
    Held "person.held" "Somebody was sent back to wait.",
    Joined "person.joined" "Somebody's media connected.",
    Left "person.left" "Somebody's media ended.",
    NoShow "person.no_show" "Somebody never came.",
    Consent "person.consent" "Somebody agreed to the notice with this hash.",
    LinkIssued "link.issued" "Somebody has a new link.",
    LinkRevoked "link.revoked" "Somebody's link is good for nothing any more.",
    LinkOpened "link.opened" "A browser opened somebody's link.",
}

/// One thing that happened, before the store gave it a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// What.
    pub kind: EventKind,
    /// To whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<PersonId>,
    /// Their role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// What was agreed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Digest>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<OutcomeCode>,
}

impl Fact {
    pub(crate) fn plain(kind: EventKind) -> Self {
        Self {
            kind,
            person: None,
            role: None,
            notice: None,
            outcome: None,
        }
    }

    pub(crate) fn of(kind: EventKind, person: &super::Person) -> Self {
        Self {
            person: Some(person.id.clone()),
            role: Some(person.role),
            ..Self::plain(kind)
        }
    }
}

/// One thing that happened, numbered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Whose.
    pub authority: String,
    /// Counts from 1 in each authority, without gaps.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Which appointment.
    pub appointment: AppointmentId,
    /// By whom: `official:<id>`, `integrator:<key>`, `person:<id>` or `system`.
    pub by: String,
    /// What.
    pub fact: Fact,
}

impl Event {
    /// Whether it is of this authority.
    pub fn is_of(&self, authority: &AuthorityId) -> bool {
        self.authority == authority.as_str()
    }
}
