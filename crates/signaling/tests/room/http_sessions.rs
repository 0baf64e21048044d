//! Participants without a WebSocket: what publishers by WHIP show others, what players by WHEP get on which section, and
//! how both end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{
    DisconnectReason, MuteTrackRequest, ParticipantInfo, ParticipantPermission, TrackSource,
    UpdateParticipantRequest, VideoQuality,
};
use schalter_forward::{Codec, ConsumerConfig};
use schalter_model::{ShardId, TrackId, TransportId};
use schalter_shard::control::{Command, Event, Refusal, TransportFailure, TransportState};
use schalter_signaling::room::{
    HttpJoin, HttpRole, HttpSessionBegun, IceChange, Input, Precondition, ServiceRefusal,
    SessionCaller,
};
use schalter_signaling::sdp::{IceFragment, Limits, SessionDescription};
use schalter_signaling::token::Claims;
use schalter_signaling::{HttpProtocol, JoinRefusal, JoinStage};
use schalter_transport::RemoteIce;

use crate::support::{Client, World, camera, claims, grants, sdp, sections, shape};

const PUBLISHER: &[&str] = &["aud 0 sendonly mic", "vid 1 sendonly cam"];
/// Of every token here.
const SIGNATURE: &str = "signature";
const PLAYER: HttpRole = HttpRole::Player { participant: None };

impl World {
    fn begin(&mut self, claims: &Claims, role: HttpRole, list: &[&str]) -> HttpSessionBegun {
        let begun = self.try_begin(claims, role, &sections(list));
        begun.expect("a room").expect("a session")
    }

    /// Joins by HTTP; `None` once the room has ended.
    pub(crate) fn try_begin(
        &mut self,
        claims: &Claims,
        role: HttpRole,
        list: &[String],
    ) -> Option<Result<HttpSessionBegun, JoinRefusal>> {
        let join = HttpJoin {
            grants: grants(claims),
            signature: SIGNATURE.into(),
            role,
            offer: SessionDescription::parse(&sdp(list, "u777", false), &Limits::default())
                .unwrap(),
            shard: ShardId(0),
        };
        let begun = self
            .room
            .call(self.now, |room| room.begin_http_session(join));
        for transport in self.drain() {
            if self.connect {
                self.connected(transport);
            }
        }
        begun
    }

    /// Restarts ICE, or ends a session. Whether it is there is what this finds out.
    pub(crate) fn touch(&mut self, session: &HttpSessionBegun, protocol: HttpProtocol, ends: bool) {
        let caller = SessionCaller {
            secret: session.secret.clone(),
            protocol,
            signature: SIGNATURE.into(),
            grants: None,
        };
        let fragment = IceFragment {
            ice: Some(RemoteIce {
                ufrag: format!("u{}", self.commands.len()).into(),
                password: "a-password-of-22-chars".into(),
            }),
            ..IceFragment::default()
        };
        let touched = self.room.call(self.now, |room| {
            if ends {
                return room.end_http_session(&caller).map(|()| None);
            }
            let any = Some(&Precondition::Any);
            room.change_ice(&caller, any, &fragment).map(Some)
        });
        if let Some(Ok(Some(change))) = touched {
            assert!(matches!(change, IceChange::Restarted { .. }));
        }
        self.drain();
    }

    fn publisher(&mut self, identity: &str) -> HttpSessionBegun {
        let begun = self.begin(&claims("r", identity), HttpRole::Publisher, PUBLISHER);
        self.media_flows();
        begun
    }

    pub(crate) fn player(&mut self, list: &[&str]) -> HttpSessionBegun {
        self.begin(&claims("r", "player"), PLAYER, list)
    }

    fn infos(&self) -> BTreeMap<String, ParticipantInfo> {
        let infos = self.room.participant_infos();
        infos
            .into_iter()
            .map(|info| (info.identity.clone(), info))
            .collect()
    }

