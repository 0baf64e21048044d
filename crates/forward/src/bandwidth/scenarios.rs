//! What the estimator does on links of many kinds. Each test prints its figures (`--nocapture`).
//! `SCHALTER_SEEDS=n` tries n seeds.

use super::simulation::{Link, Noise, Simulation, Source, percentile};

/// Gathers what was missed, so that one run shows all figures.
#[derive(Default)]
struct Goals(Vec<String>);

impl Goals {
    fn check(&mut self, met: bool, figures: &str) {
        eprintln!("{} {figures}", if met { "met   " } else { "MISSED" });
        if !met {
            self.0.push(figures.to_owned());
        }
    }
}

impl Drop for Goals {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.is_empty(), "missed: {:#?}", self.0);
        }
    }
}

/// One seed unless the environment variable `SCHALTER_SEEDS` says how many.
fn seeds() -> std::ops::RangeInclusive<u64> {
    let count = std::env::var("SCHALTER_SEEDS").ok();
    1..=count.map_or(1, |count| count.parse().expect("a number of seeds"))
}

const LAYERS: [u64; 3] = [150, 500, 1_700];
const LAYERED: Source = Source::Layered(LAYERS);
const VIDEO: Source = Source::Video(LAYERS);

#[test]
fn a_steady_link_is_used_without_a_queue() {
    let mut goals = Goals::default();
    for kbps in [300, 1_000, 3_000, 10_000] {
        let mut simulation = Simulation::new(1, Link::steady(kbps), &[(0, Source::Elastic)]);
        simulation.run_until(60_000);
        let used = simulation.flows[0].use_of(kbps, 10_000, 60_000);
        let queue = percentile(&simulation.queues[10_000..], 0.95);
        let worst = percentile(&simulation.queues[10_000..], 1.0);
        let start = simulation.flows[0].reaches(kbps as f64 * 0.85, 0);
        let figures = format!(
            "steady {kbps}k: use {used:.3} queue p95 {queue:.0} max {worst:.0} ms, 85% at {start:?}, \
             dropped {}, probes {}",
            simulation.dropped, simulation.flows[0].probes
        );
        goals.check((used >= 0.85) && (queue <= 60.0), &figures);
    }
}

#[test]
fn a_step_down_drains_and_a_step_up_is_found() {
    let mut goals = Goals::default();
    for (source, name) in [
        (Source::Elastic, "elastic"),
        (LAYERED, "layered"),
        (VIDEO, "video"),
    ] {
        for back in [30_000, 32_500] {
            for queue_seconds in [0.25, 1.0, 4.0] {
                let rates = vec![(0, 3_000), (15_000, 500), (back, 3_000)];
                let mut link = Link::stepping(rates);
                link.queue_bytes = (500e3 / 8.0 * queue_seconds) as usize;
                let mut simulation = Simulation::new(1, link, &[(0, source)]);
                simulation.run_until(back + 12_000);
                let down = &simulation.queues[15_000..back as usize];
                let mut first = down[..5_000].iter();
                let drained = first.rposition(|queue| *queue > 100.0).unwrap_or(0);
                let worst = percentile(down, 1.0);
                let flow = &simulation.flows[0];
                let low = flow.use_of(500, 17_000, back);
                let later = percentile(&down[3_000..], 0.95);
                // A keyframe that meets a probe.
                let highest = percentile(&down[5_000..], 1.0);
                let found = flow.reaches(2_550.0, back).map(|at| at - back);
                let figures = format!(
                    "step {name} back {back} queue {queue_seconds} s: below 100 ms after {drained} ms \
                     (worst {worst:.0} ms), use at 500k {low:.3}, queue p95 then {later:.0} max {highest:.0}, up again after {found:?}"
                );
                goals.check(
                    (drained <= 2_000)
                        && (highest <= 120.0)
                        && (found.is_some_and(|found| found <= 8_000)),
                    &figures,
                );
            }
        }
    }
}

#[test]
fn random_loss_does_not_starve() {
    let mut goals = Goals::default();
    for seed in seeds() {
        for kbps in [1_000, 3_000] {
            let mut link = Link::steady(kbps);
            link.loss = 0.05;
            let mut simulation = Simulation::new(seed, link, &[(0, Source::Elastic)]);
            simulation.run_until(60_000);
            let used = simulation.flows[0].use_of(kbps, 10_000, 60_000);
            let queue = percentile(&simulation.queues[10_000..], 0.95);
            let figures = format!("loss 5 % {kbps}k seed {seed}: use {used:.3} queue {queue:.0}");
            goals.check(used >= 0.7, &figures);
        }
    }
}

#[test]
fn overflow_of_a_short_queue_cuts() {
    let mut goals = Goals::default();
    let mut link = Link::stepping(vec![(0, 3_000), (15_000, 500)]);
    link.queue_bytes = 6_000;
    let mut simulation = Simulation::new(1, link, &[(0, Source::Elastic)]);
    simulation.run_until(40_000);
    let estimate = simulation.flows[0].estimates[1_700..].iter().max().copied();
    let used = simulation.flows[0].use_of(500, 18_000, 40_000);
    let figures = format!(
        "short queue: highest estimate {estimate:?} use {used:.3} dropped {}",
        simulation.dropped
    );
    goals.check(
        (estimate.is_some_and(|estimate| estimate < 700_000)) && (used > 0.7),
        &figures,
    );
}

