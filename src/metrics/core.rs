//! What one data thread counts: plain counters that only it writes, and two latency histograms.
//!
//! Everything is allocated at start. A counter is one relaxed load and one relaxed store, without a
//! locked instruction, since nobody else writes it; readers on other threads see a value that is at
//! most a moment old. Histograms are never shared: the [`HistogramCollector`] sends an empty one, the
//! data thread swaps it for the one it filled, and that travels back.

use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::channel::{Receiver, Sender, bounded};
use hdrhistogram::Histogram;

use crate::bucket::policy::MAX_POLICIES;
use crate::time::NS_PER_SECOND;

/// The longest latency told apart; whatever takes longer is counted as this long.
pub const MAX_LATENCY_NS: u64 = 60 * NS_PER_SECOND;
/// Two digits keep a histogram near 30 KiB, so that recording stays in the second-level cache.
const LATENCY_DIGITS: u8 = 2;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckResult {
    /// The tokens were there.
    Allowed,
    /// The tokens were not there.
    Denied,
    /// The tokens were not there, but the policy only watches.
    ShadowDenied,
    /// Asked without charging.
    Peeked,
    /// The tokens were there and were not charged, since another check of the batch was denied.
    Withheld,
    /// The table had no room for the key; the configuration said what to answer.
    TableFull,
}

impl CheckResult {
    /// All results, in the order of their counters.
    pub const ALL: [Self; 6] =
        [Self::Allowed, Self::Denied, Self::ShadowDenied, Self::Peeked, Self::Withheld, Self::TableFull];

    /// The value of the `result` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::ShadowDenied => "shadow_denied",
            Self::Peeked => "peeked",
            Self::Withheld => "withheld",
            Self::TableFull => "table_full",
        }
    }
}

/// Why a request was answered with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseErrorKind {
    /// Not HTTP, or ambiguous HTTP.
    BadRequest,
    /// The header section passed its limit.
    HeadersTooLarge,
    /// The request target passed its limit.
    TargetTooLong,
    /// The body passed its limit.
    BodyTooLarge,
    /// The request did not arrive in time.
    Timeout,
    /// The path does not know the method.
    MethodNotAllowed,
    /// No policy has that name.
    UnknownPolicy,
    /// The cost is no number, or above the burst.
    BadCost,
    /// The key is empty, too long or wrongly encoded.
    BadKey,
    /// The body is not the JSON that was asked for.
    BadJson,
    /// No such path.
    NotFound,
}

impl ParseErrorKind {
    /// All kinds, in the order of their counters.
    pub const ALL: [Self; 11] = [
        Self::BadRequest,
        Self::HeadersTooLarge,
        Self::TargetTooLong,
        Self::BodyTooLarge,
        Self::Timeout,
        Self::MethodNotAllowed,
        Self::UnknownPolicy,
        Self::BadCost,
        Self::BadKey,
        Self::BadJson,
        Self::NotFound,
    ];

    /// The value of the `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::HeadersTooLarge => "headers_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::BodyTooLarge => "body_too_large",
            Self::Timeout => "timeout",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::UnknownPolicy => "unknown_policy",
            Self::BadCost => "bad_cost",
            Self::BadKey => "bad_key",
            Self::BadJson => "bad_json",
            Self::NotFound => "not_found",
        }
    }
}

/// A counter with one writer: a second one would lose increments, never corrupt anything.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    #[inline]
    fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

type PolicyRow = [Counter; CheckResult::ALL.len()];

/// The counters of one data thread, written by that thread only.
///
/// Aligned to two cache lines, since the prefetcher fetches pairs: no two cores share one.
#[repr(align(128))]
#[derive(Debug)]
pub struct CoreMetrics {
    turns: Counter,
    connections_opened: Counter,
    connections_closed: Counter,
    connections_refused: Counter,
    bytes_received: Counter,
    bytes_sent: Counter,
    parse_errors: [Counter; ParseErrorKind::ALL.len()],
    checks: Box<[PolicyRow]>,
}

