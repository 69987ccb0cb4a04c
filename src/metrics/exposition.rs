//! The metrics page: from counters to Prometheus text. Pure; what it shows is handed in.

use std::sync::Arc;

use super::core::{CheckResult, CoreMetrics, ParseErrorKind};
use super::family::{Family, encode};
use super::fill::{self, FillRatios, available};
use super::latency::{Latencies, LatencyHistogram};
use super::{ProcessStats, Reloads};
use crate::bucket::policy::{Limits, PolicySet};
use crate::bucket::table::TableStats;
use crate::time::NS_PER_SECOND;

/// Upper bounds of request times, in nanoseconds.
const REQUEST_BOUNDS_NS: [u64; 16] = [
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
];
/// Upper bounds of decision times, in nanoseconds.
const DECISION_BOUNDS_NS: [u64; 12] =
    [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 1_000_000, 10_000_000];

/// The tokens of a key that the configuration names.
#[derive(Clone, Debug)]
pub struct WatchedLevel {
    /// The policy's name.
    pub policy: String,
    /// The key.
    pub key: String,
    /// Tokens that can be spent now.
    pub available: f64,
    /// The burst.
    pub capacity: f64,
}

impl WatchedLevel {
    /// The tokens of a bucket at a level, in ticks of its limits.
    #[must_use]
    pub fn new(policy: &str, key: &str, limits: &Limits, level_ticks: u64) -> Self {
        Self {
            policy: policy.to_owned(),
            key: key.to_owned(),
            available: available(level_ticks, limits),
            capacity: limits.burst() as f64,
        }
    }
}

/// All that a page shows.
#[derive(Clone, Copy, Debug)]
pub struct Page<'p> {
    /// The counters of the data threads.
    pub cores: &'p [Arc<CoreMetrics>],
    /// Their latencies since the start.
    pub latencies: &'p Latencies,
    /// Counts of the table.
    pub table: TableStats,
    /// The policies in force; counters of removed ones are not shown.
    pub policies: &'p PolicySet,
    /// Keys that the configuration names.
    pub watched: &'p [WatchedLevel],
    /// How full the buckets are.
    pub fill: &'p FillRatios,
    /// How reloads went.
    pub reloads: &'p Reloads,
    /// Whether `/health` is good.
    pub healthy: bool,
    /// This node's region.
    pub region: &'p str,
    /// The version of the program.
    pub version: &'p str,
    /// The process.
    pub process: ProcessStats,
}

