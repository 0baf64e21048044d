//! The node's withdrawn tokens: looked at with each token, durable before a revocation is confirmed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::revocation::{
    Revocation, RevocationLimits, RevocationStore, Revocations, RevocationsFull,
};
use crate::stats::Counters;
use crate::token::{Grants, TokenError};

/// Entries in the store beyond twice those that count, from which on it is worth to be written anew.
const HISTORY: usize = 1_000;

/// What was kept from before, and who keeps what comes.
pub struct KeptRevocations {
    /// What was kept.
    pub revocations: Vec<Revocation>,
    /// Who keeps more.
    pub store: Arc<dyn RevocationStore>,
}

/// Why a revocation was not taken, or not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// A limit is reached ([`crate::config::Limits::revocations`]).
    #[error("the tokens stay good: as many revocations as there may be are remembered already")]
    Full,
    /// The store failed.
    #[error("the tokens are withdrawn only until the server restarts: the disk refuses")]
    NotKept,
}

impl From<RevocationsFull> for RevokeError {
    fn from(_: RevocationsFull) -> Self {
        Self::Full
    }
}

pub(crate) struct Revoker {
    // Held for a few map operations, or a look at all of them when the set is full; never across an await.
    set: Mutex<Revocations>,
    store: Option<Arc<dyn RevocationStore>>,
    /// Held while the store is written to.
    writing: Mutex<()>,
    counters: Arc<Counters>,
}

impl Revoker {
    pub(crate) fn new(
        limits: RevocationLimits,
        kept: Option<KeptRevocations>,
        counters: Arc<Counters>,
        now: u64,
    ) -> Self {
        let mut set = Revocations::new(limits);
        let mut store = None;
        if let Some(kept) = kept {
            for revocation in kept.revocations {
                set.restore(revocation);
            }
            store = Some(kept.store);
        }
        set.forget_ended(now);
        Self {
            set: Mutex::new(set),
            store,
            writing: Mutex::default(),
            counters,
        }
    }

    fn set(&self) -> MutexGuard<'_, Revocations> {
        // Map operations don't panic half-way.
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.set().len()
    }

    /// Lets a token pass that is not withdrawn.
    ///
    /// # Errors
    /// [`TokenError::Revoked`].
    pub(crate) fn check(&self, grants: &Grants) -> Result<(), TokenError> {
        if self.set().covers(grants) {
            self.counters.revoked_refused.add(1);
            return Err(TokenError::Revoked);
        }
        Ok(())
    }

    /// Withdraws tokens: from now on, whatever the answer; it comes when the disk has it, too.
    pub(crate) async fn revoke(
        self: &Arc<Self>,
        revocation: Revocation,
        now: u64,
    ) -> Result<(), RevokeError> {
        self.set().add(revocation.clone(), now)?;
        let this = Arc::clone(self);
        let kept = tokio::task::spawn_blocking(move || this.keep(&revocation, now)).await;
        if let Ok(Ok(())) = kept {
            return Ok(());
        }
        self.counters.revocations_unkept.add(1);
        tracing::error!("a revocation of tokens could not be kept and ends with this process");
        Err(RevokeError::NotKept)
    }

    fn keep(&self, revocation: &Revocation, now: u64) -> std::io::Result<()> {
        let Some(store) = &self.store else {
            return Ok(());
        };
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = store.append(revocation)?;
        let all = {
            let mut set = self.set();
            if entries <= set.len() * 2 + HISTORY {
                return Ok(());
            }
            set.forget_ended(now);
            set.all()
        };
        // What was appended is there; a file that stays long harms nobody.
        if let Err(error) = store.rewrite(&all) {
            tracing::warn!(%error, "the revocations could not be written anew");
        }
        Ok(())
    }
}
