//! Subscriptions, sections, qualities.

use std::sync::Arc;
use std::time::Duration;

use livekit_protocol::request_response::Reason;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{
    DisconnectReason, SessionDescription, SubscribedQualityUpdate, SubscriptionError,
    SubscriptionPermission, TrackPermission, UpdateSubscription, UpdateTrackSettings, VideoQuality,
};
use schalter_forward::ConsumerTarget;
use schalter_shard::control::{Command, Event, Refusal};
use schalter_signaling::JoinStage;
use schalter_signaling::room::{ConnectionMode, Input};

use crate::support::{Client, World, claims, leave_reason, microphone, refusal, shape};
use crate::tracks::camera;

fn subscription(sid: &str, subscribe: bool) -> Request {
    Request::Subscription(UpdateSubscription {
        track_sids: vec![sid.into()],
        subscribe,
        ..UpdateSubscription::default()
    })
}

fn requirements(messages: &[Response]) -> Vec<(u32, u32)> {
    messages
        .iter()
        .filter_map(|m| match m {
            Response::MediaSectionsRequirement(r) => Some((r.num_audios, r.num_videos)),
            _ => None,
        })
        .collect()
}

fn qualities(messages: &[Response]) -> Vec<Vec<bool>> {
    messages
        .iter()
        .filter_map(|m| match m {
            Response::SubscribedQualityUpdate(SubscribedQualityUpdate {
                subscribed_codecs,
                ..
            }) => {
                assert_eq!(subscribed_codecs[0].codec, "vp8");
                Some(
                    subscribed_codecs[0]
                        .qualities
                        .iter()
                        .map(|q| q.enabled)
                        .collect(),
                )
            }
            _ => None,
        })
        .collect()
}

fn permissions(messages: &[Response]) -> Vec<bool> {
    messages
        .iter()
        .filter_map(|m| match m {
            Response::SubscriptionPermissionUpdate(p) => Some(p.allowed),
            _ => None,
        })
        .collect()
}

fn without_auto_subscribe(world: &mut World, identity: &str, mode: ConnectionMode) -> Client {
    let mut params = world.params(&claims("r", identity), mode);
    params.auto_subscribe = false;
    world.join_with(params)
}

#[test]
fn a_new_track_asks_for_an_offer_whose_answer_binds_it() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = world.join("bob");
    world.take(&bob);
    let sid = world.publish_camera(&mut alice);
    assert_eq!(requirements(&world.take(&bob)), [(0, 0)]);
    world.take(&alice);
    world.offer(&mut bob);
    let answer = world.last_answer(&bob).unwrap();
    assert_eq!(shape(&answer.sdp)[3], "vid 3 sendonly track");
    assert_eq!(answer.mid_to_track_id["3"], sid);
    assert_eq!(answer.id, 2);
    let msid = format!("a=msid:{}|{sid} {sid}", alice.sid);
    assert!(answer.sdp.contains(&msid), "{}", answer.sdp);
    let messages = world.take(&alice);
    assert_eq!(qualities(&messages), [[true, true, true]]);
    assert!(matches!(
        messages.last(),
        Some(Response::TrackSubscribed(t)) if t.track_sid == sid
    ));
    let added = world.commands.iter().rev().find_map(|(shard, c)| match c {
        Command::AddConsumer {
            producer_shard,
            config,
            ..
        } => Some((shard.0, producer_shard.0, config.clone())),
        _ => None,
    });
    let (shard, producer_shard, config) = added.unwrap();
    assert_eq!((shard, producer_shard), (1, 0));
    assert_eq!(config.mid.as_deref(), Some("3"));
    assert!(config.rtx_ssrc.is_some());
    assert_eq!(&*config.cname, alice.sid.as_str());
    assert!(answer.sdp.contains(&format!("a=ssrc:{}", config.ssrc)));
}

#[test]
fn only_one_offer_is_asked_for_at_a_time() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = world.join("bob");
    world.take(&bob);
    world.publish_camera(&mut alice);
    world.publish_microphone(&mut alice);
    assert_eq!(requirements(&world.take(&bob)).len(), 1);
    world.offer(&mut bob);
    assert_eq!(world.last_answer(&bob).unwrap().mid_to_track_id.len(), 2);
    assert!(requirements(&world.take(&bob)).is_empty());
}

