//! What a measurement says, for people and as JSON. Every number has its unit in its name.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::call::CallPlan;
use crate::engine::Totals;
use crate::histogram::Histogram;
use crate::probe::Kind;
use crate::process::Usage;

/// Foreign load that spoils a run.
pub const FOREIGN_MAX: f64 = 0.10;

/// What a measurement has to keep to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// Every packet arrives.
    pub complete: bool,
    /// The server's resident memory at the end, MiB.
    pub max_rss_mib: Option<f64>,
    /// 99th percentile of the delay, ms.
    pub max_p99_ms: Option<f64>,
}

/// Packets of one kind over all pairs of publisher and subscriber.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// Packets that should have arrived.
    pub expected: u64,
    /// Different packets that did.
    pub delivered: u64,
    /// Packets that arrived more than once.
    pub duplicates: u64,
    /// Pairs of publisher and subscriber.
    pub pairs: u64,
    /// Pairs in which anything is missing.
    pub incomplete_pairs: u64,
}

impl Delivery {
    /// Share of the expected packets that arrived, 0 to 1; 1 where none was expected.
    pub fn share(&self) -> f64 {
        if self.expected == 0 {
            1.0
        } else {
            self.delivered as f64 / self.expected as f64
        }
    }
}

/// Delay from the publisher's send to the subscriber's socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Delay {
    /// Median, ms.
    pub p50_ms: f64,
    /// 99th percentile, ms.
    pub p99_ms: f64,
    /// Maximum, ms.
    pub max_ms: f64,
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

impl From<&Histogram> for Delay {
    fn from(histogram: &Histogram) -> Self {
        Self {
            p50_ms: ms(histogram.quantile(0.5)),
            p99_ms: ms(histogram.quantile(0.99)),
            max_ms: ms(histogram.max()),
        }
    }
}

/// What the server cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ServerCost {
    /// CPU of the process with children, divided by RTP packets that arrived at subscribers; µs.
    pub cpu_us_per_packet: f64,
    /// CPU in cores, 1.0 is one core.
    pub cpu_cores: f64,
    /// Resident memory at the end, MiB.
    pub rss_mib: f64,
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Rooms.
    pub rooms: u32,
    /// Publishers a room.
    pub publishers: u32,
    /// Subscribers a room that publish nothing.
    pub subscribers: u32,
    /// Publishers hear each other.
    pub mutual: bool,
    /// Length of the measurement, s.
    pub seconds: f64,
    /// Packets that publishers sent.
    pub published: u64,
    /// RTP packets that arrived at subscribers, a second.
    pub packets_per_second: f64,
    /// The same, Mbit/s of RTP.
    pub mbit_per_second: f64,
    /// Sound.
    pub audio: Delivery,
    /// Pictures.
    pub video: Delivery,
    /// Delay of sound.
    pub audio_delay: Delay,
    /// Delay of pictures.
    pub video_delay: Delay,
    /// Delay of both.
    pub delay: Delay,
    /// What the server cost, where its process is known.
    pub server: Option<ServerCost>,
    /// CPU of the generator in cores.
    pub generator_cores: f64,
    /// Share of the machine that neither used, 0 to 1.
    pub foreign_load: f64,
    /// Cores of the machine.
    pub machine_cores: usize,
    /// Whether foreign load was low enough for the numbers to count.
    pub clean: bool,
    /// Key frames that publishers were asked for since the start.
    pub key_frame_requests: u64,
    /// Packets that publishers were asked for again since the start.
    pub nacked: u64,
    /// Datagrams that subscribers could not authenticate, or that came twice, while it ran.
    pub dropped_by_generator: u64,
    /// Packets that publishers could not send.
    pub send_failures: u64,
    /// Peer connections that ended while it ran.
    pub lost_peers: usize,
    /// Why they did.
    pub lost_because: Vec<String>,
    /// Signaling connections that have ended.
    pub lost_signaling: usize,
    #[serde(skip)]
    usage: Usage,
    #[serde(skip)]
    server_known: bool,
}

impl Report {
    pub(crate) fn new(plan: &CallPlan, usage: Usage, server_known: bool) -> Self {
        Self {
            rooms: plan.rooms,
            publishers: plan.publishers,
            subscribers: plan.subscribers,
            mutual: plan.mutual,
            seconds: usage.elapsed.as_secs_f64(),
            published: 0,
            packets_per_second: 0.0,
            mbit_per_second: 0.0,
            audio: Delivery::default(),
            video: Delivery::default(),
            audio_delay: Delay::default(),
            video_delay: Delay::default(),
            delay: Delay::default(),
            server: None,
            generator_cores: usage.generator.as_secs_f64() / usage.elapsed.as_secs_f64(),
            foreign_load: usage.foreign,
            machine_cores: usage.cores,
            clean: usage.foreign <= FOREIGN_MAX,
            key_frame_requests: 0,
            nacked: 0,
            dropped_by_generator: 0,
            send_failures: 0,
            lost_peers: 0,
            lost_because: Vec::new(),
            lost_signaling: 0,
            usage,
            server_known,
        }
    }

