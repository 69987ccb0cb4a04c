//! What the last second was like, for who watches this server from another thread.

use std::time::Duration;

use super::core::{CheckResult, CoreMetrics};
use super::exposition::WatchedLevel;
use super::latency::Latencies;
use crate::time::{MonotonicNs, NS_PER_SECOND};

/// The slowest hundredth.
const P99: f64 = 0.99;

/// Figures of one second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vitals {
    /// When they were taken.
    pub at: MonotonicNs,
    /// Checks decided, a second.
    pub checks_per_s: f64,
    /// Checks denied, a second.
    pub denied_per_s: f64,
    /// Checks that found the table full and connections refused over the limit, a second.
    pub errors_per_s: f64,
    /// The slowest hundredth of requests; `None` when there were none.
    pub p99: Option<Duration>,
    /// Whether a data thread does not turn.
    pub is_stalled: bool,
    /// Watched keys.
    pub watched: Vec<WatchedVital>,
}

/// How full a watched bucket is.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchedVital {
    /// `policy/key`.
    pub key: String,
    /// Tokens available, as a part of the burst, 0 to 1.
    pub share: f64,
}

/// How a peer is heard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeerVital {
    /// Its number.
    pub node: u8,
    /// Whether it is heard.
    pub is_present: bool,
    /// Whether all it had before this node's start has arrived.
    pub is_synced: bool,
    /// How suspicious its silence is, 0 to 100.
    pub phi: f64,
    /// Age of the oldest change that it has not acknowledged.
    pub lag: Duration,
}

/// Counters so far.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    checks: u64,
    denied: u64,
    errors: u64,
}

/// Makes figures a second of counters that only rise.
#[derive(Debug)]
pub struct VitalsMeter {
    last: Totals,
    at: MonotonicNs,
}

impl VitalsMeter {
    /// Counts from `now` on.
    #[must_use]
    pub fn new(now: MonotonicNs) -> Self {
        Self { last: Totals::default(), at: now }
    }

    /// The figures since the last time; `interval` is what was collected of latencies.
    pub fn measure<'m>(
        &mut self,
        cores: impl IntoIterator<Item = &'m CoreMetrics>,
        interval: &Latencies,
        now: MonotonicNs,
    ) -> Vitals {
        let totals = totals_of(cores);
        let seconds = now.since(self.at) as f64 / NS_PER_SECOND as f64;
        let rate = |now: u64, before: u64| {
            if seconds > 0.0 { now.saturating_sub(before) as f64 / seconds } else { 0.0 }
        };
        let vitals = Vitals {
            at: now,
            checks_per_s: rate(totals.checks, self.last.checks),
            denied_per_s: rate(totals.denied, self.last.denied),
            errors_per_s: rate(totals.errors, self.last.errors),
            p99: interval.request.quantile_ns(P99).map(Duration::from_nanos),
            ..Vitals::default()
        };
        (self.last, self.at) = (totals, now);
        vitals
    }
}

fn totals_of<'m>(cores: impl IntoIterator<Item = &'m CoreMetrics>) -> Totals {
    let mut totals = Totals::default();
    for core in cores {
        totals.checks += core.all_checks();
        totals.denied += core.all_checks_that(CheckResult::Denied);
        totals.errors += core.all_checks_that(CheckResult::TableFull) + core.connections_refused();
    }
    totals
}

impl From<&WatchedLevel> for WatchedVital {
    fn from(level: &WatchedLevel) -> Self {
        let share = if level.capacity > 0.0 { level.available / level.capacity } else { 0.0 };
        Self { key: format!("{}/{}", level.policy, level.key), share }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_what_was_counted_since_the_last_time() {
        let core = CoreMetrics::new();
        let mut meter = VitalsMeter::new(MonotonicNs(0));
        (0..10).for_each(|_| core.check(0, CheckResult::Allowed));
        (0..4).for_each(|_| core.check(1, CheckResult::Denied));
        core.check(1, CheckResult::TableFull);
        core.connection_refused();
        let mut latencies = Latencies::default();
        latencies.request.record(1_000_000, 99);
        latencies.request.record(9_000_000, 1);
        let vitals = meter.measure([&core], &latencies, MonotonicNs(2_000_000_000));
        assert_eq!((vitals.checks_per_s, vitals.denied_per_s, vitals.errors_per_s), (7.5, 2.0, 1.0));
        let p99 = vitals.p99.unwrap().as_secs_f64();
        assert!((p99 - 0.001).abs() < 0.0001, "{p99}");
        let quiet = meter.measure([&core], &Latencies::default(), MonotonicNs(3_000_000_000));
        assert_eq!((quiet.checks_per_s, quiet.errors_per_s, quiet.p99), (0.0, 0.0, None));
    }
}
