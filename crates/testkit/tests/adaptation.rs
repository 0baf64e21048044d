//! Pictures that adapt to the way to their subscriber: what a network that gets narrow, wide or crowded may do to a call.
//!
//! `SCHALTER_SEEDS=n` tries n seeds. Noise is part of these scenarios: of many seeds a few may miss a bar, the first ones none.

use std::time::Duration;

use schalter_model::{Bitrate, Time};
use schalter_testkit::{
    Feedback, LinkTrace, Picture, Random, Replay, Scenario, Seen, for_each_seed, for_most_seeds,
};

const MS: Duration = Duration::from_millis(1);
const HIGH: Bitrate = Bitrate::from_kbps(3_000);
const LOW: Bitrate = Bitrate::from_kbps(500);
const PUBLISHER: usize = 0;
/// Share of many seeds whose noise may take a scenario past its bars. Where it is more, a scenario says so.
const RARE: f64 = 0.01;

fn seconds(n: u64) -> Time {
    Time::from_millis(n * 1_000)
}

/// From 3 Mbit/s to 500 kbit/s at 15 s, and back at 30 s.
fn step() -> LinkTrace {
    LinkTrace::step(HIGH, LOW, seconds(15), seconds(30))
}

fn with_seed(seed: u64, scenario: Scenario) -> Replay {
    let replay = Scenario { seed, ..scenario }.run();
    for seen in &replay.subscribers {
        assert_eq!((seen.stats.foreign, seen.stats.broken), (0, 0));
        for picture in &seen.pictures {
            let stats = picture.stats;
            assert_eq!((stats.foreign, stats.displaced), (0, 0), "{stats:?}");
            assert_eq!(picture.misnumbered, 0);
        }
    }
    replay
}

/// The share of the link that the shard believes in, or, if it doesn't tell, that it uses: the mean between these times.
fn share_known(replay: &Replay, seen: &Seen, from: Time, to: Time) -> f64 {
    let Some(estimates) = &seen.estimate else {
        return replay.utilisation(from, to);
    };
    let within = estimates.iter().filter(|(at, _)| (from..to).contains(at));
    let rates: Vec<_> = within.map(|(_, rate)| rate.as_bps() as f64).collect();
    let capacity = replay.capacity(from, to).map_or(0, Bitrate::as_bps);
    rates.iter().sum::<f64>() / rates.len().max(1) as f64 / capacity as f64
}

#[test]
fn a_link_that_gets_narrow_is_not_clogged_and_one_that_gets_wide_is_used() {
    for_most_seeds(3, RARE, |seed| {
        let replay = with_seed(seed, Scenario::elastic(step(), 45_000 * MS));
        let summary = replay.summary();
        let seen = &replay.subscribers[0];
        let queue = replay.longest_queue(seconds(17), seconds(30));
        assert!(queue < 100 * MS, "{queue:?} of queue\n{summary}");
        let lost = seen.sounds_lost(seconds(2), seconds(44));
        assert_eq!(lost, 0, "packets of sound\n{summary}");
        let known = share_known(&replay, seen, seconds(38), seconds(45));
        assert!(known >= 0.85, "{known:.2} of the link\n{summary}");
        let used = replay.utilisation(seconds(38), seconds(45));
        assert!(used >= 0.75, "{used:.2} of the link used\n{summary}");
    });
}

