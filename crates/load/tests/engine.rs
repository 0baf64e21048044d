//! The engine over loopback sockets: what arrives is counted, what is lost is missed.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should stop there"
)]

mod relay;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use relay::Relay;
use schalter_load::client::{Certificate, ClientConfig, ClientEvent, IceCredentials, IceRole};
use schalter_load::engine::{Engine, NewPeer, Publish, Totals, ViewConfig, Watched, bind};
use schalter_load::feed::{FeedConfig, FeedHeader, StreamIds};
use schalter_load::link::LinkConfig;
use schalter_load::probe::Kind;
use schalter_load::receive::Feedback;
use schalter_model::SrtpProfile;
use tokio::sync::mpsc;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A publisher and a subscriber through a relay that may lose packets.
async fn call(drop_each: Option<u64>) -> Totals {
    watched_call(drop_each, None).await.0
}

/// The same with a subscriber that watches.
async fn watched_call(
    drop_each: Option<u64>,
    view: Option<ViewConfig>,
) -> (Totals, Option<Watched>) {
    let certificate = Certificate::generate().unwrap();
    let relay = Relay::new(2, certificate.fingerprint());
    let stop = Arc::new(AtomicBool::new(false));
    let configs: Vec<ClientConfig> = (0..2)
        .map(|side| ClientConfig {
            role: IceRole::Controlling,
            local: IceCredentials {
                ufrag: "client".to_owned(),
                password: "x".repeat(24),
            },
            remote: relay.sides[side].ice.clone(),
            candidate: relay.address(side),
            fingerprints: vec![relay.fingerprint.clone()],
            profile: SrtpProfile::AeadAes128Gcm,
        })
        .collect();
    let relay = relay.run(Arc::clone(&stop), drop_each);
    let (news, mut events) = mpsc::unbounded_channel();
    let engine = Engine::start(certificate, news, None).unwrap();
    let publish = Publish {
        publisher: 4,
        feed: FeedConfig::default(),
        ids: StreamIds::generate(),
        header: FeedHeader::default(),
    };
    let mut watcher = None;
    // The subscriber first, so that it misses nothing.
    for (client, publish) in configs.into_iter().rev().zip([None, Some(publish)]) {
        let socket = bind(LOOPBACK).unwrap();
        let view = if publish.is_none() { view } else { None };
        let peer = engine.add(NewPeer {
            socket,
            client,
            publish,
            feedback: Feedback::default(),
            view,
        });
        if view.is_some() {
            watcher = Some(peer);
        }
        let news = tokio::time::timeout(Duration::from_secs(20), events.recv())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(news.event, ClientEvent::Connected);
    }
    engine.measure(true).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    engine.measure(false).await;
    // What is under way may still arrive.
    let mut totals = engine.totals().await;
    let watched = match watcher {
        Some(peer) => engine.look(peer).await,
        None => None,
    };
    for _ in 0..if view.is_some() { 0 } else { 100 } {
        let sent = totals.peers.iter().find_map(|peer| peer.sent).unwrap().1;
        if heard(&totals, Kind::Audio) == sent.audio && heard(&totals, Kind::Video) == sent.video {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        totals = engine.totals().await;
    }
    drop(engine);
    stop.store(true, Ordering::Release);
    relay.join().unwrap();
    (totals, watched)
}

fn heard(totals: &Totals, kind: Kind) -> u64 {
    let heard = totals.peers.iter().flat_map(|peer| &peer.heard);
    heard
        .filter(|((publisher, k), _)| (*publisher, *k) == (4, kind))
        .map(|(_, h)| h.measured)
        .sum()
}

fn sent(totals: &Totals, kind: Kind) -> u64 {
    let sent = totals.peers.iter().find_map(|peer| peer.sent).unwrap().1;
    match kind {
        Kind::Audio => sent.audio,
        Kind::Video => sent.video,
    }
}

#[tokio::test]
async fn everything_that_a_perfect_server_forwards_is_counted_with_its_delay() {
    let totals = call(None).await;
    for kind in [Kind::Audio, Kind::Video] {
        assert!(sent(&totals, kind) > 10, "{kind:?}");
        assert_eq!(heard(&totals, kind), sent(&totals, kind), "{kind:?}");
    }
    assert_eq!(totals.audio_delay.len(), sent(&totals, Kind::Audio));
    assert!(totals.video_delay.quantile(0.5) > Duration::ZERO);
    assert!(totals.video_delay.max() < Duration::from_secs(5));
    assert_eq!(totals.dropped, 0);
}

#[tokio::test]
async fn losses_of_a_server_are_missed() {
    let totals = call(Some(10)).await;
    let all: u64 = [Kind::Audio, Kind::Video]
        .map(|kind| sent(&totals, kind))
        .iter()
        .sum();
    let came: u64 = [Kind::Audio, Kind::Video]
        .map(|kind| heard(&totals, kind))
        .iter()
        .sum();
    let lost = all - came;
    assert!(lost.abs_diff(all / 10) <= 2, "{lost} of {all}");
}

#[tokio::test]
async fn a_viewer_without_a_limit_sees_whole_frames_and_hears_everything() {
    let (_, watched) = watched_call(None, Some(ViewConfig::default())).await;
    let view = watched.unwrap().whole;
    assert!(view.frames_complete > 10, "{view:?}");
    assert_eq!(
        (view.frames_incomplete, view.audio_lost),
        (0, 0),
        "{view:?}"
    );
    assert_eq!(view.size, Some((640, 360)));
}

#[tokio::test]
async fn a_thin_link_drops_what_it_cannot_carry() {
    let link = LinkConfig {
        bits_per_second: 300_000,
        queue_bytes: 10_000,
    };
    let (_, watched) = watched_call(None, Some(ViewConfig { link: Some(link) })).await;
    let watched = watched.unwrap();
    assert!(watched.link_dropped > 10, "{watched:?}");
    // Connecting took most of the first moments; what is carried never exceeds the rate for the time it took.
    assert!(
        watched.whole.bytes > 0 && watched.whole.bytes < 300_000 / 8 * 5,
        "{watched:?}"
    );
}
