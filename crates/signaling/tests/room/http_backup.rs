//! A second codec for players by WHEP: their sections and streams are fixed, so one stream goes on from codec to codec.

use std::time::Duration;

use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::{BackupCodecPolicy, LeaveRequest};
use schalter_forward::Codec;
use schalter_model::{TrackId, TransportId};
use schalter_shard::control::Command;

use crate::backup::{all, flows, modern, none, producers, publish, publish_second, wanted};
use crate::support::{Client, World};

/// Longer than the publisher is left alone with less demand.
const LATER: Duration = Duration::from_secs(6);

/// What is forwarded on the player's only section, and with which SSRC.
fn shown(world: &World, player: TransportId) -> Option<(TrackId, u32)> {
    let stage = world.stage(player);
    assert!(stage.len() <= 1);
    let (track, config) = stage.get("0")?;
    assert!(config.continues);
    Some((*track, config.ssrc))
}

/// The SSRC that an answer names for the pictures.
fn answered(answer: &str) -> u32 {
    let line = answer.lines().find_map(|line| line.strip_prefix("a=ssrc:"));
    let number = line.and_then(|rest| rest.split(' ').next());
    number.unwrap().parse().unwrap()
}

/// How many subscriptions the server counts, and how many consumers the media plane has.
fn counts(world: &World) -> (u64, u64) {
    let counted = world.counters.snapshot().subscriptions;
    (counted, world.consumers().len() as u64)
}

fn leave(world: &mut World, client: &Client) {
    world.request(client, Request::Leave(LeaveRequest::default()));
}

#[test]
fn a_player_without_the_first_codec_gets_the_second() {
    let mut world = World::new();
    let (mut alice, sid) = publish(&mut world, BackupCodecPolicy::Simulcast);
    world.take(&alice);
    let begun = world.player(&["vid 0 recvonly"]);
    let player = world.last_transport();
    let ssrc = answered(&begun.answer);
    assert_eq!(wanted(&mut world, &alice), [none("av1"), all("vp8")]);
    assert_eq!(shown(&world, player), None, "it waits");

    let backup = publish_second(&mut world, &mut alice, &sid);
    assert_eq!(shown(&world, player), None, "nothing flows yet");
    flows(&mut world, backup, Codec::Vp8, 3);
    assert_eq!(shown(&world, player), Some((backup, ssrc)));
    assert_eq!(counts(&world), (1, 1));

    // The publisher takes the second codec back, and gives it again: another track of the media plane, the same stream.
    alice.sections[8] = "vid 8 inactive".into();
    world.offer(&mut alice);
    assert_eq!(shown(&world, player), None);
    assert_eq!(counts(&world), (0, 0));
    assert_eq!(wanted(&mut world, &alice), [none("av1"), all("vp8")]);
    alice.sections[8] = "vid 8 sendonly third q;h;f".into();
    let again = livekit_protocol::AddTrackRequest {
        sid: sid.clone(),
        ..crate::tracks::camera("third")
    };
    world.request(&alice, Request::AddTrack(again));
    world.offer(&mut alice);
    let other = *producers(&world).last().unwrap();
    assert_ne!(other, backup);
    flows(&mut world, other, Codec::Vp8, 3);
    assert_eq!(shown(&world, player), Some((other, ssrc)));
    assert_eq!(counts(&world), (1, 1));
}

#[test]
fn a_player_goes_over_to_the_second_codec_and_back_in_one_stream() {
    for policy in [
        BackupCodecPolicy::PreferRegression,
        BackupCodecPolicy::Regression,
    ] {
        let mut world = World::new();
        let (mut alice, sid) = publish(&mut world, policy);
        let first = producers(&world)[0];
        let begun = world.player(&["av1 0 recvonly"]);
        let player = world.last_transport();
        let ssrc = answered(&begun.answer);
        assert_eq!(shown(&world, player), Some((first, ssrc)), "{policy:?}");

        let mut carol = world.join("carol");
        world.negotiate(&mut [&mut carol]);
        assert_eq!(wanted(&mut world, &alice), [all("av1"), all("vp8")]);
        let backup = publish_second(&mut world, &mut alice, &sid);
        assert_eq!(shown(&world, player), Some((first, ssrc)), "until it flows");
        flows(&mut world, backup, Codec::Vp8, 3);
        assert_eq!(shown(&world, player), Some((backup, ssrc)), "{policy:?}");
        assert_eq!(counts(&world), (2, 2));
        world.pass(LATER);
        assert_eq!(wanted(&mut world, &alice), [none("av1"), all("vp8")]);

        leave(&mut world, &carol);
        assert_eq!(shown(&world, player), Some((backup, ssrc)), "not at once");
        world.pass(LATER);
        assert_eq!(shown(&world, player), Some((first, ssrc)), "{policy:?}");
        assert_eq!(counts(&world), (1, 1));
        world.pass(LATER);
        assert_eq!(wanted(&mut world, &alice), [all("av1"), none("vp8")]);
    }
}

#[test]
fn a_player_that_needs_the_second_codec_brings_everybody_over_until_it_leaves() {
    let mut world = World::new();
    let (mut alice, sid) = publish(&mut world, BackupCodecPolicy::PreferRegression);
    let first = producers(&world)[0];
    let mut bob = modern(&mut world, "bob");
    world.negotiate(&mut [&mut bob]);
    let bobs = world.last_transport();
    let begun = world.player(&["vid 0 recvonly"]);
    let player = world.last_transport();
    let backup = publish_second(&mut world, &mut alice, &sid);
    flows(&mut world, backup, Codec::Vp8, 3);
    world.negotiate(&mut [&mut bob]);
    let ssrc = answered(&begun.answer);
    assert_eq!(shown(&world, player), Some((backup, ssrc)));
    let bob_gets = |world: &World| {
        let consumers = world.consumers();
        let mine = consumers.keys().filter(|(to, _)| *to == bobs);
        mine.map(|(_, track)| *track).collect::<Vec<_>>()
    };
    assert_eq!(bob_gets(&world), [backup]);

    world.touch(&begun, schalter_signaling::HttpProtocol::Whep, true);
    world.pass(LATER);
    world.negotiate(&mut [&mut bob]);
    assert_eq!(bob_gets(&world), [first]);
    world.pass(LATER);
    assert_eq!(wanted(&mut world, &alice), [all("av1"), none("vp8")]);
    let left: Vec<_> = world
        .commands
        .iter()
        .filter(|(_, c)| matches!(c, Command::CloseTransport { transport } if *transport == player))
        .collect();
    assert_eq!(left.len(), 1);
}
