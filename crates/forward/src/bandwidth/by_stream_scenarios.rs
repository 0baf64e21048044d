//! The estimator with feedback by stream (RFC 8888), on links and with bars of [`super::scenarios`].

use super::simulation::{Link, Simulation, Source, percentile};

const LAYERS: [u64; 3] = [150, 500, 1_700];

fn by_stream(mut link: Link) -> Link {
    link.by_stream = true;
    link
}

#[test]
fn a_steady_link_is_used_without_a_queue() {
    for kbps in [300, 1_000, 3_000, 10_000] {
        let link = by_stream(Link::steady(kbps));
        let mut simulation = Simulation::new(1, link, &[(0, Source::Elastic)]);
        simulation.run_until(60_000);
        let used = simulation.flows[0].use_of(kbps, 10_000, 60_000);
        let queue = percentile(&simulation.queues[10_000..], 0.95);
        eprintln!("steady {kbps}k: use {used:.3} queue p95 {queue:.0} ms");
        assert!(used >= 0.85 && queue <= 60.0, "{kbps}: {used} {queue}");
    }
}

#[test]
fn a_step_down_drains_and_a_step_up_is_found() {
    for source in [
        Source::Elastic,
        Source::Layered(LAYERS),
        Source::Video(LAYERS),
    ] {
        for back in [30_000, 32_500] {
            for queue_seconds in [0.25, 1.0, 4.0] {
                let rates = vec![(0, 3_000), (15_000, 500), (back, 3_000)];
                let mut link = by_stream(Link::stepping(rates));
                link.queue_bytes = (500e3 / 8.0 * queue_seconds) as usize;
                let mut simulation = Simulation::new(1, link, &[(0, source)]);
                simulation.run_until(back + 12_000);
                let down = &simulation.queues[15_000..back as usize];
                let mut first = down[..5_000].iter();
                let drained = first.rposition(|queue| *queue > 100.0).unwrap_or(0);
                // A keyframe that meets a probe.
                let highest = percentile(&down[5_000..], 1.0);
                let found = simulation.flows[0].reaches(2_550.0, back);
                let found = found.map(|at| at - back);
                let figures = format!(
                    "step {source:?} back {back} queue {queue_seconds} s: below 100 ms after {drained} ms, max then \
                     {highest:.0}, up again after {found:?}"
                );
                eprintln!("{figures}");
                let is_found = found.is_some_and(|found| found <= 8_000);
                assert!(
                    drained <= 2_000 && highest <= 120.0 && is_found,
                    "{figures}"
                );
            }
        }
    }
}

#[test]
fn random_loss_and_lost_feedback_do_not_starve() {
    for (loss, feedback_loss, least) in [(0.05, 0.0, 0.7), (0.0, 0.2, 0.8)] {
        let mut link = by_stream(Link::steady(1_000));
        link.loss = loss;
        link.feedback_loss = feedback_loss;
        let mut simulation = Simulation::new(1, link, &[(0, Source::Elastic)]);
        simulation.run_until(60_000);
        let used = simulation.flows[0].use_of(1_000, 10_000, 60_000);
        let queue = percentile(&simulation.queues[10_000..], 0.95);
        eprintln!("loss {loss} of feedback {feedback_loss}: use {used:.3} queue p95 {queue:.0} ms");
        assert!(used >= least, "{loss} {feedback_loss}: {used} {queue}");
    }
}