#[test]
fn missing_sections_are_counted() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = world.join("bob");
    for n in 0..5 {
        world.publish(&mut alice, microphone(&format!("m{n}")));
    }
    world.media_flows();
    world.offer(&mut bob);
    let messages = world.take(&bob);
    assert_eq!(requirements(&messages), [(0, 0), (2, 0)]);
    bob.sections.push("aud 7 recvonly".into());
    bob.sections.push("aud 8 recvonly".into());
    world.offer(&mut bob);
    assert_eq!(world.last_answer(&bob).unwrap().mid_to_track_id.len(), 5);
    assert!(requirements(&world.take(&bob)).is_empty());
    assert_eq!(world.consumers().len(), 5);
}

#[test]
fn dual_subscribers_get_one_offer_at_a_time_and_reuse_sections() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let bob = world.join_dual("bob");
    world.take(&bob);
    world.publish_camera(&mut alice);
    world.publish_microphone(&mut alice);
    let offers = |messages: &[Response]| -> Vec<_> {
        messages
            .iter()
            .filter_map(|m| match m {
                Response::Offer(o) => Some((o.id, shape(&o.sdp))),
                _ => None,
            })
            .collect()
    };
    let messages = world.take(&bob);
    let [(first, list)] = &offers(&messages)[..] else {
        panic!("{messages:?}")
    };
    assert_eq!(list[..], ["app 0", "vid 1 sendonly track"]);
    assert!(world.consumers().is_empty(), "not before the answer");
    world.messages.insert(bob.connection, messages.clone());
    world.answer(&bob);
    let after = world.take(&bob);
    let (second, list) = offers(&after).pop().unwrap();
    assert_eq!(second, first + 1);
    assert_eq!(
        list,
        ["app 0", "vid 1 sendonly track", "aud 2 sendonly track"]
    );
    world.messages.insert(bob.connection, after);
    world.answer(&bob);
    assert_eq!(world.consumers().len(), 2);

    alice.sections[7] = "vid 7 inactive".into();
    world.offer(&mut alice);
    let list = shape(&world.last_offer(&bob).unwrap().sdp);
    assert_eq!(list[1], "vid 1 inactive");
    world.answer(&bob);
    world.publish_camera(&mut alice);
    // Its request repeats the first camera's id, which ended with its section.
    let list = shape(&world.last_offer(&bob).unwrap().sdp);
    assert_eq!(list[1], "vid 1 sendonly track");
}

#[test]
fn an_answer_to_an_older_offer_changes_nothing() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let bob = world.join_dual("bob");
    world.publish_camera(&mut alice);
    let mut stale = world.last_offer(&bob).unwrap();
    stale.id -= 1;
    let before = world.commands.len();
    world.request(&bob, Request::Answer(stale));
    assert_eq!(world.commands.len(), before);
}

#[test]
fn without_auto_subscribe_only_what_is_asked_for_comes() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = without_auto_subscribe(&mut world, "bob", ConnectionMode::Single);
    let sid = world.publish_camera(&mut alice);
    assert!(requirements(&world.take(&bob)).is_empty());
    world.request(&bob, subscription(&sid, true));
    let messages = world.take(&bob);
    assert_eq!(permissions(&messages), [true]);
    assert_eq!(requirements(&messages), [(0, 0)]);
    world.offer(&mut bob);
    assert_eq!(world.consumers().len(), 1);
    world.request(&bob, subscription(&sid, false));
    assert!(world.consumers().is_empty());
    world.negotiate(&mut [&mut bob]);
    let answer = world.last_answer(&bob).unwrap();
    assert_eq!(shape(&answer.sdp)[3], "vid 3 inactive");
    assert!(answer.mid_to_track_id.is_empty());
    world.request(&bob, subscription(&sid, true));
    world.negotiate(&mut [&mut bob]);
    assert_eq!(world.consumers().len(), 1);
}

#[test]
fn subscribing_to_nothing_is_answered() {
    let mut world = World::new();
    let bob = world.join("bob");
    world.take(&bob);
    world.request(&bob, subscription("TR_gone", true));
    let messages = world.take(&bob);
    let [Response::SubscriptionResponse(response)] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert_eq!(response.err(), SubscriptionError::SeTrackNotfound);
}

#[test]
fn a_codec_nobody_shares_is_told_and_given_up() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = world.join("bob");
    world.publish_camera(&mut alice);
    world.negotiate(&mut [&mut bob]);
    let ((transport, track), _) = world.consumers().pop_first().unwrap();
    world.take(&bob);
    world.input(Input::Media(Event::Refused {
        transport,
        track: Some(track),
        reason: Refusal::NoCommonCodec,
    }));
    assert!(world.take(&bob).iter().any(|m| matches!(
        m,
        Response::SubscriptionResponse(r) if r.err() == SubscriptionError::SeCodecUnsupported
    )));
    assert!(world.consumers().is_empty());
}

