//! Publishing, muting, unpublishing.

use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use livekit_protocol::{
    AddTrackRequest, MuteTrackRequest, ParticipantInfo, RequestResponse, SyncState, TrackInfo,
    TrackPublishedResponse, TrackSource, UpdateLocalAudioTrack, VideoQuality, encryption,
    request_response::Reason,
};
use schalter_shard::control::Command;

use crate::support::{World, camera, microphone, refusal, sections, shape};

fn updates(messages: &[Response]) -> Vec<ParticipantInfo> {
    messages
        .iter()
        .filter_map(|m| match m {
            Response::Update(u) => Some(u.participants.clone()),
            _ => None,
        })
        .flatten()
        .collect()
}

fn published(messages: &[Response]) -> TrackInfo {
    messages
        .iter()
        .find_map(|m| match m {
            Response::TrackPublished(p) => p.track.clone(),
            _ => None,
        })
        .unwrap()
}

#[test]
fn track_published_describes_the_track_with_sorted_layers() {
    let mut world = World::new();
    let alice = world.join("alice");
    world.request(&alice, Request::AddTrack(camera("cam")));
    let track = published(&world.take(&alice));
    assert!(track.sid.starts_with("TR_VC"));
    assert_eq!(track.stream, "camera");
    let codec = &track.codecs[0];
    assert_eq!(
        (codec.mime_type.as_str(), codec.cid.as_str()),
        ("video/vp8", "cam")
    );
    let order: Vec<_> = codec.layers.iter().map(|l| l.quality()).collect();
    assert_eq!(
        order,
        [VideoQuality::Low, VideoQuality::Medium, VideoQuality::High]
    );
    world.request(&alice, Request::AddTrack(microphone("mic")));
    let track = published(&world.take(&alice));
    assert!(track.sid.starts_with("TR_AM"));
}

#[test]
fn others_hear_of_a_track_when_its_media_flows_and_get_it() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let bob = world.join("bob");
    world.take(&bob);
    let sid = world.publish(&mut alice, camera("cam"));
    assert!(updates(&world.take(&bob)).is_empty());
    world.media_flows();
    let messages = world.take(&bob);
    let first = updates(&messages).remove(0);
    let track = &first.tracks[0];
    assert_eq!(
        (track.sid.as_str(), track.mime_type.as_str()),
        (sid.as_str(), "video/VP8")
    );
    assert_eq!(track.mid, "7");
    let last = updates(&messages).pop().unwrap();
    let layers = &last.tracks[0].codecs[0].layers;
    assert!(layers.iter().all(|l| l.ssrc != 0), "{layers:?}");
    let rids: Vec<_> = layers.iter().map(|l| l.rid.as_str()).collect();
    assert_eq!(rids, ["q", "h", "f"]);
    assert!(last.is_publisher && last.version > first.version);
    let update = messages
        .iter()
        .position(|m| matches!(m, Response::Update(_)));
    let requirement = messages
        .iter()
        .position(|m| matches!(m, Response::MediaSectionsRequirement(_)));
    assert!(update < requirement, "the update must come before the SDP");
}

#[test]
fn an_offer_may_come_before_its_request() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    alice.sections.push("aud 7 sendonly mic".into());
    world.offer(&mut alice);
    let producers = |world: &World| {
        world
            .commands
            .iter()
            .filter(|(_, c)| matches!(c, Command::AddProducer { .. }))
            .count()
    };
    assert_eq!(producers(&world), 0);
    assert_eq!(
        shape(&world.last_answer(&alice).unwrap().sdp)[7],
        "aud 7 recvonly"
    );
    world.request(&alice, Request::AddTrack(microphone("mic")));
    assert_eq!(producers(&world), 1);
}

#[test]
fn a_section_that_lost_its_id_is_matched_by_kind() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    world.request(&alice, Request::AddTrack(camera("cam")));
    world.request(&alice, Request::AddTrack(microphone("mic")));
    alice.sections.push("aud 7 sendonly another".into());
    world.offer(&mut alice);
    let kinds: Vec<_> = world
        .commands
        .iter()
        .filter_map(|(_, c)| match c {
            Command::AddProducer { config, .. } => Some(config.kind),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, [schalter_model::MediaKind::Audio]);
}

#[test]
fn a_repeated_request_gets_the_same_track() {
    let mut world = World::new();
    let alice = world.join("alice");
    world.request(&alice, Request::AddTrack(microphone("mic")));
    let first = published(&world.take(&alice));
    world.request(&alice, Request::AddTrack(microphone("mic")));
    assert_eq!(published(&world.take(&alice)).sid, first.sid);
}

