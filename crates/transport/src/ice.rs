//! ICE as a lite, controlled agent for one component with one candidate (RFC 8445 §2.5, §7.3, §8.2).
//!
//! Owns which checks are answered, which paths are validated, which one is selected, and consent: as a lite agent sends
//! no checks of its own, the peer's checks stand for its consent (RFC 7675). Refuses to answer anything whose
//! MESSAGE-INTEGRITY is missing or wrong, so that a spoofed source gets no bytes at all.

use std::collections::VecDeque;
use std::time::Duration;

use schalter_model::{DropReason, Path, Time, Ufrag};

use crate::stun::{
    BINDING, IntegrityKey, StunClass, StunError, StunMessage, StunWriter, TransactionId, attribute,
};
use crate::{LocalIce, RemoteIce};

/// Largest answer that [`IceLite::on_request`] writes, in bytes.
pub const MAX_ICE_RESPONSE_LEN: usize = 128;

/// Most types that an answer 420 lists; a peer that sends more learns of the rest next time.
const MAX_UNKNOWN_LISTED: usize = 8;
/// How many events wait for [`IceLite::poll_event`]; the oldest gives way. One call brings at most two.
const MAX_EVENTS: usize = 8;
/// How many transactions are remembered to recognise a check that a third party sends again from elsewhere.
const REMEMBERED_TRANSACTIONS: usize = 32;
/// How long a nomination keeps a path of lower priority from taking over. Long enough to span the checks of an agent
/// that nominates every pair (RFC 5245 §8.1.1.2), short enough not to matter to one that moves.
const NOMINATION_HOLD: Duration = Duration::from_secs(1);

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
    /// When anything authentic last came, checks included.
    heard_at: Time,
    responses: ResponseBudget,
    transactions: RecentTransactions,
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

/// Whose checks are the peer's. Its SDP and its checks race each other, so both the old and the new user pass during a
/// restart, and anybody who knows our password passes until the first SDP.
#[derive(Debug, Default)]
struct RemoteUser {
    known: Option<RemoteIce>,
    before: Option<RemoteIce>,
    awaiting: bool,
}

impl RemoteUser {
    fn admits(&self, ufrag: &[u8]) -> bool {
        let is = |user: &Option<RemoteIce>| {
            user.as_ref()
                .is_some_and(|user| user.ufrag.as_bytes() == ufrag)
        };
        self.awaiting || is(&self.known) || is(&self.before)
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
    pub fn new(now: Time, local: &LocalIce, limits: IceLimits) -> Self {
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
            heard_at: now,
            responses: ResponseBudget::default(),
            transactions: RecentTransactions::default(),
            events: VecDeque::with_capacity(MAX_EVENTS),
        }
    }

    /// Tells the peer's credentials, at first or after it restarted.
    pub fn set_remote(&mut self, remote: RemoteIce) {
        self.remote.awaiting = false;
        if self.remote.known.as_ref() != Some(&remote) {
            self.remote.before = self.remote.known.replace(remote);
        }
    }