impl Default for CoreMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl CoreMetrics {
    /// All counters at zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            turns: Counter::default(),
            connections_opened: Counter::default(),
            connections_closed: Counter::default(),
            connections_refused: Counter::default(),
            bytes_received: Counter::default(),
            bytes_sent: Counter::default(),
            parse_errors: Default::default(),
            checks: (0..MAX_POLICIES).map(|_| PolicyRow::default()).collect(),
        }
    }

    /// Counts a decided check of the policy with this index.
    #[inline]
    pub fn check(&self, policy_index: u16, result: CheckResult) {
        if let Some(row) = self.checks.get(usize::from(policy_index)) {
            row[result as usize].add(1);
        }
    }

    /// Counts a request answered with an error.
    #[inline]
    pub fn parse_error(&self, kind: ParseErrorKind) {
        self.parse_errors[kind as usize].add(1);
    }

    /// Counts an accepted connection.
    #[inline]
    pub fn connection_opened(&self) {
        self.connections_opened.add(1);
    }

    /// Counts the end of an accepted connection.
    #[inline]
    pub fn connection_closed(&self) {
        self.connections_closed.add(1);
    }

    /// Counts a connection closed at once, over the limit.
    #[inline]
    pub fn connection_refused(&self) {
        self.connections_refused.add(1);
    }

    /// Counts bytes that arrived.
    #[inline]
    pub fn add_bytes_received(&self, n: u64) {
        self.bytes_received.add(n);
    }

    /// Counts bytes handed to the kernel.
    #[inline]
    pub fn add_bytes_sent(&self, n: u64) {
        self.bytes_sent.add(n);
    }

    /// Counts a turn of the loop: the heartbeat that the watchdog looks at.
    #[inline]
    pub fn turn(&self) {
        self.turns.add(1);
    }

    /// Turns of the loop so far.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns.get()
    }

    /// Checks of a policy that ended so.
    #[must_use]
    pub fn checks(&self, policy_index: u16, result: CheckResult) -> u64 {
        self.checks.get(usize::from(policy_index)).map_or(0, |row| row[result as usize].get())
    }

    /// Checks of all policies, however they ended.
    #[must_use]
    pub fn all_checks(&self) -> u64 {
        CheckResult::ALL.into_iter().map(|result| self.all_checks_that(result)).sum()
    }

    /// Checks of all policies that ended so.
    #[must_use]
    pub fn all_checks_that(&self, result: CheckResult) -> u64 {
        self.checks.iter().map(|row| row[result as usize].get()).sum()
    }

    /// Requests answered with this error.
    #[must_use]
    pub fn parse_errors(&self, kind: ParseErrorKind) -> u64 {
        self.parse_errors[kind as usize].get()
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections_opened(&self) -> u64 {
        self.connections_opened.get()
    }

    /// Connections open now. Never negative, though two counters are read one after the other.
    #[must_use]
    pub fn connections_open(&self) -> u64 {
        let closed = self.connections_closed.get();
        self.connections_opened.get().saturating_sub(closed)
    }

    /// Connections refused so far.
    #[must_use]
    pub fn connections_refused(&self) -> u64 {
        self.connections_refused.get()
    }

    /// Bytes received so far.
    #[must_use]
    pub fn bytes_received(&self) -> u64 {
        self.bytes_received.get()
    }

    /// Bytes sent so far.
    #[must_use]
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent.get()
    }
}

/// A latency histogram with its exact sum, which buckets alone would only estimate.
#[derive(Clone, Debug)]
pub struct LatencyHistogram {
    counts: Histogram<u64>,
    sum_ns: u64,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self::new()
    }
}

impl LatencyHistogram {
    /// An empty histogram from one nanosecond to [`MAX_LATENCY_NS`]; it never grows.
    ///
    /// # Panics
    /// Never: the bounds are constants that the histogram accepts.
    #[must_use]
    pub fn new() -> Self {
        let counts = Histogram::new_with_bounds(1, MAX_LATENCY_NS, LATENCY_DIGITS)
            .expect("constant bounds are accepted");
        Self { counts, sum_ns: 0 }
    }

    /// Records `n` latencies of `ns` each.
    #[inline]
    pub fn record(&mut self, ns: u64, n: u64) {
        self.counts.saturating_record_n(ns, n);
        self.sum_ns = self.sum_ns.saturating_add(ns.saturating_mul(n));
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Self) {
        for step in other.counts.iter_recorded() {
            self.counts.saturating_record_n(step.value_iterated_to(), step.count_at_value());
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }

    /// Latencies recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.len()
    }

