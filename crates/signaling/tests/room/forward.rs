//! Somebody of one room is shown in another: with its tracks where they are, its changes, and what is needed of them.

use std::time::Duration;

use livekit_protocol::participant_info::State;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{
    DisconnectReason, MuteTrackRequest, ParticipantInfo, SubscribedQualityUpdate,
    SubscriptionPermission, UpdateParticipantRequest, UpdateTrackSettings, VideoQuality,
};
use proptest::prelude::*;
use schalter_model::ShardId;
use schalter_shard::control::{Command, Event};
use schalter_signaling::SignalingConfig;
use schalter_signaling::room::{ConnectionMode, Input, LinkId, LinkOutput, ServiceRefusal};

use crate::support::{Client, World, claims, leave_reason};
use crate::tracks::microphone;

const LINK: LinkId = LinkId(1);

/// Two rooms of a node, and the links between them.
struct Node {
    from: World,
    to: World,
}

impl Node {
    fn new() -> Self {
        let from = World::new();
        let to = World::beside(&from, SignalingConfig::default());
        Self { from, to }
    }

    /// Alice, who publishes camera and microphone in one room, and Bob in the other.
    fn with_people() -> (Self, Client, Client) {
        let mut node = Self::new();
        let mut alice = node.from.join("alice");
        node.from.publish_camera(&mut alice);
        node.from.publish_microphone(&mut alice);
        let bob = node.to.join("bob");
        node.from.take(&alice);
        node.to.take(&bob);
        (node, alice, bob)
    }

    fn forward(&mut self, link: LinkId, identity: &str) -> Result<(), ServiceRefusal> {
        let state = self.from.call(|room| room.start_forward(link, identity))?;
        let accepted = self.to.call(|room| room.accept_forward(link, &state));
        if accepted.is_err() {
            self.from.call(|room| room.close_forward(link));
        }
        self.carry();
        accepted
    }

    /// Carries what the rooms have to say to each other until neither has more.
    fn carry(&mut self) {
        while self.carry_one() {}
    }

    fn carry_one(&mut self) -> bool {
        let (from, to) = (self.from.room.poll_link(), self.to.room.poll_link());
        let quiet = from.is_none() && to.is_none();
        match from {
            Some(LinkOutput::State { link, state }) => {
                self.to.attempt(|room| room.update_forward(link, &state));
            }
            Some(LinkOutput::Closed { link }) => {
                self.to.attempt(|room| room.close_forward(link));
            }
            Some(LinkOutput::Needs { .. }) => panic!("nobody is forwarded here"),
            None => {}
        }
        match to {
            Some(LinkOutput::Needs { link, needs }) => {
                self.from.attempt(|room| room.take_needs(link, &needs));
            }
            Some(LinkOutput::Closed { link }) => {
                self.from.attempt(|room| room.close_forward(link));
            }
            Some(LinkOutput::State { .. }) => panic!("nobody is forwarded from here"),
            None => {}
        }
        !quiet
    }

    fn pass(&mut self, span: Duration) {
        self.from.pass(span);
        self.to.pass(span);
        self.carry();
    }

    /// Whose producers and mutes the second room commands: nobody's, ever.
    fn touches_no_producer(&self) {
        let touching = self.to.commands.iter().find(|(_, command)| {
            matches!(
                command,
                Command::AddProducer { .. }
                    | Command::RemoveProducer { .. }
                    | Command::MuteProducer { .. }
            )
        });
        assert!(touching.is_none(), "{touching:?}");
    }
}

fn seen(messages: &[Response], identity: &str) -> Vec<ParticipantInfo> {
    let updates = messages.iter().filter_map(|m| match m {
        Response::Update(update) => Some(&update.participants),
        _ => None,
    });
    let infos = updates.flatten().filter(|info| info.identity == identity);
    infos.cloned().collect()
}

fn qualities(messages: &[Response]) -> Vec<Vec<bool>> {
    let updates = messages.iter().filter_map(|m| match m {
        Response::SubscribedQualityUpdate(SubscribedQualityUpdate {
            subscribed_codecs, ..
        }) => Some(&subscribed_codecs[0].qualities),
        _ => None,
    });
    updates
        .map(|list| list.iter().map(|quality| quality.enabled).collect())
        .collect()
}

fn wish(sid: &str, quality: VideoQuality, disabled: bool) -> Request {
    Request::TrackSetting(UpdateTrackSettings {
        track_sids: vec![sid.into()],
        quality: quality as i32,
        disabled,
        ..UpdateTrackSettings::default()
    })
}

