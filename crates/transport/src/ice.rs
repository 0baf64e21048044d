//! ICE as a lite, controlled agent for one component with one candidate (RFC 8445 §2.5, §7.3, §8.2).
//!
//! Owns which checks are answered, which paths are validated, which one is selected, and consent: as a lite agent sends
//! no checks of its own, the peer's checks stand for its consent (RFC 7675). Where authentic media comes from a path that no
//! check came on, it asks that path for proof, see `challenge`. Refuses to answer anything whose
//! MESSAGE-INTEGRITY is missing or wrong, so that a spoofed source gets no bytes but few of such questions.

mod answer;
mod challenge;
mod received;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use schalter_model::{Carrier, DropReason, Path, Time, Ufrag};

use crate::stun::{BINDING, IntegrityKey, StunClass, StunMessage, attribute};
use crate::{LocalIce, RemoteIce};

use answer::{refusal, respond};
pub use challenge::ChallengeSecret;
use challenge::{Challenges, Credentials, Unproven};
use received::{RecentTransactions, ResponseBudget};

/// Largest answer that [`IceLite::on_request`] writes, in bytes.
pub const MAX_ICE_RESPONSE_LEN: usize = 128;

/// How many events wait for [`IceLite::poll_event`]; the oldest gives way. One call brings at most two.
const MAX_EVENTS: usize = 8;
/// How long a nomination keeps a path of lower priority from taking over. Long enough to span the checks of an agent
/// that nominates every pair (RFC 5245 §8.1.1.2), short enough not to matter to one that moves.
const NOMINATION_HOLD: Duration = Duration::from_secs(1);
/// Silence after which the first check of a new generation is followed before anything is nominated: whoever restarts because it
/// moved nominates one round of checks later, some 50 ms. Longer than media of a path in use pauses, shorter than a client takes to
/// notice that it moved.
const MOVED_AFTER: Duration = Duration::from_secs(1);

/// Limits and timeouts of one [`IceLite`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IceLimits {
    /// Failure if no valid check comes within this time after the start.
    pub never_connected_after: Duration,
    /// Disconnected if nothing authentic comes for this long.
    pub disconnect_after: Duration,
    /// Failure if no valid check comes for this long (RFC 7675 §5.1).
    pub consent_expires_after: Duration,
    /// Validated paths that are remembered, at least 2; the one longest without a check gives way.
    pub max_paths: usize,
    /// Checks answered per second and transport.
    pub max_responses_per_second: u32,
    /// Paths that are asked for proof within ten seconds, each with three packets at most.
    pub max_challenges: usize,
}

impl Default for IceLimits {
    fn default() -> Self {
        Self {
            never_connected_after: Duration::from_secs(30),
            // RFC 7675 §5.1: an idle peer checks every 4 to 6 s, so less than that would call a quiet one gone.
            disconnect_after: Duration::from_secs(7),
            consent_expires_after: Duration::from_secs(30),
            max_paths: 8,
            // Browsers pace all their checks at about one in 50 ms; four times that leaves room for restarts.
            max_responses_per_second: 80,
            // A client has one NAT mapping at a time; some routers give it two or three others within seconds.
            max_challenges: 4,
        }
    }
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IceFailure {
    /// No valid check ever came.
    NeverConnected,
    /// Checks stopped (RFC 7675).
    ConsentLost,
}

/// What happened to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceEvent {
    /// The first path is there; send to it.
    Connected(Path),
    /// Send to another path from now on.
    PathChanged(Path),
    /// Nothing authentic came for a while; the peer may come back.
    Disconnected,
    /// The peer came back.
    Reconnected,
    /// Over: no further check is answered.
    Failed(IceFailure),
}

/// The answer to a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IceResponse {
    /// Bytes of the answer in the output buffer, to be sent back on the path of the request; zero for an indication,
    /// which wants none.
    pub len: usize,
}

