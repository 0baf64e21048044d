//! A second codec for those who can't decode the first: asked for, carried, given and taken back.

use std::time::Duration;

use livekit_protocol::request_response::Reason;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{
    AddTrackRequest, BackupCodecPolicy, MuteTrackRequest, SimulcastCodec, SubscribedQualityUpdate,
};
use schalter_forward::{Codec, ConsumerConfig};
use schalter_model::TrackId;
use schalter_shard::control::{Command, Event};
use schalter_signaling::room::{ConnectionMode, Input};

use crate::support::{Client, World, claims, refusal, sections};
use crate::tracks::camera;

/// AV1 in spatial layers, and VP8 on request.
fn with_backup(policy: BackupCodecPolicy) -> AddTrackRequest {
    let codec = |codec: &str, cid: &str| SimulcastCodec {
        codec: codec.into(),
        cid: cid.into(),
        ..SimulcastCodec::default()
    };
    AddTrackRequest {
        simulcast_codecs: vec![codec("av1", "first"), codec("vp8", "")],
        backup_codec_policy: policy as i32,
        ..camera("first")
    }
}

/// What clients ask when they are told to send the second codec.
fn second(sid: &str) -> AddTrackRequest {
    AddTrackRequest {
        sid: sid.into(),
        ..camera("second")
    }
}

/// Somebody whose sections take AV1, too.
pub(crate) fn modern(world: &mut World, identity: &str) -> Client {
    let mut client = world.join(identity);
    client.sections = sections(&[
        "aud 0 recvonly",
        "aud 1 recvonly",
        "aud 2 recvonly",
        "av1 3 recvonly",
        "av1 4 recvonly",
        "av1 5 recvonly",
        "app 6",
    ]);
    client
}

/// The last word on each codec: its name, and which qualities are wanted.
pub(crate) fn wanted(world: &mut World, publisher: &Client) -> Vec<(String, [bool; 3])> {
    let news = world.take(publisher);
    let update = news.into_iter().rev().find_map(|message| match message {
        Response::SubscribedQualityUpdate(update) => Some(update),
        _ => None,
    });
    let Some(SubscribedQualityUpdate {
        subscribed_codecs, ..
    }) = update
    else {
        return Vec::new();
    };
    subscribed_codecs
        .into_iter()
        .map(|codec| {
            let on = |place: usize| codec.qualities[place].enabled;
            (codec.codec.clone(), [on(0), on(1), on(2)])
        })
        .collect()
}

pub(crate) fn all(codec: &str) -> (String, [bool; 3]) {
    (codec.into(), [true; 3])
}

pub(crate) fn none(codec: &str) -> (String, [bool; 3]) {
    (codec.into(), [false; 3])
}

/// What the media plane knows: of each transport, which tracks it gets and with which configuration.
fn consumers(world: &World) -> Vec<(TrackId, ConsumerConfig)> {
    let mut now: Vec<(u64, TrackId, ConsumerConfig)> = Vec::new();
    for (_, command) in &world.commands {
        match command {
            Command::AddConsumer {
                transport,
                track,
                config,
                ..
            } => {
                now.retain(|(of, known, _)| (*of, *known) != (transport.0, *track));
                let clash = now
                    .iter()
                    .any(|(of, _, known)| *of == transport.0 && known.ssrc == config.ssrc);
                assert!(!clash, "two streams of one transport have one SSRC");
                now.push((transport.0, *track, config.clone()));
            }
            Command::RemoveConsumer { transport, track } => {
                let before = now.len();
                now.retain(|(of, known, _)| (*of, *known) != (transport.0, *track));
                assert_eq!(now.len() + 1, before, "what is removed was there");
            }
            _ => {}
        }
    }
    now.into_iter()
        .map(|(_, track, config)| (track, config))
        .collect()
}

pub(crate) fn producers(world: &World) -> Vec<TrackId> {
    let mut now = Vec::new();
    for (_, command) in &world.commands {
        match command {
            Command::AddProducer { track, .. } if !now.contains(track) => now.push(*track),
            Command::RemoveProducer { track } => now.retain(|known| known != track),
            _ => {}
        }
    }
    now
}

