//! One metric and its series, as the encoder takes them.

use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};
use prometheus::{Encoder as _, TextEncoder};

/// A metric: a name, a help line, a type, and a value for each set of labels.
#[derive(Clone, Debug)]
pub struct Family {
    family: MetricFamily,
}

/// A label and its value.
pub(super) type Label<'l> = (&'l str, &'l str);

impl Family {
    /// A value that only rises; its name ends in `_total`.
    #[must_use]
    pub fn counter(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::COUNTER)
    }

    /// A value that rises and falls.
    #[must_use]
    pub fn gauge(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::GAUGE)
    }

    /// A distribution in cumulative buckets.
    #[must_use]
    pub fn histogram(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::HISTOGRAM)
    }

    fn new(name: &str, help: &str, kind: MetricType) -> Self {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Self { family }
    }

    /// Adds a series of a counter or a gauge.
    #[must_use]
    pub fn with(mut self, labels: &[(&str, &str)], value: f64) -> Self {
        self.add(labels, value);
        self
    }

    /// Adds a series of a counter or a gauge.
    pub fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        let mut metric = labelled(labels);
        if self.family.get_field_type() == MetricType::COUNTER {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.family.mut_metric().push(metric);
    }

    /// Adds a series of a histogram: how many values are at most each of `bounds`, how many there are
    /// in all, and their sum.
    pub fn add_buckets(
        &mut self,
        labels: &[(&str, &str)],
        bounds: &[f64],
        cumulative: &[u64],
        count: u64,
        sum: f64,
    ) {
        let buckets = bounds.iter().zip(cumulative).map(|(bound, count)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(*count);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(count);
        histogram.set_sample_sum(sum);
        let mut metric = labelled(labels);
        metric.set_histogram(histogram);
        self.family.mut_metric().push(metric);
    }
}

fn labelled(labels: &[Label<'_>]) -> proto::Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    proto::Metric::from_label(pairs.collect())
}

/// The Prometheus text of `families`; those without a series are left out.
pub(super) fn encode(families: Vec<Family>) -> Vec<u8> {
    let families: Vec<MetricFamily> =
        families.into_iter().map(|f| f.family).filter(|f| !f.get_metric().is_empty()).collect();
    let mut text = Vec::new();
    // It refuses only nameless families and those without a series, and memory takes all that is written.
    let _ = TextEncoder::new().encode(&families, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(family: Family) -> String {
        String::from_utf8(encode(vec![family])).unwrap()
    }

    #[test]
    fn values_of_labels_are_escaped() {
        let family = Family::gauge("g", "help").with(&[("key", "a\"b\\c\nd")], 1.5);
        assert_eq!(text(family), "# HELP g help\n# TYPE g gauge\ng{key=\"a\\\"b\\\\c\\nd\"} 1.5\n");
    }

    #[test]
    fn a_metric_without_series_is_left_out() {
        assert_eq!(text(Family::counter("c_total", "help")), "");
    }

    #[test]
    fn buckets_end_with_infinity() {
        let mut family = Family::histogram("h", "help");
        family.add_buckets(&[], &[0.5, 1.0], &[1, 2], 3, 9.0);
        let text = text(family);
        for line in ["h_bucket{le=\"0.5\"} 1", "h_bucket{le=\"1\"} 2", "h_bucket{le=\"+Inf\"} 3", "h_sum 9"] {
            assert!(text.contains(line), "{text}");
        }
    }
}