/// One transport's ICE agent.
#[derive(Debug)]
pub struct IceLite {
    limits: IceLimits,
    state: State,
    current: Generation,
    /// The generation that still works while a restart is under way.
    previous: Option<Generation>,
    remote: RemoteUser,
    paths: Vec<ValidPath>,
    /// Index into [`Self::paths`].
    selected: Option<usize>,
    /// When [`Self::selected`] was last nominated; `None` while it is provisional.
    nominated_at: Option<Time>,
    /// The last check on the path that was selected, after that path was lost. Consent is the peer's, not the path's.
    lost_with: Option<Time>,
    /// When anything authentic last came, checks included.
    heard_at: Time,
    responses: ResponseBudget,
    transactions: RecentTransactions,
    /// When the peer last nominated a path.
    last_nomination: Option<Time>,
    /// As whom the peer checked last.
    checked_as: Option<Credentials>,
    challenges: Challenges,
    events: VecDeque<IceEvent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting { since: Time },
    Connected,
    Disconnected,
    Failed,
}

#[derive(Debug)]
struct Generation {
    ufrag: Ufrag,
    key: IntegrityKey,
}

impl Generation {
    fn new(local: &LocalIce) -> Self {
        Self {
            ufrag: local.ufrag,
            key: IntegrityKey::new(local.password.as_bytes()),
        }
    }
}

/// A user of the peer, with the key that its agent answers by.
#[derive(Debug)]
struct RemoteKey {
    user: RemoteIce,
    key: IntegrityKey,
}

/// Whose checks are the peer's. Its SDP and its checks race each other, so both the old and the new user pass during a
/// restart, and anybody who knows our password passes until the first SDP.
#[derive(Debug, Default)]
struct RemoteUser {
    known: Option<Arc<RemoteKey>>,
    before: Option<Arc<RemoteKey>>,
    awaiting: bool,
}

impl RemoteUser {
    fn admits(&self, ufrag: &[u8]) -> bool {
        self.awaiting || self.named(ufrag).is_some()
    }

    fn named(&self, ufrag: &[u8]) -> Option<&Arc<RemoteKey>> {
        [&self.known, &self.before]
            .into_iter()
            .flatten()
            .find(|known| known.user.ufrag.as_bytes() == ufrag)
    }
}

#[derive(Clone, Copy, Debug)]
struct ValidPath {
    path: Path,
    priority: u32,
    last_check: Time,
    was_nominated: bool,
}

impl IceLite {
    /// Starts an agent that waits for checks from `now` on.
    pub fn new(now: Time, local: &LocalIce, secret: ChallengeSecret, limits: IceLimits) -> Self {
        Self {
            limits,
            state: State::Waiting { since: now },
            current: Generation::new(local),
            previous: None,
            remote: RemoteUser {
                awaiting: true,
                ..RemoteUser::default()
            },
            paths: Vec::with_capacity(limits.max_paths.max(2)),
            selected: None,
            nominated_at: None,
            lost_with: None,
            heard_at: now,
            responses: ResponseBudget::default(),
            transactions: RecentTransactions::default(),
            last_nomination: None,
            checked_as: None,
            challenges: Challenges::new(secret, limits.max_challenges),
            events: VecDeque::with_capacity(MAX_EVENTS),
        }
    }

    /// Tells the peer's credentials, at first or after it restarted.
    pub fn set_remote(&mut self, remote: RemoteIce) {
        self.remote.awaiting = false;
        if self.remote.known.as_ref().map(|known| &known.user) != Some(&remote) {
            let key = IntegrityKey::new(remote.password.as_bytes());
            let told = Arc::new(RemoteKey { user: remote, key });
            self.remote.before = self.remote.known.replace(told);
        }
    }

    /// Starts a new generation (RFC 8445 §9). Checks for both are answered and the selected path stays in use until the
    /// peer nominates one with the new credentials, or checks one after a second in which nothing came: the old path is dead then,
    /// and the first check is followed as that of a new call is.
    pub fn restart(&mut self, local: &LocalIce) {
        let replaced = std::mem::replace(&mut self.current, Generation::new(local));
        // A second restart before the first was finished must not lose the generation that works.
        if self.previous.is_none() {
            self.previous = Some(replaced);
        }
        self.remote.awaiting = true;
        self.nominated_at = None;
    }

    /// Whether `ufrag` is one that this agent answers now.
    pub fn serves(&self, ufrag: &Ufrag) -> bool {
        self.current.ufrag == *ufrag || self.previous.as_ref().is_some_and(|g| g.ufrag == *ufrag)
    }

