//! Any requests, data and media events in any order: no panic, and nothing is left when everybody has gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::update_data_subscription::Update;
use livekit_protocol::{
    AddTrackRequest, DataChannelReceiveState, DataPacket, GetDataBlobRequest, LeaveRequest,
    MuteTrackRequest, ParticipantTracks, Ping, PublishDataTrackRequest, SessionDescription,
    SimulcastCodec, StoreDataBlobRequest, SubscriptionPermission, SyncState, TrackPermission,
    TrickleRequest, UnpublishDataTrackRequest, UpdateDataSubscription, UpdateLocalAudioTrack,
    UpdateLocalVideoTrack, UpdateParticipantMetadata, UpdateSubscription, UpdateTrackSettings,
    UpdateVideoLayers, UserPacket, VideoLayer, data_packet::Value,
};
use proptest::prelude::*;
use prost::Message as _;
use schalter_forward::Codec;
use schalter_model::{ShardId, SrtpProfile, TrackId, TransportId};
use schalter_shard::control::{Command, Event, Refusal, TransportFailure, TransportState};
use schalter_signaling::HttpProtocol;
use schalter_signaling::SignalingConfig;
use schalter_signaling::room::{
    ConnectionMode, HttpRole, HttpSessionBegun, Input, Resume, UnreadableFrame,
};

use crate::service_operations::{self, Names};
use crate::simulate;
use crate::support::{Client, World, camera, claims, join_sections, microphone, sdp};

/// How many people there are; two share each of the grants.
const PEOPLE: usize = 5;

/// Numbers that an operation is made of; each means what the operation takes it for.
#[derive(Clone, Debug)]
struct Seed {
    who: usize,
    kind: usize,
    a: usize,
    b: usize,
    /// Values of enums, known and unknown.
    n: i32,
    flag: bool,
}

#[derive(Clone, Debug)]
enum Operation {
    Join(Seed),
    Resume(Seed),
    Close(Seed),
    Request(Seed),
    /// Publishes as clients do; media flows.
    Publish(Seed),
    /// Does what the server asked for until it asks no more.
    Follow(Seed),
    /// Answers the last offer, or offers something else than before.
    Negotiate(Seed),
    Unreadable(Seed),
    Overflow(Seed),
    State(Seed),
    Media(Seed),
    Data(Seed),
    Pass(Seed),
    /// What a backend asks.
    Service(Seed),
    /// Somebody publishes or plays without a WebSocket, restarts ICE or goes.
    Http(Seed),
}

