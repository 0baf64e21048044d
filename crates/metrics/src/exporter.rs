//! The collector that reads a source on demand, and its text form.

use std::fmt;
use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Registry, TextEncoder};
use schalter_model::{Counters, ShardId};

use crate::desk::DeskSnapshot;
use crate::families::Families;
use crate::http::HttpSnapshot;
use crate::signaling::SignalingSnapshot;
use crate::webhooks::WebhookSnapshot;
use crate::{desk, http, media, process, signaling, webhooks};

/// Where the numbers come from. Called on each scrape; must not block for long.
pub trait Source: Send + Sync + 'static {
    /// What each shard counted.
    fn shards(&self) -> Vec<(ShardId, Counters)>;

    /// What signaling counted.
    fn signaling(&self) -> SignalingSnapshot;

    /// What the pages' port counted.
    fn http(&self) -> HttpSnapshot;

    /// What the delivery of webhooks counted; `None` where there are no receivers.
    fn webhooks(&self) -> Option<WebhookSnapshot>;

    /// What the consultation counted; `None` where there is none.
    fn desk(&self) -> Option<DeskSnapshot>;
}

/// Which build runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildInfo {
    /// The release, e.g. `0.1.0`.
    pub version: String,
    /// The commit it was built from, or empty.
    pub revision: String,
}

/// The exporter could not be set up, or a value not be written.
#[derive(Debug, thiserror::Error)]
#[error("metrics can't be exported")]
pub struct MetricsError(#[from] prometheus::Error);

/// Turns what a [`Source`] counts into Prometheus' text format. Cheap to clone.
#[derive(Clone)]
pub struct Exporter {
    registry: Arc<Registry>,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl Exporter {
    /// An exporter of what `source` counts, of the process and of the build.
    ///
    /// # Errors
    /// [`MetricsError`] if two metrics have one name.
    pub fn new(source: impl Source, build: BuildInfo) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        registry.register(Box::new(Collected::new(source, build)?))?;
        Ok(Self {
            registry: Arc::new(registry),
        })
    }

    /// All metrics now, in Prometheus' text format 0.0.4.
    ///
    /// # Errors
    /// [`MetricsError`] if a metric can't be written.
    pub fn render(&self) -> Result<String, MetricsError> {
        let families = self.registry.gather();
        Ok(TextEncoder::new().encode_to_string(&families)?)
    }
}

struct Collected<S> {
    source: S,
    build: BuildInfo,
    descriptions: Vec<Desc>,
}

impl<S: Source> Collected<S> {
    fn new(source: S, build: BuildInfo) -> Result<Self, prometheus::Error> {
        let mut collected = Self {
            source,
            build,
            descriptions: Vec::new(),
        };
        // Described by an example, so that no list of names can go stale.
        collected.descriptions = collected
            .collect()
            .iter()
            .map(|family| {
                let labels = family.get_metric().first().map_or_else(Vec::new, |metric| {
                    let names = metric.get_label().iter().map(|l| l.name().to_owned());
                    names.collect()
                });
                let name = family.name().to_owned();
                Desc::new(name, family.help().to_owned(), labels, Default::default())
            })
            .collect::<Result<_, _>>()?;
        Ok(collected)
    }
}

impl<S: Source> Collector for Collected<S> {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = Families::default();
        let build = [
            ("revision", self.build.revision.as_str()),
            ("version", self.build.version.as_str()),
        ];
        families.gauges(
            "schalter_build_info",
            "Which build runs; always 1.",
            [(build, 1.0)],
        );
        media::add(&mut families, &self.source.shards());
        signaling::add(&mut families, &self.source.signaling());
        http::add(&mut families, &self.source.http());
        if let Some(snapshot) = self.source.webhooks() {
            webhooks::add(&mut families, &snapshot);
        }
        if let Some(snapshot) = self.source.desk() {
            desk::add(&mut families, &snapshot);
        }
        process::add(&mut families);
        families.into_inner()
    }
}