    pub(crate) fn last_transport(&self) -> TransportId {
        let opened = self
            .commands
            .iter()
            .filter_map(|(_, command)| match command {
                Command::OpenTransport { transport, .. } => Some(*transport),
                _ => None,
            });
        opened.last().unwrap()
    }

    /// What the shard forwards to a transport, by mid.
    pub(crate) fn stage(&self, of: TransportId) -> BTreeMap<String, (TrackId, ConsumerConfig)> {
        let mut stage = BTreeMap::new();
        for (_, command) in &self.commands {
            match command {
                Command::AddConsumer {
                    transport,
                    track,
                    config,
                    ..
                } if *transport == of => {
                    let mid = config.mid.as_deref().unwrap().to_owned();
                    let before = stage.insert(mid, (*track, config.clone()));
                    assert!(
                        before.is_none_or(|(id, _)| id == *track),
                        "two tracks on a section"
                    );
                }
                Command::RemoveConsumer { transport, track } if *transport == of => {
                    stage.retain(|_, (id, _)| id != track);
                }
                _ => {}
            }
        }
        stage
    }

    /// Whose tracks a player gets, by mid.
    fn shown(&self, of: TransportId) -> BTreeMap<String, String> {
        let stage = self.stage(of).into_iter();
        stage
            .map(|(mid, (track, _))| (mid, self.owner(track)))
            .collect()
    }

    fn owner(&self, track: TrackId) -> String {
        let publisher = self.commands.iter().find_map(|(_, command)| match command {
            Command::AddProducer {
                transport,
                track: id,
                config,
            } if *id == track => Some((*transport, config.mid.clone().unwrap())),
            _ => None,
        });
        let (transport, mid) = publisher.expect("published");
        let opened = self
            .commands
            .iter()
            .filter_map(|(_, command)| match command {
                Command::OpenTransport { transport, .. } => Some(*transport),
                _ => None,
            });
        let place = opened
            .into_iter()
            .position(|opened| opened == transport)
            .unwrap();
        format!("{place}:{mid}")
    }

    /// The tracks that a transport publishes.
    fn tracks_of(&self, nth: usize) -> Vec<TrackId> {
        let of = self.transports(nth);
        let added = self
            .commands
            .iter()
            .filter_map(|(_, command)| match command {
                Command::AddProducer {
                    transport, track, ..
                } if *transport == of => Some(*track),
                _ => None,
            });
        let mut tracks: Vec<_> = added.collect();
        tracks.dedup();
        tracks
    }

    fn speaks(&mut self, track: TrackId, active: bool) {
        let level = if active { 0.5 } else { 0.0 };
        self.input(Input::Media(Event::AudioLevel {
            track,
            level,
            active,
        }));
        self.pass(Duration::from_secs(1));
    }

    fn transport_becomes(&mut self, transport: TransportId, state: TransportState) {
        self.input(Input::Media(Event::TransportState { transport, state }));
    }
}

fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .map(|(mid, owner)| (mid.to_owned(), owner.to_owned()))
        .into()
}

/// Somebody who publishes sound and pictures by WebSocket.
fn speaker(world: &mut World, identity: &str) -> Client {
    let mut client = world.join(identity);
    world.publish_microphone(&mut client);
    world.publish_camera(&mut client);
    client
}

#[test]
fn a_publisher_is_subscribed_to_like_any_other() {
    let mut world = World::new();
    let mut bob = world.join("bob");
    let begun = world.publisher("camera");
    assert_eq!(shape(&begun.answer), ["aud 0 recvonly", "vid 1 recvonly"]);
    // Music has silence, and an encoder's silence is part of it.
    assert!(!begun.answer.contains("usedtx"));
    world.negotiate(&mut [&mut bob]);
    assert_eq!(world.consumers().len(), 2);
    let info = &world.infos()["camera"];
    assert_eq!((info.tracks.len(), info.is_publisher), (2, true));
    assert_eq!(info.tracks[1].source(), TrackSource::Camera);
    assert_eq!(world.counters.snapshot().http_sessions, [1, 0]);
    assert_eq!(world.counters.snapshot().joins_connected, 2);
}

