//! What the simulation kit itself claims: feedback, simulcast sources, timelines, traces and replays.

use std::time::Duration;

use schalter_model::{Bitrate, DropReason, MediaKind, Time};
use schalter_testkit::conference::{source, streams};
use schalter_testkit::{
    CrossTraffic, Feedback, Layer, LinkConfig, LinkTrace, Picture, Scenario, Sim, SimConfig, svg,
};

const MS: Duration = Duration::from_millis(1);
const PUBLISHER: usize = 0;
const SUBSCRIBER: usize = 1;

fn seconds(n: u64) -> Time {
    Time::from_millis(n * 1_000)
}

fn kbps(rate: Bitrate) -> u64 {
    rate.as_bps() / 1_000
}

fn call(picture: &Picture) -> Sim {
    let mut sim = Sim::new(SimConfig::new(1));
    for _ in 0..2 {
        let link = LinkConfig::clean(20 * MS);
        sim.add_peer(0, link, link);
    }
    sim.publish_picture(PUBLISHER, picture);
    sim.subscribe_picture(SUBSCRIBER, PUBLISHER, picture);
    sim
}

#[test]
fn subscribers_feed_back_so_that_the_shard_can_read_it() {
    let mut sim = call(&Picture::simulcast());
    sim.run_until(seconds(5));
    let sent = sim.peer(SUBSCRIBER).stats().feedback_sent;
    assert!((80..=100).contains(&sent), "{sent}");
    let drops = sim.shard(0).counters().drops;
    assert_eq!(drops.of(DropReason::RtcpMalformed), 0);

    sim.with_peer(SUBSCRIBER, |now, peer| {
        peer.set_feedback(now, Feedback::Off)
    });
    sim.run_for(1_000 * MS);
    let off = sim.peer(SUBSCRIBER).stats().feedback_sent;
    assert!(off <= sent + 1);

    let rate = Bitrate::from_kbps(300);
    sim.with_peer(SUBSCRIBER, |now, peer| {
        peer.set_feedback(now, Feedback::Remb { rate });
    });
    sim.run_for(3_500 * MS);
    assert_eq!(sim.peer(SUBSCRIBER).stats().feedback_sent, off + 4);
    assert_eq!(
        sim.shard(0).counters().drops.of(DropReason::RtcpMalformed),
        0
    );
}

#[test]
fn encodings_that_only_their_rid_names_are_forwarded_as_wanted() {
    let picture = Picture::simulcast();
    let mut sim = call(&picture);
    sim.want_encoding(SUBSCRIBER, PUBLISHER, 0);
    for encoding in [0, 1, 2, 0] {
        sim.want_encoding(SUBSCRIBER, PUBLISHER, encoding);
        sim.run_for(4_000 * MS);
        let receiver = sim
            .peer(SUBSCRIBER)
            .receiver_of(streams(PUBLISHER, &picture)[0].ssrc)
            .unwrap();
        let (decoder, stats) = (receiver.decoder(), receiver.stats());
        let newest = decoder.shown().last().unwrap();
        assert_eq!(
            newest.layer,
            Layer {
                encoding,
                temporal: 0
            }
        );
        assert!(sim.now() - newest.at < 150 * MS);
        let rate = receiver
            .media()
            .rate(Time::from_millis(sim.now().as_millis() - 2_000), sim.now());
        let planned = picture.encodings[usize::from(encoding)].rate;
        let share = kbps(rate) * 100 / kbps(planned);
        assert!((85..125).contains(&share), "{share} % of {planned}");
        assert_eq!((stats.foreign, stats.displaced, stats.given_up), (0, 0, 0));
        assert_eq!(decoder.misnumbered(), 0);
        assert!(
            decoder.longest_freeze() < 700 * MS,
            "{:?}",
            decoder.longest_freeze()
        );
    }
}

#[test]
fn temporal_layers_share_the_rate_and_the_frames() {
    let picture = Picture::layered();
    let mut sim = call(&picture);
    sim.run_until(seconds(10));
    let receiver = sim
        .peer(SUBSCRIBER)
        .receiver_of(source(PUBLISHER, MediaKind::Video).ssrc)
        .unwrap();
    let shown = receiver.decoder().shown();
    let recent: Vec<_> = shown.iter().filter(|f| f.at >= seconds(5)).collect();
    assert!((148..=152).contains(&recent.len()), "{}", recent.len());
    for (temporal, share) in [(0, 25), (1, 25), (2, 50)] {
        let of = recent.iter().filter(|f| f.layer.temporal == temporal);
        let percent = of.count() * 100 / recent.len();
        assert!(
            percent.abs_diff(share) <= 2,
            "{percent} % in layer {temporal}"
        );
    }
    assert_eq!(receiver.decoder().misnumbered(), 0);
    let rates = picture.rates();
    assert_eq!(rates.len(), 9);
    assert_eq!(rates[3], (1, 0, Bitrate::from_kbps(200)));
}

#[test]
fn lost_packets_of_each_encoding_come_again() {
    let picture = Picture::simulcast();
    let mut sim = call(&picture);
    sim.run_until(seconds(2));
    let lossy = LinkConfig {
        loss: 0.03,
        ..LinkConfig::clean(20 * MS)
    };
    for peer in [PUBLISHER, SUBSCRIBER] {
        let address = Sim::peer_address(peer, 0);
        sim.net_mut().set_links(address, lossy, lossy);
    }
    sim.run_until(seconds(10));
    let receiver = sim
        .peer(SUBSCRIBER)
        .receiver_of(source(PUBLISHER, MediaKind::Video).ssrc)
        .unwrap();
    let stats = receiver.stats();
    assert!(stats.recovered > 20, "{stats:?}");
    assert_eq!((stats.foreign, stats.displaced), (0, 0));
    assert!(receiver.decoder().longest_freeze() < 500 * MS);
    assert_eq!(
        sim.shard(0).counters().drops.of(DropReason::RtpUnknownSsrc),
        0
    );
    for source in sim.peer(PUBLISHER).sources() {
        assert!(source.retransmitted() > 1, "{:?}", source.config().rid);
    }
}