#[test]
fn who_is_forwarded_is_there_with_its_tracks_and_they_come_from_where_they_are() {
    let (mut node, alice, mut bob) = Node::with_people();
    node.forward(LINK, "alice").unwrap();
    let messages = node.to.take(&bob);
    let info = seen(&messages, "alice").pop().unwrap();
    assert_ne!(info.sid, alice.sid, "a session of its own");
    assert_eq!((info.name.as_str(), info.state()), ("alice", State::Active));
    let there = node
        .from
        .call(|room| room.participant_info("alice"))
        .unwrap();
    assert_eq!(info.tracks, there.tracks);
    assert_eq!(info.tracks.len(), 2);
    let listed = node.to.call(|room| room.participant_infos());
    assert_eq!(listed.len(), 2);
    node.to.messages.insert(bob.connection, messages);
    node.to.negotiate(&mut [&mut bob]);
    let mut consumed = Vec::new();
    for (_, command) in &node.to.commands {
        if let Command::AddConsumer {
            track,
            producer_shard,
            ..
        } = command
        {
            // Alice was the first to join her room.
            assert_eq!(*producer_shard, ShardId(0));
            consumed.push(*track);
        }
    }
    let mut produced: Vec<_> = node
        .from
        .commands
        .iter()
        .filter_map(|(_, c)| match c {
            Command::AddProducer { track, .. } => Some(*track),
            _ => None,
        })
        .collect();
    produced.dedup();
    consumed.dedup();
    assert_eq!(consumed, produced);
    node.touches_no_producer();
    // Somebody who comes later is told, too.
    let carol = node.to.join("carol");
    let others = node.to.all(carol.connection).iter().find_map(|m| match m {
        Response::Join(join) => Some(join.other_participants.clone()),
        _ => None,
    });
    let identities: Vec<_> = others.unwrap().into_iter().map(|p| p.identity).collect();
    assert!(identities.contains(&"alice".to_owned()), "{identities:?}");
}

#[test]
fn the_publisher_sends_what_is_wanted_in_either_room() {
    let (mut node, alice, mut bob) = Node::with_people();
    node.forward(LINK, "alice").unwrap();
    assert!(
        qualities(&node.from.take(&alice)).is_empty(),
        "nobody gets it yet"
    );
    node.to.negotiate(&mut [&mut bob]);
    node.carry();
    let messages = node.from.take(&alice);
    assert_eq!(qualities(&messages), [[true, true, true]]);
    let subscribed = messages
        .iter()
        .filter(|m| matches!(m, Response::TrackSubscribed(_)));
    assert_eq!(subscribed.count(), 2, "camera and microphone are received");
    let info = node
        .from
        .call(|room| room.participant_info("alice"))
        .unwrap();
    let sid = info.tracks[0].sid.clone();
    node.to.request(&bob, wish(&sid, VideoQuality::Low, false));
    // Less only after a while, in each of both.
    node.pass(Duration::from_secs(5));
    assert!(qualities(&node.from.take(&alice)).is_empty());
    node.pass(Duration::from_secs(5));
    assert_eq!(qualities(&node.from.take(&alice)), [[true, false, false]]);
    // Somebody in her own room wants more, and then the other room nothing.
    let mut dave = node.from.join("dave");
    node.from.negotiate(&mut [&mut dave]);
    node.from
        .request(&dave, wish(&sid, VideoQuality::Medium, false));
    node.pass(Duration::from_secs(10));
    node.from.take(&alice);
    node.to.request(&bob, wish(&sid, VideoQuality::Low, true));
    node.pass(Duration::from_secs(20));
    assert!(
        qualities(&node.from.take(&alice)).is_empty(),
        "dave still wants it"
    );
    node.from.close(&dave);
    node.pass(Duration::from_secs(60));
    assert_eq!(qualities(&node.from.take(&alice)), [[false, false, false]]);
    // More at once.
    node.to.request(&bob, wish(&sid, VideoQuality::High, false));
    node.carry();
    assert_eq!(qualities(&node.from.take(&alice)), [[true, true, true]]);
}