#[test]
fn a_track_that_is_published_muted_is_announced_without_media() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let bob = world.join("bob");
    world.take(&bob);
    let request = AddTrackRequest {
        muted: true,
        ..microphone("mic")
    };
    world.publish(&mut alice, request);
    let info = updates(&world.take(&bob)).pop().unwrap();
    assert!(info.tracks[0].muted);
    assert_eq!(info.tracks[0].mime_type, "audio/red");
}

#[test]
fn mute_and_unmute_are_told_to_all() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let bob = world.join("bob");
    let sid = world.publish_microphone(&mut alice);
    for muted in [true, false] {
        world.take(&bob);
        world.take(&alice);
        let mute = MuteTrackRequest {
            sid: sid.clone(),
            muted,
        };
        world.request(&alice, Request::Mute(mute));
        for client in [&alice, &bob] {
            let info = updates(&world.take(client)).pop().unwrap();
            assert_eq!(info.tracks[0].muted, muted);
        }
    }
}

/// What the shards were told about muting, in order.
fn mutes(world: &World) -> Vec<bool> {
    world
        .commands
        .iter()
        .filter_map(|(_, c)| match c {
            Command::MuteProducer { muted, .. } => Some(*muted),
            _ => None,
        })
        .collect()
}

fn mute(sid: &str, muted: bool) -> Request {
    let sid = sid.to_owned();
    Request::Mute(MuteTrackRequest { sid, muted })
}

#[test]
fn a_muted_track_is_stopped_at_its_source_until_it_is_unmuted() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let sid = world.publish_microphone(&mut alice);
    assert!(mutes(&world).is_empty());
    for muted in [true, true, false, false, true] {
        world.request(&alice, mute(&sid, muted));
    }
    assert_eq!(
        mutes(&world),
        [true, false, true],
        "repetitions say nothing"
    );
}

#[test]
fn a_track_that_is_published_muted_is_stopped_from_its_first_packet() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let request = AddTrackRequest {
        muted: true,
        ..microphone("mic")
    };
    let sid = world.publish(&mut alice, request);
    let place = |wanted: fn(&Command) -> bool| world.commands.iter().position(|(_, c)| wanted(c));
    let added = place(|c| matches!(c, Command::AddProducer { .. }));
    let muted = place(|c| matches!(c, Command::MuteProducer { muted: true, .. }));
    assert!(added < muted, "a shard knows the track first");
    world.offer(&mut alice);
    assert_eq!(mutes(&world), [true]);
    world.request(&alice, mute(&sid, false));
    assert_eq!(mutes(&world), [true, false]);
}

#[test]
fn a_track_that_is_muted_before_its_section_is_negotiated_starts_muted() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    world.request(&alice, Request::AddTrack(microphone("mic")));
    let sid = published(&world.take(&alice)).sid;
    world.request(&alice, mute(&sid, true));
    assert!(mutes(&world).is_empty(), "no shard knows the track yet");
    alice.sections.push("aud 7 sendonly mic".into());
    world.offer(&mut alice);
    assert_eq!(mutes(&world), [true]);
}

#[test]
fn sound_is_asked_for_with_redundancy_unless_it_is_encrypted_or_the_publisher_wants_none() {
    let plain = microphone("mic");
    let without = AddTrackRequest {
        disable_red: true,
        ..plain.clone()
    };
    let encrypted = AddTrackRequest {
        encryption: encryption::Type::Gcm as i32,
        ..plain.clone()
    };
    for (request, formats) in [
        (plain, "63 111"),
        (without, "111 63"),
        (encrypted, "111 63"),
    ] {
        let mut world = World::new();
        let mut alice = world.join("alice");
        world.publish(&mut alice, request);
        let answer = world.last_answer(&alice).unwrap().sdp;
        let lines: Vec<_> = answer
            .lines()
            .filter(|l| l.starts_with("m=audio"))
            .collect();
        assert_eq!(lines.len(), 4);
        let named = |line: &str| line.rsplit("SAVPF ").next().map(str::to_owned);
        assert_eq!(named(lines[3]).as_deref(), Some(formats));
        // Where we send, the client's order stands.
        assert_eq!(named(lines[0]).as_deref(), Some("111 63"));
    }
}

#[test]
fn a_track_that_is_muted_before_its_media_came_is_announced() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let bob = world.join("bob");
    let sid = world.publish(&mut alice, microphone("mic"));
    world.take(&bob);
    world.request(&alice, mute(&sid, true));
    let info = updates(&world.take(&bob)).pop().unwrap();
    assert!(info.tracks[0].muted);
}