    pub(crate) fn add(&mut self, kind: Kind, expected: u64, delivered: u64, duplicates: u64) {
        let sum = match kind {
            Kind::Audio => &mut self.audio,
            Kind::Video => &mut self.video,
        };
        sum.expected += expected;
        sum.delivered += delivered;
        sum.duplicates += duplicates;
        sum.pairs += 1;
        sum.incomplete_pairs += u64::from(delivered < expected);
    }

    pub(crate) fn finish(&mut self, totals: &Totals, earlier: &Totals) {
        self.published = totals.published;
        self.packets_per_second = totals.arrived as f64 / self.seconds;
        self.mbit_per_second = totals.arrived_bytes as f64 * 8.0 / self.seconds / 1e6;
        self.audio_delay = (&totals.audio_delay).into();
        self.video_delay = (&totals.video_delay).into();
        let mut both = totals.audio_delay.clone();
        both.merge(&totals.video_delay);
        self.delay = (&both).into();
        self.key_frame_requests = totals.key_frame_requests;
        self.nacked = totals.nacked;
        self.dropped_by_generator = totals.dropped - earlier.dropped;
        self.send_failures = totals.send_failures - earlier.send_failures;
        self.server = self.server_known.then(|| ServerCost {
            cpu_us_per_packet: self.usage.server.as_secs_f64() * 1e6 / totals.arrived.max(1) as f64,
            cpu_cores: self.usage.server.as_secs_f64() / self.seconds,
            rss_mib: self.usage.resident as f64 / (1 << 20) as f64,
        });
    }

    /// Whether every expected packet arrived, and at least one of each kind that was published.
    pub fn complete(&self) -> bool {
        let whole = |d: &Delivery| d.pairs == 0 || (d.expected > 0 && d.delivered == d.expected);
        self.audio.pairs + self.video.pairs > 0
            && whole(&self.audio)
            && whole(&self.video)
            && self.lost_peers == 0
    }

    /// What of `bounds` was not kept, in words; a bound on what was not measured is not kept either.
    pub fn complaints(&self, bounds: &Bounds) -> Vec<String> {
        let mut complaints = Vec::new();
        if bounds.complete && !self.complete() {
            complaints.push("not every packet was delivered".to_owned());
        }
        match (bounds.max_rss_mib, self.server) {
            (Some(limit), Some(server)) if server.rss_mib > limit => complaints.push(format!(
                "{:.1} MiB resident, more than {limit:.1}",
                server.rss_mib
            )),
            (Some(_), None) => complaints.push("memory was not measured".to_owned()),
            (Some(_), Some(_)) | (None, _) => {}
        }
        match bounds.max_p99_ms {
            Some(limit) if self.delay.p99_ms > limit => complaints.push(format!(
                "delay p99 {:.2} ms, more than {limit:.2}",
                self.delay.p99_ms
            )),
            Some(_) | None => {}
        }
        complaints
    }

    /// One line.
    pub fn summary(&self) -> String {
        let server = self.server.map_or_else(String::new, |server| {
            format!(
                ", {:.2} µs CPU/packet, {:.1} MiB",
                server.cpu_us_per_packet, server.rss_mib
            )
        });
        format!(
            "audio {}, video {}, {:.0} packets/s, delay p50 {:.2} ms p99 {:.2} ms{server}, foreign load {:.0} %",
            percent(&self.audio),
            percent(&self.video),
            self.packets_per_second,
            self.delay.p50_ms,
            self.delay.p99_ms,
            self.foreign_load * 100.0,
        )
    }
}

