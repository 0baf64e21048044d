//! Which rooms there are on this node, and which room a transport or track belongs to.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use livekit_protocol::{RoomConfiguration, WebhookEvent};
use rand::RngExt;
use schalter_model::{AuthorityId, ShardId, Time, TrackId, TransportId, WallClock};
use schalter_shard::control::{Command, Event};
use tokio::sync::{mpsc, oneshot};

use crate::administration::{NotFound, RoomSummary};
use crate::authority::KeyRing;
use crate::config::{IceServer, SignalingConfig};
use crate::error::JoinRefusal;
use crate::events::{EventSink, RoomEvent};
use crate::guided::RoomObserver;
use crate::ids::{self, IdSource};
use crate::livekit::json;
use crate::media::MediaPlane;
use crate::revocation::RevocationLimits;
use crate::revoker::{KeptRevocations, Revoker};
use crate::room::{Input, NodeInfo, Room, RoomKey, RoomSetup, is_reliable};
use crate::room_task::{RoomHandle, RoomMessage, run_room};
use crate::signaling::MediaEvents;
use crate::stats::{Counters, SignalingStats};
use crate::token::{Grants, TokenError};

/// The process's clock in the words of sans-IO code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    pub(crate) wall: WallClock,
}

impl Clock {
    fn new() -> Self {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            start: Instant::now(),
            wall: WallClock::new(u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX)),
        }
    }

    pub(crate) fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    /// Seconds since 1970, for tokens.
    pub(crate) fn unix_secs(&self) -> u64 {
        self.wall.unix_nanos(self.now()) / 1_000_000_000
    }

    pub(crate) fn instant(&self, time: Time) -> tokio::time::Instant {
        (self.start + time.since(Time::ZERO)).into()
    }
}

/// What outlives the process or leaves it, as far as the binary provides for it.
#[derive(Default)]
pub struct Outside {
    /// Who takes what integrators are told of the rooms of [`SignalingConfig::webhook_authority`].
    pub sink: Option<Arc<dyn EventSink>>,
    /// Who hears of people in the rooms of [`SignalingConfig::guided`].
    pub observer: Option<Arc<dyn RoomObserver>>,
    /// Withdrawn tokens; without it they are withdrawn until the process ends.
    pub revocations: Option<KeptRevocations>,
}

#[derive(Default)]
struct Rooms {
    by_key: HashMap<RoomKey, RoomHandle>,
    per_authority: HashMap<AuthorityId, usize>,
}

/// Where events about a transport go.
struct Route {
    room: mpsc::Sender<Input>,
    shard: ShardId,
    /// A reliable packet of it was dropped: no later one may pass as if nothing were missing.
    has_gap: bool,
}

#[derive(Default)]
struct Routes {
    transports: HashMap<TransportId, Route>,
    tracks: HashMap<TrackId, mpsc::Sender<Input>>,
    per_shard: HashMap<ShardId, usize>,
}

pub(crate) struct Registry {
    pub(crate) config: Arc<SignalingConfig>,
    /// Not for others: [`Self::verify`] looks at revocations, too.
    keys: Arc<ArcSwap<KeyRing>>,
    pub(crate) revoker: Arc<Revoker>,
    pub(crate) clock: Clock,
    pub(crate) counters: Arc<Counters>,
    pub(crate) ids: Arc<IdSource>,
    media: Arc<dyn MediaPlane>,
    /// Who takes what integrators are told.
    sink: Option<Arc<dyn EventSink>>,
    pub(crate) observer: Option<Arc<dyn RoomObserver>>,
    node: NodeInfo,
    closing: AtomicBool,
    /// An operator wants no more rooms here.
    pub(crate) draining: AtomicBool,
    // Both are held for a few map operations and never across an await.
    rooms: Mutex<Rooms>,
    routes: Mutex<Routes>,
}