pub(crate) fn flows(world: &mut World, track: TrackId, codec: Codec, encodings: u8) {
    for encoding in 0..encodings {
        world.input(Input::Media(Event::EncodingStarted {
            track,
            encoding,
            ssrc: track.0 as u32 * 10 + u32::from(encoding),
            codec,
        }));
    }
}

/// Alice publishes AV1 with VP8 behind it; answers her and the track's id.
pub(crate) fn publish(world: &mut World, policy: BackupCodecPolicy) -> (Client, String) {
    let mut alice = modern(world, "alice");
    world.request(&alice, Request::AddTrack(with_backup(policy)));
    let sid = published(world, &alice);
    alice.sections.push("av1 7 sendonly first".into());
    world.offer(&mut alice);
    let first = producers(world)[0];
    flows(world, first, Codec::Av1 { profile: 0 }, 1);
    (alice, sid)
}

fn published(world: &World, client: &Client) -> String {
    let mut messages = world.all(client.connection).iter().rev();
    messages
        .find_map(|message| match message {
            Response::TrackPublished(published) => Some(published.track.as_ref()?.sid.clone()),
            _ => None,
        })
        .expect("published")
}

/// Alice does as she was asked.
pub(crate) fn publish_second(world: &mut World, alice: &mut Client, sid: &str) -> TrackId {
    world.request(alice, Request::AddTrack(second(sid)));
    assert_eq!(published(world, alice), sid, "it is the same track");
    alice.sections.push("vid 8 sendonly second q;h;f".into());
    world.offer(alice);
    *producers(world).last().expect("the second codec")
}

#[test]
fn a_viewer_without_the_first_codec_gets_the_second() {
    let mut world = World::new();
    let (mut alice, sid) = publish(&mut world, BackupCodecPolicy::Simulcast);
    let mut bob = modern(&mut world, "bob");
    let mut carol = world.join("carol");
    world.negotiate(&mut [&mut bob]);
    assert_eq!(wanted(&mut world, &alice), [all("av1")]);
    world.negotiate(&mut [&mut carol]);
    assert_eq!(wanted(&mut world, &alice), [all("av1"), all("vp8")]);
    let first = producers(&world)[0];
    let got: Vec<_> = consumers(&world).into_iter().map(|(id, _)| id).collect();
    assert_eq!(got, [first], "carol waits");

    let backup = publish_second(&mut world, &mut alice, &sid);
    assert_eq!(consumers(&world).len(), 1, "nothing flows yet");
    let answer = world.last_answer(&alice).unwrap();
    assert!(answer.sdp.contains("a=simulcast:recv q;h;f"));
    flows(&mut world, backup, Codec::Vp8, 3);
    let got: Vec<_> = consumers(&world).into_iter().map(|(id, _)| id).collect();
    assert_eq!(
        got,
        [first, backup],
        "bob keeps what he has, carol gets the other"
    );
    let (_, config) = &consumers(&world)[1];
    assert_eq!(config.target.max_encoding, 2, "of which she gets the best");
    let named = world.last_answer(&carol).unwrap().sdp;
    assert!(
        named.contains(&format!("a=ssrc:{} ", config.ssrc)),
        "by the stream that she knows"
    );

    // Others know of one track, with both codecs.
    let tracks = world.room.participant_infos()[0].tracks.clone();
    assert_eq!(tracks.len(), 1);
    let told: Vec<_> = tracks[0]
        .codecs
        .iter()
        .map(|c| (c.mime_type.as_str(), c.mid.as_str(), c.cid.as_str()))
        .collect();
    assert_eq!(
        told,
        [("video/AV1", "7", "first"), ("video/VP8", "8", "second")]
    );
    assert!(
        tracks[0].codecs[1]
            .layers
            .iter()
            .all(|layer| layer.ssrc != 0 && !layer.rid.is_empty())
    );
    assert_eq!(tracks[0].mime_type, "video/AV1");
}