#[test]
fn a_resume_keeps_a_track_muted_whatever_the_client_last_heard() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let sid = world.publish_microphone(&mut alice);
    world.request(&alice, mute(&sid, true));
    world.close(&alice);
    let own = alice.sid.clone();
    world.resume(&mut alice, &own);
    let info = updates(&world.take(&alice)).pop().unwrap();
    assert!(info.tracks[0].muted, "the client is told what holds");
    let before = TrackInfo {
        muted: false,
        ..info.tracks[0].clone()
    };
    let state = SyncState {
        publish_tracks: vec![TrackPublishedResponse {
            cid: "mic".into(),
            track: Some(before),
        }],
        ..SyncState::default()
    };
    world.request(&alice, Request::SyncState(state));
    world.offer(&mut alice);
    assert_eq!(mutes(&world), [true]);
}

#[test]
fn muting_an_unknown_or_foreign_track_is_answered() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let bob = world.join("bob");
    let sid = world.publish_microphone(&mut alice);
    for sid in [sid, "TR_nobody".to_owned()] {
        world.take(&bob);
        let mute = MuteTrackRequest { sid, muted: true };
        world.request(&bob, Request::Mute(mute));
        let RequestResponse { reason, .. } = refusal(&world.take(&bob)).unwrap();
        assert_eq!(reason, Reason::NotFound as i32);
    }
}

#[test]
fn a_section_that_stops_unpublishes_its_track() {
    for stopped in ["inactive", "recvonly"] {
        let mut world = World::new();
        let mut alice = world.join("alice");
        let mut bob = world.join("bob");
        world.publish_camera(&mut alice);
        world.negotiate(&mut [&mut bob]);
        assert_eq!(world.consumers().len(), 1);
        world.take(&bob);
        alice.sections[7] = format!("vid 7 {stopped}");
        world.offer(&mut alice);
        assert_eq!(
            shape(&world.last_answer(&alice).unwrap().sdp)[7],
            "vid 7 inactive"
        );
        let info = updates(&world.take(&bob)).pop().unwrap();
        assert!(info.tracks.is_empty());
        assert!(world.consumers().is_empty());
        world.negotiate(&mut [&mut bob]);
        world.offer(&mut bob);
        assert_eq!(
            shape(&world.last_answer(&bob).unwrap().sdp)[3],
            "vid 3 inactive",
            "used sections stay inactive"
        );
    }
}

#[test]
fn a_section_may_carry_another_track_after_the_first() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let bob = world.join("bob");
    let first = world.publish_camera(&mut alice);
    world.request(&alice, Request::AddTrack(camera("second")));
    alice.sections[7] = "vid 7 sendonly second q;h;f".into();
    world.offer(&mut alice);
    world.media_flows();
    let info = updates(&world.take(&bob)).pop().unwrap();
    let [track] = &info.tracks[..] else {
        panic!("{info:?}")
    };
    assert_ne!(track.sid, first);
}

#[test]
fn audio_features_are_updated_and_told() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let bob = world.join("bob");
    let sid = world.publish_microphone(&mut alice);
    world.take(&bob);
    let update = UpdateLocalAudioTrack {
        track_sid: sid,
        features: vec![4, 2, 4],
    };
    world.request(&alice, Request::UpdateAudioTrack(update));
    let info = updates(&world.take(&bob)).pop().unwrap();
    assert_eq!(info.tracks[0].audio_features, [2, 4]);
}

#[test]
fn rids_are_taken_by_name_not_by_place() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    world.request(&alice, Request::AddTrack(camera("cam")));
    alice.sections.push("vid 7 sendonly cam h;q".into());
    world.offer(&mut alice);
    let rids: Vec<_> = world
        .commands
        .iter()
        .find_map(|(_, c)| match c {
            Command::AddProducer { config, .. } => Some(
                config
                    .encodings
                    .iter()
                    .map(|e| e.rid.clone().unwrap().to_string())
                    .collect::<Vec<_>>(),
            ),
            _ => None,
        })
        .unwrap();
    assert_eq!(rids, sections(&["q", "h"]));
}

#[test]
fn microphones_of_a_room_compete_to_be_heard_and_what_a_screen_sounds_like_does_not() {
    let mut world = World::new();
    let mut alice = world.join("alice");
    let mut bob = world.join("bob");
    world.publish_microphone(&mut alice);
    world.publish_microphone(&mut bob);
    let mut screen = microphone("screen");
    screen.source = TrackSource::ScreenShareAudio as i32;
    world.request(&alice, Request::AddTrack(screen));
    alice.sections.push("aud 8 sendonly screen".into());
    world.request(&alice, Request::AddTrack(camera("cam")));
    alice.sections.push("vid 9 sendonly cam".into());
    world.offer(&mut alice);
    let rooms: Vec<_> = world
        .commands
        .iter()
        .filter_map(|(_, c)| match c {
            Command::AddProducer { config, .. } => Some(config.room),
            _ => None,
        })
        .collect();
    assert_eq!(rooms.len(), 4);
    assert!(rooms[0].is_some());
    assert_eq!(rooms, [rooms[0], rooms[0], None, None]);
}