#[test]
fn simulcast_layers_have_their_qualities() {
    for (rids, qualities) in [
        (
            "q;h;f",
            vec![VideoQuality::Low, VideoQuality::Medium, VideoQuality::High],
        ),
        ("a;b", vec![VideoQuality::Medium, VideoQuality::High]),
    ] {
        let mut world = World::new();
        let list = [format!("vid 0 sendonly cam {rids}")];
        let list: Vec<_> = list.iter().map(String::as_str).collect();
        let begun = world.begin(&claims("r", "camera"), HttpRole::Publisher, &list);
        assert!(
            begun.answer.contains(&format!("a=simulcast:recv {rids}")),
            "{}",
            begun.answer
        );
        world.media_flows();
        let track = &world.infos()["camera"].tracks[0];
        let layers = &track.codecs[0].layers;
        let got: Vec<_> = layers.iter().map(|layer| layer.quality()).collect();
        assert_eq!(got, qualities);
        assert!(layers.iter().all(|layer| layer.ssrc != 0), "{layers:?}");
    }
}

#[test]
fn a_player_gets_a_rooms_tracks_on_the_streams_that_were_answered() {
    let mut world = World::new();
    speaker(&mut world, "alice");
    let begun = world.player(&["aud a recvonly", "vid b recvonly", "vid c recvonly"]);
    assert_eq!(
        shape(&begun.answer),
        [
            "aud a sendonly track",
            "vid b sendonly track",
            "vid c sendonly track"
        ]
    );
    let player = world.last_transport();
    assert_eq!(world.shown(player), map([("a", "0:7"), ("b", "0:8")]));
    for (mid, (_, config)) in world.stage(player) {
        let line = format!("a=ssrc:{} cname:{}\r\n", config.ssrc, config.cname);
        assert!(begun.answer.contains(&line), "{mid}: {}", begun.answer);
        assert!(config.continues);
    }
    // Sound and pictures that belong together are one stream to the player.
    let msids: Vec<_> = begun
        .answer
        .lines()
        .filter(|line| line.starts_with("a=msid:"))
        .collect();
    assert_eq!(
        msids,
        [
            "a=msid:stream-0 audio-0",
            "a=msid:stream-0 video-0",
            "a=msid:stream-1 video-1"
        ]
    );
}

#[test]
fn tracks_that_come_later_take_free_sections_and_those_that_go_give_them_back() {
    let mut world = World::new();
    let begun = world.player(&["aud 0 recvonly", "vid 1 recvonly"]);
    let player = world.last_transport();
    assert!(world.stage(player).is_empty());
    let alice = speaker(&mut world, "alice");
    assert_eq!(world.shown(player), map([("0", "1:7"), ("1", "1:8")]));
    let before = world.stage(player);
    speaker(&mut world, "bob");
    assert_eq!(
        world.shown(player),
        map([("0", "1:7"), ("1", "1:8")]),
        "nobody moves without need"
    );
    world.close(&alice);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.shown(player), map([("0", "2:7"), ("1", "2:8")]));
    let after = world.stage(player);
    for mid in ["0", "1"] {
        assert_ne!(before[mid].0, after[mid].0);
        assert_eq!(before[mid].1.ssrc, after[mid].1.ssrc);
        assert_eq!(before[mid].1.rtx_ssrc, after[mid].1.rtx_ssrc);
        assert!(
            begun
                .answer
                .contains(&format!("a=ssrc:{}", after[mid].1.ssrc))
        );
    }
}

#[test]
fn who_speaks_takes_the_only_sections_and_keeps_them() {
    let mut world = World::new();
    world.player(&["aud 0 recvonly", "vid 1 recvonly"]);
    let player = world.last_transport();
    speaker(&mut world, "alice");
    speaker(&mut world, "bob");
    let (alice, bob) = (world.tracks_of(1), world.tracks_of(2));
    world.speaks(bob[0], true);
    assert_eq!(world.shown(player), map([("0", "2:7"), ("1", "2:8")]));
    world.speaks(alice[0], true);
    assert_eq!(
        world.shown(player),
        map([("0", "2:7"), ("1", "2:8")]),
        "bob still speaks"
    );
    world.speaks(bob[0], false);
    assert_eq!(world.shown(player), map([("0", "1:7"), ("1", "1:8")]));
    world.speaks(alice[0], false);
    assert_eq!(
        world.shown(player),
        map([("0", "1:7"), ("1", "1:8")]),
        "silence moves nobody"
    );
}