#[test]
fn what_changes_there_is_told_here() {
    let (mut node, mut alice, mut bob) = Node::with_people();
    node.forward(LINK, "alice").unwrap();
    node.to.negotiate(&mut [&mut bob]);
    node.to.take(&bob);
    let last = |node: &mut Node, bob: &Client| {
        node.carry();
        let messages = node.to.take(bob);
        seen(&messages, "alice").pop()
    };
    let mic = node
        .from
        .call(|room| room.participant_info("alice"))
        .unwrap()
        .tracks[1]
        .sid
        .clone();
    for muted in [true, false] {
        let mute = MuteTrackRequest {
            sid: mic.clone(),
            muted,
        };
        node.from.request(&alice, Request::Mute(mute));
        let info = last(&mut node, &bob).unwrap();
        assert_eq!(info.tracks[1].muted, muted);
    }
    let change = UpdateParticipantRequest {
        identity: "alice".into(),
        name: "Alice A".into(),
        metadata: "chair".into(),
        attributes: [("hand".to_owned(), "up".to_owned())].into(),
        ..UpdateParticipantRequest::default()
    };
    node.from
        .call(|room| room.update_participant(&change))
        .unwrap();
    let info = last(&mut node, &bob).unwrap();
    assert_eq!(
        (info.name.as_str(), info.metadata.as_str()),
        ("Alice A", "chair")
    );
    assert_eq!(info.attributes["hand"], "up");
    // She speaks.
    let track = node.from.commands.iter().rev().find_map(|(_, c)| match c {
        Command::AddProducer { track, .. } => Some(*track),
        _ => None,
    });
    node.from.input(Input::Media(Event::AudioLevel {
        track: track.unwrap(),
        level: 0.5,
        active: true,
    }));
    node.pass(Duration::from_millis(500));
    node.pass(Duration::from_millis(500));
    let messages = node.to.take(&bob);
    let speaks = messages.iter().find_map(|m| match m {
        Response::SpeakersChanged(changed) => Some(changed.speakers[0].clone()),
        _ => None,
    });
    assert_eq!(speaks.map(|s| (s.level, s.active)), Some((0.5, true)));
    // A track more, and a track less.
    node.from.publish(&mut alice, microphone("second"));
    node.from.media_flows();
    assert_eq!(last(&mut node, &bob).unwrap().tracks.len(), 3);
    let camera = alice
        .sections
        .iter()
        .position(|s| s.starts_with("vid 7 sendonly"));
    alice.sections[camera.unwrap()] = "vid 7 inactive".into();
    node.from.offer(&mut alice);
    assert_eq!(last(&mut node, &bob).unwrap().tracks.len(), 2);
    node.touches_no_producer();
    // Who may have her tracks counts here, too.
    let nobody = SubscriptionPermission::default();
    node.from
        .request(&alice, Request::SubscriptionPermission(nobody));
    node.carry();
    assert!(node.to.consumers().is_empty(), "{:?}", node.to.consumers());
}

#[test]
fn it_ends_when_the_participant_leaves_its_room() {
    let (mut node, alice, mut bob) = Node::with_people();
    node.forward(LINK, "alice").unwrap();
    node.to.negotiate(&mut [&mut bob]);
    node.to.take(&bob);
    assert_eq!(node.from.counters.snapshot().forwards, 1);
    node.from
        .request(&alice, Request::Leave(Default::default()));
    node.carry();
    let gone = seen(&node.to.take(&bob), "alice").pop().unwrap();
    assert_eq!(gone.state(), State::Disconnected);
    assert!(node.to.consumers().is_empty());
    assert_eq!(node.to.call(|room| room.participant_infos()).len(), 1);
    assert_eq!(node.from.counters.snapshot().forwards, 0);
    node.touches_no_producer();
    // What comes late of a link that has ended changes nothing.
    let late = node.to.call(|room| room.token_of("alice"));
    assert_eq!(late, Err(ServiceRefusal::NoParticipant));
}

#[test]
fn it_ends_when_the_other_room_removes_it_and_the_participant_stays_where_it_is() {
    let (mut node, alice, mut bob) = Node::with_people();
    node.forward(LINK, "alice").unwrap();
    node.to.negotiate(&mut [&mut bob]);
    node.carry();
    node.from.take(&alice);
    node.to
        .call(|room| room.remove_participant("alice"))
        .unwrap();
    node.carry();
    node.pass(Duration::from_secs(6));
    let messages = node.from.take(&alice);
    assert_eq!(leave_reason(&messages), None);
    assert_eq!(
        qualities(&messages),
        [[false, false, false]],
        "nobody wants it now"
    );
    node.touches_no_producer();
    let here = node.from.call(|room| room.participant_info("alice"));
    assert_eq!(here.unwrap().tracks.len(), 2);
    // It can be forwarded again.
    node.forward(LinkId(2), "alice").unwrap();
    // And whoever comes with that identity takes its place.
    let real = node.to.join("alice");
    node.carry();
    node.to.take(&bob);
    assert_eq!(node.to.counters.snapshot().forwards, 0);
    assert_eq!(leave_reason(node.to.all(real.connection)), None);
}