#[test]
fn the_second_codec_is_stopped_when_nobody_needs_it_and_asked_for_again() {
    let mut world = World::new();
    let (mut alice, sid) = publish(&mut world, BackupCodecPolicy::Simulcast);
    let mut bob = modern(&mut world, "bob");
    let mut carol = world.join("carol");
    world.negotiate(&mut [&mut bob, &mut carol]);
    let backup = publish_second(&mut world, &mut alice, &sid);
    flows(&mut world, backup, Codec::Vp8, 3);
    world.take(&alice);
    world.request(
        &carol,
        Request::Leave(livekit_protocol::LeaveRequest::default()),
    );
    assert_eq!(wanted(&mut world, &alice), []);
    world.pass(Duration::from_secs(6));
    assert_eq!(wanted(&mut world, &alice), [all("av1"), none("vp8")]);

    // The section is still there: nothing has to be published again.
    let mut dora = world.join("dora");
    world.negotiate(&mut [&mut dora]);
    assert_eq!(wanted(&mut world, &alice), [all("av1"), all("vp8")]);
    let got: Vec<_> = consumers(&world).into_iter().map(|(id, _)| id).collect();
    assert!(got.contains(&backup));
}

#[test]
fn everybody_goes_over_to_the_second_codec_and_back_if_the_publisher_wants_to_encode_once() {
    for policy in [
        BackupCodecPolicy::PreferRegression,
        BackupCodecPolicy::Regression,
    ] {
        let mut world = World::new();
        let (mut alice, sid) = publish(&mut world, policy);
        let mut bob = modern(&mut world, "bob");
        let mut dual = world.join_dual("dual");
        world.negotiate(&mut [&mut bob, &mut dual]);
        let mut carol = world.join("carol");
        world.negotiate(&mut [&mut carol]);
        let first = producers(&world)[0];
        let before = consumers(&world);
        assert_eq!(
            before.iter().filter(|(id, _)| *id == first).count(),
            1,
            "{policy:?}"
        );
        let backup = publish_second(&mut world, &mut alice, &sid);
        flows(&mut world, backup, Codec::Vp8, 3);
        // Bob's picture goes on until he has agreed to another stream.
        assert!(consumers(&world).iter().any(|(id, _)| *id == first));
        world.negotiate(&mut [&mut bob, &mut dual, &mut carol]);
        let now = consumers(&world);
        assert!(
            now.iter().all(|(id, _)| *id == backup),
            "{policy:?}: {now:?}"
        );
        assert_eq!(now.len(), 3);
        let told = before.iter().map(|(_, config)| config.ssrc);
        assert!(
            !now.iter()
                .any(|(_, config)| Some(config.ssrc) == told.clone().next()),
            "a stream of its own"
        );
        world.pass(Duration::from_secs(6));
        assert_eq!(wanted(&mut world, &alice), [none("av1"), all("vp8")]);

        // When nobody needs it any more they come back, but not at once.
        world.request(
            &carol,
            Request::Leave(livekit_protocol::LeaveRequest::default()),
        );
        world.request(
            &dual,
            Request::Leave(livekit_protocol::LeaveRequest::default()),
        );
        world.negotiate(&mut [&mut bob]);
        assert_eq!(consumers(&world).last().unwrap().0, backup);
        world.pass(Duration::from_secs(6));
        world.negotiate(&mut [&mut bob]);
        let now: Vec<_> = consumers(&world).into_iter().map(|(id, _)| id).collect();
        assert!(now.contains(&first), "{policy:?}: {now:?}");
        world.pass(Duration::from_secs(6));
        assert_eq!(wanted(&mut world, &alice), [all("av1"), none("vp8")]);
    }
}