#[test]
fn the_tracks_of_one_participant_share_a_stream() {
    let mut world = World::new();
    let list = [
        "aud 0 recvonly",
        "aud 1 recvonly",
        "vid 2 recvonly",
        "vid 3 recvonly",
    ];
    world.player(&list);
    let player = world.last_transport();
    speaker(&mut world, "alice");
    speaker(&mut world, "bob");
    speaker(&mut world, "carol");
    assert_eq!(
        world.shown(player),
        map([("0", "1:7"), ("1", "2:7"), ("2", "1:8"), ("3", "2:8")])
    );
    // Whoever of those shown came last makes room, with both tracks.
    let carol = world.tracks_of(3);
    world.speaks(carol[0], true);
    assert_eq!(
        world.shown(player),
        map([("0", "1:7"), ("1", "3:7"), ("2", "1:8"), ("3", "3:8")])
    );
}

#[test]
fn a_shared_screen_comes_before_faces_and_a_muted_camera_after_them() {
    let mut world = World::new();
    world.player(&["vid 0 recvonly"]);
    let player = world.last_transport();
    let mut alice = world.join("alice");
    let cam = world.publish_camera(&mut alice);
    let mut bob = world.join("bob");
    world.publish_camera(&mut bob);
    assert_eq!(world.shown(player), map([("0", "1:7")]));
    let mute = |sid: &str, muted| {
        Request::Mute(MuteTrackRequest {
            sid: sid.into(),
            muted,
        })
    };
    world.request(&alice, mute(&cam, true));
    assert_eq!(world.shown(player), map([("0", "2:7")]));
    let mut screen = camera("screen");
    screen.source = TrackSource::ScreenShare as i32;
    world.publish(&mut alice, screen);
    world.media_flows();
    assert_eq!(world.shown(player), map([("0", "1:8")]));
}

#[test]
fn a_player_of_one_participant_gets_nobody_else() {
    let mut world = World::new();
    speaker(&mut world, "alice");
    let role = HttpRole::Player {
        participant: Some(Arc::from("bob")),
    };
    world.begin(
        &claims("r", "player"),
        role,
        &["aud 0 recvonly", "vid 1 recvonly"],
    );
    let player = world.last_transport();
    assert!(world.stage(player).is_empty());
    speaker(&mut world, "bob");
    assert_eq!(world.shown(player), map([("0", "2:7"), ("1", "2:8")]));
    world.publisher("camera");
    assert_eq!(world.shown(player), map([("0", "2:7"), ("1", "2:8")]));
}

#[test]
fn a_publisher_by_whip_is_played_by_whep() {
    let mut world = World::new();
    world.publisher("camera");
    world.player(&["aud 0 recvonly", "vid 1 recvonly"]);
    let player = world.last_transport();
    assert_eq!(world.shown(player), map([("0", "0:0"), ("1", "0:1")]));
    // Its own session gets nothing: nobody asked.
    assert!(world.stage(world.transports(0)).is_empty());
}

#[test]
fn a_track_that_a_player_cannot_decode_takes_no_section() {
    let mut world = World::new();
    world.player(&["vid 0 recvonly"]);
    let player = world.last_transport();
    let mut alice = world.join("alice");
    world.publish(&mut alice, camera("cam"));
    let track = world.tracks_of(1)[0];
    let started = |track, codec| Event::EncodingStarted {
        track,
        encoding: 0,
        ssrc: 5,
        codec,
    };
    world.input(Input::Media(started(track, Codec::H265)));
    assert!(world.stage(player).is_empty());
    let mut bob = world.join("bob");
    world.publish(&mut bob, camera("cam"));
    let track = world.tracks_of(2)[0];
    world.input(Input::Media(started(track, Codec::Vp8)));
    assert_eq!(world.shown(player), map([("0", "2:7")]));
}

