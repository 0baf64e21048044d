//! Proof that the peer is where its media comes from: a Binding request of ours to a path on which authentic media came
//! before any check, and what counts as the answer.
//!
//! A NAT that gives a client another address or port tells nobody; the client itself asks for consent every 5 s (RFC 7675
//! §5.1) and learns nothing sooner, and until then it gets nothing. QUIC has the same problem, and PATH_CHALLENGE
//! (RFC 9000 §8.2). A lite agent makes no connectivity checks and no consent checks (RFC 8445 §2.5, RFC 7675 §2), and this is
//! neither: it makes no candidate, no pair and no nomination, and does nothing that the peer notices but to answer. A
//! full agent answers each request with right credentials that reaches a candidate of its own (RFC 8445 §7.3), and may
//! check the path in turn (§7.3.1.4), which proves it as well.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use schalter_model::{Path, Time, Ufrag};

use super::RemoteKey;
use crate::stun::{
    BINDING, StunClass, StunError, StunMessage, StunWriter, TransactionId, attribute,
};

/// Requests to one path at most, the repetitions among them.
const SENDS: u32 = 3;
/// Time to the first repetition, and twice that to the second: the least that RFC 8445 §14.3 allows.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// How long an answer to the first request is taken; one that comes later proves where the peer was.
const LIVES: Duration = Duration::from_secs(3);
/// How long a path is left alone from its first request on, however it ended: for ten seconds after the last one. So whoever
/// has the peer's packets come from somebody else's address bothers that one with [`SENDS`] packets in ten seconds.
const REST: Duration = LIVES.saturating_add(Duration::from_secs(10));
/// PRIORITY of a peer-reflexive candidate (RFC 8445 §5.1.2.2, §7.1.1), which the peer needs for a check in turn.
const PRIORITY: u32 = (110 << 24) + (0xFFFF << 8) + 255;

/// What makes the transaction ids of challenges unguessable, for the peer, too: it knows all other secrets of its transport,
/// and could answer from somebody else's address without having seen the question. Never shown.
#[derive(Clone)]
pub struct ChallengeSecret(hmac::Key);

impl ChallengeSecret {
    /// Bytes that it is made of.
    pub const LEN: usize = 32;

    /// Makes it of random bytes.
    pub fn new(random: [u8; Self::LEN]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &random))
    }

    fn draw(&self, ufrag: &Ufrag, number: u64) -> [u8; 20] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(ufrag.as_str().as_bytes());
        context.update(&number.to_be_bytes());
        let mut drawn = [0; 20];
        drawn.copy_from_slice(&context.sign().as_ref()[..20]);
        drawn
    }
}

impl fmt::Debug for ChallengeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChallengeSecret(…)")
    }
}

/// With whose names and which key a request is made: those of the peer's last check, which work.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    pub(super) local: Ufrag,
    pub(super) remote: Arc<RemoteKey>,
}

/// A path that was asked to prove itself.
#[derive(Debug)]
struct Challenge {
    path: Path,
    began: Time,
    sends: u32,
    /// When the next packet from there asks again.
    next_send: Time,
    state: State,
}

#[derive(Debug)]
enum State {
    Open {
        id: TransactionId,
        tie_breaker: [u8; 8],
        credentials: Credentials,
        /// To be written next.
        due: bool,
    },
    /// Answered; the path is left alone until [`REST`] is over.
    Answered,
}

/// All challenges of one transport.
#[derive(Debug)]
pub(super) struct Challenges {
    secret: ChallengeSecret,
    most: usize,
    drawn: u64,
    list: Vec<Challenge>,
    /// How many are to be written.
    due: usize,
}

impl Challenges {
    /// At most `most` paths are asked within [`REST`].
    pub(super) fn new(secret: ChallengeSecret, most: usize) -> Self {
        Self {
            secret,
            most,
            drawn: 0,
            list: Vec::new(),
            due: 0,
        }
    }

