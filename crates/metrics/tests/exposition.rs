//! Every number that is counted reaches the text that Prometheus scrapes.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::collections::HashMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use schalter_metrics::{
    BuildInfo, DeskAuditSnapshot, DeskSnapshot, DeskWebhookSnapshot, Exporter, HttpSnapshot,
    SignalingSnapshot, Source, WebhookSnapshot,
};
use schalter_model::{
    Counters, DropReason, LinkCounters, ProbeResult, QualityCounters, ShardId, SrtpProfile,
    TurnCounters, TurnRefusal,
};

/// Gives what it was made with.
struct Fixed {
    shards: Vec<(ShardId, Counters)>,
    signaling: SignalingSnapshot,
}

impl Source for Fixed {
    fn shards(&self) -> Vec<(ShardId, Counters)> {
        self.shards.clone()
    }

    fn http(&self) -> HttpSnapshot {
        HttpSnapshot {
            connections: 3_001,
            refused: 3_002,
            unanswered: 3_003,
            half_open: 3_004,
            closed: vec![("tls_handshake", 3_005)],
            streams: vec![("turn", 3_006)],
            certificate_seconds: Some(-3_007),
            acme_failures: Some(3_008),
        }
    }

    fn signaling(&self) -> SignalingSnapshot {
        self.signaling.clone()
    }

    fn webhooks(&self) -> Option<WebhookSnapshot> {
        Some(distinct_webhooks())
    }

    fn desk(&self) -> Option<DeskSnapshot> {
        Some(DeskSnapshot {
            waiting: 6_001,
            running: 6_002,
            admitted: 6_003,
            owed: 6_012,
            webhooks: Some(DeskWebhookSnapshot {
                delivered: 6_004,
                failures: vec![("timeout", 6_005), ("status", 6_006)],
                lost: 6_007,
                log_failures: 6_008,
                gone: 6_009,
                backlogs: vec![6_010, 6_011],
                skipped: 6_013,
                stuck_s: vec![6_014, 6_015],
            }),
            audit: Some(DeskAuditSnapshot {
                leaves: 6_016,
                behind: 6_017,
                broken: 6_018,
                failures: 6_019,
            }),
        })
    }
}

fn rendered(shards: Vec<(ShardId, Counters)>, signaling: SignalingSnapshot) -> String {
    let build = BuildInfo {
        version: "1.2.3".into(),
        revision: "abc\"def".into(),
    };
    let exporter = Exporter::new(Fixed { shards, signaling }, build).unwrap();
    exporter.render().unwrap()
}

/// Reads the text format: sample (name with labels) to value.
fn samples(text: &str) -> HashMap<String, f64> {
    let mut samples = HashMap::new();
    let (mut helped, mut typed) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("HELP has a text");
            assert!(help.len() > 5, "{line}");
            helped = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("TYPE has a kind");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            typed = name.to_owned();
        } else {
            let (key, value) = line.rsplit_once(' ').expect("a sample has a value");
            let name = key.split('{').next().unwrap();
            let parts = ["_bucket", "_sum", "_count"];
            let part = parts.iter().find_map(|part| name.strip_suffix(part));
            let name = part.filter(|family| *family == typed).unwrap_or(name);
            assert_eq!((name, name), (helped.as_str(), typed.as_str()), "{line}");
            let old = samples.insert(key.to_owned(), value.parse().expect(line));
            assert_eq!(old, None, "{key} comes twice");
        }
    }
    samples
}