#[test]
fn nothing_is_said_to_those_without_a_socket() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    world.publisher("camera");
    world.player(&["aud 0 recvonly"]);
    world.publish_microphone(&mut alice);
    world.negotiate(&mut [&mut alice]);
    world.sent_data();
    let packet = livekit_protocol::DataPacket {
        value: Some(livekit_protocol::data_packet::Value::User(
            livekit_protocol::UserPacket {
                payload: b"x".to_vec(),
                ..Default::default()
            },
        )),
        ..Default::default()
    };
    let bytes = prost::Message::encode_to_vec(&packet);
    world.data(world.transports(0), "_reliable", bytes);
    assert!(
        world.sent_data().is_empty(),
        "a channel that never opens would keep it"
    );
    world.pass(Duration::from_secs(600));
    assert_eq!(
        world.messages.keys().collect::<Vec<_>>(),
        [&alice.connection]
    );
    assert_eq!(world.infos().len(), 3);
}

#[test]
fn a_player_is_seen_unless_its_token_hides_it() {
    let mut world = World::new();
    let alice = world.join("alice");
    world.player(&["aud 0 recvonly"]);
    let mut hidden = claims("r", "recorder");
    hidden.video.as_mut().unwrap().hidden = Some(true);
    world.begin(&hidden, PLAYER, &["aud 0 recvonly"]);
    world.pass(Duration::from_secs(1));
    let seen: Vec<_> = world
        .take(&alice)
        .into_iter()
        .filter_map(|message| match message {
            Response::Update(update) => Some(update.participants),
            _ => None,
        })
        .flatten()
        .map(|participant| participant.identity)
        .filter(|identity| identity != "alice")
        .collect();
    assert_eq!(seen, ["player"]);
}

#[test]
fn sessions_end_with_their_media() {
    let failed = TransportState::Failed {
        reason: TransportFailure::ConsentLost,
    };
    for state in [TransportState::Closed, failed] {
        let mut world = World::new();
        let alice = world.join("alice");
        world.publisher("camera");
        let transport = world.last_transport();
        world.transport_becomes(transport, TransportState::Disconnected);
        world.pass(Duration::from_secs(5));
        assert!(world.infos().contains_key("camera"), "ICE may be restarted");
        world.transport_becomes(transport, state);
        assert!(!world.infos().contains_key("camera"));
        assert_eq!(world.counters.snapshot().http_sessions, [0, 0]);
        let gone = world.take(&alice).into_iter().any(|message| match message {
            Response::Update(update) => {
                let mut who = update.participants.iter();
                who.any(|p| p.identity == "camera" && p.disconnect_reason != 0)
            }
            _ => false,
        });
        assert!(gone, "others are told");
    }
}

#[test]
fn a_session_whose_media_never_connects_is_given_up() {
    let mut world = World::new();
    world.connect = false;
    world.publisher("camera");
    world.player(&["aud 0 recvonly"]);
    world.pass(Duration::from_secs(19));
    assert_eq!(world.infos().len(), 2);
    world.pass(Duration::from_secs(2));
    assert!(world.infos().is_empty());
    assert_eq!(world.counters.snapshot().failures_at(JoinStage::Media), 2);
    let closed = world
        .commands
        .iter()
        .filter(|(_, c)| matches!(c, Command::CloseTransport { .. }));
    assert_eq!(closed.count(), 2);
}

