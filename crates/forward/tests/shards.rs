//! A track on another shard: one copy travels, and looks the same to subscribers there.

use schalter_forward::{ForwardEvent, Owner, Router, RouterConfig, RouterError};
use schalter_model::{DropReason, ShardId};

use crate::rig::*;

fn far_side() -> Rig {
    let mut rig = Rig::with(RouterConfig::default(), audio(vec![OPUS]));
    rig.router.remove_producer(rig.now, TRACK);
    rig.router
        .add_remote_producer(rig.now, TRACK, video(vec![encoding(100)]))
        .unwrap();
    rig.subscribe(subscription(vec![VP8]));
    rig
}

fn carry(near: &mut Rig, far: &mut Rig) -> Vec<Got> {
    let mut out = [0; 1_500];
    while let Some((shard, track, meta, len)) = near.router.next_tap(near.now, &mut out) {
        assert_eq!((shard, track), (ShardId(3), TRACK));
        far.router
            .on_envelope(far.now, track, meta, &out[..len])
            .unwrap();
    }
    far.received()
}

#[test]
fn packets_and_keyframe_requests_cross_shards() {
    let mut near = Rig::new(video(vec![encoding(100)]));
    near.router.add_tap(near.now, TRACK, ShardId(3)).unwrap();
    near.publish(&vp8(100, 0, 0, true)).unwrap();
    assert!(near.router.next_tap(near.now, &mut [0; 1_500]).is_some());
    near.wait(600);
    assert_eq!(plis(&near.wait(600)), []);
    let mut far = far_side();
    near.publish(&vp8(100, 1, 0, false)).unwrap();
    assert_eq!(carry(&mut near, &mut far), []);
    let asked = ForwardEvent::KeyframeNeeded {
        track: TRACK,
        encoding: 0,
    };
    assert!(far.events().contains(&asked));
    near.router.request_keyframe(near.now, TRACK, 0);
    assert_eq!(plis(&near.wait(100)), [100]);
    near.publish(&vp8(100, 2, 3_000, true).with(7, &[1]))
        .unwrap();
    let first = carry(&mut near, &mut far);
    assert_eq!(first[0].source(), Some((100, 2)));
    // A mute at the publisher's shard leaves no gap here.
    near.router.mute_producer(near.now, TRACK, true);
    assert_eq!(
        near.publish(&vp8(100, 3, 6_000, false)),
        Err(DropReason::RtpMuted)
    );
    near.router.mute_producer(near.now, TRACK, false);
    near.publish(&vp8(100, 4, 9_000, false)).unwrap();
    assert_eq!(carry(&mut near, &mut far), []);
    near.publish(&vp8(100, 5, 12_000, true)).unwrap();
    let second = carry(&mut near, &mut far);
    assert_eq!(second[0].header.sequence, first[0].header.sequence + 1);
    // Retransmissions come from the far side's own cache.
    far.nack(&[first[0].header.sequence]);
    assert_eq!(far.received()[0].payload[2..], first[0].payload[..]);
}

#[test]
fn the_publishers_clock_crosses_shards() {
    let mut near = Rig::new(video(vec![encoding(100)]));
    near.router.add_tap(near.now, TRACK, ShardId(3)).unwrap();
    let mut far = far_side();
    near.publish(&vp8(100, 2, 3_000, true)).unwrap();
    assert_eq!(carry(&mut near, &mut far).len(), 1);
    let info = schalter_rtp::rtcp::SenderInfo {
        ssrc: 100,
        ntp: 77 << 32,
        rtp_timestamp: 3_000,
        ..Default::default()
    };
    near.control(PUBLISHER, |writer| {
        writer.sender_report(&info, &[]).unwrap()
    });
    for event in near.events() {
        if let ForwardEvent::SenderReport {
            track,
            encoding,
            ntp,
            rtp_timestamp,
        } = event
        {
            let now = far.now;
            far.router
                .on_remote_sender_report(now, track, encoding, ntp, rtp_timestamp);
        }
    }
    let sent = far.rtcp();
    let reports = sent.iter().flat_map(|(_, parts)| parts);
    let ntps: Vec<_> = reports
        .filter_map(|part| match part {
            Control::Sender { ntp, .. } => Some(ntp >> 32),
            _ => None,
        })
        .collect();
    assert_eq!(ntps, [77]);
}

#[test]
fn only_tracks_of_this_shard_are_tapped_and_taps_end() {
    let mut near = Rig::new(video(vec![encoding(100)]));
    near.router.add_tap(near.now, TRACK, ShardId(3)).unwrap();
    near.publish(&vp8(100, 1, 0, true)).unwrap();
    near.router.remove_tap(TRACK, ShardId(3));
    assert_eq!(near.router.next_tap(near.now, &mut [0; 1_500]), None);
    let mut far = far_side();
    let refused = far.router.add_tap(far.now, TRACK, ShardId(1));
    assert_eq!(refused, Err(RouterError::ForeignTrack));
}

#[test]
fn what_leaves_takes_everything_of_its_own_along() {
    let mut rig = Rig::new(video(vec![encoding(100)]));
    rig.subscribe(subscription(vec![VP8]));
    rig.publish(&vp8(100, 1, 0, true)).unwrap();
    rig.router.remove_owner(rig.now, SUBSCRIBER);
    assert_eq!(rig.received(), []);
    rig.router.remove_owner(rig.now, PUBLISHER);
    let counters = rig.counters();
    assert_eq!((counters.producers, counters.consumers), (0, 0));
    assert_eq!(rig.router.stream_count(), 0);
    assert_eq!(rig.wait(5_000), []);
    let gone = rig.publish(&vp8(100, 2, 0, true));
    assert_eq!(gone, Err(DropReason::UnknownPeer));
    // The same numbers serve newcomers.
    rig.router.add_owner(Owner(0)).unwrap();
    rig.router
        .add_producer(rig.now, Owner(0), TRACK, video(vec![encoding(100)]))
        .unwrap();
    assert_eq!(rig.publish(&vp8(100, 2, 0, true)), Ok(()));
}

#[test]
fn limits_are_kept() {
    let config = RouterConfig {
        max_owners: 2,
        max_producers: 1,
        max_consumers_per_producer: 0,
        ..RouterConfig::default()
    };
    let mut router = Router::new(config);
    assert_eq!(router.add_owner(Owner(2)), Err(RouterError::Limit));
    router.add_owner(PUBLISHER).unwrap();
    let now = ms(0);
    router
        .add_producer(now, PUBLISHER, TRACK, audio(vec![OPUS]))
        .unwrap();
    let second = router.add_producer(
        now,
        PUBLISHER,
        schalter_model::TrackId(9),
        audio(vec![OPUS]),
    );
    assert_eq!(second, Err(RouterError::Limit));
    let refused = router.add_consumer(now, PUBLISHER, TRACK, subscription(vec![OPUS]));
    assert_eq!(refused, Err(RouterError::Limit));
    let foreign = router.add_consumer(now, PUBLISHER, TRACK, subscription(vec![VP8]));
    assert!(foreign.is_err());
}
