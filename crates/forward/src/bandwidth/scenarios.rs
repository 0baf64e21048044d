//! What the estimator does on links of many kinds. Each test prints its figures (`--nocapture`).

#![expect(clippy::print_stderr, reason = "figures of the scenarios")]

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

const SEEDS: [u64; 3] = [1, 2, 3];
const LAYERS: [u64; 3] = [150, 500, 1_700];
const LAYERED: Source = Source::Layered(LAYERS);

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
    for (source, name) in [(Source::Elastic, "elastic"), (LAYERED, "layered")] {
        for back in [30_000, 31_000, 32_500, 34_000] {
            for seconds_of_queue in [0.25, 1.0, 4.0] {
                let rates = vec![(0, 3_000), (15_000, 500), (back, 3_000)];
                let mut link = Link::stepping(rates);
                link.queue_bytes = (500e3 / 8.0 * seconds_of_queue) as usize;
                let mut simulation = Simulation::new(1, link, &[(0, source)]);
                simulation.run_until(back + 12_000);
                let down = &simulation.queues[15_000..back as usize];
                let drained = down.iter().rposition(|queue| *queue > 100.0).unwrap_or(0);
                let worst = percentile(down, 1.0);
                let flow = &simulation.flows[0];
                let low = flow.use_of(500, 17_000, back);
                let later = percentile(&down[3_000..], 0.95);
                let found = flow.reaches(2_550.0, back).map(|at| at - back);
                let figures = format!(
                    "step {name} back {back} queue {seconds_of_queue} s: below 100 ms after {drained} ms \
                     (worst {worst:.0} ms), use at 500k {low:.3}, queue p95 then {later:.0}, up again after {found:?}"
                );
                goals.check(
                    (drained <= 2_000) && (found.is_some_and(|found| found <= 8_000)),
                    &figures,
                );
            }
        }
    }
}

#[test]
fn random_loss_does_not_starve() {
    let mut goals = Goals::default();
    for seed in SEEDS {
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
            for seed in SEEDS {
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
    for kbps in [300, 700, 1_500, 3_000, 6_000] {
        for seed in SEEDS {
            let mut link = Link::steady(kbps);
            link.noise = Noise::Jitter(2_000);
            let mut simulation = Simulation::new(seed, link, &[(0, Source::Elastic)]);
            simulation.run_until(200_000);
            let used = simulation.flows[0].use_of(kbps, 100_000, 200_000);
            let queue = percentile(&simulation.queues[100_000..], 0.95);
            let figures = format!("long {kbps}k seed {seed}: use {used:.3} queue {queue:.0}");
            goals.check(used >= 0.85 && queue <= 60.0, &figures);
        }
    }
}