    /// Starts a new generation (RFC 8445 §9). Checks for both are answered and the selected path stays in use until the
    /// peer nominates one with the new credentials.
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
    /// [`MAX_ICE_RESPONSE_LEN`] bytes.
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
        let len = respond(generation, &message, &path, refusal.as_ref(), out)
            .map_err(|_| DropReason::Oversize)?;
        if refusal.is_none() {
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
        self.heard_at = self.heard_at.max(now);

        if nominates && is_current && self.previous.take().is_some() {
            self.remote.before = None;
        }
        let takes_over = match self.selected {
            None => true,
            Some(selected) if selected == index => false,
            Some(selected) if nominates => !self.holds_against(now, selected, index, was_nominated),
            Some(_) => was_quiet,
        };
        if takes_over {
            let is_first = self.selected.is_none();
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
        let last = self
            .selected
            .map_or(Time::ZERO, |index| self.paths[index].last_check);
        last + self.limits.consent_expires_after
    }

    fn quiet_ends(&self) -> Time {
        self.heard_at + self.limits.disconnect_after
    }

    fn fail(&mut self, failure: IceFailure) {
        self.state = State::Failed;
        self.push(IceEvent::Failed(failure));
    }

    fn push(&mut self, event: IceEvent) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

/// Why an authentic request gets an error for an answer.
enum Refusal {
    /// 420, with the types.
    UnknownAttributes {
        types: [u16; MAX_UNKNOWN_LISTED],
        len: usize,
    },
    /// 487: the peer thinks it is controlled, but a lite agent never controls (RFC 8445 §6.1.1).
    RoleConflict,
}

fn refusal(message: &StunMessage<'_>) -> Option<Refusal> {
    let mut types = [0; MAX_UNKNOWN_LISTED];
    let mut len = 0;
    let mut is_controlled = false;
    for (kind, _) in message.attributes() {
        match kind {
            attribute::USERNAME | attribute::PRIORITY | attribute::USE_CANDIDATE => {}
            attribute::ICE_CONTROLLED => is_controlled = true,
            0x0000..=0x7FFF if len < MAX_UNKNOWN_LISTED => {
                types[len] = kind;
                len += 1;
            }
            _ => {}
        }
    }
    if len > 0 {
        return Some(Refusal::UnknownAttributes { types, len });
    }
    is_controlled.then_some(Refusal::RoleConflict)
}

fn respond(
    generation: &Generation,
    request: &StunMessage<'_>,
    path: &Path,
    refusal: Option<&Refusal>,
    out: &mut [u8],
) -> Result<usize, StunError> {
    let class = match refusal {
        None => StunClass::Success,
        Some(_) => StunClass::Error,
    };
    let mut writer = StunWriter::new(out, class, BINDING, request.transaction_id())?;
    match refusal {
        None => writer.xor_mapped_address(path.remote)?,
        Some(Refusal::RoleConflict) => writer.error_code(487)?,
        Some(Refusal::UnknownAttributes { types, len }) => {
            writer.error_code(420)?;
            let mut value = [0; MAX_UNKNOWN_LISTED * 2];
            for (slot, kind) in value.as_chunks_mut().0.iter_mut().zip(types) {
                *slot = kind.to_be_bytes();
            }
            writer.attribute(attribute::UNKNOWN_ATTRIBUTES, &value[..len * 2])?;
        }
    }
    writer.integrity(&generation.key)?;
    writer.fingerprint()
}

/// Answers left in the running second.
#[derive(Debug, Default)]
struct ResponseBudget {
    since: Time,
    used: u32,
}

impl ResponseBudget {
    fn take(&mut self, now: Time, per_second: u32) -> bool {
        if now - self.since >= Duration::from_secs(1) {
            self.since = now;
            self.used = 0;
        }
        self.used += u32::from(self.used < per_second + 1);
        self.used <= per_second
    }
}

/// A ring of the last transactions and the paths they came on.
#[derive(Debug)]
struct RecentTransactions {
    ring: [Option<(TransactionId, Path)>; REMEMBERED_TRANSACTIONS],
    next: usize,
}

impl Default for RecentTransactions {
    fn default() -> Self {
        Self {
            ring: [None; REMEMBERED_TRANSACTIONS],
            next: 0,
        }
    }
}

impl RecentTransactions {
    fn seen_elsewhere(&self, id: TransactionId, path: &Path) -> bool {
        self.ring
            .iter()
            .flatten()
            .any(|(known, at)| *known == id && at != path)
    }

    fn remember(&mut self, id: TransactionId, path: Path) {
        let is_known = self.ring.iter().flatten().any(|(known, _)| *known == id);
        if !is_known {
            self.ring[self.next] = Some((id, path));
            self.next = (self.next + 1) % REMEMBERED_TRANSACTIONS;
        }
    }
}