impl Registry {
    pub(crate) fn new(
        config: SignalingConfig,
        keys: Arc<ArcSwap<KeyRing>>,
        media: Arc<dyn MediaPlane>,
        outside: Outside,
    ) -> Self {
        let clock = Clock::new();
        let counters = Arc::new(Counters::default());
        let limits = RevocationLimits {
            total: config.limits.revocations,
            per_authority: config.limits.revocations_per_authority,
        };
        let revoker = Revoker::new(
            limits,
            outside.revocations,
            Arc::clone(&counters),
            clock.unix_secs(),
        );
        assert!(
            !media.fingerprints().is_empty(),
            "the media plane has a certificate"
        );
        assert!(!media.shards().is_empty(), "the media plane has a shard");
        let node = NodeInfo {
            number: media.node(),
            sid: ids::sid("ND_", &mut rand::rng()),
            shards: media.shards().into(),
            fingerprints: media.fingerprints().into(),
            turn: media.turn().map(Arc::new),
        };
        Self {
            config: Arc::new(config),
            keys,
            revoker: Arc::new(revoker),
            clock,
            counters,
            ids: Arc::new(IdSource::default()),
            media,
            sink: outside.sink,
            observer: outside.observer,
            node,
            closing: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            rooms: Mutex::default(),
            routes: Mutex::default(),
        }
    }

    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        // Map operations don't panic half-way.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stats(&self) -> SignalingStats {
        SignalingStats {
            rooms: self.rooms().by_key.len() as u64,
            revocations: self.revoker.len() as u64,
            ..self.counters.snapshot()
        }
    }

    /// The room, if it exists.
    pub(crate) fn room(&self, key: &RoomKey) -> Option<RoomHandle> {
        self.rooms().by_key.get(key).cloned()
    }

    /// Whether a room with this key could be made now.
    ///
    /// # Errors
    /// Which limit is reached.
    pub(crate) fn has_place_for(&self, authority: &AuthorityId) -> Result<(), JoinRefusal> {
        self.check_place(&self.rooms(), authority)
    }

    fn check_place(&self, rooms: &Rooms, authority: &AuthorityId) -> Result<(), JoinRefusal> {
        if self.closing.load(Ordering::Acquire) {
            return Err(JoinRefusal::Unavailable);
        }
        if self.draining.load(Ordering::Acquire) {
            return Err(JoinRefusal::Draining);
        }
        if rooms.by_key.len() >= self.config.limits.rooms {
            return Err(JoinRefusal::ServerFull);
        }
        let own = rooms.per_authority.get(authority).copied().unwrap_or(0);
        if own >= self.config.limits.rooms_per_authority {
            return Err(JoinRefusal::AuthorityRooms);
        }
        Ok(())
    }

    /// The room, made if there is none.
    ///
    /// # Errors
    /// Which limit is reached.
    pub(crate) fn room_or_new(
        self: &Arc<Self>,
        key: &RoomKey,
        room_config: Option<RoomConfiguration>,
    ) -> Result<RoomHandle, JoinRefusal> {
        let mut rooms = self.rooms();
        if self.closing.load(Ordering::Acquire) {
            return Err(JoinRefusal::Unavailable);
        }
        if let Some(handle) = rooms.by_key.get(key) {
            return Ok(handle.clone());
        }
        self.check_place(&rooms, &key.authority)?;
        let setup = RoomSetup {
            key: key.clone(),
            config: Arc::clone(&self.config),
            node: self.node.clone(),
            ids: Arc::clone(&self.ids),
            counters: Arc::clone(&self.counters),
            wall: self.clock.wall,
            seed: rand::rng().random(),
            room_config,
        };
        let room = Room::new(setup, self.clock.now());
        let (handle, mailbox) =
            RoomHandle::new(Arc::clone(room.sid()), self.config.limits.room_mailbox);
        tracing::info!(room = %room.sid(), authority = %key.authority, "room begins");
        tokio::spawn(run_room(room, mailbox, Arc::clone(self)));
        rooms.by_key.insert(key.clone(), handle.clone());
        *rooms
            .per_authority
            .entry(key.authority.clone())
            .or_default() += 1;
        Ok(handle)
    }

    /// Forgets a room that ended. Joins that raced with its end see a closed mailbox and try again.
    pub(crate) fn retire(&self, key: &RoomKey) {
        let mut rooms = self.rooms();
        if rooms.by_key.remove(key).is_none() {
            return;
        }
        if let Entry::Occupied(mut count) = rooms.per_authority.entry(key.authority.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// The shard with the fewest transports.
    pub(crate) fn quietest_shard(&self) -> ShardId {
        let routes = self.routes();
        self.node
            .shards
            .iter()
            .map(|shard| shard.id)
            .min_by_key(|id| (routes.per_shard.get(id).copied().unwrap_or(0), *id))
            .expect("the media plane has a shard")
    }

    /// The configured ICE servers, and the node's own with credentials that nobody else has: the one of `shard`, or those of
    /// all shards.
    pub(crate) fn ice_servers(&self, shard: Option<ShardId>) -> Vec<IceServer> {
        let seconds = self.clock.unix_secs();
        let shards = self.node.shards.iter().map(|known| known.id);
        let own = shards
            .filter(|id| shard.is_none_or(|only| only == *id))
            .filter_map(|id| {
                let turn = self.node.turn.as_ref()?;
                turn.of(id, seconds, rand::rng().random())
            });
        self.config.ice_servers.iter().cloned().chain(own).collect()
    }

    /// Hands a room's command to the media plane, after noting where events about it must go.
    pub(crate) fn command(&self, shard: ShardId, command: Command, room: &mpsc::Sender<Input>) {
        {
            let mut routes = self.routes();
            #[expect(
                clippy::wildcard_enum_match_arm,
                reason = "only these begin or end what events name"
            )]
            match &command {
                Command::OpenTransport { transport, .. } => {
                    let route = Route {
                        room: room.clone(),
                        shard,
                        has_gap: false,
                    };
                    routes.transports.insert(*transport, route);
                    *routes.per_shard.entry(shard).or_default() += 1;
                }
                Command::CloseTransport { transport } => {
                    if let Some(route) = routes.transports.remove(transport)
                        && let Some(count) = routes.per_shard.get_mut(&route.shard)
                    {
                        *count -= 1;
                    }
                }
                Command::AddProducer { track, .. } => {
                    routes.tracks.insert(*track, room.clone());
                }
                Command::RemoveProducer { track } => {
                    routes.tracks.remove(track);
                }
                _ => {}
            }
        }
        self.media.send(shard, command);
    }

    /// Hands events to their rooms until the media plane is gone.
    pub(crate) async fn route_events(self: Arc<Self>, mut events: MediaEvents) {
        while let Some((_, event)) = events.recv().await {
            let room = {
                let routes = self.routes();
                match &event {
                    Event::TransportState { transport, .. }
                    | Event::ChannelOpened { transport, .. }
                    | Event::ChannelClosed { transport, .. }
                    | Event::Data { transport, .. }
                    | Event::StreamState { transport, .. }
                    | Event::Quality { transport, .. }
                    | Event::Refused { transport, .. } => routes
                        .transports
                        .get(transport)
                        .map(|route| route.room.clone()),
                    Event::EncodingStarted { track, .. } | Event::AudioLevel { track, .. } => {
                        routes.tracks.get(track).cloned()
                    }
                }
            };
            let Some(room) = room else {
                self.counters.events_unrouted.add(1);
                continue;
            };
            let reliable = if let Event::Data {
                transport, label, ..
            } = &event
            {
                is_reliable(label).then_some(*transport)
            } else {
                None
            };
            if reliable.is_some_and(|transport| self.has_gap(transport)) {
                self.counters.data_overload.add(1);
                continue;
            }
            let droppable = matches!(
                event,
                Event::Data { .. } | Event::AudioLevel { .. } | Event::Quality { .. }
            );
            let late = match room.try_send(Input::Media(event)) {
                Ok(()) => continue,
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    self.counters.events_unrouted.add(1);
                    continue;
                }
                Err(mpsc::error::TrySendError::Full(_)) if droppable => {
                    self.counters.data_overload.add(1);
                    let Some(transport) = reliable else {
                        continue;
                    };
                    self.note_gap(transport);
                    Input::DataLost { transport }
                }
                Err(mpsc::error::TrySendError::Full(input)) => input,
            };
            // A room's task waits for nobody but its mailboxes, so this is short; states and gaps must not be lost.
            if room.send(late).await.is_err() {
                self.counters.events_unrouted.add(1);
            }
        }
    }

    fn has_gap(&self, transport: TransportId) -> bool {
        let routes = self.routes();
        routes
            .transports
            .get(&transport)
            .is_some_and(|route| route.has_gap)
    }

    fn note_gap(&self, transport: TransportId) {
        if let Some(route) = self.routes().transports.get_mut(&transport) {
            route.has_gap = true;
        }
    }

    fn handles(&self) -> Vec<RoomHandle> {
        self.rooms().by_key.values().cloned().collect()
    }

    /// The rooms of one tenant, in no particular order.
    pub(crate) fn rooms_of(&self, authority: &AuthorityId) -> Vec<RoomHandle> {
        let rooms = self.rooms();
        let own = rooms
            .by_key
            .iter()
            .filter(|(key, _)| key.authority == *authority);
        own.map(|(_, handle)| handle.clone()).collect()
    }

    pub(crate) fn room_by_sid(&self, sid: &str) -> Result<RoomHandle, NotFound> {
        let rooms = self.rooms();
        let found = rooms.by_key.values().find(|handle| *handle.sid == *sid);
        found.cloned().ok_or(NotFound::Room)
    }

    /// Every room, in no particular order. One that ends meanwhile may be missing.
    pub(crate) async fn summaries(&self) -> Vec<RoomSummary> {
        let mut answers = Vec::new();
        for handle in self.handles() {
            let (reply, answer) = oneshot::channel();
            // A room that has ended is none to speak of.
            if handle
                .control
                .send(RoomMessage::Describe { reply })
                .await
                .is_ok()
            {
                answers.push(answer);
            }
        }
        let mut summaries = Vec::new();
        for answer in answers {
            summaries.extend(answer.await.ok());
        }
        summaries
    }

    pub(crate) async fn end_room(&self, sid: &str) -> Result<(), NotFound> {
        let handle = self.room_by_sid(sid)?;
        let sent = handle.control.send(RoomMessage::End).await;
        sent.map_err(|_| NotFound::Room)
    }

    pub(crate) async fn remove_participant(
        &self,
        room: &str,
        participant: &str,
    ) -> Result<(), NotFound> {
        let handle = self.room_by_sid(room)?;
        let (reply, answer) = oneshot::channel();
        let remove = RoomMessage::Remove {
            participant: participant.to_owned(),
            reply,
        };
        let sent = handle.control.send(remove).await;
        sent.map_err(|_| NotFound::Room)?;
        match answer.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(NotFound::Participant),
            Err(_) => Err(NotFound::Room),
        }
    }

    pub(crate) async fn shut_down_rooms(&self) {
        let handles: Vec<_> = {
            let rooms = self.rooms();
            self.closing.store(true, Ordering::Release);
            rooms.by_key.values().cloned().collect()
        };
        for handle in handles {
            // A closed mailbox means that the room has ended by itself.
            let _ = handle.control.send(RoomMessage::Shutdown).await;
        }
    }

    /// Hands what happened in a room to whoever delivers it.
    pub(crate) fn report(&self, room: &RoomKey, event: &WebhookEvent) {
        if let Some(sink) = &self.sink
            && let Some(body) = json::write_event(event)
        {
            let room = Arc::clone(&room.name);
            sink.tell(RoomEvent { room, body });
        }
    }

    /// Checks a token: signature, times, limits, and that it was not withdrawn.
    ///
    /// # Errors
    /// As [`KeyRing::verify`], and [`TokenError::Revoked`].
    pub(crate) fn verify(&self, token: &str) -> Result<Grants, TokenError> {
        let grants = self.keys.load().verify(token, self.clock.unix_secs())?;
        self.revoker.check(&grants)?;
        Ok(grants)
    }

    /// A fresh token with the grants' claims, by their key, or by another of their authority if that is gone: calls
    /// outlast keys. `None` if the authority has no key to join with.
    pub(crate) fn refresh_token(&self, grants: &Grants) -> Option<String> {
        let ttl = self.config.token_refresh_interval * 2;
        let keys = self.keys.load();
        let key = keys.joining(&grants.authority, &grants.key)?;
        let claims = grants.claims_for_joining();
        keys.mint(&key.name, &claims, self.clock.unix_secs(), ttl)
            .ok()
    }

    /// Sends everybody a fresh token, because keys changed.
    pub(crate) async fn refresh_tokens(&self) {
        for room in self.handles() {
            // A room that has ended has nobody in it.
            let _ = room.ask(Room::refresh_tokens).await;
        }
    }
}