    /// Takes a datagram that looks like STUN and writes the answer into `out`, which should hold
    /// [`MAX_ICE_RESPONSE_LEN`] bytes. A response to a question of ours is taken as well, and wants no answer.
    ///
    /// Nothing but the drop counter changes before MESSAGE-INTEGRITY is verified.
    ///
    /// # Errors
    /// Why the datagram was dropped without an answer.
    pub fn on_request(
        &mut self,
        now: Time,
        path: Path,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Result<IceResponse, DropReason> {
        let message = StunMessage::parse(datagram).map_err(|_| DropReason::StunMalformed)?;
        if message.verify_fingerprint() == Some(false) {
            return Err(DropReason::StunMalformed);
        }
        match (message.class(), message.method()) {
            (StunClass::Request, BINDING) => {}
            // A keepalive (RFC 8445 §11): no consent, no answer, no drop.
            (StunClass::Indication, BINDING) => return Ok(IceResponse { len: 0 }),
            (StunClass::Success, BINDING) => {
                self.on_response(now, path, &message)?;
                return Ok(IceResponse { len: 0 });
            }
            (
                StunClass::Request | StunClass::Indication | StunClass::Success | StunClass::Error,
                _,
            ) => {
                return Err(DropReason::StunUnsupported);
            }
        }
        if self.state == State::Failed {
            return Err(DropReason::StunUnknownUser);
        }
        let (local, remote) = message.username().ok_or(DropReason::StunUnknownUser)?;
        let (generation, is_current) = self.generation(local)?;
        if !message.verify_integrity(&generation.key) {
            return Err(DropReason::StunIntegrity);
        }
        // Authentic, but perhaps not new: whoever sees a check can send it again from an address of its choice.
        let id = message.transaction_id();
        if self.transactions.seen_elsewhere(id, &path) {
            return Err(DropReason::StunIntegrity);
        }
        if !self.remote.admits(remote) {
            return Err(DropReason::StunUnknownUser);
        }
        if !self
            .responses
            .take(now, self.limits.max_responses_per_second)
        {
            return Err(DropReason::StunRateLimited);
        }
        self.transactions.remember(id, path);

        let (generation, _) = self.generation(local)?;
        let refusal = refusal(&message);
        let len = respond(&generation.key, &message, &path, refusal.as_ref(), out)
            .map_err(|_| DropReason::Oversize)?;
        let local = generation.ufrag;
        if refusal.is_none() {
            let named = self.remote.named(remote).cloned();
            self.checked_as = named.map(|remote| Credentials { local, remote });
            self.on_valid_check(now, path, &message, is_current);
        }
        Ok(IceResponse { len })
    }

    /// Notes that something authentic other than a check came (SRTP, DTLS records): the peer is not gone, though this
    /// renews no consent.
    pub fn on_traffic(&mut self, now: Time) {
        self.heard_at = self.heard_at.max(now);
        if self.state == State::Disconnected {
            self.state = State::Connected;
            self.push(IceEvent::Reconnected);
        }
    }

    /// Notes that authentic media which was not there before came from `path`. One that was not checked lately is asked for
    /// proof, see [`Self::write_challenge`]; only UDP can bring media from elsewhere, a connection is its own proof.
    pub fn on_media(&mut self, now: Time, path: &Path) {
        self.on_traffic(now);
        if self.selected() == Some(*path) {
            return;
        }
        let checked = self.paths.iter().find(|valid| valid.path == *path);
        // What was under way on a path that the peer left is no reason to ask: for longer than that, it checks each that it uses.
        if checked.is_some_and(|valid| now < valid.last_check + self.limits.disconnect_after) {
            return;
        }
        match (self.state, path.carrier) {
            (State::Connected | State::Disconnected, Carrier::Udp) => {}
            (State::Waiting { .. } | State::Failed, _)
            | (_, Carrier::Stream(_) | Carrier::TurnPort | Carrier::Relay(_)) => return,
        }
        self.challenges.want(now, path, self.checked_as.as_ref());
    }

    /// Whether [`Self::write_challenge`] has something to write.
    pub fn has_challenge(&self) -> bool {
        self.challenges.is_due()
    }

    /// Writes the next question into `out`, some 120 bytes; answers the path that it goes to and its length.
    pub fn write_challenge(&mut self, now: Time, out: &mut [u8]) -> Option<(Path, usize)> {
        self.challenges.write(now, out)
    }

    /// Asks nobody any more and takes no answer, as the transport is over.
    pub fn stop_challenges(&mut self) {
        self.challenges.clear();
    }

    /// Forgets a path that can't carry anything any more, such as a connection that was closed (RFC 6544 §7.4). If it was
    /// the selected one, the path with the latest check takes its place; without any, nothing can be sent until the peer
    /// checks another, and consent ends as if the path were silent.
    pub fn forget_path(&mut self, path: &Path) {
        let Some(gone) = self.paths.iter().position(|valid| valid.path == *path) else {
            return;
        };
        let removed = self.paths.swap_remove(gone);
        let moved = self.paths.len();
        match self.selected {
            Some(selected) if selected == gone => {
                self.nominated_at = None;
                let latest = |index: &usize| self.paths[*index].last_check;
                self.selected = (0..self.paths.len()).max_by_key(latest);
                match self.selected {
                    Some(index) => self.push(IceEvent::PathChanged(self.paths[index].path)),
                    None => self.lost_with = Some(removed.last_check),
                }
            }
            Some(selected) if selected == moved => self.selected = Some(gone),
            Some(_) | None => {}
        }
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<IceEvent> {
        self.events.pop_front()
    }

    /// When [`Self::on_timeout`] wants to be called; `None` once it is over.
    pub fn next_timeout(&self) -> Option<Time> {
        match self.state {
            State::Waiting { since } => Some(since + self.limits.never_connected_after),
            State::Connected => Some(self.consent_ends().min(self.quiet_ends())),
            State::Disconnected => Some(self.consent_ends()),
            State::Failed => None,
        }
    }

    /// Lets time pass.
    pub fn on_timeout(&mut self, now: Time) {
        match self.state {
            State::Waiting { since } => {
                if now >= since + self.limits.never_connected_after {
                    self.fail(IceFailure::NeverConnected);
                }
            }
            State::Connected | State::Disconnected => {
                if now >= self.consent_ends() {
                    self.fail(IceFailure::ConsentLost);
                } else if self.state == State::Connected && now >= self.quiet_ends() {
                    self.state = State::Disconnected;
                    self.push(IceEvent::Disconnected);
                }
            }
            State::Failed => {}
        }
    }

    /// The path to send to, nominated or provisional.
    pub fn selected(&self) -> Option<Path> {
        self.selected.map(|index| self.paths[index].path)
    }

    /// Whether a valid check came on `path`, so that other protocols may be taken from it.
    pub fn is_validated(&self, path: &Path) -> bool {
        self.selected
            .is_some_and(|index| self.paths[index].path == *path)
            || self.paths.iter().any(|valid| valid.path == *path)
    }

    fn generation(&self, ufrag: &[u8]) -> Result<(&Generation, bool), DropReason> {
        if self.current.ufrag.as_str().as_bytes() == ufrag {
            return Ok((&self.current, true));
        }
        self.previous
            .as_ref()
            .filter(|generation| generation.ufrag.as_str().as_bytes() == ufrag)
            .map(|generation| (generation, false))
            .ok_or(DropReason::StunUnknownUser)
    }

    /// An answer to a question of ours: the peer is on `path`, and wants what comes there (RFC 7675 §5.1). It is sent to from now
    /// on, unless the peer nominated one since it was asked: then media from there was what it left behind.
    fn on_response(
        &mut self,
        now: Time,
        path: Path,
        message: &StunMessage<'_>,
    ) -> Result<(), DropReason> {
        let asked = self
            .challenges
            .on_response(now, &path, message)
            .map_err(|unproven| match unproven {
                Unproven::UnknownTransaction => DropReason::StunUnknownTransaction,
                Unproven::Integrity => DropReason::StunIntegrity,
            })?;
        // The peer's candidate is the same as before; only a NAT shows it in another place.
        let priority = self.selected.map_or(0, |index| self.paths[index].priority);
        let (index, _) = self.validate(now, path, priority, false);
        self.heard_at = self.heard_at.max(now);
        let is_outdated = self.last_nomination.is_some_and(|at| at > asked);
        if self.selected.is_none() || !is_outdated && self.selected != Some(index) {
            self.selected = Some(index);
            self.lost_with = None;
            self.nominated_at = None;
            self.push(IceEvent::PathChanged(path));
        }
        self.on_traffic(now);
        Ok(())
    }

    fn on_valid_check(
        &mut self,
        now: Time,
        path: Path,
        message: &StunMessage<'_>,
        is_current: bool,
    ) {
        let nominates = message.attribute(attribute::USE_CANDIDATE).is_some();
        let was_quiet = self
            .selected
            .is_none_or(|s| now >= self.paths[s].last_check + self.limits.disconnect_after);
        let (index, was_nominated) =
            self.validate(now, path, message.priority().unwrap_or(0), nominates);
        let has_moved = is_current && self.previous.is_some() && now >= self.heard_at + MOVED_AFTER;
        self.heard_at = self.heard_at.max(now);
        if nominates {
            self.last_nomination = Some(now);
        }

        if nominates && is_current && self.previous.take().is_some() {
            self.remote.before = None;
        }
        let takes_over = match self.selected {
            None => true,
            Some(selected) if selected == index => false,
            Some(selected) if nominates => !self.holds_against(now, selected, index, was_nominated),
            Some(_) => was_quiet || has_moved,
        };
        if takes_over {
            let is_first = self.selected.is_none() && self.lost_with.take().is_none();
            self.selected = Some(index);
            self.nominated_at = None;
            self.push(if is_first {
                IceEvent::Connected(path)
            } else {
                IceEvent::PathChanged(path)
            });
        }
        if self.selected == Some(index) {
            self.nominated_at = if nominates {
                Some(now)
            } else {
                // A peer that checks its path without nominating it is about to leave it: let it.
                None
            };
        }
        match self.state {
            State::Waiting { .. } => self.state = State::Connected,
            State::Disconnected => {
                self.state = State::Connected;
                self.push(IceEvent::Reconnected);
            }
            State::Connected | State::Failed => {}
        }
    }

    /// Whether the selected path keeps its place against the nomination of another: only while the peer nominates both
    /// over and over, and then the higher priority wins (RFC 5245 §8.1.1.2). A first nomination is followed at once.
    fn holds_against(
        &self,
        now: Time,
        selected: usize,
        other: usize,
        other_was_nominated: bool,
    ) -> bool {
        let is_fresh = self
            .nominated_at
            .is_some_and(|at| now < at + NOMINATION_HOLD);
        is_fresh
            && other_was_nominated
            && self.paths[selected].priority > self.paths[other].priority
    }

    /// Enters a check into the list of paths; answers its index and whether it had been nominated before.
    fn validate(&mut self, now: Time, path: Path, priority: u32, nominates: bool) -> (usize, bool) {
        let entry = ValidPath {
            path,
            priority,
            last_check: now,
            was_nominated: nominates,
        };
        if let Some(index) = self.paths.iter().position(|valid| valid.path == path) {
            let valid = &mut self.paths[index];
            let was_nominated = valid.was_nominated;
            *valid = ValidPath {
                was_nominated: was_nominated || nominates,
                ..entry
            };
            return (index, was_nominated);
        }
        if self.paths.len() < self.limits.max_paths.max(2) {
            self.paths.push(entry);
            return (self.paths.len() - 1, false);
        }
        let stalest = (0..self.paths.len())
            .filter(|index| Some(*index) != self.selected)
            .min_by_key(|index| self.paths[*index].last_check)
            .expect("at least two paths fit and at most one is selected");
        self.paths[stalest] = entry;
        (stalest, false)
    }

    fn consent_ends(&self) -> Time {
        let last = match self.selected {
            Some(index) => self.paths[index].last_check,
            None => self.lost_with.unwrap_or(Time::ZERO),
        };
        last + self.limits.consent_expires_after
    }

    fn quiet_ends(&self) -> Time {
        self.heard_at + self.limits.disconnect_after
    }

    fn fail(&mut self, failure: IceFailure) {
        self.state = State::Failed;
        self.challenges.clear();
        self.push(IceEvent::Failed(failure));
    }

    fn push(&mut self, event: IceEvent) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}