#[test]
fn settings_choose_the_spatial_layer_of_a_single_encoding() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = world.join("bob");
    let mut request = camera("svc");
    request.simulcast_codecs[0].codec = "av1".into();
    let sid = world.publish(&mut alice, request);
    world.media_flows();
    world.negotiate(&mut [&mut bob]);
    let key = *world.consumers().keys().next().unwrap();
    // quality, width → spatial layer
    for (quality, width, max_spatial) in [(0, 0, 0), (1, 0, 1), (2, 0, u8::MAX), (2, 320, 0)] {
        let settings = UpdateTrackSettings {
            track_sids: vec![sid.clone()],
            quality,
            width,
            height: width * 9 / 16,
            ..UpdateTrackSettings::default()
        };
        world.request(&bob, Request::TrackSetting(settings));
        let target = world.consumers()[&key];
        assert_eq!((target.max_encoding, target.max_spatial), (0, max_spatial));
    }
}

#[test]
fn settings_choose_the_encoding_and_sizes_win_over_qualities() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = world.join("bob");
    let sid = world.publish_camera(&mut alice);
    world.negotiate(&mut [&mut bob]);
    let key = *world.consumers().keys().next().unwrap();
    let high = VideoQuality::High as i32;
    // disabled, quality, width, height → paused, encoding
    let cases = [
        (false, 0, 0, 0, false, 0),
        (false, 1, 0, 0, false, 1),
        (false, high, 0, 0, false, 2),
        (false, high, 320, 180, false, 0),
        (false, high, 321, 181, false, 1),
        (false, 0, 300, 300, false, 0),
        (false, 0, 4000, 4000, false, 2),
        (true, high, 0, 0, true, 0),
        (false, 9, 0, 0, false, 2),
    ];
    for (disabled, quality, width, height, paused, max_encoding) in cases {
        let settings = UpdateTrackSettings {
            track_sids: vec![sid.clone()],
            disabled,
            quality,
            width,
            height,
            ..UpdateTrackSettings::default()
        };
        world.request(&bob, Request::TrackSetting(settings));
        assert_eq!(
            world.consumers()[&key],
            ConsumerTarget {
                paused,
                max_encoding,
                ..ConsumerTarget::default()
            },
            "{disabled} {quality} {width}x{height}"
        );
    }
}

#[test]
fn publishers_are_asked_for_less_later_and_for_more_at_once() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = world.join("bob");
    let sid = world.publish_camera(&mut alice);
    world.negotiate(&mut [&mut bob]);
    world.take(&alice);
    let mut settings = UpdateTrackSettings {
        track_sids: vec![sid],
        ..UpdateTrackSettings::default()
    };
    world.request(&bob, Request::TrackSetting(settings.clone()));
    world.pass(Duration::from_millis(4_900));
    assert!(qualities(&world.take(&alice)).is_empty());
    world.pass(Duration::from_millis(100));
    assert_eq!(qualities(&world.take(&alice)), [[true, false, false]]);
    settings.quality = VideoQuality::Medium as i32;
    world.request(&bob, Request::TrackSetting(settings.clone()));
    assert_eq!(qualities(&world.take(&alice)), [[true, true, false]]);
    settings.disabled = true;
    world.request(&bob, Request::TrackSetting(settings.clone()));
    world.pass(Duration::from_secs(1));
    settings.disabled = false;
    world.request(&bob, Request::TrackSetting(settings.clone()));
    world.pass(Duration::from_secs(10));
    assert!(
        qualities(&world.take(&alice)).is_empty(),
        "back before the delay was over"
    );
    settings.disabled = true;
    world.request(&bob, Request::TrackSetting(settings));
    world.pass(Duration::from_secs(5));
    assert_eq!(qualities(&world.take(&alice)), [[false, false, false]]);
}