    /// Authentic media came from `path`, which has not proven itself. Asks it, or asks again, as far as that is allowed: only
    /// what comes in makes something go out, so no timer is needed, and a path that falls silent is asked no more.
    pub(super) fn want(&mut self, now: Time, path: &Path, credentials: Option<&Credentials>) {
        let known = self.list.iter().position(|one| one.path == *path);
        if let Some(known) = known
            && now < self.list[known].began + REST
        {
            let one = &mut self.list[known];
            if let State::Open { due, .. } = &mut one.state
                && !*due
                && one.sends < SENDS
                && now >= one.next_send
                && now < one.began + LIVES
            {
                *due = true;
                self.due += 1;
            }
            return;
        }
        let Some(credentials) = credentials else {
            return;
        };
        let place = known.or_else(|| self.list.iter().position(|one| now >= one.began + REST));
        if place.is_none() && self.list.len() >= self.most {
            return;
        }
        let drawn = self.secret.draw(&credentials.local, self.drawn);
        self.drawn += 1;
        let mut id = [0; 12];
        id.copy_from_slice(&drawn[..12]);
        let mut tie_breaker = [0; 8];
        tie_breaker.copy_from_slice(&drawn[12..]);
        let challenge = Challenge {
            path: *path,
            began: now,
            sends: 0,
            next_send: now,
            state: State::Open {
                id: TransactionId(id),
                tie_breaker,
                credentials: credentials.clone(),
                due: true,
            },
        };
        match place {
            Some(place) => self.list[place] = challenge,
            None => self.list.push(challenge),
        }
        self.count_due();
    }

    /// Whether [`Self::write`] has something to write.
    pub(super) fn is_due(&self) -> bool {
        self.due > 0
    }

    /// Writes the next request that is due.
    pub(super) fn write(&mut self, now: Time, out: &mut [u8]) -> Option<(Path, usize)> {
        while self.due > 0 {
            let one = self
                .list
                .iter_mut()
                .find(|one| matches!(one.state, State::Open { due, .. } if due))?;
            let State::Open {
                id,
                tie_breaker,
                credentials,
                due,
            } = &mut one.state
            else {
                return None;
            };
            *due = false;
            self.due -= 1;
            one.sends += 1;
            one.next_send = now + FIRST_WAIT * (1 << (one.sends - 1));
            if let Ok(len) = request(*id, tie_breaker, credentials, out) {
                return Some((one.path, len));
            }
        }
        None
    }

    /// Takes a success response; answers since when the path was asked, if this proves it: the right transaction, from the path
    /// that was asked (RFC 8445 §7.2.5.2.1), in time, made with the peer's password.
    pub(super) fn on_response(
        &mut self,
        now: Time,
        path: &Path,
        message: &StunMessage<'_>,
    ) -> Result<Time, Unproven> {
        let asked = message.transaction_id();
        let one = self
            .list
            .iter_mut()
            .find(|one| one.path == *path && now < one.began + LIVES)
            .ok_or(Unproven::UnknownTransaction)?;
        match &one.state {
            State::Open {
                id, credentials, ..
            } if *id == asked && one.sends > 0 => {
                if !message.verify_integrity(&credentials.remote.key) {
                    return Err(Unproven::Integrity);
                }
            }
            State::Open { .. } | State::Answered => return Err(Unproven::UnknownTransaction),
        }
        one.state = State::Answered;
        let began = one.began;
        self.count_due();
        Ok(began)
    }

    /// Asks nobody any more, and takes no answer.
    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.due = 0;
    }

    fn count_due(&mut self) {
        let is_due = |one: &&Challenge| matches!(one.state, State::Open { due, .. } if due);
        self.due = self.list.iter().filter(is_due).count();
    }
}

/// Why a response proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unproven {
    /// Nothing was asked so on this path, or too long ago.
    UnknownTransaction,
    /// MESSAGE-INTEGRITY is missing or wrong.
    Integrity,
}

fn request(
    id: TransactionId,
    tie_breaker: &[u8; 8],
    credentials: &Credentials,
    out: &mut [u8],
) -> Result<usize, StunError> {
    let Credentials { local, remote } = credentials;
    let (theirs, ours) = (remote.user.ufrag.as_bytes(), local.as_str().as_bytes());
    // RFC 8445 §7.2.2: the receiver's fragment, a colon, the sender's. As long as STUN allows (RFC 8489 §14.3).
    let mut user = [0; 508];
    let len = theirs.len() + 1 + ours.len();
    let name = user.get_mut(..len).ok_or(StunError::NoSpace)?;
    name[..theirs.len()].copy_from_slice(theirs);
    name[theirs.len()] = b':';
    name[theirs.len() + 1..].copy_from_slice(ours);
    let mut writer = StunWriter::new(out, StunClass::Request, BINDING, id)?;
    writer.attribute(attribute::USERNAME, name)?;
    writer.attribute(attribute::PRIORITY, &PRIORITY.to_be_bytes())?;
    writer.attribute(attribute::ICE_CONTROLLED, tie_breaker)?;
    writer.integrity(&remote.key)?;
    writer.fingerprint()
}
