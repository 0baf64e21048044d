//! Media over connections that keep the order of their bytes: what is slow delays nobody, sound is never late for long, and
//! what a connection carried goes on by the next.

use std::time::Duration;

use schalter_model::{Bitrate, DropReason, MediaKind, Time};
use schalter_shard::control::{Event, TransportFailure, TransportState};
use schalter_testkit::conference::{source, streams};
use schalter_testkit::{Feedback, Heard, LinkConfig, Picture, Sim, SimConfig};

const MS: Duration = Duration::from_millis(1);
const WIDE: Bitrate = Bitrate::from_kbps(50_000);

fn clean() -> LinkConfig {
    LinkConfig::clean(10 * MS)
}

/// A publisher by UDP, and subscribers: the first by a connection of this rate, the other by UDP.
fn conference(seed: u64, rate: Bitrate) -> (Sim, [usize; 3]) {
    let mut sim = Sim::new(SimConfig::new(seed));
    let peers = [(); 3].map(|()| sim.add_peer(0, clean(), clean()));
    sim.open_stream(peers[1], rate);
    (sim, peers)
}

/// How late the sound of `publisher` came to `subscriber` from then on, at most, and how many packets.
fn sound(sim: &Sim, subscriber: usize, publisher: usize, from: Time) -> (Duration, usize) {
    let ssrc = source(publisher, MediaKind::Audio).ssrc;
    let receiver = sim.peer(subscriber).receiver_of(ssrc).expect("subscribed");
    let heard = receiver
        .heard()
        .iter()
        .filter(|heard| heard.captured >= from);
    let late = heard.clone().map(|heard| heard.at - heard.captured);
    (late.max().unwrap_or_default(), heard.count())
}

fn drops(sim: &Sim, reason: DropReason) -> u64 {
    sim.shard(0).counters().drops.of(reason)
}

#[test]
fn a_connection_carries_a_call_like_datagrams_do() {
    let (mut sim, [publisher, by_stream, by_udp]) = conference(1, WIDE);
    sim.publish(publisher);
    for subscriber in [by_stream, by_udp] {
        sim.subscribe(subscriber, publisher);
    }
    sim.run_until(Time::from_millis(3_000));
    let packets = [by_stream, by_udp].map(|subscriber| {
        [MediaKind::Audio, MediaKind::Video].map(|kind| {
            let receiver = sim
                .peer(subscriber)
                .receiver_of(source(publisher, kind).ssrc);
            receiver.unwrap().stats().packets
        })
    });
    assert!(
        packets[1].iter().all(|packets| *packets > 80),
        "{packets:?}"
    );
    for (stream, udp) in packets[0].iter().zip(packets[1]) {
        assert!(stream.abs_diff(udp) <= 10, "{packets:?}");
    }
    assert_eq!(drops(&sim, DropReason::StreamLate), 0);
}

#[test]
fn sound_stays_in_time_on_a_connection_too_slow_for_the_picture() {
    for (feedback, rate) in [
        (Feedback::default(), 400),
        (Feedback::Off, 400),
        (Feedback::default(), 150),
        (Feedback::Off, 150),
    ] {
        let (mut sim, [publisher, by_stream, by_udp]) = conference(2, Bitrate::from_kbps(rate));
        let picture = Picture::new(&[(1_200, 30)], 1);
        sim.publish_picture(publisher, &picture);
        for subscriber in [by_stream, by_udp] {
            sim.with_peer(subscriber, |now, peer| peer.set_feedback(now, feedback));
            sim.subscribe_picture(subscriber, publisher, &picture);
        }
        sim.run_until(Time::from_millis(20_000));
        // The first seconds are for finding out.
        let from = Time::from_millis(2_000);
        let (late, heard) = sound(&sim, by_stream, publisher, from);
        let (undisturbed, all) = sound(&sim, by_udp, publisher, from);
        let what = format!("{feedback:?} at {rate} kbit/s: {late:?} late, {heard} of {all}");
        // What the kernel holds and what is handed over in one go can't be overtaken.
        let ahead = Duration::from_micros(7_000 * 8 * 1_000 / rate);
        assert!(late < ahead + 60 * MS, "{what}");
        assert!(heard * 100 >= all * 97, "{what}");
        assert!(undisturbed < 60 * MS, "{what}: {undisturbed:?} by UDP");
    }
}

