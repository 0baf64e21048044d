//! Names for what is believed of subscribers' links, what was done about it, and how media fares.

use schalter_model::{LinkCounters, ProbeResult, QualityCounters};

use crate::families::Families;

const MICRO: f64 = 1e6;
const MILLI: f64 = 1e3;
/// Prometheus counts in bytes.
const BITS: f64 = 8.0;

/// Adds everything that is counted of links.
pub(crate) fn add(families: &mut Families, links: &LinkCounters) {
    // Taken apart, so that a new field without a metric does not compile.
    let LinkCounters {
        measured,
        distressed,
        estimates,
        queues,
        losses,
        probes_sent,
        probes,
        pauses,
        resumes,
        switches_up,
        switches_down,
    } = links;
    families.gauge(
        "schalter_downlinks_measured",
        "Subscribers' links with a bandwidth measurement now.",
        *measured as f64,
    );
    families.gauge(
        "schalter_downlinks_distressed",
        "Measured links that showed a queue, loss or missing feedback within the last seconds.",
        *distressed as f64,
    );
    families.histogram(
        "schalter_downlink_estimate_bytes_per_second",
        "What subscribers' links are believed to carry, once a second for each measured link.",
        &LinkCounters::ESTIMATES,
        BITS,
        estimates,
    );
    families.histogram(
        "schalter_downlink_queue_seconds",
        "What stands in the queue on the way to subscribers, once a second for each measured link.",
        &LinkCounters::QUEUES,
        MICRO,
        queues,
    );
    families.histogram(
        "schalter_downlink_loss_ratio",
        "Share of packets lost on the way to subscribers, once a second for each measured link.",
        &LinkCounters::LOSSES,
        MICRO,
        losses,
    );
    families.counter(
        "schalter_probes_sent_total",
        "Bursts sent to see whether a link carries more than was believed.",
        *probes_sent,
    );
    families.counters(
        "schalter_probes_judged_total",
        "Bursts judged, by what they showed.",
        ProbeResult::ALL
            .iter()
            .map(|result| ([("result", result.label())], probes.of(*result) as f64)),
    );
    for (name, help, value) in [
        (
            "schalter_video_pauses_total",
            "Times that a subscriber's video stopped for want of bandwidth.",
            pauses,
        ),
        (
            "schalter_video_resumes_total",
            "Times that a subscriber's video went on after it had stopped for want of bandwidth.",
            resumes,
        ),
    ] {
        families.counter(name, help, *value);
    }
    families.counters(
        "schalter_layer_switches_total",
        "Times that a subscriber was given another layer of a video, by direction.",
        [("up", switches_up), ("down", switches_down)]
            .map(|(direction, count)| ([("direction", direction)], *count as f64)),
    );
}

/// Adds how media fares.
pub(crate) fn add_quality(families: &mut Families, quality: &QualityCounters) {
    let QualityCounters {
        scores,
        round_trips,
        frame_rates,
        freezes,
    } = quality;
    families.histogram(
        "schalter_connection_score",
        "Scores of peer connections with media, 1 (useless) to 4.5 (best), every five seconds.",
        &QualityCounters::SCORES,
        MILLI,
        scores,
    );
    families.histogram(
        "schalter_round_trip_seconds",
        "Round trips to subscribers, every five seconds.",
        &QualityCounters::ROUND_TRIPS,
        MICRO,
        round_trips,
    );
    families.histogram(
        "schalter_published_frame_rate",
        "Frames a second of publishers' videos, of the lowest layer that flows, every five seconds.",
        &QualityCounters::FRAME_RATES,
        MILLI,
        frame_rates,
    );
    families.counter(
        "schalter_publisher_freezes_total",
        "Times that a publisher's stream came 300 ms later than its own time, or missed a run of packets as long.",
        *freezes,
    );
}