#[test]
fn jitter_and_stalls_do_not_collapse_it() {
    let mut goals = Goals::default();
    let noises = [
        Noise::Jitter(20_000),
        Noise::Stalls {
            every: 1_000,
            most: 100,
        },
        Noise::Stalls {
            every: 3_000,
            most: 250,
        },
    ];
    for noise in noises {
        for kbps in [1_000, 3_000] {
            for seed in seeds() {
                let mut link = Link::steady(kbps);
                link.noise = noise;
                let mut simulation = Simulation::new(seed, link, &[(0, Source::Elastic)]);
                simulation.run_until(60_000);
                let flow = &simulation.flows[0];
                let used = flow.use_of(kbps, 10_000, 60_000);
                let queue = percentile(&simulation.queues[10_000..], 0.95);
                let least = flow.estimates[1_000..].iter().min().copied().unwrap_or(0);
                let figures = format!(
                    "{noise:?} {kbps}k seed {seed}: use {used:.3} queue {queue:.0} least {least}"
                );
                goals.check((used >= 0.7) && (least > kbps * 1_000 * 4 / 10), &figures);
            }
        }
    }
}

#[test]
fn two_flows_share() {
    let mut goals = Goals::default();
    for kbps in [1_000, 3_000, 10_000] {
        for late in [0, 500, 5_000] {
            let sources = [(0, Source::Elastic), (late, Source::Elastic)];
            let mut simulation = Simulation::new(1, Link::steady(kbps), &sources);
            simulation.run_until(60_000);
            let first = simulation.flows[0].use_of(kbps, 30_000, 60_000);
            let second = simulation.flows[1].use_of(kbps, 30_000, 60_000);
            let queue = percentile(&simulation.queues[30_000..], 0.95);
            let share = first / (first + second);
            let figures = format!(
                "two at {kbps}k, {late} ms late: {first:.3} {second:.3} share {share:.3} queue {queue:.0}"
            );
            goals.check((0.35..=0.65).contains(&share), &figures);
        }
    }
}

#[test]
fn an_outage_is_survived() {
    let mut goals = Goals::default();
    for length in [1_000, 3_000, 10_000] {
        let mut link = Link::steady(2_000);
        link.outage = Some((10_000, 10_000 + length));
        let mut simulation = Simulation::new(1, link, &[(0, Source::Elastic)]);
        simulation.run_until(20_000 + length);
        let flow = &simulation.flows[0];
        let during = flow.send_rates[1_000 + length as usize / 10 - 1];
        let back = 10_000 + length;
        let rates = flow.send_rates.iter().skip(back as usize / 10);
        let recovered = rates.take_while(|rate| **rate < 1_700_000).count() * 10;
        let used = flow.use_of(2_000, back + 3_000, back + 10_000);
        let figures = format!(
            "outage {length} ms: rate at its end {during}, recovered after {recovered} ms, use {used:.3}"
        );
        goals.check((during < 1_100_000) && (recovered <= 3_000), &figures);
    }
}

#[test]
fn drifting_clocks_are_harmless() {
    let mut goals = Goals::default();
    for drift in [-100, 100] {
        let mut link = Link::steady(2_000);
        link.drift = drift;
        let mut simulation = Simulation::new(1, link, &[(0, Source::Elastic)]);
        simulation.run_until(60_000);
        let used = simulation.flows[0].use_of(2_000, 10_000, 60_000);
        let queue = percentile(&simulation.queues[10_000..], 0.95);
        let figures = format!("drift {drift}: use {used:.3} queue {queue:.0}");
        goals.check(used >= 0.85 && queue <= 60.0, &figures);
    }
}

#[test]
fn slow_feedback_and_long_paths_work() {
    let mut goals = Goals::default();
    for (delay, interval) in [(25, 100), (100, 100), (5, 50)] {
        let mut link = Link::steady(2_000);
        link.delay = delay;
        link.interval = interval;
        let mut simulation = Simulation::new(1, link, &[(0, Source::Elastic)]);
        simulation.run_until(60_000);
        let used = simulation.flows[0].use_of(2_000, 10_000, 60_000);
        let queue = percentile(&simulation.queues[10_000..], 0.95);
        let figures = format!("delay {delay} interval {interval}: use {used:.3} queue {queue:.0}");
        goals.check(used >= 0.85 && queue <= 60.0, &figures);
    }
}

#[test]
fn a_long_time_raises_no_base() {
    let mut goals = Goals::default();
    for kbps in [300, 1_500, 6_000] {
        let mut link = Link::steady(kbps);
        link.noise = Noise::Jitter(2_000);
        let mut simulation = Simulation::new(1, link, &[(0, Source::Elastic)]);
        simulation.run_until(150_000);
        let used = simulation.flows[0].use_of(kbps, 100_000, 150_000);
        let queue = percentile(&simulation.queues[100_000..], 0.95);
        let figures = format!("long {kbps}k: use {used:.3} queue {queue:.0}");
        goals.check(used >= 0.85 && queue <= 60.0, &figures);
    }
}

