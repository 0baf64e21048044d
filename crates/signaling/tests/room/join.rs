//! Joining, presence, leaving.

use std::time::Duration;

use livekit_protocol::client_info::Sdk;
use livekit_protocol::participant_info::State;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{DisconnectReason, LeaveRequest, Ping};
use schalter_model::TransportId;
use schalter_shard::control::{Command, Event, TransportFailure, TransportState};
use schalter_signaling::room::{ConnectionMode, Input};
use schalter_signaling::{JoinStage, SignalingConfig};

use schalter_turn::UserName;

use crate::support::{
    Client, NOW_UNIX, World, claims, join_sections, leave_reason, shape, turn_secret,
};

fn kinds(messages: &[Response]) -> Vec<&'static str> {
    messages
        .iter()
        .map(|m| match m {
            Response::Join(_) => "join",
            Response::RefreshToken(_) => "refresh_token",
            Response::Answer(_) => "answer",
            Response::Offer(_) => "offer",
            Response::Trickle(_) => "trickle",
            Response::Update(_) => "update",
            Response::Leave(_) => "leave",
            Response::RoomUpdate(_) => "room_update",
            _ => "other",
        })
        .collect()
}

#[test]
fn join_comes_first_then_token_then_answer_with_the_offers_id() {
    let mut world = World::new();
    let alice = world.join("alice");
    let messages = world.take(&alice);
    assert_eq!(
        kinds(&messages),
        ["join", "refresh_token", "answer", "trickle", "trickle"]
    );
    let Response::Answer(answer) = &messages[2] else {
        panic!()
    };
    assert_eq!((answer.id, answer.r#type.as_str()), (1, "answer"));
    assert_eq!(
        shape(&answer.sdp),
        [
            "aud 0 sendonly",
            "aud 1 sendonly",
            "aud 2 sendonly",
            "vid 3 sendonly",
            "vid 4 sendonly",
            "vid 5 sendonly",
            "app 6"
        ]
    );
    let (Response::Trickle(udp), Response::Trickle(tcp)) = (&messages[3], &messages[4]) else {
        panic!()
    };
    assert!(!udp.r#final && tcp.r#final);
    for (candidate, protocol) in [(udp, " udp "), (tcp, " tcp ")] {
        assert!(candidate.candidate_init.contains(protocol));
    }
    // The answer has both, too: not every client takes trickled ones.
    let lines: Vec<_> = answer
        .sdp
        .lines()
        .filter(|l| l.starts_with("a=candidate:"))
        .collect();
    assert!(
        lines
            .iter()
            .any(|l| l.ends_with(" 7881 typ host tcptype passive")),
        "{lines:?}"
    );
}

#[test]
fn the_join_response_holds_everything_that_clients_fail_without() {
    let mut world = World::new();
    let bob = world.join("bob");
    let alice = world.join("alice");
    let Response::Join(join) = &world.take(&alice)[0] else {
        panic!()
    };
    let room = join.room.as_ref().unwrap();
    assert!(room.sid.starts_with("RM_") && room.sid.len() == 15);
    assert_eq!(room.name, "r");
    let own = join.participant.as_ref().unwrap();
    assert!(own.sid.starts_with("PA_") && own.sid.len() == 15);
    assert_eq!(
        (own.identity.as_str(), own.state()),
        ("alice", State::Joining)
    );
    let permission = own.permission.as_ref().unwrap();
    assert!(permission.can_publish && permission.can_subscribe && permission.can_publish_data);
    let info = join.server_info.as_ref().unwrap();
    assert_eq!((info.version.as_str(), info.protocol), ("1.11.0", 17));
    assert_eq!(join.server_version, "1.11.0");
    assert_eq!((join.ping_interval, join.ping_timeout), (5, 15));
    assert!(join.fast_publish && !join.subscriber_primary);
    assert!(!join.sif_trailer.is_empty());
    assert!(
        join.enabled_publish_codecs
            .iter()
            .any(|c| c.mime == "video/VP8")
    );
    let [other] = &join.other_participants[..] else {
        panic!("bob is missing")
    };
    assert_eq!(
        (other.sid.as_str(), other.state()),
        (bob.sid.as_str(), State::Active)
    );
    assert_eq!(
        (other.client_protocol, &other.capabilities[..]),
        (2, &[2][..])
    );
}

#[test]
fn a_dual_join_is_offered_data_channels_at_once() {
    let mut world = World::new();
    let alice = world.join_dual("alice");
    let messages = world.take(&alice);
    assert_eq!(
        kinds(&messages)[..5],
        ["join", "offer", "trickle", "trickle", "refresh_token"]
    );
    let (Response::Join(join), Response::Offer(offer)) = (&messages[0], &messages[1]) else {
        panic!()
    };
    assert!(join.subscriber_primary);
    assert_eq!(shape(&offer.sdp), ["app 0"]);
    let channels: Vec<_> = world
        .commands
        .iter()
        .filter_map(|(_, c)| match c {
            Command::OpenTransport { channels, .. } => Some(
                channels
                    .iter()
                    .map(|c| c.label.to_string())
                    .collect::<Vec<_>>(),
            ),
            _ => None,
        })
        .collect();
    assert_eq!(channels[0], ["_reliable", "_lossy", "_data_track"]);
    assert!(channels[1].is_empty(), "the client opens its own");
}

#[test]
fn both_transports_of_a_participant_are_on_one_shard() {
    let mut world = World::new();
    world.join_dual("alice");
    world.join_dual("bob");
    let shards: Vec<_> = world
        .commands
        .iter()
        .filter(|(_, c)| matches!(c, Command::OpenTransport { .. }))
        .map(|(shard, _)| shard.0)
        .collect();
    assert_eq!(shards, [0, 0, 1, 1]);
}

#[test]
fn a_publisher_only_dual_client_waits_for_its_own_connection() {
    let mut world = World::new();
    let mut claims = claims("r", "alice");
    claims.video.as_mut().unwrap().can_subscribe = Some(false);
    let alice = world.join_as(&claims, ConnectionMode::Dual);
    let Response::Join(join) = &world.take(&alice)[0] else {
        panic!()
    };
    assert!(!join.subscriber_primary);
}

#[test]
fn others_hear_of_a_participant_once_its_media_connected_and_in_batches() {
    let mut world = World::new();
    let bob = world.join("bob");
    world.pass(Duration::from_secs(1));
    world.take(&bob);
    world.connect = false;
    let alice = world.join("alice");
    world.pass(Duration::from_secs(1));
    assert!(!kinds(&world.take(&bob)).contains(&"update"));
    let transport = world.transports(1);
    world.connected(transport);
    assert!(world.take(&bob).is_empty(), "not before the batch");
    world.pass(Duration::from_millis(500));
    let messages = world.take(&bob);
    let Response::Update(update) = &messages[0] else {
        panic!("{messages:?}")
    };
    assert_eq!(update.participants[0].sid, alice.sid);
    assert_eq!(update.participants[0].state(), State::Active);
    assert!(update.participants[0].version > 0);
}

#[test]
fn pings_of_both_kinds_are_answered() {
    let mut world = World::new();
    let alice = world.join("alice");
    world.take(&alice);
    world.request(&alice, Request::Ping(1));
    let ping = Ping {
        timestamp: 77,
        rtt: 3,
    };
    world.request(&alice, Request::PingReq(ping));
    let messages = world.take(&alice);
    let [Response::Pong(now), Response::PongResp(pong)] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert_eq!(*now, 1_800_000_000_000);
    assert_eq!((pong.last_ping_timestamp, pong.timestamp), (77, *now));
}

#[test]
fn a_leave_is_answered_and_told() {
    let mut world = World::new();
    let bob = world.join("bob");
    let alice = world.join("alice");
    world.pass(Duration::from_secs(1));
    world.take(&bob);
    world.request(&alice, Request::Leave(LeaveRequest::default()));
    assert_eq!(
        leave_reason(&world.take(&alice)),
        Some((DisconnectReason::ClientInitiated, 0))
    );
    assert_eq!(world.closed, [alice.connection]);
    world.pass(Duration::from_secs(1));
    let messages = world.take(&bob);
    let Some(Response::Update(update)) = messages.iter().find(|m| matches!(m, Response::Update(_)))
    else {
        panic!("{messages:?}")
    };
    let gone = &update.participants[0];
    assert_eq!(gone.state(), State::Disconnected);
    assert_eq!(gone.disconnect_reason(), DisconnectReason::ClientInitiated);
    assert!(
        world
            .commands
            .iter()
            .any(|(_, c)| matches!(c, Command::CloseTransport { .. }))
    );
}

#[test]
fn the_same_identity_replaces_its_older_session() {
    let mut world = World::new();
    let bob = world.join("bob");
    let old = world.join("alice");
    world.pass(Duration::from_secs(1));
    world.take(&bob);
    let new = world.join("alice");
    assert_eq!(
        leave_reason(&world.take(&old)),
        Some((DisconnectReason::DuplicateIdentity, 0))
    );
    assert_ne!(old.sid, new.sid);
    world.pass(Duration::from_secs(1));
    let states: Vec<_> = world
        .take(&bob)
        .iter()
        .filter_map(|m| match m {
            Response::Update(u) => Some(u.participants.clone()),
            _ => None,
        })
        .flatten()
        .map(|p| (p.sid.clone(), p.state()))
        .collect();
    assert_eq!(
        states,
        [(old.sid, State::Disconnected), (new.sid, State::Active)]
    );
}

#[test]
fn tokens_are_refreshed_every_five_minutes() {
    let mut world = World::new();
    world.join("alice");
    assert_eq!(world.tokens.len(), 1);
    world.pass(Duration::from_secs(299));
    assert_eq!(world.tokens.len(), 1);
    world.pass(Duration::from_secs(302));
    assert_eq!(world.tokens.len(), 3);
}

#[test]
fn room_updates_follow_counts_at_most_every_five_seconds() {
    let mut world = World::new();
    let alice = world.join("alice");
    for name in ["b", "c", "d"] {
        world.join(name);
        world.pass(Duration::from_millis(100));
    }
    world.pass(Duration::from_secs(30));
    let counts: Vec<_> = world
        .take(&alice)
        .iter()
        .filter_map(|m| match m {
            Response::RoomUpdate(u) => Some(u.room.as_ref().unwrap().num_participants),
            _ => None,
        })
        .collect();
    assert_eq!(counts, [4]);
}

fn fails(world: &mut World, transport: TransportId, reason: TransportFailure) {
    world.input(Input::Media(Event::TransportState {
        transport,
        state: TransportState::Failed { reason },
    }));
}

#[test]
fn a_failed_transport_makes_the_client_begin_anew() {
    let mut world = World::new();
    let alice = world.join("alice");
    let transport = world.transports(0);
    fails(&mut world, transport, TransportFailure::ConsentLost);
    assert_eq!(
        leave_reason(&world.take(&alice)),
        Some((DisconnectReason::ConnectionTimeout, 2))
    );
    assert!(world.room.participant_infos().is_empty());
}

#[test]
fn a_client_without_the_demanded_encryption_is_told_and_not_called_back() {
    let mut world = World::new();
    world.connect = false;
    let alice = world.join("alice");
    let transport = world.transports(0);
    fails(&mut world, transport, TransportFailure::NoSrtpProfile);
    assert_eq!(
        leave_reason(&world.take(&alice)),
        Some((DisconnectReason::MediaFailure, 0))
    );
    assert_eq!(world.counters.snapshot().failures_at(JoinStage::Media), 1);
}

#[test]
fn closed_media_waits_a_moment_for_the_goodbye() {
    let mut world = World::new();
    let alice = world.join("alice");
    let transport = world.transports(0);
    world.input(Input::Media(Event::TransportState {
        transport,
        state: TransportState::Closed,
    }));
    world.request(&alice, Request::Leave(LeaveRequest::default()));
    assert_eq!(
        leave_reason(&world.take(&alice)),
        Some((DisconnectReason::ClientInitiated, 0))
    );
}

#[test]
fn an_empty_room_ends_after_its_timeout() {
    let mut world = World::new();
    world.pass(Duration::from_secs(299));
    assert!(!world.ended);
    world.pass(Duration::from_secs(1));
    assert!(world.ended, "nobody ever came");

    let mut world = World::new();
    let alice = world.join("alice");
    world.pass(Duration::from_secs(1000));
    assert!(!world.ended);
    world.request(&alice, Request::Leave(LeaveRequest::default()));
    world.pass(Duration::from_secs(19));
    assert!(!world.ended);
    world.pass(Duration::from_secs(1));
    assert!(world.ended);
}

#[test]
fn shutdown_tells_everybody_and_ends_the_room() {
    let mut world = World::new();
    let alice = world.join("alice");
    let bob = world.join_dual("bob");
    world.input(Input::Shutdown);
    for client in [&alice, &bob] {
        assert_eq!(
            leave_reason(&world.take(client)),
            Some((DisconnectReason::ServerShutdown, 2)),
            "they begin anew wherever the server is next"
        );
    }
    assert!(world.ended);
    world.join("late");
    assert_eq!(world.refused.len(), 1);
}

#[test]
fn an_unusable_offer_is_refused_before_anything_changes() {
    let mut world = World::new();
    let first = world.join("alice");
    let mut params = world.params(&claims("r", "alice"), ConnectionMode::Single);
    params.offer = Some(livekit_protocol::SessionDescription {
        sdp: "v=0\r\nm=nonsense".into(),
        ..Default::default()
    });
    world.join_with(params);
    assert_eq!(world.refused.len(), 1);
    assert_eq!(world.refused[0].1.status(), 400);
    assert!(!world.closed.contains(&first.connection));
}

/// Joins in single mode without the offer that should come with it, as Firefox does.
fn join_without_offer(world: &mut World, identity: &str) -> Client {
    let params = world.params(&claims("r", identity), ConnectionMode::Single);
    let connection = world.ids.connection();
    let grants = std::sync::Arc::clone(&params.grants);
    world.input(Input::Join {
        connection,
        params: Box::new(params),
    });
    Client {
        connection,
        mode: ConnectionMode::Single,
        sections: join_sections(),
        offers: 0,
        ufrag: "u000".into(),
        sid: String::new(),
        grants,
    }
}

#[test]
fn a_join_that_never_offers_ends_at_its_deadline() {
    let config = SignalingConfig {
        join_timeout: Duration::from_secs(7),
        ..SignalingConfig::default()
    };
    let mut world = World::with(config);
    let alice = join_without_offer(&mut world, "alice");
    world.pass(Duration::from_millis(6_999));
    assert_eq!(leave_reason(world.all(alice.connection)), None);
    assert_eq!(world.room.participant_infos().len(), 1);
    world.pass(Duration::from_millis(1));
    assert_eq!(
        leave_reason(&world.take(&alice)),
        Some((DisconnectReason::JoinFailure, 2))
    );
    assert_eq!(world.closed, [alice.connection]);
    let stats = world.counters.snapshot();
    assert_eq!(stats.failures_at(JoinStage::Media), 1);
    assert_eq!(stats.participants, 0);
}

#[test]
fn a_join_that_connects_in_time_has_no_deadline() {
    let mut world = World::new();
    let mut alice = join_without_offer(&mut world, "alice");
    world.pass(Duration::from_millis(19_999));
    world.offer(&mut alice);
    world.pass(Duration::from_secs(600));
    assert_eq!(leave_reason(world.all(alice.connection)), None);
    assert_eq!(world.room.participant_infos()[0].state(), State::Active);
}

#[test]
fn a_join_whose_media_does_not_connect_ends_at_its_deadline() {
    for mode in [ConnectionMode::Single, ConnectionMode::Dual] {
        let mut world = World::new();
        world.connect = false;
        let alice = world.join_as(&claims("r", "alice"), mode);
        world.pass(Duration::from_secs(20));
        assert_eq!(
            leave_reason(&world.take(&alice)),
            Some((DisconnectReason::JoinFailure, 2)),
            "{mode:?}"
        );
        let opened = world
            .commands
            .iter()
            .filter(|(_, c)| matches!(c, Command::OpenTransport { .. }))
            .count();
        let closed = world
            .commands
            .iter()
            .filter(|(_, c)| matches!(c, Command::CloseTransport { .. }))
            .count();
        assert_eq!(opened, closed, "{mode:?}");
    }
}

#[test]
fn everybody_is_handed_turn_credentials_for_the_own_shard() {
    let mut world = World::new();
    let mut seen = std::collections::BTreeSet::new();
    for identity in ["alice", "bob"] {
        let client = world.join(identity);
        let Response::Join(join) = &world.take(&client)[0] else {
            panic!()
        };
        let [server] = &join.ice_servers[..] else {
            panic!("{:?}", join.ice_servers)
        };
        let user = UserName::parse(server.username.as_bytes()).unwrap();
        assert_eq!(
            server.urls,
            [format!(
                "turn:127.0.0.1:{}?transport=udp",
                7000 + u16::from(user.shard().0)
            )]
        );
        assert_eq!((user.node(), user.expires()), (1, NOW_UNIX + 3_600));
        assert_eq!(server.credential, turn_secret().password(&user).as_str());
        assert!(seen.insert(server.username.clone()), "each has its own");
    }
}

#[test]
fn browsers_ping_often_and_other_clients_as_they_are_built_to() {
    for (sdk, expected) in [
        (Sdk::Js, (1, 2)),
        (Sdk::Python, (5, 15)),
        (Sdk::Node, (5, 15)),
        (Sdk::Unknown, (5, 15)),
    ] {
        let mut world = World::new();
        let mut params = world.params(&claims("r", "alice"), ConnectionMode::Single);
        params.client.sdk = sdk as i32;
        let client = world.join_with(params);
        let messages = world.all(client.connection);
        let join = messages.iter().find_map(|message| match message {
            Response::Join(join) => Some((join.ping_interval, join.ping_timeout)),
            _ => None,
        });
        assert_eq!(join, Some(expected), "{sdk:?}");
    }
}