#[test]
fn muting_and_unpublishing_mean_both_codecs() {
    let mut world = World::new();
    let (mut alice, sid) = publish(&mut world, BackupCodecPolicy::Simulcast);
    let mut carol = world.join("carol");
    world.negotiate(&mut [&mut carol]);
    let backup = publish_second(&mut world, &mut alice, &sid);
    let first = producers(&world)[0];
    flows(&mut world, backup, Codec::Vp8, 3);
    for muted in [true, false] {
        let request = MuteTrackRequest {
            sid: sid.clone(),
            muted,
        };
        world.request(&alice, Request::Mute(request));
        let at_source: Vec<_> = world
            .commands
            .iter()
            .rev()
            .take(2)
            .map(|(_, command)| match command {
                Command::MuteProducer { track, muted } => (*track, *muted),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(at_source, [(backup, muted), (first, muted)]);
    }

    // One section stops: the track is there, and whoever got the second codec waits again.
    alice.sections[8] = "vid 8 inactive".into();
    world.offer(&mut alice);
    assert_eq!(producers(&world), [first]);
    assert_eq!(consumers(&world), []);
    assert_eq!(world.room.participant_infos()[0].tracks.len(), 1);
    world.negotiate(&mut [&mut carol]);
    alice.sections[7] = "av1 7 inactive".into();
    world.offer(&mut alice);
    assert_eq!(producers(&world), []);
    assert!(world.room.participant_infos()[0].tracks.is_empty());
}

#[test]
fn a_muted_track_has_a_second_codec_once_it_is_heard_of_again() {
    let mut world = World::new();
    let (mut alice, sid) = publish(&mut world, BackupCodecPolicy::Simulcast);
    let mute = |muted| {
        Request::Mute(MuteTrackRequest {
            sid: sid.clone(),
            muted,
        })
    };
    world.request(&alice, mute(true));
    let mut carol = world.join("carol");
    world.negotiate(&mut [&mut carol]);
    let backup = publish_second(&mut world, &mut alice, &sid);
    let muted = world.commands.iter().any(|(_, command)| matches!(command, Command::MuteProducer { track, muted: true } if *track == backup));
    assert!(muted, "what it sends by mistake is not forwarded");
    world.request(&alice, mute(false));
    flows(&mut world, backup, Codec::Vp8, 3);
    assert_eq!(consumers(&world).len(), 1);
}

#[test]
fn what_was_not_offered_is_no_second_codec() {
    let mut world = World::new();
    let (alice, sid) = publish(&mut world, BackupCodecPolicy::Simulcast);
    let mut other = second(&sid);
    other.simulcast_codecs[0].codec = "vp9".into();
    let bob = world.join("bob");
    for (client, request, reason) in [
        (&alice, second("TR_unknown"), Reason::NotFound),
        (&alice, other, Reason::InvalidRequest),
        (&bob, second(&sid), Reason::NotFound),
    ] {
        world.take(client);
        world.request(client, Request::AddTrack(request));
        let news = world.take(client);
        assert_eq!(refusal(&news).map(|r| r.reason()), Some(reason));
    }
    assert_eq!(producers(&world).len(), 1);
}

#[test]
fn asking_again_is_answered_again_and_changes_nothing() {
    let mut world = World::new();
    let (mut alice, sid) = publish(&mut world, BackupCodecPolicy::Simulcast);
    let backup = publish_second(&mut world, &mut alice, &sid);
    world.take(&alice);
    world.request(&alice, Request::AddTrack(second(&sid)));
    assert_eq!(published(&world, &alice), sid);
    assert_eq!(producers(&world).last(), Some(&backup));
}

#[test]
fn a_viewer_in_two_connections_gets_the_second_codec_too() {
    let mut world = World::new();
    let (mut alice, sid) = publish(&mut world, BackupCodecPolicy::Simulcast);
    let mut carol = world.join_as(&claims("r", "carol"), ConnectionMode::Dual);
    world.negotiate(&mut [&mut carol]);
    assert_eq!(wanted(&mut world, &alice).last(), Some(&all("vp8")));
    let backup = publish_second(&mut world, &mut alice, &sid);
    flows(&mut world, backup, Codec::Vp8, 3);
    let got: Vec<_> = consumers(&world).into_iter().map(|(id, _)| id).collect();
    assert_eq!(got, [backup]);
}

#[test]
fn a_viewer_that_no_longer_takes_the_first_codec_is_asked_for_another_stream() {
    let mut world = World::new();
    let (mut alice, sid) = publish(&mut world, BackupCodecPolicy::Simulcast);
    let mut bob = modern(&mut world, "bob");
    let bobs = world.transports(1);
    let mut carol = world.join("carol");
    world.negotiate(&mut [&mut bob, &mut carol]);
    let backup = publish_second(&mut world, &mut alice, &sid);
    flows(&mut world, backup, Codec::Vp8, 3);
    let bob_gets = |world: &World| {
        let consumers = world.consumers();
        let mine = consumers.keys().filter(|(to, _)| *to == bobs);
        mine.map(|(_, track)| *track).collect::<Vec<_>>()
    };
    assert_eq!(bob_gets(&world), [producers(&world)[0]]);
    world.take(&bob);
    bob.sections[3] = "vid 3 recvonly".into();
    world.offer(&mut bob);
    // This answer still names the stream of before: only another one can name that of the second codec.
    world.negotiate(&mut [&mut bob]);
    assert_eq!(bob_gets(&world), [backup]);
}