/// Counters in which every number differs from every other.
fn distinct_counters() -> Counters {
    let mut counters = Counters {
        datagrams_in: 1_001,
        bytes_in: 1_002,
        datagrams_out: 1_003,
        bytes_out: 1_004,
        rtp_in: 1_005,
        rtp_out: 1_006,
        nack_sent: 1_007,
        nack_received: 1_008,
        rtx_in: 1_009,
        rtx_out: 1_010,
        rtx_missed: 1_011,
        pli_sent: 1_012,
        pli_received: 1_013,
        congestion_feedback_in: 1_040,
        envelopes_out: 1_014,
        envelopes_in: 1_015,
        data_in: 1_016,
        data_out: 1_017,
        send_batches: 1_018,
        receive_batches: 1_019,
        busy_nanos: 1_020_000_000_000,
        dtls_failures: 1_021,
        consent_losses: 1_022,
        address_changes: 1_023,
        producers: 1_024,
        consumers: 1_025,
        sound_withheld: 1_030,
        ..Counters::default()
    };
    counters.quality.freezes = 1_308;
    counters.links.measured = 1_301;
    counters.links.distressed = 1_302;
    counters.links.probes_sent = 1_303;
    counters.links.pauses = 1_304;
    counters.links.resumes = 1_305;
    counters.links.switches_up = 1_306;
    counters.links.switches_down = 1_307;
    for (result, count) in ProbeResult::ALL.into_iter().zip(1..) {
        (0..1_400 + count).for_each(|_| counters.links.probes.count(result));
    }
    counters.turn = TurnCounters {
        allocations: 1_501,
        allocated: 1_502,
        relayed_in: 1_503,
        relayed_bytes_in: 1_504,
        relayed_out: 1_505,
        relayed_bytes_out: 1_506,
        ..TurnCounters::default()
    };
    for (refusal, count) in TurnRefusal::ALL.iter().zip(1..) {
        (0..1_600 + count).for_each(|_| counters.turn.refusals.count(*refusal));
    }
    counters.transports.new = 1_026;
    counters.transports.connecting = 1_027;
    counters.transports.connected = 1_028;
    counters.transports.disconnected = 1_029;
    for (profile, count) in SrtpProfile::ALL.into_iter().zip(1..) {
        (0..1_100 + count).for_each(|_| counters.srtp_profiles.count(profile));
    }
    for (reason, count) in DropReason::ALL.iter().zip(1..) {
        counters.drops.add(*reason, 1_200 + count);
    }
    counters
}

/// Every number in `counters`, as its debug form shows them: no list of fields to forget one in.
fn numbers(debug: &str) -> Vec<f64> {
    debug
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .filter(|number| *number > 1_000.0)
        .collect()
}

fn distinct_signaling() -> SignalingSnapshot {
    SignalingSnapshot {
        rooms: 2_001,
        participants: 2_002,
        connections: 2_003,
        tracks: 2_004,
        subscriptions: 2_005,
        joins: 2_006,
        joins_connected: 2_007,
        resumes: 2_008,
        join_failures: vec![("token", 2_009), ("media", 2_010)],
        whip_sessions: vec![("whip", 2_025), ("whep", 2_026)],
        whip_refused: vec![("whip", 2_027), ("whep", 2_028)],
        whip_restarts: vec![("whip", 2_029), ("whep", 2_030)],
        room_service_calls: vec![("ok", 2_035), ("not_found", 2_036)],
        messages_in: 2_011,
        messages_out: 2_012,
        messages_malformed: 2_013,
        messages_oversized: 2_023,
        messages_delayed: 2_024,
        requests_refused: 2_014,
        slow_clients: 2_015,
        data_relayed: 2_016,
        data_refused: 2_017,
        clear_tracks_refused: 2_037,
        clear_data_refused: 2_038,
        data_overload: 2_018,
        events_unrouted: 2_019,
        data_leaves: 2_020,
        forwards: 2_034,
        revocations: 2_031,
        revocations_unkept: 2_032,
        revoked_refused: 2_033,
    }
}

fn distinct_webhooks() -> WebhookSnapshot {
    WebhookSnapshot {
        delivered: 4_001,
        retries: vec![("timeout", 4_002), ("status", 4_003)],
        dropped: vec![("age", 4_004), ("refused", 4_005)],
        waiting_events: 4_006,
        waiting_bytes: 4_007,
        spool_failures: 4_008,
    }
}

