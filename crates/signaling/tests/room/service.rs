//! The room service at the room: lists, removals, mutes, subscriptions, metadata, moves.

use std::time::Duration;

use livekit_protocol::participant_info::State;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{
    DisconnectReason, MuteTrackRequest, ParticipantInfo, ParticipantTracks, SubscriptionPermission,
    UpdateSubscriptionsRequest, leave_request::Action,
};
use schalter_shard::control::Command;
use schalter_signaling::room::{ConnectionMode, Input, Room, ServiceRefusal};

use crate::support::{Client, World, claims, leave_reason};

impl World {
    /// What the room service's call comes to, with everything that it causes; `None` if the room has ended.
    pub(crate) fn attempt<T>(&mut self, call: impl FnOnce(&mut Room) -> T) -> Option<T> {
        let value = self.room.call(self.now, call);
        self.drain();
        value
    }

    /// The same of a room that is there.
    pub(crate) fn call<T>(&mut self, call: impl FnOnce(&mut Room) -> T) -> T {
        self.attempt(call).expect("the room is there")
    }
}

/// Participants in the updates among messages, in order.
pub(crate) fn updates(messages: &[Response]) -> Vec<ParticipantInfo> {
    let lists = messages.iter().filter_map(|m| match m {
        Response::Update(update) => Some(update.participants.clone()),
        _ => None,
    });
    lists.flatten().collect()
}

fn mutes(world: &World) -> Vec<bool> {
    let commands = world.commands.iter();
    commands
        .filter_map(|(_, c)| match c {
            Command::MuteProducer { muted, .. } => Some(*muted),
            _ => None,
        })
        .collect()
}

#[test]
fn everybody_is_listed_hidden_ones_too() {
    let mut world = World::new();
    world.join("alice");
    let mut token = claims("r", "guard");
    token.video.as_mut().unwrap().hidden = Some(true);
    world.join_as(&token, ConnectionMode::Single);
    let infos = world.room.participant_infos();
    let listed: Vec<_> = infos
        .iter()
        .map(|p| (p.identity.as_str(), p.permission.as_ref().unwrap().hidden))
        .collect();
    assert_eq!(listed, [("alice", false), ("guard", true)]);
    let guard = world.room.participant_info("guard").unwrap();
    assert_eq!(guard.identity, "guard");
    let nobody = world.room.participant_info("nobody");
    assert_eq!(nobody, Err(ServiceRefusal::NoParticipant));
    assert_eq!(world.room.room_info().num_participants, 1);
}

#[test]
fn a_removed_participant_must_leave_and_others_hear_why() {
    let mut world = World::new();
    let alice = world.join("alice");
    let bob = world.join("bob");
    let nobody = world.call(|room| room.remove_participant("nobody"));
    assert_eq!(nobody, Err(ServiceRefusal::NoParticipant));
    world.take(&bob);
    assert_eq!(world.call(|room| room.remove_participant("alice")), Ok(()));
    assert_eq!(
        leave_reason(&world.take(&alice)),
        Some((
            DisconnectReason::ParticipantRemoved,
            Action::Disconnect as i32
        ))
    );
    assert_eq!(world.closed, [alice.connection]);
    world.pass(Duration::from_secs(1));
    let news = updates(&world.take(&bob));
    let gone = news.iter().find(|p| p.identity == "alice").unwrap();
    assert_eq!(gone.state(), State::Disconnected);
    let reason = gone.disconnect_reason();
    assert_eq!(reason, DisconnectReason::ParticipantRemoved);
}