    /// Sum of the latencies recorded, in nanoseconds.
    #[must_use]
    pub const fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// Adds to `cumulative[i]` how many latencies are at most `bounds_ns[i]`, to the histogram's one
    /// percent. `bounds_ns` rises.
    pub fn add_cumulative(&self, bounds_ns: &[u64], cumulative: &mut [u64]) {
        for step in self.counts.iter_recorded() {
            let value_ns = step.value_iterated_to();
            let lowest_ns = self.counts.lowest_equivalent(value_ns);
            let first = bounds_ns.partition_point(|&bound_ns| bound_ns < lowest_ns);
            for total in cumulative.iter_mut().skip(first) {
                *total += step.count_at_value();
            }
        }
    }

    /// The latency that a part of all, 0 to 1, do not exceed, in nanoseconds; `None` when there is none.
    #[must_use]
    pub fn quantile_ns(&self, part: f64) -> Option<u64> {
        (!self.counts.is_empty()).then(|| self.counts.value_at_quantile(part))
    }

    fn clear(&mut self) {
        self.counts.reset();
        self.sum_ns = 0;
    }
}

/// The latencies of one data thread since they were last collected.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    /// From the first byte of a request seen to its answer rendered.
    pub request: LatencyHistogram,
    /// The decision alone.
    pub decision: LatencyHistogram,
}

impl Latencies {
    /// Adds all of `other`.
    pub fn add(&mut self, other: &Self) {
        self.request.add(&other.request);
        self.decision.add(&other.decision);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.request.clear();
        self.decision.clear();
    }
}

/// The histograms that a data thread fills.
#[derive(Debug)]
pub struct CoreHistograms {
    filling: Box<Latencies>,
    empty: Receiver<Box<Latencies>>,
    filled: Sender<Box<Latencies>>,
}

impl CoreHistograms {
    /// Records `n` requests that took `ns` each.
    #[inline]
    pub fn record_request_ns(&mut self, ns: u64, n: u64) {
        self.filling.request.record(ns, n);
    }

    /// Records `n` decisions that took `ns` each.
    #[inline]
    pub fn record_decision_ns(&mut self, ns: u64, n: u64) {
        self.filling.decision.record(ns, n);
    }

    /// Hands over what was recorded when the collector has asked; called once a turn.
    #[inline]
    pub fn publish_if_asked(&mut self) {
        // Two loads on the usual path; `try_recv` on an empty channel would cost a full fence.
        if self.empty.is_empty() {
            return;
        }
        if let Ok(empty) = self.empty.try_recv() {
            let filled = mem::replace(&mut self.filling, empty);
            // One spare travels, so there is room; a collector that has gone needs nothing.
            drop(self.filled.try_send(filled));
        }
    }
}

/// The other end of [`CoreHistograms`]: asks for what was recorded and keeps nothing.
#[derive(Debug)]
pub struct HistogramCollector {
    spare: Option<Box<Latencies>>,
    empty: Sender<Box<Latencies>>,
    filled: Receiver<Box<Latencies>>,
}

impl HistogramCollector {
    /// Adds to `totals` what the data thread has handed over since, if it has, and asks again.
    ///
    /// Never waits: what is recorded now arrives with the next call but one. True when something came.
    pub fn collect(&mut self, totals: &mut Latencies) -> bool {
        let mut came = false;
        if let Ok(mut filled) = self.filled.try_recv() {
            totals.add(&filled);
            filled.request.clear();
            filled.decision.clear();
            self.spare = Some(filled);
            came = true;
        }
        if let Some(spare) = self.spare.take() {
            drop(self.empty.try_send(spare));
        }
        came
    }
}

