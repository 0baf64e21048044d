//! Who is let in. Handlers ask a [`Gate`]; how it knows people is its own business.

use std::future::Future;
use std::sync::Arc;

use axum::http::request::Parts;

use super::problem::Problem;
use crate::{Caller, Desk};

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// See appointments and records.
    AppointmentsRead,
    /// Make, change and erase them.
    AppointmentsWrite,
    /// Hear what happened.
    EventsRead,
    /// See the audit log's checkpoints, for who keeps them elsewhere.
    AuditRead,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [
        Self::AppointmentsRead,
        Self::AppointmentsWrite,
        Self::EventsRead,
        Self::AuditRead,
    ];

    /// The word in configurations.
    pub const fn label(self) -> &'static str {
        match self {
            Self::AppointmentsRead => "appointments:read",
            Self::AppointmentsWrite => "appointments:write",
            Self::EventsRead => "events:read",
            Self::AuditRead => "audit:read",
        }
    }

    /// Finds a scope by its word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.label() == text)
    }
}

/// Somebody who was let in.
#[derive(Clone, PartialEq, Eq)]
pub struct Admitted {
    /// On whose behalf.
    pub caller: Caller,
    /// Seals answers that are kept for them. Derived from a secret that only they have, so that the database alone opens nothing.
    pub seal_key: [u8; 32],
}

impl std::fmt::Debug for Admitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Admitted").field(&self.caller).finish()
    }
}

/// Lets in, or says why not.
pub trait Gate: Clone + Send + Sync + 'static {
    /// Looks at a request's head.
    fn admit(
        &self,
        parts: &Parts,
        scope: Scope,
    ) -> impl Future<Output = Result<Admitted, Problem>> + Send;
}

/// What handlers share.
#[derive(Clone, Debug)]
pub struct Front<G> {
    /// The service.
    pub desk: Arc<Desk>,
    /// Who decides who is let in.
    pub gate: G,
    /// Where the pages are, without a slash at the end: `https://termin.example.org`.
    pub public_url: Arc<str>,
}