#[test]
fn layers_follow_what_a_connection_carries() {
    let (mut sim, [publisher, by_stream, _]) = conference(3, Bitrate::from_kbps(400));
    let picture = Picture::simulcast();
    sim.publish_picture(publisher, &picture);
    sim.subscribe_picture(by_stream, publisher, &picture);
    sim.run_until(Time::from_millis(20_000));
    let ssrc = streams(publisher, &picture)[0].ssrc;
    let shown = |sim: &Sim, from, to| {
        let receiver = sim.peer(by_stream).receiver_of(ssrc).expect("subscribed");
        receiver
            .media()
            .rate(Time::from_millis(from), Time::from_millis(to))
    };
    let slow = shown(&sim, 10_000, 20_000).as_bps() / 1_000;
    assert!((100..=400).contains(&slow), "{slow} kbit/s");
    let (late, _) = sound(&sim, by_stream, publisher, Time::from_millis(5_000));
    assert!(late < 300 * MS, "{late:?}");
    sim.set_stream_rate(by_stream, WIDE);
    sim.run_until(Time::from_millis(40_000));
    let wide = shown(&sim, 35_000, 40_000).as_bps() / 1_000;
    assert!(
        wide > 1_400,
        "{wide} kbit/s after the connection got faster"
    );
}

#[test]
fn what_a_stall_made_late_is_dropped_and_the_picture_goes_on_with_a_keyframe() {
    let (mut sim, [publisher, by_stream, _]) = conference(4, WIDE);
    sim.publish(publisher);
    sim.subscribe(by_stream, publisher);
    sim.run_until(Time::from_millis(5_000));
    sim.stall_stream(by_stream, Time::from_millis(11_000));
    sim.run_until(Time::from_millis(14_000));
    let dropped = drops(&sim, DropReason::StreamLate);
    assert!(dropped > 180, "{dropped}");
    // What the kernel had taken (4 KiB, which is many packets of sound) comes late, and all at once; the rest of the six seconds never does.
    let microphone = source(publisher, MediaKind::Audio).ssrc;
    let receiver = sim.peer(by_stream).receiver_of(microphone).unwrap();
    let late = |heard: &&Heard| heard.at - heard.captured > 300 * MS;
    let too_late = receiver.heard().iter().filter(late).count();
    assert!(too_late < 120, "{too_late} packets of sound");
    let (late, heard) = sound(&sim, by_stream, publisher, Time::from_millis(11_000));
    assert!(late < 60 * MS, "{late:?} after the stall");
    assert!(heard > 140, "{heard}");
    let ssrc = source(publisher, MediaKind::Video).ssrc;
    let video = sim.peer(by_stream).receiver_of(ssrc).unwrap();
    let rate = |from, to| {
        video
            .media()
            .rate(Time::from_millis(from), Time::from_millis(to))
    };
    let (before, after) = (rate(2_000, 5_000), rate(11_500, 14_000));
    assert!(
        after.as_bps() * 10 > before.as_bps() * 8,
        "{before:?}, then {after:?}"
    );
    assert!(!video.decoder().is_stuck());
}

#[test]
fn a_closed_connection_is_not_used_again_and_the_next_one_takes_over() {
    let (mut sim, [publisher, by_stream, _]) = conference(5, WIDE);
    sim.publish(publisher);
    sim.subscribe(by_stream, publisher);
    sim.run_until(Time::from_millis(3_000));
    sim.close_stream(by_stream);
    sim.open_stream(by_stream, WIDE);
    let address = sim.peer(by_stream).config().address;
    sim.with_peer(by_stream, |now, peer| peer.move_to(now, address));
    sim.run_until(Time::from_millis(6_000));
    let (_, heard) = sound(&sim, by_stream, publisher, Time::from_millis(3_500));
    assert!(heard > 110, "{heard}");
    let failed = |(_, _, event): &(Time, _, Event)| {
        matches!(
            event,
            Event::TransportState {
                state: TransportState::Failed { .. } | TransportState::Closed,
                ..
            }
        )
    };
    assert!(!sim.events().iter().any(failed), "{:?}", sim.events());
}

#[test]
fn without_a_new_connection_consent_ends() {
    let (mut sim, [_, by_stream, _]) = conference(6, WIDE);
    sim.run_until(Time::from_millis(3_000));
    sim.with_peer(by_stream, |_, peer| peer.stop_checking());
    sim.close_stream(by_stream);
    sim.run_until(Time::from_millis(20_000));
    let lost = |sim: &Sim| {
        let id = sim.peer(by_stream).config().transport;
        let reason = TransportFailure::ConsentLost;
        let lost = TransportState::Failed { reason };
        sim.events().iter().any(|(_, _, event)| {
            matches!(event, Event::TransportState { transport, state }
                if *transport == id && *state == lost)
        })
    };
    assert!(!lost(&sim), "not before the time that RFC 7675 gives");
    sim.run_until(Time::from_millis(40_000));
    assert!(lost(&sim));
}
