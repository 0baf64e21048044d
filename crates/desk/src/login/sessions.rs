//! Who is logged in: sessions of officials, on the server, known by a hash.
//!
//! Owns when a session ends: by logout, after a time without use, and after its longest time in any case. Whoever holds an open socket of it
//! is told at once. A restart ends all sessions: nothing of them is on the disk.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use schalter_model::AuthorityId;
use tokio::sync::watch;

use super::secret;
use super::{Arrival, Official};
use crate::domain::{Digest, Secret};

/// Sessions of one official at once: a desk, a second screen, a colleague's machine. With one more the oldest ends.
pub const SESSIONS_PER_OFFICIAL: usize = 8;
/// Sessions at once, some 500 bytes each.
pub const MOST_SESSIONS: usize = 50_000;

/// How long sessions last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimes {
    /// Without a request and without an open page.
    pub idle: Duration,
    /// In any case.
    pub longest: Duration,
}

impl Default for SessionTimes {
    /// An hour without use, and a long working day.
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(3_600),
            longest: Duration::from_secs(12 * 3_600),
        }
    }
}

/// A session that holds at the time of asking.
#[derive(Clone, Debug)]
pub struct Session {
    /// Whose official it is.
    pub authority: AuthorityId,
    /// Who.
    pub official: Official,
    /// Turns true when the session ends.
    pub ended: watch::Receiver<bool>,
    key: Digest,
}

impl Session {
    /// What stands for it where its secret must not.
    pub(crate) fn key(&self) -> Digest {
        self.key
    }
}

struct Kept {
    arrival: Arrival,
    began: u64,
    used: u64,
    ended: watch::Sender<bool>,
}

impl Kept {
    fn holds(&self, times: SessionTimes, now: u64) -> bool {
        let within =
            |since: u64, time: Duration| u128::from(now.saturating_sub(since)) < time.as_millis();
        within(self.used, times.idle) && within(self.began, times.longest)
    }
}

/// There are as many sessions as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many sessions")]
pub struct TooMany;

/// All sessions. Times are milliseconds since 1970.
pub struct Sessions {
    times: SessionTimes,
    most: usize,
    // Held for a few map operations and never across an await.
    kept: Mutex<HashMap<Digest, Kept>>,
}

impl Sessions {
    /// None yet.
    pub fn new(times: SessionTimes) -> Self {
        Self::with_most(times, MOST_SESSIONS)
    }