/// Never rounds a loss up to 100 %.
fn percent(delivery: &Delivery) -> String {
    match delivery {
        Delivery { pairs: 0, .. } => "none".to_owned(),
        d if d.delivered == d.expected => "100 %".to_owned(),
        d => format!("{:.3} %", (d.share() * 100_000.0).floor() / 1_000.0),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = if self.mutual {
            "everyone hears everyone"
        } else {
            "publishers hear nobody"
        };
        writeln!(
            f,
            "{} room(s) of {} publishers ({shape}) and {} subscribers, {:.1} s",
            self.rooms, self.publishers, self.subscribers, self.seconds
        )?;
        for (name, delivery, delay) in [
            ("audio", &self.audio, &self.audio_delay),
            ("video", &self.video, &self.video_delay),
        ] {
            writeln!(
                f,
                "  {name}      {} of {} packets delivered ({}), {} pairs, {} incomplete, {} duplicates; delay p50 {:.2} ms, \
                 p99 {:.2} ms, max {:.1} ms",
                delivery.delivered,
                delivery.expected,
                percent(delivery),
                delivery.pairs,
                delivery.incomplete_pairs,
                delivery.duplicates,
                delay.p50_ms,
                delay.p99_ms,
                delay.max_ms,
            )?;
        }
        writeln!(
            f,
            "  load       {:.0} packets/s to subscribers, {:.1} Mbit/s; {} packets published",
            self.packets_per_second, self.mbit_per_second, self.published
        )?;
        match self.server {
            Some(server) => writeln!(
                f,
                "  server     {:.2} µs CPU per packet, {:.2} cores, {:.1} MiB resident",
                server.cpu_us_per_packet, server.cpu_cores, server.rss_mib
            )?,
            None => writeln!(
                f,
                "  server     not measured: its process is not known (--server-pid)"
            )?,
        }
        writeln!(
            f,
            "  generator  {:.2} cores, {} datagrams dropped, {} sends failed; asked for {} key frames, {} packets again",
            self.generator_cores,
            self.dropped_by_generator,
            self.send_failures,
            self.key_frame_requests,
            self.nacked
        )?;
        if self.lost_peers + self.lost_signaling > 0 {
            let why = self.lost_because.join("; ");
            writeln!(
                f,
                "  LOST       {} peer connections ({why}), {} signaling connections",
                self.lost_peers, self.lost_signaling
            )?;
        }
        let verdict = if self.clean {
            ""
        } else {
            ": too much, these numbers don't count"
        };
        write!(
            f,
            "  machine    foreign load {:.1} % of {} cores{verdict}",
            self.foreign_load * 100.0,
            self.machine_cores
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::FeedConfig;

    fn report(foreign: f64) -> Report {
        let plan = CallPlan {
            rooms: 1,
            publishers: 1,
            subscribers: 2,
            mutual: false,
            feed: FeedConfig::default(),
            name: String::new(),
        };
        let usage = Usage {
            elapsed: Duration::from_secs(2),
            server: Duration::from_millis(10),
            generator: Duration::from_millis(500),
            foreign,
            cores: 2,
            resident: 10 << 20,
        };
        Report::new(&plan, usage, true)
    }

    #[test]
    fn cpu_is_divided_by_what_arrived() {
        let mut report = report(0.0);
        report.add(Kind::Audio, 100, 100, 0);
        report.finish(
            &Totals {
                arrived: 5_000,
                ..Totals::default()
            },
            &Totals::default(),
        );
        let server = report.server.unwrap();
        assert!((server.cpu_us_per_packet - 2.0).abs() < 1e-9);
        assert!((server.cpu_cores - 0.005).abs() < 1e-9);
        assert!((report.packets_per_second - 2_500.0).abs() < 1e-9);
    }

    #[test]
    fn one_lost_packet_is_no_full_delivery() {
        let mut report = report(0.0);
        report.add(Kind::Audio, 1_000_000, 1_000_000, 0);
        assert!(report.complete());
        report.add(Kind::Video, 1_000_000, 999_999, 0);
        assert!(!report.complete());
        assert_eq!(percent(&report.video), "99.999 %");
        assert_eq!(report.video.incomplete_pairs, 1);
    }

    #[test]
    fn bounds_that_are_not_kept_are_told_each() {
        let mut report = report(0.0);
        report.add(Kind::Audio, 100, 100, 0);
        report.finish(&Totals::default(), &Totals::default());
        report.delay.p99_ms = 5.0;
        // The report's server has 10 MiB.
        let bounds = |max_rss_mib, max_p99_ms| Bounds {
            complete: true,
            max_rss_mib: Some(max_rss_mib),
            max_p99_ms: Some(max_p99_ms),
        };
        assert_eq!(report.complaints(&bounds(10.0, 5.0)), Vec::<String>::new());
        assert_eq!(report.complaints(&bounds(9.9, 4.9)).len(), 2);
        report.server = None;
        assert_eq!(report.complaints(&bounds(10.0, 5.0)).len(), 1);
        report.add(Kind::Video, 100, 99, 0);
        assert_eq!(report.complaints(&bounds(10.0, 5.0)).len(), 2);
    }

    #[test]
    fn silence_is_no_full_delivery() {
        let mut report = report(0.0);
        assert!(!report.complete());
        report.add(Kind::Audio, 0, 0, 0);
        assert!(!report.complete());
    }

    #[test]
    fn foreign_load_spoils_a_run() {
        assert!(report(0.09).clean && !report(0.11).clean);
        assert!(report(0.11).to_string().contains("don't count"));
    }

    #[test]
    fn json_has_the_numbers() {
        let json = serde_json::to_value(report(0.0)).unwrap();
        assert_eq!(json["machine_cores"], 2);
        assert!(json.get("usage").is_none());
    }
}