impl Page<'_> {
    /// The Prometheus text (format 0.0.4), with `more` families at its end.
    #[must_use]
    pub fn render(&self, more: Vec<Family>) -> Vec<u8> {
        let mut families = vec![self.build_info(), self.health(), self.checks(), self.parse_errors()];
        families.extend(self.latencies());
        families.extend(self.traffic());
        families.extend(self.table());
        families.extend(self.tokens());
        families.push(self.reloads());
        families.extend(self.process.families());
        families.extend(more);
        encode(families)
    }

    fn sum(&self, count: impl Fn(&CoreMetrics) -> u64) -> f64 {
        self.cores.iter().map(|core| count(core)).sum::<u64>() as f64
    }

    fn build_info(&self) -> Family {
        let family = Family::gauge("openclaw_build_info", "Always 1; the labels say what runs where.");
        family.with(&[("version", self.version), ("region", self.region)], 1.0)
    }

    fn health(&self) -> Family {
        let help = "1 when /health answers 200, 0 when it answers 503.";
        Family::gauge("openclaw_healthy", help).with(&[], f64::from(u8::from(self.healthy)))
    }

    fn checks(&self) -> Family {
        let mut family = Family::counter("openclaw_checks_total", "Checks decided, by policy and result.");
        for policy in self.policies.iter() {
            for result in CheckResult::ALL {
                let labels = [("policy", policy.name()), ("result", result.label())];
                family.add(&labels, self.sum(|core| core.checks(policy.index(), result)));
            }
        }
        family
    }

    fn parse_errors(&self) -> Family {
        let help = "Requests answered with an error, by reason.";
        let mut family = Family::counter("openclaw_request_errors_total", help);
        for kind in ParseErrorKind::ALL {
            family.add(&[("reason", kind.label())], self.sum(|core| core.parse_errors(kind)));
        }
        family
    }

    fn latencies(&self) -> [Family; 2] {
        let request = latency(
            "openclaw_request_duration_seconds",
            "From the turn in which a request was complete to its answer handed to the kernel.",
            &self.latencies.request,
            &REQUEST_BOUNDS_NS,
        );
        let decision = latency(
            "openclaw_decision_duration_seconds",
            "Parsing, deciding and rendering of one request.",
            &self.latencies.decision,
            &DECISION_BOUNDS_NS,
        );
        [request, decision]
    }

    fn traffic(&self) -> [Family; 5] {
        let open = self.sum(CoreMetrics::connections_open);
        let opened = self.sum(CoreMetrics::connections_opened);
        let refused = self.sum(CoreMetrics::connections_refused);
        let (received, sent) = (self.sum(CoreMetrics::bytes_received), self.sum(CoreMetrics::bytes_sent));
        let help = "Clients turned away for want of room: connections over the limit or without a \
            descriptor, requests in parts, held input, metrics pages.";
        [
            Family::gauge("openclaw_connections", "Connections open now.").with(&[], open),
            Family::counter("openclaw_connections_opened_total", "Connections accepted.").with(&[], opened),
            Family::counter("openclaw_connections_refused_total", help).with(&[], refused),
            Family::counter("openclaw_received_bytes_total", "Bytes received.").with(&[], received),
            Family::counter("openclaw_sent_bytes_total", "Bytes sent.").with(&[], sent),
        ]
    }

    fn table(&self) -> [Family; 5] {
        let TableStats { lines, occupied, inserts, evictions, full } = self.table;
        [
            Family::gauge("openclaw_table_lines", "Buckets that the table has room for.")
                .with(&[], lines as f64),
            Family::gauge("openclaw_table_occupied_lines", "Lines of the table that have been used.")
                .with(&[], occupied as f64),
            Family::counter("openclaw_table_inserts_total", "Buckets made.").with(&[], inserts as f64),
            Family::counter("openclaw_table_evictions_total", "Full buckets that gave way to others.")
                .with(&[], evictions as f64),
            Family::counter("openclaw_table_full_total", "Checks decided by on_table_full.")
                .with(&[], full as f64),
        ]
    }

    fn tokens(&self) -> [Family; 6] {
        let mut available =
            Family::gauge("openclaw_token_bucket_available", "Tokens that a watched key can spend now.");
        let mut capacity = Family::gauge("openclaw_token_bucket_capacity", "The burst of a watched key.");
        for watched in self.watched {
            let labels =
                [("region", self.region), ("policy", watched.policy.as_str()), ("key", &watched.key)];
            available.add(&labels, watched.available);
            capacity.add(&labels, watched.capacity);
        }
        let [in_use, debt, phantom] = self.walked();
        [available, capacity, self.fill_ratios(), in_use, debt, phantom]
    }

    /// What the last walk over the buckets found, beside how full they are.
    fn walked(&self) -> [Family; 3] {
        let help = "Buckets that are not full and keep their lines, at the last walk over them.";
        let mut in_use = Family::gauge("openclaw_buckets_in_use", help);
        let help = "Tokens that live buckets owe beyond their burst, at the last walk over them.";
        let mut debt = Family::gauge("openclaw_debt_tokens", help);
        let help = "Tokens charged for peers that cannot be heard, at the last walk over the buckets.";
        let mut phantom = Family::gauge("openclaw_phantom_tokens", help);
        for policy in self.policies.iter() {
            if let Some(row) = self.fill.row(policy.index()) {
                in_use.add(&[("policy", policy.name())], row.in_use as f64);
                debt.add(&[("policy", policy.name())], row.debt_tokens);
                phantom.add(&[("policy", policy.name())], row.phantom_tokens);
            }
        }
        [in_use, debt, phantom]
    }

    fn fill_ratios(&self) -> Family {
        let help = "Live buckets by the part of their burst that is available, at the last walk over them.";
        let mut family = Family::histogram("openclaw_bucket_fill_ratio", help);
        for policy in self.policies.iter() {
            if let Some(row) = self.fill.row(policy.index()) {
                let cumulative = row.cumulative();
                let count = cumulative.last().copied().unwrap_or(0);
                family.add_buckets(&[("policy", policy.name())], &fill::BOUNDS, &cumulative, count, row.sum);
            }
        }
        family
    }

    fn reloads(&self) -> Family {
        Family::counter("openclaw_reloads_total", "Reloads of the policies, by result.")
            .with(&[("result", "applied")], self.reloads.applied() as f64)
            .with(&[("result", "refused")], self.reloads.refused() as f64)
    }
}

