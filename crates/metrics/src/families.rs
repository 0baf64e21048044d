//! Building metric families from plain numbers.

use prometheus::proto::{Bucket, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use schalter_model::Histogram;

/// A label's name and value.
pub(crate) type Label<'a> = (&'a str, &'a str);

/// Collects families in the order they are added.
#[derive(Debug, Default)]
pub(crate) struct Families(Vec<MetricFamily>);

impl Families {
    /// Adds a counter without labels.
    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.counters(name, help, [(&[] as &[Label<'_>], value as f64)]);
    }

    /// Adds a counter with one value for each set of labels.
    pub(crate) fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (impl AsRef<[Label<'l>]>, f64)>,
    ) {
        let metrics = values.into_iter().map(|(labels, value)| {
            let mut counter = Counter::default();
            counter.set_value(value);
            let mut metric = Metric::from_label(pairs(labels.as_ref()));
            metric.set_counter(counter);
            metric
        });
        let metrics = metrics.collect();
        self.add(name, help, MetricType::COUNTER, metrics);
    }

    /// Adds a gauge without labels.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.gauges(name, help, [(&[] as &[Label<'_>], value)]);
    }

    /// Adds a gauge with one value for each set of labels.
    pub(crate) fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (impl AsRef<[Label<'l>]>, f64)>,
    ) {
        let metrics = values.into_iter().map(|(labels, value)| {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            let mut metric = Metric::from_label(pairs(labels.as_ref()));
            metric.set_gauge(gauge);
            metric
        });
        let metrics = metrics.collect();
        self.add(name, help, MetricType::GAUGE, metrics);
    }

    /// Adds a histogram without labels; `per_unit` of the bounds' and observations' units make one of the
    /// metric's.
    pub(crate) fn histogram<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        bounds: &[u64; N],
        per_unit: f64,
        values: &Histogram<N>,
    ) {
        let buckets = bounds.iter().zip(values.cumulative());
        let buckets = buckets.map(|(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound as f64 / per_unit);
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut histogram = prometheus::proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(values.count());
        histogram.set_sample_sum(values.sum() as f64 / per_unit);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        self.add(name, help, MetricType::HISTOGRAM, vec![metric]);
    }

    fn add(&mut self, name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }

    /// What was added.
    pub(crate) fn into_inner(self) -> Vec<MetricFamily> {
        self.0
    }
}

fn pairs(labels: &[Label<'_>]) -> Vec<LabelPair> {
    labels
        .iter()
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        })
        .collect()
}
