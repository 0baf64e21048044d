//! Removing participants and withdrawing their tokens, in this order of effects: first no token of theirs is accepted any
//! more, then the session ends. A join that comes between is refused by its room (`room_task`), so nobody slips back in.

use std::sync::Arc;
use std::time::Duration;

use crate::administration::{NotFound, RemovalError, TokensToWithdraw};
use crate::registry::Registry;
use crate::revocation::{Revocation, Withdrawn, end};
use crate::revoker::RevokeError;
use crate::room::{Room, RoomKey};
use crate::token::MAX_TOKEN_LIFETIME_SECS;

/// Tokens that were issued so much later than the removal are withdrawn, too, unless the request names a time: what
/// `RoomParticipantIdentity.revoke_token_ts` has as default. It outlasts clocks that differ, and pages that ask for a new
/// token at once.
pub(crate) const REVOCATION_LEEWAY: Duration = Duration::from_secs(60);

/// Who is removed, as a session in a room knows it.
#[derive(Clone, Debug)]
pub(crate) struct Removed {
    pub(crate) room: RoomKey,
    pub(crate) identity: Arc<str>,
}

/// A request that no revocation could come of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "revoke_token_ts is a time in seconds since 1970, at most 366 days ahead, or -1 for the participant's own token"
)]
pub(crate) struct InvalidTime;

/// Which tokens `revoke_token_ts` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nothing was said: those issued until now, with [`REVOCATION_LEEWAY`].
    Default,
    /// Those issued before a time, in seconds since 1970, whether the participant is there or not.
    Before(u64),
    /// The one that the session began with.
    Own,
}

/// From here on a time is in milliseconds, as the definition of one SDK says, in place of seconds: those would be in
/// the year 5138, and these are in 1973.
const MILLISECONDS_FROM: u64 = 100_000_000_000;

impl Asked {
    /// Reads `revoke_token_ts` at `now`, in seconds since 1970.
    pub(crate) fn read(revoke_token_ts: i64, now: u64) -> Result<Self, InvalidTime> {
        let seconds = |time: u64| match time {
            MILLISECONDS_FROM.. => time.div_ceil(1_000),
            ..MILLISECONDS_FROM => time,
        };
        match u64::try_from(revoke_token_ts).map(seconds) {
            Ok(0) => Ok(Self::Default),
            Ok(at) if at <= now.saturating_add(MAX_TOKEN_LIFETIME_SECS) => Ok(Self::Before(at)),
            Ok(_) => Err(InvalidTime),
            Err(_) if revoke_token_ts == -1 => Ok(Self::Own),
            Err(_) => Err(InvalidTime),
        }
    }
}

impl Registry {
    /// Withdraws what was issued for a room and an identity before `at`, in seconds since 1970.
    pub(crate) async fn revoke_issued_before(
        &self,
        removed: &Removed,
        at: u64,
    ) -> Result<(), RevokeError> {
        let now = self.clock.unix_secs();
        // Nothing that old could be accepted.
        if end(at) <= now {
            return Ok(());
        }
        let room = Arc::clone(&removed.room.name);
        let withdrawn = Withdrawn::IssuedBefore { room, at };
        self.revoker
            .revoke(revocation(removed, withdrawn), now)
            .await
    }

    /// Withdraws what was issued until now.
    pub(crate) async fn revoke_issued_until_now(
        &self,
        removed: &Removed,
    ) -> Result<(), RevokeError> {
        let at = self.clock.unix_secs() + REVOCATION_LEEWAY.as_secs();
        self.revoke_issued_before(removed, at).await
    }

    /// Withdraws one token by its `jti`.
    pub(crate) async fn revoke_token(
        &self,
        removed: &Removed,
        jti: Arc<str>,
    ) -> Result<(), RevokeError> {
        let until = end(self.clock.unix_secs());
        self.revoke_token_until(removed, jti, until).await
    }

    /// The same, where no such token is good beyond `until`, in seconds since 1970.
    pub(crate) async fn revoke_token_until(
        &self,
        removed: &Removed,
        jti: Arc<str>,
        until: u64,
    ) -> Result<(), RevokeError> {
        let now = self.clock.unix_secs();
        let withdrawn = Withdrawn::Token { jti, until };
        self.revoker
            .revoke(revocation(removed, withdrawn), now)
            .await
    }

    /// Removes a session for an operator, by the ids of the log.
    pub(crate) async fn remove_session(
        &self,
        room: &str,
        participant: &str,
        tokens: TokensToWithdraw,
    ) -> Result<(), RemovalError> {
        let handle = self.room_by_sid(room)?;
        let sid = participant.to_owned();
        let known = move |room: &mut Room| {
            let (identity, jti) = room.token_of_session(&sid)?;
            let room = room.key().clone();
            Some((Removed { room, identity }, jti))
        };
        let known = handle.ask(known).await.ok_or(NotFound::Room)?;
        let (removed, jti) = known.ok_or(NotFound::Participant)?;
        let revoked = match tokens {
            TokensToWithdraw::None => Ok(()),
            TokensToWithdraw::OfIdentity => self.revoke_issued_until_now(&removed).await,
            TokensToWithdraw::Own => {
                let jti = jti.ok_or(RemovalError::NoJti)?;
                self.revoke_token(&removed, jti).await
            }
        };
        self.remove_participant(room, participant).await?;
        Ok(revoked?)
    }
}

fn revocation(removed: &Removed, withdrawn: Withdrawn) -> Revocation {
    Revocation {
        authority: removed.room.authority.clone(),
        identity: Arc::clone(&removed.identity),
        withdrawn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_may_be_in_milliseconds_and_is_no_year_from_now() {
        let now = 1_800_000_000;
        assert_eq!(Asked::read(0, now), Ok(Asked::Default));
        assert_eq!(Asked::read(-1, now), Ok(Asked::Own));
        assert_eq!(Asked::read(1, now), Ok(Asked::Before(1)));
        let latest = now + MAX_TOKEN_LIFETIME_SECS;
        assert_eq!(Asked::read(latest as i64, now), Ok(Asked::Before(latest)));
        let in_ms = (now as i64) * 1_000;
        assert_eq!(Asked::read(in_ms, now), Ok(Asked::Before(now)));
        assert_eq!(Asked::read(in_ms + 1, now), Ok(Asked::Before(now + 1)));
        for bad in [
            latest as i64 + 1,
            latest as i64 * 1_000 + 1,
            -2,
            i64::MIN,
            i64::MAX,
        ] {
            assert_eq!(Asked::read(bad, now), Err(InvalidTime), "{bad}");
        }
    }
}