#[test]
fn the_room_service_moderates_them() {
    let mut world = World::new();
    world.join("alice");
    world.publisher("camera");
    world.player(&["aud 0 recvonly", "vid 1 recvonly"]);
    let player = world.last_transport();
    assert_eq!(world.stage(player).len(), 2);
    let now = world.now;
    let moved = world
        .room
        .call(now, |room| room.send_to_room("camera", "s"))
        .unwrap();
    assert!(matches!(moved, Err(ServiceRefusal::NotAsThingsAre(_))));

    let sid = world.infos()["camera"].tracks[0].sid.clone();
    let muted = world
        .room
        .call(now, |room| room.mute_published_track("camera", &sid, true));
    assert!(muted.unwrap().unwrap().muted);
    world.drain();
    let track = world.tracks_of(1)[0];
    let at_source = |(_, command): &(ShardId, Command)| match command {
        Command::MuteProducer { track: id, muted } => *id == track && *muted,
        _ => false,
    };
    assert!(world.commands.iter().any(at_source));

    let permission = |edit: fn(&mut ParticipantPermission)| {
        let mut permission = ParticipantPermission {
            can_publish: true,
            can_subscribe: true,
            ..ParticipantPermission::default()
        };
        edit(&mut permission);
        permission
    };
    let update = |identity: &str, permission| UpdateParticipantRequest {
        identity: identity.into(),
        permission: Some(permission),
        ..UpdateParticipantRequest::default()
    };
    let deaf = update("player", permission(|p| p.can_subscribe = false));
    world
        .room
        .call(now, |room| room.update_participant(&deaf))
        .unwrap()
        .unwrap();
    world.drain();
    assert!(world.stage(player).is_empty());
    let hears = update("player", permission(|_| {}));
    world
        .room
        .call(now, |room| room.update_participant(&hears))
        .unwrap()
        .unwrap();
    world.drain();
    assert_eq!(world.stage(player).len(), 2);

    // A publisher that may publish nothing any more would send for nobody.
    let only_sound = update(
        "camera",
        permission(|p| p.can_publish_sources = vec![TrackSource::Microphone as i32]),
    );
    world
        .room
        .call(now, |room| room.update_participant(&only_sound))
        .unwrap()
        .unwrap();
    world.drain();
    assert_eq!(world.infos()["camera"].tracks.len(), 1);
    let nothing = update("camera", permission(|p| p.can_publish = false));
    world
        .room
        .call(now, |room| room.update_participant(&nothing))
        .unwrap()
        .unwrap();
    world.drain();
    assert!(!world.infos().contains_key("camera"));

    world
        .room
        .call(now, |room| room.remove_participant("player"))
        .unwrap()
        .unwrap();
    world.drain();
    assert!(!world.infos().contains_key("player"));
    assert_eq!(world.counters.snapshot().http_sessions, [0, 0]);
}

#[test]
fn a_publisher_whose_tracks_are_refused_by_the_media_plane_ends() {
    let mut world = World::new();
    world.publisher("camera");
    let transport = world.last_transport();
    for track in world.tracks_of(0) {
        world.input(Input::Media(Event::Refused {
            transport,
            track: Some(track),
            reason: Refusal::Limit,
        }));
    }
    assert!(world.infos().is_empty());
}

#[test]
fn one_identity_is_one_session_whichever_way_it_comes() {
    let mut world = World::new();
    let alice = world.join("alice");
    world.publisher("alice");
    let left = crate::support::leave_reason(&world.take(&alice)).unwrap().0;
    assert_eq!(left, DisconnectReason::DuplicateIdentity);
    assert_eq!(world.infos()["alice"].tracks.len(), 2);
    let again = world.join("alice");
    assert_eq!(world.infos()["alice"].sid, again.sid);
    assert_eq!(
        world.counters.snapshot().http_sessions[HttpProtocol::Whip as usize],
        0
    );
}

#[test]
fn a_socket_cannot_resume_a_session_without_one() {
    let mut world = World::new();
    world.publisher("alice");
    let sid = world.infos()["alice"].sid.clone();
    let mut alice = world.join("bob");
    alice.grants = grants(&claims("r", "alice"));
    world.resume(&mut alice, &sid);
    let (reason, _) = crate::support::leave_reason(&world.take(&alice)).unwrap();
    assert_eq!(reason, DisconnectReason::StateMismatch);
    assert!(world.infos().contains_key("alice"));
}