#[test]
fn the_highest_layer_that_fits_is_shown_without_long_freezes() {
    for_most_seeds(3, RARE, |seed| {
        let scenario = Scenario::new(step(), Picture::simulcast(), 45_000 * MS);
        let replay = with_seed(seed, scenario);
        let summary = replay.summary();
        let seen = &replay.subscribers[0];
        let picture = &seen.pictures[0];
        let layer = |at| picture.layer(at).map(|layer| layer.encoding);
        // 500 kbit/s don't fit beside sound and headers.
        for (at, encoding) in [(14, 2), (19, 0), (29, 0), (38, 2), (44, 2)] {
            assert_eq!(layer(seconds(at)), Some(encoding), "at {at} s\n{summary}");
        }
        let freeze = picture.longest_freeze(seconds(10), seconds(45));
        assert!(freeze <= 600 * MS, "{freeze:?}\n{summary}");
        let concealed = seen.sounds_concealed(seconds(2), seconds(44));
        // What the step itself takes: half a second of queue before anybody can know, of the 42 s.
        assert!(concealed <= 0.02, "{concealed:.3} of sound\n{summary}");
        // A layer that is there stays: up and down again is worse than either.
        let shown = picture.shown.iter().filter(|f| f.at > seconds(38));
        assert!(
            shown.clone().all(|f| f.layer.encoding == 2),
            "it flaps\n{summary}"
        );
    });
}

#[test]
fn a_tenth_of_the_link_is_a_short_freeze_and_no_pause() {
    for_most_seeds(3, 0.08, |seed| {
        let thin = Bitrate::from_kbps(300);
        let trace = LinkTrace::step(HIGH, thin, seconds(15), seconds(35));
        let scenario = Scenario::new(trace, Picture::simulcast(), 50_000 * MS);
        let replay = with_seed(seed, scenario);
        let summary = replay.summary();
        let picture = &replay.subscribers[0].pictures[0];
        let freeze = picture.longest_freeze(seconds(14), seconds(50));
        assert!(freeze <= 600 * MS, "{freeze:?}\n{summary}");
        let rate = picture.frame_rate(seconds(17), seconds(35));
        assert!(rate >= 14.0, "{rate:.1} pictures a second\n{summary}");
        let queue = replay.longest_queue(seconds(17), seconds(35));
        assert!(queue < 100 * MS, "{queue:?} of queue\n{summary}");
        let back = picture.layer(seconds(47)).map(|layer| layer.encoding);
        assert_eq!(back, Some(2), "{summary}");
    });
}

#[test]
fn a_steady_link_is_filled_and_its_queue_is_not() {
    for kbps in [500, 1_000, 3_000] {
        for_most_seeds(2, RARE, |seed| {
            let trace = LinkTrace::steady(Bitrate::from_kbps(kbps));
            let replay = with_seed(seed, Scenario::elastic(trace, 40_000 * MS));
            let (from, to) = (seconds(15), seconds(40));
            let (seen, summary) = (&replay.subscribers[0], replay.summary());
            let known = share_known(&replay, seen, from, to);
            assert!(known >= 0.85, "{known:.2} of {kbps} kbit/s\n{summary}");
            let queue = replay.queue_quantile(from, to, 0.95);
            assert!(queue <= 60 * MS, "{queue:?} at {kbps} kbit/s\n{summary}");
            assert_eq!(seen.sounds_lost(from, seconds(39)), 0, "{summary}");
        });
    }
}

#[test]
fn two_subscribers_behind_one_link_share_it() {
    for_most_seeds(2, 0.02, |seed| {
        let scenario = Scenario {
            subscribers: 2,
            stagger: 10_000 * MS,
            ..Scenario::elastic(LinkTrace::steady(HIGH), 70_000 * MS)
        };
        let replay = with_seed(seed, scenario);
        let rate = |index: usize| {
            let arrived = &replay.subscribers[index].arrived;
            arrived.rate(seconds(30), seconds(70)).as_bps() as f64
        };
        let share = rate(0) / (rate(0) + rate(1));
        let summary = replay.summary();
        assert!((0.35..=0.65).contains(&share), "{share:.2}\n{summary}");
        let used = replay.utilisation(seconds(30), seconds(70));
        assert!(used >= 0.75, "{used:.2} of the link used\n{summary}");
    });
}