fn seed() -> impl Strategy<Value = Seed> {
    let numbers = (0..PEOPLE, 0..22usize, 0..8usize, 0..8usize);
    (numbers, -1..6i32, any::<bool>()).prop_map(|((who, kind, a, b), n, flag)| Seed {
        who,
        kind,
        a,
        b,
        n,
        flag,
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => seed().prop_map(Operation::Join),
        1 => seed().prop_map(Operation::Resume),
        1 => seed().prop_map(Operation::Close),
        12 => seed().prop_map(Operation::Request),
        5 => seed().prop_map(Operation::Publish),
        8 => seed().prop_map(Operation::Follow),
        3 => seed().prop_map(Operation::Negotiate),
        1 => seed().prop_map(Operation::Unreadable),
        1 => seed().prop_map(Operation::Overflow),
        2 => seed().prop_map(Operation::State),
        4 => seed().prop_map(Operation::Media),
        4 => seed().prop_map(Operation::Data),
        3 => seed().prop_map(Operation::Pass),
        3 => seed().prop_map(Operation::Service),
        4 => seed().prop_map(Operation::Http),
    ]
}

struct Scene {
    world: World,
    clients: Vec<Option<Client>>,
    sessions: Vec<(HttpProtocol, HttpSessionBegun)>,
}

impl Scene {
    fn new() -> Self {
        let mut config = SignalingConfig::default();
        config.room.simulate = true;
        let limits = &mut config.limits;
        // Small, so that they are reached.
        limits.participants_per_room = 4;
        limits.tracks_per_participant = 3;
        limits.data_tracks_per_participant = 2;
        limits.data_messages_per_second = 3;
        limits.data_waiting_messages = 3;
        limits.replay_messages = 2;
        Self {
            world: World::with(config),
            clients: vec![None; PEOPLE],
            sessions: Vec::new(),
        }
    }

    fn run(&mut self, operation: Operation) {
        match operation {
            Operation::Http(seed) => self.http(&seed),
            Operation::Join(seed) => self.join(&seed),
            Operation::Resume(seed) => self.resume(&seed),
            Operation::Close(seed) => {
                if let Some(client) = self.client(&seed) {
                    self.world.close(&client);
                }
            }
            Operation::Request(seed) => {
                let Some(client) = self.client(&seed) else {
                    return;
                };
                let request = self.request(&client, &seed);
                self.world.request(&client, request);
            }
            Operation::Publish(seed) => self.publish(&seed),
            Operation::Follow(seed) => {
                if let Some(mut client) = self.client(&seed) {
                    self.world.negotiate(&mut [&mut client]);
                    self.clients[seed.who] = Some(client);
                }
            }
            Operation::Negotiate(seed) => self.negotiate(&seed),
            Operation::Unreadable(seed) => {
                let frame = if seed.flag {
                    UnreadableFrame::Malformed
                } else {
                    UnreadableFrame::UnknownRequest
                };
                if let Some(Client { connection, .. }) = self.client(&seed) {
                    self.world.input(Input::Unreadable { connection, frame });
                }
            }
            Operation::Overflow(seed) => {
                if let Some(Client { connection, .. }) = self.client(&seed) {
                    self.world.input(Input::Overflowed { connection });
                }
            }
            Operation::State(seed) => self.state(&seed),
            Operation::Media(seed) => self.media(&seed),
            Operation::Data(seed) => self.data(&seed),
            Operation::Pass(seed) => {
                let millis = [1, 10, 400, 1_000, 5_000, 20_000, 60_000, 300_000];
                self.world.pass(Duration::from_millis(millis[seed.a]));
            }
            Operation::Service(seed) => {
                let names = Names {
                    identity: format!("person-{}", seed.who),
                    tracks: [self.track(seed.a), self.track(seed.b)],
                    sid: self.participant(seed.a),
                };
                service_operations::run(&mut self.world, &names, seed.kind, seed.n, seed.flag);
            }
        }
    }

    fn client(&self, seed: &Seed) -> Option<Client> {
        self.clients[seed.who].clone()
    }

    fn http(&mut self, seed: &Seed) {
        let place = seed.a.checked_rem(self.sessions.len());
        if let (Some(place), true) = (place, seed.n < 2) {
            let (protocol, session) = self.sessions[place].clone();
            self.world.touch(&session, protocol, seed.flag);
            return;
        }
        let mut token = claims("r", &format!("person-{}", seed.who));
        token.video.as_mut().unwrap().hidden = Some(seed.who == PEOPLE - 2);
        let (protocol, role, direction) = if seed.flag {
            (HttpProtocol::Whip, HttpRole::Publisher, "sendonly")
        } else {
            let only = (seed.kind == 0).then(|| format!("person-{}", seed.a).into());
            let role = HttpRole::Player { participant: only };
            (HttpProtocol::Whep, role, "recvonly")
        };
        let sections = (0..=seed.b % 4).map(|mid| {
            let kind = if (mid + seed.kind).is_multiple_of(2) {
                "aud"
            } else {
                "vid"
            };
            format!("{kind} {mid} {direction}")
        });
        let sections: Vec<_> = sections.collect();
        self.world.connect = seed.a > 0;
        if let Some(Ok(begun)) = self.world.try_begin(&token, role, &sections) {
            self.sessions.push((protocol, begun));
        }
    }

    fn join(&mut self, seed: &Seed) {
        let mut token = claims("r", &format!("person-{}", seed.who));
        let video = token.video.as_mut().unwrap();
        let restricted = seed.who == PEOPLE - 1;
        video.can_publish = Some(!restricted);
        video.can_subscribe = Some(!restricted || seed.flag);
        video.can_update_own_metadata = Some(seed.flag);
        video.hidden = Some(seed.who == PEOPLE - 2);
        let mode = if seed.kind.is_multiple_of(2) {
            ConnectionMode::Single
        } else {
            ConnectionMode::Dual
        };
        let mut params = self.world.params(&token, mode);
        params.auto_subscribe = seed.a > 0;
        params.auto_subscribe_data_tracks = seed.b > 3;
        params.add_tracks = vec![self.add_track(seed)];
        self.world.connect = seed.b > 0;
        let client = if seed.a == 7 {
            // Without the offer or answer that should follow.
            let client = Client {
                connection: self.world.ids.connection(),
                mode,
                sections: join_sections(),
                offers: 0,
                ufrag: format!("late{}", seed.who),
                sid: String::new(),
                grants: params.grants.clone(),
            };
            self.world.input(Input::Join {
                connection: client.connection,
                params: Box::new(params),
            });
            client
        } else {
            self.world.join_with(params)
        };
        if self.world.accepted.contains(&client.connection) {
            self.clients[seed.who] = Some(client);
        }
    }

    fn resume(&mut self, seed: &Seed) {
        let Some(mut client) = self.client(seed) else {
            return;
        };
        let sid = if seed.a == 0 {
            self.participant(seed.b)
        } else {
            client.sid.clone()
        };
        let mut params = self
            .world
            .params(&claims("r", &client.grants.identity.clone()), client.mode);
        params.resume = Some(Resume {
            participant_sid: sid,
            sync_state: seed.flag.then(|| self.sync_state(seed)),
        });
        client.connection = self.world.ids.connection();
        self.world.input(Input::Join {
            connection: client.connection,
            params: Box::new(params),
        });
        // Who is told to begin anew still has its old socket.
        if !self.world.closed.contains(&client.connection) {
            self.clients[seed.who] = Some(client);
        }
    }

    fn publish(&mut self, seed: &Seed) {
        let Some(mut client) = self.client(seed) else {
            return;
        };
        let mid = client.sections.len();
        let cid = format!("own-{mid}");
        let simulcast = format!("vid {mid} sendonly {cid} q;h;f");
        let (request, section) = match (seed.flag, seed.b) {
            (false, _) => (microphone(&cid), format!("aud {mid} sendonly {cid}")),
            (true, 0 | 1) => {
                let mut request = camera(&cid);
                request.simulcast_codecs[0].codec = "av1".into();
                request.simulcast_codecs.push(SimulcastCodec {
                    codec: "vp8".into(),
                    ..SimulcastCodec::default()
                });
                request.backup_codec_policy = seed.n;
                (request, format!("av1 {mid} sendonly {cid}"))
            }
            // The second codec of a track, if it is an own one that has any.
            (true, 2 | 3) => {
                let request = AddTrackRequest {
                    sid: self.track(seed.a),
                    ..camera(&cid)
                };
                (request, simulcast)
            }
            (true, _) => (camera(&cid), simulcast),
        };
        let request = AddTrackRequest {
            muted: seed.a == 0,
            ..request
        };
        self.world.request(&client, Request::AddTrack(request));
        client.sections.push(section);
        self.world.offer(&mut client);
        self.world.media_flows();
        self.clients[seed.who] = Some(client);
    }

    fn negotiate(&mut self, seed: &Seed) {
        let Some(mut client) = self.client(seed) else {
            return;
        };
        if seed.a == 0 {
            client.ufrag = format!("new{}", seed.b);
        }
        match client.mode {
            ConnectionMode::Dual if seed.flag => self.world.answer(&client),
            ConnectionMode::Single | ConnectionMode::Dual | ConnectionMode::Http => {
                // One more section, or another use of one that is there.
                let kind = if seed.kind.is_multiple_of(2) {
                    "aud"
                } else {
                    "vid"
                };
                let used = client.sections.len();
                let mid = if seed.b == 0 {
                    used
                } else {
                    seed.b % (used + 1)
                };
                let rids = if kind == "vid" && seed.flag {
                    " q;h;f"
                } else {
                    ""
                };
                let section = match seed.n {
                    0 => format!("{kind} {mid} inactive"),
                    1 => format!("{kind} {mid} recvonly"),
                    _ => format!("{kind} {mid} sendonly cid-{}{rids}", seed.a),
                };
                if mid == used {
                    client.sections.push(section);
                } else if !client.sections[mid].starts_with("app") {
                    let kind = client.sections[mid][..3].to_owned();
                    client.sections[mid] = kind + &section[3..];
                }
                self.world.offer(&mut client);
            }
        }
        self.clients[seed.who] = Some(client);
    }

    fn transport(&self, n: usize) -> TransportId {
        let opened: Vec<_> = self
            .world
            .commands
            .iter()
            .filter_map(|(_, c)| match c {
                Command::OpenTransport { transport, .. } => Some(*transport),
                _ => None,
            })
            .collect();
        // Mostly one of the latest, which are likely to live.
        opened
            .iter()
            .rev()
            .nth(n)
            .copied()
            .unwrap_or(TransportId(u64::MAX))
    }

    fn produced(&self, n: usize) -> TrackId {
        let mut tracks: Vec<_> = self
            .world
            .commands
            .iter()
            .filter_map(|(_, c)| match c {
                Command::AddProducer { track, .. } => Some(*track),
                _ => None,
            })
            .collect();
        tracks.dedup();
        tracks
            .iter()
            .rev()
            .nth(n)
            .copied()
            .unwrap_or(TrackId(u64::MAX))
    }

    fn state(&mut self, seed: &Seed) {
        let state = match seed.kind % 6 {
            0 | 1 => TransportState::Connected {
                profile: SrtpProfile::AeadAes128Gcm,
            },
            2 => TransportState::Disconnected,
            3 => TransportState::Reconnected,
            4 => TransportState::Closed,
            _ => TransportState::Failed {
                reason: if seed.flag {
                    TransportFailure::ConsentLost
                } else {
                    TransportFailure::NeverConnected
                },
            },
        };
        let transport = self.transport(seed.a);
        self.world
            .input(Input::Media(Event::TransportState { transport, state }));
    }

    fn media(&mut self, seed: &Seed) {
        let track = self.produced(seed.a);
        let event = match seed.kind % 8 {
            0..=4 => Event::EncodingStarted {
                track,
                encoding: seed.b as u8,
                ssrc: 1,
                codec: if seed.flag { Codec::Vp8 } else { Codec::Opus },
            },
            5 | 6 => Event::AudioLevel {
                track,
                level: seed.n as f32,
                active: seed.flag,
            },
            _ => Event::Refused {
                transport: self.transport(seed.b),
                track: seed.flag.then_some(track),
                reason: [
                    Refusal::Limit,
                    Refusal::UnknownTransport,
                    Refusal::UnknownTrack,
                    Refusal::NoCommonCodec,
                    Refusal::InvalidConfig,
                    Refusal::DataOverload,
                ][seed.who + usize::from(seed.n > 3)],
            },
        };
        self.world.input(Input::Media(event));
    }

    fn data(&mut self, seed: &Seed) {
        let transport = self.transport(seed.a);
        if seed.kind == 0 {
            self.world.input(Input::DataLost { transport });
            return;
        }
        if seed.kind == 1 {
            let mut frame = vec![0; 12 + seed.b];
            frame[3] = seed.b as u8;
            self.world.data(transport, "_data_track", frame);
            return;
        }
        let user = UserPacket {
            payload: vec![1; seed.b],
            ..UserPacket::default()
        };
        let packet = DataPacket {
            sequence: self.world.commands.len() as u32 * u32::from(seed.flag),
            destination_identities: if seed.n > 2 {
                vec![format!("person-{}", seed.who)]
            } else {
                Vec::new()
            },
            value: Some(Value::User(user)),
            ..DataPacket::default()
        };
        let label = if seed.kind < 6 { "_lossy" } else { "_reliable" };
        self.world.data(transport, label, packet.encode_to_vec());
    }

    /// Something that every message so far named in `pick`, or nonsense.
    fn named(&self, n: usize, pick: impl Fn(&Response) -> Option<String>) -> String {
        let mut names: Vec<_> = self
            .world
            .messages
            .values()
            .flatten()
            .filter_map(pick)
            .collect();
        names.sort_unstable();
        names.dedup();
        names.get(n).cloned().unwrap_or_else(|| format!("XX_{n}"))
    }

    fn track(&self, n: usize) -> String {
        self.named(n, |m| match m {
            Response::TrackPublished(p) => p.track.as_ref().map(|t| t.sid.clone()),
            _ => None,
        })
    }

    fn participant(&self, n: usize) -> String {
        self.named(n, |m| match m {
            Response::Join(join) => join.participant.as_ref().map(|p| p.sid.clone()),
            _ => None,
        })
    }

    fn data_track(&self, n: usize) -> String {
        self.named(n, |m| match m {
            Response::PublishDataTrackResponse(r) => r.info.as_ref().map(|i| i.sid.clone()),
            _ => None,
        })
    }

    fn add_track(&self, seed: &Seed) -> AddTrackRequest {
        AddTrackRequest {
            cid: format!("cid-{}", seed.a),
            sid: if seed.b == 7 {
                self.track(0)
            } else {
                String::new()
            },
            r#type: i32::from(seed.kind % 2 == 1),
            source: seed.n,
            muted: seed.flag,
            encryption: seed.n,
            backup_codec_policy: seed.n,
            audio_features: vec![seed.n; 3],
            packet_trailer_features: vec![seed.n],
            layers: vec![
                VideoLayer {
                    quality: seed.n,
                    width: 10,
                    height: 10,
                    ..VideoLayer::default()
                };
                seed.b % 4
            ],
            simulcast_codecs: vec![
                SimulcastCodec {
                    codec: ["vp8", "av1", "", "x"][seed.a % 4].into(),
                    cid: format!("cid-{}", seed.b),
                    video_layer_mode: seed.n,
                    ..SimulcastCodec::default()
                };
                seed.a % 3
            ],
            ..AddTrackRequest::default()
        }
    }

    fn subscription(&self, seed: &Seed) -> UpdateSubscription {
        UpdateSubscription {
            track_sids: vec![self.track(seed.a)],
            subscribe: seed.flag,
            participant_tracks: vec![ParticipantTracks {
                participant_sid: self.participant(seed.a),
                track_sids: vec![self.track(seed.b)],
            }],
        }
    }

    fn data_subscription(&self, seed: &Seed) -> UpdateDataSubscription {
        UpdateDataSubscription {
            updates: vec![Update {
                track_sid: self.data_track(seed.a),
                subscribe: seed.flag,
                ..Update::default()
            }],
        }
    }

    fn sync_state(&self, seed: &Seed) -> SyncState {
        SyncState {
            subscription: Some(self.subscription(seed)),
            track_sids_disabled: vec![self.track(seed.b)],
            data_subscription: Some(self.data_subscription(seed)),
            datachannel_receive_states: vec![DataChannelReceiveState {
                publisher_sid: self.participant(seed.a),
                last_seq: seed.b as u32,
            }],
            ..SyncState::default()
        }
    }

    /// A request of the kind that the seed names; there are 22.
    fn request(&self, client: &Client, seed: &Seed) -> Request {
        let description = |kind: &str, sections: &[String], answer| SessionDescription {
            r#type: kind.into(),
            sdp: if seed.b == 0 {
                "v=0\r\nm=nonsense".into()
            } else {
                sdp(sections, &client.ufrag, answer)
            },
            id: self.world.last_offer(client).map_or(0, |o| o.id) + seed.a as u32 / 4,
            ..SessionDescription::default()
        };
        let handle = seed.a as u32;
        match seed.kind {
            0 => Request::Offer(description("offer", &client.sections, false)),
            1 => Request::Answer(description("answer", &client.sections, true)),
            2 => Request::Trickle(TrickleRequest::default()),
            3 => Request::AddTrack(self.add_track(seed)),
            4 => Request::Mute(MuteTrackRequest {
                sid: self.track(seed.a),
                muted: seed.flag,
            }),
            5 => Request::Subscription(self.subscription(seed)),
            6 => Request::TrackSetting(UpdateTrackSettings {
                track_sids: vec![self.track(seed.a)],
                disabled: seed.flag,
                quality: seed.n,
                width: seed.b as u32,
                ..UpdateTrackSettings::default()
            }),
            7 => Request::Leave(LeaveRequest::default()),
            #[expect(deprecated, reason = "older clients send it")]
            8 => Request::UpdateLayers(UpdateVideoLayers {
                track_sid: self.track(seed.a),
                ..UpdateVideoLayers::default()
            }),
            9 => Request::SubscriptionPermission(SubscriptionPermission {
                all_participants: seed.flag,
                track_permissions: vec![
                    TrackPermission {
                        participant_sid: self.participant(seed.a),
                        all_tracks: seed.n > 2,
                        track_sids: vec![self.track(seed.b)],
                        ..TrackPermission::default()
                    };
                    seed.a
                ],
            }),
            10 => Request::SyncState(self.sync_state(seed)),
            11 => Request::Simulate(simulate::any(seed.a, seed.n, seed.flag)),
            12 => Request::Ping(1),
            13 => Request::PingReq(Ping::default()),
            14 => Request::UpdateMetadata(UpdateParticipantMetadata {
                metadata: "m".repeat(seed.a),
                name: "n".into(),
                attributes: [("k".to_owned(), "v".repeat(seed.b))].into(),
                request_id: 1,
            }),
            15 => Request::UpdateAudioTrack(UpdateLocalAudioTrack {
                track_sid: self.track(seed.a),
                features: vec![seed.n],
            }),
            16 => Request::UpdateVideoTrack(UpdateLocalVideoTrack {
                track_sid: self.track(seed.a),
                width: 1,
                height: 1,
            }),
            17 => Request::PublishDataTrackRequest(PublishDataTrackRequest {
                pub_handle: handle,
                name: "x".repeat(seed.b),
                encryption: seed.n,
                ..PublishDataTrackRequest::default()
            }),
            18 => {
                Request::UnpublishDataTrackRequest(UnpublishDataTrackRequest { pub_handle: handle })
            }
            19 => Request::UpdateDataSubscription(self.data_subscription(seed)),
            20 => Request::StoreDataBlobRequest(StoreDataBlobRequest::default()),
            _ => Request::GetDataBlobRequest(GetDataBlobRequest::default()),
        }
    }

    /// What must hold whatever happened.
    fn check(&self) {
        let mut open: BTreeMap<TransportId, ShardId> = BTreeMap::new();
        let mut produced: BTreeSet<TrackId> = BTreeSet::new();
        for (shard, command) in &self.world.commands {
            match command {
                Command::ServeTurn(_) => panic!("no room starts a server"),
                Command::OpenTransport { transport, .. } => {
                    assert_eq!(open.insert(*transport, *shard), None, "opened twice");
                }
                Command::CloseTransport { transport } => {
                    assert_eq!(open.remove(transport), Some(*shard), "closed twice");
                }
                Command::AddProducer {
                    transport, track, ..
                } => {
                    assert_eq!(open.get(transport), Some(shard), "no transport to produce");
                    produced.insert(*track);
                }
                Command::RemoveProducer { track } => {
                    assert!(produced.remove(track), "removed what was not there");
                }
                Command::MuteProducer { track, .. } => {
                    assert!(produced.contains(track), "muted what is not there");
                }
                Command::AddConsumer {
                    transport, track, ..
                } => {
                    assert_eq!(open.get(transport), Some(shard), "no transport to consume");
                    assert!(produced.contains(track), "nothing to consume");
                }
                Command::SetRemote { transport, .. }
                | Command::RestartIce { transport, .. }
                | Command::SetConsumerTarget { transport, .. }
                | Command::LimitDownlink { transport, .. }
                | Command::RemoveConsumer { transport, .. } => {
                    assert_eq!(open.get(transport), Some(shard), "no such transport");
                }
                Command::SendData { transports, .. } => {
                    for transport in transports {
                        assert_eq!(open.get(transport), Some(shard), "no receiver");
                    }
                }
            }
        }
        let stats = self.world.counters.snapshot();
        assert_eq!(stats.subscriptions, self.world.consumers().len() as u64);
        assert!(stats.joins_connected <= stats.joins);
        assert!(stats.http_sessions.iter().sum::<u64>() <= stats.participants);
        if stats.participants == 0 {
            assert!(open.is_empty() && produced.is_empty());
            assert_eq!((stats.tracks, stats.subscriptions), (0, 0));
        }
    }

    fn end(&mut self) {
        for client in self.clients.clone().into_iter().flatten() {
            self.world.close(&client);
        }
        for (protocol, session) in self.sessions.clone() {
            self.world.touch(&session, protocol, true);
        }
        // Whoever never connected goes at once, the others after the resume window.
        self.world.pass(Duration::from_secs(60));
        self.check();
        assert_eq!(self.world.counters.snapshot().participants, 0);
        assert!(self.world.room.participant_infos().is_empty());
        self.world.pass(Duration::from_secs(600));
        assert!(self.world.ended);
        assert_eq!(self.world.room.poll_timeout(), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_operations_leave_nothing_behind(operations in prop::collection::vec(operation(), 1..150)) {
        let mut scene = Scene::new();
        for operation in operations {
            scene.run(operation);
        }
        scene.check();
        scene.end();
    }
}