#[test]
fn a_session_that_replaces_another_is_forwarded_in_its_place() {
    let (mut node, _, mut bob) = Node::with_people();
    node.forward(LINK, "alice").unwrap();
    node.to.negotiate(&mut [&mut bob]);
    node.to.take(&bob);
    let mut again = node.from.join("alice");
    node.carry();
    let info = seen(&node.to.take(&bob), "alice").pop().unwrap();
    assert_eq!((info.state(), info.tracks.len()), (State::Active, 0));
    assert!(node.to.consumers().is_empty());
    node.from.publish_camera(&mut again);
    node.carry();
    let info = seen(&node.to.take(&bob), "alice").pop().unwrap();
    assert_eq!(info.tracks.len(), 1);
    assert_eq!(node.from.counters.snapshot().forwards, 1);
}

#[test]
fn only_its_own_room_moderates_it_and_nobody_takes_its_session_over() {
    let (mut node, _, _) = Node::with_people();
    node.forward(LINK, "alice").unwrap();
    let info = node.to.call(|room| room.participant_info("alice")).unwrap();
    let sid = info.tracks[0].sid.clone();
    let elsewhere = |result: Result<(), ServiceRefusal>| {
        assert!(
            matches!(result, Err(ServiceRefusal::NotAsThingsAre(_))),
            "{result:?}"
        );
    };
    let to = &mut node.to;
    elsewhere(
        to.call(|room| room.mute_published_track("alice", &sid, true))
            .map(drop),
    );
    let change = UpdateParticipantRequest {
        identity: "alice".into(),
        ..UpdateParticipantRequest::default()
    };
    elsewhere(to.call(|room| room.update_participant(&change)).map(drop));
    elsewhere(to.call(|room| room.send_to_room("alice", "s")));
    elsewhere(
        to.call(|room| room.start_forward(LinkId(9), "alice"))
            .map(drop),
    );
    let mut params = to.params(&claims("r", "alice"), ConnectionMode::Single);
    params.resume = Some(schalter_signaling::room::Resume {
        participant_sid: info.sid,
        sync_state: None,
    });
    let connection = to.ids.connection();
    let params = Box::new(params);
    to.input(Input::Join { connection, params });
    let refused = leave_reason(to.all(connection)).unwrap();
    assert_eq!(refused.0, DisconnectReason::StateMismatch);
    node.touches_no_producer();
}

#[test]
fn a_room_with_nobody_but_who_is_forwarded_ends_as_if_it_were_empty() {
    let mut node = Node::new();
    let mut alice = node.from.join("alice");
    node.from.publish_microphone(&mut alice);
    node.forward(LINK, "alice").unwrap();
    // Nobody came yet: it waits for the first.
    node.pass(Duration::from_secs(299));
    assert!(!node.to.ended);
    node.pass(Duration::from_secs(2));
    assert!(node.to.ended);
    node.carry();
    assert_eq!(node.from.counters.snapshot().forwards, 0);
    assert_eq!(node.from.counters.snapshot().participants, 1);
    node.touches_no_producer();

    node.to = World::beside(&node.from, SignalingConfig::default());
    let bob = node.to.join("bob");
    node.forward(LinkId(2), "alice").unwrap();
    node.to.request(&bob, Request::Leave(Default::default()));
    node.pass(Duration::from_secs(19));
    assert!(!node.to.ended);
    node.pass(Duration::from_secs(2));
    assert!(node.to.ended);
}

#[test]
fn what_can_t_be_forwarded_is_told_and_leaves_nothing_behind() {
    let (mut node, _, _) = Node::with_people();
    let nobody = node.forward(LINK, "nobody");
    assert_eq!(nobody, Err(ServiceRefusal::NoParticipant));
    node.from.connect = false;
    let _early = node.from.join("early");
    let early = node.forward(LINK, "early");
    assert!(
        matches!(early, Err(ServiceRefusal::NotAsThingsAre(_))),
        "{early:?}"
    );
    node.to.join("alice");
    let taken = node.forward(LINK, "alice");
    assert!(
        matches!(taken, Err(ServiceRefusal::NotAsThingsAre(_))),
        "{taken:?}"
    );
    let mut config = SignalingConfig::default();
    config.room.max_participants = 1;
    node.to = World::beside(&node.from, config);
    node.to.join("bob");
    let full = node.forward(LINK, "alice");
    assert!(
        matches!(full, Err(ServiceRefusal::Exhausted(_))),
        "{full:?}"
    );
    for n in 0..16 {
        node.to = World::beside(&node.from, SignalingConfig::default());
        node.forward(LinkId(100 + n), "alice").unwrap();
    }
    node.to = World::beside(&node.from, SignalingConfig::default());
    let more = node.forward(LinkId(200), "alice");
    assert!(
        matches!(more, Err(ServiceRefusal::Exhausted(_))),
        "{more:?}"
    );
}