#[test]
fn a_deep_queue_is_not_filled() {
    for_each_seed(2, |seed| {
        let trace = LinkTrace::bufferbloat(Bitrate::from_kbps(1_000), 2_000 * MS);
        let scenario = Scenario::new(trace, Picture::layered(), 30_000 * MS);
        let replay = with_seed(seed, scenario);
        let summary = replay.summary();
        let queue = replay.queue_quantile(seconds(5), seconds(30), 0.95);
        assert!(queue <= 100 * MS, "{queue:?}\n{summary}");
        let concealed = replay.subscribers[0].sounds_concealed(seconds(5), seconds(29));
        assert!(concealed <= 0.01, "{concealed:.3} of sound\n{summary}");
    });
}

#[test]
fn a_storm_of_layer_switches_breaks_nothing() {
    for_most_seeds(3, 0.03, |seed| {
        let trace = LinkTrace::steady(Bitrate::from_kbps(20_000));
        let picture = Picture::simulcast();
        let scenario = Scenario {
            seed,
            ..Scenario::new(trace, picture, 65_000 * MS)
        };
        let subscriber = scenario.subscriber(0);
        let mut random = Random::new(seed);
        let (mut left, mut next, mut wanted) = (50, seconds(8), 2);
        let replay = scenario.run_with(|sim| {
            if left > 0 && sim.now() >= next {
                wanted = (wanted + 1 + random.below(2) as u8) % 3;
                sim.want_encoding(subscriber, PUBLISHER, wanted);
                left -= 1;
                next = sim.now() + 300 * MS + random.span(1_400 * MS);
            }
        });
        assert_eq!(left, 0);
        let summary = replay.summary();
        let picture = &replay.subscribers[0].pictures[0];
        let freezes = picture.freezes(seconds(5), seconds(65), 300 * MS);
        assert!(freezes.len() <= 1, "{freezes:?}\n{summary}");
        let stats = picture.stats;
        assert_eq!(
            (picture.misnumbered, stats.foreign, stats.displaced),
            (0, 0, 0),
            "{summary}"
        );
        let error = picture.clock_error;
        assert!(error < 20 * MS, "timestamps are {error:?} off\n{summary}");
        let last = picture.layer(replay.end()).map(|layer| layer.encoding);
        assert_eq!(last, Some(wanted), "{summary}");
    });
}

#[test]
fn a_layer_that_is_asked_for_is_there_in_a_quarter_of_a_second() {
    for_each_seed(5, |seed| {
        let trace = LinkTrace::steady(Bitrate::from_kbps(20_000));
        let mut scenario = Scenario::new(trace, Picture::simulcast(), 30_000 * MS);
        scenario.seed = seed;
        let subscriber = scenario.subscriber(0);
        let mut wishes = vec![(seconds(8), 0), (seconds(14), 2), (seconds(20), 1)];
        let asked = wishes.clone();
        let replay = scenario.run_with(|sim| {
            if wishes.first().is_some_and(|(at, _)| *at <= sim.now()) {
                let (_, wanted) = wishes.remove(0);
                sim.want_encoding(subscriber, PUBLISHER, wanted);
            }
        });
        let shown = &replay.subscribers[0].pictures[0].shown;
        for (at, wanted) in asked {
            let mut after = shown.iter().filter(|frame| frame.at >= at);
            let came = after.find(|frame| frame.layer.encoding == wanted);
            let took = came.map(|frame| frame.at - at);
            assert!(took.is_some_and(|took| took <= 250 * MS), "{took:?}");
        }
    });
}

#[test]
fn a_maximum_bitrate_is_kept_where_nothing_better_is_told() {
    let rate = Bitrate::from_kbps(400);
    let scenario = Scenario {
        feedback: Feedback::Remb { rate },
        ..Scenario::new(LinkTrace::steady(HIGH), Picture::layered(), 20_000 * MS)
    };
    let replay = with_seed(1, scenario);
    let (seen, summary) = (&replay.subscribers[0], replay.summary());
    let arrived = seen.arrived.rate(seconds(8), seconds(20));
    assert!(arrived.as_bps() <= 420_000, "{arrived}\n{summary}");
    assert!(arrived.as_bps() >= 150_000, "{arrived}\n{summary}");
    assert_eq!(seen.sounds_lost(seconds(2), seconds(19)), 0, "{summary}");
}