#[test]
fn a_mute_counts_at_the_shard_and_only_the_participant_takes_it_back() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let bob = world.join("bob");
    let sid = world.publish_microphone(&mut alice);
    world.take(&alice);
    world.take(&bob);
    let mute = |world: &mut World, who: &str, sid: &str, muted| {
        world.call(|room| room.mute_published_track(who, sid, muted))
    };
    let track = mute(&mut world, "alice", &sid, true).unwrap();
    assert!(track.muted && track.sid == sid);
    assert_eq!(mutes(&world), [true]);
    let told = MuteTrackRequest {
        sid: sid.clone(),
        muted: true,
    };
    let own = world.take(&alice);
    assert!(own.contains(&Response::Mute(told.clone())), "{own:?}");
    assert!(updates(&world.take(&bob))[0].tracks[0].muted);

    // The client says the same, and a second call changes nothing: no news for anybody.
    world.request(&alice, Request::Mute(told));
    mute(&mut world, "alice", &sid, true).unwrap();
    assert!(world.take(&alice).is_empty() && world.take(&bob).is_empty());
    assert_eq!(mutes(&world), [true]);

    let remote = mute(&mut world, "alice", &sid, false);
    assert!(matches!(remote, Err(ServiceRefusal::NotAsThingsAre(_))));
    assert!(world.take(&alice).is_empty());
    let unmute = MuteTrackRequest {
        sid: sid.clone(),
        muted: false,
    };
    world.request(&alice, Request::Mute(unmute));
    assert_eq!(mutes(&world), [true, false]);

    let others = mute(&mut world, "bob", &sid, true);
    assert_eq!(others, Err(ServiceRefusal::NoTrack), "it is alice's");
    let nobody = mute(&mut world, "nobody", &sid, true);
    assert_eq!(nobody, Err(ServiceRefusal::NoParticipant));
    assert_eq!(mutes(&world), [true, false]);
}

/// alice with a microphone, and bob, who wants nothing by himself.
fn a_quiet_listener() -> (World, Client, Client, String) {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut params = world.params(&claims("r", "bob"), ConnectionMode::Single);
    params.auto_subscribe = false;
    let bob = world.join_with(params);
    let sid = world.publish_microphone(&mut alice);
    (world, alice, bob, sid)
}

fn wish(identity: &str, sids: &[&str], subscribe: bool) -> UpdateSubscriptionsRequest {
    UpdateSubscriptionsRequest {
        identity: identity.into(),
        track_sids: sids.iter().map(|sid| (*sid).to_owned()).collect(),
        subscribe,
        ..UpdateSubscriptionsRequest::default()
    }
}

#[test]
fn a_participant_is_subscribed_and_unsubscribed_as_if_it_had_asked() {
    let (mut world, _alice, mut bob, sid) = a_quiet_listener();
    world.negotiate(&mut [&mut bob]);
    assert!(world.consumers().is_empty());
    let subscribe = |world: &mut World, wish: &UpdateSubscriptionsRequest| {
        world.call(|room| room.update_subscriptions(wish))
    };
    assert_eq!(subscribe(&mut world, &wish("bob", &[&sid], true)), Ok(()));
    world.negotiate(&mut [&mut bob]);
    assert_eq!(world.consumers().len(), 1);
    assert_eq!(subscribe(&mut world, &wish("bob", &[&sid], false)), Ok(()));
    assert!(world.consumers().is_empty());
    // The other list means the same.
    let listed = UpdateSubscriptionsRequest {
        participant_tracks: vec![ParticipantTracks {
            participant_sid: String::new(),
            track_sids: vec![sid.clone()],
        }],
        ..wish("bob", &[], true)
    };
    assert_eq!(subscribe(&mut world, &listed), Ok(()));
    world.negotiate(&mut [&mut bob]);
    assert_eq!(world.consumers().len(), 1);
}

#[test]
fn a_subscription_that_can_t_be_changes_nothing() {
    let (mut world, _alice, mut bob, sid) = a_quiet_listener();
    let mut token = claims("r", "deaf");
    token.video.as_mut().unwrap().can_subscribe = Some(false);
    world.join_as(&token, ConnectionMode::Single);
    for (wish, refusal) in [
        (wish("nobody", &[&sid], true), "participant does not exist"),
        (wish("bob", &[&sid, "TR_x"], true), "track does not exist"),
        (
            wish("alice", &[&sid], true),
            "a participant doesn't subscribe to its own tracks",
        ),
        (
            wish("deaf", &[&sid], true),
            "the participant is not allowed to subscribe",
        ),
    ] {
        let answer = world.call(|room| room.update_subscriptions(&wish));
        assert_eq!(answer.unwrap_err().to_string(), refusal);
    }
    world.negotiate(&mut [&mut bob]);
    assert!(world.consumers().is_empty());
    let gone = wish("bob", &["TR_gone"], false);
    assert_eq!(world.call(|room| room.update_subscriptions(&gone)), Ok(()));
}