/// Two histograms of a data thread and the collector that empties them; allocates here and never again.
#[must_use]
pub fn histogram_exchange() -> (CoreHistograms, HistogramCollector) {
    let (empty_tx, empty_rx) = bounded(1);
    let (filled_tx, filled_rx) = bounded(1);
    let core = CoreHistograms { filling: Box::default(), empty: empty_rx, filled: filled_tx };
    let collector = HistogramCollector { spare: Some(Box::default()), empty: empty_tx, filled: filled_rx };
    (core, collector)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn every_result_and_reason_has_a_counter_of_its_own() {
        let metrics = CoreMetrics::new();
        for (n, result) in CheckResult::ALL.into_iter().enumerate() {
            (0..=n).for_each(|_| metrics.check(1023, result));
        }
        for (n, kind) in ParseErrorKind::ALL.into_iter().enumerate() {
            (0..=n).for_each(|_| metrics.parse_error(kind));
        }
        for (n, result) in CheckResult::ALL.into_iter().enumerate() {
            assert_eq!(metrics.checks(1023, result), n as u64 + 1);
            assert_eq!(metrics.checks(0, result), 0);
        }
        for (n, kind) in ParseErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(metrics.parse_errors(kind), n as u64 + 1);
        }
    }

    #[test]
    fn a_policy_index_out_of_range_is_not_counted_and_does_no_harm() {
        let metrics = CoreMetrics::new();
        metrics.check(u16::MAX, CheckResult::Allowed);
        assert_eq!(metrics.checks(u16::MAX, CheckResult::Allowed), 0);
    }

    #[test]
    fn counters_of_two_cores_share_no_cache_line() {
        assert_eq!(align_of::<CoreMetrics>() % 128, 0);
        assert_eq!(size_of::<CoreMetrics>() % 128, 0);
    }

    #[test]
    fn connections_open_is_opened_less_closed() {
        let metrics = CoreMetrics::new();
        (0..5).for_each(|_| metrics.connection_opened());
        (0..2).for_each(|_| metrics.connection_closed());
        assert_eq!((metrics.connections_opened(), metrics.connections_open()), (5, 3));
    }

    #[test]
    fn every_latency_recorded_is_collected_once_while_both_threads_run() {
        const RECORDS: u64 = 400_000;
        let (mut core, mut collector) = histogram_exchange();
        let (done, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (recorder_done, recorder_swaps) = (Arc::clone(&done), Arc::clone(&swaps));
        let recorder = thread::spawn(move || {
            let patience = Instant::now() + Duration::from_secs(20);
            for ns in 1..=RECORDS {
                core.record_request_ns(ns, 1);
                core.record_decision_ns(7, 2);
                core.publish_if_asked();
                // A collector that has no core yet would see nothing of this.
                while ns == RECORDS / 2
                    && recorder_swaps.load(Ordering::Acquire) < 2
                    && Instant::now() < patience
                {
                    core.publish_if_asked();
                    thread::yield_now();
                }
            }
            recorder_done.store(true, Ordering::Release);
            core
        });
        let mut totals = Latencies::default();
        while !done.load(Ordering::Acquire) {
            swaps.fetch_add(u64::from(collector.collect(&mut totals)), Ordering::Release);
        }
        let mut core = recorder.join().unwrap();
        for _ in 0..3 {
            core.publish_if_asked();
            collector.collect(&mut totals);
        }
        assert!(swaps.load(Ordering::Relaxed) > 1, "the threads swapped while both ran");
        assert_eq!(totals.request.count(), RECORDS);
        assert_eq!(totals.request.sum_ns(), RECORDS * (RECORDS + 1) / 2);
        assert_eq!((totals.decision.count(), totals.decision.sum_ns()), (2 * RECORDS, 14 * RECORDS));
    }

    #[test]
    fn a_latency_beyond_the_bounds_is_counted_at_the_bound() {
        let mut histogram = LatencyHistogram::new();
        histogram.record(u64::MAX, 1);
        histogram.record(0, 1);
        assert_eq!(histogram.count(), 2);
        let mut cumulative = [0; 2];
        histogram.add_cumulative(&[1, MAX_LATENCY_NS], &mut cumulative);
        assert_eq!(cumulative, [1, 2]);
    }

    #[test]
    fn buckets_are_cumulative_and_right_to_a_percent() {
        let mut histogram = LatencyHistogram::new();
        (1..=10_000).for_each(|us| histogram.record(us * 1000, 1));
        let bounds_ns = [1_000, 100_000, 1_000_000, 5_000_000, 10_000_000];
        let mut cumulative = [0; 5];
        histogram.add_cumulative(&bounds_ns, &mut cumulative);
        for (bound_ns, &count) in bounds_ns.iter().zip(&cumulative) {
            let exact = bound_ns / 1000;
            assert!(count.abs_diff(exact) * 100 <= exact.max(100), "{bound_ns} ns: {count}, not {exact}");
        }
    }

    #[test]
    fn a_collector_that_went_away_does_not_stop_the_core() {
        let (mut core, mut collector) = histogram_exchange();
        collector.collect(&mut Latencies::default());
        drop(collector);
        for _ in 0..3 {
            core.record_request_ns(1, 1);
            core.publish_if_asked();
        }
    }
}