fn latency(name: &str, help: &str, histogram: &LatencyHistogram, bounds_ns: &[u64]) -> Family {
    let mut cumulative = vec![0; bounds_ns.len()];
    histogram.add_cumulative(bounds_ns, &mut cumulative);
    let seconds = |ns: u64| ns as f64 / NS_PER_SECOND as f64;
    let bounds: Vec<f64> = bounds_ns.iter().map(|ns| seconds(*ns)).collect();
    let mut family = Family::histogram(name, help);
    family.add_buckets(&[], &bounds, &cumulative, histogram.count(), seconds(histogram.sum_ns()));
    family
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::hash::KeyHasher;
    use crate::bucket::policy::{LimitSpec, PolicySpec};
    use crate::time::MonotonicNs;

    fn render(watched: &[WatchedLevel], cores: &[Arc<CoreMetrics>]) -> String {
        let spec = PolicySpec::new("api", LimitSpec::per_second(1, 5).unwrap());
        let policies = PolicySet::new(&[spec], &KeyHasher::new([1; 16]), MonotonicNs(0)).unwrap();
        let mut latencies = Latencies::default();
        latencies.request.record(40_000, 3);
        let page = Page {
            cores,
            latencies: &latencies,
            table: TableStats { lines: 64, occupied: 3, inserts: 4, evictions: 1, full: 2 },
            policies: &policies,
            watched,
            fill: &FillRatios::default(),
            reloads: &Reloads::default(),
            healthy: true,
            region: "eu",
            version: "1.2.3",
            process: ProcessStats::default(),
        };
        let more = vec![Family::gauge("openclaw_more", "More.").with(&[], 1.0)];
        String::from_utf8(page.render(more)).unwrap()
    }

    #[test]
    fn counters_of_all_cores_are_added_up() {
        let cores = [Arc::new(CoreMetrics::new()), Arc::new(CoreMetrics::new())];
        cores.iter().for_each(|core| core.check(0, CheckResult::Denied));
        cores[1].parse_error(ParseErrorKind::BadKey);
        let text = render(&[], &cores);
        for line in [
            "openclaw_checks_total{policy=\"api\",result=\"denied\"} 2",
            "openclaw_checks_total{policy=\"api\",result=\"allowed\"} 0",
            "openclaw_request_errors_total{reason=\"bad_key\"} 1",
            "openclaw_request_duration_seconds_bucket{le=\"0.00002\"} 0",
            "openclaw_request_duration_seconds_bucket{le=\"0.00005\"} 3",
            "openclaw_request_duration_seconds_count 3",
            "openclaw_table_full_total 2",
            "openclaw_buckets_in_use{policy=\"api\"} 0",
            "openclaw_healthy 1",
            "openclaw_more 1",
            "openclaw_build_info{version=\"1.2.3\",region=\"eu\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn watched_keys_have_region_policy_and_key() {
        let watched = WatchedLevel { policy: "api".into(), key: "a b".into(), available: 2.5, capacity: 5.0 };
        let text = render(&[watched], &[]);
        let labels = "{region=\"eu\",policy=\"api\",key=\"a b\"}";
        assert!(text.contains(&format!("openclaw_token_bucket_available{labels} 2.5\n")), "{text}");
        assert!(text.contains(&format!("openclaw_token_bucket_capacity{labels} 5\n")), "{text}");
    }

    #[test]
    fn without_watched_keys_there_is_no_series_of_them() {
        assert!(!render(&[], &[]).contains("openclaw_token_bucket"));
    }
}