#[test]
fn video_keeps_its_layer() {
    let mut goals = Goals::default();
    let noises = [
        Noise::None,
        Noise::Jitter(20_000),
        Noise::Stalls {
            every: 1_000,
            most: 100,
        },
        Noise::Stalls {
            every: 3_000,
            most: 250,
        },
    ];
    for noise in noises {
        for (kbps, fits) in [(800, 500), (2_500, 1_700)] {
            for seed in seeds() {
                let mut link = Link::steady(kbps);
                link.noise = noise;
                let mut simulation = Simulation::new(seed, link, &[(0, VIDEO)]);
                simulation.run_until(60_000);
                let flow = &simulation.flows[0];
                let late = &flow.estimates[500..];
                let kept = late.iter().filter(|rate| **rate >= fits * 1_000).count() as f64
                    / late.len() as f64;
                let flips = late
                    .windows(2)
                    .filter(|pair| (pair[0] >= fits * 1_000) != (pair[1] >= fits * 1_000))
                    .count();
                let queue = percentile(&simulation.queues[5_000..], 0.95);
                let worst = percentile(&simulation.queues[5_000..], 1.0);
                let figures = format!(
                    "video {kbps}k {noise:?} seed {seed}: {fits}k kept {kept:.3} flips {flips} queue {queue:.0} \
                     max {worst:.0} probes {}",
                    flow.probes
                );
                goals.check(kept >= 0.95, &figures);
            }
        }
    }
}

#[test]
fn a_slow_link_is_not_flooded_at_the_start() {
    let mut goals = Goals::default();
    for (kbps, source) in [
        (100, Source::Elastic),
        (200, Source::Elastic),
        (300, VIDEO),
        (400, Source::Elastic),
    ] {
        {
            let mut link = Link::steady(kbps);
            link.queue_bytes = 100_000;
            let mut simulation = Simulation::new(1, link, &[(0, source)]);
            simulation.run_until(30_000);
            let worst = percentile(&simulation.queues[..5_000], 1.0);
            let high = simulation
                .queues
                .iter()
                .take(5_000)
                .filter(|queue| **queue > 200.0)
                .count();
            let queue = percentile(&simulation.queues[10_000..], 0.95);
            let used = simulation.flows[0].use_of(kbps, 10_000, 30_000);
            let figures = format!(
                "start at {kbps}k {source:?}: worst {worst:.0} ms, above 200 ms for {high} ms, \
                 then p95 {queue:.0} use {used:.2}"
            );
            goals.check(high < 4_500, &figures);
        }
    }
}

#[test]
fn a_longer_way_is_accepted() {
    let mut goals = Goals::default();
    for source in [Source::Elastic, LAYERED, VIDEO] {
        let mut link = Link::steady(2_500);
        link.detour = Some((15_000, 100));
        let mut simulation = Simulation::new(1, link, &[(0, source)]);
        simulation.run_until(30_000);
        let estimates = &simulation.flows[0].estimates;
        let least = estimates[1_500..].iter().min().copied().unwrap_or(0);
        let back = simulation.flows[0].reaches(2_000.0, 15_700);
        let figures = format!("detour {source:?}: least {least} back at {back:?}");
        goals.check(
            least > 150_000 && back.is_some_and(|at| at < 20_000),
            &figures,
        );
    }
}

#[test]
fn lost_and_reordered_feedback_is_no_loss() {
    let mut goals = Goals::default();
    for (lost, late) in [(0.2, 0), (0.0, 60), (0.2, 60)] {
        for kbps in [1_000, 3_000] {
            let mut link = Link::steady(kbps);
            link.feedback_loss = lost;
            link.feedback_late = late;
            let mut simulation = Simulation::new(1, link, &[(0, Source::Elastic)]);
            simulation.run_until(60_000);
            let used = simulation.flows[0].use_of(kbps, 10_000, 60_000);
            let queue = percentile(&simulation.queues[10_000..], 0.95);
            let figures = format!(
                "feedback lost {lost} late {late} at {kbps}k: use {used:.3} queue {queue:.0}"
            );
            goals.check(used >= 0.85 && queue <= 60.0, &figures);
        }
    }
}

#[test]
fn a_greedy_neighbour_does_not_starve_it() {
    let mut goals = Goals::default();
    for queue_ms in [50, 200, 500] {
        let mut link = Link::steady(4_000);
        link.queue_bytes = 4_000 / 8 * queue_ms;
        link.greedy = Some(10_000);
        let mut simulation = Simulation::new(1, link, &[(0, Source::Elastic)]);
        simulation.run_until(70_000);
        let used = simulation.flows[0].use_of(4_000, 20_000, 70_000);
        let least = simulation.flows[0].estimates[2_000..]
            .iter()
            .min()
            .copied()
            .unwrap_or(0);
        let figures =
            format!("greedy neighbour, queue {queue_ms} ms: share {used:.3}, least {least}");
        goals.check(used >= 0.05 && least >= 100_000, &figures);
    }
}
