//! A room without sockets: messages to clients and commands to the media plane are collected.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{
    AddTrackRequest, ClientInfo, DisconnectReason, RequestResponse, SessionDescription,
    SignalResponse, TrackType, WebhookEvent,
};
use schalter_forward::{Codec, ConsumerTarget};
use schalter_model::{AuthorityId, ShardId, SrtpProfile, Time, TrackId, TransportId, WallClock};
use schalter_shard::control::{Command, Event, TransportState};
use schalter_signaling::authority::{ApiKey, KeyRing, KeyScopes};
use schalter_signaling::livekit::json;
use schalter_signaling::room::{
    ConnectionMode, Input, JoinParams, NodeInfo, Output, Resume, Room, RoomKey, RoomSetup,
};
use schalter_signaling::token::{Claims, Grants, VideoClaims};
use schalter_signaling::{
    ConnectionId, Counters, IdSource, JoinRefusal, Presence, ShardInfo, SignalingConfig,
    TurnServers, TurnUrls,
};
use schalter_transport::{ChannelId, Fingerprint, FingerprintHash};
use schalter_turn::Secret;

pub(crate) use crate::description::{join_sections, sdp, sections, shape};
pub(crate) use crate::tracks::{camera, microphone};

pub(crate) const SECRET: &str = "a secret of at least thirty-two bytes";
pub(crate) const KEY: &str = "devkey";
pub(crate) const NOW_UNIX: u64 = 1_800_000_000;

pub(crate) fn turn_secret() -> Secret {
    Secret::new([9; Secret::LEN])
}

pub(crate) fn ring() -> KeyRing {
    KeyRing::new([ApiKey::new(KEY, SECRET, AuthorityId::default(), KeyScopes::ALL).unwrap()])
        .unwrap()
}

/// Claims to join `room` as `identity`, with everything allowed that is by default.
pub(crate) fn claims(room: &str, identity: &str) -> Claims {
    Claims {
        identity: Some(identity.into()),
        name: Some(identity.into()),
        video: Some(VideoClaims {
            room: Some(room.into()),
            room_join: Some(true),
            ..VideoClaims::default()
        }),
        ..Claims::default()
    }
}

pub(crate) fn grants(claims: &Claims) -> Arc<Grants> {
    let ring = ring();
    let token = ring
        .mint(KEY, claims, NOW_UNIX, Duration::from_secs(600))
        .unwrap();
    Arc::new(ring.verify(&token, NOW_UNIX).unwrap())
}

pub(crate) struct World {
    pub(crate) room: Room,
    pub(crate) now: Time,
    pub(crate) ids: Arc<IdSource>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) messages: HashMap<ConnectionId, Vec<Response>>,
    pub(crate) tokens: Vec<(ConnectionId, Arc<Grants>)>,
    pub(crate) closed: Vec<ConnectionId>,
    pub(crate) accepted: Vec<ConnectionId>,
    pub(crate) refused: Vec<(ConnectionId, JoinRefusal)>,
    pub(crate) commands: Vec<(ShardId, Command)>,
    /// What integrators are told.
    pub(crate) reports: Vec<WebhookEvent>,
    pub(crate) presences: Vec<Presence>,
    pub(crate) ended: bool,
    /// Transports connect as soon as their peer is known.
    pub(crate) connect: bool,
    shards: u8,
}