#[test]
fn a_replay_tells_what_a_link_did_to_a_call() {
    let rate = Bitrate::from_kbps(1_000);
    let trace = LinkTrace::step(Bitrate::from_kbps(4_000), rate, seconds(4), seconds(6));
    let mut scenario = Scenario::new(trace, Picture::new(&[(1_700, 30)], 1), 10_000 * MS);
    scenario.feedback = Feedback::Off;
    let replay = scenario.run();
    let seen = &replay.subscribers[0];
    let picture = &seen.pictures[0];
    assert!(kbps(seen.video(seconds(2), seconds(4))) > 1_400);
    assert!(picture.frame_rate(seconds(2), seconds(4)) > 28.0);
    assert_eq!(picture.layer(seconds(3)), Some(Layer::default()));
    assert!(replay.longest_queue(seconds(2), seconds(4)) < 40 * MS);
    assert_eq!(seen.sounds_lost(seconds(1), seconds(4)), 0);
    assert_eq!(replay.capacity(seconds(4), seconds(6)), Some(rate));
    // The link gets narrow, and nobody cares.
    if seen.estimate.is_none() {
        assert!(replay.overflowed(seconds(4), seconds(6)) > 20);
        assert!(replay.longest_queue(seconds(4), seconds(6)) > 900 * MS);
        assert!(seen.sounds_concealed(seconds(4), seconds(6)) > 0.5);
        assert!(picture.longest_freeze(seconds(4), seconds(7)) > 100 * MS);
    }
}

#[test]
fn who_knows_the_link_beforehand_passes_what_adaptation_must() {
    let (high, low) = (Bitrate::from_kbps(3_000), Bitrate::from_kbps(500));
    let trace = LinkTrace::step(high, low, seconds(10), seconds(20));
    let scenario = Scenario::new(trace.clone(), Picture::simulcast(), 30_000 * MS);
    let subscriber = scenario.subscriber(0);
    let replay = scenario.run_with(|sim| {
        let wide = trace.at(sim.now()).rate == Some(high);
        sim.want_encoding(subscriber, PUBLISHER, if wide { 2 } else { 0 });
    });
    let summary = replay.summary();
    let seen = &replay.subscribers[0];
    let picture = &seen.pictures[0];
    let layer = |at| picture.layer(at).map(|layer| layer.encoding);
    let layers = [9, 12, 19, 29].map(|at| layer(seconds(at)));
    assert_eq!(layers, [Some(2), Some(0), Some(0), Some(2)], "{summary}");
    let freeze = picture.longest_freeze(seconds(5), seconds(30));
    assert!(freeze <= 600 * MS, "{freeze:?}\n{summary}");
    let queue = replay.longest_queue(seconds(12), seconds(20));
    assert!(queue < 100 * MS, "{queue:?}\n{summary}");
    let lost = seen.sounds_lost(seconds(2), seconds(29));
    assert_eq!(lost, 0, "{summary}");
}

#[test]
fn peers_behind_one_link_share_its_queue() {
    let picture = Picture::new(&[(400, 30)], 1);
    let trace = LinkTrace::steady(Bitrate::from_kbps(1_100));
    let mut scenario = Scenario::new(trace, picture, 10_000 * MS);
    scenario.subscribers = 2;
    let replay = scenario.run();
    let rates = [0, 1].map(|index: usize| {
        let seen = &replay.subscribers[index];
        kbps(seen.arrived.rate(seconds(2), seconds(10)))
    });
    assert!(
        rates.iter().all(|rate| (400..500).contains(rate)),
        "{rates:?}"
    );
    assert!(replay.utilisation(seconds(2), seconds(10)) > 0.8);
}

#[test]
fn cross_traffic_makes_a_queue() {
    let rate = Bitrate::from_kbps(1_000);
    let cross = CrossTraffic::constant(Bitrate::from_kbps(600), seconds(3), seconds(5));
    let trace = LinkTrace::steady(rate).with_cross(cross);
    let mut scenario = Scenario::new(trace, Picture::new(&[(450, 30)], 1), 5_000 * MS);
    scenario.feedback = Feedback::Off;
    let replay = scenario.run();
    assert!(replay.longest_queue(seconds(2), seconds(3)) < 30 * MS);
    assert!(replay.longest_queue(seconds(3), seconds(5)) > 100 * MS);
}

#[test]
fn one_seed_draws_one_figure() {
    let draw = |seed| {
        let trace = LinkTrace::lte(seed, 6_000 * MS);
        let mut scenario = Scenario::new(trace, Picture::layered(), 6_000 * MS);
        scenario.seed = seed;
        svg(&scenario.run(), "A walk", "Rates & <queues>")
    };
    let figure = draw(1);
    assert_eq!(figure, draw(1));
    assert_ne!(figure, draw(2));
    assert!(figure.len() < 60_000, "{}", figure.len());
    assert!(figure.contains("<title id=\"title\">A walk</title>"));
    assert!(figure.contains("Rates &amp; &lt;queues&gt;</desc>"));
}