#[test]
fn the_publishers_own_permission_is_obeyed() {
    let (mut world, alice, mut bob, sid) = a_quiet_listener();
    let nobody = SubscriptionPermission::default();
    world.request(&alice, Request::SubscriptionPermission(nobody));
    world.take(&bob);
    let wish = wish("bob", &[&sid], true);
    assert_eq!(world.call(|room| room.update_subscriptions(&wish)), Ok(()));
    let messages = world.take(&bob);
    let denied =
        |m: &Response| matches!(m, Response::SubscriptionPermissionUpdate(p) if !p.allowed);
    assert!(messages.iter().any(denied), "{messages:?}");
    world.negotiate(&mut [&mut bob]);
    assert!(world.consumers().is_empty());
}

#[test]
fn metadata_of_the_room_is_told_at_once_and_may_be_emptied() {
    let mut world = World::new();
    let alice = world.join("alice");
    for text in ["agenda", ""] {
        world.take(&alice);
        let info = world
            .call(|room| room.set_metadata(text.to_owned()))
            .unwrap();
        assert_eq!(info.metadata, text);
        let messages = world.take(&alice);
        let [Response::RoomUpdate(update)] = &messages[..] else {
            panic!("{messages:?}")
        };
        assert_eq!(update.room.as_ref().unwrap().metadata, text);
    }
    let long = world.call(|room| room.set_metadata("x".repeat(64_001)));
    assert!(matches!(long, Err(ServiceRefusal::Invalid(_))));
    assert_eq!(world.room.room_info().metadata, "");
}

#[test]
fn who_is_moved_gets_a_token_for_the_other_room_and_begins_anew_there() {
    let mut world = World::new();
    let mut token = claims("r", "alice");
    token.room_config = Some(Default::default());
    let mut alice = world.join_as(&token, ConnectionMode::Single);
    let bob = world.join("bob");
    world.publish_microphone(&mut alice);
    world.take(&alice);
    world.take(&bob);
    let nobody = world.call(|room| room.send_to_room("nobody", "s"));
    assert_eq!(nobody, Err(ServiceRefusal::NoParticipant));
    assert_eq!(world.call(|room| room.send_to_room("alice", "s")), Ok(()));
    let messages = world.take(&alice);
    assert!(
        matches!(&messages[0], Response::RefreshToken(_)),
        "the token is there before the client needs it: {messages:?}"
    );
    assert_eq!(
        leave_reason(&messages),
        Some((DisconnectReason::Migration, Action::Reconnect as i32))
    );
    let (_, grants) = world.tokens.last().unwrap();
    let video = grants.claims.video.as_ref().unwrap();
    assert_eq!(video.room.as_deref(), Some("s"));
    assert_eq!(grants.claims.identity.as_deref(), Some("alice"));
    assert_eq!(grants.claims.room_config, None, "it was about this room");
    let gone = updates(&world.take(&bob));
    assert_eq!(gone.last().unwrap().state(), State::Disconnected);
    assert_eq!(
        gone.last().unwrap().disconnect_reason(),
        DisconnectReason::Migration
    );
}

#[test]
fn who_could_not_be_told_is_not_moved() {
    let mut world = World::new();
    let alice = world.join("alice");
    world.close(&alice);
    let answer = world.call(|room| room.send_to_room("alice", "s"));
    assert!(matches!(answer, Err(ServiceRefusal::NotAsThingsAre(_))));
    assert!(world.room.participant_info("alice").is_ok());
}

#[test]
fn a_room_that_has_ended_answers_nothing() {
    let mut world = World::new();
    world.join("alice");
    world.input(Input::End);
    assert!(world.ended);
    assert_eq!(world.room.call(world.now, |room| room.room_info()), None);
}