/// A client as the tests drive it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) connection: ConnectionId,
    pub(crate) mode: ConnectionMode,
    pub(crate) sections: Vec<String>,
    pub(crate) offers: u32,
    pub(crate) ufrag: String,
    pub(crate) sid: String,
    pub(crate) grants: Arc<Grants>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(SignalingConfig::default())
    }

    pub(crate) fn with(config: SignalingConfig) -> Self {
        Self::made(config, Arc::default(), Arc::default(), [42; 32])
    }

    /// Another room of the same node.
    pub(crate) fn beside(other: &Self, config: SignalingConfig) -> Self {
        let (ids, counters) = (Arc::clone(&other.ids), Arc::clone(&other.counters));
        // With sids of its own.
        let mut world = Self::made(config, ids, counters, [43; 32]);
        world.now = other.now;
        world
    }

    fn made(
        config: SignalingConfig,
        ids: Arc<IdSource>,
        counters: Arc<Counters>,
        seed: [u8; 32],
    ) -> Self {
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let shards: Vec<_> = (0..2)
            .map(|n| ShardInfo {
                id: ShardId(n),
                candidates: vec![address(7000 + u16::from(n))],
                tcp_candidates: vec![address(7881)],
            })
            .collect();
        let setup = RoomSetup {
            key: RoomKey {
                authority: AuthorityId::default(),
                name: "r".into(),
            },
            config: Arc::new(config),
            node: NodeInfo {
                number: 1,
                sid: "ND_test".into(),
                shards: shards.into(),
                fingerprints: [Fingerprint {
                    hash: FingerprintHash::Sha256,
                    digest: vec![7; 32],
                }]
                .into(),
                turn: Some(Arc::new(TurnServers {
                    node: 1,
                    secret: turn_secret(),
                    ttl: Duration::from_secs(3_600),
                    urls: TurnUrls::new(vec![
                        vec!["turn:127.0.0.1:7000?transport=udp".into()],
                        vec!["turn:127.0.0.1:7001?transport=udp".into()],
                    ]),
                })),
            },
            ids: Arc::clone(&ids),
            counters: Arc::clone(&counters),
            wall: WallClock::new(NOW_UNIX * 1_000_000_000),
            seed,
            room_config: None,
        };
        Self {
            room: Room::new(setup, Time::ZERO),
            now: Time::ZERO,
            ids,
            counters,
            messages: HashMap::new(),
            tokens: Vec::new(),
            closed: Vec::new(),
            accepted: Vec::new(),
            refused: Vec::new(),
            commands: Vec::new(),
            reports: Vec::new(),
            presences: Vec::new(),
            ended: false,
            connect: true,
            shards: 0,
        }
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.room.handle(self.now, input);
        let connected = self.drain();
        if self.connect {
            for transport in connected {
                self.connected(transport);
            }
        }
    }

    pub(crate) fn drain(&mut self) -> Vec<TransportId> {
        let mut known = Vec::new();
        while let Some(output) = self.room.poll_output() {
            match output {
                Output::Accepted { connection } => self.accepted.push(connection),
                Output::Refused {
                    connection,
                    refusal,
                } => self.refused.push((connection, refusal)),
                Output::Send { to, message } => {
                    let response = SignalResponse {
                        message: Some((*message).clone()),
                    };
                    json::write(&response).expect("a client may speak JSON");
                    for connection in to {
                        assert!(!self.closed.contains(&connection), "said after close");
                        self.messages
                            .entry(connection)
                            .or_default()
                            .push((*message).clone());
                    }
                }
                Output::RefreshToken { connection, grants } => {
                    self.messages
                        .entry(connection)
                        .or_default()
                        .push(Response::RefreshToken("token".into()));
                    self.tokens.push((connection, grants));
                }
                Output::Close { connection } => self.closed.push(connection),
                Output::Media { shard, command } => {
                    if let Command::SetRemote { transport, .. } = &command {
                        known.push(*transport);
                    }
                    self.commands.push((shard, command));
                }
                Output::Report(event) => {
                    json::write_event(&event).expect("receivers read JSON");
                    self.reports.push(*event);
                }
                Output::Presence(presence) => self.presences.push(presence),
                Output::Ended => self.ended = true,
            }
        }
        known
    }

    pub(crate) fn connected(&mut self, transport: TransportId) {
        self.input(Input::Media(Event::TransportState {
            transport,
            state: TransportState::Connected {
                profile: SrtpProfile::AeadAes128Gcm,
            },
        }));
    }

    /// Lets time pass, with every timeout on its way.
    pub(crate) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.room.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.input(Input::Timeout);
        }
        self.now = end;
    }

    pub(crate) fn params(&mut self, claims: &Claims, mode: ConnectionMode) -> JoinParams {
        let shard = ShardId(self.shards % 2);
        self.shards += 1;
        JoinParams {
            grants: grants(claims),
            client: ClientInfo {
                version: "2.23.0".into(),
                client_protocol: 2,
                capabilities: vec![2],
                ..ClientInfo::default()
            },
            mode,
            auto_subscribe: true,
            auto_subscribe_data_tracks: false,
            metadata: String::new(),
            attributes: HashMap::new(),
            offer: None,
            add_tracks: Vec::new(),
            resume: None,
            shard,
        }
    }

    pub(crate) fn join(&mut self, identity: &str) -> Client {
        self.join_as(&claims("r", identity), ConnectionMode::Single)
    }

    pub(crate) fn join_dual(&mut self, identity: &str) -> Client {
        self.join_as(&claims("r", identity), ConnectionMode::Dual)
    }

    pub(crate) fn join_as(&mut self, claims: &Claims, mode: ConnectionMode) -> Client {
        let params = self.params(claims, mode);
        self.join_with(params)
    }

    /// Joins as the SDKs do, with an offer in single mode and an answered one in dual mode.
    pub(crate) fn join_with(&mut self, mut params: JoinParams) -> Client {
        let connection = self.ids.connection();
        let ufrag = format!("u{:03}", connection.0);
        let mode = params.mode;
        let grants = Arc::clone(&params.grants);
        let (list, offers) = match mode {
            ConnectionMode::Single => (join_sections(), 1),
            ConnectionMode::Dual => (sections(&["app 0"]), 0),
            ConnectionMode::Http => panic!("joins without a connection"),
        };
        if mode == ConnectionMode::Single && params.offer.is_none() {
            params.offer = Some(SessionDescription {
                r#type: "offer".into(),
                sdp: sdp(&list, &ufrag, false),
                id: 1,
                ..SessionDescription::default()
            });
        }
        self.input(Input::Join {
            connection,
            params: Box::new(params),
        });
        let sid = self
            .all(connection)
            .iter()
            .find_map(|m| match m {
                Response::Join(join) => Some(join.participant.as_ref().unwrap().sid.clone()),
                _ => None,
            })
            .unwrap_or_default();
        let mut client = Client {
            connection,
            mode,
            sections: list,
            offers,
            ufrag,
            sid,
            grants,
        };
        if mode == ConnectionMode::Dual && self.accepted.contains(&connection) {
            self.answer(&client);
            self.offer(&mut client);
        }
        client
    }

    /// Answers the last offer the client got: `recvonly` wherever something is sent.
    pub(crate) fn answer(&mut self, client: &Client) {
        let Some(offer) = self.last_offer(client) else {
            return;
        };
        let list: Vec<_> = shape(&offer.sdp)
            .into_iter()
            .map(|section| {
                let words: Vec<_> = section.split(' ').collect();
                match words[..] {
                    ["app", mid] => format!("app {mid}"),
                    [kind, mid, "sendonly", ..] => format!("{kind} {mid} recvonly"),
                    [kind, mid, ..] => format!("{kind} {mid} inactive"),
                    _ => panic!("strange section {section}"),
                }
            })
            .collect();
        let answer = SessionDescription {
            r#type: "answer".into(),
            sdp: sdp(&list, &client.ufrag, true),
            id: offer.id,
            ..SessionDescription::default()
        };
        self.request(client, Request::Answer(answer));
    }

    pub(crate) fn last_offer(&self, client: &Client) -> Option<SessionDescription> {
        self.all(client.connection)
            .iter()
            .rev()
            .find_map(|m| match m {
                Response::Offer(offer) => Some(offer.clone()),
                _ => None,
            })
    }

    pub(crate) fn last_answer(&self, client: &Client) -> Option<SessionDescription> {
        self.all(client.connection)
            .iter()
            .rev()
            .find_map(|m| match m {
                Response::Answer(answer) => Some(answer.clone()),
                _ => None,
            })
    }

    /// Offers the client's sections once more; returns the id.
    pub(crate) fn offer(&mut self, client: &mut Client) -> u32 {
        client.offers += 1;
        let offer = SessionDescription {
            r#type: "offer".into(),
            sdp: sdp(&client.sections, &client.ufrag, false),
            id: client.offers,
            ..SessionDescription::default()
        };
        self.request(client, Request::Offer(offer));
        client.offers
    }

    pub(crate) fn request(&mut self, client: &Client, request: Request) {
        self.input(Input::Request {
            connection: client.connection,
            request: Box::new(request),
        });
    }

    pub(crate) fn all(&self, connection: ConnectionId) -> &[Response] {
        self.messages.get(&connection).map_or(&[], Vec::as_slice)
    }

    /// What a client got since this was last asked.
    pub(crate) fn take(&mut self, client: &Client) -> Vec<Response> {
        self.messages.remove(&client.connection).unwrap_or_default()
    }

    /// Publishes by request and offer; media does not flow yet. Returns the track's id.
    pub(crate) fn publish(&mut self, client: &mut Client, request: AddTrackRequest) -> String {
        let cid = request.cid.clone();
        let video = request.r#type() == TrackType::Video;
        // As the library does: qualities are encodings of VP8, and spatial layers of one encoding of AV1.
        let is_svc = request.simulcast_codecs.iter().any(|c| c.codec == "av1");
        let rids = if request.layers.len() > 1 && !is_svc {
            " q;h;f"
        } else {
            ""
        };
        self.request(client, Request::AddTrack(request));
        let sid = self
            .all(client.connection)
            .iter()
            .find_map(|m| match m {
                Response::TrackPublished(p) if p.cid == cid => {
                    Some(p.track.as_ref().unwrap().sid.clone())
                }
                _ => None,
            })
            .expect("published");
        let mid = client.sections.len();
        let kind = if video { "vid" } else { "aud" };
        client
            .sections
            .push(format!("{kind} {mid} sendonly {cid}{rids}"));
        self.offer(client);
        sid
    }

    pub(crate) fn publish_microphone(&mut self, client: &mut Client) -> String {
        let sid = self.publish(client, microphone(&format!("mic-{}", client.connection.0)));
        self.media_flows();
        sid
    }

    pub(crate) fn publish_camera(&mut self, client: &mut Client) -> String {
        let sid = self.publish(client, camera(&format!("cam-{}", client.connection.0)));
        self.media_flows();
        sid
    }

    /// Every encoding of every producer sends its first packet.
    pub(crate) fn media_flows(&mut self) {
        let mut producers: BTreeMap<TrackId, (usize, Codec)> = BTreeMap::new();
        for (_, command) in &self.commands {
            match command {
                Command::AddProducer { track, config, .. } => {
                    producers.insert(*track, (config.encodings.len(), config.codecs[0].codec));
                }
                Command::RemoveProducer { track } => {
                    producers.remove(track);
                }
                _ => {}
            }
        }
        for (track, (encodings, codec)) in producers {
            for encoding in 0..encodings as u8 {
                self.input(Input::Media(Event::EncodingStarted {
                    track,
                    encoding,
                    ssrc: track.0 as u32 * 10 + u32::from(encoding),
                    codec,
                }));
            }
        }
    }

    /// Does what clients do when they are asked for an offer, or get one, until nobody is asked any more.
    pub(crate) fn negotiate(&mut self, clients: &mut [&mut Client]) {
        loop {
            let mut quiet = true;
            for client in clients.iter_mut() {
                let news = self.take(client);
                for message in &news {
                    match message {
                        Response::MediaSectionsRequirement(more) => {
                            quiet = false;
                            for (kind, count) in
                                [("aud", more.num_audios), ("vid", more.num_videos)]
                            {
                                for _ in 0..count {
                                    let mid = client.sections.len();
                                    client.sections.push(format!("{kind} {mid} recvonly"));
                                }
                            }
                            self.offer(client);
                        }
                        Response::Offer(offer) => {
                            quiet = false;
                            self.messages
                                .entry(client.connection)
                                .or_default()
                                .push(Response::Offer(offer.clone()));
                            self.answer(client);
                            let list = self.messages.entry(client.connection).or_default();
                            let place = list
                                .iter()
                                .position(|m| matches!(m, Response::Offer(o) if o.id == offer.id));
                            list.remove(place.unwrap());
                        }
                        _ => {}
                    }
                }
                let mut kept: Vec<_> = news
                    .into_iter()
                    .filter(|m| {
                        !matches!(
                            m,
                            Response::MediaSectionsRequirement(_) | Response::Offer(_)
                        )
                    })
                    .collect();
                kept.extend(self.take(client));
                self.messages.insert(client.connection, kept);
            }
            if quiet {
                return;
            }
        }
    }

    /// Transports of a client, publisher's (or only one) and subscriber's.
    pub(crate) fn transports(&self, nth: usize) -> TransportId {
        self.commands
            .iter()
            .filter_map(|(_, c)| match c {
                Command::OpenTransport { transport, .. } => Some(*transport),
                _ => None,
            })
            .nth(nth)
            .unwrap()
    }

    pub(crate) fn data(&mut self, transport: TransportId, label: &str, data: Vec<u8>) {
        self.input(Input::Media(Event::Data {
            transport,
            channel: ChannelId(1),
            label: label.into(),
            binary: true,
            data: Bytes::from(data),
        }));
    }

    /// Data that was sent since this was last asked: receivers, label, bytes.
    pub(crate) fn sent_data(&mut self) -> Vec<(Vec<TransportId>, String, Bytes)> {
        let mut sent = Vec::new();
        self.commands.retain(|(_, command)| match command {
            Command::SendData {
                transports,
                label,
                data,
                ..
            } => {
                sent.push((transports.clone(), label.to_string(), data.clone()));
                false
            }
            _ => true,
        });
        sent
    }

    /// Consumers as the shards have them now.
    pub(crate) fn consumers(&self) -> BTreeMap<(TransportId, TrackId), ConsumerTarget> {
        let mut consumers = BTreeMap::new();
        for (_, command) in &self.commands {
            match command {
                Command::AddConsumer {
                    transport,
                    track,
                    config,
                    ..
                } => {
                    consumers.insert((*transport, *track), config.target);
                }
                Command::SetConsumerTarget {
                    transport,
                    track,
                    target,
                } => {
                    consumers.insert((*transport, *track), *target);
                }
                Command::RemoveConsumer { transport, track } => {
                    consumers.remove(&(*transport, *track));
                }
                Command::RemoveProducer { track } => consumers.retain(|(_, t), _| t != track),
                Command::CloseTransport { transport } => {
                    consumers.retain(|(t, _), _| t != transport);
                }
                _ => {}
            }
        }
        consumers
    }

    pub(crate) fn resume(&mut self, client: &mut Client, sid: &str) {
        let mut params = self.params(&claims("r", &client.grants.identity), client.mode);
        params.resume = Some(Resume {
            participant_sid: sid.into(),
            sync_state: None,
        });
        client.connection = self.ids.connection();
        self.input(Input::Join {
            connection: client.connection,
            params: Box::new(params),
        });
    }

    pub(crate) fn close(&mut self, client: &Client) {
        self.input(Input::Closed {
            connection: client.connection,
        });
    }
}

pub(crate) fn refusal(messages: &[Response]) -> Option<RequestResponse> {
    messages.iter().find_map(|m| match m {
        Response::RequestResponse(r) => Some(r.clone()),
        _ => None,
    })
}

pub(crate) fn leave_reason(messages: &[Response]) -> Option<(DisconnectReason, i32)> {
    messages.iter().find_map(|m| match m {
        Response::Leave(leave) => Some((leave.reason(), leave.action)),
        _ => None,
    })
}