    fn with_most(times: SessionTimes, most: usize) -> Self {
        Self {
            times,
            most,
            kept: Mutex::new(HashMap::new()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one; returns what its browser keeps.
    ///
    /// # Errors
    /// [`TooMany`] at [`MOST_SESSIONS`].
    pub fn begin(&self, arrival: Arrival, now: u64) -> Result<Secret, TooMany> {
        let mut kept = self.lock();
        let same = |session: &Kept| {
            session.arrival.authority == arrival.authority
                && session.arrival.official.id == arrival.official.id
        };
        let mine = kept.values().filter(|session| same(session)).count();
        if mine >= SESSIONS_PER_OFFICIAL {
            let oldest = kept
                .iter()
                .filter(|(_, session)| same(session))
                .min_by_key(|(_, session)| session.used)
                .map(|(key, _)| *key);
            if let Some(session) = oldest.and_then(|key| kept.remove(&key)) {
                session.ended.send_replace(true);
            }
        }
        if kept.len() >= self.most {
            self.drop_over(&mut kept, now);
        }
        if kept.len() >= self.most {
            return Err(TooMany);
        }
        let secret = secret::fresh();
        kept.insert(
            secret.digest(),
            Kept {
                arrival,
                began: now,
                used: now,
                ended: watch::Sender::new(false),
            },
        );
        Ok(secret)
    }

    /// The session of a cookie; it counts as used.
    pub fn find(&self, cookie: &Secret, now: u64) -> Option<Session> {
        let key = cookie.digest();
        let mut kept = self.lock();
        let session = Self::touch(&mut kept, self.times, key, now)?;
        Some(Session {
            authority: session.arrival.authority.clone(),
            official: session.arrival.official.clone(),
            ended: session.ended.subscribe(),
            key,
        })
    }

    /// Whether a session still holds; if it does, it counts as used: its page is open.
    pub fn still(&self, session: &Session, now: u64) -> bool {
        Self::touch(&mut self.lock(), self.times, session.key, now).is_some()
    }

    fn touch(
        kept: &mut HashMap<Digest, Kept>,
        times: SessionTimes,
        key: Digest,
        now: u64,
    ) -> Option<&Kept> {
        let session = kept.get_mut(&key)?;
        if session.holds(times, now) {
            session.used = session.used.max(now);
            return kept.get(&key);
        }
        let over = kept.remove(&key)?;
        over.ended.send_replace(true);
        None
    }

    /// Ends the session of a cookie.
    pub fn end(&self, cookie: &Secret) {
        if let Some(session) = self.lock().remove(&cookie.digest()) {
            session.ended.send_replace(true);
        }
    }

    /// Ends those of which `stands` does not hold.
    pub(super) fn retain(&self, stands: impl Fn(&Arrival) -> bool) {
        self.lock().retain(|_, session| {
            let stays = stands(&session.arrival);
            if !stays {
                session.ended.send_replace(true);
            }
            stays
        });
    }

    /// Ends those whose time is over; called now and then, so that nobody is remembered who left.
    pub fn sweep(&self, now: u64) {
        self.drop_over(&mut self.lock(), now);
    }

    fn drop_over(&self, kept: &mut HashMap<Digest, Kept>, now: u64) {
        kept.retain(|_, session| {
            let holds = session.holds(self.times, now);
            if !holds {
                session.ended.send_replace(true);
            }
            holds
        });
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::Way;

    const NOW: u64 = 1_700_000_000_000;
    const HOUR: u64 = 3_600_000;

    fn official(id: &str) -> Official {
        Official::new(id, "Beispiel", None).unwrap()
    }

    fn arrival(id: &str) -> Arrival {
        Arrival {
            authority: AuthorityId::default(),
            official: official(id),
            way: Way::Demo,
        }
    }

    fn sessions() -> Sessions {
        Sessions::with_most(SessionTimes::default(), 20)
    }

    fn begin(sessions: &Sessions, id: &str, now: u64) -> Secret {
        sessions.begin(arrival(id), now).unwrap()
    }

    #[test]
    fn a_session_ends_after_an_hour_without_use() {
        let sessions = sessions();
        let secret = begin(&sessions, "a", NOW);
        assert!(sessions.find(&secret, NOW + HOUR - 1).is_some());
        let session = sessions.find(&secret, NOW + 2 * HOUR - 2).unwrap();
        assert!(!*session.ended.borrow());
        assert!(sessions.find(&secret, NOW + 3 * HOUR - 2).is_none());
        assert!(*session.ended.borrow());
        assert_eq!(sessions.count(), 0);
    }

    #[test]
    fn an_open_page_is_use_but_not_beyond_the_longest_time() {
        let sessions = sessions();
        let secret = begin(&sessions, "a", NOW);
        let session = sessions.find(&secret, NOW).unwrap();
        for half in 1..24 {
            assert!(sessions.still(&session, NOW + half * HOUR / 2), "{half}");
        }
        assert!(sessions.still(&session, NOW + 12 * HOUR - 1));
        assert!(!sessions.still(&session, NOW + 12 * HOUR));
        assert!(*session.ended.borrow());
    }

    #[test]
    fn logout_ends_one_session_at_once_and_tells_its_sockets() {
        let sessions = sessions();
        let (one, other) = (begin(&sessions, "a", NOW), begin(&sessions, "a", NOW));
        let open = sessions.find(&one, NOW).unwrap();
        sessions.end(&one);
        assert!(*open.ended.borrow());
        assert!(sessions.find(&one, NOW).is_none());
        assert!(sessions.find(&other, NOW).is_some());
        sessions.end(&secret::fresh());
    }

    #[test]
    fn one_official_has_a_few_sessions_and_all_together_have_a_bound() {
        let sessions = sessions();
        let first = begin(&sessions, "a", NOW);
        let rest: Vec<_> = (1..SESSIONS_PER_OFFICIAL as u64)
            .map(|i| begin(&sessions, "a", NOW + i))
            .collect();
        assert_eq!(sessions.count(), SESSIONS_PER_OFFICIAL);
        begin(&sessions, "a", NOW + 100);
        assert_eq!(sessions.count(), SESSIONS_PER_OFFICIAL);
        assert!(sessions.find(&first, NOW + 100).is_none());
        assert!(sessions.find(&rest[0], NOW + 100).is_some());
        for i in 0..20 - SESSIONS_PER_OFFICIAL {
            begin(&sessions, &format!("b{i}"), NOW);
        }
        let more = |now| sessions.begin(arrival("c"), now);
        assert_eq!(more(NOW + 200), Err(TooMany));
        // Those that are over make room.
        assert!(more(NOW + 2 * HOUR).is_ok());
        assert_eq!(sessions.count(), 1);
    }

    #[test]
    fn sweeping_forgets_who_left() {
        let sessions = sessions();
        begin(&sessions, "a", NOW);
        sessions.sweep(NOW + HOUR - 1);
        assert_eq!(sessions.count(), 1);
        sessions.sweep(NOW + HOUR);
        assert_eq!(sessions.count(), 0);
    }
}
