//! Tokens that were withdrawn: which, and for how long that has to be remembered.
//!
//! Owns the set and its bounds; sans-IO. A revocation ends when no token that it is about could still be accepted, which
//! [`MAX_TOKEN_LIFETIME_SECS`] bounds. One that still matters is never forgotten: when the set is full, new ones are
//! refused. Who keeps them over a restart is the binary's choice ([`RevocationStore`]).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use schalter_model::AuthorityId;

use crate::token::{CLOCK_LEEWAY_SECS, Grants, MAX_TOKEN_LIFETIME_SECS};

/// How many may be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationLimits {
    /// On this node.
    pub total: usize,
    /// Of one authority.
    pub per_authority: usize,
}

/// Which tokens of a person are withdrawn. Times are in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withdrawn {
    /// Those for a room that were issued before a time.
    IssuedBefore {
        /// The room's name.
        room: Arc<str>,
        /// The time.
        at: u64,
    },
    /// One, and what was refreshed from it, by its claim `jti`.
    Token {
        /// The claim.
        jti: Arc<str>,
        /// Until when it could be accepted at most.
        until: u64,
    },
}

/// One revocation.
#[derive(Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Whose keys signed the tokens.
    pub authority: AuthorityId,
    /// The identity in them.
    pub identity: Arc<str>,
    /// Which tokens of that identity.
    pub withdrawn: Withdrawn,
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whose, and for which room, is nobody's business.
        write!(f, "Revocation({}, …)", self.authority)
    }
}

impl Revocation {
    /// When it ends, in seconds since 1970.
    pub fn until(&self) -> u64 {
        match &self.withdrawn {
            Withdrawn::IssuedBefore { at, .. } => end(*at),
            Withdrawn::Token { until, .. } => *until,
        }
    }
}

/// When the last token that was issued before `at` is over.
pub(crate) fn end(at: u64) -> u64 {
    at.saturating_add(MAX_TOKEN_LIFETIME_SECS + 2 * CLOCK_LEEWAY_SECS)
}

/// There is no place for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many revocations are remembered already")]
pub struct RevocationsFull;

/// Two names that make up a key: a room's or token's, and an identity.
type Names = (Arc<str>, Arc<str>);

#[derive(Debug, Default)]
struct Tenant {
    /// By room and identity: tokens that were issued before this are withdrawn.
    issued_before: HashMap<Names, u64>,
    /// By `jti` and identity: when the revocation ends.
    tokens: HashMap<Names, u64>,
}

impl Tenant {
    fn len(&self) -> usize {
        self.issued_before.len() + self.tokens.len()
    }
}

/// All of them.
#[derive(Debug)]
pub struct Revocations {
    limits: RevocationLimits,
    tenants: HashMap<AuthorityId, Tenant>,
    total: usize,
}

impl Revocations {
    /// None yet.
    pub fn new(limits: RevocationLimits) -> Self {
        Self {
            limits,
            tenants: HashMap::new(),
            total: 0,
        }
    }

    /// How many are remembered; some of them may have ended.
    pub fn len(&self) -> usize {
        self.total
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Takes one at `now`, in seconds since 1970. One for the same tokens is replaced, never weakened.
    ///
    /// # Errors
    /// [`RevocationsFull`]; then nothing changes.
    pub fn add(&mut self, revocation: Revocation, now: u64) -> Result<(), RevocationsFull> {
        if self.is_full_for(&revocation.authority) && !self.has_place(&revocation) {
            self.forget_ended(now);
            if self.is_full_for(&revocation.authority) {
                return Err(RevocationsFull);
            }
        }
        self.insert(revocation);
        Ok(())
    }

    /// Takes one that was remembered before, whatever the limits are now.
    pub fn restore(&mut self, revocation: Revocation) {
        self.insert(revocation);
    }

    fn insert(&mut self, revocation: Revocation) {
        let Revocation {
            authority,
            identity,
            withdrawn,
        } = revocation;
        let tenant = self.tenants.entry(authority).or_default();
        let before = tenant.len();
        let (slot, value) = match withdrawn {
            Withdrawn::IssuedBefore { room, at } => {
                let slot = tenant.issued_before.entry((room, identity));
                (slot.or_default(), at)
            }
            Withdrawn::Token { jti, until } => {
                (tenant.tokens.entry((jti, identity)).or_default(), until)
            }
        };
        *slot = value.max(*slot);
        self.total += tenant.len() - before;
    }

    fn is_full_for(&self, authority: &AuthorityId) -> bool {
        let own = self.tenants.get(authority).map_or(0, Tenant::len);
        self.total >= self.limits.total || own >= self.limits.per_authority
    }

    fn has_place(&self, revocation: &Revocation) -> bool {
        let identity = Arc::clone(&revocation.identity);
        let tenant = self.tenants.get(&revocation.authority);
        tenant.is_some_and(|tenant| match &revocation.withdrawn {
            Withdrawn::IssuedBefore { room, .. } => tenant
                .issued_before
                .contains_key(&(Arc::clone(room), identity)),
            Withdrawn::Token { jti, .. } => {
                tenant.tokens.contains_key(&(Arc::clone(jti), identity))
            }
        })
    }

    /// Whether a token is withdrawn.
    pub fn covers(&self, grants: &Grants) -> bool {
        let Some(tenant) = self.tenants.get(&grants.authority) else {
            return false;
        };
        let identity: Arc<str> = grants.identity.as_str().into();
        let by_time = grants.video.as_ref().is_some_and(|video| {
            let names = (video.room.as_str().into(), Arc::clone(&identity));
            let before = tenant.issued_before.get(&names);
            before.is_some_and(|before| grants.issued_at < *before)
        });
        by_time
            || grants
                .claims
                .jti
                .as_deref()
                .is_some_and(|jti| tenant.tokens.contains_key(&(jti.into(), identity)))
    }

    /// Forgets those that have ended at `now`, in seconds since 1970.
    pub fn forget_ended(&mut self, now: u64) {
        for tenant in self.tenants.values_mut() {
            tenant.issued_before.retain(|_, at| end(*at) > now);
            tenant.tokens.retain(|_, until| *until > now);
        }
        self.tenants.retain(|_, tenant| tenant.len() > 0);
        self.total = self.tenants.values().map(Tenant::len).sum();
    }

    /// All that are remembered, in no particular order.
    pub fn all(&self) -> Vec<Revocation> {
        let mut all = Vec::with_capacity(self.total);
        for (authority, tenant) in &self.tenants {
            let one = |identity: &Arc<str>, withdrawn| Revocation {
                authority: authority.clone(),
                identity: Arc::clone(identity),
                withdrawn,
            };
            for ((room, identity), at) in &tenant.issued_before {
                let (room, at) = (Arc::clone(room), *at);
                all.push(one(identity, Withdrawn::IssuedBefore { room, at }));
            }
            for ((jti, identity), until) in &tenant.tokens {
                let (jti, until) = (Arc::clone(jti), *until);
                all.push(one(identity, Withdrawn::Token { jti, until }));
            }
        }
        all
    }
}

/// Keeps revocations over a restart. Both methods wait for the disk, and are never called at the same time.
pub trait RevocationStore: Send + Sync + 'static {
    /// Adds one; returns how many entries there are now, replaced and ended ones included.
    ///
    /// # Errors
    /// What the system says; the entry may be lost with the process.
    fn append(&self, revocation: &Revocation) -> std::io::Result<usize>;

    /// Replaces all entries.
    ///
    /// # Errors
    /// What the system says; then what was there before stays.
    fn rewrite(&self, all: &[Revocation]) -> std::io::Result<()>;
}