#[test]
fn every_number_about_webhooks_is_exported_once() {
    let snapshot = distinct_webhooks();
    let expected = numbers(&format!("{snapshot:?}"));
    assert_eq!(expected.len(), 8, "all numbers are set");
    let samples = samples(&rendered(Vec::new(), Default::default()));
    for number in expected {
        let holders: Vec<_> = samples
            .iter()
            .filter(|(key, value)| key.starts_with("schalter_") && **value == number)
            .collect();
        assert_eq!(holders.len(), 1, "{number}: {holders:?}");
    }
    assert_eq!(
        samples[r#"schalter_webhook_events_dropped_total{reason="age"}"#],
        4_004.0
    );
}

#[test]
fn every_number_that_a_shard_counts_is_exported_once() {
    let counters = distinct_counters();
    let expected = numbers(&format!("{counters:?}"));
    assert_eq!(
        expected.len(),
        31 + 3 + 8 + 4 + DropReason::COUNT + 6 + TurnRefusal::COUNT,
        "all numbers are set"
    );
    let samples = samples(&rendered(vec![(ShardId(0), counters)], Default::default()));
    for number in expected {
        // Nanoseconds are exported as seconds.
        let number = if number > 1e9 { number / 1e9 } else { number };
        let holders: Vec<_> = samples
            .iter()
            .filter(|(key, value)| key.starts_with("schalter_") && **value == number)
            .collect();
        assert_eq!(holders.len(), 1, "{number}: {holders:?}");
    }
}

#[test]
fn distributions_are_exported_in_base_units_and_summed_over_shards() {
    let mut counters = Counters::default();
    counters.links.observe(800_000, 30_000, 15_000);
    counters.links.observe(90_000_000, 2_000_000, 500_000);
    counters.quality.observe_score(3.2);
    counters.quality.observe_score(4.6);
    counters
        .quality
        .observe_round_trip(Duration::from_millis(30));
    counters
        .quality
        .observe_round_trip(Duration::from_millis(2_000));
    counters.quality.observe_frame_rate(24.2);
    counters.quality.observe_frame_rate(61.0);
    let samples = samples(&rendered(
        vec![(ShardId(0), counters), (ShardId(1), counters)],
        Default::default(),
    ));
    for (name, below, above, sum) in [
        (
            "schalter_downlink_estimate_bytes_per_second",
            "87500",
            "125000",
            2.0 * 90_800_000.0 / 8.0,
        ),
        ("schalter_downlink_queue_seconds", "0.025", "0.05", 4.06),
        ("schalter_downlink_loss_ratio", "0.01", "0.02", 1.03),
        ("schalter_connection_score", "3", "3.5", 15.6),
        ("schalter_round_trip_seconds", "0.025", "0.05", 4.06),
        ("schalter_published_frame_rate", "20", "25", 170.0),
    ] {
        let at = |bound: &str| samples[&format!("{name}_bucket{{le=\"{bound}\"}}")];
        assert_eq!(
            (at(below), at(above), at("+Inf")),
            (0.0, 2.0, 4.0),
            "{name}"
        );
        assert_eq!(samples[&format!("{name}_count")], 4.0);
        let told = samples[&format!("{name}_sum")];
        assert!((told - sum).abs() < sum * 1e-9, "{name}: {told}");
    }
    // Bounds are compared in order of size.
    assert!(LinkCounters::ESTIMATES.is_sorted());
    assert!(QualityCounters::SCORES.is_sorted() && QualityCounters::FRAME_RATES.is_sorted());
    assert!(QualityCounters::ROUND_TRIPS.is_sorted());
    assert!(LinkCounters::QUEUES.is_sorted() && LinkCounters::LOSSES.is_sorted());
}

#[test]
fn every_number_that_signaling_counts_is_exported_once() {
    let signaling = distinct_signaling();
    let expected = numbers(&format!("{signaling:?}"));
    assert_eq!(expected.len(), 36, "all numbers are set");
    let samples = samples(&rendered(Vec::new(), signaling));
    for number in expected {
        let holders = samples
            .iter()
            .filter(|(key, value)| key.starts_with("schalter_") && **value == number);
        assert_eq!(holders.count(), 1, "{number}");
    }
    assert_eq!(
        samples[r#"schalter_join_failures_total{stage="token"}"#],
        2_009.0
    );
}

#[test]
fn shards_are_summed_but_workers_load_is_told_apart() {
    let counters = distinct_counters();
    let shards = vec![(ShardId(0), counters), (ShardId(7), counters)];
    let samples = samples(&rendered(shards, Default::default()));
    assert_eq!(samples["schalter_rtp_packets_sent_total"], 2.0 * 1_006.0);
    assert_eq!(samples["schalter_producers"], 2.0 * 1_024.0);
    let auth = counters.drops.of(DropReason::SrtpAuth) as f64;
    assert_eq!(
        samples[r#"schalter_drops_total{reason="srtp_auth"}"#],
        2.0 * auth
    );
    assert_eq!(
        samples[r#"schalter_transports{state="connected"}"#],
        2.0 * 1_028.0
    );
    let busy = |shard| samples[&format!("schalter_worker_busy_seconds_total{{shard=\"{shard}\"}}")];
    assert_eq!((busy(0), busy(7)), (1_020.0, 1_020.0));
}

#[test]
fn only_bounded_labels_are_used() {
    let shards = vec![(ShardId(0), distinct_counters())];
    let text = rendered(shards, distinct_signaling());
    for key in samples(&text).keys() {
        let Some((_, labels)) = key.split_once('{') else {
            continue;
        };
        for label in labels.trim_end_matches('}').split("\",") {
            let name = label.split('=').next().unwrap();
            let known = [
                "shard",
                "reason",
                "profile",
                "state",
                "stage",
                "version",
                "revision",
                "result",
                "direction",
                "protocol",
                "code",
                // Places in a list of the configuration that has a bound.
                "receiver",
                // Fixed bounds.
                "le",
            ];
            assert!(known.contains(&name), "{key}");
        }
    }
}

#[test]
fn build_and_process_are_told() {
    let samples = samples(&rendered(Vec::new(), Default::default()));
    let build = r#"schalter_build_info{revision="abc\"def",version="1.2.3"}"#;
    assert_eq!(samples[build], 1.0);
    assert!(samples["process_cpu_seconds_total"] > 0.0);
    assert!(samples["process_resident_memory_bytes"] > 100_000.0);
    assert!(samples["process_open_fds"] >= 3.0);
    assert!(samples["process_start_time_seconds"] > 1.5e9);
}

#[test]
fn every_number_that_the_pages_port_counts_is_exported() {
    let samples = samples(&rendered(Vec::new(), SignalingSnapshot::default()));
    assert_eq!(samples["schalter_http_connections"], 3_001.0);
    assert_eq!(samples["schalter_http_connections_refused_total"], 3_002.0);
    assert_eq!(
        samples["schalter_http_connections_unanswered_total"],
        3_003.0
    );
    assert_eq!(samples["schalter_half_open_connections"], 3_004.0);
    let closed = r#"schalter_connections_closed_total{reason="tls_handshake"}"#;
    assert_eq!(samples[closed], 3_005.0);
    let streams = r#"schalter_streams_accepted_total{protocol="turn"}"#;
    assert_eq!(samples[streams], 3_006.0);
    assert_eq!(
        samples["schalter_tls_certificate_expires_seconds"],
        -3_007.0
    );
}

#[test]
fn promtool_finds_nothing_to_improve() {
    let shards = vec![(ShardId(0), distinct_counters())];
    let text = rendered(shards, distinct_signaling());
    let tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut tool = match tool {
        Ok(tool) => tool,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: promtool is not installed (Debian package prometheus)");
            return;
        }
        Err(error) => panic!("promtool: {error}"),
    };
    let mut input = tool.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let output = tool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn every_number_about_the_consultation_is_exported_once() {
    let samples = samples(&rendered(vec![], SignalingSnapshot::default()));
    for (name, value) in [
        ("schalter_desk_people_waiting", 6_001.0),
        ("schalter_desk_appointments_running", 6_002.0),
        ("schalter_desk_admissions_total", 6_003.0),
        ("schalter_desk_webhook_events_delivered_total", 6_004.0),
        (
            r#"schalter_desk_webhook_failures_total{reason="status"}"#,
            6_006.0,
        ),
        ("schalter_desk_webhook_events_lost_total", 6_007.0),
        ("schalter_desk_webhook_log_failures_total", 6_008.0),
        ("schalter_desk_webhook_receivers_gone", 6_009.0),
        (
            r#"schalter_desk_webhook_backlog_events{receiver="1"}"#,
            6_011.0,
        ),
        ("schalter_desk_dismissals_owed", 6_012.0),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name}");
        let same = samples.values().filter(|other| **other == value).count();
        assert_eq!(same, 1, "{name}");
    }
}