/// Two rooms in which anything happens, with what they tell each other on its way for a while.
struct Scene {
    node: Node,
    here: [Option<Client>; 2],
    there: [Option<Client>; 3],
    links: u64,
}

impl Scene {
    fn run(&mut self, kind: usize, who: usize, flag: bool) {
        let Self {
            node, here, there, ..
        } = self;
        let identity = format!("person-{}", who % 2);
        match kind {
            0 | 1 => here[who % 2] = Some(node.from.join(&identity)),
            2 => {
                if let Some(client) = here[who % 2].as_mut()
                    && node.from.room.holds(&client.sid)
                    && client.sections.len() < 12
                {
                    let request = if flag {
                        crate::tracks::camera(&format!(
                            "c{}-{}",
                            client.connection.0, client.offers
                        ))
                    } else {
                        microphone(&format!("m{}-{}", client.connection.0, client.offers))
                    };
                    node.from.publish(client, request);
                    node.from.media_flows();
                }
            }
            3 => {
                if let Some(client) = here[who % 2].as_mut()
                    && node.from.room.holds(&client.sid)
                {
                    let last = client.sections.len() - 1;
                    let words: Vec<_> = client.sections[last].split(' ').collect();
                    if words[0] != "app" {
                        client.sections[last] = format!("{} {} inactive", words[0], words[1]);
                        node.from.offer(client);
                    }
                }
            }
            4 => {
                if let Some(client) = here[who % 2].take() {
                    node.from
                        .request(&client, Request::Leave(Default::default()));
                }
            }
            // Strangers, and people with the identities of who is forwarded.
            5 | 6 => {
                let identity = format!("person-{who}");
                there[who] = Some(node.to.join(&identity));
            }
            7 | 8 => {
                if let Some(client) = there[who].as_mut()
                    && node.to.room.holds(&client.sid)
                {
                    node.to.negotiate(&mut [client]);
                }
            }
            9 => {
                if let Some(client) = there[who].take() {
                    node.to.request(&client, Request::Leave(Default::default()));
                }
            }
            10 | 11 => {
                self.links += 1;
                let link = LinkId(self.links);
                let started = node
                    .from
                    .attempt(|room| room.start_forward(link, &identity));
                if let Some(Ok(state)) = started {
                    let accepted = node.to.attempt(|room| room.accept_forward(link, &state));
                    if !matches!(accepted, Some(Ok(()))) {
                        node.from.attempt(|room| room.close_forward(link));
                    }
                }
            }
            12 => {
                node.to
                    .attempt(|room| room.remove_participant(&identity).ok());
            }
            13 => {
                let infos = node.to.attempt(|room| room.participant_infos());
                let tracks = infos.into_iter().flatten().flat_map(|info| info.tracks);
                let sids: Vec<_> = tracks.map(|track| track.sid).collect();
                if let (Some(client), Some(sid)) = (&there[who], sids.get(who)) {
                    node.to.request(client, wish(sid, VideoQuality::Low, flag));
                }
            }
            14 => node.pass(Duration::from_secs(if flag { 1 } else { 30 })),
            _ => {
                node.carry_one();
            }
        }
    }

    fn end(mut self) {
        let node = &mut self.node;
        node.carry();
        node.touches_no_producer();
        let stats = node.from.counters.snapshot();
        let consumers = node.from.consumers().len() + node.to.consumers().len();
        assert_eq!(stats.subscriptions, consumers as u64);
        for client in self.here.into_iter().flatten() {
            node.from.close(&client);
        }
        for client in self.there.into_iter().flatten() {
            node.to.close(&client);
        }
        node.pass(Duration::from_secs(60));
        let stats = node.from.counters.snapshot();
        let left = (
            stats.participants,
            stats.forwards,
            stats.tracks,
            stats.subscriptions,
        );
        assert_eq!(
            left,
            (0, 0, 0, 0),
            "participants, forwards, tracks, subscriptions"
        );
        node.pass(Duration::from_secs(600));
        assert!(node.from.ended && node.to.ended);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_happens_in_either_room_nothing_of_it_stays(
        operations in prop::collection::vec((0..18usize, 0..3usize, any::<bool>()), 1..120)
    ) {
        let mut scene = Scene {
            node: Node::new(),
            here: [None, None],
            there: [None, None, None],
            links: 0,
        };
        for (kind, who, flag) in operations {
            scene.run(kind, who, flag);
        }
        scene.end();
    }
}