#[test]
fn publishers_decide_who_may_subscribe() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = world.join("bob");
    let mut carol = world.join("carol");
    let sid = world.publish_camera(&mut alice);
    world.negotiate(&mut [&mut bob, &mut carol]);
    assert_eq!(world.consumers().len(), 2);
    world.take(&bob);
    world.request(
        &alice,
        Request::SubscriptionPermission(SubscriptionPermission::default()),
    );
    assert_eq!(permissions(world.all(bob.connection)), [false]);
    assert!(world.consumers().is_empty());
    world.negotiate(&mut [&mut bob, &mut carol]);
    world.take(&bob);
    world.request(&bob, subscription(&sid, true));
    assert_eq!(permissions(&world.take(&bob)), [false], "answered again");
    let only_bob = SubscriptionPermission {
        all_participants: false,
        track_permissions: vec![TrackPermission {
            participant_identity: "bob".into(),
            track_sids: vec![sid],
            ..TrackPermission::default()
        }],
    };
    world.request(&alice, Request::SubscriptionPermission(only_bob));
    assert_eq!(permissions(world.all(bob.connection)), [true]);
    world.negotiate(&mut [&mut bob, &mut carol]);
    assert_eq!(world.consumers().len(), 1);
}

#[test]
fn newcomers_get_what_is_there_once_they_are_connected() {
    for mode in [ConnectionMode::Single, ConnectionMode::Dual] {
        let mut world = World::new();
        let mut alice = world.join_dual("alice");
        world.publish_camera(&mut alice);
        world.publish_microphone(&mut alice);
        let mut bob = world.join_as(&claims("r", "bob"), mode);
        let Response::Join(join) = world.all(bob.connection)[0].clone() else {
            panic!()
        };
        assert_eq!(join.other_participants[0].tracks.len(), 2);
        world.negotiate(&mut [&mut bob]);
        assert_eq!(world.consumers().len(), 2, "{mode:?}");
    }
}

/// Answers the last offer with something that is no description.
fn answer_nonsense(world: &mut World, client: &Client) {
    let id = world.last_offer(client).unwrap().id;
    world.take(client);
    let answer = SessionDescription {
        r#type: "answer".into(),
        sdp: "v=0\r\nm=nonsense".into(),
        id,
        ..SessionDescription::default()
    };
    world.request(client, Request::Answer(answer));
}

#[test]
fn an_unusable_answer_is_followed_by_another_offer() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let bob = world.join_dual("bob");
    world.publish_camera(&mut alice);
    for _ in 0..2 {
        let before = world.last_offer(&bob).unwrap();
        answer_nonsense(&mut world, &bob);
        let messages = world.take(&bob);
        assert_eq!(refusal(&messages).unwrap().reason(), Reason::InvalidRequest);
        world.messages.insert(bob.connection, messages);
        let again = world.last_offer(&bob).unwrap();
        assert_ne!(again.id, before.id);
        assert_eq!(shape(&again.sdp), shape(&before.sdp));
    }
    world.answer(&bob);
    assert_eq!(world.consumers().len(), 1, "nothing is stuck");
    // Counted in a row only.
    world.publish_microphone(&mut alice);
    answer_nonsense(&mut world, &bob);
    assert_eq!(leave_reason(world.all(bob.connection)), None);
    world.answer(&bob);
    assert_eq!(world.consumers().len(), 2);
}

/// Answers with nonsense until the session ends, and says why it did.
fn never_answer(world: &mut World, client: &Client) -> Option<(DisconnectReason, i32)> {
    for _ in 0..2 {
        answer_nonsense(world, client);
        assert_eq!(leave_reason(world.all(client.connection)), None);
    }
    answer_nonsense(world, client);
    leave_reason(world.all(client.connection))
}

#[test]
fn a_client_that_can_not_answer_begins_anew() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let bob = world.join_dual("bob");
    world.publish_camera(&mut alice);
    let reason = never_answer(&mut world, &bob);
    assert_eq!(reason, Some((DisconnectReason::MediaFailure, 2)));
    assert_eq!(world.counters.snapshot().participants, 1);
}

#[test]
fn a_client_that_can_not_answer_its_first_offer_fails_to_join() {
    let mut world = World::new();
    let params = world.params(&claims("r", "bob"), ConnectionMode::Dual);
    let bob = Client {
        connection: world.ids.connection(),
        mode: ConnectionMode::Dual,
        sections: Vec::new(),
        offers: 0,
        ufrag: "u000".into(),
        sid: String::new(),
        grants: Arc::clone(&params.grants),
    };
    world.input(Input::Join {
        connection: bob.connection,
        params: Box::new(params),
    });
    let reason = never_answer(&mut world, &bob);
    assert_eq!(reason, Some((DisconnectReason::JoinFailure, 2)));
    let stats = world.counters.snapshot();
    assert_eq!(stats.failures_at(JoinStage::Media), 1);
    assert_eq!(stats.participants, 0);
}
